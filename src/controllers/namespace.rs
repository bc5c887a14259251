//! Joins the Namespaces' loop to its brain, `cube_plan::namespace`.
use cube_planted::{Bug, planted};
use std::time::Duration;

use cube_api::{
    condition::{self, Condition},
    kinds::Kind,
    namespace::Namespace,
};
use cube_plan::namespace::{Decision, decide, held_condition};

use super::runner::{Change, Hand, Outcome, View, release};
use crate::{
    registry::{Filter, NAMESPACE_FINALIZER, Object, Write, list},
    store::Key,
};

/// So many objects are deleted in one look, the rest in the next. More would hold up the other loops.
const BATCH: usize = 256;

pub(super) struct Namespaces;

impl Hand for Namespaces {
    fn name(&self) -> &'static str {
        "namespace"
    }

    fn wakes(&mut self, change: &Change, view: &View, wake: &mut Vec<Key>) {
        let object = &change.object;
        let plural = Kind::Namespace.info().plural;
        match object.kind() {
            Kind::Namespace if object.is_deleting() && !change.gone => wake.push(change.key().clone()),
            _ if change.gone && !object.namespace().is_empty() && view.is_closing(object.namespace()) => {
                wake.push(Key::new(plural, "", object.namespace()));
            }
            _ => {}
        }
    }

    fn look(&mut self, key: &Key, view: &View) -> Outcome {
        let Some(namespace) = view.get(key).filter(Object::is_deleting) else {
            return Outcome::default();
        };
        let kinds = Kind::ALL.iter().filter(|kind| kind.info().namespaced);
        let filter = Filter::namespace(key.name());
        let objects: Vec<Object> = kinds
            .flat_map(|kind| list(view.snapshot, *kind, &filter).items)
            .collect();
        let metas: Vec<_> = objects.iter().map(Object::meta).collect();
        match decide(namespace.meta(), &metas) {
            Decision::Empty(going) => Outcome {
                again: (going.len() > BATCH).then_some(Duration::ZERO),
                transactions: going
                    .into_iter()
                    .take(BATCH)
                    .map(|index| vec![Write::delete(&objects[index])])
                    .collect(),
                ..Outcome::default()
            },
            Decision::Release if planted(Bug::NamespaceStays) => Outcome::default(),
            Decision::Release => Outcome {
                transactions: vec![vec![release(&namespace, NAMESPACE_FINALIZER)]],
                ..Outcome::default()
            },
            Decision::Waits { held } => {
                let held: Vec<_> = held.into_iter().map(|index| held_by(&objects[index])).collect();
                let writes = told(&namespace, held_condition(&held), view);
                Outcome {
                    transactions: writes.map(|write| vec![write]).into_iter().collect(),
                    ..Outcome::default()
                }
            }
            Decision::Stays => Outcome::default(),
        }
    }
}

fn held_by(object: &Object) -> (String, &[String]) {
    let shown = format!("{}/{}", object.kind().info().singular, object.name());
    (shown, &object.meta().finalizers)
}

/// What keeps the Namespace, written into its status; none when it says so already.
fn told(namespace: &Object, holds: Option<Condition>, view: &View) -> Option<Write> {
    let before = &namespace.typed::<Namespace>().status;
    let mut status = before.clone();
    match holds {
        Some(holds) => condition::set(&mut status.conditions, holds, view.now),
        None => status.conditions.clear(),
    }
    (status != *before).then(|| Write::status(namespace, &status))
}

//! Joins the Events' loop to its brain, `cube_plan::event`.
use cube_api::{event::Event, kinds::Kind};
use cube_plan::event::Shelf;
use jiff::Timestamp;

use super::runner::{Change, Hand, Outcome, View};
use crate::{registry::Write, store::Key};

/// So many Events are removed in one look, the rest in the next. More would hold up the other loops.
const BATCH: usize = 256;

/// All Events have one key: they are trimmed together.
#[derive(Default)]
pub(super) struct Events {
    shelf: Shelf,
}

fn place(namespace: &str, name: &str) -> Key {
    Key::new(Kind::Event.info().plural, namespace, name)
}

impl Hand for Events {
    fn name(&self) -> &'static str {
        "event"
    }

    fn forget(&mut self) {
        self.shelf = Shelf::default();
    }

    fn wakes(&mut self, change: &Change, _: &View, wake: &mut Vec<Key>) {
        let object = &change.object;
        let Some(event) = object.try_typed::<Event>() else {
            return;
        };
        if change.gone {
            self.shelf.remove(object.namespace(), object.name());
            return;
        }
        let at = event.last_timestamp.or(event.metadata.creation_timestamp);
        let at = at.unwrap_or(Timestamp::UNIX_EPOCH);
        self.shelf.set(object.namespace(), object.name(), at);
        wake.push(place("", ""));
    }

    fn look(&mut self, _: &Key, view: &View) -> Outcome {
        let excess = self.shelf.excess(view.now);
        let again = if excess.len() > BATCH {
            Some(std::time::Duration::ZERO)
        } else {
            self.shelf.next(view.now)
        };
        let going = excess.iter().take(BATCH);
        let going = going.filter_map(|(namespace, name)| view.get(&place(namespace, name)));
        Outcome {
            transactions: going.map(|event| vec![Write::delete(&event)]).collect(),
            again,
            ..Outcome::default()
        }
    }
}

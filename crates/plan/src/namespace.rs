//! What a Namespace that is being deleted asks for: what is in it goes, then the Namespace itself.
use cube_api::{
    condition::{Condition, Truth},
    meta::{FOREGROUND_FINALIZER, ORPHAN_FINALIZER, ObjectMeta},
};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is not being deleted: nothing.
    Stays,
    /// These of its objects are to be deleted, in the order of the look; each stands for itself.
    Empty(Vec<usize>),
    /// All of its objects are on their way. These go only when a finalizer is taken off them that is not Cube's, which
    /// nothing of ours ever does.
    Waits {
        /// The held ones, in the order of the look.
        held: Vec<usize>,
    },
    /// It is empty: nothing holds it any more.
    Release,
}

/// What is to be done about a Namespace and the objects in it.
pub fn decide(namespace: &ObjectMeta, objects: &[&ObjectMeta]) -> Decision {
    if !namespace.is_deleting() {
        return Decision::Stays;
    }
    if objects.is_empty() {
        return Decision::Release;
    }
    let there = objects.iter().enumerate().filter(|(_, meta)| !meta.is_deleting());
    let there: Vec<usize> = there.map(|(index, _)| index).collect();
    if there.is_empty() {
        let held = objects
            .iter()
            .enumerate()
            .filter(|(_, meta)| meta.finalizers.iter().any(|finalizer| is_foreign(finalizer)));
        Decision::Waits {
            held: held.map(|(index, _)| index).collect(),
        }
    } else {
        Decision::Empty(there)
    }
}

/// Whether somebody else is to take the finalizer off.
fn is_foreign(finalizer: &str) -> bool {
    ![FOREGROUND_FINALIZER, ORPHAN_FINALIZER].contains(&finalizer) && !finalizer.starts_with("cube/")
}

/// What keeps a Namespace that is being emptied, as a condition; none when nothing does. `held` are shown as `task/web`,
/// each with its finalizers.
pub fn held_condition(held: &[(String, &[String])]) -> Option<Condition> {
    const SHOWN: usize = 3;
    let told = held.iter().take(SHOWN).map(|(shown, finalizers)| {
        let foreign = finalizers.iter().filter(|finalizer| is_foreign(finalizer));
        let foreign: Vec<&str> = foreign.map(String::as_str).collect();
        format!("{shown} is held by finalizer {}", foreign.join(", "))
    });
    let mut message = told.collect::<Vec<_>>().join("; ");
    if held.len() > SHOWN {
        message.push_str(&format!("; and {} more", held.len() - SHOWN));
    }
    (!held.is_empty()).then(|| Condition {
        kind: "NamespaceFinalizersRemaining".to_owned(),
        status: Truth::True,
        reason: "SomeFinalizersRemain".to_owned(),
        message,
        ..Condition::default()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn is_emptied_then_goes() {
        let live = ObjectMeta::default();
        let going = ObjectMeta {
            deletion_timestamp: Some(jiff::Timestamp::UNIX_EPOCH),
            ..ObjectMeta::default()
        };
        assert_eq!(decide(&live, &[&live]), Decision::Stays);
        assert_eq!(decide(&going, &[&live, &going, &live]), Decision::Empty(vec![0, 2]));
        assert_eq!(decide(&going, &[&going]), Decision::Waits { held: vec![] });
        let held = |finalizer: &str| ObjectMeta {
            finalizers: vec!["cube/container".to_owned(), finalizer.to_owned()],
            ..going.clone()
        };
        let (foreign, own) = (held("example.com/x"), held(FOREGROUND_FINALIZER));
        assert_eq!(decide(&going, &[&own, &foreign]), Decision::Waits { held: vec![1] });
        assert_eq!(held_condition(&[]), None);
        let four = ["a", "b", "c", "d"].map(|name| (format!("task/{name}"), foreign.finalizers.as_slice()));
        assert_eq!(
            held_condition(&four).unwrap().message,
            "task/a is held by finalizer example.com/x; task/b is held by finalizer example.com/x; \
             task/c is held by finalizer example.com/x; and 1 more"
        );
        assert_eq!(decide(&going, &[]), Decision::Release);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever is in it: nothing of it goes while it stays, nothing is asked to go twice, it is let go when it is empty and
        /// not before, and what it waits for at last is held by others.
        #[test]
        fn it_goes_with_the_last_of_what_is_in_it(
            deleting in any::<bool>(),
            objects in prop::collection::vec((any::<bool>(), any::<bool>(), any::<bool>()), 0..8),
        ) {
            let meta = |deleting: bool, finalizers: Vec<&str>| ObjectMeta {
                deletion_timestamp: deleting.then_some(jiff::Timestamp::UNIX_EPOCH),
                finalizers: finalizers.into_iter().map(str::to_owned).collect(),
                ..ObjectMeta::default()
            };
            let namespace = meta(deleting, Vec::new());
            let made = objects.into_iter().map(|(going, own, foreign)| {
                let own = own.then_some("cube/container").into_iter();
                meta(going, own.chain(foreign.then_some("example.com/x")).collect())
            });
            let mut objects: Vec<ObjectMeta> = made.collect();
            for _ in 0..3 {
                let look: Vec<&ObjectMeta> = objects.iter().collect();
                match decide(&namespace, &look) {
                    Decision::Stays => prop_assert!(!deleting),
                    Decision::Empty(there) => {
                        prop_assert!(deleting && !there.is_empty());
                        for index in there {
                            prop_assert!(!objects[index].is_deleting());
                            objects[index].deletion_timestamp = Some(jiff::Timestamp::UNIX_EPOCH);
                        }
                        // Whoever holds them for Cube lets go.
                        objects.iter_mut().for_each(|meta| meta.finalizers.retain(|held| is_foreign(held)));
                        objects.retain(|meta| !meta.finalizers.is_empty());
                    }
                    Decision::Waits { held } => {
                        prop_assert!(deleting && objects.iter().all(ObjectMeta::is_deleting));
                        let is_held = |index: &usize| objects[*index].finalizers.iter().any(|held| is_foreign(held));
                        prop_assert_eq!(held, (0..objects.len()).filter(is_held).collect::<Vec<_>>());
                    }
                    Decision::Release => prop_assert!(deleting && objects.is_empty()),
                }
            }
        }
    }
}

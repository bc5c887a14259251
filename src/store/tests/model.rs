//! Random transactions against the simplest thing that could be right, with restarts in between.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Step {
    Commit(Transaction),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    let name = || (0..6u8).prop_map(|n| key(&n.to_string()));
    let expect = prop_oneof![
        Just(Expect::Absent),
        Just(Expect::Present),
        (0..40u64).prop_map(Expect::Revision)
    ];
    let change = prop_oneof![
        3 => (name(), proptest::collection::vec(any::<u8>(), 0..40)).prop_map(|(key, bytes)| Change::Put(key, bytes)),
        1 => name().prop_map(Change::Delete),
    ];
    let expects = proptest::collection::vec((name(), expect), 0..2);
    let transaction = (expects, proptest::collection::vec(change, 0..4));
    prop_oneof![
        12 => transaction.prop_map(|(expects, changes)| Step::Commit(Transaction { expects, changes, ..Transaction::default() })),
        1 => Just(Step::Restart),
    ]
}

#[derive(Clone, Default)]
struct Model {
    revision: Revision,
    objects: BTreeMap<Key, (Revision, Vec<u8>)>,
}

impl Model {
    fn commit(&mut self, transaction: &Transaction) -> bool {
        let mut next = self.clone();
        let expected = |(key, expect): &(Key, Expect)| expect.holds(self.objects.get(key).map(|object| object.0));
        if !transaction.expects.iter().all(expected) {
            return false;
        }
        for change in &transaction.changes {
            next.revision += 1;
            let there = match change {
                Change::Put(key, bytes) => {
                    next.objects.insert(key.clone(), (next.revision, bytes.clone()));
                    true
                }
                Change::Delete(key) => next.objects.remove(key).is_some(),
            };
            if !there {
                return false;
            }
        }
        *self = next;
        true
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// The store always holds what the model holds, restarts change nothing, and a watcher that only follows events
    /// arrives at the same state.
    #[test]
    fn the_store_is_a_map_with_a_counter(steps in proptest::collection::vec(step(), 1..40)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("store");
            let (mut store, mut model, mut followed) = (open(&path), Model::default(), BTreeMap::new());
            let mut watch = store.watch("", 0).unwrap();
            for step in steps {
                match step {
                    Step::Commit(transaction) => {
                        let answer = store.commit(transaction.clone()).await;
                        prop_assert_eq!(answer.is_ok(), model.commit(&transaction));
                        for event in watch.ready().unwrap() {
                            match &event.after {
                                Some(record) => followed.insert(event.key.clone(), record.revision),
                                None => followed.remove(&event.key),
                            };
                        }
                    }
                    Step::Restart => {
                        drop(watch);
                        drop(store);
                        store = open(&path);
                        watch = store.watch("", store.revision()).unwrap();
                    }
                }
                let state = store.snapshot();
                let held: BTreeMap<_, _> = state.range("")
                    .map(|record| (record.key.clone(), (record.revision, record.bytes.to_vec())))
                    .collect();
                prop_assert_eq!((state.revision(), &held), (model.revision, &model.objects));
                let revisions: BTreeMap<_, _> = held.into_iter().map(|(key, object)| (key, object.0)).collect();
                prop_assert_eq!(&followed, &revisions);
            }
            Ok(())
        })?;
    }
}

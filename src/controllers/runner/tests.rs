//! That nothing is lost between what wakes a key and what its look sees.
use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::FutureExt as _;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use super::*;
use crate::{
    registry::WriteOptions,
    store::{Options, Store},
};

/// More than the feed tells at once.
const MANY: usize = 600;
const LATE: &str = "late";

/// A namespace is made, by somebody else on another thread.
fn make(runtime: &Runtime, registry: &Registry, name: &str) {
    let namespace = json!({ "metadata": { "name": name } });
    let options = WriteOptions::new("test");
    let made = registry.create(Kind::Namespace, "", namespace, &options);
    runtime.block_on(made).unwrap();
}

/// Looks at one namespace alone, which comes while this loop is told of others, and counts how often it has seen it.
struct Witness {
    runtime: Arc<Runtime>,
    registry: Registry,
    told: usize,
    seen: Arc<AtomicUsize>,
}

impl Hand for Witness {
    fn name(&self) -> &'static str {
        "witness"
    }

    fn wakes(&mut self, change: &Change, _: &View, wake: &mut Vec<Key>) {
        if change.object.name() == LATE {
            wake.push(change.key().clone());
        }
        self.told += 1;
        if self.told == MANY / 2 {
            make(&self.runtime, &self.registry, LATE);
        }
    }

    fn look(&mut self, key: &Key, view: &View) -> Outcome {
        self.seen
            .fetch_add(usize::from(view.get(key).is_some()), Ordering::Relaxed);
        Outcome::default()
    }
}

/// A pass, without a runtime: what the witness does needs it.
fn pass(runner: &mut Runner) {
    let mut pass = pin!(runner.pass());
    while pass.as_mut().now_or_never().is_none() {}
}

#[test]
fn a_key_is_looked_at_in_a_state_that_has_what_woke_it() {
    let runtime = Arc::new(Builder::new_current_thread().enable_all().build().unwrap());
    let opened = Registry::open(Store::memory(Options::default()), World::real());
    let registry = runtime.block_on(opened).unwrap();
    let (recorder, _record) = Recorder::new(registry.clone(), "test", None, CancellationToken::new());
    let seen = Arc::new(AtomicUsize::new(0));
    let witness = Witness {
        runtime: Arc::clone(&runtime),
        registry: registry.clone(),
        told: 0,
        seen: Arc::clone(&seen),
    };
    let mut runner = Runner::new(registry.clone(), World::real(), recorder, vec![Box::new(witness)]);
    pass(&mut runner);
    for number in 0..MANY {
        make(&runtime, &registry, &format!("n{number:03}"));
    }
    for _ in 0..3 {
        pass(&mut runner);
    }
    assert_eq!(seen.load(Ordering::Relaxed), 1, "it was woken, and not found");
}

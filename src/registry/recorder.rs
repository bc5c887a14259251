//! Events: what happened to objects, told by everyone, counted here, written together.
//!
//! Telling never waits and never fails. What is told within a short while is written in one transaction, and the same
//! thing again is counted rather than repeated, so that a loop that tells the same for ever has one Event to show for it.
//! What is told within the last moment before a crash is lost: Events are for people, nothing is decided by them.
//! Read [`Recorder::event`] first. (Old Events are removed by a loop of the controllers.)
use std::{collections::BTreeMap, sync::Arc, time::Duration};

use cube_api::{
    API_VERSION,
    event::{Event, EventSource, EventType, ObjectReference},
    kinds::{Kind, Resource},
    namespace,
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{Registry, Write, find};

/// What is told within this time is written together. Too short writes too often, too long lets `describe` lag behind.
const GATHER: Duration = Duration::from_millis(250);
/// So many may wait to be written; beyond it they are dropped (and that is logged): a full disk must not fill memory.
const WAITING: usize = 4096;
/// Events of one transaction. More would hold a thread for long.
const BATCH: usize = 64;
/// Letters of a message; with more the store would grow by whatever an engine prints.
const LONGEST: usize = 1024;

/// Something that happened to an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// The object.
    pub about: ObjectReference,
    /// Whether it is a worry.
    pub kind: EventType,
    /// Why, in one word.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// When.
    pub at: Timestamp,
    /// The part of Cube that tells it.
    pub component: &'static str,
    /// The node that it is on.
    pub host: Arc<str>,
}

/// Listens to all that is told, at once; must not wait.
pub type Listener = Arc<dyn Fn(&Told) + Send + Sync>;

/// Takes what is told. Cloning is cheap.
#[derive(Clone)]
pub struct Recorder {
    sender: mpsc::Sender<Told>,
    world: crate::world::World,
    component: &'static str,
    host: Arc<str>,
    listener: Option<Listener>,
}

impl Recorder {
    /// A recorder, and the loop that writes what it is told until `shutdown` (and then what is left).
    pub fn new(
        registry: Registry,
        host: &str,
        listener: Option<Listener>,
        shutdown: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (sender, receiver) = mpsc::channel(WAITING);
        let recorder = Self {
            sender,
            world: registry.world().clone(),
            component: "cube",
            host: host.into(),
            listener,
        };
        (recorder, write(registry, receiver, shutdown))
    }

    /// The same recorder, for another part of Cube.
    #[must_use]
    pub fn of(&self, component: &'static str) -> Self {
        Self {
            component,
            ..self.clone()
        }
    }

    /// The same recorder, for what happens on another node.
    #[must_use]
    pub fn on(&self, host: &str) -> Self {
        Self {
            host: host.into(),
            ..self.clone()
        }
    }

    /// Tells that something happened to an object. Never waits.
    pub fn event(&self, about: ObjectReference, kind: EventType, reason: &str, message: String) {
        self.event_of(about, kind, reason, message, Duration::ZERO);
    }

    /// The same for something that happened a while ago.
    pub fn event_of(&self, about: ObjectReference, kind: EventType, reason: &str, message: String, ago: Duration) {
        let now = self.world.now();
        let told = Told {
            about,
            kind,
            reason: reason.to_owned(),
            message,
            at: now.checked_sub(ago).unwrap_or(now),
            component: self.component,
            host: Arc::clone(&self.host),
        };
        if let Some(listener) = &self.listener {
            listener(&told);
        }
        if let Err(error) = self.sender.try_send(told) {
            tracing::debug!(%error, "an Event is not recorded");
        }
    }
}

async fn write(registry: Registry, mut told: mpsc::Receiver<Told>, shutdown: CancellationToken) {
    loop {
        let first = tokio::select! {
            biased;
            first = told.recv() => first,
            () = shutdown.cancelled() => None,
        };
        let Some(first) = first else { return };
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(GATHER) => {}
        }
        let mut batch = vec![first];
        while batch.len() < BATCH {
            match told.try_recv() {
                Ok(more) => batch.push(more),
                Err(_) => break,
            }
        }
        record(&registry, batch).await;
    }
}

/// Writes a batch: all in one transaction, or each by itself where something stands in the way of one.
async fn record(registry: &Registry, batch: Vec<Told>) {
    let mut events: BTreeMap<(String, String), Vec<Told>> = BTreeMap::new();
    for told in batch {
        events.entry(place(&told)).or_default().push(told);
    }
    let writes = |events: &BTreeMap<(String, String), Vec<Told>>| -> Vec<Write> {
        let snapshot = registry.snapshot();
        let write = |((namespace, name), told): (&(String, String), &Vec<Told>)| {
            let before = find(&snapshot, Kind::Event, namespace, name);
            let event = counted(before.as_ref().map(|object| object.typed::<Event>()), told)?;
            Some(match before {
                Some(object) => {
                    let mut value = event.to_value();
                    value["metadata"] = object.to_value()["metadata"].clone();
                    Write::Update { object, value }
                }
                None => {
                    let mut event = event;
                    event.metadata.name.clone_from(name);
                    event.metadata.namespace = Some(namespace.clone());
                    Write::Create(Kind::Event, event.to_value())
                }
            })
        };
        events.iter().filter_map(write).collect()
    };
    if registry.transact(writes(&events)).await.is_ok() {
        return;
    }
    for (place, told) in events {
        let alone = BTreeMap::from([(place, told)]);
        if let Err(error) = registry.transact(writes(&alone)).await {
            tracing::debug!(%error, "an Event is not recorded");
        }
    }
}

/// Where an Event is kept: the same for the same thing happening to the same object.
fn place(told: &Told) -> (String, String) {
    let about = &told.about;
    let namespace = match about.namespace.as_str() {
        "" => namespace::DEFAULT,
        given => given,
    };
    let mut digest = Sha256::new();
    for part in [&about.kind, &about.uid, &told.reason, &gist(&told.message)] {
        digest.update(part.as_bytes());
        digest.update([0]);
    }
    digest.update(told.component);
    let digest = digest.finalize();
    let hex: String = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
    let longest = 253 - 1 - hex.len();
    let name: String = about.name.chars().take(longest).collect();
    // Cut anywhere, it would be no name any more.
    let name = name.trim_end_matches(['.', '-']);
    (namespace.to_owned(), format!("{name}.{hex}"))
}

/// A message without its durations: `started in 0.3 s` and `started in 0.4 s` say the same.
fn gist(message: &str) -> String {
    let mut words: Vec<&str> = message.split(' ').collect();
    for at in 1..words.len() {
        if words[at].trim_end_matches(|c: char| c.is_ascii_punctuation()) == "s" && words[at - 1].parse::<f64>().is_ok()
        {
            words[at - 1] = "#";
        }
    }
    words.join(" ")
}

/// The Event as it is after it happened (again).
fn counted(before: Option<&Event>, told: &[Told]) -> Option<Event> {
    let last = told.last()?;
    let first = before.and_then(|event| event.first_timestamp);
    let message: String = last.message.chars().take(LONGEST).collect();
    Some(Event {
        metadata: before.map(|event| event.metadata.clone()).unwrap_or_default(),
        involved_object: ObjectReference {
            api_version: API_VERSION.to_owned(),
            ..last.about.clone()
        },
        reason: last.reason.clone(),
        message,
        kind: last.kind,
        // Anyone can write an Event with any number.
        count: before.map_or(0, |event| event.count).saturating_add(told.len() as u64),
        first_timestamp: first.or(told.first().map(|told| told.at)),
        last_timestamp: Some(last.at),
        source: EventSource {
            component: last.component.to_owned(),
            host: last.host.to_string(),
        },
        reporting_component: last.component.to_owned(),
        reporting_instance: last.host.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        store::{Options, Store},
        world::World,
    };

    #[tokio::test(start_paused = true)]
    async fn the_same_thing_again_is_counted() {
        let registry = Registry::open(Store::memory(Options::default()), World::real())
            .await
            .unwrap();
        let shutdown = CancellationToken::new();
        let (recorder, run) = Recorder::new(registry.clone(), "here", None, shutdown.clone());
        let run = tokio::spawn(run);
        let about = ObjectReference {
            kind: "Task".to_owned(),
            namespace: "default".to_owned(),
            name: "web".to_owned(),
            uid: "u".to_owned(),
            ..ObjectReference::default()
        };
        for message in ["started in 0.3 s", "started in 0.4 s", "exited with code 1: x"] {
            recorder.event(about.clone(), EventType::Normal, "Started", message.to_owned());
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        recorder.event(
            about.clone(),
            EventType::Normal,
            "Started",
            "started in 9.0 s".to_owned(),
        );
        // What was told before the end is still written.
        shutdown.cancel();
        run.await.unwrap();
        let events = registry.list(Kind::Event, Some("default")).items;
        let mut counts: Vec<(u64, String)> = events
            .iter()
            .map(|object| object.typed::<Event>())
            .map(|event| (event.count, event.message.clone()))
            .collect();
        counts.sort();
        assert_eq!(
            counts,
            [
                (1, "exited with code 1: x".to_owned()),
                (3, "started in 9.0 s".to_owned())
            ]
        );
    }

    fn told(name: &str, message: String, second: i64) -> Told {
        Told {
            about: ObjectReference {
                kind: "Task".to_owned(),
                name: name.to_owned(),
                uid: "u".to_owned(),
                ..ObjectReference::default()
            },
            kind: EventType::Normal,
            reason: "Started".to_owned(),
            message,
            at: Timestamp::from_second(second).unwrap(),
            component: "cube",
            host: "here".into(),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Whatever an object is called, its Events can be kept; and the same thing has one place however long it took.
        #[test]
        fn every_event_has_a_place(
            name in "[a-z0-9]([-.]?[a-z0-9]){0,126}", message in "\\PC{0,40}", first in 0..100_u32, second in 0..100_u32,
        ) {
            let (namespace, place) = super::place(&told(&name, message.clone(), 0));
            let mut event = counted(None, &[told(&name, message.clone(), 0)]).unwrap();
            (event.metadata.name, event.metadata.namespace) = (place.clone(), Some(namespace));
            prop_assert_eq!(super::super::check(Kind::Event, &event.to_value()), []);
            let took = |seconds: u32| told(&name, format!("{message} in 0.{seconds} s"), 0);
            prop_assert_eq!(super::place(&took(first)), super::place(&took(second)));
            prop_assert_ne!(super::place(&took(first)).1, place);
        }

        /// In whatever portions it is told: all is counted, from the first time to the last.
        #[test]
        fn portions_do_not_matter(seconds in prop::collection::vec(0..1000_i64, 1..20), cut in 0..20_usize, many in any::<u64>()) {
            let all: Vec<Told> = seconds.iter().map(|at| told("web", format!("at {at}"), *at)).collect();
            let (first, rest) = all.split_at(cut.min(all.len()));
            let whole = counted(None, &all);
            let early = counted(None, first);
            let in_two = counted(early.as_ref(), rest).or(early);
            prop_assert_eq!(&in_two, &whole);
            let before = Event { count: many, ..whole.unwrap() };
            prop_assert_eq!(counted(Some(&before), &all).unwrap().count, many.saturating_add(all.len() as u64));
        }
    }
}

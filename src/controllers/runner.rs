//! The one runner of all loops: changes in, looks in turn, transactions out.
//!
//! Decisions are short and made one after the other; their transactions are under way together and share a sync. Read
//! [`Runner::run`] first.
#[cfg(test)]
mod tests;

use std::time::Duration;

use cube_api::{event::EventType, event::ObjectReference, kinds::Kind, meta::OwnerReference};
use futures_util::{
    future::{BoxFuture, join_all},
    stream::{FuturesUnordered, StreamExt},
};
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{index::Index, queue::Queue};
use crate::{
    registry::{ApiError, Feed, News, Object, ObjectChange, Recorder, Registry, StatusReason, Write, all, find},
    store::{Key, Snapshot},
    world::{Slice, World, process::apart},
};

/// So many looks' transactions are under way at once. More would not fill a sync better, and makes each wait longer.
const UNDER_WAY: usize = 256;
/// And so many objects in them: eight groups of the store's. Each takes some 10 KB on its way.
const WRITES: usize = 2048;
/// So many looks are taken of one snapshot. More would decide on what is no longer so.
const PASS: usize = 64;

/// The longest waits before another try. A race is over at once; a disk is tried often enough that work goes on soon
/// after it is mended, and seldom enough that trying costs nothing; what is refused for what it is waits for a change,
/// which wakes it, and is tried again only in case that something else has changed.
const AFTER_RACE: Duration = Duration::from_secs(1);
const AFTER_TROUBLE: Duration = Duration::from_secs(2);
const AFTER_REFUSAL: Duration = Duration::from_secs(300);

/// One loop: which keys a change concerns, and what is to be done about a key.
pub(super) trait Hand: Send {
    /// Its name, for the log.
    fn name(&self) -> &'static str;

    /// Everything is told anew: what the loop remembers beside the view is to be forgotten.
    fn forget(&mut self) {}

    /// The keys that are to be looked at because of the change.
    fn wakes(&mut self, change: &Change, view: &View, wake: &mut Vec<Key>);

    /// What is to be done about a key.
    fn look(&mut self, key: &Key, view: &View) -> Outcome;
}

/// What a look sees.
pub(super) struct View<'a> {
    pub snapshot: &'a Snapshot,
    pub index: &'a Index,
    pub now: Timestamp,
}

impl View<'_> {
    /// The object of a key.
    pub fn get(&self, key: &Key) -> Option<Object> {
        let kind = Kind::from_plural(key.plural())?;
        find(self.snapshot, kind, key.namespace(), key.name())
    }

    /// Whether a namespace is on its way out (or gone): what is in it goes with it, and nothing new can come.
    pub fn is_closing(&self, namespace: &str) -> bool {
        find(self.snapshot, Kind::Namespace, "", namespace).is_none_or(|object| object.is_deleting())
    }
}

/// The key of an owner, if it is of a kind of ours.
pub(super) fn owner_key(owner: &OwnerReference, namespace: &str) -> Option<Key> {
    let info = Kind::from_kind(&owner.kind)?.info();
    let namespace = if info.namespaced { namespace } else { "" };
    let is_name = !owner.name.contains('/') && info.namespaced != namespace.is_empty();
    is_name.then(|| Key::new(info.plural, namespace, &owner.name))
}

/// One change of one object.
pub(super) struct Change {
    pub object: Object,
    pub gone: bool,
    /// The owners that it had before, where they are others now.
    pub former_owners: Option<Vec<OwnerReference>>,
}

impl Change {
    pub fn key(&self) -> &Key {
        &self.object.record().key
    }
}

/// What a look comes to.
#[derive(Default)]
pub(super) struct Outcome {
    /// Each is written whole or not at all, and stands for itself.
    pub transactions: Vec<Vec<Write>>,
    /// Told once all of it is written.
    pub tell: Vec<Tell>,
    /// Look again after this time.
    pub again: Option<Duration>,
    /// However much changes, not again before this time has passed.
    pub rest: Duration,
}

/// Something to tell people.
pub(super) struct Tell {
    pub about: ObjectReference,
    pub kind: EventType,
    pub reason: &'static str,
    pub message: String,
}

/// Which loop, and which object.
type Place = (usize, Key);

struct Finished {
    place: Place,
    about: Option<ObjectReference>,
    failed: Option<ApiError>,
    tell: Vec<Tell>,
    again: Option<Duration>,
    rest: Duration,
    writes: usize,
}

/// The runner.
pub(super) struct Runner {
    registry: Registry,
    world: World,
    recorder: Recorder,
    hands: Vec<Box<dyn Hand>>,
    feed: Feed,
    index: Index,
    queue: Queue<Place>,
    under_way: FuturesUnordered<BoxFuture<'static, Finished>>,
    /// So many objects are in them.
    writes: usize,
}

impl Runner {
    pub fn new(registry: Registry, world: World, recorder: Recorder, hands: Vec<Box<dyn Hand>>) -> Self {
        Self {
            feed: Feed::new(registry.clone()),
            registry,
            world,
            recorder,
            hands,
            index: Index::default(),
            queue: Queue::new(),
            under_way: FuturesUnordered::new(),
            writes: 0,
        }
    }

    pub async fn run(mut self, shutdown: CancellationToken) {
        loop {
            self.pass().await;
            let due = self.queue.next_due();
            let idle = self.under_way.is_empty();
            tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                Some(finished) = self.under_way.next(), if !idle => self.finish(finished),
                news = self.feed.next() => self.take(news).await,
                () = until(due) => {}
            }
        }
    }

    /// Takes up all that is due, and looks at what is ready.
    async fn pass(&mut self) {
        self.queue.due(Instant::now());
        let mut slice = Slice::begin();
        loop {
            let snapshot = self.catch_up().await;
            let view = View {
                snapshot: &snapshot,
                index: &self.index,
                now: self.world.now(),
            };
            for turn in 0.. {
                slice.share().await;
                if self.under_way.len() >= UNDER_WAY || self.writes >= WRITES {
                    return;
                }
                if turn == PASS {
                    break;
                }
                let Some(place) = self.queue.take() else { return };
                let outcome = self.hands[place.0].look(&place.1, &view);
                if outcome.transactions.is_empty() {
                    let finished = Finished {
                        place,
                        about: None,
                        failed: None,
                        tell: outcome.tell,
                        again: outcome.again,
                        rest: outcome.rest,
                        writes: 0,
                    };
                    finish(
                        &mut self.queue,
                        &self.recorder,
                        &self.world,
                        finished,
                        self.hands.as_slice(),
                    );
                } else {
                    let about = view.get(&place.1).map(|object| object.reference());
                    let registry = self.registry.clone();
                    self.writes += writes(&outcome);
                    self.under_way
                        .push(Box::pin(apart(carry_out(registry, place, about, outcome))));
                }
            }
        }
    }

    /// A snapshot, and an index of the very same revision: a loop must see what it wrote itself, and what woke it.
    async fn catch_up(&mut self) -> Snapshot {
        loop {
            while let Some(news) = self.feed.ready() {
                self.take(news).await;
            }
            let snapshot = self.registry.snapshot();
            // What was published in between is taken up too: it may have come before the look at the feed, or after.
            if snapshot.revision() <= self.feed.revision() {
                return snapshot;
            }
        }
    }

    async fn take(&mut self, news: News) {
        match news {
            News::Changes(changes) => {
                let snapshot = self.registry.snapshot();
                for change in changes {
                    self.change(change, &snapshot);
                }
            }
            News::Anew(snapshot) => {
                self.index = Index::default();
                for hand in &mut self.hands {
                    hand.forget();
                }
                let objects: Vec<Object> = all(&snapshot).collect();
                let mut slice = Slice::begin();
                for object in &objects {
                    slice.share().await;
                    self.index.change(None, Some(object));
                }
                for object in objects {
                    slice.share().await;
                    let change = Change {
                        object,
                        gone: false,
                        former_owners: Some(Vec::new()),
                    };
                    self.wake(&change, &snapshot);
                }
            }
        }
    }

    fn change(&mut self, change: ObjectChange, snapshot: &Snapshot) {
        self.index.change(change.before.as_ref(), change.after.as_ref());
        fn owners(object: &Object) -> &[OwnerReference] {
            &object.meta().owner_references
        }
        let before = change.before.as_ref().map_or(&[][..], owners);
        let after = change.after.as_ref().map(owners);
        // An object that comes with none had none before.
        let former_owners = (after != Some(before)).then(|| before.to_vec());
        let change = Change {
            object: change.object().clone(),
            gone: change.after.is_none(),
            former_owners,
        };
        self.wake(&change, snapshot);
    }

    fn wake(&mut self, change: &Change, snapshot: &Snapshot) {
        let view = View {
            snapshot,
            index: &self.index,
            now: self.world.now(),
        };
        let mut wake = Vec::new();
        for (number, hand) in self.hands.iter_mut().enumerate() {
            hand.wakes(change, &view, &mut wake);
            for key in wake.drain(..) {
                self.queue.add((number, key));
            }
        }
    }

    fn finish(&mut self, finished: Finished) {
        self.writes -= finished.writes;
        finish(
            &mut self.queue,
            &self.recorder,
            &self.world,
            finished,
            self.hands.as_slice(),
        );
    }
}

/// So many objects it writes.
fn writes(outcome: &Outcome) -> usize {
    outcome.transactions.iter().map(Vec::len).sum()
}

/// Writes what a look came to.
async fn carry_out(registry: Registry, place: Place, about: Option<ObjectReference>, outcome: Outcome) -> Finished {
    let writes = writes(&outcome);
    let written = outcome.transactions.into_iter().map(|writes| registry.transact(writes));
    let failed = join_all(written).await.into_iter().find_map(Result::err);
    Finished {
        place,
        about,
        failed,
        tell: outcome.tell,
        again: outcome.again,
        rest: outcome.rest,
        writes,
    }
}

/// What becomes of a key after a look.
fn finish(queue: &mut Queue<Place>, recorder: &Recorder, world: &World, finished: Finished, hands: &[Box<dyn Hand>]) {
    let Finished {
        place,
        about,
        failed,
        tell,
        again,
        rest,
        writes: _,
    } = finished;
    let now = Instant::now();
    if let Some(error) = failed {
        let (hand, key) = (hands[place.0].name(), &place.1);
        let longest = match error.reason {
            // Others came between, as they may.
            StatusReason::Conflict | StatusReason::NotFound | StatusReason::AlreadyExists => {
                tracing::trace!(hand, %key, %error, "looking again");
                AFTER_RACE
            }
            StatusReason::ServiceUnavailable => {
                tracing::warn!(hand, %key, %error, "a decision could not be written; it is tried again");
                AFTER_TROUBLE
            }
            // Refused for what it is: people have to know.
            _ => {
                tracing::warn!(hand, %key, %error, "a decision was refused; it is tried again");
                if let Some(about) = about {
                    recorder.event(about, EventType::Warning, "Refused", refusal(&error));
                }
                AFTER_REFUSAL
            }
        };
        queue.failed(place, now, longest, world.random());
        return;
    }
    for Tell {
        about,
        kind,
        reason,
        message,
    } in tell
    {
        recorder.event(about, kind, reason, message);
    }
    queue.done(&place, (!rest.is_zero()).then(|| now + rest));
    if let Some(wait) = again {
        queue.add_after(place, now, wait);
    }
}

/// A refusal without the name that was meant, which is another one at each try.
fn refusal(error: &ApiError) -> String {
    let causes: Vec<String> = error.causes.iter().map(ToString::to_string).collect();
    match (error.kind, causes.is_empty()) {
        (Some(kind), false) => format!("{}: {}", kind.info().singular, causes.join(", ")),
        _ => error.to_string(),
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// The object without that finalizer.
pub(super) fn release(object: &Object, finalizer: &str) -> Write {
    Write::edit(object, |value| {
        if let Some(held) = value["metadata"]["finalizers"].as_array_mut() {
            held.retain(|held| held != finalizer);
        }
    })
}

//! Which Task is next, and which are looked at again when something changes.
//!
//! What fits nowhere waits with all Tasks of the same demand: one look answers for them all, so that any number of them
//! costs a change as much as one, and none holds up another.
use cube_planted::{Bug, planted};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use cube_api::task::Task;
use jiff::Timestamp;

use super::{Demand, Index};

/// The place of a Task in the queue: higher priority first, then the older.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    priority: Reverse<i32>,
    created: Option<Timestamp>,
    uid: String,
    /// `namespace/name`.
    pub key: String,
}

impl Rank {
    fn of(key: &str, task: &Task) -> Self {
        Self {
            priority: Reverse(task.spec.priority),
            created: task.metadata.creation_timestamp,
            uid: task.metadata.uid.clone(),
            key: key.to_owned(),
        }
    }
}

/// The Tasks that no node has.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Queue {
    /// To be looked at now.
    active: BTreeSet<Rank>,
    /// Those that fit nowhere, by what they ask for.
    waiting: BTreeMap<Arc<Demand>, BTreeSet<Rank>>,
    /// All of them, by `namespace/name`.
    known: BTreeMap<String, (Rank, Arc<Demand>)>,
}

impl Queue {
    /// A Task without a node, as it is now. What waits goes on waiting unless it asks for something else.
    pub fn set(&mut self, key: &str, task: &Task, demand: Demand) {
        let rank = Rank::of(key, task);
        if let Some((old_rank, old_demand)) = self.known.get(key) {
            if *old_rank == rank && **old_demand == demand {
                return;
            }
            self.remove(key);
        }
        self.active.insert(rank.clone());
        self.known.insert(key.to_owned(), (rank, Arc::new(demand)));
    }

    /// The Task is no longer one without a node.
    pub fn remove(&mut self, key: &str) {
        let Some((rank, demand)) = self.known.remove(key) else {
            return;
        };
        self.active.remove(&rank);
        remove_from(&mut self.waiting, &demand, &rank);
    }

    /// The next Task to be looked at; it is then no longer in the queue.
    pub fn take(&mut self) -> Option<(Rank, Arc<Demand>)> {
        let rank = self.active.pop_first()?;
        self.known.remove(&rank.key)
    }

    /// A Task that was looked at fits nowhere.
    pub fn wait(&mut self, rank: Rank, demand: Arc<Demand>) {
        self.known.insert(rank.key.clone(), (rank.clone(), demand.clone()));
        self.waiting.entry(demand).or_default().insert(rank);
    }

    /// A Task that was looked at is to be looked at again.
    pub fn again(&mut self, rank: Rank, demand: Arc<Demand>) {
        self.known.insert(rank.key.clone(), (rank.clone(), demand));
        self.active.insert(rank);
    }

    /// Those that fit somewhere now, after what has changed since the last time, are looked at again. Says whether there
    /// are any.
    pub fn wake(&mut self, index: &mut Index) -> bool {
        let news = index.take_news();
        if !news.any || self.waiting.is_empty() || planted(Bug::RoomUnnoticed) {
            return false;
        }
        let mut fitting = Vec::new();
        for (demand, ranks) in &self.waiting {
            let fits = if news.everywhere || demand.reaches_far() {
                index.place(demand).is_some()
            } else {
                news.roomier.iter().any(|node| index.fits(node, demand))
            };
            // Room that is kept for one of them is there for that one alone.
            let mut is_kept =
                |rank: &&Rank| index.keeps_room(&rank.key) && index.place_task(&rank.key, demand).is_some();
            match fits {
                true => fitting.extend(ranks.iter().cloned()),
                false => fitting.extend(ranks.iter().filter(|rank| is_kept(rank)).cloned()),
            }
        }
        for rank in &fitting {
            if let Some((_, demand)) = self.known.get(&rank.key) {
                remove_from(&mut self.waiting, demand, rank);
            }
        }
        let any = !fitting.is_empty();
        self.active.extend(fitting);
        any
    }

    /// What waits, by what it asks for.
    pub fn waiting(&self) -> impl Iterator<Item = (&Arc<Demand>, &BTreeSet<Rank>)> {
        self.waiting.iter()
    }

    /// Whether nothing waits.
    pub fn none_waiting(&self) -> bool {
        self.waiting.is_empty()
    }
}

fn remove_from(waiting: &mut BTreeMap<Arc<Demand>, BTreeSet<Rank>>, demand: &Demand, rank: &Rank) {
    if let Some(class) = waiting.get_mut(demand) {
        class.remove(rank);
        if class.is_empty() {
            waiting.remove(demand);
        }
    }
}

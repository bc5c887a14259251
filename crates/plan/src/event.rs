//! Which Events are too old or too many.
//!
//! [`Shelf`] is plain data kept with each Event, so that a decision costs what it removes and nothing else.
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

/// Events are kept for so long after they last happened.
pub const KEPT: Duration = Duration::from_secs(3600);
/// At most so many in all. More would fill the memory of a manager whose Tasks fail without end.
pub const MOST: usize = 10_000;
/// At most so many in a namespace, so that one that is in trouble does not hide the others'.
pub const MOST_OF_NAMESPACE: usize = 1_000;
/// What is too old is removed together, so often at most. Shorter wakes a machine that has nothing else to do.
const TOGETHER: Duration = Duration::from_secs(60);

/// When each Event last happened. An Event is named by its namespace and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shelf {
    at: BTreeMap<(String, String), Timestamp>,
    by_time: BTreeSet<(Timestamp, (String, String))>,
    of_namespace: BTreeMap<String, BTreeSet<(Timestamp, String)>>,
}

impl Shelf {
    /// An Event last happened then.
    pub fn set(&mut self, namespace: &str, name: &str, at: Timestamp) {
        self.remove(namespace, name);
        let id = (namespace.to_owned(), name.to_owned());
        self.by_time.insert((at, id.clone()));
        let room = self.of_namespace.entry(namespace.to_owned()).or_default();
        room.insert((at, name.to_owned()));
        self.at.insert(id, at);
    }

    /// An Event is gone.
    pub fn remove(&mut self, namespace: &str, name: &str) {
        let id = (namespace.to_owned(), name.to_owned());
        let Some(at) = self.at.remove(&id) else { return };
        self.by_time.remove(&(at, id));
        if let Some(room) = self.of_namespace.get_mut(namespace) {
            room.remove(&(at, name.to_owned()));
            if room.is_empty() {
                self.of_namespace.remove(namespace);
            }
        }
    }

    /// The Events that are to go, oldest first.
    pub fn excess(&self, now: Timestamp) -> Vec<(String, String)> {
        let oldest = now.saturating_sub(signed(KEPT)).unwrap_or(Timestamp::MIN);
        let mut going: BTreeSet<(Timestamp, (String, String))> = self
            .by_time
            .iter()
            .take_while(|(at, _)| *at <= oldest)
            .cloned()
            .collect();
        for (namespace, room) in &self.of_namespace {
            let excess = room.len().saturating_sub(MOST_OF_NAMESPACE);
            let excess = room.iter().take(excess);
            going.extend(excess.map(|(at, name)| (*at, (namespace.clone(), name.clone()))));
        }
        let mut excess = self.by_time.len().saturating_sub(MOST + going.len());
        for event in &self.by_time {
            if excess == 0 {
                break;
            }
            if going.insert(event.clone()) {
                excess -= 1;
            }
        }
        going.into_iter().map(|(_, id)| id).collect()
    }

    /// How long until one is too old: at least [`TOGETHER`], so that several are.
    pub fn next(&self, now: Timestamp) -> Option<Duration> {
        let (oldest, _) = self.by_time.first()?;
        let left = signed(KEPT).saturating_sub(now.duration_since(*oldest));
        Some(Duration::try_from(left).unwrap_or_default().max(TOGETHER))
    }
}

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn an_hour_after_it_last_happened_an_event_goes() {
        let mut shelf = Shelf::default();
        assert_eq!(shelf.next(at(0)), None);
        shelf.set("a", "old", at(0));
        shelf.set("a", "again", at(0));
        shelf.set("a", "again", at(100));
        assert_eq!(shelf.next(at(600)), Some(Duration::from_secs(3000)));
        assert!(shelf.excess(at(3599)).is_empty());
        assert_eq!(shelf.excess(at(3600)), [("a".to_owned(), "old".to_owned())]);
        assert_eq!(shelf.next(at(3600)), Some(TOGETHER), "several go together");
        shelf.remove("a", "old");
        shelf.remove("a", "again");
        assert_eq!(shelf, Shelf::default());
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut shelf = Shelf::default();
        for number in 0..MOST_OF_NAMESPACE as i64 + 3 {
            shelf.set("loud", &format!("e{number}"), at(number));
        }
        shelf.set("quiet", "e", at(0));
        let names: Vec<String> = shelf.excess(at(10)).into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, ["e0", "e1", "e2"]);
        for room in 0..11 {
            for number in 0..MOST_OF_NAMESPACE as i64 {
                shelf.set(&format!("n{room:02}"), &format!("e{number}"), at(3000 + number));
            }
        }
        let excess = shelf.excess(at(10));
        assert_eq!(
            excess.len(),
            12 * MOST_OF_NAMESPACE + 4 - MOST,
            "as many as are too many, and no more"
        );
        assert!(
            excess.contains(&("quiet".to_owned(), "e".to_owned())),
            "the oldest of all"
        );
    }

    proptest! {
        // Each case has thousands of Events.
        #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

        /// Whatever happened when: what is left is neither too old nor too many, what goes is older than what stays in its
        /// place, and once it is gone nothing more goes.
        #[test]
        fn what_is_left_is_young_and_few(
            rooms in prop::collection::vec((0..1200_i64, 0..4000_i64, 1..5_i64), 1..4),
            again in prop::collection::vec((0..4_usize, 0..1200_i64, 0..8000_i64), 0..20),
            now in 0..9000_i64,
        ) {
            let mut shelf = Shelf::default();
            let mut model = BTreeMap::new();
            let mut set = |room: usize, number: i64, second: i64| {
                let (room, name) = (format!("n{room}"), format!("e{number}"));
                shelf.set(&room, &name, at(second));
                model.insert((room, name), at(second));
            };
            for (room, (count, first, apart)) in rooms.iter().enumerate() {
                (0..*count).for_each(|number| set(room, number, first + number * apart));
            }
            again.iter().for_each(|(room, number, second)| set(*room, *number, *second));
            let going = shelf.excess(at(now));
            let oldest = at(now).saturating_sub(signed(KEPT)).unwrap();
            for id in &going {
                let when = model.remove(id).expect("only what is there goes, and goes once");
                let fellows = model.iter().filter(|((room, _), _)| *room == id.0);
                let younger = fellows.filter(|(_, other)| **other >= when).count();
                prop_assert!(when <= oldest || younger >= MOST_OF_NAMESPACE, "{:?} goes and need not", id);
                shelf.remove(&id.0, &id.1);
            }
            prop_assert!(model.values().all(|when| *when > oldest));
            prop_assert_eq!(shelf.at.len(), model.len());
            prop_assert_eq!(shelf.by_time.len(), model.len());
            prop_assert!(shelf.of_namespace.values().all(|room| !room.is_empty() && room.len() <= MOST_OF_NAMESPACE));
            prop_assert_eq!(shelf.excess(at(now)), Vec::new());
            if let Some(next) = shelf.next(at(now)) {
                prop_assert!(next >= TOGETHER);
                let then = at(now).saturating_add(signed(next)).unwrap();
                prop_assert!(!shelf.excess(then).is_empty(), "nothing goes when it was said to");
            }
        }
    }
}

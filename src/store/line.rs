//! Who waits for the disk, and who goes with the next sync.
//!
//! Pure. Clients go first, since somebody waits for each of them; of Cube's own loops, which may have thousands of transactions
//! at once, some go with every group, so that neither holds up the other for long.

use std::collections::VecDeque;

use super::{Options, Origin, Transaction};

/// So many changes of loops go with a group of clients' at most, so that these do not wait for them.
const BESIDE: usize = 128;
/// And so many where no client waits: one may come while they are written. Fewer would waste syncs.
const ALONE: usize = 256;

/// What waits, each with who waits for it.
pub(super) struct Line<W> {
    clients: VecDeque<(Transaction, W)>,
    loops: VecDeque<(Transaction, W)>,
    whole: Room,
}

/// How much may still go with a group. What uses it up goes along.
#[derive(Clone, Copy)]
struct Room {
    changes: usize,
    bytes: usize,
}

impl Room {
    fn fill<W>(mut self, line: &mut VecDeque<(Transaction, W)>, group: &mut Vec<(Transaction, W)>) {
        while self.changes > 0 && self.bytes > 0 {
            let Some(next) = line.pop_front() else { return };
            self.changes = self.changes.saturating_sub(next.0.changes.len());
            self.bytes = self.bytes.saturating_sub(next.0.size());
            group.push(next);
        }
    }
}

impl<W> Line<W> {
    /// Nobody waits. Groups are as large as `options` say.
    pub fn new(options: &Options) -> Self {
        Self {
            clients: VecDeque::new(),
            loops: VecDeque::new(),
            whole: Room {
                changes: options.group_changes,
                bytes: options.group_bytes,
            },
        }
    }

    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.loops.is_empty()
    }

    pub fn join(&mut self, transaction: Transaction, who: W) {
        match transaction.origin {
            Origin::Client => self.clients.push_back((transaction, who)),
            Origin::Loop => self.loops.push_back((transaction, who)),
        }
    }

    /// Those that go next, together; none only if nobody waits.
    pub fn next(&mut self) -> Vec<(Transaction, W)> {
        let mut group = Vec::new();
        self.whole.fill(&mut self.clients, &mut group);
        let most = if group.is_empty() { ALONE } else { BESIDE };
        let beside = Room {
            changes: most.min(self.whole.changes),
            ..self.whole
        };
        beside.fill(&mut self.loops, &mut group);
        group
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Change, Key};
    use super::*;

    fn transaction(origin: Origin, changes: usize) -> Transaction {
        let change = Change::Put(Key::new("tasks", "default", "a"), vec![0; 100]);
        Transaction {
            changes: vec![change; changes],
            origin,
            ..Transaction::default()
        }
    }

    fn line(group_changes: usize, group_bytes: usize) -> Line<char> {
        Line::new(&Options {
            group_changes,
            group_bytes,
            ..Options::default()
        })
    }

    fn next(line: &mut Line<char>) -> String {
        line.next().into_iter().map(|(_, who)| who).collect()
    }

    #[test]
    fn clients_go_first_and_some_of_the_loops_with_them() {
        let mut line = line(1024, 1 << 20);
        for who in 'a'..='d' {
            line.join(transaction(Origin::Loop, 100), who);
        }
        assert_eq!((next(&mut line), next(&mut line)), ("abc".to_owned(), "d".to_owned()));
        for who in 'a'..='d' {
            line.join(transaction(Origin::Loop, 100), who);
        }
        line.join(transaction(Origin::Client, 1), 'X');
        line.join(transaction(Origin::Client, 1), 'Y');
        assert_eq!(next(&mut line), "XYab");
        line.join(transaction(Origin::Client, 2000), 'Z');
        line.join(transaction(Origin::Client, 1), 'W');
        assert_eq!(next(&mut line), "Zcd");
        assert_eq!(next(&mut line), "W");
        assert!(line.is_empty());
        assert_eq!(next(&mut line), "");
    }

    #[test]
    fn a_group_ends_with_what_uses_up_its_room() {
        for (changes, bytes, first) in [
            (2, 1 << 20, "ab"),
            (1, 1 << 20, "a"),
            (1024, 250, "abc"),
            (1024, 1, "a"),
        ] {
            let mut line = line(changes, bytes);
            for who in 'a'..='d' {
                line.join(transaction(Origin::Loop, 1), who);
            }
            assert_eq!(next(&mut line), first, "{changes} changes, {bytes} bytes");
        }
    }
}

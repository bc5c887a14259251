//! Which nodes have changed since when: what kept answers catch up by.
use std::{collections::BTreeMap, sync::Arc};

/// Each node with its last change, in their order.
#[derive(Clone, Debug, Default)]
pub(super) struct ChangeLog {
    now: u64,
    /// When those that keep others away from them last came to be or ceased.
    far: u64,
    last: BTreeMap<Arc<str>, u64>,
    order: BTreeMap<u64, Arc<str>>,
}

impl ChangeLog {
    /// The node is another.
    pub fn changed(&mut self, node: &str) {
        self.now += 1;
        let (name, before) = match self.last.remove_entry(node) {
            Some((name, at)) => (name, Some(at)),
            None => (Arc::from(node), None),
        };
        if let Some(at) = before {
            self.order.remove(&at);
        }
        self.order.insert(self.now, name.clone());
        self.last.insert(name, self.now);
    }

    /// Tasks that keep others away from them came to be, or ceased.
    pub fn far_came_or_went(&mut self) {
        self.now += 1;
        self.far = self.now;
    }

    /// When that last was.
    pub fn far_changed(&self) -> u64 {
        self.far
    }

    /// The number of the last change.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Nodes that have changed after that number.
    pub fn since(&self, seen: u64) -> impl Iterator<Item = &Arc<str>> {
        self.order.range(seen + 1..).map(|(_, node)| node)
    }
}

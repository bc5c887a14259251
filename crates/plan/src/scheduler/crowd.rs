//! How many Tasks of which sort are where: what affinity and spread count by.
//!
//! A crowd is kept for every sort that some Task speaks of, and counted on with each Task that comes or goes; nobody ever
//! looks through the Tasks to place one.
use std::{borrow::Borrow, collections::BTreeMap, sync::Arc};

use cube_api::{meta::NODE_LABEL, selector::LabelSelector};

use super::{Demand, demand::Term, node::Said};

/// A sort of Tasks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    /// Those of a controller, by its uid.
    Kin(String),
    /// Those with such labels.
    Labelled {
        /// In these namespaces, sorted.
        namespaces: Vec<String>,
        /// What their labels are.
        selector: LabelSelector,
    },
    /// Those that must be far from others by this term: it keeps those others away from them.
    FarFrom(Box<Term>),
}

impl Who {
    /// Whether a Task of that demand is one of them.
    pub(super) fn has(&self, demand: &Demand) -> bool {
        match self {
            Self::Kin(_) => demand.kin.as_ref() == Some(self),
            Self::Labelled { namespaces, selector } => {
                namespaces.contains(&demand.namespace) && selector.matches(&demand.labels)
            }
            Self::FarFrom(term) => demand.far.contains(term),
        }
    }
}

impl std::fmt::Display for Who {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kin(_) => f.write_str("its own kind"),
            Self::Labelled { selector, .. } if selector.is_empty() => f.write_str("any"),
            Self::Labelled { selector, .. } => write!(f, "{selector}"),
            Self::FarFrom(term) => write!(f, "those far from {}", term.who),
        }
    }
}

/// A number of Tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    /// All of them.
    pub all: u32,
    /// Those that are on their way out.
    pub leaving: u32,
}

impl Count {
    pub fn one(leaves: bool) -> Self {
        Self {
            all: 1,
            leaving: leaves.into(),
        }
    }

    /// Those that stay.
    pub fn staying(self) -> u32 {
        self.all - self.leaving
    }

    pub fn add(&mut self, more: Self) {
        self.all += more.all;
        self.leaving += more.leaving;
    }

    /// So many fewer are at that place; a place that has none is forgotten.
    pub fn take<K: Ord + Borrow<str>>(counts: &mut BTreeMap<K, Self>, place: &str, less: Self) {
        if let Some(there) = counts.get_mut(place) {
            there.all -= less.all;
            there.leaving -= less.leaving;
            if there.all == 0 {
                counts.remove(place);
            }
        }
    }
}

/// Where the Tasks of a sort are.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Crowd {
    /// So many demands speak of them.
    pub speakers: u32,
    /// All of them, on nodes that there are.
    pub total: u32,
    /// By node, also of nodes that are gone.
    by_node: BTreeMap<Arc<str>, Count>,
    /// By label and value, of the labels that are spoken of; with the number of demands that do.
    by_value: BTreeMap<String, (u32, BTreeMap<String, Count>)>,
}

impl Crowd {
    /// So many are on the node.
    pub fn on(&self, node: &str) -> Count {
        self.by_node.get(node).copied().unwrap_or_default()
    }

    /// So many are on nodes with that value of the label.
    pub fn at(&self, key: &str, value: &str) -> Count {
        let values = self.by_value.get(key).map(|(_, values)| values);
        values.and_then(|values| values.get(value)).copied().unwrap_or_default()
    }

    /// One comes to the node.
    pub fn come(&mut self, node: &Arc<str>, said: Option<&Said>, count: Count) {
        self.by_node.entry(node.clone()).or_default().add(count);
        self.place(said, count);
    }

    /// One leaves the node.
    pub fn go(&mut self, node: &str, said: Option<&Said>, count: Count) {
        Count::take(&mut self.by_node, node, count);
        self.displace(said, count);
    }

    /// The node says something else of itself.
    pub fn moved(&mut self, node: &str, before: Option<&Said>, after: Option<&Said>) {
        let count = self.on(node);
        if count.all > 0 {
            self.displace(before, count);
            self.place(after, count);
        }
    }

    fn place(&mut self, said: Option<&Said>, count: Count) {
        let Some(said) = said else { return };
        self.total += count.all;
        for (key, (_, values)) in &mut self.by_value {
            if let Some(value) = said.labels.get(key) {
                match values.get_mut(value) {
                    Some(there) => there.add(count),
                    None => {
                        values.insert(value.clone(), count);
                    }
                }
            }
        }
    }

    fn displace(&mut self, said: Option<&Said>, count: Count) {
        let Some(said) = said else { return };
        self.total -= count.all;
        for (key, (_, values)) in &mut self.by_value {
            if let Some(value) = said.labels.get(key) {
                Count::take(values, value, count);
            }
        }
    }

    /// A demand counts them by this label.
    pub fn count_by<'a>(&mut self, key: &str, said: impl Fn(&str) -> Option<&'a Said>) {
        if key == NODE_LABEL {
            return;
        }
        let (speakers, values) = self.by_value.entry(key.to_owned()).or_default();
        *speakers += 1;
        if *speakers > 1 {
            return;
        }
        for (node, count) in &self.by_node {
            if let Some(value) = said(node).and_then(|said| said.labels.get(key)) {
                values.entry(value.clone()).or_default().add(*count);
            }
        }
    }

    /// A demand no longer does.
    pub fn count_no_more_by(&mut self, key: &str) {
        if let Some((speakers, _)) = self.by_value.get_mut(key) {
            *speakers -= 1;
            if *speakers == 0 {
                self.by_value.remove(key);
            }
        }
    }
}

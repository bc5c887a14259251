//! What depends on Tasks elsewhere: affinity to them, and how evenly they are spread.
//!
//! Every such wish is a [`Probe`]: a sort of Tasks, a label, and what their number at a place means. What a probe reads at a
//! node is a [`Reading`]; nodes with the same readings are judged alike, so that one judgement holds for all of them.
use std::sync::Arc;

use cube_api::meta::NODE_LABEL;

use super::{
    Demand, Refusal,
    crowd::{Count, Who},
    facts::{Facts, Site},
    filter,
};

/// Where a node lacks the label that others are spread over, it counts as so crowded: last of all.
const NO_PLACE: u64 = 1 << 32;

/// One wish about Tasks elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Probe {
    role: Role,
    who: Arc<Who>,
    key: String,
}

/// The filters that probes belong to, in their order.
pub(super) const FILTERS: [&str; 3] = ["near", "far", "spread"];

/// What the number of Tasks at a place means.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Role {
    /// There must be some; `own`: the Task is one of them itself.
    Near { own: bool },
    /// There must be none.
    Far,
    /// They must not have the Task near: there must be none.
    KeptAway,
    /// There must not be too many more than where there are fewest.
    Even { max_skew: u32, own: bool },
    /// The fewer the better.
    Fewest,
    /// So much better if there are some.
    Rather(i32),
}

/// What a probe reads at a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reading {
    /// The node has not the label.
    Nowhere,
    /// The label is the node itself, which has so many of those Tasks.
    Here(u32),
    /// The value of the label.
    At(String),
}

/// What the wishes that need not be met make of a place; less is better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Leaning {
    /// Weights of the preferences that are met, below nothing.
    pub unwanted: i32,
    /// So many Tasks are there that would rather be spread.
    pub crowded: u64,
}

/// All wishes about Tasks elsewhere that concern Tasks of that demand, their own and others'.
pub(super) fn probes(demand: &Demand, facts: &Facts) -> Vec<Probe> {
    let mut probes = Vec::new();
    let mut add = |role, who: &Who, key: &str| {
        probes.push(Probe {
            role,
            who: Arc::new(who.clone()),
            key: key.to_owned(),
        });
    };
    for term in &demand.near {
        let own = term.who.has(demand);
        add(Role::Near { own }, &term.who, &term.key);
    }
    for term in &demand.far {
        add(Role::Far, &term.who, &term.key);
    }
    for who in facts.keeping_away(demand) {
        if let Who::FarFrom(term) = &*who {
            add(Role::KeptAway, &who, &term.key);
        }
    }
    for spread in &demand.spread {
        let own = spread.term.who.has(demand);
        let max_skew = spread.max_skew;
        let role = if spread.must {
            Role::Even { max_skew, own }
        } else {
            Role::Fewest
        };
        add(role, &spread.term.who, &spread.term.key);
    }
    for (weight, term) in &demand.rather {
        add(Role::Rather(*weight), &term.who, &term.key);
    }
    probes
}

impl Probe {
    /// The filter that it belongs to, for people; of what is only preferred, none.
    pub fn filter(&self) -> Option<&'static str> {
        match self.role {
            Role::Near { .. } => Some("near"),
            Role::Far | Role::KeptAway => Some("far"),
            Role::Even { .. } => Some("spread"),
            Role::Fewest | Role::Rather(_) => None,
        }
    }

    /// Whether it is compared with where there are fewest.
    pub fn is_relative(&self) -> bool {
        matches!(self.role, Role::Even { .. })
    }

    /// What it reads at the node.
    pub fn read(&self, site: Site) -> Reading {
        if self.key == NODE_LABEL {
            let crowd = site.facts.crowd(&self.who);
            return Reading::Here(crowd.map_or(0, |crowd| self.number(crowd.on(site.name))));
        }
        match site.value(&self.key) {
            Some(value) => Reading::At(value.to_owned()),
            None => Reading::Nowhere,
        }
    }

    /// How many Tasks there are at the place; none where it is no place.
    pub fn count(&self, reading: &Reading, facts: &Facts) -> Option<u32> {
        match reading {
            Reading::Nowhere => None,
            Reading::Here(number) => Some(*number),
            Reading::At(value) => {
                let crowd = facts.crowd(&self.who);
                Some(crowd.map_or(0, |crowd| self.number(crowd.at(&self.key, value))))
            }
        }
    }

    /// Tasks that are on their way out are still near, but no longer make a place full.
    fn number(&self, count: Count) -> u32 {
        match self.role {
            Role::Even { .. } | Role::Fewest => count.staying(),
            _ => count.all,
        }
    }
}

/// Whether a place with those readings can take the Task, and what the preferences make of it. `fewest` has, for each
/// probe that is compared, the number where there are fewest.
pub(super) fn judge(probes: &[Probe], readings: &[Reading], fewest: &[u32], facts: &Facts) -> Result<Leaning, Refusal> {
    let mut leaning = Leaning::default();
    for each in verdicts(probes, readings, fewest, facts) {
        let Leaning { unwanted, crowded } = each?;
        leaning.unwanted += unwanted;
        leaning.crowded += crowded;
    }
    Ok(leaning)
}

/// What each of the probes makes of a place.
pub(super) fn verdicts<'a>(
    probes: &'a [Probe],
    readings: &'a [Reading],
    fewest: &'a [u32],
    facts: &'a Facts,
) -> impl Iterator<Item = Result<Leaning, Refusal>> + 'a {
    let probed = probes.iter().zip(readings).zip(fewest);
    probed.map(move |((probe, reading), fewest)| {
        let count = probe.count(reading, facts);
        let (who, key) = (|| probe.who.to_string(), || probe.key.clone());
        let mut leaning = Leaning::default();
        match (probe.role, count) {
            (Role::Near { .. } | Role::Even { .. }, None) => return Err(Refusal::NoLabel(key())),
            (Role::Near { .. }, Some(0)) if !is_first(probes, facts) => {
                return Err(Refusal::Near { who: who(), key: key() });
            }
            (Role::Far, Some(1..)) => return Err(Refusal::Far { who: who(), key: key() }),
            (Role::KeptAway, Some(1..)) => return Err(Refusal::KeptAway { key: key() }),
            (Role::Even { max_skew, own }, Some(count)) => {
                let skew = (count + u32::from(own)).saturating_sub(*fewest);
                if skew > max_skew {
                    return Err(Refusal::Spread {
                        key: key(),
                        skew,
                        max_skew,
                    });
                }
            }
            (Role::Fewest, count) => leaning.crowded = count.map_or(NO_PLACE, u64::from),
            (Role::Rather(weight), Some(1..)) => leaning.unwanted = -weight,
            (Role::Near { .. } | Role::Far | Role::KeptAway | Role::Rather(_), _) => {}
        }
        Ok(leaning)
    })
}

/// Whether the node counts as a place to spread over, by what it reads.
pub(super) fn is_place(probes: &[Probe], readings: &[Reading], demand: &Demand, site: Site) -> bool {
    let mut relative = probes.iter().zip(readings).filter(|(probe, _)| probe.is_relative());
    let all_are = relative.all(|(_, reading)| *reading != Reading::Nowhere);
    all_are && filter::is_eligible(demand, site)
}

/// Whether the node's surroundings suit the Task, worked out from nothing.
pub(super) fn suit(probes: &[Probe], demand: &Demand, site: Site) -> bool {
    let read = |site: Site| -> Vec<Reading> { probes.iter().map(|probe| probe.read(site)).collect() };
    let mut fewest = vec![u32::MAX; probes.len()];
    if probes.iter().any(Probe::is_relative) {
        for site in site.facts.sites() {
            let readings = read(site);
            if is_place(probes, &readings, demand, site) {
                for ((probe, reading), fewest) in probes.iter().zip(&readings).zip(&mut fewest) {
                    *fewest = probe.count(reading, site.facts).unwrap_or(0).min(*fewest);
                }
            }
        }
    }
    judge(probes, &read(site), &fewest, site.facts).is_ok()
}

/// Whether the Task is the first of those that it must be near to: else none of them could ever be placed.
fn is_first(probes: &[Probe], facts: &Facts) -> bool {
    probes.iter().all(|probe| match probe.role {
        Role::Near { own } => own && facts.crowd(&probe.who).is_none_or(|crowd| crowd.total == 0),
        _ => true,
    })
}

//! What Cube may hold once all is calm, however much happened before: on disk, in small files, in things under way (I15).
use std::fmt;

use crate::cluster::Cluster;

/// Bytes of the store's file that it has for itself, and how many for each byte that is live.
const FILE: (usize, usize) = (4 << 20, 8);
/// Bytes of a machine's small files: a line for each Task that ran in the last ten minutes, and what was yet to be told.
const NOTES: usize = 64 << 10;
/// What is under way: of the manager and the clients, of each node, of each container (its probes). Only where no process was
/// killed: what a dead one had under way is never looked at again, and counts in a simulation.
const UNDER_WAY: (usize, usize, usize) = (20, 8, 4);

/// What there is.
pub struct Held {
    file: usize,
    live: usize,
    notes: usize,
    under_way: usize,
    nodes: usize,
    containers: usize,
    killed: bool,
}

impl fmt::Display for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, live, notes, .. } = self;
        write!(
            f,
            "{file} bytes on disk for {live}, {notes} in the largest machine's small files, "
        )?;
        let Self { under_way, nodes, .. } = self;
        write!(
            f,
            "{under_way} under way for {nodes} nodes and {} containers",
            self.containers
        )
    }
}

impl Held {
    /// What there is now.
    pub fn of(cluster: &Cluster) -> Self {
        let layout = &cluster.layout.nodes;
        let machines = layout
            .iter()
            .map(|(node, ..)| node.as_str())
            .chain([crate::cluster::MANAGER]);
        let notes = machines
            .filter_map(|machine| cluster.cabinet(machine))
            .map(|cabinet| cabinet.size());
        Self {
            file: cluster.platter.size(),
            live: cluster.oracle.live_bytes(),
            notes: notes.max().unwrap_or_default(),
            under_way: tokio::runtime::Handle::current().metrics().num_alive_tasks(),
            nodes: layout.len(),
            killed: cluster.killed,
            containers: cluster
                .dockers
                .values()
                .map(|docker| docker.sim.containers().len())
                .sum(),
        }
    }

    /// Which bound is broken, in words.
    pub fn too_much(&self) -> Option<&'static str> {
        let (least, node, container) = UNDER_WAY;
        if self.file > FILE.0 + FILE.1 * self.live {
            Some("the store's file is far larger than what is in it")
        } else if self.notes > NOTES {
            Some("a machine's small files are large")
        } else if !self.killed && self.under_way > least + node * self.nodes + container * self.containers {
            Some("more is under way than there is anything for")
        } else {
            None
        }
    }
}

//! The Node object, as its worker tells it.
use std::collections::{BTreeMap, BTreeSet};

use cube_api::condition::{Condition, DISK_PRESSURE, MEMORY_PRESSURE, READY, Truth, is_true, set};
use cube_api::meta::NODE_LABEL;
use cube_api::node::{Node, NodeImage, NodeInfo, Resources, Taint};
use cube_api::quantity::Quantity;
use cube_plan::pressure::{self, Space};
use jiff::Timestamp;

use crate::engine::{EngineInfo, NamedImage};

/// The condition that tells whether the engine answers.
pub const ENGINE_READY: &str = "EngineReady";

/// What does not change while the worker runs.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The node's name.
    pub name: String,
    /// Labels given at start.
    pub labels: BTreeMap<String, String>,
    /// Taints given at start.
    pub taints: Vec<Taint>,
    /// The worker's own id.
    pub worker: String,
    /// What is kept from Tasks.
    pub reserved: Reserved,
}

/// What is kept from Tasks, for the machine itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Thousandths of a CPU.
    pub cpu_milli: u64,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of the engine's disk.
    pub disk: u64,
}

/// What room its machine has; nothing where the engine is not on this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct Room {
    /// Memory.
    pub memory: Option<Space>,
    /// The disk with the engine's data.
    pub disk: Option<Space>,
}

/// Tells how large the machine's disk is, and whether it is short of something.
pub fn tell_room(identity: &Identity, node: &mut Node, room: Room, now: Timestamp) {
    let disk = room.disk.map_or(0, |disk| disk.total);
    node.status.capacity.ephemeral_storage = Quantity::bytes(disk);
    node.status.allocatable.ephemeral_storage = Quantity::bytes(disk.saturating_sub(identity.reserved.disk));
    let conditions = &mut node.status.conditions;
    let mut tell = |kind: &str, space: Option<Space>, short: fn(bool, Space) -> bool, what: &str| {
        let Some(space) = space else {
            return conditions.retain(|condition| condition.kind != kind);
        };
        let is_short = short(is_true(conditions, kind), space);
        let mebibytes = |bytes: u64| bytes >> 20;
        let (reason, message) = match is_short {
            true => (
                format!("{what}Short"),
                format!("{} of {} MiB left", mebibytes(space.free), mebibytes(space.total)),
            ),
            false => (format!("{what}Sufficient"), String::new()),
        };
        // How much is left is told once, as it was then: figures that change are no conditions.
        if is_short && is_true(conditions, kind) {
            return;
        }
        let condition = Condition {
            kind: kind.to_owned(),
            status: Truth::of(is_short),
            reason,
            message,
            ..Condition::default()
        };
        set(conditions, condition, now);
    };
    tell(MEMORY_PRESSURE, room.memory, pressure::of_memory, "Memory");
    tell(DISK_PRESSURE, room.disk, pressure::of_disk, "Disk");
}

/// So many images are told at most, the largest: each change is a write. Kubernetes' own bound.
const IMAGES: usize = 50;

/// Tells what is on the engine that Tasks may wish to be near: named volumes, and images.
pub fn tell_there(node: &mut Node, volumes: &BTreeSet<String>, images: Vec<NamedImage>) {
    // The engine names a volume that nobody named by 64 digits.
    let named = |name: &&String| !(name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit()));
    node.status.volumes = volumes.iter().filter(named).cloned().collect();
    let mut images: Vec<NodeImage> = images
        .into_iter()
        .map(|mut image| {
            image.names.sort();
            NodeImage {
                names: image.names,
                size_bytes: image.size_bytes,
            }
        })
        .collect();
    images.sort_by(|one, other| (other.size_bytes, &one.names).cmp(&(one.size_bytes, &other.names)));
    images.truncate(IMAGES);
    node.status.images = images;
}

/// The Node while its engine answers (`Ok`) or does not (`Err`, with the reason).
pub fn node(identity: &Identity, engine: Result<&EngineInfo, &str>, before: &Node, now: Timestamp) -> Node {
    let mut node = before.clone();
    node.metadata.name = identity.name.clone();
    node.metadata.labels = identity.labels.clone().into();
    node.metadata
        .labels
        .insert(NODE_LABEL.to_owned(), identity.name.clone());
    node.spec.taints = identity.taints.clone();
    if let Ok(info) = engine {
        let resources = Resources {
            cpu: Quantity::from_milli(info.cpus * 1000),
            memory: Quantity::bytes(info.memory_bytes),
            ..node.status.capacity.clone()
        };
        let reserved = &identity.reserved;
        node.status.allocatable = Resources {
            cpu: Quantity::from_milli((info.cpus * 1000).saturating_sub(reserved.cpu_milli)),
            memory: Quantity::bytes(info.memory_bytes.saturating_sub(reserved.memory)),
            ..node.status.allocatable.clone()
        };
        node.status.capacity = resources;
        node.status.node_info = NodeInfo {
            engine: info.kind.clone(),
            engine_version: info.version.clone(),
            cube_version: env!("CARGO_PKG_VERSION").to_owned(),
            worker_id: String::new(),
            operating_system: info.operating_system.clone(),
        };
    }
    node.status.node_info.worker_id.clone_from(&identity.worker);
    let (reason, message) = match engine {
        Ok(_) => ("EngineAnswers", String::new()),
        Err(error) => (
            "EngineUnreachable",
            format!("{error}; its containers are left as they are, and it is asked again"),
        ),
    };
    for kind in [READY, ENGINE_READY] {
        let condition = Condition {
            kind: kind.to_owned(),
            status: Truth::of(engine.is_ok()),
            reason: reason.to_owned(),
            message: message.clone(),
            ..Condition::default()
        };
        set(&mut node.status.conditions, condition, now);
    }
    node
}

/// Annotation of a Node: the labels that its worker gave it, so that one it no longer gives is taken off again.
const GIVEN_LABELS: &str = "cube/given-labels";
/// The same for taints.
const GIVEN_TAINTS: &str = "cube/given-taints";

/// The Node as it is to be: what its worker gives, over what others (`kubectl label`, cordon) have set.
pub fn merged(before: Option<&Node>, told: &Node) -> Node {
    let mut node = before.cloned().unwrap_or_default();
    node.metadata.name = told.metadata.name.clone();
    let given = |node: &Node, name: &str| -> Vec<String> {
        let text = node.metadata.annotations.get(name).map(String::as_str);
        text.unwrap_or_default().split(',').map(str::to_owned).collect()
    };
    for label in given(&node, GIVEN_LABELS) {
        node.metadata.labels.remove(&label);
    }
    let labels = told.metadata.labels.iter();
    node.metadata
        .labels
        .extend(labels.map(|(name, value)| (name.clone(), value.clone())));
    let taint_name = |taint: &Taint| format!("{}:{:?}", taint.key, taint.effect);
    let old = given(&node, GIVEN_TAINTS);
    node.spec.taints.retain(|taint| !old.contains(&taint_name(taint)));
    for taint in &told.spec.taints {
        node.spec.taints.retain(|there| taint_name(there) != taint_name(taint));
        node.spec.taints.push(taint.clone());
    }
    let labels: Vec<&str> = told.metadata.labels.keys().map(String::as_str).collect();
    let taints: Vec<String> = told.spec.taints.iter().map(taint_name).collect();
    for (name, text) in [(GIVEN_LABELS, labels.join(",")), (GIVEN_TAINTS, taints.join(","))] {
        if text.is_empty() {
            node.metadata.annotations.remove(name);
        } else {
            node.metadata.annotations.insert(name.to_owned(), text);
        }
    }
    node
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn named_volumes_and_the_largest_images_are_told() {
        let mut node = Node::default();
        let image = |name: String, size_bytes| NamedImage {
            names: vec![name],
            size_bytes,
        };
        let images: Vec<NamedImage> = (0..60).map(|n| image(format!("i{n:02}:1"), 100 - n / 2)).collect();
        let volumes = ["data".to_owned(), "a1".repeat(32)].into();
        tell_there(&mut node, &volumes, images.into_iter().rev().collect());
        assert_eq!(node.status.volumes, ["data"]);
        let names: Vec<&str> = node.status.images.iter().map(|image| image.names[0].as_str()).collect();
        assert_eq!((names.len(), &names[..3]), (50, &["i00:1", "i01:1", "i02:1"][..]));
    }

    #[test]
    fn pressure_is_told_when_it_begins_and_ends() {
        let now = Timestamp::UNIX_EPOCH;
        let room = |free: u64| Room {
            disk: Some(Space {
                total: 1000 << 20,
                free: free << 20,
            }),
            memory: None,
        };
        let mut node = Node::default();
        let mut told = |room| {
            tell_room(&Identity::default(), &mut node, room, now);
            let conditions = node.status.conditions.iter();
            let told: Vec<String> = conditions
                .map(|one| format!("{} {:?} {}", one.kind, one.status, one.message))
                .collect();
            told
        };
        assert_eq!(told(room(500)), ["DiskPressure False "]);
        assert_eq!(told(room(90)), ["DiskPressure True 90 of 1000 MiB left"]);
        assert_eq!(told(room(70)), ["DiskPressure True 90 of 1000 MiB left"]);
        assert_eq!(told(room(500)), ["DiskPressure False "]);
        assert_eq!(told(Room::default()), [] as [&str; 0]);
    }

    #[test]
    fn what_the_worker_gives_changes_and_what_others_set_stays() {
        let label = |key: &str| (key.to_owned(), "x".to_owned());
        let taint = |key: &str| Taint {
            key: key.to_owned(),
            ..Taint::default()
        };
        let mut told = Node::default();
        told.metadata.labels = BTreeMap::from([label("disk"), label("zone")]).into();
        told.spec.taints = vec![taint("gpu")];
        let mut node = merged(None, &told);
        node.metadata.labels.insert("theirs".to_owned(), "y".to_owned());
        node.spec.taints.push(taint("theirs"));
        node.spec.unschedulable = true;
        told.metadata.labels = BTreeMap::from([label("zone")]).into();
        told.spec.taints = vec![];
        let node = merged(Some(&node), &told);
        let labels: Vec<&String> = node.metadata.labels.keys().collect();
        assert_eq!(labels, ["theirs", "zone"]);
        assert_eq!(node.spec.taints, [taint("theirs")]);
        assert!(node.spec.unschedulable);
        assert_eq!(merged(Some(&node), &told), node);
    }
}

//! The Node object, as its worker tells it.
use std::collections::BTreeMap;

use cube_api::condition::{Condition, READY, Truth, set};
use cube_api::meta::NODE_LABEL;
use cube_api::node::{Node, NodeInfo, Resources, Taint};
use cube_api::quantity::Quantity;
use jiff::Timestamp;

use crate::engine::EngineInfo;

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
}

/// The Node while its engine answers (`Ok`) or does not (`Err`, with the reason).
pub fn node(identity: &Identity, engine: Result<&EngineInfo, &str>, before: &Node, now: Timestamp) -> Node {
    let mut node = before.clone();
    node.metadata.name = identity.name.clone();
    node.metadata.labels = identity.labels.clone();
    node.metadata
        .labels
        .insert(NODE_LABEL.to_owned(), identity.name.clone());
    node.spec.taints = identity.taints.clone();
    if let Ok(info) = engine {
        let resources = Resources {
            cpu: Quantity::from_milli(info.cpus * 1000),
            memory: Quantity::bytes(info.memory_bytes),
            ..Resources::default()
        };
        let reserved = &identity.reserved;
        node.status.allocatable = Resources {
            cpu: Quantity::from_milli((info.cpus * 1000).saturating_sub(reserved.cpu_milli)),
            memory: Quantity::bytes(info.memory_bytes.saturating_sub(reserved.memory)),
            ..resources.clone()
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
    node.metadata.labels.extend(told.metadata.labels.clone());
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
    fn what_the_worker_gives_changes_and_what_others_set_stays() {
        let label = |key: &str| (key.to_owned(), "x".to_owned());
        let taint = |key: &str| Taint {
            key: key.to_owned(),
            ..Taint::default()
        };
        let mut told = Node::default();
        told.metadata.labels = [label("disk"), label("zone")].into();
        told.spec.taints = vec![taint("gpu")];
        let mut node = merged(None, &told);
        node.metadata.labels.insert("theirs".to_owned(), "y".to_owned());
        node.spec.taints.push(taint("theirs"));
        node.spec.unschedulable = true;
        told.metadata.labels = [label("zone")].into();
        told.spec.taints = vec![];
        let node = merged(Some(&node), &told);
        let labels: Vec<&String> = node.metadata.labels.keys().collect();
        assert_eq!(labels, ["theirs", "zone"]);
        assert_eq!(node.spec.taints, [taint("theirs")]);
        assert!(node.spec.unschedulable);
        assert_eq!(merged(Some(&node), &told), node);
    }
}

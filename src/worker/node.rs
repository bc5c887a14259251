//! The Node object, as its worker tells it.
use std::collections::BTreeMap;

use cube_api::condition::{Condition, READY, Truth, set};
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
}

/// The Node while its engine answers (`Ok`) or does not (`Err`, with the reason).
pub fn node(identity: &Identity, engine: Result<&EngineInfo, &str>, before: &Node, now: Timestamp) -> Node {
    let mut node = before.clone();
    node.metadata.name = identity.name.clone();
    node.metadata.labels = identity.labels.clone();
    node.metadata
        .labels
        .insert("cube/node".to_owned(), identity.name.clone());
    node.spec.taints = identity.taints.clone();
    if let Ok(info) = engine {
        let resources = Resources {
            cpu: Quantity::from_milli(info.cpus * 1000),
            memory: Quantity::bytes(info.memory_bytes),
            tasks: None,
        };
        node.status.capacity = resources.clone();
        node.status.allocatable = resources;
        node.status.node_info = NodeInfo {
            engine: info.kind.clone(),
            engine_version: info.version.clone(),
            cube_version: env!("CARGO_PKG_VERSION").to_owned(),
            operating_system: info.operating_system.clone(),
        };
    }
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

//! What a worker is told at its start, in whichever process it runs.
use std::collections::BTreeMap;
use std::time::Duration;

use cube_api::node::Taint;

use super::{DaemonError, DataDir, EngineChoice};
use crate::engine::{Engine, EngineInfo};
use crate::worker::{self, Ground, Identity, Reserved, subnets::Range};
use crate::world::World;

/// How long the engine is waited for before it is told that it does not answer.
const ENGINE_ANSWER: Duration = Duration::from_secs(2);

/// What a worker is told at its start.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The node's name; none: the one that the data directory knows, else `host_name`.
    pub name: Option<String>,
    /// The machine's name, in the letters that a node's may have.
    pub host_name: String,
    /// Labels of the node.
    pub labels: BTreeMap<String, String>,
    /// Taints of the node.
    pub taints: Vec<Taint>,
    /// What is kept from Tasks.
    pub reserved: Reserved,
    /// Where ports are published that name no address.
    pub publish_address: Option<String>,
    /// What namespaces' networks are cut from.
    pub network_range: Range,
    /// The engine.
    pub engine: EngineChoice,
}

impl NodeOptions {
    /// The node's name: its containers bear it, so that it stays the same also when the machine is renamed.
    ///
    /// # Errors
    /// Where the data directory knows another one, or it cannot be written down.
    pub(super) fn name(&self, data_dir: &DataDir) -> Result<String, DaemonError> {
        let known = data_dir.node_name();
        let name = match (known, &self.name) {
            (Some(known), Some(asked)) if known != *asked => {
                let (path, asked) = (data_dir.path().to_owned(), asked.clone());
                return Err(DaemonError::OtherNode { path, known, asked });
            }
            (Some(known), _) => return Ok(known),
            (None, asked) => asked.clone().unwrap_or_else(|| self.host_name.clone()),
        };
        data_dir.keep_node_name(&name)?;
        Ok(name)
    }

    /// What its worker is told: its name, its own id, and the cluster that it is of.
    pub(super) fn worker(
        &self,
        data_dir: &DataDir,
        name: &str,
        cluster: &str,
        world: &World,
    ) -> Result<worker::Options, DaemonError> {
        Ok(worker::Options {
            ground: Ground {
                cluster: cluster.to_owned(),
                node: name.to_owned(),
                publish_address: self.publish_address.clone(),
            },
            identity: Identity {
                name: name.to_owned(),
                labels: self.labels.clone(),
                taints: self.taints.clone(),
                worker: data_dir.worker_id(world)?,
                reserved: self.reserved.clone(),
            },
            data_dir: data_dir.worker(),
            range: self.network_range,
        })
    }
}

/// What the engine says of itself and its machine, for a first line.
pub(super) async fn machine(engine: &dyn Engine) -> String {
    let answer = tokio::time::timeout(ENGINE_ANSWER, engine.info()).await;
    match answer.ok().and_then(Result::ok) {
        Some(EngineInfo {
            cpus,
            memory_bytes,
            kind,
            version,
            ..
        }) => {
            let gibibytes = memory_bytes as f64 / f64::from(1 << 30);
            format!("{cpus} cpu, {gibibytes:.1} GiB, {kind} {version}")
        }
        None => "its engine does not answer yet".to_owned(),
    }
}

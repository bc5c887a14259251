//! From a Task to the container that forms it: what the engine is told, names and labels included.
//!
//! Pure; the same Task always forms the same container. Never asks the engine.
use std::collections::BTreeMap;

use cube_api::meta::DEPLOYMENT_LABEL;
use cube_api::quantity::Quantity;
use cube_api::task::{self, Medium, NetworkMode, Task};
use cube_plan::worker::container_name;

use crate::engine::{self, CLUSTER_LABEL, ContainerSpec, Mount, MountSource, Network, PortSpec, SCRATCH_LABEL};

/// Label: the Task's namespace.
pub const NAMESPACE_LABEL: &str = "cube.namespace";
/// Label: the Task's plain name.
pub const TASK_LABEL: &str = "cube.task";
/// Label: the Task's uid.
pub const UID_LABEL: &str = "cube.uid";
/// Label: the binding's epoch.
pub const EPOCH_LABEL: &str = "cube.epoch";
/// Label: hash of what formed the container.
pub const HASH_LABEL: &str = "cube.hash";
/// Label: the container's number among its Task's.
pub const NUMBER_LABEL: &str = "cube.number";
/// Label: the node that made it.
pub const NODE_LABEL: &str = "cube.node";

/// What is the same for all containers of a worker.
#[derive(Clone, Debug)]
pub struct Ground {
    /// The cluster's id.
    pub cluster: String,
    /// The node's name.
    pub node: String,
    /// Where ports are published that name no address.
    pub publish_address: Option<String>,
}

impl Ground {
    /// Name of a namespace's network.
    pub fn network_name(&self, namespace: &str) -> String {
        format!("cube-{namespace}-{}", &self.cluster[..self.cluster.len().min(8)])
    }

    /// Labels of everything that Cube makes for a namespace.
    pub fn labels(&self, namespace: &str) -> BTreeMap<String, String> {
        [
            (CLUSTER_LABEL, self.cluster.as_str()),
            (NAMESPACE_LABEL, namespace),
            (NODE_LABEL, self.node.as_str()),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }

    /// Labels that every empty directory of this node bears.
    pub fn scratch_labels(&self) -> BTreeMap<String, String> {
        [
            (CLUSTER_LABEL, self.cluster.as_str()),
            (NODE_LABEL, self.node.as_str()),
            (SCRATCH_LABEL, "true"),
        ]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
    }
}

/// Volumes of the engine that end with the Task: its empty directories on disk.
pub fn scratch_volumes(task: &Task, ground: &Ground) -> Vec<(String, BTreeMap<String, String>)> {
    let mut labels = ground.labels(task.metadata.namespace());
    labels.insert(SCRATCH_LABEL.to_owned(), "true".to_owned());
    labels.insert(UID_LABEL.to_owned(), task.metadata.uid.clone());
    let on_disk = |volume: &&task::Volume| volume.empty_dir.as_ref().is_some_and(|dir| dir.medium == Medium::Disk);
    task.spec
        .volumes
        .iter()
        .filter(on_disk)
        .map(|volume| (scratch_name(task, &volume.name), labels.clone()))
        .collect()
}

/// Volumes of the engine that outlive the Task.
pub fn named_volumes(task: &Task) -> Vec<String> {
    task.spec
        .volumes
        .iter()
        .filter_map(|volume| volume.volume.clone())
        .collect()
}

fn scratch_name(task: &Task, volume: &str) -> String {
    let meta = &task.metadata;
    let stem = scratch_stem(meta.namespace(), &meta.name, &meta.uid);
    format!("{stem}{volume}")
}

fn scratch_stem(namespace: &str, task: &str, uid: &str) -> String {
    let tail = &uid[uid.len().saturating_sub(8)..];
    format!("cube-{namespace}-{task}-{tail}-")
}

/// What the names of the volumes begin with that end with the Task of a container of these labels.
pub fn scratch_stem_of(labels: &BTreeMap<String, String>) -> Option<String> {
    let namespace = labels.get(NAMESPACE_LABEL)?;
    Some(scratch_stem(namespace, labels.get(TASK_LABEL)?, labels.get(UID_LABEL)?))
}

/// The container of that hash and number.
pub fn container(task: &Task, hash: &str, number: u64, ground: &Ground) -> ContainerSpec {
    let spec = &task.spec;
    let meta = &task.metadata;
    let mut labels = ground.labels(meta.namespace());
    for (key, value) in [
        (TASK_LABEL, meta.name.clone()),
        (UID_LABEL, meta.uid.clone()),
        (EPOCH_LABEL, task.status.epoch.to_string()),
        (HASH_LABEL, hash.to_owned()),
        (NUMBER_LABEL, number.to_string()),
    ] {
        labels.insert(key.to_owned(), value);
    }
    let words = |words: &[String]| (!words.is_empty()).then(|| words.to_vec());
    let limits = &spec.resources.limits;
    let requests = &spec.resources.requests;
    ContainerSpec {
        name: container_name(task, hash, number),
        image: spec.image.clone(),
        labels,
        command: words(&spec.command),
        args: words(&spec.args),
        working_dir: spec.working_dir.clone(),
        env: spec
            .env
            .iter()
            .map(|variable| (variable.name.clone(), variable.value.clone()))
            .collect(),
        user: spec.user.clone(),
        hostname: (spec.network != NetworkMode::Host).then(|| {
            spec.hostname
                .clone()
                .unwrap_or_else(|| meta.name.chars().take(63).collect())
        }),
        init: spec.init,
        network: network(task, ground),
        ports: if spec.network == NetworkMode::Host {
            vec![]
        } else {
            spec.ports.iter().map(|port| publish(port, ground)).collect()
        },
        mounts: mounts(task),
        cpu_millis_limit: limits.cpu.as_ref().map(Quantity::milli),
        cpu_millis_request: requests.cpu.as_ref().or(limits.cpu.as_ref()).map(Quantity::milli),
        memory_limit: limits.memory.as_ref().map(Quantity::units),
        memory_request: requests.memory.as_ref().map(Quantity::units),
        stop_signal: spec.stop_signal.clone(),
    }
}

/// The network of a Task's container.
pub(super) fn network(task: &Task, ground: &Ground) -> Network {
    match task.spec.network {
        NetworkMode::Host => Network::Host,
        NetworkMode::None => Network::None,
        NetworkMode::Namespace => {
            let meta = &task.metadata;
            let mut aliases = vec![meta.name.clone()];
            aliases.extend(meta.labels.get(DEPLOYMENT_LABEL).cloned());
            Network::Named {
                name: ground.network_name(meta.namespace()),
                aliases,
            }
        }
    }
}

fn publish(port: &task::Port, ground: &Ground) -> PortSpec {
    PortSpec {
        container_port: port.container_port,
        protocol: match port.protocol {
            task::Protocol::Tcp => engine::Protocol::Tcp,
            task::Protocol::Udp => engine::Protocol::Udp,
        },
        host_ip: port.host_ip.clone().or_else(|| ground.publish_address.clone()),
        host_port: port.host_port,
    }
}

fn mounts(task: &Task) -> Vec<Mount> {
    let source = |name: &str| {
        let volume = task.spec.volumes.iter().find(|volume| volume.name == name)?;
        let empty = || volume.empty_dir.as_ref();
        if let Some(path) = &volume.host_path {
            return Some(MountSource::Bind(path.path.clone()));
        }
        if let Some(named) = &volume.volume {
            return Some(MountSource::Volume(named.clone()));
        }
        Some(match empty()?.medium {
            Medium::Memory => MountSource::Tmpfs {
                size_bytes: empty()?.size_limit.as_ref().map(Quantity::units),
            },
            Medium::Disk => MountSource::Scratch(scratch_name(task, name)),
        })
    };
    let mount = |mount: &task::VolumeMount| {
        Some(Mount {
            source: source(&mount.name)?,
            target: mount.mount_path.clone(),
            read_only: mount.read_only,
            sub_path: mount.sub_path.clone(),
        })
    };
    task.spec.volume_mounts.iter().filter_map(mount).collect()
}

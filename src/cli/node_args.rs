//! What is said of a node and its engine, by every verb that has one.
use std::time::Duration;

use clap::ValueEnum;
use cube_api::node::{Taint, TaintEffect};
use cube_api::quantity::Quantity;

use crate::daemon::{EngineChoice, NodeOptions};
use crate::worker::{Reserved, subnets::Range};

/// A node.
#[derive(clap::Args, Debug)]
pub struct NodeArgs {
    /// The node's name; default: this machine's host name at the first start, which then stays
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    node_name: Option<String>,
    /// Labels of the node
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = label)]
    labels: Vec<(String, String)>,
    /// Taints of the node; effects are NoSchedule, PreferNoSchedule, NoExecute
    #[arg(long, value_name = "KEY[=VALUE]:EFFECT,…", value_delimiter = ',', value_parser = taint)]
    taints: Vec<Taint>,
    /// What of the machine is kept from Tasks: cpu=500m,memory=1Gi,ephemeral-storage=10Gi
    #[arg(long, value_name = "RESOURCE=AMOUNT,…", value_delimiter = ',', value_parser = reserve)]
    reserve: Vec<(Resource, u64)>,
    /// The address on which ports are published that name no hostIP; default: every address
    #[arg(long, value_name = "ADDRESS")]
    publish_address: Option<std::net::IpAddr>,
    /// The range that namespaces' networks are cut from
    #[arg(long, value_name = "CIDR", default_value = "10.208.0.0/12")]
    network_range: Range,
    #[command(flatten)]
    engine: EngineArgs,
}

/// Which engine runs the containers.
#[derive(clap::Args, Debug)]
pub struct EngineArgs {
    /// The engine: docker (at DOCKER_HOST, else the usual socket), or sim, which only pretends
    #[arg(long, value_enum, default_value_t, value_name = "ENGINE")]
    engine: EngineKind,
    /// Where Docker is; default: what DOCKER_HOST says, else the usual socket. Example: unix:///run/docker.sock
    #[arg(long, value_name = "ADDRESS")]
    docker_host: Option<String>,
    /// How long each start takes with --engine sim. Example: 300ms
    #[arg(long, value_name = "DURATION", value_parser = super::output::words::duration, default_value = "0s")]
    sim_start: Duration,
}

/// The engines.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum EngineKind {
    /// Docker.
    #[default]
    Docker,
    /// A simulated one.
    Sim,
}

/// What can be kept from Tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Resource {
    /// In thousandths of a CPU.
    Cpu,
    /// In bytes.
    Memory,
    /// Of the engine's disk, in bytes.
    Disk,
}

impl NodeArgs {
    /// The node that is meant.
    pub fn options(self) -> NodeOptions {
        let mut reserved = Reserved::default();
        for (resource, amount) in self.reserve {
            match resource {
                Resource::Cpu => reserved.cpu_milli = amount,
                Resource::Memory => reserved.memory = amount,
                Resource::Disk => reserved.disk = amount,
            }
        }
        NodeOptions {
            name: self.node_name,
            host_name: host_name(),
            labels: self.labels.into_iter().collect(),
            taints: self.taints,
            reserved,
            publish_address: self.publish_address.map(|address| address.to_string()),
            network_range: self.network_range,
            engine: self.engine.choice(),
        }
    }
}

impl EngineArgs {
    /// The engine that is meant.
    pub fn choice(&self) -> EngineChoice {
        match self.engine {
            EngineKind::Docker => EngineChoice::Docker(self.docker_host.clone()),
            EngineKind::Sim => EngineChoice::Sim { start: self.sim_start },
        }
    }
}

/// The machine's name, in the letters that a node's may have.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let letters = name.chars().map(|c| match c {
        'a'..='z' | '0'..='9' | '.' | '-' => c,
        _ => '-',
    });
    let name: String = letters.take(63).collect();
    match name.trim_matches(['-', '.']) {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}

fn node_name(text: &str) -> Result<String, String> {
    let is_name = |format: &cube_api::shape::formats::Format| (format.matches)(text);
    match cube_api::shape::formats::find("dns-subdomain") {
        Some(format) if !is_name(format) => Err(format!("must be {}", format.what)),
        _ => Ok(text.to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    let mut meta = cube_api::meta::ObjectMeta::default();
    "x".clone_into(&mut meta.name);
    meta.labels.insert(key.to_owned(), value.to_owned());
    match cube_api::validate::metadata(&meta).first() {
        Some(error) => Err(error.message.clone()),
        None => Ok((key.to_owned(), value.to_owned())),
    }
}

fn taint(text: &str) -> Result<Taint, String> {
    let (name, effect) = text.rsplit_once(':').ok_or("must be KEY[=VALUE]:EFFECT")?;
    let effect = match effect {
        "NoSchedule" => TaintEffect::NoSchedule,
        "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
        "NoExecute" => TaintEffect::NoExecute,
        other => {
            return Err(format!(
                "`{other}` is no effect: NoSchedule, PreferNoSchedule, NoExecute"
            ));
        }
    };
    let (key, value) = name.split_once('=').unwrap_or((name, ""));
    if key.is_empty() {
        return Err("must be KEY[=VALUE]:EFFECT".to_owned());
    }
    Ok(Taint {
        key: key.to_owned(),
        value: value.to_owned(),
        effect,
    })
}

fn reserve(text: &str) -> Result<(Resource, u64), String> {
    let (name, amount) = text.split_once('=').ok_or("must be RESOURCE=AMOUNT")?;
    let amount = Quantity::parse(amount).map_err(|error| format!("{amount}: {error}"))?;
    match name {
        "cpu" => Ok((Resource::Cpu, amount.milli())),
        "memory" => Ok((Resource::Memory, amount.units())),
        "ephemeral-storage" => Ok((Resource::Disk, amount.units())),
        _ => Err(format!("`{name}` cannot be reserved: cpu, memory, ephemeral-storage")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_taints_are_read() {
        assert_eq!(label("disk=ssd"), Ok(("disk".to_owned(), "ssd".to_owned())));
        assert!(label("disk").is_err());
        assert!(label("cube.node=x").is_err());
        let told = taint("gpu=a:NoExecute").unwrap();
        assert_eq!((told.key.as_str(), told.value.as_str()), ("gpu", "a"));
        assert!(taint("gpu").is_err());
        assert!(taint("gpu:Never").is_err());
        assert_eq!(reserve("cpu=500m"), Ok((Resource::Cpu, 500)));
        assert_eq!(reserve("memory=1Gi"), Ok((Resource::Memory, 1 << 30)));
        assert!(reserve("cpu").is_err() && reserve("cpu=x").is_err() && reserve("gpu=1").is_err());
        assert!(node_name("A b").is_err());
        assert!(node_name(&host_name()).is_ok());
    }
}

//! What is asked of an engine and what it tells, free of any engine's own types.
use std::collections::BTreeMap;
use std::fmt;

use bytes::Bytes;
use cube_api::probe::Healthcheck;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// A container that is wished for. What it leaves open is the image's; what it cannot say is the engine's safe default
/// (no new privileges, at most 4096 processes, logs of at most 3 × 10 MB, no raw sockets, no restart). The image's
/// `HEALTHCHECK` is never run by the engine: whoever wishes runs it, by what [`ImageInfo::healthcheck`] says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Its name, unique on the engine.
    pub name: String,
    /// The image's reference or id, already on the node.
    pub image: String,
    /// Its labels; without [`CLUSTER_LABEL`](super::CLUSTER_LABEL) it is found only by id and name.
    pub labels: BTreeMap<String, String>,
    /// What is run, in place of the image's entrypoint (and then of its arguments too).
    pub command: Option<Vec<String>>,
    /// The arguments, in place of the image's.
    pub args: Option<Vec<String>>,
    /// Where it is run.
    pub working_dir: Option<String>,
    /// Environment variables, over the image's; the last of a name holds.
    pub env: Vec<(String, String)>,
    /// `user[:group]`, names or numbers.
    pub user: Option<String>,
    /// Its host name; not with [`Network::Host`].
    pub hostname: Option<String>,
    /// Run a small init as the first process, which forwards signals and reaps orphans.
    pub init: bool,
    /// The network that it is in.
    pub network: Network,
    /// What it listens on.
    pub ports: Vec<PortSpec>,
    /// What is mounted into it.
    pub mounts: Vec<Mount>,
    /// The most CPU time that it gets, in thousandths of a core; may exceed what the machine has.
    pub cpu_millis_limit: Option<u64>,
    /// Its share of a busy CPU, in thousandths of a core.
    pub cpu_millis_request: Option<u64>,
    /// The most memory that it gets, in bytes, swap included.
    pub memory_limit: Option<u64>,
    /// What is left to it when memory is short, in bytes.
    pub memory_request: Option<u64>,
    /// The signal that the engine's own stop sends, for people at the engine's command line.
    pub stop_signal: Option<String>,
}

/// The network of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Network {
    /// A network by name, with the further names under which its other containers find this one.
    Named {
        /// The network's name.
        name: String,
        /// Names within it, besides the container's own.
        aliases: Vec<String>,
    },
    /// The machine's own.
    Host,
    /// None but loopback.
    #[default]
    None,
}

/// A port that a container listens on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortSpec {
    /// The port in the container.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The address of the machine to publish on; `None` is the engine's default, mostly every address.
    pub host_ip: Option<String>,
    /// The port of the machine: `Some(0)` is chosen by the engine at each start, `None` is not published.
    pub host_port: Option<u16>,
}

/// A transport protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
    /// SCTP.
    Sctp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        })
    }
}

/// Something mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// What is mounted.
    pub source: MountSource,
    /// Where, absolute.
    pub target: String,
    /// Whether the container may only read it.
    pub read_only: bool,
    /// Mount only this relative path within the source; never leads out of it.
    pub sub_path: Option<String>,
}

/// What can be mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A path of the machine, which must exist.
    Bind(String),
    /// A volume of the engine, by name. A new one begins with what the image has at its target.
    Volume(String),
    /// A volume of the engine, by name, made with the [`SCRATCH_LABEL`](super::SCRATCH_LABEL): it begins empty, whatever the
    /// image has at its target.
    Scratch(String),
    /// Memory, gone with each stop.
    Tmpfs {
        /// Its size; without one, half of the machine's memory.
        size_bytes: Option<u64>,
    },
}

/// A container as the engine sees it. [`Engine::list`](super::Engine::list) says which fields it leaves out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// The engine's id.
    pub id: String,
    /// Its name, without the engine's slash.
    pub name: String,
    /// The image as it was asked for.
    pub image: String,
    /// The image's id.
    pub image_id: String,
    /// Its labels, the image's among them.
    pub labels: BTreeMap<String, String>,
    /// What it is doing.
    pub state: State,
    /// Its first process, while it runs.
    pub pid: Option<u32>,
    /// The directory of the engine's machine that has what it writes into itself, where there is one.
    pub layer: Option<String>,
    /// Its addresses, ordered; none while it does not run or is on the machine's network.
    pub addresses: Vec<String>,
    /// Its published ports, ordered, as they are bound now.
    pub ports: Vec<PublishedPort>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last started.
    pub started_at: Option<Timestamp>,
    /// When it last ended.
    pub finished_at: Option<Timestamp>,
}

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Not started, or its start failed.
    Created,
    /// Running (or between two of the engine's own restarts, which Cube never asks for).
    Running,
    /// Frozen by someone.
    Paused,
    /// Ended.
    Exited {
        /// The exit code; 128 + n when signal n ended it.
        code: i64,
        /// Whether the kernel killed it for want of memory.
        oom_killed: bool,
        /// What the engine has to say, mostly nothing.
        error: String,
    },
    /// On its way out.
    Removing,
}

impl State {
    /// Whether it has processes, frozen or not.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running | Self::Paused)
    }
}

/// A port of the machine that leads into a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    /// The port in the container.
    pub container_port: u16,
    /// Its protocol.
    pub protocol: Protocol,
    /// The machine's address.
    pub host_ip: String,
    /// The machine's port.
    pub host_port: u16,
}

/// Something that happened at the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineEvent {
    /// A container changed.
    Changed {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
        /// What happened.
        action: Action,
        /// When, by the engine's clock.
        at: Timestamp,
    },
}

/// What happens to containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Created.
    Create,
    /// Started.
    Start,
    /// Ended.
    Die {
        /// With this exit code, where the engine told it.
        code: Option<i64>,
    },
    /// Removed.
    Destroy,
    /// Renamed.
    Rename,
    /// Frozen.
    Pause,
    /// Thawed.
    Unpause,
    /// A process of it was killed for want of memory.
    Oom,
    /// Taken out of a network: by someone, or since it has ended.
    Disconnect,
    /// Sent a signal.
    Kill {
        /// The signal's number, where the engine told it.
        signal: Option<i32>,
    },
    /// Anything else, in the engine's word.
    Other(String),
}

/// An engine and its machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EngineInfo {
    /// The kind of engine: `docker`, `podman`, `sim`.
    pub kind: String,
    /// Tells this engine and its data from any other: where it changes, containers have not ended but are elsewhere.
    pub id: String,
    /// When it was last started, where that can be told: what it ran ended then at the latest.
    pub started_at: Option<Timestamp>,
    /// The engine's version.
    pub version: String,
    /// The newest version of its API.
    pub api_version: String,
    /// Cores.
    pub cpus: u64,
    /// Memory.
    pub memory_bytes: u64,
    /// The version of cgroups, `1` or `2`.
    pub cgroup_version: String,
    /// How images and layers are kept (`overlay2`).
    pub storage_driver: String,
    /// Where on the machine the engine keeps its data.
    pub root_dir: String,
    /// The machine's host name.
    pub host_name: String,
    /// The machine's operating system, for people.
    pub operating_system: String,
    /// Its kernel's version.
    pub kernel_version: String,
    /// Its architecture, as images name it (`amd64`).
    pub architecture: String,
}

/// An image on the node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageInfo {
    /// Its id, the same as [`Container::image_id`].
    pub id: String,
    /// The digest (`sha256:…`) under which its registry knows it, where it came from one.
    pub digest: Option<String>,
    /// Its size on disk.
    pub size_bytes: u64,
    /// `user[:group]` that it runs as unless told otherwise, empty for root.
    pub user: String,
    /// How it wishes its containers to be asked whether they do their work.
    pub healthcheck: Option<Healthcheck>,
}

/// An image on the node, under all of its names there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// `repository:tag`, and `repository@digest`, as the engine has them.
    pub names: Vec<String>,
    /// Its size on disk.
    pub size_bytes: u64,
}

/// How far a pull has come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PullProgress {
    /// Bytes fetched so far.
    pub done_bytes: u64,
    /// Bytes known of so far; grows while layers are found.
    pub total_bytes: u64,
}

/// Which logs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogOptions {
    /// Go on with what is yet to be written.
    pub follow: bool,
    /// Only the last lines of what is there.
    pub tail: Option<u64>,
    /// Only what was written at or after this time.
    pub since: Option<Timestamp>,
    /// Begin each line with the time at which it was written (RFC 3339) and a space.
    pub timestamps: bool,
}

/// A piece of a container's output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogChunk {
    /// Written to standard error rather than standard output.
    pub stderr: bool,
    /// What was written.
    pub bytes: Bytes,
}

/// A bridge network that is wished for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses (`10.1.0.0/24`); without one the engine chooses.
    pub subnet: Option<String>,
}

/// A network that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkInfo {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Its addresses.
    pub subnet: Option<String>,
    /// The machine's own address in it.
    pub gateway: Option<String>,
}

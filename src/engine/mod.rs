//! The container engine of one node, as a short list of verbs.
//!
//! Owns the words in which Cube speaks of containers ([`ContainerSpec`] is wished for, [`Container`] is seen) and the kinds
//! of failure that a worker decides on ([`EngineError`]). Never decides anything itself: no retry, no policy, no memory of
//! what was asked before. Read [`Engine`] first.
//!
//! Flow: worker → [`Engine`] → `docker` (bollard, a real engine) | [`sim`] (in memory, for simulation and tests).
//! Both are held to the same contract by `tests/engine`.

pub mod docker;
mod error;
pub mod exec;
mod program;
mod reference;
pub mod sim;
mod subpath;
mod types;

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use cube_api::figures::Usage;
use futures_util::stream::BoxStream;

pub use docker::DockerEngine;
pub use error::{EngineError, Result};
pub use exec::{Ending, Exec, ExecOptions, ExecStatus, TerminalSize};
pub use program::{PIECES, Program, Said, Told, Word};
pub use reference::Reference;
pub use types::{
    Action, Container, ContainerSpec, EngineEvent, EngineInfo, ImageInfo, LogChunk, LogOptions, Mount, MountSource,
    NamedImage, Network, NetworkInfo, NetworkSpec, PortSpec, Protocol, PublishedPort, PullProgress, State,
};

/// The label that says to which cluster a container, network or volume belongs. Without it nothing is seen by
/// [`Engine::list`] or touched by a verb that removes.
pub const CLUSTER_LABEL: &str = "cube.cluster";

/// The label (value `true`) of a volume whose data ends with its Task, as an `emptyDir` does. [`Engine::remove_volume`]
/// refuses every other volume.
pub const SCRATCH_LABEL: &str = "cube.scratch";

/// Where the bytes of a pull that is under way are told; called often, so it must be quick and never block.
pub type OnProgress<'a> = &'a (dyn Fn(PullProgress) + Send + Sync);

/// A container engine.
///
/// Guarantees of every implementation:
/// - Each verb ends within a bounded time, with [`EngineError::TimedOut`] when the engine does not answer; a pull ends when
///   nothing was heard of it for a while, however long it takes in all. Streams wait for ever, as they must.
/// - No verb retries. [`EngineError::Unreachable`] and [`EngineError::TimedOut`] leave open whether the verb took effect
///   ([`EngineError::outcome_unknown`]): look again.
/// - Dropping a verb's future stops waiting for it, not the engine from carrying it out.
/// - A container starts once for each [`start`](Engine::start): the engine itself never restarts or removes one.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// What the engine is and what its machine has. Also the way to ask whether it answers.
    async fn info(&self) -> Result<EngineInfo>;

    /// Every container labelled with this cluster, in whatever state, ordered by name.
    ///
    /// One filtered call, and one inspection each for those that neither run nor wait to be started: of a
    /// [`State::Created`] or [`State::Running`] container `pid`, `layer`, `started_at` and `finished_at` are `None` and `created_at`
    /// has whole seconds ([`inspect`](Engine::inspect) has them all); everything else is filled in. One that goes while the
    /// list is made may be missing. Where the reference means another image by now, `image` may be the image's id.
    async fn list(&self, cluster: &str) -> Result<Vec<Container>>;

    /// One container, by id or name, with every field that the engine knows; `None` when there is none.
    async fn inspect(&self, id: &str) -> Result<Option<Container>>;

    /// What happens to this cluster's containers from now on.
    ///
    /// Subscribed when the future resolves: what happens after that is in the stream, and one event may tell of something
    /// shortly before. Of one container the events come in the order in which they happened. The stream never ends quietly:
    /// its last item is an error when the engine goes. Events are hints; list after subscribing.
    async fn events(&self, cluster: &str) -> Result<BoxStream<'static, Result<EngineEvent>>>;

    /// An image that is on the node, by reference or id; `None` when it is not.
    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>>;

    /// Fetches an image, with the credentials that the user's docker configuration has for its registry. Only the
    /// reference's own tag is fetched, `latest` where it has neither tag nor digest. Fails with
    /// [`EngineError::PullFailed`].
    async fn pull(&self, reference: &str, progress: OnProgress<'_>) -> Result<()>;

    /// Creates a container, without starting it, and gives its id.
    ///
    /// The engine refuses a second one of the same name ([`EngineError::NameInUse`]), atomically. Never pulls
    /// ([`EngineError::NoSuchImage`]). Named networks and volumes must exist. A bind's source must exist too; a sub path in
    /// it is made where it is missing, and never leads out of its source.
    async fn create(&self, spec: &ContainerSpec) -> Result<String>;

    /// Starts a container; `Ok` when it already runs. After [`EngineError::InvalidCommand`] or
    /// [`EngineError::PortInUse`] the container is there still, not running.
    async fn start(&self, id: &str) -> Result<()>;

    /// Sends a signal (`SIGTERM`, `TERM` or `15`) to its first process and does not wait for what comes of it.
    /// [`EngineError::NotRunning`] when it does not run.
    async fn signal(&self, id: &str, signal: &str) -> Result<()>;

    /// The signal by which the container wishes to be stopped: its own, its image's, else `SIGTERM`.
    async fn stop_signal(&self, id: &str) -> Result<String>;

    /// Lets a frozen container go on; `Ok` when it is not frozen.
    async fn unpause(&self, id: &str) -> Result<()>;

    /// Gives a container another name; [`EngineError::NameInUse`] when that is taken.
    async fn rename(&self, id: &str, name: &str) -> Result<()>;

    /// Brings a running container back into the named network that it was made for, under its names there; `Ok` when it is in
    /// it. [`EngineError::NotFound`] where there is no such network.
    async fn connect(&self, id: &str, network: &Network) -> Result<()>;

    /// Removes a container and its anonymous volumes; `Ok` when it is gone or already going. A running one is refused
    /// ([`EngineError::InUse`]) unless `force`, which kills it.
    async fn remove(&self, id: &str, force: bool) -> Result<()>;

    /// What a container wrote, oldest first. Ends at the end of what was written or, with `follow`, when the container
    /// stops. A chunk is what the engine sends in one piece, mostly but not surely a line with its newline.
    async fn logs(&self, id: &str, options: LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>>;

    /// What a running container uses, measured once and without rates; `None` when there is none that runs. What of it the
    /// engine does not tell is absent.
    async fn usage(&self, id: &str) -> Result<Option<Usage>>;

    /// Runs a program in a running container, beside its own ([`EngineError::NotRunning`]). One that cannot be run ends at
    /// once with 126 or 127, its output saying why. What it is joined to is open as long as the [`Exec`] is kept.
    async fn exec(&self, id: &str, options: ExecOptions) -> Result<Exec>;

    /// How such a program does. An engine may have forgotten one that has ended ([`EngineError::NotFound`]), some minutes
    /// later. Its output can end a moment before this says that it has ended: see [`exec::exit_code`].
    async fn exec_status(&self, exec: &str) -> Result<ExecStatus>;

    /// Gives the terminal of such a program another size; `Ok` when it has ended.
    async fn resize_exec(&self, exec: &str, size: TerminalSize) -> Result<()>;

    /// Makes such a program end, with what it has started, and says whether it could: an engine has no verb for it, so that
    /// it is possible where its processes are this machine's alone.
    async fn end_exec(&self, exec: &str, how: Ending) -> Result<bool>;

    /// Makes a bridge network of this name unless there is one, and gives what is there then, which may have another
    /// subnet. One that has not the same [`CLUSTER_LABEL`] is [`EngineError::NameInUse`].
    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<NetworkInfo>;

    /// Every network labelled with this cluster, ordered by name.
    async fn networks(&self, cluster: &str) -> Result<Vec<NetworkInfo>>;

    /// Removes a network; `Ok` when it is gone. [`EngineError::InUse`] while containers are in it,
    /// [`EngineError::NotOurs`] without a [`CLUSTER_LABEL`].
    async fn remove_network(&self, name: &str) -> Result<()>;

    /// Makes a volume of this name unless there is one, whoever made it. Every user may write to a new one that has the
    /// [`SCRATCH_LABEL`], as long as the engine's files can be reached from here.
    async fn ensure_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<()>;

    /// Every image on the node that has a name, in any order.
    async fn images(&self) -> Result<Vec<NamedImage>>;

    /// The names of every volume that bears all of these labels; without any, of every volume.
    async fn volumes(&self, labels: &BTreeMap<String, String>) -> Result<BTreeSet<String>>;

    /// Removes a volume and its data; `Ok` when it is gone. [`EngineError::NotOurs`] without both a [`CLUSTER_LABEL`] and
    /// the [`SCRATCH_LABEL`]; [`EngineError::InUse`] while a container, running or not, has it.
    async fn remove_volume(&self, name: &str) -> Result<()>;
}

//! A real Docker engine, 20.10 or newer, through bollard.
//!
//! Owns the connection and what each verb asks of the engine; what an answer or a refusal means is in the files of
//! `docker/`. Never retries and remembers nothing. Read [`DockerEngine`] first.
//!
//! Flow: a verb → `form` (what is asked) → bollard, or for streams `wire` alone → `seen` (what is told) | `fault` (why not).
mod credentials;
mod events;
mod exec;
mod fault;
mod form;
mod logs;
mod networks;
mod pull;
mod seen;
mod usage;
mod volumes;
mod wire;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::future::Future;
use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, InspectContainerOptions, KillContainerOptions, ListContainersOptions,
    ListImagesOptions, RemoveContainerOptions, RenameContainerOptions, StartContainerOptions, StatsOptions,
};
use cube_api::figures::Usage;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use tokio::sync::Mutex;

use self::credentials::DockerConfig;
use self::wire::{Wire, segment};
use super::{
    CLUSTER_LABEL, Container, ContainerSpec, Ending, Engine, EngineError, EngineEvent, EngineInfo, Exec, ExecOptions,
    ExecStatus, ImageInfo, LogChunk, LogOptions, NamedImage, Network, NetworkInfo, NetworkSpec, OnProgress, Result,
    State, TerminalSize,
};
use crate::world::host;

/// Where an engine is unless told otherwise.
const DEFAULT_HOST: &str = "unix:///var/run/docker.sock";
/// Inspections at once in a list; an engine answers one in a millisecond or two.
const INSPECTIONS: usize = 8;

/// How long verbs wait. Too short gives up on an engine that is only busy, too long leaves a hanging one unnoticed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// For what only asks.
    pub answer: Duration,
    /// For what changes something; a start on a loaded machine takes many seconds, as does removing much data.
    pub change: Duration,
    /// For each silence of a pull; a layer of many files is unpacked without a word.
    pub pull_silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(30),
            change: Duration::from_secs(120),
            pull_silence: Duration::from_secs(120),
        }
    }
}

/// A Docker engine. Calls do not wait for one another.
pub struct DockerEngine {
    docker: Docker,
    wire: Wire,
    limits: Limits,
    config: DockerConfig,
    making_networks: Mutex<()>,
}

impl DockerEngine {
    /// The engine at `host`, else at `DOCKER_HOST`, else at the usual socket. Succeeds also while the engine is down; only an
    /// address that no engine can have is refused.
    pub fn connect(host: Option<&str>) -> Result<Self> {
        let set = || std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty());
        let host = host.map(str::to_owned).or_else(set);
        let wire = Wire::new(host.as_deref().unwrap_or(DEFAULT_HOST))?;
        if wire.socket().is_none() && std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty()) {
            return Err(EngineError::InvalidSpec {
                field: "engine address".to_owned(),
                message: "TLS (DOCKER_TLS_VERIFY) is not spoken; use a Unix socket, or a tunnel to one".to_owned(),
            });
        }
        Ok(Self {
            docker: wire.bollard()?,
            wire,
            limits: Limits::default(),
            config: DockerConfig::of_user(),
            making_networks: Mutex::new(()),
        })
    }

    /// The same with other limits.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// The same with another docker configuration than the user's: the path of a `config.json`.
    pub fn with_docker_config(self, file: PathBuf) -> Self {
        let config = DockerConfig {
            file: Some(file),
            ..self.config
        };
        Self { config, ..self }
    }

    async fn asking<T>(&self, verb: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        within(verb, self.limits.answer, call).await
    }

    async fn changing<T>(&self, verb: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        within(verb, self.limits.change, call).await
    }

    async fn look(&self, id: &str) -> Result<Option<ContainerInspectResponse>> {
        let Ok(path) = segment(id) else { return Ok(None) };
        let answer = self
            .docker
            .inspect_container(&path, None::<InspectContainerOptions>)
            .await;
        match answer.map_err(fault::of) {
            Ok(answer) => Ok(Some(answer)),
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn state(&self, id: &str) -> Result<Option<State>> {
        let seen = self.look(id).await?.map(seen::inspected).transpose()?;
        Ok(seen.map(|seen| seen.state))
    }

    async fn look_at_image(&self, reference: &str) -> Result<Option<ImageInfo>> {
        let parts: Result<Vec<String>> = reference.split('/').map(segment).collect();
        // What cannot be an image is not on the node; a pull says what is wrong with it.
        let Ok(parts) = parts else { return Ok(None) };
        match self.docker.inspect_image(&parts.join("/")).await.map_err(fault::of) {
            Ok(answer) => seen::image(reference, answer).map(Some),
            Err(EngineError::Refused { status: 400 | 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn measure(&self, id: &str) -> Result<Option<Usage>> {
        let options = StatsOptions {
            stream: false,
            one_shot: true,
        };
        let Ok(id) = segment(id) else { return Ok(None) };
        let mut answers = std::pin::pin!(self.docker.stats(&id, Some(options)));
        match answers.next().await.transpose().map_err(fault::of) {
            Ok(answer) => Ok(answer.and_then(usage::usage)),
            Err(EngineError::Refused { status: 404 | 409, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn named_images(&self) -> Result<Vec<NamedImage>> {
        let listed = self
            .docker
            .list_images(None::<ListImagesOptions>)
            .await
            .map_err(fault::of)?;
        let named = listed.into_iter().filter_map(|image| {
            let mut names: Vec<String> = image.repo_tags.into_iter().chain(image.repo_digests).collect();
            // What the engine writes for a name that has gone to another image.
            names.retain(|name| !name.contains("<none>"));
            let size_bytes = u64::try_from(image.size).unwrap_or(0);
            (!names.is_empty()).then_some(NamedImage { names, size_bytes })
        });
        Ok(named.collect())
    }

    async fn all(&self, cluster: &str) -> Result<Vec<Container>> {
        let label = format!("{CLUSTER_LABEL}={cluster}");
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), vec![label])])),
            ..ListContainersOptions::default()
        };
        let answers = self.docker.list_containers(Some(options)).await.map_err(fault::of)?;
        let mut containers = Vec::with_capacity(answers.len());
        let mut unclear = Vec::new();
        for answer in answers {
            match seen::listed(answer)? {
                Ok(container) => containers.push(container),
                Err(id) => unclear.push(id),
            }
        }
        let looks = unclear.into_iter().map(|id| async move { self.look(&id).await });
        let mut looks = stream::iter(looks).buffer_unordered(INSPECTIONS);
        while let Some(found) = looks.next().await {
            containers.extend(found?.map(seen::inspected).transpose()?);
        }
        containers.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(containers)
    }

    async fn make_container(&self, spec: &ContainerSpec) -> Result<String> {
        let mut resolved = Vec::with_capacity(spec.mounts.len());
        for mount in &spec.mounts {
            resolved.push(self.resolve(mount).await?);
        }
        let body = form::body(spec, resolved)?;
        let options = CreateContainerOptionsBuilder::new().name(&spec.name).build();
        match self
            .docker
            .create_container(Some(options), body)
            .await
            .map_err(fault::of)
        {
            Ok(answer) => Ok(answer.id),
            Err(EngineError::Refused { status: 409, .. }) => Err(EngineError::NameInUse {
                name: spec.name.clone(),
            }),
            // The image, or something else that it needs: the engine tells them apart in words only.
            Err(error) if fault::status(&error) == Some(404) => match self.look_at_image(&spec.image).await? {
                None => Err(EngineError::NoSuchImage {
                    image: spec.image.clone(),
                }),
                Some(_) => Err(fault::missing(error, &format!("what container {} needs", spec.name))),
            },
            Err(error) => Err(error),
        }
    }

    async fn start_container(&self, id: &str) -> Result<()> {
        let path = segment(id)?;
        let started = self.docker.start_container(&path, None::<StartContainerOptions>).await;
        let Err(error) = started.map_err(fault::of) else {
            return Ok(());
        };
        let (status, message) = match &error {
            EngineError::Refused { status, message } => (*status, message.clone()),
            _ => return Err(error),
        };
        let what = format!("container {id}");
        let error = fault::missing(error, &what);
        if matches!(error, EngineError::NotFound { .. }) {
            return Err(error);
        }
        if let Some(port) = fault::port_in_use(&message) {
            return Err(EngineError::PortInUse { port, message });
        }
        // Frozen, on its way out, or with a command that cannot be run: the engine's words differ, the container tells.
        let Some(found) = self.look(id).await? else {
            return Err(EngineError::NotFound { what });
        };
        let code = found.state.as_ref().and_then(|state| state.exit_code);
        match (seen::inspected(found)?.state, code) {
            (State::Paused | State::Running, _) => Ok(()),
            (State::Removing, _) => Err(EngineError::NotFound { what }),
            // The code can also be that of an earlier run, but then the refusal has another status.
            (_, Some(code @ (126 | 127))) if status == 400 && !fault::is_about_a_mount(&message) => {
                let message = fault::of_command(&message);
                Err(EngineError::InvalidCommand { code, message })
            }
            _ => Err(error),
        }
    }

    async fn unpause_container(&self, id: &str) -> Result<()> {
        let Err(error) = self.docker.unpause_container(&segment(id)?).await.map_err(fault::of) else {
            return Ok(());
        };
        match fault::status(&error) {
            // Old engines refuse one that is not frozen as if they had failed.
            Some(status) if status != 404 => match self.state(id).await? {
                Some(State::Paused) => Err(error),
                Some(_) => Ok(()),
                None => Err(EngineError::NotFound {
                    what: format!("container {id}"),
                }),
            },
            _ => Err(fault::missing(error, &format!("container {id}"))),
        }
    }

    async fn rename_container(&self, id: &str, name: &str) -> Result<()> {
        let options = RenameContainerOptions { name: name.to_owned() };
        match self
            .docker
            .rename_container(&segment(id)?, options)
            .await
            .map_err(fault::of)
        {
            Err(EngineError::Refused { status: 409, .. }) => Err(EngineError::NameInUse { name: name.to_owned() }),
            // Also its own name is taken.
            Err(EngineError::Refused { status: 400, message }) => match self.look(name).await {
                Ok(Some(_)) => Err(EngineError::NameInUse { name: name.to_owned() }),
                _ => Err(EngineError::Refused { status: 400, message }),
            },
            Err(error) => Err(fault::missing(error, &format!("container {id}"))),
            Ok(()) => Ok(()),
        }
    }

    async fn remove_container(&self, id: &str, force: bool) -> Result<()> {
        let options = RemoveContainerOptions {
            v: true,
            force,
            link: false,
        };
        match self
            .docker
            .remove_container(&segment(id)?, Some(options))
            .await
            .map_err(fault::of)
        {
            Err(EngineError::Refused { status: 404, .. }) => Ok(()),
            // By force a running one is no obstacle: someone else removes it already.
            Err(EngineError::Refused { status: 409, .. }) if force => Ok(()),
            Err(EngineError::Refused { status: 409, .. }) => match self.state(id).await? {
                None | Some(State::Removing) => Ok(()),
                Some(_) => Err(EngineError::InUse {
                    what: format!("container {id}"),
                }),
            },
            other => other,
        }
    }
}

async fn within<T>(verb: &'static str, after: Duration, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
    match tokio::time::timeout(after, call).await {
        Ok(result) => result,
        Err(_) => Err(EngineError::TimedOut { verb, after }),
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn info(&self) -> Result<EngineInfo> {
        self.asking("info", async {
            let (version, info) = tokio::join!(self.docker.version(), self.docker.info());
            Ok(EngineInfo {
                started_at: self.wire.socket().and_then(host::listens_since),
                ..seen::engine(version.map_err(fault::of)?, info.map_err(fault::of)?)
            })
        })
        .await
    }

    async fn list(&self, cluster: &str) -> Result<Vec<Container>> {
        self.asking("list", self.all(cluster)).await
    }

    async fn inspect(&self, id: &str) -> Result<Option<Container>> {
        self.asking("inspect", async {
            self.look(id).await?.map(seen::inspected).transpose()
        })
        .await
    }

    async fn events(&self, cluster: &str) -> Result<BoxStream<'static, Result<EngineEvent>>> {
        self.asking("events", events::subscribe(&self.wire, cluster)).await
    }

    async fn image(&self, reference: &str) -> Result<Option<ImageInfo>> {
        self.asking("image", self.look_at_image(reference)).await
    }

    async fn images(&self) -> Result<Vec<NamedImage>> {
        self.asking("list images", self.named_images()).await
    }

    async fn pull(&self, reference: &str, progress: OnProgress<'_>) -> Result<()> {
        pull::pull(&self.wire, &self.config, reference, self.limits.pull_silence, progress).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<String> {
        self.changing("create", self.make_container(spec)).await
    }

    async fn start(&self, id: &str) -> Result<()> {
        self.changing("start", self.start_container(id)).await
    }

    async fn signal(&self, id: &str, signal: &str) -> Result<()> {
        self.asking("signal", async {
            let options = KillContainerOptions {
                signal: signal.to_owned(),
            };
            match self
                .docker
                .kill_container(&segment(id)?, Some(options))
                .await
                .map_err(fault::of)
            {
                Err(EngineError::Refused { status: 409, .. }) => Err(EngineError::NotRunning { id: id.to_owned() }),
                other => other.map_err(|error| fault::missing(error, &format!("container {id}"))),
            }
        })
        .await
    }

    async fn stop_signal(&self, id: &str) -> Result<String> {
        self.asking("stop signal", async {
            let found = self.look(id).await?.ok_or_else(|| EngineError::NotFound {
                what: format!("container {id}"),
            })?;
            let signal = found.config.and_then(|config| config.stop_signal);
            Ok(signal
                .filter(|signal| !signal.is_empty())
                .unwrap_or_else(|| "SIGTERM".to_owned()))
        })
        .await
    }

    async fn unpause(&self, id: &str) -> Result<()> {
        self.changing("unpause", self.unpause_container(id)).await
    }

    async fn rename(&self, id: &str, name: &str) -> Result<()> {
        self.changing("rename", self.rename_container(id, name)).await
    }

    async fn connect(&self, id: &str, network: &Network) -> Result<()> {
        self.changing("connect", self.connect_container(id, network)).await
    }

    async fn remove(&self, id: &str, force: bool) -> Result<()> {
        self.changing("remove", self.remove_container(id, force)).await
    }

    async fn logs(&self, id: &str, options: LogOptions) -> Result<BoxStream<'static, Result<LogChunk>>> {
        self.asking("logs", async {
            let opened = logs::open(&self.wire, &self.docker, id, options).await;
            opened.map_err(|error| fault::missing(error, &format!("container {id}")))
        })
        .await
    }

    async fn usage(&self, id: &str) -> Result<Option<Usage>> {
        self.asking("usage", self.measure(id)).await
    }

    async fn exec(&self, id: &str, options: ExecOptions) -> Result<Exec> {
        self.changing("exec", exec::start(&self.wire, &self.docker, id, options))
            .await
    }

    async fn exec_status(&self, exec: &str) -> Result<ExecStatus> {
        self.asking("inspect exec", exec::status(&self.docker, exec)).await
    }

    async fn resize_exec(&self, exec: &str, size: TerminalSize) -> Result<()> {
        self.asking("resize exec", exec::resize(&self.docker, exec, size)).await
    }

    async fn end_exec(&self, exec: &str, how: Ending) -> Result<bool> {
        self.asking("end exec", exec::end(&self.docker, exec, how)).await
    }

    async fn ensure_network(&self, spec: &NetworkSpec) -> Result<NetworkInfo> {
        self.changing("make network", self.ensure(spec)).await
    }

    async fn networks(&self, cluster: &str) -> Result<Vec<NetworkInfo>> {
        self.asking("networks", self.networks_of(cluster)).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        self.changing("remove network", self.drop_network(name)).await
    }

    async fn ensure_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<()> {
        self.changing("make volume", self.make_volume(name, labels)).await
    }

    async fn volumes(&self, labels: &BTreeMap<String, String>) -> Result<BTreeSet<String>> {
        self.asking("list volumes", self.list_volumes(labels)).await
    }

    async fn remove_volume(&self, name: &str) -> Result<()> {
        self.changing("remove volume", self.drop_volume(name)).await
    }
}

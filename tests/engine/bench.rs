//! An engine for one test, with what the test makes on it.
//!
//! Everything carries the test's own cluster label, so tests run side by side on one engine. What a test left behind, also one
//! that was killed, is removed: by itself at its end, by the next run of the same test otherwise.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bollard::Docker;
use bollard::query_parameters as query;
use cube::engine::sim::{SimConfig, SimEngine};
use cube::engine::{CLUSTER_LABEL, Container, ContainerSpec, DockerEngine, Engine, LogOptions, State};
use cube::world::World;
use futures_util::{FutureExt, StreamExt, TryStreamExt};

/// Which test made it.
const TEST_LABEL: &str = "cube.test";
/// The process whose test made it.
const PROCESS_LABEL: &str = "cube.test.process";
/// Both engines have it, and it has a shell.
pub const IMAGE: &str = "busybox:latest";
/// Far above what anything here takes, for a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// What a test works with.
#[derive(Clone)]
pub struct Bench {
    pub engine: Arc<dyn Engine>,
    /// The simulated engine, to do what no verb does.
    pub sim: Option<SimEngine>,
    /// A raw client of the real engine, for the same.
    pub docker: Option<Docker>,
    pub test: String,
    pub cluster: String,
}

/// Runs a test on the real engine.
pub async fn on_docker(test: &str, run: impl AsyncFnOnce(Bench)) {
    let engine = DockerEngine::connect(None).expect("an address");
    let info = engine
        .info()
        .await
        .expect("these tests need a Docker engine that answers");
    assert_ne!(info.version, "", "an engine has a version");
    let docker = raw_client();
    let bench = Bench {
        engine: Arc::new(engine),
        sim: None,
        docker: Some(docker.clone()),
        test: test.to_owned(),
        cluster: format!("test-{}-{test}", std::process::id()),
    };
    clear(&docker, test, false).await;
    let result = std::panic::AssertUnwindSafe(run(bench)).catch_unwind().await;
    clear(&docker, test, true).await;
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Runs a test on the simulated engine.
pub async fn on_sim(test: &str, run: impl AsyncFnOnce(Bench)) {
    let sim = SimEngine::new(World::real(), SimConfig::default());
    sim.add_image(IMAGE);
    let bench = Bench {
        engine: Arc::new(sim.clone()),
        sim: Some(sim),
        docker: None,
        test: test.to_owned(),
        cluster: format!("test-{test}"),
    };
    run(bench).await;
}

/// A client of the real engine that is not ours.
pub fn raw_client() -> Docker {
    Docker::connect_with_defaults().expect("a Docker engine")
}

impl Bench {
    /// A name that is free, with the test's own in it.
    pub fn name(&self, name: &str) -> String {
        format!("cube-{}-{}-{name}", self.test.replace('_', "-"), std::process::id())
    }

    /// The labels of everything that a test makes.
    pub fn labels(&self) -> BTreeMap<String, String> {
        [
            (CLUSTER_LABEL, self.cluster.clone()),
            (TEST_LABEL, self.test.clone()),
            (PROCESS_LABEL, std::process::id().to_string()),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    /// A container that runs a script, under an init.
    pub fn script(&self, name: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: self.name(name),
            image: IMAGE.to_owned(),
            labels: self.labels(),
            command: Some(words(&["sh", "-c", script])),
            init: true,
            ..ContainerSpec::default()
        }
    }

    /// A container that sleeps, under an init.
    pub fn sleeper(&self, name: &str) -> ContainerSpec {
        self.script(name, "exec sleep 1000")
    }

    /// Creates and starts.
    pub async fn run(&self, spec: &ContainerSpec) -> String {
        let id = self.engine.create(spec).await.expect("created");
        self.engine.start(&id).await.expect("started");
        id
    }

    /// Freezes a container behind the engine's back.
    pub async fn pause(&self, id: &str) {
        match (&self.sim, &self.docker) {
            (Some(sim), _) => sim.pause(id),
            (None, Some(docker)) => docker.pause_container(id).await.expect("frozen"),
            (None, None) => unreachable!("a bench has an engine"),
        }
    }

    /// The raw client of the real engine.
    pub fn raw(&self) -> &Docker {
        self.docker.as_ref().expect("a test of the real engine")
    }

    /// An image with these instructions over busybox, on the real engine.
    pub async fn image_of(&self, instructions: &[(&str, &str)]) -> String {
        let id = self
            .engine
            .create(&self.script("image", "true"))
            .await
            .expect("created");
        let name = self.commit(&id, instructions).await;
        self.engine.remove(&id, true).await.expect("removed");
        name
    }

    /// An image of what a container has become.
    pub async fn commit(&self, id: &str, instructions: &[(&str, &str)]) -> String {
        // What the container was told to run would be the image's otherwise.
        let mut changes = vec!["ENTRYPOINT []".to_owned(), "CMD []".to_owned()];
        changes.extend(instructions.iter().map(|(word, rest)| format!("{word} {rest}")));
        let labels = [
            (TEST_LABEL, self.test.clone()),
            (PROCESS_LABEL, std::process::id().to_string()),
        ];
        changes.extend(labels.map(|(key, value)| format!("LABEL {key}={value}")));
        let name = self.name("image");
        let options = query::CommitContainerOptionsBuilder::new()
            .container(id)
            .repo(&name)
            .tag("1")
            .changes(&changes.join("\n"))
            .build();
        let config = bollard::models::ContainerConfig::default();
        self.raw().commit_container(options, config).await.expect("an image");
        format!("{name}:1")
    }

    pub async fn see(&self, id: &str) -> Container {
        let seen = self.engine.inspect(id).await.expect("an inspection");
        seen.unwrap_or_else(|| panic!("container {id} is gone"))
    }

    /// Its exit code, once it has ended.
    pub async fn ended(&self, id: &str) -> i64 {
        self.until("the container has ended", async || match self.see(id).await.state {
            State::Exited { code, .. } => Some(code),
            _ => None,
        })
        .await
    }

    /// Looks again until there is something.
    pub async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let looked = tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        looked
            .await
            .unwrap_or_else(|_| panic!("waited {PATIENCE:?} until {what}"))
    }

    /// Standard output and standard error.
    pub async fn log(&self, id: &str, options: LogOptions) -> (String, String) {
        let chunks = self.engine.logs(id, options).await.expect("a log");
        let chunks: Vec<_> = within(chunks.try_collect()).await.expect("a whole log");
        let mut texts = (String::new(), String::new());
        for chunk in chunks {
            let text = if chunk.stderr { &mut texts.1 } else { &mut texts.0 };
            text.push_str(std::str::from_utf8(&chunk.bytes).expect("UTF-8"));
        }
        texts
    }
}

/// What must not take for ever.
pub async fn within<T>(future: impl Future<Output = T>) -> T {
    let patience = tokio::time::timeout(PATIENCE, future).await;
    patience.expect("within the patience of a test")
}

/// Addresses that no other test asks for.
pub fn subnet(number: u32) -> String {
    let process = std::process::id();
    format!("10.{}.{}.0/28", 100 + process % 100, process / 100 % 60 * 4 + number)
}

/// Addresses that hold [`subnet`]'s, and others'.
pub fn subnet_around(number: u32) -> String {
    subnet(number).replace("/28", "/27")
}

/// A port of loopback that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    listener.local_addr().expect("an address").port()
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Removes what a test made: of this process, or of those that are no more.
async fn clear(docker: &Docker, test: &str, own: bool) {
    let process = std::process::id().to_string();
    let ours = |labels: Option<&HashMap<String, String>>| {
        let made_by = labels.and_then(|labels| labels.get(PROCESS_LABEL));
        made_by.is_none_or(|made_by| match own {
            true => *made_by == process,
            false => !std::path::Path::new("/proc").join(made_by).exists(),
        })
    };
    let filters = || {
        Some(HashMap::from([(
            "label".to_owned(),
            vec![format!("{TEST_LABEL}={test}")],
        )]))
    };
    let containers = query::ListContainersOptions {
        all: true,
        filters: filters(),
        ..Default::default()
    };
    let containers = docker.list_containers(Some(containers)).await.expect("a list");
    let removals = containers.iter().filter(|container| ours(container.labels.as_ref()));
    let removals = removals.filter_map(|container| container.id.as_deref()).map(|id| {
        let options = query::RemoveContainerOptions {
            force: true,
            v: true,
            ..Default::default()
        };
        docker.remove_container(id, Some(options))
    });
    let _: Vec<_> = futures_util::stream::iter(removals).buffer_unordered(4).collect().await;
    let networks = query::ListNetworksOptions { filters: filters() };
    for network in docker.list_networks(Some(networks)).await.expect("a list") {
        if ours(network.labels.as_ref()) {
            let _ = docker.remove_network(&network.id.unwrap_or_default()).await;
        }
    }
    let volumes = query::ListVolumesOptions { filters: filters() };
    let volumes = docker.list_volumes(Some(volumes)).await.expect("a list");
    for volume in volumes.volumes.unwrap_or_default() {
        if ours(Some(&volume.labels)) {
            let _ = docker
                .remove_volume(&volume.name, None::<query::RemoveVolumeOptions>)
                .await;
        }
    }
    let images = query::ListImagesOptions {
        filters: filters(),
        ..Default::default()
    };
    for image in docker.list_images(Some(images)).await.expect("a list") {
        if ours(Some(&image.labels)) {
            let options = query::RemoveImageOptions {
                force: true,
                ..Default::default()
            };
            let _ = docker.remove_image(&image.id, Some(options), None).await;
        }
    }
}

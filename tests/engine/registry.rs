//! Images that must be fetched, from a registry of the test's own (Debian's `docker-registry`) on loopback.
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use bollard::query_parameters as query;
use cube::engine::docker::Limits;
use cube::engine::{ContainerSpec, DockerEngine, Engine, EngineError, PullProgress};
use futures_util::TryStreamExt;

use crate::bench::{Bench, free_port};

/// A user whose credentials, written for the engine, differ between base64's two alphabets.
const USER: &str = "cube";
const PASSWORD: &str = "pä?>~ss";
/// The same as a registry keeps it.
const USERS: &str = "cube:$2y$05$xe8Z9u0kus8M/6XqpYyRLeT0tpZujd8fudXACFH3hhsBl0QHKQnxm\n";

/// A registry, ended when it is dropped.
struct Registry {
    process: Child,
    address: String,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Registry {
    /// Starts one over the images in `directory`; with `users`, for those alone.
    async fn start(bench: &Bench, directory: &Path, users: bool) -> Self {
        let address = format!("127.0.0.1:{}", free_port());
        let file = |name: &str| directory.join(name).to_str().expect("UTF-8").to_owned();
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: {address}}}\n",
            file("images")
        );
        if users {
            std::fs::write(file("users"), USERS).expect("a file");
            config.push_str(&format!(
                "auth: {{htpasswd: {{realm: test, path: {}}}}}\n",
                file("users")
            ));
        }
        let path = file(if users { "closed.yml" } else { "open.yml" });
        std::fs::write(&path, config).expect("a file");
        let process = Command::new("docker-registry")
            .args(["serve", &path])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test needs Debian's package docker-registry");
        let registry = Self { process, address };
        bench
            .until("the registry answers", async || {
                tokio::net::TcpStream::connect(&registry.address).await.ok()
            })
            .await;
        registry
    }

    fn image(&self, tag: &str) -> String {
        format!("{}/cube/box:{tag}", self.address)
    }
}

/// Puts an image of one new layer of `mebibytes` into a registry, as `tags`, and leaves it there alone.
async fn publish(bench: &Bench, registry: &Registry, mebibytes: u32, tags: &[&str]) {
    let fill = format!("dd if=/dev/urandom of=/fill bs=1M count={mebibytes}");
    let id = bench.run(&bench.script("fill", &fill)).await;
    assert_eq!(bench.ended(&id).await, 0);
    let image = bench.commit(&id, &[]).await;
    bench.engine.remove(&id, false).await.expect("removed");
    let repository = format!("{}/cube/box", registry.address);
    for tag in tags {
        let options = query::TagImageOptions {
            repo: Some(repository.clone()),
            tag: Some((*tag).to_owned()),
        };
        bench.raw().tag_image(&image, Some(options)).await.expect("tagged");
        let options = query::PushImageOptionsBuilder::new().tag(tag).build();
        let nobody = Some(bollard::auth::DockerCredentials::default());
        let pushed = bench.raw().push_image(&repository, Some(options), nobody);
        let _: Vec<_> = pushed.try_collect().await.expect("pushed");
    }
    let image = bench
        .raw()
        .inspect_image(&image)
        .await
        .expect("an image")
        .id
        .expect("an id");
    drop_image(bench, &image).await;
}

async fn drop_image(bench: &Bench, image: &str) {
    let options = query::RemoveImageOptions {
        force: true,
        ..Default::default()
    };
    bench
        .raw()
        .remove_image(image, Some(options), None)
        .await
        .expect("removed");
}

/// The user's docker configuration of a test.
fn engine_with(directory: &Path, config: &str) -> DockerEngine {
    let file = directory.join("config.json");
    std::fs::write(&file, config).expect("a file");
    DockerEngine::connect(None)
        .expect("an address")
        .with_docker_config(file)
}

pub async fn an_image_is_fetched(bench: Bench) {
    let directory = tempfile::tempdir().expect("a directory");
    let registry = Registry::start(&bench, directory.path(), false).await;
    publish(&bench, &registry, 4, &["1", "2", "latest"]).await;
    let engine = engine_with(directory.path(), "{}");
    let image = registry.image("1");
    assert_eq!(engine.image(&image).await, Ok(None));

    let told = Mutex::new(Vec::<PullProgress>::new());
    engine
        .pull(&image, &|progress| told.lock().expect("a list").push(progress))
        .await
        .expect("pulled");
    let told = told.into_inner().expect("a list");
    let last = told.last().expect("progress");
    assert!(
        last.total_bytes > 4 << 20 && last.done_bytes == last.total_bytes,
        "{told:?}"
    );
    assert!(told.is_sorted_by_key(|progress| progress.done_bytes), "{told:?}");

    let found = engine.image(&image).await.expect("an answer").expect("an image");
    assert!(found.size_bytes > 4 << 20);
    let digest = found.digest.clone().expect("a digest");
    assert!(digest.starts_with("sha256:") && digest != found.id);
    let spec = ContainerSpec {
        image: image.clone(),
        ..bench.script("it", "test -s /fill")
    };
    let id = bench.run(&spec).await;
    assert_eq!(bench.ended(&id).await, 0);
    assert_eq!(bench.see(&id).await.image, image);
    bench.engine.remove(&id, false).await.expect("removed");

    // Only the tag that was asked for, and `latest` only where there is none.
    assert_eq!(engine.image(&registry.image("2")).await, Ok(None));
    assert_eq!(engine.image(&registry.image("latest")).await, Ok(None));
    drop_image(&bench, &image).await;
    let plain = format!("{}/cube/box", registry.address);
    engine.pull(&plain, &|_| {}).await.expect("pulled");
    assert!(
        engine
            .image(&registry.image("latest"))
            .await
            .expect("an answer")
            .is_some()
    );
    assert_eq!(engine.image(&image).await, Ok(None));
    drop_image(&bench, &plain).await;
    let by_digest = format!("{plain}@{digest}");
    engine.pull(&by_digest, &|_| {}).await.expect("pulled");
    let by_digest = engine.image(&by_digest).await.expect("an answer").expect("an image");
    assert_eq!((by_digest.id, by_digest.digest), (found.id, Some(digest)));
}

/// The refusal of a pull: whether it is for good, and its words.
async fn refusal(engine: &DockerEngine, image: &str) -> (bool, String) {
    match engine.pull(image, &|_| {}).await {
        Err(EngineError::PullFailed {
            image: of,
            permanent,
            message,
        }) => {
            assert_eq!(of, image);
            (permanent, message)
        }
        other => panic!("{image}: {other:?}"),
    }
}

pub async fn what_the_registry_refuses_stays_refused(bench: Bench) {
    let directory = tempfile::tempdir().expect("a directory");
    let registry = Registry::start(&bench, directory.path(), false).await;
    publish(&bench, &registry, 1, &["1"]).await;
    let engine = engine_with(directory.path(), "{}");
    for image in [
        registry.image("missing"),
        format!("{}/cube/nothing:1", registry.address),
        "Bad Name".to_owned(),
        String::new(),
    ] {
        let (permanent, message) = refusal(&engine, &image).await;
        assert!(permanent, "{image}: {message}");
    }
    let deaf = format!("127.0.0.1:{}/cube/box:1", free_port());
    let (permanent, message) = refusal(&engine, &deaf).await;
    assert!(!permanent, "nobody is there yet: {message}");
}

pub async fn a_registry_that_hangs_is_given_up(bench: Bench) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
    let address = listener.local_addr().expect("an address");
    let hanging = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            held.push(connection);
        }
    });
    let engine = DockerEngine::connect(None).expect("an address").with_limits(Limits {
        pull_silence: Duration::from_millis(500),
        ..Limits::default()
    });
    let image = format!("{address}/cube/box:1");
    let (refused, listed) = tokio::join!(refusal(&engine, &image), bench.engine.list(&bench.cluster));
    assert_eq!(listed, Ok(vec![]), "nothing else waits for it");
    let (permanent, message) = refused;
    assert!(!permanent, "{message}");
    assert!(message.contains("500ms"), "{message}");
    hanging.abort();
}

pub async fn the_users_credentials_are_used(bench: Bench) {
    let directory = tempfile::tempdir().expect("a directory");
    let open = Registry::start(&bench, directory.path(), false).await;
    publish(&bench, &open, 1, &["1"]).await;
    let closed = Registry::start(&bench, directory.path(), true).await;
    let image = closed.image("1");

    let (permanent, message) = refusal(&engine_with(directory.path(), "{}"), &image).await;
    assert!(permanent, "{message}");
    let (permanent, message) = refusal(&engine_with(directory.path(), "{ not json"), &image).await;
    assert!(permanent && message.contains("config.json"), "{message}");
    let login = |password: &str| {
        let auth = base64::engine::general_purpose::STANDARD.encode(format!("{USER}:{password}"));
        format!(r#"{{"auths": {{"{}": {{"auth": "{auth}"}}}}}}"#, closed.address)
    };
    let (permanent, message) = refusal(&engine_with(directory.path(), &login("wrong")), &image).await;
    assert!(permanent, "{message}");
    let engine = engine_with(directory.path(), &login(PASSWORD));
    engine.pull(&image, &|_| {}).await.expect("pulled");
    assert!(engine.image(&image).await.expect("an answer").is_some());
}

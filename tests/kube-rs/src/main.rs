//! What kube-rs asks of an API server, asked of Cube: discovery, verbs, finalizers, conditions, and two watchers (one of
//! each kind of list) that stay in step while the server is restarted beneath them.
//!
//! `kube-rs-judge URL`. It says `restart` when it wants the server to be killed and started again, and reads a line when
//! that has begun. It ends with 0 when all is as it should be.
use std::{
    collections::BTreeMap,
    convert::Infallible,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use futures::{StreamExt, TryStreamExt, stream};
use kube::{
    Client, Config, Discovery, ResourceExt,
    api::{Api, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::{ApiResource, GroupVersionKind},
    runtime::{
        WatchStreamExt,
        controller::Action,
        finalizer::{Event, finalizer},
        wait::await_condition,
        watcher,
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader, stdin},
    task::JoinHandle,
    time::{sleep, timeout},
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// What a watcher believes: names, and their images.
type Seen = Arc<Mutex<BTreeMap<String, String>>>;

const FINALIZER: &str = "cube-test/judge";

#[tokio::main]
async fn main() -> Outcome<()> {
    let url = std::env::args().nth(1).ok_or("usage: kube-rs-judge URL")?;
    let client = Client::try_from(Config::new(url.parse()?))?;
    discovers(&client).await?;
    let tasks = api(&client, "Task");
    verbs(&tasks).await?;
    finalizes(&tasks).await?;
    awaits(&tasks).await?;
    scales(&api(&client, "Deployment")).await?;
    stays_in_step(&tasks).await?;
    println!("all is well");
    Ok(())
}

fn kind(name: &str) -> GroupVersionKind {
    GroupVersionKind::gvk("cube", "v1", name)
}

fn api(client: &Client, name: &str) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk(&kind(name));
    Api::namespaced_with(client.clone(), "default", &resource)
}

fn object(kind: &str, name: &str, spec: Value) -> Outcome<DynamicObject> {
    let metadata = json!({ "name": name, "labels": { "app": name } });
    let object = json!({ "apiVersion": "cube/v1", "kind": kind, "metadata": metadata, "spec": spec });
    Ok(serde_json::from_value(object)?)
}

fn task(name: &str, image: &str) -> Outcome<DynamicObject> {
    object("Task", name, json!({ "image": image }))
}

async fn create(tasks: &Api<DynamicObject>, name: &str, image: &str) -> Outcome<DynamicObject> {
    Ok(tasks.create(&PostParams::default(), &task(name, image)?).await?)
}

async fn merge(tasks: &Api<DynamicObject>, name: &str, patch: Value) -> Outcome<DynamicObject> {
    Ok(tasks.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await?)
}

async fn runs(tasks: &Api<DynamicObject>, name: &str) -> Outcome<DynamicObject> {
    let patch = Patch::Merge(json!({ "status": { "phase": "Running" } }));
    Ok(tasks.patch_status(name, &PatchParams::default(), &patch).await?)
}

fn is_running(object: Option<&DynamicObject>) -> bool {
    object.is_some_and(|object| object.data["status"]["phase"] == "Running")
}

async fn discovers(client: &Client) -> Outcome<()> {
    let old = Discovery::new(client.clone()).run().await?;
    let new = Discovery::new(client.clone()).run_aggregated().await?;
    for discovery in [old, new] {
        let (resource, capabilities) = discovery.resolve_gvk(&kind("Task")).ok_or("there are no Tasks")?;
        assert_eq!(resource.plural, "tasks");
        assert!(capabilities.supports_operation("watch"));
        assert!(
            capabilities
                .subresources
                .iter()
                .any(|(part, _)| part.plural == "status")
        );
    }
    Ok(())
}

async fn verbs(tasks: &Api<DynamicObject>) -> Outcome<()> {
    let mut made = create(tasks, "a", "x:1").await?;
    let stale = made.clone();
    made.data["spec"]["image"] = "x:2".into();
    let replaced = tasks.replace("a", &PostParams::default(), &made).await?;
    assert_ne!(replaced.resource_version(), stale.resource_version());
    let mut other = stale;
    other.data["spec"]["image"] = "x:3".into();
    match tasks.replace("a", &PostParams::default(), &other).await {
        Err(kube::Error::Api(status)) => assert_eq!((status.code, status.reason.as_str()), (409, "Conflict")),
        other => panic!("a stale write is refused, and not {other:?}"),
    }
    assert!(tasks.get_opt("none").await?.is_none());
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    tasks.create(&dry, &task("dry", "x")?).await?;
    assert!(tasks.get_opt("dry").await?.is_none());
    assert_eq!(
        merge(tasks, "a", json!({ "spec": { "image": "x:4" } })).await?.data["spec"]["image"],
        "x:4"
    );
    assert!(is_running(Some(&runs(tasks, "a").await?)));
    assert_eq!(
        tasks
            .list(&ListParams::default().labels("app in (a)").limit(500))
            .await?
            .items
            .len(),
        1
    );
    assert_eq!(tasks.list_metadata(&ListParams::default()).await?.items.len(), 1);
    assert_eq!(tasks.get_metadata("a").await?.name_any(), "a");
    let gone = tasks.delete("a", &DeleteParams::default()).await?;
    assert!(gone.is_right(), "nothing holds it: {gone:?}");
    Ok(())
}

/// Runs the finalizer once; whether it was the clean-up.
async fn finalize(tasks: &Api<DynamicObject>, name: &str) -> Outcome<bool> {
    let object = Arc::new(tasks.get(name).await?);
    let cleaned = Arc::new(Mutex::new(false));
    let told = cleaned.clone();
    let once = finalizer(tasks, FINALIZER, object, move |event| async move {
        *told.lock().unwrap_or_else(PoisonError::into_inner) = matches!(event, Event::Cleanup(_));
        Ok::<_, Infallible>(Action::await_change())
    });
    once.await?;
    let cleaned = *cleaned.lock().unwrap_or_else(PoisonError::into_inner);
    Ok(cleaned)
}

async fn finalizes(tasks: &Api<DynamicObject>) -> Outcome<()> {
    create(tasks, "held", "x").await?;
    assert!(!finalize(tasks, "held").await?);
    assert_eq!(tasks.get("held").await?.finalizers(), [FINALIZER]);
    let held = tasks.delete("held", &DeleteParams::default()).await?;
    assert!(held.is_left(), "the finalizer holds it: {held:?}");
    assert!(finalize(tasks, "held").await?);
    assert!(tasks.get_opt("held").await?.is_none());
    Ok(())
}

async fn awaits(tasks: &Api<DynamicObject>) -> Outcome<()> {
    create(tasks, "b", "y").await?;
    let waiting = timeout(Duration::from_secs(30), await_condition(tasks.clone(), "b", is_running));
    let telling = async {
        sleep(Duration::from_millis(300)).await;
        runs(tasks, "b").await
    };
    let (waited, told) = tokio::join!(waiting, telling);
    told?;
    assert!(is_running(waited??.as_ref()));
    Ok(())
}

async fn scales(deployments: &Api<DynamicObject>) -> Outcome<()> {
    let spec = json!({ "replicas": 2, "template": { "spec": { "image": "x" } } });
    deployments
        .create(&PostParams::default(), &object("Deployment", "d", spec)?)
        .await?;
    let patch = Patch::Merge(json!({ "spec": { "replicas": 5 } }));
    deployments.patch_scale("d", &PatchParams::default(), &patch).await?;
    let scale = deployments.get_scale("d").await?;
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(5));
    Ok(())
}

async fn stays_in_step(tasks: &Api<DynamicObject>) -> Outcome<()> {
    let watchers = [watcher::Config::default(), watcher::Config::default().streaming_lists()];
    let watchers = watchers.map(|config| follow(tasks.clone(), config));
    let everywhere = |is: &dyn Fn(&BTreeMap<String, String>) -> bool| {
        watchers
            .iter()
            .all(|(seen, _)| is(&seen.lock().unwrap_or_else(PoisonError::into_inner)))
    };
    until("both see what is there", || everywhere(&|seen| seen.contains_key("b"))).await;
    merge(tasks, "b", json!({ "spec": { "image": "y:2" } })).await?;
    until("both see a change", || everywhere(&|seen| seen["b"] == "y:2")).await;
    for round in 0..3 {
        restart().await?;
        let name = format!("after-{round}");
        while let Err(error) = create(tasks, &name, "z").await {
            eprintln!("not yet: {error}");
            sleep(Duration::from_millis(50)).await;
        }
        until("both see what came after a restart", || {
            everywhere(&|seen| seen.contains_key(&name))
        })
        .await;
    }
    let many = stream::iter(0..500).map(|index| async move {
        let made = create(tasks, &format!("m{index}"), "m").await;
        made.map_err(|error| error.to_string())
    });
    many.buffer_unordered(16).try_collect::<Vec<_>>().await?;
    until("both see 500 more", || everywhere(&|seen| seen.len() == 504)).await;
    let rest = ListParams::default().labels("app notin (b)");
    tasks.delete_collection(&DeleteParams::default(), &rest).await?;
    until("both see them go", || everywhere(&|seen| seen.keys().eq(["b"]))).await;
    for (_, task) in &watchers {
        assert!(!task.is_finished());
        task.abort();
    }
    Ok(())
}

/// Keeps what a watcher tells.
fn follow(tasks: Api<DynamicObject>, config: watcher::Config) -> (Seen, JoinHandle<()>) {
    let seen = Seen::default();
    let told = seen.clone();
    let task = tokio::spawn(async move {
        let mut events = watcher(tasks, config).default_backoff().boxed();
        let mut fresh = BTreeMap::new();
        while let Some(event) = events.next().await {
            let image = |object: &DynamicObject| object.data["spec"]["image"].as_str().unwrap_or_default().to_owned();
            let mut seen = told.lock().unwrap_or_else(PoisonError::into_inner);
            match event {
                Ok(watcher::Event::Init) => fresh.clear(),
                Ok(watcher::Event::InitApply(object)) => _ = fresh.insert(object.name_any(), image(&object)),
                Ok(watcher::Event::InitDone) => *seen = std::mem::take(&mut fresh),
                Ok(watcher::Event::Apply(object)) => _ = seen.insert(object.name_any(), image(&object)),
                Ok(watcher::Event::Delete(object)) => _ = seen.remove(&object.name_any()),
                // Said only: the server is restarted, and a watcher has to find its way by itself.
                Err(error) => eprintln!("a watcher: {error}"),
            }
        }
    });
    (seen, task)
}

async fn restart() -> Outcome<()> {
    println!("restart");
    let mut line = String::new();
    BufReader::new(stdin()).read_line(&mut line).await?;
    Ok(())
}

async fn until(what: &str, is: impl Fn() -> bool) {
    let waiting = async {
        while !is() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    let done = timeout(Duration::from_secs(60), waiting).await;
    assert!(done.is_ok(), "{what}: not within a minute");
    println!("{what}");
}

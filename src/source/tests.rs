//! A source over a real directory and a registry in memory. Tests wait for what should become so, with a limit.
use std::{
    fs,
    path::Path,
    sync::{Mutex, MutexGuard},
    time::Duration,
};

use cube_api::{kinds::Kind, meta::PRUNE_ANNOTATION, source::Source, task::Task};
use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::{
    registry::{ApplyRequest, DeleteOptions, Object, Outcome, PERSON, Write},
    store::{self, Store},
};

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Told {
    fn all(&self) -> MutexGuard<'_, Vec<String>> {
        self.0.lock().unwrap()
    }
}

impl Tell for Told {
    fn tell(&self, fact: Fact) {
        self.all().push(match fact {
            Fact::Found { files, objects } => format!("found {files} {objects}"),
            Fact::Applied { object, became } => format!("{became:?} {object}"),
            Fact::Refused { object, why, .. } => format!("refused {object}: {why}"),
            Fact::Invalid { diagnostics, .. } => format!("invalid {}", diagnostics[0]),
            Fact::Mended { file } => format!("mended {}", file.display()),
            Fact::Twice { object, files } => format!("twice {object} {files:?}"),
            Fact::DirectoryGone { .. } => "gone".to_owned(),
            Fact::NotWatched { why } => format!("not watched: {why}"),
            Fact::WaitsForYes { n, of, why, .. } => format!("waits {n} of {of}: {why}"),
            Fact::Removed { object } => format!("removed {object}"),
            Fact::SetRight { object, deleted } => format!("set right {object} deleted={deleted}"),
        });
    }
}

struct Bed {
    temp: TempDir,
    registry: Registry,
    told: Arc<Told>,
    stop: CancellationToken,
    running: Option<tokio::task::JoinHandle<()>>,
}

impl Bed {
    async fn new() -> Self {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("m")).unwrap();
        let store = Store::memory(store::Options::default());
        Bed {
            temp,
            registry: Registry::open(store, World::real()).await.unwrap(),
            told: Arc::default(),
            stop: CancellationToken::new(),
            running: None,
        }
    }

    async fn with(files: &[(&str, String)]) -> Self {
        let mut bed = Bed::new().await;
        for (name, text) in files {
            bed.write(name, text);
        }
        bed.start();
        bed.told("found").await;
        bed
    }

    fn start(&mut self) {
        self.stop = CancellationToken::new();
        let options = Options {
            name: "m".to_owned(),
            directory: self.temp.path().join("m"),
        };
        let (registry, tell) = (self.registry.clone(), self.told.clone());
        let run = run(options, registry, World::real(), tell, self.stop.clone());
        self.running = Some(tokio::spawn(run));
    }

    async fn stop(&mut self) {
        self.stop.cancel();
        self.running.take().unwrap().await.unwrap();
        self.told.all().clear();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.temp.path().join("m").join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    fn get(&self, name: &str) -> Option<Object> {
        self.registry.get(Kind::Task, "default", name).ok()
    }

    fn image(&self, name: &str) -> Option<String> {
        self.get(name).map(|object| object.typed::<Task>().spec.image.clone())
    }

    fn names(&self) -> Vec<String> {
        let tasks = self.registry.list(Kind::Task, None).items;
        tasks.iter().map(|task| task.name().to_owned()).collect()
    }

    fn source(&self) -> Source {
        let source = self.registry.get(Kind::Source, "", "m");
        source
            .map(|source| source.typed::<Source>().clone())
            .unwrap_or_default()
    }

    /// Waits until it is so.
    async fn until(&self, what: &str, so: impl Fn() -> bool) {
        let wait = async {
            while !so() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(20), wait).await.is_err() {
            panic!(
                "never: {what}; told: {:#?}; status: {:#?}",
                self.told.all(),
                self.source().status
            );
        }
    }

    async fn told(&self, beginning: &str) {
        self.until(beginning, || {
            self.told.all().iter().any(|line| line.starts_with(beginning))
        })
        .await;
    }

    /// Waits until a file that is written now was read: what was written before was, too.
    async fn seen(&self, marker: &str) {
        self.write(&format!("{marker}.yaml"), &task(marker, "mark"));
        self.until(marker, || self.get(marker).is_some()).await;
    }
}

fn task(name: &str, image: &str) -> String {
    format!("apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: {name} }}\nspec: {{ image: {image} }}\n")
}

fn tasks(count: usize) -> Vec<(String, String)> {
    (0..count)
        .map(|n| (format!("t{n}.yaml"), task(&format!("t{n}"), "a")))
        .collect()
}

async fn of_tasks(count: usize) -> Bed {
    let files = tasks(count);
    let files: Vec<(&str, String)> = files.iter().map(|(name, text)| (name.as_str(), text.clone())).collect();
    let bed = Bed::with(&files).await;
    bed.until("all there", || bed.names().len() == count).await;
    bed
}

#[tokio::test]
async fn files_become_objects_change_them_and_leave_with_them() {
    let room = "apiVersion: cube/v1\nkind: Namespace\nmetadata: { name: web }\n".to_owned();
    let inside = task("b", "a").replace("name: b", "name: b, namespace: web");
    let bed = Bed::with(&[("a.yaml", inside), ("z.yml", room), (".hidden.yaml", task("c", "a"))]).await;
    bed.told("found 2 2").await;
    bed.told("Created task/web/b").await;
    bed.write(
        "a.json",
        &json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "j" }, "spec": { "image": "a" } })
            .to_string(),
    );
    bed.told("Created task/default/j").await;
    fs::create_dir_all(bed.path("sub/deep")).unwrap();
    bed.write("sub/deep/d.yaml", &task("d", "a"));
    bed.told("Created task/default/d").await;
    // An editor's way: a temporary renamed over the file.
    bed.write(".d.yaml.swp", &task("d", "b"));
    fs::rename(bed.path(".d.yaml.swp"), bed.path("sub/deep/d.yaml")).unwrap();
    bed.told("Configured task/default/d").await;
    assert_eq!(bed.image("d").as_deref(), Some("b"));
    fs::remove_dir_all(bed.path("sub")).unwrap();
    bed.told("removed task/default/d").await;
    bed.until("gone", || bed.get("d").is_none()).await;
    assert_eq!(bed.source().status.removed.len(), 1);
    assert_eq!(
        bed.source().spec.directory,
        Some(fs::canonicalize(bed.path("")).unwrap().display().to_string())
    );
}

#[tokio::test]
async fn a_restart_changes_nothing_and_then_nothing_is_written() {
    let mut bed = of_tasks(3).await;
    bed.until("in step", || bed.source().status.objects == 3).await;
    bed.stop().await;
    let before = bed.registry.snapshot().revision();
    bed.start();
    bed.told("Unchanged task/default/t2").await;
    let all = bed.told.all().clone();
    assert_eq!(
        all.iter().filter(|line| line.starts_with("Unchanged")).count(),
        3,
        "{all:?}"
    );
    // The same content, written again, is no change either.
    bed.write("t0.yaml", &task("t0", "a"));
    bed.seen("mark").await;
    bed.until("counted", || bed.source().status.objects == 4).await;
    // The marker's Task, and the status that counts it.
    assert_eq!(bed.registry.snapshot().revision(), before + 2);
}

#[tokio::test]
async fn a_bad_file_keeps_its_objects_and_holds_all_removals() {
    let bed = of_tasks(3).await;
    bed.write(
        "t0.yaml",
        &format!("{}---\n{}", task("t0", "b"), task("x", "a").replace("image", "imgae")),
    );
    bed.told("invalid t0.yaml:9:9: unknown field `imgae`").await;
    bed.remove("t1.yaml");
    bed.until("said", || {
        bed.source().status.waiting_reason == "nothing is removed while t0.yaml is bad"
    })
    .await;
    assert_eq!((bed.image("t0").as_deref(), bed.names().len()), (Some("a"), 3));
    bed.until("the error", || bed.source().status.errors.len() == 1).await;
    // Others' files go on.
    bed.write("t2.yaml", &task("t2", "b"));
    bed.told("Configured task/default/t2").await;
    assert!(bed.get("t1").is_some());
    bed.write("t0.yaml", &task("t0", "c"));
    bed.told("mended t0.yaml").await;
    bed.told("removed task/default/t1").await;
    assert_eq!(bed.image("t0").as_deref(), Some("c"));
    bed.until("no errors", || bed.source().status.errors.is_empty()).await;
}

#[tokio::test]
async fn what_cannot_be_a_manifest_is_refused_with_its_reason() {
    let bed = of_tasks(1).await;
    let outside = bed.temp.path().join("outside.yaml");
    fs::write(&outside, task("outside", "a")).unwrap();
    std::os::unix::fs::symlink(&outside, bed.path("link.yaml")).unwrap();
    bed.told("invalid link.yaml: the file is a link that leads out of the directory")
        .await;
    rustix::fs::mknodat(
        rustix::fs::CWD,
        bed.path("fifo.yaml"),
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR,
        0,
    )
    .unwrap();
    bed.told("invalid fifo.yaml: the file is a FIFO, not a regular file")
        .await;
    fs::File::create(bed.path("huge.yaml"))
        .unwrap()
        .set_len(100 << 20)
        .unwrap();
    bed.told("invalid huge.yaml: the file is larger than 4 MiB").await;
    fs::write(bed.path("bytes.yaml"), [0xc3, 0x28]).unwrap();
    bed.told("invalid bytes.yaml:1:1: the file is not UTF-8").await;
    assert_eq!(bed.names(), ["t0"]);
}

#[tokio::test]
async fn what_is_no_file_or_no_end_is_told_and_what_editors_leave_is_not() {
    let bed = Bed::new().await;
    let mut bed = bed;
    bed.write("t0.yaml", &task("t0", "a"));
    std::os::unix::fs::symlink("/dev/zero", bed.path("device.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", bed.path("dangling.yaml")).unwrap();
    std::os::unix::fs::symlink("itself.yaml", bed.path("itself.yaml")).unwrap();
    std::os::unix::fs::symlink(".", bed.path("loop")).unwrap();
    fs::create_dir(bed.path("directory.yaml")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(bed.path("socket.yaml")).unwrap();
    // No disk is so large; it has holes.
    let sparse = fs::File::create(bed.path("sparse.yaml")).unwrap();
    sparse.set_len(10 << 30).unwrap();
    for passed_over in [
        ".hidden.yaml",
        "t0.yaml~",
        ".t0.yaml.swp",
        "t0.yaml.tmp",
        "#t0.yaml#",
        "t0.txt",
    ] {
        bed.write(passed_over, "[");
    }
    let mut deep = bed.path("d");
    for _ in 0..40 {
        fs::create_dir(&deep).unwrap();
        deep.push("d");
    }
    bed.start();
    for told in [
        "invalid device.yaml: the file is a link to a device",
        "invalid dangling.yaml: the file is a link to nothing that can be reached",
        "invalid itself.yaml: the file is a link to nothing that can be reached",
        "invalid loop: the file is a link to a directory; such links are not followed",
        "invalid socket.yaml: the file is a socket, not a regular file",
        "invalid sparse.yaml: the file is larger than 4 MiB",
    ] {
        bed.told(told).await;
    }
    let too_deep = format!("invalid {}", ["d"; 33].join("/"));
    bed.told(&too_deep).await;
    bed.seen("mark").await;
    assert_eq!(bed.names(), ["mark", "t0"]);
    for line in bed.told.all().iter() {
        assert!(
            !line.contains("hidden") && !line.contains("t0.") && !line.contains("invalid directory"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn where_everybody_may_write_nothing_is_read() {
    let open = |path: PathBuf, mode: u32| {
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    let mut bed = Bed::new().await;
    bed.write("t0.yaml", &task("t0", "a"));
    fs::create_dir(bed.path("sub")).unwrap();
    bed.write("sub/t1.yaml", &task("t1", "a"));
    open(bed.path("sub"), 0o777);
    // That only its owner may take files away (as in /tmp) keeps nobody from adding some.
    open(bed.path("."), 0o1777);
    bed.start();
    bed.told("gone").await;
    bed.until("said", || {
        bed.source()
            .status
            .conditions
            .iter()
            .any(|condition| condition.message.contains("everybody on this machine may write"))
    })
    .await;
    assert_eq!(bed.names(), [""; 0]);
    open(bed.path("."), 0o755);
    bed.told("invalid sub: ").await;
    bed.seen("mark").await;
    assert_eq!(bed.names(), ["mark", "t0"], "a directory within is no better");
    open(bed.path("sub"), 0o775);
    bed.told("Created task/default/t1").await;
}

#[tokio::test]
async fn links_within_are_followed_and_may_be_swapped_whole() {
    let bed = Bed::new().await;
    let mut bed = bed;
    for (version, image) in [("..1", "a"), ("..2", "b")] {
        fs::create_dir(bed.path(version)).unwrap();
        bed.write(&format!("{version}/k.yaml"), &task("k", image));
    }
    std::os::unix::fs::symlink("..1", bed.path("..data")).unwrap();
    std::os::unix::fs::symlink("..data/k.yaml", bed.path("k.yaml")).unwrap();
    bed.start();
    bed.told("Created task/default/k").await;
    std::os::unix::fs::symlink("..2", bed.path("..data_tmp")).unwrap();
    fs::rename(bed.path("..data_tmp"), bed.path("..data")).unwrap();
    bed.told("Configured task/default/k").await;
    assert_eq!(bed.image("k").as_deref(), Some("b"));
}

#[tokio::test]
async fn what_two_files_say_stays_as_it_was() {
    let bed = of_tasks(1).await;
    bed.write("u.yaml", &task("t0", "b"));
    bed.told("twice task/default/t0 [\"t0.yaml\", \"u.yaml\"]").await;
    bed.write("t0.yaml", &task("t0", "c"));
    bed.seen("mark").await;
    assert_eq!(bed.image("t0").as_deref(), Some("a"));
    bed.until("said", || {
        bed.source().status.errors == ["task/default/t0 is in t0.yaml and in u.yaml: it stays as it was"]
    })
    .await;
    bed.remove("t0.yaml");
    bed.told("Configured task/default/t0").await;
    assert_eq!(bed.image("t0").as_deref(), Some("b"));
}

#[tokio::test]
async fn much_at_once_waits_for_a_yes_to_exactly_that() {
    let mut bed = of_tasks(7).await;
    for n in 0..6 {
        bed.remove(&format!("t{n}.yaml"));
    }
    bed.told("waits 6 of 7").await;
    bed.until("listed", || bed.source().status.waiting.len() == 6).await;
    assert_eq!(bed.names().len(), 7);
    // It still waits after a restart.
    bed.stop().await;
    bed.start();
    bed.told("waits 6 of 7").await;
    let approve = async |digest: String| {
        // As a client does: again, when the status was written in between.
        loop {
            let source = bed.registry.get(Kind::Source, "", "m").unwrap();
            let write = Write::edit(&source, |value| {
                value["metadata"]["annotations"] = json!({ APPROVED_ANNOTATION: digest });
            });
            if bed.registry.transact(vec![write]).await.is_ok() {
                break;
            }
        }
    };
    bed.until("listed", || bed.source().status.waiting.len() == 6).await;
    approve("another list".to_owned()).await;
    bed.until("passed over", || bed.source().metadata.annotations.is_empty())
        .await;
    assert_eq!(bed.names().len(), 7);
    approve(digest(&bed.source().status.waiting)).await;
    bed.until("gone", || bed.names() == ["t6"]).await;
    bed.until("used up", || {
        bed.source().metadata.annotations.is_empty() && bed.source().status.waiting.is_empty()
    })
    .await;
}

#[tokio::test]
async fn a_directory_that_is_gone_or_another_removes_nothing() {
    let bed = of_tasks(2).await;
    let came_from = bed.source().status.identity;
    let (here, aside) = (bed.path(""), bed.temp.path().join("aside"));
    fs::rename(&here, &aside).unwrap();
    bed.told("gone").await;
    assert_eq!(bed.names().len(), 2);
    fs::create_dir(&here).unwrap();
    bed.write("new.yaml", &task("new", "a"));
    bed.told("Created task/default/new").await;
    bed.told("waits 2 of 3: the objects came from").await;
    assert_eq!(bed.names().len(), 3);
    // Once it has all of them it is the one that they come from, and their removal is like any other.
    bed.write("t0.yaml", &task("t0", "a"));
    bed.write("t1.yaml", &task("t1", "a"));
    bed.until("bound", || bed.source().status.identity != came_from).await;
    bed.remove("t1.yaml");
    bed.told("removed task/default/t1").await;
}

#[tokio::test]
async fn what_others_change_is_set_right_and_what_says_so_is_kept() {
    let kept = task("kept", "a").replace(
        "name: kept",
        &format!("name: kept, annotations: {{ {PRUNE_ANNOTATION}: disabled }}"),
    );
    let bed = Bed::with(&[("a.yaml", task("a", "a")), ("k.yaml", kept), ("b.yaml", task("b", "a"))]).await;
    bed.until("all", || bed.names().len() == 3).await;
    let object = bed.get("a").unwrap();
    let write = Write::edit(&object, |value| value["spec"]["image"] = "other".into());
    bed.registry.transact(vec![write]).await.unwrap();
    bed.told("set right task/default/a deleted=false").await;
    assert_eq!(bed.image("a").as_deref(), Some("a"));
    let options = DeleteOptions::default();
    bed.registry.delete(Kind::Task, "default", "a", &options).await.unwrap();
    bed.told("set right task/default/a deleted=true").await;
    assert!(bed.get("a").is_some());
    let by_hand = ApplyRequest {
        manager: PERSON.to_owned(),
        objects: vec![
            json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "a" }, "spec": { "image": "x" } }),
        ],
        ..ApplyRequest::default()
    };
    let refused = bed.registry.apply(&by_hand).await.remove(0).outcome;
    assert!(
        matches!(&refused, Outcome::Refused(error) if error.message.contains("source m (")),
        "{refused:?}"
    );
    bed.remove("k.yaml");
    bed.remove("b.yaml");
    bed.told("removed task/default/b").await;
    assert!(bed.get("kept").is_some());
}

#[tokio::test]
async fn an_object_of_another_manager_is_refused_until_it_is_free() {
    let bed = of_tasks(1).await;
    let mut theirs = ApplyRequest {
        manager: PERSON.to_owned(),
        ..ApplyRequest::default()
    };
    theirs.objects =
        vec![json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "x" }, "spec": { "image": "x" } })];
    bed.registry.apply(&theirs).await;
    bed.write("x.yaml", &task("x", "a"));
    bed.told("refused task/default/x: task default/x is managed by `cube apply`")
        .await;
    bed.registry
        .delete(Kind::Task, "default", "x", &DeleteOptions::default())
        .await
        .unwrap();
    bed.told("Created task/default/x").await;
    bed.until("no errors", || bed.source().status.errors.is_empty()).await;
}

#[tokio::test]
async fn half_written_files_are_told_of_only_when_they_stay_so() {
    let bed = of_tasks(1).await;
    let text = task("h", "a");
    for end in [20, 40, 60, text.len()] {
        bed.write("h.yaml", &text[..end.min(text.len())]);
    }
    bed.told("Created task/default/h").await;
    assert!(
        !bed.told.all().iter().any(|line| line.starts_with("invalid")),
        "{:?}",
        bed.told.all()
    );
}

#[test]
fn names_by_default() {
    for (path, name) in [
        ("/a/manifests", "manifests"),
        ("/a/My App_1/", "my-app-1"),
        ("/", "manifests"),
        ("/cube", "manifests"),
    ] {
        assert_eq!(name_of(Path::new(path)), name, "{path}");
    }
}

#[tokio::test]
async fn a_thousand_files_at_once_end_as_last_written() {
    let bed = of_tasks(3).await;
    for n in 0..1000 {
        bed.write(&format!("n{n}.yaml"), &task(&format!("n{n}"), "a"));
        bed.write(&format!("n{n}.yaml"), &task(&format!("n{n}"), "b"));
    }
    bed.until("all", || bed.names().len() == 1003).await;
    bed.until("all as last written", || {
        let tasks = bed.registry.list(Kind::Task, None).items;
        tasks
            .iter()
            .filter(|task| task.typed::<Task>().spec.image == "b")
            .count()
            == 1000
    })
    .await;
    bed.until("counted", || bed.source().status.objects == 1003).await;
    // One more file costs little beside them.
    let before = bed.registry.snapshot().revision();
    bed.seen("mark").await;
    bed.until("counted", || bed.source().status.objects == 1004).await;
    assert_eq!(bed.registry.snapshot().revision(), before + 2);
}

//! Apply, edit and delete, while processes are killed at random moments.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::chance::{Chance, cycles};
use super::fleet::Worker;
use super::harness::{Cube, shown, write};
use super::oracle::{Place, Strangers, Witness, await_settled, rest, tasks};

/// What the scenario has been promised: by each Task's name its version; and the Deployment's replicas and version.
#[derive(Clone, Debug, Default)]
struct Promised {
    tasks: BTreeMap<String, u64>,
    web: (u64, u64),
}

/// One wish.
#[derive(Clone, Debug)]
enum Wish {
    Task(String, u64),
    Gone(String),
    Web(u64, u64),
}

fn spec(number: u64, version: u64) -> Value {
    let mut spec = json!({
        "image": "busybox", "init": true, "network": "none", "terminationGracePeriodSeconds": 1,
        "env": [{ "name": "V", "value": version.to_string() }],
        "command": ["sleep", "100000"],
    });
    let fields = spec.as_object_mut().unwrap();
    if number.is_multiple_of(4) {
        fields.remove("network");
    }
    if number.is_multiple_of(3) {
        fields.insert("volumes".to_owned(), json!([{ "name": "v", "emptyDir": {} }]));
        fields.insert("volumeMounts".to_owned(), json!([{ "name": "v", "mountPath": "/v" }]));
    }
    if number.is_multiple_of(5) {
        fields.insert("init".to_owned(), json!(false));
        fields.insert(
            "command".to_owned(),
            json!(["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]),
        );
    }
    spec
}

impl Wish {
    fn manifest(&self) -> String {
        let object = |kind: &str, name: &str, spec: Value| {
            json!({ "apiVersion": "cube/v1", "kind": kind, "metadata": { "name": name }, "spec": spec }).to_string()
        };
        match self {
            Self::Task(name, version) => {
                let number = name.rsplit('-').next().unwrap().parse().unwrap();
                object("Task", name, spec(number, *version))
            }
            Self::Web(replicas, version) => {
                let template = json!({ "spec": spec(1, *version) });
                object(
                    "Deployment",
                    "web",
                    json!({ "replicas": replicas, "template": template }),
                )
            }
            Self::Gone(_) => String::new(),
        }
    }

    /// Whether it was acknowledged.
    fn say(&self, cube: &Cube) -> bool {
        let output = match self {
            Self::Gone(name) => cube.cube(&["delete", "task", name, "--wait=false"]),
            _ => {
                let file = cube.path("wish.json");
                write(&file, &self.manifest());
                cube.cube(&["apply", "-f", file.to_str().unwrap()])
            }
        };
        let code = output.status.code();
        // It may be refused because nobody is there, and for nothing else.
        assert!(code == Some(0) || code == Some(1), "{self:?}: {}", shown(&output));
        code == Some(0)
    }

    fn promise(&self, promised: &mut Promised) {
        match self {
            Self::Task(name, version) => _ = promised.tasks.insert(name.clone(), *version),
            Self::Gone(name) => _ = promised.tasks.remove(name),
            Self::Web(replicas, version) => promised.web = (*replicas, *version),
        }
    }

    /// The same wish is answered by what is there: it was carried out whole, or not at all.
    fn look(&self, stored: &Stored, promised: &mut Promised) {
        let before = promised.clone();
        self.promise(promised);
        let name = match self {
            Self::Task(name, _) | Self::Gone(name) => name,
            Self::Web(..) => {
                assert!([before.web, promised.web].contains(&stored.web), "{self:?}: {stored:?}");
                promised.web = stored.web;
                return;
            }
        };
        let is = stored.tasks.get(name);
        assert!(
            [before.tasks.get(name), promised.tasks.get(name)].contains(&is),
            "{self:?}: {is:?}"
        );
        match is {
            Some(version) => _ = promised.tasks.insert(name.clone(), *version),
            None => _ = promised.tasks.remove(name),
        }
    }
}

/// What the store has.
#[derive(Debug)]
struct Stored {
    tasks: BTreeMap<String, u64>,
    web: (u64, u64),
    revision: u64,
    all: Vec<Value>,
}

fn version(spec: &Value) -> u64 {
    spec["env"][0]["value"].as_str().unwrap_or("0").parse().unwrap()
}

fn stored(cube: &Cube) -> Stored {
    let (all, revision) = tasks(cube).unwrap();
    let web = cube.object("deployment", "web");
    let own = all.iter().filter(|task| task["metadata"]["ownerReferences"].is_null());
    let kept = own.filter(|task| task["metadata"]["deletionTimestamp"].is_null());
    Stored {
        tasks: kept
            .map(|task| {
                (
                    task["metadata"]["name"].as_str().unwrap().to_owned(),
                    version(&task["spec"]),
                )
            })
            .collect(),
        web: (
            web["spec"]["replicas"].as_u64().unwrap_or(1),
            version(&web["spec"]["template"]["spec"]),
        ),
        revision,
        all,
    }
}

/// Whether all runs that was promised, and nothing of it is on its way.
fn as_promised(cube: &Cube, promised: &Promised) -> Result<Stored, String> {
    let stored = stored(cube);
    let running = |task: &&Value| task["status"]["phase"] == "Running";
    let of_web = stored
        .all
        .iter()
        .filter(|task| task["metadata"]["ownerReferences"].is_array());
    let of_web: Vec<&Value> = of_web.filter(|task| version(&task["spec"]) == promised.web.1).collect();
    if stored.tasks != promised.tasks || stored.web != promised.web {
        return Err(format!("stored is {stored:?}, promised {promised:?}"));
    }
    if of_web.len() as u64 != promised.web.0 || stored.all.len() != of_web.len() + stored.tasks.len() {
        return Err(format!("{} Tasks of web, {} in all", of_web.len(), stored.all.len()));
    }
    if let Some(task) = stored.all.iter().find(|task| !running(task)) {
        return Err(format!("{} is {}", task["metadata"]["name"], task["status"]));
    }
    Ok(stored)
}

/// Cube as it stands: in one process, or a manager with workers, each with an engine of its own.
struct Stand {
    cube: Cube,
    workers: Vec<Worker>,
    places: Vec<Place>,
    /// The engine of the one process.
    _engine: Option<super::dockerd::Dockerd>,
}

impl Stand {
    fn in_one() -> Self {
        let engine = super::dockerd::Dockerd::start();
        let mut cube = Cube::new().on_engine(&engine.address());
        cube.start();
        let places = vec![Place::new(&cube.node(), &engine.address())];
        Self {
            cube,
            workers: Vec::new(),
            places,
            _engine: Some(engine),
        }
    }

    fn of_two() -> Self {
        let cube = Cube::manager();
        let workers = vec![Worker::start(&cube, "a"), Worker::start(&cube, "b")];
        let places = workers
            .iter()
            .map(|worker| Place::new(worker.name, &worker.engine.address()))
            .collect();
        Self {
            cube,
            workers,
            places,
            _engine: None,
        }
    }

    /// The processes: the manager, then the workers.
    fn pids(&self) -> Vec<u32> {
        let workers = self.workers.iter().map(|worker| worker.process.child.id());
        std::iter::once(self.cube.pid()).chain(workers).collect()
    }

    /// Starts again what was killed.
    fn start_again(&mut self, which: &[usize], chance: &mut Chance) {
        // In any order, with a while between.
        let manager_last = chance.below(2) == 0;
        let (cube, workers) = (&mut self.cube, &mut self.workers);
        let (mut manager, others): (Vec<usize>, Vec<usize>) = which.iter().partition(|which| **which == 0);
        if !manager_last && manager.pop().is_some() {
            cube.await_end();
            cube.start();
        }
        for worker in others {
            workers[worker - 1].process.child.wait().unwrap();
            std::thread::sleep(chance.moment(200));
            workers[worker - 1].start_again(cube);
        }
        if manager.pop().is_some() {
            cube.await_end();
            std::thread::sleep(chance.moment(200));
            cube.start();
        }
    }
}

fn wishes(chance: &mut Chance, cycle: u64, promised: &Promised) -> Vec<Wish> {
    let mut after = promised.clone();
    let count = 1 + chance.below(4);
    let mut wishes = Vec::new();
    for number in 0..count {
        let names: Vec<String> = after.tasks.keys().cloned().collect();
        let wish = match chance.below(10) {
            0..=3 if names.len() < 8 => Wish::Task(format!("t-{}", cycle * 10 + number), cycle),
            4..=6 if !names.is_empty() => Wish::Task(chance.pick(&names).clone(), 1000 + cycle * 10 + number),
            7 => Wish::Web(chance.below(4), after.web.1),
            8 => Wish::Web(1 + after.web.0 % 4, cycle),
            _ if !names.is_empty() => Wish::Gone(chance.pick(&names).clone()),
            _ => continue,
        };
        wish.promise(&mut after);
        wishes.push(wish);
    }
    wishes
}

/// So many cycles: wishes, a kill amid them or just after, a start, and a look at what there is.
fn kills(mut stand: Stand, cycles: u64) {
    let mut chance = Chance::new();
    let began = Instant::now();
    let strangers: Vec<Strangers> = stand.places.iter().map(Strangers::make).collect();
    let witness = Witness::begin(&stand.places);
    let mut promised = Promised {
        web: (2, 0),
        ..Promised::default()
    };
    assert!(Wish::Web(2, 0).say(&stand.cube));
    let (mut killed, mut unsure, mut looks) = (0, 0, 0);
    let mut seen: (u64, BTreeMap<String, (u64, Value)>) = (0, BTreeMap::new());
    for cycle in 1..=cycles {
        let wishes = wishes(&mut chance, cycle, &promised);
        let pids = stand.pids();
        let which: Vec<usize> = match chance.below(4) {
            0 => vec![0],
            1 => (0..pids.len()).collect(),
            _ => vec![usize::try_from(chance.below(pids.len() as u64)).unwrap()],
        };
        // From before the first wish is heard to after the last container runs.
        let most = *chance.pick(&[40, 150, 400, 1500]);
        let moment = chance.moment(most);
        println!("cycle {cycle}: {wishes:?}; {which:?} killed after {moment:?}");
        let said: Vec<bool> = std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(moment);
                for which in &which {
                    let pid = Pid::from_raw(i32::try_from(pids[*which]).unwrap()).unwrap();
                    kill_process(pid, Signal::KILL).unwrap();
                }
            });
            wishes.iter().map(|wish| wish.say(&stand.cube)).collect()
        });
        killed += which.len();
        stand.start_again(&which, &mut chance);

        // What was acknowledged is there, what was not is there whole or not at all, and revisions never go back (I3).
        let stored = stored(&stand.cube);
        for (wish, acknowledged) in wishes.iter().zip(said) {
            if acknowledged {
                wish.promise(&mut promised);
            } else {
                unsure += 1;
                wish.look(&stored, &mut promised);
            }
        }
        assert!(
            stored.tasks == promised.tasks && stored.web == promised.web,
            "lost: {stored:?}, promised {promised:?}"
        );
        assert!(stored.revision >= seen.0, "a revision was given twice");
        seen.0 = stored.revision;

        // The next one is killed amid this one's work, now and then.
        if chance.below(4) == 0 && cycle != cycles {
            continue;
        }
        looks += 1;
        let mut now = None;
        await_settled(&stand.cube, &stand.places, || {
            now = Some(as_promised(&stand.cube, &promised)?);
            Ok(())
        });
        let now = now.unwrap();
        let mut containers = BTreeMap::new();
        for task in &now.all {
            let (name, version) = (
                task["metadata"]["name"].as_str().unwrap().to_owned(),
                version(&task["spec"]),
            );
            let container = task["status"]["containerID"].clone();
            assert!(
                task["status"]["restarts"].is_null(),
                "nothing of it was a failure: {task}"
            );
            if let Some((before, was)) = seen.1.get(&name) {
                assert!(
                    *before != version || *was == container,
                    "{name} was started anew for nothing: {task}"
                );
            }
            containers.insert(name, (version, container));
        }
        seen = (now.revision, containers);
        if cycle.is_multiple_of(10) || cycle == cycles {
            rest(&stand.cube, &stand.places, Duration::from_secs(2));
        }
    }
    let samples = witness.end();
    strangers.into_iter().for_each(Strangers::end);
    println!(
        "figure: {cycles} cycles, {killed} processes killed, {unsure} wishes unanswered, settled {looks} times, {samples} looks, {:.0} s",
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn a_manager_and_two_workers_are_killed_at_random_moments() {
    kills(Stand::of_two(), cycles(12));
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn a_manager_and_two_workers_are_killed_200_times() {
    kills(Stand::of_two(), cycles(200));
}

#[test]
#[ignore = "long: dev/chaos runs it"]
fn cube_up_is_killed_200_times() {
    kills(Stand::in_one(), cycles(200));
}

//! Tables for what each look answers, and properties over generated worlds.
use std::collections::BTreeMap;

use cube_api::{
    condition::{self, AVAILABLE, Condition, PROGRESSING, READY, Truth},
    deployment::{Deployment, IntOrPercent, StrategyType},
    meta::{DEPLOYMENT_LABEL, PULL_ANNOTATION, RESTARTED_ANNOTATION, REVISION_LABEL},
    revision::Revision,
    task::{Eviction, Phase, Port, Task},
};
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;

/// What the Deployment's loop lives in: everything happens at once, and only what the test says besides.
#[derive(Clone, Debug, Default)]
struct World {
    deployment: Deployment,
    revisions: BTreeMap<String, Revision>,
    tasks: BTreeMap<String, Task>,
    made: i64,
}

impl World {
    fn new(replicas: u32, image: &str) -> Self {
        let mut world = Self::default();
        let meta = &mut world.deployment.metadata;
        (meta.name, meta.uid) = ("web".to_owned(), "uid-web".to_owned());
        (meta.namespace, meta.generation) = (Some("default".to_owned()), 1);
        world.deployment.spec.replicas = replicas;
        world.deployment.spec.template.spec.image = image.to_owned();
        world
    }

    /// One that has come to rest.
    fn healthy(replicas: u32, image: &str) -> Self {
        let mut world = Self::new(replicas, image);
        world.settle();
        world
    }

    fn change(&mut self, change: impl FnOnce(&mut Deployment)) {
        change(&mut self.deployment);
        self.deployment.metadata.generation += 1;
    }

    fn decide(&self) -> Decision {
        let revisions: Vec<&Revision> = self.revisions.values().collect();
        let tasks: Vec<&Task> = self.tasks.values().collect();
        decide(&Look {
            deployment: &self.deployment,
            revisions: &revisions,
            tasks: &tasks,
            now: Timestamp::from_second(self.made).unwrap(),
        })
    }

    /// One look, carried out.
    fn step(&mut self) -> Decision {
        let decision = self.decide();
        for action in &decision.actions {
            self.made += 1;
            let now = Some(Timestamp::from_second(self.made).unwrap());
            match action.clone() {
                Action::CreateRevision(mut revision) => {
                    revision.metadata.uid = format!("uid-{}", self.made);
                    let name = revision.metadata.name.clone();
                    assert!(
                        self.revisions.insert(name.clone(), revision).is_none(),
                        "{name} is there"
                    );
                }
                Action::ChangeRevision(revision) => {
                    let old = self.revisions.insert(revision.metadata.name.clone(), revision.clone());
                    assert_eq!(old.unwrap().spec.hash, revision.spec.hash);
                }
                Action::DeleteRevision(name) => assert!(self.revisions.remove(&name).is_some()),
                Action::CreateTask(mut task) => {
                    let meta = &mut task.metadata;
                    meta.name = format!("{}{:05}", meta.generate_name.as_deref().unwrap(), self.made);
                    meta.uid = format!("uid-{:05}", self.made);
                    meta.creation_timestamp = now;
                    self.tasks.insert(meta.name.clone(), *task);
                }
                Action::ChangeTask(task) => {
                    let old = self.tasks.get_mut(&task.metadata.name).unwrap();
                    (old.metadata, old.spec) = (task.metadata, task.spec);
                }
                Action::DeleteTask { name, .. } => {
                    let task = self.tasks.get_mut(&name).unwrap();
                    assert!(!task.metadata.is_deleting());
                    task.metadata.deletion_timestamp = now;
                    if task.status.node.is_none() {
                        self.tasks.remove(&name);
                    }
                }
            }
        }
        self.deployment.status = decision.status.clone();
        decision
    }

    fn pick(&mut self, index: usize, of: impl Fn(&Task) -> bool) -> Option<&mut Task> {
        let mut tasks: Vec<&mut Task> = self.tasks.values_mut().filter(|task| of(task)).collect();
        let count = tasks.len();
        (count > 0).then(|| tasks.swap_remove(index % count))
    }

    fn run_one(&mut self, index: usize) -> bool {
        let fit = |task: &Task| is_live(task) && !roll::is_ready(task) && task.spec.image != "bad";
        self.pick(index, fit).map(run).is_some()
    }

    fn bury_one(&mut self, index: usize) -> bool {
        let name = self
            .pick(index, |task| task.metadata.is_deleting())
            .map(|task| task.metadata.name.clone());
        name.and_then(|name| self.tasks.remove(&name)).is_some()
    }

    /// The Task that was made last.
    fn youngest(&mut self) -> &mut Task {
        let tasks = self.tasks.values_mut();
        tasks.max_by_key(|task| task.metadata.creation_timestamp).unwrap()
    }

    /// Everything that can happen by itself happens, until nothing does.
    fn settle(&mut self) {
        for _ in 0..1000 {
            let decision = self.step();
            let ran = std::iter::from_fn(|| self.run_one(0).then_some(())).count();
            let buried = std::iter::from_fn(|| self.bury_one(0).then_some(())).count();
            if decision.actions.is_empty() && ran + buried == 0 {
                return;
            }
        }
        panic!("it does not come to rest: {self:#?}");
    }

    fn live(&self) -> Vec<&Task> {
        self.tasks.values().filter(|task| is_live(task)).collect()
    }

    fn available(&self) -> usize {
        self.live().into_iter().filter(|task| roll::is_ready(task)).count()
    }

    /// Rule 15, and what every Deployment at rest looks like.
    fn assert_at_rest(&self) {
        let again = self.decide();
        assert_eq!(again.actions, []);
        assert_eq!(again.told, []);
        assert_eq!(again.status, self.deployment.status);
        assert_eq!(again.waiting, WaitingOn::Nothing);
        let wished = self.deployment.spec.replicas;
        let live = self.live();
        assert_eq!(live.len(), wished as usize);
        assert!(live.iter().all(|task| task.spec == self.deployment.spec.template.spec));
        let status = &self.deployment.status;
        assert_eq!(
            (status.replicas, status.updated_replicas, status.available_replicas),
            (wished, wished, wished)
        );
        assert!(
            [READY, AVAILABLE, PROGRESSING]
                .iter()
                .all(|kind| condition::is_true(&status.conditions, kind))
        );
        let mut numbers: Vec<u64> = self.revisions.values().map(|revision| revision.spec.revision).collect();
        numbers.sort_unstable();
        assert_eq!(numbers.last(), Some(&status.revision));
        numbers.dedup();
        assert_eq!(numbers.len(), self.revisions.len(), "numbers are given once");
        assert!(numbers.len() <= self.deployment.spec.revision_history_limit as usize + 1);
    }
}

fn is_live(task: &Task) -> bool {
    !task.metadata.is_deleting() && !task.status.phase.is_over()
}

fn run(task: &mut Task) {
    task.status.phase = Phase::Running;
    task.status.node = Some("here".to_owned());
    task.status.conditions = vec![Condition {
        kind: READY.to_owned(),
        status: Truth::True,
        ..Condition::default()
    }];
}

/// It is to leave its node once another one is in its place.
fn replace(task: &mut Task) {
    task.status.eviction = Some(Eviction {
        after_replacement: true,
        ..Eviction::default()
    });
}

fn created(decision: &Decision) -> usize {
    let is_new = |action: &&Action| matches!(action, Action::CreateTask(_));
    decision.actions.iter().filter(is_new).count()
}

fn deleted(decision: &Decision) -> Vec<(&str, Why)> {
    let deleted = decision.actions.iter().filter_map(|action| match action {
        Action::DeleteTask { name, why } => Some((name.as_str(), *why)),
        _ => None,
    });
    deleted.collect()
}

#[test]
fn the_first_look_makes_the_revision_and_its_tasks_in_one() {
    let mut world = World::new(2, "nginx:1");
    world.change(|web| {
        web.spec
            .template
            .metadata
            .labels
            .insert("app".to_owned(), "web".to_owned());
        web.metadata
            .annotations
            .insert(RESTARTED_ANNOTATION.to_owned(), "t".to_owned());
        web.metadata
            .annotations
            .insert(PULL_ANNOTATION.to_owned(), "t".to_owned());
    });
    let decision = world.step();
    assert_eq!((decision.actions.len(), created(&decision)), (3, 2));
    assert_eq!(decision.waiting, WaitingOn::Ready(2));
    assert_eq!(decision.told, [Told::Scaled { from: 0, to: 2 }]);
    let task = world.live()[0].clone();
    let labels = [("app", "web"), (DEPLOYMENT_LABEL, "web"), (REVISION_LABEL, "1")];
    assert_eq!(
        task.metadata.labels,
        labels
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect()
    );
    assert_eq!(task.metadata.annotations.len(), 2);
    let owner = task.metadata.controller().unwrap();
    assert!(owner.block_owner_deletion && owner.uid == "uid-web" && owner.kind == "Deployment");
    world.settle();
    world.assert_at_rest();
}

#[test]
fn bounds_are_rounded_as_kubernetes_does() {
    let bounds = |surge, unavailable| Bounds { surge, unavailable };
    for (replicas, expected) in [
        (0, (0, 1)),
        (1, (1, 0)),
        (3, (1, 0)),
        (4, (1, 1)),
        (5, (2, 1)),
        (10, (3, 2)),
    ] {
        let world = World::new(replicas, "nginx:1");
        let way = Way::of(&world.deployment);
        assert_eq!(way, Way::Rolling(bounds(expected.0, expected.1)), "{replicas}");
    }
    let mut world = World::new(4, "nginx:1");
    let rolling = &mut world.deployment.spec.strategy.rolling_update;
    (rolling.max_surge, rolling.max_unavailable) = (IntOrPercent::Percent(0), IntOrPercent::Percent(1));
    assert_eq!(
        Way::of(&world.deployment),
        Way::Rolling(bounds(0, 1)),
        "not both nothing"
    );
    rolling_port(&mut world.deployment);
    let way = Way::of(&world.deployment);
    assert_eq!(way.to_string(), "stop-first, because port 8080 of the node is fixed");
    assert_eq!(way.bounds(4), bounds(0, 1));
}

fn rolling_port(deployment: &mut Deployment) {
    deployment.spec.template.spec.ports = vec![Port {
        container_port: 80,
        host_port: Some(8080),
        ..Port::default()
    }];
}

#[test]
fn scaled_down_the_unready_and_the_newest_go_first() {
    let mut world = World::healthy(4, "nginx:1");
    let names: Vec<String> = world.tasks.keys().cloned().collect();
    world.tasks.get_mut(&names[1]).unwrap().status.conditions.clear();
    world.change(|web| web.spec.replicas = 2);
    let decision = world.step();
    let expected = [(names[1].as_str(), Why::TooMany), (names[3].as_str(), Why::TooMany)];
    assert_eq!(deleted(&decision), expected);
    assert_eq!(decision.told, [Told::Scaled { from: 4, to: 2 }]);
    world.settle();
    world.assert_at_rest();
}

#[test]
fn what_is_over_or_gone_is_replaced_and_told() {
    let mut world = World::healthy(3, "nginx:1");
    let names: Vec<String> = world.tasks.keys().cloned().collect();
    world.tasks.get_mut(&names[0]).unwrap().status.phase = Phase::Failed;
    world.tasks.remove(&names[1]);
    let decision = world.step();
    assert_eq!(deleted(&decision), [(names[0].as_str(), Why::Over)]);
    assert_eq!((created(&decision), decision.told), (2, vec![Told::Replaced(2)]));
    world.settle();
    world.assert_at_rest();
}

#[test]
fn a_bad_image_stops_the_roll_within_its_bounds_and_going_back_ends_it() {
    let mut world = World::healthy(4, "nginx:1");
    world.change(|web| web.spec.template.spec.image = "bad".to_owned());
    for _ in 0..20 {
        world.step();
        while world.bury_one(0) {}
    }
    assert_eq!((world.available(), world.live().len()), (3, 5));
    let progressing = condition::find(&world.deployment.status.conditions, PROGRESSING).unwrap();
    assert_eq!(progressing.reason, "Rolling");
    assert!(!condition::is_true(&world.deployment.status.conditions, READY));
    assert!(condition::is_true(&world.deployment.status.conditions, AVAILABLE));
    let kept: Vec<String> = world
        .live()
        .iter()
        .filter(|task| roll::is_ready(task))
        .map(|task| task.metadata.uid.clone())
        .collect();
    world.change(|web| web.spec.template.spec.image = "nginx:1".to_owned());
    world.settle();
    world.assert_at_rest();
    assert_eq!(world.deployment.status.revision, 3, "the first one, moved up");
    let now: Vec<String> = world.live().iter().map(|task| task.metadata.uid.clone()).collect();
    assert!(kept.iter().all(|uid| now.contains(uid)), "what ran on was not touched");
}

#[test]
fn what_is_ready_counts_when_it_has_been_so_for_long_enough() {
    let mut world = World::healthy(2, "nginx:1");
    world.change(|web| {
        web.spec.min_ready_seconds = 5;
        web.spec.template.spec.image = "nginx:2".to_owned();
        web.spec.strategy.rolling_update = serde_json::from_str(r#"{"maxSurge": 1, "maxUnavailable": 0}"#).unwrap();
    });
    let since = |world: &mut World, at: i64, of: &dyn Fn(&Task) -> bool| {
        for task in world.tasks.values_mut().filter(|task| of(task)) {
            run(task);
            task.status.conditions[0].last_transition_time = Timestamp::from_second(at).ok();
        }
    };
    since(&mut world, -100, &|_| true);
    let decision = world.step();
    assert_eq!((created(&decision), deleted(&decision).len()), (1, 0));
    let made = world.made;
    let is_new = |task: &Task| task.spec.image == "nginx:2";
    since(&mut world, made, &is_new);
    let decision = world.decide();
    assert_eq!(decision.actions, [], "ready is not enough");
    let status = &decision.status;
    assert_eq!((status.ready_replicas, status.available_replicas), (3, 2));
    // In whole seconds: it may have become ready almost a second later than it says.
    assert_eq!(decision.again, Timestamp::from_second(made + 6).ok());
    world.made = made + 5;
    assert_eq!(world.decide().actions, []);
    world.made = made + 6;
    let decision = world.step();
    assert_eq!(deleted(&decision).len(), 1, "{decision:?}");
    assert_eq!(decision.again, None);
    assert!(!condition::is_true(&world.deployment.status.conditions, READY));
    // Having failed in between, it begins anew.
    world.made += 1;
    let now = world.made;
    since(&mut world, now, &is_new);
    assert_eq!(world.decide().status.available_replicas, 1);
}

#[test]
fn an_older_one_that_does_no_work_keeps_nobody_on_its_node() {
    let mut world = World::healthy(4, "a");
    let names: Vec<String> = world.tasks.keys().cloned().collect();
    world.tasks.get_mut(&names[0]).unwrap().status.conditions.clear();
    replace(world.tasks.get_mut(&names[1]).unwrap());
    let first = world.step();
    assert_eq!((created(&first), deleted(&first)), (1, vec![]));
    assert_eq!(deleted(&world.step()), [], "the new one is not ready");
    run(world.youngest());
    assert_eq!(deleted(&world.step()), [(names[1].as_str(), Why::OldRevision)]);
}

#[test]
fn a_younger_one_that_fails_again_and_again_keeps_nobody_on_its_node_either() {
    let mut world = World::healthy(4, "a");
    let names: Vec<String> = world.tasks.keys().cloned().collect();
    // The youngest is in a crash loop.
    let failing = &mut world.tasks.get_mut(&names[3]).unwrap().status;
    failing.conditions.clear();
    failing.failures = 7;
    replace(world.tasks.get_mut(&names[0]).unwrap());
    assert_eq!(created(&world.step()), 1);
    assert_eq!(deleted(&world.step()), [], "the new one is not ready");
    run(world.youngest());
    assert_eq!(deleted(&world.step()), [(names[0].as_str(), Why::OldRevision)]);
}

#[test]
fn nobody_is_kept_on_its_node_for_what_is_not_wished_any_more() {
    for (replicas, going) in [(0, 3), (1, 2), (2, 1)] {
        let mut world = World::healthy(3, "a");
        world.tasks.values_mut().for_each(replace);
        assert_eq!(created(&world.step()), 1, "one more is made for them");
        world.change(|web| web.spec.replicas = replicas);
        let decision = world.step();
        let old = deleted(&decision)
            .into_iter()
            .filter(|(_, why)| *why == Why::OldRevision);
        assert_eq!(old.count(), going, "{replicas} wished");
    }
}

#[test]
fn a_move_to_another_node_is_no_roll_and_no_scaling() {
    let mut world = World::healthy(2, "a");
    replace(world.tasks.values_mut().next().unwrap());
    let progressing = |world: &World| {
        let conditions = &world.deployment.status.conditions;
        let progressing = condition::find(conditions, PROGRESSING).unwrap();
        (progressing.reason.clone(), progressing.message.clone())
    };
    let first = world.step();
    assert_eq!((created(&first), first.told), (1, vec![]));
    let moving = "2/2 ready, 1 to move to another node".to_owned();
    assert_eq!(progressing(&world), ("Moving".to_owned(), moving));
    run(world.youngest());
    let done = world.step();
    assert_eq!((deleted(&done).len(), done.told), (1, vec![]));
    assert_eq!(progressing(&world).0, "Complete");
    world.assert_at_rest();
}

#[test]
fn one_that_is_being_deleted_is_only_counted() {
    let mut world = World::healthy(2, "nginx:1");
    world.deployment.metadata.deletion_timestamp = Some(Timestamp::UNIX_EPOCH);
    world.change(|web| web.spec.replicas = 5);
    world.tasks.pop_first();
    let decision = world.step();
    assert_eq!((decision.actions.len(), decision.waiting), (0, WaitingOn::Deletion));
    assert_eq!(decision.status.replicas, 1);
}

#[test]
fn only_what_was_made_from_one_of_its_revisions_is_adopted() {
    let mut world = World::healthy(2, "nginx:1");
    let orphan = |task: &mut Task| task.metadata.owner_references.clear();
    world.tasks.values_mut().for_each(orphan);
    world
        .revisions
        .values_mut()
        .for_each(|revision| revision.metadata.owner_references.clear());
    let mut stranger = world.live()[0].clone();
    stranger.metadata.name = "stranger".to_owned();
    stranger.spec.image = "mine".to_owned();
    world.tasks.insert("stranger".to_owned(), stranger.clone());
    let decision = world.step();
    let changed = |action: &&Action| matches!(action, Action::ChangeTask(_) | Action::ChangeRevision(_));
    assert_eq!(
        (decision.actions.len(), decision.actions.iter().filter(changed).count()),
        (3, 3)
    );
    assert_eq!(world.tasks.remove("stranger"), Some(stranger));
    world.settle();
    world.assert_at_rest();
}

#[test]
fn so_many_at_a_time_at_most_and_the_rest_next() {
    let mut world = World::new(300, "nginx:1");
    let decision = world.step();
    assert_eq!((created(&decision), decision.waiting), (BATCH, WaitingOn::NextLook));
    world.settle();
    world.assert_at_rest();
    world.change(|web| web.spec.replicas = 0);
    assert_eq!(deleted(&world.step()).len(), BATCH);
    world.settle();
    world.assert_at_rest();
}

/// What can happen around a Deployment.
#[derive(Clone, Debug)]
enum Happening {
    Run(usize),
    Bury(usize),
    Stall(usize),
    Fail(usize),
    RemoveByHand(usize),
    RemoveRevision(usize),
    Spoil(usize),
    Replicas(u32),
    Image(&'static str),
    Surge(u32, u32),
    Port(bool),
    Recreate(bool),
    Restart(u8),
    History(u32),
    Label(&'static str),
    Evict(usize),
    Look,
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        6 => (0..20_usize).prop_map(Happening::Run),
        4 => (0..20_usize).prop_map(Happening::Bury),
        6 => Just(Happening::Look),
        1 => (0..20_usize).prop_map(Happening::Stall),
        1 => (0..20_usize).prop_map(Happening::Fail),
        1 => (0..20_usize).prop_map(Happening::RemoveByHand),
        1 => (0..20_usize).prop_map(Happening::RemoveRevision),
        1 => (0..20_usize).prop_map(Happening::Spoil),
        2 => (0..12_u32).prop_map(Happening::Replicas),
        2 => prop_oneof![Just("a"), Just("b"), Just("c"), Just("bad")].prop_map(Happening::Image),
        1 => (0..4_u32, 0..4_u32).prop_map(|(surge, fewer)| Happening::Surge(surge, fewer)),
        1 => any::<bool>().prop_map(Happening::Port),
        1 => any::<bool>().prop_map(Happening::Recreate),
        1 => (0..3_u8).prop_map(Happening::Restart),
        1 => (0..3_u32).prop_map(Happening::History),
        1 => prop_oneof![Just("x"), Just("y")].prop_map(Happening::Label),
        1 => (0..20_usize).prop_map(Happening::Evict),
    ]
}

impl World {
    fn happen(&mut self, happening: &Happening) {
        match *happening {
            Happening::Run(index) => drop(self.run_one(index)),
            Happening::Bury(index) => drop(self.bury_one(index)),
            Happening::Stall(index) => drop(self.pick(index, is_live).map(|task| task.status.conditions.clear())),
            Happening::Fail(index) => drop(self.pick(index, is_live).map(|task| task.status.phase = Phase::Failed)),
            Happening::Spoil(index) => drop(
                self.pick(index, is_live)
                    .map(|task| task.spec.user = Some("x".to_owned())),
            ),
            Happening::RemoveByHand(index) => {
                if let Some(task) = self.pick(index, is_live) {
                    task.metadata.deletion_timestamp = Some(Timestamp::UNIX_EPOCH);
                }
            }
            Happening::RemoveRevision(index) => {
                let name = self.revisions.keys().cycle().nth(index).cloned();
                name.map(|name| self.revisions.remove(&name));
            }
            Happening::Replicas(replicas) => self.change(|web| web.spec.replicas = replicas),
            Happening::Image(image) => self.change(|web| web.spec.template.spec.image = image.to_owned()),
            Happening::Surge(surge, fewer) => self.change(|web| {
                let rolling = &mut web.spec.strategy.rolling_update;
                (rolling.max_surge, rolling.max_unavailable) = (IntOrPercent::Int(surge), IntOrPercent::Int(fewer));
            }),
            Happening::Port(true) => self.change(rolling_port),
            Happening::Port(false) => self.change(|web| web.spec.template.spec.ports.clear()),
            Happening::Recreate(recreate) => self.change(|web| {
                web.spec.strategy.kind = match recreate {
                    true => StrategyType::Recreate,
                    false => StrategyType::RollingUpdate,
                };
            }),
            Happening::Restart(at) => self.change(|web| {
                web.metadata
                    .annotations
                    .insert(RESTARTED_ANNOTATION.to_owned(), at.to_string());
            }),
            Happening::History(limit) => self.change(|web| web.spec.revision_history_limit = limit),
            Happening::Label(value) => self.change(|web| {
                let labels = &mut web.spec.template.metadata.labels;
                labels.clear();
                labels.insert(format!("of-{value}"), value.to_owned());
            }),
            Happening::Evict(index) => drop(self.pick(index, is_live).map(|task| {
                task.status.eviction = Some(Eviction {
                    after_replacement: true,
                    ..Eviction::default()
                });
            })),
            Happening::Look => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 96, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: after a look there are never more than `replicas + maxSurge` Tasks that are not
    /// over and not being deleted; and when nothing happens any more, it comes to rest as wished.
    #[test]
    fn never_too_many_and_always_an_end(happenings in prop::collection::vec(happening(), 1..60)) {
        let mut world = World::new(3, "a");
        for happening in &happenings {
            world.happen(happening);
            if matches!(happening, Happening::Look | Happening::Run(_)) {
                world.step();
                let wished = world.deployment.spec.replicas;
                let most = wished + Way::of(&world.deployment).bounds(wished).surge;
                prop_assert!(world.live().len() <= most as usize, "{} of {most}", world.live().len());
            }
        }
        if world.deployment.spec.template.spec.image == "bad" {
            world.happen(&Happening::Image("a"));
        }
        world.settle();
        world.assert_at_rest();
    }

    /// Whoever is asked to leave its node goes only when another one is available, whatever the strategy's bounds are for
    /// changes of the template.
    #[test]
    fn nobody_is_lost_to_a_move(
        replicas in 1..12_u32, surge in 1..4_u32, fewer in 0..4_u32,
        happenings in prop::collection::vec(prop_oneof![
            (0..20_usize).prop_map(Happening::Run),
            (0..20_usize).prop_map(Happening::Bury),
            (0..20_usize).prop_map(Happening::Evict),
            Just(Happening::Look),
        ], 1..60),
    ) {
        let mut world = World::healthy(replicas, "a");
        world.happen(&Happening::Surge(surge, fewer));
        for happening in &happenings {
            world.happen(happening);
            world.step();
            prop_assert!(world.available() >= replicas as usize);
            prop_assert!(world.live().len() <= (replicas + surge) as usize);
        }
        world.settle();
        world.assert_at_rest();
        prop_assert!(world.live().iter().all(|task| task.status.eviction.is_none()));
    }

    /// Rolling from healthy there are never fewer available than `replicas - maxUnavailable`, whatever the new template
    /// does, and never an old and a new Task together where the strategy is to replace them all.
    #[test]
    fn never_too_few(
        replicas in 0..12_u32, surge in 0..4_u32, fewer in 0..4_u32, bad in any::<bool>(), recreate in any::<bool>(),
        happenings in prop::collection::vec(prop_oneof![
            (0..20_usize).prop_map(Happening::Run),
            (0..20_usize).prop_map(Happening::Bury),
            Just(Happening::Look),
        ], 1..60),
    ) {
        let mut world = World::healthy(replicas, "a");
        world.happen(&Happening::Surge(surge, fewer));
        world.happen(&Happening::Recreate(recreate));
        world.happen(&Happening::Image(if bad { "bad" } else { "b" }));
        let bounds = Way::of(&world.deployment).bounds(replicas);
        for happening in &happenings {
            world.happen(happening);
            world.step();
            prop_assert!(world.available() >= (replicas.saturating_sub(bounds.unavailable)) as usize);
            let there: Vec<&str> = world.tasks.values().map(|task| task.spec.image.as_str()).collect();
            prop_assert!(!recreate || there.iter().all(|image| *image == there[0]), "{there:?}");
        }
        world.happen(&Happening::Image("b"));
        world.settle();
        world.assert_at_rest();
    }
}

/// A wrong question is found out by one Task, and all are asked a right one in the end; what is beside it comes to all at once.
#[test]
fn another_question_is_asked_of_one_task_after_the_other() {
    let probe = |path: &str| {
        let probe = serde_json::json!({ "httpGet": { "port": 80, "path": path } });
        serde_json::from_value(probe).ok()
    };
    let (good, bad, better) = (probe("/"), probe("/bad"), probe("/better"));
    let mut world = World::healthy(4, "app");
    let asked = |world: &World, what: &Option<cube_api::probe::Probe>| {
        let tasks = world.tasks.values();
        tasks.filter(|task| task.spec.readiness_probe == *what).count()
    };
    world.change(|deployment| deployment.spec.template.spec.readiness_probe = good.clone());
    let decision = world.step();
    assert_eq!((asked(&world, &good), decision.waiting), (1, WaitingOn::Ready(3)));
    assert_eq!(
        (decision.status.updated_replicas, decision.status.available_replicas),
        (1, 4)
    );
    world.settle();
    assert_eq!(asked(&world, &good), 4);
    assert!(condition::is_true(&world.deployment.status.conditions, READY));

    world.change(|deployment| {
        deployment.spec.template.spec.readiness_probe = bad.clone();
        deployment.spec.template.spec.termination_grace_period_seconds = 7;
    });
    world.step();
    let graces = world
        .tasks
        .values()
        .map(|task| task.spec.termination_grace_period_seconds);
    assert!(graces.into_iter().all(|grace| grace == 7));
    let first = world.tasks.values_mut().find(|task| task.spec.readiness_probe == bad);
    condition::set(
        &mut first.unwrap().status.conditions,
        Condition {
            kind: READY.to_owned(),
            status: Truth::False,
            ..Condition::default()
        },
        Timestamp::UNIX_EPOCH,
    );
    for _ in 0..5 {
        assert_eq!(world.step().actions, []);
    }
    assert_eq!((asked(&world, &bad), asked(&world, &good)), (1, 3));
    // The one that does no work is asked the right question at once.
    world.change(|deployment| deployment.spec.template.spec.readiness_probe = better.clone());
    world.step();
    assert_eq!((asked(&world, &better), asked(&world, &good)), (1, 3));
    world.settle();
    assert_eq!(asked(&world, &better), 4);
}

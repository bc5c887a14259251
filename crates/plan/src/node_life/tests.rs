//! Tables of what becomes of a node's Tasks.
use cube_api::{kinds::Resource as _, node::Taint, task::Phase};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + second).unwrap()
}

fn node(ready: &str, since: i64, spec: Value) -> Node {
    let ready = json!({ "type": "Ready", "status": ready, "reason": "Test", "message": "why", "lastTransitionTime": at(since).to_string() });
    let status = json!({ "conditions": [ready] });
    let value =
        json!({ "apiVersion": "cube/v1", "kind": "Node", "metadata": { "name": "n" }, "spec": spec, "status": status });
    Node::from_value(value).unwrap()
}

fn task(name: &str, spec: Value, status: Value) -> Task {
    let mut spec = spec;
    spec["image"] = json!("x");
    let mut status = status;
    status["node"] = json!("n");
    if status["phase"].is_null() {
        status["phase"] = json!("Running");
    }
    let value = json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": name, "namespace": "default", "uid": name }, "spec": spec, "status": status });
    Task::from_value(value).unwrap()
}

fn plain(name: &str) -> Task {
    task(name, json!({}), json!({}))
}

fn with_data(name: &str) -> Task {
    let spec =
        json!({ "volumes": [{ "name": "v", "volume": "db" }], "volumeMounts": [{ "name": "v", "mountPath": "/d" }] });
    task(name, spec, json!({}))
}

fn replaced(name: &str) -> Task {
    let mut task = plain(name);
    let owner = json!({ "apiVersion": "cube/v1", "kind": "Deployment", "name": "d", "uid": "d", "controller": true });
    task.metadata.owner_references = vec![serde_json::from_value(owner).unwrap()].into();
    task
}

fn deleting(mut task: Task) -> Task {
    task.metadata.deletion_timestamp = Some(at(0));
    task
}

/// A look at second 100, with the worker silent for so long.
fn look(node: Option<&Node>, silence: i64, tasks: &[Task]) -> Decision {
    let tasks: Vec<&Task> = tasks.iter().collect();
    decide(&Look {
        name: "n",
        node,
        silence: SignedDuration::from_secs(silence),
        tasks: &tasks,
        tainted_since: &BTreeMap::new(),
        allowance: usize::MAX,
        now: at(100),
    })
}

/// Each move in short: `evict 0 Drained`.
fn moves(decision: &Decision) -> Vec<String> {
    let short = |change: &Move| match change {
        Move::Evict(task, eviction) => {
            let how = if eviction.after_replacement { " after" } else { "" };
            format!("evict {task} {}{how}", eviction.reason)
        }
        Move::Keep(task) => format!("keep {task}"),
        Move::Release { task, reason, .. } => format!("release {task} {reason}"),
        Move::Tell(task, status) => format!("tell {task} {}", status.reason),
    };
    decision.moves.iter().map(short).collect()
}

#[test]
fn a_node_that_is_heard_is_left_alone_and_looked_at_when_its_grace_would_be_over() {
    let decision = look(
        Some(&node("True", 0, json!({}))),
        3,
        &[plain("a"), deleting(plain("b"))],
    );
    assert_eq!((moves(&decision), decision.conditions.len()), (vec![], 0));
    assert_eq!(decision.again, Some(SignedDuration::from_secs(12)));
}

#[test]
fn a_silent_node_is_not_ready_and_its_tasks_move_when_their_time_is_over() {
    let patient =
        json!({ "tolerations": [{ "key": "cube/unreachable", "operator": "Exists", "tolerationSeconds": 300 }] });
    let faithful = json!({ "tolerations": [{ "operator": "Exists" }] });
    let tasks = [
        plain("a"),
        with_data("b"),
        task("c", patient, json!({})),
        task("d", faithful, json!({})),
        task("e", json!({}), json!({ "phase": "Completed" })),
        deleting(plain("f")),
        deleting(with_data("g")),
    ];
    let doubt = |n: i64| format!("tell {n} NodeLost");
    // It has just fallen silent.
    let decision = look(Some(&node("True", 0, json!({}))), 15, &tasks);
    let ready = &decision.conditions[0];
    assert_eq!((ready.status, ready.reason.as_str()), (Truth::Unknown, NODE_LOST));
    assert_eq!(moves(&decision), [doubt(0), doubt(1), doubt(2), doubt(3)]);
    assert_eq!(decision.again, Some(TOLERATION));
    // It was said 29 s ago, and 30 s ago.
    let decision = look(Some(&node("Unknown", 71, json!({}))), 44, &tasks);
    assert!(decision.conditions.is_empty());
    assert_eq!(moves(&decision), [doubt(0), doubt(1), doubt(2), doubt(3)]);
    assert_eq!(decision.again, Some(SignedDuration::from_secs(1)));
    let decision = look(Some(&node("Unknown", 70, json!({}))), 45, &tasks);
    assert_eq!(
        moves(&decision),
        [
            "release 0 NodeLost",
            "tell 1 Stranded",
            "tell 2 NodeLost",
            "tell 3 NodeLost",
            "release 5 NodeLost",
            "release 6 NodeLost"
        ]
    );
    let Move::Tell(_, stranded) = &decision.moves[1] else {
        panic!()
    };
    assert_eq!(
        stranded.message,
        "nothing has been heard of the worker of node n for 15 s; volume db is there: bring the node back, or give its \
         data up with `cube node delete n`, and the Task starts empty elsewhere"
    );
    assert_eq!((stranded.phase, stranded.node.as_deref()), (Phase::Running, Some("n")));
    // What was told is not told again.
    let told: Vec<Task> = [Task {
        status: TaskStatus::clone(stranded),
        ..with_data("b")
    }]
    .into();
    assert_eq!(
        moves(&look(Some(&node("Unknown", 70, json!({}))), 45, &told)),
        [] as [&str; 0]
    );
}

#[test]
fn a_deleted_node_gives_its_data_up() {
    let tasks = [plain("a"), with_data("b")];
    assert_eq!(
        moves(&look(None, 3, &tasks)),
        [] as [&str; 0],
        "its worker makes it anew"
    );
    assert_eq!(
        moves(&look(None, 15, &tasks)),
        ["release 0 NodeLost", "release 1 NodeLost"]
    );
}

#[test]
fn an_engine_that_is_gone_for_long_is_a_loss_too() {
    let tasks = [plain("a"), with_data("b")];
    let decision = look(Some(&node("False", 71, json!({}))), 0, &tasks);
    assert_eq!(
        moves(&decision),
        [] as [&str; 0],
        "its worker says itself what is known"
    );
    let decision = look(Some(&node("False", 70, json!({}))), 0, &tasks);
    assert_eq!(moves(&decision), ["release 0 NodeLost", "tell 1 Stranded"]);
    assert!(decision.conditions.is_empty());
}

#[test]
fn a_drained_node_is_emptied_some_at_a_time() {
    let on_its_way = json!({ "eviction": { "reason": "Drained", "afterReplacement": true } });
    let tasks = [plain("a"), replaced("b"), with_data("c"), plain("d")];
    let draining = node("True", 0, json!({ "drain": {} }));
    let decision = look(Some(&draining), 0, &tasks);
    assert_eq!(moves(&decision), ["evict 0 Drained"]);
    let said = &decision.conditions[0];
    assert_eq!(
        (said.kind.as_str(), said.status, said.message.as_str()),
        (
            "Drained",
            Truth::False,
            "3 Tasks are to leave; default/c keeps its data there (volume db) and stays"
        )
    );
    let two = node("True", 0, json!({ "drain": { "maxParallel": 2 } }));
    assert_eq!(
        moves(&look(Some(&two), 0, &tasks)),
        ["evict 0 Drained", "evict 1 Drained after"]
    );
    let mut busy = tasks.clone();
    busy[1].status.eviction = serde_json::from_value(on_its_way["eviction"].clone()).unwrap();
    assert_eq!(moves(&look(Some(&two), 0, &busy)), ["evict 0 Drained"]);
    assert_eq!(moves(&look(Some(&draining), 0, &busy)), [] as [&str; 0]);
    let decision = look(Some(&draining), 0, &[with_data("c")]);
    assert_eq!((decision.conditions[0].status, moves(&decision)), (Truth::True, vec![]));
    // It is uncordoned: who waits for another in its place stays.
    let decision = look(Some(&node("True", 0, json!({}))), 0, &busy);
    assert_eq!(
        (moves(&decision), decision.without),
        (vec!["keep 1".to_owned()], Some("Drained"))
    );
}

#[test]
fn a_node_that_is_lost_while_it_drains_is_lost() {
    let draining = node("Unknown", 0, json!({ "drain": {} }));
    let decision = look(Some(&draining), 60, &[plain("a"), replaced("b"), with_data("c")]);
    assert_eq!(
        moves(&decision),
        ["release 0 NodeLost", "release 1 NodeLost", "tell 2 Stranded"]
    );
    assert!(decision.conditions.is_empty());
}

#[test]
fn a_taint_takes_who_does_not_tolerate_it() {
    let gpu = json!({ "taints": [{ "key": "gpu", "value": "a", "effect": "NoExecute" }, { "key": "x", "effect": "NoSchedule" }] });
    let tainted = node("True", 0, gpu);
    let tolerates = |more: Value| {
        let mut toleration = json!({ "key": "gpu", "value": "a" });
        toleration
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        json!({ "tolerations": [toleration] })
    };
    let tasks = [
        plain("a"),
        replaced("b"),
        task("c", tolerates(json!({})), json!({})),
        task("d", tolerates(json!({ "value": "b" })), json!({})),
        task(
            "e",
            tolerates(json!({ "effect": "NoExecute", "tolerationSeconds": 60 })),
            json!({}),
        ),
        with_data("f"),
    ];
    let decision = look(Some(&tainted), 0, &tasks);
    assert_eq!(
        moves(&decision),
        ["evict 0 Tainted", "evict 1 Tainted after", "evict 3 Tainted"]
    );
    let Move::Evict(_, eviction) = &decision.moves[0] else {
        panic!()
    };
    assert_eq!(
        eviction.message,
        "node n has taint gpu=a:NoExecute, which it does not tolerate"
    );
    // Since 60 s.
    let since = [(("gpu".to_owned(), "a".to_owned()), at(40))].into();
    let decision = decide(&Look {
        name: "n",
        node: Some(&tainted),
        silence: SignedDuration::ZERO,
        tasks: &[&tasks[4]],
        tainted_since: &since,
        allowance: 0,
        now: at(100),
    });
    assert_eq!(moves(&decision), ["evict 0 Tainted"]);
    assert_eq!(
        tainted.spec.taints[0],
        Taint {
            key: "gpu".to_owned(),
            value: "a".to_owned(),
            ..tainted.spec.taints[0].clone()
        }
    );
}

#[test]
fn when_most_nodes_are_lost_tasks_are_moved_one_by_one_the_important_first() {
    let lost = node("Unknown", 0, json!({}));
    let important = task("b", json!({ "priority": 5 }), json!({}));
    let tasks = [plain("a"), important, plain("c")];
    let tasks: Vec<&Task> = tasks.iter().collect();
    let decision = decide(&Look {
        name: "n",
        node: Some(&lost),
        silence: SignedDuration::from_secs(60),
        tasks: &tasks,
        tainted_since: &BTreeMap::new(),
        allowance: 1,
        now: at(100),
    });
    assert_eq!(
        (moves(&decision), decision.held_back),
        (vec!["release 1 NodeLost".to_owned()], 2)
    );
    assert_eq!(decision.again, Some(SLOWED));
}

#[test]
fn a_disaster_is_more_than_half_of_three_or_more_within_a_minute() {
    for (nodes, lost, expected) in [
        (2, vec![0, 0], false),
        (3, vec![0], false),
        (3, vec![0, 60], true),
        (3, vec![0, 61], false),
        (3, vec![0, 90, 100], true),
        (4, vec![0, 1], false),
        (4, vec![0, 1, 2], true),
        (0, vec![], false),
    ] {
        let at = lost.iter().map(|second| at(*second));
        assert_eq!(is_disaster(nodes, at), expected, "{nodes} {lost:?}");
    }
}

/// A Task of any sort, as numbers: its data, its owner, whether it is deleted, over, or on its way already, and what it
/// puts up with.
fn any_task() -> impl Strategy<Value = (u8, bool, bool, bool, u8, i64, i32)> {
    (
        0..3_u8,
        any::<bool>(),
        any::<bool>(),
        any::<bool>(),
        0..3_u8,
        0..200_i64,
        0..3_i32,
    )
}

fn made(
    number: usize,
    (data, owned, going, over, asked, tolerates, priority): (u8, bool, bool, bool, u8, i64, i32),
) -> Task {
    let name = format!("t{number}");
    let mut task = match data {
        0 => with_data(&name),
        _ => plain(&name),
    };
    if owned {
        task.metadata.owner_references = replaced("x").metadata.owner_references;
    }
    if going {
        task.metadata.deletion_timestamp = Some(at(0));
    }
    if over {
        task.status.phase = Phase::Completed;
    }
    if asked == 0 {
        task.status.eviction = Some(Eviction {
            reason: DRAINED.to_owned(),
            after_replacement: owned,
            ..Eviction::default()
        });
    }
    task.spec.priority = priority;
    if tolerates > 0 {
        // 150 and more: for ever.
        let seconds = (tolerates < 150).then_some(tolerates);
        let toleration = json!({ "operator": "Exists", "tolerationSeconds": seconds });
        task.spec.tolerations = vec![serde_json::from_value(toleration).unwrap()];
    }
    task
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a node and its Tasks are: data is never given up while the Node is there, no more Tasks are taken than may
    /// be, none for which it is not time, none is asked to leave twice; and once it is carried out nothing more is done.
    #[test]
    fn nothing_is_taken_that_must_stay(
        ready in prop_oneof![Just("True"), Just("False"), Just("Unknown")],
        since in 0..100_i64,
        silence in 0..60_i64,
        deleted in any::<bool>(),
        tainted in any::<bool>(),
        parallel in 0..4_u32,
        allowance in prop_oneof![Just(usize::MAX), 0..3_usize],
        tasks in prop::collection::vec(any_task(), 0..8),
    ) {
        let mut spec = json!({});
        if tainted {
            spec["taints"] = json!([{ "key": "k", "effect": "NoExecute" }]);
        }
        if parallel > 0 {
            spec["drain"] = json!({ "maxParallel": parallel });
        }
        let mut node = node(ready, since, spec);
        let mut tasks: Vec<Task> = tasks.into_iter().enumerate().map(|(number, task)| made(number, task)).collect();
        let look = |node: &Node, tasks: &[Task]| {
            let tasks: Vec<&Task> = tasks.iter().collect();
            decide(&Look {
                name: "n",
                node: (!deleted).then_some(node),
                silence: SignedDuration::from_secs(silence),
                tasks: &tasks,
                tainted_since: &BTreeMap::new(),
                allowance,
                now: at(100),
            })
        };
        let lost = silence >= GRACE.as_secs() || (ready == "False" && !deleted);
        let decision = look(&node, &tasks);
        let mut taken = Vec::new();
        for change in &decision.moves {
            let (Move::Evict(index, _) | Move::Keep(index) | Move::Tell(index, _) | Move::Release { task: index, .. }) = change;
            let task = &tasks[*index];
            let going = task.metadata.is_deleting();
            prop_assert!(going || !task.status.phase.is_over(), "one that is over is let be");
            let with_data = data_on_node(task).is_some();
            match change {
                Move::Release { .. } => {
                    taken.push(*index);
                    prop_assert!(lost, "it is there");
                    prop_assert!(deleted || going || !with_data, "its data is there");
                    let patient = task.spec.tolerations.iter().any(|toleration| toleration.toleration_seconds.is_none());
                    prop_assert!(deleted || !patient, "it puts up with it for ever");
                }
                Move::Evict(_, eviction) => {
                    prop_assert!(!lost && !going && !with_data && task.status.eviction.is_none());
                    prop_assert!(tainted || parallel > 0);
                    prop_assert_eq!(eviction.after_replacement, task.metadata.controller().is_some());
                }
                Move::Keep(_) => prop_assert!(!lost && task.status.eviction.is_some() && (parallel == 0 || deleted)),
                Move::Tell(_, status) => prop_assert!(lost && !going && **status != task.status),
            }
        }
        prop_assert!(taken.len() <= allowance);
        prop_assert!(decision.held_back == 0 || taken.len() == allowance, "held back, though more may be taken");
        prop_assert!(decision.held_back == 0 || decision.again.is_some());
        let leaving = |tasks: &[Task]| {
            let drained = tasks.iter().filter(|task| {
                let eviction = task.status.eviction.as_ref();
                eviction.is_some_and(|eviction| eviction.reason == DRAINED) && !task.metadata.is_deleting()
            });
            drained.count()
        };
        let before = leaving(&tasks);
        for change in decision.moves {
            match change {
                Move::Evict(index, eviction) => tasks[index].status.eviction = Some(eviction),
                Move::Keep(index) => tasks[index].status.eviction = None,
                Move::Tell(index, status) => tasks[index].status = *status,
                Move::Release { .. } => {}
            }
        }
        prop_assert!(leaving(&tasks) <= before.max(parallel as usize), "more leave than may at a time");
        for condition in decision.conditions {
            condition::set(&mut node.status.conditions, condition, at(100));
        }
        if let Some(kind) = decision.without {
            node.status.conditions.retain(|condition| condition.kind != kind);
        }
        if allowance == usize::MAX {
            let mut left = 0..;
            tasks.retain(|_| !taken.contains(&left.next().unwrap()));
            let again = look(&node, &tasks);
            prop_assert_eq!(again.moves, Vec::new());
            prop_assert_eq!(again.conditions, Vec::new());
        }
    }
}

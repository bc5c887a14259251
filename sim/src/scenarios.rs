//! Scripts written by hand: each is a bug that was found, or a failure that other tools are known for.
use std::time::Duration;

use cube_api::{kinds::Kind, placement::SchedulingPolicy};
use serde_json::{Value, json};

use crate::{
    cluster::Layout,
    engine::Manners,
    run::run,
    script::{Act, ByHand, Manner, Script, Timed},
};

fn at(seconds: f64, act: Act) -> Timed {
    let at = Duration::from_secs_f64(seconds);
    Timed { at, act }
}

/// A quiet cluster of so many nodes of 2 cores and 4 GiB; network, disk and engines take so many milliseconds at most.
fn layout(nodes: usize, latency: (u64, u64, u64)) -> Layout {
    Layout {
        nodes: (0..nodes).map(|n| (format!("n{n}"), 2, 4)).collect(),
        own: false,
        folders: 0,
        policy: SchedulingPolicy::Spread,
        latency,
        history_events: 10_000,
    }
}

fn script(layout: &Layout, seconds: u64, acts: &[Timed]) -> Script {
    Script::by_hand(layout.clone(), Duration::from_secs(seconds), acts.to_vec())
}

/// Holds under each of some seeds.
fn holds(layout: &Layout, seconds: u64, acts: &[Timed]) {
    let script = script(layout, seconds, acts);
    for seed in 1..=8 {
        let ended = run(seed, &script, true, true);
        if let Some(violation) = ended.violation {
            let lines = ended.lines.join("\n");
            panic!("seed {seed}: {}: {}\n{lines}", violation.invariant, violation.what);
        }
    }
}

fn apply(object: Value) -> Act {
    Act::apply(vec![object])
}

fn task(name: &str, spec: Value) -> Value {
    json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": name, "namespace": "default" }, "spec": spec })
}

fn kill(machine: &str, power: bool, seconds: u64) -> Act {
    Act::Kill {
        machine: machine.to_owned(),
        power,
        back: Duration::from_secs(seconds),
    }
}

/// The engine was there before the link, and what the manager then said was what the worker remembered: nobody looked
/// at the Tasks again, and after a reboot they stayed dead.
#[test]
fn after_a_reboot_tasks_are_started_also_where_the_engine_is_there_before_the_manager() {
    let acts = [
        at(1.0, apply(task("api", json!({ "image": "app" })))),
        at(10.0, kill("n0", true, 1)),
    ];
    holds(&layout(1, (200, 1, 1)), 30, &acts);
}

/// The grace of a container that was asked to end was measured by the wall clock.
#[test]
fn a_clock_that_is_set_neither_delays_nor_hastens_an_end() {
    let deaf = json!({
        "image": "app", "terminationGracePeriodSeconds": 20,
        "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"],
    });
    for ahead in [-3600, 315_360_000] {
        let delete = Act::Delete {
            who: 0,
            kind: Kind::Task,
            namespace: "default".to_owned(),
            name: "api".to_owned(),
            grace: None,
            cascade: 2,
        };
        let machine = "n0".to_owned();
        let acts = [
            at(1.0, apply(task("api", deaf.clone()))),
            at(10.0, delete),
            at(15.0, Act::Clock { machine, ahead }),
        ];
        holds(&layout(1, (5, 1, 1)), 20, &acts);
    }
}

/// What was told to wait for a yes went without one when ten minutes had passed.
#[test]
fn what_waits_for_a_yes_waits_for_it() {
    let mut layout = layout(1, (5, 1, 1));
    layout.folders = 1;
    let file = |n: usize, count: usize| {
        let documents = (0..count).map(|i| task(&format!("t{n}{i}"), json!({ "image": "app" })).to_string());
        Act::Write {
            folder: 0,
            file: format!("{n}.yaml"),
            text: documents.collect::<Vec<_>>().join("\n---\n"),
            manner: Manner::Whole,
        }
    };
    let unlink = |n: usize| Act::Unlink {
        folder: 0,
        file: format!("{n}.yaml"),
    };
    let acts = [
        at(1.0, file(0, 3)),
        at(2.0, file(1, 2)),
        at(60.0, unlink(0)),
        at(90.0, unlink(1)),
    ];
    // Nothing is done in ten minutes of calm.
    holds(&layout, 120, &acts);
}

/// How long a node is lost was measured by the wall clock: set back by an hour, nothing moved for an hour.
#[test]
fn a_clock_that_is_set_back_keeps_no_task_on_a_lost_node() {
    let acts = [
        at(1.0, apply(task("api", json!({ "image": "app" })))),
        at(10.0, kill("n0", true, 1000)),
        at(10.0, kill("n1", true, 1)),
        at(
            27.0,
            Act::Clock {
                machine: "manager".to_owned(),
                ahead: -3600,
            },
        ),
    ];
    let script = script(&layout(2, (5, 1, 1)), 120, &acts);
    for seed in 1..=4 {
        let ended = run(seed, &script, false, true);
        let lines = ended.lines.join("\n");
        assert!(ended.violation.is_none(), "{lines}");
        // Wherever it was, it runs on the node that is there.
        let last = ended.lines.iter().rev().find(|line| line.contains("tasks/default/api"));
        let last = last.cloned().unwrap_or_default();
        assert!(last.contains("Running on n1"), "seed {seed}: {last}\n{lines}");
    }
}

/// A container that ended shortly before its engine went was taken to have been stopped with it, and what was known of its
/// successor was forgotten: that never became ready again.
#[test]
fn an_engine_that_goes_after_a_restart_takes_nothing_from_the_new_container() {
    let spec = json!({ "image": "app", "network": "host", "startupProbe": { "exec": { "command": ["true"] }, "periodSeconds": 3 } });
    let acts = [
        at(1.0, apply(task("api", spec))),
        at(
            20.0,
            Act::ByHand {
                node: "n0".to_owned(),
                which: 0,
                what: ByHand::Oom,
            },
        ),
        at(
            30.0,
            Act::EngineAway {
                node: "n0".to_owned(),
                dies: false,
                back: Duration::from_secs(13),
            },
        ),
    ];
    holds(&layout(1, (5, 1, 1)), 60, &acts);
}

/// A network that was made without the worker being told so stayed when the Task that needed it went.
#[test]
fn a_network_that_was_made_without_a_word_goes_with_the_last_task() {
    let delete = Act::Delete {
        who: 0,
        kind: Kind::Task,
        namespace: "default".to_owned(),
        name: "api".to_owned(),
        grace: None,
        cascade: 2,
    };
    let manners = Manners {
        fails_after: 1000,
        ..Manners::default()
    };
    let acts = [
        at(
            5.0,
            Act::Engine {
                node: "n0".to_owned(),
                manners,
                back: Duration::from_secs(20),
            },
        ),
        at(6.0, apply(task("api", json!({ "image": "app" })))),
        at(15.0, delete),
    ];
    holds(&layout(1, (5, 1, 1)), 40, &acts);
}

/// A call that failed while the clock was set was to be tried again when the time that it was set by had passed once more.
#[test]
fn what_fails_while_the_clock_is_set_is_tried_again_in_time() {
    let machine = "n0".to_owned();
    let ahead = 7200;
    let fails = Act::Engine {
        node: machine.clone(),
        manners: Manners {
            latency: 2000,
            fails_before: 400,
            ..Manners::default()
        },
        back: Duration::from_secs(30),
    };
    let mut acts = vec![at(1.0, fails)];
    acts.extend((0..8).map(|n| at(2.0, apply(task(&format!("t{n}"), json!({ "image": "app" }))))));
    let set = |n: u8| {
        let machine = machine.clone();
        at(3.0 + 0.9 * f64::from(n), Act::Clock { machine, ahead })
    };
    acts.extend((0..30).map(set));
    holds(&layout(1, (5, 1, 1)), 40, &acts);
}

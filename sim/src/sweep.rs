//! A crash after every single write of the store and around every single call of an engine, for each main flow; each must
//! end as the run without a crash does.
use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use cube_api::{kinds::Kind, placement::SchedulingPolicy};
use serde_json::{Value, json};

use crate::{
    cluster::Layout,
    run::{Ended, run_trapped},
    script::{Act, Manner, Script, Timed},
    trap::Point,
};

/// The flow begins at this second; what it needs is there before.
const BEGINS: u64 = 30;

/// A main flow: its name, what is there before, and what is done.
struct Flow {
    name: &'static str,
    before: Vec<Act>,
    acts: Vec<Act>,
}

fn task(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": name, "namespace": "default" },
        "spec": {
            "image": image, "terminationGracePeriodSeconds": 1,
            "volumes": [{ "name": "scratch", "emptyDir": {} }],
            "volumeMounts": [{ "name": "scratch", "mountPath": "/scratch" }],
        },
    })
}

fn deployment(replicas: u32, image: &str) -> Value {
    json!({
        "apiVersion": "cube/v1", "kind": "Deployment", "metadata": { "name": "web", "namespace": "default" },
        "spec": {
            "replicas": replicas,
            "template": { "spec": { "image": image, "terminationGracePeriodSeconds": 1 } },
        },
    })
}

fn delete(kind: Kind, name: &str) -> Act {
    Act::Delete {
        who: 0,
        kind,
        namespace: "default".to_owned(),
        name: name.to_owned(),
        grace: None,
        cascade: 2,
    }
}

fn file(name: &str, objects: &[Value]) -> Act {
    let text: Vec<String> = objects.iter().map(Value::to_string).collect();
    Act::Write {
        folder: 0,
        file: name.to_owned(),
        text: text.join("\n---\n"),
        manner: Manner::InPlace,
    }
}

fn flows() -> Vec<Flow> {
    let there = || vec![Act::apply(vec![deployment(3, "app:1"), task("api", "app:1")])];
    let flow = |name, before, acts| Flow { name, before, acts };
    let drain = |drain: Value| Act::Patch {
        who: 0,
        kind: Kind::Node,
        namespace: String::new(),
        name: "n1".to_owned(),
        patch: json!({ "spec": { "unschedulable": true, "drain": drain } }),
    };
    let lost = Act::Kill {
        machine: "n1".to_owned(),
        power: true,
        back: Duration::from_secs(100),
    };
    vec![
        flow("create", Vec::new(), there()),
        flow("edit", there(), vec![Act::apply(vec![task("api", "app:2")])]),
        flow("scale up", there(), vec![Act::apply(vec![deployment(5, "app:1")])]),
        flow("scale down", there(), vec![Act::apply(vec![deployment(1, "app:1")])]),
        flow("roll", there(), vec![Act::apply(vec![deployment(3, "app:2")])]),
        flow(
            "delete",
            there(),
            vec![delete(Kind::Deployment, "web"), delete(Kind::Task, "api")],
        ),
        flow("node loss", there(), vec![lost]),
        flow("drain", there(), vec![drain(json!({}))]),
        flow(
            "prune",
            vec![
                file("a.yaml", &[deployment(2, "app:1")]),
                file("b.yaml", &[task("api", "app:1")]),
            ],
            vec![Act::Unlink {
                folder: 0,
                file: "b.yaml".to_owned(),
            }],
        ),
    ]
}

fn script(flow: &Flow) -> Script {
    let layout = Layout {
        nodes: (0..3).map(|n| (format!("n{n}"), 4, 8)).collect(),
        own: false,
        folders: usize::from(flow.name == "prune"),
        policy: SchedulingPolicy::Spread,
        latency: (2, 2, 5),
        history_events: 10_000,
    };
    let timed = |seconds: u64, acts: &[Act]| -> Vec<Timed> {
        let at = Duration::from_secs(seconds);
        acts.iter().map(|act| Timed { at, act: act.clone() }).collect()
    };
    let mut acts = timed(2, &flow.before);
    acts.extend(timed(BEGINS, &flow.acts));
    Script::by_hand(layout, Duration::from_secs(BEGINS + 30), acts)
}

fn carry_out(script: &Script, point: Option<Point>) -> (Ended, Vec<Point>, bool) {
    run_trapped(1, script, Duration::from_secs(BEGINS), point)
}

/// Runs the sweep, or each `every`th point of it; says how many points there were, and which failed.
pub fn sweep(every: usize) -> Result<usize, String> {
    let mut cases = Vec::new();
    let mut ends = BTreeMap::new();
    for flow in flows() {
        let script = script(&flow);
        let (reference, points, _) = carry_out(&script, None);
        if let Some(violation) = reference.violation {
            return Err(format!(
                "{} without a crash: {}: {}",
                flow.name, violation.invariant, violation.what
            ));
        }
        println!(
            "{}: {} points, ends with {}",
            flow.name,
            points.len(),
            reference.end.join(", ")
        );
        ends.insert(flow.name, reference.end);
        cases.extend(points.into_iter().map(|point| (flow.name, script.clone(), point)));
    }
    let cases: Vec<_> = cases.into_iter().step_by(every.max(1)).collect();
    let (next, failed) = (AtomicUsize::new(0), std::sync::Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some((name, script, point)) = cases.get(next.fetch_add(1, Ordering::SeqCst)) {
                    let (ended, _, sprung) = carry_out(script, Some(point.clone()));
                    let what = match &ended.violation {
                        Some(violation) => format!("{}: {}", violation.invariant, violation.what),
                        None if !sprung => "I13: it did not come to that point again".to_owned(),
                        None if ended.end != ends[name] => {
                            format!(
                                "I14: it ends with {}, without a crash with {}",
                                ended.end.join(", "),
                                ends[name].join(", ")
                            )
                        }
                        None => continue,
                    };
                    let tail = ended.lines[ended.lines.len().saturating_sub(60)..].join("\n");
                    let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    failed.push(format!("{name}, {point:?}: {what}\n{tail}"));
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    match failed.first() {
        None => Ok(cases.len()),
        Some(first) => Err(format!(
            "{} of {} points fail; the first:\n{first}",
            failed.len(),
            cases.len()
        )),
    }
}

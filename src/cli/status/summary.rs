//! How a whole cluster is, as a function of its objects.
use std::collections::BTreeMap;

use cube_api::{
    condition::{self, AVAILABLE, Condition, PROGRESSING, READY, SCHEDULED, Truth},
    deployment::Deployment,
    kinds::Kind,
    meta::ObjectMeta,
    node::Node,
    source::Source,
    task::{Phase, Task},
};
use serde::{Serialize, Serializer};

use crate::{server::table::complaint, source::ObjectId};

/// Reasons of a Task that is on its way to its first or next start: nothing is wrong with it.
const ON_THE_WAY: [&str; 6] = ["", "Scheduled", "Creating", "Pulling", "Starting", "Stopping"];

/// How all is.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The nodes.
    pub nodes: Nodes,
    /// Tasks by phase; only phases that there are.
    pub tasks: BTreeMap<&'static str, usize>,
    /// The Deployments.
    pub deployments: Deployments,
    /// The sources.
    pub sources: Vec<SourceSummary>,
    /// What is wrong, nodes first, the most objects first.
    pub wrong: Vec<Trouble>,
}

/// How many nodes there are.
#[derive(Debug, Default, Serialize)]
pub struct Nodes {
    /// In all.
    pub all: usize,
    /// Those that are ready.
    pub ready: usize,
    /// Those that take nothing new.
    pub cordoned: usize,
}

/// How many Deployments there are.
#[derive(Debug, Default, Serialize)]
pub struct Deployments {
    /// In all.
    pub all: usize,
    /// Those that have as many ready Tasks as they wish for, all of the newest revision.
    pub ready: usize,
}

/// How a source is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceSummary {
    /// Its name.
    pub name: String,
    /// Its directory.
    pub directory: String,
    /// `in step`, or what is the matter.
    pub state: String,
    /// Files that it reads.
    pub files: u64,
    /// Objects that it manages.
    pub objects: u64,
    /// Removals that wait for a yes.
    pub waiting: usize,
    /// Why they wait.
    pub waiting_reason: String,
}

/// Something that is wrong with one or more objects.
#[derive(Debug, PartialEq, Serialize)]
pub struct Trouble {
    /// Why, in one word.
    pub reason: String,
    /// Why, for people.
    pub message: String,
    /// Of which objects, as `kind/namespace/name`.
    #[serde(serialize_with = "as_text")]
    pub objects: Vec<ObjectId>,
}

fn as_text<S: Serializer>(objects: &[ObjectId], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(objects.iter().map(ToString::to_string))
}

/// How all is.
pub fn of(nodes: &[Node], deployments: &[Deployment], tasks: &[Task], sources: &[Source]) -> Summary {
    let mut summary = Summary::default();
    let mut wrong = Wrong::default();
    for node in nodes {
        let ready = condition::is_true(&node.status.conditions, READY);
        summary.nodes.all += 1;
        summary.nodes.ready += usize::from(ready);
        summary.nodes.cordoned += usize::from(node.spec.unschedulable);
        if !ready {
            let unknown = Condition {
                reason: "NotReady".to_owned(),
                ..Condition::default()
            };
            let condition = condition::find(&node.status.conditions, READY).unwrap_or(&unknown);
            wrong.add(Kind::Node, &node.metadata, &condition.reason, &condition.message);
        }
    }
    for source in sources {
        let status = &source.status;
        let ready = condition::find(&status.conditions, READY);
        let state = match ready {
            Some(condition) if condition.status == Truth::True => "in step".to_owned(),
            Some(condition) => condition.reason.clone(),
            None => "not read yet".to_owned(),
        };
        summary.sources.push(SourceSummary {
            name: source.metadata.name.clone(),
            directory: source.spec.directory.clone().unwrap_or_default(),
            state,
            files: status.files,
            objects: status.objects,
            waiting: status.waiting.len(),
            waiting_reason: status.waiting_reason.clone(),
        });
        for error in &status.errors {
            wrong.add(Kind::Source, &source.metadata, "Errors", error);
        }
        // What waits for a yes is told in a place of its own, and errors each for itself.
        let other = ready
            .filter(|ready| ready.status == Truth::False && !matches!(ready.reason.as_str(), "Errors" | "WaitsForYes"));
        if let Some(ready) = other.filter(|_| status.errors.is_empty()) {
            wrong.add(Kind::Source, &source.metadata, &ready.reason, &ready.message);
        }
    }
    for deployment in deployments {
        let status = &deployment.status;
        let wished = deployment.spec.replicas;
        summary.deployments.all += 1;
        summary.deployments.ready +=
            usize::from(status.available_replicas == wished && status.updated_replicas == wished);
        let said = [PROGRESSING, AVAILABLE].map(|kind| condition::find(&status.conditions, kind));
        let bad = said.into_iter().flatten().find(|said| said.status == Truth::False);
        if let Some(bad) = bad {
            wrong.add(
                Kind::Deployment,
                &deployment.metadata,
                &bad.reason,
                &complaint(&status.conditions),
            );
        }
    }
    for task in tasks {
        let phase = match task.status.phase {
            Phase::Pending => "Pending",
            Phase::Scheduled => "Scheduled",
            Phase::Running => "Running",
            Phase::Completed => "Completed",
            Phase::Failed => "Failed",
        };
        *summary.tasks.entry(phase).or_default() += 1;
        if let Some((reason, message)) = trouble(task) {
            wrong.add(Kind::Task, &task.metadata, &reason, &message);
        }
    }
    summary.wrong = wrong.in_order();
    summary
}

/// What is wrong with a Task: why in one word, and for people.
fn trouble(task: &Task) -> Option<(String, String)> {
    let status = &task.status;
    let said = |kind| condition::find(&status.conditions, kind).filter(|said| said.status == Truth::False);
    let own = || (status.reason.clone(), status.message.clone());
    if task.metadata.is_deleting() {
        return None;
    }
    match status.phase {
        Phase::Failed if status.reason.is_empty() => Some(("Failed".to_owned(), status.message.clone())),
        Phase::Failed => Some(own()),
        Phase::Pending => said(SCHEDULED).map(|_| own()),
        Phase::Scheduled => (!ON_THE_WAY.contains(&status.reason.as_str())).then(own),
        Phase::Running => said(READY).map(|ready| (ready.reason.clone(), ready.message.clone())),
        Phase::Completed => None,
    }
}

/// Troubles as they are found.
#[derive(Default)]
struct Wrong(BTreeMap<(Kind, String, String), Vec<ObjectId>>);

impl Wrong {
    fn add(&mut self, kind: Kind, meta: &ObjectMeta, reason: &str, message: &str) {
        let id = ObjectId {
            kind,
            namespace: meta.namespace().to_owned(),
            name: meta.name.clone(),
        };
        let message = message.lines().next().unwrap_or_default();
        let same = (kind, reason.to_owned(), message.to_owned());
        self.0.entry(same).or_default().push(id);
    }

    fn in_order(self) -> Vec<Trouble> {
        let mut wrong: Vec<(Kind, Trouble)> = self
            .0
            .into_iter()
            .map(|((kind, reason, message), objects)| {
                let trouble = Trouble {
                    reason,
                    message,
                    objects,
                };
                (kind, trouble)
            })
            .collect();
        wrong.sort_by_key(|(kind, trouble)| (*kind, std::cmp::Reverse(trouble.objects.len())));
        wrong.into_iter().map(|(_, trouble)| trouble).collect()
    }
}

#[cfg(test)]
mod tests {
    use cube_api::kinds::Resource as _;
    use serde_json::{Value, json};

    use super::*;

    fn task(name: &str, status: Value) -> Task {
        let value = json!({
            "metadata": { "name": name, "namespace": "default" }, "spec": { "image": "x" }, "status": status,
        });
        Task::from_value(value).unwrap()
    }

    #[test]
    fn what_is_on_its_way_is_not_wrong() {
        let unplaced = json!([{ "type": "Scheduled", "status": "False", "reason": "Unschedulable" }]);
        let unready = json!([{ "type": "Ready", "status": "False", "reason": "NotReady", "message": "503" }]);
        for (status, due) in [
            (json!({}), None),
            (json!({ "phase": "Scheduled", "reason": "Pulling" }), None),
            (json!({ "phase": "Running", "reason": "Running" }), None),
            (json!({ "phase": "Completed" }), None),
            (
                json!({ "phase": "Scheduled", "reason": "BackOff", "message": "exit 1" }),
                Some("BackOff exit 1"),
            ),
            (json!({ "phase": "Failed", "reason": "OOMKilled" }), Some("OOMKilled ")),
            (json!({ "phase": "Failed" }), Some("Failed ")),
            (
                json!({ "reason": "Unschedulable", "message": "0/1", "conditions": unplaced }),
                Some("Unschedulable 0/1"),
            ),
            (
                json!({ "phase": "Running", "conditions": unready }),
                Some("NotReady 503"),
            ),
        ] {
            let told = trouble(&task("t", status.clone())).map(|(reason, message)| format!("{reason} {message}"));
            assert_eq!(told.as_deref(), due, "{status}");
        }
    }

    #[test]
    fn the_same_trouble_of_many_is_told_once() {
        let crash = json!({ "phase": "Scheduled", "reason": "BackOff", "message": "exit 1" });
        let pull = json!({ "phase": "Scheduled", "reason": "ErrImagePull", "message": "no route" });
        let tasks: Vec<Task> = [("a", &crash), ("b", &pull), ("c", &pull)]
            .map(|(name, status)| task(name, status.clone()))
            .into();
        let summary = of(&[], &[], &tasks, &[]);
        let told: Vec<(&str, usize)> = summary
            .wrong
            .iter()
            .map(|trouble| (trouble.reason.as_str(), trouble.objects.len()))
            .collect();
        assert_eq!(told, [("ErrImagePull", 2), ("BackOff", 1)]);
        assert_eq!(summary.tasks, BTreeMap::from([("Scheduled", 3)]));
    }
}

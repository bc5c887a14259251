//! The columns that people see of each kind, in one place. First what it is, then how it is, last why.
use cube_api::{
    condition::{self, Condition, DISK_PRESSURE, MEMORY_PRESSURE, READY, Truth},
    deployment::Deployment,
    event::{Event, EventType},
    kinds::Kind,
    meta::DEPLOYMENT_LABEL,
    namespace::{Namespace, NamespacePhase},
    node::Node,
    quantity::Quantity,
    revision::Revision,
    settings::Settings,
    source::Source,
    task::{Phase, Protocol, Task},
};
use jiff::Timestamp;
use serde_json::Value;

use super::age::age;
use crate::registry::Object;

/// One column of a kind's table.
pub(super) struct Column {
    pub name: &'static str,
    pub about: &'static str,
    pub number: bool,
    /// Shown with `-o wide` only.
    pub wide: bool,
    pub cell: fn(&Object, Timestamp) -> Value,
}

const fn column(name: &'static str, about: &'static str, cell: fn(&Object, Timestamp) -> Value) -> Column {
    Column {
        name,
        about,
        number: false,
        wide: false,
        cell,
    }
}

const fn number(name: &'static str, about: &'static str, cell: fn(&Object, Timestamp) -> Value) -> Column {
    Column {
        number: true,
        ..column(name, about, cell)
    }
}

const fn wide(name: &'static str, about: &'static str, cell: fn(&Object, Timestamp) -> Value) -> Column {
    Column {
        wide: true,
        ..column(name, about, cell)
    }
}

const NAME: Column = column("Name", "Name of the object.", |object, _| object.name().into());
const AGE: Column = column("Age", "Time since it was created.", |object, now| {
    age(object.meta().creation_timestamp, now).into()
});

static NAMESPACE: &[Column] = &[
    NAME,
    column("Status", "Whether it is in use, or being emptied.", |object, _| {
        let terminating =
            object.is_deleting() || object.typed::<Namespace>().status.phase == NamespacePhase::Terminating;
        if terminating { "Terminating" } else { "Active" }.into()
    }),
    AGE,
    column("Why", "What keeps it from going.", |object, _| {
        let conditions = &object.typed::<Namespace>().status.conditions;
        let first = conditions.first().map(|condition| line(&condition.message));
        first.unwrap_or_default().into()
    }),
];

static NODE: &[Column] = &[
    NAME,
    column("Status", "Whether it takes Tasks.", |object, _| {
        node_status(object.typed()).into()
    }),
    column("CPU", "CPUs that Tasks can have.", |object, _| {
        quantity(&object.typed::<Node>().status.allocatable.cpu)
    }),
    column("Memory", "Memory that Tasks can have.", |object, _| {
        bytes(object.typed::<Node>().status.allocatable.memory.units()).into()
    }),
    column("Engine", "Engine and version.", |object, _| {
        let info = &object.typed::<Node>().status.node_info;
        format!("{} {}", info.engine, info.engine_version).trim().into()
    }),
    AGE,
    wide("Version", "Version of Cube.", |object, _| {
        object.typed::<Node>().status.node_info.cube_version.as_str().into()
    }),
    wide("OS", "Operating system.", |object, _| {
        object.typed::<Node>().status.node_info.operating_system.as_str().into()
    }),
    wide("Taints", "What keeps Tasks away.", |object, _| {
        joined(object.typed::<Node>().spec.taints.iter().map(ToString::to_string))
    }),
    column("Why", "What is wrong.", |object, _| {
        complaint(&object.typed::<Node>().status.conditions).into()
    }),
];

static SETTINGS: &[Column] = &[
    NAME,
    column(
        "Rebalance",
        "How Tasks move to where nodes are loaded less.",
        |object, _| match &object.typed::<Settings>().spec.auto_rebalance {
            Some(auto) => format!("auto, {} a minute", auto.moves_per_minute).into(),
            None => "by hand".into(),
        },
    ),
    AGE,
];

static SOURCE: &[Column] = &[
    NAME,
    column("Status", "Whether what runs is what its files say.", |object, _| {
        let status = &object.typed::<Source>().status;
        match ready(&status.conditions) {
            _ if !status.waiting.is_empty() => "Waiting",
            Some(Truth::True) => "Ready",
            Some(Truth::False) => "NotReady",
            _ => "Unknown",
        }
        .into()
    }),
    number("Files", "Files that were read.", |object, _| {
        object.typed::<Source>().status.files.into()
    }),
    number("Objects", "Objects that it manages.", |object, _| {
        object.typed::<Source>().status.objects.into()
    }),
    number("Waiting", "Removals that wait for a yes.", |object, _| {
        object.typed::<Source>().status.waiting.len().into()
    }),
    AGE,
    wide("Directory", "Where its files are.", |object, _| {
        object
            .typed::<Source>()
            .spec
            .directory
            .clone()
            .unwrap_or_default()
            .into()
    }),
    column("Why", "What is wrong, or what is waited for.", |object, _| {
        let status = &object.typed::<Source>().status;
        let words = [status.waiting_reason.clone(), complaint(&status.conditions)];
        let error = status.errors.first().map(|error| line(error));
        words
            .into_iter()
            .chain(error)
            .find(|word| !word.is_empty())
            .unwrap_or_default()
            .into()
    }),
];

static DEPLOYMENT: &[Column] = &[
    NAME,
    column(
        "Ready",
        "Tasks that are ready, of those that are wished.",
        |object, _| {
            let deployment: &Deployment = object.typed();
            format!("{}/{}", deployment.status.ready_replicas, deployment.spec.replicas).into()
        },
    ),
    number("Up-to-date", "Tasks of the newest revision.", |object, _| {
        object.typed::<Deployment>().status.updated_replicas.into()
    }),
    number(
        "Available",
        "Tasks that have been ready for long enough.",
        |object, _| object.typed::<Deployment>().status.available_replicas.into(),
    ),
    AGE,
    wide("Image", "Image of its Tasks.", |object, _| {
        object.typed::<Deployment>().spec.template.spec.image.as_str().into()
    }),
    wide("Selector", "Labels of its Tasks.", |object, _| {
        object.typed::<Deployment>().status.selector.as_str().into()
    }),
    column("Why", "What keeps it from being as wished.", |object, _| {
        let deployment: &Deployment = object.typed();
        match complaint(&deployment.status.conditions) {
            none if none.is_empty() && object.is_deleting() => "being deleted".to_owned(),
            why => why,
        }
        .into()
    }),
];

static REVISION: &[Column] = &[
    NAME,
    column("Deployment", "Whose it is.", |object, _| {
        let meta = object.meta();
        let owner = meta.controller().map(|owner| owner.name.as_str());
        let label = meta.labels.get(DEPLOYMENT_LABEL).map(String::as_str);
        owner.or(label).unwrap_or("-").into()
    }),
    number("Revision", "Its number.", |object, _| {
        object.typed::<Revision>().spec.revision.into()
    }),
    column("Image", "Image of its Tasks.", |object, _| {
        object.typed::<Revision>().spec.template.spec.image.as_str().into()
    }),
    AGE,
    wide("Hash", "Hash of its template.", |object, _| {
        object.typed::<Revision>().spec.hash.as_str().into()
    }),
];

static TASK: &[Column] = &[
    NAME,
    column("Status", "Where it is in its life.", |object, _| {
        task_status(object.typed()).into()
    }),
    column("Ready", "Whether it does its work.", |object, _| {
        let status = &object.typed::<Task>().status;
        match (status.phase, ready(&status.conditions)) {
            (Phase::Pending | Phase::Completed | Phase::Failed, _) => "-",
            (_, Some(Truth::True)) => "yes",
            _ => "no",
        }
        .into()
    }),
    number("Restarts", "How often it was started again.", |object, _| {
        object.typed::<Task>().status.restarts.into()
    }),
    column("Node", "The node that it was given to.", |object, _| {
        object.typed::<Task>().status.node.as_deref().unwrap_or("-").into()
    }),
    AGE,
    wide("Image", "Image that it runs.", |object, _| {
        object.typed::<Task>().spec.image.as_str().into()
    }),
    wide("Ports", "Ports of the node that lead to it.", |object, _| {
        joined(object.typed::<Task>().status.ports.iter().map(|port| {
            let protocol = match port.protocol {
                Protocol::Tcp => "",
                Protocol::Udp => "/udp",
            };
            let host = match port.host_ip.as_str() {
                "" => String::new(),
                ip if ip.contains(':') => format!("[{ip}]:"),
                ip => format!("{ip}:"),
            };
            format!("{host}{}->{}{protocol}", port.host_port, port.container_port)
        }))
    }),
    wide("Address", "Addresses of its container.", |object, _| {
        joined(object.typed::<Task>().status.addresses.iter().cloned())
    }),
    column("Why", "Why it is as it is.", |object, _| {
        line(&object.typed::<Task>().status.message).into()
    }),
];

static EVENT: &[Column] = &[
    column("Last Seen", "Time since it last happened.", |object, now| {
        let event: &Event = object.typed();
        let last = event.last_timestamp.or(event.first_timestamp);
        age(last.or(object.meta().creation_timestamp), now).into()
    }),
    column("Type", "Whether somebody should look.", |object, _| {
        match object.typed::<Event>().kind {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        }
        .into()
    }),
    column("Reason", "Why, in one word.", |object, _| {
        object.typed::<Event>().reason.as_str().into()
    }),
    column("Object", "What it happened to.", |object, _| {
        let of = &object.typed::<Event>().involved_object;
        format!("{}/{}", of.kind.to_lowercase(), of.name).into()
    }),
    number("Count", "How often.", |object, _| {
        object.typed::<Event>().count.max(1).into()
    }),
    column("Message", "What happened.", |object, _| {
        line(&object.typed::<Event>().message).into()
    }),
    wide("Source", "Who tells it.", |object, _| {
        let source = &object.typed::<Event>().source;
        let words = [source.component.as_str(), source.host.as_str()];
        joined(words.iter().filter(|word| !word.is_empty()).map(ToString::to_string))
    }),
    wide("First Seen", "Time since it first happened.", |object, now| {
        age(object.typed::<Event>().first_timestamp, now).into()
    }),
    wide("Name", "Name of the Event.", |object, _| object.name().into()),
];

/// The columns of a kind.
pub(super) fn columns(kind: Kind) -> &'static [Column] {
    match kind {
        Kind::Namespace => NAMESPACE,
        Kind::Node => NODE,
        Kind::Settings => SETTINGS,
        Kind::Source => SOURCE,
        Kind::Deployment => DEPLOYMENT,
        Kind::Revision => REVISION,
        Kind::Task => TASK,
        Kind::Event => EVENT,
    }
}

/// How a Task is, in one word: its phase; where nothing runs yet or any more and the reason says more, the reason.
pub fn task_status(task: &Task) -> String {
    let status = &task.status;
    if task.metadata.is_deleting() {
        return "Stopping".to_owned();
    }
    match (status.phase, status.reason.as_str()) {
        (Phase::Scheduled, "") => "Scheduled".to_owned(),
        (Phase::Scheduled, reason) => reason.to_owned(),
        (Phase::Pending, _) => "Pending".to_owned(),
        (Phase::Running, _) => "Running".to_owned(),
        (Phase::Completed, _) => "Completed".to_owned(),
        (Phase::Failed, "" | "Error" | "Failed") => "Failed".to_owned(),
        (Phase::Failed, reason) => format!("Failed ({reason})"),
    }
}

/// How a Node is, in one word: `Ready`, `NotReady` or `Unknown`, and whether it takes nothing new.
pub fn node_status(node: &Node) -> String {
    let status = match ready(&node.status.conditions) {
        Some(Truth::True) => "Ready",
        Some(Truth::False) => "NotReady",
        Some(Truth::Unknown) | None => "Unknown",
    };
    match (&node.spec.drain, node.spec.unschedulable) {
        (Some(_), _) if condition::is_true(&node.status.conditions, "Drained") => format!("{status},Drained"),
        (Some(_), _) => format!("{status},Draining"),
        (None, true) => format!("{status},SchedulingDisabled"),
        (None, false) => status.to_owned(),
    }
}

fn ready(conditions: &[Condition]) -> Option<Truth> {
    condition::find(conditions, READY).map(|ready| ready.status)
}

/// What the first condition says that is not as it should be, the summary first; empty when all is well.
pub fn complaint(conditions: &[Condition]) -> String {
    let others = conditions.iter().filter(|condition| condition.kind != READY);
    let mut ordered = condition::find(conditions, READY).into_iter().chain(others);
    let wrong = ordered.find(|condition| match condition.kind.as_str() {
        DISK_PRESSURE | MEMORY_PRESSURE => condition.status == Truth::True,
        _ => condition.status != Truth::True,
    });
    wrong.map_or_else(String::new, |wrong| match wrong.message.as_str() {
        "" => wrong.reason.clone(),
        message => line(message),
    })
}

fn quantity(quantity: &Quantity) -> Value {
    quantity.to_string().into()
}

fn bytes(bytes: u64) -> String {
    let (size, unit) = match bytes {
        0..1_048_576 => return format!("{bytes}"),
        1_048_576..1_073_741_824 => (bytes as f64 / 1_048_576.0, "MiB"),
        _ => (bytes as f64 / 1_073_741_824.0, "GiB"),
    };
    format!("{size:.1} {unit}")
}

fn joined(words: impl Iterator<Item = String>) -> Value {
    let words: Vec<String> = words.collect();
    if words.is_empty() {
        "-".into()
    } else {
        words.join(", ").into()
    }
}

/// The first line: a cell has no room for more.
fn line(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end().to_owned()
}

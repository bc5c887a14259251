//! What there is to say of an object of each kind: values to words.
use cube_api::{
    condition::Condition,
    deployment::{Deployment, IntOrPercent, StrategyType},
    event::Event,
    kinds::{Kind, Resource},
    namespace::Namespace,
    node::{Node, Resources},
    quantity::Quantity,
    revision::Revision,
    settings::Settings,
    source::Source,
    task::{ResourceAmounts, Task, TaskSpec, Termination},
};
use jiff::Timestamp;
use serde_json::Value;

use crate::cli::output::{Cell, Style, Table, words};

/// What there is to say.
#[derive(Default)]
pub struct Facts {
    /// One line each.
    pub facts: Vec<(&'static str, Cell)>,
    /// Tables below a heading each.
    pub tables: Vec<(&'static str, Table)>,
    /// Lines below a heading each.
    pub texts: Vec<(&'static str, Vec<String>)>,
}

impl Facts {
    fn add(&mut self, name: &'static str, text: impl Into<String>) {
        self.styled(name, text, Style::Plain);
    }

    fn styled(&mut self, name: &'static str, text: impl Into<String>, style: Style) {
        let text = text.into();
        if !text.is_empty() {
            self.facts.push((name, Cell::new(text, style)));
        }
    }

    fn conditions(&mut self, conditions: &[Condition], now: Timestamp) {
        let mut table = Table::new(["TYPE", "STATUS", "SINCE", "REASON", "MESSAGE"]);
        for condition in conditions {
            let status = format!("{:?}", condition.status);
            let since = condition
                .last_transition_time
                .map(|at| words::age(now, at))
                .unwrap_or_default();
            table.row(vec![
                condition.kind.as_str().into(),
                Cell::new(status.as_str(), Style::of_state(&status)),
                since.into(),
                condition.reason.as_str().into(),
                condition.message.as_str().into(),
            ]);
        }
        self.tables.push(("Conditions", table));
    }
}

/// What there is to say of an object.
pub fn of(kind: Kind, value: Value, now: Timestamp) -> Result<Facts, serde_json::Error> {
    Ok(match kind {
        Kind::Task => task(&Task::from_value(value)?, now),
        Kind::Deployment => deployment(&Deployment::from_value(value)?, now),
        Kind::Node => node(&Node::from_value(value)?, now),
        Kind::Source => source(&Source::from_value(value)?, now),
        Kind::Settings => settings(&Settings::from_value(value)?),
        Kind::Namespace => namespace(&Namespace::from_value(value)?),
        Kind::Revision => revision(&Revision::from_value(value)?),
        Kind::Event => event(&Event::from_value(value)?, now),
    })
}

fn task(task: &Task, now: Timestamp) -> Facts {
    let mut facts = Facts::default();
    let status = &task.status;
    let phase = format!("{:?}", status.phase);
    facts.styled("Status", phase.as_str(), Style::of_state(&phase));
    if status.reason != phase {
        facts.styled("Reason", status.reason.as_str(), Style::of_state(&status.reason));
    }
    facts.add("Why", status.message.as_str());
    facts.add("Node", status.node.clone().unwrap_or_default());
    if let Some(at) = status.started_at {
        facts.add("Started", format!("{} ago", words::age(now, at)));
    }
    if let Some(at) = status.finished_at {
        facts.add("Finished", format!("{} ago", words::age(now, at)));
    }
    if let Some(code) = status.exit_code {
        facts.add("Exit code", code.to_string());
    }
    facts.add("Restarts", status.restarts.to_string());
    facts.add("Addresses", status.addresses.join(", "));
    let ports = status.ports.iter().map(|port| {
        let protocol = format!("{:?}", port.protocol).to_lowercase();
        let address = if port.host_ip.is_empty() { "*" } else { &port.host_ip };
        format!("{address}:{} to {}/{protocol}", port.host_port, port.container_port)
    });
    facts.add("Ports", ports.collect::<Vec<_>>().join(", "));
    facts.add(
        "Container",
        status.container_id.as_deref().map(short_id).unwrap_or_default(),
    );
    wishes(&mut facts, &task.spec);
    if let Some(last) = &status.last_termination {
        facts.styled(
            "Last end",
            ended(last, now),
            if last.exit_code == Some(0) {
                Style::Plain
            } else {
                Style::Bad
            },
        );
        facts.texts.push(("Its last lines", last.log.clone()));
    }
    facts
        .tables
        .extend(super::probes::table(task, now).map(|table| ("Probes", table)));
    facts.conditions(&status.conditions, now);
    facts
}

/// A Task as a row of its Deployment's.
pub fn task_row(task: &Task, now: Timestamp) -> Vec<Cell> {
    let status = &task.status;
    let phase = format!("{:?}", status.phase);
    let state = if status.reason.is_empty() {
        phase
    } else {
        status.reason.clone()
    };
    let age = task
        .metadata
        .creation_timestamp
        .map(|at| words::age(now, at))
        .unwrap_or_default();
    vec![
        task.metadata.name.as_str().into(),
        Cell::new(state.as_str(), Style::of_state(&state)),
        status.restarts.to_string().into(),
        status.node.clone().unwrap_or_default().into(),
        age.into(),
        status.message.as_str().into(),
    ]
}

/// A Task as a row of its node's: what it asks for instead of where it is.
pub fn row_of_node(task: &Task, now: Timestamp) -> Vec<Cell> {
    let [name, state, restarts, _, age, why]: [Cell; 6] = task_row(task, now).try_into().unwrap_or_default();
    let resources = &task.spec.resources;
    let amount = |amount: u64, shown: String| if amount == 0 { "-".to_owned() } else { shown };
    let (cpu, memory) = (resources.cpu_request_milli(), resources.memory_request());
    vec![
        task.metadata.namespace().into(),
        name,
        state,
        restarts,
        amount(cpu, Quantity::from_milli(cpu).to_string()).into(),
        amount(memory, words::size(memory)).into(),
        age,
        why,
    ]
}

/// What is wished of a container.
fn wishes(facts: &mut Facts, spec: &TaskSpec) {
    facts.add("Image", spec.image.as_str());
    facts.add(
        "Command",
        spec.command
            .iter()
            .chain(&spec.args)
            .cloned()
            .collect::<Vec<_>>()
            .join(" "),
    );
    facts.add("Requests", amounts(&spec.resources.requests));
    facts.add("Limits", amounts(&spec.resources.limits));
    facts.add(
        "Restarts on",
        match spec.restart_policy {
            cube_api::task::RestartPolicy::Always => "",
            cube_api::task::RestartPolicy::OnFailure => "failure",
            cube_api::task::RestartPolicy::Never => "nothing",
        },
    );
    let mounts = spec.volume_mounts.iter().map(|mount| {
        let read_only = if mount.read_only { " (read-only)" } else { "" };
        format!("{} at {}{read_only}", mount.name, mount.mount_path)
    });
    facts.add("Mounts", mounts.collect::<Vec<_>>().join(", "));
    let selector = spec.node_selector.iter().map(|(key, value)| format!("{key}={value}"));
    facts.add("Node must be", selector.collect::<Vec<_>>().join(", "));
}

fn deployment(deployment: &Deployment, now: Timestamp) -> Facts {
    let mut facts = Facts::default();
    let (spec, status) = (&deployment.spec, &deployment.status);
    let whole = status.ready_replicas == spec.replicas && status.updated_replicas == spec.replicas;
    let ready = format!(
        "{}/{} ({} of revision {})",
        status.ready_replicas, spec.replicas, status.updated_replicas, status.revision
    );
    facts.styled("Ready", ready, if whole { Style::Good } else { Style::Waiting });
    let share = |share: IntOrPercent| match share {
        IntOrPercent::Int(number) => number.to_string(),
        IntOrPercent::Percent(share) => format!("{share}%"),
    };
    facts.add(
        "Strategy",
        match spec.strategy.kind {
            StrategyType::Recreate => "Recreate: all old ones end before the first new one starts".to_owned(),
            StrategyType::RollingUpdate => {
                let bounds = &spec.strategy.rolling_update;
                format!(
                    "RollingUpdate: at most {} more, at most {} missing",
                    share(bounds.max_surge),
                    share(bounds.max_unavailable)
                )
            }
        },
    );
    if spec.min_ready_seconds > 0 {
        let counted = format!(
            "{} of {} (ready for {} s)",
            status.available_replicas, spec.replicas, spec.min_ready_seconds
        );
        facts.add("Available", counted);
    }
    wishes(&mut facts, &spec.template.spec);
    facts.conditions(&status.conditions, now);
    facts
}

fn node(node: &Node, now: Timestamp) -> Facts {
    let mut facts = Facts::default();
    let (status, info) = (&node.status, &node.status.node_info);
    facts.add("Engine", format!("{} {}", info.engine, info.engine_version).trim());
    facts.add("Cube", info.cube_version.as_str());
    facts.add("System", info.operating_system.as_str());
    facts.add("Capacity", resources(&status.capacity));
    facts.add("For tasks", resources(&status.allocatable));
    if node.spec.unschedulable {
        facts.styled("Takes", "nothing new", Style::Waiting);
    }
    let taints = node.spec.taints.iter().map(ToString::to_string);
    facts.add("Taints", taints.collect::<Vec<_>>().join(", "));
    facts.conditions(&status.conditions, now);
    facts
}

fn source(source: &Source, now: Timestamp) -> Facts {
    let mut facts = Facts::default();
    let status = &source.status;
    facts.add("Directory", source.spec.directory.clone().unwrap_or_default());
    facts.add("Files", status.files.to_string());
    facts.add("Objects", status.objects.to_string());
    if !status.waiting.is_empty() {
        let waiting = format!(
            "{} wait to be removed: {}; `cube approve {}` says yes",
            status.waiting.len(),
            status.waiting_reason,
            source.metadata.name
        );
        facts.styled("Waiting", waiting, Style::Waiting);
    }
    facts.conditions(&status.conditions, now);
    let errors = status.errors.iter().flat_map(|error| error.lines()).map(str::to_owned);
    facts.texts.push(("Errors", errors.collect()));
    facts.texts.push(("Would be removed", status.waiting.clone()));
    facts
}

fn namespace(namespace: &Namespace) -> Facts {
    let mut facts = Facts::default();
    let phase = format!("{:?}", namespace.status.phase);
    facts.styled("Status", phase.as_str(), Style::of_state(&phase));
    facts
}

fn settings(settings: &Settings) -> Facts {
    let mut facts = Facts::default();
    let how = match &settings.spec.auto_rebalance {
        Some(auto) => format!("by itself, at most {} moves a minute", auto.moves_per_minute),
        None => "by hand (`cube rebalance`)".to_owned(),
    };
    facts.add("Rebalance", how);
    facts
}

fn revision(revision: &Revision) -> Facts {
    let mut facts = Facts::default();
    facts.add("Revision", revision.spec.revision.to_string());
    facts.add("Hash", revision.spec.hash.as_str());
    wishes(&mut facts, &revision.spec.template.spec);
    facts
}

fn event(event: &Event, now: Timestamp) -> Facts {
    let mut facts = Facts::default();
    let of = &event.involved_object;
    facts.add("Happened to", format!("{}/{}", of.kind.to_lowercase(), of.name));
    facts.add("Type", format!("{:?}", event.kind));
    facts.add("Reason", event.reason.as_str());
    facts.add("Message", event.message.as_str());
    facts.add("Times", event.count.to_string());
    if let Some(at) = event.last_timestamp {
        facts.add("Last", format!("{} ago", words::age(now, at)));
    }
    facts.add("Told by", event.source.component.as_str());
    facts
}

fn ended(last: &Termination, now: Timestamp) -> String {
    let mut text = match last.exit_code {
        Some(code) => format!("exit {code}"),
        None => "no exit code".to_owned(),
    };
    if !matches!(&last.reason[..], "" | "Error" | "Completed") {
        text.push_str(&format!(" ({})", last.reason));
    }
    if !last.message.is_empty() {
        text.push_str(&format!(": {}", last.message));
    }
    if let Some(at) = last.finished_at {
        text.push_str(&format!(", {} ago", words::age(now, at)));
        if let Some(started) = last.started_at {
            text.push_str(&format!(", after {}", words::age(at, started)));
        }
    }
    text
}

fn amounts(amounts: &ResourceAmounts) -> String {
    let cpu = amounts.cpu.as_ref().map(|cpu| format!("{} cpu", shown(cpu)));
    let memory = amounts
        .memory
        .as_ref()
        .map(|memory| format!("{} memory", shown(memory)));
    let disk = amounts
        .ephemeral_storage
        .as_ref()
        .map(|disk| format!("{} disk", shown(disk)));
    let told = cpu.into_iter().chain(memory).chain(disk);
    told.collect::<Vec<_>>().join(", ")
}

fn resources(resources: &Resources) -> String {
    let tasks = resources
        .tasks
        .map(|tasks| format!(", {tasks} tasks"))
        .unwrap_or_default();
    if resources.cpu.milli() == 0 {
        return String::new();
    }
    let disk = match resources.ephemeral_storage.units() {
        0 => String::new(),
        bytes => format!(", {} disk", words::size(bytes)),
    };
    format!(
        "{} cpu, {} memory{disk}{tasks}",
        shown(&resources.cpu),
        words::size(resources.memory.units())
    )
}

/// As it was written.
fn shown(quantity: &Quantity) -> String {
    quantity.to_string()
}

/// As much of a container's id as tells it apart: what `docker ps` shows.
fn short_id(id: &str) -> String {
    id.chars().take(12).collect()
}

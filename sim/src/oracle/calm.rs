//! What must be so once nothing is wrong any more and nobody wishes anything new (I2, I7, I10).
use std::collections::{BTreeMap, BTreeSet};

use cube::{
    engine::{CLUSTER_LABEL, MountSource, State},
    registry::Object,
    worker::{HASH_LABEL, UID_LABEL},
};
use cube_api::{
    condition::{READY, is_true},
    deployment::Deployment,
    node::Node,
    task::{NetworkMode, Phase, RestartPolicy, Task, TaskSpec},
};
use cube_plan::{deployment::Way, worker::wanted_hash};

use super::Inner;
use crate::engine::Docker;

impl Inner {
    /// The first thing that is not as it should be; none when all is.
    pub(super) fn unsettled(&mut self, lost: &[String]) -> Option<String> {
        self.catch_up();
        let objects: Vec<Object> = self.store.model.values().cloned().collect();
        let leaving = objects.iter().find(|object| object.is_deleting());
        if let Some(object) = leaving {
            return Some(format!("{} is still on its way out", object.record().key));
        }
        let tasks: BTreeMap<String, &Task> = objects
            .iter()
            .filter_map(|object| object.try_typed::<Task>())
            .map(|task| (task.metadata.uid.clone(), task))
            .collect();
        let deployments = objects.iter().filter_map(|object| object.try_typed::<Deployment>());
        None.or_else(|| {
            tasks
                .values()
                .find_map(|task| self.unsettled_task(task, &objects, lost))
        })
        .or_else(|| {
            deployments
                .into_iter()
                .find_map(|deployment| unsettled_deployment(deployment, &tasks, lost))
        })
        .or_else(|| self.overcommitted(true))
        .or_else(|| self.drifted())
        .or_else(|| self.left_over(&tasks, lost))
    }

    /// What there is: each object of people's by name, what belongs to one without its own, all without nodes.
    pub(super) fn end(&mut self) -> Vec<String> {
        self.catch_up();
        let told = self.store.model.values().filter_map(|object| {
            let meta = object.meta();
            if let Some(task) = object.try_typed::<Task>() {
                let owner = meta.controller().map(|owner| format!("one of {}", owner.name));
                let name = owner.unwrap_or_else(|| meta.name.clone());
                let ready = is_true(&task.status.conditions, READY);
                return Some(format!(
                    "task {name} {} {:?} {ready}",
                    task.spec.image, task.status.phase
                ));
            }
            let deployment = object.try_typed::<Deployment>()?;
            let (spec, status) = (&deployment.spec, &deployment.status);
            Some(format!(
                "deployment {} {} {}",
                meta.name, spec.replicas, status.ready_replicas
            ))
        });
        let mut told: Vec<String> = told.collect();
        told.sort();
        told
    }

    pub(super) fn is_restless(&mut self) -> bool {
        self.catch_up();
        let tasks = self
            .store
            .model
            .values()
            .filter_map(|object| object.try_typed::<Task>());
        tasks
            .into_iter()
            .any(|task| is_bad(&task.spec) || self.is_port_taken(task))
    }

    /// Whether another Task on its node has the port that it wishes for: both were told to, and one has to wait. So it is with one whose
    /// new wish cannot be carried out, and whose container goes on with what it was given for the old one.
    fn is_port_taken(&self, task: &Task) -> bool {
        let ports =
            |task: &Task| -> BTreeSet<u16> { task.spec.ports.iter().filter_map(|port| port.host_port).collect() };
        let wished = ports(task);
        let others = self
            .store
            .model
            .values()
            .filter_map(|object| object.try_typed::<Task>());
        task.status.node.is_some()
            && others
                .filter(|other| other.metadata.uid != task.metadata.uid && other.status.node == task.status.node)
                .any(|other| {
                    !ports(other).is_disjoint(&wished) || (is_bad(&other.spec) && self.has_one_of(other, &wished))
                })
    }

    /// Whether a container of the Task has one of these ports of its node.
    fn has_one_of(&self, task: &Task, ports: &BTreeSet<u16>) -> bool {
        let Some(node) = &task.status.node else { return false };
        let ours = self.ours(node);
        let mut containers = ours.get(&task.metadata.uid).into_iter().flatten();
        containers.any(|seen| seen.ports.iter().any(|port| ports.contains(&port.host_port)))
    }

    fn unsettled_task(&self, task: &Task, objects: &[Object], lost: &[String]) -> Option<String> {
        let (name, status) = (&task.metadata.name, &task.status);
        if is_bad(&task.spec) || self.is_port_taken(task) {
            return None;
        }
        let is_lost = status.node.as_ref().is_some_and(|node| lost.contains(node));
        if !is_lost && status.observed_generation != task.metadata.generation {
            return Some(format!("task {name}: what is told is of an older wish"));
        }
        let Some(node) = &status.node else {
            let fits = objects
                .iter()
                .filter_map(|object| object.try_typed::<Node>())
                .find(|node| fits(task, node, objects));
            return fits.map(|node| format!("task {name} waits, and fits on node {}", node.metadata.name));
        };
        if lost.contains(node) {
            let has_data = task.spec.volumes.iter().any(|volume| volume.volume.is_some());
            let stays = has_data || status.phase.is_over();
            return (!stays).then(|| format!("task {name} stays on {node}, which is lost"));
        }
        let Some(docker) = self.dockers.get(node) else {
            return Some(format!("task {name} is on node {node}, which there is not"));
        };
        let containers: Vec<_> = docker
            .sim
            .containers()
            .into_iter()
            .filter(|seen| seen.labels.get(UID_LABEL) == Some(&task.metadata.uid))
            .collect();
        let alive: Vec<_> = containers.iter().filter(|seen| seen.state == State::Running).collect();
        match status.phase {
            Phase::Running => {
                let [one] = alive.as_slice() else {
                    return Some(format!(
                        "task {name} is told to run; on {node} {} of it do",
                        alive.len()
                    ));
                };
                let hash = one.labels.get(HASH_LABEL);
                if hash != Some(&wanted_hash(task)) {
                    return Some(format!("task {name}: {} is not what it wishes for", one.name));
                }
                if task.spec.network == NetworkMode::Namespace && one.addresses.is_empty() {
                    return Some(format!("task {name}: {} is in no network", one.name));
                }
                if status.container_id.as_ref() != Some(&one.id) {
                    return Some(format!("task {name}: another container is told than {}", one.name));
                }
                (!is_true(&status.conditions, READY)).then(|| format!("task {name} is not ready"))
            }
            Phase::Completed | Phase::Failed => {
                if !alive.is_empty() {
                    return Some(format!("task {name} is over, and {} runs", alive[0].name));
                }
                let over = task.spec.restart_policy != RestartPolicy::Always;
                (!over).then(|| format!("task {name} is over, and should be started again"))
            }
            Phase::Pending | Phase::Scheduled => Some(format!(
                "task {name} is {:?} on {node}: {} {}",
                status.phase, status.reason, status.message
            )),
        }
    }

    /// What is on the engines and nobody wishes for.
    fn left_over(&self, tasks: &BTreeMap<String, &Task>, lost: &[String]) -> Option<String> {
        for (node, docker) in self.dockers.iter().filter(|(node, _)| !lost.contains(node)) {
            let here: BTreeMap<&String, &&Task> = tasks
                .iter()
                .filter(|(_, task)| task.status.node.as_ref() == Some(node))
                .collect();
            for (uid, mut containers) in self.ours(node) {
                // One that was renamed by hand while it was dead may be anybody's; it goes with its Task.
                containers.retain(|seen| !seen.name.ends_with("-old") || seen.state.is_running());
                if containers.is_empty() {
                    continue;
                }
                if !here.contains_key(&uid) {
                    if containers.iter().all(|seen| self.proof_is_lost(node, &seen.id)) {
                        continue;
                    }
                    return Some(format!("on {node} {} is nobody's", containers[0].name));
                }
                if containers.len() > 1 && !here.get(&uid).is_some_and(|task| self.is_port_taken(task)) {
                    let names: Vec<&str> = containers.iter().map(|seen| seen.name.as_str()).collect();
                    return Some(format!("on {node} there are several of one Task: {}", names.join(", ")));
                }
            }
            let wished: BTreeSet<&str> = here
                .values()
                .filter(|task| task.spec.network == NetworkMode::Namespace && !task.status.phase.is_over())
                .map(|task| task.metadata.namespace())
                .collect();
            let over: BTreeSet<&str> = here.values().map(|task| task.metadata.namespace()).collect();
            for network in docker.sim.networks_there() {
                if network.labels.get(CLUSTER_LABEL) != Some(&self.cluster) {
                    continue;
                }
                let namespace = network
                    .labels
                    .get("cube.namespace")
                    .map(String::as_str)
                    .unwrap_or_default();
                if !wished.contains(namespace) && !over.contains(namespace) {
                    return Some(format!("on {node} network {} is nobody's", network.name));
                }
            }
            let volumes: BTreeSet<String> = docker
                .sim
                .volumes()
                .into_iter()
                .filter(|(_, labels)| labels.get(CLUSTER_LABEL) == Some(&self.cluster))
                .filter(|(_, labels)| labels.contains_key(cube::engine::SCRATCH_LABEL))
                .map(|(name, _)| name)
                .collect();
            for volume in volumes {
                let wished = here.keys().any(|uid| volume.contains(&uid[uid.len() - 8..]));
                let used = wished || is_mounted(docker, &volume);
                if !used {
                    return Some(format!("on {node} the empty directory {volume} is nobody's"));
                }
            }
        }
        None
    }
}

/// Whether a container has the empty directory.
fn is_mounted(docker: &Docker, volume: &str) -> bool {
    let all = docker.sim.containers();
    let mounts = all
        .iter()
        .filter_map(|seen| docker.sim.spec(&seen.id))
        .flat_map(|spec| spec.mounts);
    mounts
        .into_iter()
        .any(|mount| matches!(&mount.source, MountSource::Scratch(name) if *name == volume))
}

/// Whether it can never be at rest.
pub(super) fn is_bad(spec: &TaskSpec) -> bool {
    let probes = [&spec.startup_probe, &spec.liveness_probe, &spec.readiness_probe];
    let fails = probes
        .into_iter()
        .flatten()
        .any(|probe| format!("{probe:?}").contains("false"));
    spec.image.starts_with("missing") || spec.command.iter().any(|word| word.contains("exit 3")) || fails
}

fn unsettled_deployment(deployment: &Deployment, tasks: &BTreeMap<String, &Task>, lost: &[String]) -> Option<String> {
    let (name, status) = (&deployment.metadata.name, &deployment.status);
    if status.observed_generation != deployment.metadata.generation {
        return Some(format!("deployment {name}: what is told is of an older wish"));
    }
    let own = tasks.values().filter(|task| {
        task.metadata
            .controller()
            .is_some_and(|owner| owner.uid == deployment.metadata.uid)
    });
    let own: Vec<&&Task> = own.collect();
    if is_bad(&deployment.spec.template.spec) || own.iter().any(|task| is_bad(&task.spec)) {
        return None;
    }
    let wished = deployment.spec.replicas as usize;
    // Where some have no place, or stay with their data on a node that is lost, a roll waits for them.
    let waits = |task: &&&Task| task.status.node.as_ref().is_none_or(|node| lost.contains(node));
    if own.iter().any(waits) {
        let surge = match Way::of(deployment) {
            Way::Rolling(bounds) | Way::StopFirst { bounds, .. } => bounds.surge,
            Way::Recreate => 0,
        };
        return (own.len() > wished + surge as usize).then(|| format!("deployment {name} has {} Tasks", own.len()));
    }
    if own.len() != wished {
        return Some(format!("deployment {name} has {} of {wished} Tasks", own.len()));
    }
    if let Some(other) = own
        .iter()
        .find(|task| task.spec.image != deployment.spec.template.spec.image)
    {
        return Some(format!(
            "deployment {name}: task {} is of an older template",
            other.metadata.name
        ));
    }
    let ready = own
        .iter()
        .filter(|task| is_true(&task.status.conditions, READY))
        .count();
    (status.ready_replicas as usize != ready).then(|| {
        format!(
            "deployment {name} tells of {} ready Tasks, there are {ready}",
            status.ready_replicas
        )
    })
}

/// Whether a Task that has no wishes but for room fits on a node that takes Tasks.
fn fits(task: &Task, node: &Node, objects: &[Object]) -> bool {
    // Where data is, the Task must go, and there may be no room.
    let has_data = task.spec.volumes.iter().any(|volume| volume.volume.is_some());
    if has_data
        || node.spec.unschedulable
        || node.spec.drain.is_some()
        || !node.spec.taints.is_empty()
        || !is_true(&node.status.conditions, READY)
    {
        return false;
    }
    let there = objects
        .iter()
        .filter_map(|object| object.try_typed::<Task>())
        .filter(|other| other.status.node.as_ref() == Some(&node.metadata.name) && !other.status.phase.is_over());
    let (mut cpu, mut memory) = (0, 0);
    let mut ports = BTreeSet::new();
    for other in there {
        cpu += other.spec.resources.cpu_request_milli();
        memory += other.spec.resources.memory_request();
        ports.extend(other.spec.ports.iter().filter_map(|port| port.host_port));
    }
    let room = &node.status.allocatable;
    let own = &task.spec.resources;
    let mut wished = task.spec.ports.iter().filter_map(|port| port.host_port);
    cpu + own.cpu_request_milli() <= room.cpu.milli()
        && memory + own.memory_request() <= room.memory.units()
        && !wished.any(|port| ports.contains(&port))
}

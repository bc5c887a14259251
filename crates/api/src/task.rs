//! Task: one container, run once or kept running, on one node.
use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::value::RawValue;

use crate::{
    condition::Condition,
    is_default,
    meta::ObjectMeta,
    node::TaintEffect,
    placement::{Affinity, PreemptionPolicy, SchedulingPolicy, TopologySpreadConstraint},
    probe::{ImageHealthcheck, Probe, ProbeStatus},
    quantity::Quantity,
    shared::{Pool, Shared},
};

/// One container, run once or kept running, on one node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Task {
    /// Name, labels and the like.
    #[serde(default)]
    pub metadata: ObjectMeta,
    /// What is wished.
    pub spec: Shared<TaskSpec>,
    /// What is seen.
    #[serde(default, skip_serializing_if = "is_default")]
    pub status: TaskStatus,
}

/// A Task's text, its wish not read yet.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Text<'a> {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(borrow)]
    spec: &'a RawValue,
    #[serde(default)]
    status: TaskStatus,
}

impl Task {
    /// Reads a Task; its wish is read only where no other Task has the same text of it.
    pub(crate) fn read_shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        static SPECS: Pool<TaskSpec> = Pool::new();
        let mut text = Text::deserialize(deserializer)?;
        text.metadata.share();
        // It stays for long, and will not grow.
        text.metadata.finalizers.shrink_to_fit();
        text.status.conditions.shrink_to_fit();
        text.status.addresses.shrink_to_fit();
        let spec = text.spec.get();
        let spec = SPECS
            .get(spec, || serde_json::from_str(spec))
            .map_err(D::Error::custom)?;
        Ok(Self {
            metadata: text.metadata,
            spec,
            status: text.status,
        })
    }
}

/// A Task to be made: what a Deployment makes its Tasks from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskTemplate {
    /// Labels and annotations that each Task gets.
    #[serde(default, skip_serializing_if = "is_default")]
    pub metadata: TemplateMeta,
    /// What each Task is to be.
    pub spec: Shared<TaskSpec>,
}

/// Metadata of a template.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TemplateMeta {
    /// Labels of each Task.
    #[serde(default, skip_serializing_if = "is_default")]
    pub labels: BTreeMap<String, String>,
    /// Annotations of each Task.
    #[serde(default, skip_serializing_if = "is_default")]
    pub annotations: BTreeMap<String, String>,
}

/// What is wished of a Task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskSpec {
    /// Image to run. Example: `nginx:1.27`.
    #[schemars(extend("format" = "image"))]
    pub image: String,
    /// When the image is pulled: `IfNotPresent` (default, for every tag), `Always`, `Never`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "IfNotPresent"))]
    pub image_pull_policy: PullPolicy,
    /// Program to run, instead of the image's entry point. Example: `[sh, -c, "sleep 60"]`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub command: Vec<String>,
    /// Arguments, instead of the image's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub args: Vec<String>,
    /// Directory in which the program starts; default: the image's.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("format" = "absolute-path"))]
    pub working_dir: Option<String>,
    /// Environment variables.
    #[serde(default, skip_serializing_if = "is_default")]
    pub env: Vec<EnvVar>,
    /// User to run as: a name or number, with `:group` if wanted; default: the image's.
    #[serde(default, skip_serializing_if = "is_default")]
    pub user: Option<String>,
    /// Host name inside the container; default: the Task's name.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("format" = "dns-subdomain"))]
    pub hostname: Option<String>,
    /// Runs the engine's small init as PID 1: it passes signals on and reaps children.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = false))]
    pub init: bool,
    /// Network: absent for the namespace's, `host` for the machine's own, `none` for none.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "namespace"))]
    pub network: NetworkMode,
    /// Ports that the program listens on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ports: Vec<Port>,
    /// Volumes that the container can mount.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volumes: Vec<Volume>,
    /// Where the volumes are mounted.
    #[serde(default, skip_serializing_if = "is_default")]
    pub volume_mounts: Vec<VolumeMount>,
    /// What it needs, and what it may use at most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub resources: ResourceRequirements,
    /// What happens when the container ends: `Always` (default), `OnFailure` or `Never`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "Always"))]
    pub restart_policy: RestartPolicy,
    /// Seconds between the signal to stop and the kill; default 30.
    #[serde(default = "default_grace", skip_serializing_if = "is_default_grace")]
    #[schemars(range(max = 86400))]
    #[schemars(extend("default" = 30))]
    pub termination_grace_period_seconds: u32,
    /// Signal to stop with; default: the image's, else `SIGTERM`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stop_signal: Option<String>,
    /// Asks whether the program has started; until it has, the other probes are not asked. When it fails, the container is
    /// started again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub startup_probe: Option<Probe>,
    /// Asks whether the program lives; when it fails, the container is started again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub liveness_probe: Option<Probe>,
    /// Asks whether the program does its work now; while it fails, the Task is not ready.
    #[serde(default, skip_serializing_if = "is_default")]
    pub readiness_probe: Option<Probe>,
    /// What becomes of the image's `HEALTHCHECK` where there is no probe: `Use` (default) or `Ignore`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "Use"))]
    pub image_healthcheck: ImageHealthcheck,
    /// Labels that the node must have.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node_selector: BTreeMap<String, String>,
    /// What it wants of its node, and of the Tasks that it is near to or far from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub affinity: Affinity,
    /// How evenly Tasks are spread over nodes; all of them hold.
    #[serde(default, skip_serializing_if = "is_default")]
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Which of the nodes that can take it: `spread`, `binpack`, `round-robin`, `greedy` or `e-pvm`; default: the
    /// cluster's (`cube up --scheduling-policy`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub scheduling_policy: Option<SchedulingPolicy>,
    /// Taints that this Task puts up with.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tolerations: Vec<Toleration>,
    /// Higher goes first, and takes the place of lower where it fits nowhere else; default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = 0))]
    pub priority: i32,
    /// Whether it may take the place of Tasks of lower priority: `PreemptLowerPriority` (default) or `Never`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "PreemptLowerPriority"))]
    pub preemption_policy: PreemptionPolicy,
}

/// Default of `terminationGracePeriodSeconds`, in seconds.
pub const DEFAULT_GRACE_SECONDS: u32 = 30;

fn default_grace() -> u32 {
    DEFAULT_GRACE_SECONDS
}

fn is_default_grace(seconds: &u32) -> bool {
    *seconds == DEFAULT_GRACE_SECONDS
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// Only when the engine does not have it.
    #[default]
    IfNotPresent,
    /// Before every start.
    Always,
    /// Never: the engine must have it.
    Never,
}

/// What happens when a container ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RestartPolicy {
    /// It is started again, whatever its exit code.
    #[default]
    Always,
    /// It is started again unless its exit code was 0.
    OnFailure,
    /// The Task is over.
    Never,
}

/// The network that a container is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum NetworkMode {
    /// The namespace's: Tasks find one another by name.
    #[default]
    Namespace,
    /// The machine's own.
    Host,
    /// None.
    None,
}

/// One environment variable.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EnvVar {
    /// Its name.
    #[schemars(extend("format" = "env-name"))]
    pub name: String,
    /// Its value; default: empty.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value: String,
}

/// A port that the program listens on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Port {
    /// A name for it. Example: `http`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("format" = "dns-label"))]
    pub name: Option<String>,
    /// The port inside the container.
    #[schemars(range(min = 1))]
    pub container_port: u16,
    /// `TCP` (default) or `UDP`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "TCP"))]
    pub protocol: Protocol,
    /// The machine's port that leads to it; 0: Cube chooses one and `status.ports` shows it; absent: none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host_port: Option<u16>,
    /// The machine's address that it is published on; default: what `--publish-address` says.
    #[serde(default, skip_serializing_if = "is_default", rename = "hostIP")]
    pub host_ip: Option<String>,
}

/// A transport protocol.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// A volume: exactly one of `hostPath`, `volume` and `emptyDir`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Volume {
    /// The name that `volumeMounts` use.
    #[schemars(extend("format" = "dns-label"))]
    pub name: String,
    /// A file or directory of the machine, which must exist.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host_path: Option<HostPath>,
    /// A named volume of the engine: made when it is missing, never removed with the Task.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("format" = "dns-subdomain"))]
    pub volume: Option<String>,
    /// An empty directory that lives as long as the Task.
    #[serde(default, skip_serializing_if = "is_default")]
    pub empty_dir: Option<EmptyDir>,
}

/// A path of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HostPath {
    /// The path.
    #[schemars(extend("format" = "absolute-path"))]
    pub path: String,
}

/// An empty directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EmptyDir {
    /// Absent for the disk, `Memory` for memory.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "Disk"))]
    pub medium: Medium,
    /// At most so much (of `medium: Memory` only).
    #[serde(default, skip_serializing_if = "is_default")]
    pub size_limit: Option<Quantity>,
}

/// What an empty directory is made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Medium {
    /// The engine's disk.
    #[default]
    Disk,
    /// Memory; emptied with each container.
    Memory,
}

/// Where a volume is mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct VolumeMount {
    /// Name of one of `volumes`.
    pub name: String,
    /// Where, inside the container.
    #[schemars(extend("format" = "absolute-path"))]
    pub mount_path: String,
    /// Whether the container must not write to it.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = false))]
    pub read_only: bool,
    /// A path inside the volume instead of all of it; cannot lead out of it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub sub_path: Option<String>,
}

/// What a Task needs, and what it may use at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceRequirements {
    /// What it needs; a node must have so much free. Default: the limits.
    #[serde(default, skip_serializing_if = "is_default")]
    pub requests: ResourceAmounts,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub limits: ResourceAmounts,
}

/// Amounts of CPU, memory and disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourceAmounts {
    /// CPUs. Examples: `500m`, `2`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cpu: Option<Quantity>,
    /// Bytes of memory. Examples: `64Mi`, `2Gi`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub memory: Option<Quantity>,
    /// Bytes of the engine's disk, in `requests` only: no engine holds a container to less. Example: `10Gi`.
    #[serde(default, skip_serializing_if = "is_default", rename = "ephemeral-storage")]
    pub ephemeral_storage: Option<Quantity>,
}

impl ResourceRequirements {
    /// Thousandths of a CPU that a node must have free.
    pub fn cpu_request_milli(&self) -> u64 {
        self.requests
            .cpu
            .as_ref()
            .or(self.limits.cpu.as_ref())
            .map_or(0, Quantity::milli)
    }

    /// Bytes of memory that a node must have free.
    pub fn memory_request(&self) -> u64 {
        self.requests
            .memory
            .as_ref()
            .or(self.limits.memory.as_ref())
            .map_or(0, Quantity::units)
    }

    /// Bytes of disk that a node must have free.
    pub fn disk_request(&self) -> u64 {
        self.requests.ephemeral_storage.as_ref().map_or(0, Quantity::units)
    }
}

/// A taint that a Task puts up with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Toleration {
    /// Key of the taint; absent: every key (with `operator: Exists`).
    #[serde(default, skip_serializing_if = "is_default")]
    pub key: String,
    /// `Equal` (default) or `Exists`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "Equal"))]
    pub operator: TolerationOperator,
    /// Value of the taint, for `Equal`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value: String,
    /// Effect of the taint; absent: every effect.
    #[serde(default, skip_serializing_if = "is_default")]
    pub effect: Option<TaintEffect>,
    /// For so many seconds it stays on a node that has the taint (with `effect: NoExecute`); absent: for ever. Nodes that
    /// are lost have `cube/unreachable:NoExecute`, those without their engine `cube/not-ready:NoExecute`; both are
    /// tolerated for 30 s where nothing is said of them.
    #[serde(default, skip_serializing_if = "is_default")]
    pub toleration_seconds: Option<u64>,
}

/// How a toleration matches a taint's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TolerationOperator {
    /// The values are equal.
    #[default]
    Equal,
    /// Any value.
    Exists,
}

/// What is seen of a Task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskStatus {
    /// Where it is in its life.
    #[serde(default, skip_serializing_if = "is_default")]
    pub phase: Phase,
    /// The node that it was given to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub node: Option<String>,
    /// The node on which others make room for it; none once it has a node.
    #[serde(default, skip_serializing_if = "is_default")]
    pub nominated_node: Option<String>,
    /// Begins anew with each binding; what a worker reports of an older one is refused.
    #[serde(default, skip_serializing_if = "is_default")]
    pub epoch: u64,
    /// The engine's id of the container.
    #[serde(default, skip_serializing_if = "is_default", rename = "containerID")]
    pub container_id: Option<String>,
    /// Hash of what formed the container that this tells of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hash: String,
    /// The engine's id of the image.
    #[serde(default, skip_serializing_if = "is_default", rename = "imageID")]
    pub image_id: Option<String>,
    /// Addresses of the container.
    #[serde(default, skip_serializing_if = "is_default")]
    pub addresses: Vec<String>,
    /// Ports of the machine that lead to the container.
    #[serde(default, skip_serializing_if = "is_default")]
    pub ports: Vec<PortStatus>,
    /// How often it was started again.
    #[serde(default, skip_serializing_if = "is_default")]
    pub restarts: u64,
    /// Failures in a row, for the back-off; forgotten after ten minutes without one.
    #[serde(default, skip_serializing_if = "is_default")]
    pub failures: u64,
    /// When the container was started (UTC).
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// When the Task was over (UTC).
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// Exit code of a Task that is over.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exit_code: Option<i64>,
    /// Why it is as it is, in one word.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reason: String,
    /// Why it is as it is, for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// How the last container ended.
    #[serde(default, skip_serializing_if = "is_default")]
    pub last_termination: Option<Termination>,
    /// What its probes were answered.
    #[serde(default, skip_serializing_if = "is_default")]
    pub probes: Vec<ProbeStatus>,
    /// Why it is to leave its node, if it is.
    #[serde(default, skip_serializing_if = "is_default")]
    pub eviction: Option<Eviction>,
    /// `Ready` and others.
    #[serde(default, skip_serializing_if = "is_default")]
    pub conditions: Vec<Condition>,
    /// The generation that this was said of.
    #[serde(default, skip_serializing_if = "is_default")]
    pub observed_generation: u64,
}

/// A Task is to leave its node, and run on another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Eviction {
    /// Why, in one word: `Drained`, `Tainted`, `Preempted`, `Rebalanced`.
    pub reason: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// Its container runs on until its Deployment has another Task in its place, and then goes with this one; else it is
    /// stopped at once.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after_replacement: bool,
}

impl TaskStatus {
    /// Whether the Task's container is to be stopped now, for the Task to run elsewhere.
    pub fn leaves_now(&self) -> bool {
        self.eviction
            .as_ref()
            .is_some_and(|eviction| !eviction.after_replacement)
    }

    /// The status as it is when it has been stored and read again: its times have whole seconds.
    #[must_use]
    pub fn in_whole_seconds(mut self) -> Self {
        let mut times = vec![&mut self.started_at, &mut self.finished_at];
        if let Some(last) = &mut self.last_termination {
            times.extend([&mut last.started_at, &mut last.finished_at]);
        }
        times.extend(
            self.conditions
                .iter_mut()
                .map(|condition| &mut condition.last_transition_time),
        );
        times.extend(self.probes.iter_mut().map(|probe| &mut probe.since));
        for time in times {
            *time = time.and_then(|at| Timestamp::from_second(at.as_second()).ok());
        }
        self
    }
}

/// Where a Task is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// No node has it.
    #[default]
    Pending,
    /// A node has it; its container does not run.
    Scheduled,
    /// Its container runs.
    Running,
    /// Over, with success.
    Completed,
    /// Over, without.
    Failed,
}

impl Phase {
    /// Whether the Task is over.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::Failed)
    }
}

/// A port of the machine that leads to the container.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PortStatus {
    /// The port inside the container.
    pub container_port: u16,
    /// Its protocol.
    #[serde(default, skip_serializing_if = "is_default")]
    pub protocol: Protocol,
    /// The machine's port.
    pub host_port: u16,
    /// The machine's address.
    #[serde(default, skip_serializing_if = "is_default", rename = "hostIP")]
    pub host_ip: String,
}

/// How a container ended.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Termination {
    /// Exit code; absent when there is none, as for a container that someone removed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exit_code: Option<i64>,
    /// `Completed`, `Error`, `OOMKilled`, `Removed`, …
    #[serde(default, skip_serializing_if = "is_default")]
    pub reason: String,
    /// More, for people.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// The engine's id of the container.
    #[serde(default, skip_serializing_if = "is_default", rename = "containerID")]
    pub container_id: Option<String>,
    /// When it had started (UTC).
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub started_at: Option<Timestamp>,
    /// When it ended (UTC).
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub finished_at: Option<Timestamp>,
    /// Its last lines of output, 20 at most.
    #[serde(default, skip_serializing_if = "is_default")]
    pub log: Vec<String>,
}

//! Probes: how it is asked whether a container does its work; names, meanings and defaults are Kubernetes'.
use std::{borrow::Cow, collections::BTreeMap};

use jiff::Timestamp;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{is_default, task::TaskSpec};

/// A question that is asked of a container again and again: exactly one of `httpGet`, `tcpSocket` and `exec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Probe {
    /// An HTTP request; an answer from 200 to 399 is good.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http_get: Option<HttpGet>,
    /// A TCP connection; that it can be opened is good.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tcp_socket: Option<TcpSocket>,
    /// A program that is run in the container; exit code 0 is good.
    #[serde(default, skip_serializing_if = "is_default")]
    pub exec: Option<ExecAction>,
    /// Seconds from the container's start to the first question; default 0.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(max = 86400))]
    #[schemars(extend("default" = 0))]
    pub initial_delay_seconds: u32,
    /// Seconds after which a question without an answer has failed; default 1.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 86400))]
    #[schemars(extend("default" = 1))]
    pub timeout_seconds: u32,
    /// Seconds from one question to the next; default 10. Until a startup or readiness probe has first succeeded it is
    /// asked more often, and failures in between do not count.
    #[serde(default = "ten", skip_serializing_if = "is_ten")]
    #[schemars(range(min = 1, max = 86400))]
    #[schemars(extend("default" = 10))]
    pub period_seconds: u32,
    /// So many good answers in a row are a success; default 1, and always 1 for startup and liveness probes.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    #[schemars(range(min = 1, max = 1000))]
    #[schemars(extend("default" = 1))]
    pub success_threshold: u32,
    /// So many failures in a row are a failure; default 3.
    #[serde(default = "three", skip_serializing_if = "is_three")]
    #[schemars(range(min = 1, max = 1000))]
    #[schemars(extend("default" = 3))]
    pub failure_threshold: u32,
    /// Seconds between the signal to stop and the kill when this probe has failed; default: the Task's. Of startup and
    /// liveness probes only.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(range(max = 86400))]
    pub termination_grace_period_seconds: Option<u32>,
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            http_get: None,
            tcp_socket: None,
            exec: None,
            initial_delay_seconds: 0,
            timeout_seconds: one(),
            period_seconds: ten(),
            success_threshold: one(),
            failure_threshold: three(),
            termination_grace_period_seconds: None,
        }
    }
}

fn one() -> u32 {
    1
}

fn is_one(seconds: &u32) -> bool {
    *seconds == one()
}

fn three() -> u32 {
    3
}

fn is_three(times: &u32) -> bool {
    *times == three()
}

fn ten() -> u32 {
    10
}

fn is_ten(seconds: &u32) -> bool {
    *seconds == ten()
}

/// An HTTP request that is a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpGet {
    /// Path and query; default `/`. Example: `/healthz`.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "/"))]
    pub path: Option<String>,
    /// The container's port, or the name of one of `ports`.
    pub port: PortReference,
    /// Another address than the container's own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host: Option<String>,
    /// `HTTP` (default) or `HTTPS`, whose certificate is not looked at.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schemars(extend("default" = "HTTP"))]
    pub scheme: Scheme,
    /// Headers of the request.
    #[serde(default, skip_serializing_if = "is_default")]
    pub http_headers: Vec<HttpHeader>,
}

/// How a request is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Scheme {
    /// In the clear.
    #[default]
    Http,
    /// Over TLS.
    Https,
}

/// A header of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HttpHeader {
    /// Its name. Example: `Host`.
    pub name: String,
    /// Its value.
    #[serde(default, skip_serializing_if = "is_default")]
    pub value: String,
}

/// A TCP connection that is a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TcpSocket {
    /// The container's port, or the name of one of `ports`.
    pub port: PortReference,
    /// Another address than the container's own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub host: Option<String>,
}

/// A program that is a probe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ExecAction {
    /// The program and its arguments; no shell is around it. Example: `[pg_isready, -q]`.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
}

/// A port of a container, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortReference {
    /// By number.
    Number(u16),
    /// By the name that `ports` gives it.
    Name(String),
}

impl Default for PortReference {
    fn default() -> Self {
        Self::Number(0)
    }
}

impl PortReference {
    /// The port's number; none where no port has that name.
    pub fn number(&self, spec: &TaskSpec) -> Option<u16> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Name(name) => {
                let mut ports = spec.ports.iter();
                ports
                    .find(|port| port.name.as_ref() == Some(name))
                    .map(|port| port.container_port)
            }
        }
    }
}

impl Serialize for PortReference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(number) => serializer.serialize_u16(*number),
            Self::Name(name) => serializer.serialize_str(name),
        }
    }
}

impl<'de> Deserialize<'de> for PortReference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u16),
            Name(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(0) => Err(de::Error::custom("0 is no port")),
            Written::Number(number) => Ok(Self::Number(number)),
            Written::Name(name) => Ok(Self::Name(name)),
        }
    }
}

impl JsonSchema for PortReference {
    fn schema_name() -> Cow<'static, str> {
        "PortReference".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A port's number, or the name that `ports` gives it. Examples: 8080, http.",
            "anyOf": [{ "type": "integer", "minimum": 1, "maximum": 65535 }, { "type": "string", "format": "dns-label" }],
        })
    }
}

/// What becomes of the `HEALTHCHECK` of an image, where the Task has no probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ImageHealthcheck {
    /// It is run: it makes the Task ready, and the container is started again when it fails.
    #[default]
    Use,
    /// It is not run.
    Ignore,
}

/// Which question.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ProbeKind {
    /// Whether it has started; until then the others are not asked.
    #[default]
    Startup,
    /// Whether it lives; if not, it is started again.
    Liveness,
    /// Whether it does its work now.
    Readiness,
    /// The image's own `HEALTHCHECK`: both of the latter.
    Healthcheck,
}

impl ProbeKind {
    /// As people call it.
    pub fn shown(self) -> &'static str {
        match self {
            Self::Startup => "startup probe",
            Self::Liveness => "liveness probe",
            Self::Readiness => "readiness probe",
            Self::Healthcheck => "the image's HEALTHCHECK",
        }
    }
}

/// What is known of one probe of the container that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ProbeStatus {
    /// Which.
    pub probe: ProbeKind,
    /// What its last answers come to.
    #[serde(default, skip_serializing_if = "is_default")]
    pub result: ProbeResult,
    /// What was answered, when this was first answered in a row; `HTTP 503: no database`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub message: String,
    /// Since when it is answered so (UTC, the node's clock).
    #[serde(default, skip_serializing_if = "is_default", with = "crate::meta::time::optional")]
    #[schemars(with = "Option<String>")]
    pub since: Option<Timestamp>,
}

/// What a probe's answers come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ProbeResult {
    /// Too few answers yet.
    #[default]
    Unknown,
    /// As many good ones in a row as are wanted.
    Success,
    /// As many failures in a row as are put up with.
    Failure,
}

/// An image's `HEALTHCHECK`, with what it leaves open as Docker means it. Times are in milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Healthcheck {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// From one run to the next.
    pub interval_ms: u64,
    /// After which a run has failed.
    pub timeout_ms: u64,
    /// So long after the start failures do not count, until a run has first succeeded.
    pub start_period_ms: u64,
    /// So many failures in a row are a failure.
    pub retries: u32,
}

/// The probes of a Task, in the order in which they are shown.
pub fn of(spec: &TaskSpec) -> BTreeMap<ProbeKind, &Probe> {
    let all = [
        (ProbeKind::Startup, &spec.startup_probe),
        (ProbeKind::Liveness, &spec.liveness_probe),
        (ProbeKind::Readiness, &spec.readiness_probe),
    ];
    all.into_iter()
        .filter_map(|(kind, probe)| Some((kind, probe.as_ref()?)))
        .collect()
}

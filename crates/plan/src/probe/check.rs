//! What is asked of a container, and how often: a Task's probes, or else its image's `HEALTHCHECK`.
use std::time::Duration;

use cube_api::{
    probe::{self, Healthcheck, HttpHeader, ImageHealthcheck, Probe, ProbeKind, Scheme},
    task::TaskSpec,
};

/// Something that is asked again and again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What it decides.
    pub kind: ProbeKind,
    /// What is asked.
    pub action: Action,
    /// From the container's start to the first question.
    pub initial_delay: Duration,
    /// From one question that counts to the next.
    pub period: Duration,
    /// After which a question without an answer has failed.
    pub timeout: Duration,
    /// So many good answers in a row are a success.
    pub success_threshold: u32,
    /// So many failures in a row are a failure.
    pub failure_threshold: u32,
    /// So long after the container's start failures do not count, until it has first succeeded.
    pub lenient: Duration,
    /// Seconds between the signal to stop and the kill when it has failed, if not the Task's.
    pub grace: Option<u32>,
}

/// One question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// A request.
    Http {
        /// Another address than the container's own.
        host: Option<String>,
        /// The port; none where no port has the name that was given.
        port: Option<u16>,
        /// Over TLS or not.
        scheme: Scheme,
        /// Path and query.
        path: String,
        /// Headers.
        headers: Vec<HttpHeader>,
    },
    /// A connection.
    Tcp {
        /// Another address than the container's own.
        host: Option<String>,
        /// The port; none where no port has the name that was given.
        port: Option<u16>,
    },
    /// A program in the container.
    Exec {
        /// The program and its arguments.
        command: Vec<String>,
    },
}

/// Whether the Task's image has to be looked at to know what is to be asked.
pub fn depends_on_image(spec: &TaskSpec) -> bool {
    spec.image_healthcheck == ImageHealthcheck::Use && probe::of(spec).is_empty()
}

/// What is asked of a Task's container; `image` is what its image says.
pub fn checks(spec: &TaskSpec, image: Option<&Healthcheck>) -> Vec<Check> {
    if depends_on_image(spec) {
        return image.map(of_image).into_iter().collect();
    }
    let probes = probe::of(spec).into_iter();
    probes.filter_map(|(kind, probe)| of_probe(spec, kind, probe)).collect()
}

fn of_probe(spec: &TaskSpec, kind: ProbeKind, probe: &Probe) -> Option<Check> {
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    let action = match (&probe.http_get, &probe.tcp_socket, &probe.exec) {
        (Some(http), ..) => Action::Http {
            host: http.host.clone(),
            port: http.port.number(spec),
            scheme: http.scheme,
            path: http
                .path
                .clone()
                .filter(|path| !path.is_empty())
                .unwrap_or_else(|| "/".to_owned()),
            headers: http.http_headers.clone(),
        },
        (_, Some(tcp), _) => Action::Tcp {
            host: tcp.host.clone(),
            port: tcp.port.number(spec),
        },
        (.., Some(exec)) => Action::Exec {
            command: exec.command.clone(),
        },
        // Admission refuses it.
        (None, None, None) => return None,
    };
    Some(Check {
        kind,
        action,
        initial_delay: seconds(probe.initial_delay_seconds),
        period: seconds(probe.period_seconds.max(1)),
        timeout: seconds(probe.timeout_seconds.max(1)),
        success_threshold: probe.success_threshold.max(1),
        failure_threshold: probe.failure_threshold.max(1),
        lenient: Duration::ZERO,
        grace: probe.termination_grace_period_seconds,
    })
}

fn of_image(image: &Healthcheck) -> Check {
    // An engine takes intervals down to a millisecond, which would do nothing but run probes.
    let least = Duration::from_secs(1);
    Check {
        kind: ProbeKind::Healthcheck,
        action: Action::Exec {
            command: image.command.clone(),
        },
        initial_delay: Duration::ZERO,
        period: Duration::from_millis(image.interval_ms).max(least),
        timeout: Duration::from_millis(image.timeout_ms).max(Duration::from_millis(1)),
        success_threshold: 1,
        failure_threshold: image.retries.max(1),
        lenient: Duration::from_millis(image.start_period_ms),
        grace: None,
    }
}

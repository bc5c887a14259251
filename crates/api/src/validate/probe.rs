//! Rules of probes.
use crate::{
    error::{FieldError, FieldPath, Reason},
    probe::{PortReference, Probe},
    task::{NetworkMode, Protocol, TaskSpec},
};

/// Rules of a Task's probes.
pub(super) fn task_spec(spec: &TaskSpec, path: &FieldPath, errors: &mut Vec<FieldError>) {
    for (name, probe, judges_life) in [
        ("startupProbe", &spec.startup_probe, true),
        ("livenessProbe", &spec.liveness_probe, true),
        ("readinessProbe", &spec.readiness_probe, false),
    ] {
        if let Some(probe) = probe {
            one(spec, probe, judges_life, &path.field(name), errors);
        }
    }
}

fn one(spec: &TaskSpec, probe: &Probe, judges_life: bool, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let actions = usize::from(probe.http_get.is_some())
        + usize::from(probe.tcp_socket.is_some())
        + usize::from(probe.exec.is_some());
    if actions != 1 {
        let message = "must have exactly one of httpGet, tcpSocket, exec";
        errors.push(FieldError::new(path.clone(), Reason::Required, message));
    }
    if judges_life && probe.success_threshold != 1 {
        let message = "must be 1: a container that has answered once has started, and lives";
        errors.push(FieldError::new(
            path.field("successThreshold"),
            Reason::Invalid,
            message,
        ));
    }
    if !judges_life && probe.termination_grace_period_seconds.is_some() {
        let message = "cannot be set here: a readiness probe stops nothing";
        let at = path.field("terminationGracePeriodSeconds");
        errors.push(FieldError::new(at, Reason::Forbidden, message));
    }
    if let Some(http) = &probe.http_get {
        let at = path.field("httpGet");
        address(spec, &http.port, http.host.as_deref(), &at, errors);
        if let Some(wrong) = http.path.as_deref().and_then(wrong_path) {
            errors.push(FieldError::new(at.field("path"), Reason::Invalid, wrong));
        }
        for (index, header) in http.http_headers.iter().enumerate() {
            let at = at.field("httpHeaders").index(index);
            if !is_header_name(&header.name) {
                let message = format!("`{}` is not the name of a header", header.name);
                errors.push(FieldError::new(at.field("name"), Reason::Invalid, message));
            }
            if header.value.chars().any(|letter| letter.is_control() && letter != '\t') {
                let message = "must be one line of text";
                errors.push(FieldError::new(at.field("value"), Reason::Invalid, message));
            }
        }
    }
    if let Some(tcp) = &probe.tcp_socket {
        address(spec, &tcp.port, tcp.host.as_deref(), &path.field("tcpSocket"), errors);
    }
    for (index, word) in probe.exec.iter().flat_map(|exec| &exec.command).enumerate() {
        let at = || path.field("exec").field("command").index(index);
        if word.contains('\0') {
            errors.push(FieldError::new(
                at(),
                Reason::Invalid,
                "must not contain a NUL character",
            ));
        }
        if index == 0 && word.is_empty() {
            errors.push(FieldError::new(at(), Reason::Invalid, "must name a program"));
        }
    }
}

/// Where something is asked: a port that there is, on a network that there is.
fn address(spec: &TaskSpec, port: &PortReference, host: Option<&str>, path: &FieldPath, errors: &mut Vec<FieldError>) {
    if let PortReference::Name(name) = port {
        let named = spec.ports.iter().find(|port| port.name.as_ref() == Some(name));
        let known: Vec<&str> = spec.ports.iter().filter_map(|port| port.name.as_deref()).collect();
        let message = match (named, known.as_slice()) {
            (Some(port), _) if port.protocol == Protocol::Tcp => None,
            (Some(_), _) => Some(format!("port `{name}` is UDP, which no probe speaks")),
            (None, []) => Some(format!("there is no port `{name}`: none of spec.ports has a name")),
            (None, known) => Some(format!("there is no port `{name}`; there are: {}", known.join(", "))),
        };
        if let Some(message) = message {
            errors.push(FieldError::new(path.field("port"), Reason::NotFound, message));
        }
    }
    match host {
        None if spec.network == NetworkMode::None => {
            let message = "cannot be asked with `network: none`: the container has no address (use exec)";
            errors.push(FieldError::new(path.clone(), Reason::Forbidden, message));
        }
        Some("") => {
            let message = "must not be empty (leave it out for the container's own address)";
            errors.push(FieldError::new(path.field("host"), Reason::Invalid, message));
        }
        Some(host)
            if host
                .chars()
                .any(|letter| letter.is_whitespace() || letter.is_control() || "/@?#".contains(letter)) =>
        {
            let message = "must be a host name or an IP address";
            errors.push(FieldError::new(path.field("host"), Reason::Invalid, message));
        }
        _ => {}
    }
}

/// What is wrong with a path and query, if anything.
fn wrong_path(path: &str) -> Option<&'static str> {
    if !path.is_empty() && !path.starts_with('/') {
        return Some("must begin with `/`");
    }
    let fine = |letter: char| letter.is_ascii_graphic() && letter != '#';
    (!path.chars().all(fine))
        .then_some("must be as it is sent: without spaces, `#` or letters beyond ASCII (`%20` for a space)")
}

/// Whether it is a token, as RFC 9110 has it.
fn is_header_name(name: &str) -> bool {
    let token = |letter: char| letter.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(letter);
    !name.is_empty() && name.chars().all(token)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wrong(spec: Value) -> Vec<String> {
        let mut errors = Vec::new();
        let spec: TaskSpec = serde_json::from_value(spec).unwrap();
        task_spec(&spec, &FieldPath::root(), &mut errors);
        errors.iter().map(|error| error.path.to_string()).collect()
    }

    #[test]
    fn a_probe_asks_one_thing_that_can_be_asked() {
        let ports =
            json!([{ "name": "web", "containerPort": 80 }, { "name": "dns", "containerPort": 53, "protocol": "UDP" }]);
        for (probe, paths) in [
            (json!({ "httpGet": { "port": "web", "path": "/ok?deep=1" } }), vec![]),
            (json!({ "tcpSocket": { "port": 5432 } }), vec![]),
            (json!({ "exec": { "command": ["true"] } }), vec![]),
            (json!({}), vec!["livenessProbe"]),
            (
                json!({ "exec": { "command": ["true"] }, "tcpSocket": { "port": 1 } }),
                vec!["livenessProbe"],
            ),
            (
                json!({ "tcpSocket": { "port": "wbe" } }),
                vec!["livenessProbe.tcpSocket.port"],
            ),
            (
                json!({ "httpGet": { "port": "dns" } }),
                vec!["livenessProbe.httpGet.port"],
            ),
            (
                json!({ "httpGet": { "port": 80, "path": "ok" } }),
                vec!["livenessProbe.httpGet.path"],
            ),
            (
                json!({ "httpGet": { "port": 80, "path": "/a b" } }),
                vec!["livenessProbe.httpGet.path"],
            ),
            (
                json!({ "httpGet": { "port": 80, "httpHeaders": [{ "name": "a b", "value": "x\ny" }] } }),
                vec![
                    "livenessProbe.httpGet.httpHeaders[0].name",
                    "livenessProbe.httpGet.httpHeaders[0].value",
                ],
            ),
            (
                json!({ "httpGet": { "port": 80, "host": "a/b" } }),
                vec!["livenessProbe.httpGet.host"],
            ),
            (
                json!({ "exec": { "command": ["true"] }, "successThreshold": 2 }),
                vec!["livenessProbe.successThreshold"],
            ),
            (
                json!({ "exec": { "command": [""] } }),
                vec!["livenessProbe.exec.command[0]"],
            ),
        ] {
            assert_eq!(
                wrong(json!({ "image": "x", "ports": ports, "livenessProbe": probe })),
                paths,
                "{probe}"
            );
        }
    }

    #[test]
    fn a_container_without_a_network_is_asked_by_a_program_alone() {
        let readiness = |probe: Value| wrong(json!({ "image": "x", "network": "none", "readinessProbe": probe }));
        assert_eq!(
            readiness(json!({ "tcpSocket": { "port": 80 } })),
            ["readinessProbe.tcpSocket"]
        );
        assert!(readiness(json!({ "exec": { "command": ["true"] } })).is_empty());
        assert_eq!(
            readiness(json!({ "exec": { "command": ["true"] }, "terminationGracePeriodSeconds": 3 })),
            ["readinessProbe.terminationGracePeriodSeconds"]
        );
        assert!(readiness(json!({ "exec": { "command": ["true"] }, "successThreshold": 3 })).is_empty());
    }
}

//! What a shape cannot say: rules between fields, and names that must be unique.
mod placement;
mod probe;

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    deployment::{Deployment, IntOrPercent, StrategyType},
    error::{FieldError, FieldPath, Reason},
    meta::{OWN_PREFIX, ObjectMeta},
    quantity::Quantity,
    task::{Medium, NetworkMode, Port, RestartPolicy, Task, TaskSpec, Volume},
};

/// Rules of a Task beyond its shape.
pub fn task(task: &Task) -> Vec<FieldError> {
    let mut errors = metadata(&task.metadata);
    task_spec(&task.spec, &FieldPath::root().field("spec"), &mut errors);
    errors
}

/// Rules of a Deployment beyond its shape.
pub fn deployment(deployment: &Deployment) -> Vec<FieldError> {
    let mut errors = metadata(&deployment.metadata);
    let spec = FieldPath::root().field("spec");
    let template = spec.field("template");
    labels(
        &deployment.spec.template.metadata.labels,
        &template.field("metadata").field("labels"),
        &mut errors,
    );
    task_spec(&deployment.spec.template.spec, &template.field("spec"), &mut errors);
    let selector = &deployment.spec.selector;
    placement::label_selector(selector, &spec.field("selector"), &mut errors);
    if !selector.is_empty() && !selector.matches(&deployment.spec.template.metadata.labels) {
        errors.push(FieldError::new(
            spec.field("selector"),
            Reason::Invalid,
            "must match the template's labels (or be left out: it is then made from the Deployment's name)",
        ));
    }
    if deployment.spec.template.spec.restart_policy != RestartPolicy::Always {
        errors.push(FieldError::new(
            template.field("spec").field("restartPolicy"),
            Reason::NotSupported,
            "must be Always in a Deployment: its Tasks are kept running (what runs once is a Task of its own)",
        ));
    }
    let strategy = &deployment.spec.strategy;
    let nothing = |bound: IntOrPercent| matches!(bound, IntOrPercent::Int(0) | IntOrPercent::Percent(0));
    let rolling = &strategy.rolling_update;
    if strategy.kind == StrategyType::RollingUpdate && nothing(rolling.max_surge) && nothing(rolling.max_unavailable) {
        errors.push(FieldError::new(
            spec.field("strategy").field("rollingUpdate").field("maxUnavailable"),
            Reason::Invalid,
            "cannot be 0 when maxSurge is 0: nothing could ever be replaced",
        ));
    }
    errors
}

/// Rules of metadata that people write.
pub fn metadata(meta: &ObjectMeta) -> Vec<FieldError> {
    let path = FieldPath::root().field("metadata");
    let mut errors = Vec::new();
    labels(&meta.labels, &path.field("labels"), &mut errors);
    owners(meta, &path.field("ownerReferences"), &mut errors);
    let size: usize = meta
        .annotations
        .iter()
        .map(|(key, value)| key.len() + value.len())
        .sum();
    if size > 256 * 1024 {
        errors.push(FieldError::new(
            path.field("annotations"),
            Reason::TooLong,
            "must not hold more than 256 KiB",
        ));
    }
    errors
}

fn owners(meta: &ObjectMeta, path: &FieldPath, errors: &mut Vec<FieldError>) {
    for (index, owner) in meta.owner_references.iter().enumerate() {
        // An owner that cannot be told from a namesake would be taken for gone.
        if owner.uid.is_empty() {
            let message = "must not be empty: it says which object of that name is meant";
            errors.push(FieldError::new(
                path.index(index).field("uid"),
                Reason::Required,
                message,
            ));
        }
    }
    if meta.owner_references.iter().filter(|owner| owner.controller).count() > 1 {
        let message = "only one owner can have `controller: true`";
        errors.push(FieldError::new(path.clone(), Reason::Invalid, message));
    }
}

fn labels(labels: &BTreeMap<String, String>, path: &FieldPath, errors: &mut Vec<FieldError>) {
    for (key, value) in labels {
        if key.starts_with(OWN_PREFIX) {
            let message = format!("labels that begin with `{OWN_PREFIX}` are Cube's own");
            errors.push(FieldError::new(path.key(key), Reason::Forbidden, message));
        }
        for (text, format) in [(key, "label-key"), (value, "label-value")] {
            if let Some(format) = crate::shape::formats::find(format)
                && !(format.matches)(text)
            {
                errors.push(FieldError::new(
                    path.key(key),
                    Reason::Invalid,
                    format!("`{text}` is not {}", format.what),
                ));
            }
        }
    }
}

/// Whether an engine knows the signal: by name, with or without `SIG`, or by number.
fn is_signal(text: &str) -> bool {
    const NAMES: &[&str] = &[
        "HUP", "INT", "QUIT", "ILL", "TRAP", "ABRT", "IOT", "BUS", "FPE", "KILL", "USR1", "SEGV", "USR2", "PIPE",
        "ALRM", "TERM", "STKFLT", "CHLD", "CONT", "STOP", "TSTP", "TTIN", "TTOU", "URG", "XCPU", "XFSZ", "VTALRM",
        "PROF", "WINCH", "IO", "POLL", "PWR", "SYS",
    ];
    let name = text.strip_prefix("SIG").unwrap_or(text);
    let real_time = |rest: &str| matches!(rest.as_bytes(), [] | [b'+' | b'-', b'0'..=b'9', ..]);
    let is_real_time = ["RTMIN", "RTMAX"]
        .iter()
        .any(|limit| name.strip_prefix(limit).is_some_and(real_time));
    NAMES.contains(&name) || is_real_time || text.parse::<u8>().is_ok_and(|number| (1..=64).contains(&number))
}

fn task_spec(spec: &TaskSpec, path: &FieldPath, errors: &mut Vec<FieldError>) {
    if let Some(signal) = spec.stop_signal.as_deref().filter(|signal| !is_signal(signal)) {
        let wrong = "must be a signal: SIGTERM, SIGQUIT, …, or its number";
        errors.push(FieldError::invalid(path.field("stopSignal"), wrong).given(format!("{signal:?}")));
    }
    text(spec, path, errors);
    ports(spec, path, errors);
    volumes(spec, path, errors);
    placement::task_spec(spec, path, errors);
    probe::task_spec(spec, path, errors);
    let resources = path.field("resources");
    let (requests, limits) = (&spec.resources.requests, &spec.resources.limits);
    if limits.ephemeral_storage.is_some() {
        let at = resources.field("limits").field("ephemeral-storage");
        let message = "cannot be limited: no engine holds a container to it (ask for it in `requests`)";
        errors.push(FieldError::new(at, Reason::Forbidden, message));
    }
    for (name, request, limit) in [
        ("cpu", &requests.cpu, &limits.cpu),
        ("memory", &requests.memory, &limits.memory),
        ("ephemeral-storage", &requests.ephemeral_storage, &None),
    ] {
        for (part, amount) in [("requests", request), ("limits", limit)] {
            if amount.as_ref().is_some_and(|amount| amount.is_negative()) {
                let at = resources.field(part).field(name);
                errors.push(FieldError::new(at, Reason::Invalid, "must not be negative"));
            }
        }
        if let (Some(request), Some(limit)) = (request, limit)
            && request > limit
        {
            let message = format!("must not be more than the limit ({limit})");
            errors.push(FieldError::new(
                resources.field("requests").field(name),
                Reason::Invalid,
                message,
            ));
        }
    }
    // The engine's own floor.
    if limits
        .memory
        .as_ref()
        .is_some_and(|limit| limit.units() < 6 << 20 && !limit.is_negative())
    {
        let at = resources.field("limits").field("memory");
        errors.push(FieldError::new(
            at,
            Reason::Invalid,
            "must be at least 6Mi: no engine runs a container in less",
        ));
    }
}

fn text(spec: &TaskSpec, path: &FieldPath, errors: &mut Vec<FieldError>) {
    // Paths are made for errors alone: they cost more than all that is looked at.
    let mut no_nul = |at: &dyn Fn() -> FieldPath, text: &str| {
        if text.contains('\0') {
            errors.push(FieldError::new(
                at(),
                Reason::Invalid,
                "must not contain a NUL character",
            ));
        }
    };
    for (index, word) in spec.command.iter().enumerate() {
        no_nul(&|| path.field("command").index(index), word);
    }
    for (index, word) in spec.args.iter().enumerate() {
        no_nul(&|| path.field("args").index(index), word);
    }
    for (index, variable) in spec.env.iter().enumerate() {
        no_nul(&|| path.field("env").index(index).field("value"), &variable.value);
    }
    if let Some(user) = &spec.user {
        no_nul(&|| path.field("user"), user);
    }
    for (index, mount) in spec.volume_mounts.iter().enumerate() {
        if let Some(sub_path) = &mount.sub_path {
            no_nul(&|| path.field("volumeMounts").index(index).field("subPath"), sub_path);
        }
    }
    let mut names = BTreeSet::new();
    for (index, variable) in spec.env.iter().enumerate() {
        if !names.insert(&variable.name) {
            let at = path.field("env").index(index).field("name");
            errors.push(FieldError::new(
                at,
                Reason::Duplicate,
                format!("`{}` is set twice", variable.name),
            ));
        }
    }
    if spec.hostname.is_some() && spec.network == NetworkMode::Host {
        let message = "cannot be set with `network: host`: the container has the machine's host name";
        errors.push(FieldError::new(path.field("hostname"), Reason::Forbidden, message));
    }
}

fn ports(spec: &TaskSpec, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut names = BTreeSet::new();
    let mut inside = BTreeSet::new();
    let mut outside = BTreeSet::new();
    for (index, port) in spec.ports.iter().enumerate() {
        let at = || path.field("ports").index(index);
        let Port {
            name,
            container_port,
            protocol,
            host_port,
            host_ip,
        } = port;
        if let Some(name) = name
            && !names.insert(name)
        {
            errors.push(FieldError::new(
                at().field("name"),
                Reason::Duplicate,
                format!("port `{name}` is named twice"),
            ));
        }
        if !inside.insert((container_port, protocol)) {
            let message = format!("port {container_port} is listed twice");
            errors.push(FieldError::new(at().field("containerPort"), Reason::Duplicate, message));
        }
        if let Some(host_port) = host_port {
            if *host_port != 0 && !outside.insert((host_port, protocol, host_ip)) {
                let message = format!("the machine's port {host_port} is wanted twice");
                errors.push(FieldError::new(at().field("hostPort"), Reason::Duplicate, message));
            }
            if spec.network == NetworkMode::None {
                let message = "cannot be published with `network: none`";
                errors.push(FieldError::new(at().field("hostPort"), Reason::Forbidden, message));
            }
            if spec.network == NetworkMode::Host && host_port != container_port {
                let message = "must be the containerPort with `network: host`, or be left out";
                errors.push(FieldError::new(at().field("hostPort"), Reason::Invalid, message));
            }
        }
        if let Some(address) = host_ip {
            if address.parse::<std::net::IpAddr>().is_err() {
                let message = format!("`{address}` is not an IP address");
                errors.push(FieldError::new(at().field("hostIP"), Reason::Invalid, message));
            }
            if host_port.is_none() {
                errors.push(FieldError::new(
                    at().field("hostIP"),
                    Reason::Forbidden,
                    "needs a hostPort beside it",
                ));
            }
        }
    }
}

fn volumes(spec: &TaskSpec, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let mut names = BTreeSet::new();
    for (index, volume) in spec.volumes.iter().enumerate() {
        let at = || path.field("volumes").index(index);
        if !names.insert(volume.name.as_str()) {
            let message = format!("volume `{}` is named twice", volume.name);
            errors.push(FieldError::new(at().field("name"), Reason::Duplicate, message));
        }
        let Volume {
            host_path,
            volume: named,
            empty_dir,
            ..
        } = volume;
        let kinds = usize::from(host_path.is_some()) + usize::from(named.is_some()) + usize::from(empty_dir.is_some());
        if kinds != 1 {
            let message = "must have exactly one of hostPath, volume, emptyDir";
            errors.push(FieldError::new(at(), Reason::Required, message));
        }
        if empty_dir
            .as_ref()
            .is_some_and(|dir| dir.size_limit.is_some() && dir.medium != Medium::Memory)
        {
            let message = "is possible with `medium: Memory` only";
            errors.push(FieldError::new(
                at().field("emptyDir").field("sizeLimit"),
                Reason::Forbidden,
                message,
            ));
        }
        let limit = empty_dir.as_ref().and_then(|dir| dir.size_limit.as_ref());
        if limit.is_some_and(Quantity::is_negative) {
            let at = at().field("emptyDir").field("sizeLimit");
            errors.push(FieldError::new(at, Reason::Invalid, "must not be negative"));
        }
    }
    let mut places = BTreeSet::new();
    for (index, mount) in spec.volume_mounts.iter().enumerate() {
        let at = || path.field("volumeMounts").index(index);
        if !names.contains(mount.name.as_str()) {
            let known = names.iter().copied().collect::<Vec<_>>().join(", ");
            let message = match known.as_str() {
                "" => format!("there is no volume `{}`: spec.volumes is empty", mount.name),
                known => format!("there is no volume `{}`; there are: {known}", mount.name),
            };
            errors.push(FieldError::new(at().field("name"), Reason::NotFound, message));
        }
        if !places.insert(mount.mount_path.trim_end_matches('/')) {
            let message = format!("`{}` is mounted twice", mount.mount_path);
            errors.push(FieldError::new(at().field("mountPath"), Reason::Duplicate, message));
        }
        if mount
            .sub_path
            .as_deref()
            .is_some_and(|sub| sub.starts_with('/') || sub.split('/').any(|part| part == ".."))
        {
            let message = "must be a path inside the volume, without `..`";
            errors.push(FieldError::new(at().field("subPath"), Reason::Invalid, message));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owners_are_told_apart_and_one_controls() {
        let owner = |uid: &str, controller| crate::meta::OwnerReference {
            uid: uid.to_owned(),
            controller,
            ..crate::meta::OwnerReference::default()
        };
        let wrong = |owners: Vec<crate::meta::OwnerReference>| {
            let meta = ObjectMeta {
                owner_references: owners.into(),
                ..ObjectMeta::default()
            };
            let paths = metadata(&meta).into_iter().map(|error| error.path.to_string());
            paths.collect::<Vec<_>>()
        };
        assert!(wrong(vec![owner("a", true), owner("b", false)]).is_empty());
        assert_eq!(
            wrong(vec![owner("a", true), owner("b", true)]),
            ["metadata.ownerReferences"]
        );
        assert_eq!(wrong(vec![owner("", false)]), ["metadata.ownerReferences[0].uid"]);
    }

    #[test]
    fn signals_are_known_by_name_and_number() {
        for good in ["SIGTERM", "QUIT", "15", "64", "SIGRTMIN+3", "RTMAX-1", "RTMIN"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "SIG", "TERMINATE", "0", "65", "term", "SIGRTMINX"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}

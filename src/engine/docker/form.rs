//! From a container that is wished for to the request that makes it.
//!
//! Pure; what must be looked up first (sub paths) is handed in as [`Resolved`].
use std::collections::BTreeMap;

use bollard::models::{
    ContainerCreateBody, EndpointSettings, HealthConfig, HostConfig, HostConfigLogConfig, Mount as DockerMount,
    MountBindOptions, MountType, MountVolumeOptions, NetworkingConfig, PortBinding, PortMap, RestartPolicy,
    RestartPolicyNameEnum,
};

use crate::engine::{ContainerSpec, EngineError, Mount, MountSource, Network, Result};

/// The period over which the kernel accounts CPU time, its own default.
const CPU_PERIOD_MICROS: i64 = 100_000;
/// The least CPU time a period that engines take.
const LEAST_QUOTA_MICROS: i64 = 1_000;
/// The least memory that engines reserve.
const LEAST_RESERVATION: u64 = 6 << 20;
/// The bounds that the kernel sets to shares.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;
/// Ends a fork bomb before it takes the machine with it; far above what servers with a thread a request need.
const MOST_PROCESSES: i64 = 4096;
/// Docker gives these beyond what Kubernetes' baseline allows.
const DROPPED: [&str; 1] = ["NET_RAW"];

/// Where a mount's sub path leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resolved {
    /// There is none.
    Whole,
    /// To this path of the machine.
    Path(String),
    /// The engine looks for it itself, within the volume.
    InVolume(String),
}

/// The request for a container; `resolved` has an entry for each mount.
pub(super) fn body(spec: &ContainerSpec, resolved: Vec<Resolved>) -> Result<ContainerCreateBody> {
    let words = |words: &Option<Vec<String>>| words.clone().filter(|words| !words.is_empty());
    let host = spec.network == Network::Host;
    let mut config = host_config(spec);
    let mut tmpfs = BTreeMap::new();
    let mut mounts = Vec::new();
    for (mount, resolved) in spec.mounts.iter().zip(resolved) {
        match &mount.source {
            MountSource::Tmpfs { size_bytes } => {
                tmpfs.insert(mount.target.clone(), tmpfs_options(*size_bytes, mount.read_only));
            }
            _ => mounts.push(docker_mount(mount, resolved)),
        }
    }
    config.mounts = Some(mounts);
    config.tmpfs = Some(tmpfs.into_iter().collect());
    let published = matches!(spec.network, Network::Named { .. });
    config.port_bindings = published.then(|| port_bindings(spec));
    Ok(ContainerCreateBody {
        image: Some(spec.image.clone()),
        labels: Some(spec.labels.clone().into_iter().collect()),
        entrypoint: words(&spec.command),
        cmd: words(&spec.args),
        working_dir: spec.working_dir.clone(),
        env: Some(environment(spec)?),
        user: spec.user.clone(),
        hostname: spec.hostname.clone().filter(|_| !host),
        stop_signal: spec.stop_signal.clone(),
        healthcheck: Some(HealthConfig {
            test: Some(vec!["NONE".to_owned()]),
            ..HealthConfig::default()
        }),
        exposed_ports: published.then(|| spec.ports.iter().map(port_key).collect()),
        networking_config: match &spec.network {
            Network::Named { name, aliases } => Some(endpoint(name, aliases)),
            Network::Host | Network::None => None,
        },
        host_config: Some(config),
        ..ContainerCreateBody::default()
    })
}

fn host_config(spec: &ContainerSpec) -> HostConfig {
    let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
    // The engine refuses more than the limit, and so little that it would mean nothing.
    let reserved = spec
        .memory_request
        .map(|request| request.min(spec.memory_limit.unwrap_or(u64::MAX)))
        .filter(|request| *request >= LEAST_RESERVATION);
    HostConfig {
        network_mode: Some(match &spec.network {
            Network::Named { name, .. } => name.clone(),
            Network::Host => "host".to_owned(),
            Network::None => "none".to_owned(),
        }),
        init: Some(spec.init),
        // A quota may exceed what the machine has, which the engine's shorter way to say it (NanoCpus) may not.
        cpu_period: spec.cpu_millis_limit.map(|_| CPU_PERIOD_MICROS),
        cpu_quota: spec.cpu_millis_limit.map(|millis| {
            let micros = i64::try_from(millis)
                .unwrap_or(i64::MAX)
                .saturating_mul(CPU_PERIOD_MICROS / 1000);
            micros.max(LEAST_QUOTA_MICROS)
        }),
        cpu_shares: spec.cpu_millis_request.map(|millis| {
            let shares = millis.saturating_mul(1024) / 1000;
            bytes(shares.clamp(*SHARES.start(), *SHARES.end()))
        }),
        memory: spec.memory_limit.map(bytes),
        // The same for memory with swap: no swap.
        memory_swap: spec.memory_limit.map(bytes),
        memory_reservation: reserved.map(bytes),
        pids_limit: Some(MOST_PROCESSES),
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        cap_drop: Some(DROPPED.map(str::to_owned).to_vec()),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".to_owned()),
            config: Some(
                [("max-size", "10m"), ("max-file", "3")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
            ),
        }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        ..HostConfig::default()
    }
}

/// The last of a name, in the order in which the names came first.
fn environment(spec: &ContainerSpec) -> Result<Vec<String>> {
    let mut last: BTreeMap<&str, &str> = BTreeMap::new();
    let mut names = Vec::new();
    for (name, value) in &spec.env {
        if name.is_empty() || name.contains('=') {
            return Err(EngineError::InvalidSpec {
                field: "env".to_owned(),
                message: format!("{name:?} cannot be the name of a variable"),
            });
        }
        if last.insert(name, value).is_none() {
            names.push(name.as_str());
        }
    }
    Ok(names.into_iter().map(|name| format!("{name}={}", last[name])).collect())
}

fn port_key(port: &crate::engine::PortSpec) -> String {
    format!("{}/{}", port.container_port, port.protocol)
}

fn port_bindings(spec: &ContainerSpec) -> PortMap {
    let mut bindings = PortMap::new();
    for port in &spec.ports {
        let Some(host_port) = port.host_port else { continue };
        let binding = PortBinding {
            host_ip: port.host_ip.clone(),
            host_port: Some(host_port.to_string()),
        };
        bindings
            .entry(port_key(port))
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    bindings
}

fn endpoint(name: &str, aliases: &[String]) -> NetworkingConfig {
    NetworkingConfig {
        endpoints_config: Some([(name.to_owned(), settings(aliases))].into()),
    }
}

/// A container's place in a network, under these names.
pub(super) fn settings(aliases: &[String]) -> EndpointSettings {
    EndpointSettings {
        aliases: Some(aliases.to_vec()),
        ..EndpointSettings::default()
    }
}

/// As an empty directory on disk is, and unlike the engine's default, programs may be run from it.
fn tmpfs_options(size_bytes: Option<u64>, read_only: bool) -> String {
    let access = if read_only { "ro" } else { "rw" };
    let size = size_bytes.map(|size| format!(",size={size}")).unwrap_or_default();
    format!("{access},exec,nosuid,nodev,mode=1777{size}")
}

fn docker_mount(mount: &Mount, resolved: Resolved) -> DockerMount {
    let bind = |path: String| DockerMount {
        typ: Some(MountType::BIND),
        source: Some(path),
        bind_options: Some(MountBindOptions {
            create_mountpoint: Some(false),
            ..MountBindOptions::default()
        }),
        ..DockerMount::default()
    };
    let plain = match (&mount.source, resolved) {
        (_, Resolved::Path(path)) => bind(path),
        (MountSource::Bind(path), _) => bind(path.clone()),
        (MountSource::Volume(name) | MountSource::Scratch(name), resolved) => DockerMount {
            typ: Some(MountType::VOLUME),
            source: Some(name.clone()),
            volume_options: Some(MountVolumeOptions {
                no_copy: Some(matches!(mount.source, MountSource::Scratch(_))),
                subpath: match resolved {
                    Resolved::InVolume(path) => Some(path),
                    _ => None,
                },
                ..MountVolumeOptions::default()
            }),
            ..DockerMount::default()
        },
        (MountSource::Tmpfs { .. }, _) => DockerMount {
            typ: Some(MountType::TMPFS),
            ..DockerMount::default()
        },
    };
    DockerMount {
        target: Some(mount.target.clone()),
        read_only: Some(mount.read_only),
        ..plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{PortSpec, Protocol};

    fn config_of(spec: &ContainerSpec) -> HostConfig {
        let body = body(spec, vec![Resolved::Whole; spec.mounts.len()]).expect("a good spec");
        body.host_config.expect("a host config")
    }

    #[test]
    fn a_plain_container_gets_the_safe_defaults() {
        let config = config_of(&ContainerSpec::default());
        assert_eq!(config.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert_eq!(config.cap_drop, Some(vec!["NET_RAW".to_owned()]));
        assert_eq!(config.pids_limit, Some(4096));
        assert_eq!(config.network_mode.as_deref(), Some("none"));
        assert_eq!((config.memory, config.cpu_quota, config.cpu_shares), (None, None, None));
    }

    #[test]
    fn resources_stay_within_what_the_engine_takes() {
        let spec = |limit, request| ContainerSpec {
            cpu_millis_limit: Some(limit),
            cpu_millis_request: Some(request),
            memory_limit: Some(1 << 30),
            memory_request: Some(2 << 30),
            ..ContainerSpec::default()
        };
        let config = config_of(&spec(64_000, 500));
        assert_eq!((config.cpu_period, config.cpu_quota), (Some(100_000), Some(6_400_000)));
        assert_eq!(config.cpu_shares, Some(512));
        assert_eq!((config.memory, config.memory_swap), (Some(1 << 30), Some(1 << 30)));
        assert_eq!(config.memory_reservation, Some(1 << 30));
        let config = config_of(&spec(1, 0));
        assert_eq!((config.cpu_quota, config.cpu_shares), (Some(1000), Some(2)));
        let config = config_of(&spec(u64::MAX, u64::MAX));
        assert_eq!((config.cpu_quota, config.cpu_shares), (Some(i64::MAX), Some(262_144)));
    }

    #[test]
    fn the_last_variable_of_a_name_holds() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let spec = ContainerSpec {
            env: vec![pair("A", "1"), pair("B", "x=y"), pair("A", "2")],
            ..ContainerSpec::default()
        };
        assert_eq!(environment(&spec), Ok(vec!["A=2".to_owned(), "B=x=y".to_owned()]));
        let spec = ContainerSpec {
            env: vec![pair("A=B", "1")],
            ..ContainerSpec::default()
        };
        assert!(environment(&spec).is_err());
    }

    #[test]
    fn ports_are_published_on_named_networks_only() {
        let port = |container_port, host_port| PortSpec {
            container_port,
            protocol: Protocol::Udp,
            host_ip: None,
            host_port,
        };
        let mut spec = ContainerSpec {
            ports: vec![port(53, Some(0)), port(53, Some(5353)), port(80, None)],
            network: Network::Host,
            ..ContainerSpec::default()
        };
        assert_eq!(config_of(&spec).port_bindings, None);
        spec.network = Network::Named {
            name: "n".to_owned(),
            aliases: vec![],
        };
        let bindings = config_of(&spec).port_bindings.expect("bindings");
        assert_eq!(bindings.len(), 1);
        let ports: Vec<_> = bindings["53/udp"]
            .iter()
            .flatten()
            .filter_map(|binding| binding.host_port.as_deref())
            .collect();
        assert_eq!(ports, ["0", "5353"]);
    }
}

//! From an engine's answers to what Cube sees: containers, images, networks.
//!
//! Pure. A field that an old engine leaves out is taken for its emptiest value; a container without id or name is a bad answer.
use std::collections::BTreeMap;

use bollard::models::{
    ContainerInspectResponse, ContainerState, ContainerStateStatusEnum as Status, ContainerSummary,
    ContainerSummaryStateEnum as Listed, EndpointSettings, HealthConfig, ImageInspect, Ipam, PortMap, SystemInfo,
    SystemVersion,
};
use cube_api::probe::Healthcheck;
use jiff::Timestamp;

use crate::engine::reference::Reference;
use crate::engine::{
    Container, EngineError, EngineInfo, ImageInfo, NetworkInfo, Protocol, PublishedPort, Result, State,
};

/// What an inspection of a container says.
pub(super) fn inspected(answer: ContainerInspectResponse) -> Result<Container> {
    let state = answer.state.unwrap_or_default();
    let config = answer.config.unwrap_or_default();
    let settings = answer.network_settings.unwrap_or_default();
    let id = some(answer.id, "a container's id")?;
    let name = some(answer.name, "a container's name")?;
    Ok(Container {
        id,
        name: name.trim_start_matches('/').to_owned(),
        image: config.image.unwrap_or_default(),
        image_id: answer.image.unwrap_or_default(),
        labels: sorted(config.labels),
        pid: state
            .pid
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid != 0),
        layer: answer
            .graph_driver
            .and_then(|driver| driver.data.get("UpperDir").cloned()),
        addresses: addresses(settings.networks.unwrap_or_default().into_values()),
        ports: bound_ports(settings.ports.unwrap_or_default()),
        created_at: answer
            .created
            .as_deref()
            .and_then(moment)
            .unwrap_or(Timestamp::UNIX_EPOCH),
        started_at: state.started_at.as_deref().and_then(moment),
        finished_at: state.finished_at.as_deref().and_then(moment),
        state: state_of(state),
    })
}

fn state_of(state: ContainerState) -> State {
    match state.status.unwrap_or(Status::EMPTY) {
        Status::CREATED => State::Created,
        Status::RUNNING | Status::RESTARTING | Status::STOPPING => State::Running,
        Status::PAUSED => State::Paused,
        Status::REMOVING | Status::DEAD => State::Removing,
        Status::EXITED | Status::EMPTY => State::Exited {
            code: state.exit_code.unwrap_or_default(),
            oom_killed: state.oom_killed.unwrap_or_default(),
            error: state.error.unwrap_or_default(),
        },
    }
}

/// What a list says of a container; only its id for one that an inspection is needed for.
pub(super) fn listed(answer: ContainerSummary) -> Result<std::result::Result<Container, String>> {
    let id = some(answer.id, "a container's id")?;
    let state = match answer.state.unwrap_or(Listed::EMPTY) {
        Listed::CREATED => State::Created,
        Listed::RUNNING | Listed::RESTARTING | Listed::STOPPING => State::Running,
        _ => return Ok(Err(id)),
    };
    // A link gives a container further names, each beneath another container's.
    let own = |name: &&String| name.trim_start_matches('/').find('/').is_none();
    let Some(name) = answer.names.iter().flatten().find(own).cloned() else {
        return Ok(Err(id));
    };
    let ports = answer.ports.unwrap_or_default().into_iter();
    let mut ports: Vec<PublishedPort> = ports
        .filter_map(|port| {
            Some(PublishedPort {
                container_port: port.private_port,
                protocol: protocol(port.typ?.as_ref())?,
                host_ip: port.ip.unwrap_or_default(),
                host_port: port.public_port?,
            })
        })
        .collect();
    ports.sort();
    let networks = answer.network_settings.and_then(|settings| settings.networks);
    Ok(Ok(Container {
        id,
        name: name.trim_start_matches('/').to_owned(),
        image: answer.image.unwrap_or_default(),
        image_id: answer.image_id.unwrap_or_default(),
        labels: sorted(answer.labels),
        addresses: match state {
            State::Running => addresses(networks.unwrap_or_default().into_values()),
            _ => Vec::new(),
        },
        state,
        pid: None,
        layer: None,
        ports,
        created_at: answer
            .created
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .unwrap_or(Timestamp::UNIX_EPOCH),
        started_at: None,
        finished_at: None,
    }))
}

fn addresses(endpoints: impl Iterator<Item = EndpointSettings>) -> Vec<String> {
    let both = endpoints.flat_map(|endpoint| [endpoint.ip_address, endpoint.global_ipv6_address]);
    let mut addresses: Vec<String> = both.flatten().filter(|address| !address.is_empty()).collect();
    addresses.sort();
    addresses
}

fn bound_ports(ports: PortMap) -> Vec<PublishedPort> {
    let mut bound = Vec::new();
    for (key, bindings) in ports {
        let Some((port, name)) = key.split_once('/') else {
            continue;
        };
        let (Ok(container_port), Some(protocol)) = (port.parse(), protocol(name)) else {
            continue;
        };
        for binding in bindings.into_iter().flatten() {
            let Some(host_port) = binding.host_port.and_then(|port| port.parse().ok()) else {
                continue;
            };
            bound.push(PublishedPort {
                container_port,
                protocol,
                host_ip: binding.host_ip.unwrap_or_default(),
                host_port,
            });
        }
    }
    bound.sort();
    bound
}

fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        "sctp" => Some(Protocol::Sctp),
        _ => None,
    }
}

/// What an inspection of an image says, asked for by `reference`.
pub(super) fn image(reference: &str, answer: ImageInspect) -> Result<ImageInfo> {
    // An image can have come from several registries; the digest wished for is that of the name asked for.
    let wanted = Reference::parse(reference).repository();
    let digests = answer.repo_digests.unwrap_or_default();
    let of = |digest: &&String| Reference::parse(digest).repository() == wanted;
    let digest = digests.iter().find(of).or(digests.first());
    let config = answer.config.unwrap_or_default();
    Ok(ImageInfo {
        id: some(answer.id, "an image's id")?,
        digest: digest.and_then(|digest| Some(digest.split_once('@')?.1.to_owned())),
        size_bytes: answer
            .size
            .and_then(|size| u64::try_from(size).ok())
            .unwrap_or_default(),
        user: config.user.unwrap_or_default(),
        healthcheck: config
            .healthcheck
            .and_then(|healthcheck| self::healthcheck(healthcheck, config.shell)),
    })
}

/// An image's `HEALTHCHECK`, with Docker's own defaults; none where it says that there is none.
fn healthcheck(written: HealthConfig, shell: Option<Vec<String>>) -> Option<Healthcheck> {
    let test = written.test.unwrap_or_default();
    let (form, words) = test.split_first()?;
    let command = match (form.as_str(), words) {
        ("CMD", [_, ..]) => words.to_vec(),
        ("CMD-SHELL", [script, ..]) => {
            let shell = shell.filter(|shell| !shell.is_empty());
            let mut command = shell.unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned()]);
            command.push(script.clone());
            command
        }
        _ => return None,
    };
    let milliseconds = |nanoseconds: Option<i64>| u64::try_from(nanoseconds.unwrap_or(0)).unwrap_or(0) / 1_000_000;
    let or = |given: u64, default: u64| if given == 0 { default } else { given };
    Some(Healthcheck {
        command,
        interval_ms: or(milliseconds(written.interval), 30_000),
        timeout_ms: or(milliseconds(written.timeout), 30_000),
        start_period_ms: milliseconds(written.start_period),
        retries: written
            .retries
            .and_then(|retries| u32::try_from(retries).ok())
            .filter(|retries| *retries > 0)
            .unwrap_or(3),
    })
}

/// A network from its parts, which several answers have.
pub(super) fn network(
    id: Option<String>,
    name: Option<String>,
    labels: Option<impl IntoIterator<Item = (String, String)>>,
    ipam: Option<Ipam>,
) -> Result<NetworkInfo> {
    let ranges = ipam.and_then(|ipam| ipam.config).unwrap_or_default();
    let first = ranges.into_iter().find(|range| range.subnet.is_some());
    let (subnet, gateway) = first.map_or((None, None), |range| (range.subnet, range.gateway));
    Ok(NetworkInfo {
        id: some(id, "a network's id")?,
        name: some(name, "a network's name")?,
        labels: sorted(labels),
        gateway: gateway.or_else(|| first_address(subnet.as_deref()?)),
        subnet,
    })
}

/// The address that a bridge gives itself unless told otherwise; old engines do not say it.
fn first_address(subnet: &str) -> Option<String> {
    let (address, _) = subnet.split_once('/')?;
    let number = u32::from(address.parse::<std::net::Ipv4Addr>().ok()?);
    Some(std::net::Ipv4Addr::from(number.checked_add(1)?).to_string())
}

/// An engine and its machine.
pub(super) fn engine(version: SystemVersion, info: SystemInfo) -> EngineInfo {
    let components = version.components.unwrap_or_default();
    let podman = components.iter().any(|component| component.name.starts_with("Podman"));
    let number = |number: Option<i64>| number.and_then(|number| u64::try_from(number).ok()).unwrap_or_default();
    let root_dir = info.docker_root_dir.unwrap_or_default();
    EngineInfo {
        // Older engines of one machine share their id whatever data they have.
        id: format!("{} {root_dir}", info.id.unwrap_or_default()),
        started_at: None,
        kind: if podman { "podman" } else { "docker" }.to_owned(),
        version: version.version.or(info.server_version).unwrap_or_default(),
        api_version: version.api_version.unwrap_or_default(),
        cpus: number(info.ncpu),
        memory_bytes: number(info.mem_total),
        // Engines older than the field know the first version alone.
        cgroup_version: info
            .cgroup_version
            .map(|version| version.to_string())
            .filter(|version| !version.is_empty())
            .unwrap_or_else(|| "1".to_owned()),
        storage_driver: info.driver.unwrap_or_default(),
        root_dir,
        host_name: info.name.unwrap_or_default(),
        operating_system: info.operating_system.unwrap_or_default(),
        kernel_version: info.kernel_version.unwrap_or_default(),
        architecture: architecture(version.arch.or(info.architecture).unwrap_or_default()),
    }
}

/// As images name it, whichever way the engine says it.
fn architecture(name: String) -> String {
    match name.as_str() {
        "x86_64" => "amd64".to_owned(),
        "aarch64" => "arm64".to_owned(),
        _ => name,
    }
}

/// A time; the engine's zero means never.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    text.parse().ok().filter(|time| *time > Timestamp::UNIX_EPOCH)
}

fn sorted(map: Option<impl IntoIterator<Item = (String, String)>>) -> BTreeMap<String, String> {
    map.into_iter().flatten().collect()
}

pub(super) fn some(value: Option<String>, what: &str) -> Result<String> {
    value.ok_or_else(|| EngineError::BadAnswer {
        message: format!("{what} is missing"),
    })
}

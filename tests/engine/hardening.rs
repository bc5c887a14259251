//! What containers cannot do, whatever is in their spec or image.
use cube::engine::{ContainerSpec, LogOptions};

use crate::bench::Bench;

pub async fn defaults_are_safe(bench: Bench) {
    let id = bench.engine.create(&bench.sleeper("it")).await.expect("created");
    let seen = bench.raw().inspect_container(&id, None).await.expect("an inspection");
    let config = seen.host_config.expect("a host config");
    assert_eq!(config.security_opt, Some(vec!["no-new-privileges".to_owned()]));
    assert_eq!(config.pids_limit, Some(4096));
    assert_eq!(config.privileged, Some(false));
    let logs = config.log_config.expect("a log config");
    assert_eq!(logs.typ.as_deref(), Some("json-file"));
    let bounds = logs.config.expect("bounds");
    assert_eq!((bounds["max-size"].as_str(), bounds["max-file"].as_str()), ("10m", "3"));
    let restart = config.restart_policy.expect("a restart policy");
    assert_eq!(restart.name, Some(bollard::models::RestartPolicyNameEnum::NO));
    assert_eq!(
        (config.auto_remove, config.publish_all_ports),
        (Some(false), Some(false))
    );
}

pub async fn nothing_gains_privileges(bench: Bench) {
    let spec = ContainerSpec {
        init: false,
        ..bench.script("it", "grep -E 'CapEff|CapBnd|NoNewPrivs|Seccomp:' /proc/self/status")
    };
    let id = bench.run(&spec).await;
    assert_eq!(bench.ended(&id).await, 0);
    let (out, _) = bench.log(&id, LogOptions::default()).await;
    let field = |name: &str| {
        let line = out.lines().find(|line| line.starts_with(name)).expect("a line");
        line.split_whitespace().nth(1).expect("a value").to_owned()
    };
    assert_eq!(field("NoNewPrivs"), "1");
    assert_eq!(field("Seccomp"), "2", "Docker's own filter");
    // Kubernetes' baseline, by the kernel's numbers: CHOWN, DAC_OVERRIDE, FOWNER, FSETID, KILL, SETGID, SETUID, SETPCAP,
    // NET_BIND_SERVICE, SYS_CHROOT, MKNOD, AUDIT_WRITE, SETFCAP.
    let baseline = [0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 27, 29, 31];
    let allowed = baseline.iter().fold(0_u64, |mask, bit| mask | 1 << bit);
    for set in ["CapEff", "CapBnd"] {
        let given = u64::from_str_radix(&field(set), 16).expect("a mask");
        assert_eq!(given & !allowed, 0, "{set} {given:x} has more than the baseline");
        assert_eq!(given, allowed, "{set} {given:x} has less than the baseline");
    }
}

pub async fn resources_are_bounded(bench: Bench) {
    // More than the machine has of everything, which is no error: placement is for others to decide.
    let spec = ContainerSpec {
        cpu_millis_limit: Some(1_000_000),
        cpu_millis_request: Some(250),
        memory_limit: Some(1 << 50),
        memory_request: Some(1 << 30),
        ..bench.sleeper("it")
    };
    let id = bench.run(&spec).await;
    let seen = bench.raw().inspect_container(&id, None).await.expect("an inspection");
    let config = seen.host_config.expect("a host config");
    assert_eq!((config.cpu_quota, config.cpu_shares), (Some(100_000_000), Some(256)));
    assert_eq!((config.memory, config.memory_swap), (Some(1 << 50), Some(1 << 50)));
    assert_eq!(config.memory_reservation, Some(1 << 30));

    let spec = ContainerSpec {
        cpu_millis_limit: Some(1),
        cpu_millis_request: Some(0),
        memory_request: Some(1),
        ..bench.script("least", "true")
    };
    let id = bench.run(&spec).await;
    assert_eq!(bench.ended(&id).await, 0);
}

//! How containers are made, start, end and go.
use cube::engine::{CLUSTER_LABEL, ContainerSpec, EngineError, LogOptions, Network, State};
use futures_util::future::join_all;
use jiff::Timestamp;

use crate::bench::{Bench, words};

pub async fn a_container_lives_and_ends(bench: Bench) {
    let engine = &bench.engine;
    let spec = bench.script("it", "echo hello; echo alas >&2; sleep 1; exit 7");
    let id = engine.create(&spec).await.expect("created");

    let seen = bench.see(&id).await;
    assert_eq!((&seen.id, &seen.name, &seen.image), (&id, &spec.name, &spec.image));
    assert!(seen.image_id.starts_with("sha256:"), "{}", seen.image_id);
    assert_eq!(seen.labels.get(CLUSTER_LABEL), Some(&bench.cluster));
    assert_eq!(seen.state, State::Created);
    assert_eq!((seen.pid, seen.started_at, seen.finished_at), (None, None, None));
    assert!(seen.addresses.is_empty() && seen.ports.is_empty());
    assert!(seen.created_at > Timestamp::UNIX_EPOCH);
    assert_eq!(bench.see(&spec.name).await, seen, "a name does as well as an id");

    engine.start(&id).await.expect("started");
    engine.start(&id).await.expect("started already");
    let seen = bench.see(&id).await;
    assert_eq!(seen.state, State::Running);
    assert!(seen.pid.is_some());
    assert!(seen.started_at >= Some(seen.created_at));
    let listed = engine.list(&bench.cluster).await.expect("a list");
    let mut as_listed = seen.clone();
    (as_listed.pid, as_listed.layer, as_listed.started_at) = (None, None, None);
    as_listed.created_at = Timestamp::from_second(seen.created_at.as_second()).expect("a time");
    assert_eq!(listed, [as_listed]);

    assert_eq!(bench.ended(&id).await, 7);
    let seen = bench.see(&id).await;
    assert_eq!(seen.pid, None);
    assert!(seen.finished_at > seen.started_at);
    let State::Exited { oom_killed, error, .. } = &seen.state else {
        panic!("{:?}", seen.state);
    };
    assert!(!oom_killed && error.is_empty());
    assert_eq!(engine.list(&bench.cluster).await, Ok(vec![seen]));
    let log = bench.log(&id, LogOptions::default()).await;
    assert_eq!(log, ("hello\n".to_owned(), "alas\n".to_owned()));

    engine.remove(&id, false).await.expect("removed");
    engine.remove(&id, false).await.expect("removed already");
    assert_eq!(engine.inspect(&id).await, Ok(None));
    assert_eq!(engine.list(&bench.cluster).await, Ok(vec![]));
}

pub async fn what_runs_uses_something(bench: Bench) {
    let engine = &bench.engine;
    let spec = bench.sleeper("it");
    let id = engine.create(&spec).await.expect("created");
    assert_eq!(engine.usage(&id).await, Ok(None), "it does not run");
    engine.start(&id).await.expect("started");
    let usage = engine.usage(&id).await.expect("an answer").expect("a usage");
    let (cpu, memory) = (usage.cpu.expect("processors"), usage.memory.expect("memory"));
    assert!(cpu.usage_core_nano_seconds > 0 && cpu.usage_nano_cores.is_none());
    assert!(memory.working_set_bytes > 0);
    engine.remove(&id, true).await.expect("removed");
    assert_eq!(engine.usage(&id).await, Ok(None), "it is gone");
}

pub async fn a_name_is_given_once(bench: Bench) {
    let engine = &bench.engine;
    let spec = bench.sleeper("it");
    let id = engine.create(&spec).await.expect("created");
    let name = spec.name.clone();
    assert_eq!(engine.create(&spec).await, Err(EngineError::NameInUse { name }));
    assert_eq!(engine.list(&bench.cluster).await.expect("a list").len(), 1);

    let other_id = engine.create(&bench.sleeper("other")).await.expect("created");
    let name = spec.name.clone();
    let taken = Err(EngineError::NameInUse { name });
    assert_eq!(engine.rename(&other_id, &spec.name).await, taken);
    assert_eq!(engine.rename(&id, &spec.name).await, taken, "also by itself");
    engine.rename(&id, &bench.name("new")).await.expect("renamed");
    engine.rename(&other_id, &spec.name).await.expect("renamed");
    assert_eq!(bench.see(&spec.name).await.id, other_id);
    let listed = engine.list(&bench.cluster).await.expect("a list");
    let names: Vec<&str> = listed.iter().map(|seen| seen.name.as_str()).collect();
    assert_eq!(
        names,
        [spec.name.as_str(), bench.name("new").as_str()],
        "ordered by name"
    );
}

pub async fn only_the_own_cluster_is_listed(bench: Bench) {
    let engine = &bench.engine;
    let mut spec = bench.sleeper("other");
    spec.labels
        .insert(CLUSTER_LABEL.to_owned(), format!("{}-other", bench.cluster));
    engine.create(&spec).await.expect("created");
    let mut spec = bench.sleeper("none");
    spec.labels.remove(CLUSTER_LABEL);
    engine.create(&spec).await.expect("created");
    assert_eq!(engine.list(&bench.cluster).await, Ok(vec![]));
    bench.see(&spec.name).await;
}

pub async fn what_cannot_run_is_told_when_it_starts(bench: Bench) {
    let engine = &bench.engine;
    let spec = ContainerSpec {
        image: "missing-image:1".to_owned(),
        ..bench.sleeper("image")
    };
    let image = spec.image.clone();
    assert_eq!(engine.create(&spec).await, Err(EngineError::NoSuchImage { image }));
    assert_eq!(engine.inspect(&spec.name).await, Ok(None));

    let spec = ContainerSpec {
        command: Some(words(&["missing-program", "-x"])),
        init: false,
        ..bench.sleeper("program")
    };
    let id = engine.create(&spec).await.expect("created");
    match engine.start(&id).await {
        Err(EngineError::InvalidCommand { code: 127, message }) => {
            assert!(message.contains("missing-program"), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!bench.see(&id).await.state.is_running(), "it is there still");
    let listed = engine.list(&bench.cluster).await.expect("a list");
    assert_eq!(listed.len(), 1);
    engine.remove(&id, false).await.expect("removed");
}

/// What an init would find out too late, and so is only told apart without one.
pub async fn what_cannot_be_executed_is_told_apart(bench: Bench) {
    let engine = &bench.engine;
    for (name, program, code) in [("absolute", "/no/such/program", 127), ("file", "/etc/passwd", 126)] {
        let spec = ContainerSpec {
            command: Some(words(&[program])),
            init: false,
            ..bench.sleeper(name)
        };
        let id = engine.create(&spec).await.expect("created");
        match engine.start(&id).await {
            Err(EngineError::InvalidCommand { code: found, .. }) => assert_eq!(found, code, "{program}"),
            other => panic!("{program}: {other:?}"),
        }
    }
    // A file cannot be mounted over a directory, which says nothing of the command.
    let spec = ContainerSpec {
        mounts: vec![cube::engine::Mount {
            source: cube::engine::MountSource::Bind("/etc/hostname".to_owned()),
            target: "/etc".to_owned(),
            read_only: true,
            sub_path: None,
        }],
        ..bench.sleeper("mount")
    };
    let id = engine.create(&spec).await.expect("created");
    match engine.start(&id).await {
        Err(EngineError::Refused { .. }) => {}
        other => panic!("{other:?}"),
    }
}

pub async fn what_is_not_there_is_not_found(bench: Bench) {
    let engine = &bench.engine;
    let name = bench.name("nothing");
    let missing = EngineError::NotFound {
        what: format!("container {name}"),
    };
    assert_eq!(engine.inspect(&name).await, Ok(None));
    assert_eq!(engine.start(&name).await, Err(missing.clone()));
    assert_eq!(engine.signal(&name, "TERM").await, Err(missing.clone()));
    assert_eq!(engine.stop_signal(&name).await, Err(missing.clone()));
    assert_eq!(engine.unpause(&name).await, Err(missing.clone()));
    assert_eq!(engine.rename(&name, &bench.name("other")).await, Err(missing.clone()));
    let log = engine.logs(&name, LogOptions::default()).await;
    assert_eq!(log.err(), Some(missing));
    assert_eq!(engine.remove(&name, true).await, Ok(()));
    assert_eq!(engine.remove_network(&name).await, Ok(()));
    assert_eq!(engine.remove_volume(&name).await, Ok(()));
}

pub async fn a_signal_reaches_the_first_process(bench: Bench) {
    let engine = &bench.engine;
    let signals = [("SIGTERM", 143), ("TERM", 143), ("15", 143), ("KILL", 137)];
    let runs = signals.map(|(signal, code)| {
        let bench = &bench;
        async move {
            let id = bench.run(&bench.sleeper(&signal.to_lowercase())).await;
            engine.signal(&id, signal).await.expect("signalled");
            assert_eq!(bench.ended(&id).await, code, "{signal}");
            let id_again = id.clone();
            let over = Err(EngineError::NotRunning { id: id_again });
            assert_eq!(engine.signal(&id, signal).await, over);
        }
    });
    join_all(runs).await;

    let created = engine.create(&bench.sleeper("created")).await.expect("created");
    let id = created.clone();
    assert_eq!(
        engine.signal(&created, "TERM").await,
        Err(EngineError::NotRunning { id })
    );
    engine.start(&created).await.expect("started");
    match engine.signal(&created, "SIGNONSENSE").await {
        Err(EngineError::Refused { status, .. }) => assert!(status < 500, "{status}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(engine.stop_signal(&created).await.as_deref(), Ok("SIGTERM"));
    let own = ContainerSpec {
        stop_signal: Some("SIGUSR1".to_owned()),
        ..bench.sleeper("own")
    };
    let own = engine.create(&own).await.expect("created");
    assert_eq!(engine.stop_signal(&own).await.as_deref(), Ok("SIGUSR1"));
}

pub async fn a_signal_that_is_ignored_changes_nothing(bench: Bench) {
    let spec = ContainerSpec {
        init: false,
        ..bench.script("deaf", "trap '' TERM; echo deaf; while true; do sleep 1; done")
    };
    let id = bench.run(&spec).await;
    // Once it is deaf.
    bench
        .until("it is deaf", async || {
            let log = bench.log(&id, LogOptions::default()).await.0;
            (!log.is_empty()).then_some(())
        })
        .await;
    bench.engine.signal(&id, "TERM").await.expect("signalled");
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    assert_eq!(bench.see(&id).await.state, State::Running);
    bench.engine.signal(&id, "KILL").await.expect("signalled");
    assert_eq!(bench.ended(&id).await, 137);
}

pub async fn a_container_starts_again(bench: Bench) {
    let engine = &bench.engine;
    let id = bench.run(&bench.script("it", "echo once; exit 3")).await;
    assert_eq!(bench.ended(&id).await, 3);
    let first = bench.see(&id).await;
    engine.start(&id).await.expect("started again");
    bench
        .until("it has ended again", async || {
            let seen = bench.see(&id).await;
            (!seen.state.is_running() && seen.finished_at > first.finished_at).then_some(())
        })
        .await;
    assert!(bench.see(&id).await.started_at > first.started_at);
    assert_eq!(bench.log(&id, LogOptions::default()).await.0, "once\nonce\n");
}

pub async fn a_frozen_container_is_running(bench: Bench) {
    let engine = &bench.engine;
    let id = bench.run(&bench.sleeper("it")).await;
    engine.unpause(&id).await.expect("not frozen");
    bench.pause(&id).await;
    assert_eq!(bench.see(&id).await.state, State::Paused);
    let listed = engine.list(&bench.cluster).await.expect("a list");
    assert_eq!(listed, [bench.see(&id).await]);
    engine.start(&id).await.expect("it runs already");
    assert_eq!(bench.see(&id).await.state, State::Paused);
    match engine.remove(&id, false).await {
        Err(EngineError::InUse { .. }) => {}
        other => panic!("{other:?}"),
    }
    engine.unpause(&id).await.expect("thawed");
    engine.unpause(&id).await.expect("thawed already");
    assert_eq!(bench.see(&id).await.state, State::Running);
    let created = engine.create(&bench.sleeper("created")).await.expect("created");
    engine.unpause(&created).await.expect("not frozen");
}

pub async fn want_of_memory_is_told(bench: Bench) {
    let spec = ContainerSpec {
        memory_limit: Some(16 << 20),
        ..bench.script("greedy", "exec tail /dev/zero")
    };
    // Docker itself forgets it now and then, when the kernel's word comes after the end.
    for attempt in 0..3 {
        let spec = ContainerSpec {
            name: format!("{}-{attempt}", spec.name),
            ..spec.clone()
        };
        let id = bench.run(&spec).await;
        if let Some(sim) = &bench.sim {
            sim.oom(&id);
        }
        assert_eq!(bench.ended(&id).await, 137);
        match bench.see(&id).await.state {
            State::Exited { oom_killed: true, .. } => return,
            State::Exited { .. } if bench.sim.is_none() => {}
            other => panic!("{other:?}"),
        }
    }
    panic!("it is never told");
}

pub async fn what_runs_is_removed_by_force_alone(bench: Bench) {
    let engine = &bench.engine;
    let spec = bench.sleeper("it");
    let id = bench.run(&spec).await;
    let what = format!("container {id}");
    assert_eq!(engine.remove(&id, false).await, Err(EngineError::InUse { what }));
    assert_eq!(bench.see(&id).await.state, State::Running);
    // Whoever comes second finds it going or gone.
    let (one, other) = tokio::join!(engine.remove(&id, true), engine.remove(&id, true));
    assert_eq!((one, other), (Ok(()), Ok(())));
    bench
        .until("it is gone", async || {
            let seen = engine.inspect(&id).await.expect("an inspection");
            seen.is_none().then_some(())
        })
        .await;
}

pub async fn many_calls_at_once(bench: Bench) {
    let engine = &bench.engine;
    let names: Vec<String> = (0..6).map(|number| format!("n{number}")).collect();
    let runs = names.iter().map(|name| async {
        let spec = bench.sleeper(name);
        bench.run(&spec).await
    });
    let ids = join_all(runs).await;
    let listed = engine.list(&bench.cluster).await.expect("a list");
    assert_eq!(listed.len(), names.len());
    assert!(listed.iter().all(|seen| seen.state == State::Running));
    let removals = ids.iter().map(|id| engine.remove(id, true));
    assert!(join_all(removals).await.iter().all(Result::is_ok));
    assert_eq!(engine.list(&bench.cluster).await, Ok(vec![]));
}

pub async fn the_engine_tells_of_itself(bench: Bench) {
    let info = bench.engine.info().await.expect("an engine");
    assert_eq!(info.kind, "docker");
    assert!(info.cpus > 0 && info.memory_bytes > 1 << 28);
    assert!(info.api_version.starts_with("1.") && info.version.contains('.'));
    assert!(["1", "2"].contains(&info.cgroup_version.as_str()));
    assert!(["amd64", "arm64"].contains(&info.architecture.as_str()));
    for text in [
        info.storage_driver,
        info.root_dir,
        info.host_name,
        info.operating_system,
        info.kernel_version,
    ] {
        assert_ne!(text, "");
    }
}

pub async fn what_the_spec_says_is_what_runs(bench: Bench) {
    let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let script = "pwd; id -u; id -g; hostname; echo $A.$B; echo $0.$1; cat /proc/1/comm; ls -d /sys/class/net/eth0";
    let spec = ContainerSpec {
        command: Some(words(&["sh", "-c"])),
        args: Some(words(&[script, "zero", "one"])),
        working_dir: Some("/tmp".to_owned()),
        env: vec![pair("A", "old"), pair("B", "b=b"), pair("A", "new")],
        user: Some("7:8".to_owned()),
        hostname: Some("my-host".to_owned()),
        network: Network::None,
        ..bench.sleeper("it")
    };
    let id = bench.run(&spec).await;
    assert_ne!(bench.ended(&id).await, 0, "there is no such device");
    let (out, _) = bench.log(&id, LogOptions::default()).await;
    let lines: Vec<&str> = out.lines().collect();
    assert_eq!(lines[..6], ["/tmp", "7", "8", "my-host", "new.b=b", "zero.one"]);
    assert!(lines[6].contains("init"), "{out}");

    // The machine's own network and name, whatever is said besides.
    let spec = ContainerSpec {
        network: Network::Host,
        hostname: Some("not-this".to_owned()),
        ..bench.script("host", "hostname")
    };
    let id = bench.run(&spec).await;
    assert_eq!(bench.ended(&id).await, 0);
    let host_name = bench.engine.info().await.expect("an engine").host_name;
    assert_eq!(bench.log(&id, LogOptions::default()).await.0, format!("{host_name}\n"));
    let seen = bench.see(&id).await;
    assert!(seen.addresses.is_empty(), "{:?}", seen.addresses);
}

pub async fn the_image_has_its_say(bench: Bench) {
    let image = bench
        .image_of(&[
            ("ENTRYPOINT", r#"["echo", "entry"]"#),
            ("CMD", r#"["default"]"#),
            ("USER", "11:12"),
            ("LABEL", "from.image=yes"),
        ])
        .await;
    let spec = |name: &str, command: Option<&[&str]>, args: Option<&[&str]>| ContainerSpec {
        image: image.clone(),
        command: command.map(words),
        args: args.map(words),
        ..bench.sleeper(name)
    };
    for (name, command, args, says) in [
        ("plain", None, None, "entry default\n"),
        ("args", None, Some(&["mine"][..]), "entry mine\n"),
        ("command", Some(&["echo", "own"][..]), None, "own\n"),
        ("both", Some(&["echo"][..]), Some(&["a", "b"][..]), "a b\n"),
        ("empty", Some(&[][..]), Some(&[][..]), "entry default\n"),
    ] {
        let id = bench.run(&spec(name, command, args)).await;
        assert_eq!(bench.ended(&id).await, 0);
        assert_eq!(bench.log(&id, LogOptions::default()).await.0, says, "{name}");
        let labels = bench.see(&id).await.labels;
        assert_eq!(labels.get("from.image").map(String::as_str), Some("yes"));
    }
    let info = bench.engine.image(&image).await.expect("an answer").expect("an image");
    assert_eq!(info.user, "11:12");

    let nginx = ContainerSpec {
        image: "nginx:latest".to_owned(),
        ..bench.sleeper("nginx")
    };
    let nginx = bench.engine.create(&nginx).await.expect("created");
    assert_eq!(bench.engine.stop_signal(&nginx).await.as_deref(), Ok("SIGQUIT"));
}

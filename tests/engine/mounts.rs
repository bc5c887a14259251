//! What is mounted into containers: volumes, paths of the machine, memory, and parts of them.
use std::os::unix::fs::symlink;

use cube::engine::{ContainerSpec, EngineError, LogOptions, Mount, MountSource, SCRATCH_LABEL};

use crate::bench::Bench;

fn mount(source: MountSource, target: &str, sub_path: Option<&str>) -> Mount {
    Mount {
        source,
        target: target.to_owned(),
        read_only: false,
        sub_path: sub_path.map(str::to_owned),
    }
}

fn bind(path: &std::path::Path, target: &str, sub_path: Option<&str>) -> Mount {
    let path = path.to_str().expect("UTF-8").to_owned();
    mount(MountSource::Bind(path), target, sub_path)
}

impl Bench {
    fn mounting(&self, name: &str, script: &str, mounts: Vec<Mount>) -> ContainerSpec {
        ContainerSpec {
            mounts,
            ..self.script(name, script)
        }
    }

    /// What a script with these mounts writes, once it has ended well.
    async fn output(&self, name: &str, script: &str, mounts: Vec<Mount>) -> String {
        let id = self.run(&self.mounting(name, script, mounts)).await;
        let code = self.ended(&id).await;
        let (out, error) = self.log(&id, LogOptions::default()).await;
        assert_eq!(code, 0, "{name}: {out}{error}");
        out
    }
}

pub async fn volumes_are_made_once_and_removed_with_care(bench: Bench) {
    let engine = &bench.engine;
    let named = bench.name("named");
    engine.ensure_volume(&named, &bench.labels()).await.expect("made");
    engine.ensure_volume(&named, &Default::default()).await.expect("there");
    let what = format!("volume {named}");
    assert_eq!(engine.remove_volume(&named).await, Err(EngineError::NotOurs { what }));

    let mut labels = bench.labels();
    labels.insert(SCRATCH_LABEL.to_owned(), "true".to_owned());
    let scratch = bench.name("scratch");
    engine.ensure_volume(&scratch, &labels).await.expect("made");
    assert_eq!(engine.volumes(&labels).await, Ok([scratch.clone()].into()));
    let both = engine.volumes(&bench.labels()).await;
    assert_eq!(
        both,
        Ok([named.clone(), scratch.clone()].into()),
        "with all of the labels, and perhaps more"
    );
    let source = MountSource::Scratch(scratch.clone());
    let spec = bench.mounting("it", "exec sleep 1000", vec![mount(source, "/data", None)]);
    let id = engine.create(&spec).await.expect("created");
    let what = format!("volume {scratch}");
    let in_use = Err(EngineError::InUse { what });
    assert_eq!(engine.remove_volume(&scratch).await, in_use, "though it does not run");
    engine.start(&id).await.expect("started");
    assert_eq!(engine.remove_volume(&scratch).await, in_use);
    engine.remove(&id, true).await.expect("removed");
    engine.remove_volume(&scratch).await.expect("removed");
    engine.remove_volume(&scratch).await.expect("removed already");
    assert_eq!(engine.volumes(&labels).await, Ok([].into()));

    labels.remove(cube::engine::CLUSTER_LABEL);
    engine.ensure_volume(&scratch, &labels).await.expect("made");
    let what = format!("volume {scratch}");
    assert_eq!(engine.remove_volume(&scratch).await, Err(EngineError::NotOurs { what }));
}

pub async fn a_sub_path_that_leads_out_is_refused(bench: Bench) {
    let volume = bench.name("volume");
    bench
        .engine
        .ensure_volume(&volume, &bench.labels())
        .await
        .expect("made");
    let sources = [
        MountSource::Bind("/tmp".to_owned()),
        MountSource::Volume(volume.clone()),
        MountSource::Scratch(volume),
        MountSource::Tmpfs { size_bytes: None },
    ];
    for source in sources {
        for bad in ["", "/", "/etc", "..", "../etc", "a/../../etc"] {
            let spec = bench.mounting("it", "true", vec![mount(source.clone(), "/data", Some(bad))]);
            let refused = bench.engine.create(&spec).await;
            assert!(
                matches!(refused, Err(EngineError::InvalidSpec { .. })),
                "{source:?} {bad:?}: {refused:?}"
            );
        }
    }
    assert_eq!(bench.engine.list(&bench.cluster).await, Ok(vec![]));
}

pub async fn mounts_hold_what_they_should(bench: Bench) {
    let engine = &bench.engine;
    let directory = tempfile::tempdir().expect("a directory");
    let volume = bench.name("volume");
    engine.ensure_volume(&volume, &bench.labels()).await.expect("made");
    let mounts = |read_only| {
        let tmpfs = MountSource::Tmpfs {
            size_bytes: Some(1 << 20),
        };
        let mounts = vec![
            bind(directory.path(), "/bind", None),
            mount(MountSource::Volume(volume.clone()), "/volume", None),
            mount(tmpfs, "/memory", None),
        ];
        let mounts = mounts.into_iter().map(|mount| Mount { read_only, ..mount });
        mounts.collect::<Vec<_>>()
    };
    let write = "for to in bind volume memory; do echo $to >/$to/file || exit 1; done";
    bench.output("write", write, mounts(false)).await;
    let file = std::fs::read_to_string(directory.path().join("file"));
    assert_eq!(file.expect("a file"), "bind\n");
    let read = "cat /bind/file /volume/file; ls /memory";
    let out = bench.output("read", read, mounts(true)).await;
    assert_eq!(out, "bind\nvolume\n", "memory is gone with the container that had it");
    let refused = "for to in bind volume memory; do ! touch /$to/new 2>/dev/null || exit 1; done";
    bench.output("refused", refused, mounts(true)).await;
    let memory = "cp /bin/busybox /memory/ 2>/dev/null && exit 1; rm /memory/busybox; stat -c %a /memory
        printf '#!/bin/sh\\necho runs' >/memory/run; chmod +x /memory/run; /memory/run";
    let out = bench.output("memory", memory, mounts(false)).await;
    assert_eq!(out, "1777\nruns\n", "bounded, for everyone, and programs run from it");

    let missing = directory.path().join("missing");
    let spec = bench.mounting("missing", "true", vec![bind(&missing, "/bind", None)]);
    match engine.create(&spec).await {
        Err(EngineError::Refused { status: 400, message }) => {
            assert!(message.contains(missing.to_str().expect("UTF-8")), "{message}");
        }
        other => panic!("{other:?}"),
    }
    assert!(!missing.exists(), "what is missing is not made");
}

pub async fn scratch_is_empty_and_open_to_all(bench: Bench) {
    let engine = &bench.engine;
    let mut labels = bench.labels();
    let named = bench.name("named");
    engine.ensure_volume(&named, &labels).await.expect("made");
    labels.insert(SCRATCH_LABEL.to_owned(), "true".to_owned());
    let scratch = bench.name("scratch");
    let run = async |name: &str, source, sub_path, script| {
        let spec = ContainerSpec {
            user: Some("1000:1000".to_owned()),
            ..bench.mounting(name, script, vec![mount(source, "/etc", sub_path)])
        };
        let id = bench.run(&spec).await;
        assert_eq!(bench.ended(&id).await, 0, "{name}");
        bench.log(&id, LogOptions::default()).await.0
    };
    let list = "ls /etc; touch /etc/mine";
    engine.ensure_volume(&scratch, &labels).await.expect("made");
    // The engine itself puts three files there.
    let out = run("scratch", MountSource::Scratch(scratch.clone()), None, list).await;
    assert!(!out.contains("passwd"), "{out}");
    let out = run("part", MountSource::Scratch(scratch.clone()), Some("a/b"), list).await;
    assert!(!out.contains("passwd"), "{out}");
    engine.ensure_volume(&scratch, &labels).await.expect("there");
    let out = run("again", MountSource::Scratch(scratch), None, "ls /etc").await;
    assert!(out.contains("mine"), "{out}");
    let out = run("named", MountSource::Volume(named), None, "ls /etc").await;
    assert!(out.contains("passwd"), "as the image has it: {out}");
}

pub async fn a_sub_path_is_made_and_never_leads_out(bench: Bench) {
    let directory = tempfile::tempdir().expect("a directory");
    let source = directory.path().join("source");
    std::fs::create_dir_all(source.join("real")).expect("directories");
    std::fs::write(directory.path().join("secret"), "secret").expect("a file");
    symlink("real", source.join("inner")).expect("a link");
    symlink("..", source.join("up")).expect("a link");
    symlink("../secret", source.join("file")).expect("a link");
    let write = "echo $0 >/data/it; ls /data";
    for sub_path in ["real", "inner", "new/er"] {
        let name = sub_path.replace('/', "-");
        let mounts = vec![bind(&source, "/data", Some(sub_path))];
        assert_eq!(bench.output(&name, write, mounts).await, "it\n");
    }
    assert!(source.join("real/it").exists() && source.join("new/er/it").exists());
    for bad in ["up", "up/source", "file", "inner/../up"] {
        let mounts = vec![bind(&source, "/data", Some(bad))];
        let refused = bench.engine.create(&bench.mounting("bad", "true", mounts)).await;
        assert!(
            matches!(refused, Err(EngineError::InvalidSpec { .. })),
            "{bad}: {refused:?}"
        );
    }
}

pub async fn a_part_of_a_volume_is_mounted(bench: Bench) {
    let engine = &bench.engine;
    let mut labels = bench.labels();
    labels.insert(SCRATCH_LABEL.to_owned(), "true".to_owned());
    let volume = bench.name("volume");
    engine.ensure_volume(&volume, &labels).await.expect("made");
    let of = |sub_path| vec![mount(MountSource::Volume(volume.clone()), "/data", sub_path)];
    let write = "echo part >/data/it; ln -s / /data/root; ln -s ../.. /data/up";
    bench.output("write", write, of(Some("a/b"))).await;
    assert_eq!(bench.output("whole", "cat /data/a/b/it", of(None)).await, "part\n");
    assert_eq!(bench.output("part", "cat /data/it", of(Some("a/b"))).await, "part\n");
    for bad in ["a/b/root", "a/b/root/etc", "a/b/up/../up", "a/b/up/.."] {
        let spec = bench.mounting("bad", "ls /data", of(Some(bad)));
        // By us, or where the engine has it by itself, by the engine.
        let refused = match engine.create(&spec).await {
            Ok(id) => engine.start(&id).await.err(),
            Err(error) => Some(error),
        };
        assert!(refused.is_some(), "{bad}");
    }
    for name in ["write", "whole"] {
        engine.remove(&bench.name(name), true).await.expect("removed");
    }
    let what = format!("volume {volume}");
    let in_use = Err(EngineError::InUse { what });
    assert_eq!(engine.remove_volume(&volume).await, in_use, "a part of it is mounted");
    engine.remove(&bench.name("part"), true).await.expect("removed");
    let _ = engine.remove(&bench.name("bad"), true).await;
    engine.remove_volume(&volume).await.expect("removed");
    let spec = bench.mounting("gone", "true", of(Some("a")));
    let missing = Err(EngineError::NotFound {
        what: format!("volume {volume}"),
    });
    assert_eq!(engine.create(&spec).await, missing);
}

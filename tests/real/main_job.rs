//! From a file to a container, and all the way back.
use super::harness::{Cube, docker, sleeper};

#[test]
fn a_file_becomes_a_container_and_its_deletion_removes_it() {
    let cube = Cube::up();
    cube.write("hello.yaml", &sleeper("hello"));
    let status = cube.await_running("hello");
    let container = cube.container("hello");
    assert_eq!(status["containerID"], container);
    assert_eq!(status["node"], cube.node());
    assert!(status["startedAt"].is_string());
    let conditions = status["conditions"].as_array().unwrap();
    let ready = conditions
        .iter()
        .find(|condition| condition["type"] == "Ready")
        .unwrap();
    assert_eq!(ready["status"], "True");
    cube.await_line("all as desired");

    // Saved again as it is, it is left alone.
    cube.write("hello.yaml", &format!("# a comment\n{}", sleeper("hello")));
    cube.write("other.yaml", &sleeper("other"));
    cube.await_running("other");
    assert_eq!(cube.container("hello"), container);

    cube.remove("hello.yaml");
    cube.await_true("hello is gone", || {
        cube.containers(&["label=cube.task=hello"]).is_empty()
    });
    cube.await_true("its object is gone", || cube.object("task", "hello").is_null());
    cube.await_line("gone from");
    assert_eq!(cube.networks().len(), 1);
    cube.remove("other.yaml");
    cube.await_true("nothing is left", || cube.containers(&[]).is_empty());
    cube.await_true("the network went with the last Task", || cube.networks().is_empty());
}

#[test]
fn the_next_start_adopts_and_down_brings_nothing_but_containers_down() {
    let mut cube = Cube::new();
    cube.write("a.yaml", &sleeper("a"));
    cube.write(
        "web.yaml",
        "apiVersion: cube/v1\nkind: Deployment\nmetadata: { name: web }\nspec: { replicas: 2, template: { spec: \
         { image: busybox, init: true, command: [sleep, '1000'] } } }\n",
    );
    cube.start();
    cube.await_running("a");
    let ready = |cube: &Cube| cube.object("deployment", "web")["status"]["readyReplicas"] == 2;
    cube.await_true("web is ready", || ready(&cube));
    let before = started(&cube);
    assert_eq!(before.len(), 3);

    assert_eq!(cube.interrupt(), Some(0));
    assert!(
        cube.lines().last().unwrap().contains("3 containers run on"),
        "{:?}",
        cube.lines()
    );
    assert_eq!(started(&cube), before);

    cube.start();
    cube.await_line("adopted as they were");
    assert_eq!(started(&cube), before);
    assert_eq!(cube.status("a")["restarts"].as_u64().unwrap_or(0), 0);

    cube.down();
    assert!(!cube.is_up());
    assert_eq!(started(&cube), Vec::<String>::new());
    assert_eq!(cube.networks(), Vec::<String>::new());

    cube.start();
    cube.await_running("a");
    cube.await_true("web is back", || ready(&cube));
    // Having been taken down is nobody's failure.
    for task in cube.list("tasks") {
        assert_eq!(task["status"]["restarts"].as_u64().unwrap_or(0), 0, "{task}");
        assert_eq!(task["status"]["failures"].as_u64().unwrap_or(0), 0, "{task}");
    }
    cube.down();
}

/// Each container with the time of its start.
fn started(cube: &Cube) -> Vec<String> {
    let mut started: Vec<String> = cube
        .containers(&[])
        .iter()
        .map(|id| {
            format!(
                "{id} {}",
                cube.docker(&["inspect", "--format", "{{.State.StartedAt}}", id])
            )
        })
        .collect();
    started.sort();
    started
}

#[test]
fn a_changed_task_gets_a_new_container_and_what_does_not_form_it_touches_none() {
    let cube = Cube::up();
    let task = |policy: &str, seconds: &str| {
        format!(
            "apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: t }}\nspec: {{ image: busybox, init: true, restartPolicy: {policy}, command: [sleep, '{seconds}'] }}\n"
        )
    };
    cube.write("t.yaml", &task("Always", "1000"));
    cube.await_running("t");
    let first = cube.container("t");
    cube.write("t.yaml", &task("OnFailure", "1000"));
    cube.await_true("the spec has changed", || {
        cube.object("task", "t")["spec"]["restartPolicy"] == "OnFailure"
    });
    cube.await_status("t", "that the change was seen", |status| {
        status["observedGeneration"] == 2
    });
    assert_eq!(cube.container("t"), first);
    cube.write("t.yaml", &task("OnFailure", "2000"));
    let second = cube.await_status("t", "that another container runs", |status| {
        status["phase"] == "Running" && status["containerID"] != first.as_str()
    });
    cube.await_true("the old one is gone", || {
        cube.containers(&["label=cube.task=t"]).len() == 1
    });
    assert_eq!(second["restarts"].as_u64().unwrap_or(0), 0);
}

#[test]
fn tasks_of_a_namespace_find_one_another_and_ports_are_published() {
    let cube = Cube::up();
    cube.write(
        "net.yaml",
        "apiVersion: cube/v1\nkind: Task\nmetadata: { name: server }\nspec:\n  image: busybox\n  init: true\n  command: [sh, -c, 'mkdir /w; echo hello >/w/index.html; exec httpd -f -p 80 -h /w']\n  ports: [{ containerPort: 80, hostPort: 0, hostIP: 127.0.0.1 }]\n---\napiVersion: cube/v1\nkind: Deployment\nmetadata: { name: many }\nspec:\n  replicas: 1\n  template: { spec: { image: busybox, init: true, command: [sleep, '1000'] } }\n---\napiVersion: cube/v1\nkind: Task\nmetadata: { name: client }\nspec:\n  image: busybox\n  restartPolicy: OnFailure\n  command: [sh, -c, 'wget -q -O - http://server/ && nslookup many']\n",
    );
    cube.await_status("client", "that it has found both", |status| {
        status["phase"] == "Completed"
    });
    let status = cube.await_running("server");
    let port = &status["ports"][0];
    assert_eq!(
        (&port["containerPort"], &port["hostIP"]),
        (&80.into(), &"127.0.0.1".into())
    );
    let address = format!("http://127.0.0.1:{}/", port["hostPort"]);
    let mut stream = std::net::TcpStream::connect(address.trim_start_matches("http://").trim_end_matches('/')).unwrap();
    use std::io::{Read as _, Write as _};
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("hello\n"), "{answer}");
}

#[test]
fn the_examples_run() {
    let mut cube = Cube::new();
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/manifests")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, cube.manifests().join(path.file_name().unwrap())).unwrap();
    }
    cube.start();
    cube.await_line("all as desired");
    let tasks = cube.list("tasks");
    assert!(tasks.len() >= 4);
    for task in tasks {
        let phase = task["status"]["phase"].as_str().unwrap().to_owned();
        assert!(["Running", "Completed"].contains(&phase.as_str()), "{task}");
    }
}

#[test]
fn data_outlives_its_task_and_an_empty_directory_does_not() {
    let cube = Cube::up();
    let volume = format!("{}-data", cube.node());
    cube.write(
        "v.yaml",
        &format!(
            "apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: v }}\nspec:\n  image: busybox\n  init: true\n  command: [sh, -c, 'echo kept >/data/f; echo lost >/scratch/f; echo m >/mem/f; sleep 1000']\n  volumes:\n    - {{ name: data, volume: {volume} }}\n    - {{ name: scratch, emptyDir: {{}} }}\n    - {{ name: mem, emptyDir: {{ medium: Memory }} }}\n  volumeMounts:\n    - {{ name: data, mountPath: /data }}\n    - {{ name: scratch, mountPath: /scratch }}\n    - {{ name: mem, mountPath: /mem }}\n"
        ),
    );
    cube.await_running("v");
    let scratch = || {
        docker(
            None,
            &["volume", "ls", "--quiet", "--filter", "label=cube.scratch=true"],
        )
    };
    let uid = cube.object("task", "v")["metadata"]["uid"].as_str().unwrap()[28..].to_owned();
    assert!(scratch().contains(&uid));
    cube.remove("v.yaml");
    cube.await_true("the Task is gone", || cube.object("task", "v").is_null());
    assert!(!scratch().contains(&uid));
    let kept = docker(
        None,
        &[
            "run",
            "--rm",
            "--volume",
            &format!("{volume}:/d"),
            "busybox",
            "cat",
            "/d/f",
        ],
    );
    assert_eq!(kept, "kept");
    docker(None, &["volume", "rm", &volume]);
}

#[test]
fn an_empty_directory_that_a_spec_no_longer_has_goes_too() {
    let mut cube = Cube::up();
    let with = |directory: &str| {
        let spec = format!(
            "volumes: [{{ name: {directory}, emptyDir: {{}} }}], volumeMounts: [{{ name: {directory}, mountPath: /{directory} }}]"
        );
        sleeper("v").replace("init: true", &format!("init: true, {spec}"))
    };
    let volumes = |cube: &Cube| {
        let node = format!("label=cube.node={}", cube.node());
        let listed = docker(None, &["volume", "ls", "--quiet", "--filter", &node]);
        let ends = listed
            .lines()
            .map(|name| name.rsplit('-').next().unwrap_or_default().to_owned());
        ends.collect::<Vec<_>>()
    };
    cube.write("v.yaml", &with("old"));
    cube.await_running("v");
    assert_eq!(volumes(&cube), ["old"]);
    let before = cube.status("v")["containerID"].clone();
    cube.write("v.yaml", &with("new"));
    cube.await_true("it has another container", || {
        let status = cube.status("v");
        status["phase"] == "Running" && status["containerID"] != before
    });
    cube.kill();
    cube.start();
    cube.await_true("the old one is gone", || volumes(&cube) == ["new"]);
    cube.remove("v.yaml");
    cube.await_true("the Task is gone", || cube.object("task", "v").is_null());
    assert_eq!(volumes(&cube), [""; 0]);
}

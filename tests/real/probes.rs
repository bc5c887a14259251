//! Containers that are asked whether they do their work.
use std::time::{Duration, Instant};

use serde_json::Value;

use super::harness::Cube;

/// A Task whose program serves `/www`, beside what else its spec has.
fn served(name: &str, before: &str, spec: &str) -> String {
    format!(
        "apiVersion: cube/v1
kind: Task
metadata: {{ name: {name} }}
spec:
  image: busybox
  init: true
  command: [sh, -c, 'mkdir -p /www; {before} exec httpd -f -p 8080 -h /www']
  ports: [{{ name: web, containerPort: 8080 }}]
{spec}"
    )
}

fn ready(status: &Value) -> &Value {
    let conditions = status["conditions"].as_array();
    let ready = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"));
    ready.unwrap_or(&Value::Null)
}

fn is_ready(status: &Value) -> bool {
    ready(status)["status"] == "True"
}

#[test]
fn a_task_is_ready_while_it_answers_well() {
    let mut cube = Cube::up();
    let probe = "  readinessProbe: { httpGet: { path: /ok, port: web }, periodSeconds: 1, failureThreshold: 2 }\n";
    cube.write("web.yaml", &served("web", "sleep 1; echo yes > /www/ok;", probe));
    let began = Instant::now();
    let status = cube.await_status("web", "that it runs and is not ready", |status| {
        status["phase"] == "Running" && !is_ready(status)
    });
    assert_eq!(ready(&status)["reason"], "ProbePending", "{status}");
    let status = cube.await_status("web", "that it is ready", is_ready);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_eq!(status["probes"][0]["message"], "HTTP 200", "{status}");
    let container = cube.container("web");

    cube.docker(&["exec", &container, "rm", "/www/ok"]);
    let status = cube.await_status("web", "that it is not ready any more", |status| !is_ready(status));
    assert_eq!(ready(&status)["reason"], "ProbeFailing");
    let message = status["message"].as_str().unwrap();
    assert!(message.starts_with("readiness probe fails: HTTP 404"), "{message}");
    assert_eq!(
        (&status["phase"], &status["restarts"]),
        (&"Running".into(), &Value::Null)
    );
    cube.await_true("an event", || cube.ok(&["events"]).contains("Unhealthy"));
    let described = cube.ok(&["describe", "task", "web"]);
    assert!(described.contains("GET :web/ok every 1 s"), "{described}");
    assert!(cube.ok(&["get", "tasks"]).contains("HTTP 404"));

    cube.docker(&["exec", &container, "sh", "-c", "echo yes > /www/ok"]);
    let status = cube.await_status("web", "that it is ready again", is_ready);

    // A worker that takes over believes what was known, and touches nothing; nor does another probe.
    cube.kill();
    cube.start();
    cube.write(
        "web.yaml",
        &served("web", "sleep 1; echo yes > /www/ok;", &probe.replace("/ok", "/")),
    );
    cube.await_true("the other probe", || {
        cube.object("task", "web")["metadata"]["generation"] == 2 && cube.status("web")["observedGeneration"] == 2
    });
    let message = "HTTP 404";
    cube.await_status("web", "what the other probe is answered", |status| {
        status["probes"][0]["message"]
            .as_str()
            .is_some_and(|said| said.starts_with(message))
    });
    assert_eq!(cube.container("web"), container);
    assert_eq!(cube.status("web")["startedAt"], status["startedAt"]);
}

#[test]
fn a_task_that_does_not_live_is_started_again_and_backs_off() {
    let cube = Cube::up();
    let spec = "  terminationGracePeriodSeconds: 1
  livenessProbe: { exec: { command: [sh, -c, 'echo no database; test ! -e /dead'] }, periodSeconds: 1, failureThreshold: 2 }
";
    cube.write("t.yaml", &served("t", "sleep 2; touch /dead;", spec));
    cube.await_running("t");
    let status = cube.await_status("t", "its second restart", |status| {
        status["restarts"].as_u64() >= Some(2)
    });
    let last = &status["lastTermination"];
    assert_eq!(last["reason"], "Unhealthy", "{status}");
    assert_eq!(last["message"], "liveness probe failed 2 times: exit 1: no database");
    let status = cube.await_status("t", "that it backs off", |status| status["reason"] == "BackOff");
    assert_eq!(status["message"], "liveness probe failed 2 times: exit 1: no database");
    assert!(cube.ok(&["events"]).contains("Unhealthy"));
    let described = cube.ok(&["describe", "task", "t"]);
    assert!(described.contains("liveness probe failed 2 times"), "{described}");
}

#[test]
fn a_startup_probe_gives_time_and_then_gives_up() {
    let cube = Cube::up();
    let probes = "  startupProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1, failureThreshold: 30 }
  livenessProbe: { tcpSocket: { port: 8080 }, periodSeconds: 1, failureThreshold: 1 }
";
    cube.write("slow.yaml", &served("slow", "sleep 4;", probes));
    let never = "  terminationGracePeriodSeconds: 1
  startupProbe: { tcpSocket: { port: 81 }, periodSeconds: 1, failureThreshold: 2 }
";
    cube.write("never.yaml", &served("never", "", never));
    let status = cube.await_status("slow", "that it is ready", is_ready);
    assert_eq!(status["restarts"], Value::Null, "{status}");
    let status = cube.await_status("never", "its restart", |status| status["restarts"].as_u64() >= Some(1));
    let message = status["lastTermination"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("startup probe failed 2 times: connection refused"),
        "{message}"
    );
}

#[test]
fn a_hanging_probe_piles_nothing_up_and_holds_up_nobody() {
    let cube = Cube::up();
    let hanging = "  livenessProbe: { exec: { command: [sh, -c, 'sleep 7654 & sleep 7654'] }, periodSeconds: 1, failureThreshold: 1000 }\n";
    cube.write("hangs.yaml", &served("hangs", "", hanging));
    let well = "  readinessProbe: { exec: { command: ['true'] }, periodSeconds: 1 }\n";
    cube.write("well.yaml", &served("well", "", well));
    cube.await_status("well", "that it is ready", is_ready);
    let status = cube.await_status("hangs", "that its probe fails", |status| {
        status["probes"][0]["message"] == "no answer within 1 s"
    });
    assert!(is_ready(&status), "liveness has no part in it");
    let container = cube.container("hangs");
    let hanging = || {
        let processes = cube.docker(&["top", &container, "-eo", "pid,args"]);
        processes.lines().filter(|line| line.contains("7654")).count()
    };
    let began = Instant::now();
    let mut most = 0;
    while began.elapsed() < Duration::from_secs(6) {
        most = most.max(hanging());
        std::thread::sleep(Duration::from_millis(100));
    }
    // One question's shell and its two sleeps, and the next one's where the first are just going.
    assert!(most <= 6, "{most} processes");
}

#[test]
fn a_roll_waits_until_what_is_new_is_ready() {
    let cube = Cube::up();
    let web = |version: &str, path: &str| {
        format!(
            "apiVersion: cube/v1
kind: Deployment
metadata: {{ name: web }}
spec:
  replicas: 2
  minReadySeconds: 1
  strategy: {{ rollingUpdate: {{ maxSurge: 1, maxUnavailable: 0 }} }}
  template:
    spec:
      image: busybox
      init: true
      env: [{{ name: VERSION, value: '{version}' }}]
      command: [sh, -c, 'mkdir -p /www; echo $VERSION > /www/v$VERSION; exec httpd -f -p 8080 -h /www']
      readinessProbe: {{ httpGet: {{ path: '{path}', port: 8080 }}, periodSeconds: 1 }}
"
        )
    };
    let counts = || {
        let status = cube.object("deployment", "web")["status"].clone();
        let count = |name: &str| status[name].as_u64().unwrap_or_default();
        (
            count("readyReplicas"),
            count("availableReplicas"),
            count("updatedReplicas"),
            count("replicas"),
        )
    };
    cube.write("web.yaml", &web("1", "/v1"));
    cube.await_true("2 of 2 available", || counts() == (2, 2, 2, 2));
    let first = cube.containers(&[]);

    // What never gets ready takes nobody's place.
    cube.write("web.yaml", &web("2", "/v3"));
    cube.await_true("one more that is not ready", || counts() == (2, 2, 1, 3));
    cube.await_true("what it is answered", || {
        let tasks = cube.list("tasks");
        tasks.iter().any(|task| {
            task["status"]["message"]
                .as_str()
                .is_some_and(|said| said.contains("HTTP 404"))
        })
    });
    assert_eq!(counts(), (2, 2, 1, 3));
    assert!(first.iter().all(|id| cube.containers(&[]).contains(id)));
    let described = cube.ok(&["describe", "deployment", "web"]);
    assert!(
        described.contains("Rolling") || described.contains("rolling"),
        "{described}"
    );

    cube.write("web.yaml", &web("3", "/v3"));
    cube.await_true("2 of 2 of the third", || counts() == (2, 2, 2, 2));
    cube.await_true("the old ones' end", || {
        let left = cube.containers(&[]);
        first.iter().all(|id| !left.contains(id))
    });

    // Another question replaces no container, and a wrong one is found out by one Task.
    let third = cube.containers(&[]);
    cube.write("web.yaml", &web("3", "/nothing"));
    cube.await_true("one that fails it", || counts() == (1, 1, 1, 2));
    let asked = cube.list("tasks");
    let asked = asked.iter().filter(|task| {
        let path = &task["spec"]["readinessProbe"]["httpGet"]["path"];
        path == "/nothing"
    });
    assert_eq!(asked.count(), 1);
    cube.write("web.yaml", &web("3", "/"));
    cube.await_true("one that fails this one too", || counts() == (1, 1, 1, 2));
    cube.write("web.yaml", &web("3", "/v3"));
    cube.await_true("2 of 2 with the right one", || counts() == (2, 2, 2, 2));
    assert_eq!(cube.containers(&[]), third);
}

#[test]
fn an_images_healthcheck_is_run_by_cube() {
    let cube = Cube::up();
    let image = format!("cube-test-healthcheck-{}", cube.node());
    let base = cube.docker(&["create", "busybox:latest", "true"]);
    let change = "HEALTHCHECK --interval=1s --timeout=1s --retries=2 CMD test -e /tmp/up";
    cube.docker(&["commit", "--change", change, &base, &image]);
    cube.docker(&["rm", &base]);
    let task = |name: &str, more: &str| {
        format!(
            "apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: {name} }}\nspec: {{ image: {image}, init: true, terminationGracePeriodSeconds: 1, \
             {more} command: [sh, -c, 'sleep 1; touch /tmp/up; sleep 4; rm /tmp/up; sleep 1000'] }}\n"
        )
    };
    cube.write("used.yaml", &task("used", ""));
    cube.write("ignored.yaml", &task("ignored", "imageHealthcheck: Ignore,"));
    cube.await_status("used", "that it is not ready at first", |status| {
        status["phase"] == "Running" && !is_ready(status)
    });
    let status = cube.await_status("used", "that it is ready", is_ready);
    assert_eq!(status["probes"][0]["probe"], "Healthcheck");
    let health = cube.docker(&["inspect", "-f", "{{.State.Health}}", &cube.container("used")]);
    assert_eq!(health, "<nil>", "the engine runs none of its own");
    let status = cube.await_status("used", "its restart", |status| status["restarts"].as_u64() >= Some(1));
    let message = status["lastTermination"]["message"].as_str().unwrap();
    assert!(
        message.starts_with("the image's HEALTHCHECK failed 2 times"),
        "{message}"
    );
    let status = cube.await_running("ignored");
    assert!(is_ready(&status) && status["probes"].is_null(), "{status}");
    assert_eq!(status["restarts"], Value::Null);
    drop(cube);
    super::harness::docker(None, &["rmi", "--force", &image]);
}

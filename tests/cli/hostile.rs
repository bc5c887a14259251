//! Texts that would act on a terminal: wherever people are told something, they are shown and do nothing.
use cube_api::kinds::Kind;
use serde_json::json;

use crate::environment::{Environment, Run, running, task};

/// Clears a screen, sets a title, hides, turns the writing round, and begins a line anew.
const EVIL: &str = "a\u{1b}[2J\u{1b}]0;t\u{7}\u{8}\u{7f}\u{9b}31m\u{202e}\u{200b}\r\n\u{1b}[31mb";

fn tame(run: &Run, what: &str) {
    for text in [&run.stdout, &run.stderr] {
        let acts = |c: char| (c.is_control() && c != '\n') || ('\u{200b}'..='\u{202e}').contains(&c);
        assert!(!text.contains(acts), "{what}: {text:?}");
    }
}

#[test]
fn what_engines_and_people_say_does_nothing_to_a_terminal() {
    let environment = Environment::with_server();
    environment.write("a.yaml", task("a", ""));
    assert_eq!(environment.run("apply -f a.yaml").code, 0);
    let server = environment.server();
    let mut status = running(1);
    status["message"] = EVIL.into();
    status["reason"] = EVIL.into();
    status["conditions"][0]["message"] = EVIL.into();
    status["lastTermination"] = json!({ "exitCode": 1, "reason": EVIL, "log": [EVIL] });
    server.set_status(Kind::Task, "a", &status);
    let about = json!({ "apiVersion": "cube/v1", "kind": "Task", "namespace": "default", "name": "a" });
    server.create(
        Kind::Event,
        json!({
            "metadata": { "name": "e", "namespace": "default" }, "involvedObject": about, "reason": EVIL, "message": EVIL,
            "type": "Warning", "count": 1,
        }),
    );
    server.create(
        Kind::Task,
        json!({
            "metadata": { "name": "b", "namespace": "default", "annotations": { "note": EVIL } },
            "spec": { "image": "busybox", "args": [EVIL], "env": [{ "name": "A", "value": EVIL }], "user": EVIL },
        }),
    );
    for words in [
        "get tasks",
        "get tasks -o wide",
        "get all",
        "get events",
        "events",
        "events task/a",
        "describe task a",
        "describe task b",
        "describe event e",
        "status",
        "get task a -o yaml",
        "get task b -o yaml",
        "explain-placement a",
        "stop a --timeout 1ms",
        "restart b",
    ] {
        let run = environment.run(words);
        if !words.contains("yaml") {
            tame(&run, words);
        } else {
            // Data for programs is as it is, in the form's own escapes.
            assert!(
                !run.stdout.contains(['\u{1b}', '\u{7}', '\u{8}', '\u{7f}']),
                "{words}: {}",
                run.stdout
            );
        }
    }
}

#[test]
fn what_is_asked_for_does_nothing_to_a_terminal_when_it_is_refused() {
    let environment = Environment::with_server();
    let file = EVIL.replace('/', "");
    environment.write(&format!("{file}.yaml"), "kind: [\n");
    environment.write(
        "name.yaml",
        task("a", "").replace("name: a", &format!("name: {}", json!(EVIL))),
    );
    environment.write("image.yaml", task("a", "").replace("busybox", &json!(EVIL).to_string()));
    environment.write("key.yaml", task("a", &format!("  {}: 1\n", json!(EVIL))));
    let word = |words: &[&str]| {
        let mut command = environment.command("");
        command.args(words);
        environment.finish(command.spawn().unwrap())
    };
    let file = format!("{file}.yaml");
    for words in [
        vec!["validate", "-f", &file],
        vec!["apply", "-f", &file],
        vec!["apply", "-f", "name.yaml"],
        vec!["apply", "-f", "image.yaml"],
        vec!["apply", "-f", "key.yaml"],
        vec!["validate", "-f", EVIL],
        vec!["get", "task", EVIL],
        vec!["get", EVIL],
        vec!["get", "tasks", "-l", EVIL],
        vec!["get", "tasks", "--field-selector", EVIL],
        vec!["delete", "task", EVIL],
        vec!["logs", EVIL],
        vec!["describe", "task", EVIL],
        vec!["cordon", EVIL],
        vec!["run", EVIL],
        vec!["run", "busybox", "--name", EVIL],
        vec!["exec", "a", EVIL],
        vec!["approve", EVIL],
        vec!["explain-placement", EVIL],
    ] {
        let run = word(&words);
        assert_ne!(run.code, 0, "{words:?}: {run}");
        tame(&run, &format!("{words:?}"));
    }
    // In a namespace that cannot be there is nothing, which is no error.
    tame(&word(&["get", "tasks", "-n", EVIL]), "an odd namespace");
}

#[test]
fn words_that_no_program_can_be_given_are_refused() {
    let environment = Environment::with_server();
    for (field, spec) in [
        ("env[0].value", r#"  env: [{ name: A, value: "a\0b" }]"#),
        ("env[0].name", r#"  env: [{ name: "A\0", value: b }]"#),
        ("env[0].name", r#"  env: [{ name: "A\nB", value: b }]"#),
        ("env[0].name", r#"  env: [{ name: "A=B", value: b }]"#),
        ("args[0]", r#"  args: ["a\0b"]"#),
        ("command[1]", r#"  command: [sh, "\0"]"#),
        (
            "livenessProbe.exec.command[0]",
            r#"  livenessProbe: { exec: { command: ["a\0"] } }"#,
        ),
        ("user", r#"  user: "a\0b""#),
        ("workingDir", r#"  workingDir: "/a\0b""#),
        ("hostname", r#"  hostname: "a\0b""#),
        (
            "volumes[0].hostPath.path",
            r#"  volumes: [{ name: v, hostPath: { path: "/a\0b" } }]"#,
        ),
        ("image", r#"  image: "a\0b""#),
        (
            "volumeMounts[0].subPath",
            r#"  volumes: [{ name: v, volume: v }]
  volumeMounts: [{ name: v, mountPath: /v, subPath: "a\0b" }]"#,
        ),
    ] {
        let text = task("a", &format!("{spec}\n"));
        let text = if field == "image" {
            text.replace("  image: busybox\n", "")
        } else {
            text
        };
        environment.write("a.yaml", text);
        let run = environment.run("apply -f a.yaml");
        assert_eq!(run.code, 2, "{field}: {run}");
        assert!(run.stderr.contains(&format!("spec.{field}")), "{field}: {run}");
    }
    // A value of several lines is a value: a key in PEM has them, and no engine splits it.
    environment.write("a.yaml", task("a", "  env: [{ name: A, value: \"a\\nB=c\" }]\n"));
    assert_eq!(environment.run("apply -f a.yaml").code, 0);
}

//! What needs no server: help, schemas, completion, version; and what is said where one is needed.
use std::fs;

use crate::environment::Environment;

/// The names below `Commands:`.
fn verbs(help: &str) -> Vec<String> {
    let list = help.split("Commands:\n").nth(1).unwrap_or_default();
    // Further in are only the rests of long lines.
    let lines = list
        .lines()
        .take_while(|line| !line.is_empty())
        .filter(|line| !line.starts_with("   "));
    lines
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_whole_reference() {
    let environment = Environment::new();
    let top = environment.run("--help");
    let mut reference = format!("$ cube --help\n{top}");
    let mut verbs = verbs(&top.stdout);
    assert!(verbs.contains(&"apply".to_owned()), "{verbs:?}");
    verbs.extend(["node delete"].map(str::to_owned));
    for verb in verbs.iter().filter(|verb| *verb != "help") {
        let help = environment.run(&format!("{verb} --help"));
        assert_eq!(help.code, 0);
        // The same for all.
        let own = help.stdout.split("\nGlobal options:").next().unwrap_or_default();
        reference.push_str(&format!("\n$ cube {verb} --help\n{own}"));
    }
    insta::assert_snapshot!(reference);
}

#[test]
fn who_needs_a_server_says_that_there_is_none() {
    let environment = Environment::new();
    environment.write("a.yaml", crate::environment::task("a", ""));
    for words in [
        "get tasks",
        "describe task a",
        "delete task a",
        "logs a",
        "events",
        "restart task/a",
        "approve",
        "proxy",
        "backup b",
        "run nginx",
        "run -f a.yaml",
        "stop a",
        "status",
        "nodes",
        "cordon a",
        "uncordon a",
        "node delete a",
        "apply -f a.yaml",
        "version",
    ] {
        let run = environment.run(words);
        assert_eq!(run.code, 1, "{words}: {run}");
        assert!(
            run.stderr
                .contains("cube is not running here: there is no socket ~/cube.sock"),
            "{words}: {run}"
        );
        assert!(
            run.stderr.contains("hint: start it with `cube up DIR`"),
            "{words}: {run}"
        );
    }
    assert!(!environment.path("b").exists() && !environment.path("b.tmp").exists());
}

#[test]
fn servers_are_named_by_urls_of_this_machine() {
    let environment = Environment::new();
    insta::assert_snapshot!(environment.run("get tasks --server http://10.0.0.1:80"));
    insta::assert_snapshot!(environment.run("get tasks --server http://127.0.0.1:1"));
}

#[test]
fn version_without_a_server() {
    let environment = Environment::new();
    let run = environment.run("version --client");
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, concat!("client  ", env!("CARGO_PKG_VERSION"), "\n"))
    );
    let output = environment
        .command("version")
        .env_remove("CUBE_SERVER")
        .spawn()
        .unwrap();
    let run = environment.finish(output);
    // Nobody named a server: that none runs is an answer. One that runs on this machine, beside the tests, is another.
    assert_eq!(run.code, 0, "{run}");
    let none = "server  none: cube is not running here";
    assert!(
        run.stderr.starts_with(none) || run.stdout.contains("\nserver  "),
        "{run}"
    );
}

#[test]
fn completion_knows_every_verb() {
    let environment = Environment::new();
    for shell in ["bash", "zsh", "fish"] {
        let run = environment.run(&format!("completion {shell}"));
        assert_eq!(run.code, 0);
        assert!(
            run.stdout.contains("validate") && run.stdout.contains("take-over"),
            "{shell}"
        );
    }
}

/// `schemas/` is what the kinds say. To renew it: `cargo run -- schema --all schemas`.
#[test]
fn the_schemas_that_are_checked_in_are_current() {
    let environment = Environment::new();
    assert_eq!(environment.run("schema --all schemas").code, 0);
    let checked_in = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let names = |directory: &std::path::Path| {
        let entries = fs::read_dir(directory).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let written = environment.path("schemas");
    assert_eq!(names(&written), names(&checked_in));
    for name in names(&written) {
        let (is, due) = (
            fs::read_to_string(checked_in.join(&name)),
            fs::read_to_string(written.join(&name)),
        );
        assert!(
            is.unwrap() == due.unwrap(),
            "schemas/{name:?} is old: cargo run -- schema --all schemas"
        );
    }
}

#[test]
fn the_schema_of_any_file_leads_to_each_kind() {
    let environment = Environment::new();
    let schema: serde_json::Value = serde_json::from_str(&environment.run("schema").stdout).unwrap();
    let branches = schema["allOf"].as_array().unwrap();
    for branch in branches {
        let kind = branch["if"]["properties"]["kind"]["const"].as_str().unwrap();
        assert_eq!(branch["then"]["$ref"], format!("#/$defs/{kind}"));
        assert_eq!(schema["$defs"][kind]["properties"]["kind"]["const"], kind);
    }
    // Every reference leads somewhere.
    let text = schema.to_string();
    for reference in text.split("\"$ref\":\"#/$defs/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schema["$defs"][name].is_object(), "{name}");
    }
    assert_eq!(environment.run("schema tsak").code, 2);
    assert_eq!(environment.run("schema task").code, 0);
}

#[test]
fn bad_usage_is_told_with_what_to_do() {
    let environment = Environment::new();
    for (name, words) in [
        ("no_verb", ""),
        ("no_kind", "get tsaks"),
        ("no_file", "apply"),
        ("timeout_without_wait", "apply -f a.yaml --timeout 5s"),
        ("bad_time", "delete task a --timeout soon"),
        ("mixed", "get task a/b"),
        ("nothing_to_delete", "delete"),
        ("no_name", "delete tasks"),
        ("no_containers", "restart node/a"),
        ("missing_file", "validate nothing.yaml"),
    ] {
        let run = environment.run(words);
        assert_eq!(run.code, 2, "{words}: {run}");
        insta::assert_snapshot!(name, run);
    }
}

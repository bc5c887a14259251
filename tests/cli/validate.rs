//! Bad input, each with the line that it is in: `cube validate` needs nobody for that.
use std::{os::unix::fs::symlink, process::Command, time::Instant};

use crate::environment::{Environment, task};

#[test]
fn bad_input_is_told_at_its_place() {
    let environment = Environment::new();
    let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
    let deep_by_lines: String = (0..10_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for n in 1..10 {
        let before = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{before}]\n"));
    }
    let many = "apiVersion: cube/v1\nkind: Task\nmetadata:\n  name: A_b\n  labels: { app: x, app: y }\nspec:\n  imgae: a\n  \
                ports:\n    - containerPort: eighty\n  restartPolicy: never\n";
    let cases: [(&str, Vec<u8>); 17] = [
        ("not_yaml", b"apiVersion: cube/v1\nspec:\n  a: b: c\n".to_vec()),
        ("wrong_type", task("a", "  init: yes please\n").into()),
        ("unknown_field", task("a", "  restartpolicy: Never\n").into()),
        (
            "missing_field",
            "apiVersion: cube/v1\nkind: Task\nmetadata: { name: a }\nspec: {}\n".into(),
        ),
        ("doubled_field", task("a", "  image: other\n").into()),
        ("several_errors", many.into()),
        ("alias_bomb", bomb.into_bytes()),
        (
            "nested_in_brackets",
            format!("apiVersion: cube/v1\nkind: Task\nspec: {deep}\n").into(),
        ),
        ("nested_by_lines", deep_by_lines.into_bytes()),
        ("not_utf8", b"apiVersion: cube/v1\nkind: \xff\xfe\n".to_vec()),
        ("name_not_dns", task("Web_1", "").into()),
        (
            "no_name",
            "apiVersion: cube/v1\nkind: Task\nspec: { image: a }\n".into(),
        ),
        (
            "mount_of_nothing",
            task("a", "  volumeMounts:\n    - { name: data, mountPath: /data }\n").into(),
        ),
        ("compose", b"services:\n  web:\n    image: nginx\n".to_vec()),
        (
            "kubernetes",
            b"apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: a }\n".to_vec(),
        ),
        ("twice", format!("{}---\n{}", task("a", ""), task("a", "")).into()),
        ("empty", b"# nothing\n".to_vec()),
    ];
    for (name, content) in cases {
        environment.write("web.yaml", content);
        let begun = Instant::now();
        let run = environment.run("validate -f web.yaml");
        assert_eq!(run.code, 2, "{name}: {run}");
        assert!(begun.elapsed().as_secs() < 10, "{name} takes too long");
        insta::assert_snapshot!(name, run);
    }
}

#[test]
fn what_is_too_large_is_not_read() {
    let environment = Environment::new();
    let file = std::fs::File::create(environment.path("large.yaml")).unwrap();
    file.set_len(100 << 20).unwrap();
    insta::assert_snapshot!("large_file", environment.run("validate -f large.yaml"));
    let input = vec![b'#'; 5 << 20];
    insta::assert_snapshot!("large_stdin", environment.run_with("validate -f -", &input));
}

#[test]
fn a_directory_is_read_in_order_with_all_below_it() {
    let environment = Environment::new();
    environment.write("m/b.yaml", task("b", ""));
    environment.write("m/a.yml", format!("{}---\n{}", task("a", ""), task("a2", "")));
    environment.write(
        "m/deep/c.json",
        r#"{"apiVersion":"cube/v1","kind":"Task","metadata":{"name":"c"},"spec":{"image":"a"}}"#,
    );
    environment.write("m/notes.txt", "not: [a manifest");
    environment.write("m/.hidden.yaml", "not: [a manifest");
    environment.write("m/b.yaml~", "not: [a manifest");
    let run = environment.run("validate -f m");
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "4 objects in 3 files: valid\n"),
        "{run}"
    );

    environment.write("m/deep/bad.yaml", "kind: Tsk\n");
    environment.write("m/z.yaml", task("b", ""));
    symlink("/etc/passwd", environment.path("m/out.yaml")).unwrap();
    let fifo = Command::new("mkfifo")
        .arg(environment.path("m/fifo.yaml"))
        .status()
        .unwrap();
    assert!(fifo.success());
    let run = environment.run("validate -f m");
    assert_eq!(run.code, 2);
    insta::assert_snapshot!("directory", run);
}

#[test]
fn several_files_and_standard_input() {
    let environment = Environment::new();
    environment.write("a.yaml", task("a", ""));
    let run = environment.run_with("validate -f a.yaml -", task("b", "").as_bytes());
    assert_eq!(
        (run.code, run.stdout.as_str()),
        (0, "2 objects in 2 files: valid\n"),
        "{run}"
    );
    let run = environment.run_with("validate a.yaml -", task("a", "").as_bytes());
    insta::assert_snapshot!("same_in_two_files", run);
    environment.write("empty/notes.txt", "");
    insta::assert_snapshot!("empty_directory", environment.run("validate empty"));
    environment.write(
        "n.yaml",
        task("a", "").replace("name: a", "name: a\n  namespace: other"),
    );
    insta::assert_snapshot!("other_namespace", environment.run("validate n.yaml -n here"));
}

#[test]
fn a_bomb_of_a_kilobyte_takes_no_memory() {
    let environment = Environment::new();
    let mut bomb = task("a", "  args: [x, x, x, x, x, x, x, x, x, x]\n").replace("args: ", "args: &a0 ");
    for n in 1..10 {
        bomb.push_str(&format!(
            "x{n}: &a{n} [{}]\n",
            vec![format!("*a{}", n - 1); 10].join(", ")
        ));
    }
    assert!(bomb.len() < 1024);
    environment.write("bomb.yaml", bomb);
    environment.write("good.yaml", task("a", ""));
    // What the process may have of its own, in KiB: as much as it takes to find a small file good, and ten MiB more.
    let bounded = |limit: usize, file: &str| {
        let cube = env!("CARGO_BIN_EXE_cube");
        let words = format!("ulimit -d {limit} && exec {cube} validate -f {file}");
        let mut bounded = Command::new("sh");
        bounded.arg("-c").arg(words).current_dir(environment.path("."));
        bounded
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped());
        environment.finish(bounded.spawn().unwrap())
    };
    let enough = (1..64)
        .map(|mib| mib << 10)
        .find(|limit| bounded(*limit, "good.yaml").code == 0)
        .unwrap();
    let begun = Instant::now();
    let run = bounded(enough + (10 << 10), "bomb.yaml");
    assert_eq!(run.code, 2, "{run}");
    assert!(run.stderr.contains("stand for more than 20000 values"), "{run}");
    // Milliseconds by itself; a test's machine may have others to run.
    assert!(begun.elapsed().as_secs() < 5);
}

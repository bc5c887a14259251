//! What the command lines of others of this size get wrong. The list of all is docs/book-bugs.md.
use cube_api::kinds::Kind;

use crate::environment::{Environment, task};

#[test]
fn the_book_ends_with_0_when_the_request_failed() {
    let environment = Environment::with_server();
    environment.write("good.yaml", task("web", ""));
    environment.write("bad.yaml", "kind: Task\n");
    environment.write("unknown.yaml", task("other", "  imgae: x\n"));
    for (words, code) in [
        ("get task/nobody", 1),
        ("describe task nobody", 1),
        ("delete task/nobody", 1),
        ("logs nobody", 1),
        ("restart task/nobody", 1),
        ("drain nobody", 1),
        ("cordon nobody", 1),
        ("apply -f bad.yaml", 2),
        ("apply -f unknown.yaml", 2),
        ("apply -f missing.yaml", 2),
        ("validate -f bad.yaml", 2),
        ("apply -f good.yaml --wait --timeout 100ms", 5),
        ("no-such-verb", 2),
        ("--server unix:///nowhere/cube.sock get tasks", 1),
        ("--server unix:///nowhere/cube.sock apply -f good.yaml", 1),
        ("--server unix:///nowhere/cube.sock stop web", 1),
    ] {
        let run = environment.run(words);
        assert_eq!(run.code, code, "cube {words}\n{run}");
        assert!(run.stderr.contains("error: "), "cube {words}\n{run}");
    }
}

#[test]
fn the_book_ignores_unknown_fields() {
    let environment = Environment::with_server();
    environment.write("a.yaml", task("web", "  comand: [sleep]\n"));
    let run = environment.run("apply -f a.yaml");
    assert_eq!(run.code, 2, "{run}");
    assert!(
        run.stderr.contains("unknown field `comand`") && run.stderr.contains("did you mean `command`?"),
        "{run}"
    );
    assert!(
        environment.server().registry.get(Kind::Task, "default", "web").is_err(),
        "nothing was applied"
    );
}

//! Colour where it is wanted, and nowhere else.
use crate::environment::{Environment, running, task};
use cube_api::kinds::Kind;

#[test]
fn colour_is_for_terminals_or_on_request() {
    let environment = Environment::with_server();
    environment.write("a.yaml", task("a", ""));
    environment.run("apply -f a.yaml");
    environment.server().set_status(Kind::Task, "a", &running(1));
    assert!(!environment.run("get tasks").stdout.contains('\u{1b}'));
    assert!(
        environment
            .run("get tasks --color always")
            .stdout
            .contains("\u{1b}[32mRunning\u{1b}[0m")
    );
    let refused = environment.run("get task nobody --color always");
    assert!(
        refused
            .stderr
            .starts_with("\u{1b}[1;31merror:\u{1b}[0m there is no task/nobody"),
        "{refused}"
    );
    let child = environment
        .command("get tasks --color auto")
        .env("NO_COLOR", "1")
        .spawn()
        .unwrap();
    assert!(!environment.finish(child).stdout.contains('\u{1b}'));
}

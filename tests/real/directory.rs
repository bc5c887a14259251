//! The watched directory, as people treat it.
use std::fs;

use super::harness::{Cube, sleeper, write};

#[test]
fn a_bad_file_keeps_its_objects_and_is_told_with_its_line() {
    let cube = Cube::up();
    cube.write("t.yaml", &sleeper("t"));
    cube.await_running("t");
    let container = cube.container("t");
    cube.write("t.yaml", &sleeper("t").replace("image:", "imgae:"));
    cube.await_line("did you mean `image`?");
    cube.await_line("t.yaml:4");
    assert_eq!(cube.container("t"), container);
    cube.write("t.yaml", &sleeper("t"));
    cube.await_line("has no errors any more");
    assert_eq!(cube.container("t"), container);
}

#[test]
fn most_of_a_directory_does_not_leave_without_a_yes() {
    let cube = Cube::up().with(&[]);
    for n in 0..6 {
        cube.write(&format!("t{n}.yaml"), &sleeper(&format!("t{n}")));
    }
    for n in 0..6 {
        cube.await_running(&format!("t{n}"));
    }
    for n in 0..5 {
        cube.remove(&format!("t{n}.yaml"));
    }
    cube.await_line("5 of 6 objects are gone from the directory: nothing removed");
    assert_eq!(cube.containers(&[]).len(), 6);
    let shown = cube.ok(&["approve", "--show"]);
    assert!(shown.contains("task/t0") && !shown.contains("task/t5"), "{shown}");
    cube.ok(&["approve"]);
    cube.await_true("five are gone", || cube.containers(&[]).len() == 1);
    assert_eq!(cube.list("tasks").len(), 1);
}

#[test]
fn a_directory_that_is_gone_removes_nothing() {
    let cube = Cube::up();
    cube.write("t.yaml", &sleeper("t"));
    cube.await_running("t");
    let aside = cube.path("aside");
    fs::rename(cube.manifests(), &aside).unwrap();
    cube.await_line("nothing is removed");
    fs::rename(&aside, cube.manifests()).unwrap();
    cube.write("u.yaml", &sleeper("u"));
    cube.await_running("u");
    assert_eq!(cube.containers(&[]).len(), 2);
}

#[test]
fn what_is_changed_past_the_directory_is_set_right_and_apply_to_it_is_refused() {
    let cube = Cube::up();
    cube.write("t.yaml", &sleeper("t"));
    cube.await_running("t");
    let file = cube.path("mine.yaml");
    write(&file, &sleeper("t").replace("100000", "5"));
    let refused = cube.cube(&["apply", "-f", file.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(6));
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("manifests"), "{said}");
    cube.ok(&["delete", "task", "t"]);
    cube.await_line("was deleted by someone else");
    cube.await_running("t");
}

#[test]
fn hostile_files_are_told_and_the_process_goes_on() {
    let cube = Cube::up();
    cube.write("nested.yaml", &"[".repeat(10_000));
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let more = vec![format!("*a{}", n - 1); 9].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{more}]\n"));
    }
    cube.write("bomb.yaml", &bomb);
    fs::write(cube.manifests().join("latin.yaml"), b"kind: T\xe4sk\n").unwrap();
    let large = fs::File::create(cube.manifests().join("large.yaml")).unwrap();
    large.set_len(100 << 20).unwrap();
    drop(large);
    cube.write("name.yaml", &sleeper("Not_A_Name"));
    for file in ["nested.yaml", "bomb.yaml", "latin.yaml", "large.yaml", "name.yaml"] {
        cube.await_line(&format!("in {file}"));
    }
    cube.write("t.yaml", &sleeper("t"));
    cube.await_running("t");
}

#[test]
fn a_file_that_is_still_being_written_removes_nothing() {
    use std::io::Write as _;
    let cube = Cube::up();
    let both = format!("{}---\n{}", sleeper("a"), sleeper("b"));
    cube.write("ab.yaml", &both);
    cube.await_running("a");
    cube.await_running("b");
    // As a shell does for `slow-program > ab.yaml`: truncated at once, filled later, closed at the end.
    let mut file = fs::File::create(cube.manifests().join("ab.yaml")).unwrap();
    file.write_all(sleeper("a").as_bytes()).unwrap();
    let began = std::time::Instant::now();
    cube.await_true("longer than removals wait for quiet", || {
        began.elapsed().as_millis() > 3500
    });
    assert_eq!(cube.list("tasks").len(), 2);
    // Closed as it is, it says so.
    drop(file);
    cube.await_true("b is gone", || cube.list("tasks").len() == 1);
}

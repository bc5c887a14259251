//! The house is as `docs/architecture.md` says: imports go one way, files stay readable, and what the pages name is there.
#![allow(missing_docs, reason = "tests")]
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Modules of `src`, and what each may use besides itself.
const MAY_USE: &[(&str, &[&str])] = &[
    ("world", &[]),
    ("manifest", &[]),
    ("engine", &["world"]),
    ("store", &["world"]),
    ("registry", &["store", "world"]),
    ("roster", &["engine"]),
    ("client", &["registry", "world"]),
    // The log's options are the engine's words.
    ("server", &["registry", "store", "world", "engine"]),
    ("controllers", &["registry", "store", "world", "roster"]),
    ("scheduler", &["registry", "store", "world"]),
    (
        "worker",
        &["registry", "store", "world", "engine", "roster", "client", "server"],
    ),
    ("source", &["registry", "store", "world", "manifest"]),
    (
        "daemon",
        &[
            "registry",
            "store",
            "world",
            "engine",
            "manifest",
            "server",
            "controllers",
            "scheduler",
            "worker",
            "source",
            "roster",
            "client",
        ],
    ),
    (
        "cli",
        &[
            "registry", "store", "world", "engine", "manifest", "server", "worker", "source", "daemon", "client",
        ],
    ),
];

fn root() -> PathBuf {
    env!("CARGO_MANIFEST_DIR").into()
}

/// All files below a directory that end so.
fn files(directory: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files(&path, ending));
        } else if path.to_string_lossy().ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

#[test]
fn imports_go_one_way() {
    let may_use: BTreeMap<&str, &[&str]> = MAY_USE.iter().copied().collect();
    let modules: BTreeSet<&str> = may_use.keys().copied().collect();
    let mut wrong = Vec::new();
    for path in files(&root().join("src"), ".rs") {
        let inside = path.strip_prefix(root().join("src")).unwrap();
        let first = inside.components().next().unwrap().as_os_str().to_string_lossy();
        let module = first.trim_end_matches(".rs").to_owned();
        if matches!(module.as_str(), "lib" | "main") || path.to_string_lossy().contains("tests") {
            continue;
        }
        let may = may_use
            .get(module.as_str())
            .unwrap_or_else(|| panic!("src/{module} is no room of the house"));
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let uses = code.split("crate::").skip(1).flat_map(named);
        for used in uses.filter(|used| modules.contains(used.as_str())) {
            if used != module && !may.contains(&used.as_str()) {
                wrong.push(format!("{} uses crate::{used}", inside.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "imports against the order of the house:\n{}",
        wrong.join("\n")
    );
}

/// Rooms of the control plane, which a simulation runs unchanged: what comes from outside comes from `world`.
const SIMULATED: &[&str] = &[
    "client",
    "controllers",
    "registry",
    "roster",
    "scheduler",
    "server",
    "source",
    "worker",
];
/// What asks the system past `world`.
const PAST_THE_WORLD: &[&str] = &[
    "tokio::spawn(",
    "spawn_blocking",
    "std::thread",
    "std::fs::",
    "File::",
    "Stream::connect(",
    "std::time::Instant",
    ".is_symlink()",
    ".exists()",
];
/// Places that may, since no simulation comes there.
const NOT_SIMULATED: &[&str] = &[
    // Reads files of the machine's kernel, on whose engine it is.
    "worker/figures",
    // A copy that a client downloads.
    "server/backup.rs",
];

#[test]
fn the_control_plane_asks_the_world() {
    let mut wrong = Vec::new();
    for room in SIMULATED {
        for path in files(&root().join("src").join(room), ".rs") {
            let inside = path
                .strip_prefix(root().join("src"))
                .unwrap()
                .to_string_lossy()
                .into_owned();
            if inside.contains("tests") || NOT_SIMULATED.iter().any(|place| inside.starts_with(place)) {
                continue;
            }
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
            let past = PAST_THE_WORLD.iter().filter(|past| code.contains(**past));
            wrong.extend(past.map(|past| format!("src/{inside}: {past}")));
        }
    }
    assert!(wrong.is_empty(), "past the world:\n{}", wrong.join("\n"));
}

/// The modules that follow `crate::`: one, or several in braces.
fn named(rest: &str) -> Vec<String> {
    let word = |text: &str| {
        text.trim()
            .chars()
            .take_while(|c| c.is_ascii_lowercase() || *c == '_')
            .collect::<String>()
    };
    let Some(list) = rest.strip_prefix('{') else {
        return vec![word(rest)];
    };
    let (mut depth, mut names) = (0, vec![word(list)]);
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(word(&list[at + 1..])),
            _ => {}
        }
    }
    names
}

#[test]
fn the_brain_does_no_io() {
    for path in files(&root().join("crates/plan/src"), ".rs") {
        let text = fs::read_to_string(&path).unwrap();
        for banned in [
            "tokio",
            "std::fs",
            "std::net",
            "std::thread",
            "Timestamp::now",
            "SystemTime",
            "async fn",
        ] {
            assert!(!text.contains(banned), "{}: {banned}", path.display());
        }
    }
}

#[test]
fn files_stay_readable() {
    let mut long = Vec::new();
    for folder in ["src", "crates", "tests", "benches"] {
        let folder = root().join(folder);
        if !folder.exists() {
            continue;
        }
        for path in files(&folder, ".rs") {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            if lines > 800 {
                long.push(format!("{} has {lines} lines", path.display()));
            }
        }
    }
    assert!(
        long.is_empty(),
        "think again, these are two concepts each:\n{}",
        long.join("\n")
    );
}

#[test]
fn every_path_that_the_pages_name_is_there() {
    let mut pages = files(&root().join("docs"), ".md");
    pages.push(root().join("README.md"));
    let mut missing = Vec::new();
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        // Between backticks, a word with a slash that begins in a folder of the house.
        for quoted in text.split('`').skip(1).step_by(2) {
            let begins = [
                "src/",
                "crates/",
                "docs/",
                "dev/",
                "tests/",
                "benches/",
                "manifests/",
                "packaging/",
                "schemas/",
            ];
            if begins.iter().any(|begin| quoted.starts_with(begin)) && !quoted.contains([' ', '*', '{', '<', 'N']) {
                let path = quoted.split(':').next().unwrap();
                if !root().join(path).exists() && !root().join(format!("{path}.rs")).exists() {
                    missing.push(format!("{}: {quoted}", page.display()));
                }
            }
        }
    }
    assert!(missing.is_empty(), "named and not there:\n{}", missing.join("\n"));
}

#[test]
fn every_example_of_the_pages_is_a_good_manifest() {
    let mut pages = files(&root().join("docs"), ".md");
    pages.push(root().join("README.md"));
    let directory = tempfile::tempdir().unwrap();
    let mut examples = 0;
    for page in pages {
        let text = fs::read_to_string(&page).unwrap();
        for block in text.split("```yaml\n").skip(1) {
            let yaml = block.split("```").next().unwrap();
            examples += 1;
            let file = directory.path().join(format!("{examples}.yaml"));
            fs::write(&file, yaml).unwrap();
            let mut validate = std::process::Command::new(env!("CARGO_BIN_EXE_cube"));
            let output = validate.arg("validate").arg("-f").arg(&file).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{}: {said}", page.display());
        }
    }
    assert!(examples >= 2);
}

#[test]
fn every_mistake_of_the_book_has_its_tests() {
    let page = fs::read_to_string(root().join("docs/book-bugs.md")).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert_eq!(rows.len(), 22, "none is left out");
    let mut missing = Vec::new();
    for row in rows {
        let kept_by = row.split(" | ").nth(2).unwrap();
        let quoted: Vec<&str> = kept_by.split('`').skip(1).step_by(2).collect();
        assert!(!quoted.is_empty() && quoted.len().is_multiple_of(2), "{row}");
        for pair in quoted.chunks(2) {
            let text = fs::read_to_string(root().join(pair[0])).unwrap();
            if !text.contains(&format!("fn {}(", pair[1])) {
                missing.push(format!("{} has no test {}", pair[0], pair[1]));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

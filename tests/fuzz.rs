//! What libFuzzer found, and what it began with, once more: each file of `fuzz/corpus` through its target.
//!
//! `dev/fuzz` looks for more of them.
#![allow(missing_docs, reason = "tests")]
#[path = "../fuzz/targets/mod.rs"]
mod targets;

use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn every_input_of_the_corpora_is_survived() {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus");
    let names = fs::read_dir(&corpora)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let targets: BTreeSet<String> = targets::TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(names.collect::<BTreeSet<_>>(), targets, "a corpus a target");
    for (name, target) in targets::TARGETS {
        let mut files: Vec<_> = fs::read_dir(corpora.join(name))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        files.sort();
        assert!(!files.is_empty(), "{name} has inputs");
        for file in files {
            // The test's own output is shown when it fails: the last line names the input.
            println!("{}", file.display());
            target(&fs::read(&file).unwrap());
        }
    }
}

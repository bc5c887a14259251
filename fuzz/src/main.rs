//! libFuzzer's program: all targets in one binary, since building one takes minutes; `CUBE_FUZZ_TARGET` says which.
#![no_main]
#[path = "../targets/mod.rs"]
mod targets;

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("CUBE_FUZZ_TARGET").unwrap_or_default();
    let named = targets::TARGETS.iter().find(|(target, _)| *target == name);
    let names: Vec<&str> = targets::TARGETS.iter().map(|(target, _)| *target).collect();
    named
        .unwrap_or_else(|| panic!("CUBE_FUZZ_TARGET must be one of {names:?}"))
        .1
});

fuzz_target!(|bytes: &[u8]| TARGET(bytes));

//! What is done with bad input, a file a target: each takes any bytes, and panics when Cube does not keep its word.
//!
//! Both who look for such input (libFuzzer's program, `fuzz/src/main.rs`) and who prove that what was found stays mended
//! (the plain test `tests/fuzz.rs`, over `fuzz/corpus`) include this file. It knows Cube's public API alone.
mod manifest;
mod parsers;
mod patches;
mod requests;
mod served;
mod store;
mod watches;

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// All targets, by the names of their corpora.
pub const TARGETS: &[(&str, Target)] = &[
    ("manifest", manifest::run),
    ("parsers", parsers::run),
    ("requests", requests::run),
    ("patches", patches::run),
    ("watches", watches::run),
    ("store", store::run),
];

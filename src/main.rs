//! Parse the command line, set up tracing, run.
fn main() {}

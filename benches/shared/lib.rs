//! What the programs that measure Cube share: Cube at work, the engine alone, the table of figures, a kept connection, the
//! account of a process.
#![allow(missing_docs, reason = "of these programs alone")]
pub mod cube;
pub mod process;
pub mod report;
pub mod straight;
pub mod wire;

pub type Fault = Box<dyn std::error::Error + Send + Sync>;
pub type Result<T> = std::result::Result<T, Fault>;

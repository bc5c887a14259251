//! The node's agent: carries out what the brain decides about each assigned Task, and tells what it sees.
//!
//! It owns the node's containers of this cluster and nothing else: what it did not make it never touches. It never
//! decides (that is `cube_plan::worker`) and never reads or writes the registry but through its [`link`].
//!
//! ```text
//! link ─ assignments ─► actor ─ step ─► engine
//!   ▲                    │ ▲               │
//!   └──── reports ───────┘ └─ view ◄ events┘
//! ```
//!
//! Begin with [`run`], then `actor.rs`.
mod actor;
mod agent;
mod assign;
mod engine_ends;
mod figures;
mod form;
mod health;
mod journal;
pub mod link;
mod networks;
mod node;
mod outcomes;
mod probes;
mod pulls;
mod scratch;
mod seen;
mod session;
mod steps;
pub mod subnets;
mod view;

pub use agent::EngineAgent;
pub use form::{Ground, HASH_LABEL, NODE_LABEL, NUMBER_LABEL, TASK_LABEL, UID_LABEL};
pub use journal::Journal;
pub use node::{Identity, Reserved};
pub use session::{Options, run};

//! The map of the house. Text becomes objects, objects become decisions, decisions become containers, and what is
//! observed comes back as status; read the modules in this order.
pub mod cli;
pub mod client;
pub mod controllers;
pub mod daemon;
pub mod engine;
pub mod manifest;
pub mod registry;
pub mod roster;
pub mod scheduler;
pub mod server;
pub mod source;
pub mod store;
pub mod worker;
pub mod world;

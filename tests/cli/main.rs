//! The command line as people and scripts see it: the real binary, in an environment of its own.
mod apply;
mod book;
mod environment;
mod hostile;
mod objects;
mod offline;
mod output;
mod placement;
mod proxy;
mod rebalance;
mod streams;
mod validate;
mod verbs;

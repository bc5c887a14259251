//! Which engine a worker has.
use std::sync::Arc;
use std::time::Duration;

use crate::engine::docker::DockerEngine;
use crate::engine::sim::{SimConfig, SimEngine};
use crate::engine::{Engine, Result};
use crate::world::World;

/// The engine to use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Docker, at this address; none: `DOCKER_HOST`, else the usual socket.
    Docker(Option<String>),
    /// A simulated one of 64 CPUs and 256 GiB, gone with the process.
    Sim {
        /// How long each start takes.
        start: Duration,
    },
}

impl Choice {
    /// A handle to the engine; whether it answers is seen later.
    ///
    /// # Errors
    /// Where its address makes no sense.
    pub fn connect(&self, world: &World) -> Result<Arc<dyn Engine>> {
        Ok(match self {
            Self::Docker(host) => Arc::new(DockerEngine::connect(host.as_deref())?),
            Self::Sim { start } => Arc::new(SimEngine::new(
                world.clone(),
                SimConfig {
                    start_delay: *start,
                    ..SimConfig::default()
                },
            )),
        })
    }
}

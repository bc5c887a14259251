//! What a manager can ask of this worker: its engine's words, as they are.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;

use crate::engine::{Engine, EngineError, LogOptions};
use crate::roster::{Agent, AgentError};

/// A worker that answers by its engine.
pub struct EngineAgent(Arc<dyn Engine>);

impl EngineAgent {
    /// For the worker of that engine.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self(engine)
    }
}

#[async_trait]
impl Agent for EngineAgent {
    async fn logs(
        &self,
        container: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, AgentError> {
        let pieces = self.0.logs(container, options).await.map_err(|error| match error {
            EngineError::NotFound { what } => AgentError::NotFound(what),
            error => AgentError::Unavailable(error.to_string()),
        })?;
        let pieces = pieces.map(|chunk| chunk.map(|chunk| chunk.bytes).map_err(|error| error.to_string()));
        Ok(pieces.boxed())
    }
}

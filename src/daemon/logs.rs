//! A Task's output, straight from the engine of the same process.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cube_api::kinds::Kind;
use cube_api::task::Task;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;

use crate::engine::{Engine, EngineError, LogOptions};
use crate::registry::{ApiError, StatusReason};
use crate::server::Logs;

/// Output by way of an engine.
pub struct EngineLogs(Arc<dyn Engine>);

impl EngineLogs {
    /// Of the engine's containers.
    pub fn new(engine: Arc<dyn Engine>) -> Self {
        Self(engine)
    }
}

#[async_trait]
impl Logs for EngineLogs {
    async fn logs(
        &self,
        task: &Task,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, ApiError> {
        let name = &task.metadata.name;
        let Some(id) = &task.status.container_id else {
            let message = format!("task {name} has no container yet: {}", task.status.reason);
            return Err(ApiError::bad_request(message).about(Kind::Task, name));
        };
        let stream = self.0.logs(id, options).await.map_err(|error| match error {
            EngineError::NotFound { .. } => {
                let message = format!("the container of task {name} is gone");
                ApiError::new(StatusReason::NotFound, message).about(Kind::Task, name)
            }
            error => ApiError::unavailable(error),
        })?;
        Ok(stream
            .map(|chunk| chunk.map(|chunk| chunk.bytes).map_err(|error| error.to_string()))
            .boxed())
    }
}

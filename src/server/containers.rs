//! What can be had of Tasks' containers, whichever node they are on.
use async_trait::async_trait;
use bytes::Bytes;
use cube_api::{figures::Measured, task::Task};
use futures_util::stream::BoxStream;

use crate::{
    engine::{ExecOptions, LogOptions, Program},
    registry::ApiError,
};

/// Where containers are reached: by way of the workers.
#[async_trait]
pub trait Containers: Send + Sync {
    /// What the Task's container wrote, as text.
    ///
    /// # Errors
    /// 404 when the container is gone, 503 when its node does not answer.
    async fn logs(
        &self,
        task: &Task,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, ApiError>;

    /// What a node and these of its containers use, now.
    ///
    /// # Errors
    /// 503 when the node does not answer.
    async fn figures(&self, node: &str, containers: Vec<String>) -> Result<Measured, ApiError>;

    /// Runs a program in the Task's container.
    ///
    /// # Errors
    /// 400 when it has no container that runs, 404 when that has just gone, 503 when its node does not answer.
    async fn exec(&self, task: &Task, options: ExecOptions) -> Result<Program, ApiError>;
}

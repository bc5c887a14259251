//! What the manager can ask of a node's worker while it is there.
use async_trait::async_trait;
use bytes::Bytes;
use cube_api::figures::Measured;
use futures_util::stream::BoxStream;

use crate::engine::{ExecOptions, LogOptions, Program};

/// A worker, as its manager sees it: in the same process, or over a link.
#[async_trait]
pub trait Agent: Send + Sync {
    /// What a container wrote, in pieces; ends with an error where it breaks off.
    ///
    /// # Errors
    /// When there is no such container, or the worker or its engine does not answer.
    async fn logs(
        &self,
        container: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, AgentError>;

    /// What the node and these of its containers use, now.
    ///
    /// # Errors
    /// When the worker or its engine does not answer.
    async fn figures(&self, containers: Vec<String>) -> Result<Measured, AgentError>;

    /// Runs a program in a container, beside its own.
    ///
    /// # Errors
    /// When no such container runs, or the worker or its engine does not answer.
    async fn exec(&self, container: &str, options: ExecOptions) -> Result<Program, AgentError>;
}

/// Why a worker did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AgentError {
    /// It is not there (any more). A retry does not help.
    #[error("{0} is gone")]
    NotFound(String),
    /// The worker or its engine does not answer. A retry helps once it does.
    #[error("{0}")]
    Unavailable(String),
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A worker that answers nothing.
    pub struct Nobody;

    #[async_trait]
    impl Agent for Nobody {
        async fn logs(
            &self,
            container: &str,
            _: LogOptions,
        ) -> Result<BoxStream<'static, Result<Bytes, String>>, AgentError> {
            Err(AgentError::NotFound(container.to_owned()))
        }

        async fn figures(&self, _: Vec<String>) -> Result<Measured, AgentError> {
            Err(AgentError::Unavailable("nobody is there".to_owned()))
        }

        async fn exec(&self, container: &str, _: ExecOptions) -> Result<Program, AgentError> {
            Err(AgentError::NotFound(container.to_owned()))
        }
    }
}

//! Tasks' containers, by way of the workers of their nodes.
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cube_api::figures::Measured;
use cube_api::kinds::Kind;
use cube_api::task::Task;
use futures_util::stream::BoxStream;

use crate::engine::{ExecOptions, LogOptions, Program};
use crate::registry::{ApiError, StatusReason};
use crate::roster::{Agent, AgentError, Roster};
use crate::server::Containers;

/// Containers by way of the workers that are there.
pub struct NodeContainers(Roster);

impl NodeContainers {
    /// Of the containers of all nodes.
    pub fn new(roster: Roster) -> Self {
        Self(roster)
    }
}

#[async_trait]
impl Containers for NodeContainers {
    async fn logs(
        &self,
        task: &Task,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, ApiError> {
        let (id, agent) = self.reach(task)?;
        agent.logs(id, options).await.map_err(|error| failed(task, error))
    }

    async fn figures(&self, node: &str, containers: Vec<String>) -> Result<Measured, ApiError> {
        let figures = self.agent(node)?.figures(containers).await;
        figures.map_err(|error| ApiError::unavailable(error.to_string()))
    }

    async fn exec(&self, task: &Task, options: ExecOptions) -> Result<Program, ApiError> {
        let (id, agent) = self.reach(task)?;
        agent.exec(id, options).await.map_err(|error| failed(task, error))
    }
}

impl NodeContainers {
    /// The Task's container, and the worker that has it.
    fn reach<'a>(&self, task: &'a Task) -> Result<(&'a str, Arc<dyn Agent>), ApiError> {
        let name = &task.metadata.name;
        let (Some(id), Some(node)) = (&task.status.container_id, &task.status.node) else {
            let message = format!("task {name} has no container yet: {}", task.status.reason);
            return Err(ApiError::bad_request(message).about(Kind::Task, name));
        };
        let agent = self.agent(node).map_err(|error| error.about(Kind::Task, name))?;
        Ok((id, agent))
    }

    /// A node's worker.
    fn agent(&self, node: &str) -> Result<Arc<dyn Agent>, ApiError> {
        self.0.agent(node).ok_or_else(|| {
            let silent = self.0.silence(node).as_secs();
            let message = format!("the worker of node {node} is not there: nothing was heard of it for {silent} s");
            ApiError::unavailable(message)
        })
    }
}

fn failed(task: &Task, error: AgentError) -> ApiError {
    let name = &task.metadata.name;
    match error {
        AgentError::NotFound(_) => {
            let message = format!("the container of task {name} is gone");
            ApiError::new(StatusReason::NotFound, message).about(Kind::Task, name)
        }
        AgentError::Unavailable(why) => ApiError::unavailable(why),
    }
}

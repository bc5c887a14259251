//! What a manager can ask of this worker: its engine's words, as they are.
//!
//! A program that whoever asked for it has gone from is hung up on, as by a terminal that is gone.
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use cube_api::figures::Measured;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::engine::exec::exit_code;
use crate::engine::{
    Ending, Engine, EngineError, Exec, ExecOptions, LogChunk, LogOptions, PIECES, Program, Said, Told,
};
use crate::roster::{Agent, AgentError};
use crate::world::World;

use super::figures::Sampler;

/// A worker that answers by its engine.
pub struct EngineAgent {
    engine: Arc<dyn Engine>,
    sampler: Sampler,
}

impl EngineAgent {
    /// For the worker of that engine.
    pub fn new(engine: Arc<dyn Engine>, world: World) -> Self {
        let sampler = Sampler::new(engine.clone(), world);
        Self { engine, sampler }
    }
}

#[async_trait]
impl Agent for EngineAgent {
    async fn logs(
        &self,
        container: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, AgentError> {
        let pieces = self.engine.logs(container, options).await.map_err(failed)?;
        let pieces = pieces.map(|chunk| chunk.map(|chunk| chunk.bytes).map_err(|error| error.to_string()));
        Ok(pieces.boxed())
    }

    async fn figures(&self, containers: Vec<String>) -> Result<Measured, AgentError> {
        self.sampler.figures(&containers).await.map_err(failed)
    }

    async fn exec(&self, container: &str, options: ExecOptions) -> Result<Program, AgentError> {
        let exec = self.engine.exec(container, options).await.map_err(failed)?;
        let (input, told) = mpsc::channel(PIECES);
        let (say, said) = mpsc::channel(PIECES);
        crate::world::spawn(join(self.engine.clone(), exec, told, say));
        let output = stream::unfold(said, |mut said| async { said.recv().await.map(|next| (next, said)) });
        Ok(Program {
            input,
            output: output.boxed(),
        })
    }
}

fn failed(error: EngineError) -> AgentError {
    match error {
        EngineError::NotFound { what } => AgentError::NotFound(what),
        EngineError::NotRunning { id } => AgentError::NotFound(format!("container {id} does not run: it")),
        error => AgentError::Unavailable(error.to_string()),
    }
}

/// Joins a program to whoever asked for it, until it has ended, or they have gone.
async fn join(engine: Arc<dyn Engine>, exec: Exec, told: mpsc::Receiver<Told>, say: mpsc::Sender<Said>) {
    let Exec { id, mut output, input } = exec;
    let speaking = async {
        while let Some(piece) = output.next().await {
            let (said, last) = match piece {
                Ok(LogChunk { stderr, bytes }) => (Said::Output { stderr, bytes }, false),
                Err(error) => (Said::Failed(error.to_string()), true),
            };
            if say.send(said).await.is_err() || last {
                return last;
            }
        }
        let ended = match exit_code(&*engine, &id).await {
            Ok(code) => Said::Ended(code),
            Err(error) => Said::Failed(error.to_string()),
        };
        let _ = say.send(ended).await;
        true
    };
    let ended = tokio::select! {
        biased;
        ended = speaking => ended,
        () = say.closed() => false,
        () = listen(&*engine, &id, input, told) => false,
    };
    if !ended && let Err(error) = engine.end_exec(&id, Ending::HangUp).await {
        tracing::debug!(%error, "a program that nobody listens to goes on");
    }
}

/// Passes on what the program is told, until nobody is there who could tell it anything.
async fn listen(
    engine: &dyn Engine,
    exec: &str,
    mut input: Option<Pin<Box<dyn AsyncWrite + Send>>>,
    mut told: mpsc::Receiver<Told>,
) {
    while let Some(told) = told.recv().await {
        match told {
            Told::Input(bytes) => {
                let written = match &mut input {
                    Some(input) => input.write_all(&bytes).await,
                    None => Ok(()),
                };
                // It reads no more, or has ended: what it says of that comes the other way.
                if written.is_err() {
                    input = None;
                }
            }
            Told::InputEnds => {
                if let Some(mut input) = input.take() {
                    let _ = input.shutdown().await;
                }
            }
            Told::Size(size) => {
                if let Err(error) = engine.resize_exec(exec, size).await {
                    tracing::debug!(%error, "a terminal keeps its size");
                }
            }
        }
    }
}

//! The manager's end of its workers' links: lets them in, and carries their words to the registry as a link in its own
//! process would.
//!
//! It decides nothing but who comes in: one worker a name, of this cluster, of this protocol. What a session has heard
//! goes into the roster; what the manager asks goes out over the worker's own dialling. Read [`Door::session`] first.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use cube_api::figures::Measured;
use cube_api::kinds::Kind;
use cube_api::node::Node;
use futures_util::future::{self, BoxFuture};
use futures_util::stream::{self, BoxStream, FuturesUnordered};
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::assigned::{Assigned, Told};
use super::frames::{Ask, Down, Frame, Hello, PROTOCOL, Streamed, Up};
use super::local::LocalLink;
use super::program;
use super::stream::Piece;
use super::{Link as _, Taken};
use crate::engine::{ExecOptions, LogOptions, Program};
use crate::registry::{Recorder, Registry};
use crate::roster::{Agent, AgentError, Roster, Session};
use crate::server;

/// A worker says something every few seconds; one that has been silent for so long is not there. Less than the grace of
/// its node, so that its link is down before anything is made of its silence.
const SILENCE: Duration = Duration::from_secs(10);
/// How long a worker has for its first word, and for dialling a stream that is asked of it.
const ANSWER: Duration = Duration::from_secs(5);
/// Tasks in one piece of a snapshot. A link keeps the room of its largest piece for as long as it lives, and there may be
/// thousands; fewer would cost more calls.
const PIECE: usize = 8;

/// Lets workers in.
pub struct Door {
    registry: Registry,
    assigned: Assigned,
    roster: Roster,
    recorder: Recorder,
    cluster: String,
    shutdown: CancellationToken,
    asked: Arc<Asked>,
}

/// Streams that workers were asked to dial, by their ids.
#[derive(Default)]
struct Asked(Mutex<BTreeMap<String, oneshot::Sender<WebSocket>>>);

impl Asked {
    fn streams(&self) -> MutexGuard<'_, BTreeMap<String, oneshot::Sender<WebSocket>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Door {
    /// A door to the cluster's registry; it closes with `shutdown`.
    pub fn new(
        registry: Registry,
        assigned: Assigned,
        roster: Roster,
        recorder: Recorder,
        cluster: &str,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            registry,
            assigned,
            roster,
            recorder,
            cluster: cluster.to_owned(),
            shutdown,
            asked: Arc::default(),
        }
    }

    /// Whether the worker may come in as that node; else why not, and what to do.
    fn admit(&self, node: &str, hello: &Hello) -> Result<(), String> {
        if hello.protocol != PROTOCOL {
            return Err(format!(
                "the worker of node {node} is cube {}, which speaks another protocol than this manager ({})\n\
                 hint: upgrade the manager first, then the workers",
                hello.version,
                env!("CARGO_PKG_VERSION")
            ));
        }
        if let Some(cluster) = hello.cluster.as_ref().filter(|cluster| **cluster != self.cluster) {
            return Err(format!(
                "this worker's containers are of cluster {cluster}, and this manager's cluster is {}\n\
                 hint: use another --data-dir, or --server of that cluster's manager",
                self.cluster
            ));
        }
        let known = self.registry.get(Kind::Node, "", node).ok();
        let known = known.map(|object| object.typed::<Node>().status.node_info.worker_id.clone());
        match known.filter(|known| !known.is_empty() && *known != hello.worker) {
            Some(_) => Err(format!(
                "node {node} is another worker's: it was last heard {} s ago\n\
                 hint: use another --node-name; if that machine is gone for good, `cube node delete {node}` gives its \
                 name free",
                self.roster.silence(node).as_secs()
            )),
            None => Ok(()),
        }
    }

    async fn serve(&self, node: &str, socket: &mut WebSocket) -> Option<()> {
        let hello = match timeout(ANSWER, heard(socket)).await {
            Ok(Some(Some(Up::Hello(hello)))) => hello,
            _ => return None,
        };
        let (to_open, opening) = mpsc::channel(16);
        let agent = RemoteAgent {
            opening: to_open,
            asked: Arc::clone(&self.asked),
            registry: self.registry.clone(),
        };
        let entered = self.admit(node, &hello).and_then(|()| {
            let entered = self.roster.enter(node, &hello.worker, Arc::new(agent));
            entered.map_err(|taken| {
                format!(
                    "node {node} is another worker's, which is there (heard {} s ago)\n\
                     hint: use another --node-name",
                    taken.silent.as_secs()
                )
            })
        });
        let session = match entered {
            Ok(session) => session,
            Err(why) => {
                tracing::warn!(node, why, "a worker is not let in");
                say(socket, [Frame::from(Down::Refused { why })]).await?;
                return None;
            }
        };
        let served = self.session(node, socket, &session, opening).await;
        self.roster.leave(node, &session);
        served
    }

    /// One worker's session, from its welcome to its end.
    async fn session(
        &self,
        node: &str,
        socket: &mut WebSocket,
        session: &Session,
        mut opening: mpsc::Receiver<Down>,
    ) -> Option<()> {
        let cluster = self.cluster.clone();
        say(socket, [Frame::from(Down::Welcome { cluster })]).await?;
        let recorder = self.recorder.on(node);
        let (link, keeping) = LocalLink::new(self.registry.clone(), self.assigned.clone(), node, recorder.clone());
        let mut keeping = std::pin::pin!(keeping);
        let mut assignments = self.assigned.listen(node);
        let mut reporting: FuturesUnordered<BoxFuture<'_, (u64, Vec<Taken>)>> = FuturesUnordered::new();
        let mut last = Instant::now();
        let mut out: Vec<Frame> = Vec::new();
        loop {
            if !out.is_empty() {
                say(socket, out.drain(..)).await?;
            }
            tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return Some(()),
                () = session.replaced.cancelled() => return Some(()),
                up = heard(socket) => {
                    last = Instant::now();
                    self.roster.heard(node, session);
                    match up? {
                        Some(Up::Reports { number, reports }) => {
                            let link = &link;
                            reporting.push(Box::pin(async move { (number, link.report(reports).await) }));
                        }
                        Some(Up::Node { node }) => link.tell_node(*node),
                        Some(Up::Event(happened)) => recorder.event_of(
                            happened.about,
                            happened.kind,
                            &happened.reason,
                            happened.message,
                            Duration::from_millis(happened.ago),
                        ),
                        Some(Up::Beat) => out.push(Down::Beat.into()),
                        Some(Up::Hello(_)) | None => {}
                    }
                }
                Some((number, taken)) = reporting.next() => out.push(Down::Taken { number, taken }.into()),
                told = assignments.next() => out.extend(told.into_iter().flat_map(frames)),
                Some(open) = opening.recv() => out.push(open.into()),
                () = &mut keeping => return None,
                () = tokio::time::sleep_until(last + SILENCE) => return None,
            }
        }
    }
}

#[async_trait]
impl server::Door for Door {
    async fn session(&self, node: String, mut socket: WebSocket) {
        tracing::debug!(node, "a worker comes");
        self.serve(&node, &mut socket).await;
        let _ = timeout(ANSWER, socket.send(Message::Close(None))).await;
        tracing::debug!(node, "a worker's link has ended");
    }

    async fn stream(&self, id: String, socket: WebSocket) {
        let asked = self.asked.streams().remove(&id);
        if let Some(asked) = asked {
            let _ = asked.send(socket);
        }
    }
}

/// What is said of Tasks, in pieces that a frame can hold.
fn frames(told: Told) -> Vec<Frame> {
    match told {
        Told::Changed(task) => vec![Frame::Changed(task)],
        Told::Removed(task) => {
            let uid = task.uid().to_owned();
            vec![Down::Removed { uid }.into()]
        }
        Told::Snapshot(tasks) => {
            let pieces = tasks.chunks(PIECE).map(|tasks| Frame::Snapshot(tasks.to_vec()));
            let end = Down::Snapshot {
                tasks: Vec::new(),
                more: false,
            };
            pieces.chain([end.into()]).collect()
        }
    }
}

/// The worker's next word: none at the end, and none inside where it is one that this release does not know.
async fn heard(socket: &mut WebSocket) -> Option<Option<Up>> {
    match socket.recv().await? {
        Ok(Message::Text(text)) => {
            let up = serde_json::from_str(text.as_str());
            Some(
                up.inspect_err(|error| tracing::debug!(%error, "a worker says something unknown"))
                    .ok(),
            )
        }
        Ok(Message::Close(_)) | Err(_) => None,
        Ok(_) => Some(None),
    }
}

/// Says something; none when the worker does not listen.
async fn say(socket: &mut WebSocket, frames: impl IntoIterator<Item = Frame>) -> Option<()> {
    let saying = async {
        for frame in frames {
            socket.feed(Message::text(frame.text())).await?;
        }
        socket.flush().await
    };
    timeout(SILENCE, saying).await.ok()?.ok()
}

/// A worker that is asked over its link.
struct RemoteAgent {
    opening: mpsc::Sender<Down>,
    asked: Arc<Asked>,
    registry: Registry,
}

impl RemoteAgent {
    /// Has the worker dial a stream for what is asked.
    async fn open(&self, ask: Ask) -> Result<WebSocket, AgentError> {
        let away = || AgentError::Unavailable("the node's worker does not answer".to_owned());
        let stream = self.registry.world().uuid().to_string();
        let (dialled, dialling) = oneshot::channel();
        self.asked.streams().insert(stream.clone(), dialled);
        let opening = async {
            let open = Down::Open {
                stream: stream.clone(),
                ask,
            };
            self.opening.send(open).await.ok()?;
            dialling.await.ok()
        };
        let opened = timeout(ANSWER, opening).await.ok().flatten();
        self.asked.streams().remove(&stream);
        opened.ok_or_else(away)
    }

    /// The same, once what is asked has begun.
    async fn begin(&self, ask: Ask) -> Result<WebSocket, AgentError> {
        let mut socket = self.open(ask).await?;
        match piece(&mut socket).await {
            Some(Piece::Word(Streamed::Begins)) => Ok(socket),
            Some(Piece::Word(Streamed::Fails { gone: true, why })) => Err(AgentError::NotFound(why)),
            Some(Piece::Word(Streamed::Fails { gone: false, why })) => Err(AgentError::Unavailable(why)),
            _ => Err(AgentError::Unavailable("the node's worker broke off".to_owned())),
        }
    }
}

#[async_trait]
impl Agent for RemoteAgent {
    async fn logs(
        &self,
        container: &str,
        options: LogOptions,
    ) -> Result<BoxStream<'static, Result<Bytes, String>>, AgentError> {
        let container = container.to_owned();
        let socket = self.begin(Ask::Logs { container, options }).await?;
        let pieces = stream::unfold(Some(socket), |socket| async {
            let mut socket = socket?;
            match piece(&mut socket).await {
                Some(Piece::Bytes(bytes)) => Some((Ok(bytes), Some(socket))),
                Some(Piece::Word(Streamed::Ends)) => None,
                Some(Piece::Word(Streamed::Fails { why, .. })) => Some((Err(why), None)),
                _ => Some((Err("the node's worker broke off".to_owned()), None)),
            }
        });
        Ok(pieces
            .filter(|piece| future::ready(!matches!(piece, Ok(bytes) if bytes.is_empty())))
            .boxed())
    }

    async fn figures(&self, containers: Vec<String>) -> Result<Measured, AgentError> {
        let mut socket = self.begin(Ask::Figures { containers }).await?;
        let measured = match piece(&mut socket).await {
            Some(Piece::Bytes(bytes)) => serde_json::from_slice(&bytes).ok(),
            _ => None,
        };
        measured.ok_or_else(|| AgentError::Unavailable("the node's worker broke off".to_owned()))
    }

    async fn exec(&self, container: &str, options: ExecOptions) -> Result<Program, AgentError> {
        let container = container.to_owned();
        let socket = self.begin(Ask::Exec { container, options }).await?;
        Ok(program::behind(socket))
    }
}

/// What comes next on a stream; none at its end.
async fn piece(socket: &mut WebSocket) -> Option<Piece> {
    loop {
        match socket.recv().await?.ok()? {
            Message::Binary(bytes) => return Some(Piece::Bytes(bytes)),
            Message::Text(text) => return serde_json::from_str(text.as_str()).ok().map(Piece::Word),
            Message::Close(_) => return None,
            Message::Ping(_) | Message::Pong(_) => {}
        }
    }
}

//! The worker's end of a link to a manager elsewhere: it dials, greets, and tells; when the link breaks, it dials again.
//!
//! While the manager is away nothing of the worker waits but its reports; events are kept within bounds, the node's word
//! and each Task's are told as they are then. Read [`Dialer::run`] first.
use cube_planted::{Bug, planted};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cube_api::event::EventType;
use cube_api::node::Node;
use cube_api::task::Task;
use futures_util::stream::{self, BoxStream};
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::Value;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::frames::{Down, Happened, Hello, PROTOCOL, Up, read_task};
use super::memory::Shared;
use super::{Assignment, Link, Taken, reference, stream as streams};
use crate::client::{Client, Error, Socket};
use crate::registry::TaskReport;
use crate::roster::{Agent, BEAT};
use crate::world::World;

/// A manager that says nothing for so long is not there: it answers each beat.
const SILENCE: Duration = Duration::from_secs(10);
/// So long a connection may take until it is a link: its way there, and the answer to it.
const OPENING: Duration = Duration::from_secs(20);
/// The first wait before it is dialled again; it doubles.
const AGAIN: Duration = Duration::from_millis(100);
/// The last one: how late at most a manager that is back is noticed.
const AGAIN_MOST: Duration = Duration::from_secs(2);
/// The manager is waited for so long before the worker goes by what it remembers: what it says is newer.
const BY_MEMORY: Duration = Duration::from_secs(2);
/// So many events are kept for a manager that is away; beyond it the oldest are dropped.
const EVENTS: usize = 1000;

/// What a worker is told at its start.
pub struct Options {
    /// The manager.
    pub client: Client,
    /// The node's name.
    pub node: String,
    /// The worker's own id.
    pub worker: String,
    /// The cluster whose containers it has; none before it has been in one.
    pub cluster: Option<String>,
}

/// Why a worker is not let in.
#[derive(Debug, thiserror::Error)]
pub enum GreetingError {
    /// The manager will not have it. A retry does not help.
    #[error("{0}")]
    Refused(String),
    /// It does not answer, or not now. A retry may help.
    #[error("{0}")]
    Away(String),
}

impl Options {
    /// Dials and greets; gives the open link and the cluster's id.
    ///
    /// # Errors
    /// See [`GreetingError`].
    pub async fn greet(&self) -> Result<(Socket, String), GreetingError> {
        let away = |why: &dyn std::fmt::Display| GreetingError::Away(why.to_string());
        // Who has taken the connection may never answer: it may have died without a word.
        let path = format!("{PATH}/{}", self.node);
        let opened = timeout(OPENING, self.client.socket(&path, &[])).await;
        let opened = opened.map_err(|_| away(&"it does not answer"))?;
        let mut socket = opened.map_err(|error| match error {
            Error::Refused(refusal) if refusal.code == 404 => {
                GreetingError::Away("this server takes no workers: its version of cube is older".to_owned())
            }
            error => away(&error),
        })?;
        let hello = Up::Hello(Hello {
            protocol: PROTOCOL,
            worker: self.worker.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            cluster: self.cluster.clone(),
        });
        let exchange = async {
            socket.send(said(&hello)).await.map_err(|error| away(&error))?;
            match next(&mut socket).await.map_err(|error| away(&error))? {
                Some(Down::Welcome { cluster }) => Ok(cluster),
                Some(Down::Refused { why }) => Err(GreetingError::Refused(why)),
                _ => Err(away(&"it does not greet as a manager does")),
            }
        };
        let cluster = timeout(SILENCE, exchange)
            .await
            .map_err(|_| away(&"it does not answer"))??;
        Ok((socket, cluster))
    }
}

/// Where workers come to; the node's name follows.
pub const PATH: &str = "/apis/cube/v1/link";

/// The worker's link, as the worker has it.
pub struct RemoteLink {
    reports: mpsc::Sender<Batch>,
    assignments: Mutex<Option<mpsc::UnboundedReceiver<Assignment>>>,
    node: watch::Sender<Option<Node>>,
    events: Arc<Events>,
    memory: Shared,
}

/// Reports, and who waits for what becomes of them.
type Batch = (Vec<TaskReport>, oneshot::Sender<Vec<Taken>>);

/// Events that are yet to be told, and when they happened.
#[derive(Default)]
struct Events {
    queue: Mutex<VecDeque<(Instant, Happened)>>,
    more: Notify,
}

/// What holds the link: dials for as long as it runs.
pub struct Dialer {
    options: Options,
    world: World,
    agent: Arc<dyn Agent>,
    memory: Shared,
    assignments: mpsc::UnboundedSender<Assignment>,
    reports: mpsc::Receiver<Batch>,
    node: watch::Receiver<Option<Node>>,
    events: Arc<Events>,
    /// The manager has said which Tasks are the node's, or the worker goes by what it remembers.
    assigned: bool,
    ear: Ear,
}

/// Hears how the link is: whether it is there, else why not. Must not wait.
pub type Ear = Box<dyn Fn(Result<(), &str>) + Send>;

/// A link that is yet to be dialled, and what holds it. `remembered` is the file of the last assignments.
pub fn link(
    options: Options,
    remembered: &Path,
    agent: Arc<dyn Agent>,
    world: World,
    ear: Ear,
) -> (RemoteLink, Dialer) {
    let (reports, to_report) = mpsc::channel(1);
    let (assignments, assigned) = mpsc::unbounded_channel();
    let (node, told) = watch::channel(None);
    let events = Arc::new(Events::default());
    let memory = Shared::open(world.notes(), remembered);
    let link = RemoteLink {
        reports,
        assignments: Mutex::new(Some(assigned)),
        node,
        events: Arc::clone(&events),
        memory: memory.clone(),
    };
    let dialer = Dialer {
        options,
        world,
        agent,
        memory,
        assignments,
        reports: to_report,
        node: told,
        events,
        assigned: false,
        ear,
    };
    (link, dialer)
}

#[async_trait]
impl Link for RemoteLink {
    async fn assignments(&self) -> BoxStream<'static, Assignment> {
        let receiver = self.assignments.lock().unwrap_or_else(PoisonError::into_inner).take();
        let next = |receiver: Option<mpsc::UnboundedReceiver<Assignment>>| async {
            let mut receiver = receiver?;
            let assignment = receiver.recv().await?;
            Some((assignment, Some(receiver)))
        };
        stream::unfold(receiver, next).boxed()
    }

    fn remember(&self, report: &TaskReport) {
        self.memory.with(|memory| memory.told(report));
    }

    async fn report(&self, reports: Vec<TaskReport>) -> Vec<Taken> {
        let again = vec![Taken::TryAgain("the link to the manager broke".to_owned()); reports.len()];
        let (answer, answered) = oneshot::channel();
        if self.reports.send((reports, answer)).await.is_err() {
            return again;
        }
        answered.await.unwrap_or(again)
    }

    fn tell_node(&self, node: Node) {
        self.node.send_replace(Some(node));
    }

    fn event(&self, task: &Task, kind: EventType, reason: &str, message: String) {
        let happened = Happened {
            about: reference(task),
            kind,
            reason: reason.to_owned(),
            message,
            ago: 0,
        };
        let mut queue = self.events.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() == EVENTS {
            queue.pop_front();
        }
        queue.push_back((Instant::now(), happened));
        self.events.more.notify_one();
    }
}

impl Events {
    fn take(&self) -> Option<Happened> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, mut happened) = queue.pop_front()?;
        happened.ago = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
        Some(happened)
    }
}

impl Dialer {
    /// Holds the link until `shutdown`.
    ///
    /// # Errors
    /// When the manager will not have this worker.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), GreetingError> {
        let done = shutdown.child_token();
        let keeping = self.memory.clone().keep(done.clone());
        let mut keeping = std::pin::pin!(keeping);
        tokio::select! {
            biased;
            ended = self.dial(&shutdown) => {
                // What is remembered is written down also when the manager has sent this worker away.
                done.cancel();
                keeping.await;
                ended
            }
            () = &mut keeping => Ok(()),
        }
    }

    /// Dials and dials again.
    async fn dial(mut self, shutdown: &CancellationToken) -> Result<(), GreetingError> {
        let began = Instant::now();
        let mut wait = AGAIN;
        loop {
            let by_memory = began + BY_MEMORY;
            let dialled = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                dialled = self.options.greet() => dialled,
                () = tokio::time::sleep_until(by_memory), if !self.assigned => {
                    self.go_by_memory();
                    continue;
                }
            };
            let why = match dialled {
                Ok((socket, _)) => {
                    wait = AGAIN;
                    (self.ear)(Ok(()));
                    self.session(socket, shutdown).await
                }
                Err(GreetingError::Away(why)) => why,
                Err(refused) => return Err(refused),
            };
            if shutdown.is_cancelled() {
                break;
            }
            (self.ear)(Err(&why));
            let jitter = wait.mul_f64((self.world.random() % 1024) as f64 / 2048.0);
            let again = Instant::now() + wait / 2 + jitter;
            wait = (wait * 2).min(AGAIN_MOST);
            let pause = async {
                if !self.assigned && by_memory < again {
                    tokio::time::sleep_until(by_memory).await;
                    return true;
                }
                tokio::time::sleep_until(again).await;
                false
            };
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                unasked = pause => if unasked { self.go_by_memory() },
            }
        }
        Ok(())
    }

    /// The manager does not say which Tasks are the node's: the last ones go on.
    fn go_by_memory(&mut self) {
        self.assigned = true;
        let tasks = self.memory.with(|memory| memory.tasks());
        tracing::info!(
            tasks = tasks.len(),
            "the manager does not answer: the last assignments go on"
        );
        let _ = self.assignments.send(Assignment::Snapshot(tasks));
    }

    /// One open link, to its end; says why it ended.
    async fn session(&mut self, socket: Socket, shutdown: &CancellationToken) -> String {
        let (mut to, mut from) = socket.split();
        let mut waiting: BTreeMap<u64, oneshot::Sender<Vec<Taken>>> = BTreeMap::new();
        let mut number = 0;
        let mut snapshot = Vec::new();
        let mut heard = Instant::now();
        let mut beat = Instant::now() + BEAT;
        self.node.mark_changed();
        self.events.more.notify_one();
        loop {
            let up = tokio::select! {
                biased;
                () = shutdown.cancelled() => {
                    let _ = timeout(AGAIN_MOST, to.send(Message::Close(None))).await;
                    return "shut down".to_owned();
                }
                message = from.next() => {
                    heard = Instant::now();
                    match frame(message) {
                        Ok(Some(Down::Taken { number, taken })) => {
                            if let Some(answer) = waiting.remove(&number) {
                                let _ = answer.send(taken);
                            }
                        }
                        Ok(Some(Down::Open { stream, ask })) => {
                            let (client, agent) = (self.options.client.clone(), Arc::clone(&self.agent));
                            let path = format!("{PATH}/{}/{stream}", self.options.node);
                            crate::world::spawn(streams::serve(client, path, ask, agent));
                        }
                        Ok(Some(down)) => {
                            self.take(down, &mut snapshot);
                        }
                        Ok(None) => {}
                        Err(why) => return why,
                    }
                    continue;
                }
                () = tokio::time::sleep_until(heard + SILENCE) => return "the manager is silent".to_owned(),
                Ok(()) = self.node.changed() => match self.node.borrow_and_update().clone() {
                    Some(node) => Up::Node { node: Box::new(node) },
                    None => continue,
                },
                Some((reports, answer)) = self.reports.recv() => {
                    number += 1;
                    waiting.insert(number, answer);
                    Up::Reports { number, reports }
                }
                () = self.events.more.notified() => match self.events.take() {
                    Some(event) => {
                        self.events.more.notify_one();
                        Up::Event(event)
                    }
                    None => continue,
                },
                () = tokio::time::sleep_until(beat) => Up::Beat,
            };
            beat = Instant::now() + BEAT;
            match timeout(SILENCE, to.send(said(&up))).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return error.to_string(),
                Err(_) => return "the manager does not listen".to_owned(),
            }
        }
    }

    /// Takes what the manager says of the node's Tasks.
    fn take(&mut self, down: Down, snapshot: &mut Vec<Arc<Task>>) {
        let assignment = match down {
            Down::Snapshot { .. } if self.assigned && planted(Bug::AssignmentMissed) => return,
            Down::Snapshot { tasks, more } => {
                snapshot.extend(tasks.into_iter().filter_map(|task| self.read(task)));
                if more {
                    return;
                }
                Assignment::Snapshot(std::mem::take(snapshot))
            }
            Down::Changed { task } => match self.read(task) {
                Some(task) => Assignment::Changed(task),
                None => return,
            },
            Down::Removed { uid } => Assignment::Removed(uid),
            Down::Beat | Down::Welcome { .. } | Down::Refused { .. } | Down::Taken { .. } | Down::Open { .. } => {
                return;
            }
        };
        if !std::mem::replace(&mut self.assigned, true) {
            let before = self.memory.with(|memory| memory.tasks());
            let _ = self.assignments.send(Assignment::Resume(before));
        }
        self.memory.with(|memory| memory.assign(&assignment));
        let _ = self.assignments.send(assignment);
    }

    /// A Task; one that this release cannot read stays as it was last.
    fn read(&self, value: Value) -> Option<Arc<Task>> {
        let uid = value["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        match read_task(value) {
            Ok(task) => Some(Arc::new(task)),
            Err(error) => {
                tracing::warn!(uid, %error, "a Task of a newer manager cannot be read; it stays as it was: upgrade this worker");
                self.memory.with(|memory| memory.get(&uid).cloned())
            }
        }
    }
}

fn said(up: &Up) -> Message {
    Message::text(serde_json::to_string(up).unwrap_or_default())
}

/// The manager's next word; none where it is one that this release does not know.
async fn next(socket: &mut Socket) -> Result<Option<Down>, String> {
    loop {
        match frame(socket.next().await)? {
            None => {}
            down => return Ok(down),
        }
    }
}

fn frame<E: std::fmt::Display>(message: Option<Result<Message, E>>) -> Result<Option<Down>, String> {
    match message {
        Some(Ok(Message::Text(text))) => Ok(serde_json::from_str(&text)
            .inspect_err(|error| tracing::debug!(%error, "the manager says something unknown"))
            .ok()),
        Some(Ok(Message::Close(_))) | None => Err("the manager has ended the link".to_owned()),
        Some(Ok(_)) => Ok(None),
        Some(Err(error)) => {
            tracing::debug!(%error, "the link broke");
            Err("the connection broke".to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixListener;

    use super::*;
    use crate::client::Endpoint;

    #[tokio::test(start_paused = true)]
    async fn who_takes_a_connection_and_never_answers_is_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("socket");
        // The system takes the connection for it; nobody ever reads.
        let _listener = UnixListener::bind(&path).unwrap();
        let options = Options {
            client: Client::new(Endpoint::Unix(path), World::real().network()),
            node: "a".to_owned(),
            worker: "worker".to_owned(),
            cluster: None,
        };
        let given_up = timeout(OPENING * 2, options.greet()).await.unwrap();
        let Err(GreetingError::Away(why)) = given_up else {
            panic!("it is away")
        };
        assert_eq!(why, "it does not answer");
    }
}

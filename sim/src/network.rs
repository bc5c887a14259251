//! The network between simulated machines: connections that are late, clogged, cut, or lead into silence.
//!
//! A connection is a stream, as TCP's are: what arrives arrives whole and in order, or not at all. Each machine has one
//! state towards each other in each direction, so that one may hear without being heard.
use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use async_trait::async_trait;
use axum::serve::Listener;
use cube::world::{
    network::{Connection, Network},
    process::Process,
};
use futures_util::FutureExt as _;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::mpsc,
    time::{Instant, Sleep},
};

use crate::chance::Chance;

/// What is under way in one direction at most; then whoever writes waits.
const ROOM: usize = 256 << 10;
/// So long a connection is tried to be opened.
const CONNECT: Duration = Duration::from_secs(20);

/// The network. Cloning gives another handle to the same one.
#[derive(Clone)]
pub struct Net(Arc<Mutex<Inner>>);

struct Inner {
    chance: Chance,
    listeners: BTreeMap<String, (String, mpsc::UnboundedSender<End>)>,
    links: BTreeMap<(String, String), Link>,
    pipes: Vec<(String, String, Pipe)>,
    /// Milliseconds that something takes to arrive at most, when nothing is wrong.
    latency: u64,
}

/// How it is from one machine to another.
#[derive(Clone, Debug, Default)]
struct Link {
    silent: bool,
    /// Milliseconds more that everything takes.
    clogged: u64,
}

impl Net {
    /// A network on which everything arrives within so many milliseconds.
    pub fn new(chance: Chance, latency: u64) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            chance,
            listeners: BTreeMap::new(),
            links: BTreeMap::new(),
            pipes: Vec::new(),
            latency,
        })))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network as a process on a machine has it.
    pub fn of(&self, machine: &str, process: Process) -> Arc<dyn Network> {
        Arc::new(Handle {
            net: self.clone(),
            machine: machine.to_owned(),
            process,
        })
    }

    /// Begins to listen on a machine, under a name that all know.
    pub fn listen(&self, machine: &str, name: &str) -> Ear {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.inner()
            .listeners
            .insert(name.to_owned(), (machine.to_owned(), sender));
        Ear(receiver)
    }

    /// Nobody listens there any more.
    pub fn deafen(&self, name: &str) {
        self.inner().listeners.remove(name);
    }

    /// Nothing arrives from one machine at another any more, or does again: then also what was kept back.
    pub fn set_silent(&self, from: &str, to: &str, silent: bool) {
        let mut inner = self.inner();
        inner.links.entry((from.to_owned(), to.to_owned())).or_default().silent = silent;
        inner.wake(from, to);
    }

    /// Everything from one machine to another takes so many milliseconds more.
    pub fn set_clogged(&self, from: &str, to: &str, clogged: u64) {
        let mut inner = self.inner();
        inner.links.entry((from.to_owned(), to.to_owned())).or_default().clogged = clogged;
    }

    /// Whether something arrives both ways.
    pub fn is_open(&self, one: &str, other: &str) -> bool {
        let inner = self.inner();
        let silent = |from: &str, to: &str| inner.link(from, to).silent;
        !silent(one, other) && !silent(other, one)
    }

    /// All is as it should be.
    pub fn heal(&self) {
        let mut inner = self.inner();
        let links: Vec<(String, String)> = inner.links.keys().cloned().collect();
        inner.links.clear();
        for (from, to) in links {
            inner.wake(&from, &to);
        }
    }

    /// Breaks every connection that a machine has to another; of a machine that died, with all others.
    pub fn cut(&self, machine: &str, other: Option<&str>) {
        let mut inner = self.inner();
        for (from, to, pipe) in &inner.pipes {
            let is = |one: &str, two: &str| one == machine && other.is_none_or(|other| two == other);
            if is(from, to) || is(to, from) {
                pipe.reset();
            }
        }
        inner.pipes.retain(|(_, _, pipe)| !pipe.is_over());
    }
}

impl Inner {
    fn link(&self, from: &str, to: &str) -> Link {
        let link = self.links.get(&(from.to_owned(), to.to_owned()));
        link.cloned().unwrap_or_default()
    }

    fn wake(&mut self, from: &str, to: &str) {
        self.pipes.retain(|(_, _, pipe)| !pipe.is_over());
        for (_, _, pipe) in self.pipes.iter().filter(|(a, b, _)| a == from && b == to) {
            pipe.wake();
        }
    }

    fn delay(&self, from: &str, to: &str) -> Duration {
        let own = if from == to {
            0
        } else {
            self.chance.range(0, self.latency)
        };
        Duration::from_millis(own + self.link(from, to).clogged)
    }
}

/// One direction of a connection.
#[derive(Clone)]
struct Pipe(Arc<Mutex<Flow>>);

#[derive(Default)]
struct Flow {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    size: usize,
    ended: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn new() -> Self {
        Self(Arc::default())
    }

    fn flow(&self) -> MutexGuard<'_, Flow> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let mut flow = self.flow();
        for waker in [flow.reader.take(), flow.writer.take()].into_iter().flatten() {
            waker.wake();
        }
    }

    fn reset(&self) {
        {
            let mut flow = self.flow();
            flow.reset = true;
            flow.pieces.clear();
        }
        self.wake();
    }

    fn end(&self) {
        self.flow().ended = true;
        self.wake();
    }

    fn is_over(&self) -> bool {
        let flow = self.flow();
        flow.reset || (flow.ended && flow.pieces.is_empty())
    }
}

/// One end of a connection.
pub struct End {
    net: Net,
    /// Of this machine, and the other.
    machines: (String, String),
    incoming: Pipe,
    outgoing: Pipe,
    sleep: Option<Pin<Box<Sleep>>>,
}

fn broken() -> io::Error {
    io::ErrorKind::ConnectionReset.into()
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let silent = self.net.inner().link(&self.machines.1, &self.machines.0).silent;
        let pipe = self.incoming.clone();
        let mut flow = pipe.flow();
        flow.reader = Some(context.waker().clone());
        if flow.reset {
            return Poll::Ready(Err(broken()));
        }
        if silent {
            return Poll::Pending;
        }
        let Some((at, piece)) = flow.pieces.front_mut() else {
            return if flow.ended { Poll::Ready(Ok(())) } else { Poll::Pending };
        };
        if *at > Instant::now() {
            let at = *at;
            drop(flow);
            let mut sleep = Box::pin(tokio::time::sleep_until(at));
            if sleep.poll_unpin(context).is_ready() {
                context.waker().wake_by_ref();
            }
            self.sleep = Some(sleep);
            return Poll::Pending;
        }
        let taken = piece.len().min(out.remaining());
        out.put_slice(&piece[..taken]);
        piece.drain(..taken);
        if piece.is_empty() {
            flow.pieces.pop_front();
        }
        flow.size -= taken;
        if let Some(writer) = flow.writer.take() {
            writer.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let delay = self.net.inner().delay(&self.machines.0, &self.machines.1);
        let mut flow = self.outgoing.flow();
        if flow.reset || flow.ended {
            return Poll::Ready(Err(broken()));
        }
        if flow.size >= ROOM {
            flow.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let last = flow.pieces.back().map(|(at, _)| *at);
        let at = (Instant::now() + delay).max(last.unwrap_or_else(Instant::now));
        flow.pieces.push_back((at, bytes.to_vec()));
        flow.size += bytes.len();
        if let Some(reader) = flow.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.outgoing.end();
        Poll::Ready(Ok(()))
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.outgoing.end();
        // Whoever writes to an end that is gone is told so.
        let mut flow = self.incoming.flow();
        flow.ended = true;
        if let Some(writer) = flow.writer.take() {
            writer.wake();
        }
    }
}

/// Who listens.
pub struct Ear(mpsc::UnboundedReceiver<End>);

impl Listener for Ear {
    type Io = End;
    type Addr = ();

    async fn accept(&mut self) -> (End, ()) {
        match self.0.recv().await {
            Some(end) => (end, ()),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}

struct Handle {
    net: Net,
    machine: String,
    process: Process,
}

impl Handle {
    async fn connect(&self, name: &str) -> io::Result<Box<dyn Connection>> {
        if !self.process.is_alive() {
            return std::future::pending().await;
        }
        let began = Instant::now();
        loop {
            let (there, delay, open) = {
                let inner = self.net.inner();
                let listener = inner.listeners.get(name).filter(|(_, sender)| !sender.is_closed());
                let there = listener.cloned();
                let machine = there.as_ref().map_or(name, |(machine, _)| machine);
                let open = !inner.link(&self.machine, machine).silent && !inner.link(machine, &self.machine).silent;
                (there.clone(), inner.delay(&self.machine, machine), open)
            };
            tokio::time::sleep(delay).await;
            if !open {
                if began.elapsed() > CONNECT {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
            let refused = || io::Error::from(io::ErrorKind::ConnectionRefused);
            let (machine, sender) = there.ok_or_else(refused)?;
            let (to, from) = (Pipe::new(), Pipe::new());
            let end = |machines: (&str, &str), incoming: &Pipe, outgoing: &Pipe| End {
                net: self.net.clone(),
                machines: (machines.0.to_owned(), machines.1.to_owned()),
                incoming: incoming.clone(),
                outgoing: outgoing.clone(),
                sleep: None,
            };
            let near = end((&self.machine, &machine), &from, &to);
            let far = end((&machine, &self.machine), &to, &from);
            {
                let mut inner = self.net.inner();
                inner.pipes.retain(|(_, _, pipe)| !pipe.is_over());
                inner.pipes.push((self.machine.clone(), machine.clone(), to));
                inner.pipes.push((machine, self.machine.clone(), from));
            }
            sender.send(far).map_err(|_| refused())?;
            return Ok(Box::new(near));
        }
    }
}

#[async_trait]
impl Network for Handle {
    async fn unix(&self, path: &Path) -> io::Result<Box<dyn Connection>> {
        self.connect(&path.to_string_lossy()).await
    }

    async fn tcp(&self, authority: &str) -> io::Result<Box<dyn Connection>> {
        self.connect(authority).await
    }
}

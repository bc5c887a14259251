//! The workers that pretend, in a process of their own, so that what they cost is told apart from what Cube costs.
//!
//! ```text
//! fleet ─ lines on stdin: `work FIRST LAST`, `lose FIRST LAST` ─► fleet workers ═ links ═► the manager
//!       ◄───────── lines on stdout: the tally as it is ──────────┘
//! ```
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cube_bench::process;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::Result;
use crate::worker::{Tally, Worker};

/// How often the tally is told, if it has changed: how exactly a moment is known.
const TOLD: Duration = Duration::from_millis(20);

/// The tally, as it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// Links that are up.
    pub links: i64,
    /// Tasks that they have.
    pub tasks: i64,
    /// Those of them that run, as the manager knows.
    pub running: i64,
    /// Reports that the manager did not take.
    pub refused: u64,
    /// Links that broke.
    pub broken: u64,
}

/// The other process.
pub struct Crew {
    child: Child,
    orders: ChildStdin,
    last: Arc<Mutex<Told>>,
}

impl Crew {
    /// Begins a process for so many workers, none of which works yet.
    pub fn begin(socket: &Path, workers: usize) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("workers").arg(socket).arg(workers.to_string());
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take().ok_or("no stdin")?;
        let lines = BufReader::new(child.stdout.take().ok_or("no stdout")?).lines();
        let last = Arc::new(Mutex::new(Told::default()));
        let heard = Arc::clone(&last);
        std::thread::spawn(move || {
            for told in lines.map_while(|line| serde_json::from_str(&line.ok()?).ok()) {
                *heard.lock().unwrap_or_else(PoisonError::into_inner) = told;
            }
        });
        Ok(Self { child, orders, last })
    }

    /// Has these workers work.
    pub fn work(&mut self, workers: std::ops::Range<usize>) -> Result<()> {
        Ok(writeln!(self.orders, "work {} {}", workers.start, workers.end)?)
    }

    /// Has these workers fall silent at once.
    pub fn lose(&mut self, workers: std::ops::Range<usize>) -> Result<()> {
        Ok(writeln!(self.orders, "lose {} {}", workers.start, workers.end)?)
    }

    pub fn told(&self) -> Told {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the tally is so; gives the time that it took.
    pub async fn until(&self, what: &str, limit: Duration, is: impl Fn(&Told) -> bool) -> Result<Duration> {
        let began = Instant::now();
        loop {
            let told = self.told();
            if is(&told) {
                return Ok(began.elapsed());
            }
            if began.elapsed() > limit {
                return Err(format!("waited in vain until {what}: {told:?}").into());
            }
            tokio::time::sleep(TOLD).await;
        }
    }

    /// Processor time so far.
    pub fn spent(&self) -> Result<Duration> {
        process::spent(self.child.id())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The other process's program.
#[tokio::main(flavor = "current_thread")]
pub async fn work(socket: PathBuf, workers: usize) -> Result<()> {
    let tally = Arc::new(Tally::default());
    let socket: &'static Path = Box::leak(socket.into_boxed_path());
    let mut wishes = Vec::with_capacity(workers);
    for number in 0..workers {
        let (wish, wished) = watch::channel(false);
        wishes.push(wish);
        tokio::spawn(Worker::new(socket, name(number), Arc::clone(&tally)).run(wished));
    }
    let (send, mut orders) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(|line| line.ok()) {
            if send.send(line).is_err() {
                return;
            }
        }
    });
    let mut said = None;
    let mut turn = tokio::time::interval(TOLD);
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(order) => follow(&order, &wishes),
                None => return Ok(()),
            },
            _ = turn.tick() => {
                let now = told(&tally);
                if said != Some(now) {
                    println!("{}", serde_json::to_string(&now)?);
                    said = Some(now);
                }
            }
        }
    }
}

/// The name of a worker's node.
pub fn name(number: usize) -> String {
    format!("node-{number:05}")
}

fn follow(order: &str, wishes: &[watch::Sender<bool>]) {
    let words: Vec<&str> = order.split(' ').collect();
    if let [verb, first, last] = words.as_slice()
        && let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>())
    {
        for wish in &wishes[first..last] {
            wish.send_replace(*verb == "work");
        }
    }
}

fn told(tally: &Tally) -> Told {
    Told {
        links: tally.links.load(Ordering::Relaxed),
        tasks: tally.tasks.load(Ordering::Relaxed),
        running: tally.running.load(Ordering::Relaxed),
        refused: tally.refused.load(Ordering::Relaxed),
        broken: tally.broken.load(Ordering::Relaxed),
    }
}

//! Asks containers their probes, and tells the actor what is new. One small task a container, no thread; what is under
//! way ends with it.
//!
//! When something is asked and what the answers come to is decided in `cube_plan::probe`; what is done about it by the
//! worker's brain. Nothing here touches a container, but for the programs that exec probes run in it.
//!
//! ```text
//! actor ─ begin ─► Prober ─ due ─► http | tcp | exec ─► container
//!   ▲                 └─ answers ─► Health ─┐
//!   └───────────── Message::Probed ◄────────┘
//! ```
mod exec;
mod http;
mod tcp;
#[cfg(test)]
mod tests;
mod tls;

use std::sync::Arc;
use std::time::Duration;

use cube_api::probe::ProbeStatus;
use cube_plan::probe::{Action, Answer, Check, Health, Unhealthy};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::task::AbortHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::engine::Engine;
use crate::world::{World, network::Network};

pub use exec::{Left, Turns};

/// So much of an answer is read; what is beyond it is nobody's business.
const READ: usize = 10 << 10;

/// Which container is asked, and how it is reached.
#[derive(Clone)]
pub struct Target {
    /// The container's id.
    pub container: String,
    /// Its own address; `None` where it has none.
    pub address: Option<String>,
    /// The way to it.
    pub network: Arc<dyn Network>,
    /// The engine that it runs on.
    pub engine: Arc<dyn Engine>,
    /// Turns at starting programs in containers.
    pub turns: Arc<Turns>,
    /// Programs that could not be ended.
    pub left: Arc<Left>,
}

/// What is new of a container's probes.
#[derive(Clone, Debug)]
pub struct Report {
    /// What is known of each.
    pub probes: Vec<ProbeStatus>,
    /// Why the container is to be stopped, if it is.
    pub unhealthy: Option<Unhealthy>,
}

/// Asks one container; dropping it ends that.
pub struct Prober {
    container: String,
    address: Option<String>,
    checks: Vec<Check>,
    running: AbortHandle,
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Prober {
    /// Begins to ask a container that was started `age` ago, and of whose probes that is known. Gives what is known to
    /// begin with; what is new is told by `tell`.
    pub fn begin(
        target: Target,
        checks: Vec<Check>,
        age: Duration,
        known: &[ProbeStatus],
        world: World,
        tell: impl Fn(Report) + Send + 'static,
    ) -> (Self, Report) {
        let health = Health::new(checks.clone(), age, known, world.random());
        let first = report(&health);
        let (container, address) = (target.container.clone(), target.address.clone());
        let running = crate::world::spawn(ask_on(target, health, age, world, tell)).abort_handle();
        let prober = Self {
            container,
            address,
            checks,
            running,
        };
        (prober, first)
    }

    /// What it asks of that container.
    pub fn asks(&self, container: &str) -> Option<&[Check]> {
        (self.container == container).then_some(&self.checks)
    }

    /// Whether it asks this of that container.
    pub fn is_of(&self, container: &str, address: Option<&String>, checks: &[Check]) -> bool {
        self.container == container && self.address.as_ref() == address && self.checks == checks
    }
}

/// Asks until there is nothing more to ask.
async fn ask_on(target: Target, mut health: Health, age: Duration, world: World, tell: impl Fn(Report)) {
    let began = Instant::now();
    let now = || age + began.elapsed();
    let mut asked = FuturesUnordered::new();
    loop {
        for check in health.due(now()) {
            let target = target.clone();
            asked.push(async move { (check.kind, ask(&target, &check).await) });
        }
        let next = health.next();
        let wake = next.map(|next| began + next.saturating_sub(age));
        tokio::select! {
            biased;
            Some((kind, answer)) = asked.next(), if !asked.is_empty() => {
                if health.answered(kind, &answer, now(), world.now()) {
                    tell(report(&health));
                }
            }
            () = sleep_until(wake.unwrap_or(began)), if wake.is_some() => {}
            else => return,
        }
    }
}

fn report(health: &Health) -> Report {
    Report {
        probes: health.probes(),
        unhealthy: health.unhealthy(),
    }
}

/// Asks once.
async fn ask(target: &Target, check: &Check) -> Answer {
    let answer = async {
        match &check.action {
            Action::Exec { command } => exec::ask(target, command, check.timeout).await,
            Action::Http { host, port, .. } | Action::Tcp { host, port } => {
                let Some(host) = host.as_ref().or(target.address.as_ref()) else {
                    return Answer::bad("the container has no address", "");
                };
                let Some(port) = *port else {
                    return Answer::bad("the Task has no port of that name", "");
                };
                match &check.action {
                    Action::Http {
                        scheme, path, headers, ..
                    } => http::ask(&*target.network, host, port, *scheme, path, headers).await,
                    _ => tcp::ask(&*target.network, host, port).await,
                }
            }
        }
    };
    // A program has its own limit: the time in which its engine gets to it does not count.
    if matches!(check.action, Action::Exec { .. }) {
        return answer.await;
    }
    timeout(check.timeout, answer)
        .await
        .unwrap_or_else(|_| no_answer(check.timeout))
}

fn no_answer(within: Duration) -> Answer {
    Answer::bad(format!("no answer within {} s", within.as_secs_f64()), "")
}

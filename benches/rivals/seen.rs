//! What the engine tells of its containers: the one clock that is the same for every side.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bollard::Docker;
use cube_bench::Result;
use futures_util::StreamExt as _;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

/// Nothing that is measured takes so long.
pub const LIMIT: Duration = Duration::from_secs(240);
/// By then the engine has begun to tell.
const OPENING: Duration = Duration::from_millis(200);

/// Something that became of a container.
#[derive(Clone, Debug)]
pub struct Moment {
    pub at: Instant,
    /// The engine's word: `create`, `start`, `die`, `destroy`.
    pub what: String,
    pub id: String,
}

/// The engine's events so far.
pub struct Seen {
    moments: Arc<Mutex<Vec<Moment>>>,
    more: Arc<Notify>,
    _reader: AbortOnDropHandle<()>,
}

impl Seen {
    pub async fn open(docker: &Docker) -> Self {
        let moments: Arc<Mutex<Vec<Moment>>> = Arc::default();
        let mut events = Box::pin(docker.events(None));
        let (noted, more) = (moments.clone(), Arc::new(Notify::new()));
        let told = more.clone();
        let reader = tokio::spawn(async move {
            while let Some(Ok(event)) = events.next().await {
                let at = Instant::now();
                if event.typ.is_some_and(|of| of.to_string() == "container")
                    && let (Some(what), Some(id)) = (event.action, event.actor.and_then(|actor| actor.id))
                {
                    lock(&noted).push(Moment { at, what, id });
                    told.notify_one();
                }
            }
        });
        tokio::time::sleep(OPENING).await;
        Self {
            moments,
            more,
            _reader: AbortOnDropHandle::new(reader),
        }
    }

    /// All since then.
    pub fn since(&self, began: Instant) -> Vec<Moment> {
        let moments = lock(&self.moments);
        moments.iter().filter(|moment| moment.at >= began).cloned().collect()
    }

    /// Until that became of so many containers; the first such moment of each, earliest first.
    pub async fn until(&self, what: &str, many: usize, began: Instant) -> Result<Vec<Instant>> {
        loop {
            let mut firsts: BTreeMap<String, Instant> = BTreeMap::new();
            for moment in self.since(began).into_iter().filter(|moment| moment.what == what) {
                firsts.entry(moment.id).or_insert(moment.at);
            }
            if firsts.len() >= many {
                let mut firsts: Vec<_> = firsts.into_values().collect();
                firsts.sort();
                return Ok(firsts);
            }
            if began.elapsed() > LIMIT {
                return Err(format!("{what} was seen of {} of {many} containers", firsts.len()).into());
            }
            let _ = tokio::time::timeout(Duration::from_secs(1), self.more.notified()).await;
        }
    }
}

fn lock(moments: &Mutex<Vec<Moment>>) -> MutexGuard<'_, Vec<Moment>> {
    moments.lock().unwrap_or_else(PoisonError::into_inner)
}

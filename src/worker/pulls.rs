//! Pulls under way: one an image, however many Tasks wait for it, each of them told how far it has come.
//!
//! A pull goes on while somebody waits for it. Never decides what is pulled, and never limits how many images are.
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use tokio::sync::watch;

use crate::engine::{Engine, PullProgress, Result};

type Pull = Shared<BoxFuture<'static, Result<()>>>;

/// A pull that somebody waits for.
struct UnderWay {
    pull: WeakShared<BoxFuture<'static, Result<()>>>,
    progress: watch::Receiver<PullProgress>,
}

/// The pulls of one engine. Cloning is cheap.
#[derive(Clone, Default)]
pub struct Pulls(Arc<Mutex<BTreeMap<String, UnderWay>>>);

impl Pulls {
    /// The pull of an image, begun unless it is under way, and how far it has come.
    pub fn join(&self, engine: &Arc<dyn Engine>, image: &str) -> (Pull, watch::Receiver<PullProgress>) {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.retain(|_, pull| pull.pull.upgrade().is_some());
        if let Some(there) = under_way.get(image)
            && let Some(pull) = there.pull.upgrade()
            && pull.peek().is_none()
        {
            return (pull, there.progress.clone());
        }
        let (sender, progress) = watch::channel(PullProgress::default());
        let (engine, name) = (engine.clone(), image.to_owned());
        let pull = async move {
            let tell = |now: PullProgress| {
                sender.send_replace(now);
            };
            engine.pull(&name, &tell).await
        };
        let pull = pull.boxed().shared();
        if let Some(weak) = pull.downgrade() {
            let progress = progress.clone();
            under_way.insert(image.to_owned(), UnderWay { pull: weak, progress });
        }
        (pull, progress)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::engine::sim::{SimConfig, SimEngine, Verb};
    use crate::world::World;

    #[tokio::test(start_paused = true)]
    async fn one_pull_an_image_serves_all_who_wait() {
        let config = SimConfig {
            pull_delay: Duration::from_secs(5),
            ..SimConfig::default()
        };
        let sim = SimEngine::new(World::real(), config);
        let engine: Arc<dyn Engine> = Arc::new(sim.clone());
        let pulls = Pulls::default();
        let (first, _) = pulls.join(&engine, "a");
        let (second, _) = pulls.join(&engine, "a");
        let (other, _) = pulls.join(&engine, "b");
        let (a, b, c) = tokio::join!(first, second, other);
        assert_eq!((a, b, c), (Ok(()), Ok(()), Ok(())));
        assert_eq!(sim.calls(Verb::Pull), 2);
        // What is done is not joined any more: who asks later means a new look.
        pulls.join(&engine, "a").0.await.unwrap();
        assert_eq!(sim.calls(Verb::Pull), 3);
        // A pull that nobody waits for any more ends.
        drop(pulls.join(&engine, "c"));
        assert!(
            pulls
                .0
                .lock()
                .unwrap()
                .values()
                .all(|pull| pull.pull.upgrade().is_none())
        );
    }
}

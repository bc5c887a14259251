//! Tells people what Cube does as it does it: a line an action, what, why and how long.
//!
//! It listens to what the source and the recorder tell, and watches Tasks and Deployments for what comes of it. It never
//! decides anything, and nothing waits for it. What follows from what is kept apart ([`Scene`], pure) from the writing of
//! lines. Read [`Narrator`] first.
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cube_api::kinds::Kind;
use tokio::task::yield_now;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lines::Lines;
use super::scene::{Line, Scene, Tone};
use crate::manifest::Look;
use crate::registry::{Registry, Told, WatchOptions};
use crate::source::{Fact, Tell};

/// Lines that belong together come within this time; it only keeps a summary from coming before what it sums up.
const SETTLE: Duration = Duration::from_millis(150);
/// After so many changes others have their turn.
const AT_ONCE: usize = 128;

/// Writes the lines. Cloning is cheap.
#[derive(Clone)]
pub struct Narrator(Arc<Shared>);

struct Shared {
    scene: Mutex<Scene>,
    lines: Lines,
    registry: Registry,
    changed: tokio::sync::Notify,
}

impl Narrator {
    /// A narrator of the registry's Tasks and Deployments; `directory` is what people call the source.
    pub fn new(registry: Registry, lines: Lines, directory: &str) -> Self {
        Self(Arc::new(Shared {
            scene: Mutex::new(Scene::new(directory)),
            lines,
            registry,
            changed: tokio::sync::Notify::new(),
        }))
    }

    /// Takes an Event, as the recorder's listener.
    pub fn told(&self, told: &Told) {
        let about = &told.about;
        let kind = Kind::from_kind(&about.kind);
        let object = kind.and_then(|kind| self.0.registry.get(kind, &about.namespace, &about.name).ok());
        // What a Deployment's Tasks do is told of the Deployment; only what goes wrong with one is told of it.
        let owned = object.is_some_and(|object| object.meta().controller().is_some());
        self.with(|scene| scene.told(told, owned));
    }

    /// A line of Cube itself.
    pub fn say(&self, text: &str) {
        self.0.lines.say(text);
    }

    /// A line that somebody should heed.
    pub fn worry(&self, subject: &str, text: &str) {
        self.0.lines.worry(subject, text);
    }

    /// Watches what comes of it all until `shutdown`.
    pub async fn watch(self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let kinds = [Kind::Task, Kind::Deployment];
            let watches = kinds.map(|kind| self.0.registry.watch(kind, WatchOptions::default()));
            let [Ok(mut tasks), Ok(mut deployments)] = watches else {
                return;
            };
            self.with(|scene| {
                scene.begin_again();
                Vec::new()
            });
            loop {
                let events = tokio::select! {
                    biased;
                    () = shutdown.cancelled() => return,
                    events = tasks.next() => events,
                    events = deployments.next() => events,
                    () = self.settled() => continue,
                };
                let Ok(events) = events else { break };
                // What is there at first comes all at once.
                for some in events.chunks(AT_ONCE) {
                    self.with(|scene| {
                        let now = Instant::now();
                        some.iter().flat_map(|event| scene.seen(event, now)).collect()
                    });
                    yield_now().await;
                }
            }
        }
    }

    /// Waits until a change has settled, and sums up. That is no change itself: nothing happens until the next one.
    async fn settled(&self) {
        self.0.changed.notified().await;
        tokio::time::sleep(SETTLE).await;
        self.0.lines.write(self.scene().pause());
    }

    /// How many containers run, for a last word.
    pub fn running(&self) -> usize {
        self.scene().running()
    }

    fn scene(&self) -> MutexGuard<'_, Scene> {
        self.0.scene.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with(&self, change: impl FnOnce(&mut Scene) -> Vec<Line>) {
        let lines = change(&mut self.scene());
        self.0.lines.write(lines);
        self.0.changed.notify_one();
    }
}

impl Tell for Narrator {
    fn tell(&self, fact: Fact) {
        if let Fact::Invalid { file, diagnostics } = &fact {
            let look = Look {
                colour: self.0.lines.colour,
                ..Look::default()
            };
            let mut lines: Vec<Line> = diagnostics
                .iter()
                .map(|diagnostic| Line::block(Tone::Warning, diagnostic.render(look), diagnostic.to_string()))
                .collect();
            let errors = if diagnostics.len() == 1 {
                "1 error"
            } else {
                &format!("{} errors", diagnostics.len())
            };
            let file = file.display();
            lines.push(Line::plain(&format!(
                "{errors} in {file}: its objects stay as they last were"
            )));
            return self.0.lines.write(lines);
        }
        self.with(|scene| scene.fact(fact));
    }
}

#[cfg(test)]
mod tests {
    use super::super::lines::Format;
    use super::*;
    use crate::store::{Options, Store};
    use crate::world::World;

    #[tokio::test]
    async fn summing_up_is_no_change_that_is_summed_up_again() {
        let registry = Registry::open(Store::memory(Options::default()), World::real())
            .await
            .unwrap();
        let narrator = Narrator::new(
            registry.clone(),
            Lines::new(Format::Json, registry.world().clone()),
            "manifests/",
        );
        tokio::time::pause();
        narrator.tell(Fact::Found { files: 1, objects: 1 });
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, narrator.settled()).await.is_ok());
        assert!(tokio::time::timeout(hour, narrator.settled()).await.is_err());
    }
}

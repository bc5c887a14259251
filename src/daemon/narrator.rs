//! Tells people what Cube does as it does it: a line an action, what, why and how long.
//!
//! It listens to what the source and the recorder tell, and watches Tasks and Deployments for what comes of it. It never
//! decides anything, and nothing waits for it. What follows from what is kept apart ([`Scene`], pure) from the writing of
//! lines. Read [`Narrator`] first.
use std::io::{IsTerminal as _, Write as _};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cube_api::kinds::Kind;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::scene::{Line, Scene, Tone};
use crate::manifest::Look;
use crate::registry::{Registry, Told, WatchOptions};
use crate::source::{Fact, Tell};
use crate::world::World;

/// How the lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// Lines that belong together come within this time; it only keeps a summary from coming before what it sums up.
const SETTLE: Duration = Duration::from_millis(150);

/// Writes the lines. Cloning is cheap.
#[derive(Clone)]
pub struct Narrator(Arc<Shared>);

struct Shared {
    scene: Mutex<Scene>,
    format: Format,
    colour: bool,
    world: World,
    registry: Registry,
    changed: tokio::sync::Notify,
}

impl Narrator {
    /// A narrator of the registry's Tasks and Deployments; `directory` is what people call the source.
    pub fn new(registry: Registry, format: Format, directory: &str) -> Self {
        let terminal =
            std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self(Arc::new(Shared {
            scene: Mutex::new(Scene::new(directory)),
            format,
            colour: terminal && format == Format::Text,
            world: registry.world().clone(),
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
        self.write(vec![Line::plain(text)]);
    }

    /// A line that somebody should heed.
    pub fn worry(&self, subject: &str, text: &str) {
        self.write(vec![Line::about(subject, "", text).warning()]);
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
                self.with(|scene| {
                    let now = Instant::now();
                    events.iter().flat_map(|event| scene.seen(event, now)).collect()
                });
            }
        }
    }

    /// Waits until a change has settled, and sums up. That is no change itself: nothing happens until the next one.
    async fn settled(&self) {
        self.0.changed.notified().await;
        tokio::time::sleep(SETTLE).await;
        self.write(self.scene().pause());
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
        self.write(lines);
        self.0.changed.notify_one();
    }

    fn write(&self, lines: Vec<Line>) {
        if lines.is_empty() {
            return;
        }
        let mut text = String::new();
        for line in lines {
            match self.0.format {
                Format::Text => text.push_str(&line.text(self.0.colour)),
                Format::Json => text.push_str(&line.json(self.0.world.now())),
            }
            text.push('\n');
        }
        let mut out = std::io::stdout().lock();
        // Whoever read it may be gone; Cube goes on.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }
}

impl Tell for Narrator {
    fn tell(&self, fact: Fact) {
        if let Fact::Invalid { file, diagnostics } = &fact {
            let look = Look {
                colour: self.0.colour,
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
            return self.write(lines);
        }
        self.with(|scene| scene.fact(fact));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Options, Store};

    #[tokio::test]
    async fn summing_up_is_no_change_that_is_summed_up_again() {
        let registry = Registry::open(Store::memory(Options::default()), World::real())
            .await
            .unwrap();
        let narrator = Narrator::new(registry, Format::Json, "manifests/");
        tokio::time::pause();
        narrator.tell(Fact::Found { files: 1, objects: 1 });
        let hour = Duration::from_secs(3600);
        assert!(tokio::time::timeout(hour, narrator.settled()).await.is_ok());
        assert!(tokio::time::timeout(hour, narrator.settled()).await.is_err());
    }
}

//! What the node and its containers use, measured when somebody asks.
//!
//! Nobody asks, nothing is read. Who asks for the first time in a while waits half a second, for there to be two
//! measurements; who asks again within that shares them. It reads the kernel's files, and asks the engine where those are
//! not this machine's. Never decides anything. Read [`Sampler::figures`] first.
mod cgroup;
mod layer;
mod machine;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use cube_api::figures::{DiskUsage, Measured, Usage};
use cube_plan::figures::with_rates;
use futures_util::stream::{self, StreamExt as _};
use tokio::sync::Mutex;
use tokio::time::Instant;

use self::cgroup::{Groups, Mounts};
use self::layer::Layers;
use crate::engine::{Engine, Result};
use crate::world::World;
use crate::world::process::blocking;

/// Two measurements are at least so far apart: closer ones would tell more of the moment than of the load.
const APART: Duration = Duration::from_millis(500);
/// A measurement older than this says nothing of now.
const OLD: Duration = Duration::from_secs(60);
/// Questions to the engine at once, where it has to be asked.
const QUESTIONS: usize = 8;

/// Measures.
pub struct Sampler {
    engine: Arc<dyn Engine>,
    world: World,
    layers: Layers,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Where the engine keeps its data.
    root: Option<PathBuf>,
    mounts: Option<Mounts>,
    traces: BTreeMap<String, Trace>,
    last: Option<Sample>,
}

/// What was measured, and what came of it with the measurement before.
struct Sample {
    taken: Instant,
    measured: Measured,
}

/// Where a container is to be found on this machine.
#[derive(Clone, Debug)]
struct Trace {
    pid: Option<u32>,
    groups: Groups,
    layer: Option<PathBuf>,
}

impl Sampler {
    /// Measures the machine of that engine.
    pub fn new(engine: Arc<dyn Engine>, world: World) -> Self {
        Self {
            engine,
            world,
            layers: Layers::default(),
            state: Mutex::default(),
        }
    }

    /// What the node and these of its containers use.
    ///
    /// # Errors
    /// When the engine does not answer.
    pub async fn figures(&self, containers: &[String]) -> Result<Measured> {
        let mut state = self.state.lock().await;
        // What was measured of other containers alone, or long ago, says nothing of how much these use now.
        let serves = |last: &Sample| {
            last.taken.elapsed() < OLD && containers.iter().all(|id| last.measured.containers.contains_key(id))
        };
        let before = match state.last.take().filter(serves) {
            Some(last) if last.taken.elapsed() < APART => return Ok(state.last.insert(last).measured.clone()),
            Some(last) => last,
            None => self.sample(&mut state, containers).await?,
        };
        tokio::time::sleep_until(before.taken + APART).await;
        let mut now = self.sample(&mut state, containers).await?;
        let apart = now.taken.duration_since(before.taken);
        let rated = |before: &Usage, now: &mut Usage| *now = with_rates(before, std::mem::take(now), apart);
        rated(&before.measured.node, &mut now.measured.node);
        for (id, usage) in &mut now.measured.containers {
            if let Some(before) = before.measured.containers.get(id) {
                rated(before, usage);
            }
        }
        let measured = now.measured.clone();
        state.last = Some(now);
        Ok(measured)
    }

    async fn sample(&self, state: &mut State, containers: &[String]) -> Result<Sample> {
        state.traces.retain(|id, _| containers.contains(id));
        let root = match &state.root {
            Some(root) => root.clone(),
            // Asked once: it is dear, and stays where it is.
            None => state
                .root
                .insert(PathBuf::from(self.engine.info().await?.root_dir))
                .clone(),
        };
        let machine = self.world.machine();
        let disk = machine.disk(&root);
        if disk.is_some() {
            self.trace(state, containers).await?;
        }
        let traces: Vec<(String, Trace)> = state.traces.iter().map(|(id, t)| (id.clone(), t.clone())).collect();
        let layers = traces
            .iter()
            .filter_map(|(id, trace)| Some((id.clone(), trace.layer.clone()?)));
        self.layers.refresh(layers.collect());
        let memory = machine.memory();
        let read = move || {
            let files = |file: &str| std::fs::read_to_string(file).ok();
            // Where its disk is not here, the machine is another one.
            let node = disk.map(|disk| machine::usage(&files, memory, Some(disk)));
            let node = node.unwrap_or_default();
            let usages = traces.iter().map(|(id, trace)| (id.clone(), trace.usage()));
            (node, usages.collect::<BTreeMap<_, _>>())
        };
        let taken = Instant::now();
        let (node, mut usages) = blocking(read).await;
        usages.retain(|id, usage| {
            let known = *usage != Usage::default();
            if !known {
                // It has ended, or its files are not where they were.
                state.traces.remove(id);
            }
            known
        });
        let mut missing = containers.to_vec();
        missing.retain(|id| !usages.contains_key(id));
        let asked = stream::iter(missing).map(|id| {
            let engine = self.engine.clone();
            async move {
                let usage = engine.usage(&id).await;
                (id, usage)
            }
        });
        let asked: Vec<_> = asked.buffer_unordered(QUESTIONS).collect().await;
        for (id, usage) in asked {
            usages.extend(usage?.map(|usage| (id, usage)));
        }
        for (id, usage) in &mut usages {
            usage.disk = self.layers.known(id).map(|used_bytes| DiskUsage {
                used_bytes,
                capacity_bytes: None,
            });
        }
        Ok(Sample {
            taken,
            measured: Measured {
                at: self.world.now(),
                node,
                containers: usages,
            },
        })
    }

    /// Finds the containers that were not found yet.
    async fn trace(&self, state: &mut State, containers: &[String]) -> Result<()> {
        let mounts = state
            .mounts
            .get_or_insert_with(|| Mounts::parse(&read("/proc/self/mountinfo")));
        for id in containers {
            if state.traces.contains_key(id) {
                continue;
            }
            let Some(seen) = self.engine.inspect(id).await? else {
                continue;
            };
            let cgroup = seen.pid.map(|pid| read(&format!("/proc/{pid}/cgroup")));
            let groups = mounts.groups(&cgroup.unwrap_or_default(), id);
            if groups != Groups::default() {
                let trace = Trace {
                    // On the machine's own network its traffic cannot be told from others'.
                    pid: seen.pid.filter(|_| !seen.addresses.is_empty()),
                    groups,
                    layer: seen.layer.map(PathBuf::from).filter(|layer| layer.is_dir()),
                };
                state.traces.insert(id.clone(), trace);
            }
        }
        Ok(())
    }
}

impl Trace {
    fn usage(&self) -> Usage {
        let mut usage = self.groups.usage(&|path: &Path| std::fs::read_to_string(path).ok());
        if usage != Usage::default()
            && let Some(pid) = self.pid
        {
            let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).ok();
            usage.network = text.map(|text| machine::network(&text, &["lo"]));
        }
        usage
    }
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ContainerSpec;
    use crate::engine::sim::{SimConfig, SimEngine, Verb};

    #[tokio::test(start_paused = true)]
    async fn who_asks_gets_two_measurements_and_who_asks_again_shares_them() {
        let engine = SimEngine::new(World::real(), SimConfig::default());
        engine.add_image("x");
        let spec = ContainerSpec {
            name: "it".to_owned(),
            image: "x".to_owned(),
            ..ContainerSpec::default()
        };
        let id = engine.create(&spec).await.unwrap();
        engine.start(&id).await.unwrap();
        let sampler = Sampler::new(Arc::new(engine.clone()), World::real());
        let ids = [id.clone(), "gone".to_owned()];
        let first = sampler.figures(&ids[..1]).await.unwrap();
        assert_eq!(engine.calls(Verb::Usage), 2);
        assert!(first.containers[&id].cpu.as_ref().unwrap().usage_nano_cores.is_some());
        assert_eq!(sampler.figures(&ids[..1]).await.unwrap(), first);
        assert_eq!(engine.calls(Verb::Usage), 2, "shared");
        tokio::time::sleep(Duration::from_secs(10)).await;
        sampler.figures(&ids[..1]).await.unwrap();
        assert_eq!(engine.calls(Verb::Usage), 3, "one more makes two");
        tokio::time::sleep(Duration::from_secs(100)).await;
        let later = sampler.figures(&ids).await.unwrap();
        let cpu = later.containers[&id].cpu.as_ref().unwrap();
        assert!(cpu.usage_nano_cores.is_some());
        assert_eq!(engine.calls(Verb::Usage), 7, "too old to say anything");
        assert!(!later.containers.contains_key("gone"));
        engine.go_away();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(sampler.figures(&ids).await.is_err());
    }
}

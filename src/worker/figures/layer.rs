//! How much a container has written into itself: the files of its own layer.
//!
//! A walk over a directory is the one dear figure, so that it is done behind the others, one at a time, and not again
//! within [`FRESH`].
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::world::{process::blocking, spawn};

/// So long a figure is good. Shorter would walk all day beside a Prometheus.
const FRESH: Duration = Duration::from_secs(60);
/// A layer of more files than this is told as what was counted by then: the walk must end.
const MOST: usize = 200_000;
/// The kernel counts a file's room in these.
const BLOCK: u64 = 512;

/// What is known of layers.
#[derive(Clone, Default)]
pub struct Layers(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    known: BTreeMap<String, (Instant, u64)>,
    walking: bool,
}

impl Layers {
    /// The size of a container's layer, if it is known.
    pub fn known(&self, container: &str) -> Option<u64> {
        self.inner().known.get(container).map(|(_, bytes)| *bytes)
    }

    /// Sees to it that what is old or not known of these is known soon, and what is of others is forgotten.
    pub fn refresh(&self, layers: Vec<(String, PathBuf)>) {
        let mut inner = self.inner();
        let all: std::collections::BTreeSet<&String> = layers.iter().map(|(container, _)| container).collect();
        inner.known.retain(|container, _| all.contains(container));
        let fresh = |container: &String| {
            let known = inner.known.get(container);
            known.is_some_and(|(at, _)| at.elapsed() < FRESH)
        };
        let old: Vec<(String, PathBuf)> = layers.into_iter().filter(|(container, _)| !fresh(container)).collect();
        if old.is_empty() || inner.walking {
            return;
        }
        inner.walking = true;
        drop(inner);
        let layers = self.clone();
        spawn(blocking(move || {
            for (container, layer) in old {
                let bytes = size(layer);
                layers.inner().known.insert(container, (Instant::now(), bytes));
            }
            layers.inner().walking = false;
        }));
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that the files below a directory take; what goes meanwhile is not counted. Links are not followed.
fn size(directory: PathBuf) -> u64 {
    let mut waiting = vec![directory];
    let (mut bytes, mut files) = (0, 0);
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(&directory).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else { continue };
            bytes += metadata.blocks() * BLOCK;
            files += 1;
            if files >= MOST {
                return bytes;
            }
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_layer_is_walked_behind_the_others() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("a")).unwrap();
        std::fs::write(directory.path().join("a/b"), vec![1; 100_000]).unwrap();
        std::os::unix::fs::symlink("/", directory.path().join("all")).unwrap();
        let layers = Layers::default();
        assert_eq!(layers.known("c"), None);
        layers.refresh(vec![("c".to_owned(), directory.path().to_owned())]);
        while layers.known("c").is_none() {
            tokio::task::yield_now().await;
        }
        let size = layers.known("c").unwrap();
        assert!((100_000..200_000).contains(&size), "{size}");
        layers.refresh(vec![]);
        assert_eq!(layers.known("c"), None);
    }
}

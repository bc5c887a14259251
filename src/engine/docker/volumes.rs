//! Volumes of an engine, and the sub paths of what is mounted.
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use bollard::models::{Volume, VolumeCreateRequest};
use bollard::query_parameters::{ListContainersOptions, ListVolumesOptions, RemoveVolumeOptions};

use super::form::Resolved;
use super::wire::segment;
use super::{DockerEngine, fault};
use crate::engine::{CLUSTER_LABEL, EngineError, Mount, MountSource, Result, SCRATCH_LABEL, subpath};

/// The first API (Docker 26.0) that mounts a part of a volume by itself.
const SUBPATH_API: (u32, u32) = (1, 45);

impl DockerEngine {
    pub(super) async fn make_volume(&self, name: &str, labels: &BTreeMap<String, String>) -> Result<()> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels.clone().into_iter().collect()),
            ..VolumeCreateRequest::default()
        };
        match self.docker.create_volume(request).await.map_err(fault::of) {
            Ok(volume) => {
                if is_scratch(&volume.labels) && self.wire.socket().is_some() {
                    blocking(move || open_to_all(Path::new(&volume.mountpoint))).await?;
                }
                Ok(())
            }
            // One of the same name and another driver will do.
            Err(EngineError::Refused { status: 409, message }) => match self.volume(name).await? {
                Some(_) => Ok(()),
                None => Err(EngineError::Refused { status: 409, message }),
            },
            Err(error) => Err(error),
        }
    }

    async fn volume(&self, name: &str) -> Result<Option<Volume>> {
        let Ok(path) = segment(name) else { return Ok(None) };
        match self.docker.inspect_volume(&path).await.map_err(fault::of) {
            Ok(volume) => Ok(Some(volume)),
            Err(EngineError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub(super) async fn list_volumes(&self, labels: &BTreeMap<String, String>) -> Result<BTreeSet<String>> {
        let wanted = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let options = ListVolumesOptions {
            filters: Some(HashMap::from([("label".to_owned(), wanted)])),
        };
        let listed = self.docker.list_volumes(Some(options)).await.map_err(fault::of)?;
        Ok(listed.volumes.into_iter().flatten().map(|volume| volume.name).collect())
    }

    pub(super) async fn drop_volume(&self, name: &str) -> Result<()> {
        let Some(volume) = self.volume(name).await? else {
            return Ok(());
        };
        let what = format!("volume {name}");
        let cluster = volume.labels.get(CLUSTER_LABEL);
        let Some(cluster) = cluster.filter(|_| is_scratch(&volume.labels)) else {
            return Err(EngineError::NotOurs { what });
        };
        if self.has_part_in_use(&volume, cluster).await? {
            return Err(EngineError::InUse { what });
        }
        let path = segment(name)?;
        let removed = self.docker.remove_volume(&path, None::<RemoveVolumeOptions>).await;
        match removed.map_err(fault::of) {
            Err(EngineError::Refused { status: 404, .. }) => Ok(()),
            Err(EngineError::Refused { status: 409, .. }) => Err(EngineError::InUse { what }),
            other => other,
        }
    }

    /// Whether a container of the cluster has a part of the volume, which an older engine takes for a path of the machine.
    async fn has_part_in_use(&self, volume: &Volume, cluster: &str) -> Result<bool> {
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([(
                "label".to_owned(),
                vec![format!("{CLUSTER_LABEL}={cluster}")],
            )])),
            ..ListContainersOptions::default()
        };
        let root = canonical(&volume.mountpoint).await;
        let containers = self.docker.list_containers(Some(options)).await.map_err(fault::of)?;
        let mut mounts = containers
            .iter()
            .flat_map(|container| container.mounts.iter().flatten());
        Ok(mounts.any(|mount| {
            mount
                .source
                .as_ref()
                .is_some_and(|source| Path::new(source).starts_with(&root))
        }))
    }

    /// Where a mount's sub path leads; made where it is missing.
    pub(super) async fn resolve(&self, mount: &Mount) -> Result<Resolved> {
        let Some(sub_path) = &mount.sub_path else {
            return Ok(Resolved::Whole);
        };
        subpath::check(sub_path)?;
        match &mount.source {
            // Empty at each start, so that every part of it is like the whole.
            MountSource::Tmpfs { .. } => Ok(Resolved::Whole),
            MountSource::Bind(path) => self.beneath(path, sub_path).await.map(Resolved::Path),
            MountSource::Volume(name) | MountSource::Scratch(name) => self.in_volume(name, sub_path).await,
        }
    }

    async fn in_volume(&self, name: &str, sub_path: &str) -> Result<Resolved> {
        let volume = self.volume(name).await?.ok_or_else(|| EngineError::NotFound {
            what: format!("volume {name}"),
        })?;
        // Any other is mounted only while a container has it; before that its path leads elsewhere.
        let plain = volume.driver == "local" && volume.options.is_empty();
        let path = match plain {
            true => self.beneath(&volume.mountpoint, sub_path).await,
            false => Err(refused(format!(
                "{sub_path:?} in volume {name}: this engine mounts a part of a plain local volume only"
            ))),
        };
        let version = self.docker.version().await.map_err(fault::of)?;
        match reaches(&version.api_version.unwrap_or_default(), SUBPATH_API) {
            true => Ok(Resolved::InVolume(sub_path.to_owned())),
            false => path.map(Resolved::Path),
        }
    }

    async fn beneath(&self, source: &str, sub_path: &str) -> Result<String> {
        if self.wire.socket().is_none() {
            return Err(refused(format!("{sub_path:?} needs an engine on this machine")));
        }
        let (source, sub_path) = (source.to_owned(), sub_path.to_owned());
        blocking(move || subpath::resolve(&source, &sub_path)).await?
    }
}

fn is_scratch(labels: &HashMap<String, String>) -> bool {
    labels.get(SCRATCH_LABEL).is_some_and(|value| value == "true")
}

/// Lets every user write to a new volume: which one its container will have, nobody knows yet. One that has something in
/// it is its container's own business. Nothing is lost where we may not: root can still write to it.
fn open_to_all(directory: &Path) {
    let is_empty = std::fs::read_dir(directory).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty {
        let all = std::fs::Permissions::from_mode(0o777);
        let _ = std::fs::set_permissions(directory, all);
    }
}

async fn canonical(path: &str) -> std::path::PathBuf {
    let given = std::path::PathBuf::from(path);
    let resolved = {
        let given = given.clone();
        blocking(move || given.canonicalize().ok()).await
    };
    resolved.ok().flatten().unwrap_or(given)
}

/// Runs what may wait for a disk where it holds nobody up.
async fn blocking<T: Send + 'static>(act: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(act)
        .await
        .map_err(|error| EngineError::BadAnswer {
            message: error.to_string(),
        })
}

fn reaches(version: &str, wanted: (u32, u32)) -> bool {
    let parts = version.split_once('.');
    let parts = parts.and_then(|(major, minor)| Some((major.parse::<u32>().ok()?, minor.parse::<u32>().ok()?)));
    parts.is_some_and(|version| version >= wanted)
}

fn refused(message: String) -> EngineError {
    EngineError::InvalidSpec {
        field: "mounts.sub_path".to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(reaches("1.45", SUBPATH_API) && reaches("1.100", SUBPATH_API) && reaches("2.0", SUBPATH_API));
        assert!(!reaches("1.41", SUBPATH_API) && !reaches("1.9", SUBPATH_API) && !reaches("", SUBPATH_API));
    }
}

//! From the template to a Task: the new one, and what an edit brings to one that is there.
use std::collections::BTreeMap;

use cube_api::{
    API_VERSION,
    deployment::Deployment,
    hash,
    kinds::Kind,
    meta::{DEPLOYMENT_LABEL, ObjectMeta, OwnerReference, PULL_ANNOTATION, RESTARTED_ANNOTATION, REVISION_LABEL},
    shared::Shared,
    task::{Task, TaskSpec},
};

use super::{Look, is_own, revision::Current};

/// Names of Tasks and Revisions begin with so much of the Deployment's at most: they stay names.
const STEM_LENGTH: usize = 200;

/// What the names of a Deployment's Tasks and Revisions begin with. Of a long name the end gives way to a part of the
/// uid, so that two Deployments never mean the same Revision.
pub(super) fn stem(deployment: &Deployment) -> String {
    let meta = &deployment.metadata;
    if meta.name.len() <= STEM_LENGTH {
        return meta.name.clone();
    }
    let tail = &meta.uid[meta.uid.len().saturating_sub(8)..];
    format!("{}-{tail}", meta.name[..STEM_LENGTH].trim_end_matches(['.', '-']))
}

/// Makes the Deployment the controller of an object.
pub(super) fn own(deployment: &Deployment, meta: &mut ObjectMeta) {
    let uid = &deployment.metadata.uid;
    if meta.controller().is_some_and(|owner| owner.uid == *uid) {
        return;
    }
    meta.owner_references.retain(|owner| owner.uid != *uid);
    meta.owner_references.push(OwnerReference {
        api_version: API_VERSION.to_owned(),
        kind: Kind::Deployment.info().kind.to_owned(),
        name: deployment.metadata.name.clone(),
        uid: uid.clone(),
        controller: true,
        block_owner_deletion: true,
    });
}

/// The number of the revision that a Task says it is of.
pub(super) fn number(task: &Task) -> Option<u64> {
    task.metadata.labels.get(REVISION_LABEL)?.parse().ok()
}

/// Hash of the template that a Task was made from, if it was made from one.
pub(super) fn hash_of(task: &Task) -> String {
    let restarted = task.metadata.annotations.get(RESTARTED_ANNOTATION);
    hash::revision(&task.spec, restarted.map(String::as_str))
}

/// Whether there is a Task of that number that was made from a template of that hash.
pub(super) fn any_of(look: &Look, revision: u64, hash: &str) -> bool {
    let numbered = look.tasks.iter().filter(|task| number(task) == Some(revision));
    numbered.into_iter().any(|task| hash_of(task) == hash)
}

/// A new Task of the revision.
pub(super) fn make(look: &Look, current: &Current) -> Task {
    let deployment = look.deployment;
    let mut metadata = ObjectMeta {
        generate_name: Some(format!("{}-{}-", stem(deployment), current.number())),
        namespace: deployment.metadata.namespace.clone(),
        labels: labels(look, current, &BTreeMap::new()).into(),
        annotations: annotations(look, current, &BTreeMap::new()),
        ..ObjectMeta::default()
    };
    own(deployment, &mut metadata);
    Task {
        metadata,
        spec: deployment.spec.template.spec.clone(),
        ..Task::default()
    }
}

/// The Task as it is to be, if it is not so: labels, annotations and spec of the template, and its owner. Where it is `held`
/// it is asked for a while what it was asked before.
pub(super) fn changed(look: &Look, current: &Current, task: &Task, held: bool) -> Option<Task> {
    let meta = &task.metadata;
    let (labels, annotations) = (
        Shared::from(labels(look, current, &meta.labels)),
        annotations(look, current, &meta.annotations),
    );
    let mut spec = look.deployment.spec.template.spec.clone();
    if held {
        spec.liveness_probe.clone_from(&task.spec.liveness_probe);
        spec.readiness_probe.clone_from(&task.spec.readiness_probe);
        spec.image_healthcheck = task.spec.image_healthcheck;
    }
    if labels == meta.labels && annotations == meta.annotations && spec == task.spec && is_own(look.deployment, meta) {
        return None;
    }
    let mut metadata = ObjectMeta {
        labels,
        annotations,
        ..meta.clone()
    };
    own(look.deployment, &mut metadata);
    Some(Task {
        metadata,
        spec,
        ..Task::default()
    })
}

/// Whether both are asked the same, to decide whether what runs does its work.
pub(super) fn asks_the_same(one: &TaskSpec, other: &TaskSpec) -> bool {
    one.liveness_probe == other.liveness_probe
        && one.readiness_probe == other.readiness_probe
        && one.image_healthcheck == other.image_healthcheck
}

/// An old Task with its owner, if it has none.
pub(super) fn adopted(look: &Look, task: &Task) -> Option<Task> {
    if is_own(look.deployment, &task.metadata) {
        return None;
    }
    let mut metadata = task.metadata.clone();
    own(look.deployment, &mut metadata);
    Some(Task {
        metadata,
        spec: task.spec.clone(),
        ..Task::default()
    })
}

fn labels(look: &Look, current: &Current, there: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let deployment = look.deployment;
    let template = &deployment.spec.template.metadata.labels;
    let mut labels = merged(there, &current.old_template().metadata.labels, template);
    labels.insert(DEPLOYMENT_LABEL.to_owned(), deployment.label());
    labels.insert(REVISION_LABEL.to_owned(), current.number().to_string());
    labels
}

fn annotations(look: &Look, current: &Current, there: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let deployment = look.deployment;
    let template = &deployment.spec.template.metadata.annotations;
    let mut annotations = merged(there, &current.old_template().metadata.annotations, template);
    pass_on(deployment, &mut annotations);
    annotations
}

/// The wish to restart is the Deployment's, and reaches its Tasks through their annotations.
pub(super) fn pass_on(deployment: &Deployment, annotations: &mut BTreeMap<String, String>) {
    for wish in [RESTARTED_ANNOTATION, PULL_ANNOTATION] {
        match deployment.metadata.annotations.get(wish) {
            Some(at) => annotations.insert(wish.to_owned(), at.clone()),
            None => annotations.remove(wish),
        };
    }
}

/// What the template no longer says goes, what it says comes, what others added stays.
fn merged(
    there: &BTreeMap<String, String>,
    old: &BTreeMap<String, String>,
    new: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let others = there.iter().filter(|(key, _)| !old.contains_key(*key));
    others
        .chain(new)
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

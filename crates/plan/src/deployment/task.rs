//! From the template to a Task: the new one, and what an edit brings to one that is there.
use std::collections::BTreeMap;

use cube_api::{
    API_VERSION,
    deployment::Deployment,
    hash,
    kinds::Kind,
    meta::{DEPLOYMENT_LABEL, ObjectMeta, OwnerReference, PULL_ANNOTATION, RESTARTED_ANNOTATION, REVISION_LABEL},
    task::{Task, TaskStatus},
};

use super::{Look, revision::Current};

/// Label values are this long at most.
const LABEL_LENGTH: usize = 63;
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

/// A name as the value of a label.
pub fn label(name: &str) -> String {
    name[..name.len().min(LABEL_LENGTH)]
        .trim_end_matches(['.', '-'])
        .to_owned()
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
    let mut task = Task {
        metadata: ObjectMeta {
            generate_name: Some(format!("{}-{}-", stem(deployment), current.number())),
            namespace: deployment.metadata.namespace.clone(),
            ..ObjectMeta::default()
        },
        ..Task::default()
    };
    bring(look, current, &mut task);
    task
}

/// The Task as it is to be, if it is not so: labels, annotations and spec of the template, and its owner.
pub(super) fn changed(look: &Look, current: &Current, task: &Task) -> Option<Task> {
    let mut wanted = Task {
        status: TaskStatus::default(),
        ..task.clone()
    };
    bring(look, current, &mut wanted);
    (wanted.metadata != task.metadata || wanted.spec != task.spec).then_some(wanted)
}

/// An old Task with its owner, if it has none.
pub(super) fn adopted(look: &Look, task: &Task) -> Option<Task> {
    let mut wanted = Task {
        status: TaskStatus::default(),
        ..task.clone()
    };
    own(look.deployment, &mut wanted.metadata);
    (wanted.metadata != task.metadata).then_some(wanted)
}

fn bring(look: &Look, current: &Current, task: &mut Task) {
    let deployment = look.deployment;
    let (old, new) = (&current.old_template().metadata, &deployment.spec.template.metadata);
    let meta = &mut task.metadata;
    let own_labels = [
        (DEPLOYMENT_LABEL, label(&deployment.metadata.name)),
        (REVISION_LABEL, current.number().to_string()),
    ];
    merge(&mut meta.labels, &old.labels, &new.labels);
    for (name, value) in own_labels {
        meta.labels.insert(name.to_owned(), value);
    }
    merge(&mut meta.annotations, &old.annotations, &new.annotations);
    for wish in [RESTARTED_ANNOTATION, PULL_ANNOTATION] {
        match deployment.metadata.annotations.get(wish) {
            Some(at) => meta.annotations.insert(wish.to_owned(), at.clone()),
            None => meta.annotations.remove(wish),
        };
    }
    own(deployment, meta);
    task.spec = deployment.spec.template.spec.clone();
}

/// What the template no longer says goes, what it says comes, what others added stays.
fn merge(there: &mut BTreeMap<String, String>, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>) {
    there.retain(|key, _| !old.contains_key(key) || new.contains_key(key));
    there.extend(new.iter().map(|(key, value)| (key.clone(), value.clone())));
}

//! Which revision the template is, and which old ones are still kept.
use std::collections::BTreeSet;

use cube_api::{
    hash,
    meta::{DEPLOYMENT_LABEL, RESTARTED_ANNOTATION},
    revision::{Revision, RevisionSpec},
    task::TaskTemplate,
};

use super::{Action, Look, is_own, roll::Tasks, task};

/// The revision that the template is.
pub(super) struct Current<'a> {
    /// As it is to be.
    pub revision: Revision,
    /// As it is, if it is there.
    pub before: Option<&'a Revision>,
    /// Another revision was the newest until now.
    pub moved: bool,
}

impl Current<'_> {
    pub fn number(&self) -> u64 {
        self.revision.spec.revision
    }

    /// Whether a Task of that number is of this revision; until now it may have had a lower number.
    pub fn is_of(&self, number: Option<u64>) -> bool {
        let before = self.before.map(|before| before.spec.revision);
        number.is_some() && (number == Some(self.number()) || number == before)
    }

    /// The template as the Tasks got it until now.
    pub fn old_template(&self) -> &TaskTemplate {
        &self.before.unwrap_or(&self.revision).spec.template
    }
}

/// Hash of the template as the Deployment wishes it.
fn wanted_hash(look: &Look) -> String {
    let deployment = look.deployment;
    let restarted = deployment.metadata.annotations.get(RESTARTED_ANNOTATION);
    hash::revision(&deployment.spec.template.spec, restarted.map(String::as_str))
}

fn of_deployment<'a>(look: &'a Look) -> impl Iterator<Item = &'a Revision> {
    look.revisions
        .iter()
        .copied()
        .filter(|revision| !revision.metadata.is_deleting())
}

pub(super) fn current<'a>(look: &Look<'a>) -> Current<'a> {
    let deployment = look.deployment;
    let hash = wanted_hash(look);
    let there = look.revisions.iter().copied();
    let there = there.filter(|revision| !revision.metadata.is_deleting());
    let before = there
        .filter(|revision| revision.spec.hash == hash)
        .max_by_key(|revision| revision.spec.revision);
    let highest = of_deployment(look).map(|revision| revision.spec.revision).max();
    // Numbers of what was trimmed are not used again.
    let highest = highest.unwrap_or(0).max(deployment.status.revision);
    let number = match before {
        Some(before) if before.spec.revision >= highest => before.spec.revision,
        Some(_) => highest + 1,
        // The Revision was removed by hand, and its Tasks are there: they stay what they are.
        None if task::any_of(look, highest, &hash) => highest,
        None => highest + 1,
    };
    let mut revision = before.cloned().unwrap_or_default();
    let meta = &mut revision.metadata;
    if before.is_none() {
        meta.name = format!("{}-{hash}", task::stem(deployment));
        meta.namespace = deployment.metadata.namespace.clone();
    }
    meta.labels.insert(DEPLOYMENT_LABEL.to_owned(), deployment.label());
    task::own(deployment, meta);
    task::pass_on(deployment, &mut meta.annotations);
    revision.spec = RevisionSpec {
        revision: number,
        hash,
        template: deployment.spec.template.clone(),
    };
    let moved = deployment.status.revision != 0 && deployment.status.revision != number;
    Current {
        revision,
        before,
        moved,
    }
}

/// The current one made or changed, orphans taken over, too old ones trimmed.
pub(super) fn actions(look: &Look, current: &Current, tasks: &Tasks) -> Vec<Action> {
    let mut actions = Vec::new();
    match current.before {
        None => actions.push(Action::CreateRevision(current.revision.clone())),
        Some(before) if *before != current.revision => actions.push(Action::ChangeRevision(current.revision.clone())),
        Some(_) => {}
    }
    let used: BTreeSet<u64> = tasks.numbers_in_use();
    let mut old: Vec<&Revision> = of_deployment(look)
        .filter(|revision| revision.metadata.name != current.revision.metadata.name)
        .collect();
    old.sort_by_key(|revision| std::cmp::Reverse(revision.spec.revision));
    let unused = old.iter().filter(|revision| !used.contains(&revision.spec.revision));
    let excess: BTreeSet<&str> = unused
        .skip(look.deployment.spec.revision_history_limit as usize)
        .map(|revision| revision.metadata.name.as_str())
        .collect();
    for revision in old {
        if excess.contains(revision.metadata.name.as_str()) {
            actions.push(Action::DeleteRevision(revision.metadata.name.clone()));
        } else if !is_own(look.deployment, &revision.metadata) {
            let mut adopted = revision.clone();
            task::own(look.deployment, &mut adopted.metadata);
            actions.push(Action::ChangeRevision(adopted));
        }
    }
    actions
}

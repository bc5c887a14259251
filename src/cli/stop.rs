//! `cube stop`: Tasks end and go. That one is gone already is what was wished for.
use std::time::Duration;

use cube_api::{deployment::Deployment, kinds::Kind, source::Source, task::Task};

use super::{
    Context,
    error::{CliError, Exit},
    manifests::{self, FileArgs},
    names,
    output::words,
    removal::{Doomed, Removal},
};
use crate::{
    client::{Client, Delete},
    registry::PERSON,
    source::ObjectId,
};

/// Stop Tasks: their containers end, and the Tasks go
///
/// The same as `cube delete task`, but for two things: what is gone already is no error, and a Task that would come back (a
/// directory's, or a Deployment's) is refused, with what to change instead. Volumes stay.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The Tasks
    #[arg(value_name = "TASK", required = true)]
    tasks: Vec<String>,
    /// Wait at most so long until they are gone; default: as long as it takes
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    timeout: Option<Duration>,
    /// Seconds between the signal to stop and the kill; default: what the Task says
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u64>,
}

impl Args {
    /// Stops, and waits.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let mut doomed = Vec::new();
        // All are looked at before the first goes.
        for word in &self.tasks {
            let id = task_of(word, context)?;
            match client.typed::<Task>(&id.namespace, &id.name).await {
                Ok(task) => {
                    refuse_what_comes_back(&client, context, &id, &task).await?;
                    doomed.push(Doomed::new(id, &task.metadata));
                }
                Err(error) if error.is_not_found() => tell_absent(&client, context, &id).await?,
                Err(error) => return Err(error.into()),
            }
        }
        let removal = Removal {
            how: Delete {
                // None at all would mean: do not wait for the node. Only `delete --force` says that.
                grace_seconds: self.grace_period.map(|seconds| seconds.max(1)),
                ..Delete::default()
            },
            wait: true,
            timeout: self.timeout,
            done: "stopped",
            under_way: "being stopped",
        };
        removal.carry_out(&client, context, doomed).await
    }
}

/// The Task that is meant by `web`, `task/web` or `task/other/web`.
fn task_of(word: &str, context: &Context) -> Result<ObjectId, CliError> {
    if !word.contains('/') {
        return Ok(names::of_kind(Kind::Task, word, context));
    }
    let id = names::object(word, context)?;
    if id.kind == Kind::Task {
        return Ok(id);
    }
    let error = CliError::usage(format!("{} is no task", context.shown(&id)));
    Err(error.with_hint(format!("`cube delete {}` removes it", context.shown(&id))))
}

/// Refuses a Task that others would make again.
async fn refuse_what_comes_back(
    client: &Client,
    context: &Context,
    id: &ObjectId,
    task: &Task,
) -> Result<(), CliError> {
    let shown = context.shown(id);
    if let Some(owner) = task.metadata.controller() {
        let (kind, name) = (owner.kind.to_lowercase(), &owner.name);
        let message = format!("{shown} belongs to {kind}/{name}, which would make another");
        let hint = format!(
            "`cube delete{} {kind}/{name}` stops all of it; fewer `replicas` stop some",
            context.elsewhere(&id.namespace)
        );
        return Err(CliError::ended(Exit::Refused, message).with_hint(hint));
    }
    let Some(manager) = task.metadata.manager().filter(|manager| *manager != PERSON) else {
        return Ok(());
    };
    let source = match client.typed::<Source>("", manager).await {
        Ok(source) => source,
        // What has no source any more is brought back by nobody.
        Err(error) if error.is_not_found() => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let directory = source.spec.directory.unwrap_or_else(|| manager.to_owned());
    let place = file_of(context, &directory, id).unwrap_or_else(|| format!("its file in {directory}"));
    let message = format!("{shown} is said in {directory} (source {manager}), which would bring it back");
    Err(CliError::ended(Exit::Refused, message).with_hint(format!("remove it from {place}: then it is stopped")))
}

/// Where a directory of this machine says the object, as `FILE:LINE`; none where that cannot be told.
fn file_of(context: &Context, directory: &str, id: &ObjectId) -> Option<String> {
    let files = FileArgs {
        files: vec![directory.to_owned()],
    };
    // The namespace that this verb is about says nothing of what files say.
    let anywhere = Context {
        namespace: None,
        ..context.clone()
    };
    let manifests = manifests::read(&files, &anywhere, "").ok()?;
    let said = manifests.objects.into_iter().find(|manifest| manifest.id == *id)?;
    let place = said.about("");
    Some(match place.place {
        Some(at) => format!("{}:{}", place.file, at.line),
        None => place.file,
    })
}

/// A Task that is not there is stopped; a Deployment of that name is not.
async fn tell_absent(client: &Client, context: &Context, id: &ObjectId) -> Result<(), CliError> {
    let shown = context.shown(id);
    match client.typed::<Deployment>(&id.namespace, &id.name).await {
        Ok(_) => {
            let message = format!("there is no {shown}, but a deployment of that name");
            let elsewhere = context.elsewhere(&id.namespace);
            let hint = format!("`cube delete{elsewhere} deployment/{}` stops it", id.name);
            Err(CliError::usage(message).with_hint(hint))
        }
        Err(error) if error.is_not_found() => {
            context.output.note(&format!("there is no {shown}: nothing to stop"));
            Ok(())
        }
        Err(error) => Err(error.into()),
    }
}

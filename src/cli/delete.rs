//! `cube delete`: objects on their way out, and the truth about whether they stay gone.
use std::time::Duration;

use clap::{ArgAction, ValueEnum};
use cube_api::{meta::ObjectMeta, source::Source};
use serde_json::Value;

use super::{
    Context,
    error::{CliError, Exit},
    manifests::{self, FileArgs},
    names::{self, Wanted},
    output::words,
    removal::{Doomed, Removal},
};
use crate::{
    client::{Cascade, Client, Delete},
    registry::PERSON,
    source::ObjectId,
};

/// Delete objects: by name, by the files that say them, or by labels
///
/// What is owned by what is deleted goes too, unless --cascade orphan. An object whose manifest is in a watched
/// directory comes back: remove it from its file instead.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// KIND NAME…, KIND/NAME…, or KIND with -l
    #[arg(value_name = "KIND/NAME")]
    what: Vec<String>,
    #[command(flatten)]
    files: FileArgs,
    /// All with these labels: app=web,tier!=db
    #[arg(
        short = 'l',
        long,
        value_name = "LABELS",
        default_value = "",
        hide_default_value = true
    )]
    selector: String,
    /// Wait until they are gone
    #[arg(long, action = ArgAction::Set, num_args = 0..=1, require_equals = true, default_value_t = true,
          default_missing_value = "true", value_name = "BOOL")]
    wait: bool,
    /// Wait at most so long; default: as long as it takes
    #[arg(long, value_name = "TIME", value_parser = words::duration)]
    timeout: Option<Duration>,
    /// Seconds between the signal to stop and the kill; default: what the object says
    #[arg(long, value_name = "SECONDS")]
    grace_period: Option<u64>,
    /// Kill at once, and do not wait for the node's word: for nodes that never come back
    #[arg(long, conflicts_with = "grace_period")]
    force: bool,
    /// What becomes of what belongs to them
    #[arg(long, value_enum, default_value_t, value_name = "HOW")]
    cascade: CascadeArg,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum CascadeArg {
    /// It goes after its owner
    #[default]
    Background,
    /// It goes before its owner
    Foreground,
    /// It stays
    Orphan,
}

impl Args {
    /// Deletes, and waits.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let doomed = self.doomed(&client, context).await?;
        let how = Delete {
            cascade: match self.cascade {
                CascadeArg::Background => Cascade::Background,
                CascadeArg::Foreground => Cascade::Foreground,
                CascadeArg::Orphan => Cascade::Orphan,
            },
            // No grace at all means to the server: do not wait for the node. Only --force says that.
            grace_seconds: if self.force {
                Some(0)
            } else {
                self.grace_period.map(|seconds| seconds.max(1))
            },
            uid: None,
        };
        let removal = Removal {
            how,
            wait: self.wait,
            timeout: self.timeout,
            done: "deleted",
            under_way: "being deleted",
        };
        removal.carry_out(&client, context, doomed).await
    }

    /// What is to go, what depends on others first.
    async fn doomed(&self, client: &Client, context: &Context) -> Result<Vec<Doomed>, CliError> {
        let mut found: Vec<(ObjectId, Value)> = Vec::new();
        if !self.files.files.is_empty() {
            if !self.what.is_empty() || !self.selector.is_empty() {
                return Err(CliError::usage("objects are chosen by files or by name, not by both"));
            }
            let manifests = manifests::read(&self.files, context, "nothing was deleted")?;
            for manifest in manifests.objects {
                let id = manifest.id;
                match client.get(id.kind, &id.namespace, &id.name).await {
                    Ok(value) => found.push((id, value)),
                    Err(error) if error.is_not_found() => {
                        context.output.note(&format!("{} is not there", context.shown(&id)))
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        } else if !self.selector.is_empty() {
            let Wanted::Kinds(kinds) = names::wanted(&self.what, context)? else {
                return Err(CliError::usage("objects are chosen by name or by labels, not by both"));
            };
            found = names::listed(client, &kinds, &self.selector, context).await?;
            if found.is_empty() {
                context.output.talk(&format!(
                    "nothing has the labels {} in namespace {}",
                    self.selector,
                    context.namespace()
                ));
            }
        } else if self.what.is_empty() {
            return Err(
                CliError::usage("say what to delete").with_hint("cube delete KIND/NAME, -f FILE, or KIND -l LABELS")
            );
        } else {
            let mut missing = None;
            for id in names::objects(&self.what, context)? {
                match client.get(id.kind, &id.namespace, &id.name).await {
                    Ok(value) => found.push((id, value)),
                    Err(error) => missing = Some(context.explain(&id, error)),
                }
            }
            // All are looked up before the first goes.
            if let Some(missing) = missing {
                return Err(missing);
            }
        }
        found.sort_by_key(|(id, _)| std::cmp::Reverse(id.kind));
        let mut doomed = Vec::new();
        for (id, value) in found {
            let meta: ObjectMeta = serde_json::from_value(value["metadata"].clone()).unwrap_or_default();
            self.tell_who_makes_it(client, context, &id, &meta).await;
            doomed.push(Doomed::new(id, &meta));
        }
        Ok(doomed)
    }

    /// What is said elsewhere comes back: better told before than wondered at.
    async fn tell_who_makes_it(&self, client: &Client, context: &Context, id: &ObjectId, meta: &ObjectMeta) {
        let shown = context.shown(id);
        if let Some(owner) = meta.controller() {
            let owner = format!("{}/{}", owner.kind.to_lowercase(), owner.name);
            context
                .output
                .note(&format!("{shown} belongs to {owner}, which will make another"));
        }
        let Some(manager) = meta.manager().filter(|manager| *manager != PERSON) else {
            return;
        };
        if let Ok(source) = client.typed::<Source>("", manager).await {
            context.output.warn(&source.brings_back(&shown));
        }
    }
}

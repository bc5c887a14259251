//! `cube restart`: the wish to have containers replaced though nothing else changed.
use cube_api::{
    kinds::Kind,
    meta::{PULL_ANNOTATION, RESTARTED_ANNOTATION},
};
use serde_json::{Value, json};

use super::{
    Context,
    error::{CliError, Exit},
    names,
};

/// Replace the containers of a Task or Deployment, as its strategy says
#[derive(clap::Args, Debug)]
pub struct Args {
    /// KIND/NAME…, or KIND NAME…
    #[arg(value_name = "KIND/NAME", required = true)]
    what: Vec<String>,
    /// Look for the image anew before, also when the engine has it
    #[arg(long)]
    pull: bool,
}

impl Args {
    /// Leaves the wish on each object.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let objects = names::objects(&self.what, context)?;
        if let Some(other) = objects
            .iter()
            .find(|id| !matches!(id.kind, Kind::Task | Kind::Deployment))
        {
            let message = format!("a {} has no containers to restart", other.kind.info().singular);
            return Err(CliError::usage(message).with_hint("restart a task or a deployment"));
        }
        // Parts of a second count: two wishes in one second are two.
        let now = context.world.now().to_string();
        let mut annotations = json!({ RESTARTED_ANNOTATION: now });
        // Without --pull, an older wish to pull must not be taken for this one's.
        annotations[PULL_ANNOTATION] = if self.pull { now.into() } else { Value::Null };
        let patch = json!({ "metadata": { "annotations": annotations } });
        for id in &objects {
            let patched = client.merge_patch(id.kind, &id.namespace, &id.name, &patch).await;
            patched.map_err(|error| context.explain(id, error))?;
            context.output.line(&format!("{} restarted", context.shown(id)))?;
        }
        Ok(Exit::Done)
    }
}

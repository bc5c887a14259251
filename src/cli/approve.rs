//! `cube approve`: a yes to the removal of what left a watched directory in numbers.
//!
//! A yes is for one list: the list's digest is left on the Source. If the list has changed meanwhile, nothing goes.
use cube_api::{kinds::Kind, source::Source};
use serde_json::json;

use super::{
    Context,
    error::{CliError, Exit},
    output::words,
};
use crate::{
    client::Selection,
    source::{APPROVED_ANNOTATION, ObjectId, digest},
};

/// Say yes to the removal of what is gone from a watched directory
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The source; default: all that wait
    #[arg(value_name = "SOURCE")]
    source: Option<String>,
    /// Only show what would go
    #[arg(long)]
    show: bool,
}

impl Args {
    /// Shows what waits, and says yes.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let sources = match &self.source {
            Some(name) => {
                let id = ObjectId {
                    kind: Kind::Source,
                    namespace: String::new(),
                    name: name.clone(),
                };
                vec![
                    client
                        .typed::<Source>("", name)
                        .await
                        .map_err(|error| context.explain(&id, error))?,
                ]
            }
            None => client.list_typed::<Source>(&Selection::default()).await?.items,
        };
        let waiting: Vec<Source> = sources
            .into_iter()
            .filter(|source| !source.status.waiting.is_empty())
            .collect();
        if waiting.is_empty() {
            context.output.talk(&match &self.source {
                Some(name) => format!("nothing of source {name} waits for a yes"),
                None => "nothing waits for a yes".to_owned(),
            });
        }
        for source in &waiting {
            let (name, list) = (&source.metadata.name, &source.status.waiting);
            let objects = words::count(list.len(), "object");
            if self.show {
                context.output.talk(&format!(
                    "source {name}: {}; a yes removes {objects}:",
                    source.status.waiting_reason
                ));
            } else {
                let patch = json!({ "metadata": { "annotations": { APPROVED_ANNOTATION: digest(list) } } });
                client.merge_patch(Kind::Source, "", name, &patch).await?;
                context
                    .output
                    .talk(&format!("source {name}: {objects} will be removed:"));
            }
            for object in list {
                let shown = object.parse::<ObjectId>().map(|id| context.shown(&id));
                context.output.line(shown.as_deref().unwrap_or(object))?;
            }
        }
        Ok(Exit::Done)
    }
}

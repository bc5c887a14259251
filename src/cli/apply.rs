//! `cube apply`: what files say becomes what is wished, all of it or nothing; and with `--wait`, the truth about it.
use std::time::Duration;

use cube_api::error::FieldError;

use super::{
    Context,
    error::{CliError, Exit},
    manifests::{self, FileArgs, Manifest, Manifests},
    output::words,
    wait::{self, Awaited},
};
use crate::{
    client::{Applied, Apply, Client, Outcome, Refusal},
    manifest::Diagnostic,
};

/// Apply manifests: all of them are checked before any is written
///
/// With --wait, done (0) means that everything runs (or, for what runs once, is completed). It ends with 3 as soon as
/// it is plain that nothing under way will make room, with 4 as soon as something has failed for good or crashed three
/// times, and with 5 when the time is over.
#[derive(clap::Args, Debug)]
pub struct Args {
    #[command(flatten)]
    files: FileArgs,
    /// Wait until everything runs
    #[arg(long)]
    wait: bool,
    /// Wait at most so long
    #[arg(long, value_name = "TIME", value_parser = words::duration, default_value = "5m", requires = "wait")]
    timeout: Duration,
    /// Do everything but the writing
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Take objects over that are managed elsewhere, from a watched directory for one
    #[arg(long)]
    take_over: bool,
}

impl Args {
    /// Applies, and waits.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        if self.files.files.is_empty() {
            return Err(
                CliError::usage("say what to apply").with_hint("cube apply -f FILE, DIR or - for standard input")
            );
        }
        let Manifests {
            objects: mut manifests, ..
        } = manifests::read(&self.files, context, "nothing was applied")?;
        let client = context.client();
        let how = Apply {
            take_over: self.take_over,
            dry_run: self.dry_run,
            ..Apply::default()
        };
        let awaited = apply(&client, context, &mut manifests, how).await?;
        if self.wait {
            return wait::until_all_run(&client, context, &awaited, self.timeout).await;
        }
        Ok(Exit::Done)
    }
}

/// Applies what files say, and tells what became of each; answers what there is to wait for.
///
/// # Errors
/// When one of them is refused: then nothing is written.
pub async fn apply(
    client: &Client,
    context: &Context,
    manifests: &mut [Manifest],
    how: Apply,
) -> Result<Vec<Awaited>, CliError> {
    let batch = Apply {
        objects: manifests
            .iter_mut()
            .map(|manifest| std::mem::take(&mut manifest.value))
            .collect(),
        ..how
    };
    let applied = client.apply(&batch).await?;
    tell_refused(context, manifests, &applied)?;
    let mut awaited = Vec::new();
    let mut lines = String::new();
    for (manifest, applied) in manifests.iter().zip(&applied) {
        let word = match applied.outcome {
            Outcome::Created => "created",
            Outcome::Configured => "configured",
            _ => "unchanged",
        };
        let note = if batch.dry_run { " (dry run)" } else { "" };
        lines.push_str(&format!("{} {word}{note}\n", context.shown(&manifest.id)));
        // What was changed may have failed before: that is not this apply's.
        let before = match applied.outcome {
            Outcome::Configured => applied.failures,
            _ => 0,
        };
        awaited.push(Awaited {
            id: manifest.id.clone(),
            before,
            fresh: applied.outcome != Outcome::Unchanged,
        });
    }
    context.output.bytes(lines.as_bytes())?;
    Ok(awaited)
}

/// What the server refuses is shown in the file that says it.
fn tell_refused(context: &Context, manifests: &[Manifest], applied: &[Applied]) -> Result<(), CliError> {
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let mut exit = Exit::Error;
    let refused = manifests
        .iter()
        .zip(applied)
        .filter_map(|(manifest, applied)| match &applied.outcome {
            Outcome::Refused(refusal) => Some((manifest, refusal)),
            _ => None,
        });
    for (manifest, refusal) in refused {
        exit = match refusal {
            refusal if refusal.is_denied() => Exit::Refused,
            refusal if refusal.is_bad_input() || refusal.reason == "NotFound" => exit.max(Exit::BadInput),
            _ => exit,
        };
        diagnostics.extend(shown(context, manifest, refusal));
    }
    if diagnostics.is_empty() {
        return Ok(());
    }
    Err(CliError::Manifests {
        diagnostics,
        consequence: "nothing was applied",
        exit,
    })
}

fn shown(context: &Context, manifest: &Manifest, refusal: &Refusal) -> Vec<Diagnostic> {
    if !refusal.causes.is_empty() {
        return refusal
            .causes
            .iter()
            .map(|cause: &FieldError| manifest.locate(cause))
            .collect();
    }
    if refusal.reason == "NotFound" && refusal.message.starts_with("namespaces ") {
        let namespace = &manifest.id.namespace;
        let message = format!("{}: there is no namespace {namespace}", context.shown(&manifest.id));
        let help = format!("apply a Namespace with the name {namespace} before it, or in the same files");
        return vec![manifest.at_metadata("namespace", message).help(help)];
    }
    vec![manifest.about(&refusal.message)]
}

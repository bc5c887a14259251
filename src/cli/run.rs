//! `cube run`: a Task from an image or from files, without more words than it needs.
use std::time::Duration;

use clap::ValueEnum;
use cube_api::{
    kinds::{Kind, Resource as _},
    task::{DEFAULT_GRACE_SECONDS, EnvVar, Port, Protocol, RestartPolicy, Task, TaskSpec},
};

use super::{
    Context, apply,
    error::{CliError, Exit},
    manifests::{self, FileArgs},
    output::words,
    wait::{self, Awaited},
};
use crate::{
    client::{Apply, Client, Error, Outcome},
    registry,
    source::ObjectId,
};

/// Run an image as a Task, or what files say
///
/// A short-cut of `cube apply`: the Task is an object like any other, `cube get task NAME -o yaml` shows it as a manifest, and
/// `cube stop NAME` ends it. Without --name it is named after the image. Run again as it is, it stays as it is; when
/// there is another Task of that name, that one is left alone and this one refused.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The image. Example: nginx:1.27
    #[arg(value_name = "IMAGE", required_unless_present = "files", conflicts_with = "files")]
    image: Option<String>,
    #[command(flatten)]
    files: FileArgs,
    /// The Task's name; default: made from the image's
    #[arg(long, value_name = "NAME", conflicts_with = "files")]
    name: Option<String>,
    /// An environment variable; several times for several
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = variable, conflicts_with = "files")]
    env: Vec<EnvVar>,
    /// A port of the machine, and the container's that it leads to; 0: Cube chooses one. Examples: 8080:80,
    /// 127.0.0.1:5353:53/udp
    #[arg(short, long, value_name = "[ADDRESS:]HOST:CONTAINER[/udp]", value_parser = port, conflicts_with = "files")]
    port: Vec<Port>,
    /// What happens when its container ends
    #[arg(long, value_enum, value_name = "WHEN", default_value_t, conflicts_with = "files")]
    restart: Restart,
    /// Wait until it runs (or, with --restart never, is completed)
    #[arg(long)]
    wait: bool,
    /// Wait at most so long
    #[arg(long, value_name = "TIME", value_parser = words::duration, default_value = "5m", requires = "wait")]
    timeout: Duration,
    /// Arguments, instead of the image's
    #[arg(last = true, value_name = "CMD", conflicts_with = "files")]
    command: Vec<String>,
}

/// When a container is started again.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Restart {
    /// It is started again, whatever its exit code
    #[default]
    Always,
    /// It is started again unless its exit code was 0
    OnFailure,
    /// It runs once
    Never,
}

impl Args {
    /// Makes it, and waits.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let awaited = match &self.image {
            Some(image) => self.image(&client, context, image).await?,
            None => {
                let mut manifests = manifests::read(&self.files, context, "nothing was run")?.objects;
                apply::apply(&client, context, &mut manifests, Apply::default()).await?
            }
        };
        if let [one] = &awaited[..] {
            tell_verbs(context, &one.id);
        }
        if self.wait {
            return wait::until_all_run(&client, context, &awaited, self.timeout).await;
        }
        Ok(Exit::Done)
    }

    /// Makes a Task of an image.
    async fn image(&self, client: &Client, context: &Context, image: &str) -> Result<Vec<Awaited>, CliError> {
        let task = self.task(context, image)?;
        let id = ObjectId {
            kind: Kind::Task,
            namespace: task.metadata.namespace().to_owned(),
            name: task.metadata.name.clone(),
        };
        let before = match client.typed::<Task>(&id.namespace, &id.name).await {
            Ok(before) => Some(before),
            Err(error) if error.is_not_found() => None,
            Err(error) => return Err(error.into()),
        };
        if let Some(before) = &before {
            refuse_another(context, &id, before, &task)?;
        }
        let batch = Apply {
            objects: vec![task.to_value()],
            ..Apply::default()
        };
        let applied = client.apply(&batch).await?.pop();
        let (word, failures) = match applied.map(|applied| (applied.outcome, applied.failures)) {
            Some((Outcome::Refused(refusal), _)) if refusal.reason == "NotFound" => {
                let message = format!("there is no namespace {}", id.namespace);
                return Err(CliError::usage(message).with_hint("`cube get namespaces` shows what there is"));
            }
            Some((Outcome::Refused(refusal), _)) => return Err(Error::Refused(Box::new(refusal)).into()),
            Some((Outcome::Created, _)) => ("created", 0),
            Some((_, failures)) => ("unchanged", failures),
            None => ("unchanged", 0),
        };
        context.output.line(&format!("{} {word}", context.shown(&id)))?;
        if before.is_some_and(|before| before.status.phase.is_over()) {
            let shown = context.shown(&id);
            let note = format!("{shown} has run already, and is over; `cube restart {shown}` runs it again");
            context.output.note(&note);
        }
        let before = failures;
        Ok(vec![Awaited {
            id,
            before,
            fresh: true,
        }])
    }

    /// The Task that is meant.
    fn task(&self, context: &Context, image: &str) -> Result<Task, CliError> {
        let mut task = Task::default();
        task.metadata.namespace = Some(context.namespace().to_owned());
        task.metadata.name = self.name.clone().unwrap_or_else(|| name_of(image));
        *task.spec = TaskSpec {
            image: image.to_owned(),
            args: self.command.clone(),
            env: self.env.clone(),
            ports: self.port.clone(),
            restart_policy: match self.restart {
                Restart::Always => RestartPolicy::Always,
                Restart::OnFailure => RestartPolicy::OnFailure,
                Restart::Never => RestartPolicy::Never,
            },
            termination_grace_period_seconds: DEFAULT_GRACE_SECONDS,
            ..TaskSpec::default()
        };
        let faults = registry::check(Kind::Task, &task.to_value());
        match &faults[..] {
            [] => Ok(task),
            faults => {
                let lines: Vec<String> = faults.iter().map(ToString::to_string).collect();
                Err(CliError::usage(lines.join("\n")))
            }
        }
    }
}

/// Refuses when there is another Task of that name: nobody's Task is changed by who meant to make one.
fn refuse_another(context: &Context, id: &ObjectId, before: &Task, task: &Task) -> Result<(), CliError> {
    let shown = context.shown(id);
    if before.metadata.is_deleting() {
        let message = format!("{shown} is still being stopped");
        return Err(CliError::ended(Exit::Refused, message).with_hint("once it is gone, this can run"));
    }
    if before.spec == task.spec {
        return Ok(());
    }
    let message = format!("{shown} is there already, and is another (image {})", before.spec.image);
    let hint = format!(
        "--name gives this one another name; `cube stop{} {}` ends that one; `cube apply` changes it",
        context.elsewhere(&id.namespace),
        id.name
    );
    Err(CliError::ended(Exit::Refused, message).with_hint(hint))
}

/// How to see what was made, and how to end it.
fn tell_verbs(context: &Context, id: &ObjectId) {
    let elsewhere = context.elsewhere(&id.namespace);
    let singular = id.kind.info().singular;
    let end = match id.kind {
        Kind::Task => format!("cube stop{elsewhere} {}", id.name),
        _ => format!("cube delete{elsewhere} {singular}/{}", id.name),
    };
    let wrote = match id.kind {
        Kind::Task | Kind::Deployment => format!("`cube logs{elsewhere} {singular}/{}` what it writes, ", id.name),
        _ => String::new(),
    };
    context.output.talk(&format!(
        "`cube get{elsewhere} {singular}/{}` shows it, {wrote}`{end}` ends it",
        id.name
    ));
}

/// A Task's name from its image's: the last step, in the letters that a name may have.
fn name_of(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or_default();
    let plain = last.split(['@', ':']).next().unwrap_or_default().to_lowercase();
    let letters = plain
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' });
    let name: String = letters.take(63).collect();
    match name.trim_matches(['-', '.']) {
        "" => "task".to_owned(),
        name => name.to_owned(),
    }
}

fn variable(text: &str) -> Result<EnvVar, String> {
    let (name, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    Ok(EnvVar {
        name: name.to_owned(),
        value: value.to_owned(),
    })
}

fn port(text: &str) -> Result<Port, String> {
    let wrong = || "must be HOST:CONTAINER, such as 8080:80".to_owned();
    let (ports, protocol) = match text.rsplit_once('/') {
        None => (text, Protocol::Tcp),
        Some((ports, "tcp")) => (ports, Protocol::Tcp),
        Some((ports, "udp")) => (ports, Protocol::Udp),
        Some((_, other)) => return Err(format!("`{other}` is no protocol: tcp, udp")),
    };
    let (rest, container) = ports.rsplit_once(':').ok_or_else(wrong)?;
    let (address, host) = match rest.rsplit_once(':') {
        Some((address, host)) => (Some(address.trim_matches(['[', ']']).to_owned()), host),
        None => (None, rest),
    };
    let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
    Ok(Port {
        name: None,
        container_port: number(container)?,
        protocol,
        host_port: Some(number(host)?),
        host_ip: address,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_images() {
        for (image, name) in [
            ("nginx", "nginx"),
            ("nginx:1.27", "nginx"),
            ("ghcr.io/shop/Web_App:v2@sha256:abc", "web-app"),
            ("registry:5000/db", "db"),
            ("___", "task"),
        ] {
            assert_eq!(name_of(image), name, "{image}");
        }
    }

    #[test]
    fn ports_are_the_machines_and_the_containers() {
        let read = |text| port(text).map(|port| (port.host_ip, port.host_port, port.container_port, port.protocol));
        let tcp = Protocol::Tcp;
        assert_eq!(read("8080:80"), Ok((None, Some(8080), 80, tcp)));
        assert_eq!(read("0:80/tcp"), Ok((None, Some(0), 80, tcp)));
        let local = Some("127.0.0.1".to_owned());
        assert_eq!(
            read("127.0.0.1:53:5353/udp"),
            Ok((local, Some(53), 5353, Protocol::Udp))
        );
        assert_eq!(read("[::1]:1:2"), Ok((Some("::1".to_owned()), Some(1), 2, tcp)));
        for text in ["80", ":80", "80:", "a:b", "80:80/sctp", "70000:1"] {
            assert!(port(text).is_err(), "{text}");
        }
    }
}

//! `cube up`: everything in one process, until Ctrl-C.
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::ValueEnum;
use cube_api::node::{Taint, TaintEffect};

use super::{
    Context,
    error::{CliError, Exit},
    places,
};
use crate::client::Endpoint;
use crate::daemon::{self, DaemonError, DataDirError, EngineChoice, Format};
use crate::worker::subnets::Range;

/// Run Cube on this machine, and make containers match the manifests of a directory
///
/// Prints what it does as it does it. Ctrl-C ends Cube and leaves the containers running; the next `cube up` takes them
/// up as they are. `cube down` removes them.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The directory of manifests to watch; none: objects come by `cube apply` alone
    #[arg(value_name = "DIR")]
    directory: Option<PathBuf>,
    /// Where objects are kept; default: /var/lib/cube for root, else $XDG_STATE_HOME/cube
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where clients come to; default: /run/cube/cube.sock for root, else $XDG_RUNTIME_DIR/cube/cube.sock
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// A group, by name or number, whose members may use the socket too (they are then as good as root)
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
    /// The node's name; default: this machine's host name at the first start, which then stays
    #[arg(long, value_name = "NAME", value_parser = node_name)]
    node_name: Option<String>,
    /// Labels of the node
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = label)]
    labels: Vec<(String, String)>,
    /// Taints of the node; effects are NoSchedule, PreferNoSchedule, NoExecute
    #[arg(long, value_name = "KEY[=VALUE]:EFFECT,…", value_delimiter = ',', value_parser = taint)]
    taints: Vec<Taint>,
    /// The address on which ports are published that name no hostIP; default: every address
    #[arg(long, value_name = "ADDRESS")]
    publish_address: Option<std::net::IpAddr>,
    /// The range that namespaces' networks are cut from
    #[arg(long, value_name = "CIDR", default_value = "10.208.0.0/12")]
    network_range: Range,
    #[command(flatten)]
    engine: EngineArgs,
    /// How lines look
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: LogFormat,
}

/// Which engine runs the containers.
#[derive(clap::Args, Debug)]
pub struct EngineArgs {
    /// The engine: docker (at DOCKER_HOST, else the usual socket), or sim, which only pretends
    #[arg(long, value_enum, default_value_t, value_name = "ENGINE")]
    engine: EngineKind,
    /// How long each start takes with --engine sim. Example: 300ms
    #[arg(long, value_name = "DURATION", value_parser = super::output::words::duration, default_value = "0s")]
    sim_start: Duration,
}

/// The engines.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum EngineKind {
    /// Docker.
    #[default]
    Docker,
    /// A simulated one.
    Sim,
}

/// How lines look.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl EngineArgs {
    /// The engine that is meant.
    pub fn choice(&self) -> EngineChoice {
        match self.engine {
            EngineKind::Docker => EngineChoice::Docker(None),
            EngineKind::Sim => EngineChoice::Sim { start: self.sim_start },
        }
    }
}

impl Args {
    /// Runs until it is told to end.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let format = match self.log_format {
            LogFormat::Text => Format::Text,
            LogFormat::Json => Format::Json,
        };
        super::set_up_server_tracing(context.verbose, format == Format::Json);
        // Who says where the server is means this one too: the verbs of the same shell then find it.
        let named = match &context.server {
            Some(Endpoint::Unix(path)) => Some(path.clone()),
            _ => None,
        };
        let engine = self.engine.choice();
        let options = daemon::Options {
            directory: self.directory,
            data_dir: self.data_dir.unwrap_or_else(places::data_dir),
            socket: self.socket.or(named).unwrap_or_else(places::socket),
            socket_group: self.socket_group,
            node_name: self.node_name,
            host_name: host_name(),
            labels: self.labels.into_iter().collect::<BTreeMap<_, _>>(),
            taints: self.taints,
            publish_address: self.publish_address.map(|address| address.to_string()),
            network_range: self.network_range,
            engine,
            format,
        };
        daemon::run(options, context.world.clone())
            .await
            .map_err(|error| failed(&error))?;
        Ok(Exit::Done)
    }
}

/// What people read when a process of Cube's cannot start.
pub(super) fn failed(error: &(dyn std::error::Error + 'static)) -> CliError {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    if let Some(DaemonError::DataDir(DataDirError::InUse { .. })) = error.downcast_ref() {
        let hint = "end that one first, or use another --data-dir";
        return CliError::ended(Exit::Error, text).with_hint(hint);
    }
    // Some errors carry their hint on a line of their own.
    match text.split_once("\nhint: ") {
        Some((message, hint)) => CliError::ended(Exit::Error, message).with_hint(hint),
        None => CliError::ended(Exit::Error, text),
    }
}

/// The machine's name, in the letters that a node's may have.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let letters = name.chars().map(|c| match c {
        'a'..='z' | '0'..='9' | '.' | '-' => c,
        _ => '-',
    });
    let name: String = letters.take(63).collect();
    match name.trim_matches(['-', '.']) {
        "" => "node".to_owned(),
        name => name.to_owned(),
    }
}

fn node_name(text: &str) -> Result<String, String> {
    let is_name = |format: &cube_api::shape::formats::Format| (format.matches)(text);
    match cube_api::shape::formats::find("dns-subdomain") {
        Some(format) if !is_name(format) => Err(format!("must be {}", format.what)),
        _ => Ok(text.to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("must be KEY=VALUE")?;
    let mut meta = cube_api::meta::ObjectMeta::default();
    "x".clone_into(&mut meta.name);
    meta.labels.insert(key.to_owned(), value.to_owned());
    match cube_api::validate::metadata(&meta).first() {
        Some(error) => Err(error.message.clone()),
        None => Ok((key.to_owned(), value.to_owned())),
    }
}

fn taint(text: &str) -> Result<Taint, String> {
    let (name, effect) = text.rsplit_once(':').ok_or("must be KEY[=VALUE]:EFFECT")?;
    let effect = match effect {
        "NoSchedule" => TaintEffect::NoSchedule,
        "PreferNoSchedule" => TaintEffect::PreferNoSchedule,
        "NoExecute" => TaintEffect::NoExecute,
        other => {
            return Err(format!(
                "`{other}` is no effect: NoSchedule, PreferNoSchedule, NoExecute"
            ));
        }
    };
    let (key, value) = name.split_once('=').unwrap_or((name, ""));
    if key.is_empty() {
        return Err("must be KEY[=VALUE]:EFFECT".to_owned());
    }
    Ok(Taint {
        key: key.to_owned(),
        value: value.to_owned(),
        effect,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_taints_are_read() {
        assert_eq!(label("disk=ssd"), Ok(("disk".to_owned(), "ssd".to_owned())));
        assert!(label("disk").is_err());
        assert!(label("cube.node=x").is_err());
        let told = taint("gpu=a:NoExecute").unwrap();
        assert_eq!((told.key.as_str(), told.value.as_str()), ("gpu", "a"));
        assert!(taint("gpu").is_err());
        assert!(taint("gpu:Never").is_err());
        assert!(node_name("A b").is_err());
        assert!(node_name(&host_name()).is_ok());
    }
}

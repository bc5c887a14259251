//! What every verb is given: where the server is, the namespace, the output, the world.
use clap::{ArgAction, Args};
use cube_api::{kinds::Kind, namespace};

use super::{
    error::CliError,
    output::{Colour, Output},
    places,
};
use crate::{
    client::{Client, Endpoint},
    source::ObjectId,
    world::World,
};

/// Options that every verb takes.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The server: unix:///PATH or http://127.0.0.1:PORT; default: the socket of this machine's cube
    #[arg(long, global = true, env = "CUBE_SERVER", hide_env_values = true, value_name = "URL")]
    pub server: Option<Endpoint>,
    /// The namespace; default: default
    #[arg(
        short,
        long,
        global = true,
        env = "CUBE_NAMESPACE",
        hide_env_values = true,
        value_name = "NAME"
    )]
    pub namespace: Option<String>,
    /// When to use colours
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: Colour,
    /// Tell more of what happens inside; twice for even more
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
}

/// What every verb is given. Cloning is cheap.
#[derive(Clone)]
pub struct Context {
    /// The server that was named, if one was.
    pub server: Option<Endpoint>,
    /// The namespace that was named, if one was.
    pub namespace: Option<String>,
    /// Where everything is printed.
    pub output: Output,
    /// Time and chance.
    pub world: World,
    /// How much is told of what happens inside.
    pub verbose: u8,
}

impl Context {
    /// From the options.
    pub fn new(global: Global) -> Self {
        Self {
            server: global.server,
            namespace: global.namespace.filter(|namespace| !namespace.is_empty()),
            output: Output::new(global.color),
            world: World::real(),
            verbose: global.verbose,
        }
    }

    /// Where the server is that is meant.
    pub fn endpoint(&self) -> Endpoint {
        let socket = || Endpoint::Unix(places::socket());
        self.server.clone().unwrap_or_else(socket)
    }

    /// A client of the server that is meant.
    pub fn client(&self) -> Client {
        Client::new(self.endpoint(), self.world.network())
    }

    /// The namespace that is meant.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(namespace::DEFAULT)
    }

    /// An object as people name it here: `task/web`, and `task/other/web` in another namespace.
    pub fn shown(&self, id: &ObjectId) -> String {
        if id.namespace == self.namespace() {
            format!("{}/{}", id.kind.info().singular, id.name)
        } else {
            id.to_string()
        }
    }

    /// What has to be said beside a verb for it to look in that namespace: nothing, or ` -n NAMESPACE`.
    pub fn elsewhere(&self, namespace: &str) -> String {
        match namespace {
            "" => String::new(),
            namespace if namespace == self.namespace() && self.namespace.is_none() => String::new(),
            namespace => format!(" -n {namespace}"),
        }
    }

    /// Which object a value of the server's is.
    pub fn id_of(&self, kind: Kind, value: &serde_json::Value) -> ObjectId {
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
        ObjectId {
            kind,
            namespace: text("namespace"),
            name: text("name"),
        }
    }

    /// That an object is not there, with how to see what is.
    pub fn not_found(&self, id: &ObjectId) -> CliError {
        let plural = id.kind.info().plural;
        let elsewhere = self.elsewhere(&id.namespace);
        CliError::ended(super::error::Exit::Error, format!("there is no {}", self.shown(id)))
            .with_hint(format!("`cube get {plural}{elsewhere}` shows what there is"))
    }

    /// The same error, in people's words where it says that an object is not there.
    pub fn explain(&self, id: &ObjectId, error: crate::client::Error) -> CliError {
        if error.is_not_found() {
            self.not_found(id)
        } else {
            error.into()
        }
    }

    #[cfg(test)]
    pub(super) fn for_tests(namespace: &str) -> Self {
        Self::new(Global {
            namespace: Some(namespace.to_owned()),
            ..Global::default()
        })
    }
}

//! `cube events`: what happened, oldest first.
use clap::ValueEnum;
use cube_api::{
    event::{Event, EventType},
    kinds::Kind,
};
use jiff::Timestamp;
use serde_json::Value;

use super::{
    Context,
    error::{CliError, Exit},
    names,
    output::{Cell, Style, Table, words},
};
use crate::{
    client::{Change, Client, Form, Selection},
    source::ObjectId,
};

/// Show what happened, oldest first
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Go on with what happens
    #[arg(short, long)]
    watch: bool,
    /// Of all namespaces
    #[arg(short = 'A', long)]
    all_namespaces: bool,
    /// Only to this object
    #[arg(long = "for", value_name = "KIND/NAME")]
    of: Option<String>,
    /// How to tell it, for programs: a list; with --watch, one event after another
    #[arg(short, long, value_enum)]
    output: Option<Telling>,
}

/// How events are told to programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Telling {
    /// JSON
    Json,
    /// YAML
    Yaml,
}

impl Telling {
    fn tell(self, context: &Context, value: &Value) -> Result<(), CliError> {
        match self {
            Self::Json => context.output.json(value),
            Self::Yaml => context.output.yaml(value),
        }
    }
}

impl Args {
    /// Prints the events.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let client = context.client();
        let selection = match &self.of {
            Some(of) => of_object(&names::object(of, context)?),
            None => Selection {
                namespace: Some(context.namespace().to_owned()),
                ..Selection::default()
            },
        };
        let selection = if self.all_namespaces {
            Selection {
                namespace: None,
                ..selection
            }
        } else {
            selection
        };
        if let (false, Some(telling)) = (self.watch, self.output) {
            telling.tell(context, &client.list_as(Kind::Event, &selection, Form::Objects).await?)?;
            return Ok(Exit::Done);
        }
        let mut follow = client.follow(Kind::Event, selection, Form::Objects);
        let mut table = Table::new(headings(self.all_namespaces));
        loop {
            let events = match follow.next().await? {
                Change::All(mut list) => {
                    let items = list["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
                    if items.is_empty() && !self.watch {
                        let place = if self.all_namespaces {
                            String::new()
                        } else {
                            format!(" in namespace {}", context.namespace())
                        };
                        context.output.talk(&format!("no events{place}"));
                        return Ok(Exit::Done);
                    }
                    items
                }
                Change::Set(event) => vec![event],
                // An old one that was cleared away.
                Change::Gone(_) => continue,
                Change::Lost(error) => {
                    context.output.note(&format!("{error}; trying again"));
                    continue;
                }
            };
            if let Some(telling) = self.output {
                events.iter().try_for_each(|event| telling.tell(context, event))?;
                continue;
            }
            for event in in_order(&client, events)? {
                table.row(row(context, &event, self.all_namespaces));
            }
            context.output.table(&table)?;
            if !self.watch {
                return Ok(Exit::Done);
            }
            table.printed();
        }
    }
}

/// The Events of one object.
pub fn of_object(id: &ObjectId) -> Selection {
    let mut fields = format!(
        "involvedObject.kind={},involvedObject.name={}",
        id.kind.info().kind,
        id.name
    );
    // Events of objects of the whole cluster are in the namespace default.
    let namespace = match &id.namespace[..] {
        "" => cube_api::namespace::DEFAULT,
        namespace => {
            fields.push_str(&format!(",involvedObject.namespace={namespace}"));
            namespace
        }
    };
    Selection {
        namespace: Some(namespace.to_owned()),
        fields,
        ..Selection::default()
    }
}

/// Events by the time at which they last happened.
pub fn in_order(client: &Client, events: Vec<Value>) -> Result<Vec<Event>, CliError> {
    let mut events: Vec<Event> = events
        .into_iter()
        .map(|event| client.decode(event))
        .collect::<Result<_, _>>()?;
    // Times are in whole seconds; within one, what was written first happened first.
    let revision = |event: &Event| {
        event
            .metadata
            .resource_version
            .as_deref()
            .and_then(|text| text.parse::<u64>().ok())
    };
    events.sort_by_key(|event| (last(event), revision(event)));
    Ok(events)
}

/// When it last happened.
fn last(event: &Event) -> Option<Timestamp> {
    event
        .last_timestamp
        .or(event.first_timestamp)
        .or(event.metadata.creation_timestamp)
}

/// How long ago it happened, and how often: `3m`, `3m (5 times)`.
pub fn when(context: &Context, event: &Event) -> String {
    let age = last(event)
        .map(|at| words::age(context.world.now(), at))
        .unwrap_or_default();
    match event.count {
        0 | 1 => age,
        many => format!("{age} ({many} times)"),
    }
}

fn headings(namespaces: bool) -> Vec<&'static str> {
    let namespace = namespaces.then_some("NAMESPACE");
    namespace
        .into_iter()
        .chain(["LAST", "TYPE", "REASON", "OBJECT", "MESSAGE"])
        .collect()
}

fn row(context: &Context, event: &Event, namespaces: bool) -> Vec<Cell> {
    let of = &event.involved_object;
    let (kind, style) = match event.kind {
        EventType::Normal => ("Normal", Style::Plain),
        EventType::Warning => ("Warning", Style::Waiting),
    };
    let namespace = namespaces.then(|| event.metadata.namespace().into());
    let cells = [
        when(context, event).into(),
        Cell::new(kind, style),
        event.reason.as_str().into(),
        format!("{}/{}", of.kind.to_lowercase(), of.name).into(),
        event.message.as_str().into(),
    ];
    namespace.into_iter().chain(cells).collect()
}

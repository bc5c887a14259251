//! `cube logs`: what a Task's container wrote, or those of all Tasks of a Deployment in one stream.
//!
//! Lines go through as they are: a log is data. Read [`Args::run`] first.
use std::{collections::BTreeMap, time::Duration};

use cube_api::{kinds::Kind, task::Task};
use tokio::sync::mpsc;

use super::{
    Context,
    error::{CliError, Exit},
    names,
    output::{Style, words},
};
use crate::{
    client::{Body, Change, Client, Form, LogQuery, Selection},
    source::ObjectId,
};

/// Lines of all Tasks that wait to be printed. More only take memory when the terminal is slow.
const LINES: usize = 256;

/// Show what a Task wrote, or all Tasks of a Deployment
#[derive(clap::Args, Debug)]
pub struct Args {
    /// A Task's name, or KIND/NAME
    #[arg(value_name = "TASK|KIND/NAME")]
    what: String,
    /// Go on with what is yet to come, also of the containers that come after
    #[arg(short, long)]
    follow: bool,
    /// Only the last lines
    #[arg(long, value_name = "LINES")]
    tail: Option<u64>,
    /// Only the last time (10m), or from a time on (2030-01-02T03:04:05Z)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Begin each line with its time
    #[arg(long)]
    timestamps: bool,
    /// Of the container before the one that is there
    #[arg(long, conflicts_with = "follow")]
    previous: bool,
}

impl Args {
    /// Prints the output.
    pub async fn run(self, context: &Context) -> Result<Exit, CliError> {
        let id = names::task_or(&self.what, context)?;
        let (client, query) = (context.client(), self.query()?);
        match id.kind {
            Kind::Task => one(&client, context, &id, query).await,
            Kind::Deployment => {
                let selection = names::tasks_of(&id, &client, context).await?;
                if query.follow {
                    follow_all(&client, context, selection, query).await
                } else {
                    merge_all(&client, context, &id, selection, query).await
                }
            }
            other => Err(CliError::usage(format!("a {} has no output", other.info().singular))
                .with_hint("name a task or a deployment")),
        }
    }

    fn query(&self) -> Result<LogQuery, CliError> {
        let mut query = LogQuery {
            follow: self.follow,
            tail: self.tail,
            timestamps: self.timestamps,
            previous: self.previous,
            ..LogQuery::default()
        };
        if let Some(since) = &self.since {
            if since.parse::<jiff::Timestamp>().is_ok() {
                query.since_time = Some(since.clone());
            } else {
                let time: Duration = words::duration(since)
                    .map_err(|error| CliError::usage(format!("--since: {error}, 2030-01-02T03:04:05Z")))?;
                query.since_seconds = Some(time.as_secs().max(1));
            }
        }
        Ok(query)
    }
}

/// One Task's output, as it is.
async fn one(client: &Client, context: &Context, id: &ObjectId, query: LogQuery) -> Result<Exit, CliError> {
    if !query.follow {
        let body = client.log(&id.namespace, &id.name, &query).await;
        let mut body = body.map_err(|error| match error.refusal() {
            // What was asked makes sense: there is only nothing to show yet.
            Some(refusal) if refusal.is_bad_input() => CliError::ended(Exit::Error, refusal.to_string()),
            _ => context.explain(id, error),
        })?;
        while let Some(piece) = body.next().await? {
            context.output.bytes(&piece)?;
        }
        return Ok(Exit::Done);
    }
    let mut tail = Tail::new(client, context, id.clone(), query);
    while let Some(line) = tail.line().await? {
        context.output.bytes(&line)?;
    }
    Ok(Exit::Done)
}

/// One Task's output over all its containers, until the Task is over.
struct Tail {
    client: Client,
    context: Context,
    id: ObjectId,
    query: LogQuery,
    body: Option<Body>,
    /// The container whose output was read to its end.
    read: Option<Option<String>>,
    told_to_wait: bool,
}

impl Tail {
    fn new(client: &Client, context: &Context, id: ObjectId, query: LogQuery) -> Self {
        let (client, context) = (client.clone(), context.clone());
        Self {
            client,
            context,
            id,
            query,
            body: None,
            read: None,
            told_to_wait: false,
        }
    }

    /// The next line with its end; none when the Task is over or gone.
    async fn line(&mut self) -> Result<Option<Vec<u8>>, CliError> {
        loop {
            if let Some(body) = &mut self.body {
                match body.line().await {
                    Ok(Some(mut line)) => {
                        line.push(b'\n');
                        return Ok(Some(line));
                    }
                    Ok(None) => {}
                    Err(error) if error.is_passing() => self.context.output.note(&format!("{error}; trying again")),
                    Err(error) => return Err(error.into()),
                }
                self.body = None;
                // What comes next is another container's, and new from its first line on.
                self.query = LogQuery {
                    follow: true,
                    timestamps: self.query.timestamps,
                    ..LogQuery::default()
                };
            }
            let Some(container) = self.await_container().await? else {
                return Ok(None);
            };
            match self.client.log(&self.id.namespace, &self.id.name, &self.query).await {
                Ok(body) => (self.body, self.read) = (Some(body), Some(container)),
                Err(error)
                    if error.is_not_found()
                        || error.is_passing()
                        || error.refusal().is_some_and(|refusal| refusal.code == 400) =>
                {
                    if !std::mem::replace(&mut self.told_to_wait, true) {
                        self.context
                            .output
                            .note(&format!("{}: {error}; waiting", self.context.shown(&self.id)));
                    }
                    tokio::time::sleep(Duration::from_millis(500)).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Waits for a container that was not read yet; none when there will be none.
    async fn await_container(&mut self) -> Result<Option<Option<String>>, CliError> {
        let selection = Selection::of(&self.id.namespace).named(&self.id.name);
        let mut follow = self.client.follow(Kind::Task, selection, Form::Objects);
        loop {
            let value = match follow.next().await? {
                Change::All(mut list) => match list["items"].get_mut(0) {
                    Some(task) => task.take(),
                    None if self.read.is_none() => return Err(self.context.not_found(&self.id)),
                    None => return Ok(None),
                },
                Change::Set(task) => task,
                Change::Gone(_) => return Ok(None),
                Change::Lost(error) => {
                    self.context.output.note(&format!("{error}; trying again"));
                    continue;
                }
            };
            let task: Task = self.client.decode(value)?;
            let container = task.status.container_id;
            let over = task.status.phase.is_over();
            // Of a Task that is over, the last lines are kept though its container may be gone.
            if self.read.as_ref() != Some(&container) && (container.is_some() || (over && self.read.is_none())) {
                return Ok(Some(container));
            }
            if over {
                return Ok(None);
            }
            if self.read.is_none() && !std::mem::replace(&mut self.told_to_wait, true) {
                let why = if task.status.reason.is_empty() {
                    format!("{:?}", task.status.phase)
                } else {
                    task.status.reason
                };
                self.context.output.note(&format!(
                    "{} has no container yet ({why}); waiting",
                    self.context.shown(&self.id)
                ));
            }
        }
    }
}

/// What is printed before each line: who wrote it.
struct Prefixes {
    width: usize,
    styles: BTreeMap<String, usize>,
}

impl Prefixes {
    fn new(names: &[String]) -> Self {
        let mut prefixes = Self {
            width: 0,
            styles: BTreeMap::new(),
        };
        for name in names {
            prefixes.of(name);
        }
        prefixes
    }

    fn of(&mut self, name: &str) -> (usize, Style) {
        let next = self.styles.len();
        let at = *self.styles.entry(name.to_owned()).or_insert(next);
        self.width = self.width.max(name.len());
        (self.width, Style::Series(at))
    }

    fn print(&mut self, context: &Context, name: &str, line: &[u8]) -> Result<(), CliError> {
        let (width, style) = self.of(name);
        let mut text = context.output.paint(style, &format!("{name:width$} | ")).into_bytes();
        text.extend_from_slice(line);
        context.output.bytes(&text)
    }
}

/// What all Tasks wrote by now, in the order of time.
async fn merge_all(
    client: &Client,
    context: &Context,
    id: &ObjectId,
    selection: Selection,
    query: LogQuery,
) -> Result<Exit, CliError> {
    let tasks = client.list_typed::<Task>(&selection).await?.items;
    let names: Vec<String> = tasks.iter().map(|task| task.metadata.name.clone()).collect();
    let mut prefixes = Prefixes::new(&names);
    let with_times = LogQuery {
        timestamps: true,
        ..query.clone()
    };
    let mut heads: Vec<(Vec<u8>, &str, Body)> = Vec::new();
    for name in &names {
        match client.log(&id.namespace, name, &with_times).await {
            Ok(mut body) => {
                if let Some(line) = body.line().await? {
                    heads.push((line, name, body));
                }
            }
            Err(error) if error.refusal().is_some() => context.output.note(&format!("task/{name}: {error}")),
            Err(error) => return Err(error.into()),
        }
    }
    if tasks.is_empty() {
        context.output.talk(&format!("{} has no tasks", context.shown(id)));
    }
    // Times are RFC 3339 in UTC: the order of their text is theirs. One that sheds its zeros is only a little out of place.
    while let Some(at) = (0..heads.len()).min_by(|a, b| time_of(&heads[*a].0).cmp(time_of(&heads[*b].0))) {
        let (line, name, body) = &mut heads[at];
        let mut shown = if query.timestamps {
            line.clone()
        } else {
            without_time(line).to_vec()
        };
        shown.push(b'\n');
        prefixes.print(context, name, &shown)?;
        match body.line().await? {
            Some(next) => *line = next,
            None => drop(heads.remove(at)),
        }
    }
    Ok(Exit::Done)
}

fn time_of(line: &[u8]) -> &[u8] {
    let end = line.iter().position(|byte| *byte == b' ').unwrap_or(line.len());
    &line[..end]
}

fn without_time(line: &[u8]) -> &[u8] {
    line.get(time_of(line).len() + 1..).unwrap_or_default()
}

/// What all Tasks write, as it comes, with those that come later.
async fn follow_all(
    client: &Client,
    context: &Context,
    selection: Selection,
    query: LogQuery,
) -> Result<Exit, CliError> {
    let (sender, mut lines) = mpsc::channel::<(String, Result<Vec<u8>, CliError>)>(LINES);
    let mut follow = client.follow(Kind::Task, selection, Form::Objects);
    let (told, mut changes) = mpsc::channel(1);
    // By itself: many lines must not keep it from going on.
    tokio::spawn(async move {
        loop {
            let change = follow.next().await;
            let failed = change.is_err();
            if told.send(change).await.is_err() || failed {
                return;
            }
        }
    });
    let mut prefixes = Prefixes::new(&[]);
    let mut tails: BTreeMap<String, tokio::task::JoinHandle<()>> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            change = changes.recv() => {
                let Some(change) = change else { return Ok(Exit::Done) };
                let (tasks, later) = match change? {
                    Change::All(mut list) => (list["items"].as_array_mut().map(std::mem::take).unwrap_or_default(), false),
                    Change::Set(task) => (vec![task], true),
                    Change::Gone(_) => continue,
                    Change::Lost(error) => {
                        context.output.note(&format!("{error}; trying again"));
                        continue;
                    }
                };
                for task in tasks {
                    let id = context.id_of(Kind::Task, &task);
                    let uid = task["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
                    if tails.contains_key(&uid) {
                        continue;
                    }
                    prefixes.of(&id.name);
                    // Of a Task that came later, everything is new.
                    let query = match later {
                        true => LogQuery { follow: true, timestamps: query.timestamps, ..LogQuery::default() },
                        false => query.clone(),
                    };
                    let mut tail = Tail::new(client, context, id, query);
                    tail.told_to_wait = true;
                    let sender = sender.clone();
                    tails.insert(uid, tokio::spawn(async move {
                        loop {
                            let line = match tail.line().await {
                                Ok(Some(line)) => Ok(line),
                                // Gone between two looks: the others go on.
                                Ok(None) | Err(CliError::Ended { .. }) => return,
                                Err(error) => Err(error),
                            };
                            let failed = line.is_err();
                            if sender.send((tail.id.name.clone(), line)).await.is_err() || failed {
                                return;
                            }
                        }
                    }));
                }
            }
            line = lines.recv() => {
                if let Some((name, line)) = line {
                    prefixes.print(context, &name, &line?)?;
                }
            }
        }
    }
}

//! One client of the API over a Unix socket, or HTTP on this machine's loopback.
//!
//! Owns requests, their errors, and streams that go on over broken connections. It prints nothing, waits for nobody and
//! decides nothing. Read [`Client`] first; [`Follow`] for lists that stay current.
//!
//! ```text
//! verb ─► Client ─► query (path) ─► transport (one connection a request) ─► JSON │ Body (lines) ─► Watch ─► Follow
//! ```
mod apply;
mod endpoint;
mod error;
mod follow;
mod query;
mod socket;
mod transport;
mod watch;

use std::sync::Arc;

use cube_api::figures::{NodeFigures, TaskFigures};
use cube_api::kinds::{Kind, Resource};
use cube_api::rebalance::{RebalancePlan, RebalanceRequest};
use cube_api::survey::PlacementSurvey;
use http::Method;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use query::Target;
use transport::{Ask, Transport};

use crate::world::network::Network;

pub use apply::{Applied, Apply, Outcome};
pub use endpoint::{Endpoint, is_loopback};
pub use error::{Error, Refusal};
pub use follow::{Change, Follow};
pub use socket::Socket;
pub use transport::Body;
pub use watch::{Watch, WatchEvent};

const MERGE_PATCH: &str = "application/merge-patch+json";
const JSON: &str = "application/json";

/// Speaks with a server. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Client {
    transport: Transport,
}

/// How objects are to be told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As they are.
    #[default]
    Objects,
    /// As rows for people.
    Table,
}

impl Form {
    fn accept(self) -> &'static str {
        match self {
            Self::Objects => JSON,
            Self::Table => "application/json;as=Table;g=meta.k8s.io;v=v1,application/json",
        }
    }
}

/// Which objects of a kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Of one namespace only.
    pub namespace: Option<String>,
    /// With these labels: `app=web`.
    pub labels: String,
    /// With these fields: `metadata.name=web`.
    pub fields: String,
}

impl Selection {
    /// All of a namespace.
    pub fn of(namespace: &str) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            ..Self::default()
        }
    }

    /// The one object of this name.
    #[must_use]
    pub fn named(self, name: &str) -> Self {
        Self {
            fields: format!("metadata.name={name}"),
            ..self
        }
    }

    fn target(&self, kind: Kind) -> Target {
        Target::list(kind, self.namespace.as_deref())
            .with("labelSelector", &self.labels)
            .with("fieldSelector", &self.fields)
    }
}

/// Objects, and the revision at which they were so.
#[derive(Clone, Debug)]
pub struct List<T = Value> {
    /// A watch can go on from here.
    pub revision: String,
    /// The objects.
    pub items: Vec<T>,
}

/// What becomes of what belongs to a deleted object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cascade {
    /// It goes after its owner.
    #[default]
    Background,
    /// It goes before its owner.
    Foreground,
    /// It stays.
    Orphan,
}

/// Which program is run in a Task's container, and what it is joined to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecQuery {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// It is given a standard input.
    pub stdin: bool,
    /// It is given a terminal.
    pub tty: bool,
}

/// How an object is deleted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delete {
    /// What becomes of what belongs to it.
    pub cascade: Cascade,
    /// How long it may take to stop; none: what the object says.
    pub grace_seconds: Option<u64>,
    /// Only this very object.
    pub uid: Option<String>,
}

/// Which part of a Task's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// Go on with what is yet to come.
    pub follow: bool,
    /// Only the last lines.
    pub tail: Option<u64>,
    /// Only of the last seconds.
    pub since_seconds: Option<u64>,
    /// Only from this time on.
    pub since_time: Option<String>,
    /// Begin each line with its time.
    pub timestamps: bool,
    /// Of the container before the one that runs.
    pub previous: bool,
}

impl Client {
    /// A client of the server there. Nothing is sent yet.
    pub fn new(endpoint: Endpoint, network: Arc<dyn Network>) -> Self {
        Self {
            transport: Transport { endpoint, network },
        }
    }

    /// Where its server is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.transport.endpoint
    }

    /// One object; `namespace` is passed over for kinds of the whole cluster.
    ///
    /// # Errors
    /// When there is none, or nobody answers.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Value, Error> {
        self.get_as(kind, namespace, name, Form::Objects).await
    }

    /// One object, told so.
    ///
    /// # Errors
    /// When there is none, or nobody answers.
    pub async fn get_as(&self, kind: Kind, namespace: &str, name: &str, form: Form) -> Result<Value, Error> {
        let target = Target::object(kind, namespace, name).into_text();
        self.transport
            .json(Ask {
                accept: form.accept(),
                ..Ask::get(target)
            })
            .await
    }

    /// One object as its type.
    ///
    /// # Errors
    /// When there is none, or nobody answers.
    pub async fn typed<K: Resource>(&self, namespace: &str, name: &str) -> Result<K, Error> {
        let value = self.get(K::KIND, namespace, name).await?;
        self.decode(value)
    }

    /// An object of the server's as its type.
    ///
    /// # Errors
    /// When it has not the kind's form: the server is of another release.
    pub fn decode<K: Resource>(&self, value: Value) -> Result<K, Error> {
        let wrong = |error: serde_json::Error| {
            let kind = K::KIND.info().singular;
            self.transport
                .nonsense(format!("a {kind} that this release does not understand: {error}"))
        };
        K::from_value(value).map_err(wrong)
    }

    /// A list as the server tells it: an object, or a table.
    ///
    /// # Errors
    /// When nobody answers, or a selector is wrong.
    pub async fn list_as(&self, kind: Kind, selection: &Selection, form: Form) -> Result<Value, Error> {
        let target = selection.target(kind).into_text();
        self.transport
            .json(Ask {
                accept: form.accept(),
                ..Ask::get(target)
            })
            .await
    }

    /// The objects of a kind.
    ///
    /// # Errors
    /// When nobody answers, or a selector is wrong.
    pub async fn list(&self, kind: Kind, selection: &Selection) -> Result<List, Error> {
        let mut list = self.list_as(kind, selection, Form::Objects).await?;
        let revision = revision_of(&list);
        match list["items"].take() {
            Value::Array(items) => Ok(List { revision, items }),
            _ => Err(self.transport.nonsense("a list without items")),
        }
    }

    /// The objects of a kind as their type.
    ///
    /// # Errors
    /// When nobody answers, or a selector is wrong.
    pub async fn list_typed<K: Resource>(&self, selection: &Selection) -> Result<List<K>, Error> {
        let List { revision, items } = self.list(K::KIND, selection).await?;
        let items = items
            .into_iter()
            .map(|item| self.decode(item))
            .collect::<Result<_, _>>()?;
        Ok(List { revision, items })
    }

    /// Changes after a revision, until the server ends it. [`Follow`] goes on after that.
    ///
    /// # Errors
    /// When nobody answers, or a selector is wrong.
    pub async fn watch(&self, kind: Kind, selection: &Selection, after: &str, form: Form) -> Result<Watch, Error> {
        let target = selection
            .target(kind)
            .when("watch", true)
            .with("resourceVersion", after)
            .when("allowWatchBookmarks", true)
            .into_text();
        let body = self
            .transport
            .send(Ask {
                accept: form.accept(),
                ..Ask::get(target)
            })
            .await?;
        Ok(Watch::new(body, self.transport.clone()))
    }

    /// A list that stays current.
    pub fn follow(&self, kind: Kind, selection: Selection, form: Form) -> Follow {
        Follow::new(self.clone(), kind, selection, form)
    }

    /// Changes parts of an object (JSON merge patch); answers the object as it is then.
    ///
    /// # Errors
    /// When there is none, the change is refused, or nobody answers.
    pub async fn merge_patch(&self, kind: Kind, namespace: &str, name: &str, patch: &Value) -> Result<Value, Error> {
        let target = Target::object(kind, namespace, name)
            .with("fieldManager", "cube")
            .into_text();
        let body = Some((MERGE_PATCH, patch.to_string().into_bytes()));
        self.transport
            .json(Ask {
                method: Method::PATCH,
                body,
                ..Ask::get(target)
            })
            .await
    }

    /// Deletes an object. What is answered is the object while it is still going, else a `Status`.
    ///
    /// # Errors
    /// When there is none, it is refused, or nobody answers.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str, how: &Delete) -> Result<Value, Error> {
        let policy = match how.cascade {
            Cascade::Background => "Background",
            Cascade::Foreground => "Foreground",
            Cascade::Orphan => "Orphan",
        };
        let mut body = json!({ "propagationPolicy": policy });
        if let Some(seconds) = how.grace_seconds {
            body["gracePeriodSeconds"] = seconds.into();
        }
        if let Some(uid) = &how.uid {
            body["preconditions"] = json!({ "uid": uid });
        }
        let target = Target::object(kind, namespace, name).into_text();
        let body = Some((JSON, body.to_string().into_bytes()));
        self.transport
            .json(Ask {
                method: Method::DELETE,
                body,
                ..Ask::get(target)
            })
            .await
    }

    /// Applies a batch of whole objects; the answers are in its order.
    ///
    /// # Errors
    /// When nobody answers, or the batch makes no sense as a whole.
    pub async fn apply(&self, batch: &Apply) -> Result<Vec<Applied>, Error> {
        let body = Some((JSON, batch.to_json()));
        let target = Target::api("/apply").into_text();
        let answer = self
            .transport
            .send(Ask {
                method: Method::POST,
                body,
                ..Ask::get(target)
            })
            .await?;
        let answer = answer.all().await?;
        let applied = Applied::read(&answer).filter(|applied| applied.len() == batch.objects.len());
        applied.ok_or_else(|| self.transport.nonsense("an apply without a result for each object"))
    }

    /// A Task's output.
    ///
    /// # Errors
    /// When there is no such Task, it has no output yet, or nobody answers.
    pub async fn log(&self, namespace: &str, name: &str, which: &LogQuery) -> Result<Body, Error> {
        let number = |number: Option<u64>| number.map(|number| number.to_string()).unwrap_or_default();
        let target = Target::object(Kind::Task, namespace, name)
            .below("log")
            .when("follow", which.follow)
            .with("tailLines", &number(which.tail))
            .with("sinceSeconds", &number(which.since_seconds))
            .with("sinceTime", which.since_time.as_deref().unwrap_or_default())
            .when("timestamps", which.timestamps)
            .when("previous", which.previous)
            .into_text();
        self.transport
            .send(Ask {
                accept: "text/plain, */*",
                ..Ask::get(target)
            })
            .await
    }

    /// What nodes use, now.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn node_figures(&self, which: &Selection) -> Result<Vec<NodeFigures>, Error> {
        self.figures("/figures/nodes", which).await
    }

    /// What Tasks use, now.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn task_figures(&self, which: &Selection) -> Result<Vec<TaskFigures>, Error> {
        self.figures("/figures/tasks", which).await
    }

    async fn figures<T: DeserializeOwned>(&self, path: &str, which: &Selection) -> Result<Vec<T>, Error> {
        let target = Target::api(path)
            .with("namespace", which.namespace.as_deref().unwrap_or_default())
            .with("labelSelector", &which.labels)
            .into_text();
        let mut value = self.transport.json(Ask::get(target)).await?;
        let wrong = |error| {
            let message = format!("figures that this release does not understand: {error}");
            self.transport.nonsense(message)
        };
        serde_json::from_value(value["items"].take()).map_err(wrong)
    }

    /// Runs a program in a Task's container. What is said over the socket is told in `src/server/exec.rs`.
    ///
    /// # Errors
    /// When it has no container that runs, or nobody answers.
    pub async fn exec(&self, namespace: &str, name: &str, which: &ExecQuery) -> Result<Socket, Error> {
        let target = Target::object(Kind::Task, namespace, name)
            .below("exec")
            .words("command", &which.command)
            .when("stdin", which.stdin)
            .when("stdout", true)
            .when("stderr", !which.tty)
            .when("tty", which.tty)
            .into_text();
        self.socket(&target, &["v5.channel.k8s.io"]).await
    }

    /// Where a Task could run, and why.
    ///
    /// # Errors
    /// When there is no such Task, or nobody answers.
    pub async fn placement(&self, namespace: &str, name: &str) -> Result<PlacementSurvey, Error> {
        let target = Target::object(Kind::Task, namespace, name)
            .below("placement")
            .into_text();
        let value = self.transport.json(Ask::get(target)).await?;
        let wrong = |error| {
            let message = format!("a survey that this release does not understand: {error}");
            self.transport.nonsense(message)
        };
        serde_json::from_value(value).map_err(wrong)
    }

    /// Which Tasks would move so that nodes are loaded more evenly; with `restarts`, such too that stop before another starts.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn rebalance_plan(&self, restarts: bool) -> Result<RebalancePlan, Error> {
        let target = Target::api("/rebalance").when("restarts", restarts).into_text();
        let value = self.transport.json(Ask::get(target)).await?;
        let wrong = |error| {
            let message = format!("a plan that this release does not understand: {error}");
            self.transport.nonsense(message)
        };
        serde_json::from_value(value).map_err(wrong)
    }

    /// Moves of a plan begin, all of them or none.
    ///
    /// # Errors
    /// 409 when they are no longer what the plan would be; else when nobody answers.
    pub async fn rebalance(&self, request: &RebalanceRequest) -> Result<(), Error> {
        let body = serde_json::to_vec(request).unwrap_or_default();
        let ask = Ask {
            method: Method::POST,
            body: Some((JSON, body)),
            ..Ask::get(Target::api("/rebalance").into_text())
        };
        self.transport.json(ask).await.map(drop)
    }

    /// Everything that the server has, as one stream that `restore` reads.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn backup(&self) -> Result<Body, Error> {
        let target = Target::api("/backup").into_text();
        self.transport
            .send(Ask {
                accept: "application/octet-stream, */*",
                ..Ask::get(target)
            })
            .await
    }

    /// What the server says of itself.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn info(&self) -> Result<Value, Error> {
        self.transport.json(Ask::get(Target::api("/info").into_text())).await
    }

    /// The server's version, as Kubernetes asks for it.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn version(&self) -> Result<Value, Error> {
        self.transport
            .json(Ask::get(Target::path("/version").into_text()))
            .await
    }

    /// A connection for someone else's requests.
    ///
    /// # Errors
    /// When nobody answers.
    pub async fn connect<B>(&self) -> Result<hyper::client::conn::http1::SendRequest<B>, Error>
    where
        B: hyper::body::Body + Send + 'static,
        B::Data: Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        self.transport.connect().await
    }
}

/// The revision that an object, list or table was told at.
fn revision_of(told: &Value) -> String {
    let own = told["metadata"]["resourceVersion"].as_str();
    // A table of a watch has it in its row alone.
    let of_row = || told["rows"][0]["object"]["metadata"]["resourceVersion"].as_str();
    own.filter(|own| !own.is_empty())
        .or_else(of_row)
        .unwrap_or_default()
        .to_owned()
}

//! Objects that are told to go, and the wait until they are gone: the same for every verb that removes some.
//!
//! Which objects, and whether they may go, is each verb's own business. Read [`Removal::carry_out`] first.
use std::time::Duration;

use cube_api::meta::ObjectMeta;
use serde_json::Value;
use tokio::time::timeout;

use super::{
    Context,
    error::{CliError, Exit},
    output::words,
};
use crate::{
    client::{Change, Client, Delete, Form, Selection},
    source::ObjectId,
};

/// An object that is to go: this very one, not another of its name.
#[derive(Clone, Debug)]
pub struct Doomed {
    /// Which.
    pub id: ObjectId,
    /// Its uid.
    pub uid: String,
}

impl Doomed {
    /// The object as it was shown.
    pub fn new(id: ObjectId, meta: &ObjectMeta) -> Self {
        let uid = meta.uid.clone();
        Self { id, uid }
    }
}

/// How objects are removed.
#[derive(Clone, Debug)]
pub struct Removal {
    /// How each is deleted.
    pub how: Delete,
    /// Whether it is waited for.
    pub wait: bool,
    /// How long at most; none: as long as it takes.
    pub timeout: Option<Duration>,
    /// What has happened to an object that is gone: `deleted`.
    pub done: &'static str,
    /// What happens to one that is still going: `being deleted`.
    pub under_way: &'static str,
}

impl Removal {
    /// Removes them, in their order, and tells of each.
    ///
    /// # Errors
    /// When one is refused, nobody answers, or the time is over.
    pub async fn carry_out(&self, client: &Client, context: &Context, doomed: Vec<Doomed>) -> Result<Exit, CliError> {
        let mut going = Vec::new();
        for one in doomed {
            let Doomed { id, uid } = &one;
            let how = Delete {
                uid: Some(uid.clone()),
                ..self.how.clone()
            };
            match client.delete(id.kind, &id.namespace, &id.name, &how).await {
                Ok(told) if told["kind"] == "Status" => self.tell_gone(context, id)?,
                // It went by itself in between, or another took its place: this one is gone.
                Err(error) if error.is_not_found() => self.tell_gone(context, id)?,
                Ok(_) => going.push(one),
                Err(error) => return Err(error.into()),
            }
        }
        if !self.wait {
            for one in &going {
                let line = format!("{} is {}", context.shown(&one.id), self.under_way);
                context.output.line(&line)?;
            }
            return Ok(Exit::Done);
        }
        let waiting = self.await_all(client, context, &going);
        let Some(limit) = self.timeout else {
            return waiting.await;
        };
        timeout(limit, waiting).await.unwrap_or_else(|_| {
            let message = format!("not all was gone within {}; it goes on", words::took(limit));
            Err(CliError::ended(Exit::TimedOut, message).with_hint("`cube get` shows why it is still there"))
        })
    }

    fn tell_gone(&self, context: &Context, id: &ObjectId) -> Result<(), CliError> {
        context.output.line(&format!("{} {}", context.shown(id), self.done))
    }

    async fn await_all(&self, client: &Client, context: &Context, going: &[Doomed]) -> Result<Exit, CliError> {
        for Doomed { id, uid } in going {
            let is_it = |value: &Value| value["metadata"]["uid"] == *uid.as_str();
            let selection = Selection::of(&id.namespace).named(&id.name);
            let mut follow = client.follow(id.kind, selection, Form::Objects);
            loop {
                match follow.next().await? {
                    Change::All(list) if !list["items"].as_array().is_some_and(|items| items.iter().any(is_it)) => {
                        break;
                    }
                    Change::Set(object) if !is_it(&object) => break,
                    Change::Gone(_) => break,
                    Change::Lost(error) => context.output.note(&format!("{error}; trying again")),
                    Change::All(_) | Change::Set(_) => {}
                }
            }
            self.tell_gone(context, id)?;
        }
        Ok(Exit::Done)
    }
}

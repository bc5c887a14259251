//! People and programs at the API: what they ask for, what they are answered, and whether the answers are true (I3, I4, I5).
use std::time::Duration;

use cube::client::{Apply, Cascade, Client, Delete, Error, Form, Outcome, Selection, WatchEvent};
use cube_api::kinds::Kind;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::{
    history::History,
    oracle::{Oracle, id_of},
    script::Act,
};

/// Nobody waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// One who asks.
#[derive(Clone)]
pub struct Person {
    /// Its name.
    pub name: String,
    /// Its way to the server.
    pub client: Client,
    /// What happened.
    pub history: History,
    /// Who judges the answers.
    pub oracle: Oracle,
}

fn revision(object: &Value) -> u64 {
    let text = object["metadata"]["resourceVersion"].as_str().unwrap_or_default();
    text.parse().unwrap_or_default()
}

impl Person {
    /// Does what the act says, and looks at what was answered.
    pub async fn act(self, act: Act) {
        let done = timeout(PATIENCE, self.ask(&act)).await;
        let outcome = match done {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => {
                let told = error.refusal().map(|refusal| refusal.code);
                if matches!(error, Error::Nonsense { .. }) || told.is_some_and(|code| code == 500) {
                    self.history.violated("an answer makes sense", &error);
                }
                error.to_string()
            }
            Err(_) => "no answer".to_owned(),
        };
        self.history
            .note(&self.name, format_args!("{}: {outcome}", short(&act)));
    }

    async fn ask(&self, act: &Act) -> Result<String, Error> {
        match act {
            Act::Apply { objects, take_over, .. } => {
                let batch = Apply {
                    take_over: *take_over,
                    dry_run: false,
                    objects: objects.clone(),
                };
                let before = self.oracle.revision();
                let applied = self.client.apply(&batch).await?;
                for one in &applied {
                    if let (Some(kind), Outcome::Created | Outcome::Configured) = (one.kind, &one.outcome) {
                        let key = id_of(kind, &one.namespace, &one.name);
                        self.oracle.acknowledged_since(&self.name, &key, before);
                    }
                }
                let outcomes: Vec<String> = applied
                    .iter()
                    .map(|one| format!("{} {:?}", one.name, one.outcome))
                    .collect();
                Ok(outcomes.join(", "))
            }
            Act::Patch {
                kind,
                namespace,
                name,
                patch,
                ..
            } => {
                let object = self.client.merge_patch(*kind, namespace, name, patch).await?;
                let revision = revision(&object);
                self.oracle
                    .acknowledged(&self.name, &id_of(*kind, namespace, name), revision);
                self.read(*kind, namespace, name).await?;
                Ok(format!("revision {revision}"))
            }
            Act::Delete {
                kind,
                namespace,
                name,
                grace,
                cascade,
                ..
            } => {
                let how = Delete {
                    cascade: match cascade {
                        0 => Cascade::Foreground,
                        1 => Cascade::Orphan,
                        _ => Cascade::Background,
                    },
                    grace_seconds: *grace,
                    uid: None,
                };
                self.oracle.deletes(&id_of(*kind, namespace, name), *grace == Some(0));
                self.client.delete(*kind, namespace, name, &how).await?;
                self.read(*kind, namespace, name).await.or_else(|error| {
                    let gone = error.is_not_found();
                    if gone { Ok(()) } else { Err(error) }
                })?;
                Ok("deleted".to_owned())
            }
            _ => Ok(String::new()),
        }
    }

    /// Reads an object: what is answered is no older than what was there when it was asked for.
    async fn read(&self, kind: Kind, namespace: &str, name: &str) -> Result<(), Error> {
        let key = id_of(kind, namespace, name);
        let before = self.oracle.revision_of(&key);
        match self.client.get(kind, namespace, name).await {
            Ok(object) => {
                let seen = revision(&object);
                if before.is_some_and(|before| seen < before) {
                    let what = format!("{} reads {key} as of {seen}, after {before:?} was told", self.name);
                    self.history.violated("I5: reads are never stale", what);
                }
                self.oracle.acknowledged(&self.name, &key, seen);
                Ok(())
            }
            Err(error) if error.is_not_found() => {
                // It was there when it was asked for, and has gone since, or it never came back.
                if before.is_some() && self.oracle.revision_of(&key) == before {
                    let what = format!("{} does not find {key}, which is there since {before:?}", self.name);
                    self.history.violated("I5: reads are never stale", what);
                }
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    /// Says yes to what a source would remove.
    pub async fn approve(self, source: String) {
        let asked = async {
            let object = self.client.get(Kind::Source, "", &source).await?;
            let waiting = object["status"]["waiting"].as_array().cloned().unwrap_or_default();
            if waiting.is_empty() {
                return Ok("nothing waits".to_owned());
            }
            let ids: Vec<String> = waiting.iter().filter_map(|id| id.as_str().map(str::to_owned)).collect();
            let yes = cube::source::digest(
                &ids.iter()
                    .filter_map(|id| id.parse().ok())
                    .collect::<Vec<cube::source::ObjectId>>(),
            );
            let patch = json!({ "metadata": { "annotations": { cube::source::APPROVED_ANNOTATION: yes } } });
            self.oracle.approves(&source);
            self.client.merge_patch(Kind::Source, "", &source, &patch).await?;
            Ok::<_, Error>(format!("yes to {}", ids.join(", ")))
        };
        let outcome = match timeout(PATIENCE, asked).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer".to_owned(),
        };
        self.history
            .note(&self.name, format_args!("approves of {source}: {outcome}"));
    }

    /// Follows a kind for ever: a list, then every change of it, in order, once, without a gap; or a word that its place is lost.
    pub async fn follow(self, kind: Kind) {
        loop {
            let told = self.follow_once(kind).await;
            if let Err(error) = told
                && matches!(error, Error::Nonsense { .. })
            {
                self.history.violated("I4: a watch makes sense", error);
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn follow_once(&self, kind: Kind) -> Result<(), Error> {
        let selection = Selection::default();
        let listed = timeout(PATIENCE, self.client.list(kind, &selection)).await;
        let Ok(listed) = listed else { return Ok(()) };
        let listed = listed?;
        let mut place: u64 = listed.revision.parse().unwrap_or_default();
        let plural = kind.info().plural;
        self.oracle.listed(
            &self.name,
            plural,
            place,
            listed.items.iter().map(|item| {
                let meta = |field: &str| item["metadata"][field].as_str().unwrap_or_default().to_owned();
                (id_of(kind, &meta("namespace"), &meta("name")), revision(item))
            }),
        );
        let watch = self.client.watch(kind, &selection, &listed.revision, Form::Objects);
        let Ok(watch) = timeout(PATIENCE, watch).await else {
            return Ok(());
        };
        let mut watch = watch?;
        loop {
            let next = timeout(Duration::from_secs(240), watch.next()).await;
            let Ok(next) = next else {
                return Ok(());
            };
            let (at, key) = match next? {
                None => return Ok(()),
                Some(WatchEvent::Bookmark(at)) => (at.parse().unwrap_or_default(), None),
                Some(WatchEvent::Added(object) | WatchEvent::Modified(object) | WatchEvent::Deleted(object)) => {
                    let meta = |field: &str| object["metadata"][field].as_str().unwrap_or_default().to_owned();
                    (revision(&object), Some(id_of(kind, &meta("namespace"), &meta("name"))))
                }
            };
            self.oracle.followed(&self.name, plural, place, at, key.as_deref());
            place = at;
        }
    }
}

fn short(act: &Act) -> String {
    match act {
        Act::Apply { objects, .. } => {
            let names = objects.iter().map(|object| {
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                format!("{}/{}", text(&object["kind"]), text(&object["metadata"]["name"]))
            });
            format!("applies {}", names.collect::<Vec<_>>().join(", "))
        }
        other => format!("{other:?}"),
    }
}

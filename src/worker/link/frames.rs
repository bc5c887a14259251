//! What the two ends of a link say to each other: JSON, one message a WebSocket frame.
//!
//! A new field or frame must be one that the other end may pass over: manager and workers are upgraded one after the
//! other, the manager first. What cannot be read is passed over, with a word in the log.
use cube_api::event::{EventType, ObjectReference};
use cube_api::kinds::{Kind, Resource as _};
use cube_api::node::Node;
use cube_api::shape::UnknownFields;
use cube_api::task::Task;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Taken;
use crate::engine::{ExecOptions, LogOptions};
use crate::registry::{Object, TaskReport};

/// The protocol's number; other ones do not understand each other.
pub const PROTOCOL: u32 = 1;

/// What a worker says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "camelCase")]
pub enum Up {
    /// Its first word.
    Hello(Hello),
    /// What it has seen; answered by [`Down::Taken`] with the same number.
    Reports {
        /// The number of this batch in the session.
        number: u64,
        /// What was seen.
        reports: Vec<TaskReport>,
    },
    /// The node itself.
    Node {
        /// As it is now.
        node: Box<Node>,
    },
    /// Something happened to a Task.
    Event(Happened),
    /// Nothing new.
    Beat,
}

/// A worker's first word.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// [`PROTOCOL`].
    pub protocol: u32,
    /// Its own id, for as long as its data directory lives.
    pub worker: String,
    /// Its version of Cube.
    pub version: String,
    /// The cluster whose containers it has, if it has been in one.
    pub cluster: Option<String>,
}

/// Something that happened to a Task.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Happened {
    /// The Task.
    pub about: ObjectReference,
    /// Whether it is a worry.
    pub kind: EventType,
    /// Why, in one word.
    pub reason: String,
    /// What happened, for people.
    pub message: String,
    /// How long ago, in milliseconds: clocks differ.
    pub ago: u64,
}

/// What a manager says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "camelCase")]
pub enum Down {
    /// Come in.
    Welcome {
        /// The cluster's id.
        cluster: String,
    },
    /// Go away; trying again does not help.
    Refused {
        /// Why, and what to do, for people.
        why: String,
    },
    /// All Tasks of the node, in pieces.
    Snapshot {
        /// As they are stored.
        tasks: Vec<Value>,
        /// More of them follow.
        more: bool,
    },
    /// A Task of the node.
    Changed {
        /// As it is stored.
        task: Value,
    },
    /// A Task is no longer the node's.
    Removed {
        /// Its uid.
        uid: String,
    },
    /// What became of a batch of reports.
    Taken {
        /// The batch's number.
        number: u64,
        /// One for each report, in their order.
        taken: Vec<Taken>,
    },
    /// Something is asked; the worker answers on a connection of its own for that stream.
    Open {
        /// The stream's id.
        stream: String,
        /// What is asked.
        ask: Ask,
    },
    /// Nothing new.
    Beat,
}

/// What a manager says, as it is sent. Tasks go as they are stored: they are not read and written anew.
#[derive(Debug)]
pub enum Frame {
    /// A word.
    Word(Down),
    /// A [`Down::Changed`].
    Changed(Object),
    /// A [`Down::Snapshot`] that more follows.
    Snapshot(Vec<Object>),
}

impl From<Down> for Frame {
    fn from(word: Down) -> Self {
        Self::Word(word)
    }
}

impl Frame {
    /// The frame's text.
    pub fn text(&self) -> String {
        let mut text = Vec::new();
        match self {
            Self::Word(word) => text = serde_json::to_vec(word).unwrap_or_default(),
            Self::Changed(task) => {
                text.extend_from_slice(br#"{"say":"changed","task":"#);
                task.write_json(&mut text);
                text.push(b'}');
            }
            Self::Snapshot(tasks) => {
                text.extend_from_slice(br#"{"say":"snapshot","more":true,"tasks":["#);
                for (index, task) in tasks.iter().enumerate() {
                    if index > 0 {
                        text.push(b',');
                    }
                    task.write_json(&mut text);
                }
                text.extend_from_slice(b"]}");
            }
        }
        // JSON of ours is always text.
        String::from_utf8(text).unwrap_or_default()
    }
}

/// What a manager asks of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "camelCase")]
pub enum Ask {
    /// A container's output.
    Logs {
        /// The container's id.
        container: String,
        /// Which of it.
        options: LogOptions,
    },
    /// What the node and its containers use: one message of JSON.
    Figures {
        /// Which containers, by id.
        containers: Vec<String>,
    },
    /// A program to be run in a container. Its stream goes both ways: bytes down are its input, and a [`Word`](crate::engine::Word) what else
    /// it is told; bytes up are its output, the first saying whether as errors (2) or not (1).
    Exec {
        /// The container's id.
        container: String,
        /// Which program.
        options: ExecOptions,
    },
}

/// What a worker says on a stream, beside its bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "say", rename_all = "camelCase")]
pub enum Streamed {
    /// What was asked for follows.
    Begins,
    /// It is done.
    Ends,
    /// The program has ended.
    Exited {
        /// With this exit code.
        code: i64,
    },
    /// It cannot be done, or breaks off.
    Fails {
        /// There is no such thing; else the engine does not answer.
        gone: bool,
        /// Why, for people.
        why: String,
    },
}

/// A Task as the other end has stored it; of a newer release, without what this one does not know.
pub fn read_task(value: Value) -> Result<Task, String> {
    match Task::from_value(value.clone()) {
        Ok(task) => Ok(task),
        Err(_) => {
            let checked = Kind::Task.shape().check(&value, UnknownFields::Drop);
            match checked.errors.first() {
                Some(error) => Err(error.to_string()),
                None => Task::from_value(checked.value).map_err(|error| error.to_string()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::store::{Key, Record};

    #[test]
    fn a_newer_managers_task_is_read_as_far_as_it_is_known() {
        let value = json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "t", "uid": "u" }, "spec": { "image": "x", "flavour": "new" } });
        let task = read_task(value).unwrap();
        assert_eq!((task.metadata.name.as_str(), task.spec.image.as_str()), ("t", "x"));
        assert!(read_task(json!({ "spec": 1 })).is_err());
    }

    #[test]
    fn tasks_are_sent_as_they_are_stored() {
        let stored = r#"{"apiVersion":"cube/v1","kind":"Task","metadata":{"name":"t","namespace":"n","uid":"u"},"spec":{"image":"x"}}"#;
        let task = Object::new(Arc::new(Record::new(Key::new("tasks", "n", "t"), 7, stored.as_bytes())));
        let read = |frame: &Frame| serde_json::from_str::<Down>(&frame.text()).unwrap();
        let same = |value: &Value| {
            let task = read_task(value.clone()).unwrap();
            assert_eq!((task.metadata.uid.as_str(), task.spec.image.as_str()), ("u", "x"));
            assert_eq!(task.metadata.resource_version.as_deref(), Some("7"));
        };
        let Down::Changed { task: value } = read(&Frame::Changed(task.clone())) else {
            panic!("not as it was said")
        };
        same(&value);
        let Down::Snapshot { tasks, more: true } = read(&Frame::Snapshot(vec![task.clone(), task])) else {
            panic!("not as it was said")
        };
        assert_eq!(tasks.len(), 2);
        tasks.iter().for_each(same);
    }

    #[test]
    fn frames_are_read_as_they_were_said() {
        let said = serde_json::to_value(Down::Removed { uid: "u".to_owned() }).unwrap();
        assert_eq!(said, json!({ "say": "removed", "uid": "u" }));
        let taken = vec![Taken::Written, Taken::TryAgain("full".to_owned())];
        let text = serde_json::to_string(&Down::Taken {
            number: 7,
            taken: taken.clone(),
        })
        .unwrap();
        let Down::Taken { number: 7, taken: read } = serde_json::from_str(&text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(read, taken);
        let new: Result<Up, _> = serde_json::from_value(json!({ "say": "song", "of": "bees" }));
        assert!(new.is_err());
    }
}

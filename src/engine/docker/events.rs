//! The stream of what happens to a cluster's containers.
use bollard::models::{EventMessage, EventMessageTypeEnum};
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::header::DATE;
use http_body_util::BodyExt;
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use serde_json::{Value, json};

use super::wire::{Inflow, Wire};
use super::{fault, seen};
use crate::engine::{Action, CLUSTER_LABEL, EngineError, EngineEvent, Result};

/// Subscribes. The answer begins a moment before the engine listens, so the events of the engine's present second are asked for too.
pub(super) async fn subscribe(wire: &Wire, cluster: &str) -> Result<BoxStream<'static, Result<EngineEvent>>> {
    let containers = json!({ "type": ["container"], "label": [format!("{CLUSTER_LABEL}={cluster}")] });
    // The engine tells of no labels here: who listens knows which containers are meant.
    let networks = json!({ "type": ["network"], "event": ["disconnect"] });
    let since = engine_second(wire).await?.map(|second| second.to_string());
    let containers = listen(wire, &containers, since.as_deref()).await?;
    let networks = listen(wire, &networks, since.as_deref()).await?;
    Ok(stream::select(containers, networks).boxed())
}

async fn listen(wire: &Wire, filters: &Value, since: Option<&str>) -> Result<BoxStream<'static, Result<EngineEvent>>> {
    let filters = filters.to_string();
    let mut query = vec![("filters", filters.as_str())];
    query.extend(since.map(|since| ("since", since)));
    let answer = wire.get("/events", &query).await?;
    let inflow = Inflow::new(answer.into_body());
    let read = |inflow: Option<Inflow>| async {
        let mut inflow = inflow?;
        let item = next(&mut inflow).await;
        let rest = item.is_ok().then_some(inflow);
        Some((item, rest))
    };
    Ok(stream::unfold(Some(inflow), read).boxed())
}

/// The present second by the engine's own clock, which need not be ours.
async fn engine_second(wire: &Wire) -> Result<Option<i64>> {
    let answer = wire.get("/_ping", &[]).await?;
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    let second = date
        .and_then(|date| rfc2822::parse(date).ok())
        .map(|date| date.timestamp().as_second());
    // Read to its end, so that the connection can be used again.
    let _ = answer.into_body().collect().await;
    Ok(second)
}

async fn next(inflow: &mut Inflow) -> Result<EngineEvent> {
    loop {
        let Some(line) = inflow.line().await? else {
            return Err(EngineError::Unreachable {
                message: "the stream of events ended".to_owned(),
            });
        };
        let message = serde_json::from_slice(&line).map_err(|error| fault::of(error.into()))?;
        if let Some(event) = event(message)? {
            return Ok(event);
        }
    }
}

/// What a message tells of a container; `None` where it tells of something else.
fn event(message: EventMessage) -> Result<Option<EngineEvent>> {
    let Some(word) = message.action else { return Ok(None) };
    let actor = message.actor.unwrap_or_default();
    let mut attributes = actor.attributes.unwrap_or_default();
    let of_network = message.typ == Some(EventMessageTypeEnum::NETWORK);
    let id = match of_network {
        true => attributes.remove("container"),
        false => actor.id,
    };
    let nanos = i128::from(message.time_nano.unwrap_or_default());
    Ok(Some(EngineEvent::Changed {
        id: seen::some(id, "an event's container")?,
        name: attributes.remove("name").unwrap_or_default(),
        action: match word.as_str() {
            "disconnect" => Action::Disconnect,
            "create" => Action::Create,
            "start" => Action::Start,
            "die" => Action::Die {
                code: attributes.get("exitCode").and_then(|code| code.parse().ok()),
            },
            "destroy" => Action::Destroy,
            "rename" => Action::Rename,
            "pause" => Action::Pause,
            "unpause" => Action::Unpause,
            "oom" => Action::Oom,
            "kill" => Action::Kill {
                signal: attributes.get("signal").and_then(|signal| signal.parse().ok()),
            },
            _ => Action::Other(word),
        },
        at: Timestamp::from_nanosecond(nanos).unwrap_or(Timestamp::UNIX_EPOCH),
    }))
}

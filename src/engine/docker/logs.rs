//! What a container wrote, taken apart into standard output and standard error.
use bollard::Docker;
use bollard::query_parameters::InspectContainerOptions;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use jiff::Timestamp;

use super::fault;
use super::wire::{Inflow, Wire, segment};
use crate::engine::{EngineError, LogChunk, LogOptions, Result};

/// A frame's stream type, three zero bytes and the payload's length.
const HEADER: usize = 8;

/// Opens a container's log.
pub(super) async fn open(
    wire: &Wire,
    docker: &Docker,
    id: &str,
    options: LogOptions,
) -> Result<BoxStream<'static, Result<LogChunk>>> {
    let path = format!("/containers/{}/logs", segment(id)?);
    let tail = options.tail.map_or("all".to_owned(), |lines| lines.to_string());
    let since = options.since.map(seconds);
    let yes_no = |yes| if yes { "true" } else { "false" };
    let mut query = vec![
        ("stdout", "true"),
        ("stderr", "true"),
        ("follow", yes_no(options.follow)),
        ("timestamps", yes_no(options.timestamps)),
        ("tail", &tail),
    ];
    query.extend(since.as_deref().map(|since| ("since", since)));
    let answer = wire.get(&path, &query).await?;
    let raw = match is_raw(answer.headers()) {
        Some(raw) => raw,
        None => {
            let id = segment(id)?;
            let answer = docker.inspect_container(&id, None::<InspectContainerOptions>).await;
            let config = answer.map_err(fault::of)?.config;
            config.and_then(|config| config.tty).unwrap_or_default()
        }
    };
    let read = move |inflow: Option<Inflow>| async move {
        let mut inflow = inflow?;
        let item = match raw {
            true => inflow.any().await.map(|bytes| bytes.map(|bytes| chunk(false, bytes))),
            false => next_frame(&mut inflow).await,
        };
        let rest = item.is_ok().then_some(inflow);
        Some((item.transpose()?, rest))
    };
    Ok(stream::unfold(Some(Inflow::new(answer.into_body())), read).boxed())
}

/// As the engine reads it: seconds, a point, nanoseconds.
fn seconds(time: Timestamp) -> String {
    let time = time.max(Timestamp::UNIX_EPOCH);
    format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())
}

/// Whether the log is of a terminal and so has no frames; engines before 23.0 do not say.
fn is_raw(headers: &HeaderMap) -> Option<bool> {
    match headers.get(CONTENT_TYPE)?.to_str().ok()? {
        "application/vnd.docker.raw-stream" => Some(true),
        "application/vnd.docker.multiplexed-stream" => Some(false),
        _ => None,
    }
}

async fn next_frame(inflow: &mut Inflow) -> Result<Option<LogChunk>> {
    let Some(header) = inflow.exactly(HEADER).await? else {
        return Ok(None);
    };
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let cut = || EngineError::BadAnswer {
        message: "a log ended within a frame".to_owned(),
    };
    let bytes = match length {
        0 => Bytes::new(),
        length => inflow.exactly(length as usize).await?.ok_or_else(cut)?,
    };
    match header[0] {
        0 | 1 => Ok(Some(chunk(false, bytes))),
        2 => Ok(Some(chunk(true, bytes))),
        // The engine's own words about a log that it could not read on.
        3 => Err(EngineError::Refused {
            status: 500,
            message: String::from_utf8_lossy(&bytes).trim().to_owned(),
        }),
        other => Err(EngineError::BadAnswer {
            message: format!("a log frame of type {other}"),
        }),
    }
}

fn chunk(stderr: bool, bytes: Bytes) -> LogChunk {
    LogChunk { stderr, bytes }
}

//! `/apis/cube/v1/rebalance`: which Tasks would move so that nodes are loaded more evenly, and the wish that some of them do.
//!
//! What is asked for must be what was shown: the plan's decisions are made again on what is stored at that moment, and where they
//! come out otherwise nothing is done. The Tasks are read from the same snapshot, and the write fails where one has changed.
use std::sync::Arc;

use axum::{
    extract::{RawQuery, Request, State},
    response::Response,
};
use cube_api::{
    API_VERSION,
    event::EventType,
    kinds::Kind,
    rebalance::{PlannedMove, RebalanceRequest},
};
use cube_plan::scheduler::{REBALANCED, Rebalancer, rebalanced};
use http::StatusCode;
use serde_json::json;

use super::{
    Server,
    answer::{self, Refusal},
    body::{self, ONE_OBJECT},
    params::Params,
};
use crate::{
    registry::{ApiError, Object, Write, all, find},
    store::Snapshot,
    world::process::blocking,
};

/// So often is it looked again where a Task has changed between the look and the write.
const TRIES: u32 = 3;

/// Answers `GET`: the plan as it would be made now. With `restarts`, Tasks move too that stop before another one starts.
pub(super) async fn plan(State(server): State<Arc<Server>>, RawQuery(query): RawQuery) -> Result<Response, Refusal> {
    let restarts = Params::parse(query.as_deref()).flag("restarts");
    // With many Tasks it takes a while: a thread that others' requests do not wait for.
    let plan = blocking(move || {
        let snapshot = server.registry.snapshot();
        rebalancer(&server, &snapshot, restarts).plan(usize::MAX)
    })
    .await;
    Ok(answer::told("RebalancePlan", &plan))
}

/// Answers `POST`: those moves begin, all of them or none.
pub(super) async fn begin(State(server): State<Arc<Server>>, request: Request) -> Result<Response, Refusal> {
    let (parts, body) = request.into_parts();
    let text = body::read_text(&parts.headers, body, ONE_OBJECT).await?;
    let request: RebalanceRequest = serde_json::from_slice(&text)
        .map_err(|error| ApiError::bad_request(format!("these are no moves of a plan: {error}")))?;
    let mut tries = 0;
    let written = loop {
        tries += 1;
        match attempt(&server, &request).await {
            // A Task has told something in between: what it told may have changed nothing.
            Err(refusal) if refusal.code == 409 && tries < TRIES => {}
            other => break other?,
        }
    };
    if let Some(recorder) = &server.recorder {
        for (object, planned) in written.iter().zip(&request.moves) {
            let message = rebalanced(planned).message;
            recorder.event(object.reference(), EventType::Normal, REBALANCED, message);
        }
    }
    let answer = json!({ "apiVersion": API_VERSION, "kind": "RebalanceResult", "moves": written.len() });
    Ok(answer::value(StatusCode::OK, &answer))
}

/// Takes a look, and begins the moves if they are still those of the plan.
async fn attempt(server: &Server, request: &RebalanceRequest) -> Result<Vec<Object>, Refusal> {
    let snapshot = server.registry.snapshot();
    let confirmed = rebalancer(server, &snapshot, request.restarts).confirm(&request.moves);
    confirmed.map_err(|why| Refusal::new(409, "Conflict", format!("the plan is no longer what it was: {why}")))?;
    let task = |planned: &PlannedMove| {
        let found = find(&snapshot, Kind::Task, &planned.namespace, &planned.name);
        found.ok_or_else(|| ApiError::not_found(Kind::Task, &planned.name))
    };
    let mut writes = Vec::new();
    for planned in &request.moves {
        let (task, eviction) = (task(planned)?, rebalanced(planned));
        writes.push(Write::Evict { task, eviction });
    }
    Ok(server.registry.transact(writes).await?)
}

fn rebalancer(server: &Server, snapshot: &Snapshot, restarts: bool) -> Rebalancer {
    let objects: Vec<Object> = all(snapshot)
        .filter(|object| Rebalancer::KINDS.contains(&object.kind()))
        .collect();
    Rebalancer::new(server.scheduling_policy, objects.iter().map(Object::resource), restarts)
}

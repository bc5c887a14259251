//! Keeps the Node object as its worker told it last: whoever deletes it or writes over it is set right.
//!
//! It is woken by the worker's word and by changes of the Node, and costs nothing else. It lives as long as the worker is
//! heard: of one that is silent, the manager itself says what is known.
use std::time::Duration;

use cube_api::{
    condition,
    kinds::{Kind, Resource as _},
    node::Node,
};
use tokio::sync::watch;

use crate::{
    registry::{ApiError, FieldSelector, Filter, ObjectWatch, Registry, WatchOptions, Write, WriteOptions},
    worker::node::merged,
};

/// How long it waits when the Node cannot be written: the disk is full, or the store is closing.
const AGAIN: Duration = Duration::from_secs(2);

/// Keeps the Node of that name as it was told last, until it is dropped or nobody can tell any more.
pub async fn keep(registry: Registry, name: String, mut told: watch::Receiver<Option<Node>>) {
    let mut changes: Option<ObjectWatch> = None;
    let mut said = None;
    loop {
        let node = told.borrow_and_update().clone();
        let result = match &node {
            Some(node) => write(&registry, &name, node).await,
            None => Ok(()),
        };
        let failed = result.err().map(|error| error.to_string());
        if failed.is_some() && failed != said {
            tracing::warn!(error = failed, "cannot write the node; tried again");
        }
        let wait = failed.as_ref().map(|_| AGAIN);
        said = failed;
        if changes.is_none() {
            // What happened before the watch is seen by one look more.
            changes = open(&registry, &name);
            if changes.is_some() {
                continue;
            }
        }
        tokio::select! {
            biased;
            more = told.changed() => if more.is_err() { return },
            lost = next(&mut changes) => if lost { changes = None },
            () = after(wait) => {}
        }
    }
}

fn open(registry: &Registry, name: &str) -> Option<ObjectWatch> {
    let fields = FieldSelector::parse(Kind::Node, &format!("metadata.name={name}")).ok()?;
    let filter = Filter {
        fields,
        ..Filter::default()
    };
    let options = WatchOptions {
        filter,
        ..WatchOptions::default()
    };
    registry.watch(Kind::Node, options).ok()
}

/// Waits for a change; says whether the watch was lost.
async fn next(changes: &mut Option<ObjectWatch>) -> bool {
    match changes {
        Some(watch) => watch.next().await.is_err(),
        // The store is closing; it is looked again a little later.
        None => {
            tokio::time::sleep(AGAIN).await;
            true
        }
    }
}

async fn after(wait: Option<Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Makes the Node as it was told; others write to it too (cordon, labels), and who comes second looks again.
async fn write(registry: &Registry, name: &str, node: &Node) -> Result<(), ApiError> {
    let mut last = Ok(());
    for _ in 0..8 {
        last = write_once(registry, name, node).await;
        match &last {
            Err(error) if error.is_conflict() => {}
            _ => break,
        }
    }
    last
}

async fn write_once(registry: &Registry, name: &str, node: &Node) -> Result<(), ApiError> {
    let object = match registry.get(Kind::Node, "", name) {
        Ok(object) => object,
        Err(error) if error.is_not_found() => {
            let options = WriteOptions::new("worker");
            let value = merged(None, node).to_value();
            registry.create(Kind::Node, "", value, &options).await?
        }
        Err(error) => return Err(error),
    };
    let wished = merged(Some(object.typed()), node);
    let current: &Node = object.typed();
    let object = if wished.metadata == current.metadata && wished.spec == current.spec {
        object
    } else {
        let edit = Write::edit(&object, |value| {
            let wished = wished.to_value();
            for field in ["labels", "annotations"] {
                value["metadata"][field] = wished["metadata"][field].clone();
            }
            value["spec"] = wished["spec"].clone();
        });
        registry.transact(vec![edit]).await?.pop().unwrap_or(object)
    };
    let mut status = node.status.clone();
    // When a condition last changed is for the object to remember, by the manager's clock: the worker may have been
    // restarted, and its clock may be wrong.
    let mut conditions = object.typed::<Node>().status.conditions.clone();
    for new in status.conditions {
        condition::set(&mut conditions, new, registry.world().now());
    }
    status.conditions = conditions;
    if status != object.typed::<Node>().status {
        registry.transact(vec![Write::status(&object, &status)]).await?;
    }
    Ok(())
}

//! Connections: taking them, bounding them, and letting them end in good order.
use std::{sync::Arc, time::Duration};

use axum::{Router, serve::Listener};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{sync::Semaphore, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::world::process::belonging;

/// Connections at once; more wait to be taken. Above the bound of watches, each of which holds one, so that whoever opens
/// all of those cannot keep others from asking.
const CONNECTIONS: usize = 12_000;
/// The time for the head of a request, which is also how long an idle connection is kept. Less than the 90 s that Go's
/// clients keep theirs would make them write into one that is just being closed.
const HEAD: Duration = Duration::from_secs(100);
/// The time that open requests have at the end.
const FAREWELL: Duration = Duration::from_secs(5);
/// Bytes of a request's head, and of what waits to be sent. Clients send a few hundred; selectors may make it some
/// thousand. More would let thousands of watches that nobody reads fill the memory.
const HEAD_SIZE: usize = 64 << 10;

/// Serves a router on a listener until `shutdown`; returns when every connection is done, or its time is over.
pub(super) async fn serve<L: Listener>(mut listener: L, router: Router, shutdown: CancellationToken) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let (connections, cut) = (TaskTracker::new(), CancellationToken::new());
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await;
            (listener.accept().await.0, place)
        };
        let (io, place) = tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            next = next => next,
        };
        let served = connection(io, router.clone(), shutdown.clone());
        let cut = cut.clone();
        connections.spawn(belonging(async move {
            cut.run_until_cancelled(served).await;
            drop(place);
        }));
    }
    drop(listener);
    connections.close();
    if timeout(FAREWELL, connections.wait()).await.is_err() {
        tracing::warn!(
            open = connections.len(),
            "connections are cut: their requests did not end in time"
        );
    }
}

async fn connection<Io>(io: Io, router: Router, shutdown: CancellationToken)
where
    Io: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_header_size(HEAD_SIZE)
        .max_buf_size(HEAD_SIZE);
    let connection = http.serve_connection(TokioIo::new(io), service).with_upgrades();
    tokio::pin!(connection);
    let served = tokio::select! {
        biased;
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        served = connection.as_mut() => served,
    };
    if let Err(error) = served {
        // The other side went away, or spoke no HTTP: its affair, and it knows.
        tracing::debug!(%error, "a connection ended early");
    }
}

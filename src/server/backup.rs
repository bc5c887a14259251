//! `GET /apis/cube/v1/backup`: everything as of now, while writes go on.
use std::{
    io::{self, Write},
    sync::Arc,
};

use axum::{body::Body, extract::State, response::Response};
use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use tokio::sync::mpsc;

use super::{
    Server,
    answer::{self, Refusal},
};

/// Pieces on their way: a slow reader holds back the backup, not memory.
const PIECES: usize = 16;

/// Answers with a backup.
pub(super) async fn backup(State(server): State<Arc<Server>>) -> Result<Response, Refusal> {
    let slot = Arc::clone(&server.backups).try_acquire_owned();
    let slot = slot.map_err(|_| Refusal::too_many("other backups are being made; try again"))?;
    let (sender, receiver) = mpsc::channel(PIECES);
    let store = server.registry.store().clone();
    tokio::task::spawn_blocking(move || {
        let mut out = Pieces(sender);
        if let Err(error) = store.backup(&mut out) {
            tracing::warn!(%error, "a backup was not finished");
            // The answer must break off, not end. When nobody reads any more, that is what has happened.
            let _ = out.0.blocking_send(Err(error));
        }
        drop(slot);
    });
    let pieces = stream::unfold(receiver, |mut receiver| async move {
        let piece: io::Result<Bytes> = receiver.recv().await?;
        Some((piece, receiver))
    });
    Ok(answer::typed(
        StatusCode::OK,
        "application/octet-stream",
        Body::from_stream(pieces),
    ))
}

/// Hands on what is written, piece by piece.
struct Pieces(mpsc::Sender<io::Result<Bytes>>);

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = Bytes::copy_from_slice(bytes);
        let sent = self.0.blocking_send(Ok(piece));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "nobody reads it any more"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

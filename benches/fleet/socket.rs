//! The least of a WebSocket that a worker's link needs: whole text frames, one after the other.
//!
//! A library's client would do, but thousands of them take the processor time that is the manager's to use, and the memory.
use std::ops::Range;
use std::path::Path;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::Result;

const TEXT: u8 = 0x81;
const CLOSE: u8 = 0x88;
/// A frame that its sender has masked, as every client must; with zeros, so that nothing has to be done.
const MASKED: u8 = 0x80;

pub struct Socket {
    stream: UnixStream,
    inbox: Vec<u8>,
    /// So much of it was read already.
    taken: usize,
}

impl Socket {
    pub async fn open(socket: &Path, path: &str) -> Result<Self> {
        let stream = UnixStream::connect(socket).await?;
        let mut opened = Self {
            stream,
            inbox: Vec::new(),
            taken: 0,
        };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        opened.stream.write_all(request.as_bytes()).await?;
        loop {
            let end = opened.inbox.windows(4).position(|four| four == b"\r\n\r\n");
            if let Some(end) = end {
                if !opened.inbox.starts_with(b"HTTP/1.1 101") {
                    return Err(String::from_utf8_lossy(&opened.inbox).into());
                }
                opened.taken = end + 4;
                return Ok(opened);
            }
            opened.more().await?;
        }
    }

    async fn more(&mut self) -> Result<()> {
        match self.stream.read_buf(&mut self.inbox).await? {
            0 => Err("the manager has ended the link".into()),
            _ => Ok(()),
        }
    }

    /// Where the next text is in what came; see [`Self::text`]. Safe to drop while it waits.
    pub async fn next(&mut self) -> Result<Range<usize>> {
        loop {
            if let Some((kind, text)) = frame(&self.inbox, self.taken) {
                self.taken = text.end;
                match kind {
                    TEXT => return Ok(text),
                    CLOSE => return Err("the manager has ended the link".into()),
                    other => return Err(format!("a frame of kind {other:#x}").into()),
                }
            }
            self.inbox.drain(..self.taken);
            self.taken = 0;
            self.more().await?;
        }
    }

    /// A text that came last or before it, as long as nothing newer was waited for.
    pub fn text(&self, at: Range<usize>) -> &[u8] {
        &self.inbox[at]
    }

    /// Whether a whole frame is there already.
    pub fn has_more(&self) -> bool {
        frame(&self.inbox, self.taken).is_some()
    }

    pub async fn send(&mut self, text: &[u8]) -> Result<()> {
        let mut frame = Vec::with_capacity(text.len() + 14);
        frame.push(TEXT);
        match text.len() {
            length @ ..126 => frame.push(MASKED | length as u8),
            length @ ..65_536 => {
                frame.push(MASKED | 126);
                frame.extend_from_slice(&(length as u16).to_be_bytes());
            }
            length => {
                frame.push(MASKED | 127);
                frame.extend_from_slice(&(length as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&[0; 4]);
        frame.extend_from_slice(text);
        Ok(self.stream.write_all(&frame).await?)
    }
}

/// The kind of the frame that begins there, and where its content is; none until all of it is there.
fn frame(bytes: &[u8], begin: usize) -> Option<(u8, Range<usize>)> {
    let head = bytes.get(begin..begin + 2)?;
    let (length, at) = match head[1] {
        126 => (
            u16::from_be_bytes(*bytes.get(begin + 2..)?.first_chunk()?) as usize,
            begin + 4,
        ),
        127 => (
            u64::from_be_bytes(*bytes.get(begin + 2..)?.first_chunk()?) as usize,
            begin + 10,
        ),
        short => (usize::from(short), begin + 2),
    };
    (at + length <= bytes.len()).then(|| (head[0], at..at + length))
}

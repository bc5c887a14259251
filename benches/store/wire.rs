//! HTTP as thin as can be, so that what is measured is the server and not its clients.
use std::io;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};

/// A connection that asks one thing at a time.
pub struct Wire {
    stream: UnixStream,
    taken: Vec<u8>,
}

impl Wire {
    pub async fn connect(socket: &str) -> io::Result<Self> {
        Ok(Self {
            stream: UnixStream::connect(socket).await?,
            taken: Vec::with_capacity(64 << 10),
        })
    }

    /// Posts JSON, and reads the answer: its code and its body.
    pub async fn post(&mut self, path: &str, body: &str) -> io::Result<(u16, &[u8])> {
        let length = body.len();
        let request = format!(
            "POST {path} HTTP/1.1\r\nhost: cube\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        );
        self.stream.write_all(request.as_bytes()).await?;
        self.taken.clear();
        let (code, end, length) = self.head().await?;
        while self.taken.len() < end + length {
            self.more().await?;
        }
        Ok((code, &self.taken[end..end + length]))
    }

    /// Asks for a stream, and reads the head of its answer.
    pub async fn stream(&mut self, path: &str) -> io::Result<u16> {
        let request = format!("GET {path} HTTP/1.1\r\nhost: cube\r\n\r\n");
        self.stream.write_all(request.as_bytes()).await?;
        self.taken.clear();
        let (code, end, _) = self.head().await?;
        self.taken.drain(..end);
        Ok(code)
    }

    /// What of the stream has come since it was asked for last.
    pub async fn piece(&mut self) -> io::Result<&mut Vec<u8>> {
        self.more().await?;
        Ok(&mut self.taken)
    }

    async fn head(&mut self) -> io::Result<(u16, usize, usize)> {
        loop {
            self.more().await?;
            let Some(end) = self.taken.windows(4).position(|four| four == b"\r\n\r\n") else {
                continue;
            };
            let head = String::from_utf8_lossy(&self.taken[..end]).to_ascii_lowercase();
            let code = head.get(9..12).and_then(|code| code.parse().ok());
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            return Ok((code.unwrap_or(0), end + 4, length.unwrap_or(0)));
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.taken).await? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }
}

//! Connections to elsewhere.
//!
//! Owns the opening of them; what is said over one is its opener's affair.
use std::{io, path::Path};

use async_trait::async_trait;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// A connection's two ways.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Connection for T {}

/// Opening of connections.
#[async_trait]
pub trait Network: Send + Sync {
    /// To who listens at a Unix socket.
    ///
    /// # Errors
    /// When nobody does, or it cannot be reached.
    async fn unix(&self, path: &Path) -> io::Result<Box<dyn Connection>>;

    /// To who listens at `host:port`; an IPv6 address is in brackets.
    ///
    /// # Errors
    /// When nobody does, or the host cannot be reached.
    async fn tcp(&self, authority: &str) -> io::Result<Box<dyn Connection>>;
}

/// The machine's own sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sockets;

#[async_trait]
impl Network for Sockets {
    async fn unix(&self, path: &Path) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(UnixStream::connect(path).await?))
    }

    async fn tcp(&self, authority: &str) -> io::Result<Box<dyn Connection>> {
        Ok(Box::new(TcpStream::connect(authority).await?))
    }
}

//! Whether a TCP connection can be opened.
use std::io;

use cube_plan::probe::Answer;
use tokio::net::TcpStream;

/// Opens a connection and closes it again.
pub(super) async fn ask(host: &str, port: u16) -> Answer {
    match connect(host, port).await {
        Ok(_) => Answer::good("connected"),
        Err(answer) => answer,
    }
}

/// A connection, or what its failure comes to.
pub(super) async fn connect(host: &str, port: u16) -> Result<TcpStream, Answer> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    TcpStream::connect((bare, port)).await.map_err(|error| {
        let words = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "cannot be reached".to_owned(),
            io::ErrorKind::TimedOut => "connection timed out".to_owned(),
            _ => format!("cannot connect: {error}"),
        };
        Answer::bad(format!("{words} (port {port})"), "")
    })
}

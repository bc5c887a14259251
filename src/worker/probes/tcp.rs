//! Whether a TCP connection can be opened.
use std::io;

use cube_plan::probe::Answer;

use crate::world::network::{Connection, Network};

/// Opens a connection and closes it again.
pub(super) async fn ask(network: &dyn Network, host: &str, port: u16) -> Answer {
    match connect(network, host, port).await {
        Ok(_) => Answer::good("connected"),
        Err(answer) => answer,
    }
}

/// A connection, or what its failure comes to.
pub(super) async fn connect(network: &dyn Network, host: &str, port: u16) -> Result<Box<dyn Connection>, Answer> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let authority = match bare.contains(':') {
        true => format!("[{bare}]:{port}"),
        false => format!("{bare}:{port}"),
    };
    network.tcp(&authority).await.map_err(|error| {
        let words = match error.kind() {
            io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
            io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => "cannot be reached".to_owned(),
            io::ErrorKind::TimedOut => "connection timed out".to_owned(),
            _ => format!("cannot connect: {error}"),
        };
        Answer::bad(format!("{words} (port {port})"), "")
    })
}

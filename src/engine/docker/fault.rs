//! What an engine's refusals mean.
//!
//! By HTTP status wherever that says enough, by its words only where it does not: the functions that read words are all here.
use std::error::Error as _;

use bollard::errors::Error;
use hyper_util::client::legacy;
use serde::Deserialize;

use crate::engine::EngineError;

/// What went wrong with a call that got no answer.
pub(super) fn unreachable(error: &legacy::Error) -> EngineError {
    // Its own words only say at which step; the cause says it all.
    let message = error.source().map_or_else(|| error.to_string(), chain);
    EngineError::Unreachable { message }
}

/// What went wrong with a call. A refusal stays [`EngineError::Refused`]; its verb knows what that means.
pub(super) fn of(error: Error) -> EngineError {
    let message = chain(&error);
    match error {
        Error::DockerResponseServerError { status_code, message } => EngineError::Refused {
            status: status_code,
            message,
        },
        Error::HyperLegacyError { err } => unreachable(&err),
        Error::HyperResponseError { .. }
        | Error::IOError { .. }
        | Error::RequestTimeoutError
        | Error::SocketNotFoundError(_) => EngineError::Unreachable { message },
        _ => EngineError::BadAnswer { message },
    }
}

/// A refusal from its status and body.
pub(super) fn refused(status: u16, body: &[u8]) -> EngineError {
    #[derive(Deserialize)]
    struct Words {
        message: String,
    }
    let message = match serde_json::from_slice(body) {
        Ok(Words { message }) => message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    };
    EngineError::Refused { status, message }
}

/// An error and what caused it, without saying the same twice.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

/// The status of a refusal.
pub(super) fn status(error: &EngineError) -> Option<u16> {
    match error {
        EngineError::Refused { status, .. } => Some(*status),
        _ => None,
    }
}

/// Whether two networks have the name that was given.
fn is_ambiguous(message: &str) -> bool {
    message.starts_with("network ") && message.contains(" is ambiguous")
}

/// Turns a 404 into [`EngineError::NotFound`]. `what` is used unless the engine misses something else. A network of which
/// there are two is missed just as one that is not there: [`Engine::ensure_network`](crate::engine::Engine::ensure_network)
/// sees to both.
pub(super) fn missing(error: EngineError, what: &str) -> EngineError {
    match error {
        EngineError::Refused { status: 400, message } if is_ambiguous(&message) => {
            EngineError::NotFound { what: message }
        }
        EngineError::Refused { status: 404, message } => EngineError::NotFound {
            what: match message.strip_suffix(" not found") {
                Some(other) if other.starts_with("network ") => other.to_owned(),
                _ => what.to_owned(),
            },
        },
        other => other,
    }
}

/// Whether a network was refused because its addresses, or every address of the engine's pools, are taken.
pub(super) fn is_overlap(message: &str) -> bool {
    ["overlap", "fully subnetted"]
        .iter()
        .any(|words| message.contains(words))
}

/// The port that a failed start could not have, where that was the reason.
pub(super) fn port_in_use(message: &str) -> Option<Option<u16>> {
    let taken = ["port is already allocated", "address already in use"];
    if !taken.iter().any(|words| message.contains(words)) {
        return None;
    }
    // Docker's own table; what its proxy and its firewall bind, by old and new engines.
    let before = ["Bind for ", "host port ", "listen tcp", "listen udp", "listen sctp"];
    let rest = before
        .iter()
        .find_map(|words| message.split_once(words))
        .map_or("", |(_, rest)| rest);
    // `0.0.0.0:80`, `[::]:80`, `:80`, and `:::80` for every address of IPv6.
    let address = rest.split_whitespace().find(|word| word.contains(':')).unwrap_or("");
    let address = address.rsplit_once(']').map_or(address, |(_, after)| after);
    let address = address.strip_prefix("::").unwrap_or(address);
    let digits = address.split_once(':').map_or("", |(_, digits)| digits);
    let digits = digits.split(|letter: char| !letter.is_ascii_digit()).next();
    Some(digits.and_then(|digits| digits.parse().ok()))
}

/// What a runtime says of a command that cannot be run, without the layers that it came through.
pub(super) fn of_command(message: &str) -> String {
    let mut words = message.strip_suffix(": unknown").unwrap_or(message);
    for layer in ["unable to start container process: ", "error during container init: "] {
        words = words.rsplit_once(layer).map_or(words, |(_, words)| words);
    }
    words.to_owned()
}

/// Whether a start that ended with 126 or 127 did so for a mount, not for the command.
pub(super) fn is_about_a_mount(message: &str) -> bool {
    ["error mounting", "mount source path", "mount a directory onto a file"]
        .iter()
        .any(|words| message.contains(words))
}

/// Whether a pull that was refused in these words would be refused again.
pub(super) fn is_permanent_refusal(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    [
        "manifest unknown",
        "name unknown",
        "repository does not exist",
        "repository name not known",
        "no matching manifest",
        "unauthorized",
        "no basic auth credentials",
        "access denied",
        "access to the resource is denied",
        "access forbidden",
        "invalid reference format",
        "not implemented",
        "unsupported media type",
    ]
    .iter()
    .any(|words| message.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_that_is_taken_is_found_in_the_words_of_every_engine() {
        for (message, port) in [
            (
                "driver failed programming external connectivity on endpoint web (ab12): Bind for 0.0.0.0:8080 failed: port is already allocated",
                Some(8080),
            ),
            ("Bind for :::8080 failed: port is already allocated", Some(8080)),
            (
                "Error starting userland proxy: listen tcp4 0.0.0.0:8080: bind: address already in use",
                Some(8080),
            ),
            (
                "Error starting userland proxy: listen tcp4 127.0.0.1:81: bind: address already in use",
                Some(81),
            ),
            ("listen tcp6 [::]:8081: bind: address already in use", Some(8081)),
            ("listen tcp :8082: bind: address already in use", Some(8082)),
            ("listen udp4 0.0.0.0:53: bind: address already in use", Some(53)),
            (
                "failed to bind host port for 0.0.0.0:80:172.17.0.2:80/tcp: address already in use",
                Some(80),
            ),
            (
                "failed to bind host port 0.0.0.0:8443/tcp: address already in use",
                Some(8443),
            ),
            ("address already in use", None),
        ] {
            assert_eq!(port_in_use(message), Some(port), "{message}");
        }
        assert_eq!(port_in_use("no such file"), None);
    }

    #[test]
    fn a_command_that_cannot_be_run_is_told_shortly() {
        let words = r#"exec: "nope": executable file not found in $PATH"#;
        for message in [
            format!(
                "failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: {words}: unknown"
            ),
            format!(
                "failed to create task for container: failed to create shim task: OCI runtime create failed: runc create failed: unable to start container process: error during container init: {words}"
            ),
            words.to_owned(),
        ] {
            assert_eq!(of_command(&message), words);
        }
    }
}

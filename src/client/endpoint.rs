//! Where a server is: a Unix socket, or HTTP on this machine's loopback.
use std::{fmt, net::IpAddr, path::PathBuf, str::FromStr};

/// The address of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket, by its path.
    Unix(PathBuf),
    /// HTTP in the clear, which never leaves the machine: `host:port`.
    Loopback(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Loopback(authority) => write!(f, "http://{authority}"),
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    /// Reads `unix:///run/cube/cube.sock` or `http://127.0.0.1:8001`.
    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix://") {
            if path.starts_with('/') {
                return Ok(Self::Unix(path.into()));
            }
            return Err("after `unix://` an absolute path must follow: unix:///run/cube/cube.sock".to_owned());
        }
        let Some(rest) = text.strip_prefix("http://") else {
            return Err("must be unix:///PATH or http://127.0.0.1:PORT".to_owned());
        };
        let authority = rest.trim_end_matches('/');
        let (host, port) = authority
            .rsplit_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok())
            .unwrap_or((authority, ""));
        if !is_loopback(host) {
            return Err(
                "http is only for this machine: http://127.0.0.1:PORT, http://[::1]:PORT or http://localhost:PORT; \
                        there is no way to reach another machine yet"
                    .to_owned(),
            );
        }
        Ok(Self::Loopback(match port {
            "" => format!("{host}:80"),
            _ => authority.to_owned(),
        }))
    }
}

/// Whether a host, as URLs and `Host` headers write it, is this machine's loopback.
pub fn is_loopback(host: &str) -> bool {
    let host = host
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host);
    host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_beyond_this_machine() {
        for text in [
            "unix:///run/cube/cube.sock",
            "http://127.0.0.1:8001",
            "http://[::1]:8001",
        ] {
            assert_eq!(
                text.parse::<Endpoint>().map(|endpoint| endpoint.to_string()),
                Ok(text.to_owned())
            );
        }
        assert_eq!(
            "http://localhost/".parse(),
            Ok(Endpoint::Loopback("localhost:80".to_owned()))
        );
        for text in [
            "",
            "cube.sock",
            "unix://cube.sock",
            "http://10.0.0.1:80",
            "https://localhost",
            "http://a.b",
        ] {
            assert!(text.parse::<Endpoint>().is_err(), "{text}");
        }
    }
}

//! What the user's docker configuration has for a registry: logins written there, and helpers that keep them elsewhere.
//!
//! Read anew at each pull, for people log in at any time. Never fails: what cannot be had is told with the pull that needed it.
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use bollard::auth::DockerCredentials;
use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::engine::reference::DOCKER_HUB;

/// The name under which docker keeps its own registry's login.
const HUB_KEY: &str = "https://index.docker.io/v1/";
/// A helper that asks a person waits for ever.
const HELPER_LIMIT: Duration = Duration::from_secs(30);
/// What a helper may answer at most; a token is a few kilobytes.
const LONGEST_ANSWER: u64 = 1 << 20;
/// The user name by which a helper says that its secret is a token.
const TOKEN_USER: &str = "<token>";

/// Where the user's docker configuration is.
#[derive(Debug, Clone, Default)]
pub(super) struct DockerConfig {
    /// `config.json`; without one there are no credentials.
    pub file: Option<PathBuf>,
    /// Where helpers are looked for, in place of the process' own `PATH`.
    pub path: Option<OsString>,
}

/// Credentials for one registry.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// As an engine takes them.
    pub header: Option<String>,
    /// Why there are none, where there should have been.
    pub problem: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct File {
    auths: BTreeMap<String, Login>,
    creds_store: String,
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Login {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// What a helper answers.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Secret {
    username: String,
    secret: String,
}

impl DockerConfig {
    /// Of the user that this process runs as.
    pub(super) fn of_user() -> Self {
        let set = |name| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let directory = set("DOCKER_CONFIG").or_else(|| Some(set("HOME")?.join(".docker")));
        Self {
            file: directory.map(|directory| directory.join("config.json")),
            path: None,
        }
    }

    /// What there is for a registry.
    pub(super) async fn credentials(&self, registry: &str) -> Found {
        match self.look(registry).await {
            Ok(credentials) => Found {
                header: credentials.and_then(|credentials| header(&credentials)),
                problem: None,
            },
            Err(problem) => Found {
                header: None,
                problem: Some(problem),
            },
        }
    }

    async fn look(&self, registry: &str) -> Result<Option<DockerCredentials>, String> {
        let Some(path) = &self.file else { return Ok(None) };
        let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = match tokio::fs::read(path).await {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(named(&error)),
        };
        let file: File = serde_json::from_slice(&text).map_err(|error| named(&error))?;
        let of_registry = |key: &&String| host(key) == registry;
        let helper = file
            .cred_helpers
            .keys()
            .find(of_registry)
            .map(|key| &file.cred_helpers[key]);
        let helper = helper.or(Some(&file.creds_store)).filter(|name| !name.is_empty());
        // A login beside a helper that knows none is from before the helper.
        if let Some(name) = helper
            && let Some(credentials) = self.ask(name, registry).await?
        {
            return Ok(Some(credentials));
        }
        match file.auths.iter().find(|(key, _)| host(key) == registry) {
            Some((_, login)) => login.credentials(registry).map_err(|error| named(&error)),
            None => Ok(None),
        }
    }

    /// What a helper has; `None` when it knows nothing of the registry.
    async fn ask(&self, name: &str, registry: &str) -> Result<Option<DockerCredentials>, String> {
        let program = format!("docker-credential-{name}");
        if name.contains('/') {
            return Err(format!("{program}: a helper's name cannot have a slash"));
        }
        let answer = tokio::time::timeout(HELPER_LIMIT, self.run(&program, server(registry)));
        let (good, answer) = match answer.await {
            Ok(answer) => answer.map_err(|error| format!("{program}: {error}"))?,
            Err(_) => return Err(format!("{program}: no answer within {HELPER_LIMIT:?}")),
        };
        if !good {
            // Helpers tell their errors on standard output, and this one is none.
            let words = String::from_utf8_lossy(&answer).trim().to_owned();
            return match words.contains("credentials not found") {
                true => Ok(None),
                false => Err(format!("{program}: {words}")),
            };
        }
        // Not even the error of a parser may show a secret.
        let secret: Secret =
            serde_json::from_slice(&answer).map_err(|_| format!("{program}: not an answer of a helper"))?;
        let mut credentials = credentials_for(registry);
        if secret.username == TOKEN_USER {
            credentials.identitytoken = Some(secret.secret);
        } else {
            credentials.username = Some(secret.username);
            credentials.password = Some(secret.secret);
        }
        Ok(Some(credentials))
    }

    async fn run(&self, program: &str, server: &str) -> io::Result<(bool, Vec<u8>)> {
        let mut command = Command::new(program);
        command
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if let Some(path) = &self.path {
            command.env("PATH", path);
        }
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that does not read what it is asked may still know the answer.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let mut answer = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(LONGEST_ANSWER).read_to_end(&mut answer).await?;
        }
        Ok((child.wait().await?.success(), answer))
    }
}

impl Login {
    /// `None` where the entry is empty, as docker leaves it beside a helper.
    fn credentials(&self, registry: &str) -> Result<Option<DockerCredentials>, String> {
        let (mut username, mut password) = (self.username.clone(), self.password.clone());
        if !self.auth.is_empty() {
            let wrong = || format!("auths: the entry of {registry} has an auth that is not base64 of user:password");
            let plain = STANDARD.decode(self.auth.trim()).map_err(|_| wrong())?;
            let plain = String::from_utf8(plain).map_err(|_| wrong())?;
            let (user, secret) = plain.split_once(':').ok_or_else(wrong)?;
            // Docker pads old entries with zeros.
            (username, password) = (user.to_owned(), secret.trim_end_matches('\0').to_owned());
        }
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let credentials = DockerCredentials {
            username: given(&username),
            password: given(&password),
            identitytoken: given(&self.identitytoken),
            registrytoken: given(&self.registrytoken),
            ..credentials_for(registry)
        };
        let known = [
            &credentials.username,
            &credentials.identitytoken,
            &credentials.registrytoken,
        ];
        Ok(known.iter().any(|part| part.is_some()).then_some(credentials))
    }
}

fn credentials_for(registry: &str) -> DockerCredentials {
    DockerCredentials {
        serveraddress: Some(server(registry).to_owned()),
        ..DockerCredentials::default()
    }
}

fn header(credentials: &DockerCredentials) -> Option<String> {
    serde_json::to_vec(credentials).ok().map(|json| URL_SAFE.encode(json))
}

/// The name of a registry among logins and to helpers.
fn server(registry: &str) -> &str {
    match registry {
        DOCKER_HUB => HUB_KEY,
        other => other,
    }
}

/// The registry that a key of the configuration means: old logins are written as addresses.
fn host(key: &str) -> &str {
    let host = key.split_once("://").map_or(key, |(_, host)| host);
    let host = host.split_once('/').map_or(host, |(host, _)| host);
    match host {
        "index.docker.io" | "registry-1.docker.io" => DOCKER_HUB,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A configuration, with a helper `docker-credential-fake` of this script.
    fn configured(json: &str, script: &str) -> (tempfile::TempDir, DockerConfig) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("config.json");
        std::fs::write(&file, json).expect("a file");
        let helper = directory.path().join("docker-credential-fake");
        std::fs::write(&helper, format!("#!/bin/sh\n{script}\n")).expect("a script");
        std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).expect("an executable");
        let path = std::env::join_paths([directory.path(), "/usr/bin".as_ref(), "/bin".as_ref()]).expect("a path");
        let config = DockerConfig {
            file: Some(file),
            path: Some(path),
        };
        (directory, config)
    }

    fn login(username: &str, password: &str, server: &str) -> DockerCredentials {
        DockerCredentials {
            username: Some(username.to_owned()),
            password: Some(password.to_owned()),
            serveraddress: Some(server.to_owned()),
            ..DockerCredentials::default()
        }
    }

    #[tokio::test]
    async fn logins_in_the_file_are_found_however_their_registry_is_written() {
        let auth = STANDARD.encode("me:pa:ss");
        let json = format!(
            r#"{{"auths": {{"https://index.docker.io/v1/": {{"auth": "{auth}"}},
                "https://r.example:5000/v2/": {{"auth": "{auth}"}},
                "t.example": {{"identitytoken": "tok"}},
                "empty.example": {{}}, "bad.example": {{"auth": "???"}}}}}}"#
        );
        let (_directory, config) = configured(&json, "exit 1");
        assert_eq!(config.look("docker.io").await, Ok(Some(login("me", "pa:ss", HUB_KEY))));
        let found = config.look("r.example:5000").await;
        assert_eq!(found, Ok(Some(login("me", "pa:ss", "r.example:5000"))));
        let found = config.look("t.example").await.expect("a file").expect("a login");
        assert_eq!(found.identitytoken.as_deref(), Some("tok"));
        assert_eq!(config.look("empty.example").await, Ok(None));
        assert_eq!(config.look("other.example").await, Ok(None));
        let problem = config.credentials("bad.example").await.problem.expect("a problem");
        assert!(problem.contains("bad.example") && !problem.contains("???"), "{problem}");
    }

    #[tokio::test]
    async fn helpers_are_asked_by_registry_and_before_the_file() {
        let script = r#"read server; [ "$1" = get ] || exit 9
            case $server in
            r.example) echo '{"ServerURL":"r.example","Username":"u","Secret":"s"}' ;;
            t.example) echo '{"Username":"<token>","Secret":"tok"}' ;;
            https://index.docker.io/v1/) echo '{"Username":"hub","Secret":"s"}' ;;
            broken.example) echo '{"Secret":' ;;
            locked.example) echo 'the keychain is locked'; exit 1 ;;
            *) echo 'credentials not found in native keychain'; exit 1 ;;
            esac"#;
        let auth = STANDARD.encode("file:s");
        let json = format!(
            r#"{{"credsStore": "fake", "credHelpers": {{"none.example": "none"}},
                "auths": {{"old.example": {{"auth": "{auth}"}}, "r.example": {{"auth": "{auth}"}}}}}}"#
        );
        let (_directory, config) = configured(&json, script);
        assert_eq!(config.look("r.example").await, Ok(Some(login("u", "s", "r.example"))));
        assert_eq!(config.look("docker.io").await, Ok(Some(login("hub", "s", HUB_KEY))));
        let found = config.look("t.example").await.expect("an answer").expect("a token");
        assert_eq!((found.username, found.identitytoken.as_deref()), (None, Some("tok")));
        assert_eq!(
            config.look("old.example").await,
            Ok(Some(login("file", "s", "old.example")))
        );
        assert_eq!(config.look("other.example").await, Ok(None));
        for (registry, words) in [
            ("locked.example", "the keychain is locked"),
            ("broken.example", "not an answer of a helper"),
            ("none.example", "docker-credential-none"),
        ] {
            let problem = config.look(registry).await.expect_err("a problem");
            assert!(problem.contains(words), "{problem}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_helper_that_hangs_is_given_up() {
        let (_directory, config) = configured(r#"{"credsStore": "fake"}"#, "exec sleep 1000");
        let problem = config.look("r.example").await.expect_err("a problem");
        assert!(problem.contains("no answer within 30s"), "{problem}");
    }

    #[tokio::test]
    async fn no_configuration_means_no_credentials() {
        let (directory, mut config) = configured("{ not json", "exit 1");
        let problem = config.credentials("r.example").await.problem.expect("a problem");
        assert!(problem.contains("config.json"), "{problem}");
        config.file = Some(directory.path().join("missing.json"));
        assert_eq!(config.credentials("r.example").await, Found::default());
        config.file = None;
        assert_eq!(config.credentials("r.example").await, Found::default());
    }

    #[test]
    fn the_header_is_written_in_the_alphabet_of_addresses() {
        let header = header(&login("ü>?", "~~~???", "r")).expect("a header");
        assert!(!header.contains(['+', '/']), "{header}");
        let json = URL_SAFE.decode(header).expect("base64");
        let read: DockerCredentials = serde_json::from_slice(&json).expect("credentials");
        assert_eq!(read, login("ü>?", "~~~???", "r"));
    }
}

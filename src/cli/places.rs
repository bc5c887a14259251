//! Where things are on this machine: the socket and the data directory. The one rule, for all verbs.
use std::path::PathBuf;

/// Where the socket is when nobody says: of the whole machine for root, of the session for others.
pub fn socket() -> PathBuf {
    Surroundings::own().socket()
}

/// Where data is kept when nobody says: of the whole machine for root, in the home for others.
pub fn data_dir() -> PathBuf {
    Surroundings::own().data_dir()
}

/// Where a worker keeps what it has to know when nobody says: beside a manager's data on the same machine.
pub fn worker_dir() -> PathBuf {
    data_dir().with_file_name("cube-worker")
}

/// What the rules look at.
struct Surroundings {
    uid: u32,
    runtime: Option<PathBuf>,
    state: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl Surroundings {
    fn own() -> Self {
        // What is relative is to be passed over, says the XDG base directory specification.
        let path = |name: &str| {
            std::env::var_os(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            uid: rustix::process::geteuid().as_raw(),
            runtime: path("XDG_RUNTIME_DIR"),
            state: path("XDG_STATE_HOME"),
            home: path("HOME"),
        }
    }

    fn socket(&self) -> PathBuf {
        if self.uid == 0 {
            return "/run/cube/cube.sock".into();
        }
        match &self.runtime {
            Some(runtime) => runtime.join("cube/cube.sock"),
            // No session: a place that server and client both find, and that outlives no data.
            None => self.data_dir().join("cube.sock"),
        }
    }

    fn data_dir(&self) -> PathBuf {
        if self.uid == 0 {
            return "/var/lib/cube".into();
        }
        match (&self.state, &self.home) {
            (Some(state), _) => state.join("cube"),
            (None, Some(home)) => home.join(".local/state/cube"),
            (None, None) => format!("/var/tmp/cube-{}", self.uid).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_the_machine_and_others_their_own() {
        let of = |uid, runtime: &str, state: &str, home: &str| {
            let path = |text: &str| Some(PathBuf::from(text)).filter(|_| !text.is_empty());
            let around = Surroundings {
                uid,
                runtime: path(runtime),
                state: path(state),
                home: path(home),
            };
            [around.socket(), around.data_dir()].map(|path| path.display().to_string())
        };
        let own = "/run/user/7";
        assert_eq!(of(0, own, "/s", "/root"), ["/run/cube/cube.sock", "/var/lib/cube"]);
        assert_eq!(of(7, own, "/s", "/h"), ["/run/user/7/cube/cube.sock", "/s/cube"]);
        assert_eq!(
            of(7, own, "", "/h"),
            ["/run/user/7/cube/cube.sock", "/h/.local/state/cube"]
        );
        assert_eq!(
            of(7, "", "", "/h"),
            ["/h/.local/state/cube/cube.sock", "/h/.local/state/cube"]
        );
        assert_eq!(of(7, "", "", ""), ["/var/tmp/cube-7/cube.sock", "/var/tmp/cube-7"]);
    }
}

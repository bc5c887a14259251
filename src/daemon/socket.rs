//! The Unix socket that clients come to: who may, and what becomes of one that a killed process left.
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// A process answers there. Another socket helps, or the end of that process.
    #[error("socket {}: another process answers there", .0.display())]
    InUse(PathBuf),
    /// Something else has the name.
    #[error("socket {}: there is a file of that name, which is no socket", .0.display())]
    NotASocket(PathBuf),
    /// There is no such group.
    #[error("socket group {0:?}: there is no such group on this machine")]
    NoSuchGroup(String),
    /// It cannot be made.
    #[error("socket {}: {step}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// What could not be done.
        step: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Listens at `path`: for this user alone, or for the members of `group` too.
///
/// # Errors
/// See [`SocketError`].
pub fn listen(path: &Path, group: Option<&str>) -> Result<UnixListener, SocketError> {
    let failed = |step| {
        move |source| SocketError::Io {
            path: path.to_owned(),
            step,
            source,
        }
    };
    let group = group.map(group_id).transpose()?;
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(failed("its directory cannot be made"))?;
    }
    if let Ok(there) = fs::symlink_metadata(path) {
        if !there.file_type().is_socket() {
            return Err(SocketError::NotASocket(path.to_owned()));
        }
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(SocketError::InUse(path.to_owned()));
        }
        fs::remove_file(path).map_err(failed("an old one cannot be removed"))?;
    }
    // Nobody else may come in between its making and the setting of its mode.
    let mask = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(mask);
    let listener = listener.map_err(failed("cannot be made"))?;
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group)).map_err(failed("cannot be given to the group"))?;
        fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed("cannot be opened to the group"))?;
    }
    Ok(listener)
}

/// The number of a group, by name or number.
fn group_id(name: &str) -> Result<u32, SocketError> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = fs::read_to_string("/etc/group").unwrap_or_default();
    let number = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let found = fields.next()? == name;
        let number = fields.nth(1)?.parse().ok()?;
        found.then_some(number)
    });
    number.ok_or_else(|| SocketError::NoSuchGroup(name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_socket_of_a_killed_process_is_taken_over_and_a_living_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/cube.sock");
        let first = listen(&path, None).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(listen(&path, None), Err(SocketError::InUse(_))));
        drop(first);
        let _second = listen(&path, Some("0")).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o660);
        let file = directory.path().join("file");
        fs::write(&file, "mine").unwrap();
        assert!(matches!(listen(&file, None), Err(SocketError::NotASocket(_))));
        assert!(matches!(
            listen(&path, Some("no such group")),
            Err(SocketError::NoSuchGroup(_))
        ));
    }
}

//! Sub paths of mounts, which must never lead out of what is mounted.
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Component, Path};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, chmod, fstat, mkdirat, open, openat2};
use rustix::io::Errno;

use super::{EngineError, Result};

const FIELD: &str = "mounts.sub_path";

/// Whether a sub path is a plain relative one: no root, no `..`, not empty.
pub(super) fn check(sub_path: &str) -> Result<()> {
    let path = Path::new(sub_path);
    let plain = |part| matches!(part, Component::Normal(_) | Component::CurDir);
    match sub_path.is_empty() || !path.components().all(plain) {
        true => Err(invalid(format!("{sub_path:?} must be a relative path without \"..\""))),
        false => Ok(()),
    }
}

/// The path, free of symbolic links, that `sub_path` has beneath `source`; directories that are missing are made, for those
/// who may use the source.
///
/// The kernel itself refuses every step that leads out of `source`, a symbolic link's too, so there is no moment between
/// a check and its use. One remains afterwards: the engine opens the path by name, so what writes into the source at that
/// very moment could still exchange a directory for a link; only a mount by handle, which no engine's API has, would help.
pub(super) fn resolve(source: &str, sub_path: &str) -> Result<String> {
    check(sub_path)?;
    let failed = |error: io::Error| match Errno::from_io_error(&error) {
        Some(Errno::XDEV | Errno::LOOP) => invalid(format!("{sub_path:?} leads out of {source:?}")),
        _ => invalid(format!("{sub_path:?} in {source:?}: {error}")),
    };
    let found = open_beneath(source, Path::new(sub_path)).map_err(failed)?;
    // The kernel's own name for what was opened.
    let path = rustix::fs::readlinkat(CWD, own_name(&found), Vec::new());
    let path = path.map_err(|error| failed(error.into()))?;
    path.into_string()
        .map_err(|_| invalid(format!("{sub_path:?} in {source:?}: its path must be UTF-8")))
}

fn open_beneath(source: &str, sub_path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let root = open(source, flags | OFlags::DIRECTORY, Mode::empty())?;
    let beneath = |path: &Path| {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        openat2(root.as_fd(), path, flags, Mode::empty(), resolve)
    };
    let mode = Mode::from_raw_mode(fstat(&root)?.st_mode & 0o777);
    let mut parent = beneath(Path::new("."))?;
    let parts: Vec<Component<'_>> = sub_path.components().collect();
    for end in 1..=parts.len() {
        let so_far: &Path = &parts[..end].iter().collect::<std::path::PathBuf>();
        parent = match beneath(so_far) {
            Err(Errno::NOENT) => {
                let made = match mkdirat(&parent, parts[end - 1].as_os_str(), mode) {
                    Ok(()) => true,
                    Err(Errno::EXIST) => false,
                    Err(error) => return Err(error.into()),
                };
                let found = beneath(so_far)?;
                if made {
                    // By its handle, whatever stands under its name by now; the process' own mask took some of it.
                    chmod(own_name(&found), mode)?;
                }
                found
            }
            found => found?,
        };
    }
    Ok(parent)
}

/// The path under which the kernel has what this process has opened.
fn own_name(opened: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", opened.as_raw_fd())
}

fn invalid(message: String) -> EngineError {
    EngineError::InvalidSpec {
        field: FIELD.to_owned(),
        message,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_sub_path_must_be_plain() {
        for good in ["a", "a/b", "./a", "..a", "a..b/c"] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in ["", "/", "/a", "..", "../a", "a/../b", "a/.."] {
            assert!(check(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_sub_path_never_leads_out_of_its_source() {
        let outside = tempfile::tempdir().expect("a directory");
        let source = outside.path().join("source");
        std::fs::create_dir_all(source.join("real/deep")).expect("directories");
        symlink("real", source.join("inner")).expect("a link");
        symlink("..", source.join("up")).expect("a link");
        symlink("/", source.join("root")).expect("a link");
        symlink("nowhere/else", source.join("dangling")).expect("a link");
        let root = source.to_str().expect("UTF-8");

        assert_eq!(resolve(root, "real/deep"), Ok(format!("{root}/real/deep")));
        assert_eq!(resolve(root, "inner/deep"), Ok(format!("{root}/real/deep")));
        assert_eq!(resolve(root, "inner/new/er"), Ok(format!("{root}/real/new/er")));
        assert!(source.join("real/new/er").is_dir());
        std::fs::set_permissions(&source, std::fs::Permissions::from_mode(0o777)).expect("a mode");
        resolve(root, "open/for/all").expect("a new path");
        let mode = std::fs::metadata(source.join("open/for/all"))
            .expect("a directory")
            .mode();
        assert_eq!(mode & 0o777, 0o777, "as open as the source");
        for bad in ["up", "up/x", "root", "root/etc", "dangling", "../source"] {
            let refused = resolve(root, bad);
            assert!(
                matches!(refused, Err(EngineError::InvalidSpec { .. })),
                "{bad}: {refused:?}"
            );
        }
        assert!(!outside.path().join("x").exists(), "nothing is made outside");
    }
}

//! Which files of a directory are manifests, and what is there of them.
//!
//! It names and looks; it never opens a file. Read [`walk`] first.
use std::{
    collections::BTreeMap,
    io,
    path::{Component, Path, PathBuf},
};

use crate::world::files::{Files, Seen, Stamp, Watch};

/// Directories in one another; deeper ones are refused.
const DEEPEST: usize = 32;

/// What a directory holds. Paths are from the directory on.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Walked {
    /// The manifests.
    pub files: BTreeMap<PathBuf, Stamp>,
    /// What should be read and cannot be, and why.
    pub refused: BTreeMap<PathBuf, String>,
    /// Why changes will not be told, if they will not.
    pub unwatched: Option<String>,
}

/// Whether a name is one of a manifest: not hidden, not an editor's temporary.
pub(super) fn is_manifest(name: &str) -> bool {
    let ending = Path::new(name).extension().and_then(|ending| ending.to_str());
    !is_passed_over(name) && matches!(ending, Some("yaml" | "yml" | "json"))
}

/// Whether a name is of a hidden thing, or an editor's temporary.
fn is_passed_over(name: &str) -> bool {
    name.starts_with('.')
        || name.ends_with('~')
        || name.ends_with(".swp")
        || name.ends_with(".tmp")
        || name.starts_with('#')
}

/// What a changed path means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// Nothing.
    Nothing,
    /// A manifest may have changed: its path from the directory on.
    File(PathBuf),
    /// The directory itself, or something that is perhaps a directory in it.
    Tree,
}

/// What a changed path (below the real directory `root`) means.
pub(super) fn means(root: &Path, path: &Path) -> Means {
    let Ok(relative) = path.strip_prefix(root) else {
        return Means::Nothing;
    };
    let mut names: Vec<_> = relative.components().map(Component::as_os_str).collect();
    let Some(last) = names.pop() else {
        return Means::Tree;
    };
    let last = last.to_string_lossy();
    // Kubernetes puts the link `..data` in another's place, and with it all files behind it.
    if last.starts_with("..") {
        return Means::Tree;
    }
    if is_passed_over(&last) || names.iter().any(|name| is_passed_over(&name.to_string_lossy())) {
        return Means::Nothing;
    }
    if is_manifest(&last) {
        return Means::File(relative.to_owned());
    }
    Means::Tree
}

/// Looks at a manifest.
pub(super) fn look(files: &dyn Files, root: &Path, relative: &Path) -> io::Result<Result<Stamp, String>> {
    Ok(match files.look(&root.join(relative))? {
        Seen::File(stamp) => Ok(stamp),
        Seen::LinkToFile(real, stamp) if real.starts_with(root) => Ok(stamp),
        Seen::LinkToFile(..) => Err("is a link that leads out of the directory".to_owned()),
        Seen::Link(what) => Err(format!("is a link to {what}")),
        Seen::Directory => Err("is a directory".to_owned()),
        Seen::Other(what) => Err(format!("is {what}, not a regular file")),
    })
}

/// Who answers for what is in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// A person, who names it now.
    Person,
    /// Whoever may write in it, for as long as it is watched: that must not be everybody. Who writes a manifest can have
    /// any file of the machine mounted.
    Writers,
}

/// Looks at everything below the real directory `root`. Each directory is watched before it is read, so that nothing
/// falls between.
///
/// # Errors
/// When the directory itself cannot be read, or must not be.
pub(crate) fn walk(
    files: &dyn Files,
    root: &Path,
    trust: Trust,
    mut watch: Option<&mut Box<dyn Watch>>,
) -> io::Result<Walked> {
    let mut walked = Walked::default();
    let mut todo = vec![(PathBuf::new(), 0)];
    while let Some((relative, depth)) = todo.pop() {
        let directory = root.join(&relative);
        if let Some(watch) = watch.as_mut()
            && let Err(error) = watch.add(&directory)
        {
            walked.unwatched = Some(error.to_string());
        }
        let names = match trusted(files, &directory, trust).and_then(|()| files.names(&directory)) {
            Ok(names) => names,
            Err(error) if depth == 0 => return Err(error),
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => {
                walked.refused.insert(relative, format!("cannot be read: {error}"));
                continue;
            }
        };
        for name in names {
            let path = relative.join(&name);
            let name = name.to_string_lossy();
            if is_passed_over(&name) {
                continue;
            }
            match files.look(&root.join(&path)) {
                Ok(Seen::Directory) if depth < DEEPEST => todo.push((path, depth + 1)),
                Ok(Seen::Directory) => {
                    walked.refused.insert(path, "is too deep a directory".to_owned());
                }
                // What is in it is perhaps meant; that it is not read must be seen.
                Ok(Seen::Link("a directory")) => {
                    let why = "is a link to a directory; such links are not followed";
                    walked.refused.insert(path, why.to_owned());
                }
                Ok(_) if !is_manifest(&name) => {}
                Ok(_) => match look(files, root, &path) {
                    Ok(Ok(stamp)) => drop(walked.files.insert(path, stamp)),
                    Ok(Err(why)) => drop(walked.refused.insert(path, why)),
                    Err(_) => {}
                },
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    walked.refused.insert(path, format!("cannot be read: {error}"));
                }
            }
        }
    }
    Ok(walked)
}

fn trusted(files: &dyn Files, directory: &Path, trust: Trust) -> io::Result<()> {
    if trust == Trust::Writers && files.is_open_to_all(directory)? {
        let message = "everybody on this machine may write in it, and so start containers (`chmod o-w` ends that)";
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, message));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_what_they_mean() {
        let file = |path: &str| Means::File(PathBuf::from(path));
        for (path, meaning) in [
            ("/m/a.yaml", file("a.yaml")),
            ("/m/b/a.yml", file("b/a.yml")),
            ("/m/a.json", file("a.json")),
            ("/m", Means::Tree),
            ("/m/b", Means::Tree),
            ("/m/..data", Means::Tree),
            ("/m/.a.yaml", Means::Nothing),
            ("/m/.git/a.yaml", Means::Nothing),
            ("/m/a.yaml~", Means::Nothing),
            ("/m/.a.yaml.swp", Means::Nothing),
            ("/m/a.yaml.tmp", Means::Nothing),
            ("/m/#a.yaml#", Means::Nothing),
            ("/n/a.yaml", Means::Nothing),
        ] {
            assert_eq!(means(Path::new("/m"), Path::new(path)), meaning, "{path}");
        }
    }
}

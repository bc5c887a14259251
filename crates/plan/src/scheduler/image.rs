//! Names of images, so that two that mean the same compare as the same.

/// The image's name in full: `nginx` is `docker.io/library/nginx:latest`.
pub(super) fn in_full(name: &str) -> String {
    let (repository, version) = match name.split_once('@') {
        Some((repository, digest)) => (repository, format!("@{digest}")),
        // A colon before the last slash is a registry's port.
        None => match name.rsplit_once(':').filter(|(_, tag)| !tag.contains('/')) {
            Some((repository, tag)) => (repository, format!(":{tag}")),
            None => (name, ":latest".to_owned()),
        },
    };
    let is_registry = |first: &str| first.contains(['.', ':']) || first == "localhost";
    match repository.split_once('/') {
        Some((first, _)) if is_registry(first) => format!("{repository}{version}"),
        Some(_) => format!("docker.io/{repository}{version}"),
        None => format!("docker.io/library/{repository}{version}"),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_means_the_same_is_the_same() {
        for (name, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("docker.io/library/nginx:1.27", "docker.io/library/nginx:1.27"),
            ("team/app", "docker.io/team/app:latest"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("ghcr.io/team/app:2", "ghcr.io/team/app:2"),
            ("nginx@sha256:ab", "docker.io/library/nginx@sha256:ab"),
        ] {
            assert_eq!(super::in_full(name), full);
        }
    }
}

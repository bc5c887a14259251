//! The parts of an image's reference, as docker reads it.

/// The registry that docker's own images come from.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// An image's reference in its parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// The registry's host and port.
    pub registry: &'a str,
    /// As written, without tag and digest.
    pub name: &'a str,
    /// The digest, else the tag, else `latest`.
    pub tag: &'a str,
}

impl<'a> Reference<'a> {
    /// Reads a reference; what is wrong with it is left to the engine to say.
    pub fn parse(text: &'a str) -> Self {
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let tag_at = named.rfind(':').filter(|at| !named[*at..].contains('/'));
        let (name, tag) = match tag_at {
            Some(at) => (&named[..at], &named[at + 1..]),
            None => (named, "latest"),
        };
        let registry = match name.split_once('/') {
            Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
            _ => DOCKER_HUB,
        };
        let registry = if registry == "index.docker.io" {
            DOCKER_HUB
        } else {
            registry
        };
        Self {
            registry,
            name,
            tag: digest.unwrap_or(tag),
        }
    }

    /// The same text for every way to write the same image.
    pub fn canonical(&self) -> String {
        let joint = if self.tag.contains(':') { '@' } else { ':' };
        format!("{}{joint}{}", self.repository(), self.tag)
    }

    /// The same name, without tag and digest, for every way to write the same repository.
    pub fn repository(&self) -> &'a str {
        let mut name = self.name;
        for prefix in ["index.docker.io/", "docker.io/", "library/"] {
            name = name.strip_prefix(prefix).unwrap_or(name);
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_read_as_docker_does() {
        for (text, registry, name, tag, canonical) in [
            ("nginx", DOCKER_HUB, "nginx", "latest", "nginx:latest"),
            (
                "docker.io/library/nginx:1",
                DOCKER_HUB,
                "docker.io/library/nginx",
                "1",
                "nginx:1",
            ),
            ("acme/web:2", DOCKER_HUB, "acme/web", "2", "acme/web:2"),
            (
                "localhost/web",
                "localhost",
                "localhost/web",
                "latest",
                "localhost/web:latest",
            ),
            (
                "r.example:5000/web",
                "r.example:5000",
                "r.example:5000/web",
                "latest",
                "r.example:5000/web:latest",
            ),
            (
                "r.example:5000/web:2",
                "r.example:5000",
                "r.example:5000/web",
                "2",
                "r.example:5000/web:2",
            ),
            ("web:2@sha256:ab", DOCKER_HUB, "web", "sha256:ab", "web@sha256:ab"),
        ] {
            let reference = Reference::parse(text);
            assert_eq!(reference, Reference { registry, name, tag }, "{text}");
            assert_eq!(reference.canonical(), canonical);
        }
    }
}

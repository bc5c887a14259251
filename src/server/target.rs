//! What a path is about: a kind, perhaps a namespace, a name, a part of the object.
use cube_api::kinds::Kind;

/// Under which group an object is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// Cube's own.
    Cube,
    /// Kubernetes' core, where its clients look for Events; only read.
    Core,
}

/// A part of an object with a path of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The object itself.
    Whole,
    /// `status`.
    Status,
    /// `scale`.
    Scale,
    /// `binding`: the Task's node.
    Binding,
    /// `log`: what the Task wrote.
    Log,
    /// `exec`: a program in the Task's container.
    Exec,
    /// `placement`: where the Task could run, and why.
    Placement,
}

/// What a path is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub api: Api,
    pub kind: Kind,
    /// None: all namespaces, or a kind of the whole cluster.
    pub namespace: Option<String>,
    /// None: all objects.
    pub name: Option<String>,
    pub part: Part,
}

impl Target {
    /// Reads the path after `/apis/cube/v1/` (or `/api/v1/`); none when there is nothing of that name.
    pub fn parse(api: Api, path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            return None;
        }
        let (namespace, rest) = match segments.as_slice() {
            ["namespaces", namespace, plural, rest @ ..] if Kind::from_plural(plural).is_some_and(is_namespaced) => (
                Some((*namespace).to_owned()),
                &segments[segments.len() - rest.len() - 1..],
            ),
            all => (None, all),
        };
        let [plural, rest @ ..] = rest else { return None };
        let kind = Kind::from_plural(plural)?;
        let (name, part) = match rest {
            [] => (None, Part::Whole),
            // Across namespaces a name says nothing.
            _ if namespace.is_none() && is_namespaced(kind) => return None,
            [name] => (Some((*name).to_owned()), Part::Whole),
            [name, part] => (Some((*name).to_owned()), Part::parse(kind, part)?),
            _ => return None,
        };
        let served = match api {
            Api::Cube => true,
            Api::Core => matches!(kind, Kind::Event | Kind::Namespace) && part == Part::Whole,
        };
        served.then_some(Self {
            api,
            kind,
            namespace,
            name,
            part,
        })
    }

    /// The namespace as keys have it.
    pub fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or_default()
    }
}

impl Part {
    fn parse(kind: Kind, text: &str) -> Option<Self> {
        let info = kind.info();
        match text {
            "status" if info.has_status => Some(Self::Status),
            "scale" if info.has_scale => Some(Self::Scale),
            "binding" if kind == Kind::Task => Some(Self::Binding),
            "log" if kind == Kind::Task => Some(Self::Log),
            "exec" if kind == Kind::Task => Some(Self::Exec),
            "placement" if kind == Kind::Task => Some(Self::Placement),
            _ => None,
        }
    }
}

fn is_namespaced(kind: Kind) -> bool {
    kind.info().namespaced
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_paths() {
        let shown = |path| {
            let target = Target::parse(Api::Cube, path)?;
            let name = target.name.clone().unwrap_or_default();
            Some(format!(
                "{:?} {} {name} {:?}",
                target.kind,
                target.namespace(),
                target.part
            ))
        };
        for (path, expected) in [
            ("tasks", Some("Task   Whole")),
            ("namespaces/a/tasks", Some("Task a  Whole")),
            ("namespaces/a/tasks/t", Some("Task a t Whole")),
            ("namespaces/a/tasks/t/status", Some("Task a t Status")),
            ("namespaces/a/tasks/t/log", Some("Task a t Log")),
            ("namespaces/a/tasks/t/placement", Some("Task a t Placement")),
            ("namespaces/a/deployments/d/placement", None),
            ("namespaces/a/deployments/d/scale", Some("Deployment a d Scale")),
            ("namespaces", Some("Namespace   Whole")),
            ("namespaces/a", Some("Namespace  a Whole")),
            ("namespaces/tasks", Some("Namespace  tasks Whole")),
            ("namespaces/a/status", Some("Namespace  a Status")),
            ("nodes/n/status", Some("Node  n Status")),
            ("tasks/t", None),
            ("namespaces/a/nodes", None),
            ("namespaces/a/tasks/t/scale", None),
            ("namespaces/a/tasks/t/status/x", None),
            ("namespaces//tasks", None),
            ("pods", None),
            ("", None),
        ] {
            assert_eq!(shown(path).as_deref(), expected, "{path}");
        }
        assert!(Target::parse(Api::Core, "namespaces/a/events").is_some());
        assert!(Target::parse(Api::Core, "namespaces/a/tasks").is_none());
    }
}

//! Which kind a document is of, and friendly words for what is not Cube's.
use cube_api::{
    error::FieldPath,
    shape::{Shape, nearest},
};
use serde_json::Value;

use super::{Content, Diagnostic, Document, Entry, Node};

/// The kinds that manifests may be of.
#[derive(Clone, Copy)]
pub struct Kinds<'a> {
    /// The one `apiVersion`.
    pub api_version: &'a str,
    /// Their names, for suggestions.
    pub names: &'a [&'a str],
    /// The shape of a kind.
    pub shape: &'a dyn Fn(&str) -> Option<&'a Shape>,
}

/// An object that has its kind's form.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its kind.
    pub kind: String,
    /// The whole object as JSON, as it was written: no defaults filled in.
    pub value: Value,
}

pub(super) fn object(document: &Document, kinds: &Kinds<'_>) -> Result<Object, Vec<Diagnostic>> {
    let mut found: Vec<(usize, Diagnostic)> = document
        .problems
        .iter()
        .map(|problem| (problem.place.as_ref().map_or(0, |p| p.bytes.start), problem.clone()))
        .collect();
    let mut object = None;
    if let Some(root) = &document.root {
        let (kind, errors) = header(document, root, kinds);
        found.extend(errors.into_iter().map(|error| (0, error)));
        if let Some((kind, shape)) = kind {
            match document.resolve(shape) {
                Ok(value) => {
                    object = Some(Object {
                        kind: kind.to_owned(),
                        value,
                    })
                }
                Err(errors) => {
                    let others = errors.iter().filter(|error| !is_header(&error.path));
                    found.extend(others.map(|error| (document.order_of(error), document.locate(error))));
                }
            }
        }
    }
    found.sort_by_key(|(order, _)| *order);
    match object {
        Some(object) if found.is_empty() => Ok(object),
        _ => Err(found.into_iter().map(|(_, diagnostic)| diagnostic).collect()),
    }
}

fn is_header(path: &FieldPath) -> bool {
    path.segments().len() == 1 && matches!(path.leaf(), Some("apiVersion" | "kind"))
}

type Known<'d, 'a> = Option<(&'d str, &'a Shape)>;

/// The kind and its shape, unless the document is not Cube's; and what is wrong with `apiVersion` and `kind`.
fn header<'d, 'a>(document: &Document, root: &'d Node, kinds: &Kinds<'a>) -> (Known<'d, 'a>, Vec<Diagnostic>) {
    let at = |place, message: String| Diagnostic::at(&document.source, place, message);
    let Content::Mapping(entries) = &root.content else {
        let what = if matches!(root.content, Content::Sequence(_)) {
            "a list"
        } else {
            "text"
        };
        let message = format!("a manifest must be a map with `apiVersion`, `kind`, `metadata` and `spec`, not {what}");
        return (None, vec![at(document.source.first_line_of(&root.place), message)]);
    };
    let (version, kind) = (root.get("apiVersion"), root.get("kind"));
    if let (None, Some(services)) = (kind, root.get("services")) {
        let message = "this is a Compose file (`services:` at the top), not a Cube manifest".to_owned();
        let help = format!(
            "write each service as a Task or a Deployment (`apiVersion: {}`)",
            kinds.api_version
        );
        return (None, vec![at(services.key_place.clone(), message).help(help)]);
    }
    let top = entries.first().map_or(&root.place, |entry| &entry.key_place);
    let missing = |name: &str, label: String| {
        let mut error = at(top.clone(), format!("missing field `{name}`"));
        error.label = Some(label);
        error
    };
    let mut errors = Vec::new();
    match version.map(text) {
        None => errors.push(missing(
            "apiVersion",
            format!("write `apiVersion: {}`", kinds.api_version),
        )),
        Some(Some(given)) if given == kinds.api_version => {}
        Some(given) => {
            let entry = version.unwrap_or(&entries[0]);
            let given = given.unwrap_or_default();
            let kind = kind.and_then(text).unwrap_or_default();
            if let Some(error) = of_kubernetes(document, entry, given, kind, kinds) {
                return (None, vec![error]);
            }
            let message = format!("apiVersion: must be {}, given `{given}`", kinds.api_version);
            let mut error = at(entry.value.place.clone(), message);
            error.label = nearest(given, [kinds.api_version]).map(|meant| format!("did you mean `{meant}`?"));
            errors.push(error);
        }
    }
    let Some(entry) = kind else {
        errors.push(missing("kind", format!("one of {}", kinds.names.join(", "))));
        return (None, errors);
    };
    let name = text(entry).unwrap_or_default();
    if let Some(shape) = (kinds.shape)(name) {
        return (Some((name, shape)), errors);
    }
    let mut error = at(
        document
            .place_of(&FieldPath::root().field("kind"), false)
            .unwrap_or(top.clone()),
        format!("unknown kind `{name}`"),
    );
    let meant = nearest(name, kinds.names.iter().copied()).or(counterpart(name).map(|(ours, _)| ours));
    error.label = meant.map(|meant| format!("did you mean `{meant}`?"));
    error.help = Some(match (counterpart(name), name) {
        (Some((_, why)), _) => why.to_owned(),
        (None, "List") => "write the objects as documents, with `---` between them".to_owned(),
        _ => format!("the kinds are {}", kinds.names.join(", ")),
    });
    errors.push(error);
    (None, errors)
}

fn text(entry: &Entry) -> Option<&str> {
    match &entry.value.content {
        Content::Scalar(scalar) => Some(&scalar.text),
        _ => None,
    }
}

/// Cube's kind for a kind of Kubernetes', and how they differ.
fn counterpart(kind: &str) -> Option<(&'static str, &'static str)> {
    Some(match kind {
        "Pod" => (
            "Task",
            "a Task is one container: the fields of `spec.containers[0]` stand in `spec` itself",
        ),
        "Job" => ("Task", "a Task with `restartPolicy: Never` or `OnFailure` runs once"),
        "ReplicaSet" | "StatefulSet" | "ReplicationController" => {
            ("Deployment", "a Deployment keeps so many Tasks of one template running")
        }
        _ => return None,
    })
}

/// The error for a manifest of Kubernetes', if this is one.
fn of_kubernetes(
    document: &Document,
    entry: &Entry,
    version: &str,
    kind: &str,
    kinds: &Kinds<'_>,
) -> Option<Diagnostic> {
    const GROUPS: [&str; 6] = ["apps", "batch", "autoscaling", "policy", "extensions", "rbac"];
    let group = version.split_once('/').map(|(group, _)| group);
    let theirs = match group {
        None => {
            version.len() <= 8 && version.starts_with('v') && version[1..].starts_with(|c: char| c.is_ascii_digit())
        }
        Some(group) => GROUPS.contains(&group) || group.ends_with(".k8s.io"),
    };
    if !theirs {
        return None;
    }
    let message = format!("this is a Kubernetes manifest (`apiVersion: {version}`), not a Cube manifest");
    let mut error = Diagnostic::at(&document.source, entry.value.place.clone(), message);
    error.label = Some(format!("write `apiVersion: {}`", kinds.api_version));
    error.help = match counterpart(kind) {
        Some((ours, why)) => Some(format!("write `kind: {ours}` instead of `kind: {kind}`; {why}")),
        None if kinds.names.contains(&kind) && kind == "Deployment" => {
            Some("in Cube's template, the fields of `spec.containers[0]` stand in `spec` itself".to_owned())
        }
        None if kinds.names.contains(&kind) => None,
        None => Some(format!(
            "Cube has no kind `{kind}`; its kinds are {}",
            kinds.names.join(", ")
        )),
    };
    Some(error)
}

//! From a file's bytes to the objects that it says, or all that is wrong with it.
//!
//! A file is good or bad as a whole. It never reads files and never asks the registry what is there. Read [`parse`] first.
use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, LazyLock},
};

use cube_api::{
    API_VERSION,
    error::{FieldError, FieldPath},
    kinds::Kind,
    namespace,
};
use cube_plan::prune::ObjectId;
use serde_json::Value;

use crate::{
    manifest::{self, Diagnostic, Document, Kinds, Limits},
    registry,
};

/// An object that a file says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    pub id: ObjectId,
    pub value: Arc<Value>,
}

static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let kinds = Kind::ALL.iter().map(|kind| kind.info()).filter(|info| info.manifest);
    kinds.map(|info| info.kind).collect()
});

fn documents(file: &Path, bytes: &[u8]) -> Result<Vec<Document>, Vec<Diagnostic>> {
    manifest::read(&file.to_string_lossy(), bytes, &Limits::default()).map_err(|error| vec![*error])
}

/// The objects of a file, in the order of its documents.
///
/// # Errors
/// Everything that is wrong with the file.
pub(super) fn parse(file: &Path, bytes: &[u8]) -> Result<Vec<Said>, Vec<Diagnostic>> {
    let shape = |name: &str| {
        let kind = Kind::from_kind(name).filter(|kind| kind.info().manifest);
        kind.map(Kind::shape)
    };
    let kinds = Kinds {
        api_version: API_VERSION,
        names: &NAMES,
        shape: &shape,
    };
    let mut said: BTreeMap<ObjectId, usize> = BTreeMap::new();
    let mut all = Vec::new();
    let mut wrong = Vec::new();
    for document in documents(file, bytes)? {
        let object = match document.object(&kinds) {
            Ok(object) => object,
            Err(errors) => {
                wrong.extend(errors);
                continue;
            }
        };
        let Some(kind) = Kind::from_kind(&object.kind) else {
            continue;
        };
        let faults = registry::check(kind, &object.value);
        if !faults.is_empty() {
            wrong.extend(faults.iter().map(|fault| document.locate(fault)));
            continue;
        }
        let id = identify(kind, &object.value);
        let name = FieldPath::root().field("metadata").field("name");
        let place = document.place_of(&name, false);
        let line = place.as_ref().map_or(1, |place| place.line);
        if let Some(first) = said.insert(id.clone(), line) {
            let message = format!("{id} is in this file twice; first at line {first}");
            wrong.push(match place {
                Some(place) => Diagnostic::at(document.source(), place, message),
                None => Diagnostic::of_file(&file.to_string_lossy(), message),
            });
        }
        let value = Arc::new(object.value);
        all.push(Said { id, value });
    }
    if wrong.is_empty() { Ok(all) } else { Err(wrong) }
}

fn identify(kind: Kind, value: &Value) -> ObjectId {
    let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default();
    let namespace = match (kind.info().namespaced, text("namespace")) {
        (false, _) => "",
        (true, "") => namespace::DEFAULT,
        (true, given) => given,
    };
    ObjectId {
        kind,
        namespace: namespace.to_owned(),
        name: text("name").to_owned(),
    }
}

/// What the registry finds wrong with an object, shown in the file that says it.
pub(super) fn locate(file: &Path, bytes: &[u8], object: &ObjectId, causes: &[FieldError]) -> Vec<Diagnostic> {
    let documents = documents(file, bytes).unwrap_or_default();
    let shape = object.kind.shape();
    let of = documents.iter().find(|document| {
        document
            .resolve(shape)
            .is_ok_and(|value| value["kind"] == object.kind.info().kind && identify(object.kind, &value) == *object)
    });
    of.map(|document| causes.iter().map(|cause| document.locate(cause)).collect())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(text: &str) -> Result<Vec<String>, Vec<String>> {
        parse(Path::new("a.yaml"), text.as_bytes())
            .map(|said| said.iter().map(|said| said.id.to_string()).collect())
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn task(name: &str) -> String {
        format!("apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: {name} }}\nspec: {{ image: busybox }}\n")
    }

    #[test]
    fn a_file_is_good_or_bad_as_a_whole() {
        let room = "apiVersion: cube/v1\nkind: Namespace\nmetadata: { name: web }\n";
        assert_eq!(outcome(""), Ok(vec![]));
        assert_eq!(
            outcome(&format!("{}---\n{room}", task("a"))),
            Ok(vec!["task/default/a".to_owned(), "namespace/web".to_owned()])
        );
        let bad = format!("{}---\n{}---\nkind: Tusk\n", task("a"), task("A_"));
        let errors = outcome(&bad).unwrap_err();
        assert!(errors.iter().any(|error| error.starts_with("a.yaml:8")), "{errors:?}");
        assert!(
            errors.iter().any(|error| error.contains("did you mean `Task`?")),
            "{errors:?}"
        );
        let twice = outcome(&format!("{}---\n{}", task("a"), task("a"))).unwrap_err();
        assert_eq!(
            twice,
            ["a.yaml:8:19: task/default/a is in this file twice; first at line 3"]
        );
    }
}

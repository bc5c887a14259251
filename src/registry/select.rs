//! Which objects a list or watch is about: namespace, labels, fields.
//!
//! Field selectors know few fields, each a cheap look at the decoded object; another one is refused, never passed over.
use cube_api::{
    event::{Event, EventType},
    kinds::Kind,
    selector::Selector,
    task::{Phase, Task},
};

use super::{ApiError, Object};

/// A field selector: `metadata.name=web,status.phase!=Running`. A comma means and.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector(Vec<Term>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    value: String,
    equal: bool,
}

impl FieldSelector {
    /// Reads a field selector of a kind.
    ///
    /// # Errors
    /// 400 when it cannot be read, or names a field that the kind's objects cannot be selected by.
    pub fn parse(kind: Kind, text: &str) -> Result<Self, ApiError> {
        let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
        let terms = parts.map(|part| {
            let (field, value, equal) = if let Some((field, value)) = part.split_once("!=") {
                (field, value, false)
            } else if let Some((field, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
                (field, value, true)
            } else {
                let message = format!("invalid selector: '{part}'; example: metadata.name=web");
                return Err(ApiError::bad_request(message));
            };
            let (field, value) = (field.trim().to_owned(), value.trim().to_owned());
            if !is_known(kind, &field) {
                return Err(ApiError::bad_request(format!("field label not supported: {field}")));
            }
            Ok(Term { field, value, equal })
        });
        terms.collect::<Result<_, _>>().map(Self)
    }

    /// The selector of one object by its name.
    pub fn name(name: &str) -> Self {
        Self(vec![Term {
            field: "metadata.name".to_owned(),
            value: name.to_owned(),
            equal: true,
        }])
    }

    /// Whether the object satisfies it.
    pub fn matches(&self, object: &Object) -> bool {
        self.0
            .iter()
            .all(|term| (value(object, &term.field) == term.value) == term.equal)
    }

    /// The one name that it asks for, if it does: that object can then be looked up.
    pub fn only_name(&self) -> Option<&str> {
        let term = self.0.iter().find(|term| term.field == "metadata.name" && term.equal);
        term.map(|term| term.value.as_str())
    }
}

fn is_known(kind: Kind, field: &str) -> bool {
    match field {
        "metadata.name" | "metadata.namespace" => true,
        "status.phase" | "status.node" => kind == Kind::Task,
        "reason" | "type" => kind == Kind::Event,
        _ => kind == Kind::Event && field.strip_prefix("involvedObject.").is_some_and(is_known_reference),
    }
}

fn is_known_reference(field: &str) -> bool {
    matches!(
        field,
        "kind" | "namespace" | "name" | "uid" | "apiVersion" | "resourceVersion" | "fieldPath"
    )
}

fn value<'a>(object: &'a Object, field: &str) -> &'a str {
    match field {
        "metadata.name" => return object.name(),
        "metadata.namespace" => return object.namespace(),
        _ => {}
    }
    if let Some(task) = object.try_typed::<Task>() {
        return match field {
            "status.phase" => phase(task.status.phase),
            _ => task.status.node.as_deref().unwrap_or_default(),
        };
    }
    let Some(event) = object.try_typed::<Event>() else {
        return "";
    };
    let of = &event.involved_object;
    match field {
        "reason" => &event.reason,
        "type" => match event.kind {
            EventType::Normal => "Normal",
            EventType::Warning => "Warning",
        },
        "involvedObject.kind" => &of.kind,
        "involvedObject.namespace" => &of.namespace,
        "involvedObject.name" => &of.name,
        "involvedObject.uid" => &of.uid,
        "involvedObject.apiVersion" => &of.api_version,
        "involvedObject.resourceVersion" => &of.resource_version,
        _ => &of.field_path,
    }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending => "Pending",
        Phase::Scheduled => "Scheduled",
        Phase::Running => "Running",
        Phase::Completed => "Completed",
        Phase::Failed => "Failed",
    }
}

/// What a list or watch is about; nothing said means all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only with these labels.
    pub labels: Selector,
    /// Only with these fields.
    pub fields: FieldSelector,
}

impl Filter {
    /// All of a namespace.
    pub fn namespace(namespace: &str) -> Self {
        Self {
            namespace: Some(namespace.to_owned()),
            ..Self::default()
        }
    }

    /// Whether it means only some of what is in the namespace, or in all.
    pub fn chooses(&self) -> bool {
        !self.labels.is_empty() || !self.fields.0.is_empty()
    }

    /// Whether the object is meant.
    pub fn matches(&self, object: &Object) -> bool {
        self.namespace
            .as_deref()
            .is_none_or(|namespace| namespace == object.namespace())
            && self.fields.matches(object)
            && (self.labels.is_empty() || self.labels.matches(&object.meta().labels))
    }
}

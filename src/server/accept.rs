//! In which form a client wishes to see objects: the first of its `Accept` list that there is here.
use http::{HeaderMap, header};

use super::answer::Refusal;

/// A form in which objects are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// The objects themselves.
    Plain,
    /// Rows for people.
    Table(MetaVersion),
    /// Metadata alone.
    Metadata(MetaVersion),
}

/// A version of the group `meta.k8s.io`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetaVersion {
    V1,
    V1beta1,
}

impl MetaVersion {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// One entry of an `Accept` list: a media type, its parameters lower down.
pub(super) struct Media<'a> {
    pub name: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Media<'_> {
    pub fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(key, _)| *key == name);
        found.map_or("", |(_, value)| value)
    }

    /// Whether JSON answers it.
    pub fn is_json(&self) -> bool {
        matches!(self.name, "application/json" | "application/*" | "*/*")
    }
}

/// What the client takes, best first; empty when it does not say.
pub(super) fn accepted(headers: &HeaderMap) -> Vec<Media<'_>> {
    let lists = headers.get_all(header::ACCEPT).iter();
    let entries = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','));
    let media = entries.map(|entry| {
        let mut parts = entry.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let parameters = parts.filter_map(|part| part.split_once('=')).collect();
        Media { name, parameters }
    });
    media.filter(|media| !media.name.is_empty()).collect()
}

/// The form in which objects are to be shown.
pub(super) fn form(headers: &HeaderMap) -> Result<Form, Refusal> {
    let accepted = accepted(headers);
    if accepted.is_empty() {
        return Ok(Form::Plain);
    }
    let found = accepted.iter().find_map(|media| match media.parameter("as") {
        _ if !media.is_json() => None,
        "" => Some(Form::Plain),
        "Table" => meta_version(media).map(Form::Table),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => meta_version(media).map(Form::Metadata),
        _ => None,
    });
    found.ok_or_else(|| {
        let message = "only the following media types are accepted: application/json, application/json;as=Table, \
                       application/json;as=PartialObjectMetadata";
        Refusal::new(406, "NotAcceptable", message)
    })
}

fn meta_version(media: &Media<'_>) -> Option<MetaVersion> {
    match (media.parameter("g"), media.parameter("v")) {
        ("meta.k8s.io", "v1") => Some(MetaVersion::V1),
        ("meta.k8s.io", "v1beta1") => Some(MetaVersion::V1beta1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Form> {
        let headers = [(header::ACCEPT, text.parse().unwrap())].into_iter().collect();
        form(&headers).ok()
    }

    #[test]
    fn takes_the_first_that_there_is() {
        assert_eq!(form(&HeaderMap::new()).ok(), Some(Form::Plain));
        for (text, expected) in [
            ("*/*", Some(Form::Plain)),
            ("application/json", Some(Form::Plain)),
            (
                "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
                Some(Form::Table(MetaVersion::V1)),
            ),
            (
                "application/json;as=Table;v=v9;g=meta.k8s.io, application/json;as=Table;v=v1beta1;g=meta.k8s.io",
                Some(Form::Table(MetaVersion::V1beta1)),
            ),
            (
                "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
                Some(Form::Metadata(MetaVersion::V1)),
            ),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                Some(Form::Plain),
            ),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/json;as=Other", None),
        ] {
            assert_eq!(of(text), expected, "{text}");
        }
    }
}

//! The manifest reader: bytes → documents → diagnostics, or objects that admission takes and that come back the same.
use std::sync::LazyLock;

use cube::{
    manifest::{self, Diagnostic, Document, Kinds, Limits, Look, Object, Source},
    registry,
};
use cube_api::{API_VERSION, kinds::Kind, shape::Shape};

pub fn run(bytes: &[u8]) {
    let documents = match manifest::read("any.yaml", bytes, &Limits::default()) {
        Ok(documents) => documents,
        Err(error) => return shows(&error, &String::from_utf8_lossy(bytes)),
    };
    for document in documents {
        match object(&document) {
            Ok(object) => admitted(&document, object),
            Err(errors) => {
                assert!(!errors.is_empty(), "a document that is no object says why");
                errors.iter().for_each(|error| shown(&document, error));
            }
        }
    }
}

fn object(document: &Document) -> Result<Object, Vec<Diagnostic>> {
    document.object(&Kinds {
        api_version: API_VERSION,
        names: &NAMES,
        shape: &shape,
    })
}

static NAMES: LazyLock<Vec<&str>> = LazyLock::new(|| {
    let kinds = Kind::ALL.iter().map(|kind| kind.info()).filter(|info| info.manifest);
    kinds.map(|info| info.kind).collect()
});

fn shape(name: &str) -> Option<&'static Shape> {
    Kind::from_kind(name)
        .filter(|kind| kind.info().manifest)
        .map(Kind::shape)
}

/// What has its kind's form is either refused at its places, or is taken and can be read back.
fn admitted(document: &Document, object: Object) {
    let kind = Kind::from_kind(&object.kind).expect("an object is of a kind");
    let wrong = registry::check(kind, &object.value);
    for error in &wrong {
        shown(document, &document.locate(error));
    }
    if !wrong.is_empty() {
        return;
    }
    kind.decode(&object.value)
        .expect("what passes the check can be decoded");
    let json = object.value.to_string();
    again(&json, &object);
    let yaml = serde_yaml::to_string(&object.value).expect("an object can be written as YAML");
    again(&yaml, &object);
}

/// What Cube wrote, Cube reads: the same object.
fn again(text: &str, object: &Object) {
    let documents =
        manifest::read("again.yaml", text.as_bytes(), &Limits::default()).expect("what was written is read");
    let [document] = documents.as_slice() else {
        panic!("one document was written, {} are read: {text}", documents.len());
    };
    match self::object(document) {
        Ok(again) => assert_eq!(&again, object, "{text}"),
        Err(errors) => panic!("{text}\n{errors:#?}"),
    }
}

fn shown(document: &Document, error: &Diagnostic) {
    let source: &Source = document.source();
    shows(error, &source.text);
}

/// A diagnostic lies in the text, and can be shown without acting on the terminal.
fn shows(error: &Diagnostic, text: &str) {
    if let Some(place) = &error.place {
        let (start, end) = (place.bytes.start, place.bytes.end);
        assert!(text.get(start..end).is_some(), "{start}..{end} is no part of the text");
        let line = text[..start].matches('\n').count() + 1;
        assert_eq!(place.line, line, "{error}");
        let column = text[..start]
            .rsplit('\n')
            .next()
            .map_or(0, |before| before.chars().count())
            + 1;
        assert_eq!(place.column, column, "{error}");
    }
    let mut told = error.to_string();
    for width in [20, 100] {
        told.push_str(&error.render(Look { colour: false, width }));
    }
    let acts = |c: &char| c.is_control() && !matches!(c, '\n' | '\t');
    assert_eq!(told.chars().find(acts), None, "{told:?}");
}

//! Patches against a Task, a Deployment and a node: one is refused, or its outcome is what could have been written whole.
//!
//! An input is a line with words (`task`, `deployment`, `node`; `status`, `scale`; `json`, else merge) and then the patch.
use cube::registry::{self, Patch, Subresource, WriteOptions};
use cube_api::kinds::Kind;
use serde_json::Value;

use super::served::{self, Served};

pub fn run(bytes: &[u8]) {
    let end = bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len());
    let words: Vec<&[u8]> = bytes[..end].split(|byte| *byte == b' ').collect();
    let Ok(patch) = serde_json::from_slice::<Value>(bytes.get(end + 1..).unwrap_or_default()) else {
        return;
    };
    let says = |word: &str| words.contains(&word.as_bytes());
    let target = match () {
        () if says("node") => (Kind::Node, "", "n"),
        () if says("deployment") => (Kind::Deployment, "default", "d"),
        () => (Kind::Task, "default", "web"),
    };
    let subresource = match () {
        () if says("status") => Subresource::Status,
        () if says("scale") && target.0 == Kind::Deployment => Subresource::Scale,
        () => Subresource::None,
    };
    let patch = match says("json") {
        true => Patch::Json(patch),
        false => Patch::Merge(patch),
    };
    served::with(|served| patched(served, target, &patch, subresource));
}

fn patched(served: &Served, (kind, namespace, name): (Kind, &str, &str), patch: &Patch, subresource: Subresource) {
    let options = WriteOptions {
        dry_run: true,
        subresource,
        ..WriteOptions::new("fuzz")
    };
    let write = |options: &WriteOptions<'_>| {
        let written = served.registry.patch(kind, namespace, name, patch, options);
        served.runtime.block_on(written)
    };
    let before = served.registry.get(kind, namespace, name).expect("it is there");
    let revision = served.registry.store().revision();
    let tried = write(&options);
    assert_eq!(served.registry.store().revision(), revision, "a dry run writes nothing");
    let done = write(&WriteOptions {
        dry_run: false,
        ..options.clone()
    });
    let (tried, done) = match (tried, done) {
        (Ok(tried), Ok(done)) => (tried, done),
        (Err(tried), Err(done)) => {
            assert_eq!(tried, done);
            assert!(tried.code < 500, "{tried:?}");
            assert_eq!(
                served.registry.store().revision(),
                revision,
                "what is refused writes nothing"
            );
            return;
        }
        (tried, done) => panic!("the dry run says {tried:?}, the write {done:?}"),
    };
    let (mut tried, mut value) = (tried.to_value(), done.to_value());
    assert_eq!(registry::check(kind, &value), [], "{value}");
    for field in ["uid", "name", "namespace", "creationTimestamp"] {
        assert_eq!(
            value["metadata"][field],
            before.to_value()["metadata"][field],
            "{field} never changes"
        );
    }
    for value in [&mut tried, &mut value] {
        value["metadata"]["resourceVersion"] = Value::Null;
    }
    assert_eq!(tried, value, "the dry run says what the write does");
    served.sound();
    let settled = served.registry.store().revision();
    // What a merge patch says, it says once and for all.
    if let Patch::Merge(said) = patch
        && said["metadata"]["resourceVersion"].is_null()
        && served.registry.get(kind, namespace, name).is_ok()
    {
        write(&WriteOptions {
            dry_run: false,
            ..options
        })
        .expect("it went through before");
        assert_eq!(
            served.registry.store().revision(),
            settled,
            "said twice is said once: {said}"
        );
    }
}

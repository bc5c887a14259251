use proptest::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{JsonType, Shape, UnknownFields, formats, nearest};
use crate::kinds::Kind;

fn errors(shape: &Shape, value: &Value) -> Vec<String> {
    let checked = shape.check(value, UnknownFields::Refuse);
    checked.errors.iter().map(ToString::to_string).collect()
}

fn task(spec: Value) -> Value {
    json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "a" }, "spec": spec })
}

#[test]
fn every_error_of_a_task_is_told_at_once() {
    let shape = Shape::from_schema(&Kind::Task.schema());
    let all_wrong = json!({
        "apiVersion": "cube/v1", "kind": "Task",
        "metadata": { "name": "Web", "labels": { "a/b": 1 } },
        "image": "x",
        "spec": {
            "imgae": "nginx", "restartPolicy": "onfailure", "init": "yes", "priority": 3_000_000_000_u64,
            "terminationGracePeriodSeconds": -1, "command": "sh", "workingDir": "tmp",
            "ports": [{ "containerPort": "80" }, { "containerPort": 0 }],
            "resources": { "limits": { "memory": "64MB", "cpu": 1.5 } },
        },
    });
    let expected = [
        "unknown field `image`; did you mean `spec.image`?",
        "metadata.labels[\"a/b\"]: must be a string, given 1",
        "metadata.name: must be at most 253 lowercase letters, digits, `-` or `.`, with a letter or digit at each end and around each dot, given \"Web\"",
        "spec.command: must be a list, given \"sh\"",
        "spec: unknown field `imgae`; did you mean `image`?",
        "spec.init: must be true or false, given \"yes\"; did you mean `true`?",
        "spec.ports[0].containerPort: must be a whole number, given \"80\"; did you mean `80`?",
        "spec.ports[1].containerPort: must be between 1 and 65535, given 0",
        "spec.priority: must be between -2147483648 and 2147483647, given 3000000000",
        "spec.resources.limits.memory: must be a quantity, such as 500m, 1.5, 64Mi or 2G, given \"64MB\"",
        "spec.restartPolicy: must be one of Always, OnFailure, Never, given \"onfailure\"; did you mean `OnFailure`?",
        "spec.terminationGracePeriodSeconds: must be between 0 and 86400, given -1",
        "spec.workingDir: must be an absolute path, such as /data, without `..`, given \"tmp\"",
        "spec: missing field `image`",
    ];
    let found = errors(&shape, &all_wrong);
    let mut sorted = (found.clone(), expected.map(str::to_owned).to_vec());
    sorted.0.sort();
    sorted.1.sort();
    assert_eq!(sorted.0, sorted.1, "{found:#?}");
}

#[test]
fn what_is_right_passes_and_null_counts_as_absent() {
    let shape = Shape::from_schema(&Kind::Task.schema());
    let right =
        task(json!({ "image": "nginx", "user": null, "resources": { "limits": { "cpu": 2, "memory": "1e3" } } }));
    let checked = shape.check(&right, UnknownFields::Refuse);
    assert_eq!(checked.errors, []);
    assert_eq!(checked.value["spec"].get("user"), None);
    assert_eq!(checked.value["spec"]["resources"], right["spec"]["resources"]);
    assert_eq!(
        errors(&shape, &task(json!({ "image": null }))),
        ["spec: missing field `image`"]
    );
    assert_eq!(errors(&shape, &json!([])), ["must be a map, given a list"]);
}

#[test]
fn unknown_fields_are_dropped_when_asked_for() {
    let shape = Shape::from_schema(&Kind::Task.schema());
    let checked = shape.check(&task(json!({ "image": "a", "odd": { "x": 1 } })), UnknownFields::Drop);
    assert_eq!(checked.errors, []);
    assert_eq!(checked.value, task(json!({ "image": "a" })));
    assert_eq!(checked.unknown[0].to_string(), "spec.odd");
}

#[test]
fn every_kind_accepts_its_own_default_but_for_what_people_must_write() {
    for kind in Kind::ALL {
        let shape = Shape::from_schema(&kind.schema());
        let value = json!({ "apiVersion": "cube/v1", "kind": kind.info().kind, "metadata": {} });
        for error in shape.check(&value, UnknownFields::Refuse).errors {
            assert_eq!(
                error.reason,
                crate::error::Reason::Required,
                "{}: {error}",
                kind.info().kind
            );
        }
    }
}

/// A probe, of one sort.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[allow(dead_code)]
enum Probe {
    /// Asks by HTTP.
    HttpGet(HttpGet),
    /// Runs a program.
    Exec(Exec),
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HttpGet {
    #[serde(default = "slash")]
    path: String,
    #[schemars(range(min = 1))]
    port: u16,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Exec {
    #[schemars(length(min = 1, max = 2))]
    command: Vec<String>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type")]
#[allow(dead_code)]
enum Tagged {
    Disk { size: u8 },
    Memory { limit: u8 },
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Sample {
    #[serde(default = "slash")]
    #[schemars(length(min = 1, max = 4))]
    text: String,
    probe: Option<Probe>,
    tagged: Option<Tagged>,
    /// Itself.
    inner: Option<Box<Sample>>,
    #[schemars(extend("propertyNames" = { "format": "label-key" }))]
    labels: Option<std::collections::BTreeMap<String, String>>,
    names: Option<std::collections::BTreeSet<String>>,
}

fn slash() -> String {
    "/".to_owned()
}

fn sample() -> Shape {
    Shape::from_schema(schemars::schema_for!(Sample).as_value())
}

#[test]
fn variants_types_that_hold_themselves_and_bounds() {
    for (value, expected) in [
        (json!({ "probe": { "httpGet": { "port": 80 } } }), vec![]),
        (
            json!({ "probe": { "httpGet": { "port": 0 } } }),
            vec!["probe.httpGet.port: must be between 1 and 65535, given 0"],
        ),
        (json!({ "probe": {} }), vec!["probe: must have one of httpGet, exec"]),
        (
            json!({ "probe": { "httpGet": { "port": 8 }, "exec": {} } }),
            vec!["probe: must have only one of httpGet, exec"],
        ),
        (
            json!({ "probe": { "exec": { "command": [] } } }),
            vec!["probe.exec.command: must not be empty"],
        ),
        (
            json!({ "probe": { "exec": { "command": ["a", "b", "c"] } } }),
            vec!["probe.exec.command: must have at most 2 items, given 3"],
        ),
        (json!({ "tagged": { "type": "Disk", "size": 1 } }), vec![]),
        (
            json!({ "tagged": { "type": "disk", "size": 1 } }),
            vec!["tagged.type: must be one of Disk, Memory, given \"disk\"; did you mean `Disk`?"],
        ),
        (json!({ "tagged": {} }), vec!["tagged: missing field `type`"]),
        (
            json!({ "inner": { "inner": { "txt": "a" } } }),
            vec!["inner.inner: unknown field `txt`; did you mean `text`?"],
        ),
        (json!({ "text": "" }), vec!["text: must not be empty, given \"\""]),
        (
            json!({ "text": "ééééé" }),
            vec!["text: must be at most 4 characters long, given \"ééééé\""],
        ),
        (
            json!({ "names": ["a", "b", "a"] }),
            vec!["names[2]: is in the list twice, given \"a\""],
        ),
    ] {
        assert_eq!(errors(&sample(), &value), expected, "{value}");
    }
    let key = errors(&sample(), &json!({ "labels": { "a b": "c" } }));
    assert!(
        key[0].starts_with("labels[\"a b\"]: the key must be a name of"),
        "{key:?}"
    );
}

#[test]
fn defaults_are_filled_where_they_are_stated() {
    let filled = sample().fill_defaults(&json!({ "probe": { "httpGet": { "port": 1 } }, "inner": {} }));
    assert_eq!(
        filled,
        json!({ "text": "/", "probe": { "httpGet": { "port": 1, "path": "/" } }, "inner": { "text": "/" } })
    );
}

#[test]
fn what_is_due_is_known_before_there_is_a_value() {
    let shape = Shape::from_schema(&Kind::Task.schema());
    let spec = shape.expected().at_key("spec");
    assert!(spec.is_field("image") && spec.at_key("image").takes(JsonType::String));
    assert!(!spec.at_key("init").takes(JsonType::String));
    assert!(
        spec.at_key("ports")
            .item()
            .at_key("containerPort")
            .takes(JsonType::Integer)
    );
    let labels = shape.expected().at_key("metadata").at_key("labels");
    assert!(!labels.is_field("a") && labels.at_key("a").takes(JsonType::String));
    assert!(spec.at_key("odd").is_any());
    assert!(
        sample()
            .expected()
            .at_key("probe")
            .at_key("exec")
            .at_key("command")
            .takes(JsonType::Array)
    );
}

#[test]
fn formats_know_right_from_wrong() {
    let long = "a".repeat(64);
    let digested = format!("a.example:5000/b@sha256:{}", "0f".repeat(32));
    for (name, right, wrong) in [
        (
            "quantity",
            vec!["100m", "1.5", "64Mi", "1e3", "2G", ".5", "5.", "-1"],
            vec!["", "64MB", "1 G", "Mi", ".", "1e"],
        ),
        (
            "dns-label",
            vec!["a", "a-1", "0"],
            vec!["", "A", "-a", "a-", "a.b", &long],
        ),
        ("dns-subdomain", vec!["a.b", &long], vec!["", "a..b", ".a", "a_b"]),
        (
            "label-key",
            vec!["app", "a.b/c_D"],
            vec!["", "/a", "a/", "a/b/c", "A.b/c"],
        ),
        ("label-value", vec!["", "a.B_1"], vec!["-a", "a b", &long]),
        (
            "duration",
            vec!["30s", "1h30m", "1.5s", "10ms"],
            vec!["", "30", "s", "1w", "1.2.3s"],
        ),
        (
            "image",
            vec![
                "nginx:1.27",
                "a/b",
                "localhost/a",
                "Host:5000/a/b_c__d--e.f:V1_.-",
                &digested,
                "app:latest",
            ],
            vec![
                "",
                "a b",
                "a\n",
                "UPPER",
                "a/B",
                "http://a",
                "a:",
                "a//b",
                "/a",
                "a/",
                "a@sha256:00",
                "a:b:c",
                "a..b",
                "-a",
                "a:-b",
                "h.example:x/a",
            ],
        ),
        ("absolute-path", vec!["/", "/a/b"], vec!["", "a", "/a/../b"]),
        ("env-name", vec!["A", "a.b-c"], vec!["", "A=B", "A B"]),
        ("int-or-percent", vec!["25%", "3"], vec!["", "%", "-1", "1.5%"]),
    ] {
        let matches = formats::find(name).unwrap().matches;
        right
            .iter()
            .for_each(|text| assert!(matches(text), "{name}: {text:?} is right"));
        wrong
            .iter()
            .for_each(|text| assert!(!matches(text), "{name}: {text:?} is wrong"));
    }
}

#[test]
fn the_nearest_name_is_the_one_that_was_meant() {
    let names = ["image", "imagePullPolicy", "command", "env", "ports", "init"];
    for (given, meant) in [
        ("imgae", Some("image")),
        ("Image", Some("image")),
        ("image_pull_policy", Some("imagePullPolicy")),
        ("port", Some("ports")),
        ("comand", Some("command")),
        ("environment", None),
        ("x", None),
        ("", None),
    ] {
        assert_eq!(nearest(given, names), meant, "{given}");
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
    ];
    let key = prop_oneof![
        Just("spec".to_owned()),
        Just("image".to_owned()),
        Just("metadata".to_owned()),
        ".{0,4}"
    ];
    leaf.prop_recursive(4, 32, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key.clone(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_value_and_any_schema_is_survived_and_cleaning_is_done_once(value in any_json(), schema in any_json()) {
        for shape in [Shape::from_schema(&Kind::Task.schema()), sample(), Shape::from_schema(&schema)] {
            let checked = shape.check(&value, UnknownFields::Drop);
            shape.fill_defaults(&value);
            if checked.errors.is_empty() {
                prop_assert_eq!(&shape.check(&checked.value, UnknownFields::Refuse).value, &checked.value);
            }
        }
    }
}

use std::{collections::BTreeMap, sync::LazyLock};

use cube_api::{API_VERSION, error::FieldError, error::FieldPath, kinds::Kind, shape::Shape};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Diagnostic, Document, Kinds, Limits, Look, Object, read, split};

static SHAPES: LazyLock<BTreeMap<&str, Shape>> = LazyLock::new(|| {
    let kinds = Kind::ALL.iter().filter(|kind| kind.info().manifest);
    kinds
        .map(|kind| (kind.info().kind, Shape::from_schema(&kind.schema())))
        .collect()
});

fn shape(kind: &str) -> Option<&'static Shape> {
    SHAPES.get(kind)
}

const KINDS: Kinds<'static> = Kinds {
    api_version: API_VERSION,
    names: &["Deployment", "Namespace", "Task"],
    shape: &shape,
};

fn documents(text: &str) -> Vec<Document> {
    read("web.yaml", text.as_bytes(), &Limits::default()).unwrap()
}

fn objects(text: &str) -> Vec<Result<Object, Vec<Diagnostic>>> {
    documents(text).iter().map(|document| document.object(&KINDS)).collect()
}

/// All that is wrong, as people see it.
fn shown(text: &str) -> String {
    let errors = objects(text).into_iter().filter_map(Result::err).flatten();
    errors
        .map(|error| error.render(Look::default()))
        .collect::<Vec<_>>()
        .join("\n")
}

/// A Task with more in its spec.
fn task(spec: &str) -> String {
    format!("apiVersion: cube/v1\nkind: Task\nmetadata: {{ name: a }}\nspec:\n  image: a\n{spec}")
}

fn spec_of(spec: &str) -> Value {
    match objects(&task(spec)).remove(0) {
        Ok(object) => object.value["spec"].clone(),
        Err(errors) => panic!("{spec}: {errors:#?}"),
    }
}

fn first_error(spec: &str) -> String {
    objects(&task(spec)).remove(0).unwrap_err()[0].to_string()
}

#[test]
fn a_typo() {
    let text = "apiVersion: cube/v1\nkind: Deployment\nmetadata:\n  name: web\nspec:\n  replicas: 3\n  template:\n    spec:\n      imgae: nginx:1.27\n";
    insta::assert_snapshot!(shown(text));
}

#[test]
fn many_errors_in_the_order_of_the_text() {
    insta::assert_snapshot!(shown(&task(
        "  command: sh\n  ports:\n    - containerPort: eighty\n    - containerPort: 0123\n    - { containerPort: 70000 }\n  init: yes\n  restartPolicy: onfailure\n  env:\n    - value: x\n  terminationGracePeriodSeconds: 1_000\n  resources:\n    limits: { memory: 64MB }\n"
    )));
}

#[test]
fn what_is_not_cubes() {
    for (name, text) in [
        ("compose", "services:\n  web:\n    image: nginx\n"),
        (
            "pod",
            "apiVersion: v1\nkind: Pod\nmetadata: { name: a }\nspec: { containers: [] }\n",
        ),
        ("apps", "apiVersion: apps/v1\nkind: Deployment\n"),
        ("service", "apiVersion: v1\nkind: Service\n"),
        (
            "near_version",
            "apiVersion: cube/v2\nkind: Task\nmetadata: { name: a }\nspec: { image: a }\n",
        ),
        ("near_kind", "apiVersion: cube/v1\nkind: Deploymnt\n"),
        ("pod_in_cube", "apiVersion: cube/v1\nkind: Pod\n"),
        ("nothing", "# a note\nmetadata:\n  name: a\n"),
        ("list", "- a\n- b\n"),
        ("text", "hello\n"),
        ("list_kind", "apiVersion: cube/v1\nkind: List\nitems: []\n"),
    ] {
        insta::assert_snapshot!(name, shown(text));
    }
}

#[test]
fn what_is_not_yaml() {
    for (name, text) in [
        ("indentation", "apiVersion: cube/v1\nspec:\n  a: b: c\n"),
        ("tab", "apiVersion: cube/v1\nspec:\n\timage: a\n"),
        ("unclosed", "spec: { image: [a, b\n"),
        ("quote", "spec:\n  image: \"nginx\nkind: Task\n"),
        ("alias", "spec: *nobody\n"),
        (
            "tag",
            "apiVersion: cube/v1\nkind: Task\nmetadata: { name: a }\nspec: { image: !secret a }\n",
        ),
        ("wrong_tag", "a: !!int foo\n"),
        ("key", "[a, b]: c\n"),
        ("merge", "<<: 3\n"),
    ] {
        insta::assert_snapshot!(name, shown(text));
    }
}

#[test]
fn duplicate_keys_are_all_told_with_both_places() {
    insta::assert_snapshot!(shown(
        "apiVersion: cube/v1\nkind: Task\nmetadata:\n  name: a\n  labels: { app: x, \"app\": y, é: 1, 'é': 2 }\n  name: b\nspec:\n  image: a\n  image: b\n  image: c\n"
    ));
    let many: String = (0..20).map(|_| "a: 1\n").collect();
    assert!(shown(&many).contains("not YAML: duplicated key"));
}

#[test]
fn the_expected_type_decides() {
    for text in [
        "no",
        "on",
        "08",
        "1e3",
        "2024-01-01",
        "true",
        "1.10",
        "123",
        "0x1F",
        "0o17",
        "12:30",
        "1_000",
        ".5",
        "+1",
        "nul",
    ] {
        let spec = spec_of(&format!(
            "  user: {text}\n  command: [{text}, \"{text}\", '{text}']\n  nodeSelector: {{ {text}: {text} }}\n"
        ));
        assert_eq!(spec["user"], text);
        assert_eq!(spec["command"], json!([text, text, text]));
        assert_eq!(spec["nodeSelector"], json!({ text: text }));
    }
    let spec = spec_of(
        "  init: true\n  priority: -5\n  ports: [{ containerPort: 80 }]\n  resources: { limits: { cpu: 1.50, memory: 1e9 }, requests: { cpu: 1 } }\n",
    );
    assert_eq!(spec["init"], true);
    assert_eq!(spec["priority"], -5);
    assert_eq!(spec["ports"][0]["containerPort"], 80);
    assert_eq!(
        spec["resources"],
        json!({ "limits": { "cpu": "1.50", "memory": "1e9" }, "requests": { "cpu": 1 } })
    );
}

#[test]
fn null_is_absent_and_blocks_and_folds_are_text() {
    let spec = spec_of(
        "  user:\n  hostname: ~\n  init: null\n  args:\n    - |\n      a\n       b\n    - >-\n      c\n      d\n    - |-\n      80\n    - e\n      f\n    - \"g\\n\\\n      h\"\n",
    );
    assert_eq!(
        spec,
        json!({ "image": "a", "args": ["a\n b\n", "c d", "80", "e f", "g\nh"] })
    );
    assert_eq!(
        first_error("  priority: |-\n    80\n"),
        "web.yaml:7:5: spec.priority: must be a whole number, given \"80\"; did you mean `80`?"
    );
    assert!(first_error("  nodeSelector: { a: }\n").contains("must be a string, given `null`"));
}

#[test]
fn forms_that_readers_disagree_about_are_refused_with_the_form_to_write() {
    for (given, told) in [
        (
            "0123",
            "must be a whole number without leading zeros, given `0123`; did you mean `123`?",
        ),
        (
            "0o17",
            "must be a whole number in decimal digits, given `0o17`; did you mean `15`?",
        ),
        (
            "0x1F",
            "must be a whole number in decimal digits, given `0x1F`; did you mean `31`?",
        ),
        (
            "1_000",
            "must be a whole number without `_`, given `1_000`; did you mean `1000`?",
        ),
        (
            "+5",
            "must be a whole number without a sign, given `+5`; did you mean `5`?",
        ),
        (
            "1e3",
            "must be a whole number without fraction or exponent, given `1e3`; did you mean `1000`?",
        ),
        ("1.5", "must be a whole number, given `1.5`"),
        ("\"5\"", "must be a whole number, given \"5\"; did you mean `5`?"),
        ("five", "must be a whole number, given `five`"),
        (
            "99999999999999999999",
            "must be a smaller number, given `99999999999999999999`",
        ),
        ("{}", "must be a whole number, given a map"),
    ] {
        assert_eq!(
            first_error(&format!("  priority: {given}\n")),
            format!("web.yaml:6:13: spec.priority: {told}")
        );
    }
    for (given, meant) in [("yes", "true"), ("Off", "false"), ("TRUE", "true")] {
        let told = format!("web.yaml:6:9: spec.init: must be true or false, given `{given}`; did you mean `{meant}`?");
        assert_eq!(first_error(&format!("  init: {given}\n")), told);
    }
}

#[test]
fn anchors_aliases_and_merges() {
    let spec = spec_of("  user: &n 08\n  hostname: *n\n  command: &c [a, &t 010]\n  args: *c\n  stopSignal: *t\n");
    assert_eq!(spec["hostname"], "08");
    assert_eq!(spec["args"], json!(["a", "010"]));
    assert_eq!(spec["stopSignal"], "010");
    let spec = spec_of("  nodeSelector:\n    <<: [{ a: 1, b: 2 }, { b: 3, c: 4 }]\n    a: 0\n");
    assert_eq!(spec["nodeSelector"], json!({ "a": "0", "b": "2", "c": "4" }));
    assert_eq!(
        first_error("  user: &n [x]\n"),
        "web.yaml:6:9: spec.user: must be a string, given a list"
    );
}

#[test]
fn each_document_has_its_own_result() {
    let one = |name: &str| format!("apiVersion: cube/v1\nkind: Namespace\nmetadata: {{ name: {name} }}\n");
    let text = format!(
        "# a note\n---\n{}---\n# nothing\n---\na: [\n--- # c\n{}...\n%YAML 1.2\n---\n{}---\n",
        one("a"),
        one("b"),
        one("c")
    );
    let results = objects(&text);
    let names: Vec<_> = results
        .iter()
        .map(|r| r.as_ref().map(|object| object.value["metadata"]["name"].clone()).ok())
        .collect();
    assert_eq!(names, [Some("a".into()), None, Some("b".into()), Some("c".into())]);
    let broken = results[1].as_ref().unwrap_err();
    assert_eq!(broken[0].place.as_ref().unwrap().line, 9, "{broken:#?}");
    assert!(documents("").is_empty() && documents("---\n---\n# x\n").is_empty() && documents("\u{feff}").is_empty());
}

#[test]
fn json_is_read_too() {
    let text = "{\n\t\"apiVersion\": \"cube/v1\", \"kind\": \"Task\",\n\t\"metadata\": {\"name\": \"a\"},\n\t\"spec\": {\"image\": \"a\", \"init\": true, \"args\": [\"\\u00e9\\n\"]}\n}";
    let object = objects(text).remove(0).unwrap();
    assert_eq!(
        object.value["spec"],
        json!({ "image": "a", "init": true, "args": ["é\n"] })
    );
}

#[test]
fn line_ends_marks_and_wide_letters_shift_nothing() {
    let text = task("  # ünïcödé\n  env: [{ name: Ä, value: \"日本\", vlue: x }]\n");
    let place = |text: &str| objects(text).remove(0).unwrap_err()[0].place.clone().unwrap();
    let plain = place(&text);
    assert_eq!((plain.line, plain.column), (7, 33));
    assert_eq!(&text[plain.bytes.clone()], "vlue");
    let marked = place(&format!("\u{feff}{text}"));
    assert_eq!(marked, plain);
    let returned = place(&text.replace('\n', "\r\n"));
    assert_eq!((returned.line, returned.column), (7, 33));
    insta::assert_snapshot!(shown(&text.replace('\n', "\r\n")));
}

#[test]
fn errors_of_admission_find_their_places() {
    let document = documents(&task(
        "  ports:\n  - containerPort: 80\n  - containerPort: 80\n  user:\n",
    ))
    .remove(0);
    for (path, at) in [
        ("spec.ports[1].containerPort", "8:20"),
        ("spec.ports[1]", "8:5"),
        ("spec.ports", "6:3"),
        ("spec.ports[7].name", "6:3"),
        ("spec.volumes[0].name", "4:1"),
        ("spec.user", "9:3"),
        ("metadata.labels[\"a/b\"]", "3:1"),
        ("", "1:1"),
    ] {
        let error = FieldError::invalid(path.parse::<FieldPath>().unwrap(), "must be otherwise");
        let line = document.locate(&error).to_string();
        assert!(line.starts_with(&format!("web.yaml:{at}: ")), "{path}: {line}");
    }
}

#[test]
fn what_is_shown_cannot_act_on_a_terminal_and_fits() {
    let long = "x".repeat(1000);
    insta::assert_snapshot!(shown(&task(&format!(
        "  \"evil\\e[2J\": \u{7f}\u{202e}\n  env: [{{ name: A, value: {long}, odd: 1, value2: {long} }}]\n  \"{long}\": 1\n"
    ))));
    let colour = objects("kind: Tsk\n").remove(0).unwrap_err()[1].render(Look {
        colour: true,
        width: 80,
    });
    assert!(colour.contains("\u{1b}["), "{colour:?}");
}

#[test]
fn files_beyond_the_bounds_are_refused_as_a_whole() {
    let huge = vec![b'-'; 100 << 20];
    let error = read("big.yaml", &huge, &Limits::default()).unwrap_err();
    insta::assert_snapshot!(error.render(Look::default()));
    let many = "--- a\n".repeat(10_001);
    assert!(
        read("a", many.as_bytes(), &Limits::default())
            .unwrap_err()
            .message
            .contains("10001 documents")
    );
    let error = read("latin.yaml", b"a: b\nname: caf\xe9 au lait\n", &Limits::default()).unwrap_err();
    insta::assert_snapshot!(error.render(Look::default()));
    assert!(
        read("a", b"\xff\xfea\0", &Limits::default())
            .unwrap_err()
            .message
            .contains("UTF-16")
    );
}

#[test]
fn deep_nesting_is_refused_and_never_followed() {
    let flow = format!("a: {}", "[".repeat(10_000));
    let closed = format!("a: {}{}", "[".repeat(200), "]".repeat(200));
    let dashes = "- ".repeat(10_000);
    let questions = "? ".repeat(10_000);
    let named = "- &a ".repeat(10_000);
    let stairs: String = (0..2000).map(|depth| " ".repeat(depth) + "a:\n").collect();
    let at_the_bound = format!("a: {}{}", "[".repeat(127), "]".repeat(127));
    for (name, text) in [
        ("flow", flow),
        ("closed", closed),
        ("dashes", dashes),
        ("questions", questions),
        ("named", named),
        ("stairs", stairs),
    ] {
        let problems = documents(&text)[0].problems().to_vec();
        assert!(
            problems[0]
                .message
                .starts_with("maps and lists are nested more than 128 levels"),
            "{name}: {problems:#?}"
        );
    }
    assert!(documents(&at_the_bound)[0].problems().is_empty());
    let prose = task(&format!("  args:\n    - |\n      {}\n", "- ".repeat(200)));
    assert!(objects(&prose)[0].is_ok(), "a text that looks deep is not");
}

#[test]
fn alias_bombs_fizzle() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        bomb += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 9].join(", "));
    }
    let problems = documents(&bomb)[0].problems().to_vec();
    assert!(
        problems[0].message.contains("stand for more than 20000 values"),
        "{problems:#?}"
    );
    let nested = format!("{}{}{}", "&a [".repeat(200), "x, ".repeat(200_000), "]".repeat(200));
    assert!(
        documents(&nested)[0].problems()[0]
            .message
            .starts_with("too many anchors")
    );
}

/// The attack table: whatever the text is, it is refused with its line, soon, and without a copy of it in the answer.
#[test]
fn odd_texts_are_refused_with_their_line() {
    let number = "9".repeat(1_000_000);
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(100_000), close.repeat(100_000));
    for (name, text, line, word) in [
        (
            "a number of a million digits",
            format!("  priority: {number}\n"),
            6,
            "a smaller number",
        ),
        (
            "a fraction of a million digits",
            format!("  priority: 0.{number}\n"),
            6,
            "a whole number",
        ),
        (
            "an amount of a million digits",
            format!("  resources: {{ limits: {{ cpu: {number} }} }}\n"),
            6,
            "a quantity",
        ),
        (
            "an amount beyond all amounts",
            "  resources: { limits: { memory: 999999999999999999Ei } }\n".into(),
            6,
            "a quantity",
        ),
        ("deep lists", format!("  args: {}\n", deep("[", "]")), 6, "nested"),
        ("deep maps", format!("  args: {}\n", deep("{a: ", "}")), 6, "nested"),
        (
            "deep lists that never end",
            format!("  args: {}\n", "[".repeat(1_000_000)),
            6,
            "nested",
        ),
        ("a field twice", "  image: b\n".into(), 6, "image"),
        ("a merge of no map", "  nodeSelector: { <<: 3 }\n".into(), 6, "<<"),
        (
            "a merge of a list of itself",
            "  nodeSelector: &a\n    <<: *a\n".into(),
            7,
            "inside of what it names",
        ),
        ("a tag of ours", "  user: !Ref a\n".into(), 6, "tag"),
        (
            "a tag of another language",
            "  user: !!python/object:os.system a\n".into(),
            6,
            "tag",
        ),
        ("a control character", "  user: \"\u{1}\"\n".into(), 6, ""),
        ("a NUL", "  user: \0\n".into(), 6, ""),
    ] {
        let begun = std::time::Instant::now();
        let error = objects(&task(&text)).remove(0).map(|object| object.value);
        let Err(errors) = error else {
            // What YAML allows is for admission to refuse.
            assert!(word.is_empty(), "{name} is taken: {error:?}");
            continue;
        };
        let told = errors[0].to_string();
        assert_eq!(
            errors[0].place.as_ref().map(|place| place.line),
            Some(line),
            "{name}: {told}"
        );
        assert!(told.contains(word), "{name}: {told}");
        assert!(
            told.len() < 1000 && errors[0].render(Look::default()).len() < 2000,
            "{name}: {}",
            told.len()
        );
        assert!(begun.elapsed().as_secs() < 10, "{name} takes {:?}", begun.elapsed());
    }
    let many = "---\na: b\n".repeat(100_000);
    let error = read("a", many.as_bytes(), &Limits::default()).unwrap_err();
    assert!(error.message.contains("100000 documents"), "{error}");
    let error = read("a.yaml", b"a: b\nc: \xc3\x28\n", &Limits::default()).unwrap_err();
    assert!(
        error.to_string().starts_with("a.yaml:2:4: the file is not UTF-8"),
        "{error}"
    );
}

#[test]
fn documents_are_told_apart_by_their_lines() {
    for (text, parts) in [
        ("a: 1\n---\nb: 2\n", vec!["a: 1\n", "---\nb: 2\n"]),
        ("--- a\n--- b", vec!["--- a\n", "--- b"]),
        ("# c\n---\na\n", vec!["# c\n---\na\n"]),
        (
            "%YAML 1.2\n---\na\n...\n%YAML 1.2\n---\nb\n",
            vec!["%YAML 1.2\n---\na\n...\n", "%YAML 1.2\n---\nb\n"],
        ),
        ("a: |\n  ---\n ---\n----\n", vec!["a: |\n  ---\n ---\n----\n"]),
        ("\n---\n\n---\r\n...\n", vec![]),
    ] {
        let found: Vec<_> = split::documents(text).into_iter().map(|part| &text[part]).collect();
        assert_eq!(found, parts, "{text:?}");
    }
}

/// Text made of what YAML is made of, so that most of it nearly parses.
fn yamlish() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "a",
        "b: ",
        "- ",
        "? ",
        ": ",
        "[",
        "]",
        "{",
        "}",
        ", ",
        "\n",
        "\n  ",
        "\n    ",
        "\r\n",
        "\t",
        "\"",
        "'",
        "|\n",
        ">-\n",
        "&x ",
        "*x",
        "<<: ",
        "!!str ",
        "!t ",
        "---\n",
        "...\n",
        "%YAML 1.2\n",
        "#",
        "08",
        "null",
        "~",
        "é",
        "\u{feff}",
        "\\",
        "\u{e000}",
        "apiVersion: cube/v1\n",
        "kind: Task\n",
        "metadata:\n  name: a\n",
        "spec:\n  image: a\n",
        "\u{0}",
        "日本",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

fn survives(bytes: &[u8]) {
    let shown =
        |error: &Diagnostic| assert!(!error.render(Look::default()).is_empty() && !error.to_string().is_empty());
    match read("any.yaml", bytes, &Limits::default()) {
        Err(error) => shown(&error),
        Ok(documents) => documents.iter().for_each(|document| match document.object(&KINDS) {
            Ok(object) => assert!(shape(&object.kind).is_some()),
            Err(errors) => {
                assert!(!errors.is_empty(), "a document that is no object says why");
                errors.iter().for_each(shown);
            }
        }),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        survives(&bytes);
    }

    #[test]
    fn anything_like_yaml_is_survived(text in yamlish()) {
        survives(text.as_bytes());
        survives(task(&text).as_bytes());
    }

    #[test]
    fn any_text_in_quotes_comes_through(text in "\\PC*") {
        let object = objects(&task(&format!("  user: {}\n", json!(text)))).remove(0).unwrap();
        prop_assert_eq!(&object.value["spec"]["user"], &text);
    }
}

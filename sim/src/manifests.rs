//! Objects that people of the simulation wish for.
use serde_json::{Value, json};

use crate::chance::Chance;

/// Names that Tasks have.
pub const TASKS: &[&str] = &["api", "db", "job", "mail", "queue", "web-1"];
/// Names that Deployments have.
pub const DEPLOYMENTS: &[&str] = &["web", "shop", "feed"];
/// Namespaces; the second is made and deleted like anything else.
pub const NAMESPACES: &[&str] = &["default", "team"];

/// What may be wished for.
#[derive(Clone, Copy, Debug)]
pub struct Taste {
    /// Also what cannot work: images that there are not, programs that end again and again.
    pub bad: bool,
    /// Also several namespaces.
    pub namespaces: bool,
}

/// A Task's spec.
pub fn spec(chance: &Chance, taste: Taste) -> Value {
    let image = match chance.below(12) {
        0 if taste.bad => "missing:1".to_owned(),
        n => format!("app:{}", n % 4),
    };
    let mut spec = json!({ "image": image });
    let grace = *chance.pick(&[0, 1, 2, 5, 10, 30]);
    spec["terminationGracePeriodSeconds"] = grace.into();
    match chance.below(12) {
        0 if taste.bad => spec["command"] = json!(["sh", "-c", "sleep 2; exit 3"]),
        1 => spec["command"] = json!(["sh", "-c", "trap '' TERM; while true; do sleep 1; done"]),
        2 => {
            spec["command"] = json!(["sh", "-c", "sleep 5; exit 0"]);
            spec["restartPolicy"] = (*chance.pick(&["OnFailure", "Never"])).into();
        }
        _ => {}
    }
    if chance.once_in(3) {
        spec["env"] = json!([{ "name": "N", "value": chance.below(3).to_string() }]);
    }
    if chance.once_in(3) {
        let cpu = *chance.pick(&["100m", "500m", "1", "2"]);
        let memory = *chance.pick(&["64Mi", "1Gi", "3Gi"]);
        spec["resources"] = json!({ "requests": { "cpu": cpu, "memory": memory } });
    }
    if chance.once_in(6) {
        spec["network"] = (*chance.pick(&["host", "none"])).into();
    } else if chance.once_in(8) {
        spec["ports"] = json!([{ "containerPort": 80, "hostPort": chance.range(8000, 8003) }]);
    }
    if chance.once_in(6) {
        spec["volumes"] = json!([{ "name": "scratch", "emptyDir": {} }]);
        spec["volumeMounts"] = json!([{ "name": "scratch", "mountPath": "/scratch" }]);
    } else if chance.once_in(10) {
        spec["volumes"] = json!([{ "name": "data", "volume": "data" }]);
        spec["volumeMounts"] = json!([{ "name": "data", "mountPath": "/data" }]);
    }
    if chance.once_in(6) {
        let command = if taste.bad && chance.once_in(4) {
            "false"
        } else {
            "true"
        };
        let probe = json!({ "exec": { "command": [command] }, "periodSeconds": chance.range(1, 5) });
        let kind = *chance.pick(&["readinessProbe", "livenessProbe", "startupProbe"]);
        spec[kind] = probe;
    }
    spec
}

fn namespace(chance: &Chance, taste: Taste) -> &'static str {
    match taste.namespaces && chance.once_in(4) {
        true => NAMESPACES[1],
        false => NAMESPACES[0],
    }
}

/// A whole object: mostly a Task or a Deployment.
pub fn object(chance: &Chance, taste: Taste) -> Value {
    let namespace = namespace(chance, taste);
    if namespace != NAMESPACES[0] && chance.once_in(3) {
        return json!({ "apiVersion": "cube/v1", "kind": "Namespace", "metadata": { "name": namespace } });
    }
    match chance.below(2) {
        0 => json!({
            "apiVersion": "cube/v1", "kind": "Task",
            "metadata": { "name": chance.pick(TASKS), "namespace": namespace },
            "spec": spec(chance, taste),
        }),
        _ => deployment(chance, taste, namespace),
    }
}

fn deployment(chance: &Chance, taste: Taste, namespace: &str) -> Value {
    let mut template = spec(chance, taste);
    // What ends for good is no Deployment's.
    if let Some(template) = template.as_object_mut() {
        if template.remove("restartPolicy").is_some() {
            template.remove("command");
        }
        // Its replicas would be in each other's way.
        template.remove("ports");
    }
    let strategy = match chance.below(4) {
        0 => json!({ "type": "Recreate" }),
        1 => json!({ "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } }),
        2 => json!({ "rollingUpdate": { "maxSurge": 0, "maxUnavailable": 1 } }),
        _ => json!({}),
    };
    json!({
        "apiVersion": "cube/v1", "kind": "Deployment",
        "metadata": { "name": chance.pick(DEPLOYMENTS), "namespace": namespace },
        "spec": { "replicas": chance.below(5), "strategy": strategy, "template": { "spec": template } },
    })
}

/// What a file says: one to three objects, JSON being YAML too.
pub fn text(chance: &Chance, taste: Taste) -> String {
    let documents: Vec<String> = (0..chance.range(1, 3))
        .map(|_| object(chance, taste).to_string())
        .collect();
    documents.join("\n---\n")
}

/// What no file may say.
pub fn bad_text(chance: &Chance) -> &'static str {
    chance.pick::<&str>(&[
        "kind: Task\nmetadata: { name: ",
        "apiVersion: cube/v1\nkind: Tusk\nmetadata: { name: x }\nspec: { image: x }\n",
        "apiVersion: cube/v1\nkind: Task\nmetadata: { name: x }\nspec: { image: x, replicas: 3 }\n",
        "\u{0}\u{1}",
        "a: &a [*a]",
    ])
}

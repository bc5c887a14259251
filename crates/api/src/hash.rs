//! What forms a container, as a hash: two specs of one hash are one container.
//!
//! Only the fields that form the container count, in a normal form: quantities canonical, defaults left out. A release
//! that adds a field with a default therefore replaces nothing. A test pins hashes for ever.
use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::{
    is_default,
    task::{ResourceAmounts, TaskSpec},
};

/// Version of the normal form, part of each hash: raise it only with a migration of what runs.
const FORM: u32 = 1;
/// Hexadecimal digits of a hash: 40 bits, compared among the containers of one Task only.
const DIGITS: usize = 10;

/// Hash of what forms the container of a Task. `restarted_at` is the wish to have it restarted.
pub fn container(spec: &TaskSpec, restarted_at: Option<&str>) -> String {
    digest(&json!([FORM, container_form(spec), restarted_at]))
}

/// Hash of what forms and places the containers of a template: two templates of one hash are one revision.
pub fn revision(spec: &TaskSpec, restarted_at: Option<&str>) -> String {
    let mut placement = json!({
        "nodeSelector": spec.node_selector,
        "tolerations": spec.tolerations,
        "priority": spec.priority,
    });
    // What came later counts only where it says something: a release replaces nothing.
    let said = |name: &str, value: Value, silent: bool| (!silent).then(|| (name.to_owned(), value));
    let later = [
        said("affinity", json!(spec.affinity), is_default(&spec.affinity)),
        said(
            "topologySpreadConstraints",
            json!(spec.topology_spread_constraints),
            spec.topology_spread_constraints.is_empty(),
        ),
        said(
            "schedulingPolicy",
            json!(spec.scheduling_policy),
            spec.scheduling_policy.is_none(),
        ),
        said(
            "preemptionPolicy",
            json!(spec.preemption_policy),
            is_default(&spec.preemption_policy),
        ),
        said(
            "disk",
            json!(spec.resources.disk_request()),
            spec.resources.disk_request() == 0,
        ),
    ];
    if let Value::Object(fields) = &mut placement {
        fields.extend(later.into_iter().flatten());
    }
    digest(&json!([FORM, container_form(spec), restarted_at, placement]))
}

fn container_form(spec: &TaskSpec) -> Value {
    let mut formed = spec.clone();
    // What decides about when and where, not about what.
    formed.image_pull_policy = Default::default();
    formed.restart_policy = Default::default();
    formed.termination_grace_period_seconds = crate::task::DEFAULT_GRACE_SECONDS;
    formed.startup_probe = None;
    formed.liveness_probe = None;
    formed.readiness_probe = None;
    formed.image_healthcheck = Default::default();
    formed.node_selector.clear();
    formed.tolerations.clear();
    formed.affinity = Default::default();
    formed.topology_spread_constraints.clear();
    formed.scheduling_policy = None;
    formed.priority = 0;
    formed.preemption_policy = Default::default();
    for port in &mut formed.ports {
        port.name = None;
    }
    let resources = [
        canonical(&formed.resources.requests),
        canonical(&formed.resources.limits),
    ];
    formed.resources = Default::default();
    let mut form = serde_json::to_value(&formed).unwrap_or_default();
    if let Value::Object(fields) = &mut form {
        let [requests, limits] = resources;
        if requests != json!({}) || limits != json!({}) {
            fields.insert(
                "resources".to_owned(),
                json!({ "requests": requests, "limits": limits }),
            );
        }
    }
    form
}

fn canonical(amounts: &ResourceAmounts) -> Value {
    let mut fields = serde_json::Map::new();
    for (name, amount) in [("cpu", &amounts.cpu), ("memory", &amounts.memory)] {
        if let Some(amount) = amount {
            fields.insert(name.to_owned(), amount.canonical().into());
        }
    }
    Value::Object(fields)
}

fn digest(value: &Value) -> String {
    let mut text = String::new();
    write_sorted(value, &mut text);
    let digest = Sha256::digest(text);
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .take(DIGITS)
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

/// JSON with sorted keys, whatever order the maps of `serde_json` were built to keep.
fn write_sorted(value: &Value, text: &mut String) {
    match value {
        Value::Object(fields) => {
            let sorted: std::collections::BTreeMap<_, _> = fields.iter().collect();
            text.push('{');
            for (key, value) in sorted {
                let _ = write!(text, "{}", Value::from(key.as_str()));
                text.push(':');
                write_sorted(value, text);
                text.push(',');
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for item in items {
                write_sorted(item, text);
                text.push(',');
            }
            text.push(']');
        }
        scalar => {
            let _ = write!(text, "{scalar}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(value: Value) -> TaskSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn hashes_stay_for_ever() {
        for (value, expected) in [
            (json!({"image": "busybox"}), "6b953f001c"),
            (
                json!({"image": "nginx:1.27", "ports": [{"containerPort": 80, "hostPort": 8080}], "resources": {"limits": {"memory": "64Mi"}}}),
                "fbc6ac53ab",
            ),
        ] {
            assert_eq!(container(&spec(value.clone()), None), expected, "{value}");
        }
        let placed = json!({"image": "nginx:1.27", "nodeSelector": {"disk": "ssd"}, "priority": 7,
            "tolerations": [{"key": "gpu", "operator": "Exists"}]});
        assert_eq!(revision(&spec(placed), None), "504eda9a64");
    }

    #[test]
    fn only_what_forms_the_container_counts() {
        let base = json!({"image": "a", "resources": {"limits": {"memory": "1Gi"}}});
        for same in [
            json!({"image": "a", "resources": {"limits": {"memory": "1024Mi"}}}),
            json!({"image": "a", "resources": {"limits": {"memory": "1Gi"}}, "restartPolicy": "Never"}),
            json!({"image": "a", "resources": {"limits": {"memory": "1Gi"}}, "init": false, "env": []}),
            json!({"image": "a", "resources": {"limits": {"memory": "1Gi"}}, "priority": 7, "nodeSelector": {"a": "b"}}),
            json!({"image": "a", "resources": {"limits": {"memory": "1Gi"}, "requests": {"ephemeral-storage": "1Gi"}}}),
            json!({"image": "a", "resources": {"limits": {"memory": "1Gi"}}, "schedulingPolicy": "binpack", "preemptionPolicy": "Never",
                "livenessProbe": {"tcpSocket": {"port": 80}}, "readinessProbe": {"exec": {"command": ["true"]}},
                "startupProbe": {"httpGet": {"port": "web"}}, "imageHealthcheck": "Ignore",
                "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}],
                "affinity": {"taskAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}, "topologyKey": "zone"}]}}}),
        ] {
            assert_eq!(
                container(&spec(same.clone()), None),
                container(&spec(base.clone()), None),
                "{same}"
            );
        }
        assert_ne!(
            container(&spec(json!({"image": "b"})), None),
            container(&spec(base.clone()), None)
        );
        assert_ne!(
            container(&spec(base.clone()), Some("now")),
            container(&spec(base.clone()), None)
        );
        for placed in [
            json!({"image": "a", "priority": 1}),
            json!({"image": "a", "schedulingPolicy": "binpack"}),
            json!({"image": "a", "preemptionPolicy": "Never"}),
            json!({"image": "a", "resources": {"requests": {"ephemeral-storage": "1Gi"}}}),
            json!({"image": "a", "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}]}),
        ] {
            assert_ne!(
                revision(&spec(placed.clone()), None),
                revision(&spec(json!({"image": "a"})), None),
                "{placed}"
            );
        }
    }
}

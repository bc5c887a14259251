//! Rules of what says where a Task may run, and of selectors.
use crate::{
    error::{FieldError, FieldPath, Reason},
    placement::{Affinity, NodeSelectorOperator, NodeSelectorTerm, TaskAffinity, TaskAffinityTerm},
    selector::{LabelSelector, LabelSelectorOperator},
    shape::formats,
    task::TaskSpec,
};

/// A required part of a spec has this name in all of Kubernetes' affinities.
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
/// The same of a preferred part.
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

/// Rules of a Task's affinity and spread.
pub(super) fn task_spec(spec: &TaskSpec, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let Affinity {
        node_affinity,
        task_affinity,
        task_anti_affinity,
    } = &spec.affinity;
    let affinity = path.field("affinity");
    let nodes = affinity.field("nodeAffinity");
    if let Some(required) = &node_affinity.required_during_scheduling_ignored_during_execution {
        for (index, term) in required.node_selector_terms.iter().enumerate() {
            let at = nodes.field(REQUIRED).field("nodeSelectorTerms").index(index);
            node_term(term, &at, errors);
        }
    }
    let preferred = &node_affinity.preferred_during_scheduling_ignored_during_execution;
    for (index, preferred) in preferred.iter().enumerate() {
        let at = nodes.field(PREFERRED).index(index).field("preference");
        node_term(&preferred.preference, &at, errors);
    }
    for (name, part) in [
        ("taskAffinity", task_affinity),
        ("taskAntiAffinity", task_anti_affinity),
    ] {
        tasks(part, &affinity.field(name), errors);
    }
    let mut said = Vec::new();
    for (index, constraint) in spec.topology_spread_constraints.iter().enumerate() {
        let at = path.field("topologySpreadConstraints").index(index);
        if let Some(selector) = &constraint.label_selector {
            label_selector(selector, &at.field("labelSelector"), errors);
        }
        let same = (&constraint.topology_key, constraint.when_unsatisfiable);
        if said.contains(&same) {
            let key = &constraint.topology_key;
            let message = format!("`{key}` is spread over twice in the same way");
            errors.push(FieldError::new(at, Reason::Duplicate, message));
        }
        said.push(same);
    }
}

fn tasks(affinity: &TaskAffinity, path: &FieldPath, errors: &mut Vec<FieldError>) {
    let required = affinity.required_during_scheduling_ignored_during_execution.iter();
    for (index, term) in required.enumerate() {
        task_term(term, &path.field(REQUIRED).index(index), errors);
    }
    let preferred = affinity.preferred_during_scheduling_ignored_during_execution.iter();
    for (index, weighted) in preferred.enumerate() {
        let at = path.field(PREFERRED).index(index).field("taskAffinityTerm");
        task_term(&weighted.task_affinity_term, &at, errors);
    }
}

fn task_term(term: &TaskAffinityTerm, path: &FieldPath, errors: &mut Vec<FieldError>) {
    label_selector(&term.label_selector, &path.field("labelSelector"), errors);
    for (index, namespace) in term.namespaces.iter().enumerate() {
        let at = path.field("namespaces").index(index);
        form("dns-label", namespace, at, errors);
    }
}

/// Rules of a selector of labels.
pub(super) fn label_selector(selector: &LabelSelector, path: &FieldPath, errors: &mut Vec<FieldError>) {
    for (key, value) in &selector.match_labels {
        form("label-key", key, path.field("matchLabels").key(key), errors);
        form("label-value", value, path.field("matchLabels").key(key), errors);
    }
    for (index, requirement) in selector.match_expressions.iter().enumerate() {
        let at = path.field("matchExpressions").index(index).field("values");
        match requirement.operator {
            LabelSelectorOperator::In | LabelSelectorOperator::NotIn => some(&requirement.values, &at, errors),
            LabelSelectorOperator::Exists | LabelSelectorOperator::DoesNotExist => {
                none(&requirement.values, &at, errors);
            }
        }
    }
}

fn node_term(term: &NodeSelectorTerm, path: &FieldPath, errors: &mut Vec<FieldError>) {
    for (index, requirement) in term.match_expressions.iter().enumerate() {
        let at = path.field("matchExpressions").index(index).field("values");
        let values = &requirement.values;
        match requirement.operator {
            NodeSelectorOperator::In | NodeSelectorOperator::NotIn => some(values, &at, errors),
            NodeSelectorOperator::Exists | NodeSelectorOperator::DoesNotExist => none(values, &at, errors),
            NodeSelectorOperator::Gt | NodeSelectorOperator::Lt => {
                let is_number = |values: &[String]| matches!(values, [one] if one.parse::<i64>().is_ok());
                if !is_number(values) {
                    let message = "must be one whole number with `Gt` and `Lt`";
                    errors.push(FieldError::new(at, Reason::Invalid, message));
                }
            }
        }
    }
}

/// Values that are compared with: there must be some.
fn some(values: &[String], path: &FieldPath, errors: &mut Vec<FieldError>) {
    if values.is_empty() {
        let message = "must not be empty with `In` and `NotIn`";
        errors.push(FieldError::new(path.clone(), Reason::Required, message));
    }
    for (index, value) in values.iter().enumerate() {
        form("label-value", value, path.index(index), errors);
    }
}

fn none(values: &[String], path: &FieldPath, errors: &mut Vec<FieldError>) {
    if !values.is_empty() {
        let message = "must be left out with `Exists` and `DoesNotExist`";
        errors.push(FieldError::new(path.clone(), Reason::Forbidden, message));
    }
}

fn form(name: &str, text: &str, path: FieldPath, errors: &mut Vec<FieldError>) {
    if let Some(format) = formats::find(name)
        && !(format.matches)(text)
    {
        let message = format!("`{text}` is not {}", format.what);
        errors.push(FieldError::new(path, Reason::Invalid, message));
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn wrong(spec: Value) -> Vec<String> {
        let mut value = spec;
        value["image"] = "x".into();
        let spec: TaskSpec = serde_json::from_value(value).unwrap();
        let mut errors = Vec::new();
        task_spec(&spec, &FieldPath::root().field("spec"), &mut errors);
        errors.iter().map(|error| error.path.to_string()).collect()
    }

    #[test]
    fn affinity_says_something_that_can_be_compared() {
        let required = |expression: Value| {
            let terms = json!([{ "matchExpressions": [expression] }]);
            json!({ "affinity": { "nodeAffinity": { REQUIRED: { "nodeSelectorTerms": terms } } } })
        };
        let at = "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[0].values";
        for (expression, good) in [
            (json!({ "key": "a", "operator": "In", "values": ["x"] }), true),
            (json!({ "key": "a", "operator": "In" }), false),
            (json!({ "key": "a", "operator": "Exists" }), true),
            (json!({ "key": "a", "operator": "Exists", "values": ["x"] }), false),
            (json!({ "key": "a", "operator": "Gt", "values": ["3"] }), true),
            (json!({ "key": "a", "operator": "Gt", "values": ["x"] }), false),
            (json!({ "key": "a", "operator": "Lt", "values": ["3", "4"] }), false),
        ] {
            let expected: &[&str] = if good { &[] } else { &[at] };
            assert_eq!(wrong(required(expression.clone())), expected, "{expression}");
        }
        let near = json!({ "labelSelector": { "matchLabels": { "a b": "c" } }, "topologyKey": "zone" });
        let far = json!({ "labelSelector": { "matchExpressions": [{ "key": "a", "operator": "NotIn" }] },
            "topologyKey": "zone", "namespaces": ["A"] });
        assert_eq!(
            wrong(json!({ "affinity": {
                "taskAffinity": { REQUIRED: [near] },
                "taskAntiAffinity": { PREFERRED: [{ "weight": 1, "taskAffinityTerm": far }] },
            } })),
            [
                "spec.affinity.taskAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector.matchLabels[\"a b\"]",
                "spec.affinity.taskAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].taskAffinityTerm.labelSelector.matchExpressions[0].values",
                "spec.affinity.taskAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].taskAffinityTerm.namespaces[0]",
            ]
        );
    }

    #[test]
    fn a_label_is_spread_over_once() {
        let zone = |how: &str| json!({ "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": how });
        let spread = |constraints: &[Value]| wrong(json!({ "topologySpreadConstraints": constraints }));
        assert!(spread(&[zone("DoNotSchedule"), zone("ScheduleAnyway")]).is_empty());
        assert_eq!(
            spread(&[zone("DoNotSchedule"), zone("DoNotSchedule")]),
            ["spec.topologySpreadConstraints[1]"]
        );
    }
}

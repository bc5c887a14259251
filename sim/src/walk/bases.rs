//! The objects that the walk begins from and comes back to: together they have every field.
use cube_api::kinds::Kind;
use serde_json::{Value, json};

/// What is there beside them: one that another must be near.
pub fn friend() -> Value {
    json!({
        "apiVersion": "cube/v1", "kind": "Task",
        "metadata": { "name": "friend", "namespace": "default", "labels": { "app": "friend" } },
        "spec": { "image": "app:1", "nodeSelector": { "cube/node": "n0" } },
    })
}

/// Objects that work, by kind.
pub fn bases() -> Vec<(Kind, Value)> {
    let object = |kind: Kind, name: &str, spec: Value| {
        let info = kind.info();
        let mut object =
            json!({ "apiVersion": "cube/v1", "kind": info.kind, "metadata": { "name": name }, "spec": spec });
        if info.namespaced {
            object["metadata"]["namespace"] = "default".into();
        }
        (kind, object)
    };
    vec![
        object(Kind::Task, "placed", placed()),
        object(Kind::Task, "formed", formed()),
        object(Kind::Task, "probed", probed()),
        object(Kind::Task, "asked", asked()),
        object(Kind::Deployment, "rolled", rolled()),
        object(
            Kind::Node,
            "n1",
            json!({
                "unschedulable": true,
                "drain": { "maxParallel": 2 },
                "taints": [{ "key": "example.com/a", "value": "b", "effect": "NoSchedule" }],
            }),
        ),
        object(
            Kind::Settings,
            "cluster",
            json!({ "autoRebalance": { "movesPerMinute": 4 } }),
        ),
    ]
}

/// All about where it may be.
fn placed() -> Value {
    let expressions = json!([{ "key": "cube/node", "operator": "In", "values": ["n0"] }]);
    let selector = json!({
        "matchLabels": { "app": "other" },
        "matchExpressions": [{ "key": "app", "operator": "In", "values": ["other"] }],
    });
    let term = json!({ "labelSelector": selector, "namespaces": ["default"], "topologyKey": "cube/node" });
    let near = json!({ "labelSelector": { "matchLabels": { "app": "friend" } }, "topologyKey": "cube/node" });
    json!({
        "image": "app:1",
        "nodeSelector": { "cube/node": "n0" },
        "priority": 10,
        "preemptionPolicy": "Never",
        "schedulingPolicy": "spread",
        "tolerations": [
            { "key": "example.com/b", "operator": "Equal", "value": "c", "effect": "NoExecute", "tolerationSeconds": 60 },
        ],
        "topologySpreadConstraints": [
            { "maxSkew": 1, "topologyKey": "cube/node", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector },
        ],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": [{ "matchExpressions": expressions }] },
                "preferredDuringSchedulingIgnoredDuringExecution": [
                    { "weight": 5, "preference": { "matchExpressions": expressions } },
                ],
            },
            "taskAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [near],
                "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 5, "taskAffinityTerm": term }],
            },
            "taskAntiAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": [term],
                "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 5, "taskAffinityTerm": term }],
            },
        },
    })
}

/// All about its container.
fn formed() -> Value {
    json!({
        "image": "app:1",
        "imagePullPolicy": "IfNotPresent",
        "imageHealthcheck": "Ignore",
        "command": ["serve"],
        "args": ["--all"],
        "env": [{ "name": "A", "value": "b" }],
        "hostname": "host",
        "init": true,
        "network": "namespace",
        "ports": [{ "name": "web", "containerPort": 80, "hostPort": 8080, "hostIP": "127.0.0.1", "protocol": "TCP" }],
        "resources": {
            "requests": { "cpu": "100m", "memory": "64Mi", "ephemeral-storage": "1Mi" },
            "limits": { "cpu": "2", "memory": "4Gi" },
        },
        "restartPolicy": "Always",
        "stopSignal": "SIGTERM",
        "terminationGracePeriodSeconds": 5,
        "user": "1000",
        "workingDir": "/work",
        "volumes": [
            { "name": "scratch", "emptyDir": { "medium": "Memory", "sizeLimit": "1Mi" } },
            { "name": "host", "hostPath": { "path": "/srv" } },
            { "name": "data", "volume": "data" },
        ],
        "volumeMounts": [
            { "name": "scratch", "mountPath": "/scratch", "readOnly": false },
            { "name": "host", "mountPath": "/host", "readOnly": true },
            { "name": "data", "mountPath": "/data", "subPath": "part" },
        ],
    })
}

/// All about its probes; those that would be asked over a network are not asked in this run.
fn probed() -> Value {
    let later = 86_400;
    json!({
        "image": "app:1",
        "startupProbe": {
            "exec": { "command": ["true"] },
            "initialDelaySeconds": 1, "periodSeconds": 2, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1,
            "terminationGracePeriodSeconds": 3,
        },
        "livenessProbe": {
            "httpGet": {
                "host": "127.0.0.1", "path": "/", "port": 80, "scheme": "HTTP",
                "httpHeaders": [{ "name": "A", "value": "b" }],
            },
            "initialDelaySeconds": later,
        },
        "readinessProbe": { "exec": { "command": ["true"] }, "periodSeconds": 3 },
    })
}

fn asked() -> Value {
    let tcp = json!({ "host": "127.0.0.1", "port": 80 });
    json!({ "image": "app:1", "livenessProbe": { "tcpSocket": tcp, "initialDelaySeconds": 86_400 } })
}

fn rolled() -> Value {
    let labels = json!({ "app": "rolled" });
    json!({
        "replicas": 2,
        "minReadySeconds": 1,
        "revisionHistoryLimit": 3,
        "selector": {
            "matchLabels": labels,
            "matchExpressions": [{ "key": "app", "operator": "Exists", "values": [] }],
        },
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": "25%" } },
        "template": {
            "metadata": { "labels": labels, "annotations": { "example.com/a": "b" } },
            "spec": { "image": "app:1", "terminationGracePeriodSeconds": 1 },
        },
    })
}

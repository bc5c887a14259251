//! Whether a Task's data lives on its node.
use cube_api::task::Task;

/// What of the Task's data is on its node and cannot go with it, for people; none when nothing is.
///
/// A named volume is data whatever it is mounted for. A path of the machine is, when the Task may write to it: what it only reads is
/// the machine's own.
pub fn data_on_node(task: &Task) -> Option<String> {
    let mounts = &task.spec.volume_mounts;
    let shown = task.spec.volumes.iter().filter_map(|volume| {
        let mut used = mounts.iter().filter(|mount| mount.name == volume.name).peekable();
        used.peek()?;
        if let Some(name) = &volume.volume {
            return Some(format!("volume {name}"));
        }
        let path = volume.host_path.as_ref()?;
        used.any(|mount| !mount.read_only).then(|| path.path.clone())
    });
    let shown: Vec<String> = shown.collect();
    (!shown.is_empty()).then(|| shown.join(", "))
}

#[cfg(test)]
mod tests {
    use cube_api::kinds::Resource as _;
    use serde_json::json;

    use super::*;

    #[test]
    fn data_is_what_would_be_missing_elsewhere() {
        let of = |volume: serde_json::Value, read_only: bool| {
            let mut volume = volume;
            volume["name"] = json!("v");
            let spec = json!({ "image": "x", "volumes": [volume],
                               "volumeMounts": [{ "name": "v", "mountPath": "/d", "readOnly": read_only }] });
            let value = json!({ "apiVersion": "cube/v1", "kind": "Task", "metadata": { "name": "t" }, "spec": spec });
            data_on_node(&Task::from_value(value).unwrap())
        };
        assert_eq!(of(json!({ "volume": "db" }), false).as_deref(), Some("volume db"));
        assert_eq!(of(json!({ "volume": "db" }), true).as_deref(), Some("volume db"));
        assert_eq!(
            of(json!({ "hostPath": { "path": "/srv/db" } }), false).as_deref(),
            Some("/srv/db")
        );
        assert_eq!(of(json!({ "hostPath": { "path": "/etc/x" } }), true), None);
        assert_eq!(of(json!({ "emptyDir": {} }), false), None);
    }
}

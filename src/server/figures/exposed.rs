//! Figures of nodes and Tasks for Prometheus, by its rules: base units, totals of what only grows.
//!
//! Labels are names that people gave. What is not known has no line: a 0 would be a lie.
use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use cube_api::figures::{NodeFigures, TaskFigures, Usage};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
};

/// What was measured for the scrape that is being answered.
#[derive(Debug, Default)]
pub(in crate::server) struct Exposed(Mutex<(Vec<NodeFigures>, Vec<TaskFigures>)>);

impl Exposed {
    pub fn set(&self, figures: (Vec<NodeFigures>, Vec<TaskFigures>)) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = figures;
    }
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct OfNode {
    node: String,
}

#[derive(Clone, Debug, EncodeLabelSet)]
struct OfTask {
    namespace: String,
    task: String,
    node: String,
}

/// One figure: its name, what it is, and how it is had of a usage.
struct Figure {
    name: &'static str,
    help: &'static str,
    value: Value,
}

enum Value {
    /// Seconds that were used.
    Seconds(fn(&Usage) -> Option<f64>),
    /// Bytes that went.
    Total(fn(&Usage) -> Option<u64>),
    /// Bytes that are taken.
    Bytes(fn(&Usage) -> Option<u64>),
}

const FIGURES: [Figure; 8] = [
    Figure {
        name: "cpu_usage_seconds",
        help: "Processor time that was used",
        value: Value::Seconds(|usage| Some(usage.cpu.as_ref()?.usage_core_nano_seconds as f64 / 1e9)),
    },
    Figure {
        name: "memory_working_set_bytes",
        help: "Memory in use that cannot be had back without harm",
        value: Value::Bytes(|usage| Some(usage.memory.as_ref()?.working_set_bytes)),
    },
    Figure {
        name: "network_receive_bytes",
        help: "Bytes that were received",
        value: Value::Total(|usage| Some(usage.network.as_ref()?.in_bytes)),
    },
    Figure {
        name: "network_transmit_bytes",
        help: "Bytes that were sent",
        value: Value::Total(|usage| Some(usage.network.as_ref()?.out_bytes)),
    },
    Figure {
        name: "block_read_bytes",
        help: "Bytes that were read from disks",
        value: Value::Total(|usage| Some(usage.block_io.as_ref()?.in_bytes)),
    },
    Figure {
        name: "block_written_bytes",
        help: "Bytes that were written to disks",
        value: Value::Total(|usage| Some(usage.block_io.as_ref()?.out_bytes)),
    },
    Figure {
        name: "disk_used_bytes",
        help: "Bytes of the engine's disk that are taken: of a node in all, of a Task by what its container wrote into itself",
        value: Value::Bytes(|usage| Some(usage.disk.as_ref()?.used_bytes)),
    },
    Figure {
        name: "disk_size_bytes",
        help: "Bytes of the engine's disk",
        value: Value::Bytes(|usage| usage.disk.as_ref()?.capacity_bytes),
    },
];

impl Collector for Exposed {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let nodes: Vec<(OfNode, &Usage)> = known
            .0
            .iter()
            .map(|node| {
                let labels = OfNode {
                    node: node.name.clone(),
                };
                (labels, &node.usage)
            })
            .collect();
        let tasks: Vec<(OfTask, &Usage)> = known
            .1
            .iter()
            .map(|task| {
                let labels = OfTask {
                    namespace: task.namespace.clone(),
                    task: task.name.clone(),
                    node: task.node.clone().unwrap_or_default(),
                };
                (labels, &task.usage)
            })
            .collect();
        for figure in &FIGURES {
            encode(&mut encoder, &format!("cube_node_{}", figure.name), figure, &nodes)?;
            encode(&mut encoder, &format!("cube_task_{}", figure.name), figure, &tasks)?;
        }
        Ok(())
    }
}

fn encode(
    encoder: &mut DescriptorEncoder,
    name: &str,
    figure: &Figure,
    of: &[(impl EncodeLabelSet, &Usage)],
) -> fmt::Result {
    let known = |usage: &Usage| match figure.value {
        Value::Seconds(seconds) => seconds(usage).is_some(),
        Value::Total(bytes) | Value::Bytes(bytes) => bytes(usage).is_some(),
    };
    if !of.iter().any(|(_, usage)| known(usage)) {
        return Ok(());
    }
    let kind = match figure.value {
        Value::Seconds(_) | Value::Total(_) => MetricType::Counter,
        Value::Bytes(_) => MetricType::Gauge,
    };
    let mut family = encoder.encode_descriptor(name, figure.help, None, kind)?;
    for (labels, usage) in of {
        match figure.value {
            Value::Seconds(seconds) => {
                if let Some(seconds) = seconds(usage) {
                    ConstCounter::new(seconds).encode(family.encode_family(labels)?)?;
                }
            }
            Value::Total(bytes) => {
                if let Some(bytes) = bytes(usage) {
                    ConstCounter::new(bytes).encode(family.encode_family(labels)?)?;
                }
            }
            Value::Bytes(bytes) => {
                if let Some(bytes) = bytes(usage) {
                    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
                    ConstGauge::new(bytes).encode(family.encode_family(labels)?)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cube_api::figures::{CpuUsage, DiskUsage, MemoryUsage};
    use prometheus_client::{encoding::text, registry::Registry};

    use super::*;

    #[test]
    fn names_and_units_are_prometheus() {
        let exposed = Arc::new(Exposed::default());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(&exposed)));
        let usage = |disk| Usage {
            cpu: Some(CpuUsage {
                usage_core_nano_seconds: 1_500_000_000,
                usage_nano_cores: Some(7),
            }),
            memory: Some(MemoryUsage { working_set_bytes: 42 }),
            disk,
            ..Usage::default()
        };
        let node = NodeFigures {
            name: "a".to_owned(),
            usage: usage(Some(DiskUsage {
                used_bytes: 5,
                capacity_bytes: Some(9),
            })),
            ..NodeFigures::default()
        };
        let task = |name: &str, usage| TaskFigures {
            namespace: "default".to_owned(),
            name: name.to_owned(),
            node: Some("a".to_owned()),
            usage,
            ..TaskFigures::default()
        };
        let tasks = vec![task("web", usage(None)), task("unknown", Usage::default())];
        exposed.set((vec![node], tasks));
        let mut shown = String::new();
        text::encode(&mut shown, &registry).unwrap();
        insta::assert_snapshot!(shown);
    }
}

//! What a container uses, in the engine's own words: for where the kernel's cannot be read.
use bollard::models::{ContainerBlkioStatEntry, ContainerMemoryStats, ContainerStatsResponse};
use cube_api::figures::{CpuUsage, MemoryUsage, Traffic, Usage};

/// What one measurement says; `None` where the container does not run.
pub(super) fn usage(answer: ContainerStatsResponse) -> Option<Usage> {
    let total = answer.cpu_stats.and_then(|cpu| cpu.cpu_usage?.total_usage);
    // An engine answers for a container that does not run too, with nothing but zeros.
    let cpu = total.filter(|total| *total > 0)?;
    let memory = answer.memory_stats.and_then(working_set);
    let network = answer.networks.map(|networks| {
        let mut traffic = Traffic::default();
        for network in networks.into_values() {
            traffic.in_bytes += network.rx_bytes.unwrap_or_default();
            traffic.out_bytes += network.tx_bytes.unwrap_or_default();
        }
        traffic
    });
    let io = answer.blkio_stats.and_then(|io| io.io_service_bytes_recursive);
    Some(Usage {
        cpu: Some(CpuUsage {
            usage_core_nano_seconds: cpu,
            usage_nano_cores: None,
        }),
        memory: memory.map(|working_set_bytes| MemoryUsage { working_set_bytes }),
        network,
        block_io: Some(serviced(io.unwrap_or_default())),
        disk: None,
    })
}

/// As a kubelet counts, with cgroups of version 1 or 2.
fn working_set(memory: ContainerMemoryStats) -> Option<u64> {
    let stats = memory.stats.unwrap_or_default();
    let inactive = ["total_inactive_file", "inactive_file"];
    let inactive = inactive.iter().find_map(|name| stats.get(*name)).copied();
    Some(memory.usage?.saturating_sub(inactive.unwrap_or_default()))
}

fn serviced(entries: Vec<ContainerBlkioStatEntry>) -> Traffic {
    let mut io = Traffic::default();
    for entry in entries {
        let bytes = entry.value.unwrap_or_default();
        match entry.op.as_deref().map(str::to_ascii_lowercase).as_deref() {
            Some("read") => io.in_bytes += bytes,
            Some("write") => io.out_bytes += bytes,
            _ => {}
        }
    }
    io
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read() {
        let answer = serde_json::json!({
            "cpu_stats": { "cpu_usage": { "total_usage": 5000 } },
            "memory_stats": { "usage": 1000, "stats": { "inactive_file": 100, "anon": 7 } },
            "networks": { "eth0": { "rx_bytes": 1, "tx_bytes": 2 }, "eth1": { "rx_bytes": 10, "tx_bytes": 20 } },
            "blkio_stats": { "io_service_bytes_recursive": [
                { "op": "Read", "value": 3 }, { "op": "write", "value": 4 }, { "op": "Total", "value": 7 }] },
        });
        let told = usage(serde_json::from_value(answer).unwrap()).unwrap();
        assert_eq!(told.cpu.unwrap().usage_core_nano_seconds, 5000);
        assert_eq!(told.memory.unwrap().working_set_bytes, 900);
        let network = told.network.unwrap();
        assert_eq!((network.in_bytes, network.out_bytes), (11, 22));
        let io = told.block_io.unwrap();
        assert_eq!((io.in_bytes, io.out_bytes), (3, 4));
        let ended = serde_json::json!({ "cpu_stats": { "cpu_usage": { "total_usage": 0 } } });
        assert_eq!(usage(serde_json::from_value(ended).unwrap()), None);
    }
}

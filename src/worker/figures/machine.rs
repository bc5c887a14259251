//! What a machine, or a container's own network, has used: readers of the kernel's texts.
use std::time::Duration;

use cube_api::figures::{CpuUsage, DiskUsage, MemoryUsage, Traffic, Usage};
use cube_plan::pressure::Space;

/// The kernel counts processor time in these, whatever its own clock is.
const TICK: Duration = Duration::from_millis(10);
/// Disks are counted in these.
const SECTOR: u64 = 512;
/// Interfaces that carry again what others have carried, or what never left the machine.
const WITHIN: [&str; 8] = ["lo", "veth", "docker", "br-", "virbr", "cni", "flannel", "ifb"];
/// Block devices that are made of others, or of memory.
const MADE_OF_OTHERS: [&str; 6] = ["loop", "ram", "zram", "dm-", "md", "sr"];

/// What the machine has used.
pub fn usage(read: &dyn Fn(&str) -> Option<String>, memory: Option<Space>, disk: Option<Space>) -> Usage {
    Usage {
        cpu: read("/proc/stat").and_then(|text| cpu(&text)),
        memory: memory.map(|memory| MemoryUsage {
            working_set_bytes: memory.total.saturating_sub(memory.free),
        }),
        network: read("/proc/net/dev").map(|text| network(&text, &WITHIN)),
        block_io: read("/proc/diskstats").map(|text| disks(&text)),
        disk: disk.map(|disk| DiskUsage {
            used_bytes: disk.total.saturating_sub(disk.free),
            capacity_bytes: Some(disk.total),
        }),
    }
}

/// All time but that of doing nothing, from `/proc/stat`.
fn cpu(text: &str) -> Option<CpuUsage> {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    let [user, nice, system, _idle, _waiting, rest @ ..] = ticks.as_slice() else {
        return None;
    };
    // Interrupts, and what other machines on the same hardware took; what guests had is in the first two already.
    let used = user + nice + system + rest.iter().take(3).sum::<u64>();
    Some(CpuUsage {
        usage_core_nano_seconds: used * TICK.as_nanos() as u64,
        usage_nano_cores: None,
    })
}

/// What went over all interfaces but those whose name begins so, from `/proc/net/dev`.
pub fn network(text: &str, without: &[&str]) -> Traffic {
    let mut traffic = Traffic::default();
    for line in text.lines() {
        let Some((name, counts)) = line.split_once(':') else {
            continue;
        };
        if without.iter().any(|prefix| name.trim().starts_with(prefix)) {
            continue;
        }
        let mut counts = counts.split_whitespace().map(|word| word.parse().unwrap_or(0));
        traffic.in_bytes += counts.next().unwrap_or(0);
        traffic.out_bytes += counts.nth(7).unwrap_or(0);
    }
    traffic
}

/// What was read from and written to whole disks, from `/proc/diskstats`.
fn disks(text: &str) -> Traffic {
    let mut io = Traffic::default();
    let mut whole = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, _, name, counts @ ..] = words.as_slice() else {
            continue;
        };
        // A disk comes right before its parts, whose names begin with its own.
        let is_part = !whole.is_empty() && name.starts_with(&whole);
        if is_part || MADE_OF_OTHERS.iter().any(|prefix| name.starts_with(prefix)) {
            continue;
        }
        (*name).clone_into(&mut whole);
        let sectors = |at: usize| counts.get(at).and_then(|word| word.parse::<u64>().ok()).unwrap_or(0);
        io.in_bytes += sectors(2) * SECTOR;
        io.out_bytes += sectors(6) * SECTOR;
    }
    io
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_is_read() {
        let read = |file: &str| {
            let text = match file {
                "/proc/stat" => "cpu  100 10 50 9000 7 1 2 3 40 0\ncpu0 1 2 3 4\n",
                "/proc/net/dev" => {
                    "Inter-|   Receive |  Transmit\n face |bytes packets\n    lo: 9 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0\n\
                     eth0: 1000 5 0 0 0 0 0 0 200 3 0 0 0 0 0 0\n  wlan0:7 1 0 0 0 0 0 0 8 1 0 0 0 0 0 0\ndocker0: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n\
                     veth12: 5 1 0 0 0 0 0 0 6 1 0 0 0 0 0 0\n"
                }
                "/proc/diskstats" => {
                    "   7       0 loop0 9 0 9 0 9 0 9 0 0 0 0\n 254       0 vda 10 0 8 3 20 0 16 5 0 8 8 0 0 0 0\n\
                     \x20254       1 vda1 10 0 8 3 20 0 16 5 0 8 8\n 259 0 nvme0n1 1 0 2 0 1 0 4 0 0 0 0\n 259 1 nvme0n1p1 1 0 2 0 1 0 4 0 0 0 0\n\
                     \x20253 0 dm-0 1 0 2 0 1 0 4 0 0 0 0\n"
                }
                _ => return None,
            };
            Some(text.to_owned())
        };
        let space = Space { total: 100, free: 30 };
        let usage = usage(&read, Some(space), Some(space));
        assert_eq!(usage.cpu.unwrap().usage_core_nano_seconds, 166 * 10_000_000);
        assert_eq!(usage.memory.unwrap().working_set_bytes, 70);
        let network = usage.network.unwrap();
        assert_eq!((network.in_bytes, network.out_bytes), (1007, 208));
        let io = usage.block_io.unwrap();
        assert_eq!((io.in_bytes, io.out_bytes), (10 * 512, 20 * 512));
        let disk = usage.disk.unwrap();
        assert_eq!((disk.used_bytes, disk.capacity_bytes), (70, Some(100)));
    }

    #[test]
    fn what_is_not_there_is_not_known() {
        assert_eq!(usage(&|_| None, None, None), Usage::default());
        assert_eq!(cpu("intr 5\n"), None);
    }
}

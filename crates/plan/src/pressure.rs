//! Whether a machine is so short of memory or disk that nothing new should come to it.
//!
//! What is short stays short until there is clearly more again, so that a node does not change with every file written.

/// So much of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// Bytes in all.
    pub total: u64,
    /// Bytes that can be had.
    pub free: u64,
}

/// Less memory than this that could be had: the kernel is about to kill. Kubernetes' own bound.
const MEMORY: u64 = 100 << 20;
/// Of the disk, a tenth: Kubernetes' own bound for a node's disk. An engine that fills the rest takes down all that writes.
const DISK_PERCENT: u64 = 10;
/// What was short is no longer when there is so much more than the bound: a fifth.
const CLEARLY: u64 = 5;

/// Whether memory is short; `before`: it was.
pub fn of_memory(before: bool, space: Space) -> bool {
    space.free < bound(MEMORY, before)
}

/// Whether disk is short; `before`: it was.
pub fn of_disk(before: bool, space: Space) -> bool {
    space.free < bound(space.total / 100 * DISK_PERCENT, before)
}

fn bound(bytes: u64, before: bool) -> u64 {
    if before { bytes + bytes / CLEARLY } else { bytes }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_short_stays_so_until_there_is_clearly_more() {
        let disk = |free| Space { total: 1000, free };
        for (before, free, expected) in [
            (false, 100, false),
            (false, 99, true),
            (true, 100, true),
            (true, 119, true),
            (true, 120, false),
            (true, 0, true),
        ] {
            assert_eq!(of_disk(before, disk(free)), expected, "{before} {free}");
        }
        let memory = |mebibytes: u64| Space {
            total: 8 << 30,
            free: mebibytes << 20,
        };
        assert!(of_memory(false, memory(99)) && !of_memory(false, memory(100)));
        assert!(of_memory(true, memory(119)) && !of_memory(true, memory(120)));
        assert!(
            !of_disk(false, Space { total: 0, free: 0 }),
            "a disk without a size says nothing"
        );
    }
}

//! What the kernel counts of a control group, of version 1 or 2: where its files are, and what they say.
//!
//! Readers are functions of text; what a kernel leaves out is told as not known.
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cube_api::figures::{CpuUsage, MemoryUsage, Traffic, Usage};

/// Where hierarchies of control groups are mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Of version 1, by controller, with the group that is its root.
    v1: BTreeMap<String, (PathBuf, String)>,
    /// Of version 2.
    v2: Option<(PathBuf, String)>,
}

impl Mounts {
    /// From `/proc/self/mountinfo`.
    pub fn parse(mountinfo: &str) -> Self {
        let mut mounts = Self::default();
        for line in mountinfo.lines() {
            let Some((mount, of)) = line.split_once(" - ") else {
                continue;
            };
            let mut mount = mount.split(' ').skip(3);
            let (Some(root), Some(point)) = (mount.next(), mount.next()) else {
                continue;
            };
            let mut of = of.split(' ');
            let (kind, options) = (of.next().unwrap_or_default(), of.nth(1).unwrap_or_default());
            let place = (PathBuf::from(point), root.to_owned());
            match kind {
                "cgroup2" => mounts.v2 = Some(place),
                "cgroup" => {
                    for controller in ["cpuacct", "memory", "blkio"] {
                        if options.split(',').any(|option| option == controller) {
                            mounts.v1.insert(controller.to_owned(), place.clone());
                        }
                    }
                }
                _ => {}
            }
        }
        mounts
    }

    /// Where the files of a process' groups are, from its `/proc/PID/cgroup`; none of a group whose name has not `mark` in
    /// it, for then it is not the one that is meant.
    pub fn groups(&self, cgroup: &str, mark: &str) -> Groups {
        let mut groups = Groups::default();
        for line in cgroup.lines() {
            let mut parts = line.splitn(3, ':').skip(1);
            let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
                continue;
            };
            if !path.contains(mark) || path.contains("..") {
                continue;
            }
            if controllers.is_empty() {
                groups.v2 = self.v2.as_ref().map(|place| below(place, path));
                continue;
            }
            for (controller, group) in [
                ("cpuacct", &mut groups.cpu),
                ("memory", &mut groups.memory),
                ("blkio", &mut groups.io),
            ] {
                if controllers.split(',').any(|named| named == controller) {
                    *group = self.v1.get(controller).map(|place| below(place, path));
                }
            }
        }
        groups
    }
}

fn below((point, root): &(PathBuf, String), path: &str) -> PathBuf {
    let path = path.strip_prefix(root.trim_end_matches('/')).unwrap_or(path);
    point.join(path.trim_start_matches('/'))
}

/// Where the files of one thing's groups are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    cpu: Option<PathBuf>,
    memory: Option<PathBuf>,
    io: Option<PathBuf>,
    v2: Option<PathBuf>,
}

impl Groups {
    /// What is used, by reading the files; nothing where there are none (any more).
    pub fn usage(&self, read: &dyn Fn(&Path) -> Option<String>) -> Usage {
        let of = |group: &Option<PathBuf>, file: &str| group.as_ref().and_then(|group| read(&group.join(file)));
        let v2 = |file: &str| of(&self.v2, file);
        let cpu = match &self.cpu {
            Some(_) => of(&self.cpu, "cpuacct.usage").and_then(|text| text.trim().parse().ok()),
            None => v2("cpu.stat").and_then(|text| Some(field(&text, "usage_usec")? * 1000)),
        };
        let memory = match &self.memory {
            Some(_) => working_set(
                of(&self.memory, "memory.usage_in_bytes"),
                of(&self.memory, "memory.stat"),
                "total_inactive_file",
            ),
            None => working_set(v2("memory.current"), v2("memory.stat"), "inactive_file"),
        };
        let io = match &self.io {
            Some(_) => of(&self.io, "blkio.throttle.io_service_bytes_recursive").map(|text| serviced(&text)),
            None => v2("io.stat").map(|text| io_stat(&text)),
        };
        Usage {
            cpu: cpu.map(|usage_core_nano_seconds| CpuUsage {
                usage_core_nano_seconds,
                usage_nano_cores: None,
            }),
            memory: memory.map(|working_set_bytes| MemoryUsage { working_set_bytes }),
            block_io: io,
            ..Usage::default()
        }
    }
}

/// The number after a name at a line's start.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
    line.trim().parse().ok()
}

/// What is used, less the pages of files that nobody has used for long: those can be had back at no cost. As a kubelet
/// counts.
fn working_set(used: Option<String>, stat: Option<String>, inactive: &str) -> Option<u64> {
    let used: u64 = used?.trim().parse().ok()?;
    let inactive = stat.and_then(|stat| field(&stat, inactive)).unwrap_or_default();
    Some(used.saturating_sub(inactive))
}

/// `8:0 Read 4096`, a line a device and kind.
fn serviced(text: &str) -> Traffic {
    let mut io = Traffic::default();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, kind, bytes] = words.as_slice() else { continue };
        let bytes: u64 = bytes.parse().unwrap_or_default();
        match *kind {
            "Read" => io.in_bytes += bytes,
            "Write" => io.out_bytes += bytes,
            _ => {}
        }
    }
    io
}

/// `8:0 rbytes=4096 wbytes=0 rios=1 …`, a line a device.
fn io_stat(text: &str) -> Traffic {
    let mut io = Traffic::default();
    for word in text.split_whitespace() {
        let number = |name: &str| word.strip_prefix(name).and_then(|number| number.parse::<u64>().ok());
        io.in_bytes += number("rbytes=").unwrap_or_default();
        io.out_bytes += number("wbytes=").unwrap_or_default();
    }
    io
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6bd9154e83ef";

    fn read(files: &[(&str, &str)], groups: &Groups) -> Usage {
        groups.usage(&|path| {
            let path = path.to_str().unwrap();
            let found = files.iter().find(|(name, _)| *name == path);
            found.map(|(_, text)| (*text).to_owned())
        })
    }

    #[test]
    fn version_1() {
        let mounts = Mounts::parse(
            "31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
             32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:1 - cgroup cgroup rw,cpu,cpuacct\n\
             35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
             38 31 0:35 / /sys/fs/cgroup/blkio rw,relatime - cgroup cgroup rw,blkio\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
        );
        let cgroup = format!(
            "9:name=systemd:/docker/{ID}\n7:blkio:/docker/{ID}\n4:memory:/docker/{ID}\n2:cpu,cpuacct:/docker/{ID}\n0::/docker/{ID}\n"
        );
        let groups = mounts.groups(&cgroup, ID);
        let files = [
            (
                "/sys/fs/cgroup/cpu,cpuacct/docker/6bd9154e83ef/cpuacct.usage",
                "1234567\n",
            ),
            (
                "/sys/fs/cgroup/memory/docker/6bd9154e83ef/memory.usage_in_bytes",
                "1000000\n",
            ),
            (
                "/sys/fs/cgroup/memory/docker/6bd9154e83ef/memory.stat",
                "cache 5\ninactive_file 7\ntotal_inactive_file 400000\n",
            ),
            (
                "/sys/fs/cgroup/blkio/docker/6bd9154e83ef/blkio.throttle.io_service_bytes_recursive",
                "254:0 Read 4096\n254:0 Write 100\n254:0 Sync 4196\n8:0 Read 4\n254:0 Total 4196\nTotal 4200\n",
            ),
        ];
        let usage = read(&files, &groups);
        assert_eq!(usage.cpu.unwrap().usage_core_nano_seconds, 1_234_567);
        assert_eq!(usage.memory.unwrap().working_set_bytes, 600_000);
        let io = usage.block_io.unwrap();
        assert_eq!((io.in_bytes, io.out_bytes), (4100, 100));
        assert_eq!(read(&[], &groups), Usage::default(), "its files are gone");
    }

    #[test]
    fn version_2() {
        let mounts = Mounts::parse("26 23 0:22 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n");
        let groups = mounts.groups(&format!("0::/system.slice/docker-{ID}.scope\n"), ID);
        let files = [
            (
                "/sys/fs/cgroup/system.slice/docker-6bd9154e83ef.scope/cpu.stat",
                "usage_usec 2500\nuser_usec 2000\n",
            ),
            (
                "/sys/fs/cgroup/system.slice/docker-6bd9154e83ef.scope/memory.current",
                "1000\n",
            ),
            (
                "/sys/fs/cgroup/system.slice/docker-6bd9154e83ef.scope/memory.stat",
                "anon 5\nfile 600\ninactive_file 100\n",
            ),
            (
                "/sys/fs/cgroup/system.slice/docker-6bd9154e83ef.scope/io.stat",
                "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n259:0 rbytes=1 wbytes=2\n",
            ),
        ];
        let usage = read(&files, &groups);
        assert_eq!(usage.cpu.unwrap().usage_core_nano_seconds, 2_500_000);
        assert_eq!(usage.memory.unwrap().working_set_bytes, 900);
        let io = usage.block_io.unwrap();
        assert_eq!((io.in_bytes, io.out_bytes), (11, 22));
    }

    #[test]
    fn nothing_is_read_of_a_group_that_is_not_meant() {
        let mounts = Mounts::parse("26 23 0:22 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        for other in [
            "0::/\n",
            "0::/system.slice/ssh.service\n",
            "0::/../docker/6bd9154e83ef\n",
            "nonsense",
        ] {
            assert_eq!(mounts.groups(other, ID), Groups::default(), "{other}");
        }
        // In a container of its own the worker sees its groups below a root.
        let inside = Mounts::parse("26 23 0:22 /docker /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
        let groups = inside.groups("0::/docker/6bd9154e83ef\n", ID);
        assert_eq!(groups.v2, Some(PathBuf::from("/sys/fs/cgroup/6bd9154e83ef")));
    }
}

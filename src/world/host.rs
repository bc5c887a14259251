//! What the machine itself says: its routes, its room, when it started, when its engine did.
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::SystemTime;

use cube_plan::pressure::Space;
use jiff::Timestamp;
pub use rustix::process::Signal;

/// The machine that a process runs on.
pub trait Machine: Send + Sync {
    /// How many cores a process may use.
    fn cores(&self) -> usize;

    /// The IPv4 networks that it has routes to, as `10.0.0.0/8`, but for the default route.
    fn routes(&self) -> Vec<String>;

    /// Memory: of all of it, what programs could still have (the kernel's own estimate).
    fn memory(&self) -> Option<Space>;

    /// The disk that a path is on; none where there is no such path.
    fn disk(&self, path: &Path) -> Option<Space>;

    /// When it was last started.
    fn booted_at(&self) -> Option<Timestamp>;
}

/// This machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThisMachine;

impl Machine for ThisMachine {
    fn cores(&self) -> usize {
        std::thread::available_parallelism().map_or(2, usize::from)
    }

    fn routes(&self) -> Vec<String> {
        routes()
    }

    fn memory(&self) -> Option<Space> {
        memory()
    }

    fn disk(&self, path: &Path) -> Option<Space> {
        disk(path)
    }

    fn booted_at(&self) -> Option<Timestamp> {
        booted_at()
    }
}

fn routes() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    text.lines().skip(1).filter_map(route).collect()
}

fn route(line: &str) -> Option<String> {
    let mut fields = line.split_whitespace();
    let number = |text: &str| u32::from_str_radix(text, 16).ok().map(u32::swap_bytes);
    let destination = number(fields.nth(1)?)?;
    let mask = number(fields.nth(5)?)?;
    (mask != 0).then(|| format!("{}/{}", Ipv4Addr::from(destination), mask.count_ones()))
}

fn memory() -> Option<Space> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    };
    Some(Space {
        total: bytes("MemTotal:")?,
        free: bytes("MemAvailable:")?,
    })
}

fn disk(path: &Path) -> Option<Space> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(Space {
        total: disk.f_blocks.saturating_mul(disk.f_frsize),
        free: disk.f_bavail.saturating_mul(disk.f_frsize),
    })
}

fn booted_at() -> Option<Timestamp> {
    let text = std::fs::read_to_string("/proc/stat").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    Timestamp::from_second(line.trim().parse().ok()?).ok()
}

/// When the engine that listens at this socket was last started, as near as files tell: it makes its socket at its start, or
/// (where systemd made that before) the file with its pid.
pub fn listens_since(socket: &Path) -> Option<Timestamp> {
    let pid_file = socket.with_extension("pid");
    [socket, &pid_file].into_iter().filter_map(written_at).max()
}

fn written_at(path: &Path) -> Option<Timestamp> {
    let at = std::fs::metadata(path).and_then(|file| file.modified()).ok()?;
    let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    Timestamp::from_second(i64::try_from(since.as_secs()).ok()?).ok()
}

/// Sends a signal to every process of the session that `leader` began, if it is in a control group whose name has `mark`
/// in it; says whether there was one. What is no longer there, or somewhere else, is left alone.
pub fn signal_session(leader: i32, mark: &str, signal: Signal) -> bool {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let mut reached = false;
    for pid in pids {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        if session(&read("stat")) == Some(leader)
            && read("cgroup").contains(mark)
            && let Some(pid) = rustix::process::Pid::from_raw(pid)
        {
            reached |= rustix::process::kill_process(pid, signal).is_ok();
        }
    }
    reached
}

/// The session of a process, from its `stat`: the sixth word, the second being a name that may have any letters in it.
fn session(stat: &str) -> Option<i32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_read_whatever_the_program_is_called() {
        assert_eq!(session("7 (a) b (c) S 1 7 42 0 -1"), Some(42));
        assert_eq!(session(""), None);
        assert!(!signal_session(1, "a group that nothing is in", Signal::KILL));
    }
}

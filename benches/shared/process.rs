//! What the kernel says of a process, and where the binary is that is measured.
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::Result;

/// The binary that is measured: `CUBE_BINARY`, else the one that was built beside this one.
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CUBE_BINARY") {
        return Ok(path.into());
    }
    let own = std::env::current_exe()?;
    let path = own.parent().unwrap_or(&own).join("cube");
    if path.is_file() {
        Ok(path)
    } else {
        Err(format!("no {}: cargo build --release", path.display()).into())
    }
}

/// Processor time of the threads that there are. The scheduler counts nanoseconds where `stat` counts hundredths of seconds;
/// threads that have ended are not in it.
pub fn processor(pid: u32) -> Result<Duration> {
    let mut nanos = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("schedstat")).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|nanos| nanos.parse().ok()).unwrap_or(0);
    }
    Ok(Duration::from_nanos(nanos))
}

/// A field of one of the process's files that is told in kilobytes: `status` has `VmRSS:` and `VmHWM:`.
pub fn kilobytes(pid: u32, file: &str, field: &str) -> Result<f64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text
        .lines()
        .find(|line| line.starts_with(field))
        .ok_or("no such field")?;
    let number = line.split_whitespace().nth(1).ok_or("no number")?;
    Ok(number.parse()?)
}

/// How often its threads have gone to sleep of themselves, and so were woken; those that have ended are not in it.
pub fn wakeups(pid: u32) -> Result<u64> {
    let mut count = 0;
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(thread?.path().join("status")).unwrap_or_default();
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count += line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(count)
}

/// Bytes that it has had written to disks.
pub fn written(pid: u32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/io"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:"));
    Ok(line.ok_or("no write_bytes")?.trim().parse()?)
}

/// Processor time of all threads so far, those that have ended with them; to a hundredth of a second.
pub fn spent(pid: u32) -> Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    // The name of the program, in brackets, may have spaces.
    let (_, fields) = text.rsplit_once(") ").ok_or("no such file")?;
    let ticks = |at: usize| -> u64 {
        fields
            .split(' ')
            .nth(at)
            .and_then(|ticks| ticks.parse().ok())
            .unwrap_or(0)
    };
    Ok(Duration::from_millis(10 * (ticks(11) + ticks(12))))
}

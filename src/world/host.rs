//! What the machine itself says: its routes, when it started, when its engine did.
use std::net::Ipv4Addr;
use std::time::SystemTime;

use jiff::Timestamp;

/// The IPv4 networks that the machine has routes to, as `10.0.0.0/8`, but for the default route.
pub fn routes() -> Vec<String> {
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

/// When the machine, or the engine on it, was last started, whichever was later.
pub fn engine_started_at() -> Option<Timestamp> {
    let boot = std::fs::read_to_string("/proc/stat").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
        Timestamp::from_second(line.trim().parse().ok()?).ok()
    });
    let pid_file = std::fs::metadata("/run/docker.pid")
        .and_then(|file| file.modified())
        .ok();
    let engine = pid_file.and_then(|at| {
        let since = at.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        Timestamp::from_second(i64::try_from(since.as_secs()).ok()?).ok()
    });
    boot.max(engine)
}

//! Times, sizes and counts as people write them.
use std::time::Duration;

use jiff::Timestamp;

use crate::server;

pub use crate::daemon::tame;

/// How long ago, as the server's tables say it: `12s`, `3m`, `5h`, `2d4h`.
pub fn age(now: Timestamp, at: Timestamp) -> String {
    server::table::age(Some(at), now)
}

/// How long something took: `0.3 s`, `12 s`, `2 min 5 s`.
pub fn took(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        _ if seconds > 0 && seconds < 120 && time.subsec_millis() == 0 => format!("{seconds} s"),
        0..10 => format!("{:.1} s", time.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        _ => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

/// Reads a time as people write it: `15s`, `300ms`, `1m30s`, `2h`, `1d`; a bare number is seconds.
///
/// # Errors
/// What is wrong with the text.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time; examples: 15s, 300ms, 1m30s, 2h");
    if let Ok(seconds) = text.parse::<u64>() {
        return Ok(Duration::from_secs(seconds));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let unit = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return Err(wrong()),
        };
        let number: f64 = number.parse().map_err(|_| wrong())?;
        let part = Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
        total = total.checked_add(part).ok_or_else(wrong)?;
        rest = after;
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

/// Bytes: `512 MiB`, `23.4 GiB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut amount = bytes as f64;
    let mut unit = "B";
    for larger in UNITS {
        if amount < 1024.0 {
            break;
        }
        (amount, unit) = (amount / 1024.0, larger);
    }
    let text = format!("{amount:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// `1 object`, `3 objects`.
pub fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        for (text, milliseconds) in [
            ("15s", 15_000),
            ("300ms", 300),
            ("1m30s", 90_000),
            ("2h", 7_200_000),
            ("7", 7_000),
            ("1.5s", 1_500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in ["", "s", "1x", "-1s", "1s2", "99999999999999999999d"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (64 << 20, "64 MiB"),
            (25_125_558_681, "23.4 GiB"),
        ] {
            assert_eq!(size(bytes), text);
        }
        assert_eq!(took(Duration::from_millis(320)), "0.3 s");
        assert_eq!(took(Duration::from_secs(1)), "1 s");
        assert_eq!(took(Duration::from_secs(125)), "2 min 5 s");
    }
}

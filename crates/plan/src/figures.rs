//! From two measurements of one thing to what it uses a second.
use std::time::Duration;

use cube_api::figures::{CpuUsage, Traffic, Usage};

/// The later measurement, with what was used a second since the one before, `apart` ago. A counter that has gone back was
/// begun anew: nothing is told of it.
pub fn with_rates(before: &Usage, mut now: Usage, apart: Duration) -> Usage {
    let rate = |before: u64, now: u64| {
        let used = now.checked_sub(before)?;
        let seconds = apart.as_secs_f64();
        (seconds > 0.0).then(|| (used as f64 / seconds) as u64)
    };
    if let (Some(before), Some(now)) = (&before.cpu, &mut now.cpu) {
        let CpuUsage {
            usage_core_nano_seconds,
            usage_nano_cores,
        } = now;
        *usage_nano_cores = rate(before.usage_core_nano_seconds, *usage_core_nano_seconds);
    }
    for (before, now) in [
        (&before.network, &mut now.network),
        (&before.block_io, &mut now.block_io),
    ] {
        if let (Some(before), Some(now)) = (before, now) {
            let rates = (
                rate(before.in_bytes, now.in_bytes),
                rate(before.out_bytes, now.out_bytes),
            );
            let Traffic {
                in_bytes_per_second,
                out_bytes_per_second,
                ..
            } = now;
            (*in_bytes_per_second, *out_bytes_per_second) = rates;
        }
    }
    now
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(cpu: u64, input: u64, output: u64) -> Usage {
        Usage {
            cpu: Some(CpuUsage {
                usage_core_nano_seconds: cpu,
                usage_nano_cores: None,
            }),
            network: Some(Traffic {
                in_bytes: input,
                out_bytes: output,
                ..Traffic::default()
            }),
            ..Usage::default()
        }
    }

    #[test]
    fn rates_are_of_a_second() {
        let before = measured(1_000_000_000, 100, 50);
        let now = with_rates(&before, measured(2_500_000_000, 1100, 50), Duration::from_millis(500));
        assert_eq!(
            now.cpu.unwrap().usage_nano_cores,
            Some(3_000_000_000),
            "three processors"
        );
        let network = now.network.unwrap();
        assert_eq!(
            (network.in_bytes_per_second, network.out_bytes_per_second),
            (Some(2000), Some(0))
        );
        assert_eq!(now.block_io, None);
    }

    #[test]
    fn what_cannot_be_known_is_not_told() {
        let begun_anew = with_rates(&measured(5, 5, 5), measured(3, 7, 3), Duration::from_secs(1));
        assert_eq!(begun_anew.cpu.unwrap().usage_nano_cores, None);
        let network = begun_anew.network.unwrap();
        assert_eq!(
            (network.in_bytes_per_second, network.out_bytes_per_second),
            (Some(2), None)
        );
        let at_once = with_rates(&measured(1, 1, 1), measured(2, 2, 2), Duration::ZERO);
        assert_eq!(at_once.cpu.unwrap().usage_nano_cores, None);
        let first = with_rates(&Usage::default(), measured(2, 2, 2), Duration::from_secs(1));
        assert_eq!(first, measured(2, 2, 2));
    }
}

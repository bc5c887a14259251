//! Which addresses a namespace's network gets: the next free part of the worker's range.
//!
//! The engine's own pools hold some thirty networks; a range of ours holds a thousand. Pure.
use std::net::Ipv4Addr;

/// A range of addresses that namespaces' networks are cut from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    base: u32,
    prefix: u8,
}

/// Prefix length of one network: 1,022 addresses, as many as a Linux bridge has ports.
const PART: u8 = 22;

impl Default for Range {
    fn default() -> Self {
        Self {
            base: u32::from(Ipv4Addr::new(10, 208, 0, 0)),
            prefix: 12,
        }
    }
}

impl std::str::FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is not a range of IPv4 addresses with a prefix of 8 to {PART}; example: 10.208.0.0/12")
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        let base = u32::from(address);
        if !(8..=PART).contains(&prefix) || base & ((1 << (32 - prefix)) - 1) != 0 {
            return Err(wrong());
        }
        Ok(Self { base, prefix })
    }
}

impl Range {
    /// How many networks it holds.
    pub fn len(self) -> u32 {
        1 << (PART - self.prefix)
    }

    /// Whether it holds none; it always holds one.
    pub fn is_empty(self) -> bool {
        false
    }

    /// The first part that overlaps none of `taken` (`10.1.0.0/16`, …), from the part `from` on.
    pub fn free(self, taken: &[String], from: u32) -> Option<String> {
        let taken: Vec<(u32, u32)> = taken.iter().filter_map(|text| bounds(text)).collect();
        (0..self.len())
            .map(|index| (from + index) % self.len())
            .find_map(|index| {
                let first = self.base + (index << (32 - PART));
                let last = first + (1 << (32 - PART)) - 1;
                let overlaps = taken.iter().any(|(from, to)| *from <= last && first <= *to);
                (!overlaps).then(|| format!("{}/{PART}", Ipv4Addr::from(first)))
            })
    }
}

fn bounds(text: &str) -> Option<(u32, u32)> {
    let (address, prefix) = text.split_once('/')?;
    let address = u32::from(address.parse::<Ipv4Addr>().ok()?);
    let prefix: u32 = prefix.parse().ok().filter(|prefix| *prefix <= 32)?;
    let mask = u32::MAX.checked_shl(32 - prefix).unwrap_or(0);
    Some((address & mask, address | !mask))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_first_free_part() {
        let range: Range = "10.208.0.0/20".parse().unwrap();
        assert_eq!(range.len(), 4);
        let taken = |text: &[&str]| text.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        for (used, from, expected) in [
            (taken(&[]), 0, Some("10.208.0.0/22")),
            (taken(&["10.208.0.0/22"]), 0, Some("10.208.4.0/22")),
            (taken(&["10.208.1.7/32"]), 0, Some("10.208.4.0/22")),
            (taken(&["172.17.0.0/16", "fe80::/64"]), 3, Some("10.208.12.0/22")),
            (taken(&["10.0.0.0/8"]), 0, None),
        ] {
            assert_eq!(range.free(&used, from).as_deref(), expected, "{used:?}");
        }
        for text in ["10.208.0.0", "10.208.0.1/20", "10.208.0.0/24", "x/12"] {
            assert!(text.parse::<Range>().is_err(), "{text}");
        }
    }
}

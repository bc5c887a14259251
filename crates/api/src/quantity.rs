//! Quantities as Kubernetes writes them: `100m`, `1.5`, `64Mi`, `2G`, `1e3`.
use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// An amount, kept as it was written and in thousandths of its unit.
#[derive(Clone, Debug, Default)]
pub struct Quantity {
    text: String,
    milli: i128,
}

impl Quantity {
    /// Reads a quantity.
    ///
    /// # Errors
    /// What is wrong with the text, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not a quantity; examples: 500m, 1.5, 64Mi, 2G");
        let too_large = || format!("`{text}` is too large for a quantity");
        let digits_end = text
            .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '+' || c == '-'))
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(digits_end);
        // Thousandths of the unit, and into how many parts one is cut.
        let (scale, cut) = scale(suffix).ok_or_else(wrong)?;
        let (negative, number) = match number.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        let plain = |part: &str| part.len() <= 18 && part.bytes().all(|byte| byte.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !plain(whole) || !plain(fraction) {
            return Err(wrong());
        }
        // 18 digits each, so together they have room.
        let unit = 10_i128.pow(fraction.len() as u32);
        let digits = |part: &str| part.parse::<i128>().unwrap_or(0);
        let parts = digits(whole) * unit + digits(fraction);
        // Zeros at the end would only make it seem too large.
        let common = greatest_common_divisor(parts, unit);
        let (parts, unit) = (parts / common, unit / common * cut);
        let milli = parts.checked_mul(scale).ok_or_else(too_large)?;
        // Fractions below a thousandth are rounded up, as Kubernetes does: a limit is never silently lowered to nothing.
        let milli = milli / unit + i128::from(milli % unit > 0);
        Ok(Self {
            text: text.to_owned(),
            milli: if negative { -milli } else { milli },
        })
    }

    /// A number of bytes.
    pub fn bytes(bytes: u64) -> Self {
        let milli = i128::from(bytes) * 1000;
        for (suffix, unit) in [("Gi", 1_u64 << 30), ("Mi", 1 << 20), ("Ki", 1 << 10)] {
            if bytes >= unit && bytes.is_multiple_of(unit) {
                return Self {
                    text: format!("{}{suffix}", bytes / unit),
                    milli,
                };
            }
        }
        Self {
            text: bytes.to_string(),
            milli,
        }
    }

    /// A number of thousandths, such as of a CPU.
    pub fn from_milli(milli: u64) -> Self {
        let text = if milli.is_multiple_of(1000) {
            (milli / 1000).to_string()
        } else {
            format!("{milli}m")
        };
        Self {
            text,
            milli: i128::from(milli),
        }
    }

    /// In thousandths of the unit, at least 0.
    pub fn milli(&self) -> u64 {
        u64::try_from(self.milli.max(0)).unwrap_or(u64::MAX)
    }

    /// In whole units, rounded up, at least 0.
    pub fn units(&self) -> u64 {
        u64::try_from((self.milli.max(0) + 999) / 1000).unwrap_or(u64::MAX)
    }

    /// Whether it is below nothing.
    pub fn is_negative(&self) -> bool {
        self.milli < 0
    }

    /// The same for every way to write the same amount.
    pub fn canonical(&self) -> String {
        if self.milli % 1000 == 0 {
            (self.milli / 1000).to_string()
        } else {
            format!("{}m", self.milli)
        }
    }
}

/// What a suffix stands for: so many thousandths, divided by so much.
fn scale(suffix: &str) -> Option<(i128, i128)> {
    const THOUSAND: i128 = 1000;
    let decimal = |power: u32| (THOUSAND * 10_i128.pow(power), 1);
    let binary = |power: u32| (THOUSAND << (10 * power), 1);
    Some(match suffix {
        "" => decimal(0),
        "n" => (1, 1_000_000),
        "u" => (1, 1000),
        "m" => (1, 1),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        exponent => {
            let power = exponent.strip_prefix(['e', 'E'])?;
            let (below, digits) = match power.strip_prefix('-') {
                Some(digits) => (true, digits),
                None => (false, power.strip_prefix('+').unwrap_or(power)),
            };
            let power = Some(digits).filter(|digits| (1..=2).contains(&digits.len()))?;
            let power: u32 = power
                .bytes()
                .all(|byte| byte.is_ascii_digit())
                .then(|| power.parse().ok())??;
            match (power, below) {
                (19.., _) => return None,
                (power, true) => (THOUSAND, 10_i128.pow(power)),
                (power, false) => decimal(power),
            }
        }
    })
}

fn greatest_common_divisor(mut a: i128, mut b: i128) -> i128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a.max(1)
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.milli == other.milli
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.milli.cmp(&other.milli)
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Quantity {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Quantity {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Text(String),
            Whole(i64),
            Float(f64),
        }
        let text = match Written::deserialize(deserializer)? {
            Written::Text(text) => text,
            Written::Whole(number) => number.to_string(),
            Written::Float(number) => number.to_string(),
        };
        Self::parse(&text).map_err(de::Error::custom)
    }
}

impl JsonSchema for Quantity {
    fn schema_name() -> Cow<'static, str> {
        "Quantity".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "An amount: a number with an optional suffix (m; k, M, G, T; Ki, Mi, Gi, Ti). Examples: 500m, 1.5, 64Mi.",
            "anyOf": [{ "type": "string", "format": "quantity" }, { "type": "number" }],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Quantity;

    #[test]
    fn reads_what_kubernetes_reads() {
        for (text, milli) in [
            ("1", 1000),
            ("100m", 100),
            ("1.5", 1500),
            ("0.1", 100),
            (".5", 500),
            ("1e3", 1_000_000),
            ("64Mi", 64 * 1024 * 1024 * 1000),
            ("2G", 2_000_000_000_000),
            ("0.0001", 1),
            ("1k", 1_000_000),
            ("1e-3", 1),
            ("1E+3", 1_000_000),
            ("1u", 1),
            ("2000000001n", 2001),
            ("1.000000000000000000Pi", 1000 << 50),
            ("0.3333333333333333", 334),
        ] {
            assert_eq!(
                Quantity::parse(text).map(|quantity| quantity.milli()),
                Ok(milli),
                "{text}"
            );
        }
        for text in [
            "", "x", "1x", "1 Gi", "1.2.3", "Mi", "1e99", "--1", "1GiB", "1e", "1e+-1", "1-1",
        ] {
            assert!(Quantity::parse(text).is_err(), "{text}");
        }
        for text in ["999999999999999999Ei", "999999999999999999e18"] {
            assert!(Quantity::parse(text).unwrap_err().contains("too large"), "{text}");
        }
        assert!(Quantity::parse("-1").unwrap().is_negative());
        assert_eq!(
            Quantity::parse("1024Mi").unwrap().canonical(),
            Quantity::parse("1Gi").unwrap().canonical()
        );
        assert_eq!(Quantity::bytes(64 << 20).to_string(), "64Mi");
    }
}

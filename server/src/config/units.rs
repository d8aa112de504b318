//! Sizes and durations as people write them: `8MiB`, `1g`, `90s`, `1h30m`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A number of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    pub(crate) const ALLOWED: &'static str = "a number of bytes, alone or with B, K, KiB, M, MiB, G, GiB, T, TiB (powers of 1024) or KB, MB, GB, TB (powers of 1000)";

    /// `n` times 1024 bytes.
    pub const fn kib(n: u64) -> Self {
        Self(n << 10)
    }

    /// `n` times 1024² bytes.
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    /// The size as an in-memory length; sizes beyond the address space become its end.
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Splits leading ASCII digits from what follows.
fn number_and_unit(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

impl FromStr for ByteSize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (digits, unit) = number_and_unit(text.trim());
        if digits.is_empty() {
            return Err("does not start with a whole number".into());
        }
        let factor: u64 = match unit.trim_start().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            other => return Err(format!("{other:?} is not a unit of size")),
        };
        let number = digits.parse::<u64>().ok();
        number.and_then(|n| n.checked_mul(factor)).map(Self).ok_or_else(|| "does not fit in 64 bits".into())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
        match units.iter().find(|(shift, _)| self.0 != 0 && self.0.trailing_zeros() >= *shift) {
            Some((shift, unit)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

/// A length of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct HumanDuration(pub Duration);

/// Milliseconds in each unit, largest first, as they are printed.
const UNITS: [(u64, &str); 5] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];

impl HumanDuration {
    pub(crate) const ALLOWED: &'static str =
        "a duration with its unit: ms, s, m, h or d, such as 500ms, 10s, 24h or 1h30m";

    /// `n` milliseconds.
    pub const fn millis(n: u64) -> Self {
        Self(Duration::from_millis(n))
    }

    /// `n` seconds.
    pub const fn seconds(n: u64) -> Self {
        Self(Duration::from_secs(n))
    }
}

impl FromStr for HumanDuration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut rest = text.trim();
        if rest == "0" {
            return Ok(Self::default());
        }
        if rest.is_empty() {
            return Err("is empty".into());
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let (digits, tail) = number_and_unit(rest);
            let (unit, next) = tail.split_at(tail.find(|c: char| c.is_ascii_digit()).unwrap_or(tail.len()));
            let number =
                digits.parse::<u64>().map_err(|_| format!("{rest:?} does not start with a whole number"))?;
            let factor = UNITS.iter().find(|(_, name)| *name == unit.trim()).map(|(factor, _)| *factor);
            let factor = match (factor, unit) {
                (Some(factor), _) => factor,
                (None, "") => return Err("has no unit".into()),
                (None, _) => return Err(format!("{unit:?} is not a unit of time")),
            };
            total = number.checked_mul(factor).and_then(|ms| total.checked_add(ms)).ok_or("is too long")?;
            rest = next;
        }
        Ok(Self(Duration::from_millis(total)))
    }
}

impl fmt::Display for HumanDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        if rest == 0 {
            return f.write_str("0s");
        }
        // "24h" says more to an operator than "1d" does, so days begin at two.
        let days = usize::from(rest < 2 * UNITS[0].0 || !rest.is_multiple_of(UNITS[0].0));
        for (factor, unit) in &UNITS[days..] {
            if rest >= *factor {
                write!(f, "{}{unit}", rest / factor)?;
                rest %= factor;
            }
        }
        Ok(())
    }
}

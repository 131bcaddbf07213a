//! A share of events, exactly.

use std::fmt;
use std::str::FromStr;

/// A share from 0 to 1 in parts per million.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Share(u32);

/// A text that is no share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected a number from 0 to 1 with at most six decimals, such as 0.01")]
pub struct ShareError;

impl Share {
    /// None.
    pub const NONE: Self = Self(0);
    /// All.
    pub const ALL: Self = Self(1_000_000);

    /// A share of so many parts per million; more than a million is all.
    pub const fn parts_per_million(parts: u32) -> Self {
        if parts > 1_000_000 { Self::ALL } else { Self(parts) }
    }

    /// The share in parts per million.
    pub const fn ppm(self) -> u32 {
        self.0
    }
}

impl FromStr for Share {
    type Err = ShareError;

    fn from_str(text: &str) -> Result<Self, ShareError> {
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        if text.is_empty() || text == "." || !digits(whole) || !digits(fraction) {
            return Err(ShareError);
        }
        if fraction.len() > 6 {
            return Err(ShareError);
        }
        let whole: u32 =
            if whole.is_empty() { 0 } else { whole.parse().map_err(|_| ShareError)? };
        let millionths: u32 = format!("{fraction:0<6}").parse().map_err(|_| ShareError)?;
        let parts = whole.checked_mul(1_000_000).and_then(|parts| parts.checked_add(millionths));
        parts.filter(|parts| *parts <= 1_000_000).map(Self).ok_or(ShareError)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1_000_000, self.0 % 1_000_000);
        if fraction == 0 {
            return write!(f, "{whole}");
        }
        write!(f, "{whole}.{}", format!("{fraction:06}").trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_read_exactly_and_written_as_read() {
        for (text, ppm) in
            [("0", 0), ("1", 1_000_000), ("0.01", 10_000), ("0.000001", 1), ("0.5", 500_000)]
        {
            let share: Share = text.parse().unwrap();
            assert_eq!(share.ppm(), ppm, "{text}");
            assert_eq!(share.to_string(), text);
        }
        assert_eq!(".25".parse::<Share>().unwrap().ppm(), 250_000);
        for text in ["", ".", "1.000001", "2", "-0.1", "0.0000001", "1e-3", "NaN", "0,5"] {
            assert_eq!(text.parse::<Share>(), Err(ShareError), "{text}");
        }
    }
}

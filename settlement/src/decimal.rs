//! Exact decimals as text: amounts in hundredths, in pico-currency, and counts.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tally_schemas::decimal_text;

/// Reads a decimal such as `-12.5` as an integer of `10^-scale`.
///
/// # Errors
/// What is wrong with the text, in words; more decimals than `scale` are not rounded away.
pub fn parse_decimal(text: &str, scale: u32) -> Result<i128, String> {
    let wrong = || format!("{text:?} is not a decimal with at most {scale} places");
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, ""));
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let places = u32::try_from(part.len()).map_err(|_| wrong())?;
    let dangling = digits.ends_with('.');
    if whole.is_empty() || dangling || !is_number(whole) || !is_number(part) || places > scale {
        return Err(wrong());
    }
    let ten: i128 = 10;
    let one = ten.checked_pow(scale).ok_or_else(wrong)?;
    let whole: i128 = whole.parse().map_err(|_| wrong())?;
    let part: i128 = if part.is_empty() { 0 } else { part.parse().map_err(|_| wrong())? };
    let part = part * ten.pow(scale - places);
    let magnitude = whole.checked_mul(one).and_then(|whole| whole.checked_add(part));
    magnitude.map(|magnitude| sign * magnitude).ok_or_else(wrong)
}

/// Defines an exact integer that is written as a decimal text.
macro_rules! decimal {
    ($(#[$attribute:meta])* $name:ident, $scale:literal) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
        pub struct $name(pub i128);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&decimal_text(self.0, $scale))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                parse_decimal(&text, $scale).map(Self).map_err(serde::de::Error::custom)
            }
        }
    };
}

decimal! {
    /// Hundredths of a currency, the unit that is paid.
    Cents, 2
}
decimal! {
    /// Pico-currency, the unit that events are rated in.
    Pico, 12
}
decimal! {
    /// Points, in micro-points.
    Points, 6
}
decimal! {
    /// A number of tokens or other counted units.
    Units, 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly_or_refused() {
        assert_eq!(parse_decimal("1000", 2), Ok(100_000));
        assert_eq!(parse_decimal("-0.5", 2), Ok(-50));
        assert_eq!(parse_decimal("7.1234", 6), Ok(7_123_400));
        for wrong in ["", "-", "1.", ".5", "1.234", "1,000.00", "1e3", "+1", "--1", "١"] {
            assert!(parse_decimal(wrong, 2).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        for cents in [0, -1, 99, -12_345, i128::MAX / 1_000] {
            let text = serde_json::to_string(&Cents(cents)).unwrap();
            assert_eq!(serde_json::from_str::<Cents>(&text).unwrap(), Cents(cents), "{text}");
        }
    }
}

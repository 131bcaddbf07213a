//! A value of a document: how people read it, and how it is written exactly.

use tally_schemas::decimal_text;
use tally_settlement::{Cents, Pico, Units, grouped};

/// A value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Value {
    /// Nothing.
    #[default]
    Empty,
    /// A text; control characters are spaces, so that every format can hold it.
    Text(String),
    /// What is paid, in hundredths.
    Amount(Cents),
    /// An amount before rounding, with all its digits.
    Exact(Pico),
    /// A number of tokens or other counted units.
    Units(Units),
    /// A price or rate in millionths.
    Micro(i128),
}

impl Value {
    /// A text.
    pub(crate) fn text(text: impl AsRef<str>) -> Self {
        let plain = |character| if is_writable(character) { character } else { ' ' };
        match text.as_ref().chars().map(plain).collect::<String>() {
            text if text.is_empty() => Self::Empty,
            text => Self::Text(text),
        }
    }

    /// A count.
    pub(crate) fn count(count: u64) -> Self {
        Self::Units(Units(i128::from(count)))
    }

    /// As a decimal with all its digits, or the text.
    pub(crate) fn exact(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Text(text) => text.clone(),
            Self::Amount(cents) => cents.to_string(),
            Self::Exact(pico) => pico.to_string(),
            Self::Units(units) => units.to_string(),
            Self::Micro(micro) => decimal_text(*micro, 6),
        }
    }

    /// As people read it: with commas, and without zeros that say nothing.
    pub(crate) fn shown(&self) -> String {
        match self {
            Self::Empty | Self::Text(_) => self.exact(),
            Self::Amount(_) | Self::Units(_) => grouped(&self.exact()),
            Self::Exact(_) | Self::Micro(_) => grouped(without_zeros(&self.exact())),
        }
    }
}

/// Whether every format can hold a character: XML has no control characters and no noncharacters.
fn is_writable(character: char) -> bool {
    !character.is_control() && !matches!(character, '\u{fffe}' | '\u{ffff}')
}

/// A decimal without zeros behind its last digit, but with two places.
pub(crate) fn without_zeros(decimal: &str) -> &str {
    let trimmed = decimal.trim_end_matches('0');
    let Some(point) = decimal.find('.') else { return decimal };
    let least = (point + 3).min(decimal.len());
    &decimal[..trimmed.len().max(least)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_keeps_every_digit_that_counts() {
        for (value, shown) in [
            (Value::Amount(Cents(-123_456_789)), "-1,234,567.89"),
            (Value::Exact(Pico(1_344_000_000)), "0.001344"),
            (Value::Exact(Pico(1_000_000_000_001)), "1.000000000001"),
            (Value::Exact(Pico(0)), "0.00"),
            (Value::Micro(12_000_000), "12.00"),
            (Value::Micro(25_000), "0.025"),
            (Value::Units(Units(10_000_000_000)), "10,000,000,000"),
            (Value::text("a\u{0}b\nc"), "a b c"),
        ] {
            assert_eq!(value.shown(), shown);
        }
    }
}

//! Exact numbers from text: thousands separators, decimal commas, exponents; never a float.

/// How a bill writes numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NumberFormat {
    /// Between the whole and the part.
    pub decimal: char,
    /// Between groups of three digits; spaces of any kind count as one.
    pub thousands: Option<char>,
}

impl Default for NumberFormat {
    fn default() -> Self {
        Self { decimal: '.', thousands: Some(',') }
    }
}

/// `digits × 10^-scale`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decimal {
    /// All digits with the sign.
    pub digits: i128,
    /// Digits behind the point; negative after an exponent.
    pub scale: i32,
}

/// Largest exponent or number of decimals that is read.
const SCALE_MAX: i32 = 60;

impl Decimal {
    /// Reads a number.
    ///
    /// # Errors
    /// What is wrong with the text, in words.
    pub fn parse(text: &str, format: NumberFormat) -> Result<Self, &'static str> {
        let text = text.trim_matches(is_space);
        let (negative, rest) = match text.strip_prefix(['-', '\u{2212}']) {
            Some(rest) => (true, rest),
            None => (false, text.strip_prefix('+').unwrap_or(text)),
        };
        let (body, exponent) = match rest.split_once(['e', 'E']) {
            Some((body, exponent)) => {
                (body, exponent.parse::<i32>().map_err(|_| "its exponent is not a number")?)
            }
            None => (rest, 0),
        };
        let (whole, part) = body.split_once(format.decimal).unwrap_or((body, ""));
        let mut number = Digits::default();
        number.push_whole(whole, format)?;
        for character in part.chars() {
            number.push(character)?;
        }
        if number.count == 0 {
            return Err("it has no digits");
        }
        let behind = i32::try_from(part.len()).map_err(|_| "it has too many decimals")?;
        let scale = behind.checked_sub(exponent).ok_or("its exponent is too large")?;
        if !(-SCALE_MAX..=SCALE_MAX).contains(&scale) {
            return Err("its exponent or its number of decimals is too large");
        }
        let digits = if negative { -number.value } else { number.value };
        Ok(Self { digits, scale })
    }

    /// In units of `10^-scale`; `None` where that is no whole number or leaves 128 bits.
    pub fn units(self, scale: i32) -> Option<i128> {
        if self.digits == 0 {
            return Some(0);
        }
        let shift = scale - self.scale;
        let factor = 10_i128.checked_pow(shift.unsigned_abs())?;
        if shift >= 0 {
            self.digits.checked_mul(factor)
        } else {
            (self.digits % factor == 0).then_some(self.digits / factor)
        }
    }

    /// In units of `10^-scale`, half to even where it has more decimals.
    pub fn units_rounded(self, scale: i32) -> Option<i128> {
        let shift = scale - self.scale;
        if shift >= 0 {
            return self.units(scale);
        }
        // Too many decimals for 128 bits are as good as none.
        let Some(factor) = 10_i128.checked_pow(shift.unsigned_abs()) else { return Some(0) };
        Some(half_even(self.digits, factor))
    }
}

/// `value / divisor`, half to even. The divisor is positive.
pub(crate) fn half_even(value: i128, divisor: i128) -> i128 {
    let (quotient, rest) = (value.div_euclid(divisor), value.rem_euclid(divisor));
    let up = match rest.cmp(&(divisor - rest)) {
        std::cmp::Ordering::Less => false,
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => quotient % 2 != 0,
    };
    quotient + i128::from(up)
}

fn is_space(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{a0}' | '\u{202f}' | '\u{2009}')
}

#[derive(Debug, Default)]
struct Digits {
    value: i128,
    count: usize,
}

impl Digits {
    fn push(&mut self, character: char) -> Result<(), &'static str> {
        let digit = character.to_digit(10).ok_or("it is not a number")?;
        self.value = self
            .value
            .checked_mul(10)
            .and_then(|value| value.checked_add(i128::from(digit)))
            .ok_or("it has too many digits")?;
        self.count += 1;
        Ok(())
    }

    /// The digits before the point, where groups after the first must have three.
    fn push_whole(&mut self, whole: &str, format: NumberFormat) -> Result<(), &'static str> {
        let mut group = 0;
        let mut groups = 0;
        for character in whole.chars() {
            let separates = Some(character) == format.thousands
                || (format.thousands.is_some() && (is_space(character) || character == '\''));
            if separates {
                if group == 0 || (groups > 0 && group != 3) || group > 3 {
                    return Err("its thousands separators are not three digits apart");
                }
                groups += 1;
                group = 0;
            } else {
                self.push(character)?;
                group += 1;
            }
        }
        if groups > 0 && group != 3 {
            return Err("its thousands separators are not three digits apart");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<i128, &'static str> {
        Decimal::parse(text, NumberFormat::default())
            .and_then(|number| number.units(12).ok_or("beyond pico"))
    }

    #[test]
    fn texts_become_exact_pico() {
        for (text, pico) in [
            ("0", 0),
            ("0.1", 100_000_000_000),
            ("-1,234.50", -1_234_500_000_000_000),
            (" 1 234 567 ", 1_234_567_000_000_000_000),
            ("3.584e-07", 358_400),
            ("1E2", 100_000_000_000_000),
            ("0.000000000001", 1),
            ("1.0000000000000", 1_000_000_000_000),
            (".5", 500_000_000_000),
            ("\u{2212}2", -2_000_000_000_000),
        ] {
            assert_eq!(read(text), Ok(pico), "{text}");
        }
        let german = NumberFormat { decimal: ',', thousands: Some('.') };
        let number = Decimal::parse("1.234.567,89", german).unwrap();
        assert_eq!(number, Decimal { digits: 123_456_789, scale: 2 });
    }

    #[test]
    fn what_is_no_number_is_refused_in_words() {
        for (text, words) in [
            ("", "it has no digits"),
            ("-", "it has no digits"),
            ("1,23", "its thousands separators are not three digits apart"),
            ("12,34,567", "its thousands separators are not three digits apart"),
            ("1234,567", "its thousands separators are not three digits apart"),
            (",123", "its thousands separators are not three digits apart"),
            ("$5", "it is not a number"),
            ("1.2.3", "it is not a number"),
            ("NaN", "it is not a number"),
            ("1e", "its exponent is not a number"),
            ("1e400", "its exponent or its number of decimals is too large"),
            ("0.0000000000001", "beyond pico"),
            ("999999999999999999999999999999999999999999", "it has too many digits"),
        ] {
            assert_eq!(read(text), Err(words), "{text}");
        }
    }

    #[test]
    fn half_to_even() {
        for (value, rounded) in
            [(25, 2), (35, 4), (-25, -2), (-35, -4), (26, 3), (-26, -3), (24, 2)]
        {
            assert_eq!(half_even(value, 10), rounded, "{value}");
        }
        let noise = Decimal { digits: 60_000_000_000_000_005, scale: 18 };
        assert_eq!(noise.units(12), None);
        assert_eq!(noise.units_rounded(12), Some(60_000_000_000));
    }
}

//! What a cell can hold of a decimal. A program that opens a workbook reads a number as a binary
//! float, and so a number goes through one here, after all arithmetic and in this file alone.

/// Significant decimal digits that a binary float of 64 bits always gives back.
const DIGITS_MAX: usize = 15;

/// A decimal that a cell keeps: the shortest text of its float is the same decimal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Number {
    decimal: String,
    float: f64,
}

impl Number {
    /// `None` for a decimal with more digits than a cell keeps. Zeros at its end count as digits,
    /// those before the first other digit do not.
    pub(super) fn of(decimal: &str) -> Option<Self> {
        let digits = decimal.bytes().filter(u8::is_ascii_digit);
        if digits.skip_while(|digit| *digit == b'0').count() > DIGITS_MAX {
            return None;
        }
        Some(Self { decimal: decimal.to_owned(), float: decimal.parse().ok()? })
    }

    /// The decimal as it was given.
    pub(super) fn decimal(&self) -> &str {
        &self.decimal
    }

    /// What is written into a cell.
    pub(super) const fn float(&self) -> f64 {
        self.float
    }
}

/// Which amounts are numbers: those of a workbook where the sum of all of them, however a person
/// adds them up, is right to the cent; else they are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Amounts {
    Numbers,
    Texts,
}

impl Amounts {
    /// Decides for the amounts of a workbook, in hundredths.
    ///
    /// n additions of floats with a magnitude of S in all are off by less than (n + 1) × S × 2^-53.
    /// Below half a cent the sum that is shown is right.
    pub(super) fn decide(cents: impl IntoIterator<Item = i128>) -> Self {
        const HALF_A_CENT: u128 = 1 << 52;
        let mut terms: u128 = 1;
        let mut magnitude: u128 = 0;
        for cents in cents {
            terms += 1;
            magnitude = magnitude.saturating_add(cents.unsigned_abs());
        }
        match terms.checked_mul(magnitude) {
            Some(error) if error < HALF_A_CENT => Self::Numbers,
            _ => Self::Texts,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tally_schemas::decimal_text;
    use tally_settlement::Cents;

    use super::*;

    /// A decimal without zeros that say nothing.
    fn plain(decimal: &str) -> &str {
        match decimal.contains('.') {
            true => decimal.trim_end_matches('0').trim_end_matches('.'),
            false => decimal,
        }
    }

    /// Numbers of one digit as often as those of thirty.
    fn mantissa() -> impl Strategy<Value = i128> {
        (0_u32..=30).prop_flat_map(|digits| {
            let end = 10_i128.pow(digits);
            -end..=end
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// A cell gives back every digit, or is not a number.
        #[test]
        fn a_number_is_the_decimal_that_it_was_made_of(
            mantissa in mantissa(),
            scale in prop::sample::select(vec![0_u32, 2, 6, 12]),
        ) {
            let decimal = decimal_text(mantissa, scale);
            let digits = mantissa.unsigned_abs().to_string().len();
            match Number::of(&decimal) {
                None => prop_assert!(digits > 15, "{decimal} is a text"),
                Some(number) => {
                    prop_assert!(digits <= 15, "{decimal} is a number");
                    let shown = number.float().to_string();
                    prop_assert_eq!(plain(&shown), plain(&decimal));
                    prop_assert_eq!(number.decimal(), &decimal);
                }
            }
        }
    }

    /// Floats that are added one by one, as a spreadsheet does, against the exact sum: where
    /// amounts are numbers, what is shown is right to the cent.
    #[test]
    fn sums_of_numbers_are_right_to_the_cent() {
        let mut state: u64 = 7;
        println!("seed {state}");
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i128::from(state >> 24)
        };
        let mut numbers = 0;
        for largest in [1_000, 1_000_000, 100_000_000, 10_000_000_000, 1_000_000_000_000] {
            for length in [1, 30, 1_000, 20_000] {
                let cents: Vec<i128> =
                    (0..length).map(|_| next() % (2 * largest) - largest).collect();
                if Amounts::decide(cents.iter().copied()) == Amounts::Texts {
                    continue;
                }
                numbers += 1;
                let floats = cents.iter().map(|cents| Number::of(&Cents(*cents).to_string()));
                let sum: f64 = floats.map(|number| number.unwrap().float()).sum();
                let exact = Cents(cents.iter().sum()).to_string();
                assert_eq!(format!("{sum:.2}").replace("-0.00", "0.00"), exact);
            }
        }
        assert!(numbers > 8, "{numbers}");
        assert_eq!(Amounts::decide([1 << 60]), Amounts::Texts);
    }
}

//! Exact fractions of pico-currency, and the one rounding that a line has.

use crate::decimal::Cents;
use crate::{Bug, planted};

/// Pico-currency of 0.01.
const PICO_PER_CENT: i128 = 10_000_000_000;

/// How 0.005 is rounded to 0.01.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rounding {
    /// Away from zero.
    HalfUp,
    /// To the even neighbour.
    HalfEven,
}

impl Rounding {
    /// Name in contracts and statements.
    pub const fn name(self) -> &'static str {
        match self {
            Self::HalfUp => "half_up",
            Self::HalfEven => "half_even",
        }
    }
}

/// A numerator over a positive denominator, in lowest terms. Sums and products are exact, or
/// `None` where they do not fit 128 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fraction {
    numerator: i128,
    denominator: i128,
}

fn gcd(a: u128, b: u128) -> u128 {
    let (mut a, mut b) = (a, b);
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// The greatest common divisor of a number and a positive one, which it therefore fits.
fn common(a: i128, positive: i128) -> i128 {
    i128::try_from(gcd(a.unsigned_abs(), positive.unsigned_abs())).unwrap_or(1)
}

impl Fraction {
    /// Nothing.
    pub const ZERO: Self = Self::whole(0);

    /// Pico-currency.
    pub const fn whole(pico: i128) -> Self {
        Self { numerator: pico, denominator: 1 }
    }

    /// Hundredths of a currency.
    pub fn cents(cents: Cents) -> Option<Self> {
        cents.0.checked_mul(PICO_PER_CENT).map(Self::whole)
    }

    /// Times `numerator / denominator`; `None` too where the denominator is not positive.
    #[must_use]
    pub fn times(self, numerator: i128, denominator: i128) -> Option<Self> {
        if denominator <= 0 {
            return None;
        }
        let left = common(self.numerator, denominator);
        let right = common(numerator, self.denominator);
        // What is common to its own two parts goes first, or the result is not in lowest terms.
        let own = common(numerator / right, denominator / left);
        Some(Self {
            numerator: (self.numerator / left).checked_mul(numerator / right / own)?,
            denominator: (self.denominator / right).checked_mul(denominator / left / own)?,
        })
    }

    /// The sum.
    #[must_use]
    pub fn plus(self, other: Self) -> Option<Self> {
        let shared = common(self.denominator, other.denominator);
        let (left, right) = (other.denominator / shared, self.denominator / shared);
        let sum =
            self.numerator.checked_mul(left)?.checked_add(other.numerator.checked_mul(right)?)?;
        let denominator = self.denominator.checked_mul(left)?;
        let own = common(sum, denominator);
        Some(Self { numerator: sum / own, denominator: denominator / own })
    }

    /// The opposite.
    #[must_use]
    pub fn negated(self) -> Option<Self> {
        let numerator = self.numerator.checked_neg()?;
        Some(Self { numerator, ..self })
    }

    /// Whether it is nothing.
    pub const fn is_zero(self) -> bool {
        self.numerator == 0
    }

    /// Rounded to 0.01, once.
    pub fn rounded(self, rounding: Rounding) -> Option<Cents> {
        let unit = self.denominator.checked_mul(PICO_PER_CENT)?.unsigned_abs();
        let magnitude = self.numerator.unsigned_abs();
        let (whole, rest) = (magnitude / unit, magnitude % unit);
        let up = match rest.cmp(&(unit - rest)) {
            std::cmp::Ordering::Less => false,
            std::cmp::Ordering::Greater => true,
            std::cmp::Ordering::Equal => {
                rounding == Rounding::HalfUp || whole % 2 == 1 || planted(Bug::HalfEvenForgotten)
            }
        };
        let cents = i128::try_from(whole).ok()?.checked_add(i128::from(up))?;
        Some(Cents(if self.numerator < 0 { -cents } else { cents }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rounded(pico: i128, rounding: Rounding) -> i128 {
        Fraction::whole(pico).rounded(rounding).unwrap().0
    }

    #[test]
    fn half_a_cent_goes_up_or_to_the_even_one() {
        let half = PICO_PER_CENT / 2;
        for (pico, up, even) in [
            (half, 1, 0),
            (3 * half, 2, 2),
            (5 * half, 3, 2),
            (-half, -1, 0),
            (-3 * half, -2, -2),
            (half - 1, 0, 0),
            (half + 1, 1, 1),
            (-half - 1, -1, -1),
        ] {
            assert_eq!(rounded(pico, Rounding::HalfUp), up, "{pico}");
            assert_eq!(rounded(pico, Rounding::HalfEven), even, "{pico}");
        }
    }

    #[test]
    fn thirds_add_up() {
        let third = Fraction::whole(PICO_PER_CENT).times(1, 3).unwrap();
        let sum = third.plus(third).unwrap().plus(third).unwrap();
        assert_eq!(sum, Fraction::whole(PICO_PER_CENT));
        assert_eq!(third.times(3, 1), Some(Fraction::whole(PICO_PER_CENT)));
        assert_eq!(third.plus(third.negated().unwrap()), Some(Fraction::ZERO));
        assert_eq!(Fraction::whole(1).times(1, 0), None);
        assert_eq!(Fraction::whole(i128::MAX).times(2, 1), None);
    }

    #[test]
    fn a_share_of_a_large_revenue_in_another_currency_fits() {
        // A billion, less 6 % tax, 10 % fee, 0.5 % bad debt, of which 35 % at 7.123456.
        let billion = Fraction::whole(1_000_000_000 * tally_schemas::PICO);
        let net = billion.times(895_000, 1_060_000).unwrap().times(350_000, 1_000_000).unwrap();
        assert!(net.times(7_123_456, 1_000_000).unwrap().rounded(Rounding::HalfUp).is_some());
    }
}

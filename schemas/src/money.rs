//! Currencies and exact amounts. Money is `i128` pico-currency, a price is micro-currency per
//! 1,000,000 units, so that price × units is pico-currency without a division.

use std::fmt;

/// Pico-currency of one unit of currency.
pub const PICO: i128 = 1_000_000_000_000;

/// An ISO 4217 code, such as `CNY`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// Yuan.
    pub const CNY: Self = Self(*b"CNY");

    /// The currency of a code: three upper-case letters.
    pub fn parse(code: &str) -> Option<Self> {
        let code: [u8; 3] = code.as_bytes().try_into().ok()?;
        code.iter().all(u8::is_ascii_uppercase).then_some(Self(code))
    }

    /// The code.
    pub fn code(&self) -> &str {
        // Every row asks for it, nearly always of yuan.
        if *self == Self::CNY {
            return "CNY";
        }
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// What an event, or many, came to: points, what the subscriber owes and what the vendor is owed.
/// Each amount is in one currency, which is told beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Amounts {
    /// Micro-points.
    pub points_micro: i128,
    /// Pico-currency of the retail side.
    pub retail_pico: i128,
    /// Pico-currency of the wholesale side.
    pub wholesale_pico: i128,
}

/// The largest sum of pico-currency or micro-points: what fits `DECIMAL(38)` with room to add.
const SUM_MAX: i128 = 10_i128.pow(37);

impl Amounts {
    /// The sum; `None` where one of them would leave what tables can hold.
    #[must_use]
    pub fn plus(&self, more: &Self) -> Option<Self> {
        let sum =
            |a: i128, b: i128| a.checked_add(b).filter(|sum| (-SUM_MAX..=SUM_MAX).contains(sum));
        Some(Self {
            points_micro: sum(self.points_micro, more.points_micro)?,
            retail_pico: sum(self.retail_pico, more.retail_pico)?,
            wholesale_pico: sum(self.wholesale_pico, more.wholesale_pico)?,
        })
    }
}

/// An integer of `10^-scale` as a decimal with all its digits, such as `-0.001344000000` of
/// -1,344,000,000 pico.
pub fn decimal_text(units: i128, scale: u32) -> String {
    let one = 10_u128.pow(scale);
    let sign = if units < 0 { "-" } else { "" };
    let (whole, part) = (units.unsigned_abs() / one, units.unsigned_abs() % one);
    if scale == 0 {
        return format!("{sign}{whole}");
    }
    format!("{sign}{whole}.{part:0width$}", width = scale as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_have_all_their_digits() {
        assert_eq!(decimal_text(-1_344_000_000, 12), "-0.001344000000");
        assert_eq!(decimal_text(9_900_000_000_001, 12), "9.900000000001");
        assert_eq!(decimal_text(0, 6), "0.000000");
        assert_eq!(decimal_text(-5, 0), "-5");
        assert_eq!(decimal_text(i128::MIN, 12), "-170141183460469231731687303.715884105728");
    }

    #[test]
    fn a_sum_beyond_what_tables_hold_is_none() {
        let most = Amounts { retail_pico: SUM_MAX, ..Amounts::default() };
        let one = Amounts { retail_pico: 1, ..Amounts::default() };
        assert_eq!(most.plus(&one), None);
        assert_eq!(most.plus(&Amounts::default()), Some(most));
        let far = Amounts { points_micro: i128::MIN, ..Amounts::default() };
        assert_eq!(far.plus(&far), None);
    }

    #[test]
    fn a_currency_is_three_upper_case_letters() {
        assert_eq!(Currency::parse("CNY"), Some(Currency::CNY));
        assert_eq!(Currency::CNY.to_string(), "CNY");
        for wrong in ["", "cny", "CN", "CNYX", "元"] {
            assert_eq!(Currency::parse(wrong), None, "{wrong}");
        }
    }
}

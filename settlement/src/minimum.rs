//! A guaranteed minimum with carry-forward (scenario S7): a shortfall that was paid may be used by
//! one of the following months, for what goes beyond that month's minimum; the oldest goes first.

use serde::{Deserialize, Serialize};

use crate::decimal::Cents;
use crate::period::Period;
use crate::terms::Minimum;
use crate::{Bug, planted};

/// What is left of a shortfall that was paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Carry {
    /// The month that was short.
    pub period: Period,
    /// What may still be used.
    pub amount: Cents,
    /// The last month that may use it.
    pub usable_to: Period,
}

/// The guarantee of one month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinimumBalance {
    /// The minimum.
    pub minimum: Cents,
    /// What earlier months left, the oldest first, expired ones included.
    pub opening: Vec<Carry>,
    /// What could not be used in time.
    pub expired: Cents,
    /// What this month used.
    pub used: Cents,
    /// What this month was short of.
    pub shortfall: Cents,
    /// What is left for the following months.
    pub closing: Vec<Carry>,
}

impl MinimumBalance {
    /// What the guarantee adds to what is paid: a shortfall, or less what is used.
    pub(crate) fn true_up(&self) -> Cents {
        Cents(self.shortfall.0 - self.used.0)
    }
}

/// Applies a guarantee to what a month came to.
pub(crate) fn apply(
    minimum: Minimum,
    period: Period,
    payable: Cents,
    opening: Vec<Carry>,
) -> MinimumBalance {
    let mut balance = MinimumBalance {
        minimum: minimum.amount,
        opening: opening.clone(),
        expired: Cents(0),
        used: Cents(0),
        shortfall: Cents(0),
        closing: Vec::new(),
    };
    let mut beyond = payable.0 - minimum.amount.0;
    if planted(Bug::NewestCarryFirst) {
        balance.opening.reverse();
    }
    for carry in balance.opening.clone() {
        let usable_to = if planted(Bug::CarryOneMonthLonger) {
            carry.usable_to.next()
        } else {
            carry.usable_to
        };
        if usable_to < period {
            balance.expired.0 += carry.amount.0;
            continue;
        }
        let used = beyond.clamp(0, carry.amount.0);
        beyond -= used;
        balance.used.0 += used;
        let left = carry.amount.0 - used;
        if left > 0 {
            balance.closing.push(Carry { amount: Cents(left), ..carry });
        }
    }
    balance.opening = opening;
    balance.closing.sort_by_key(|carry| carry.period);
    if beyond < 0 {
        balance.shortfall = Cents(-beyond);
        if minimum.carry_months > 0 && !planted(Bug::NoCarry) {
            balance.closing.push(Carry {
                period,
                amount: balance.shortfall,
                usable_to: period.plus_months(minimum.carry_months),
            });
        }
    }
    balance
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(minimum: Minimum, months: &[i128]) -> (Vec<i128>, Vec<Carry>) {
        let mut period = Period::parse("2026-07").unwrap();
        let (mut paid, mut carry) = (Vec::new(), Vec::new());
        for usage in months {
            let balance = apply(minimum, period, Cents(*usage), carry);
            paid.push(usage + balance.true_up().0);
            carry = balance.closing;
            period = period.next();
        }
        (paid, carry)
    }

    /// S7.
    #[test]
    fn seven_hundred_nine_hundred_sixteen_hundred() {
        let minimum = Minimum { amount: Cents(100_000), carry_months: 3 };
        let (paid, carry) = run(minimum, &[70_000, 90_000, 160_000]);
        assert_eq!(paid, [100_000, 100_000, 120_000]);
        assert_eq!(carry, []);
    }

    #[test]
    fn a_shortfall_is_used_within_its_months_or_lost() {
        let minimum = Minimum { amount: Cents(100_000), carry_months: 2 };
        // Short by 300 in July: September is the last month that may use it.
        let (paid, _) = run(minimum, &[70_000, 100_000, 120_000, 150_000]);
        assert_eq!(paid, [100_000, 100_000, 100_000, 150_000]);
        let none = Minimum { amount: Cents(100_000), carry_months: 0 };
        assert_eq!(run(none, &[70_000, 160_000]).0, [100_000, 160_000]);
    }

    #[test]
    fn the_oldest_goes_first() {
        let minimum = Minimum { amount: Cents(100_000), carry_months: 3 };
        let (_, carry) = run(minimum, &[70_000, 90_000, 110_000]);
        let left: Vec<(String, i128)> =
            carry.iter().map(|carry| (carry.period.to_string(), carry.amount.0)).collect();
        assert_eq!(left, [("2026-07".to_owned(), 20_000), ("2026-08".to_owned(), 10_000)]);
    }

    proptest::proptest! {
        /// Double entry: what was short is used, expired or left; no month is below its minimum.
        #[test]
        fn nothing_is_lost(
            least in 1_i128..1_000, carry_months in 0_u32..5,
            months in proptest::collection::vec(0_i128..2_000, 1..12),
        ) {
            let minimum = Minimum { amount: Cents(least), carry_months };
            let mut period = Period::parse("2026-01").unwrap();
            let mut carry: Vec<Carry> = Vec::new();
            for usage in months {
                let opening: i128 = carry.iter().map(|carry| carry.amount.0).sum();
                let balance = apply(minimum, period, Cents(usage), carry);
                let closing: i128 = balance.closing.iter().map(|carry| carry.amount.0).sum();
                let carried = if carry_months > 0 { balance.shortfall.0 } else { 0 };
                let gone = balance.used.0 + balance.expired.0;
                proptest::prop_assert_eq!(opening + carried, gone + closing);
                proptest::prop_assert!(usage + balance.true_up().0 >= least);
                proptest::prop_assert!(balance.shortfall.0 == 0 || balance.used.0 == 0);
                carry = balance.closing;
                period = period.next();
            }
        }
    }
}

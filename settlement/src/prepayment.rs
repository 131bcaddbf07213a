//! Payments in advance, drawn down by what is owed.

use serde::{Deserialize, Serialize};

use crate::decimal::Cents;
use crate::period::Period;
use crate::terms::Prepayment;
use crate::{Bug, planted};

/// The balance of what was paid in advance, in one period.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PrepaymentBalance {
    /// What earlier periods left.
    pub opening: Cents,
    /// Paid in advance since then.
    pub paid: Cents,
    /// Used by this period.
    pub drawn: Cents,
    /// What is left.
    pub closing: Cents,
    /// Everything that was ever paid in advance, so that no payment counts twice and none that is
    /// entered late is forgotten.
    pub paid_to_date: Cents,
}

/// Applies payments in advance to what a period came to. `before` is the balance of the last
/// statement; `None` where there is neither a balance nor a payment.
pub(crate) fn apply(
    payments: &[Prepayment],
    period: Period,
    payable: Cents,
    before: Option<PrepaymentBalance>,
) -> Option<PrepaymentBalance> {
    let before = before.unwrap_or_default();
    let until = payments.iter().filter(|payment| payment.paid_on <= period.last_day());
    let paid_to_date: i128 = until.map(|payment| payment.amount.0).sum();
    let known = if planted(Bug::PrepaidAgain) { 0 } else { before.paid_to_date.0 };
    let paid = paid_to_date - known;
    let opening = before.closing.0;
    if opening == 0 && paid == 0 {
        return None;
    }
    let drawn = payable.0.clamp(0, (opening + paid).max(0));
    Some(PrepaymentBalance {
        opening: Cents(opening),
        paid: Cents(paid),
        drawn: Cents(drawn),
        closing: Cents(opening + paid - drawn),
        paid_to_date: Cents(paid_to_date),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payment_counts_once_even_where_it_is_entered_late() {
        let day = |text: &str| text.parse().unwrap();
        let (july, august) = (Period::parse("2026-07").unwrap(), Period::parse("2026-08").unwrap());
        let mut payments = vec![Prepayment { paid_on: day("2026-07-01"), amount: Cents(1_000) }];
        let first = apply(&payments, july, Cents(400), None).unwrap();
        assert_eq!(
            (first.paid, first.drawn, first.closing),
            (Cents(1_000), Cents(400), Cents(600))
        );
        // Entered after July was settled, with a day of July.
        payments.push(Prepayment { paid_on: day("2026-07-20"), amount: Cents(50) });
        payments.push(Prepayment { paid_on: day("2026-09-01"), amount: Cents(9_999) });
        let second = apply(&payments, august, Cents(700), Some(first)).unwrap();
        assert_eq!((second.opening, second.paid), (Cents(600), Cents(50)));
        assert_eq!((second.drawn, second.closing), (Cents(650), Cents(0)));
        assert_eq!(apply(&[], august, Cents(700), None), None);
        // A credit is not drawn.
        assert_eq!(apply(&payments, august, Cents(-5), Some(first)).unwrap().drawn, Cents(0));
    }
}

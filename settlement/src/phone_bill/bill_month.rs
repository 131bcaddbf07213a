//! The sums of a month's daily files.

use std::collections::BTreeMap;

use super::bill_csv::BillHeader;
use super::bill_file::{BillContent, BillFile, Numbered, foots};
use super::bill_plan::BillPlan;
use super::bill_seal::LedgerSum;
use super::charge::Charge;
use super::error::BillError;
use super::line::{BillLine, BilledDate, LineKey};
use crate::decimal::{Cents, Pico, Points};
use crate::period::Period;

impl BillFile {
    /// The sums of a month: of every key one line over the lines that stood on a file for the
    /// first time in the month's daily files, given in their order. Nothing is rounded again.
    /// `charges` is the same rows summed from the ledger, which they must be equal to.
    ///
    /// # Errors
    /// `DoesNotFoot`, `Overflow`.
    pub fn monthly(
        plan: &BillPlan,
        month: Period,
        dailies: &[Vec<BillLine>],
        charges: &[Charge],
        mut ledger: Vec<LedgerSum>,
    ) -> Result<BillContent, BillError> {
        ledger.sort_unstable();
        foots(charges, &ledger)?;
        let mut sums: BTreeMap<LineKey, BillLine> = BTreeMap::new();
        for line in dailies.iter().flatten().filter(|line| !line.comes_again()) {
            match sums.get_mut(&line.key) {
                None => {
                    let date = BilledDate::Month(month);
                    sums.insert(line.key.clone(), BillLine { date, ..line.clone() });
                }
                Some(sum) => add(sum, line)?,
            }
        }
        let mut exact: BTreeMap<LineKey, (u64, i128)> = BTreeMap::new();
        for charge in charges {
            let sum = exact.entry(charge.key()).or_default();
            let overflow = || BillError::Overflow(charge.account.clone());
            *sum = (sum.0 + charge.rows, sum.1.checked_add(charge.exact.0).ok_or_else(overflow)?);
        }
        let of_lines = sums.iter().map(|(key, line)| (key, (line.rows, line.exact.0)));
        if !of_lines.eq(exact.iter().map(|(key, sum)| (key, *sum))) {
            return Err(BillError::DoesNotFoot(format!(
                "the daily phone bills of {month} are not what quota_ledger has of it: \
                 {} lines of them, {} of the ledger, or other sums",
                sums.len(),
                exact.len()
            )));
        }
        let mut numbered = Numbered::of(plan);
        for line in sums.into_values() {
            let id = numbered.next_id();
            numbered.lines.push(BillLine { id, first: id, ..line });
        }
        let file = Self { header: BillHeader::of(plan), lines: numbered.lines };
        Ok(BillContent { file, ledger, remainders: None })
    }
}

/// Adds a later line of the same key.
fn add(sum: &mut BillLine, line: &BillLine) -> Result<(), BillError> {
    let overflow = || BillError::Overflow(line.key.account.clone());
    let plus = |a: i128, b: i128| a.checked_add(b).ok_or_else(overflow);
    sum.rows = sum.rows.checked_add(line.rows).ok_or_else(overflow)?;
    sum.points = Points(plus(sum.points.0, line.points.0)?);
    sum.exact = Pico(plus(sum.exact.0, line.exact.0)?);
    sum.amount = Cents(plus(sum.amount.0, line.amount.0)?);
    sum.after = line.after;
    Ok(())
}

//! Makes the lines of a phone bill: a day's charges, or a file once more.

use std::collections::BTreeMap;

use super::bill_csv::{BillCsv, BillHeader, bill_csv};
use super::bill_plan::BillPlan;
use super::bill_seal::{LedgerSum, sums_of};
use super::charge::{Charge, ChargeKind};
use super::error::BillError;
use super::line::{BillLine, BilledDate, LineId};
use super::remainders::Remainders;
use crate::decimal::Pico;

/// A file: what its header says, and its lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillFile {
    /// Its header.
    pub header: BillHeader,
    /// Its lines, numbered from 1.
    pub lines: Vec<BillLine>,
}

/// A file and what else its seal has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillContent {
    /// The file.
    pub file: BillFile,
    /// The rows behind it, by kind and currency.
    pub ledger: Vec<LedgerSum>,
    /// What is carried on after a daily file.
    pub remainders: Option<Remainders>,
}

/// Numbers the lines of a file.
#[derive(Debug)]
pub(super) struct Numbered {
    sequence: u64,
    pub(super) lines: Vec<BillLine>,
}

impl Numbered {
    pub(super) fn of(plan: &BillPlan) -> Self {
        Self { sequence: plan.sequence, lines: Vec::new() }
    }

    pub(super) fn next_id(&self) -> LineId {
        let number = u64::try_from(self.lines.len()).unwrap_or(u64::MAX).saturating_add(1);
        LineId { sequence: self.sequence, number }
    }

    fn again(&mut self, line: &BillLine) {
        self.lines.push(line.again(self.next_id()));
    }
}

impl BillFile {
    /// The file of a day: lines that come again, then one line for each charge, each rounded once
    /// with what the key carries. `ledger` is the sums of all rows that the file takes note of;
    /// `remainders` what the last daily file left.
    ///
    /// # Errors
    /// `DoesNotFoot` where charges are not the ledger's sums, `Overflow`.
    pub fn daily(
        plan: &BillPlan,
        mut charges: Vec<Charge>,
        again: Vec<BillLine>,
        mut ledger: Vec<LedgerSum>,
        mut remainders: Remainders,
    ) -> Result<BillContent, BillError> {
        ledger.sort_unstable();
        foots(&charges, &ledger)?;
        // By key and then by day: what is carried goes from the older day to the newer one.
        charges.sort_by_cached_key(|charge| (charge.key(), charge.day));
        let mut numbered = Numbered::of(plan);
        for line in &again {
            numbered.again(line);
        }
        for charge in charges {
            let (id, key) = (numbered.next_id(), charge.key());
            let rounded = remainders.charge(&key, charge.exact)?;
            numbered.lines.push(BillLine {
                id,
                first: id,
                key,
                date: BilledDate::Day(charge.day),
                rows: charge.rows,
                points: charge.points,
                exact: charge.exact,
                before: rounded.before,
                amount: rounded.amount,
                after: rounded.after,
            });
        }
        let file = Self { header: BillHeader::of(plan), lines: numbered.lines };
        Ok(BillContent { file, ledger, remainders: Some(remainders) })
    }

    /// A file in the place of another: the same lines, each with where it stood first.
    pub fn correction(plan: &BillPlan, replaced: &[BillLine]) -> BillContent {
        let mut numbered = Numbered::of(plan);
        for line in replaced {
            numbered.again(line);
        }
        let file = Self { header: BillHeader::of(plan), lines: numbered.lines };
        BillContent { file, ledger: Vec::new(), remainders: None }
    }

    /// As it goes to the billing system.
    ///
    /// # Errors
    /// `Overflow`.
    pub fn to_csv(&self) -> Result<BillCsv, BillError> {
        bill_csv(&self.header, &self.lines, &sums_of(&self.lines)?)
    }
}

/// Charges are all rows of their kinds, and nothing else.
pub(super) fn foots(charges: &[Charge], ledger: &[LedgerSum]) -> Result<(), BillError> {
    let mut sums: BTreeMap<(&str, String), (u64, i128, i128)> = BTreeMap::new();
    for charge in charges {
        let sum = sums.entry((charge.kind.ledger_kind(), charge.currency.to_string())).or_default();
        let added = sum.1.checked_add(charge.points.0).zip(sum.2.checked_add(charge.exact.0));
        let (points, amount) = added.ok_or_else(|| BillError::Overflow(charge.account.clone()))?;
        *sum = (sum.0 + charge.rows, points, amount);
    }
    let charged = ledger.iter().filter(|sum| ChargeKind::of_ledger(&sum.kind).is_some());
    let ledger: BTreeMap<(&str, String), (u64, i128, i128)> = charged
        .map(|sum| {
            let key = (sum.kind.as_str(), sum.currency.clone());
            (key, (sum.rows, sum.points.0, sum.amount.0))
        })
        .collect();
    if sums == ledger {
        return Ok(());
    }
    let differing = ledger.iter().find(|(key, sum)| sums.get(*key) != Some(*sum));
    let ((kind, currency), (rows, _, amount)) =
        differing.or_else(|| sums.iter().next()).map_or_else(
            || (("", String::new()), (0, 0, 0)),
            |((kind, currency), sum)| ((*kind, currency.clone()), *sum),
        );
    Err(BillError::DoesNotFoot(format!(
        "the lines of {kind} in {currency} are not quota_ledger's {rows} rows of {}",
        Pico(amount)
    )))
}

#[cfg(test)]
mod tests {
    use tally_schemas::{Currency, PICO};

    use super::super::bill_plan::BillScope;
    use super::super::day::Day;
    use super::*;
    use crate::decimal::{Cents, Points};
    use crate::period::Period;

    fn day(text: &str) -> Day {
        Day::parse(text).unwrap()
    }

    fn plan(sequence: u64, scope: BillScope) -> BillPlan {
        BillPlan {
            format: BillPlan::FORMAT,
            sequence,
            scope,
            by: "billing".into(),
            at_ms: 0,
            code_version: "0".into(),
            cut_offs: Vec::new(),
            returns_to: 0,
            replaced: String::new(),
            previous: String::new(),
        }
    }

    fn daily(sequence: u64, of: &str) -> BillPlan {
        plan(sequence, BillScope::Daily { day: day(of) })
    }

    fn charge(account: &str, kind: ChargeKind, of: &str, exact: i128) -> Charge {
        Charge {
            account: account.into(),
            kind,
            package: "p".into(),
            currency: Currency::CNY,
            day: day(of),
            rows: 2,
            points: Points(-7),
            exact: Pico(exact),
        }
    }

    fn ledger(charges: &[Charge]) -> Vec<LedgerSum> {
        let mut sums: BTreeMap<&str, LedgerSum> = BTreeMap::new();
        for charge in charges {
            let kind = charge.kind.ledger_kind();
            let empty = || LedgerSum {
                kind: kind.into(),
                currency: "CNY".into(),
                rows: 0,
                points: Points(0),
                amount: Pico(0),
            };
            let sum = sums.entry(kind).or_insert_with(empty);
            sum.rows += charge.rows;
            sum.points.0 += charge.points.0;
            sum.amount.0 += charge.exact.0;
        }
        let free = LedgerSum {
            kind: "debit".into(),
            currency: "CNY".into(),
            rows: 9,
            points: Points(-1),
            amount: Pico(1),
        };
        sums.into_values().chain([free]).collect()
    }

    use ChargeKind::{PackageFee, PayAsYouGo, Refund};

    /// Two thirds of a fen on the 25th, of which the 24th's came late, and a refund.
    fn first() -> Vec<Charge> {
        let third = PICO / 300;
        vec![
            charge("B", Refund, "2026-11-25", -PICO),
            charge("A", PayAsYouGo, "2026-11-25", third),
            charge("A", PayAsYouGo, "2026-11-24", third),
            charge("A", PackageFee, "2026-11-25", 9_900_000_000_000),
        ]
    }

    fn file(
        plan: &BillPlan,
        charges: &[Charge],
        again: &[BillLine],
        left: &Remainders,
    ) -> BillContent {
        BillFile::daily(plan, charges.to_vec(), again.to_vec(), ledger(charges), left.clone())
            .unwrap()
    }

    #[test]
    fn lines_are_in_order_and_carry_from_day_to_day_and_file_to_file() {
        let left = Remainders::default();
        let one = file(&daily(1, "2026-11-25"), &first(), &[], &left);
        let told: Vec<String> = one
            .file
            .lines
            .iter()
            .map(|line| {
                format!(
                    "{} {} {} {} {} {}",
                    line.id,
                    line.key.account,
                    line.key.kind.name(),
                    line.date,
                    line.amount,
                    line.after
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "1-1 A package_fee 2026-11-25 9.90 0.000000000000",
                "1-2 A payg 2026-11-24 0.00 0.003333333333",
                "1-3 A payg 2026-11-25 0.01 -0.003333333334",
                "1-4 B refund 2026-11-25 -1.00 0.000000000000",
            ]
        );
        let mut shuffled = first();
        shuffled.reverse();
        assert_eq!(file(&daily(1, "2026-11-25"), &shuffled, &[], &left), one);

        // The next file begins with what was rejected, unchanged, and carries on.
        let next = vec![charge("A", PayAsYouGo, "2026-11-26", PICO / 300)];
        let again = [one.file.lines[3].clone()];
        let two = file(&daily(2, "2026-11-26"), &next, &again, one.remainders.as_ref().unwrap());
        let line = &two.file.lines[0];
        assert_eq!((line.id.to_string(), line.first.to_string()), ("2-1".into(), "1-4".into()));
        assert_eq!((line.amount, line.comes_again()), (Cents(-100), true));
        let line = &two.file.lines[1];
        assert_eq!(
            (line.before, line.amount, line.after),
            (Pico(-3_333_333_334), Cents(0), Pico(-1))
        );

        // The month has each once.
        let all: Vec<Charge> = first().into_iter().chain(next).collect();
        let month = Period::parse("2026-11").unwrap();
        let dailies = [one.file.lines.clone(), two.file.lines];
        let plan = plan(3, BillScope::Monthly { month });
        let sums = BillFile::monthly(&plan, month, &dailies, &all, ledger(&all)).unwrap();
        let told: Vec<String> = sums
            .file
            .lines
            .iter()
            .map(|line| {
                format!(
                    "{} {} {} {} {}",
                    line.id,
                    line.key.kind.name(),
                    line.date,
                    line.rows,
                    line.amount
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                "3-1 package_fee 2026-11 2 9.90",
                "3-2 payg 2026-11 6 0.01",
                "3-3 refund 2026-11 2 -1.00"
            ]
        );
        let line = &sums.file.lines[1];
        assert_eq!(line.exact.0 + line.before.0, line.amount.0 * 10_000_000_000 + line.after.0);

        // One row more or less in the ledger is noticed.
        let less = &all[1..];
        let wrong = BillFile::monthly(&plan, month, &dailies, less, ledger(less));
        assert!(matches!(wrong, Err(BillError::DoesNotFoot(_))), "{wrong:?}");
    }

    #[test]
    fn charges_that_are_not_the_ledgers_are_refused() {
        let plan = daily(1, "2026-11-25");
        for change in 0..3 {
            let mut sums = ledger(&first());
            match change {
                0 => sums[0].rows += 1,
                1 => sums[0].amount.0 += 1,
                _ => drop(sums.remove(0)),
            }
            let wrong = BillFile::daily(&plan, first(), Vec::new(), sums, Remainders::default());
            assert!(matches!(wrong, Err(BillError::DoesNotFoot(_))), "{change}: {wrong:?}");
        }
    }

    #[test]
    fn a_correction_has_the_lines_of_the_file_that_it_replaces() {
        let one = file(&daily(1, "2026-11-25"), &first(), &[], &Remainders::default());
        let scope = BillScope::Correction { of: 1, reason: "the header was not read".into() };
        let two = BillFile::correction(&plan(2, scope), &one.file.lines);
        for (new, old) in two.file.lines.iter().zip(&one.file.lines) {
            assert_eq!((new.first, new.amount), (old.id, old.amount));
            assert_eq!(new.id.sequence, 2);
        }
        // And one in the place of that one still says where the lines stood first.
        let scope = BillScope::Correction { of: 2, reason: "again".into() };
        let three = BillFile::correction(&plan(3, scope), &two.file.lines);
        assert_eq!(three.file.lines[0].first, one.file.lines[0].id);
    }
}

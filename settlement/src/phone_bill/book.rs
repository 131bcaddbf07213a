//! Every file that was issued and every answer that was taken, and what may follow.

use super::bill_plan::{BillPlan, BillScope};
use super::bill_seal::BillSeal;
use super::day::Day;
use super::returns::BillReturn;
use crate::period::Period;

/// Files and answers, in order.
#[derive(Debug, Clone, Default)]
pub struct BillBook {
    /// The seals, from sequence number 1 on.
    pub seals: Vec<BillSeal>,
    /// The plan of the next file, where one was begun.
    pub plan: Option<BillPlan>,
    /// The answers, from number 1 on.
    pub returns: Vec<BillReturn>,
}

/// What to do about a file that is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BillDecision<'a> {
    /// It is issued.
    Issued(&'a BillSeal),
    /// Another file was begun and comes first.
    Resume(&'a BillPlan),
    /// It cannot be issued, and why.
    Refuse(String),
    /// It can be issued.
    Plan,
}

impl BillBook {
    /// The file of a sequence number.
    pub fn seal(&self, sequence: u64) -> Option<&BillSeal> {
        let at = usize::try_from(sequence.checked_sub(1)?).ok()?;
        self.seals.get(at)
    }

    /// The sequence number of the next file.
    pub fn next_sequence(&self) -> u64 {
        u64::try_from(self.seals.len()).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// The daily files up to a sequence number, in order.
    pub fn dailies(&self, before: u64) -> impl DoubleEndedIterator<Item = (Day, &BillSeal)> {
        let earlier = self.seals.iter().filter(move |seal| seal.sequence < before);
        earlier.filter_map(|seal| Some((seal.scope.day()?, seal)))
    }

    /// The last daily file before a sequence number.
    pub fn last_daily(&self, before: u64) -> Option<(Day, &BillSeal)> {
        self.dailies(before).next_back()
    }

    /// The corrections before a sequence number, each with the file that it replaces.
    pub(super) fn corrections(&self, before: u64) -> impl Iterator<Item = (u64, &BillSeal)> {
        let earlier = self.seals.iter().filter(move |seal| seal.sequence < before);
        earlier.filter_map(|seal| Some((seal.scope.replaces()?, seal)))
    }

    /// The file that stands in the place of another.
    pub fn replacement(&self, sequence: u64) -> Option<&BillSeal> {
        self.corrections(u64::MAX).find(|(of, _)| *of == sequence).map(|(_, seal)| seal)
    }

    /// The answers to a file.
    pub(super) fn answers(&self, sequence: u64) -> impl Iterator<Item = &BillReturn> {
        self.returns.iter().filter(move |taken| taken.sequence == sequence)
    }

    /// What to do about a file that is asked for.
    pub fn decide(&self, wanted: &BillScope, now_ms: i64) -> BillDecision<'_> {
        if let Some(plan) = &self.plan {
            return BillDecision::Resume(plan);
        }
        if let Some(seal) = self.seals.iter().find(|seal| seal.scope.is_same(wanted)) {
            return BillDecision::Issued(seal);
        }
        let refusal = match wanted {
            BillScope::Daily { day } => self.refuse_day(*day, now_ms),
            BillScope::Monthly { month } => self.refuse_month(*month, now_ms),
            BillScope::Correction { of, .. } => self.refuse_correction(*of),
        };
        refusal.map_or(BillDecision::Plan, BillDecision::Refuse)
    }

    fn refuse_day(&self, day: Day, now_ms: i64) -> Option<String> {
        if now_ms < day.end_ms() {
            return Some(format!("{day} is not over in Asia/Shanghai"));
        }
        let (last, seal) = self.last_daily(u64::MAX)?;
        if day == last.next() {
            return None;
        }
        let (next, sequence) = (last.next(), seal.sequence);
        Some(if day > last {
            format!("{next} has no phone bill yet: days are issued in order, issue it first")
        } else {
            format!(
                "{day} was before the first phone bill: its rows are charged in the order in which \
                 they came; the last daily phone bill is {sequence}, of {last}"
            )
        })
    }

    fn refuse_month(&self, month: Period, now_ms: i64) -> Option<String> {
        if now_ms < month.end_ms() {
            return Some(format!("{month} is not over in Asia/Shanghai"));
        }
        let mut days = self.dailies(u64::MAX).map(|(day, _)| day);
        let last = Day::from(month.last_day());
        if !days.any(|day| day == last) {
            return Some(format!(
                "{last} has no daily phone bill: a month is the sums of its daily ones, issue them first"
            ));
        }
        None
    }

    fn refuse_correction(&self, of: u64) -> Option<String> {
        let Some(seal) = self.seal(of) else { return Some(self.no_such_file(of)) };
        if matches!(seal.scope, BillScope::Monthly { .. }) {
            return Some(format!("phone bill {of} is monthly and charges nothing: print it again"));
        }
        let taken = self.answers(of).next()?;
        Some(format!(
            "phone bill {of} was answered by return {}: what was rejected comes again by itself",
            taken.n
        ))
    }

    /// What files and answers say must be there, and is not: a file counts answers, and an answer
    /// is to a file.
    pub fn lost(&self) -> Option<String> {
        let taken = u64::try_from(self.returns.len()).unwrap_or(u64::MAX);
        let of_seals = self.seals.iter().map(|seal| (seal.sequence, seal.returns_to));
        let of_plan = self.plan.iter().map(|plan| (plan.sequence, plan.returns_to));
        let counted = of_seals.chain(of_plan).find(|(_, returns_to)| *returns_to > taken);
        if let Some((sequence, returns_to)) = counted {
            return Some(format!(
                "return {} is gone, which phone bill {sequence} counts: bring it back from a backup",
                taken.saturating_add(1).min(returns_to)
            ));
        }
        let answers = self.returns.iter().find(|taken| self.seal(taken.sequence).is_none())?;
        Some(format!(
            "the seal of phone bill {} is gone, which return {} answers: bring it back from a backup",
            answers.sequence, answers.n
        ))
    }

    /// How a sequence number that no file has is told.
    pub fn no_such_file(&self, sequence: u64) -> String {
        format!("there is no phone bill {sequence}; {} are issued", self.seals.len())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const NOON_NOV_27_MS: i64 = 1_795_752_000_000;

    pub(in crate::phone_bill) fn day(text: &str) -> BillScope {
        BillScope::Daily { day: Day::parse(text).unwrap() }
    }

    fn month(text: &str) -> BillScope {
        BillScope::Monthly { month: Period::parse(text).unwrap() }
    }

    pub(in crate::phone_bill) fn correction(of: u64) -> BillScope {
        BillScope::Correction { of, reason: "unreadable".into() }
    }

    pub(in crate::phone_bill) fn seal(
        sequence: u64,
        scope: BillScope,
        returns_to: u64,
    ) -> BillSeal {
        BillSeal {
            format: BillPlan::FORMAT,
            sequence,
            file_id: String::new(),
            scope,
            by: String::new(),
            at_ms: 0,
            code_version: String::new(),
            cut_offs: Vec::new(),
            returns_to,
            lines: 3,
            lines_again: 0,
            sums: Vec::new(),
            ledger: Vec::new(),
            lines_hash: format!("hash-{sequence}"),
            file_hash: String::new(),
            remainders_hash: String::new(),
            plan: String::new(),
            previous: String::new(),
        }
    }

    pub(in crate::phone_bill) fn plan(sequence: u64, scope: BillScope) -> BillPlan {
        BillPlan {
            format: BillPlan::FORMAT,
            sequence,
            scope,
            by: String::new(),
            at_ms: 0,
            code_version: String::new(),
            cut_offs: Vec::new(),
            returns_to: 0,
            replaced: String::new(),
            previous: String::new(),
        }
    }

    /// Daily files of 2026-10-30 and 31, the month, one more day.
    pub(in crate::phone_bill) fn book() -> BillBook {
        let scopes = [day("2026-10-30"), day("2026-10-31"), month("2026-10"), day("2026-11-01")];
        let seals = (1..).zip(scopes).map(|(sequence, scope)| seal(sequence, scope, 0));
        BillBook { seals: seals.collect(), plan: None, returns: Vec::new() }
    }

    #[test]
    fn days_are_issued_in_order_and_when_they_are_over() {
        let book = book();
        let decide = |scope: &BillScope| book.decide(scope, NOON_NOV_27_MS);
        assert_eq!(decide(&day("2026-11-02")), BillDecision::Plan);
        assert_eq!(decide(&day("2026-10-31")), BillDecision::Issued(&book.seals[1]));
        for (scope, words) in [
            (day("2026-11-27"), "is not over"),
            (day("2026-11-03"), "2026-11-02 has no phone bill yet"),
            (day("2026-10-29"), "before the first phone bill"),
            (month("2026-11"), "2026-11 is not over"),
            (month("2026-09"), "2026-09-30 has no daily phone bill"),
            (correction(9), "there is no phone bill 9"),
            (correction(0), "there is no phone bill 0"),
            (correction(3), "is monthly"),
        ] {
            match decide(&scope) {
                BillDecision::Refuse(refusal) => assert!(refusal.contains(words), "{refusal}"),
                other => panic!("{scope:?}: {other:?}"),
            }
        }
        assert_eq!(decide(&correction(4)), BillDecision::Plan);
        let first = BillBook::default();
        assert_eq!(first.decide(&day("2026-11-26"), NOON_NOV_27_MS), BillDecision::Plan);
        assert!(matches!(
            first.decide(&day("2026-11-27"), NOON_NOV_27_MS),
            BillDecision::Refuse(_)
        ));
    }

    #[test]
    fn what_others_rest_on_is_missed() {
        let whole = book();
        assert_eq!(whole.lost(), None);
        let counts = BillBook { plan: Some(plan(5, day("2026-11-02"))), ..book() };
        assert_eq!(counts.lost(), None);
        let mut counts = counts.clone();
        counts.plan.as_mut().unwrap().returns_to = 1;
        assert!(counts.lost().unwrap().starts_with("return 1 is gone, which phone bill 5 counts"));
        let mut counts = book();
        counts.seals[3].returns_to = 1;
        assert!(counts.lost().unwrap().starts_with("return 1 is gone, which phone bill 4 counts"));
    }

    #[test]
    fn what_was_begun_comes_first() {
        let plan = plan(5, day("2026-11-02"));
        let begun = BillBook { plan: Some(plan.clone()), ..book() };
        for scope in [day("2026-10-31"), day("2026-11-02"), month("2026-10")] {
            assert_eq!(begun.decide(&scope, NOON_NOV_27_MS), BillDecision::Resume(&plan));
        }
    }
}

//! Seals that are not there, and seals that nobody approved. That a seal must be there is known from
//! the journal: each approval becomes one.

use std::collections::BTreeSet;
use std::fmt;

use crate::books::{Books, ReviewState};
use crate::period::Period;
use crate::seal::Seal;

/// What does not fit between the journal and the seals that were found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealGap {
    /// The newest approval has no seal, and nothing was built on it: either its approval was
    /// interrupted before the seal, or the seal was taken away. Carried out again, it comes to the
    /// same bytes.
    Unwritten {
        /// Number of the seal.
        n: u64,
        /// The approved period.
        period: Period,
    },
    /// A seal was there, and is not any more.
    Gone {
        /// Number of the seal.
        n: u64,
        /// The approved period.
        period: Period,
    },
    /// A seal is there that no approval became.
    Unapproved {
        /// Number of the seal.
        n: u64,
    },
    /// The first seal is of a later approval: the version before this one let a month be closed
    /// although the approval of the first one was interrupted before its seal. Nothing is missing
    /// in the chain.
    NeverSealed {
        /// The approved period.
        period: Period,
    },
}

impl SealGap {
    /// The period that is approved and may still be sealed.
    pub const fn unwritten(&self) -> Option<Period> {
        match self {
            Self::Unwritten { period, .. } => Some(*period),
            Self::Gone { .. } | Self::Unapproved { .. } | Self::NeverSealed { .. } => None,
        }
    }

    /// Whether nothing may be built on the seals that are there.
    pub const fn forbids_building(&self) -> bool {
        matches!(self, Self::Gone { .. } | Self::Unapproved { .. })
    }
}

impl fmt::Display for SealGap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unwritten { n, period } => write!(
                f,
                "{period} was approved, and its seal {} is not there: its approval was interrupted, or the seal was taken away; tally settle approve --period {period} --by NAME writes it, and where days of {period} were removed a backup has it",
                Seal::path(*n)
            ),
            Self::Gone { n, period } => write!(
                f,
                "{period} was approved, and its seal {} is gone: bring it back from a backup, nothing is built on the others without it",
                Seal::path(*n)
            ),
            Self::Unapproved { n } => write!(
                f,
                "{} is a seal that no entry of the journal approved: entries of the journal are gone, or somebody wrote it",
                Seal::path(*n)
            ),
            Self::NeverSealed { period } => write!(
                f,
                "{period} was approved and never sealed: the first seal was made of a later month; what is owed for {period} is to be posted as an adjustment"
            ),
        }
    }
}

/// What does not fit between the journal and the numbers of the seals that were found; `first` is the
/// entry of the journal that the first seal names. A seal that is missing was there for certain where
/// a later one is, and where a later review is: a period is put into review upon the seal of the one
/// before.
pub fn seal_gaps(books: &Books, found: &BTreeSet<u64>, first: Option<u64>) -> Vec<SealGap> {
    let last_review = books.reviews().last().map(|state| state.review.n);
    let is_first =
        |state: &ReviewState| state.decision.as_ref().is_some_and(|of| Some(of.n) == first);
    let never_sealed = books.approvals().position(is_first).unwrap_or(0);
    let mut gaps: Vec<SealGap> = books
        .approvals()
        .take(never_sealed)
        .map(|state| SealGap::NeverSealed { period: state.review.what.period })
        .collect();
    let mut approved: u64 = 0;
    for (n, state) in (0..).zip(books.approvals().skip(never_sealed)) {
        approved = n + 1;
        if found.contains(&n) {
            continue;
        }
        let period = state.review.what.period;
        let is_last = last_review == Some(state.review.n) && found.range(n..).next().is_none();
        gaps.push(if is_last {
            SealGap::Unwritten { n, period }
        } else {
            SealGap::Gone { n, period }
        });
    }
    gaps.extend(found.range(approved..).map(|n| SealGap::Unapproved { n: *n }));
    gaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Act, Decision, Review};

    /// Months that were put into review one after the other, and whether each was approved; the
    /// last one may wait.
    fn books(decided: &[Option<bool>]) -> Books {
        let mut books = Books::default();
        let mut period = Period::parse("2026-10").unwrap();
        for approve in decided {
            let (plan, statements, adjustments) = (String::new(), Vec::new(), Vec::new());
            let review = Act::Review(Review { period, plan, statements, adjustments });
            let entry = books.entry(review, "ann", 1).unwrap();
            books.take(&entry).unwrap();
            let Some(approve) = *approve else { continue };
            let decision = Decision { of: entry.n, approve, note: "seen".into() };
            let entry = books.entry(Act::DecideReview(decision), "bob", 1).unwrap();
            books.take(&entry).unwrap();
            if approve {
                period = period.next();
            }
        }
        books
    }

    fn gaps(decided: &[Option<bool>], found: &[u64]) -> Vec<SealGap> {
        seal_gaps(&books(decided), &found.iter().copied().collect(), None)
    }

    #[test]
    fn only_the_newest_approval_may_lack_its_seal() {
        const YES: Option<bool> = Some(true);
        let month = |text: &str| Period::parse(text).unwrap();
        let [october, november, december] = ["2026-10", "2026-11", "2026-12"].map(month);
        let gone = |n, period| SealGap::Gone { n, period };
        let three = [YES; 3];
        assert_eq!(gaps(&three, &[0, 1, 2]), []);
        assert_eq!(gaps(&three, &[1, 2]), [gone(0, october)]);
        assert_eq!(gaps(&three, &[0, 2]), [gone(1, november)]);
        let unwritten = SealGap::Unwritten { n: 2, period: december };
        assert_eq!(gaps(&three, &[0, 1]), [unwritten]);
        assert_eq!(gaps(&three, &[]), [gone(0, october), gone(1, november), unwritten]);
        // A month that was sent back before is no approval.
        assert_eq!(gaps(&[Some(false), YES], &[0]), []);
        let unwritten = SealGap::Unwritten { n: 0, period: october };
        assert_eq!(gaps(&[Some(false), YES], &[]), [unwritten]);
        // November was put into review upon the seal of October, whatever became of it.
        assert_eq!(gaps(&[YES, None], &[]), [gone(0, october)]);
        assert_eq!(gaps(&[YES, Some(false)], &[]), [gone(0, october)]);
        assert_eq!(gaps(&[YES], &[0, 1]), [SealGap::Unapproved { n: 1 }]);
        assert_eq!(gaps(&[], &[0]), [SealGap::Unapproved { n: 0 }]);
        assert_eq!(gaps(&[], &[]), []);
    }

    /// As the version before this one could leave a store: the approval of the first month was
    /// interrupted, and the next one became seal 0.
    #[test]
    fn a_chain_may_begin_behind_an_approval_that_was_never_sealed() {
        let months = books(&[Some(true); 3]);
        let of = |place: usize| months.approvals().nth(place).unwrap();
        let entry = |place: usize| of(place).decision.as_ref().map(|decision| decision.n);
        let period = |place: usize| of(place).review.what.period;
        let gaps = |found: &[u64], first: Option<u64>| {
            seal_gaps(&months, &found.iter().copied().collect(), first)
        };
        let never = SealGap::NeverSealed { period: period(0) };
        assert_eq!(gaps(&[0, 1], entry(1)), [never]);
        assert!(!never.forbids_building());
        let unwritten = SealGap::Unwritten { n: 1, period: period(2) };
        assert_eq!(gaps(&[0], entry(1)), [never, unwritten]);
        // What the first seal names is where the chain begins, and no other.
        assert_eq!(gaps(&[0, 1, 2], entry(0)), []);
        assert_eq!(gaps(&[0, 1, 2], entry(1)), [never, SealGap::Unapproved { n: 2 }]);
        assert_eq!(gaps(&[0, 1, 2], Some(99)), []);
    }
}

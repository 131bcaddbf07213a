//! How a period ends: open → soft-closed → review → closed → settled, and what a request to close
//! it comes to. A decision over facts that were read before; what is decided, the edge does.

use std::fmt;

use crate::books::ReviewState;
use crate::period::Period;
use crate::seal::Seal;

/// Where a period is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeriodState {
    /// It is not over.
    Open,
    /// It is over; its usage still comes in and counts.
    SoftClosed,
    /// What counts is fixed by a plan; somebody else looks at the statements.
    Review,
    /// Sealed: nothing in it changes any more.
    Closed,
    /// Sealed and paid.
    Settled,
}

impl PeriodState {
    /// Name in statements.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::SoftClosed => "soft_closed",
            Self::Review => "review",
            Self::Closed => "closed",
            Self::Settled => "settled",
        }
    }

    /// Whether a statement of it may still change.
    pub const fn is_draft(self) -> bool {
        !matches!(self, Self::Closed | Self::Settled)
    }
}

/// What is known of a period.
#[derive(Debug, Clone, Copy)]
pub struct PeriodFacts<'a> {
    /// The period.
    pub period: Period,
    /// The time, milliseconds UTC.
    pub now_ms: i64,
    /// Its last review, where there is one.
    pub review: Option<&'a ReviewState>,
    /// Every seal, in order.
    pub seals: &'a [Seal],
    /// Whether it was paid.
    pub is_paid: bool,
    /// The period that is approved and whose seal is not there.
    pub unwritten: Option<Period>,
    /// The first period with usage that no seal covers, where it lies before this one.
    pub unsealed_before: Option<Period>,
    /// Whether committed epochs wait for their publication to the tables.
    pub is_behind: bool,
}

impl PeriodFacts<'_> {
    /// Where the period is.
    pub fn state(&self) -> PeriodState {
        if self.seal().is_some() {
            return if self.is_paid { PeriodState::Settled } else { PeriodState::Closed };
        }
        if self.standing_review().is_some() {
            return PeriodState::Review;
        }
        if self.now_ms < self.period.end_ms() { PeriodState::Open } else { PeriodState::SoftClosed }
    }

    /// Its review, unless that was rejected.
    pub fn standing_review(&self) -> Option<&ReviewState> {
        self.review.filter(|state| state.decision.is_none() || state.is_approved())
    }

    /// Its seal.
    pub fn seal(&self) -> Option<&Seal> {
        self.seals.iter().find(|seal| seal.period == self.period)
    }
}

/// Why a period is not closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not over.
    NotOver {
        /// The period.
        period: Period,
    },
    /// Another has to be closed first.
    OutOfOrder {
        /// The period.
        period: Period,
        /// The one that comes next.
        next: Period,
    },
    /// Another is approved, and its seal comes first.
    Unwritten {
        /// The period.
        period: Period,
        /// The one that is approved.
        approved: Period,
    },
    /// It lies before the first period that was closed.
    BeforeFirst {
        /// The period.
        period: Period,
        /// The first that was closed.
        first: Period,
    },
    /// The tables do not have everything that is committed.
    Behind,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOver { period } => write!(
                f,
                "{period} is not over: it ends with the last millisecond of {} in Asia/Shanghai",
                period.last_day()
            ),
            Self::OutOfOrder { period, next } => {
                write!(f, "{period} cannot be closed before {next}: periods are closed in order")
            }
            Self::Unwritten { period, approved } => write!(
                f,
                "{period} is built on the seal of {approved}, which was approved, and whose seal is not there: its approval was interrupted, or the seal was taken away; first tally settle approve --period {approved} --by NAME, which writes it"
            ),
            Self::BeforeFirst { period, first } => write!(
                f,
                "{period} lies before {first}, the first period that was closed: its usage is on later statements as adjustments"
            ),
            Self::Behind => f.write_str(
                "committed epochs wait for their publication to the tables: try again when `tally status` says 0 unpublished epochs",
            ),
        }
    }
}

/// What a request to close a period comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseDecision<'a> {
    /// Fix what counts, and put it into review.
    Plan,
    /// It is in review: somebody else has to decide.
    InReview(&'a ReviewState),
    /// It was approved: write the statements and the seal.
    Resume(&'a ReviewState),
    /// It is closed; this is its seal.
    Sealed(&'a Seal),
    /// It cannot be.
    Refuse(Refusal),
}

/// Decides what to do about a request to close a period.
pub fn decide_close<'a>(facts: &PeriodFacts<'a>) -> CloseDecision<'a> {
    let period = facts.period;
    if let Some(seal) = facts.seals.iter().find(|seal| seal.period == period) {
        return CloseDecision::Sealed(seal);
    }
    match facts.review {
        Some(state) if state.is_approved() => return CloseDecision::Resume(state),
        Some(state) if state.decision.is_none() => return CloseDecision::InReview(state),
        _ => {}
    }
    if facts.now_ms < period.end_ms() {
        return CloseDecision::Refuse(Refusal::NotOver { period });
    }
    let first = facts.seals.first().map(|seal| seal.period).or(facts.unwritten);
    if let Some(first) = first.filter(|first| period < *first) {
        return CloseDecision::Refuse(Refusal::BeforeFirst { period, first });
    }
    // What is approved is sealed before anything is built on it.
    if let Some(approved) = facts.unwritten.filter(|approved| *approved < period) {
        return CloseDecision::Refuse(Refusal::Unwritten { period, approved });
    }
    match facts.seals.last() {
        Some(last) if period != last.period.next() => {
            let next = last.period.next();
            CloseDecision::Refuse(Refusal::OutOfOrder { period, next })
        }
        _ => match facts.unsealed_before {
            Some(next) if facts.seals.is_empty() => {
                CloseDecision::Refuse(Refusal::OutOfOrder { period, next })
            }
            _ if facts.is_behind => CloseDecision::Refuse(Refusal::Behind),
            _ => CloseDecision::Plan,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::Done;
    use crate::control::ControlTotals;
    use crate::journal::{Decision, Review};

    fn seal(period: Period) -> Seal {
        Seal {
            format: 1,
            n: 0,
            period,
            by: "a".into(),
            at_ms: 0,
            approved_by: "b".into(),
            approved_at_ms: 0,
            entry: 1,
            entry_hash: String::new(),
            code_version: String::new(),
            contracts_version: String::new(),
            reference: String::new(),
            adjustments: Vec::new(),
            price_book_versions: Vec::new(),
            cut_offs: Vec::new(),
            files: Vec::new(),
            statements: Vec::new(),
            totals: ControlTotals::default(),
            plan: String::new(),
            previous: String::new(),
        }
    }

    fn done<T>(n: u64, by: &str, what: T) -> Done<T> {
        Done { n, by: by.into(), at_ms: 0, what }
    }

    fn review(period: Period, approve: Option<bool>) -> ReviewState {
        let plan = String::new();
        let review = Review { period, plan, statements: Vec::new(), adjustments: Vec::new() };
        let decision =
            approve.map(|approve| done(1, "b", Decision { of: 0, approve, note: "seen".into() }));
        ReviewState { review: done(0, "a", review), decision }
    }

    fn facts<'a>(
        period: Period,
        seals: &'a [Seal],
        review: Option<&'a ReviewState>,
    ) -> PeriodFacts<'a> {
        PeriodFacts {
            period,
            now_ms: period.end_ms(),
            review,
            seals,
            is_paid: false,
            unwritten: None,
            unsealed_before: None,
            is_behind: false,
        }
    }

    #[test]
    fn a_period_goes_one_way() {
        let october = Period::parse("2026-10").unwrap();
        let now_ms = october.end_ms();
        let state = |facts: &PeriodFacts<'_>| (facts.state(), facts.state().is_draft());
        let seals = [seal(october)];
        let open = PeriodFacts { now_ms: now_ms - 1, ..facts(october, &[], None) };
        assert_eq!(state(&open), (PeriodState::Open, true));
        assert_eq!(
            decide_close(&open),
            CloseDecision::Refuse(Refusal::NotOver { period: october })
        );
        let over = facts(october, &[], None);
        assert_eq!(state(&over), (PeriodState::SoftClosed, true));
        assert_eq!(decide_close(&over), CloseDecision::Plan);
        let [waits, rejected, approved] =
            [None, Some(false), Some(true)].map(|decision| review(october, decision));
        let in_review = facts(october, &[], Some(&waits));
        assert_eq!(state(&in_review), (PeriodState::Review, true));
        assert_eq!(decide_close(&in_review), CloseDecision::InReview(&waits));
        // What was sent back is planned again.
        let sent_back = facts(october, &[], Some(&rejected));
        assert_eq!(state(&sent_back), (PeriodState::SoftClosed, true));
        assert_eq!(decide_close(&sent_back), CloseDecision::Plan);
        let resumed = facts(october, &[], Some(&approved));
        assert_eq!(state(&resumed), (PeriodState::Review, true));
        assert_eq!(decide_close(&resumed), CloseDecision::Resume(&approved));
        let closed = facts(october, &seals, Some(&approved));
        assert_eq!(state(&closed), (PeriodState::Closed, false));
        assert_eq!(decide_close(&closed), CloseDecision::Sealed(&seals[0]));
        let paid = PeriodFacts { is_paid: true, ..closed };
        assert_eq!(state(&paid), (PeriodState::Settled, false));
    }

    #[test]
    fn periods_are_closed_in_order_and_with_everything_published() {
        let october = Period::parse("2026-10").unwrap();
        let (november, december) = (october.next(), october.next().next());
        let seals = [seal(october)];
        assert_eq!(decide_close(&facts(november, &seals, None)), CloseDecision::Plan);
        let skips = Refusal::OutOfOrder { period: december, next: november };
        assert_eq!(decide_close(&facts(december, &seals, None)), CloseDecision::Refuse(skips));
        let september = Period::parse("2026-09").unwrap();
        let early = Refusal::BeforeFirst { period: september, first: october };
        assert_eq!(decide_close(&facts(september, &seals, None)), CloseDecision::Refuse(early));
        let unsealed =
            PeriodFacts { unsealed_before: Some(september), ..facts(october, &[], None) };
        let first = Refusal::OutOfOrder { period: october, next: september };
        assert_eq!(decide_close(&unsealed), CloseDecision::Refuse(first));
        // Once the chain has begun, what lies before it is late usage.
        let later =
            PeriodFacts { unsealed_before: Some(september), ..facts(november, &seals, None) };
        assert_eq!(decide_close(&later), CloseDecision::Plan);
        // What is approved is sealed before anything is built on it.
        let unwritten = PeriodFacts { unwritten: Some(october), ..facts(november, &[], None) };
        let first = Refusal::Unwritten { period: november, approved: october };
        assert_eq!(decide_close(&unwritten), CloseDecision::Refuse(first));
        let later = PeriodFacts { unwritten: Some(november), ..facts(december, &seals, None) };
        let first = Refusal::Unwritten { period: december, approved: november };
        assert_eq!(decide_close(&later), CloseDecision::Refuse(first));
        // What lies before the first that was closed is built on none of it, written or not.
        for seals in [&seals[..], &[]] {
            let first = if seals.is_empty() { november } else { october };
            let unwritten =
                PeriodFacts { unwritten: Some(november), ..facts(september, seals, None) };
            let early = Refusal::BeforeFirst { period: september, first };
            assert_eq!(decide_close(&unwritten), CloseDecision::Refuse(early));
        }
        let behind = PeriodFacts { is_behind: true, ..facts(october, &[], None) };
        assert_eq!(decide_close(&behind), CloseDecision::Refuse(Refusal::Behind));
    }
}

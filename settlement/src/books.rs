//! The books: what the journal comes to. Whoever reads it back holds every entry to the rules again
//! that who acted was held to.

use std::collections::BTreeMap;

use crate::adjustment::{AdjustmentReason, PostedAdjustment};
use crate::books_error::BooksError;
use crate::decimal::Cents;
use crate::journal::{
    Act, Billed, Decision, Dispute, DisputeOutcome, JournalEntry, Payment, Proposal, ReRatedAmount,
    Reconciled, Resolution, Review, adjustment_name, dispute_name, part_name,
};
use crate::period::Period;
use crate::{Bug, planted};

/// Something that somebody did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<T> {
    /// Entry of the journal.
    pub n: u64,
    /// Who.
    pub by: String,
    /// When, milliseconds UTC.
    pub at_ms: i64,
    /// What.
    pub what: T,
}

/// A period that was put into review, and what was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReviewState {
    /// The review.
    pub review: Done<Review>,
    /// The decision, where there is one.
    pub decision: Option<Done<Decision>>,
}

impl ReviewState {
    /// Whether it was approved.
    pub fn is_approved(&self) -> bool {
        self.decision.as_ref().is_some_and(|decision| decision.what.approve)
    }
}

/// An adjustment that was proposed, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdjustmentState {
    /// The proposal; its entry is the adjustment's number.
    pub proposal: Done<Proposal>,
    /// The decision, where there is one.
    pub decision: Option<Done<Decision>>,
    /// The period on whose statement it is.
    pub counted_in: Option<Period>,
}

impl AdjustmentState {
    /// How it is called.
    pub fn name(&self) -> String {
        adjustment_name(self.proposal.n)
    }

    /// Where it is: `proposed`, `rejected`, `approved` or `on_statement`.
    pub fn state(&self) -> &'static str {
        match (&self.decision, self.counted_in) {
            (None, _) => "proposed",
            (Some(decision), _) if !decision.what.approve => "rejected",
            (Some(_), None) => "approved",
            (Some(_), Some(_)) => "on_statement",
        }
    }

    fn is_approved(&self) -> bool {
        self.decision.as_ref().is_some_and(|decision| decision.what.approve)
    }

    /// As a statement counts it: of a re-rate a row for each line, of any other one.
    pub fn posted(&self) -> Vec<PostedAdjustment> {
        let n = self.proposal.n;
        let Proposal { terms, reason, amount, orig_period, orig_line_id, note, re_rate, .. } =
            &self.proposal.what;
        let posted = |id: String, amount: Cents, orig_line_id: &Option<String>| PostedAdjustment {
            id,
            terms: terms.clone(),
            reason: *reason,
            amount,
            orig_period: *orig_period,
            orig_line_id: orig_line_id.clone(),
            note: note.clone(),
            by: self.proposal.by.clone(),
            approved_by: self.decision.as_ref().map_or(String::new(), |done| done.by.clone()),
        };
        let Some(re_rate) = re_rate else {
            return vec![posted(self.name(), *amount, orig_line_id)];
        };
        let parts = re_rate.lines.iter().enumerate();
        parts
            .map(|(line, ReRatedAmount { orig_line_id, amount })| {
                posted(part_name(n, line), *amount, orig_line_id)
            })
            .collect()
    }

    /// Whether it corrects, by a re-rate that was not rejected, what terms paid for a period.
    fn re_rates(&self, vendor: &str, period: Period) -> bool {
        let Proposal { vendor: of, reason, orig_period, .. } = &self.proposal.what;
        let stands = self.decision.as_ref().is_none_or(|decision| decision.what.approve);
        stands
            && of == vendor
            && *reason == AdjustmentReason::ReRate
            && *orig_period == Some(period)
    }
}

/// A dispute and how it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisputeState {
    /// The dispute; its entry is its number.
    pub dispute: Done<Dispute>,
    /// How it ended, where it did.
    pub resolution: Option<Done<Resolution>>,
}

impl DisputeState {
    /// How it is called.
    pub fn name(&self) -> String {
        dispute_name(self.dispute.n)
    }

    /// Where it is: `open`, `accepted`, `rejected` or `settled`.
    pub fn state(&self) -> &'static str {
        match self.resolution.as_ref().map(|done| &done.what.outcome) {
            None => "open",
            Some(DisputeOutcome::Accepted) => "accepted",
            Some(DisputeOutcome::Rejected) => "rejected",
            Some(DisputeOutcome::Settled(_)) => "settled",
        }
    }

    /// What the vendor gives back, and the adjustment that says so.
    pub fn credit(&self) -> Option<(Cents, u64)> {
        let done = self.resolution.as_ref()?;
        match &done.what.outcome {
            DisputeOutcome::Settled(proposal) => Some((Cents(-proposal.amount.0), done.n)),
            DisputeOutcome::Accepted | DisputeOutcome::Rejected => None,
        }
    }
}

/// What the journal comes to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Books {
    next: u64,
    head: String,
    pub(crate) reviews: Vec<ReviewState>,
    payments: BTreeMap<(Period, String), Done<Payment>>,
    pub(crate) adjustments: BTreeMap<u64, AdjustmentState>,
    pub(crate) disputes: BTreeMap<u64, DisputeState>,
    reconciled: Vec<Done<Reconciled>>,
}

impl Books {
    /// Reads a journal from its first entry.
    ///
    /// # Errors
    /// `Damaged` where the chain is broken, or an entry says what nobody was allowed to do.
    pub fn replay(entries: &[JournalEntry]) -> Result<Self, BooksError> {
        let mut books = Self::default();
        for entry in entries {
            books.take(entry)?;
        }
        Ok(books)
    }

    /// Takes the next entry.
    ///
    /// # Errors
    /// As [`Self::replay`].
    pub fn take(&mut self, entry: &JournalEntry) -> Result<(), BooksError> {
        let n = self.next;
        let damaged = |what: String| BooksError::Damaged(format!("entry {n}: {what}"));
        if entry.n != n {
            return Err(damaged(format!("it says that it is entry {}", entry.n)));
        }
        if entry.previous != self.head {
            return Err(damaged("it does not follow the one before it".to_owned()));
        }
        self.admit(&entry.act, &entry.by, entry.at_ms)
            .map_err(|error| damaged(error.to_string()))?;
        self.record(entry);
        self.head = entry.hash().map_err(|error| damaged(error.to_string()))?;
        self.next += 1;
        Ok(())
    }

    /// The entry that does something now.
    ///
    /// # Errors
    /// Why it may not be done.
    pub fn entry(&self, act: Act, by: &str, at_ms: i64) -> Result<JournalEntry, BooksError> {
        self.admit(&act, by, at_ms)?;
        let by = by.trim().to_owned();
        let (n, previous) = (self.next, self.head.clone());
        let format = JournalEntry::format_of(&act);
        Ok(JournalEntry { format, n, at_ms, by, act, previous })
    }

    /// How many entries there are.
    pub const fn entries(&self) -> u64 {
        self.next
    }

    /// Every review, in order.
    pub fn reviews(&self) -> &[ReviewState] {
        &self.reviews
    }

    /// Every review that was approved, in order: seal `n` is of the `n`-th, from 0 on, or from the one
    /// on that the first seal names.
    pub fn approvals(&self) -> impl Iterator<Item = &ReviewState> {
        self.reviews.iter().filter(|state| state.is_approved())
    }

    /// The last review of a period.
    pub fn review(&self, period: Period) -> Option<&ReviewState> {
        self.reviews.iter().rev().find(|state| state.review.what.period == period)
    }

    /// The last period that is closed.
    pub fn last_closed(&self) -> Option<Period> {
        self.approvals().map(|state| state.review.what.period).max()
    }

    /// Whether a period is closed.
    pub fn is_closed(&self, period: Period) -> bool {
        self.review(period).is_some_and(ReviewState::is_approved)
    }

    /// Every payment, by period and vendor.
    pub fn payments(&self) -> impl Iterator<Item = &Done<Payment>> {
        self.payments.values()
    }

    /// The payment of a statement.
    pub fn payment(&self, period: Period, vendor: &str) -> Option<&Done<Payment>> {
        self.payments.get(&(period, vendor.to_owned()))
    }

    /// Whether everything of a closed period that comes to something was paid.
    pub fn is_paid(&self, period: Period) -> bool {
        let Some(state) = self.review(period).filter(|state| state.is_approved()) else {
            return false;
        };
        let owed = state.review.what.statements.iter().filter(|sealed| sealed.total.gross.0 != 0);
        let mut owed = owed.peekable();
        owed.peek().is_some() && owed.all(|sealed| self.payment(period, &sealed.vendor).is_some())
    }

    /// Every adjustment, in order.
    pub fn adjustments(&self) -> impl Iterator<Item = &AdjustmentState> {
        self.adjustments.values()
    }

    /// An adjustment.
    ///
    /// # Errors
    /// `NoSuchAdjustment`.
    pub fn adjustment(&self, n: u64) -> Result<&AdjustmentState, BooksError> {
        let found = self.adjustments.get(&n);
        found.ok_or_else(|| BooksError::NoSuchAdjustment(adjustment_name(n)))
    }

    /// What was posted of a period so far because it was rated again, by terms and line; what waits
    /// for a decision included.
    pub fn re_rated(
        &self,
        vendor: &str,
        period: Period,
    ) -> BTreeMap<(String, Option<String>), Cents> {
        let mut posted: BTreeMap<(String, Option<String>), Cents> = BTreeMap::new();
        for state in self.adjustments.values().filter(|state| state.re_rates(vendor, period)) {
            for row in state.posted() {
                let sum = posted.entry((row.terms, row.orig_line_id)).or_default();
                // A sum of amounts that fit a statement; what does not is refused when it is made.
                sum.0 = sum.0.saturating_add(row.amount.0);
            }
        }
        posted
    }

    /// A re-rate of a vendor's period that waits for a decision.
    pub fn waiting_re_rate(&self, vendor: &str, period: Period) -> Option<&AdjustmentState> {
        let waits = |state: &&AdjustmentState| {
            state.decision.is_none()
                && state.proposal.what.re_rate.is_some()
                && state.re_rates(vendor, period)
        };
        self.adjustments.values().find(waits)
    }

    /// The adjustment by which the vendor's figure of a month counts in a currency: posted, or
    /// waiting for a decision.
    pub fn billed(&self, vendor: &str, period: Period, currency: &str) -> Option<&AdjustmentState> {
        let is_of = |billed: &Billed| billed.period == period && billed.currency == currency;
        let stands = |state: &&AdjustmentState| {
            let what = &state.proposal.what;
            what.vendor == vendor
                && what.billed.as_ref().is_some_and(is_of)
                && state.decision.as_ref().is_none_or(|decision| decision.what.approve)
        };
        self.adjustments.values().find(stands)
    }

    /// A proposal that says the same and waits for a decision.
    pub fn waiting_like(&self, proposal: &Proposal) -> Option<&AdjustmentState> {
        let waits =
            |state: &&AdjustmentState| state.decision.is_none() && state.proposal.what == *proposal;
        self.adjustments.values().find(waits)
    }

    /// The adjustments that the close of a period has to count: approved, on no statement yet, and
    /// for this period or an earlier one.
    pub fn due(&self, period: Period) -> impl Iterator<Item = &AdjustmentState> {
        self.adjustments.values().filter(move |state| {
            let approved = state.is_approved()
                || (planted(Bug::UnapprovedAdjusts) && state.decision.is_none());
            let waits = state.counted_in.is_none() || planted(Bug::AdjustedTwice);
            approved && waits && state.proposal.what.period <= period
        })
    }

    /// Every dispute, in order.
    pub fn disputes(&self) -> impl Iterator<Item = &DisputeState> {
        self.disputes.values()
    }

    /// A dispute.
    ///
    /// # Errors
    /// `NoSuchDispute`.
    pub fn dispute(&self, n: u64) -> Result<&DisputeState, BooksError> {
        let found = self.disputes.get(&n);
        found.ok_or_else(|| BooksError::NoSuchDispute(dispute_name(n)))
    }

    /// Every comparison with a bill that was put down, in order.
    pub fn reconciled(&self) -> &[Done<Reconciled>] {
        &self.reconciled
    }

    /// Records what was admitted.
    fn record(&mut self, entry: &JournalEntry) {
        match &entry.act {
            Act::Review(review) => {
                let review = done(entry, review);
                self.reviews.push(ReviewState { review, decision: None });
            }
            Act::DecideReview(decision) => self.record_review_decision(entry, decision),
            Act::Pay(payment) => {
                let key = (payment.period, payment.vendor.clone());
                self.payments.insert(key, done(entry, payment));
            }
            Act::Adjust(proposal) => self.propose(entry, proposal),
            Act::DecideAdjustment(decision) => {
                if let Some(state) = self.adjustments.get_mut(&decision.of) {
                    state.decision = Some(done(entry, decision));
                }
            }
            Act::Reconcile(reconciled) => self.reconciled.push(done(entry, reconciled)),
            Act::OpenDispute(dispute) => {
                let dispute = done(entry, dispute);
                self.disputes.insert(entry.n, DisputeState { dispute, resolution: None });
            }
            Act::ResolveDispute(resolution) => {
                if let DisputeOutcome::Settled(proposal) = &resolution.outcome {
                    self.propose(entry, proposal);
                }
                if let Some(state) = self.disputes.get_mut(&resolution.dispute) {
                    state.resolution = Some(done(entry, resolution));
                }
            }
        }
    }

    fn record_review_decision(&mut self, entry: &JournalEntry, decision: &Decision) {
        let Some(state) = self.reviews.iter_mut().find(|s| s.review.n == decision.of) else {
            return;
        };
        state.decision = Some(done(entry, decision));
        if decision.approve {
            let Review { period, adjustments, .. } = &state.review.what;
            for n in adjustments {
                if let Some(adjustment) = self.adjustments.get_mut(n) {
                    adjustment.counted_in = Some(*period);
                }
            }
        }
    }

    fn propose(&mut self, entry: &JournalEntry, proposal: &Proposal) {
        let proposal = done(entry, proposal);
        let state = AdjustmentState { proposal, decision: None, counted_in: None };
        self.adjustments.insert(entry.n, state);
    }
}

fn done<T: Clone>(entry: &JournalEntry, what: &T) -> Done<T> {
    Done { n: entry.n, by: entry.by.clone(), at_ms: entry.at_ms, what: what.clone() }
}

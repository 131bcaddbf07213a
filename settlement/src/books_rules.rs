//! Who may do what to the books. Every rule stands here, once.

use std::collections::BTreeSet;

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};

use crate::adjustment::AdjustmentReason;
use crate::books::{Books, DisputeState, Done};
use crate::books_error::BooksError;
use crate::journal::{
    Act, Billed, Decision, Dispute, DisputeOutcome, Payment, Proposal, ReRated, Reconciled,
    Resolution, Review, adjustment_name,
};
use crate::person::{person_name, same_person};
use crate::{Bug, planted};

/// Pico-currency of 0.01.
const CENT_PICO: i128 = 10_000_000_000;

impl Books {
    /// Refuses what may not be done as the books are, at a time.
    pub(crate) fn admit(&self, act: &Act, by: &str, at_ms: i64) -> Result<(), BooksError> {
        person_name(by).ok_or(BooksError::NoName)?;
        let today = day_of(at_ms);
        match act {
            Act::Review(review) => self.admit_review(review),
            Act::DecideReview(decision) => self.admit_review_decision(decision, by),
            Act::Pay(payment) => self.admit_payment(payment, today),
            Act::Adjust(proposal) => self.admit_proposal(proposal, today),
            Act::DecideAdjustment(decision) => self.admit_adjustment_decision(decision, by),
            Act::Reconcile(_) => Ok(()),
            Act::OpenDispute(dispute) => self.admit_dispute(dispute, today),
            Act::ResolveDispute(resolution) => self.admit_resolution(resolution, today),
        }
    }

    fn admit_review(&self, review: &Review) -> Result<(), BooksError> {
        let period = review.period;
        if let Some(last) = self.last_closed() {
            let next = last.next();
            if period <= last {
                return Err(BooksError::Closed { period, open: next });
            }
            if period != next {
                return Err(BooksError::OutOfOrder { period, next });
            }
        }
        // Periods are closed one at a time: what is in review must be decided first.
        if let Some(state) = self.reviews.iter().find(|state| state.decision.is_none()) {
            return Err(BooksError::InReview(state.review.what.period));
        }
        let due: Vec<u64> = self.due(period).map(|state| state.proposal.n).collect();
        if review.adjustments != due {
            let (found, expected) = (names(&review.adjustments), names(&due));
            return Err(BooksError::OtherAdjustments { period, found, expected });
        }
        Ok(())
    }

    fn admit_review_decision(&self, decision: &Decision, by: &str) -> Result<(), BooksError> {
        let found = self.reviews.iter().find(|state| state.review.n == decision.of);
        let state = found.ok_or_else(|| {
            BooksError::Damaged(format!(
                "a decision about entry {}, which is no review",
                decision.of
            ))
        })?;
        let what = state.review.what.period.to_string();
        not_decided(&what, state.decision.as_ref())?;
        four_eyes(what, &state.review.by, by, decision)
    }

    fn admit_payment(&self, payment: &Payment, today: Date) -> Result<(), BooksError> {
        let Payment { period, vendor, paid_on, reference } = payment;
        let state = self.review(*period).filter(|state| state.is_approved());
        let state = state.ok_or(BooksError::NotClosed(*period))?;
        let statements = &state.review.what.statements;
        let (period, vendor) = (*period, vendor.clone());
        let Some(sealed) = statements.iter().find(|sealed| sealed.vendor == vendor) else {
            let there: Vec<&str> = statements.iter().map(|s| s.vendor.as_str()).collect();
            return Err(BooksError::NoStatement { vendor, period, there: there.join(", ") });
        };
        if sealed.total.gross.0 == 0 {
            return Err(BooksError::NothingToPay { vendor, period });
        }
        if reference.trim().is_empty() {
            return Err(BooksError::NoReference);
        }
        if *paid_on > today {
            return Err(BooksError::Future(*paid_on));
        }
        if let Some(paid) = self.payment(period, &vendor) {
            let Payment { paid_on, reference, .. } = paid.what.clone();
            return Err(BooksError::PaidAlready { vendor, period, paid_on, reference });
        }
        Ok(())
    }

    fn admit_proposal(&self, proposal: &Proposal, today: Date) -> Result<(), BooksError> {
        let Proposal { period, reason, amount, orig_period, orig_line_id, note, .. } = proposal;
        if amount.0 == 0 && proposal.re_rate.is_none() {
            return Err(BooksError::ZeroAmount);
        }
        if note.trim().is_empty() {
            return Err(BooksError::NoNote);
        }
        if !reason.is_posted() {
            return Err(BooksError::NotPosted(reason.name()));
        }
        if let Some(last) = self.last_closed().filter(|last| period <= last) {
            return Err(BooksError::Closed { period: *period, open: last.next() });
        }
        if period.first_day() > today {
            return Err(BooksError::NotBegun(*period));
        }
        match (orig_period, orig_line_id) {
            (Some(orig), _) if orig >= period => {
                Err(BooksError::OriginNotEarlier { orig: *orig, period: *period })
            }
            // What lies before the first close was settled elsewhere: it has no line here.
            (Some(orig), Some(_)) if !self.is_closed(*orig) => Err(BooksError::OriginOpen(*orig)),
            (None, Some(line)) => Err(BooksError::LineWithoutPeriod(line.clone())),
            _ => Ok(()),
        }?;
        match (&proposal.re_rate, &proposal.billed) {
            (None, None) => Ok(()),
            (Some(re_rate), None) => self.admit_re_rate(proposal, re_rate),
            (None, Some(billed)) => self.admit_billed(proposal, billed),
            (Some(_), Some(_)) => {
                Err(BooksError::Damaged("a re-rate that is of a bill, too".to_owned()))
            }
        }
    }

    /// The vendor's figure counts within the tolerance, once for each month and currency, and what
    /// is posted is what it differs by, to the hundredth.
    fn admit_billed(&self, proposal: &Proposal, billed: &Billed) -> Result<(), BooksError> {
        let Proposal { vendor, reason, amount, .. } = proposal;
        let Billed { comparison, period, currency } = billed;
        let damaged = |what: &str| Err(BooksError::Damaged(format!("the figure of a bill {what}")));
        let compared = self.reconciled().iter().find(|done| done.n == *comparison);
        let compared = compared.map(|done| &done.what).filter(|what| {
            (&what.vendor, &what.period) == (vendor, period)
                && *reason == AdjustmentReason::VolumeCorrection
        });
        let Some(compared) = compared else {
            return damaged("was not put down, or has another vendor, month or reason");
        };
        let total = compared.totals.iter().find(|total| total.currency == *currency);
        let differs = total.and_then(|total| total.theirs.0.checked_sub(total.ours.0));
        let posted = amount.0.checked_mul(CENT_PICO);
        let off = differs.zip(posted).map(|(differs, posted)| differs.abs_diff(posted));
        if off.is_none_or(|off| off >= CENT_PICO.unsigned_abs()) {
            return damaged("differs by something else");
        }
        if !compared.inside {
            return Err(BooksError::NotWithin { vendor: vendor.clone(), period: *period });
        }
        match self.billed(vendor, *period, currency) {
            Some(state) if !planted(Bug::BilledTwice) => Err(BooksError::BilledAlready {
                vendor: vendor.clone(),
                period: *period,
                currency: currency.clone(),
                name: state.name(),
            }),
            _ => Ok(()),
        }
    }

    /// A re-rate is of a closed period; one of its terms waits at a time, so that the next one is
    /// against everything that was posted; and its lines are what it comes to.
    fn admit_re_rate(&self, proposal: &Proposal, re_rate: &ReRated) -> Result<(), BooksError> {
        let Proposal { vendor, terms, reason, amount, orig_period, orig_line_id, .. } = proposal;
        let damaged = |what: &str| Err(BooksError::Damaged(format!("a re-rate {what}")));
        let Some(orig) = orig_period.filter(|_| *reason == AdjustmentReason::ReRate) else {
            return damaged("has no period or another reason");
        };
        if !self.is_closed(orig) {
            return Err(BooksError::OriginOpen(orig));
        }
        let waiting = self.adjustments.values().find(|state| {
            let what = &state.proposal.what;
            state.decision.is_none()
                && what.re_rate.is_some()
                && (&what.vendor, &what.terms, what.orig_period) == (vendor, terms, *orig_period)
        });
        if let Some(state) = waiting
            && !planted(Bug::ReRateTwiceAtOnce)
        {
            return Err(BooksError::ReRateWaits(state.name()));
        }
        let mut lines = BTreeSet::new();
        let mut sum: i128 = 0;
        for line in &re_rate.lines {
            if line.amount.0 == 0 || !lines.insert(&line.orig_line_id) {
                return damaged("has a line twice, or one of 0.00");
            }
            let Some(more) = sum.checked_add(line.amount.0) else {
                return damaged("is too large to be added");
            };
            sum = more;
        }
        if lines.is_empty() || sum != amount.0 || orig_line_id.is_some() {
            return damaged("does not come to its lines");
        }
        Ok(())
    }

    fn admit_adjustment_decision(&self, decision: &Decision, by: &str) -> Result<(), BooksError> {
        let state = self.adjustment(decision.of)?;
        not_decided(&state.name(), state.decision.as_ref())?;
        four_eyes(state.name(), &state.proposal.by, by, decision)
    }

    fn admit_dispute(&self, dispute: &Dispute, today: Date) -> Result<(), BooksError> {
        let Reconciled { vendor, period, inside, .. } = &dispute.reconciled;
        if *inside {
            return Err(BooksError::NothingDisputed { vendor: vendor.clone(), period: *period });
        }
        if dispute.deadline < today {
            return Err(BooksError::DeadlinePassed(dispute.deadline));
        }
        let same = |state: &&DisputeState| state.dispute.what.evidence == dispute.evidence;
        match self.disputes.values().find(same) {
            Some(state) => Err(BooksError::DisputedAlready(state.name())),
            None => Ok(()),
        }
    }

    fn admit_resolution(&self, resolution: &Resolution, today: Date) -> Result<(), BooksError> {
        let state = self.dispute(resolution.dispute)?;
        if let Some(done) = &state.resolution {
            let (what, how, by) = (state.name(), state.state(), done.by.clone());
            return Err(BooksError::Decided { what, how, by });
        }
        if resolution.note.trim().is_empty() {
            return Err(BooksError::NoNote);
        }
        let DisputeOutcome::Settled(proposal) = &resolution.outcome else { return Ok(()) };
        if proposal.amount.0 >= 0 {
            return Err(BooksError::NoCredit);
        }
        let of_dispute = proposal.dispute == Some(resolution.dispute)
            && proposal.reason == AdjustmentReason::DisputeCredit
            && proposal.vendor == state.dispute.what.reconciled.vendor;
        if !of_dispute {
            let what = format!("the credit of {} is not one of that dispute", state.name());
            return Err(BooksError::Damaged(what));
        }
        self.admit_proposal(proposal, today)
    }
}

fn names(adjustments: &[u64]) -> String {
    let names: Vec<String> = adjustments.iter().map(|n| adjustment_name(*n)).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

fn not_decided(what: &str, decision: Option<&Done<Decision>>) -> Result<(), BooksError> {
    let Some(decision) = decision else { return Ok(()) };
    let how = if decision.what.approve { "approved" } else { "rejected" };
    let (what, by) = (what.to_owned(), decision.by.clone());
    Err(BooksError::Decided { what, how, by })
}

/// Somebody else approves; who asked may take it back, and whoever rejects says why.
fn four_eyes(what: String, who: &str, by: &str, decision: &Decision) -> Result<(), BooksError> {
    if !decision.approve {
        return if decision.note.trim().is_empty() { Err(BooksError::NoNote) } else { Ok(()) };
    }
    if same_person(who, by) && !planted(Bug::TwoEyes) {
        return Err(BooksError::SamePerson { what, who: who.to_owned() });
    }
    Ok(())
}

/// The day of a time in Asia/Shanghai.
fn day_of(at_ms: i64) -> Date {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.to_zoned(TimeZone::fixed(Offset::constant(8))).date()
}

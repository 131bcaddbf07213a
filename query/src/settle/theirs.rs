//! The vendor's figures in place of ours: what a bill within the tolerance differs by, where the
//! terms take the vendor's figures, is proposed as an adjustment.

use tally_settlement::{
    Act, AdjustmentReason, AdjustmentState, Billed, Books, BooksError, Cents, Counts, CurrencySum,
    Done, Form, Fraction, Period, Proposal, Reconciled, Terms,
};

use super::{NewAdjustment, Settlement, TermsOrigin, invalid};
use crate::error::QueryError;

/// What is to be proposed of one currency of a bill.
struct Difference {
    terms: String,
    currency: String,
    amount: Cents,
}

impl Settlement<'_> {
    /// Refuses a bill whose figures cannot be proposed, before anything of it is put down.
    ///
    /// # Errors
    /// `Invalid` where the bill is outside of the tolerance, the terms take our figures, are not
    /// approved, or do not say what an amount of the bill is owed by, and where another amount of
    /// the month is proposed or posted.
    pub async fn check_theirs(
        &self,
        compared: &Reconciled,
        terms: Option<&str>,
        now_ms: i64,
    ) -> Result<(), QueryError> {
        let Reconciled { vendor, period, .. } = compared;
        let books = self.books().await?;
        for Difference { currency, amount, .. } in self.differences(compared, terms, now_ms)? {
            let there = books.billed(vendor, *period, &currency);
            if let Some(other) = there.filter(|there| there.proposal.what.amount != amount) {
                let (vendor, period, name) = (vendor.clone(), *period, other.name());
                return Err(BooksError::BilledAlready { vendor, period, currency, name }.into());
            }
        }
        Ok(())
    }

    /// Proposes what the vendor's figures differ by from ours, each currency by itself; nothing for
    /// less than half a hundredth. What stands of the same month with the same amount is found and
    /// not doubled. Somebody else has to approve it.
    ///
    /// # Errors
    /// As [`Self::check_theirs`]; `Retry` while the store is away.
    pub async fn propose_theirs(
        &self,
        compared: &Done<Reconciled>,
        terms: Option<&str>,
        by: &str,
        now_ms: i64,
    ) -> Result<Vec<AdjustmentState>, QueryError> {
        let differences = self.differences(&compared.what, terms, now_ms)?;
        let mut proposed = Vec::new();
        for difference in differences {
            proposed.push(self.propose_difference(compared, &difference, by, now_ms).await?);
        }
        Ok(proposed)
    }

    async fn propose_difference(
        &self,
        compared: &Done<Reconciled>,
        difference: &Difference,
        by: &str,
        now_ms: i64,
    ) -> Result<AdjustmentState, QueryError> {
        let Reconciled { vendor, period, bill, bill_hash, .. } = &compared.what;
        let Difference { terms, currency, amount } = difference;
        loop {
            let mut known = self.known().await?;
            let books = &known.journal.books;
            let there = books.billed(vendor, *period, currency);
            if let Some(there) = there.filter(|there| there.proposal.what.amount == *amount) {
                return Ok(there.clone());
            }
            let counted_in = open_period(books, *period);
            let new = NewAdjustment {
                vendor: vendor.clone(),
                period: counted_in,
                terms: Some(terms.clone()),
                reason: AdjustmentReason::VolumeCorrection,
                amount: *amount,
                orig_period: (*period < counted_in).then_some(*period),
                orig_line: None,
                note: format!(
                    "the vendor's figure counts: {bill} for {period}, {}",
                    bill_hash.get(..12).unwrap_or(bill_hash)
                ),
            };
            let billed =
                Billed { comparison: compared.n, period: *period, currency: currency.clone() };
            let proposal = self.proposal(&new, &known, now_ms).await?;
            let act = Act::Adjust(Proposal { billed: Some(billed), ..proposal });
            if let Some(entry) = self.store.append(&mut known.journal, act, by, now_ms).await? {
                return Ok(known.journal.books.adjustment(entry.n)?.clone());
            }
        }
    }

    /// By which terms what amount of which currency is owed besides our figures.
    fn differences(
        &self,
        compared: &Reconciled,
        named: Option<&str>,
        now_ms: i64,
    ) -> Result<Vec<Difference>, QueryError> {
        let Reconciled { vendor, period, inside, totals, .. } = compared;
        if !inside {
            let (vendor, period) = (vendor.clone(), *period);
            return Err(BooksError::NotWithin { vendor, period }.into());
        }
        if !matches!(self.terms.origin, TermsOrigin::Approved(_)) {
            return Err(invalid(format!("{vendor} has no approved settlement terms")));
        }
        let contracts = self.terms.contracts.as_known(now_ms);
        let day = period.first_day();
        let of_vendor = contracts.counting().filter(|terms| terms.vendor == *vendor);
        let in_force: Vec<&Terms> = of_vendor.filter(|terms| terms.in_force(day)).collect();
        // Of several the comparison takes the strictest, and ours where any of them does.
        let theirs = in_force.iter().all(|terms| terms.tolerance.counts == Counts::Theirs);
        if in_force.is_empty() || !theirs {
            return Err(invalid(format!(
                "by the terms of {vendor} on {day} our figures count within the tolerance: there is nothing to post"
            )));
        }
        let differing = totals.iter().filter(|total| total.ours != total.theirs);
        let found: Result<Vec<Option<Difference>>, QueryError> =
            differing.map(|total| difference_of(vendor, total, &in_force, named)).collect();
        Ok(found?.into_iter().flatten().collect())
    }
}

/// What one currency of a bill adds to what is owed; `None` for less than half a hundredth.
fn difference_of(
    vendor: &str,
    total: &CurrencySum,
    in_force: &[&Terms],
    named: Option<&str>,
) -> Result<Option<Difference>, QueryError> {
    let CurrencySum { currency, ours, theirs, .. } = total;
    // By other forms what is owed is not what events were rated at.
    let by_list = |terms: &&&Terms| {
        terms.form == Form::PriceList
            && terms.currency.code() == currency.as_str()
            && named.is_none_or(|named| terms.id == named)
    };
    let candidates: Vec<&&Terms> = in_force.iter().filter(by_list).collect();
    let [terms] = candidates[..] else {
        let there: Vec<&str> = candidates.iter().map(|terms| terms.id.as_str()).collect();
        let by_hand = "post it by hand: tally settle adjust --reason volume_correction";
        return Err(invalid(match there.as_slice() {
            [] => format!(
                "no terms of {vendor} that pay by price list in {currency} say what the bill's figure is owed by; {by_hand}"
            ),
            several => format!(
                "{vendor} has several terms in {currency}: say which by --terms, one of {}",
                several.join(", ")
            ),
        }));
    };
    let too_large = || QueryError::Data(format!("{vendor}: {theirs} less {ours} is too large"));
    let pico = theirs.0.checked_sub(ours.0).ok_or_else(too_large)?;
    let amount = Fraction::whole(pico).rounded(terms.rounding).ok_or_else(too_large)?;
    let difference = Difference { terms: terms.id.clone(), currency: currency.clone(), amount };
    Ok((amount.0 != 0).then_some(difference))
}

/// The first open period, not before that of the bill.
fn open_period(books: &Books, bill: Period) -> Period {
    books.last_closed().map_or(bill, |last| last.next().max(bill))
}

//! Adjustments that people post: one asks, another approves, and it counts in the first period that
//! is closed after that.

use std::collections::BTreeSet;

use tally_settlement::{
    Act, AdjustmentReason, AdjustmentState, Books, BooksError, Cents, Decision, DisputeState,
    Period, Proposal, Statement,
};

use super::{Known, Settlement, invalid};
use crate::error::QueryError;

/// An adjustment that somebody asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAdjustment {
    /// Vendor.
    pub vendor: String,
    /// The first period that it may count in.
    pub period: Period,
    /// Terms that it belongs to; needed only where the vendor has several and no line says which.
    pub terms: Option<String>,
    /// Why.
    pub reason: AdjustmentReason,
    /// What it adds to what is owed.
    pub amount: Cents,
    /// The closed period that it corrects.
    pub orig_period: Option<Period>,
    /// The line of that period that it corrects.
    pub orig_line: Option<String>,
    /// Words.
    pub note: String,
}

impl Settlement<'_> {
    /// Proposes an adjustment. The same proposal again, while it waits, is found and not doubled.
    ///
    /// # Errors
    /// `Invalid` for a vendor without terms, a closed period, an amount of zero, a line that the
    /// original statement does not have; `Retry` while the store is away.
    pub async fn propose(
        &self,
        new: &NewAdjustment,
        by: &str,
        now_ms: i64,
    ) -> Result<AdjustmentState, QueryError> {
        loop {
            let mut known = self.known().await?;
            let proposal = self.proposal(new, &known, now_ms).await?;
            if let Some(there) = known.journal.books.waiting_like(&proposal) {
                return Ok(there.clone());
            }
            let act = Act::Adjust(proposal);
            if let Some(entry) = self.store.append(&mut known.journal, act, by, now_ms).await? {
                return Ok(known.journal.books.adjustment(entry.n)?.clone());
            }
        }
    }

    /// Makes a proposal count, or rejects it.
    ///
    /// # Errors
    /// `Data` where `by` proposed it (four eyes); `Invalid` where there is none or it was decided;
    /// `Retry` while the store is away.
    pub async fn decide_adjustment(
        &self,
        decision: &Decision,
        by: &str,
        now_ms: i64,
    ) -> Result<AdjustmentState, QueryError> {
        loop {
            let mut known = self.known().await?;
            let act = Act::DecideAdjustment(decision.clone());
            if self.store.append(&mut known.journal, act, by, now_ms).await?.is_some() {
                return Ok(known.journal.books.adjustment(decision.of)?.clone());
            }
        }
    }

    /// Everything that people did.
    ///
    /// # Errors
    /// `Data` for a journal that was changed, `Retry` while the store is away.
    pub async fn books(&self) -> Result<Books, QueryError> {
        Ok(self.known().await?.journal.books)
    }

    pub(super) async fn proposal(
        &self,
        new: &NewAdjustment,
        known: &Known,
        now_ms: i64,
    ) -> Result<Proposal, QueryError> {
        let terms = self.terms_of(new, known, now_ms).await?;
        Ok(Proposal {
            vendor: new.vendor.clone(),
            period: new.period,
            terms,
            reason: new.reason,
            amount: new.amount,
            orig_period: new.orig_period,
            orig_line_id: new.orig_line.clone(),
            note: new.note.trim().to_owned(),
            dispute: None,
            re_rate: None,
            billed: None,
        })
    }

    /// The terms that an adjustment belongs to: those of the line that it corrects, the named ones,
    /// or the vendor's only ones.
    async fn terms_of(
        &self,
        new: &NewAdjustment,
        known: &Known,
        now_ms: i64,
    ) -> Result<String, QueryError> {
        let vendor = new.vendor.as_str();
        let contracts = self.terms.contracts.as_known(now_ms);
        let ids: BTreeSet<&str> = contracts
            .counting()
            .filter(|terms| terms.vendor == vendor)
            .map(|terms| terms.id.as_str())
            .collect();
        let there = || ids.iter().copied().collect::<Vec<&str>>().join(", ");
        if ids.is_empty() {
            let vendors = contracts.vendors().join(", ");
            return Err(invalid(format!(
                "{vendor} has no approved settlement terms; vendors that have are: {vendors}"
            )));
        }
        if let (Some(orig), Some(line)) = (new.orig_period, &new.orig_line) {
            let statement = sealed(self, known, vendor, orig).await?;
            let has_line = |section: &&tally_settlement::Section| {
                section.lines.iter().any(|known| known.id == *line)
            };
            let section = statement.sections.iter().find(has_line).ok_or_else(|| {
                invalid(format!("the statement of {vendor} for {orig} has no line {line}"))
            })?;
            return match &new.terms {
                Some(terms) if *terms != section.terms => Err(invalid(format!(
                    "line {line} is by the terms {}, not {terms}",
                    section.terms
                ))),
                _ => Ok(section.terms.clone()),
            };
        }
        match &new.terms {
            Some(terms) if ids.contains(terms.as_str()) => Ok(terms.clone()),
            Some(terms) => {
                Err(invalid(format!("{vendor} has no terms {terms}; it has {}", there())))
            }
            None if ids.len() == 1 => Ok(there()),
            None => Err(invalid(format!(
                "{vendor} has several terms: say which by --terms, one of {}",
                there()
            ))),
        }
    }

    /// The credit of a dispute as a proposal: for the first open period.
    pub(super) async fn credit(
        &self,
        dispute: &DisputeState,
        credit: (Cents, Option<&str>),
        known: &Known,
        now_ms: i64,
    ) -> Result<Proposal, QueryError> {
        let reconciled = &dispute.dispute.what.reconciled;
        let (amount, terms) = credit;
        if amount.0 <= 0 {
            return Err(BooksError::NoCredit.into());
        }
        let last = known.journal.books.last_closed();
        let period = last.map_or(reconciled.period, |last| last.next());
        let new = NewAdjustment {
            vendor: reconciled.vendor.clone(),
            period,
            terms: terms.map(str::to_owned),
            reason: AdjustmentReason::DisputeCredit,
            amount: Cents(-amount.0),
            orig_period: (reconciled.period < period).then_some(reconciled.period),
            orig_line: None,
            note: format!("credit of dispute {}", dispute.name()),
        };
        let proposal = self.proposal(&new, known, now_ms).await?;
        Ok(Proposal { dispute: Some(dispute.dispute.n), ..proposal })
    }
}

/// The sealed statement of a period.
async fn sealed(
    settlement: &Settlement<'_>,
    known: &Known,
    vendor: &str,
    period: Period,
) -> Result<Statement, QueryError> {
    let seal = known.seals.iter().find(|seal| seal.period == period);
    let seal = seal.ok_or(BooksError::OriginOpen(period))?;
    let statement = settlement.store.statement(seal, vendor).await?;
    let there = || seal.statements.iter().map(|s| s.vendor.as_str()).collect::<Vec<&str>>();
    let (vendor, there) = (vendor.to_owned(), there().join(", "));
    Ok(statement.ok_or(BooksError::NoStatement { vendor, period, there })?)
}

//! Closing a period, the first half: a plan that somebody puts into review. Whatever could come out
//! otherwise in a second run is fixed by it, so that a crash at any point, and two that close at
//! once, end in the same seal (R28).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::TryStreamExt;
use tally_aggregate::crash_point;
use tally_schemas::{DataFile, Table};
use tally_settlement::{
    Act, CloseDecision, CutOff, Done, Period, PeriodFacts, Plan, RatedGroup, Refusal, Review, Seal,
    SealedFile, SealedStatement, Statement, adjustment_name, decide_close, person_name,
};
use tally_tables::PinnedTables;

use super::approve::Closed;
use super::rated_groups::{self, Scope};
use super::seal_store::SealStore;
use super::{Known, Settlement, TermsOrigin, due, invalid, of_vendor, sha256_of};
use crate::engine::QueryEngine;
use crate::error::QueryError;

/// Files that are hashed at once.
const HASHED_AT_ONCE: usize = 4;

/// A period in review.
#[derive(Debug, Clone)]
pub struct InReview {
    /// Who put it there and when, and what it comes to.
    pub review: Done<Review>,
    /// The adjustments that it counts, by name.
    pub adjustments: Vec<String>,
    /// Whether it was in review before.
    pub was_there: bool,
}

/// What a request to close a period came to.
#[derive(Debug, Clone)]
pub enum CloseOutcome {
    /// Somebody else has to approve it.
    InReview(InReview),
    /// It is closed: it was, or an approval that was interrupted is carried out.
    Closed(Box<Closed>),
}

impl Settlement<'_> {
    /// Puts a period into review: fixes what counts and says what it comes to. A second call
    /// returns the same review, and of an approved one the seal.
    ///
    /// # Errors
    /// `Invalid` where it cannot be closed yet or not in this order, where no terms are approved,
    /// and for terms that do not cover its usage; `Retry` where tables are behind, the store is
    /// away, or the period before is being approved; `Data` for rows that do not foot and for
    /// objects that are not what they should be.
    pub async fn close(
        &self,
        period: Period,
        by: &str,
        now_ms: i64,
        code_version: &str,
    ) -> Result<CloseOutcome, QueryError> {
        person_name(by).ok_or(tally_settlement::BooksError::NoName)?;
        loop {
            let mut known = self.known().await?;
            let pin = self.engine.pin(None).await?;
            let cut_offs = self.cut_offs(&pin);
            let unsealed_before = if known.seals.is_empty() {
                rated_groups::first_day_before(self.engine, &pin, period, &cut_offs).await?
            } else {
                None
            };
            let facts = PeriodFacts {
                unsealed_before,
                is_behind: is_behind(self.engine, period, &cut_offs).await?,
                ..known.facts(period, now_ms)
            };
            match decide_close(&facts) {
                CloseDecision::Sealed(seal) => {
                    let hash = seal.hash()?;
                    let closed = Closed { seal: seal.clone(), hash, was_closed: true };
                    return Ok(CloseOutcome::Closed(Box::new(closed)));
                }
                CloseDecision::Refuse(refusal @ Refusal::Behind) => {
                    return Err(QueryError::Retry(refusal.to_string()));
                }
                CloseDecision::Refuse(Refusal::Unwritten { period, approved }) => {
                    return Err(known.not_built_on(approved, period, Some(now_ms)));
                }
                CloseDecision::Refuse(refusal) => return Err(invalid(refusal.to_string())),
                CloseDecision::InReview(state) => {
                    let there = in_review(state.review.clone(), true);
                    return Ok(CloseOutcome::InReview(there));
                }
                CloseDecision::Resume(state) => {
                    let closed = self.carry_out(&known, state).await?;
                    return Ok(CloseOutcome::Closed(Box::new(closed)));
                }
                CloseDecision::Plan => {}
            }
            let plan = self.plan(&facts, &known, &pin, cut_offs, (by, code_version)).await?;
            // Nothing is fixed that could not be sealed: terms can still be corrected.
            let statements = self.statements(&plan, &known, &pin).await?;
            if let Some(review) = self.review(&mut known, &plan, &statements, by).await? {
                return Ok(CloseOutcome::InReview(in_review(review, false)));
            }
            // Somebody did something meanwhile; what they did may count in this period.
        }
    }

    async fn review(
        &self,
        known: &mut Known,
        plan: &Plan,
        statements: &[Statement],
        by: &str,
    ) -> Result<Option<Done<Review>>, QueryError> {
        let review = Review {
            period: plan.period,
            plan: plan.hash()?,
            statements: SealedStatement::of_all(statements)?,
            adjustments: known.journal.books.due(plan.period).map(|due| due.proposal.n).collect(),
        };
        let path = SealStore::plan_path(plan.period, &review.plan);
        crash_point("before-settle-plan");
        self.stands(&path, &plan.to_bytes()?).await?;
        crash_point("after-settle-plan");
        let act = Act::Review(review.clone());
        let entry = self.store.append(&mut known.journal, act, by, plan.at_ms).await?;
        crash_point("after-settle-review");
        Ok(entry.map(|entry| Done { n: entry.n, by: entry.by, at_ms: entry.at_ms, what: review }))
    }

    async fn plan(
        &self,
        facts: &PeriodFacts<'_>,
        known: &Known,
        pin: &Arc<PinnedTables>,
        cut_offs: Vec<CutOff>,
        (by, code_version): (&str, &str),
    ) -> Result<Plan, QueryError> {
        let reference = match &self.terms.origin {
            TermsOrigin::Approved(edition) => edition.clone(),
            TermsOrigin::Draft(name) => {
                return Err(invalid(format!(
                    "{name} is a draft, and a close goes by approved terms: tally contract import {name} --by NAME, then tally contract approve {name} --by ANOTHER, then close without --contracts"
                )));
            }
            TermsOrigin::Example => {
                return Err(invalid(
                    "no settlement terms are approved: tally contract import FILE --by NAME, then tally contract approve FILE --by ANOTHER".to_owned(),
                ));
            }
        };
        let last = facts.seals.last();
        Ok(Plan {
            format: Plan::FORMAT,
            n: last.map_or(0, |seal| seal.n + 1),
            period: facts.period,
            by: by.trim().to_owned(),
            at_ms: facts.now_ms,
            code_version: code_version.to_owned(),
            reference,
            terms: self.terms.contracts.layers().to_vec(),
            posted: due(known, facts.period),
            cut_offs,
            files: self.files(facts, pin).await?,
            previous: last.map_or(Ok(String::new()), Seal::hash)?,
        })
    }

    /// The files with the period's days, and those of earlier days that no seal has yet.
    async fn files(
        &self,
        facts: &PeriodFacts<'_>,
        pin: &Arc<PinnedTables>,
    ) -> Result<Vec<SealedFile>, QueryError> {
        let Some(events) = pin.get(Table::UsageEvents) else { return Ok(Vec::new()) };
        let sealed: BTreeSet<&str> = facts
            .seals
            .iter()
            .flat_map(|seal| seal.files.iter().map(|file| file.path.as_str()))
            .collect();
        let (first, end) =
            (facts.period.first_day().to_string(), facts.period.end_day().to_string());
        let mut wanted = Vec::new();
        // What stands in the place of a removed file was sealed before it was removed.
        for file in events.files.iter().filter(|file| file.removed().is_none()) {
            let Some(Some(day)) = file.partition_values.get("day") else { continue };
            let path = events.object_path(file);
            let is_late = *day < first && !facts.seals.is_empty();
            if *day < end && (*day >= first || is_late) && !sealed.contains(path.as_ref()) {
                wanted.push((path, file.size));
            }
        }
        wanted.sort();
        let store = self.engine.ledger().store();
        futures::stream::iter(wanted)
            .map(|(path, bytes)| async move {
                let sha256 = sha256_of(store, &path).await?.ok_or_else(|| {
                    QueryError::Retry(format!("{path} is gone: it was compacted; try again"))
                })?;
                Ok(SealedFile { path: path.to_string(), bytes, sha256 })
            })
            .buffered(HASHED_AT_ONCE)
            .try_collect()
            .await
    }

    /// The statements of a plan, by vendor; empty ones are left out.
    pub(super) async fn statements(
        &self,
        plan: &Plan,
        known: &Known,
        pin: &Arc<PinnedTables>,
    ) -> Result<Vec<Statement>, QueryError> {
        let contracts = plan.contracts()?;
        let before: Vec<Seal> =
            known.seals.iter().filter(|seal| seal.period < plan.period).cloned().collect();
        let scope = Scope {
            period: plan.period,
            cut_offs: &plan.cut_offs,
            sealed: before.last().map(|seal| seal.cut_offs.as_slice()),
            vendor: None,
        };
        let mut by_vendor: BTreeMap<String, Vec<RatedGroup>> =
            contracts.vendors().into_iter().map(|vendor| (vendor, Vec::new())).collect();
        for group in rated_groups::read(self.engine, pin, &scope, &self.spans).await? {
            by_vendor.entry(group.vendor.clone()).or_default().push(group);
        }
        let mut statements = Vec::new();
        let mut counted = 0;
        for (vendor, groups) in by_vendor {
            let earlier = self.earlier(&before, &vendor).await?;
            let posted = of_vendor(&plan.posted, &contracts, &vendor);
            counted += posted.len();
            let parts = (groups.as_slice(), earlier.as_slice(), posted.as_slice());
            let statement = self.build(&contracts, &vendor, plan.period, parts)?;
            if !statement.is_empty() {
                statements.push(statement);
            }
        }
        if counted == plan.posted.len() {
            return Ok(statements);
        }
        // Terms stay approved once they are, so that only damage brings this about.
        let lost = plan.posted.iter().find(|posted| contracts.terms(&posted.terms).is_none());
        let (id, terms) = lost.map_or(("", ""), |lost| (lost.id.as_str(), lost.terms.as_str()));
        Err(QueryError::Data(format!("{id} is for the terms {terms}, which nobody has")))
    }
}

fn in_review(review: Done<Review>, was_there: bool) -> InReview {
    let adjustments = review.what.adjustments.iter().map(|n| adjustment_name(*n)).collect();
    InReview { review, adjustments, was_there }
}

/// Whether committed events of a period, or of one before, wait for their publication.
async fn is_behind(
    engine: &QueryEngine,
    period: Period,
    cut_offs: &[CutOff],
) -> Result<bool, QueryError> {
    let end = period.end_day().to_string();
    let published = cut_offs.iter().map(|cut_off| (cut_off.partition, cut_off.epoch)).collect();
    let is_of_period = |file: &DataFile| {
        let day = file.partition_values.get("day");
        file.table == Table::UsageEvents.name() && day.is_some_and(|day| *day < end)
    };
    engine.ledger().has_unpublished(&published, is_of_period).await
}

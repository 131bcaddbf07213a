//! Settlement over the tables: statements from one pinned version, the sealing of periods, and what
//! people do to the books.
//!
//! Every number comes from rows of `usage_events` that are summed and never multiplied; what they
//! come to is decided by `tally-settlement`. Objects are created and never overwritten:
//!
//! - `statements/journal/<n>.json`: what somebody did, entry after entry; each carries the hash of
//!   the one before;
//! - `statements/<period>/plan-<hash>.json`: what closing the period was begun with;
//! - `statements/<period>/vendor-<vendor>.json`: a sealed statement;
//! - `statements/seals/<n>.json`: seal `n`, which carries the hash of seal `n - 1`. Creating it is
//!   the close.

mod adjust;
mod adjustment_events;
mod approve;
mod close;
mod dispute;
mod journal_store;
mod line_events;
mod rated_groups;
mod re_rate;
mod seal_store;
mod theirs;

use std::sync::Arc;

use tally_schemas::Table;
use tally_settlement::{
    AdjustmentState, Contracts, CutOff, Period, PeriodFacts, PeriodState, Plan, PostedAdjustment,
    PriceLists, RatedGroup, Refusal, Seal, Statement, StatementInput, VendorReport,
};
use tally_tables::{AsOf, PinnedTables};

pub use self::adjust::NewAdjustment;
pub use self::approve::{Closed, Decided};
pub use self::close::{CloseOutcome, InReview};
pub use self::dispute::{HowResolved, NewDispute};
pub(crate) use self::journal_store::{Journal, Kept};
pub use self::line_events::LineEvents;
pub(crate) use self::rated_groups::within;
use self::rated_groups::{Scope, SpansOf};
pub use self::re_rate::{OtherReading, PeriodReRated, UnratedEvents};
pub(crate) use self::seal_store::{SealStore, sha256_of};
use crate::engine::QueryEngine;
use crate::error::QueryError;

/// A statement and what it was read from.
#[derive(Debug, Clone)]
pub struct IssuedStatement {
    /// The statement.
    pub statement: Statement,
    /// State of its period: a draft until that is closed.
    pub state: PeriodState,
    /// Up to which epochs events count.
    pub cut_offs: Vec<CutOff>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// Where the terms are from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TermsOrigin {
    /// They are approved, in this edition of the reference data.
    Approved(String),
    /// A file of this name: good for a draft.
    Draft(String),
    /// The example that ships: good for a draft.
    Example,
}

/// By what periods are settled.
#[derive(Debug, Clone)]
pub struct SettlementTerms {
    /// Terms and rates: of approved ones every version, else without a lint.
    pub contracts: Contracts,
    /// Where they are from.
    pub origin: TermsOrigin,
}

/// Settles over one engine, by given terms and prices.
#[derive(Debug)]
pub struct Settlement<'a> {
    engine: &'a QueryEngine,
    store: SealStore<'a>,
    terms: SettlementTerms,
    prices: Arc<PriceLists>,
    spans: SpansOf,
}

/// How long before or after its approval, by the clock of who asks, a period without a seal may still
/// get it from whoever approved it.
const UNDER_WAY_MS: u64 = 60_000;

/// What is known before anything is done.
struct Known {
    journal: Journal,
    seals: Vec<Seal>,
}

impl Known {
    /// The period that is approved and whose seal is not there: of others it cannot lack.
    fn unwritten(&self) -> Option<Period> {
        let last = self.journal.books.last_closed();
        last.filter(|last| self.seals.last().is_none_or(|seal| seal.period != *last))
    }

    /// Why nothing is built on an approved period whose seal is not there: its approval is under
    /// way, or it was interrupted. Without a time of now, as of another one, nothing is under way.
    fn not_built_on(&self, approved: Period, period: Period, now_ms: Option<i64>) -> QueryError {
        let decision = self.journal.books.review(approved).and_then(|of| of.decision.as_ref());
        let since_ms = now_ms.zip(decision).map(|(now_ms, of)| now_ms.abs_diff(of.at_ms));
        if since_ms.is_some_and(|since_ms| since_ms < UNDER_WAY_MS) {
            return QueryError::Retry(format!(
                "{period} is built on the seal of {approved}, which was approved a moment ago, and whose seal is not there yet: try again"
            ));
        }
        invalid(Refusal::Unwritten { period, approved }.to_string())
    }

    fn facts(&self, period: Period, now_ms: i64) -> PeriodFacts<'_> {
        PeriodFacts {
            period,
            now_ms,
            review: self.journal.books.review(period),
            seals: &self.seals,
            is_paid: self.journal.books.is_paid(period),
            unwritten: self.unwritten(),
            unsealed_before: None,
            is_behind: false,
        }
    }
}

impl<'a> Settlement<'a> {
    /// Settles by terms and prices.
    pub fn new(engine: &'a QueryEngine, terms: SettlementTerms, prices: PriceLists) -> Self {
        let store = SealStore::new(engine.ledger().store());
        let spans = prices.discount_spans();
        Self { engine, store, terms, prices: Arc::new(prices), spans }
    }

    /// The statement of a vendor: the sealed one of a closed period, a draft of any other.
    ///
    /// # Errors
    /// `Invalid` for a vendor or a period that there is nothing about, and for contracts that do
    /// not cover its usage; `Data` for rows that do not foot; `Retry` while the store is away, and
    /// while the approval of the period before is under way.
    pub async fn statement(
        &self,
        vendor: &str,
        period: Period,
        now_ms: i64,
    ) -> Result<IssuedStatement, QueryError> {
        self.statement_at(vendor, period, now_ms, None).await
    }

    /// The statement as it would have been printed at a time: by the tables, the terms and the
    /// books as they were known then.
    ///
    /// # Errors
    /// As [`Self::statement`]; `Invalid` where the tables of then are not kept any more.
    pub async fn statement_as_of(
        &self,
        vendor: &str,
        period: Period,
        at_ms: i64,
    ) -> Result<IssuedStatement, QueryError> {
        self.statement_at(vendor, period, at_ms, Some(AsOf::TimestampMs(at_ms))).await
    }

    /// What a vendor is told of its share: the statement, and the report that is made of it.
    ///
    /// # Errors
    /// As [`Self::statement`].
    pub async fn report(
        &self,
        vendor: &str,
        period: Period,
        now_ms: i64,
    ) -> Result<(IssuedStatement, VendorReport), QueryError> {
        let known = self.known().await?;
        let contracts = self.contracts_of(&known.facts(period, now_ms)).await?;
        let issued = self.statement(vendor, period, now_ms).await?;
        let report = VendorReport::of(&issued.statement, issued.state, &contracts)?;
        Ok((issued, report))
    }

    async fn statement_at(
        &self,
        vendor: &str,
        period: Period,
        now_ms: i64,
        as_of: Option<AsOf>,
    ) -> Result<IssuedStatement, QueryError> {
        let (journal, seals) = self.store.known(as_of.map(|_| now_ms)).await?;
        let known = Known { journal, seals };
        let facts = known.facts(period, now_ms);
        let state = facts.state();
        if let Some(seal) = facts.seal() {
            let statement = self.store.statement(seal, vendor).await?.ok_or_else(|| {
                let vendors: Vec<&str> =
                    seal.statements.iter().map(|sealed| sealed.vendor.as_str()).collect();
                invalid(format!(
                    "{vendor} has no statement in the sealed period {period}; those that have are: {}",
                    vendors.join(", ")
                ))
            })?;
            let cut_offs = seal.cut_offs.clone();
            return Ok(IssuedStatement { statement, state, cut_offs, notes: Vec::new() });
        }
        self.draft(vendor, &facts, &known, as_of).await
    }

    async fn draft(
        &self,
        vendor: &str,
        facts: &PeriodFacts<'_>,
        known: &Known,
        as_of: Option<AsOf>,
    ) -> Result<IssuedStatement, QueryError> {
        let (period, state) = (facts.period, facts.state());
        let mut notes = Vec::new();
        match facts.unwritten {
            Some(approved) if approved < period => {
                let now_ms = as_of.is_none().then_some(facts.now_ms);
                return Err(known.not_built_on(approved, period, now_ms));
            }
            Some(approved) if approved == period => notes.push(format!(
                "{period} was approved, and its seal is not there: tally settle approve --period {period} --by NAME writes it"
            )),
            _ => {}
        }
        let pin = self.engine.pin(as_of).await?;
        let draft = match facts.standing_review() {
            Some(review) => {
                let review = &review.review.what;
                Draft::of_plan(&self.store.plan(period, &review.plan).await?)?
            }
            None => Draft {
                cut_offs: self.cut_offs(&pin),
                contracts: self.terms.contracts.as_known(facts.now_ms),
                posted: due(known, period),
            },
        };
        let Draft { cut_offs, contracts, posted } = draft;
        let before = known.seals.last().filter(|seal| seal.period.next() == period);
        if before.is_none() && !known.seals.is_empty() {
            notes.push(format!(
                "the period before {period} is not closed: its late usage and its balances are not in this draft"
            ));
        }
        let scope = Scope {
            period,
            cut_offs: &cut_offs,
            sealed: before.map(|seal| seal.cut_offs.as_slice()),
            vendor: Some(vendor),
        };
        let groups = rated_groups::read(self.engine, &pin, &scope, &self.spans).await?;
        let vendors = contracts.vendors();
        if groups.is_empty() && !vendors.iter().any(|known| known == vendor) {
            return Err(invalid(format!(
                "{vendor} has neither usage in {period} nor settlement terms; vendors with terms are: {}",
                vendors.join(", ")
            )));
        }
        let earlier = match before {
            Some(_) => self.earlier(&known.seals, vendor).await?,
            None => Vec::new(),
        };
        let posted = of_vendor(&posted, &contracts, vendor);
        let statement = self.build(&contracts, vendor, period, (&groups, &earlier, &posted))?;
        if statement.is_empty() {
            return Err(invalid(format!(
                "{vendor} has no usage in {period}, no minimum and no balance: there is no statement"
            )));
        }
        Ok(IssuedStatement { statement, state, cut_offs, notes })
    }

    fn build(
        &self,
        contracts: &Contracts,
        vendor: &str,
        period: Period,
        (groups, earlier, posted): (&[RatedGroup], &[Statement], &[PostedAdjustment]),
    ) -> Result<Statement, QueryError> {
        Ok(Statement::build(&StatementInput {
            vendor,
            period,
            contracts,
            prices: &self.prices,
            groups,
            earlier,
            posted,
        })?)
    }

    async fn known(&self) -> Result<Known, QueryError> {
        let (journal, seals) = self.store.known(None).await?;
        Ok(Known { journal, seals })
    }

    /// The sealed statements of a vendor, the oldest first.
    async fn earlier(&self, seals: &[Seal], vendor: &str) -> Result<Vec<Statement>, QueryError> {
        let mut earlier = Vec::new();
        for seal in seals {
            earlier.extend(self.store.statement(seal, vendor).await?);
        }
        Ok(earlier)
    }

    /// The last epoch of every partition that the pinned events hold.
    fn cut_offs(&self, pin: &Arc<PinnedTables>) -> Vec<CutOff> {
        let Some(events) = pin.get(Table::UsageEvents) else { return Vec::new() };
        let topic = self.engine.ledger().topic();
        events
            .published_epochs(topic)
            .into_iter()
            .map(|(partition, epoch)| CutOff { partition, epoch })
            .collect()
    }
}

/// What a draft is made with.
struct Draft {
    cut_offs: Vec<CutOff>,
    contracts: Contracts,
    posted: Vec<PostedAdjustment>,
}

impl Draft {
    fn of_plan(plan: &Plan) -> Result<Self, QueryError> {
        let contracts = plan.contracts()?;
        Ok(Self { cut_offs: plan.cut_offs.clone(), contracts, posted: plan.posted.clone() })
    }
}

/// The adjustments that a close of the period has to count.
fn due(known: &Known, period: Period) -> Vec<PostedAdjustment> {
    known.journal.books.due(period).flat_map(AdjustmentState::posted).collect()
}

/// Those of a vendor, by the terms that they belong to.
fn of_vendor(
    posted: &[PostedAdjustment],
    contracts: &Contracts,
    vendor: &str,
) -> Vec<PostedAdjustment> {
    let of_vendor = |id: &str| contracts.terms(id).is_some_and(|terms| terms.vendor == vendor);
    posted.iter().filter(|posted| of_vendor(&posted.terms)).cloned().collect()
}

fn invalid(message: String) -> QueryError {
    QueryError::Invalid(message)
}

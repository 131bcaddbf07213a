//! Settlement over the tables: statements from one pinned version, and the sealing of periods.
//!
//! Every number comes from rows of `usage_events` that are summed and never multiplied; what they
//! come to is decided by `tally-settlement`. Objects are created and never overwritten:
//!
//! - `statements/<period>/plan.json`: what closing the period was begun with;
//! - `statements/<period>/vendor-<vendor>.json`: a sealed statement;
//! - `statements/seals/<n>.json`: seal `n`, which carries the hash of seal `n - 1`. Creating it is
//!   the close.

mod close;
mod rated_groups;
mod seal_store;

use std::sync::Arc;

use tally_schemas::Table;
use tally_settlement::{
    Contracts, CutOff, Period, PeriodFacts, PeriodState, Plan, PriceLists, RatedGroup, Seal,
    Statement, StatementInput,
};
use tally_tables::PinnedTables;

pub use self::close::Closed;
use self::rated_groups::Scope;
pub(crate) use self::rated_groups::within;
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

/// Settles over one engine, by given contracts and prices.
#[derive(Debug)]
pub struct Settlement<'a> {
    engine: &'a QueryEngine,
    store: SealStore<'a>,
    contracts: Contracts,
    prices: PriceLists,
}

/// What is known of a period before anything is done about it.
struct Known {
    seals: Vec<Seal>,
    plan: Option<Plan>,
}

impl<'a> Settlement<'a> {
    /// Settles by contracts that were linted.
    pub fn new(engine: &'a QueryEngine, contracts: Contracts, prices: PriceLists) -> Self {
        Self { engine, store: SealStore::new(engine.ledger().store()), contracts, prices }
    }

    /// The statement of a vendor: the sealed one of a closed period, a draft of any other.
    ///
    /// # Errors
    /// `Invalid` for a vendor or a period that there is nothing about, and for contracts that do
    /// not cover its usage; `Data` for rows that do not foot; `Retry` while the store is away.
    pub async fn statement(
        &self,
        vendor: &str,
        period: Period,
        now_ms: i64,
    ) -> Result<IssuedStatement, QueryError> {
        let known = self.known(period).await?;
        let facts = PeriodFacts {
            period,
            now_ms,
            plan: known.plan.as_ref(),
            seals: &known.seals,
            is_paid: false,
            unsealed_before: None,
            is_behind: false,
        };
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
        self.draft(vendor, period, state, &known).await
    }

    async fn draft(
        &self,
        vendor: &str,
        period: Period,
        state: PeriodState,
        known: &Known,
    ) -> Result<IssuedStatement, QueryError> {
        let mut notes = Vec::new();
        let pin = self.engine.pin(None).await?;
        let planned = known.plan.as_ref();
        let cut_offs = planned.map_or_else(|| self.cut_offs(&pin), |plan| plan.cut_offs.clone());
        let contracts = match planned {
            Some(plan) => planned_contracts(plan)?,
            None => self.contracts.clone(),
        };
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
        let groups = rated_groups::read(self.engine, &pin, &scope).await?;
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
        let statement = self.build(&contracts, vendor, period, &groups, &earlier)?;
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
        groups: &[RatedGroup],
        earlier: &[Statement],
    ) -> Result<Statement, QueryError> {
        Ok(Statement::build(&StatementInput {
            vendor,
            period,
            contracts,
            prices: &self.prices,
            groups,
            earlier,
            posted: &[],
        })?)
    }

    async fn known(&self, period: Period) -> Result<Known, QueryError> {
        // The plan first: a seal that is created in between is then seen too.
        let plan = self.store.plan(period).await?;
        Ok(Known { plan, seals: self.store.seals().await? })
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

/// The contracts that a plan was made with.
fn planned_contracts(plan: &Plan) -> Result<Contracts, QueryError> {
    Contracts::parse("contracts of the plan", &plan.contracts_text)
        .map_err(|error| QueryError::Data(error.to_string()))
}

fn invalid(message: String) -> QueryError {
    QueryError::Invalid(message)
}

//! Closing a period. Whatever could come out otherwise in a second run is fixed by the plan, so
//! that a crash at any point, and two that close at once, end in the same seal (R28).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::TryStreamExt;
use tally_aggregate::{crash_point, ledger};
use tally_schemas::{EntryKind, Table};
use tally_settlement::{
    CloseDecision, CutOff, Period, PeriodFacts, Plan, RatedGroup, Refusal, Seal, SealedFile,
    Statement, decide_close,
};
use tally_tables::PinnedTables;

use super::rated_groups::{self, Scope};
use super::seal_store::SealStore;
use super::{Known, Settlement, invalid, planned_contracts, sha256_of};
use crate::error::QueryError;
use crate::ledger_view::error_of;

/// Files that are hashed at once.
const HASHED_AT_ONCE: usize = 4;

/// A closed period.
#[derive(Debug, Clone)]
pub struct Closed {
    /// Its seal.
    pub seal: Seal,
    /// Hash of the seal.
    pub hash: String,
    /// Whether it had been closed before.
    pub was_closed: bool,
}

impl Settlement<'_> {
    /// Closes a period: writes its statements and its seal. A second call returns the same seal.
    ///
    /// # Errors
    /// `Invalid` where it cannot be closed yet or not in this order, and for contracts that do not
    /// cover its usage; `Retry` where tables are behind or the store is away; `Data` for rows that
    /// do not foot and for objects that are not what they should be.
    pub async fn close(
        &self,
        period: Period,
        by: &str,
        now_ms: i64,
        code_version: &str,
    ) -> Result<Closed, QueryError> {
        let known = self.known(period).await?;
        let pin = self.engine.pin(None).await?;
        let cut_offs = self.cut_offs(&pin);
        let first_close = known.seals.is_empty() && known.plan.is_none();
        let unsealed_before = if first_close {
            rated_groups::first_day_before(self.engine, &pin, period, &cut_offs).await?
        } else {
            None
        };
        let facts = PeriodFacts {
            period,
            now_ms,
            plan: known.plan.as_ref(),
            seals: &known.seals,
            is_paid: false,
            unsealed_before,
            is_behind: self.is_behind(period, &cut_offs).await?,
        };
        let (plan, made) = match decide_close(&facts) {
            CloseDecision::Sealed(seal) => {
                return Ok(Closed { seal: seal.clone(), hash: seal.hash()?, was_closed: true });
            }
            CloseDecision::Refuse(refusal @ Refusal::Behind) => {
                return Err(QueryError::Retry(refusal.to_string()));
            }
            CloseDecision::Refuse(refusal) => return Err(invalid(refusal.to_string())),
            CloseDecision::Resume(plan) => (plan.clone(), None),
            CloseDecision::Plan => {
                let plan = self.plan(&facts, &pin, cut_offs, by, code_version).await?;
                // Nothing is fixed that could not be sealed: contracts can still be corrected.
                let statements = self.statements(&plan, &known, &pin).await?;
                let standing = self.fix(&plan).await?;
                let made = (standing == plan).then_some(statements);
                (standing, made)
            }
        };
        let statements = match made {
            Some(statements) => statements,
            None => {
                self.has_everything(&plan, &pin)?;
                self.statements(&plan, &known, &pin).await?
            }
        };
        let seal = self.seal(&plan, &statements).await?;
        Ok(Closed { hash: seal.hash()?, seal, was_closed: false })
    }

    /// Whether committed events of a period, or of one before, wait for their publication.
    async fn is_behind(&self, period: Period, cut_offs: &[CutOff]) -> Result<bool, QueryError> {
        let ledgers = self.engine.ledger();
        let end = period.end_day().to_string();
        let published: BTreeMap<u32, u64> =
            cut_offs.iter().map(|cut_off| (cut_off.partition, cut_off.epoch)).collect();
        for last in ledgers.all_last().await? {
            let partition = last.entry.partition;
            let floor = ledger::floor(ledgers.store(), ledgers.topic(), partition)
                .await
                .map_err(error_of)?;
            let from = published.get(&partition).map_or(0, |epoch| epoch + 1).max(floor);
            for n in from..=last.entry.n {
                let entry = ledger::read_entry(ledgers.store(), ledgers.topic(), partition, n)
                    .await
                    .map_err(error_of)?;
                let Some(stored) = entry else { continue };
                let waits = stored.entry.kind == EntryKind::Epoch
                    && stored.entry.files.iter().any(|file| {
                        let day = file.partition_values.get("day");
                        file.table == Table::UsageEvents.name() && day.is_some_and(|d| *d < end)
                    });
                if waits {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    async fn plan(
        &self,
        facts: &PeriodFacts<'_>,
        pin: &Arc<PinnedTables>,
        cut_offs: Vec<CutOff>,
        by: &str,
        code_version: &str,
    ) -> Result<Plan, QueryError> {
        let last = facts.seals.last();
        Ok(Plan {
            format: Plan::FORMAT,
            n: last.map_or(0, |seal| seal.n + 1),
            period: facts.period,
            by: by.to_owned(),
            at_ms: facts.now_ms,
            code_version: code_version.to_owned(),
            contracts_text: self.contracts.text().to_owned(),
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
        for file in &events.files {
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

    /// Creates the plan; where somebody was faster, theirs is what counts.
    async fn fix(&self, plan: &Plan) -> Result<Plan, QueryError> {
        let path = SealStore::plan_path(plan.period);
        crash_point("before-settle-plan");
        let standing = self.store.create(&path, &plan.to_bytes()?).await?;
        crash_point("after-settle-plan");
        Ok(Plan::from_bytes(path.as_ref(), &standing)?)
    }

    /// The statements of a plan, by vendor; empty ones are left out.
    async fn statements(
        &self,
        plan: &Plan,
        known: &Known,
        pin: &Arc<PinnedTables>,
    ) -> Result<Vec<Statement>, QueryError> {
        let contracts = planned_contracts(plan)?;
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
        for group in rated_groups::read(self.engine, pin, &scope).await? {
            by_vendor.entry(group.vendor.clone()).or_default().push(group);
        }
        let mut statements = Vec::new();
        for (vendor, groups) in by_vendor {
            let earlier = self.earlier(&before, &vendor).await?;
            let statement = self.build(&contracts, &vendor, plan.period, &groups, &earlier)?;
            if !statement.is_empty() {
                statements.push(statement);
            }
        }
        Ok(statements)
    }

    /// Writes the statements and the seal of a plan, or finds them there.
    async fn seal(&self, plan: &Plan, statements: &[Statement]) -> Result<Seal, QueryError> {
        for statement in statements {
            let path = SealStore::statement_path(plan.period, &statement.vendor);
            self.stands(&path, &statement.to_bytes()?).await?;
            crash_point("after-settle-statement");
        }
        let seal = Seal::of(plan, planned_contracts(plan)?.version(), statements)?;
        let path = SealStore::seal_path(seal.n);
        crash_point("before-settle-seal");
        self.stands(&path, &seal.to_bytes()?).await?;
        crash_point("after-settle-seal");
        Ok(seal)
    }

    /// Creates an object that may be there already, but with no other content.
    async fn stands(
        &self,
        path: &object_store::path::Path,
        bytes: &[u8],
    ) -> Result<(), QueryError> {
        if self.store.create(path, bytes).await? == bytes {
            return Ok(());
        }
        Err(QueryError::Data(format!(
            "{path} is there with other content than this run comes to; nothing was changed"
        )))
    }

    /// A plan counts epochs that this pin must hold.
    fn has_everything(&self, plan: &Plan, pin: &Arc<PinnedTables>) -> Result<(), QueryError> {
        let held = self.cut_offs(pin);
        let holds = |wanted: &CutOff| {
            held.iter().any(|cut| cut.partition == wanted.partition && cut.epoch >= wanted.epoch)
        };
        match plan.cut_offs.iter().find(|wanted| !holds(wanted)) {
            None => Ok(()),
            Some(CutOff { partition, epoch }) => Err(QueryError::Data(format!(
                "the plan of {} counts epoch {epoch} of partition {partition}, which usage_events does not have",
                plan.period
            ))),
        }
    }
}

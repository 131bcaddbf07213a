//! What the second stage has added, beside its own ledger and the tables: I2, I3, I7, I13.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{Decimal128Type, Int64Type};
use tally_aggregate::ledger::StoredEntry;
use tally_budget::{Budget, BudgetStage, Measure, Side};
use tally_rating::ModelPattern;
use tally_schemas::{
    CLASS_COUNT, Currency, LedgerEntry, ModelDay, ModelSums, ShanghaiDay, SourcePosition, Table,
    TokenClass,
};
use tally_tables::PinnedTables;

use super::ledger_checks;
use super::table_checks::is_waiting;
use super::{Check, Evidence, Finding, VerifyOptions};
use crate::answer_rows::rows_of;
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::ledger_view::PartitionLedger;

/// What the second stage had committed before anything else was read, so that tables and ledgers
/// are never behind it.
#[derive(Debug)]
pub(super) struct StageEvidence {
    ledger: PartitionLedger,
    last: StoredEntry,
    stage: BudgetStage,
}

impl StageEvidence {
    /// Reads it; none where the stage never ran.
    pub(super) async fn read(engine: &QueryEngine) -> Result<Option<Self>, QueryError> {
        let view = engine.budgets();
        let Some((last, stage)) = view.stage().await? else { return Ok(None) };
        let mut ledger = view.ledger().entries(0).await?;
        ledger.entries.retain(|stored| stored.entry.n <= last.entry.n);
        Ok(Some(Self { ledger, last, stage }))
    }
}

/// Every check of the second stage. Where it never ran there is nothing to check.
pub(super) async fn all(
    engine: &QueryEngine,
    read: &Result<Option<StageEvidence>, QueryError>,
    evidence: &Evidence,
    options: &VerifyOptions,
) -> Vec<Check> {
    let StageEvidence { ledger, last, stage } = match read {
        Ok(Some(read)) => read,
        Ok(None) => return Vec::new(),
        Err(error) => return vec![unreadable(error)],
    };
    let mut checks = vec![chain(ledger), positions(ledger, evidence)];
    let sources = &last.entry.sources;
    let lacks = |source: &SourcePosition| {
        is_waiting(evidence, Table::UsageByModel, source.partition, source.next)
    };
    let behind = sources.iter().any(lacks);
    let finding = Finding::new(
        "I13",
        "usage that budgets have added is the SUM over usage_by_model of the same epochs, by day, model, vendor, supplier and currency",
    );
    checks.push(if behind {
        finding.done("nothing: the tables are not at the same epoch")
    } else {
        cells(engine, &evidence.pin, finding, sources, stage).await
    });
    let finding = Finding::new(
        "I13",
        "what is used of each budget in each period is the SUM over usage_by_model",
    );
    checks.push(if behind {
        finding.done("nothing: the tables are not at the same epoch")
    } else {
        budgets(engine, &evidence.pin, finding, sources, stage).await
    });
    let finding = Finding::new("I7", "each threshold of a budget that was passed has one alert");
    checks.push(alerts(engine, &evidence.pin, finding, (ledger, last), stage, options).await);
    checks
}

fn unreadable(error: &QueryError) -> Check {
    let mut finding = Finding::new("I12", "the state of budgets can be read");
    finding.add(error.to_string());
    finding.done("nothing")
}

/// The ledger of the second stage holds what every ledger must.
fn chain(ledger: &PartitionLedger) -> Check {
    let mut finding = Finding::new(
        "I3",
        "the ledger of budgets is a chain, without gaps, owners change by claims, the watermark rises",
    );
    for check in ledger_checks::all(std::slice::from_ref(ledger)) {
        for found in check.findings {
            finding.add(found);
        }
    }
    finding.done(format!("{} entries", ledger.entries.len()))
}

/// No epoch is added twice, none is left out, and each is the one of the partition's ledger.
fn positions(ledger: &PartitionLedger, evidence: &Evidence) -> Check {
    let mut finding = Finding::new(
        "I2",
        "budgets add each epoch of each partition once, in the order of its ledger",
    );
    let mut before: BTreeMap<u32, SourcePosition> = BTreeMap::new();
    for StoredEntry { entry, .. } in &ledger.entries {
        for source in &entry.sources {
            if let Some(known) = before.get(&source.partition) {
                finding.expect(known.first == source.first && known.next <= source.next, || {
                    format!("entry {}: {known:?} became {source:?}", entry.n)
                });
            }
            before.insert(source.partition, source.clone());
        }
    }
    for source in before.values() {
        let of = evidence.ledgers.iter().find(|ledger| ledger.partition == source.partition);
        let Some(of) = of else { continue };
        let entry = |n: u64| of.entries.iter().find(|stored| stored.entry.n == n);
        let end = of.entries.last().map_or(0, |last| last.entry.n + 1);
        finding.expect(source.next <= end, || {
            format!("partition {}: {} epochs are added of {end}", source.partition, source.next)
        });
        if let Some(last) = source.next.checked_sub(1).and_then(entry) {
            finding.expect(last.hash == source.entry, || {
                format!(
                    "partition {}: entry {} is not the one that was added",
                    source.partition, last.entry.n
                )
            });
        }
    }
    finding.done(format!("{} partitions", before.len()))
}

/// The epochs that are added, as a condition of SQL.
fn added(sources: &[SourcePosition]) -> String {
    let mut sql = String::from("(false");
    for SourcePosition { partition, first, next, .. } in sources {
        sql.push_str(&format!(
            " OR (kafka_partition = {partition} AND epoch >= {first} AND epoch < {next})"
        ));
    }
    sql.push(')');
    sql
}

/// Day in Asia/Shanghai on which a window begins.
const DAY: &str = "CAST(CAST(window_start + INTERVAL '8 hours' AS DATE) AS VARCHAR)";

fn text(columns: &[ArrayRef], column: usize, row: usize) -> Option<String> {
    let array = columns.get(column)?.as_string_opt::<i32>()?;
    array.is_valid(row).then(|| array.value(row).to_owned())
}

fn integer(columns: &[ArrayRef], column: usize, row: usize) -> i128 {
    let array = columns.get(column).and_then(|array| array.as_primitive_opt::<Int64Type>());
    array.filter(|array| array.is_valid(row)).map_or(0, |array| i128::from(array.value(row)))
}

fn decimal(columns: &[ArrayRef], column: usize, row: usize) -> i128 {
    let array = columns.get(column).and_then(|array| array.as_primitive_opt::<Decimal128Type>());
    array.filter(|array| array.is_valid(row)).map_or(0, |array| array.value(row))
}

fn day(columns: &[ArrayRef], column: usize, row: usize) -> Result<ShanghaiDay, QueryError> {
    let text = text(columns, column, row).unwrap_or_default();
    text.parse().map_err(|error| QueryError::Internal(format!("a day of a window: {error}")))
}

async fn cells(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    mut finding: Finding,
    sources: &[SourcePosition],
    stage: &BudgetStage,
) -> Check {
    let classes: Vec<String> =
        TokenClass::ALL.iter().map(|class| format!("sum({})", class.name())).collect();
    let sql = format!(
        "SELECT {DAY} AS day, model, vendor, supplier, retail_currency, wholesale_currency, \
         sum(points), sum(retail_amount), sum(wholesale_amount), sum(events), {} \
         FROM usage_by_model WHERE {} \
         GROUP BY 1, model, vendor, supplier, retail_currency, wholesale_currency",
        classes.join(", "),
        added(sources)
    );
    let found = async {
        let mut found: BTreeMap<ModelDay, ModelSums> = BTreeMap::new();
        for columns in rows_of(engine, pin, &sql).await? {
            for row in 0..columns.first().map_or(0, |column| column.len()) {
                let name = |column: usize| text(&columns, column, row).unwrap_or_default();
                let currency = |column: usize| {
                    text(&columns, column, row).as_deref().and_then(Currency::parse)
                };
                let of = ModelDay {
                    day: day(&columns, 0, row)?,
                    model: name(1),
                    vendor: name(2),
                    supplier: name(3),
                    retail_currency: currency(4),
                    wholesale_currency: currency(5),
                };
                let mut usage = [0; CLASS_COUNT];
                for (class, sum) in usage.iter_mut().enumerate() {
                    *sum = integer(&columns, 10 + class, row);
                }
                let sums = ModelSums {
                    events: integer(&columns, 9, row),
                    usage,
                    points_micro: decimal(&columns, 6, row),
                    retail_pico: decimal(&columns, 7, row),
                    wholesale_pico: decimal(&columns, 8, row),
                };
                found.insert(of, sums);
            }
        }
        Ok::<_, QueryError>(found)
    };
    match found.await {
        Err(error) => finding.add(error.to_string()),
        Ok(found) => {
            let none = ModelSums::default();
            for of in stage
                .cells()
                .keys()
                .chain(found.keys().filter(|of| !stage.cells().contains_key(*of)))
            {
                let (added, sums) = (stage.cells().get(of), found.get(of));
                finding.expect(added.unwrap_or(&none) == sums.unwrap_or(&none), || {
                    format!("{of:?}: added {added:?}, usage_by_model has {sums:?}")
                });
            }
        }
    }
    finding.done(format!("{} sums of {} partitions", stage.cells().len(), sources.len()))
}

/// The usage that a budget counts, by day, as a query: written from the rules and not from the
/// stage's code.
fn query_of(budget: &Budget, sources: &[SourcePosition]) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let mut conditions = vec![added(sources)];
    match &budget.scope.model {
        Some(ModelPattern::Exact(name)) => conditions.push(format!("model = {}", quoted(name))),
        Some(ModelPattern::Prefix(prefix)) => {
            conditions.push(format!("starts_with(model, {})", quoted(prefix)));
        }
        None => {}
    }
    for (column, value) in [("vendor", &budget.scope.vendor), ("supplier", &budget.scope.supplier)]
    {
        if let Some(value) = value {
            conditions.push(format!("{column} = {}", quoted(value)));
        }
    }
    let summed = match &budget.measure {
        Measure::Amount { side, currency, .. } => {
            let side = if *side == Side::Retail { "retail" } else { "wholesale" };
            conditions.push(format!("{side}_currency = {}", quoted(currency.code())));
            format!("sum({side}_amount)")
        }
        Measure::Points { .. } => "sum(points)".to_owned(),
        Measure::Tokens { .. } => {
            let counted = TokenClass::ALL.into_iter().filter(|class| class.in_total());
            let names: Vec<String> =
                counted.map(|class| format!("sum({})", class.name())).collect();
            names.join(" + ")
        }
    };
    let conditions = conditions.join(" AND ");
    format!("SELECT {DAY} AS day, {summed} FROM usage_by_model WHERE {conditions} GROUP BY 1")
}

async fn budgets(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    mut finding: Finding,
    sources: &[SourcePosition],
    stage: &BudgetStage,
) -> Check {
    let mut used: BTreeMap<(&str, ShanghaiDay), i128> = BTreeMap::new();
    let standings = stage.standings(i64::MAX);
    let mut versions: Vec<&Budget> = standings.iter().map(|standing| standing.budget).collect();
    versions.dedup();
    for budget in versions {
        let sql = query_of(budget, sources);
        let batches = match rows_of(engine, pin, &sql).await {
            Ok(batches) => batches,
            Err(error) => {
                finding.add(format!("{}: {error}", budget.version.id));
                continue;
            }
        };
        for columns in &batches {
            for row in 0..columns.first().map_or(0, |column| column.len()) {
                let count = match budget.measure {
                    Measure::Tokens { .. } => integer(columns, 1, row),
                    Measure::Amount { .. } | Measure::Points { .. } => decimal(columns, 1, row),
                };
                match day(columns, 0, row) {
                    Err(error) => finding.add(error.to_string()),
                    Ok(day) => {
                        if let Some(span) = budget.period_of(day) {
                            *used.entry((budget.version.id.as_str(), span.from)).or_default() +=
                                count;
                        }
                    }
                }
            }
        }
    }
    for standing in &standings {
        let key = (standing.budget.version.id.as_str(), standing.span.from);
        let found = used.remove(&key).unwrap_or_default();
        finding.expect(found == standing.used, || {
            format!("{} from {}: used {}, usage_by_model has {found}", key.0, key.1, standing.used)
        });
    }
    for ((budget, from), found) in used.into_iter().filter(|(_, found)| *found != 0) {
        finding.add(format!("{budget} from {from}: nothing is used, usage_by_model has {found}"));
    }
    finding.done(format!("{} budgets and periods", standings.len()))
}

async fn alerts(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    mut finding: Finding,
    (ledger, last): (&PartitionLedger, &StoredEntry),
    stage: &BudgetStage,
    options: &VerifyOptions,
) -> Check {
    let sql = format!(
        "SELECT epoch, count(*) FROM alerts WHERE {} AND epoch <= {} GROUP BY epoch",
        super::table_sums::BUDGET_ALERTS,
        last.entry.n
    );
    let mut rows: BTreeMap<u64, u64> = BTreeMap::new();
    match rows_of(engine, pin, &sql).await {
        Err(error) => finding.add(error.to_string()),
        Ok(batches) => {
            for columns in &batches {
                for row in 0..columns.first().map_or(0, |column| column.len()) {
                    let number = |column| u64::try_from(integer(columns, column, row)).ok();
                    if let (Some(epoch), Some(count)) = (number(0), number(1)) {
                        rows.insert(epoch, count);
                    }
                }
            }
        }
    }
    let total: u64 = rows.values().sum();
    let newest = rows.keys().next_back().copied();
    let in_files = |entry: &LedgerEntry| ledger_checks::rows_in_files(entry, Table::Alerts);
    let mut waiting = 0;
    for StoredEntry { entry, .. } in &ledger.entries {
        let (found, expected) = (rows.get(&entry.n).copied().unwrap_or(0), in_files(entry));
        if found == 0 && expected > 0 && newest.is_none_or(|newest| newest < entry.n) {
            waiting += expected;
            if options.unpublished_allowed {
                continue;
            }
        }
        finding.expect(found == expected, || {
            format!("entry {}: {found} rows of alerts, the ledger says {expected}", entry.n)
        });
    }
    let passed = stage.passed_thresholds();
    finding.expect(total + waiting == passed, || {
        format!(
            "{passed} thresholds were passed by entry {}, {total} alerts are there",
            last.entry.n
        )
    });
    finding.done(format!("{total} alerts"))
}

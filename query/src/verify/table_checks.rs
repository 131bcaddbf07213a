//! What the tables show beside the ledger: I1, I2, I10, I13.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tally_schemas::{
    ControlTotals, Currency, CurrencySums, Flow, LedgerEntry, RatedTotals, Table, TokenClass,
    UsageSums,
};
use tally_tables::PinnedTables;

use super::ledger_checks::rows_in_files;
use super::table_sums::{EpochKey, ModelKey};
use super::{Check, Evidence, Finding, VerifyOptions};
use crate::answer_rows::{integer, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::ledger_view::PartitionLedger;

/// Every check of tables against the ledger and against each other.
pub(super) fn all(
    evidence: &Evidence,
    published: &Published,
    options: &VerifyOptions,
) -> Vec<Check> {
    vec![
        published.check(options),
        live_files(evidence),
        rows(evidence, published),
        events(evidence, published),
        suspense(evidence, published),
        windows(evidence, published),
        reversals(evidence, published, Table::UsageEvents, &evidence.sums.reversals),
        reversals(evidence, published, Table::UsageByModel, &evidence.sums.reversed_windows),
        windows_by_model(evidence, published),
    ]
}

/// How far each table is published, by partition: the last epoch that it has rows of. An epoch
/// without rows of a table leaves no trace there, and needs none.
pub(super) struct Published {
    last: BTreeMap<(Table, u32), u64>,
    /// Epochs with files of a table that come after the last published one.
    waiting: Vec<(Table, u32, u64)>,
    committed: usize,
}

impl Published {
    pub(super) fn of(evidence: &Evidence) -> Self {
        let mut last = BTreeMap::new();
        for (table, rows) in &evidence.sums.rows {
            for (partition, epoch) in rows.iter().flat_map(BTreeMap::keys) {
                let known = last.entry((*table, *partition)).or_insert(*epoch);
                *known = (*known).max(*epoch);
            }
        }
        let mut waiting = Vec::new();
        let mut committed = 0;
        for entry in entries(&evidence.ledgers) {
            committed += 1;
            for table in Table::ALL {
                let published = last.get(&(table, entry.partition)).copied();
                if rows_in_files(entry, table) > 0 && published.is_none_or(|last| last < entry.n) {
                    waiting.push((table, entry.partition, entry.n));
                }
            }
        }
        Self { last, waiting, committed }
    }

    /// Whether every table has every epoch of the ledger.
    pub(super) fn is_level(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The last entry of a ledger up to which a table has everything: what the table says of the
    /// partition is as of this one.
    pub(super) fn newest_in<'a>(
        &self,
        table: Table,
        ledger: &'a PartitionLedger,
    ) -> Option<&'a LedgerEntry> {
        let waits = self.waiting.iter().filter(|(of, p, _)| (*of, *p) == (table, ledger.partition));
        let first = waits.map(|(_, _, n)| *n).min().unwrap_or(u64::MAX);
        let mut entries = ledger.entries.iter().rev().map(|stored| &stored.entry);
        entries.find(|entry| entry.n < first)
    }

    /// Whether an entry must be in a table.
    fn has(&self, table: Table, entry: &LedgerEntry) -> bool {
        self.last.get(&(table, entry.partition)).is_some_and(|last| *last >= entry.n)
    }

    fn check(&self, options: &VerifyOptions) -> Check {
        let mut finding = Finding::new("I10", "every committed epoch is published to the tables");
        if !options.unpublished_allowed {
            for (table, partition, n) in &self.waiting {
                finding
                    .add(format!("partition {partition} entry {n}: not in {} yet", table.name()));
            }
        }
        finding.done(format!("{} epochs, {} tables waiting", self.committed, self.waiting.len()))
    }
}

/// Whether a table lacks an epoch of a partition before `next`.
pub(super) fn is_waiting(evidence: &Evidence, table: Table, partition: u32, next: u64) -> bool {
    let published = Published::of(evidence);
    published.waiting.iter().any(|(of, p, n)| *of == table && *p == partition && *n < next)
}

fn entries(ledgers: &[PartitionLedger]) -> impl Iterator<Item = &LedgerEntry> {
    ledgers.iter().flat_map(|ledger| &ledger.entries).map(|stored| &stored.entry)
}

fn live_files(evidence: &Evidence) -> Check {
    let mut finding = Finding::new(
        "I10",
        "each live file is listed once, as the ledger lists it or merged from such",
    );
    let listed: BTreeMap<(&str, &str), (u64, u64)> = entries(&evidence.ledgers)
        .flat_map(|entry| &entry.files)
        .map(|file| ((file.table.as_str(), file.path.as_str()), (file.rows, file.bytes)))
        .collect();
    let (mut live, mut merged) = (0_usize, 0_usize);
    for table in evidence.pin.iter() {
        let mut seen = BTreeSet::new();
        for file in &table.files {
            live += 1;
            let name = table.table.name();
            finding.expect(seen.insert(file.path.as_str()), || {
                format!("{name}: {} is live twice", file.path)
            });
            let Some((rows, bytes)) = listed.get(&(name, file.path.as_str())) else {
                merged += 1;
                continue;
            };
            finding.expect(
                *bytes == file.size && file.rows.is_none_or(|live| live == *rows),
                || {
                    format!(
                        "{name}: {} has {} bytes and {:?} rows, the ledger says {bytes} and {rows}",
                        file.path, file.size, file.rows
                    )
                },
            );
        }
    }
    finding.done(format!("{live} live files, {merged} of them merged"))
}

/// Compares what a table holds of each epoch with the ledger. `expected` is what an entry says;
/// epochs below a ledger's floor are compared in sum, where `before_floor` knows it.
pub(super) fn compare_epochs<V: PartialEq + Clone + std::fmt::Debug>(
    finding: &mut Finding,
    evidence: &Evidence,
    published: &Published,
    table: Table,
    found: &BTreeMap<EpochKey, V>,
    expected: impl Fn(&LedgerEntry) -> Option<V>,
) {
    let known: BTreeSet<EpochKey> =
        entries(&evidence.ledgers).map(|entry| (entry.partition, entry.n)).collect();
    let floors: BTreeMap<u32, u64> =
        evidence.ledgers.iter().map(|ledger| (ledger.partition, ledger.floor)).collect();
    for key in found.keys() {
        let below = floors.get(&key.0).is_some_and(|floor| key.1 < *floor);
        finding.expect(below || known.contains(key), || {
            format!(
                "{}: rows of partition {} epoch {}, which is not in the ledger",
                table.name(),
                key.0,
                key.1
            )
        });
    }
    for entry in entries(&evidence.ledgers) {
        let found = found.get(&(entry.partition, entry.n));
        let expected = expected(entry);
        // Not published yet: another check says so.
        if found.is_none() && !published.has(table, entry) {
            continue;
        }
        finding.expect(found.cloned() == expected, || {
            format!(
                "{}: partition {} epoch {} has {}, the ledger says {}",
                table.name(),
                entry.partition,
                entry.n,
                shown(found),
                shown(expected.as_ref())
            )
        });
    }
}

fn shown<V: std::fmt::Debug>(value: Option<&V>) -> String {
    value.map_or_else(|| "nothing".to_owned(), |value| format!("{value:?}"))
}

fn rows(evidence: &Evidence, published: &Published) -> Check {
    let mut finding = Finding::new(
        "I10",
        "each table has as many rows of each epoch as the files in the ledger, also after merging",
    );
    let mut total = 0_u64;
    for (table, rows) in &evidence.sums.rows {
        match rows {
            Err(error) => finding.add(format!("{}: {error}", table.name())),
            Ok(rows) => {
                total += rows.values().sum::<u64>();
                compare_epochs(&mut finding, evidence, published, *table, rows, |entry| {
                    Some(rows_in_files(entry, *table)).filter(|rows| *rows > 0)
                });
            }
        }
    }
    finding.done(format!("{total} rows of {} tables", evidence.sums.rows.len()))
}

/// Totals of the epochs whose ledger entries the janitor has removed.
fn before_floor(ledger: &PartitionLedger) -> Option<ControlTotals> {
    let first = &ledger.entries.first()?.entry;
    if first.n == 0 {
        return None;
    }
    let subtract = |whole: &Flow, part: &Flow| {
        let mut rest = whole.clone();
        rest.events = rest.events.saturating_sub(part.events);
        for (rest, part) in rest.tokens.iter_mut().zip(part.tokens) {
            *rest = rest.saturating_sub(part);
        }
        rest
    };
    let amounts = |whole: &CurrencySums, part: &CurrencySums| -> CurrencySums {
        let rest = |(currency, pico): (&Currency, &i128)| {
            (*currency, pico - part.get(currency).copied().unwrap_or(0))
        };
        // A currency that came only with the first entry is left out, as no row has it.
        whole.iter().map(rest).filter(|(_, pico)| *pico != 0).collect()
    };
    let (all, own) = (&first.cumulative.rated, &first.totals.rated);
    Some(ControlTotals {
        rated: RatedTotals {
            points_micro: all.points_micro - own.points_micro,
            retail_pico: amounts(&all.retail_pico, &own.retail_pico),
            wholesale_pico: amounts(&all.wholesale_pico, &own.wholesale_pico),
        },
        accepted: subtract(&first.cumulative.accepted, &first.totals.accepted),
        suspended: subtract(&first.cumulative.suspended, &first.totals.suspended),
        ..ControlTotals::default()
    })
}

fn compare_below_floor(
    finding: &mut Finding,
    evidence: &Evidence,
    table: Table,
    found: &BTreeMap<EpochKey, UsageSums>,
) {
    for ledger in &evidence.ledgers {
        let Some(expected) = before_floor(ledger) else { continue };
        let mut sum = UsageSums::default();
        for (_, sums) in found.range((ledger.partition, 0)..(ledger.partition, ledger.floor)) {
            sum.merge(sums);
        }
        for sums in [&mut sum.rated.retail_pico, &mut sum.rated.wholesale_pico] {
            sums.retain(|_, pico| *pico != 0);
        }
        let expected = UsageSums { flow: expected.accepted, rated: expected.rated };
        finding.expect(sum == expected, || {
            format!(
                "{}: epochs of partition {} below the ledger's floor {} sum to {sum:?}, the ledger says {:?}",
                table.name(),
                ledger.partition,
                ledger.floor,
                expected
            )
        });
    }
}

fn accepted(entry: &LedgerEntry) -> Option<UsageSums> {
    let (flow, rated) = (entry.totals.accepted.clone(), entry.totals.rated.clone());
    (flow.events > 0).then_some(UsageSums { flow, rated })
}

fn epoch_flows(
    mut finding: Finding,
    evidence: &Evidence,
    published: &Published,
    table: Table,
    found: &Result<BTreeMap<EpochKey, UsageSums>, QueryError>,
) -> Check {
    match found {
        Err(error) => {
            finding.add(error.to_string());
            finding.done("nothing")
        }
        Ok(found) => {
            compare_epochs(&mut finding, evidence, published, table, found, accepted);
            compare_below_floor(&mut finding, evidence, table, found);
            let events: u64 = found.values().map(|sums| sums.flow.events).sum();
            finding.done(format!("{events} events in {} epochs", found.len()))
        }
    }
}

fn events(evidence: &Evidence, published: &Published) -> Check {
    let finding = Finding::new(
        "I1",
        "usage_events has the accepted events, tokens of each class, points and amounts of each epoch",
    );
    epoch_flows(finding, evidence, published, Table::UsageEvents, &evidence.sums.events)
}

fn windows(evidence: &Evidence, published: &Published) -> Check {
    let finding = Finding::new(
        "I13",
        "usage_by_model has the accepted events, tokens of each class, points and amounts of each epoch",
    );
    epoch_flows(finding, evidence, published, Table::UsageByModel, &evidence.sums.windows)
}

/// What an entry says that was taken back.
fn corrected(entry: &LedgerEntry) -> Option<UsageSums> {
    Some(entry.totals.corrected.clone()).filter(|sums| !sums.is_nothing())
}

fn reversals(
    evidence: &Evidence,
    published: &Published,
    table: Table,
    found: &Result<BTreeMap<EpochKey, UsageSums>, QueryError>,
) -> Check {
    let (invariant, what) = match table {
        Table::UsageEvents => (
            "I1",
            "usage_events takes back the corrected events, tokens of each class, points and amounts of each epoch",
        ),
        _ => (
            "I13",
            "usage_by_model takes back the corrected events, tokens of each class, points and amounts of each epoch",
        ),
    };
    let mut finding = Finding::new(invariant, what);
    match found {
        Err(error) => {
            finding.add(error.to_string());
            finding.done("nothing")
        }
        Ok(found) => {
            compare_epochs(&mut finding, evidence, published, table, found, corrected);
            let events: u64 = found.values().map(|sums| sums.flow.events).sum();
            finding.done(format!("{events} events taken back in {} epochs", found.len()))
        }
    }
}

fn suspense(evidence: &Evidence, published: &Published) -> Check {
    let mut finding =
        Finding::new("I1", "suspense has the held-back events of each epoch, by reason");
    let found = match &evidence.sums.suspense {
        Ok(found) => found,
        Err(error) => {
            finding.add(error.to_string());
            return finding.done("nothing");
        }
    };
    let mut by_epoch: BTreeMap<EpochKey, BTreeMap<String, u64>> = BTreeMap::new();
    for ((partition, epoch, reason), count) in found {
        by_epoch.entry((*partition, *epoch)).or_default().insert(reason.clone(), *count);
    }
    compare_epochs(&mut finding, evidence, published, Table::Suspense, &by_epoch, |entry| {
        Some(entry.totals.suspended_by_reason.clone()).filter(|reasons| !reasons.is_empty())
    });
    finding.done(format!("{} held-back events", found.values().sum::<u64>()))
}

/// How two flows differ, in words; empty where they are equal.
pub(super) fn difference(found: &Flow, expected: &Flow) -> String {
    let mut parts = Vec::new();
    if found.events != expected.events {
        parts.push(format!("events {} for {}", found.events, expected.events));
    }
    for class in TokenClass::ALL {
        let (found, expected) = (found.tokens[class.index()], expected.tokens[class.index()]);
        if found != expected {
            parts.push(format!("{class} {found} for {expected}"));
        }
    }
    parts.join(", ")
}

/// How two sets of amounts differ; empty where they are equal.
fn amounts_difference(found: &RatedTotals, expected: &RatedTotals) -> String {
    if found == expected { String::new() } else { format!("{found:?} for {expected:?}") }
}

fn windows_by_model(evidence: &Evidence, published: &Published) -> Check {
    let mut finding = Finding::new(
        "I13",
        "usage_by_model sums to usage_events, for each model, class and currency",
    );
    let sums = &evidence.sums;
    let (found, events) = match (&sums.windows_by_model, &sums.events_by_model) {
        (Ok(found), Ok(events)) => (found, events),
        (Err(error), _) | (_, Err(error)) => {
            finding.add(error.to_string());
            return finding.done("nothing");
        }
    };
    if !published.is_level() {
        return finding.done("nothing: the tables are not at the same epoch");
    }
    let none = UsageSums::default();
    let models: BTreeSet<&ModelKey> = found.keys().chain(events.keys()).collect();
    for model in &models {
        let found = found.get(*model).unwrap_or(&none);
        let expected = events.get(*model).unwrap_or(&none);
        finding.expect(found == expected, || {
            let counts = difference(&found.flow, &expected.flow);
            let amounts = amounts_difference(&found.rated, &expected.rated);
            format!("{} of {}: {counts} {amounts}", model.0, model.1)
        });
    }
    finding.done(format!("{} models", models.len()))
}

/// I2: nothing is in the tables twice.
pub(super) async fn duplicates(engine: &QueryEngine, pin: &Arc<PinnedTables>) -> Vec<Check> {
    vec![
        rows_that_should_not_be(
            engine,
            pin,
            Finding::new("I2", "no event (source, id) is in usage_events twice"),
            "SELECT source, id, count(*) AS times FROM system.kept_events \
             GROUP BY source, id HAVING count(*) > 1 LIMIT 20",
        )
        .await,
        rows_that_should_not_be(
            engine,
            pin,
            Finding::new("I2", "no Kafka position is in suspense twice"),
            "SELECT CAST(kafka_partition AS VARCHAR), \
             concat(CAST(kafka_offset AS VARCHAR), ' index ', CAST(batch_index AS VARCHAR)), \
             count(*) AS times FROM suspense \
             GROUP BY kafka_partition, kafka_offset, batch_index HAVING count(*) > 1 LIMIT 20",
        )
        .await,
    ]
}

/// A check that holds where a query, whose columns are two texts and a number, has no rows.
pub(super) async fn rows_that_should_not_be(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    mut finding: Finding,
    sql: &str,
) -> Check {
    if let Err(error) = add_rows_that_should_not_be(engine, pin, &mut finding, sql).await {
        finding.add(error.to_string());
    }
    finding.done("every row")
}

/// Adds each row of such a query to what a check found.
pub(super) async fn add_rows_that_should_not_be(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    finding: &mut Finding,
    sql: &str,
) -> Result<(), QueryError> {
    for columns in rows_of(engine, pin, sql).await? {
        for row in 0..columns.first().map_or(0, |column| column.len()) {
            let (first, second) = (text(&columns, 0, row)?, text(&columns, 1, row)?);
            finding.add(format!("{first} {second}: {} times", integer(&columns, 2, row)?));
        }
    }
    Ok(())
}

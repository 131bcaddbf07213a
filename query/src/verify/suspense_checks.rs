//! What came out of suspense: each row once, for what it was held back for, and nothing is lost on
//! the way (I1, I2).

use std::collections::BTreeMap;

use tally_schemas::{CLASS_COUNT, Flow, LedgerEntry, Table, TokenClass};
use tally_settlement::same_person;

use super::table_checks::{Published, compare_epochs, rows_that_should_not_be};
use super::table_sums::{EpochKey, epoch_key};
use super::{Check, Evidence, Finding};
use crate::answer_rows::{count, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::removed_days::not_removed;

/// Resolutions, under a name of the columns that say of which row.
const OF_ROW: &str = "r.suspense_partition = s.kafka_partition AND r.suspense_offset = s.kafka_offset \
                      AND r.suspense_batch_index = s.batch_index";

/// The row of a resolution, as two texts.
const NAMED: &str = "CAST(r.suspense_partition AS VARCHAR), concat(CAST(r.suspense_offset AS VARCHAR), \
                     ' index ', CAST(r.suspense_batch_index AS VARCHAR))";

/// Every check of `suspense_resolutions`.
pub(super) async fn all(
    engine: &QueryEngine,
    evidence: &Evidence,
    published: &Published,
) -> Vec<Check> {
    let twice = format!(
        "SELECT {NAMED}, count(*) FROM suspense_resolutions r GROUP BY r.suspense_partition, \
         r.suspense_offset, r.suspense_batch_index HAVING count(*) > 1 LIMIT 20"
    );
    let foreign = format!(
        "SELECT {NAMED}, CAST(1 AS BIGINT) FROM suspense_resolutions r LEFT JOIN suspense s ON {OF_ROW} \
         WHERE s.reason IS NULL OR s.reason <> r.reason LIMIT 20"
    );
    // What was taken in again is the event that was held back, in its place.
    let elsewhere = format!(
        "SELECT {NAMED}, CAST(1 AS BIGINT) FROM suspense_resolutions r JOIN suspense s ON {OF_ROW} \
         LEFT JOIN system.kept_events e ON e.kafka_partition = r.kafka_partition \
         AND e.kafka_offset = r.kafka_offset AND e.batch_index = r.batch_index \
         WHERE r.outcome = 'accepted' \
         AND (e.id IS NULL OR e.id <> s.id OR e.source <> s.source OR e.account <> s.account) \
         AND {} LIMIT 20",
        // Where the day of what was held back is removed, so is the row that it became.
        not_removed(&evidence.pin, Table::UsageEvents, "shanghai_day(s.completed_at)")
    );
    let mut checks = vec![by_epoch(engine, evidence, published).await];
    let mut look = async |what: &'static str, sql: &str, needs_level: bool| {
        let finding = Finding::new("I2", what);
        let check = if needs_level && !published.is_level() {
            finding.done("nothing: the tables are not at the same epoch")
        } else {
            rows_that_should_not_be(engine, &evidence.pin, finding, sql).await
        };
        checks.push(check);
    };
    look("no row of suspense is resolved twice", &twice, false).await;
    look("each resolution is of a row of suspense, and of its reason", &foreign, true).await;
    look("a recycled event is in usage_events as it was held back", &elsewhere, true).await;
    checks.push(four_eyes(engine, evidence).await);
    checks.push(open_rows(engine, evidence, published).await);
    checks
}

fn resolved(entry: &LedgerEntry) -> Option<Flow> {
    let mut flow = entry.totals.recycled.clone();
    flow.merge(&entry.totals.written_off);
    (flow.events > 0).then_some(flow)
}

async fn by_epoch(engine: &QueryEngine, evidence: &Evidence, published: &Published) -> Check {
    let mut finding = Finding::new(
        "I1",
        "suspense_resolutions has the recycled and written-off events of each epoch, tokens of each class",
    );
    match flows(engine, evidence).await {
        Err(error) => {
            finding.add(error.to_string());
            finding.done("nothing")
        }
        Ok(found) => {
            let table = Table::SuspenseResolutions;
            compare_epochs(&mut finding, evidence, published, table, &found, resolved);
            let events: u64 = found.values().map(|flow| flow.events).sum();
            finding.done(format!("{events} rows out of suspense"))
        }
    }
}

async fn flows(
    engine: &QueryEngine,
    evidence: &Evidence,
) -> Result<BTreeMap<EpochKey, Flow>, QueryError> {
    let classes = TokenClass::ALL.map(|class| format!("sum({})", class.name())).join(", ");
    let sql = format!(
        "SELECT kafka_partition, epoch, count(*), {classes} FROM suspense_resolutions \
         GROUP BY kafka_partition, epoch"
    );
    let mut found = BTreeMap::new();
    for columns in rows_of(engine, &evidence.pin, &sql).await? {
        for row in 0..columns.first().map_or(0, |column| column.len()) {
            let mut tokens = [0; CLASS_COUNT];
            for (class, sum) in tokens.iter_mut().enumerate() {
                *sum = u128::from(count(&columns, 3 + class, row)?);
            }
            let flow = Flow { events: count(&columns, 2, row)?, tokens };
            found.insert(epoch_key(&columns, row)?, flow);
        }
    }
    Ok(found)
}

/// Nobody approves what they proposed.
async fn four_eyes(engine: &QueryEngine, evidence: &Evidence) -> Check {
    let mut finding = Finding::new("I2", "two people stand behind each write-off");
    let sql = "SELECT resolved_by, coalesce(approved_by, resolved_by), count(*) \
               FROM suspense_resolutions WHERE resolution = 'written_off' GROUP BY 1, 2";
    let mut pairs = 0;
    match rows_of(engine, &evidence.pin, sql).await {
        Err(error) => finding.add(error.to_string()),
        Ok(batches) => {
            for columns in &batches {
                for row in 0..columns.first().map_or(0, |column| column.len()) {
                    pairs += 1;
                    match (text(columns, 0, row), text(columns, 1, row)) {
                        (Ok(by), Ok(approver)) => finding
                            .expect(!same_person(&by, &approver), || {
                                format!("{by} and {approver}")
                            }),
                        (Err(error), _) | (_, Err(error)) => finding.add(error.to_string()),
                    }
                }
            }
        }
    }
    finding.done(format!("{pairs} pairs of people"))
}

/// Over all partitions: a row may be recycled in another one than the one that held it back.
async fn open_rows(engine: &QueryEngine, evidence: &Evidence, published: &Published) -> Check {
    let mut finding =
        Finding::new("I1", "rows open in suspense = suspended - recycled - written off");
    if !published.is_level() {
        return finding.done("nothing: the tables are not at the same epoch");
    }
    let (mut suspended, mut resolved) = (0, 0);
    for last in evidence.ledgers.iter().filter_map(|ledger| ledger.entries.last()) {
        suspended += last.entry.cumulative.suspended.events;
        resolved += last.entry.cumulative.resolved_events();
    }
    let sql = "SELECT count(*) FROM suspense WHERE status = 'open'";
    let open: Result<u64, QueryError> = match rows_of(engine, &evidence.pin, sql).await {
        Err(error) => Err(error),
        Ok(batches) => {
            batches.iter().filter(|columns| !columns.is_empty()).map(|c| count(c, 0, 0)).sum()
        }
    };
    match open {
        Err(error) => finding.add(error.to_string()),
        Ok(open) => finding.expect(open + resolved == suspended, || {
            format!("{open} open, {suspended} suspended and {resolved} resolved")
        }),
    }
    finding.done(format!("{suspended} suspended, {resolved} resolved"))
}

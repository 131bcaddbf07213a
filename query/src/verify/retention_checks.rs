//! What retention has removed: each record follows the one before it, every file that stands in the
//! place of a removed one is as its record says, and what the rows came to is what is left of them.
//!
//! That these sums are the right ones is what the checks of epochs, windows and seals show: they
//! read them in the place of the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use object_store::path::Path;
use tally_schemas::{RollUp, Table, TokenClass, decimal_text};
use tally_tables::{
    PinnedFile, PinnedTable, PinnedTables, RemovedData, RemovedSums, StoredRecord,
    retention_record_path, retention_records,
};

use super::{Check, Finding};
use crate::answer_rows::{decimal, integer, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::pin::error_of;
use crate::settle::sha256_of;

/// The table that days are removed from.
const TABLE: Table = Table::UsageEvents;

/// A day with the sums of its records, or of what is left.
type Sums = BTreeMap<String, Vec<RemovedSums>>;

/// Compares everything that was removed with its record.
pub(super) async fn records(engine: &QueryEngine, pin: &Arc<PinnedTables>) -> Check {
    let mut finding = Finding::new(
        "I6",
        "what retention has removed is written down: records are whole, and what is left is as they say",
    );
    let Some(events) = pin.get(TABLE) else { return finding.done("nothing") };
    let records = match retention_records(engine.ledger().store(), TABLE).await {
        Ok(records) => records,
        Err(error) => {
            finding.add(error_of(&error).to_string());
            return finding.done("nothing more");
        }
    };
    chain(&mut finding, &records);
    let carried_out = in_their_place(engine, &mut finding, &events, &records).await;
    rows_of_days(&mut finding, &events, &records);
    match left(engine, pin).await {
        Ok(left) => compare(&mut finding, &recorded(&carried_out), &left),
        Err(error) => finding.add(error.to_string()),
    }
    finding.done(format!("{} of {} records", carried_out.len(), records.len()))
}

fn chain(finding: &mut Finding, records: &[StoredRecord]) {
    let mut before = "";
    for stored in records {
        let path = retention_record_path(TABLE, stored.n);
        finding.expect(stored.record.n == stored.n, || {
            format!("{path} says that it is number {}", stored.record.n)
        });
        finding.expect(stored.record.previous == before, || {
            format!("{path} does not follow the record before it")
        });
        before = &stored.sha256;
    }
}

/// Compares the files that stand in the place of removed ones. Returns the records that they name.
async fn in_their_place<'a>(
    engine: &QueryEngine,
    finding: &mut Finding,
    events: &PinnedTable,
    records: &'a [StoredRecord],
) -> BTreeMap<u64, &'a StoredRecord> {
    let by_number: BTreeMap<u64, &StoredRecord> =
        records.iter().map(|stored| (stored.n, stored)).collect();
    let mut carried_out = BTreeMap::new();
    let mut there: BTreeSet<&str> = BTreeSet::new();
    for file in &events.files {
        let Some(removed) = file.removed() else { continue };
        there.insert(&file.path);
        let path = retention_record_path(TABLE, removed.record);
        let Some(stored) = by_number.get(&removed.record) else {
            finding.add(format!("{} was removed, and {path} is gone", file.path));
            continue;
        };
        carried_out.insert(removed.record, *stored);
        finding.expect(stored.sha256 == removed.record_sha256, || {
            format!("{path} is not the record that the removal of {} names", file.path)
        });
        let mut files = stored.record.removal.files.iter();
        let Some(data) = files.find(|data| data.in_its_place == file.path) else {
            finding.add(format!("{path} does not name {}", file.path));
            continue;
        };
        let day = file.partition_values.get("day").cloned().flatten();
        let is_same = (data.rows, data.bytes) == (removed.rows, removed.bytes)
            && day.as_deref() == Some(stored.record.removal.day.as_str());
        finding.expect(is_same, || format!("{path} says something else of {}", file.path));
        what_it_left(engine, finding, events, (file, data)).await;
    }
    for stored in carried_out.values() {
        for data in &stored.record.removal.files {
            finding.expect(there.contains(data.in_its_place.as_str()), || {
                format!(
                    "{} stands in the place of {}, and is not in the table",
                    data.in_its_place, data.path
                )
            });
        }
    }
    carried_out
}

/// Compares the roll-ups that a removed file has left with their hashes.
async fn what_it_left(
    engine: &QueryEngine,
    finding: &mut Finding,
    events: &PinnedTable,
    (file, data): (&PinnedFile, &RemovedData),
) {
    for roll_up in RollUp::left_of(TABLE) {
        let Some(left) = data.roll_ups.get(&roll_up.tag()) else {
            finding.add(format!("{}: its record has no {}", data.path, roll_up.name()));
            continue;
        };
        finding.expect(file.roll_up_bytes(roll_up) == Some(left.bytes), || {
            format!("{}: {} has another size than its record says", data.path, roll_up.name())
        });
        let root = events.object_path(file);
        let folder = root.as_ref().strip_suffix(file.path.as_str()).unwrap_or_default();
        let object = Path::from(format!("{folder}{}", roll_up.path(&file.path)));
        match sha256_of(engine.ledger().store(), &object).await {
            Ok(Some(sha256)) => finding.expect(sha256 == left.sha256, || {
                format!("{object} is not what the rows of {} came to", data.path)
            }),
            Ok(None) => finding.add(format!("{object} is gone")),
            Err(error) => finding.add(error.to_string()),
        }
    }
}

/// A record that no file names is of a removal that never was: the day has its rows.
fn rows_of_days(finding: &mut Finding, events: &PinnedTable, records: &[StoredRecord]) {
    let mut rows: BTreeMap<&str, u64> = BTreeMap::new();
    for file in &events.files {
        let Some(Some(day)) = file.partition_values.get("day") else { continue };
        let of_file = file.removed().map(|removed| removed.rows).or(file.rows).unwrap_or(0);
        *rows.entry(day).or_default() += of_file;
    }
    for stored in records {
        let (day, removed) = (&stored.record.removal.day, stored.record.removal.rows());
        let there = rows.get(day.as_str()).copied().unwrap_or(0);
        finding.expect(there >= removed, || {
            format!(
                "{day} has {there} rows, removed ones too; {} has {removed}",
                retention_record_path(TABLE, stored.n)
            )
        });
    }
}

/// What the records say of each day.
fn recorded(records: &BTreeMap<u64, &StoredRecord>) -> Sums {
    let mut sums = Sums::new();
    for stored in records.values() {
        let removal = &stored.record.removal;
        sums.entry(removal.day.clone()).or_default().extend(removal.sums.iter().cloned());
    }
    sums
}

/// What is left of each day, as records have it.
async fn left(engine: &QueryEngine, pin: &Arc<PinnedTables>) -> Result<Sums, QueryError> {
    let classes: Vec<String> =
        TokenClass::ALL.iter().map(|class| format!("sum({})", class.name())).collect();
    let sql = format!(
        "SELECT CAST(day AS VARCHAR), vendor, coalesce(retail_currency, ''), \
         coalesce(wholesale_currency, ''), sum(events), {}, sum(points), sum(retail_amount), \
         sum(wholesale_amount) FROM system.removed_usage \
         GROUP BY day, vendor, coalesce(retail_currency, ''), coalesce(wholesale_currency, '')",
        classes.join(", ")
    );
    let mut sums = Sums::new();
    for columns in rows_of(engine, pin, &sql).await? {
        for row in 0..columns.first().map_or(0, |column| column.len()) {
            let mut units = BTreeMap::new();
            for class in TokenClass::ALL {
                let sum = integer(&columns, 5 + class.index(), row)?;
                if sum != 0 {
                    units.insert(class.name().to_owned(), sum);
                }
            }
            let amount = |column: usize, scale: u32| {
                let value = decimal(&columns, 5 + TokenClass::ALL.len() + column, row)?;
                Ok::<_, QueryError>(decimal_text(value, scale))
            };
            sums.entry(text(&columns, 0, row)?).or_default().push(RemovedSums {
                vendor: text(&columns, 1, row)?,
                retail_currency: text(&columns, 2, row)?,
                wholesale_currency: text(&columns, 3, row)?,
                events: integer(&columns, 4, row)?,
                units,
                points: amount(0, 6)?,
                retail_amount: amount(1, 12)?,
                wholesale_amount: amount(2, 12)?,
            });
        }
    }
    Ok(sums)
}

/// Compares sums day by day. A day with several records has theirs one after the other: of such a
/// day the hashes alone say that what is left is what was.
fn compare(finding: &mut Finding, recorded: &Sums, left: &Sums) {
    let days: BTreeSet<&String> = recorded.keys().chain(left.keys()).collect();
    for day in days {
        let sorted = |sums: &Sums| {
            let mut sums = sums.get(day).cloned().unwrap_or_default();
            sums.sort();
            sums
        };
        let (recorded, left) = (sorted(recorded), sorted(left));
        let keys: BTreeSet<_> = recorded
            .iter()
            .map(|sum| (&sum.vendor, &sum.retail_currency, &sum.wholesale_currency))
            .collect();
        if keys.len() < recorded.len() {
            continue;
        }
        finding.expect(recorded == left, || {
            format!("{day}: the record says {recorded:?}, what is left says {left:?}")
        });
    }
}

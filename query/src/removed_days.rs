//! Days whose rows retention has removed: who asks for them is told so.
//!
//! An answer without them would be a wrong one that looks like a right one. So a scan that needs a
//! removed file is refused, in words that say how to ask for the rest; what goes on without the
//! rows (roll-ups, proofs) reads what they have left.

use std::sync::Arc;

use jiff::civil::Date;
use tally_schemas::Table;
use tally_tables::{PinnedFile, PinnedTables, retention_record_path};

use crate::error::QueryError;

/// Which day a removed file was of, and the record of that.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Removed {
    day: String,
    record: u64,
}

impl Removed {
    pub(crate) fn of(file: &PinnedFile) -> Option<Self> {
        let record = file.removed()?.record;
        Some(Self { day: day_of(file), record })
    }
}

fn day_of(file: &PinnedFile) -> String {
    file.partition_values.get("day").cloned().flatten().unwrap_or_default()
}

/// The error of who asks for rows that were removed; `None` where nobody does.
pub(crate) fn removed_rows_asked<'a>(
    table: Table,
    removed: impl Iterator<Item = &'a Removed>,
) -> Option<QueryError> {
    let mut removed: Vec<&Removed> = removed.collect();
    removed.sort();
    let (first, last) = (*removed.first()?, *removed.last()?);
    let name = table.name();
    let days = if first.day == last.day {
        first.day.clone()
    } else {
        format!("days from {} to {}", first.day, last.day)
    };
    let next = last.day.parse::<Date>().ok().and_then(|day| day.tomorrow().ok());
    let next = next.map_or_else(|| last.day.clone(), |day| day.to_string());
    Some(QueryError::Invalid(format!(
        "retention has removed the rows of {name} of {days}; {} says what they came to, system.removed_days lists all. Ask for what is there, with WHERE day >= DATE '{next}', or ask what goes on without rows: usage_by_model, usage_by_subscriber, the margins of settlement",
        retention_record_path(table, last.record)
    )))
}

/// A removed day of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RemovedDay {
    pub(crate) table: Table,
    pub(crate) day: String,
    pub(crate) record: u64,
    pub(crate) files: u64,
    pub(crate) rows: u64,
    pub(crate) bytes: u64,
    pub(crate) removed_at_ms: i64,
}

/// The removed days of a pin, a row for each record.
pub(crate) fn removed_days(pin: &Arc<PinnedTables>) -> Vec<RemovedDay> {
    let mut days: Vec<RemovedDay> = Vec::new();
    for table in pin.iter() {
        let mut files: Vec<_> =
            table.files.iter().filter_map(|file| Some((day_of(file), file.removed()?))).collect();
        files.sort_by(|a, b| (&a.0, a.1.record).cmp(&(&b.0, b.1.record)));
        for (day, removed) in files {
            match days.last_mut() {
                Some(last)
                    if last.table == table.table
                        && last.day == day
                        && last.record == removed.record =>
                {
                    last.files += 1;
                    last.rows += removed.rows;
                    last.bytes += removed.bytes;
                }
                _ => days.push(RemovedDay {
                    table: table.table,
                    day,
                    record: removed.record,
                    files: 1,
                    rows: removed.rows,
                    bytes: removed.bytes,
                    removed_at_ms: removed.removed_at_ms,
                }),
            }
        }
    }
    days
}

/// Removed days as SQL that is true of a row of none of them.
pub(crate) fn not_removed(pin: &Arc<PinnedTables>, table: Table, day: &str) -> String {
    let mut days: Vec<String> = removed_days(pin)
        .into_iter()
        .filter(|removed| removed.table == table)
        .map(|removed| format!("DATE '{}'", removed.day))
        .collect();
    days.dedup();
    if days.is_empty() {
        return "true".to_owned();
    }
    format!("coalesce({day} NOT IN ({}), true)", days.join(", "))
}

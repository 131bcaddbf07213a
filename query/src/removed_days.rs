//! Days whose rows retention has removed: who asks for them is told so.
//!
//! An answer without them would be a wrong one that looks like a right one. So a scan that needs a
//! removed file is refused, in words that say how to ask for the rest; what goes on without the
//! rows (roll-ups, proofs) reads what they have left.

use std::fmt;
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

/// Rows that were removed and are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedRows {
    table: Table,
    first: String,
    last: String,
    /// What the last of them came to; `None` for who does not see everything.
    record: Option<u64>,
}

impl RemovedRows {
    /// The same for who does not see everything.
    pub(crate) fn without_record(self) -> Self {
        Self { record: None, ..self }
    }

    /// What was removed, without what can be asked instead.
    pub fn told(&self) -> String {
        let Self { table, first, last, record } = self;
        let name = table.name();
        let days =
            if first == last { first.clone() } else { format!("days from {first} to {last}") };
        let record = record.map_or_else(String::new, |record| {
            let path = retention_record_path(*table, record);
            format!("; {path} says what they came to, system.removed_days lists all")
        });
        format!("retention has removed the rows of {name} of {days}{record}")
    }
}

impl fmt::Display for RemovedRows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let next = self.last.parse::<Date>().ok().and_then(|day| day.tomorrow().ok());
        let next = next.map_or_else(|| self.last.clone(), |day| day.to_string());
        let of_rows = if self.record.is_some() {
            "usage_by_model, usage_by_subscriber, the margins of settlement"
        } else {
            "usage_by_model, settlement.vendor_payable"
        };
        write!(
            f,
            "{}. Ask for what is there, with WHERE day >= DATE '{next}', or ask what goes on without rows: {of_rows}",
            self.told()
        )
    }
}

/// The error of who asks for rows that were removed; `None` where nobody does.
pub(crate) fn removed_rows_asked<'a>(
    table: Table,
    removed: impl Iterator<Item = &'a Removed>,
) -> Option<QueryError> {
    let mut removed: Vec<&Removed> = removed.collect();
    removed.sort();
    let (first, last) = (*removed.first()?, *removed.last()?);
    Some(QueryError::Removed(RemovedRows {
        table,
        first: first.day.clone(),
        last: last.day.clone(),
        record: Some(last.record),
    }))
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

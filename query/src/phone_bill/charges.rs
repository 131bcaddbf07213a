//! The charges of a file, read from `quota_ledger` by sums alone.

use std::sync::Arc;

use arrow::array::ArrayRef;
use tally_schemas::Currency;
use tally_settlement::phone_bill::{BillError, BillSeal, Charge, ChargeKind, Day, LedgerSum};
use tally_settlement::{CutOff, Pico, Points};
use tally_tables::PinnedTables;

use crate::answer_rows::{count, decimal, integer, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::settle::within;

/// Which rows a file takes note of: those up to a day and up to cut-offs, but not those that an
/// earlier file took note of. As days and cut-offs only rise, each row is in one window.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Window<'a> {
    /// Up to which day, and which epochs.
    pub(crate) to: (Day, &'a [CutOff]),
    /// The same of the file before; `None` for the first.
    pub(crate) from: Option<(Day, &'a [CutOff])>,
}

fn up_to((day, cut_offs): (Day, &[CutOff])) -> String {
    format!("shanghai_day(at) <= DATE '{day}' AND {}", within(cut_offs))
}

/// What a daily file reaches to.
pub(crate) fn reach((day, seal): (Day, &BillSeal)) -> (Day, &[CutOff]) {
    (day, seal.cut_offs.as_slice())
}

impl Window<'_> {
    fn condition(&self) -> String {
        let to = up_to(self.to);
        let Some(from) = self.from else { return to };
        format!("{to} AND NOT ({}){}", up_to(from), self.newer(from))
    }

    /// What follows from the rest, in a form by which statistics leave out the files that were
    /// counted before; nothing where a partition has no earlier cut-off.
    fn newer(&self, (day, cut_offs): (Day, &[CutOff])) -> String {
        let known = |cut: &CutOff| cut_offs.iter().any(|own| own.partition == cut.partition);
        let (_, reached) = self.to;
        let least = cut_offs.iter().map(|cut| cut.epoch).min();
        match least.filter(|_| reached.iter().all(known)) {
            Some(epoch) => format!(" AND (shanghai_day(at) > DATE '{day}' OR epoch > {epoch})"),
            None => String::new(),
        }
    }
}

/// Rows that are charged, by account, kind, package, currency and day.
///
/// # Errors
/// `Data` for rows without a currency, `Retry` while the store is away.
pub(super) async fn read(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    window: &Window<'_>,
) -> Result<Vec<Charge>, QueryError> {
    let kinds = ChargeKind::ALL.map(|kind| format!("'{}'", kind.ledger_kind()));
    let keys = "account, kind, coalesce(package, ''), coalesce(currency, ''), \
                CAST(shanghai_day(at) AS INTEGER)";
    let sql = format!(
        "SELECT {keys}, count(*), sum(points), sum(amount) FROM quota_ledger \
         WHERE kind IN ({}) AND {} GROUP BY {keys}",
        kinds.join(", "),
        window.condition()
    );
    let mut charges = Vec::new();
    for columns in rows_of(engine, pin, &sql).await? {
        let rows = columns.first().map_or(0, |column| column.len());
        for row in 0..rows {
            charges.push(charge(&columns, row)?);
        }
    }
    Ok(charges)
}

fn charge(columns: &[ArrayRef], row: usize) -> Result<Charge, QueryError> {
    let account = text(columns, 0, row)?;
    let kind = text(columns, 1, row)?;
    let kind = ChargeKind::of_ledger(&kind)
        .ok_or_else(|| QueryError::Internal(format!("rows of kind {kind} were not asked for")))?;
    let currency = text(columns, 3, row)?;
    let Some(known) = Currency::parse(&currency) else {
        return Err(BillError::NoCurrency { account, kind: kind.ledger_kind(), currency }.into());
    };
    let days = integer(columns, 4, row)?;
    let day = Day::of_number(days)
        .ok_or_else(|| QueryError::Data(format!("rows of {account} are {days} days after 1970")))?;
    Ok(Charge {
        account,
        kind,
        package: text(columns, 2, row)?,
        currency: known,
        day,
        rows: count(columns, 5, row)?,
        points: Points(decimal(columns, 6, row)?),
        exact: Pico(decimal(columns, 7, row)?),
    })
}

/// All rows of a window by kind and currency, charged or not.
///
/// # Errors
/// `Retry` while the store is away.
pub(crate) async fn all_of(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    window: &Window<'_>,
) -> Result<Vec<LedgerSum>, QueryError> {
    let sql = format!(
        "SELECT kind, coalesce(currency, ''), count(*), sum(points), sum(amount) \
         FROM quota_ledger WHERE {} GROUP BY kind, coalesce(currency, '')",
        window.condition()
    );
    let mut sums = Vec::new();
    for columns in rows_of(engine, pin, &sql).await? {
        let rows = columns.first().map_or(0, |column| column.len());
        for row in 0..rows {
            sums.push(LedgerSum {
                kind: text(&columns, 0, row)?,
                currency: text(&columns, 1, row)?,
                rows: count(&columns, 2, row)?,
                points: Points(decimal(&columns, 3, row)?),
                amount: Pico(decimal(&columns, 4, row)?),
            });
        }
    }
    sums.sort_unstable();
    Ok(sums)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_told_so_that_files_can_be_left_out() {
        let day = |text: &str| Day::parse(text).unwrap();
        let cut = |partition, epoch| CutOff { partition, epoch };
        let (before, now) = ([cut(0, 7), cut(1, 5)], [cut(0, 9), cut(1, 5)]);
        let window =
            Window { to: (day("2026-11-21"), &now), from: Some((day("2026-11-20"), &before)) };
        assert_eq!(
            window.condition(),
            "shanghai_day(at) <= DATE '2026-11-21' AND epoch <= CASE kafka_partition WHEN 0 THEN 9 WHEN 1 THEN 5 ELSE -1 END \
             AND NOT (shanghai_day(at) <= DATE '2026-11-20' AND epoch <= CASE kafka_partition WHEN 0 THEN 7 WHEN 1 THEN 5 ELSE -1 END) \
             AND (shanghai_day(at) > DATE '2026-11-20' OR epoch > 5)"
        );
        // All epochs of a partition that is new are new, whatever their number.
        let grown = [cut(0, 9), cut(1, 5), cut(2, 1)];
        let window = Window { to: (day("2026-11-21"), &grown), ..window };
        assert!(window.condition().ends_with("THEN 5 ELSE -1 END)"), "{}", window.condition());
        assert_eq!(Window { from: None, ..window }.condition(), up_to(window.to));
    }
}

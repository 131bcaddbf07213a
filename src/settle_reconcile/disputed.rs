//! What a dispute is about: lines of the bill, our events, the prices that rated them.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use tally_settlement::reconcile::{BillContext, DifferenceRow, Outcome};

use super::our_rows::{LogPosition, at_positions, of_groups};
use crate::exit::Failure;

/// What a dispute is about.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    /// Lines of the bill.
    pub(super) lines: BTreeSet<u64>,
    /// Our events.
    pub(super) ours: BTreeSet<LogPosition>,
    /// Prices that rated ours.
    pub(super) price_ids: BTreeSet<String>,
}

impl Evidence {
    pub(super) fn add(&mut self, row: &DifferenceRow) {
        if !row.disputed {
            return;
        }
        self.lines.extend(row.bill_line);
        if let (Some(partition), Some(offset), Some(index)) =
            (row.kafka_partition, row.kafka_offset, row.batch_index)
        {
            self.ours.insert((partition, offset, index));
        }
        self.add_prices(row.price_ids.as_deref().unwrap_or_default());
    }

    /// Adds the prices of a row, with commas.
    fn add_prices(&mut self, ids: &str) {
        for id in ids.split(',').map(str::trim).filter(|id| !id.is_empty()) {
            if !self.price_ids.contains(id) {
                self.price_ids.insert(id.to_owned());
            }
        }
    }
}

/// Which of our events are in dispute: records by their positions, or whole groups.
#[derive(Debug)]
pub(super) struct Disputed<'a> {
    pub(super) context: &'a BillContext<'a>,
    pub(super) outcome: &'a Outcome,
    pub(super) evidence: &'a mut Evidence,
}

impl Disputed<'_> {
    /// Where they lie, within the window that was compared.
    pub(super) fn window_ms(&self, compared: (i64, i64)) -> (i64, i64) {
        if !self.context.mapping.has_records() {
            return self.outcome.disputed_groups.window_ms(self.context);
        }
        // Nothing of ours in dispute: the file has columns and no rows.
        if self.evidence.ours.is_empty() { (compared.0, compared.0) } else { compared }
    }

    /// Those of a batch. The prices of records are known from their differences, those of groups
    /// are taken down here.
    pub(super) fn of(&mut self, batch: &RecordBatch) -> Result<RecordBatch, Failure> {
        if self.context.mapping.has_records() {
            return at_positions(batch, &self.evidence.ours);
        }
        let groups = &self.outcome.disputed_groups;
        of_groups(batch, self.context, groups, &mut |row| {
            self.evidence.add_prices(row.price_ids);
        })
    }
}

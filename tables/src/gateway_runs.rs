//! Runs of a gateway's numbers in one file: which came, without each by itself. Numbers that are
//! missing lie between runs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Int64Type, TimestampMicrosecondType};
use tally_schemas::ColumnType;

use crate::error::TablesError;
use crate::roll_up::values;

/// A number and the end of its call, microseconds UTC.
type Numbered = (i64, i64);

/// Numbers by gateway and start of its process.
#[derive(Debug, Default)]
pub(crate) struct GatewayRuns(HashMap<String, BTreeMap<Option<i64>, Vec<Numbered>>>);

/// Consecutive numbers of one gateway, and the ends of the first and of the last call: of several
/// calls with one number the earliest and the latest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    first_seq: i64,
    last_seq: i64,
    first_at_us: i64,
    last_at_us: i64,
}

impl GatewayRuns {
    /// Takes the rows of a batch that count.
    pub(crate) fn add(&mut self, batch: &RecordBatch, counted: &[bool]) -> Result<(), TablesError> {
        let sources = values(batch, "source", &DataType::Utf8)?;
        let epochs = values(batch, "gateway_epoch", &DataType::Int64)?;
        let seqs = values(batch, "gateway_seq", &DataType::Int64)?;
        let ends = values(batch, "completed_at", &ColumnType::Timestamp.arrow())?;
        let sources = sources.as_string::<i32>();
        let (epochs, seqs) = (epochs.as_primitive::<Int64Type>(), seqs.as_primitive::<Int64Type>());
        let ends = ends.as_primitive::<TimestampMicrosecondType>();
        for row in (0..batch.num_rows()).filter(|row| counted.get(*row).copied().unwrap_or(false)) {
            if seqs.is_null(row) || sources.is_null(row) || ends.is_null(row) {
                continue;
            }
            let epoch = epochs.is_valid(row).then(|| epochs.value(row));
            let source = sources.value(row);
            if !self.0.contains_key(source) {
                self.0.insert(source.to_owned(), BTreeMap::new());
            }
            if let Some(of_source) = self.0.get_mut(source) {
                of_source.entry(epoch).or_default().push((seqs.value(row), ends.value(row)));
            }
        }
        Ok(())
    }

    /// The runs, in the order of their gateways and numbers: the columns of the roll-up.
    pub(crate) fn finish(self) -> Vec<ArrayRef> {
        let mut by_source: BTreeMap<_, _> = self.0.into_iter().collect();
        let mut rows: Vec<(&str, Option<i64>, Run)> = Vec::new();
        for (source, by_epoch) in &mut by_source {
            for (epoch, numbers) in by_epoch {
                let runs = runs(numbers).into_iter();
                rows.extend(runs.map(|run| (source.as_str(), *epoch, run)));
            }
        }
        let of = || rows.iter();
        let whole = |of_run: fn(&Run) -> i64| -> ArrayRef {
            Arc::new(Int64Array::from_iter_values(rows.iter().map(|(.., run)| of_run(run))))
        };
        let times = |of_run: fn(&Run) -> i64| -> ArrayRef {
            let times = rows.iter().map(|(.., run)| of_run(run));
            Arc::new(TimestampMicrosecondArray::from_iter_values(times).with_timezone("UTC"))
        };
        vec![
            Arc::new(StringArray::from_iter_values(of().map(|(source, ..)| source))),
            Arc::new(of().map(|(_, epoch, _)| *epoch).collect::<Int64Array>()),
            whole(|run| run.first_seq),
            whole(|run| run.last_seq),
            times(|run| run.first_at_us),
            times(|run| run.last_at_us),
        ]
    }
}

/// Puts numbers together, whatever their order.
fn runs(numbers: &mut [Numbered]) -> Vec<Run> {
    numbers.sort_unstable();
    let mut runs: Vec<Run> = Vec::new();
    for &mut (seq, at_us) in numbers {
        match runs.last_mut() {
            Some(run) if seq == run.last_seq || run.last_seq.checked_add(1) == Some(seq) => {
                (run.last_seq, run.last_at_us) = (seq, at_us);
            }
            _ => runs.push(Run {
                first_seq: seq,
                last_seq: seq,
                first_at_us: at_us,
                last_at_us: at_us,
            }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run((first_seq, first_at_us): Numbered, (last_seq, last_at_us): Numbered) -> Run {
        Run { first_seq, last_seq, first_at_us, last_at_us }
    }

    #[test]
    fn consecutive_numbers_are_one_run_whatever_their_order() {
        let mut numbers = [(7, 70), (2, 20), (1, 99), (9, 1), (3, 5), (8, 80)];
        assert_eq!(runs(&mut numbers), [run((1, 99), (3, 5)), run((7, 70), (9, 1))]);
        assert_eq!(runs(&mut []), []);
    }

    #[test]
    fn a_number_that_comes_twice_has_its_first_and_its_last_time() {
        let mut numbers = [(1, 30), (1, 10), (2, 50), (2, 40), (5, 9), (5, 3)];
        assert_eq!(runs(&mut numbers), [run((1, 10), (2, 50)), run((5, 3), (5, 9))]);
        let mut ends = [(i64::MAX, 1), (i64::MIN, 2), (i64::MAX, 0)];
        let expected = [run((i64::MIN, 2), (i64::MIN, 2)), run((i64::MAX, 0), (i64::MAX, 1))];
        assert_eq!(runs(&mut ends), expected);
    }
}

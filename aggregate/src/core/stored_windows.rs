//! The open subscriber windows that are in a partition's stored state, without the rest of it.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use tally_schemas::Table;

use crate::core::state_codec::{BadState, StateReader, StateRecord};
use crate::core::subscriber_windows::{SubscriberRows, SubscriberWindows, columns_of};
use crate::core::window_sums::WindowSums;

/// Rows of a batch.
const BATCH_ROWS: usize = if cfg!(test) { 3 } else { 16_384 };

/// The windows, as a base and the deltas after it say.
#[derive(Debug)]
pub(crate) struct StoredWindows(SubscriberWindows);

impl StoredWindows {
    /// No windows, of a width in milliseconds that only their ends are told by.
    pub(crate) fn new(width_ms: i64) -> Self {
        Self(SubscriberWindows::new(width_ms, usize::MAX))
    }

    /// Applies a state object, oldest first.
    pub(crate) fn apply(&mut self, bytes: &[u8]) -> Result<(), BadState> {
        let (_, mut records) = StateReader::open(bytes)?;
        while let Some(record) = records.next()? {
            match record {
                StateRecord::ClosedWindow(start) => self.0.forget(start),
                StateRecord::Window(window) => self.0.restore(&window),
                StateRecord::Sealed(..) | StateRecord::Ids { .. } | StateRecord::Account { .. } => {
                }
            }
        }
        Ok(())
    }

    /// The windows as rows of `usage_by_subscriber`'s in-memory schema.
    pub(crate) fn batches(
        &self,
        width_ms: i64,
        partition: u32,
        epoch: u64,
    ) -> Result<Vec<RecordBatch>, ArrowError> {
        let of = (Table::UsageBySubscriber, width_ms);
        let mut rows = SubscriberRows::default();
        let mut batches = Vec::new();
        let mut write = |rows: &mut SubscriberRows| -> Result<(), ArrowError> {
            for batch in rows.batches(of, partition, epoch, BATCH_ROWS) {
                batches.push(batch?);
            }
            rows.clear();
            Ok(())
        };
        for window in self.0.open_windows() {
            let keys = columns_of(window.account, window.subscriber, window.what);
            let sums = WindowSums::from_all(&window.sums, window.events, window.amounts);
            rows.push(window.start_ms, false, keys, &sums);
            if rows.len() == BATCH_ROWS {
                write(&mut rows)?;
            }
        }
        write(&mut rows)?;
        Ok(batches)
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;
    use arrow::datatypes::{Int64Type, TimestampMicrosecondType};
    use tally_schemas::{Amounts, TokenClass, UsageCounts};
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::core::model_windows::Addition;
    use crate::core::state_codec::{StateHead, StateWriter};
    use crate::core::subscriber_windows::{SubscriberKey, WindowedModel, holder_hash};

    const WIDTH_MS: i64 = 60_000;

    fn add(windows: &mut SubscriberWindows, account: &str, at_ms: i64, input: u64) {
        let mut counts = UsageCounts::default();
        counts.set(TokenClass::Input, input);
        let what = WindowedModel {
            model: "glm-5",
            vendor: "zhipu",
            retail_currency: None,
            wholesale_currency: Some("CNY"),
        };
        let hash = xxh3_64(account.as_bytes());
        let key = SubscriberKey {
            account,
            subscriber: account,
            what,
            holder_hash: holder_hash(hash, hash),
        };
        let addition = Addition { at_ms, counts: &counts, amounts: Amounts::default() };
        windows.add(key, [0, 1, 2, 3], addition, &mut SubscriberRows::default());
    }

    fn writer() -> StateWriter {
        let head = StateHead { watermark_ms: None, newest_ms: None, closed_until_ms: 0 };
        StateWriter::new(head, 0)
    }

    /// Start in milliseconds and tokens of every row, sorted.
    fn rows(windows: &StoredWindows) -> Vec<(i64, i64)> {
        let mut rows = Vec::new();
        for batch in windows.batches(WIDTH_MS, 0, 1).unwrap() {
            let starts = batch.column_by_name("window_start").unwrap();
            let input = batch.column_by_name("input").unwrap();
            let starts = starts.as_primitive::<TimestampMicrosecondType>().values();
            let input = input.as_primitive::<Int64Type>().values();
            rows.extend(starts.iter().map(|us| us / 1_000).zip(input.iter().copied()));
        }
        rows.sort_unstable();
        rows
    }

    #[test]
    fn a_base_and_its_deltas_give_the_windows_that_are_open() {
        let mut windows = SubscriberWindows::new(WIDTH_MS, usize::MAX);
        for account in ["a", "b", "c", "d"] {
            add(&mut windows, account, 0, 1);
        }
        let mut base = writer();
        windows.open_windows().for_each(|window| base.window(&window));
        windows.settle();
        // What is open already grows, a new window begins, and the first one ends.
        add(&mut windows, "a", WIDTH_MS, 2);
        add(&mut windows, "b", 1, 4);
        let mut grown = writer();
        windows.changed().for_each(|window| grown.window(&window));
        windows.settle();
        windows.advance(WIDTH_MS, &mut SubscriberRows::default());
        let mut ended = writer();
        windows.closed().iter().for_each(|start| ended.closed_window(*start));

        let mut stored = StoredWindows::new(WIDTH_MS);
        stored.apply(&base.finish()).unwrap();
        assert_eq!(rows(&stored), [(0, 1), (0, 1), (0, 1), (0, 1)]);
        stored.apply(&grown.finish()).unwrap();
        assert_eq!(rows(&stored), [(0, 1), (0, 1), (0, 1), (0, 5), (WIDTH_MS, 2)]);
        stored.apply(&ended.finish()).unwrap();
        assert_eq!(rows(&stored), [(WIDTH_MS, 2)]);
        assert!(stored.apply(b"not state").is_err());
    }
}

//! Rows of the tables' Parquet files, read for comparison with the oracle.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Decimal128Type, Int32Type, Int64Type, TimestampMicrosecondType};
use arrow::util::display::array_value_to_string;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tally_schemas::{CLASS_COUNT, DataFile, Table};

use super::double_entry::ChargeRow;
use super::oracle::{AcceptedRow, Place, Sum, WindowKey, class_names};
use super::straight_run::rows_as_texts;

/// What the files that the ledger lists hold.
#[derive(Debug, Default)]
pub(super) struct StoredRows {
    pub(super) rows: BTreeMap<Place, AcceptedRow>,
    pub(super) held_back: BTreeMap<Place, String>,
    pub(super) resolutions: BTreeMap<Place, (String, Place)>,
    pub(super) by_subscriber: BTreeMap<WindowKey, Sum>,
    pub(super) by_model: BTreeMap<WindowKey, Sum>,
    pub(super) quota_ledger: Vec<String>,
    pub(super) charges: Vec<ChargeRow>,
    pub(super) alerts: Vec<String>,
}

/// A batch with its columns by name.
struct Columns(RecordBatch);

impl Columns {
    fn column(&self, name: &str) -> &dyn Array {
        self.0.column_by_name(name).unwrap_or_else(|| panic!("no column {name}"))
    }

    fn text(&self, name: &str, row: usize) -> Option<String> {
        let column = self.column(name).as_string::<i32>();
        column.is_valid(row).then(|| column.value(row).to_owned())
    }

    fn integer(&self, name: &str, row: usize) -> i64 {
        self.column(name).as_primitive::<Int64Type>().value(row)
    }

    fn small(&self, name: &str, row: usize) -> i32 {
        self.column(name).as_primitive::<Int32Type>().value(row)
    }

    /// A decimal in units of its last place; 0 where it is absent.
    fn decimal(&self, name: &str, row: usize) -> i128 {
        let column = self.column(name).as_primitive::<Decimal128Type>();
        if column.is_valid(row) { column.value(row) } else { 0 }
    }

    fn instant_ms(&self, name: &str, row: usize) -> i64 {
        self.column(name).as_primitive::<TimestampMicrosecondType>().value(row) / 1_000
    }

    fn counts(&self, row: usize) -> [i64; CLASS_COUNT] {
        class_names().map(|name| self.integer(name, row))
    }

    fn place(&self, row: usize) -> Place {
        let offset = u64::try_from(self.integer("kafka_offset", row)).unwrap();
        (offset, u32::try_from(self.small("batch_index", row)).unwrap())
    }
}

impl StoredRows {
    /// Adds the rows of a file that entry `n` of `partition` lists; offsets must lie in `offsets`.
    pub(super) fn add_file(
        &mut self,
        file: &DataFile,
        bytes: &Bytes,
        partition: u32,
        n: u64,
        offsets: std::ops::Range<u64>,
    ) -> Result<(), String> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())
            .and_then(ParquetRecordBatchReaderBuilder::build)
            .map_err(|error| format!("I10: {}: {error}", file.path))?;
        let mut rows = 0;
        for batch in reader {
            let columns = Columns(batch.map_err(|error| format!("I10: {}: {error}", file.path))?);
            rows += columns.0.num_rows() as u64;
            for row in 0..columns.0.num_rows() {
                let epoch = u64::try_from(columns.integer("epoch", row)).unwrap();
                let of = u32::try_from(columns.small("kafka_partition", row)).unwrap();
                if (epoch, of) != (n, partition) {
                    return Err(format!("I10: {}: a row of epoch {epoch} in entry {n}", file.path));
                }
                self.add_row(file, &columns, row, &offsets)?;
            }
        }
        if rows != file.rows {
            return Err(format!("I10: {}: {rows} rows, {} listed", file.path, file.rows));
        }
        Ok(())
    }

    fn add_row(
        &mut self,
        file: &DataFile,
        columns: &Columns,
        row: usize,
        offsets: &std::ops::Range<u64>,
    ) -> Result<(), String> {
        let text = |name: &str| columns.text(name, row).unwrap_or_default();
        let table = Table::from_name(&file.table).ok_or("I10: a file of no table")?;
        if matches!(table, Table::UsageEvents | Table::Suspense) {
            let place = columns.place(row);
            if !offsets.contains(&place.0) {
                return Err(format!("I3: offset {} outside of {offsets:?}", place.0));
            }
            let again = match table {
                Table::Suspense => self.held_back.insert(place, text("reason")).is_some(),
                _ => self.rows.insert(place, accepted_row(columns, row)).is_some(),
            };
            return if again { Err(format!("I2: {place:?} is in two live files")) } else { Ok(()) };
        }
        if table == Table::SuspenseResolutions {
            let offset = u64::try_from(columns.integer("suspense_offset", row)).unwrap();
            let index = u32::try_from(columns.small("suspense_batch_index", row)).unwrap();
            let words = ["resolution", "outcome", "reason"].map(|name| columns.text(name, row));
            let words = words.into_iter().flatten().collect::<Vec<_>>().join(" ");
            let place = columns.place(row);
            let again = self.resolutions.insert((offset, index), (words, place)).is_some();
            let twice = || format!("I2: the row at {offset} {index} came out of suspense twice");
            return if again { Err(twice()) } else { Ok(()) };
        }
        if matches!(table, Table::QuotaLedger | Table::Alerts) {
            let epochs = |name: &str| columns.integer(name, row);
            if table == Table::Alerts && epochs("emitted_epoch") != epochs("epoch") {
                return Err(format!("I10: {}: an alert of another epoch", file.path));
            }
            if table == Table::QuotaLedger {
                self.charges.push(charge_row(columns, row)?);
            }
            // Whole files, with the first of their rows.
            let texts = if row == 0 { rows_as_texts(&columns.0) } else { Vec::new() };
            let rows =
                if table == Table::Alerts { &mut self.alerts } else { &mut self.quota_ledger };
            rows.extend(texts);
            return Ok(());
        }
        let (windows, keys): (_, &[&str]) = match table {
            Table::UsageBySubscriber => (
                &mut self.by_subscriber,
                &[
                    "account",
                    "subscriber",
                    "model",
                    "vendor",
                    "retail_currency",
                    "wholesale_currency",
                ],
            ),
            _ => (
                &mut self.by_model,
                &[
                    "model",
                    "vendor",
                    "supplier",
                    "region",
                    "channel",
                    "service_tier",
                    "retail_currency",
                    "wholesale_currency",
                ],
            ),
        };
        let key = keys.iter().map(|name| columns.text(name, row)).collect();
        let key = (columns.instant_ms("window_start", row), text("kind") != "on_time", key);
        let sum = Sum {
            events: columns.integer("events", row),
            counts: columns.counts(row).map(i128::from),
            points_micro: columns.decimal("points", row),
            wholesale_pico: columns.decimal("wholesale_amount", row),
            retail_pico: columns.decimal("retail_amount", row),
        };
        windows.entry(key).or_default().merge(&sum);
        Ok(())
    }
}

fn charge_row(columns: &Columns, row: usize) -> Result<ChargeRow, String> {
    let text = |name: &str| {
        let column = columns.column(name);
        let words = || array_value_to_string(column, row).map_err(|error| error.to_string());
        column.is_valid(row).then(words).transpose()
    };
    let has_balance = columns.column("balance_after").is_valid(row);
    Ok(ChargeRow {
        place: columns.place(row),
        account: text("account")?.unwrap_or_default(),
        bucket: text("bucket")?,
        kind: text("kind")?.unwrap_or_default(),
        points_micro: columns.decimal("points", row),
        amount_pico: columns.decimal("amount", row),
        balance_micro: has_balance.then(|| columns.decimal("balance_after", row)),
    })
}

fn accepted_row(columns: &Columns, row: usize) -> AcceptedRow {
    let text = |name: &str| columns.text(name, row).unwrap_or_default();
    AcceptedRow {
        source: text("source"),
        id: if text("correction") == "reversal" { "reversal".into() } else { text("id") },
        account: text("account"),
        subscriber: text("subscriber"),
        model: text("model"),
        vendor: text("vendor"),
        supplier: text("supplier"),
        completed_at_ms: columns.instant_ms("completed_at", row),
        counts: columns.counts(row),
        points_micro: columns.decimal("points", row),
        wholesale: (text("wholesale_currency"), columns.decimal("wholesale_amount", row)),
        corrects: columns.text("corrects_id", row),
    }
}

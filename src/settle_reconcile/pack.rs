//! The folder of a reconciliation: report, differences, and the evidence of a dispute. It is made
//! under another name and takes its own when it is complete: a bad bill leaves nothing behind.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use serde::Serialize;
use serde_json::json;
use tally_query::{Encoder, Format};
use tally_rating::Book;
use tally_settlement::reconcile::{
    BillContext, Comparison, OpenBill, Outcome, ReconcileError, Shelf, bill_evidence, instant_text,
    report_html,
};
use tally_tables::PinnedTables;

use super::disputed::Evidence;
use super::scratch::Scratch;
use crate::exit::{Failure, file_failure};

/// Columns of `prices.csv`.
const PRICE_COLUMNS: [&str; 10] = [
    "price_id",
    "vendor",
    "token_class",
    "currency",
    "price_micro_per_million",
    "valid_from",
    "valid_to",
    "known_from",
    "source",
    "approved_by",
];

/// A folder that is being made.
#[derive(Debug)]
pub(super) struct Pack {
    out: PathBuf,
    part: PathBuf,
    scratch: Scratch,
    done: bool,
}

impl Drop for Pack {
    fn drop(&mut self) {
        if !self.done {
            // What is half done goes; a folder that cannot be removed is named like what it is.
            fs::remove_dir_all(&self.part).unwrap_or_default();
        }
    }
}

impl Pack {
    /// Begins a folder; there must not be one of its name.
    pub(super) fn begin(out: &Path) -> Result<Self, Failure> {
        if out.exists() {
            return Err(Failure::usage(format!(
                "{} is there already: remove it, or name another folder with --out",
                out.display()
            )));
        }
        let mut part = out.as_os_str().to_owned();
        part.push(format!(".part-{}", std::process::id()));
        let part = PathBuf::from(part);
        let scratch =
            Scratch::new(&part.join("scratch")).map_err(|error| file_failure(&part, &error))?;
        Ok(Self { out: out.to_owned(), part, scratch, done: false })
    }

    /// Where temporary files are kept.
    pub(super) fn shelf(&mut self) -> &mut dyn Shelf {
        &mut self.scratch
    }

    fn create(&self, name: &str) -> Result<BufWriter<File>, Failure> {
        let path = self.part.join(name);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        Ok(BufWriter::with_capacity(1 << 18, File::create(path)?))
    }

    /// Compares the records, and writes each difference as it comes.
    pub(super) fn compare(
        &mut self,
        comparison: Comparison<'_>,
        evidence: &mut Evidence,
    ) -> Result<Outcome, Failure> {
        let mut csv = csv::Writer::from_writer(self.create("differences.csv")?);
        let mut json = self.create("differences.json")?;
        let mut first = true;
        let outcome = comparison.finish(&mut self.scratch, &mut |row| {
            evidence.add(row);
            csv.serialize(row).map_err(|error| ReconcileError::Io(csv_error(error)))?;
            json.write_all(if first { b"[\n" } else { b",\n" })?;
            first = false;
            serde_json::to_writer(&mut json, row).map_err(|error| ReconcileError::Io(error.into()))
        })?;
        csv.flush()?;
        json.write_all(if first { b"[]\n" } else { b"\n]\n" })?;
        json.flush()?;
        Ok(outcome)
    }

    /// Writes summary, groups and report.
    pub(super) fn write_outcome(&self, outcome: &Outcome) -> Result<(), Failure> {
        let mut summary = self.create("summary.json")?;
        serde_json::to_writer_pretty(&mut summary, outcome)?;
        summary.write_all(b"\n")?;
        summary.flush()?;
        self.write_csv("groups.csv", &outcome.groups)?;
        let mut report = self.create("report.html")?;
        report.write_all(report_html(outcome).as_bytes())?;
        report.flush()?;
        Ok(())
    }

    fn write_csv<T: Serialize>(&self, name: &str, rows: &[T]) -> Result<(), Failure> {
        let mut csv = csv::Writer::from_writer(self.create(name)?);
        for row in rows {
            csv.serialize(row).map_err(csv_error)?;
        }
        csv.flush()?;
        Ok(())
    }

    /// Writes the vendor's lines that are in dispute: all of them where the bill has no records.
    pub(super) fn write_bill_lines(
        &self,
        context: &BillContext<'_>,
        open: &OpenBill<'_>,
        evidence: &Evidence,
    ) -> Result<(), Failure> {
        let lines = context.mapping.has_records().then_some(&evidence.lines);
        let mut file = self.create("dispute/bill-lines.csv")?;
        bill_evidence(context, open, lines, &mut file)?;
        file.flush()?;
        Ok(())
    }

    /// Begins the file of our events that are in dispute.
    pub(super) fn our_events(&self, schema: &SchemaRef) -> Result<OurEventsFile, Failure> {
        let encoder = Encoder::new(Format::Parquet, SchemaRef::clone(schema))?;
        Ok(OurEventsFile { file: self.create("dispute/our-events.parquet")?, encoder })
    }

    /// Writes every version of the prices that rated what is in dispute.
    pub(super) fn write_prices(&self, book: &Book, evidence: &Evidence) -> Result<(), Failure> {
        let mut csv = csv::Writer::from_writer(self.create("dispute/prices.csv")?);
        // Also where nothing of ours is in dispute.
        csv.write_record(PRICE_COLUMNS).map_err(csv_error)?;
        for price in book.prices() {
            let version = &price.version;
            if !evidence.price_ids.contains(&version.id) {
                continue;
            }
            let row: [&str; PRICE_COLUMNS.len()] = [
                &version.id,
                &price.vendor,
                price.class.name(),
                price.currency.code(),
                &price.micro_per_million.to_string(),
                &instant_text(price.valid.from_ms),
                &price.valid.to_ms.map(instant_text).unwrap_or_default(),
                &instant_text(version.known_from_ms),
                &version.source,
                version.approved.as_ref().map_or("", |approval| approval.by.as_str()),
            ];
            csv.write_record(row).map_err(csv_error)?;
        }
        Ok(csv.flush()?)
    }

    /// Writes what the evidence rests on, with the hash of every file.
    pub(super) fn write_manifest(
        &self,
        bill: &Path,
        mapping: &str,
        book: &Book,
        pin: &PinnedTables,
    ) -> Result<(), Failure> {
        let mut file = self.create("dispute/mapping.toml")?;
        file.write_all(mapping.as_bytes())?;
        file.flush()?;
        let mut files = Vec::new();
        for folder in [self.part.clone(), self.part.join("dispute")] {
            for entry in fs::read_dir(&folder)? {
                let path = entry?.path();
                if path.is_file() {
                    let name = path.strip_prefix(&self.part).unwrap_or(&path);
                    let (bytes, blake3) = hash(&path)?;
                    files.push((name.display().to_string(), bytes, blake3));
                }
            }
        }
        files.sort();
        let files: Vec<serde_json::Value> = files
            .into_iter()
            .map(|(name, bytes, blake3)| json!({"name": name, "bytes": bytes, "blake3": blake3}))
            .collect();
        let versions: serde_json::Map<String, serde_json::Value> = pin
            .iter()
            .map(|pinned| (pinned.table.name().to_owned(), json!(pinned.version)))
            .collect();
        let (bytes, blake3) = hash(bill)?;
        let name = bill.file_name().unwrap_or_default().to_string_lossy();
        let manifest = json!({
            "bill": {"name": name, "bytes": bytes, "blake3": blake3},
            "price_book_version": book.version(),
            "table_versions": versions,
            "files": files,
        });
        let mut file = self.create("dispute/manifest.json")?;
        serde_json::to_writer_pretty(&mut file, &manifest)?;
        file.write_all(b"\n")?;
        file.flush()?;
        Ok(())
    }

    /// The folder is complete.
    pub(super) fn commit(mut self) -> Result<(), Failure> {
        self.scratch.remove()?;
        fs::rename(&self.part, &self.out).map_err(|error| file_failure(&self.out, &error))?;
        self.done = true;
        Ok(())
    }
}

/// The file of our events while it is written.
pub(super) struct OurEventsFile {
    file: BufWriter<File>,
    encoder: Encoder,
}

impl OurEventsFile {
    pub(super) fn write(&mut self, batch: &RecordBatch) -> Result<(), Failure> {
        let bytes = self.encoder.write(batch)?;
        Ok(self.file.write_all(&bytes)?)
    }

    pub(super) fn finish(mut self) -> Result<(), Failure> {
        let bytes = self.encoder.finish()?;
        self.file.write_all(&bytes)?;
        Ok(self.file.flush()?)
    }
}

/// Size and BLAKE3 of a file.
pub(super) fn hash(path: &Path) -> Result<(u64, String), Failure> {
    let mut file = File::open(path).map_err(|error| file_failure(path, &error))?;
    let mut hasher = blake3::Hasher::new();
    let bytes = std::io::copy(&mut file, &mut hasher)?;
    Ok((bytes, hasher.finalize().to_hex().to_string()))
}

fn csv_error(error: csv::Error) -> std::io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => std::io::Error::other(format!("{other:?}")),
    }
}

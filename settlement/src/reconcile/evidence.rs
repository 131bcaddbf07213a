//! The vendor's own lines for a dispute: read again, as they are in the bill.

use std::collections::BTreeSet;
use std::io::Write;

use super::bill::BillContext;
use super::error::{Defect, ReconcileError};
use super::rows::{OpenBill, Stop, read_rows};

/// Writes the lines of a bill with these numbers as CSV: the line and every column that the
/// mapping reads, as text. `None` writes all of them.
///
/// # Errors
/// As reading the bill, and what writing ran into.
pub fn bill_evidence(
    context: &BillContext<'_>,
    open: &OpenBill<'_>,
    lines: Option<&BTreeSet<u64>>,
    out: &mut dyn Write,
) -> Result<u64, ReconcileError> {
    let wanted = context.mapping.columns();
    let mut csv = csv::Writer::from_writer(out);
    let header = std::iter::once("line").chain(wanted.iter().map(String::as_str));
    csv.write_record(header).map_err(writing)?;
    let mut written = 0;
    let read = read_rows(context.file, open, context.mapping, &wanted, &mut |place, cells| {
        let number = place.number();
        if lines.is_some_and(|lines| !lines.contains(&number)) {
            return Ok(());
        }
        let number = number.to_string();
        let row = std::iter::once(number.as_str())
            .chain(cells.iter().map(|cell| cell.unwrap_or_default()));
        csv.write_record(row).map_err(|error| Stop::Error(writing(error)))?;
        written += 1;
        Ok(())
    });
    csv.flush()?;
    let bill =
        |defects: Vec<Defect>| Err(ReconcileError::Bill { file: context.file.to_owned(), defects });
    match read {
        Ok(()) => Ok(written),
        Err(Stop::Error(error)) => Err(error),
        Err(Stop::Defect(defect)) => bill(vec![defect]),
        Err(Stop::Enough) => bill(Vec::new()),
    }
}

fn writing(error: csv::Error) -> ReconcileError {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => ReconcileError::Io(error),
        other => ReconcileError::Io(std::io::Error::other(format!("{other:?}"))),
    }
}

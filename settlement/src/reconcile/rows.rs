//! A bill's rows, one after the other, whatever the shape of its file.

use std::io::{self, BufRead, BufReader, Read};

use super::csv_rows::read_csv;
use super::encoding::{Malformed, TextEncoding, TextReader, detect};
use super::error::{Defect, Place, ReconcileError};
use super::json_rows::{read_json, read_ndjson};
use super::mapping::{BillFormat, BillMapping};
use super::xlsx::read_xlsx;

/// Opens the bill from its beginning; it is read more than once.
pub type OpenBill<'a> = dyn Fn() -> io::Result<Box<dyn Read>> + 'a;

/// One row: the cells of the wanted columns in their order; `None` where the row has none.
pub type Cells<'a> = [Option<&'a str>];

/// What is done with each row. The defects that it finds are collected by the caller of
/// [`read_rows`]; `Err` stops reading.
pub(crate) type EachRow<'a> = dyn FnMut(Place, &Cells<'_>) -> Result<(), Stop> + 'a;

/// Why reading stopped before the end.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something is wrong with the bill.
    Defect(Defect),
    /// As many defects as are listed were found.
    Enough,
    /// Something else.
    Error(ReconcileError),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match Malformed::defect(&error) {
            Some(defect) => Self::Defect(defect),
            None => Self::Error(ReconcileError::Io(error)),
        }
    }
}

impl From<ReconcileError> for Stop {
    fn from(error: ReconcileError) -> Self {
        Self::Error(error)
    }
}

/// Reads every row of a bill.
pub(crate) fn read_rows(
    file: &str,
    open: &OpenBill<'_>,
    mapping: &BillMapping,
    wanted: &[String],
    each: &mut EachRow<'_>,
) -> Result<(), Stop> {
    let format = format_of(file, mapping)?;
    if format == BillFormat::Xlsx {
        let mut bytes = Vec::new();
        open()?.read_to_end(&mut bytes)?;
        return read_xlsx(&bytes, mapping, wanted, each);
    }
    let encoding = match mapping.encoding {
        Some(encoding) => encoding,
        None => detect(&mut *open()?)?.map_err(Stop::Defect)?,
    };
    let mut text = BufReader::with_capacity(1 << 18, TextReader::new(open()?, encoding));
    match format {
        BillFormat::Csv => read_csv(text, mapping, wanted, each),
        BillFormat::Ndjson => read_ndjson(&mut text, wanted, each),
        BillFormat::Json | BillFormat::Xlsx => {
            let mut document = String::new();
            text.read_to_string(&mut document)?;
            read_json(&document, &mapping.rows, wanted, each)
        }
    }
}

/// How a text bill is encoded, for the report; `None` for a workbook.
pub(crate) fn encoding_of(
    file: &str,
    open: &OpenBill<'_>,
    mapping: &BillMapping,
) -> Result<Option<TextEncoding>, Stop> {
    if format_of(file, mapping)? == BillFormat::Xlsx {
        return Ok(None);
    }
    match mapping.encoding {
        Some(encoding) => Ok(Some(encoding)),
        None => detect(&mut *open()?)?.map(Some).map_err(Stop::Defect),
    }
}

fn format_of(file: &str, mapping: &BillMapping) -> Result<BillFormat, Stop> {
    if let Some(format) = mapping.format {
        return Ok(format);
    }
    let ending = file.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase());
    match ending.as_deref() {
        Some("csv" | "tsv" | "txt") => Ok(BillFormat::Csv),
        Some("json") => Ok(BillFormat::Json),
        Some("ndjson" | "jsonl") => Ok(BillFormat::Ndjson),
        Some("xlsx") => Ok(BillFormat::Xlsx),
        _ => Err(Stop::Defect(Defect::new(
            "the name does not tell the format",
            "write format = \"csv\", \"json\", \"ndjson\" or \"xlsx\" into the mapping",
        ))),
    }
}

/// Where each wanted column is in a header.
pub(crate) fn positions(
    header: &[&str],
    wanted: &[String],
    place: Place,
) -> Result<Vec<usize>, Stop> {
    let mut found = Vec::with_capacity(wanted.len());
    for column in wanted {
        let mut matching = header.iter().enumerate().filter(|(_, name)| name.trim() == column);
        let Some((position, _)) = matching.next() else {
            let there: Vec<&str> =
                header.iter().map(|name| name.trim()).filter(|name| !name.is_empty()).collect();
            let advice = format!("the header has {}; correct the mapping", there.join(", "));
            let defect = Defect::new("the column is missing", advice).at(place).column(column);
            return Err(Stop::Defect(defect));
        };
        if matching.next().is_some() {
            let advice = "rename one of them in the file";
            let defect = Defect::new("two columns have this name", advice).at(place).column(column);
            return Err(Stop::Defect(defect));
        }
        found.push(position);
    }
    Ok(found)
}

/// Skips lines in front of a header.
pub(crate) fn skip_lines(input: &mut impl BufRead, lines: u64) -> io::Result<()> {
    let mut line = Vec::new();
    for _ in 0..lines {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
    }
    Ok(())
}

//! Reads the book's files: prices as CSV or TOML, everything else as TOML. Strict: an unknown
//! column or key is a defect, and every defect is told at once with its place.

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::book::Book;
use crate::book_rows::{alias, calendar, contract, product, weights};
use crate::price_row::{PriceRow, price};
use crate::record_place::Place;
use crate::version::Approval;

/// A file of the book.
#[derive(Debug, Clone, Copy)]
pub struct BookFile<'a> {
    /// Its name, for messages; the ending tells the format.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Files that cannot be read as a book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .defects.join("\n"))]
pub struct BadBook {
    /// Each defect: file, line, record, field and what is wrong.
    pub defects: Vec<String>,
}

/// Reads one file into the book. With an approval its records have that one and no other.
pub(crate) fn read_file(
    file: &BookFile<'_>,
    approval: Option<&Approval>,
    book: &mut Book,
    defects: &mut Vec<String>,
) {
    // Spreadsheets put a byte order mark before the first column's name.
    let text = file.text.trim_start_matches('\u{feff}');
    let reading = Reading { name: file.name, approval };
    if file.name.to_ascii_lowercase().ends_with(".csv") {
        reading.csv(text, book, defects);
    } else {
        reading.toml(text, book, defects);
    }
}

/// Rows of a list of TOML, each with its place in the text.
type TomlRows = Vec<toml::Spanned<toml::Table>>;

/// The lists of a TOML file. Rows are read one by one, so that each tells its own defects.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TomlBook {
    price: TomlRows,
    alias: TomlRows,
    calendar: TomlRows,
    weights: TomlRows,
    product: TomlRows,
    contract: TomlRows,
}

/// A file that is being read.
#[derive(Clone, Copy)]
struct Reading<'a> {
    name: &'a str,
    approval: Option<&'a Approval>,
}

impl Reading<'_> {
    fn csv(self, text: &str, book: &mut Book, defects: &mut Vec<String>) {
        let name = self.name;
        let mut reader = csv::ReaderBuilder::new()
            .comment(Some(b'#'))
            .trim(csv::Trim::All)
            .from_reader(text.as_bytes());
        let headers = match reader.headers() {
            Ok(headers) => headers.clone(),
            Err(error) => return defects.push(format!("{name}: {error}")),
        };
        for record in reader.records() {
            let row = record.map(|record| {
                let line = record.position().map_or(0, csv::Position::line);
                // Through a table of texts: the reader would guess numbers, floats among them.
                let text = |text: &str| toml::Value::String(text.to_owned());
                let fields =
                    headers.iter().zip(&record).map(|(key, value)| (key.into(), text(value)));
                (line, fields.collect::<toml::Table>())
            });
            match row.map(|(line, fields)| (line, PriceRow::deserialize(fields))) {
                Ok((line, Ok(row))) => {
                    let at = format!("{name}, line {line}");
                    let (record, approval) = (row.price_id.clone(), self.approval);
                    let place = &mut Place { at, record, approval, defects };
                    book.prices.extend(price(&row, place));
                }
                Ok((line, Err(error))) => defects.push(format!("{name}, line {line}: {error}")),
                Err(error) => defects.push(format!("{name}: {error}")),
            }
        }
    }

    fn toml(self, text: &str, book: &mut Book, defects: &mut Vec<String>) {
        let lists = match toml::from_str::<TomlBook>(text) {
            Ok(lists) => lists,
            Err(error) => {
                return defects.push(format!("{}: {}", self.name, error.to_string().trim_end()));
            }
        };
        self.list(text, "price", lists.price, price, &mut book.prices, defects);
        self.list(text, "alias", lists.alias, alias, &mut book.aliases, defects);
        self.list(text, "calendar", lists.calendar, calendar, &mut book.calendars, defects);
        self.list(text, "weights", lists.weights, weights, &mut book.weights, defects);
        self.list(text, "product", lists.product, product, &mut book.products, defects);
        self.list(text, "contract", lists.contract, contract, &mut book.contracts, defects);
    }

    fn list<R: DeserializeOwned, T>(
        self,
        text: &str,
        kind: &str,
        rows: TomlRows,
        record: impl Fn(&R, &mut Place<'_>) -> Option<T>,
        records: &mut Vec<T>,
        defects: &mut Vec<String>,
    ) {
        let name = self.name;
        for row in rows {
            let line = 1 + text[..row.span().start].matches('\n').count();
            let row = row.into_inner();
            let id = row.get("id").or_else(|| row.get("price_id")).and_then(toml::Value::as_str);
            let id = id.unwrap_or_default().to_owned();
            let at = format!("{name}, line {line}");
            match R::deserialize(row) {
                Ok(row) => {
                    let record_name = format!("{kind} {id}");
                    let approval = self.approval;
                    let place = &mut Place { at, record: record_name, approval, defects };
                    records.extend(record(&row, place));
                }
                Err(error) => {
                    let error = error.to_string();
                    defects.push(format!("{at}, {kind} {id}: {}", error.trim_end()));
                }
            }
        }
    }
}

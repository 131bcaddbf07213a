//! The cells of a sheet, row by row, as texts.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::broken;
use super::parts::{attribute, bad_xml, push_text};
use crate::reconcile::rows::Stop;

/// Columns that a sheet can have.
const COLUMNS_MAX: usize = 16_384;

/// What is done with each row: its number, and its cells from column A on.
pub(super) type EachSheetRow<'a> = dyn FnMut(u64, &[Option<String>]) -> Result<(), Stop> + 'a;

#[derive(Debug, Default)]
struct Cell {
    column: usize,
    kind: String,
    text: String,
}

pub(super) fn read_sheet(
    xml: &str,
    strings: &[String],
    each: &mut EachSheetRow<'_>,
) -> Result<(), Stop> {
    let mut reader = Reader::from_str(xml);
    let mut row: Vec<Option<String>> = Vec::new();
    let mut number = 0;
    let mut cell: Option<Cell> = None;
    let mut in_value = false;
    loop {
        match reader.read_event().map_err(bad_xml)? {
            Event::Eof => return Ok(()),
            Event::Start(element) => match element.local_name().as_ref() {
                b"row" => {
                    number = row_number(&element, number)?;
                    row.clear();
                }
                b"c" => cell = Some(begin(&element, row.len())?),
                b"v" | b"t" => in_value = cell.is_some(),
                _ => {}
            },
            Event::Empty(element) if element.local_name().as_ref() == b"row" => {
                number = row_number(&element, number)?;
            }
            Event::Empty(element) if element.local_name().as_ref() == b"c" => {
                let cell = begin(&element, row.len())?;
                row.resize((cell.column + 1).max(row.len()), None);
            }
            Event::End(element) => match element.local_name().as_ref() {
                b"row" => each(number, &row)?,
                b"c" => {
                    if let Some(cell) = cell.take() {
                        row.resize(cell.column.max(row.len()), None);
                        row.push(value(cell, strings, number)?);
                    }
                }
                b"v" | b"t" => in_value = false,
                _ => {}
            },
            event if in_value => {
                if let Some(cell) = &mut cell {
                    push_text(&event, &mut cell.text)?;
                }
            }
            _ => {}
        }
    }
}

fn row_number(element: &BytesStart<'_>, last: u64) -> Result<u64, Stop> {
    match attribute(element, b"r")? {
        None => Ok(last + 1),
        Some(text) => text.parse().map_err(|_| bad_xml(format!("row {text:?}"))),
    }
}

fn begin(element: &BytesStart<'_>, next: usize) -> Result<Cell, Stop> {
    let column = match attribute(element, b"r")? {
        None => next,
        Some(reference) => {
            column_of(&reference).ok_or_else(|| bad_xml(format!("cell {reference:?}")))?
        }
    };
    let kind = attribute(element, b"t")?.unwrap_or_default();
    Ok(Cell { column, kind, text: String::new() })
}

/// The text of a cell by its type.
fn value(cell: Cell, strings: &[String], row: u64) -> Result<Option<String>, Stop> {
    Ok(match cell.kind.as_str() {
        "s" => {
            let string = cell.text.parse::<usize>().ok().and_then(|at| strings.get(at));
            let missing = || broken(format!("row {row} refers to a text that is not there"));
            Some(string.ok_or_else(missing)?.clone())
        }
        "e" => Some(format!("error {}", cell.text)),
        _ if cell.text.is_empty() => None,
        _ => Some(cell.text),
    })
}

/// `AB12` is column 27, counted from 0.
fn column_of(reference: &str) -> Option<usize> {
    let mut column = 0_usize;
    for byte in reference.bytes().take_while(u8::is_ascii_uppercase) {
        column = column.checked_mul(26)?.checked_add(usize::from(byte - b'A') + 1)?;
    }
    column.checked_sub(1).filter(|column| *column < COLUMNS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_in_letters() {
        for (reference, column) in
            [("A1", Some(0)), ("Z9", Some(25)), ("AA1", Some(26)), ("XFD1", Some(16_383))]
        {
            assert_eq!(column_of(reference), column, "{reference}");
        }
        for wrong in ["1", "", "XFE1", "AAAAAAAAAAAAAAAAAAA1"] {
            assert_eq!(column_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn cells_are_texts_at_their_columns_and_numbers_keep_their_digits() {
        let xml = r#"<worksheet><sheetData>
            <row r="2"><c r="A2" t="s"><v>1</v></c><c r="C2"><v>0.1000000000000000055</v></c></row>
            <row><c t="inlineStr"><is><t>a &amp; b</t></is></c><c/><c t="b"><v>1</v></c></row>
        </sheetData></worksheet>"#;
        let strings = ["x".to_owned(), "模型".to_owned()];
        let mut rows = Vec::new();
        read_sheet(xml, &strings, &mut |number, cells| {
            rows.push((number, cells.to_vec()));
            Ok(())
        })
        .unwrap();
        let text = |text: &str| Some(text.to_owned());
        assert_eq!(
            rows,
            [
                (2, vec![text("模型"), None, text("0.1000000000000000055")]),
                (3, vec![text("a & b"), None, text("1")]),
            ]
        );
    }
}

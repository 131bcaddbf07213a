//! The cells of a sheet, row by row, as texts.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::broken;
use super::parts::{attribute, bad_xml, push_text};
use crate::reconcile::rows::Stop;

/// Columns that a sheet can have.
const COLUMNS_MAX: usize = 16_384;

/// What is done with each row: its number, and its cells from column A on. A shared string is
/// borrowed: a small file may name a long one in each of many cells.
pub(super) type EachSheetRow<'a> = dyn FnMut(u64, &[Option<Cow<'_, str>>]) -> Result<(), Stop> + 'a;

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
    let mut row: Vec<Option<Cow<'_, str>>> = Vec::new();
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
        None => last.checked_add(1).ok_or_else(|| bad_xml("no row follows the last one")),
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
fn value(cell: Cell, strings: &[String], row: u64) -> Result<Option<Cow<'_, str>>, Stop> {
    Ok(match cell.kind.as_str() {
        "s" => {
            let string = cell.text.parse::<usize>().ok().and_then(|at| strings.get(at));
            let missing = || broken(format!("row {row} refers to a text that is not there"));
            Some(Cow::Borrowed(string.ok_or_else(missing)?.as_str()))
        }
        "e" => Some(Cow::Owned(format!("error {}", cell.text))),
        _ if cell.text.is_empty() => None,
        _ => Some(Cow::Owned(cell.text)),
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
            let own =
                |cell: &Option<Cow<'_, str>>| cell.clone().map(|c| Cow::Owned(c.into_owned()));
            rows.push((number, cells.iter().map(own).collect::<Vec<Option<Cow<'static, str>>>>()));
            Ok(())
        })
        .unwrap();
        let text = |text: &'static str| Some(Cow::Borrowed(text));
        assert_eq!(
            rows,
            [
                (2, vec![text("模型"), None, text("0.1000000000000000055")]),
                (3, vec![text("a & b"), None, text("1")]),
            ]
        );
    }

    #[test]
    fn no_row_follows_the_last_number_there_is() {
        let xml = format!("<sheetData><row r=\"{}\"/><row></row></sheetData>", u64::MAX);
        assert!(read_sheet(&xml, &[], &mut |_, _| Ok(())).is_err());
        let xml = format!("<sheetData><row r=\"{}\"></row></sheetData>", u64::MAX);
        assert!(read_sheet(&xml, &[], &mut |_, _| Ok(())).is_ok());
    }

    #[test]
    fn a_shared_string_is_not_copied_for_each_cell() {
        let strings = ["x".repeat(1 << 20)];
        let cells = "<c t=\"s\"><v>0</v></c>".repeat(COLUMNS_MAX);
        let xml = format!("<sheetData><row>{cells}</row></sheetData>");
        read_sheet(&xml, &strings, &mut |_, cells| {
            assert_eq!(cells.len(), COLUMNS_MAX);
            assert!(cells.iter().all(|cell| matches!(cell, Some(Cow::Borrowed(_)))));
            Ok(())
        })
        .unwrap();
    }
}

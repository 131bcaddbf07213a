//! A sheet of a workbook.

use tally_settlement::escape_into;

use super::style::Style;
use crate::table::{Row, RowKind, Table};
use crate::value::Value;

/// Decimal digits that a cell of a spreadsheet keeps.
const DIGITS_MAX: usize = 15;
/// Narrowest and widest column, characters.
const WIDTHS: (usize, usize) = (9, 46);

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Cell {
    Empty,
    Text(String, Style),
    /// A decimal that a cell can keep.
    Number(String, Style),
    /// The sum of the cells above it in its column, from a row on, with what it comes to.
    Sum(usize, String, Style),
}

/// Which amounts are numbers. A cell is a binary float: amounts are numbers only where the sum of
/// all of them, however a person adds them up, is right to the cent; else they are texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Amounts {
    Numbers,
    Texts,
}

impl Amounts {
    /// Decides for the amounts of a workbook, in hundredths.
    ///
    /// n additions of floats with a magnitude of S in all are off by less than (n + 1) × S × 2^-53.
    /// Below half a cent the sum that is shown is right.
    pub(super) fn decide(cents: impl IntoIterator<Item = i128>) -> Self {
        const HALF_A_CENT: u128 = 1 << 52;
        let mut terms: u128 = 1;
        let mut magnitude: u128 = 0;
        for cents in cents {
            terms += 1;
            magnitude = magnitude.saturating_add(cents.unsigned_abs());
        }
        match terms.checked_mul(magnitude) {
            Some(error) if error < HALF_A_CENT => Self::Numbers,
            _ => Self::Texts,
        }
    }
}

/// Whether a cell keeps every digit of a decimal.
fn fits(decimal: &str) -> bool {
    let digits = decimal.bytes().filter(u8::is_ascii_digit).skip_while(|digit| *digit == b'0');
    digits.count() <= DIGITS_MAX
}

impl Cell {
    pub(super) fn text(text: &str, style: Style) -> Self {
        if text.is_empty() { Self::Empty } else { Self::Text(text.to_owned(), style) }
    }

    /// A value as a number where that is exact, else as a text.
    pub(super) fn of(value: &Value, amounts: Amounts) -> Self {
        let exact = value.exact();
        let style = match value {
            Value::Empty => return Self::Empty,
            Value::Text(_) => return Self::Text(exact, Style::Plain),
            // Twelve places do not fit.
            Value::Exact(_) => return Self::Text(exact, Style::Right),
            Value::Amount(_) if amounts == Amounts::Texts => {
                return Self::Text(exact, Style::Right);
            }
            Value::Amount(_) => Style::Amount,
            Value::Units(_) => Style::Count,
            Value::Micro(_) => Style::Price,
        };
        if fits(&exact) { Self::Number(exact, style) } else { Self::Text(exact, Style::Right) }
    }

    fn bold(self) -> Self {
        match self {
            Self::Empty => Self::Text(String::new(), Style::Bold),
            Self::Text(text, style) => Self::Text(text, style.bold()),
            Self::Number(number, style) => Self::Number(number, style.bold()),
            Self::Sum(from, number, style) => Self::Sum(from, number, style.bold()),
        }
    }

    /// Characters that it takes; a character of Chinese takes two.
    fn width(&self) -> usize {
        match self {
            Self::Empty => 0,
            Self::Text(text, _) => width(text),
            // Commas between thousands.
            Self::Number(number, _) | Self::Sum(_, number, _) => number.len() + number.len() / 4,
        }
    }
}

fn width(text: &str) -> usize {
    text.chars().map(|character| if character.is_ascii() { 1 } else { 2 }).sum()
}

/// A sheet.
#[derive(Debug)]
pub(super) struct Sheet {
    /// Its name.
    pub(super) name: String,
    rows: Vec<Vec<Cell>>,
    /// Rows below a head that stays while they move, and that can filter them; sums are not among
    /// them.
    headed: Option<usize>,
    /// Widths that were asked for, by column.
    widths: Vec<usize>,
}

impl Sheet {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), rows: Vec::new(), headed: None, widths: Vec::new() }
    }

    /// A sheet that is one table; its rows of sums are formulas where amounts are numbers.
    pub(super) fn of_table(name: &str, table: &Table, amounts: Amounts) -> Self {
        let mut sheet = Self::new(name);
        let body = table.rows.iter().filter(|row| row.kind == RowKind::Body);
        sheet.headed = Some(body.count());
        sheet.add_table(table, amounts);
        sheet
    }

    /// Adds a row that is of no table. What stands alone may reach over the columns beside it; a
    /// name with something beside it makes its column wide enough.
    pub(super) fn add(&mut self, cells: Vec<Cell>) {
        if let [name, _, ..] = cells.as_slice() {
            self.widen(0, name);
        }
        self.rows.push(cells);
    }

    fn widen(&mut self, column: usize, cell: &Cell) {
        let wanted = cell.width() + 2;
        match self.widths.get_mut(column) {
            Some(width) => *width = wanted.max(*width),
            None => self.widths.push(wanted),
        }
    }

    /// Adds a table with its head.
    pub(super) fn add_table(&mut self, table: &Table, amounts: Amounts) {
        let head: Vec<Cell> = table
            .columns
            .iter()
            .map(|column| {
                let style = if column.numeric { Style::HeadRight } else { Style::Head };
                Cell::Text(column.title.clone(), style)
            })
            .collect();
        self.put(head);
        let first = self.rows.len() + 1;
        for row in &table.rows {
            let cells = self.cells(row, first, amounts);
            self.put(cells);
        }
    }

    fn cells(&self, row: &Row, first: usize, amounts: Amounts) -> Vec<Cell> {
        let cells = row.cells.iter().map(|cell| Cell::of(&cell.value, amounts));
        match row.kind {
            RowKind::Body => cells.collect(),
            RowKind::Subtotal => cells
                .map(|cell| match cell {
                    Cell::Number(number, style) if self.rows.len() >= first => {
                        Cell::Sum(first, number, style).bold()
                    }
                    cell => cell.bold(),
                })
                .collect(),
            RowKind::Total => cells.map(Cell::bold).collect(),
        }
    }

    fn put(&mut self, cells: Vec<Cell>) {
        for (column, cell) in cells.iter().enumerate() {
            self.widen(column, cell);
        }
        self.rows.push(cells);
    }

    /// The area that the head at the top can filter; `None` without one.
    fn area(&self) -> Option<String> {
        let (rows, columns) = (self.headed?, self.rows.first()?.len());
        Some(format!("A1:{}{}", column_name(columns.saturating_sub(1)), rows + 1))
    }

    /// The part of the workbook.
    pub(super) fn xml(&self) -> String {
        let mut xml = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n\
             <worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\">\
             <sheetPr><pageSetUpPr fitToPage=\"1\"/></sheetPr>"
            .to_owned();
        xml.push_str("<sheetViews><sheetView workbookViewId=\"0\" showGridLines=\"0\">");
        if self.headed.is_some() {
            xml.push_str(
                "<pane ySplit=\"1\" topLeftCell=\"A2\" activePane=\"bottomLeft\" state=\"frozen\"/>",
            );
        }
        xml.push_str("</sheetView></sheetViews><sheetFormatPr defaultRowHeight=\"15\"/>");
        if !self.widths.is_empty() {
            xml.push_str("<cols>");
            for (column, width) in self.widths.iter().enumerate() {
                let (number, width) = (column + 1, (*width).clamp(WIDTHS.0, WIDTHS.1));
                xml.push_str(&format!(
                    "<col min=\"{number}\" max=\"{number}\" width=\"{width}\" customWidth=\"1\"/>"
                ));
            }
            xml.push_str("</cols>");
        }
        xml.push_str("<sheetData>");
        for (row, cells) in self.rows.iter().enumerate() {
            row_xml(&mut xml, row + 1, cells);
        }
        xml.push_str("</sheetData>");
        if let Some(area) = self.area() {
            xml.push_str(&format!("<autoFilter ref=\"{area}\"/>"));
        }
        xml.push_str(
            "<pageMargins left=\"0.4\" right=\"0.4\" top=\"0.5\" bottom=\"0.6\" header=\"0.3\" \
             footer=\"0.3\"/>\
             <pageSetup paperSize=\"9\" orientation=\"landscape\" fitToWidth=\"1\" fitToHeight=\"0\"/>\
             <headerFooter><oddFooter>&amp;L&amp;A&amp;R&amp;P / &amp;N</oddFooter></headerFooter>",
        );
        // Amounts that are texts are meant to be.
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(1).max(1);
        xml.push_str(&format!(
            "<ignoredErrors><ignoredError sqref=\"A1:{}{}\" numberStoredAsText=\"1\"/></ignoredErrors>",
            column_name(columns - 1),
            self.rows.len().max(1)
        ));
        xml.push_str("</worksheet>");
        xml
    }
}

fn row_xml(xml: &mut String, row: usize, cells: &[Cell]) {
    xml.push_str(&format!("<row r=\"{row}\">"));
    for (column, cell) in cells.iter().enumerate() {
        let name = column_name(column);
        match cell {
            Cell::Empty => {}
            Cell::Text(text, style) if text.is_empty() => {
                let style = *style as u8;
                xml.push_str(&format!("<c r=\"{name}{row}\" s=\"{style}\"/>"));
            }
            Cell::Text(text, style) => {
                let style = *style as u8;
                xml.push_str(&format!("<c r=\"{name}{row}\" s=\"{style}\" t=\"inlineStr\">"));
                xml.push_str("<is><t xml:space=\"preserve\">");
                escape_into(xml, text);
                xml.push_str("</t></is></c>");
            }
            Cell::Number(number, style) => {
                let style = *style as u8;
                xml.push_str(&format!("<c r=\"{name}{row}\" s=\"{style}\"><v>{number}</v></c>"));
            }
            Cell::Sum(from, number, style) => {
                let (style, to) = (*style as u8, row - 1);
                xml.push_str(&format!(
                    "<c r=\"{name}{row}\" s=\"{style}\"><f>SUM({name}{from}:{name}{to})</f>\
                     <v>{number}</v></c>"
                ));
            }
        }
    }
    xml.push_str("</row>");
}

/// The letters of a column, from 0: `A`, `Z`, `AA`.
pub(super) fn column_name(column: usize) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let letter = char::from(LETTERS[column % 26]);
    match column / 26 {
        0 => letter.to_string(),
        above => format!("{}{letter}", column_name(above - 1)),
    }
}

#[cfg(test)]
mod tests {
    use tally_settlement::{Cents, Pico, Units};

    use super::*;

    #[test]
    fn columns_have_letters() {
        let names = [0, 25, 26, 51, 52, 701, 702].map(column_name);
        assert_eq!(names, ["A", "Z", "AA", "AZ", "BA", "ZZ", "AAA"]);
    }

    #[test]
    fn a_number_is_a_text_where_a_cell_would_lose_digits() {
        let amounts = Amounts::Numbers;
        for (value, is_number) in [
            (Value::Amount(Cents(999_999_999_999_999)), true),
            (Value::Amount(Cents(-1_000_000_000_000_000)), false),
            (Value::Amount(Cents(5)), true),
            (Value::Units(Units(999_999_999_999_999)), true),
            (Value::Units(Units(1_000_000_000_000_000)), false),
            (Value::Exact(Pico(1)), false),
            (Value::Micro(25_000), true),
            (Value::text("=1+1"), false),
        ] {
            let cell = Cell::of(&value, amounts);
            assert_eq!(matches!(cell, Cell::Number(..)), is_number, "{value:?}");
        }
        let amount = Value::Amount(Cents(5));
        assert_eq!(Cell::of(&amount, Amounts::Texts), Cell::Text("0.05".into(), Style::Right));
    }

    /// Floats that are added one by one, as a spreadsheet does, against the exact sum: where
    /// amounts are numbers, what is shown is right to the cent.
    #[test]
    fn sums_of_numbers_are_right_to_the_cent() {
        let mut state: u64 = 7;
        println!("seed {state}");
        let mut next = move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i128::from(state >> 24)
        };
        let mut numbers = 0;
        for largest in [1_000, 1_000_000, 100_000_000, 10_000_000_000, 1_000_000_000_000] {
            for length in [1, 30, 1_000, 20_000] {
                let cents: Vec<i128> =
                    (0..length).map(|_| next() % (2 * largest) - largest).collect();
                if Amounts::decide(cents.iter().copied()) == Amounts::Texts {
                    continue;
                }
                numbers += 1;
                let floats = cents.iter().map(|cents| Cents(*cents).to_string().parse::<f64>());
                let sum: f64 = floats.map(Result::unwrap).sum();
                let exact = Cents(cents.iter().sum()).to_string();
                assert_eq!(format!("{sum:.2}").replace("-0.00", "0.00"), exact);
            }
        }
        assert!(numbers > 8, "{numbers}");
        assert_eq!(Amounts::decide([1 << 60]), Amounts::Texts);
    }
}

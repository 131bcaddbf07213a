//! A sheet of a workbook.

use rust_xlsxwriter::utility::cell_range;
use rust_xlsxwriter::{Format, Formula, IgnoreError, Worksheet, XlsxError};

use super::number::{Amounts, Number};
use super::style::{Looks, Style};
use crate::table::{Row, RowKind, Table};
use crate::value::Value;

/// Narrowest and widest column, characters.
const WIDTHS: (u16, u16) = (9, 46);
/// A4, as the format numbers paper.
const PAPER: u8 = 9;
/// Name of the sheet on the left, page and pages on the right.
const FOOTER: &str = "&L&A&R&P / &N";

/// A cell.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cell {
    Empty,
    Text(String, Style),
    Number(Number, Style),
    /// The sum of the cells above it in its column, from a row on, with what it comes to.
    Sum(u32, Number, Style),
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
        match Number::of(&exact) {
            Some(number) => Self::Number(number, style),
            None => Self::Text(exact, Style::Right),
        }
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
            Self::Number(number, _) | Self::Sum(_, number, _) => {
                // Commas between thousands.
                let digits = number.decimal().len();
                digits + digits / 4
            }
        }
    }

    fn write(
        &self,
        sheet: &mut Worksheet,
        looks: &Looks,
        row: u32,
        column: u16,
    ) -> Result<(), XlsxError> {
        match self {
            Self::Empty => {}
            Self::Text(text, style) => write_text(sheet, row, column, text, looks.get(*style))?,
            Self::Number(number, style) => {
                sheet.write_number_with_format(row, column, number.float(), looks.get(*style))?;
            }
            Self::Sum(from, number, style) => {
                let above = cell_range(*from, column, row.saturating_sub(1), column);
                let sum = Formula::new(format!("SUM({above})")).set_result(number.decimal());
                sheet.write_formula_with_format(row, column, sum, looks.get(*style))?;
            }
        }
        Ok(())
    }
}

/// A text in a cell; an empty one leaves its look.
fn write_text(
    sheet: &mut Worksheet,
    row: u32,
    column: u16,
    text: &str,
    look: &Format,
) -> Result<(), XlsxError> {
    // A text of this shape is copied into the file as markup of rich text, unless it is a part of
    // rich text itself.
    if text.starts_with("<r>") && text.ends_with("</r>") {
        let parts = [(&Format::new(), text)];
        sheet.write_rich_string_with_format(row, column, &parts, look)?;
    } else {
        sheet.write_string_with_format(row, column, text, look)?;
    }
    Ok(())
}

fn width(text: &str) -> usize {
    text.chars().map(|character| if character.is_ascii() { 1 } else { 2 }).sum()
}

/// A sheet before it is written.
#[derive(Debug)]
pub(super) struct Sheet {
    name: String,
    rows: Vec<Vec<Cell>>,
    /// Rows below a head that stays while they move, and that can filter them; sums are not among
    /// them.
    headed: Option<u32>,
    /// Widths of columns.
    widths: Vec<u16>,
}

impl Sheet {
    pub(super) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), rows: Vec::new(), headed: None, widths: Vec::new() }
    }

    /// A sheet that is one table; its rows of sums are formulas where amounts are numbers.
    pub(super) fn of_table(name: &str, table: &Table, amounts: Amounts) -> Self {
        let mut sheet = Self::new(name);
        let body = table.rows.iter().filter(|row| row.kind == RowKind::Body);
        sheet.headed = Some(row_number(body.count()));
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
        let wanted = u16::try_from(cell.width() + 2).unwrap_or(u16::MAX);
        let wanted = wanted.clamp(WIDTHS.0, WIDTHS.1);
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
        let first = row_number(self.rows.len());
        for row in &table.rows {
            let cells = self.cells(row, first, amounts);
            self.put(cells);
        }
    }

    fn cells(&self, row: &Row, first: u32, amounts: Amounts) -> Vec<Cell> {
        let cells = row.cells.iter().map(|cell| Cell::of(&cell.value, amounts));
        match row.kind {
            RowKind::Body => cells.collect(),
            RowKind::Subtotal => cells
                .map(|cell| match cell {
                    Cell::Number(number, style) if row_number(self.rows.len()) > first => {
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

    /// Writes it, with how it is shown and printed.
    pub(super) fn write(&self, sheet: &mut Worksheet, looks: &Looks) -> Result<(), XlsxError> {
        sheet.set_name(&self.name)?.set_screen_gridlines(false);
        for (column, width) in (0..).zip(&self.widths) {
            sheet.set_column_width(column, *width)?;
        }
        for (row, cells) in (0..).zip(&self.rows) {
            for (column, cell) in (0..).zip(cells) {
                cell.write(sheet, looks, row, column)?;
            }
        }
        let last = |count: usize| count.saturating_sub(1);
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or_default();
        let last_column = column_number(last(columns));
        if let Some(rows) = self.headed {
            let head = column_number(last(self.rows.first().map_or(0, Vec::len)));
            sheet.set_freeze_panes(1, 0)?.autofilter(0, 0, rows, head)?;
            // The head is on every page of a print.
            sheet.set_repeat_rows(0, 0)?;
        }
        // Amounts that are texts are meant to be.
        let last_row = row_number(last(self.rows.len()));
        sheet.ignore_error_range(0, 0, last_row, last_column, IgnoreError::NumberStoredAsText)?;
        sheet
            .set_paper_size(PAPER)
            .set_landscape()
            .set_print_fit_to_pages(1, 0)
            .set_margins(0.4, 0.4, 0.5, 0.6, 0.3, 0.3)
            .set_footer(FOOTER);
        Ok(())
    }
}

/// A row that is beyond any sheet where it is beyond the type: writing it is an error.
fn row_number(row: usize) -> u32 {
    u32::try_from(row).unwrap_or(u32::MAX)
}

/// The same for a column.
fn column_number(column: usize) -> u16 {
    u16::try_from(column).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use tally_settlement::{Cents, Pico, Units};

    use super::*;

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
        let digits = Value::Units(Units(1_234_567_890_123_456));
        let all = Cell::Text("1234567890123456".into(), Style::Right);
        assert_eq!(Cell::of(&digits, amounts), all);
        let amount = Value::Amount(Cents(5));
        assert_eq!(Cell::of(&amount, Amounts::Texts), Cell::Text("0.05".into(), Style::Right));
    }
}

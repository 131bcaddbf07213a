//! A table of a document: what HTML and PDF show, and what a workbook has in its smaller sheets.

use tally_settlement::{Amounts, Language, Units};

use crate::error::DocumentError;
use crate::labels::{GROSS, NET, TAX};
use crate::value::Value;

/// A column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Column {
    /// Its name.
    pub(crate) title: String,
    /// Whether it has numbers, which stand on the right and are not broken over lines.
    pub(crate) numeric: bool,
}

impl Column {
    pub(crate) fn text(title: &str) -> Self {
        Self { title: title.to_owned(), numeric: false }
    }

    pub(crate) fn number(title: &str) -> Self {
        Self { title: title.to_owned(), numeric: true }
    }
}

/// A cell: a value, and a smaller text below it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Cell {
    pub(crate) value: Value,
    pub(crate) below: String,
}

impl Cell {
    pub(crate) fn with_below(value: Value, below: impl AsRef<str>) -> Self {
        Self { value, below: Value::text(below).exact() }
    }
}

impl From<Value> for Cell {
    fn from(value: Value) -> Self {
        Self { value, below: String::new() }
    }
}

impl From<&str> for Cell {
    fn from(text: &str) -> Self {
        Value::text(text).into()
    }
}

/// What a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKind {
    /// One of many.
    Body,
    /// A sum of the rows above.
    Subtotal,
    /// The sum of everything.
    Total,
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) kind: RowKind,
    pub(crate) cells: Vec<Cell>,
    /// What it adds to the sum that is carried to the next page, where the table has one.
    pub(crate) carries: Option<Amounts>,
}

/// A table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Table {
    /// What is above it; empty for nothing.
    pub(crate) title: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) rows: Vec<Row>,
}

impl Table {
    pub(crate) fn new(title: &str, columns: Vec<Column>) -> Self {
        Self { title: title.to_owned(), columns, rows: Vec::new() }
    }

    /// A table whose last three columns are net, tax and gross.
    pub(crate) fn of_amounts(title: &str, mut columns: Vec<Column>, language: Language) -> Self {
        columns.extend([NET, TAX, GROSS].map(|label| Column::number(language.of(label))));
        Self::new(title, columns)
    }

    /// Adds a row; cells that are not given are empty.
    pub(crate) fn push(&mut self, kind: RowKind, mut cells: Vec<Cell>) {
        cells.resize(self.columns.len(), Cell::default());
        self.rows.push(Row { kind, cells, carries: None });
    }

    /// Adds a row whose last three cells are amounts. Those of a row of the body are carried.
    pub(crate) fn push_amounts(&mut self, kind: RowKind, mut cells: Vec<Cell>, amounts: Amounts) {
        cells.resize(self.columns.len().saturating_sub(3), Cell::default());
        let of = [amounts.net, amounts.tax, amounts.gross];
        cells.extend(of.map(|cents| Cell::from(Value::Amount(cents))));
        let carries = (kind == RowKind::Body).then_some(amounts);
        self.rows.push(Row { kind, cells, carries });
    }
}

/// The sum of amounts; `what` is for messages.
pub(crate) fn sum(
    what: &str,
    amounts: impl IntoIterator<Item = Amounts>,
) -> Result<Amounts, DocumentError> {
    let mut amounts = amounts.into_iter();
    amounts
        .try_fold(Amounts::default(), Amounts::plus)
        .ok_or_else(|| DocumentError::Overflow(what.to_owned()))
}

/// Units, where there are any.
pub(crate) fn some_units(units: Units) -> Value {
    if units.0 == 0 { Value::Empty } else { Value::Units(units) }
}

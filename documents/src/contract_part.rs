//! What is owed by one contract: its lines and adjustments, with sums that foot to its total.

use tally_settlement::{Adjustment, Amounts, Language, Line, Section};

use crate::error::DocumentError;
use crate::labels;
use crate::table::{Cell, Column, RowKind, Table, some_units, sum};
use crate::value::Value;
use crate::vocabulary;

/// Sums of a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sums {
    pub(crate) lines: Amounts,
    pub(crate) adjustments: Amounts,
}

impl Sums {
    pub(crate) fn of(section: &Section) -> Result<Self, DocumentError> {
        Ok(Self {
            lines: sum(&section.terms, section.lines.iter().map(|line| line.amounts))?,
            adjustments: sum(&section.terms, section.adjustments.iter().map(|row| row.amounts))?,
        })
    }
}

/// The tax rate in percent.
pub(crate) fn tax_rate(section: &Section) -> String {
    let percent = tally_schemas::decimal_text(i128::from(section.tax_ppm), 4);
    format!("{}%", percent.trim_end_matches('0').trim_end_matches('.'))
}

/// The tables of a section: lines, adjustments where there are any, and at the end its total.
pub(crate) fn tables(
    section: &Section,
    currency: &str,
    language: Language,
) -> Result<Vec<Table>, DocumentError> {
    let of = |label| language.of(label);
    let sums = Sums::of(section)?;
    let mut tables = Vec::new();
    if !section.lines.is_empty() || section.adjustments.is_empty() {
        let mut lines = Table::of_amounts(of(labels::LINES), line_columns(language), language);
        for line in &section.lines {
            lines.push_amounts(RowKind::Body, line_cells(line, currency, language), line.amounts);
        }
        let cells = vec![Cell::from(of(labels::SUM_OF_LINES))];
        lines.push_amounts(RowKind::Subtotal, cells, sums.lines);
        tables.push(lines);
    }
    if !section.adjustments.is_empty() {
        let columns = adjustment_columns(language);
        let mut adjustments = Table::of_amounts(of(labels::ADJUSTMENTS), columns, language);
        for row in &section.adjustments {
            adjustments.push_amounts(RowKind::Body, adjustment_cells(row, language), row.amounts);
        }
        let cells = vec![Cell::from(of(labels::SUM_OF_ADJUSTMENTS))];
        adjustments.push_amounts(RowKind::Subtotal, cells, sums.adjustments);
        tables.push(adjustments);
    }
    if let Some(last) = tables.last_mut() {
        let rounding = vec![Cell::from(of(labels::ROUNDING))];
        last.push_amounts(RowKind::Subtotal, rounding, section.rounding);
        let total = vec![Cell::from(of(labels::CONTRACT_TOTAL))];
        last.push_amounts(RowKind::Total, total, section.total);
    }
    Ok(tables)
}

fn line_columns(language: Language) -> Vec<Column> {
    let text = |label| Column::text(language.of(label));
    let number = |label| Column::number(language.of(label));
    vec![
        text(labels::LINE_ID),
        text(labels::MODEL),
        text(labels::CLASS),
        text(labels::PRICE),
        number(labels::UNIT_PRICE),
        number(labels::UNITS),
        number(labels::LISTED),
    ]
}

fn line_cells(line: &Line, currency: &str, language: Language) -> Vec<Cell> {
    let unit_price = line.unit_price_micro.map_or(Value::Empty, |m| Value::Micro(i128::from(m)));
    let rated_in =
        if line.listed_currency == currency { "" } else { line.listed_currency.as_str() };
    let trial = if line.trial { language.of(labels::TRIAL) } else { "" };
    vec![
        line.id.as_str().into(),
        Cell::with_below(
            Value::text(&line.model),
            joined([line.supplier.as_str(), line.service_tier.as_str()]),
        ),
        Cell::with_below(Value::text(vocabulary::class(language, &line.class)), trial),
        Cell::with_below(Value::text(&line.price), &line.price_book_version),
        unit_price.into(),
        Value::Units(line.units).into(),
        Cell::with_below(Value::Exact(line.listed), rated_in),
    ]
}

fn adjustment_columns(language: Language) -> Vec<Column> {
    let text = |label| Column::text(language.of(label));
    vec![
        text(labels::ADJUSTMENT_ID),
        text(labels::REASON),
        text(labels::ORIG_PERIOD),
        text(labels::NOTE),
        Column::number(language.of(labels::UNITS)),
    ]
}

fn adjustment_cells(row: &Adjustment, language: Language) -> Vec<Cell> {
    let reason = vocabulary::reason(language, row.reason);
    let class = vocabulary::class(language, &row.class);
    let orig_period = row.orig_period.map_or(String::new(), |period| period.to_string());
    let people = [(labels::POSTED_BY, &row.posted_by), (labels::APPROVED_BY, &row.approved_by)];
    let people = people.map(|(label, name)| {
        name.as_ref().map_or(String::new(), |name| format!("{} {name}", language.of(label)))
    });
    vec![
        row.id.as_str().into(),
        Cell::with_below(
            Value::text(reason),
            joined([row.model.as_str(), class, row.price.as_str()]),
        ),
        Cell::with_below(Value::text(orig_period), row.orig_line_id.as_deref().unwrap_or_default()),
        Cell::with_below(Value::text(&row.note), joined(people.each_ref().map(String::as_str))),
        some_units(row.units).into(),
    ]
}

/// Texts with strokes between them, without the empty ones.
fn joined<const N: usize>(texts: [&str; N]) -> String {
    let given: Vec<&str> = texts.into_iter().filter(|text| !text.is_empty()).collect();
    given.join(" / ")
}

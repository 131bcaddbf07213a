//! Lines and adjustments with every column that a statement has for them.

use tally_settlement::{Adjustment, Line, Section};

use crate::error::DocumentError;
use crate::issue::Issue;
use crate::labels;
use crate::table::{Cell, Column, RowKind, Table, some_units, sum};
use crate::value::Value;
use crate::vocabulary;

/// The lines of every contract, and their sum.
pub(super) fn lines(issue: &Issue<'_>) -> Result<Table, DocumentError> {
    let of = |label| issue.language.of(label);
    let columns = vec![
        Column::text(of(labels::CONTRACT)),
        Column::text(of(labels::LINE_ID)),
        Column::text(of(labels::MODEL)),
        Column::text(of(labels::CLASS)),
        Column::text(of(labels::SUPPLIER)),
        Column::text(of(labels::SERVICE_TIER)),
        Column::text(of(labels::PRICE)),
        Column::text(of(labels::PRICE_BOOK)),
        Column::text(of(labels::TRIAL)),
        Column::number(of(labels::UNIT_PRICE)),
        Column::number(of(labels::UNITS)),
        Column::number(of(labels::LISTED)),
        Column::text(of(labels::LISTED_CURRENCY)),
    ];
    let mut table = Table::of_amounts(of(labels::LINES), columns, issue.language);
    let mut amounts = Vec::new();
    for section in &issue.statement.sections {
        for line in &section.lines {
            table.push_amounts(RowKind::Body, line_cells(issue, section, line), line.amounts);
            amounts.push(line.amounts);
        }
    }
    let sum = sum(&issue.statement.vendor, amounts)?;
    table.push_amounts(RowKind::Subtotal, vec![of(labels::SUM_OF_LINES).into()], sum);
    Ok(table)
}

fn line_cells(issue: &Issue<'_>, section: &Section, line: &Line) -> Vec<Cell> {
    let unit_price = line.unit_price_micro.map_or(Value::Empty, |m| Value::Micro(i128::from(m)));
    let trial = if line.trial { issue.language.of(labels::YES) } else { "" };
    vec![
        section.terms.as_str().into(),
        line.id.as_str().into(),
        line.model.as_str().into(),
        vocabulary::class(issue.language, &line.class).into(),
        line.supplier.as_str().into(),
        line.service_tier.as_str().into(),
        line.price.as_str().into(),
        line.price_book_version.as_str().into(),
        trial.into(),
        unit_price.into(),
        Value::Units(line.units).into(),
        Value::Exact(line.listed).into(),
        line.listed_currency.as_str().into(),
    ]
}

/// The adjustments of every contract and what rounding adds to it, and their sum: with that of the
/// lines it is the total.
pub(super) fn adjustments(issue: &Issue<'_>) -> Result<Table, DocumentError> {
    let of = |label| issue.language.of(label);
    let columns = vec![
        Column::text(of(labels::CONTRACT)),
        Column::text(of(labels::ADJUSTMENT_ID)),
        Column::text(of(labels::REASON)),
        Column::text(of(labels::ORIG_PERIOD)),
        Column::text(of(labels::ORIG_LINE)),
        Column::text(of(labels::MODEL)),
        Column::text(of(labels::CLASS)),
        Column::text(of(labels::PRICE)),
        Column::text(of(labels::NOTE)),
        Column::text(of(labels::POSTED_BY)),
        Column::text(of(labels::APPROVED_BY)),
        Column::number(of(labels::UNITS)),
    ];
    let mut table = Table::of_amounts(of(labels::ADJUSTMENTS), columns, issue.language);
    let mut amounts = Vec::new();
    for section in &issue.statement.sections {
        for row in &section.adjustments {
            table.push_amounts(RowKind::Body, adjustment_cells(issue, section, row), row.amounts);
            amounts.push(row.amounts);
        }
        let cells =
            vec![section.terms.as_str().into(), Cell::default(), of(labels::ROUNDING).into()];
        table.push_amounts(RowKind::Body, cells, section.rounding);
        amounts.push(section.rounding);
    }
    let sum = sum(&issue.statement.vendor, amounts)?;
    table.push_amounts(RowKind::Subtotal, vec![of(labels::SUM_OF_ADJUSTMENTS).into()], sum);
    Ok(table)
}

fn adjustment_cells(issue: &Issue<'_>, section: &Section, row: &Adjustment) -> Vec<Cell> {
    let orig_period = row.orig_period.map_or(String::new(), |period| period.to_string());
    vec![
        section.terms.as_str().into(),
        row.id.as_str().into(),
        vocabulary::reason(issue.language, row.reason).into(),
        orig_period.as_str().into(),
        row.orig_line_id.as_deref().unwrap_or_default().into(),
        row.model.as_str().into(),
        vocabulary::class(issue.language, &row.class).into(),
        row.price.as_str().into(),
        row.note.as_str().into(),
        row.posted_by.as_deref().unwrap_or_default().into(),
        row.approved_by.as_deref().unwrap_or_default().into(),
        some_units(row.units).into(),
    ]
}

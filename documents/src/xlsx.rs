//! A statement as a workbook, written by `rust_xlsxwriter`. Amounts are numbers where a cell keeps
//! every digit and every sum of them is right to the cent, else texts.

mod ledger;
mod number;
mod sheet;
mod style;

use rust_xlsxwriter::{DocProperties, ExcelDateTime, Workbook, XlsxError};
use tally_settlement::Statement;

use self::number::Amounts;
use self::sheet::{Cell, Sheet};
use self::style::{Looks, Style};
use crate::balances::{balances, exchange_rates, tier_volumes};
use crate::bookkeeping::{Fact, control_totals};
use crate::error::DocumentError;
use crate::issue::Issue;
use crate::labels;
use crate::outline::Outline;
use crate::table::Table;
use crate::value::Value;

/// Height of a row and width of a column that nothing else is said of, pixels.
const PIXELS: (u32, u32) = (20, 64);

/// Writes a statement: a sheet each for what is on its first page, lines, adjustments, balances
/// and control totals.
///
/// # Errors
/// `Overflow` for sums beyond 128 bits, `Format` for more than the format can hold.
pub fn statement_xlsx(issue: &Issue<'_>) -> Result<Vec<u8>, DocumentError> {
    let amounts = Amounts::decide(every_amount(issue.statement));
    let outline = Outline::of(issue)?;
    let sheets = [
        first_sheet(issue, &outline, amounts),
        Sheet::of_table(issue.language.of(labels::LINES), &ledger::lines(issue)?, amounts),
        Sheet::of_table(
            issue.language.of(labels::ADJUSTMENTS),
            &ledger::adjustments(issue)?,
            amounts,
        ),
        balance_sheet(issue, amounts),
        Sheet::of_table(issue.language.of(labels::CONTROL), &control_totals(issue), amounts),
    ];
    Ok(write(issue, &outline, &sheets)?)
}

/// Writes a first page and a sheet for each named table.
///
/// # Errors
/// `Format` for more than the format can hold.
pub(crate) fn workbook(
    issue: &Issue<'_>,
    outline: &Outline,
    every_amount: impl Iterator<Item = i128>,
    tables: &[(&str, Table)],
) -> Result<Vec<u8>, DocumentError> {
    let amounts = Amounts::decide(every_amount);
    let mut sheets = vec![first_sheet(issue, outline, amounts)];
    let filled = tables.iter().filter(|(_, table)| !table.rows.is_empty());
    sheets.extend(filled.map(|(name, table)| Sheet::of_table(name, table, amounts)));
    Ok(write(issue, outline, &sheets)?)
}

fn write(issue: &Issue<'_>, outline: &Outline, sheets: &[Sheet]) -> Result<Vec<u8>, XlsxError> {
    let looks = Looks::of(issue.language);
    let mut workbook = Workbook::new();
    workbook.set_default_format(looks.get(Style::Plain), PIXELS.0, PIXELS.1)?;
    workbook.set_properties(&properties(issue, outline)?);
    for sheet in sheets {
        sheet.write(workbook.add_worksheet(), &looks)?;
    }
    workbook.save_to_buffer()
}

/// What the file says of itself. It has to have a time of its making, which would be that of the
/// clock: the last day of the period takes its place, so that the same statement has the same bytes.
fn properties(issue: &Issue<'_>, outline: &Outline) -> Result<DocProperties, XlsxError> {
    let last_day = issue.statement.period.last_day().to_string();
    let status = if issue.state.is_draft() { labels::STATUS_DRAFT } else { labels::STATUS_FINAL };
    Ok(DocProperties::new()
        .set_title(&outline.title)
        .set_subject(&outline.subtitle)
        .set_status(issue.language.of(status))
        .set_creation_datetime(&ExcelDateTime::parse_from_str(&last_day)?))
}

/// Every amount that a person may add to others, in hundredths.
fn every_amount(statement: &Statement) -> impl Iterator<Item = i128> {
    let rows = statement.sections.iter().flat_map(|section| {
        let lines = section.lines.iter().map(|line| line.amounts);
        let adjustments = section.adjustments.iter().map(|row| row.amounts);
        lines.chain(adjustments).chain([section.rounding, section.total])
    });
    rows.flat_map(|amounts| [amounts.net.0, amounts.tax.0, amounts.gross.0])
}

fn first_sheet(issue: &Issue<'_>, outline: &Outline, amounts: Amounts) -> Sheet {
    let of = |label| issue.language.of(label);
    let mut sheet = Sheet::new(of(labels::STATEMENT));
    sheet.add(vec![Cell::text(&outline.title, Style::Title)]);
    if let Some(draft) = &outline.watermark {
        sheet.add(vec![Cell::text(draft, Style::Draft)]);
    }
    for remark in &outline.remarks {
        sheet.add(vec![Cell::text(remark, Style::Plain)]);
    }
    sheet.add(Vec::new());
    add_facts(&mut sheet, &outline.facts);
    sheet.add(Vec::new());
    let total = issue.statement.total;
    let of_total = [total.net, total.tax, total.gross];
    for (fact, cents) in outline.totals.iter().zip(of_total) {
        let amount = Cell::of(&Value::Amount(cents), amounts);
        let currency = Cell::text(&issue.statement.currency, Style::Plain);
        sheet.add(vec![Cell::text(&fact.name, Style::Name), amount, currency]);
    }
    add_facts(&mut sheet, &outline.words);
    sheet.add(Vec::new());
    sheet.add_table(&outline.summary, amounts);
    sheet.add(Vec::new());
    add_facts(&mut sheet, &outline.basis);
    sheet
}

fn add_facts(sheet: &mut Sheet, facts: &[Fact]) {
    for Fact { name, value } in facts {
        sheet.add(vec![Cell::text(name, Style::Name), Cell::text(value, Style::Plain)]);
    }
}

/// Balances, and below them what else contracts carry on: units of tiers, and rates.
fn balance_sheet(issue: &Issue<'_>, amounts: Amounts) -> Sheet {
    let Issue { statement, language, .. } = *issue;
    let name = language.of(("余额", "Balances"));
    let mut sheet = Sheet::of_table(name, &balances(statement, language), amounts);
    let below: [Table; 2] =
        [tier_volumes(statement, language), exchange_rates(statement, language)];
    for table in below.iter().filter(|table| !table.rows.is_empty()) {
        sheet.add(Vec::new());
        sheet.add(vec![Cell::text(&table.title, Style::Name)]);
        sheet.add_table(table, amounts);
    }
    sheet
}

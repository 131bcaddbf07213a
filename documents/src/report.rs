//! What a vendor is told of its share, as a page, a PDF and a workbook: the outline that the other
//! documents are drawn from, with usage and steps in place of lines.

use std::path::Path;

use tally_settlement::{Label, ReportSection, StepRow, UsageRow, VendorReport};

use crate::balances::{balances, exchange_rates, tier_volumes};
use crate::bookkeeping::{Fact, basis, days};
use crate::error::DocumentError;
use crate::issue::Issue;
use crate::labels;
use crate::outline::{Outline, Part};
use crate::table::{Cell, Column, RowKind, Table, some_units};
use crate::value::Value;
use crate::{html, pdf, vocabulary, xlsx};

const TITLE: Label = ("供应商分成报告", "Vendor revenue-share report");
const SHORT: Label = ("分成报告", "Share report");
const DRAFT_SAYS: Label =
    ("账期尚未封账，数据仍可能变动。", "The period is not sealed yet: the figures may change.");
const NOT_SIGNED: Label = (
    "本报告供核对之用，不作签署；应付金额以结算单为准。",
    "This report is for reading and is not signed: what is owed is what the statement says.",
);
const USAGE: Label = ("用量（按模型）", "Usage by model");
const STEPS: Label = ("计算步骤", "Step by step");
const STEP: Label = ("步骤", "Step");
const RATE: Label = ("费率、阶梯或原账期", "Rate, tier or original period");
const IN_CURRENCY: Label = ("币种", "Currency");
const AMOUNT: Label = ("金额", "Amount");
const LISTED: Label = ("收入或计价金额", "Revenue or rated amount");

/// Writes the report as one page of HTML that needs nothing else.
///
/// # Errors
/// `Overflow` for sums beyond 128 bits.
pub fn report_html(issue: &Issue<'_>, report: &VendorReport) -> Result<Vec<u8>, DocumentError> {
    Ok(html::page(&outline(issue, report)?))
}

/// Writes the report on A4 pages.
///
/// # Errors
/// As [`crate::statement_pdf`].
pub fn report_pdf(
    issue: &Issue<'_>,
    report: &VendorReport,
    font: Option<&Path>,
) -> Result<Vec<u8>, DocumentError> {
    pdf::pages(&outline(issue, report)?, font)
}

/// Writes the report as a workbook: a sheet for its first page, one for usage and one for steps.
///
/// # Errors
/// `Overflow` for sums beyond 128 bits, `Format` for more than the format can hold.
pub fn report_xlsx(issue: &Issue<'_>, report: &VendorReport) -> Result<Vec<u8>, DocumentError> {
    let outline = outline(issue, report)?;
    let amounts = report.sections.iter().flat_map(|section| {
        let usage = section.usage.iter().map(|row| row.amounts);
        let steps = section.steps.iter().filter_map(|row| row.amounts);
        usage.chain(steps).flat_map(|of| [of.net.0, of.tax.0, of.gross.0])
    });
    let tables = [
        (issue.language.of(("用量", "Usage")), usage_table(report.sections.iter(), issue)),
        (issue.language.of(("步骤", "Steps")), steps_table(report.sections.iter(), issue)),
        (issue.language.of(("余额", "Balances")), balances(issue.statement, issue.language)),
    ];
    xlsx::workbook(issue, &outline, amounts, &tables)
}

fn outline(issue: &Issue<'_>, report: &VendorReport) -> Result<Outline, DocumentError> {
    let Issue { statement, state, language, .. } = *issue;
    let of = |label| language.of(label);
    let draft = state.is_draft();
    // First page and totals are those of the statement; nobody signs, and lines are not in it.
    let statement_outline = Outline::of(issue)?;
    let status = if draft { labels::STATUS_DRAFT } else { labels::STATUS_FINAL };
    let facts = vec![
        Fact::new(of(labels::VENDOR), &statement.vendor),
        Fact::new(of(labels::PERIOD), statement.period.to_string()),
        Fact::new(of(labels::DAYS), days(statement)),
        Fact::new(of(labels::STATUS), of(status)),
        Fact::new(of(labels::EVENTS), Value::count(statement.control.events).shown()),
        Fact::new(of(labels::LATE_EVENTS), Value::count(statement.control.late_events).shown()),
        Fact::new(of(labels::CURRENCY), &statement.currency),
        Fact::new(of(labels::SEQUENCE), statement.sequence.to_string()),
    ];
    let mut parts: Vec<Part> = report.sections.iter().map(|section| part(section, issue)).collect();
    let more = [
        balances(statement, language),
        tier_volumes(statement, language),
        exchange_rates(statement, language),
    ];
    for mut table in more.into_iter().filter(|table| !table.rows.is_empty()) {
        let heading = std::mem::take(&mut table.title);
        parts.push(Part { heading, lead: String::new(), tables: vec![table] });
    }
    let mut summary = usage_table(report.sections.iter(), issue);
    summary.title = of(USAGE).to_owned();
    let basis = basis(issue)?;
    Ok(Outline {
        title: of(TITLE).to_owned(),
        footer: format!("{} {}", of(SHORT), statement_outline.subtitle),
        remarks: if draft { vec![of(DRAFT_SAYS).to_owned()] } else { Vec::new() },
        facts,
        summary,
        parties: Vec::new(),
        no_signature: of(NOT_SIGNED).to_owned(),
        parts,
        // Where rows lie in the operator's log is not the vendor's to know.
        basis: basis.into_iter().filter(|fact| fact.name != of(labels::CUT_OFFS)).collect(),
        ..statement_outline
    })
}

fn part(section: &ReportSection, issue: &Issue<'_>) -> Part {
    let of = |label| issue.language.of(label);
    let lead = [
        format!("{} {}", of(labels::MODELS), section.models),
        vocabulary::form(issue.language, &section.form).to_owned(),
    ];
    let mut steps = steps_table(std::iter::once(section), issue);
    steps.title = of(STEPS).to_owned();
    Part {
        heading: Value::text(format!("{} {}", of(labels::CONTRACT), section.terms)).exact(),
        lead: Value::text(lead.join(" / ")).exact(),
        tables: vec![steps],
    }
}

fn usage_table<'a>(sections: impl Iterator<Item = &'a ReportSection>, issue: &Issue<'_>) -> Table {
    let of = |label| issue.language.of(label);
    let columns = vec![
        Column::text(of(labels::CONTRACT)),
        Column::text(of(labels::MODEL)),
        Column::text(of(labels::CLASS)),
        Column::number(of(labels::UNITS)),
        Column::number(of(LISTED)),
        Column::text(of(IN_CURRENCY)),
    ];
    let mut table = Table::of_amounts("", columns, issue.language);
    for section in sections {
        for row in &section.usage {
            let UsageRow { model, class, trial, units, listed, listed_currency, amounts } = row;
            let trial = if *trial { of(labels::TRIAL) } else { "" };
            let class = Value::text(vocabulary::class(issue.language, class));
            let cells = vec![
                section.terms.as_str().into(),
                model.as_str().into(),
                Cell::with_below(class, trial),
                some_units(*units).into(),
                Value::Exact(*listed).into(),
                listed_currency.as_str().into(),
            ];
            table.push_amounts(RowKind::Body, cells, *amounts);
        }
    }
    table
}

fn steps_table<'a>(sections: impl Iterator<Item = &'a ReportSection>, issue: &Issue<'_>) -> Table {
    let of = |label| issue.language.of(label);
    let mut table = Table::new(
        "",
        vec![
            Column::text(of(labels::CONTRACT)),
            Column::text(of(STEP)),
            Column::text(of(RATE)),
            Column::text(of(IN_CURRENCY)),
            Column::number(of(AMOUNT)),
            Column::number(of(labels::TAX)),
            Column::number(of(labels::GROSS)),
        ],
    );
    for section in sections {
        let last = section.steps.len().saturating_sub(1);
        for (number, StepRow { step, of: rate, currency, amount, amounts }) in
            section.steps.iter().enumerate()
        {
            let tax = amounts.map_or(Value::Empty, |amounts| Value::Amount(amounts.tax));
            let gross = amounts.map_or(Value::Empty, |amounts| Value::Amount(amounts.gross));
            let kind = if number == last { RowKind::Total } else { RowKind::Body };
            let cells = vec![
                section.terms.as_str().into(),
                of(step.label()).into(),
                rate.as_str().into(),
                currency.as_str().into(),
                Value::Amount(*amount).into(),
                tax.into(),
                gross.into(),
            ];
            table.push(kind, cells);
        }
    }
    table
}

//! The outcome for people: a few tables.

use std::path::Path;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use tally_settlement::reconcile::Outcome;

/// A table whose columns from `numbers` on are numbers.
fn table(header: &[&str], numbers: usize) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    for column in table.column_iter_mut().skip(numbers) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A decimal without the zeros behind its last digit.
fn trimmed(decimal: &str) -> &str {
    if decimal.contains('.') {
        decimal.trim_end_matches('0').trim_end_matches('.')
    } else {
        decimal
    }
}

fn optional(text: Option<&String>) -> &str {
    text.map_or("", |text| trimmed(text))
}

pub(super) fn in_words(outcome: &Outcome, out: &Path) -> String {
    let [first, last] = &outcome.days;
    let mut parts = vec![format!(
        "{} {first} to {last} (UTC{}): {} lines of {} by mapping {}, {} of our events",
        outcome.vendor,
        outcome.zone,
        outcome.bill_lines,
        outcome.bill,
        outcome.mapping,
        outcome.our_rows
    )];
    if !outcome.mapping_verified {
        parts.push(format!("The mapping {} is not verified.", outcome.mapping));
    }
    parts.push(format!("The tolerance is that of the {}.", outcome.tolerance_source));
    parts.push(totals(outcome));
    parts.extend(outcome.unposted());
    if !outcome.classes.is_empty() {
        parts.push(classes(outcome));
    }
    let groups = outcome.top_groups();
    if !groups.is_empty() {
        parts.push(groups_table(&groups));
    }
    if !outcome.top.is_empty() {
        parts.push(top(outcome));
    }
    parts.push(format!("The report is {}", out.join("report.html").display()));
    parts.join("\n")
}

fn totals(outcome: &Outcome) -> String {
    let header = ["total", "our units", "their units", "our amount", "their amount", "difference"];
    let mut table = table(&header, 1);
    for row in &outcome.totals {
        table.add_row([
            row.currency.as_str(),
            &row.our_quantity,
            &row.their_quantity,
            trimmed(&row.our_amount),
            trimmed(&row.their_amount),
            trimmed(&row.difference),
        ]);
    }
    table.to_string()
}

fn classes(outcome: &Outcome) -> String {
    let header = ["class", "", "count", "our amount", "their amount", "difference"];
    let mut table = table(&header, 2);
    for row in &outcome.classes {
        table.add_row([
            row.class,
            &row.currency,
            &row.count.to_string(),
            trimmed(&row.our_amount),
            trimmed(&row.their_amount),
            trimmed(&row.difference),
        ]);
    }
    table.to_string()
}

fn groups_table(rows: &[&tally_settlement::reconcile::GroupRow]) -> String {
    let header = ["day", "model", "class", "our units", "their units", "difference", "why"];
    let mut table = table(&header, 3);
    for row in rows {
        table.add_row([
            row.day.as_str(),
            &row.model,
            row.token_class,
            &row.our_quantity,
            &row.their_quantity,
            optional(row.difference.as_ref()),
            row.class.unwrap_or_default(),
        ]);
    }
    table.to_string()
}

fn top(outcome: &Outcome) -> String {
    let header = ["request", "class", "line", "our amount", "their amount", "difference"];
    let mut table = table(&header, 2);
    for row in &outcome.top {
        table.add_row([
            row.request_id.as_str(),
            row.class,
            &row.bill_line.map(|line| line.to_string()).unwrap_or_default(),
            optional(row.our_amount.as_ref()),
            optional(row.their_amount.as_ref()),
            optional(row.difference.as_ref()),
        ]);
    }
    table.to_string()
}

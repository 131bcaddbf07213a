//! The comparison as one page that needs nothing else: no script, no font, no picture from outside.

use std::fmt::Write as _;

use super::day_chart::day_chart;
use super::difference::DifferenceRow;
use super::group_rows::GroupRow;
use super::outcome::{DayRow, Outcome};
use crate::shown::{escape_into, grouped};

/// Rows of level 2 on the page; all of them are in `groups.csv`.
const GROUPS_SHOWN: usize = 500;

const STYLE: &str = "\
:root{--ink:#1c2430;--soft:#5b6675;--line:#d9dee5;--more:#b3392f;--less:#2f6db3;--ok:#2e7d4f}\
body{font:14px/1.5 system-ui,-apple-system,'Noto Sans CJK SC',sans-serif;color:var(--ink);\
max-width:1080px;margin:32px auto;padding:0 24px}\
h1{font-size:24px;margin:0 0 4px}h2{font-size:16px;margin:32px 0 8px}\
p{margin:4px 0;color:var(--soft)}\
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums}\
th,td{padding:5px 8px;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}\
th{font-weight:600;color:var(--soft);font-size:12px}\
td{white-space:nowrap}td.n,th.n{text-align:right}td.long{white-space:normal;word-break:break-all}\
.verdict{display:inline-block;padding:4px 12px;border-radius:4px;color:#fff;margin:12px 0}\
.inside{background:var(--ok)}.outside{background:var(--more)}\
tr.outside td{background:#fbeeec}\
svg{width:100%;height:auto}svg .grid{stroke:var(--line)}svg .axis{font-size:11px;fill:var(--soft)}\
svg .more{fill:var(--more)}svg .less{fill:var(--less)}\
@media print{body{margin:0;max-width:none}h2{break-after:avoid}tr{break-inside:avoid}}";

struct Page(String);

impl Page {
    fn put(&mut self, html: &str) {
        self.0.push_str(html);
    }

    fn heading(&mut self, text: &str) {
        self.put("<h2>");
        self.text(text);
        self.put("</h2>\n");
    }

    fn text(&mut self, text: &str) {
        escape_into(&mut self.0, text);
    }

    /// A paragraph.
    fn say(&mut self, text: &str) {
        self.put("<p>");
        self.text(text);
        self.put("</p>\n");
    }

    /// Begins a table; a name that begins with `#` is of a column of numbers, one with `~` of a
    /// column of texts that may be broken anywhere.
    fn table(&mut self, columns: &[&str]) {
        self.put("<table><thead><tr>");
        for column in columns {
            self.put(if column.starts_with('#') { "<th class=\"n\">" } else { "<th>" });
            self.text(column.trim_start_matches(['#', '~']));
            self.put("</th>");
        }
        self.put("</tr></thead><tbody>\n");
    }

    fn row(&mut self, columns: &[&str], cells: &[&str], outside: bool) {
        self.put(if outside { "<tr class=\"outside\">" } else { "<tr>" });
        for (column, cell) in columns.iter().zip(cells) {
            match column.chars().next() {
                Some('#') => {
                    self.put("<td class=\"n\">");
                    self.text(&grouped(cell));
                }
                Some('~') => {
                    self.put("<td class=\"long\">");
                    self.text(cell);
                }
                _ => {
                    self.put("<td>");
                    self.text(cell);
                }
            }
            self.put("</td>");
        }
        self.put("</tr>\n");
    }

    fn end_table(&mut self) {
        self.put("</tbody></table>\n");
    }
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

/// The page of an outcome. The same outcome gives the same bytes.
pub fn report_html(outcome: &Outcome) -> String {
    let mut page = Page(String::new());
    head(&mut page, outcome);
    totals(&mut page, outcome);
    charts(&mut page, outcome);
    classes(&mut page, outcome);
    if outcome.level == "record" {
        top(&mut page, &outcome.top);
    }
    groups(&mut page, outcome);
    page.put("</body></html>\n");
    page.0
}

fn head(page: &mut Page, outcome: &Outcome) {
    page.put("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>");
    page.text(&format!("Reconciliation {} {}", outcome.vendor, outcome.days[0]));
    page.put("</title><style>");
    page.put(STYLE);
    page.put("</style></head><body>\n<h1>");
    page.text(&format!("Reconciliation with {}", outcome.vendor));
    page.put("</h1>\n");
    let [first, last] = &outcome.days;
    page.say(&format!("{first} to {last}, days in UTC{}", outcome.zone));
    let mut about = String::new();
    let lines = grouped(&outcome.bill_lines.to_string());
    write!(about, "Bill {}: {lines} lines", outcome.bill).unwrap_or_default();
    if outcome.bill_lines_outside > 0 {
        write!(about, ", {} of them of other months", outcome.bill_lines_outside)
            .unwrap_or_default();
    }
    if let Some(encoding) = outcome.bill_encoding {
        write!(about, ", {encoding}").unwrap_or_default();
    }
    if outcome.total_row_agreed {
        about.push_str(", its total row agrees");
    }
    page.say(&about);
    let verified = if outcome.mapping_verified { "" } else { ", not verified" };
    page.say(&format!("Mapping {}{verified}", outcome.mapping));
    page.say(&format!(
        "Ours: {} rows, {} of them without the vendor's request id",
        grouped(&outcome.our_rows.to_string()),
        grouped(&outcome.our_rows_without_request_id.to_string())
    ));
    let (class, words) = if outcome.is_inside() {
        (
            "inside",
            format!("Within tolerance: the figures that count are {}", outcome.inside_counts),
        )
    } else {
        ("outside", "Outside of the tolerance: in dispute".to_owned())
    };
    page.put(&format!("<div class=\"verdict {class}\">"));
    page.text(&words);
    page.put("</div>\n");
    page.say(&format!("The tolerance is that of the {}", outcome.tolerance_source));
    if let Some(unposted) = outcome.unposted() {
        page.say(&unposted);
    }
}

fn totals(page: &mut Page, outcome: &Outcome) {
    page.heading("Total");
    let columns = [
        "Currency",
        "#Our units",
        "#Their units",
        "#Our amount",
        "#Their amount",
        "#Of these, credits",
        "#Difference",
    ];
    page.table(&columns);
    for row in &outcome.totals {
        let cells = [
            &row.currency,
            &row.our_quantity,
            &row.their_quantity,
            trimmed(&row.our_amount),
            trimmed(&row.their_amount),
            trimmed(&row.credits),
            trimmed(&row.difference),
        ];
        page.row(&columns, &cells, !row.inside);
    }
    page.end_table();
}

fn charts(page: &mut Page, outcome: &Outcome) {
    let mut currencies: Vec<&str> =
        outcome.by_day.iter().map(|day| day.currency.as_str()).collect();
    currencies.dedup();
    for currency in currencies {
        let days: Vec<&DayRow> =
            outcome.by_day.iter().filter(|day| day.currency == currency).collect();
        page.heading(&format!("Difference by day, theirs less ours, in {currency}"));
        let chart = day_chart(&days, currency);
        page.put(&chart);
        page.put("\n");
    }
}

fn classes(page: &mut Page, outcome: &Outcome) {
    page.heading("Differences by class");
    let columns =
        ["Class", "", "Currency", "#Count", "#Our amount", "#Their amount", "#Difference"];
    page.table(&columns);
    for row in &outcome.classes {
        let cells = [
            row.class,
            row.title,
            &row.currency,
            &row.count.to_string(),
            trimmed(&row.our_amount),
            trimmed(&row.their_amount),
            trimmed(&row.difference),
        ];
        page.row(&columns, &cells, false);
    }
    page.end_table();
    page.say(&format!(
        "{} differences, {} of them in dispute; {} requests on both sides, {} of them agree",
        outcome.differences, outcome.disputed, outcome.matched, outcome.agreed
    ));
}

fn top(page: &mut Page, rows: &[DifferenceRow]) {
    page.heading("Largest differences");
    let columns = [
        "~Request",
        "Class",
        "Day",
        "Model",
        "#Bill line",
        "#Our amount",
        "#Their amount",
        "#Difference",
    ];
    page.table(&columns);
    for row in rows {
        let class = match row.detail {
            "" => row.class.to_owned(),
            detail => format!("{} ({detail})", row.class),
        };
        let cells = [
            row.request_id.as_str(),
            &class,
            optional(row.their_day.as_ref().or(row.our_day.as_ref())),
            optional(row.their_model.as_ref().or(row.our_model.as_ref())),
            &row.bill_line.map(|line| line.to_string()).unwrap_or_default(),
            optional(row.our_amount.as_ref()),
            optional(row.their_amount.as_ref()),
            optional(row.difference.as_ref()),
        ];
        page.row(&columns, &cells, row.disputed);
    }
    page.end_table();
}

fn groups(page: &mut Page, outcome: &Outcome) {
    page.heading("By day, model, class and price");
    let columns = [
        "Day",
        "Model",
        "Tier",
        "Class",
        "#Price per million",
        "#Our units",
        "#Their units",
        "#Our amount",
        "#Their amount",
        "#Difference",
        "Why",
    ];
    page.table(&columns);
    for row in outcome.groups.iter().take(GROUPS_SHOWN) {
        page.row(&columns, &group_cells(row).each_ref().map(String::as_str), row.outside);
    }
    page.end_table();
    if outcome.groups.len() > GROUPS_SHOWN {
        let rest = outcome.groups.len() - GROUPS_SHOWN;
        page.say(&format!("{rest} more rows are in groups.csv"));
    }
}

fn group_cells(row: &GroupRow) -> [String; 11] {
    let price = row.price_micro_per_million.map(|micro| {
        let text = tally_schemas::decimal_text(i128::from(micro), 6);
        trimmed(&text).to_owned()
    });
    [
        row.day.clone(),
        row.model.clone(),
        row.tier.clone(),
        row.token_class.to_owned(),
        price.unwrap_or_default(),
        row.our_quantity.clone(),
        row.their_quantity.clone(),
        optional(row.our_amount.as_ref()).to_owned(),
        optional(row.their_amount.as_ref()).to_owned(),
        optional(row.difference.as_ref()).to_owned(),
        row.class.unwrap_or_default().to_owned(),
    ]
}

//! What a vendor is told of its share, as CSV: rows of usage and of steps, and the total. UTF-8 with a byte order
//! mark, as spreadsheets in Chinese want it.

use crate::error::SettlementError;
use crate::labels::{Label, Language};
use crate::vendor_report::{UsageRow, VendorReport};

const COLUMNS: [Label; 14] = [
    ("类别", "part"),
    ("供应商", "vendor"),
    ("账期", "period"),
    ("合同", "terms"),
    ("项目", "item"),
    ("费率或说明", "of"),
    ("模型", "model"),
    ("计量类别", "class"),
    ("数量", "units"),
    ("计价金额", "listed"),
    ("币种", "currency"),
    ("不含税金额", "net"),
    ("税额", "tax"),
    ("价税合计", "gross"),
];

/// Writes a report.
///
/// # Errors
/// Never in a build whose tests pass.
pub fn vendor_report_csv(
    report: &VendorReport,
    language: Language,
) -> Result<Vec<u8>, SettlementError> {
    let of = |label| language.of(label);
    let damaged = |error: csv::Error| SettlementError::Damaged(error.to_string());
    let mut writer = csv::Writer::from_writer(vec![0xef, 0xbb, 0xbf]);
    writer.write_record(COLUMNS.map(of)).map_err(damaged)?;
    let period = report.period.to_string();
    let trial = of(("免费试用", "free trial"));
    for section in &report.sections {
        for row in &section.usage {
            let UsageRow { units, listed, amounts, .. } = row;
            let (units, listed) = (units.to_string(), listed.to_string());
            let owed = [amounts.net, amounts.tax, amounts.gross].map(|cents| cents.to_string());
            let mark = if row.trial { trial } else { "" };
            let head: [&str; 6] =
                [of(("用量", "usage")), &report.vendor, &period, &section.terms, "", mark];
            let body = [&row.model, &row.class, &units, &listed, &row.listed_currency];
            let fields = head.into_iter().chain(body.map(String::as_str));
            writer
                .write_record(fields.chain(owed.each_ref().map(String::as_str)))
                .map_err(damaged)?;
        }
        for row in &section.steps {
            let owed = match row.amounts {
                Some(of) => [of.net, of.tax, of.gross].map(|cents| cents.to_string()),
                None => [row.amount.to_string(), String::new(), String::new()],
            };
            let item = match language {
                Language::Zh => of(row.step.label()),
                Language::En => row.step.name(),
            };
            let head: [&str; 6] =
                [of(("步骤", "step")), &report.vendor, &period, &section.terms, item, &row.of];
            let fields = head.into_iter().chain(["", "", "", "", row.currency.as_str()]);
            writer
                .write_record(fields.chain(owed.each_ref().map(String::as_str)))
                .map_err(damaged)?;
        }
    }
    // The whole of it, of every contract; there is one even where nothing was used.
    let total = of(("合计", "total"));
    let owed = [report.total.net, report.total.tax, report.total.gross];
    let owed = owed.map(|cents| cents.to_string());
    let head = [total, &report.vendor, &period, "", "", "", "", "", "", "", &report.currency];
    let fields = head.into_iter().chain(owed.each_ref().map(String::as_str));
    writer.write_record(fields).map_err(damaged)?;
    writer.into_inner().map_err(|error| SettlementError::Damaged(error.to_string()))
}

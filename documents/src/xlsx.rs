//! A statement as a workbook. Amounts are written as their decimal text, never by way of a float;
//! they are numbers where every sum of them is right to the cent, else texts.

mod archive;
mod ledger;
mod sheet;
mod style;

use tally_settlement::{Statement, escape_into};

use self::archive::Archive;
use self::sheet::{Amounts, Cell, Sheet};
use self::style::{Style, styles_xml};
use crate::balances::{balances, exchange_rates, tier_volumes};
use crate::bookkeeping::{Fact, control_totals};
use crate::error::DocumentError;
use crate::issue::Issue;
use crate::labels;
use crate::outline::Outline;
use crate::table::Table;
use crate::value::Value;

const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n";
const RELATIONS: &str = "http://schemas.openxmlformats.org/package/2006/relationships";
const DOCUMENT_RELATIONS: &str =
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships";

/// Writes a statement: a sheet each for what is on its first page, lines, adjustments, balances
/// and control totals.
///
/// # Errors
/// `Overflow` for sums beyond 128 bits, `Format` for more than the format can hold.
pub fn statement_xlsx(issue: &Issue<'_>) -> Result<Vec<u8>, DocumentError> {
    let amounts = Amounts::decide(every_amount(issue.statement));
    let sheets = [
        first_sheet(issue, amounts)?,
        Sheet::of_table(issue.language.of(labels::LINES), &ledger::lines(issue)?, amounts),
        Sheet::of_table(
            issue.language.of(labels::ADJUSTMENTS),
            &ledger::adjustments(issue)?,
            amounts,
        ),
        balance_sheet(issue, amounts),
        Sheet::of_table(issue.language.of(labels::CONTROL), &control_totals(issue), amounts),
    ];
    let mut archive = Archive::default();
    archive.add("[Content_Types].xml", &content_types(sheets.len()))?;
    archive.add("_rels/.rels", &package_relations())?;
    archive.add("xl/workbook.xml", &workbook(&sheets))?;
    archive.add("xl/_rels/workbook.xml.rels", &workbook_relations(sheets.len()))?;
    archive.add("xl/styles.xml", &styles_xml(issue.language))?;
    for (number, sheet) in sheets.iter().enumerate() {
        archive.add(&format!("xl/worksheets/sheet{}.xml", number + 1), &sheet.xml())?;
    }
    archive.finish()
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

fn first_sheet(issue: &Issue<'_>, amounts: Amounts) -> Result<Sheet, DocumentError> {
    let outline = Outline::of(issue)?;
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
    Ok(sheet)
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

fn content_types(sheets: usize) -> String {
    const MAIN: &str = "application/vnd.openxmlformats-officedocument.spreadsheetml";
    let mut xml = format!(
        "{DECLARATION}<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">\
         <Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>\
         <Default Extension=\"xml\" ContentType=\"application/xml\"/>\
         <Override PartName=\"/xl/workbook.xml\" ContentType=\"{MAIN}.sheet.main+xml\"/>\
         <Override PartName=\"/xl/styles.xml\" ContentType=\"{MAIN}.styles+xml\"/>"
    );
    for number in 1..=sheets {
        xml.push_str(&format!(
            "<Override PartName=\"/xl/worksheets/sheet{number}.xml\" ContentType=\"{MAIN}.worksheet+xml\"/>"
        ));
    }
    xml.push_str("</Types>");
    xml
}

fn package_relations() -> String {
    format!(
        "{DECLARATION}<Relationships xmlns=\"{RELATIONS}\"><Relationship Id=\"rId1\" \
         Type=\"{DOCUMENT_RELATIONS}/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>"
    )
}

fn workbook(sheets: &[Sheet]) -> String {
    let mut xml = format!(
        "{DECLARATION}<workbook xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\" \
         xmlns:r=\"{DOCUMENT_RELATIONS}\"><sheets>"
    );
    for (number, sheet) in sheets.iter().enumerate() {
        let number = number + 1;
        xml.push_str("<sheet name=\"");
        escape_into(&mut xml, &sheet.name);
        xml.push_str(&format!("\" sheetId=\"{number}\" r:id=\"rId{number}\"/>"));
    }
    xml.push_str("</sheets><definedNames>");
    // The head of each table is on every page of its print.
    for (number, sheet) in sheets.iter().enumerate().skip(1) {
        xml.push_str(&format!(
            "<definedName name=\"_xlnm.Print_Titles\" localSheetId=\"{number}\">'"
        ));
        escape_into(&mut xml, &sheet.name);
        xml.push_str("'!$1:$1</definedName>");
    }
    xml.push_str("</definedNames></workbook>");
    xml
}

fn workbook_relations(sheets: usize) -> String {
    let mut xml = format!("{DECLARATION}<Relationships xmlns=\"{RELATIONS}\">");
    for number in 1..=sheets {
        xml.push_str(&format!(
            "<Relationship Id=\"rId{number}\" Type=\"{DOCUMENT_RELATIONS}/worksheet\" \
             Target=\"worksheets/sheet{number}.xml\"/>"
        ));
    }
    xml.push_str(&format!(
        "<Relationship Id=\"rId{}\" Type=\"{DOCUMENT_RELATIONS}/styles\" Target=\"styles.xml\"/>\
         </Relationships>",
        sheets + 1
    ));
    xml
}

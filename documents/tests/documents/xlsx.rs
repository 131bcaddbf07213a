//! The workbook is a ZIP of XML whose cells have the statement's decimals. That a spreadsheet
//! reads the same is checked in Python (`tests/python/check_documents.py`).

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use crate::support::{adjustment, draft, hostile, line, sealed, section, short, statement};
use tally_documents::{Issue, statement_xlsx};
use tally_settlement::{Adjustment, AdjustmentReason, Language, Statement};
use zip::ZipArchive;

/// What a cell has; texts as they stand in the file, with escapes.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cell {
    Text(String),
    Number(String),
    Formula(String, String),
}

/// The members of an archive, in their order.
fn members(bytes: &[u8]) -> Vec<(String, String)> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).unwrap();
    let mut members = Vec::new();
    for number in 0..archive.len() {
        let mut member = archive.by_index(number).unwrap();
        let mut text = String::new();
        member.read_to_string(&mut text).unwrap();
        members.push((member.name().unwrap().into_owned(), text));
    }
    members
}

fn member(bytes: &[u8], name: &str) -> String {
    let of_name = |(member, text)| (member == name).then_some(text);
    members(bytes).into_iter().find_map(of_name).unwrap_or_else(|| panic!("there is no {name}"))
}

/// What is between two marks; `None` without them.
fn between<'a>(text: &'a str, start: &str, end: &str) -> Option<&'a str> {
    Some(text.split_once(start)?.1.split_once(end)?.0)
}

/// The cells of a sheet that have something, by name.
fn cells(bytes: &[u8], number: usize) -> BTreeMap<String, Cell> {
    let strings = member(bytes, "xl/sharedStrings.xml");
    let text = |item| between(item, "<t", "</t>").unwrap().split_once('>').unwrap().1;
    let strings: Vec<&str> = strings.split("<si>").skip(1).map(text).collect();
    let sheet = member(bytes, &format!("xl/worksheets/sheet{number}.xml"));
    let mut cells = BTreeMap::new();
    for cell in sheet.split("<c ").skip(1) {
        let name = between(cell, "r=\"", "\"").unwrap().to_owned();
        let Some(value) = between(cell, "<v>", "</v>") else { continue };
        let head = cell.split('>').next().unwrap();
        let found = match between(cell, "<f>", "</f>") {
            Some(formula) => Cell::Formula(formula.to_owned(), value.to_owned()),
            None if head.contains("t=\"s\"") => {
                Cell::Text(strings[value.parse::<usize>().unwrap()].to_owned())
            }
            None => Cell::Number(value.to_owned()),
        };
        cells.insert(name, found);
    }
    cells
}

fn sheet(issue: &Issue<'_>, number: usize) -> BTreeMap<String, Cell> {
    cells(&statement_xlsx(issue).unwrap(), number)
}

/// The number that a decimal of two places is in a cell.
fn number(cents: impl ToString) -> Cell {
    let decimal = cents.to_string();
    Cell::Number(decimal.trim_end_matches('0').trim_end_matches('.').to_owned())
}

fn has(cells: &BTreeMap<String, Cell>, wanted: &Cell) -> bool {
    cells.values().any(|cell| cell == wanted)
}

#[test]
fn amounts_are_the_decimals_of_the_statement() {
    let statement = short();
    let lines = sheet(&sealed(&statement, Language::En), 2);
    for (row, line) in (2..).zip(&statement.sections[0].lines) {
        let amounts = [line.amounts.net, line.amounts.tax, line.amounts.gross];
        for (column, cents) in ["N", "O", "P"].into_iter().zip(amounts) {
            assert_eq!(lines[&format!("{column}{row}")], number(cents));
        }
        assert_eq!(lines[&format!("K{row}")], Cell::Number(line.units.to_string()));
        // Twelve places are more than a number keeps.
        assert_eq!(lines[&format!("L{row}")], Cell::Text(line.listed.to_string()));
    }
    // Three rows below the head: their sum is a formula, with what it comes to.
    assert_eq!(lines["N5"], Cell::Formula("SUM(N2:N4)".to_owned(), "25925.93".to_owned()));
}

/// Sums of floats as large as these could be a cent off: then amounts are texts.
#[test]
fn amounts_that_a_float_cannot_sum_are_texts() {
    let large = line(1, "m", "input", 4_000_000_000_000_000_000, 100_000_000);
    let statement = statement("large", vec![section("t", vec![large], Vec::new(), 0)]);
    let lines = sheet(&sealed(&statement, Language::En), 2);
    assert!(has(&lines, &Cell::Text(statement.total.net.to_string())), "{lines:?}");
    assert!(!has(&lines, &number(statement.total.net)), "{lines:?}");
    assert!(!lines.values().any(|cell| matches!(cell, Cell::Formula(..))), "{lines:?}");
}

/// Units of more than fifteen digits are a text, with every one of them, on the right.
#[test]
fn digits_that_a_cell_would_lose_are_a_text() {
    let units = [999_999_999_999_999_i128, 1_234_567_890_123_457];
    let lines = units.map(|units| line(1, "m", "input", units, 0));
    let statement = statement("digits", vec![section("t", lines.to_vec(), Vec::new(), 0)]);
    let bytes = statement_xlsx(&sealed(&statement, Language::En)).unwrap();
    let lines = cells(&bytes, 2);
    assert_eq!(lines["K2"], Cell::Number("999999999999999".to_owned()));
    assert_eq!(lines["K3"], Cell::Text("1234567890123457".to_owned()));
    let sheet = member(&bytes, "xl/worksheets/sheet2.xml");
    let style = between(&sheet, "<c r=\"K3\" s=\"", "\"").unwrap().parse::<usize>().unwrap();
    let styles = member(&bytes, "xl/styles.xml");
    let formats = between(&styles, "<cellXfs", "</cellXfs>").unwrap();
    let format = formats.split("<xf ").nth(style + 1).unwrap();
    assert!(format.contains("numFmtId=\"49\"") && format.contains("horizontal=\"right\""));
}

#[test]
fn texts_are_never_formulas_or_markup() {
    let statement = hostile();
    let bytes = statement_xlsx(&sealed(&statement, Language::En)).unwrap();
    for (name, xml) in members(&bytes) {
        assert!(!xml.contains("<script"), "{name}");
        assert!(!xml.contains(['\u{1}', '\u{fffe}']), "{name} has what XML cannot have");
    }
    let adjustments = cells(&bytes, 3);
    let note = Cell::Text("=cmd|'/c calc'!A1 &lt;img src=x&gt;   ".to_owned());
    assert!(has(&adjustments, &note), "{adjustments:?}");
    let mut formulas = 0;
    for cell in adjustments.values() {
        if let Cell::Formula(formula, _) = cell {
            formulas += 1;
            assert!(formula.starts_with("SUM("), "{formula}");
        }
    }
    assert_eq!(formulas, 3, "what sums rows is a formula");
}

/// What has the shape of the format's own rich text, or of its escapes, is read as it was written.
#[test]
fn texts_like_those_of_the_format_stay_texts() {
    for (note, written) in [
        ("<r><t>0.01</t></r>", "&lt;r&gt;&lt;t&gt;0.01&lt;/t&gt;&lt;/r&gt;"),
        ("<r>&</r>", "&lt;r&gt;&amp;&lt;/r&gt;"),
        ("<r></r>", "&lt;r&gt;&lt;/r&gt;"),
        ("_x0041_", "_x005F_x0041_"),
        ("http://example.org/?a=1&b=2", "http://example.org/?a=1&amp;b=2"),
    ] {
        let row =
            Adjustment { note: note.to_owned(), ..adjustment("A1", AdjustmentReason::ReRate, 5) };
        let statement = statement("v", vec![section("t", Vec::new(), vec![row], 0)]);
        let adjustments = sheet(&sealed(&statement, Language::Zh), 3);
        assert_eq!(adjustments["I2"], Cell::Text(written.to_owned()));
    }
}

#[test]
fn a_draft_says_so() {
    let statement = short();
    let notes = ["by the example contracts".to_owned()];
    let says = |issue: &Issue<'_>, word: &str| {
        let texts = sheet(issue, 1);
        texts.values().any(|cell| matches!(cell, Cell::Text(text) if text.contains(word)))
    };
    let issue = draft(&statement, &notes, Language::Zh);
    assert!(says(&issue, "草稿") && says(&issue, &notes[0]));
    assert!(!says(&sealed(&statement, Language::Zh), "草稿"));
}

/// The format has to have times: they are the last day of the period, and for members of the
/// archive the first day that it can name. No clock is asked.
#[test]
fn the_only_time_is_that_of_the_period() {
    let written = |statement: &Statement| {
        let bytes = statement_xlsx(&sealed(statement, Language::En)).unwrap();
        let mut archive = ZipArchive::new(Cursor::new(&bytes)).unwrap();
        for number in 0..archive.len() {
            let member = archive.by_index(number).unwrap();
            let time = member.last_modified().map(|time| time.to_string());
            assert_eq!(time.as_deref(), Some("1980-01-01 00:00:00"), "{number}");
        }
        let core = member(&bytes, "docProps/core.xml");
        let times = core.split("dcterms:W3CDTF\">").skip(1);
        times.map(|rest| rest.split('<').next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let october = short();
    assert_eq!(written(&october), ["2026-10-31T00:00:00Z"; 2]);
    let february = Statement { period: crate::support::period("2028-02"), ..october };
    assert_eq!(written(&february), ["2028-02-29T00:00:00Z"; 2]);
}

#[test]
fn a_workbook_says_what_it_is() {
    let statement = short();
    for (issue, title, status) in [
        (sealed(&statement, Language::Zh), "供应商结算单", "已封账"),
        (draft(&statement, &[], Language::En), "Vendor settlement statement", "Draft, not sealed"),
    ] {
        let core = member(&statement_xlsx(&issue).unwrap(), "docProps/core.xml");
        for part in [title, status, "qwen / 2026-10"] {
            assert!(core.contains(&format!(">{part}</")), "{core}");
        }
    }
}

/// How tables are shown and printed, and in which font.
#[test]
fn tables_have_a_head_that_stays() {
    let statement = short();
    for (language, name, font) in
        [(Language::Zh, "明细", "Microsoft YaHei"), (Language::En, "Lines", "Calibri")]
    {
        let bytes = statement_xlsx(&draft(&statement, &[], language)).unwrap();
        let first = member(&bytes, "xl/worksheets/sheet1.xml");
        assert!(!first.contains("<pane") && !first.contains("<autoFilter"), "{first}");
        let lines = member(&bytes, "xl/worksheets/sheet2.xml");
        for part in [
            "<pane ySplit=\"1\" topLeftCell=\"A2\" activePane=\"bottomLeft\" state=\"frozen\"/>",
            "<autoFilter ref=\"A1:P4\"/>",
            "<pageMargins left=\"0.4\" right=\"0.4\" top=\"0.5\" bottom=\"0.6\" header=\"0.3\" footer=\"0.3\"/>",
            "paperSize=\"9\" fitToHeight=\"0\" orientation=\"landscape\"",
            "<oddFooter>&amp;L&amp;A&amp;R&amp;P / &amp;N</oddFooter>",
            "<ignoredError sqref=\"A1:P5\" numberStoredAsText=\"1\"/>",
        ] {
            assert!(lines.contains(part), "{part}: {lines}");
        }
        for sheet in [&first, &lines] {
            assert!(
                sheet.contains("<cols><col min=\"1\"") && sheet.contains("showGridLines=\"0\"")
            );
        }
        let book = member(&bytes, "xl/workbook.xml");
        let titles = format!("<definedName name=\"_xlnm.Print_Titles\" localSheetId=\"1\">{name}");
        assert!(book.contains(&titles), "{book}");
        let styles = member(&bytes, "xl/styles.xml");
        assert_eq!(styles.matches("<name val=").count(), 5, "{styles}");
        assert_eq!(styles.matches(&format!("<name val=\"{font}\"/>")).count(), 5, "{styles}");
        for code in ["#,##0.00;[Red]\\-#,##0.00", "#,##0\"", "#,##0.00####"] {
            assert!(styles.contains(&format!("formatCode=\"{code}")), "{styles}");
        }
    }
}

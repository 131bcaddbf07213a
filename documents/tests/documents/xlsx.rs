//! The workbook is a ZIP of XML whose numbers are the statement's decimals. That a spreadsheet
//! reads the same is checked in Python (`tests/python/check_documents.py`).

use std::collections::BTreeMap;
use std::io::Read;

use crate::support::{draft, hostile, line, sealed, section, short, statement};
use flate2::read::DeflateDecoder;
use tally_documents::{Issue, statement_xlsx};
use tally_settlement::Language;

/// The members of an archive, read by their local headers.
fn members(bytes: &[u8]) -> BTreeMap<String, String> {
    let number = |at: usize, length: usize| {
        let bytes = bytes[at..at + length].iter().rev();
        bytes.fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    let mut members = BTreeMap::new();
    let mut at = 0;
    while bytes[at..].starts_with(b"PK\x03\x04") {
        let (packed, name) = (number(at + 18, 4), number(at + 26, 2));
        let data = at + 30 + name;
        let mut text = String::new();
        DeflateDecoder::new(&bytes[data..data + packed]).read_to_string(&mut text).unwrap();
        assert_eq!(number(at + 22, 4), text.len());
        members.insert(String::from_utf8_lossy(&bytes[at + 30..data]).into_owned(), text);
        at = data + packed;
    }
    assert!(bytes[at..].starts_with(b"PK\x01\x02"));
    members
}

fn sheet(issue: &Issue<'_>, number: usize) -> String {
    members(&statement_xlsx(issue).unwrap())[&format!("xl/worksheets/sheet{number}.xml")].clone()
}

#[test]
fn amounts_are_the_decimals_of_the_statement() {
    let statement = short();
    let lines = sheet(&sealed(&statement, Language::En), 2);
    for line in &statement.sections[0].lines {
        for cents in [line.amounts.net, line.amounts.tax, line.amounts.gross] {
            assert!(lines.contains(&format!("<v>{cents}</v>")), "{cents}");
        }
        // Twelve places are more than a number keeps.
        assert!(lines.contains(&format!(">{}</t>", line.listed)), "{}", line.listed);
    }
    // Three rows below the head: their sum is a formula, with what it comes to.
    assert!(lines.contains("<f>SUM(N2:N4)</f><v>25925.93</v>"), "{lines}");
}

/// Sums of floats as large as these could be a cent off: then amounts are texts.
#[test]
fn amounts_that_a_float_cannot_sum_are_texts() {
    let large = line(1, "m", "input", 4_000_000_000_000_000_000, 100_000_000);
    let statement = statement("large", vec![section("t", vec![large], Vec::new(), 0)]);
    let net = statement.total.net.to_string();
    let lines = sheet(&sealed(&statement, Language::En), 2);
    assert!(lines.contains(&format!(">{net}</t>")), "{lines}");
    assert!(!lines.contains(&format!("<v>{net}</v>")) && !lines.contains("<f>"), "{lines}");
}

#[test]
fn texts_are_never_formulas_or_markup() {
    let statement = hostile();
    let members = members(&statement_xlsx(&sealed(&statement, Language::En)).unwrap());
    for (name, xml) in &members {
        assert!(!xml.contains("<script"), "{name}");
        assert!(!xml.contains(['\u{1}', '\u{fffe}']), "{name} has what XML cannot have");
    }
    let adjustments = &members["xl/worksheets/sheet3.xml"];
    assert!(adjustments.contains(">=cmd|'/c calc'!A1 &lt;img src=x&gt;   </t>"), "{adjustments}");
    assert!(adjustments.contains("<f>SUM("), "what sums rows is a formula");
    assert!(!adjustments.contains("<f>="), "{adjustments}");
}

#[test]
fn a_draft_says_so() {
    let statement = short();
    let notes = ["by the example contracts".to_owned()];
    let first = sheet(&draft(&statement, &notes, Language::Zh), 1);
    assert!(first.contains("草稿") && first.contains(&notes[0]), "{first}");
    assert!(!sheet(&sealed(&statement, Language::Zh), 1).contains("草稿"));
}

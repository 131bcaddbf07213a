//! Whatever the bytes of a bill are, reading them ends in an answer or an error.

use std::io::{Cursor, Write};

use proptest::prelude::*;
use tally_settlement::reconcile::BillMapping;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use crate::support::Case;

const MAPPING: &str = r#"
name = "test"
source = "made for this test"
rows = ["data"]
[columns]
time = "t"
amount = "a"
[time]
format = "date"
zone = "UTC"
[amount]
currency = "CNY"
"#;

/// A workbook whose parts are not packed, so that a changed byte is a changed byte of XML.
fn workbook() -> Vec<u8> {
    let parts = [
        ("xl/workbook.xml", "<workbook><sheets><sheet name=\"B\" id=\"r1\"/></sheets></workbook>"),
        (
            "xl/_rels/workbook.xml.rels",
            "<Relationships><Relationship Id=\"r1\" Target=\"s.xml\"/></Relationships>",
        ),
        (
            "xl/s.xml",
            "<worksheet><row r=\"1\"><c r=\"A1\" t=\"inlineStr\"><is><t>t</t></is></c>\
             <c r=\"B1\" t=\"inlineStr\"><is><t>a</t></is></c></row>\
             <row r=\"2\"><c r=\"A2\" t=\"inlineStr\"><is><t>2026-10-05</t></is></c>\
             <c r=\"B2\"><v>1.5</v></c></row></worksheet>",
        ),
    ];
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, text) in parts {
        archive.start_file(name, options).unwrap();
        archive.write_all(text.as_bytes()).unwrap();
    }
    archive.finish().unwrap().into_inner()
}

#[test]
fn a_workbook_is_read_and_each_changed_byte_is_an_answer_or_an_error() {
    let mapping = BillMapping::parse("t.toml", MAPPING).unwrap();
    let good = workbook();
    let run = |bytes: &[u8]| Case::new("bill.xlsx", bytes, &mapping).run(&[]);
    assert_eq!(run(&good).unwrap().0.totals[0].their_amount, "1.500000000000");
    let mut refused = 0;
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x15;
        match run(&bytes) {
            Ok((outcome, _)) => {
                assert_eq!(outcome.totals[0].their_amount, "1.500000000000", "{at}")
            }
            Err(_) => refused += 1,
        }
        assert!(run(&good[..at]).is_err(), "cut at {at}");
    }
    assert!(refused > good.len() / 2, "{refused} of {}", good.len());
}

proptest! {
    #[test]
    fn any_bytes_are_an_answer_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        text in "[ta,;\"\n0-9.\\-{}\\[\\]: ]{0,120}",
        ending in prop_oneof![Just("csv"), Just("json"), Just("ndjson"), Just("xlsx")],
    ) {
        let mapping = BillMapping::parse("t.toml", MAPPING).unwrap();
        let file = format!("bill.{ending}");
        for bytes in [bytes.clone(), text.clone().into_bytes(), format!("t,a\n{text}").into_bytes()] {
            let said = Case::new(&file, &bytes, &mapping).run(&[]).map(|_| ());
            prop_assert!(said.map_err(|error| error.to_string()).map_or_else(|e| !e.is_empty(), |()| true));
        }
    }
}

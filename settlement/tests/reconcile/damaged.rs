//! Whatever the bytes of a bill are, reading them ends in an answer or an error.

use proptest::prelude::*;
use tally_settlement::reconcile::BillMapping;

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
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for (name, text) in parts {
        let mut crc = flate2::Crc::new();
        crc.update(text.as_bytes());
        let mut sizes = crc.sum().to_le_bytes().to_vec();
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        sizes.extend_from_slice(&[length, length].concat());
        sizes.extend_from_slice(&u16::try_from(name.len()).unwrap().to_le_bytes());
        let offset = u32::try_from(bytes.len()).unwrap().to_le_bytes();
        bytes.extend_from_slice(&[&b"PK\x03\x04"[..], &[0; 10], &sizes, &[0; 2]].concat());
        bytes.extend_from_slice(&[name.as_bytes(), text.as_bytes()].concat());
        let entry = [&b"PK\x01\x02"[..], &[0; 12], &sizes, &[0; 12], &offset, name.as_bytes()];
        directory.extend_from_slice(&entry.concat());
    }
    let at = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    let size = u32::try_from(directory.len()).unwrap().to_le_bytes();
    let end = [&b"PK\x05\x06"[..], &[0; 4], &[3, 0, 3, 0], &size, &at, &[0; 2]].concat();
    [bytes, directory, end].concat()
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

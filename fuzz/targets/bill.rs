//! Bytes as a vendor's bill. The first byte names one of the shipped mappings (`0` to `6`) or says
//! that the first piece is one (`m`), the second what the file is: `c` CSV, `j` JSON, `n` NDJSON,
//! `x` a workbook, `p` the parts of one (workbook, relations, shared strings, sheet).

#![no_main]

use std::io::{Cursor, Read};
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use tally_fuzz::{pieces, shipped, stored_zip};
use tally_settlement::reconcile::{
    BillContext, BillFormat, BillMapping, BillTotals, Names, Period, ReconcileErrorKind, read_bill,
    shipped_mapping, shipped_names,
};

fn mappings() -> &'static [BillMapping] {
    static MAPPINGS: LazyLock<Vec<BillMapping>> = LazyLock::new(|| {
        let parsed = shipped_names().into_iter().filter_map(shipped_mapping);
        parsed.map(|mapping| mapping.expect("it ships").0).collect()
    });
    &MAPPINGS
}

fuzz_target!(|bytes: &[u8]| {
    let &[which, kind, ref bytes @ ..] = bytes else { return };
    let (mut mapping, bytes) = if which == b'm' {
        let (text, bill) = match bytes.iter().position(|byte| *byte == tally_fuzz::SEPARATOR) {
            Some(at) => (&bytes[..at], &bytes[at + 1..]),
            None => return,
        };
        let Ok(text) = std::str::from_utf8(text) else { return };
        let Ok(mapping) = BillMapping::parse("mapping.toml", text) else { return };
        (mapping, bill)
    } else {
        let mappings = mappings();
        (mappings[usize::from(which.wrapping_sub(b'0')) % mappings.len()].clone(), bytes)
    };
    mapping.format = Some(match kind {
        b'c' => BillFormat::Csv,
        b'j' => BillFormat::Json,
        b'n' => BillFormat::Ndjson,
        _ => BillFormat::Xlsx,
    });
    let bill = if kind == b'p' { workbook(bytes) } else { bytes.to_vec() };
    assert_eq!(read(&mapping, &bill), read(&mapping, &bill));
});

fn workbook(bytes: &[u8]) -> Vec<u8> {
    let names =
        ["xl/workbook.xml", "xl/_rels/workbook.xml.rels", "xl/sharedStrings.xml", "xl/sheet.xml"];
    let parts: Vec<(&str, &[u8])> = names.into_iter().zip(pieces(bytes)).collect();
    stored_zip(&parts)
}

/// What a bill came to, and the sum of its lines; or what is wrong with it.
fn read(mapping: &BillMapping, bill: &[u8]) -> Result<(BillTotals, i128), String> {
    let reference = shipped();
    let vendor = match mapping.name.split('-').next() {
        Some(vendor @ ("anthropic" | "openai")) => vendor,
        _ => "deepseek",
    };
    let period = Period::parse("2026-10", mapping.time.offset_ms).expect("a month");
    let context = BillContext { file: "bill", mapping, card: &reference.card, vendor, period };
    let open = || Ok(Box::new(Cursor::new(bill.to_vec())) as Box<dyn Read>);
    let (mut lines, mut sum) = (0, 0_i128);
    let totals = read_bill(&context, &open, &mut Names::default(), &mut |line| {
        lines += 1;
        sum = sum.wrapping_add(line.record.amount_pico);
        Ok(())
    });
    match totals {
        Ok(totals) => {
            assert_eq!(totals.lines, lines);
            Ok((totals, sum))
        }
        Err(error) => {
            assert_eq!(error.kind(), ReconcileErrorKind::Data, "{error}");
            Err(error.to_string())
        }
    }
}

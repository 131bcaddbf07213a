//! A phone bill as it goes to the billing system: CSV in UTF-8, RFC 4180 with line feeds, one
//! record a line, whose first field says what it is.
//!
//! - `H`: the header.
//! - `record`: the names of the fields of line records.
//! - `D`: a line.
//! - `S`: the lines' sum of a currency and kind.
//! - `T`: the trailer: how many lines there are, how many of them again, and their BLAKE3.

use jiff::Timestamp;
use tally_schemas::Currency;

use super::bill_plan::BillPlan;
use super::bill_seal::KindSum;
use super::charge::ChargeKind;
use super::error::BillError;
use super::line::{BillLine, BilledDate, LineId, LineKey};
use crate::decimal::{Cents, Pico, Points, parse_decimal};
use crate::sealed_object::hash_of;

/// What the second field of a header says.
const NAME: &str = "tally-phone-bill";

/// Version of the fields of every record.
const SCHEMA_VERSION: u32 = 1;

/// Names of the fields of a line record.
const FIELDS: [&str; 14] = [
    "record",
    "line",
    "first_line",
    "account",
    "kind",
    "package",
    "currency",
    "date",
    "rows",
    "points",
    "exact",
    "remainder_before",
    "amount",
    "remainder_after",
];

/// The header of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillHeader(Vec<String>);

/// A file as it is stored and sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillCsv {
    /// The file.
    pub bytes: Vec<u8>,
    /// BLAKE3 of its line records, line feeds included, in hex.
    pub lines_hash: String,
}

impl BillHeader {
    /// What a plan says of its file.
    pub fn of(plan: &BillPlan) -> Self {
        let at = Timestamp::from_millisecond(plan.at_ms).map(|at| at.to_string());
        let cut_offs: Vec<String> =
            plan.cut_offs.iter().map(|cut| format!("{}:{}", cut.partition, cut.epoch)).collect();
        Self(vec![
            "H".to_owned(),
            NAME.to_owned(),
            SCHEMA_VERSION.to_string(),
            plan.file_id(),
            plan.sequence.to_string(),
            plan.scope.name().to_owned(),
            plan.scope.period(),
            at.unwrap_or_default(),
            cut_offs.join(" "),
            plan.previous.clone(),
            plan.replaced.clone(),
        ])
    }
}

fn failed(error: impl std::fmt::Display) -> BillError {
    BillError::damaged("phone bill", error)
}

/// One record.
fn record<T: AsRef<[u8]>>(out: &mut Vec<u8>, fields: &[T]) -> Result<(), BillError> {
    let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(out);
    writer.write_record(fields).map_err(failed)?;
    writer.flush().map_err(failed)
}

/// Writes a file.
///
/// # Errors
/// Never in a build whose tests pass.
pub(super) fn bill_csv(
    header: &BillHeader,
    lines: &[BillLine],
    sums: &[KindSum],
) -> Result<BillCsv, BillError> {
    let mut bytes = Vec::new();
    record(&mut bytes, &header.0)?;
    record(&mut bytes, &FIELDS)?;
    let begin = bytes.len();
    let mut writer = csv::Writer::from_writer(&mut bytes);
    for line in lines {
        writer.write_record(fields_of(line)).map_err(failed)?;
    }
    writer.flush().map_err(failed)?;
    drop(writer);
    let lines_hash = hash_of(bytes.get(begin..).unwrap_or_default());
    for sum in sums {
        let (count, amount) = (sum.lines.to_string(), sum.amount.to_string());
        let fields =
            ["S", sum.currency.as_str(), sum.kind.as_str(), count.as_str(), amount.as_str()];
        record(&mut bytes, &fields)?;
    }
    let again = lines.iter().filter(|line| line.comes_again()).count().to_string();
    let count = lines.len().to_string();
    record(&mut bytes, &["T", count.as_str(), again.as_str(), lines_hash.as_str()])?;
    Ok(BillCsv { bytes, lines_hash })
}

fn fields_of(line: &BillLine) -> [String; FIELDS.len()] {
    [
        "D".to_owned(),
        line.id.to_string(),
        line.first.to_string(),
        line.key.account.clone(),
        line.key.kind.name().to_owned(),
        line.key.package.clone(),
        line.key.currency.to_string(),
        line.date.to_string(),
        line.rows.to_string(),
        line.points.to_string(),
        line.exact.to_string(),
        line.before.to_string(),
        line.amount.to_string(),
        line.after.to_string(),
    ]
}

/// Reads the lines of a file that is known to be what was written; `what` is for messages.
///
/// # Errors
/// `Stored` where a line record cannot be read.
pub fn read_lines(what: &str, bytes: &[u8]) -> Result<Vec<BillLine>, BillError> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
    let mut lines = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|error| BillError::damaged(what, error))?;
        if record.get(0) == Some("D") {
            let line = line_of(&record);
            lines.push(line.ok_or_else(|| {
                BillError::damaged(what, format!("{record:?} is not the record of a line"))
            })?);
        }
    }
    Ok(lines)
}

fn line_of(record: &csv::StringRecord) -> Option<BillLine> {
    let decimal = |at: usize, scale: u32| parse_decimal(record.get(at)?, scale).ok();
    Some(BillLine {
        id: LineId::parse(record.get(1)?)?,
        first: LineId::parse(record.get(2)?)?,
        key: LineKey {
            account: record.get(3)?.to_owned(),
            kind: ChargeKind::from_name(record.get(4)?)?,
            package: record.get(5)?.to_owned(),
            currency: Currency::parse(record.get(6)?)?,
        },
        date: BilledDate::parse(record.get(7)?)?,
        rows: record.get(8)?.parse().ok()?,
        points: Points(decimal(9, 6)?),
        exact: Pico(decimal(10, 12)?),
        before: Pico(decimal(11, 12)?),
        amount: Cents(decimal(12, 2)?),
        after: Pico(decimal(13, 12)?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::bill_file::BillFile;
    use super::super::bill_plan::BillScope;
    use super::super::day::Day;
    use super::*;
    use crate::seal::CutOff;

    fn plan() -> BillPlan {
        BillPlan {
            format: BillPlan::FORMAT,
            sequence: 7,
            scope: BillScope::Daily { day: Day::parse("2026-11-25").unwrap() },
            by: "billing".into(),
            at_ms: 1_795_651_200_000,
            code_version: "0".into(),
            cut_offs: vec![CutOff { partition: 0, epoch: 12 }, CutOff { partition: 1, epoch: 9 }],
            returns_to: 0,
            replaced: String::new(),
            previous: "abc".into(),
        }
    }

    fn line(number: u64, first: &str, account: &str) -> BillLine {
        BillLine {
            id: LineId { sequence: 7, number },
            first: LineId::parse(first).unwrap(),
            key: LineKey {
                account: account.into(),
                kind: ChargeKind::PayAsYouGo,
                package: "sh-telecom-payg".into(),
                currency: Currency::CNY,
            },
            date: BilledDate::Day(Day::parse("2026-11-24").unwrap()),
            rows: 3,
            points: Points(-336_000_000),
            exact: Pico(6_344_000_000),
            before: Pico(-1_000_000_000),
            amount: Cents(1),
            after: Pico(-4_656_000_000),
        }
    }

    #[test]
    fn a_file_looks_like_this() {
        let lines = vec![line(1, "5-2", "A000012345"), line(2, "7-2", "甲, \"乙\"")];
        let file = BillFile { header: BillHeader::of(&plan()), lines };
        let csv = file.to_csv().unwrap();
        let expected = format!(
            "H,tally-phone-bill,1,phone-bill-7-daily-2026-11-25,7,daily,2026-11-25,2026-11-26T00:00:00Z,0:12 1:9,abc,\n\
             record,line,first_line,account,kind,package,currency,date,rows,points,exact,remainder_before,amount,remainder_after\n\
             D,7-1,5-2,A000012345,payg,sh-telecom-payg,CNY,2026-11-24,3,-336.000000,0.006344000000,-0.001000000000,0.01,-0.004656000000\n\
             D,7-2,7-2,\"甲, \"\"乙\"\"\",payg,sh-telecom-payg,CNY,2026-11-24,3,-336.000000,0.006344000000,-0.001000000000,0.01,-0.004656000000\n\
             S,CNY,payg,2,0.02\n\
             T,2,1,{}\n",
            csv.lines_hash
        );
        assert_eq!(String::from_utf8(csv.bytes.clone()).unwrap(), expected);
        let records: String =
            expected.lines().filter(|l| l.starts_with("D,")).map(|l| format!("{l}\n")).collect();
        assert_eq!(csv.lines_hash, hash_of(records.as_bytes()));
        assert_eq!(read_lines("test", &csv.bytes).unwrap(), file.lines);
    }

    #[test]
    fn a_line_record_that_was_not_written_here_is_not_read() {
        let file = BillFile { header: BillHeader::of(&plan()), lines: vec![line(1, "7-1", "A")] };
        let text = String::from_utf8(file.to_csv().unwrap().bytes).unwrap();
        for (from, to) in [
            ("D,7-1", "D,7:1"),
            ("payg,sh", "debit,sh"),
            ("CNY,2026", "yuan,2026"),
            ("2026-11-24", "2026-11-31"),
            (",0.01,", ",0.011,"),
            (",0.01,-0.004656000000", ",0.01"),
        ] {
            let damaged = text.replacen(from, to, 1);
            assert_ne!(damaged, text, "{from}");
            assert!(read_lines("test", damaged.as_bytes()).is_err(), "{to}");
        }
    }
}

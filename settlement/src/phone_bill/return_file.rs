//! What the billing system answers: CSV in UTF-8, one record a line.
//!
//! ```text
//! H,tally-phone-bill-return,1,SEQUENCE,LINES_HASH
//! record,line,status,reason
//! D,7-1,accepted,
//! D,7-2,rejected,account closed
//! T,2
//! ```
//!
//! A file is read whole, and every defect is told with its line; nothing is guessed.

use std::collections::BTreeMap;

use super::error::BillError;
use super::line::LineId;

const NAME: &str = "tally-phone-bill-return";
const SCHEMA_VERSION: &str = "1";
const FIELDS: [&str; 4] = ["record", "line", "status", "reason"];

/// Most defects that are told one by one; the rest is counted.
const DEFECTS_TOLD: usize = 20;

/// What was answered to a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Line of the return file, from 1.
    pub at: u64,
    /// Number of the line in its phone bill.
    pub number: u64,
    /// Why it was rejected; `None` where it was accepted.
    pub rejected: Option<String>,
}

/// A return file that reads well; whether it fits its phone bill is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnFile {
    /// Sequence number of the phone bill.
    pub sequence: u64,
    /// Hash of its line records.
    pub lines_hash: String,
    /// What was answered, in the order of the file.
    pub answers: Vec<Answer>,
}

/// Collects what is wrong with a return file.
#[derive(Debug, Default)]
pub(super) struct Defects {
    told: Vec<String>,
    more: usize,
}

impl Defects {
    pub(super) fn add(&mut self, at: u64, what: impl std::fmt::Display) {
        if self.told.len() < DEFECTS_TOLD {
            self.told.push(format!("line {at}: {what}"));
        } else {
            self.more += 1;
        }
    }

    /// The error of a file that has any.
    pub(super) fn into_result(mut self, file: &str) -> Result<(), BillError> {
        if self.told.is_empty() {
            return Ok(());
        }
        if self.more > 0 {
            self.told.push(format!("and {} more", self.more));
        }
        Err(BillError::BadReturn { file: file.to_owned(), defects: self.told })
    }
}

/// Counts lines. The reader's own count is behind where lines end with a carriage return too, as it
/// leaves the line feed to the next record; and so it does with empty lines.
#[derive(Debug)]
struct Lines<'a> {
    rest: &'a [u8],
    /// Where the rest begins.
    at: u64,
    /// Its line.
    line: u64,
}

impl Lines<'_> {
    /// The line in which a record stands that the reader began to look for at a position.
    fn of(&mut self, position: &csv::Position) -> u64 {
        while let [byte, rest @ ..] = self.rest {
            if self.at >= position.byte() && !matches!(byte, b'\r' | b'\n') {
                break;
            }
            self.line += u64::from(*byte == b'\n');
            (self.rest, self.at) = (rest, self.at + 1);
        }
        self.line
    }
}

/// What has been read so far.
#[derive(Debug, Default)]
struct Reading {
    header: Option<(u64, String)>,
    named: bool,
    answers: Vec<Answer>,
    /// Where each line was answered.
    answered: BTreeMap<u64, u64>,
    ended: bool,
    defects: Defects,
}

impl ReturnFile {
    /// Reads a file; `name` is for messages.
    ///
    /// # Errors
    /// `BadReturn` with every defect.
    pub fn parse(name: &str, bytes: &[u8]) -> Result<Self, BillError> {
        if let Err(error) = std::str::from_utf8(bytes) {
            let before = bytes.get(..error.valid_up_to()).unwrap_or_default();
            let at = before.iter().filter(|byte| **byte == b'\n').count();
            let at = u64::try_from(at).unwrap_or(u64::MAX).saturating_add(1);
            let mut defects = Defects::default();
            defects.add(at, "is not UTF-8");
            defects.into_result(name)?;
        }
        let mut reading = Reading::default();
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
        let mut lines = Lines { rest: bytes, at: 0, line: 1 };
        let mut last = 0;
        for record in reader.records() {
            match record {
                Ok(record) => {
                    last = record.position().map_or(last, |position| lines.of(position));
                    reading.take(last, &record);
                }
                Err(error) => {
                    let at = error.position().map_or(last, |position| lines.of(position));
                    reading.defects.add(at, format!("cannot be read: {error}"));
                    break;
                }
            }
        }
        if !reading.ended {
            reading.defects.add(last + 1, "the trailer is missing: the file is not whole");
        }
        reading.defects.into_result(name)?;
        // Without a header there was a defect.
        let (sequence, lines_hash) = reading.header.unwrap_or_default();
        Ok(Self { sequence, lines_hash, answers: reading.answers })
    }
}

impl Reading {
    fn take(&mut self, at: u64, record: &csv::StringRecord) {
        if self.ended {
            return self.defects.add(at, "stands behind the trailer");
        }
        if self.header.is_none() {
            let header = header_of(record);
            if header.is_none() {
                let wanted = format!("{NAME},{SCHEMA_VERSION}");
                self.defects.add(at, format!("is not the header H,{wanted},SEQUENCE,LINES_HASH"));
            }
            // What comes after a wrong header is looked at all the same.
            self.header = Some(header.unwrap_or_default());
            return;
        }
        if !self.named {
            self.named = true;
            if record != FIELDS.as_slice() {
                self.defects.add(at, format!("is not {}", FIELDS.join(",")));
            }
            return;
        }
        match record.get(0) {
            Some("D") => self.answer(at, record),
            Some("T") => self.trailer(at, record),
            _ => self.defects.add(at, "is neither an answer (D) nor the trailer (T)"),
        }
    }

    fn answer(&mut self, at: u64, record: &csv::StringRecord) {
        let [id, status, reason] = [1, 2, 3].map(|field| record.get(field).unwrap_or_default());
        if record.len() != FIELDS.len() {
            let (has, wanted) = (record.len(), FIELDS.len());
            return self.defects.add(at, format!("has {has} fields and not {wanted}"));
        }
        let sequence = self.header.as_ref().map_or(0, |(sequence, _)| *sequence);
        let id = match LineId::parse(id) {
            Some(id) if id.sequence == sequence => id,
            _ => {
                return self.defects.add(at, format!("{id:?} is no line of phone bill {sequence}"));
            }
        };
        let rejected = match (status, reason.trim()) {
            ("accepted", _) => None,
            ("rejected", "") => {
                return self.defects.add(at, format!("{id} is rejected without a reason"));
            }
            ("rejected", reason) => Some(reason.to_owned()),
            _ => {
                let what = format!("{status:?} is neither accepted nor rejected");
                return self.defects.add(at, what);
            }
        };
        if let Some(before) = self.answered.insert(id.number, at) {
            return self.defects.add(at, format!("{id} was answered in line {before} already"));
        }
        self.answers.push(Answer { at, number: id.number, rejected });
    }

    fn trailer(&mut self, at: u64, record: &csv::StringRecord) {
        self.ended = true;
        let told: Option<usize> = record.get(1).and_then(|count| count.parse().ok());
        let found = self.answers.len();
        if told != Some(found) || record.len() != 2 {
            let told = record.get(1).unwrap_or_default();
            self.defects.add(at, format!("the trailer counts {told:?} answers, there are {found}"));
        }
    }
}

fn header_of(record: &csv::StringRecord) -> Option<(u64, String)> {
    let fields: Vec<&str> = record.iter().collect();
    let ["H", NAME, SCHEMA_VERSION, sequence, hash] = fields.as_slice() else { return None };
    Some((sequence.parse().ok()?, (*hash).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "H,tally-phone-bill-return,1,7,abc\nrecord,line,status,reason\n\
                        D,7-1,accepted,\nD,7-3,rejected,\"closed, moved\"\nT,2\n";

    fn defects(text: &str) -> String {
        ReturnFile::parse("return.csv", text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn a_file_that_reads_well() {
        for text in [GOOD.to_owned(), GOOD.replace('\n', "\r\n"), GOOD.trim_end().to_owned()] {
            let file = ReturnFile::parse("return.csv", text.as_bytes()).unwrap();
            assert_eq!((file.sequence, file.lines_hash.as_str()), (7, "abc"));
            let answers = vec![
                Answer { at: 3, number: 1, rejected: None },
                Answer { at: 4, number: 3, rejected: Some("closed, moved".into()) },
            ];
            assert_eq!(file.answers, answers);
        }
        let spaced = GOOD.replace("D,7-3", "\n\nD,7-1");
        let found = ReturnFile::parse("return.csv", spaced.as_bytes()).unwrap_err().to_string();
        assert!(found.contains("line 6: 7-1 was answered in line 3 already"), "{found}");
    }

    #[test]
    fn every_defect_has_its_line() {
        for (from, to, expected) in [
            (
                "H,tally-phone-bill-return,1",
                "H,tally-phone-bill-return,2",
                "line 1: is not the header",
            ),
            ("1,7,abc", "1,seven,abc", "line 1: is not the header"),
            (
                "record,line,status",
                "record,status,line",
                "line 2: is not record,line,status,reason",
            ),
            ("D,7-1,accepted,", "D,7-1,accepted", "line 3: has 3 fields and not 4"),
            ("D,7-1", "D,8-1", "line 3: \"8-1\" is no line of phone bill 7"),
            ("D,7-1", "D,7-01", "line 3: \"7-01\" is no line of phone bill 7"),
            ("D,7-1", "X,7-1", "line 3: is neither an answer (D) nor the trailer (T)"),
            ("accepted", "ok", "line 3: \"ok\" is neither accepted nor rejected"),
            ("\"closed, moved\"", " ", "line 4: 7-3 is rejected without a reason"),
            ("D,7-3", "D,7-1", "line 4: 7-1 was answered in line 3 already"),
            ("T,2", "T,3", "line 5: the trailer counts \"3\" answers, there are 2"),
            ("T,2", "T,2\nD,7-4,accepted,", "line 6: stands behind the trailer"),
            ("T,2\n", "", "line 5: the trailer is missing"),
        ] {
            let text = GOOD.replacen(from, to, 1);
            assert_ne!(text, GOOD, "{from}");
            let found = defects(&text);
            assert!(found.contains(expected), "{to}: {found}");
            assert!(found.starts_with("return.csv is not taken, none of it:\n"), "{found}");
        }
        assert!(defects("").contains("line 1: the trailer is missing"));
        let bytes = [GOOD.as_bytes(), b"\xff"].concat();
        let found = ReturnFile::parse("return.csv", &bytes).unwrap_err().to_string();
        assert!(found.contains("line 6: is not UTF-8"), "{found}");
    }

    #[test]
    fn all_defects_are_told_up_to_a_number() {
        let mut text = "H,tally-phone-bill-return,1,7,abc\nrecord,line,status,reason\n".to_owned();
        for number in 1..=30 {
            text.push_str(&format!("D,7-{number},maybe,\n"));
        }
        let found = defects(&(text + "T,0\n"));
        assert_eq!(found.lines().count(), 22, "{found}");
        assert!(found.contains("line 3: ") && found.ends_with("and 10 more"), "{found}");
    }
}

//! Rows of CSV: any of the usual delimiters, quoted fields, lines in front of the header.

use std::io::BufRead;

use super::error::{Defect, Place};
use super::mapping::BillMapping;
use super::rows::{EachRow, Stop, positions, skip_lines};

/// Delimiters that are looked for, the likelier ones first.
const DELIMITERS: [u8; 4] = *b",;\t|";

pub(crate) fn read_csv(
    mut input: impl BufRead,
    mapping: &BillMapping,
    wanted: &[String],
    each: &mut EachRow<'_>,
) -> Result<(), Stop> {
    let skipped = mapping.header - 1;
    skip_lines(&mut input, skipped)?;
    let delimiter = match mapping.delimiter {
        Some(delimiter) => delimiter,
        None => delimiter_of(input.fill_buf()?),
    };
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(input);
    let mut record = csv::StringRecord::new();
    if !reader.read_record(&mut record).map_err(stop)? {
        let advice = "the vendor's export may have failed: ask for it again";
        return Err(Stop::Defect(Defect::new("the file has no header", advice)));
    }
    let header: Vec<String> = record.iter().map(str::to_owned).collect();
    let names: Vec<&str> = header.iter().map(String::as_str).collect();
    let places = positions(&names, wanted, Place::Line(mapping.header))?;
    loop {
        if !reader.read_record(&mut record).map_err(stop)? {
            return Ok(());
        }
        let line = record.position().map_or(0, csv::Position::line).saturating_add(skipped);
        let place = Place::Line(line);
        if record.iter().all(|cell| cell.trim().is_empty()) {
            continue;
        }
        if record.len() != header.len() {
            let found = format!("{} fields where the header has {}", record.len(), header.len());
            let advice = "a field with the delimiter in it must be in quotes";
            return Err(Stop::Defect(Defect::new(found, advice).at(place)));
        }
        let cells: Vec<Option<&str>> =
            places.iter().map(|position| record.get(*position)).collect();
        each(place, &cells)?;
    }
}

/// The delimiter that the header has most of, outside of quotes.
fn delimiter_of(head: &[u8]) -> u8 {
    let mut counts = [0_usize; DELIMITERS.len()];
    let mut quoted = false;
    for byte in head {
        match byte {
            b'"' => quoted = !quoted,
            b'\n' if !quoted => break,
            byte if !quoted => {
                if let Some(position) = DELIMITERS.iter().position(|one| one == byte) {
                    counts[position] += 1;
                }
            }
            _ => {}
        }
    }
    let mut best = 0;
    for (position, count) in counts.iter().enumerate() {
        if *count > counts[best] {
            best = position;
        }
    }
    DELIMITERS[best]
}

fn stop(error: csv::Error) -> Stop {
    let words = error.to_string();
    match error.into_kind() {
        csv::ErrorKind::Io(error) => Stop::from(error),
        _ => Stop::Defect(Defect::new(words, "correct the file or ask for it again")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_tells_the_delimiter() {
        for (header, delimiter) in [
            (&b"a,b;c,d\n1;2;3"[..], b','),
            (b"a;b;c\n1,1,1,1,1,1", b';'),
            (b"\"a,b,c\"\td\n", b'\t'),
            (b"a|b", b'|'),
            (b"alone", b','),
        ] {
            assert_eq!(delimiter_of(header), delimiter);
        }
    }
}

//! What became of lines: by the answers to their file, and by the files that came after it.

use super::bill_plan::BillScope;
use super::book::BillBook;
use super::line::LineId;
use super::returns::BillReturn;

/// What became of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LineState<'a> {
    /// It sums up lines of other files.
    Summary,
    /// Its file was replaced by the one of this number.
    Replaced(u64),
    /// It was not answered.
    Sent,
    /// It was accepted.
    Accepted,
    /// It was rejected with a reason and comes again, or has, in the file of this number.
    Rejected(&'a str, Option<u64>),
}

/// Files with their answers, by number: what became of a line is looked up there and not searched
/// for among all files and answers.
#[derive(Debug)]
pub struct LineStates<'a> {
    /// By sequence number, from 1.
    files: Vec<FileState<'a>>,
    /// Up to which answer each daily file counts them, and its sequence number. Both only rise.
    counted: Vec<(u64, u64)>,
}

#[derive(Debug, Default)]
struct FileState<'a> {
    is_summary: bool,
    replaced_by: Option<u64>,
    answers: Vec<&'a BillReturn>,
}

/// The place of a sequence number.
fn place(sequence: u64) -> Option<usize> {
    usize::try_from(sequence.checked_sub(1)?).ok()
}

impl<'a> LineStates<'a> {
    pub(super) fn new(book: &'a BillBook) -> Self {
        let mut files: Vec<FileState<'a>> = Vec::new();
        files.resize_with(book.seals.len(), FileState::default);
        for (file, seal) in files.iter_mut().zip(&book.seals) {
            file.is_summary = matches!(seal.scope, BillScope::Monthly { .. });
        }
        for (of, seal) in book.corrections(u64::MAX) {
            if let Some(replaced) = place(of).and_then(|at| files.get_mut(at)) {
                replaced.replaced_by.get_or_insert(seal.sequence);
            }
        }
        for taken in &book.returns {
            if let Some(file) = place(taken.sequence).and_then(|at| files.get_mut(at)) {
                file.answers.push(taken);
            }
        }
        let dailies = book.dailies(u64::MAX);
        Self { files, counted: dailies.map(|(_, seal)| (seal.returns_to, seal.sequence)).collect() }
    }

    fn file(&self, sequence: u64) -> Option<&FileState<'a>> {
        self.files.get(place(sequence)?)
    }

    /// The file that stands in the place of another.
    pub fn replaced_by(&self, sequence: u64) -> Option<u64> {
        self.file(sequence)?.replaced_by
    }

    /// The answers to a file.
    pub fn answers(&self, sequence: u64) -> &[&'a BillReturn] {
        self.file(sequence).map_or(&[], |file| &file.answers)
    }

    /// What became of a line.
    pub fn of(&self, line: LineId) -> LineState<'a> {
        let Some(file) = self.file(line.sequence) else { return LineState::Sent };
        if file.is_summary {
            return LineState::Summary;
        }
        if let Some(by) = file.replaced_by {
            return LineState::Replaced(by);
        }
        let Some(taken) = file.answers.iter().find(|taken| taken.answers(line.number)) else {
            return LineState::Sent;
        };
        let Some(rejection) = taken.rejection(line.number) else { return LineState::Accepted };
        let first = self.counted.partition_point(|(returns_to, _)| *returns_to < taken.n);
        let again = self.counted.get(first).map(|(_, sequence)| *sequence);
        LineState::Rejected(&rejection.reason, again)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::book::tests::{book, correction, day, seal};
    use super::super::returns::Rejection;
    use super::*;

    fn answer(n: u64, sequence: u64, accepted: u64, rejected: u64) -> BillReturn {
        BillReturn {
            format: 1,
            n,
            by: String::new(),
            at_ms: 0,
            sequence,
            lines_hash: String::new(),
            file_hash: String::new(),
            accepted: vec![[accepted, accepted]],
            rejected: vec![Rejection { number: rejected, reason: format!("reason {n}") }],
            previous: String::new(),
        }
    }

    /// The same, searched for among everything.
    fn searched(book: &BillBook, line: LineId) -> LineState<'_> {
        let seal = &book.seals[usize::try_from(line.sequence).unwrap() - 1];
        if seal.scope.name() == "monthly" {
            return LineState::Summary;
        }
        if let Some(by) = book.replacement(line.sequence) {
            return LineState::Replaced(by.sequence);
        }
        for taken in book.returns.iter().filter(|taken| taken.sequence == line.sequence) {
            if taken.accepts(line.number) {
                return LineState::Accepted;
            }
            if let Some(rejection) = taken.rejection(line.number) {
                let again = book.dailies(u64::MAX).find(|(_, seal)| seal.returns_to >= taken.n);
                return LineState::Rejected(&rejection.reason, again.map(|(_, s)| s.sequence));
            }
        }
        LineState::Sent
    }

    proptest! {
        /// Files 1, 2 and 4 are daily, 3 is monthly, 5 may replace one; the rest is daily and
        /// counts some more answers each.
        #[test]
        fn what_is_looked_up_is_what_is_found(
            answered in prop::collection::vec((1..5_u64, 1..4_u64), 0..6),
            replaced in prop::option::of(1..5_u64),
            counts in prop::collection::vec(0..3_u64, 0..4),
        ) {
            let mut book = book();
            for ((sequence, line), n) in answered.into_iter().zip(1..) {
                book.returns.push(answer(n, sequence, line, line % 3 + 1));
            }
            if let Some(of) = replaced {
                book.seals.push(seal(5, correction(of), 0));
            }
            let mut returns_to = 0;
            for (count, number) in counts.into_iter().zip(2..) {
                returns_to += count;
                let scope = day(&format!("2026-11-{number:02}"));
                book.seals.push(seal(book.next_sequence(), scope, returns_to));
            }
            let states = book.states();
            for sequence in 1..book.next_sequence() {
                for number in 1..5 {
                    let line = LineId { sequence, number };
                    prop_assert_eq!(states.of(line), searched(&book, line), "{}", line);
                }
            }
            prop_assert_eq!(states.of(LineId { sequence: 0, number: 1 }), LineState::Sent);
        }
    }
}

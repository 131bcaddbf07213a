//! The answers of the billing system beside the files: what is taken, and what comes again.

use std::collections::{BTreeMap, BTreeSet};

use super::bill_plan::BillScope;
use super::book::BillBook;
use super::error::BillError;
use super::line::LineId;
use super::line_state::LineStates;
use super::return_file::{Defects, ReturnFile};
use super::returns::BillReturn;
use crate::sealed_object::hash_of;

impl BillBook {
    /// Lines that come again in the daily file of a sequence number: what was rejected by the answers
    /// above `after` and up to `up_to`, in the order in which they stood. Not those of a file that
    /// was replaced: an answer may be taken while somebody replaces it, and then the file in its
    /// place has the same lines already.
    pub fn rejected(&self, sequence: u64, (after, up_to): (u64, u64)) -> Vec<LineId> {
        let replaced: BTreeSet<u64> = self.corrections(sequence).map(|(of, _)| of).collect();
        let taken = self.returns.iter().filter(|taken| {
            taken.n > after && taken.n <= up_to && !replaced.contains(&taken.sequence)
        });
        let mut lines: Vec<LineId> = taken
            .flat_map(|taken| {
                let sequence = taken.sequence;
                taken.rejected.iter().map(move |line| LineId { sequence, number: line.number })
            })
            .collect();
        lines.sort_unstable();
        lines
    }

    /// What became of lines.
    pub fn states(&self) -> LineStates<'_> {
        LineStates::new(self)
    }

    /// The answer that a return file is, where it fits its phone bill; `name` is for messages. One
    /// that was taken before is returned as it was taken.
    ///
    /// # Errors
    /// `BadReturn` with every defect.
    pub fn judge(
        &self,
        name: &str,
        bytes: &[u8],
        (by, at_ms): (&str, i64),
    ) -> Result<BillReturn, BillError> {
        let file_hash = hash_of(bytes);
        if let Some(taken) = self.returns.iter().find(|taken| taken.file_hash == file_hash) {
            return Ok(taken.clone());
        }
        let file = ReturnFile::parse(name, bytes)?;
        let mut defects = Defects::default();
        if let Some(defect) = self.unanswerable(&file) {
            defects.add(1, defect);
        }
        let lines = self.seal(file.sequence).map_or(0, |seal| seal.lines);
        let before: Vec<&BillReturn> = self.answers(file.sequence).collect();
        for answer in &file.answers {
            let id = LineId { sequence: file.sequence, number: answer.number };
            let mut taken = before.iter();
            if answer.number == 0 || answer.number > lines {
                defects.add(
                    answer.at,
                    format!("{id} is no line: phone bill {} has {lines}", file.sequence),
                );
            } else if let Some(taken) = taken.find(|taken| taken.answers(answer.number)) {
                defects.add(answer.at, format!("{id} was answered by return {} already", taken.n));
            }
        }
        defects.into_result(name)?;
        let last = self.returns.last();
        let previous = last.map_or(Ok(String::new()), BillReturn::hash)?;
        let n = last.map_or(1, |last| last.n.saturating_add(1));
        Ok(BillReturn::of(&file, file_hash, (n, previous), (by, at_ms)))
    }

    /// Why a file cannot be answered at all.
    fn unanswerable(&self, file: &ReturnFile) -> Option<String> {
        let sequence = file.sequence;
        let Some(seal) = self.seal(sequence) else { return Some(self.no_such_file(sequence)) };
        if seal.lines_hash != file.lines_hash {
            return Some(format!("the hash is not that of phone bill {sequence}"));
        }
        if matches!(seal.scope, BillScope::Monthly { .. }) {
            return Some(format!(
                "phone bill {sequence} is monthly and charges nothing: answer the daily ones"
            ));
        }
        if let Some(seal) = self.replacement(sequence) {
            return Some(format!(
                "phone bill {sequence} was replaced by phone bill {}",
                seal.sequence
            ));
        }
        let plan = self.plan.as_ref()?;
        (plan.scope.replaces() == Some(sequence)).then(|| {
            format!("phone bill {sequence} is being replaced by phone bill {}", plan.sequence)
        })
    }

    /// What is wrong with the answers, in words; nothing where all is well.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn return_defects(&self) -> Result<Vec<String>, BillError> {
        let mut defects = Vec::new();
        let mut previous = String::new();
        // The runs of lines that were answered, of each file.
        let mut answered: BTreeMap<u64, Vec<([u64; 2], u64)>> = BTreeMap::new();
        for (place, taken) in (1..).zip(&self.returns) {
            let BillReturn { n, sequence, .. } = taken;
            if *n != place || taken.previous != previous {
                defects
                    .push(format!("return {n} at place {place} does not follow the one before it"));
            }
            previous = taken.hash()?;
            let Some(seal) = self.seal(*sequence) else {
                defects.push(format!("return {n}: {}", self.no_such_file(*sequence)));
                continue;
            };
            if seal.lines_hash != taken.lines_hash {
                defects.push(format!("return {n} is to another phone bill {sequence}"));
            }
            let rejected = || taken.rejected.iter().map(|line| [line.number, line.number]);
            let beyond = |[first, last]: [u64; 2]| first == 0 || last > seal.lines;
            if taken.accepted.iter().copied().chain(rejected()).any(beyond) {
                defects.push(format!(
                    "return {n} answers lines that phone bill {sequence} does not have"
                ));
            }
            let runs = taken.accepted.iter().copied().chain(rejected());
            answered.entry(*sequence).or_default().extend(runs.map(|run| (run, *n)));
        }
        for mut runs in answered.into_values() {
            runs.sort_unstable();
            let mut reaches: Option<(u64, u64)> = None;
            for ([first, last], n) in runs {
                if let Some((end, other)) = reaches.filter(|(end, _)| first <= *end) {
                    let (one, two) = (other.min(n), other.max(n));
                    defects.push(format!("returns {one} and {two} answer the same line"));
                    reaches = Some(if last > end { (last, n) } else { (end, other) });
                } else {
                    reaches = Some((last, n));
                }
            }
        }
        Ok(defects)
    }
}

#[cfg(test)]
mod tests {
    use super::super::book::BillDecision;
    use super::super::book::tests::{book, correction, day, plan, seal};
    use super::super::line_state::LineState;
    use super::*;

    fn answer(sequence: u64, answers: &str) -> String {
        let lines = answers.lines().count();
        format!(
            "H,tally-phone-bill-return,1,{sequence},hash-{sequence}\nrecord,line,status,reason\n{answers}\nT,{lines}\n"
        )
    }

    fn taken(book: &mut BillBook, text: &str) -> Result<u64, String> {
        let judged = book.judge("r.csv", text.as_bytes(), ("ann", 0)).map_err(|e| e.to_string())?;
        let n = judged.n;
        if book.returns.iter().all(|taken| taken.n != n) {
            book.returns.push(judged);
        }
        Ok(n)
    }

    #[test]
    fn answers_are_taken_whole_and_once() {
        let mut book = book();
        assert_eq!(taken(&mut book, &answer(2, "D,2-1,accepted,\nD,2-3,rejected,closed")), Ok(1));
        assert_eq!(taken(&mut book, &answer(2, "D,2-1,accepted,\nD,2-3,rejected,closed")), Ok(1));
        assert_eq!(taken(&mut book, &answer(4, "D,4-2,rejected,no such account")), Ok(2));
        for (text, words) in [
            (answer(2, "D,2-2,accepted,\nD,2-3,accepted,"), "line 4: 2-3 was answered by return 1"),
            (answer(2, "D,2-4,accepted,"), "line 3: 2-4 is no line: phone bill 2 has 3"),
            (answer(2, "D,2-0,accepted,"), "line 3: 2-0 is no line"),
            (answer(9, "D,9-1,accepted,"), "line 1: there is no phone bill 9; 4 are issued"),
            (answer(3, "D,3-1,accepted,"), "line 1: phone bill 3 is monthly"),
            (answer(1, "D,1-1,accepted,").replace("hash-1", "hash-2"), "line 1: the hash is not"),
        ] {
            let refused = taken(&mut book, &text).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
        assert_eq!(taken(&mut book, &answer(2, "D,2-2,accepted,")), Ok(3));
        assert_eq!(book.return_defects().unwrap(), Vec::<String>::new());
        let id = |sequence, number| LineId { sequence, number };
        assert_eq!(book.rejected(9, (0, 3)), [id(2, 3), id(4, 2)]);
        assert_eq!(book.rejected(9, (1, 2)), [id(4, 2)]);
        assert_eq!(book.states().of(id(2, 1)), LineState::Accepted);
        assert_eq!(book.states().of(id(2, 3)), LineState::Rejected("closed", None));
        assert_eq!(book.states().of(id(1, 1)), LineState::Sent);
        assert_eq!(book.states().of(id(3, 1)), LineState::Summary);
        book.seals.push(seal(5, day("2026-11-02"), 1));
        book.seals.push(seal(6, day("2026-11-03"), 3));
        assert_eq!(book.states().of(id(2, 3)), LineState::Rejected("closed", Some(5)));
        assert_eq!(book.states().of(id(4, 2)), LineState::Rejected("no such account", Some(6)));
    }

    #[test]
    fn a_file_that_was_replaced_is_not_answered_and_one_that_was_answered_not_replaced() {
        let mut book = book();
        book.seals.push(seal(5, correction(4), 0));
        let refused = taken(&mut book, &answer(4, "D,4-1,accepted,")).unwrap_err();
        assert!(refused.contains("line 1: phone bill 4 was replaced by phone bill 5"), "{refused}");
        assert_eq!(book.states().of(LineId { sequence: 4, number: 1 }), LineState::Replaced(5));
        let other = BillScope::Correction { of: 4, reason: "another".into() };
        assert_eq!(book.decide(&other, 0), BillDecision::Issued(&book.seals[4]));
        assert_eq!(taken(&mut book, &answer(5, "D,5-1,accepted,")), Ok(1));
        match book.decide(&correction(5), 0) {
            BillDecision::Refuse(words) => {
                assert!(words.contains("answered by return 1"), "{words}")
            }
            other => panic!("{other:?}"),
        }
    }

    /// The answer comes between the reading of the book and the plan of the correction: the lines
    /// stand on the file in its place, and on no other.
    #[test]
    fn an_answer_that_races_with_a_correction_charges_nothing_twice() {
        let mut book = book();
        let begun = BillBook { plan: Some(plan(5, correction(4))), ..book.clone() };
        let refused = taken(&mut begun.clone(), &answer(4, "D,4-1,rejected,closed")).unwrap_err();
        assert!(refused.contains("phone bill 4 is being replaced by phone bill 5"), "{refused}");
        assert_eq!(taken(&mut book, &answer(4, "D,4-1,rejected,closed")), Ok(1));
        book.seals.push(seal(5, correction(4), 0));
        assert_eq!(book.rejected(6, (0, 1)), []);
        assert_eq!(book.states().of(LineId { sequence: 4, number: 1 }), LineState::Replaced(5));
        assert_eq!(book.states().of(LineId { sequence: 5, number: 1 }), LineState::Sent);
        assert_eq!(taken(&mut book, &answer(5, "D,5-1,rejected,closed")), Ok(2));
        assert_eq!(book.rejected(6, (0, 2)), [LineId { sequence: 5, number: 1 }]);
        assert_eq!(book.return_defects().unwrap(), Vec::<String>::new());
    }

    #[test]
    fn damage_among_answers_is_told() {
        let mut book = book();
        taken(&mut book, &answer(2, "D,2-1,accepted,\nD,2-2,accepted,")).unwrap();
        taken(&mut book, &answer(2, "D,2-3,rejected,closed")).unwrap();
        let told = |change: &dyn Fn(&mut BillBook)| {
            let mut changed = book.clone();
            change(&mut changed);
            changed.return_defects().unwrap().join("\n")
        };
        assert_eq!(told(&|_| ()), "");
        assert!(told(&|b| drop(b.returns.remove(0))).contains("does not follow"));
        assert!(told(&|b| b.returns[0].by = "bob".into()).contains("return 2 at place 2 does not"));
        assert!(told(&|b| b.returns[1].sequence = 8).contains("there is no phone bill 8"));
        assert!(told(&|b| b.returns[1].lines_hash.clear()).contains("to another phone bill 2"));
        assert!(told(&|b| b.returns[1].rejected[0].number = 4).contains("does not have"));
        assert!(told(&|b| b.returns[1].rejected[0].number = 2).contains("returns 1 and 2 answer"));
    }
}

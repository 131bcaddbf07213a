//! Level 3: every request of one side with the same request of the other, file by file, in bounded
//! memory and in the order of the keys.

use std::cmp::Ordering;

use super::class::{Class, Rules, Verdict};
use super::difference::Difference;
use super::error::{Defect, Place, ReconcileError};
use super::mapping::DuplicateLines;
use super::names::Names;
use super::record::{Key, Record, record_key, record_length};
use super::spool::{Shelf, Spool, SpoolFile, divide, take};
use super::{CompareBug, planted};

/// Parts that a file which does not fit is divided into.
const DIVIDE_PARTS: u32 = 16;

/// Memory that a byte of a file needs while it is compared: itself, and its place in the index.
const MEMORY_FACTOR: u64 = 2;

/// How many repetitions of one request are looked at to find two that agree.
const REPEATS_TRIED: usize = 16;

/// What the comparison of records needs to know.
#[derive(Debug, Clone, Copy)]
pub struct JoinOptions<'a> {
    /// The rules of decision.
    pub rules: &'a Rules,
    /// The names in the records.
    pub names: &'a Names,
    /// Name of the bill, for errors.
    pub file: &'a str,
    /// What a request is that the bill has twice.
    pub duplicates: DuplicateLines,
    /// Most memory for the records that are compared at a time.
    pub memory_max_bytes: u64,
}

/// What the comparison of records came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct JoinTotals {
    /// Requests that both sides have.
    pub matched: u64,
    /// Of these, the ones on which they agree.
    pub agreed: u64,
}

/// What is done with each difference.
pub type EachDifference<'a> = dyn FnMut(&Difference<'_>) -> Result<(), ReconcileError> + 'a;

/// Compares the records of both sides. The differences come in the order of the keys, which does
/// not depend on the order of the input or on the number of files.
///
/// # Errors
/// `Bill` where duplicates are refused, `Crowded` where one request does not fit memory, and
/// whatever the shelf or `each` say.
pub fn join(
    shelf: &mut dyn Shelf,
    ours: Spool,
    theirs: Spool,
    options: &JoinOptions<'_>,
    each: &mut EachDifference<'_>,
) -> Result<JoinTotals, ReconcileError> {
    let (ours, theirs) = (ours.finish()?, theirs.finish()?);
    let mut totals = JoinTotals::default();
    for (ours, theirs) in ours.iter().zip(&theirs) {
        join_files(shelf, ours, theirs, options, &mut totals, each)?;
    }
    Ok(totals)
}

fn join_files(
    shelf: &mut dyn Shelf,
    ours: &SpoolFile,
    theirs: &SpoolFile,
    options: &JoinOptions<'_>,
    totals: &mut JoinTotals,
    each: &mut EachDifference<'_>,
) -> Result<(), ReconcileError> {
    let needed = ours.bytes.saturating_add(theirs.bytes).saturating_mul(MEMORY_FACTOR);
    if needed > options.memory_max_bytes {
        if !ours.range.is_divisible() {
            let memory_max_bytes = options.memory_max_bytes;
            return Err(ReconcileError::Crowded { memory_max_bytes });
        }
        let ours = divide(shelf, ours, DIVIDE_PARTS)?;
        let theirs = divide(shelf, theirs, DIVIDE_PARTS)?;
        for (ours, theirs) in ours.iter().zip(&theirs) {
            join_files(shelf, ours, theirs, options, totals, each)?;
        }
        return Ok(());
    }
    let (ours, theirs) = (take(shelf, ours)?, take(shelf, theirs)?);
    let (ours, theirs) = (Index::new(&ours), Index::new(&theirs));
    let mut merge = Merge { options, totals, each };
    let (mut at_ours, mut at_theirs) = (0, 0);
    while at_ours < ours.places.len() || at_theirs < theirs.places.len() {
        let key = match (ours.places.get(at_ours), theirs.places.get(at_theirs)) {
            (Some((ours, _)), Some((theirs, _))) => *ours.min(theirs),
            (Some((key, _)), None) | (None, Some((key, _))) => *key,
            (None, None) => break,
        };
        let end_ours = ours.end_of_run(at_ours, key);
        let end_theirs = theirs.end_of_run(at_theirs, key);
        merge.run(ours.run(at_ours, end_ours), theirs.run(at_theirs, end_theirs))?;
        (at_ours, at_theirs) = (end_ours, end_theirs);
    }
    Ok(())
}

/// The records of a file by their keys.
struct Index<'a> {
    bytes: &'a [u8],
    places: Vec<(Key, usize)>,
}

impl<'a> Index<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        let mut places = Vec::new();
        let mut at = 0;
        while let Some(record) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let (Some(key), Some(length)) = (record_key(record), record_length(record)) else {
                break;
            };
            places.push((key, at));
            at += length;
        }
        places.sort_unstable();
        Self { bytes, places }
    }

    fn end_of_run(&self, from: usize, key: Key) -> usize {
        let run = self.places[from..].iter().take_while(|(other, _)| *other == key).count();
        from + run
    }

    fn run(&self, from: usize, end: usize) -> impl ExactSizeIterator<Item = Record<'a>> + '_ {
        self.places[from..end].iter().map(|(_, at)| {
            // What was written is read: a property of the format.
            self.bytes.get(*at..).and_then(Record::read).unwrap_or_default()
        })
    }
}

struct Merge<'a, 'e> {
    options: &'a JoinOptions<'a>,
    totals: &'a mut JoinTotals,
    each: &'a mut EachDifference<'e>,
}

impl Merge<'_, '_> {
    /// Compares the records of one request.
    fn run<'r>(
        &mut self,
        ours: impl ExactSizeIterator<Item = Record<'r>>,
        theirs: impl ExactSizeIterator<Item = Record<'r>>,
    ) -> Result<(), ReconcileError> {
        let mut ours: Vec<Record<'r>> = ours.collect();
        let mut theirs: Vec<Record<'r>> = theirs.collect();
        if theirs.len() > 1 && self.options.duplicates == DuplicateLines::Refuse {
            return Err(self.refused(&mut theirs));
        }
        let order = |a: &Record<'_>, b: &Record<'_>| canonical(a, b, self.options.names);
        if ours.len() > 1 {
            ours.sort_by(order);
        }
        if theirs.len() > 1 {
            theirs.sort_by(order);
        }
        let (our, their) = self.pair(&ours, &theirs);
        let mine = ours.get(our).copied();
        let yours = theirs.get(their).copied();
        match (mine, yours) {
            (Some(mine), Some(yours)) => self.matched(mine, yours)?,
            (Some(mine), None) if mine.in_period || planted(CompareBug::NextMonthMissing) => {
                let detail = if mine.request_id.is_empty() { "no_request_id" } else { "" };
                self.emit(Class::MissingAtTheirs, detail, Some(mine), None)?;
            }
            (None, Some(yours)) => self.emit(Class::MissingAtOurs, "", None, Some(yours))?,
            (Some(_), None) | (None, None) => {}
        }
        for (_, extra) in theirs.iter().enumerate().filter(|(at, _)| *at != their) {
            self.emit(Class::Duplicate, "theirs", None, Some(*extra))?;
        }
        for (_, extra) in ours.iter().enumerate().filter(|(at, _)| *at != our) {
            if extra.in_period {
                self.emit(Class::Duplicate, "ours", Some(*extra), None)?;
            }
        }
        Ok(())
    }

    /// Which record of each side is taken for the request: two that agree, else the first ones.
    fn pair(&self, ours: &[Record<'_>], theirs: &[Record<'_>]) -> (usize, usize) {
        let repeated = ours.len() > 1 || theirs.len() > 1;
        if repeated && !planted(CompareBug::FirstRepeatTaken) {
            for (our, mine) in ours.iter().enumerate().take(REPEATS_TRIED) {
                for (their, yours) in theirs.iter().enumerate().take(REPEATS_TRIED) {
                    if self.options.rules.decide(mine, yours) == Verdict::Agree {
                        return (our, their);
                    }
                }
            }
            // What is outside of the period is no match for what the bill has, if there is another.
            let inside = ours.iter().position(|mine| mine.in_period).unwrap_or(0);
            return (inside, 0);
        }
        (0, 0)
    }

    fn matched(&mut self, mine: Record<'_>, yours: Record<'_>) -> Result<(), ReconcileError> {
        self.totals.matched += 1;
        match self.options.rules.decide(&mine, &yours) {
            Verdict::Agree => {
                self.totals.agreed += 1;
                Ok(())
            }
            Verdict::Differs(class, detail) => self.emit(class, detail, Some(mine), Some(yours)),
        }
    }

    fn emit(
        &mut self,
        class: Class,
        detail: &'static str,
        ours: Option<Record<'_>>,
        theirs: Option<Record<'_>>,
    ) -> Result<(), ReconcileError> {
        (self.each)(&Difference { class, detail, ours, theirs })
    }

    fn refused(&self, theirs: &mut [Record<'_>]) -> ReconcileError {
        theirs.sort_by_key(|record| record.position);
        let line = |at: usize| theirs.get(at).map_or(0, |record| record.position.number);
        let id = theirs.first().map_or("", |record| record.request_id);
        let found = format!("request {id:?} is billed on line {} too", line(0));
        let advice = "ask the vendor which one holds; write duplicates = \"report\" into the \
                      mapping to have it as a difference";
        let defect = Defect::new(found, advice).at(Place::Line(line(1)));
        ReconcileError::Bill { file: self.options.file.to_owned(), defects: vec![defect] }
    }
}

/// An order of the records of one request that depends on what they say only.
fn canonical(a: &Record<'_>, b: &Record<'_>, names: &Names) -> Ordering {
    let texts = |record: &Record<'_>| {
        [record.model, record.tier, record.currency].map(|id| names.text(id).to_owned())
    };
    (a.amount_pico, a.day, a.at_ms, a.counts.0)
        .cmp(&(b.amount_pico, b.day, b.at_ms, b.counts.0))
        .then_with(|| texts(a).cmp(&texts(b)))
        .then_with(|| a.position.cmp(&b.position))
}

//! Rows of `settlement.periods` and `settlement.cut_offs`: where each month is, and up to where its
//! statements have usage.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, Int32Array, Int64Array};
use jiff::Timestamp;
use jiff::civil::Date;
use tally_schemas::Table;
use tally_settlement::{CutOff, Period, PeriodFacts, ReviewState, Seal};
use tally_tables::PinnedTables;

use crate::books_rows::StoredBooks;
use crate::error::QueryError;
use crate::system_schema::{integers, maybe_texts, texts, times, whole};

/// What months there are beside those that somebody closed.
pub(crate) struct Calendar {
    now_ms: i64,
    /// The first and the last month with usage.
    used: Option<(Period, Period)>,
}

impl Calendar {
    /// The months of the pinned events, at a time or now.
    pub(crate) fn of(pin: &PinnedTables, known_at_ms: Option<i64>) -> Self {
        let events = pin.get(Table::UsageEvents);
        let days = events.iter().flat_map(|table| &table.files).filter_map(|file| {
            let day = file.partition_values.get("day")?.as_deref()?;
            day.parse::<Date>().ok().map(Period::of_day)
        });
        let months: BTreeSet<Period> = days.collect();
        let used = months.first().copied().zip(months.last().copied());
        let now_ms = known_at_ms.unwrap_or_else(|| Timestamp::now().as_millisecond());
        Self { now_ms, used }
    }

    /// Months that were put into review, and those that no seal has: after the last seal, or from
    /// the first with usage, up to the present one. Usage from before the first seal is late usage.
    fn months(&self, books: &StoredBooks) -> BTreeSet<Period> {
        let reviewed = books.books.reviews().iter().map(|state| state.review.what.period);
        let mut months: BTreeSet<Period> = reviewed.collect();
        let (first_used, last_used) = (self.used.map(|used| used.0), self.used.map(|used| used.1));
        let first = match books.seals.last() {
            Some(seal) => Some(seal.period.next()),
            None => first_used.into_iter().chain(months.first().copied()).min(),
        };
        let Some(mut month) = first else { return months };
        months.insert(month);
        while month.end_ms() <= self.now_ms || last_used.is_some_and(|last| month < last) {
            month = month.next();
            months.insert(month);
        }
        months
    }
}

/// A month with its last review and its seal.
struct Month<'a> {
    period: Period,
    review: Option<&'a ReviewState>,
    seal: Option<&'a Seal>,
}

pub(crate) fn period_rows(
    books: &StoredBooks,
    calendar: &Calendar,
) -> Result<Vec<ArrayRef>, QueryError> {
    let months: Vec<Month<'_>> = calendar
        .months(books)
        .into_iter()
        .map(|period| Month {
            period,
            review: books.books.review(period),
            seal: books.seals.iter().find(|seal| seal.period == period),
        })
        .collect();
    let of = || months.iter();
    let states = of().map(|month| {
        let facts = PeriodFacts {
            period: month.period,
            now_ms: calendar.now_ms,
            review: month.review,
            seals: &books.seals,
            is_paid: books.books.is_paid(month.period),
            unwritten: None,
            unsealed_before: None,
            is_behind: false,
        };
        facts.state().name()
    });
    let decision = |month: &Month<'_>| month.review.and_then(|state| state.decision.clone());
    let mut hashes = Vec::with_capacity(months.len());
    for month in &months {
        hashes.push(month.seal.map(Seal::hash).transpose()?);
    }
    let maybe = |of_seal: fn(&Seal) -> u64| {
        let column = months.iter().map(|month| month.seal.map(|seal| whole(of_seal(seal))));
        Arc::new(Int64Array::from_iter(column)) as ArrayRef
    };
    let statements =
        of().map(|month| month.review.map(|state| whole(state.review.what.statements.len())));
    Ok(vec![
        texts(of().map(|month| month.period.to_string())),
        texts(states),
        maybe_texts(of().map(|month| month.review.map(|state| &state.review.by))),
        times(of().map(|month| month.review.map(|state| state.review.at_ms))),
        maybe_texts(of().map(|month| decision(month).map(|done| done.by))),
        times(of().map(|month| decision(month).map(|done| done.at_ms))),
        maybe_texts(
            of().map(|month| decision(month).map(|done| done.what.note).filter(|n| !n.is_empty())),
        ),
        Arc::new(Int64Array::from_iter(statements)),
        maybe(|seal| seal.n),
        maybe_texts(hashes.into_iter()),
        maybe(|seal| seal.totals.events),
        maybe(|seal| seal.totals.late_events),
        Arc::new(Int64Array::from_iter(
            of().map(|month| Some(month.seal?.totals.corrected_events)),
        )),
        maybe_texts(of().map(|month| month.seal.map(|seal| &seal.contracts_version))),
        maybe_texts(of().map(|month| month.seal.map(|seal| &seal.reference))),
        maybe_texts(of().map(|month| month.seal.map(|seal| seal.price_book_versions.join(",")))),
    ])
}

/// Cut-offs only rise, so what is between that of the seal before and a seal's own came with it.
pub(crate) fn cut_off_rows(books: &StoredBooks) -> Result<Vec<ArrayRef>, QueryError> {
    let mut before: BTreeMap<u32, u64> = BTreeMap::new();
    let mut rows: Vec<(&Seal, CutOff, Option<u64>)> = Vec::new();
    for seal in &books.seals {
        for cut_off in &seal.cut_offs {
            let after = before.insert(cut_off.partition, cut_off.epoch);
            rows.push((seal, *cut_off, after));
        }
    }
    let of = || rows.iter();
    let partitions: Result<Vec<i32>, QueryError> = of()
        .map(|(_, CutOff { partition, .. }, _)| {
            let wide = |_| QueryError::Data(format!("a seal of the partition {partition}"));
            i32::try_from(*partition).map_err(wide)
        })
        .collect();
    Ok(vec![
        texts(of().map(|(seal, ..)| seal.period.to_string())),
        integers(of().map(|(seal, ..)| whole(seal.n))),
        Arc::new(Int32Array::from(partitions?)),
        integers(of().map(|(.., after)| after.map_or(-1, whole))),
        integers(of().map(|(_, cut_off, _)| whole(cut_off.epoch))),
    ])
}

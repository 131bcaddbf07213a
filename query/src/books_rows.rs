//! Rows of the tables of the books.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int64Array};
use futures::future::try_join_all;
use jiff::civil::Date;
use tally_settlement::{Adjustment, Books, Cents, Seal, Section, Statement};

use crate::books_schema::BooksTable;
use crate::compared_rows::{class_rows, difference_rows};
use crate::error::QueryError;
use crate::people_rows::{adjustment_rows, dispute_rows, reconciliation_rows};
use crate::period_rows::{Calendar, cut_off_rows, period_rows};
use crate::settle::SealStore;
use crate::system_schema::{integers, maybe_texts, texts, whole};

/// Pico-currency of 0.01.
const CENT_PICO: i128 = 10_000_000_000;

/// What people did and what was sealed.
pub(crate) struct StoredBooks {
    pub(crate) books: Books,
    pub(crate) seals: Vec<Seal>,
    statements: Vec<Statement>,
}

impl StoredBooks {
    /// Reads the journal, the seals and, where they are asked for, every sealed statement, each
    /// checked by its hash: as they were known at a time, or as they are now.
    pub(crate) async fn read(
        store: &SealStore<'_>,
        known_at_ms: Option<i64>,
        with_statements: bool,
    ) -> Result<Self, QueryError> {
        let (journal, seals) = store.known(known_at_ms).await?;
        let books = journal.books;
        let mut statements = Vec::new();
        for seal in seals.iter().filter(|_| with_statements) {
            let of_period = seal.statements.iter();
            let reads = of_period.map(|sealed| store.statement(seal, &sealed.vendor));
            statements.extend(try_join_all(reads).await?.into_iter().flatten());
        }
        Ok(Self { books, seals, statements })
    }

    /// Sections with their statements.
    pub(crate) fn sections(&self) -> impl Iterator<Item = (&Statement, &Section)> {
        self.statements.iter().flat_map(|statement| {
            statement.sections.iter().map(move |section| (statement, section))
        })
    }
}

/// Columns of a table, in its order.
///
/// # Errors
/// `Data` for a count or an amount that no column can hold.
pub(crate) fn rows_of(
    table: BooksTable,
    books: &StoredBooks,
    calendar: &Calendar,
) -> Result<Vec<ArrayRef>, QueryError> {
    match table {
        BooksTable::Periods => period_rows(books, calendar),
        BooksTable::CutOffs => cut_off_rows(books),
        BooksTable::Statements => statements(books),
        BooksTable::StatementLines => lines(books),
        BooksTable::Adjustments => adjustment_rows(books),
        BooksTable::Disputes => dispute_rows(books),
        BooksTable::Reconciliation => reconciliation_rows(books),
        BooksTable::ReconciliationClasses => class_rows(books),
        BooksTable::ReconciliationDifferences => difference_rows(books),
    }
}

/// Amounts in pico-currency; one that 38 digits cannot hold must not be shown cut.
pub(crate) fn amounts(pico: impl Iterator<Item = Option<i128>>) -> Result<ArrayRef, QueryError> {
    let data = |error: arrow::error::ArrowError| QueryError::Data(error.to_string());
    let decimals =
        pico.collect::<Decimal128Array>().with_precision_and_scale(38, 12).map_err(data)?;
    decimals.validate_decimal_precision(38).map_err(data)?;
    Ok(Arc::new(decimals))
}

pub(crate) fn cents<'a>(
    cents: impl Iterator<Item = Option<&'a Cents>>,
) -> Result<ArrayRef, QueryError> {
    let pico: Result<Vec<Option<i128>>, QueryError> = cents
        .map(|cents| {
            let Some(Cents(cents)) = cents else { return Ok(None) };
            let pico = cents.checked_mul(CENT_PICO);
            pico.map(Some)
                .ok_or_else(|| QueryError::Data(format!("an amount of {cents} hundredths")))
        })
        .collect();
    amounts(pico?.into_iter())
}

fn counts(counts: impl Iterator<Item = i128>) -> Result<ArrayRef, QueryError> {
    let whole = |count: i128| {
        i64::try_from(count).map_err(|_| QueryError::Data(format!("a count of {count}")))
    };
    let counts: Result<Vec<i64>, QueryError> = counts.map(whole).collect();
    Ok(Arc::new(Int64Array::from(counts?)))
}

pub(crate) fn dates(days: impl Iterator<Item = Option<Date>>) -> ArrayRef {
    let since = |day: Date| i32::try_from(epoch_day(day)).ok();
    Arc::new(Date32Array::from_iter(days.map(|day| day.and_then(since))))
}

/// Days since 1970-01-01.
pub(crate) fn epoch_day(day: Date) -> i64 {
    let since = day.since(Date::constant(1970, 1, 1));
    since.map_or(0, |span| i64::from(span.get_days()))
}

pub(crate) fn flags(flags: impl Iterator<Item = bool>) -> ArrayRef {
    Arc::new(BooleanArray::from_iter(flags.map(Some)))
}

pub(crate) fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn statements(books: &StoredBooks) -> Result<Vec<ArrayRef>, QueryError> {
    let of = || books.statements.iter();
    let paid = |statement: &Statement| books.books.payment(statement.period, &statement.vendor);
    let hashes: Result<Vec<String>, _> = of().map(Statement::hash).collect();
    Ok(vec![
        texts(of().map(|s| s.period.to_string())),
        texts(of().map(|s| &s.vendor)),
        integers(of().map(|s| whole(s.sequence))),
        texts(of().map(|s| if paid(s).is_some() { "settled" } else { "closed" })),
        texts(of().map(|s| &s.currency)),
        cents(of().map(|s| Some(&s.total.net)))?,
        cents(of().map(|s| Some(&s.total.tax)))?,
        cents(of().map(|s| Some(&s.total.gross)))?,
        texts(of().map(|s| &s.total_in_words)),
        integers(of().map(|s| whole(s.control.events))),
        integers(of().map(|s| whole(s.control.late_events))),
        integers(of().map(|s| s.control.corrected_events)),
        texts(hashes?.into_iter()),
        dates(of().map(|s| paid(s).map(|done| done.what.paid_on))),
        maybe_texts(of().map(|s| paid(s).map(|done| &done.what.reference))),
        maybe_texts(of().map(|s| paid(s).map(|done| &done.by))),
    ])
}

/// A row of `statement_lines`.
enum Part<'a> {
    Line(&'a tally_settlement::Line),
    Adjustment(&'a Adjustment),
    Rounding,
}

impl<'a> Part<'a> {
    fn line(&self) -> Option<&'a tally_settlement::Line> {
        match self {
            Self::Line(line) => Some(line),
            Self::Adjustment(_) | Self::Rounding => None,
        }
    }

    fn adjustment(&self) -> Option<&'a Adjustment> {
        match self {
            Self::Adjustment(adjustment) => Some(adjustment),
            Self::Line(_) | Self::Rounding => None,
        }
    }
}

fn lines(books: &StoredBooks) -> Result<Vec<ArrayRef>, QueryError> {
    let mut rows: Vec<(&Statement, &Section, Part<'_>)> = Vec::new();
    for (statement, section) in books.sections() {
        rows.extend(section.lines.iter().map(|line| (statement, section, Part::Line(line))));
        let adjusted = section.adjustments.iter();
        rows.extend(adjusted.map(|adjustment| (statement, section, Part::Adjustment(adjustment))));
        if section.rounding != tally_settlement::Amounts::default() {
            rows.push((statement, section, Part::Rounding));
        }
    }
    let of = || rows.iter();
    let either = |of_line: fn(&tally_settlement::Line) -> &str,
                  of_adjustment: fn(&Adjustment) -> &str| {
        maybe_texts(rows.iter().map(move |(.., part)| match part {
            Part::Line(line) => some(of_line(line)),
            Part::Adjustment(adjustment) => some(of_adjustment(adjustment)),
            Part::Rounding => None,
        }))
    };
    let of_line = |of_line: fn(&tally_settlement::Line) -> &str| {
        maybe_texts(
            rows.iter().map(move |(.., part)| part.line().and_then(|line| some(of_line(line)))),
        )
    };
    let amounts_of = |(_, section, part): &(&Statement, &Section, Part<'_>)| match part {
        Part::Line(line) => line.amounts,
        Part::Adjustment(adjustment) => adjustment.amounts,
        Part::Rounding => section.rounding,
    };
    let owed: Vec<_> = of().map(amounts_of).collect();
    Ok(vec![
        texts(of().map(|(statement, ..)| statement.period.to_string())),
        texts(of().map(|(statement, ..)| &statement.vendor)),
        texts(of().map(|(_, section, _)| &section.terms)),
        texts(of().map(|(.., part)| match part {
            Part::Line(_) => "line",
            Part::Adjustment(_) => "adjustment",
            Part::Rounding => "rounding",
        })),
        either(|line| &line.id, |adjustment| &adjustment.id),
        either(|line| &line.model, |adjustment| &adjustment.model),
        either(|line| &line.class, |adjustment| &adjustment.class),
        of_line(|line| &line.supplier),
        of_line(|line| &line.service_tier),
        either(|line| &line.price, |adjustment| &adjustment.price),
        of_line(|line| &line.price_book_version),
        amounts(of().map(|(.., part)| {
            let micro = part.line().and_then(|line| line.unit_price_micro);
            micro.map(|micro| i128::from(micro) * 1_000_000)
        }))?,
        flags(of().map(|(.., part)| part.line().is_some_and(|line| line.trial))),
        counts(of().map(|(.., part)| match part {
            Part::Line(line) => line.units.0,
            Part::Adjustment(adjustment) => adjustment.units.0,
            Part::Rounding => 0,
        }))?,
        amounts(of().map(|(.., part)| part.line().map(|line| line.listed.0)))?,
        of_line(|line| &line.listed_currency),
        texts(of().map(|(statement, ..)| &statement.currency)),
        cents(owed.iter().map(|owed| Some(&owed.net)))?,
        cents(owed.iter().map(|owed| Some(&owed.tax)))?,
        cents(owed.iter().map(|owed| Some(&owed.gross)))?,
        maybe_texts(of().map(|(.., part)| part.adjustment().map(|a| a.reason.name()))),
        maybe_texts(of().map(|(.., part)| {
            part.adjustment().and_then(|a| a.orig_period).map(|period| period.to_string())
        })),
        maybe_texts(of().map(|(.., part)| part.adjustment().and_then(|a| a.orig_line_id.clone()))),
    ])
}

//! Rows of the tables of phone bills.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int64Array};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use jiff::Unit;
use jiff::civil::Date;
use tally_settlement::phone_bill::{
    BillBook, BillError, BillLine, BillReturn, BillScope, BillSeal, BilledDate, LineState,
};

use super::bill_schema::{CHARGED, EXACT, POINTS};
use crate::system_schema::{integers, maybe_texts, texts, times, whole};

fn dates(values: impl Iterator<Item = Option<Date>>) -> ArrayRef {
    let days = |date: Date| {
        Date::constant(1970, 1, 1).until((Unit::Day, date)).ok().map(|span| span.get_days())
    };
    Arc::new(Date32Array::from_iter(values.map(|date| date.and_then(days))))
}

fn maybe_integers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(values))
}

fn maybe_text(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Decimals, none of them cut.
fn decimals(
    values: impl Iterator<Item = i128>,
    data_type: &DataType,
) -> Result<ArrayRef, ArrowError> {
    let decimals = Decimal128Array::from_iter_values(values).with_data_type(data_type.clone());
    decimals.validate_decimal_precision(38)?;
    Ok(Arc::new(decimals))
}

/// Columns of `phone_bill_files`.
pub(super) fn file_rows(book: &BillBook) -> Result<Vec<ArrayRef>, BillError> {
    let seals = || book.seals.iter();
    let hashes = seals().map(BillSeal::hash).collect::<Result<Vec<_>, _>>()?;
    let month = |seal: &BillSeal| match seal.scope {
        BillScope::Monthly { month } => Some(month.first_day()),
        BillScope::Daily { .. } | BillScope::Correction { .. } => None,
    };
    let correction = |seal: &BillSeal| match &seal.scope {
        BillScope::Correction { of, reason } => Some((*of, reason.clone())),
        BillScope::Daily { .. } | BillScope::Monthly { .. } => None,
    };
    let states = book.states();
    let answered =
        |of: fn(&BillReturn) -> u64| {
            integers(seals().map(|seal| {
                whole(states.answers(seal.sequence).iter().copied().map(of).sum::<u64>())
            }))
        };
    Ok(vec![
        integers(seals().map(|seal| whole(seal.sequence))),
        texts(seals().map(|seal| &seal.file_id)),
        texts(seals().map(|seal| seal.scope.name())),
        dates(seals().map(|seal| seal.scope.day().map(|day| day.date()))),
        dates(seals().map(month)),
        maybe_integers(seals().map(|seal| correction(seal).map(|(of, _)| whole(of)))),
        maybe_integers(seals().map(|seal| states.replaced_by(seal.sequence).map(whole))),
        maybe_texts(seals().map(|seal| correction(seal).map(|(_, reason)| reason))),
        texts(seals().map(|seal| &seal.by)),
        times(seals().map(|seal| Some(seal.at_ms))),
        integers(seals().map(|seal| whole(seal.lines))),
        integers(seals().map(|seal| whole(seal.lines_again))),
        answered(BillReturn::accepted_lines),
        answered(|taken| u64::try_from(taken.rejected.len()).unwrap_or(u64::MAX)),
        texts(seals().map(|seal| &seal.lines_hash)),
        texts(hashes.iter()),
        maybe_texts(seals().map(|seal| maybe_text(&seal.previous))),
    ])
}

/// Name of what became of a line, why, and where it came again.
const fn told<'a>(state: &LineState<'a>) -> (&'static str, Option<&'a str>, Option<u64>) {
    match state {
        LineState::Summary => ("summary", None, None),
        LineState::Replaced(by) => ("replaced", None, Some(*by)),
        LineState::Sent => ("sent", None, None),
        LineState::Accepted => ("accepted", None, None),
        LineState::Rejected(reason, again) => ("rejected", Some(*reason), *again),
    }
}

/// Columns of `phone_bill_lines`.
pub(super) fn line_rows(book: &BillBook, lines: &[BillLine]) -> Result<Vec<ArrayRef>, ArrowError> {
    let all = || lines.iter();
    let by_number = book.states();
    let states: Vec<_> = all().map(|line| told(&by_number.of(line.id))).collect();
    let day = |line: &BillLine| match line.date {
        BilledDate::Day(day) => Some(day.date()),
        BilledDate::Month(_) => None,
    };
    let month = |line: &BillLine| match line.date {
        BilledDate::Day(day) => Some(day.month().first_day()),
        BilledDate::Month(month) => Some(month.first_day()),
    };
    Ok(vec![
        integers(all().map(|line| whole(line.id.sequence))),
        texts(all().map(|line| line.id.to_string())),
        texts(all().map(|line| line.first.to_string())),
        integers(all().map(|line| whole(line.first.sequence))),
        Arc::new(BooleanArray::from_iter(all().map(|line| Some(line.comes_again())))),
        texts(all().map(|line| &line.key.account)),
        texts(all().map(|line| line.key.kind.name())),
        maybe_texts(all().map(|line| maybe_text(&line.key.package))),
        texts(all().map(|line| line.key.currency.to_string())),
        dates(all().map(day)),
        dates(all().map(month)),
        integers(all().map(|line| whole(line.rows))),
        decimals(all().map(|line| line.points.0), &POINTS)?,
        decimals(all().map(|line| line.exact.0), &EXACT)?,
        decimals(all().map(|line| line.before.0), &EXACT)?,
        decimals(all().map(|line| line.amount.0), &CHARGED)?,
        decimals(all().map(|line| line.after.0), &EXACT)?,
        texts(states.iter().map(|(status, ..)| *status)),
        maybe_texts(states.iter().map(|(_, reason, _)| *reason)),
        maybe_integers(states.iter().map(|(.., again)| again.map(whole))),
    ])
}

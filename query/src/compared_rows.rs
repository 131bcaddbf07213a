//! Rows of comparisons with bills: what they came to by class, and the largest differences.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array};
use jiff::civil::Date;
use tally_settlement::{
    ClassSum, DifferingRequest, DifferingSide, Done, EventPlace, LargeDifference, Reconciled,
};

use crate::books_rows::{StoredBooks, amounts, dates, flags, some};
use crate::error::QueryError;
use crate::system_schema::{integers, maybe_texts, texts, times, whole};

/// Micro-currency as pico-currency.
const MICRO_PICO: i128 = 1_000_000;

fn maybe_integers(values: impl Iterator<Item = Option<u64>>) -> ArrayRef {
    Arc::new(values.map(|value| value.map(whole)).collect::<Int64Array>())
}

/// What every row says of its comparison: vendor, period, bill, hash of the bill.
fn of_comparison<'a>(comparisons: impl Iterator<Item = &'a Reconciled> + Clone) -> Vec<ArrayRef> {
    vec![
        texts(comparisons.clone().map(|what| what.vendor.as_str())),
        texts(comparisons.clone().map(|what| what.period.to_string())),
        texts(comparisons.clone().map(|what| what.bill.as_str())),
        texts(comparisons.map(|what| what.bill_hash.as_str())),
    ]
}

/// Columns of `settlement.reconciliation_classes`.
pub(crate) fn class_rows(books: &StoredBooks) -> Result<Vec<ArrayRef>, QueryError> {
    let rows: Vec<(&Done<Reconciled>, &ClassSum)> = books
        .books
        .reconciled()
        .iter()
        .flat_map(|done| done.what.classes.iter().map(move |class| (done, class)))
        .collect();
    let of = || rows.iter();
    let mut columns = of_comparison(of().map(|(done, _)| &done.what));
    columns.extend([
        times(of().map(|(done, _)| Some(done.at_ms))),
        texts(of().map(|(_, class)| class.class.as_str())),
        texts(of().map(|(_, class)| class.currency.as_str())),
        integers(of().map(|(_, class)| whole(class.count))),
        amounts(of().map(|(_, class)| Some(class.difference.0)))?,
    ]);
    Ok(columns)
}

/// Columns of `settlement.reconciliation_differences`.
pub(crate) fn difference_rows(books: &StoredBooks) -> Result<Vec<ArrayRef>, QueryError> {
    let rows: Vec<(&Done<Reconciled>, u64, &LargeDifference)> = books
        .books
        .reconciled()
        .iter()
        .flat_map(|done| {
            (1..).zip(&done.what.largest).map(move |(place, difference)| (done, place, difference))
        })
        .collect();
    let of = || rows.iter();
    let difference = || rows.iter().map(|(.., difference)| *difference);
    let request = || difference().map(|difference| difference.request.as_ref());
    let event = || request().map(|request| request.and_then(|request| request.event));
    let ours = || difference().map(|difference| difference.ours.as_ref());
    let theirs = || difference().map(|difference| difference.theirs.as_ref());
    let number =
        |of_event: fn(EventPlace) -> u64| maybe_integers(event().map(|event| event.map(of_event)));
    let mut columns = of_comparison(of().map(|(done, ..)| &done.what));
    columns.extend([
        times(of().map(|(done, ..)| Some(done.at_ms))),
        integers(of().map(|(_, place, _)| whole(*place))),
        texts(difference().map(LargeDifference::level)),
        maybe_texts(difference().map(|difference| difference.class.as_deref())),
        maybe_texts(difference().map(|difference| difference.detail.as_deref())),
        flags(difference().map(|difference| difference.disputed)),
        amounts(difference().map(|difference| difference.difference.map(|pico| pico.0)))?,
        amounts(ours().map(amount))?,
        maybe_texts(ours().map(currency)),
        amounts(theirs().map(amount))?,
        maybe_texts(theirs().map(currency)),
        dates(ours().map(day)),
        dates(theirs().map(day)),
        maybe_texts(ours().map(|side| side.and_then(|side| some(&side.model)))),
        maybe_texts(theirs().map(|side| side.and_then(|side| some(&side.model)))),
        maybe_texts(ours().map(|side| side.and_then(|side| some(&side.service_tier)))),
        maybe_texts(theirs().map(|side| side.and_then(|side| some(&side.service_tier)))),
        maybe_texts(ours().map(|side| side.and_then(|side| some(&side.counts)))),
        maybe_texts(theirs().map(|side| side.and_then(|side| some(&side.counts)))),
        amounts(difference().map(unit_price))?,
        maybe_texts(request().map(|request| request.and_then(|request| some(&request.id)))),
        maybe_integers(request().map(|request| request.and_then(|request| request.bill_line))),
        number(|event| event.partition.into()),
        number(|event| event.offset),
        number(|event| event.index.into()),
        maybe_texts(request().map(|request| request.and_then(price_ids))),
    ]);
    Ok(columns)
}

fn amount(side: Option<&DifferingSide>) -> Option<i128> {
    side.and_then(|side| side.amount).map(|pico| pico.0)
}

/// The currency of a side that has an amount.
fn currency(side: Option<&DifferingSide>) -> Option<&str> {
    side.filter(|side| side.amount.is_some()).map(|side| side.currency.as_str())
}

fn day(side: Option<&DifferingSide>) -> Option<Date> {
    side.map(|side| side.day)
}

fn unit_price(difference: &LargeDifference) -> Option<i128> {
    difference.price_micro.map(|micro| i128::from(micro) * MICRO_PICO)
}

fn price_ids(request: &DifferingRequest) -> Option<&str> {
    request.price_ids.as_deref().and_then(some)
}

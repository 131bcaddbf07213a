//! Rows of what people did: adjustments, disputes, comparisons with bills.

use std::collections::BTreeMap;

use arrow::array::ArrayRef;
use tally_settlement::{
    Adjustment, AdjustmentState, Cents, ClassSum, PostedAdjustment, Reconciled, Statement,
    adjustment_name, dispute_name,
};

use crate::books_rows::{StoredBooks, amounts, cents, dates, flags, some};
use crate::error::QueryError;
use crate::system_schema::{integers, maybe_texts, texts, times, whole};

/// A row of `adjustments`: as people know it, as it is on a statement, or both.
struct AdjustmentRow<'a> {
    vendor: &'a str,
    terms: &'a str,
    posted: Option<&'a AdjustmentState>,
    /// What a statement counts of it: of a re-rate one row a line.
    part: Option<PostedAdjustment>,
    sealed: Option<(&'a Statement, &'a Adjustment)>,
}

/// Columns of `settlement.adjustments`.
pub(crate) fn adjustment_rows(books: &StoredBooks) -> Result<Vec<ArrayRef>, QueryError> {
    let mut rows = Vec::new();
    let mut on_statements = Vec::new();
    for (statement, section) in books.sections() {
        for adjustment in &section.adjustments {
            on_statements.push((statement, section, adjustment));
        }
    }
    let by_id: BTreeMap<&str, (&Statement, &Adjustment)> = on_statements
        .iter()
        .rev()
        .map(|(statement, _, adjustment)| (adjustment.id.as_str(), (*statement, *adjustment)))
        .collect();
    for state in books.books.adjustments() {
        let what = &state.proposal.what;
        let (vendor, terms) = (what.vendor.as_str(), what.terms.as_str());
        for part in state.posted() {
            let sealed = by_id.get(part.id.as_str()).copied();
            let (posted, part) = (Some(state), Some(part));
            rows.push(AdjustmentRow { vendor, terms, posted, part, sealed });
        }
    }
    for (statement, section, adjustment) in on_statements {
        if adjustment.posted_by.is_none() {
            let (vendor, terms) = (statement.vendor.as_str(), section.terms.as_str());
            let sealed = Some((statement, adjustment));
            rows.push(AdjustmentRow { vendor, terms, posted: None, part: None, sealed });
        }
    }
    let of = || rows.iter();
    let proposal = |row: &AdjustmentRow<'_>| row.posted.map(|state| state.proposal.what.clone());
    let decision = |row: &AdjustmentRow<'_>| row.posted.and_then(|state| state.decision.clone());
    let sealed = |row: &AdjustmentRow<'_>| row.sealed.map(|(_, adjustment)| adjustment.clone());
    let orig = |row: &AdjustmentRow<'_>| match row.posted {
        Some(state) => state.proposal.what.orig_period,
        None => sealed(row).and_then(|adjustment| adjustment.orig_period),
    };
    let stated: Vec<Option<Cents>> = of()
        .map(|row| match (&row.part, row.sealed) {
            (Some(part), _) => Some(part.amount),
            (None, Some((_, adjustment))) => Some(adjustment.amounts.net),
            (None, None) => None,
        })
        .collect();
    Ok(vec![
        texts(of().map(|row| match (&row.part, row.sealed) {
            (Some(part), _) => part.id.clone(),
            (None, Some((_, adjustment))) => adjustment.id.clone(),
            (None, None) => String::new(),
        })),
        texts(of().map(|row| row.vendor)),
        texts(of().map(|row| row.posted.map_or("on_statement", AdjustmentState::state))),
        maybe_texts(of().map(|row| match row.posted {
            Some(state) => state.counted_in.map(|period| period.to_string()),
            None => row.sealed.map(|(statement, _)| statement.period.to_string()),
        })),
        maybe_texts(of().map(|row| proposal(row).map(|p| p.period.to_string()))),
        texts(of().map(|row| row.terms)),
        texts(of().map(|row| match (proposal(row), row.sealed) {
            (Some(proposal), _) => proposal.reason.name(),
            (None, Some((_, adjustment))) => adjustment.reason.name(),
            (None, None) => "",
        })),
        maybe_texts(of().map(|row| orig(row).map(|period| period.to_string()))),
        maybe_texts(of().map(|row| match &row.part {
            Some(part) => part.orig_line_id.clone(),
            None => sealed(row).and_then(|adjustment| adjustment.orig_line_id),
        })),
        flags(of().map(|row| row.posted.is_some())),
        cents(stated.iter().map(Option::as_ref))?,
        cents(of().map(|row| row.sealed.map(|(_, adjustment)| &adjustment.amounts.net)))?,
        cents(of().map(|row| row.sealed.map(|(_, adjustment)| &adjustment.amounts.gross)))?,
        maybe_texts(of().map(|row| row.sealed.map(|(statement, _)| &statement.currency))),
        maybe_texts(of().map(|row| proposal(row).map(|p| p.note))),
        maybe_texts(of().map(|row| row.posted.map(|state| &state.proposal.by))),
        times(of().map(|row| row.posted.map(|state| state.proposal.at_ms))),
        maybe_texts(of().map(|row| decision(row).map(|done| done.by))),
        times(of().map(|row| decision(row).map(|done| done.at_ms))),
        maybe_texts(of().map(|row| proposal(row).and_then(|p| p.dispute).map(dispute_name))),
    ])
}

/// `missing_at_ours 3, price_version 1` of one currency.
fn classes_of(classes: &[ClassSum], currency: &str) -> String {
    let of_currency = classes.iter().filter(|class| class.currency == currency);
    let words: Vec<String> =
        of_currency.map(|class| format!("{} {}", class.class, class.count)).collect();
    words.join(", ")
}

fn difference(sum: &tally_settlement::CurrencySum) -> Option<i128> {
    sum.theirs.0.checked_sub(sum.ours.0)
}

/// Columns of `settlement.disputes`.
pub(crate) fn dispute_rows(books: &StoredBooks) -> Result<Vec<ArrayRef>, QueryError> {
    let rows: Vec<_> = books
        .books
        .disputes()
        .flat_map(|state| {
            state.dispute.what.reconciled.totals.iter().map(move |total| (state, total))
        })
        .collect();
    let of = || rows.iter();
    let what = || rows.iter().map(|(state, _)| &state.dispute.what.reconciled);
    let credits: Vec<Option<Cents>> =
        of().map(|(state, _)| state.credit().map(|(credit, _)| credit)).collect();
    Ok(vec![
        texts(of().map(|(state, _)| state.name())),
        texts(what().map(|reconciled| &reconciled.vendor)),
        texts(what().map(|reconciled| reconciled.period.to_string())),
        texts(of().map(|(state, _)| state.state())),
        texts(of().map(|(_, total)| &total.currency)),
        amounts(of().map(|(_, total)| Some(total.ours.0)))?,
        amounts(of().map(|(_, total)| Some(total.theirs.0)))?,
        amounts(of().map(|(_, total)| difference(total)))?,
        integers(what().map(|reconciled| whole(reconciled.disputed))),
        texts(of().map(|(state, total)| {
            classes_of(&state.dispute.what.reconciled.classes, &total.currency)
        })),
        texts(what().map(|reconciled| &reconciled.bill)),
        texts(what().map(|reconciled| &reconciled.bill_hash)),
        texts(of().map(|(state, _)| &state.dispute.what.evidence)),
        dates(of().map(|(state, _)| Some(state.dispute.what.deadline))),
        texts(of().map(|(state, _)| &state.dispute.by)),
        times(of().map(|(state, _)| Some(state.dispute.at_ms))),
        maybe_texts(of().map(|(state, _)| state.resolution.as_ref().map(|done| &done.by))),
        times(of().map(|(state, _)| state.resolution.as_ref().map(|done| done.at_ms))),
        cents(credits.iter().map(Option::as_ref))?,
        maybe_texts(of().map(|(state, _)| state.credit().map(|(_, n)| adjustment_name(n)))),
        maybe_texts(of().map(|(state, _)| match &state.resolution {
            Some(done) => some(&done.what.note),
            None => some(&state.dispute.what.note),
        })),
    ])
}

/// Columns of `settlement.reconciliation`.
pub(crate) fn reconciliation_rows(books: &StoredBooks) -> Result<Vec<ArrayRef>, QueryError> {
    let rows: Vec<_> = books
        .books
        .reconciled()
        .iter()
        .flat_map(|done| done.what.totals.iter().map(move |total| (done, total)))
        .collect();
    let of = || rows.iter();
    let what = || rows.iter().map(|(done, _)| &done.what);
    let count = |of_row: fn(&Reconciled) -> u64| {
        integers(rows.iter().map(move |(done, _)| whole(of_row(&done.what))))
    };
    Ok(vec![
        texts(what().map(|row| &row.vendor)),
        texts(what().map(|row| row.period.to_string())),
        texts(what().map(|row| &row.bill)),
        texts(what().map(|row| &row.bill_hash)),
        texts(what().map(|row| &row.mapping)),
        texts(of().map(|(_, total)| &total.currency)),
        amounts(of().map(|(_, total)| Some(total.ours.0)))?,
        amounts(of().map(|(_, total)| Some(total.theirs.0)))?,
        amounts(of().map(|(_, total)| difference(total)))?,
        flags(what().map(|row| row.inside)),
        count(|row| row.bill_lines),
        count(|row| row.our_events),
        count(|row| row.differences),
        count(|row| row.disputed),
        texts(of().map(|(done, total)| classes_of(&done.what.classes, &total.currency))),
        texts(of().map(|(done, _)| &done.by)),
        times(of().map(|(done, _)| Some(done.at_ms))),
    ])
}

//! Rows of contracts, settlement terms and exchange rates.

use arrow::array::ArrayRef;
use arrow::error::ArrowError;
use jiff::civil::Date;
use tally_rating::Contract;
use tally_reference::{ReferenceKind, Whole};
use tally_settlement::{Cents, TaxBasis, Terms};

use crate::books_rows::{dates, epoch_day};
use crate::reference_rows::{Standing, flags, maybe_integers, micro, standing};
use crate::system_schema::{maybe_texts, texts, times, whole as whole_number};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Days of terms begin at midnight in Shanghai.
const SHANGHAI_MS: i64 = 8 * 3_600_000;
/// Micro-currency of 0.01.
const CENT_MICRO: i128 = 10_000;

/// What events are rated by, or what periods are settled by.
enum Row<'a> {
    Rating(&'a Contract),
    Settlement(&'a Terms),
}

impl<'a> Row<'a> {
    fn terms(&self) -> Option<&'a Terms> {
        match self {
            Self::Rating(_) => None,
            Self::Settlement(terms) => Some(terms),
        }
    }

    /// One of two texts.
    fn either(
        &self,
        rating: impl FnOnce(&'a Contract) -> String,
        settlement: impl FnOnce(&'a Terms) -> String,
    ) -> String {
        match self {
            Self::Rating(contract) => rating(contract),
            Self::Settlement(terms) => settlement(terms),
        }
    }
}

fn midnight_ms(day: Date) -> i64 {
    epoch_day(day) * DAY_MS - SHANGHAI_MS
}

/// Columns of `settlement.contracts`.
pub(crate) fn contract_rows(whole: &Whole) -> Result<Vec<ArrayRef>, ArrowError> {
    // A contract and terms may have the same id, and are not versions of each other.
    let terms_ids: Vec<String> =
        whole.terms.all_terms().iter().map(|terms| format!("terms {}", terms.id)).collect();
    let (mut rows, mut standings) = (Vec::new(), Vec::new());
    for contract in whole.book.contracts() {
        if let Some(standing) = Standing::of_version(&contract.version) {
            rows.push(Row::Rating(contract));
            standings.push(standing);
        }
    }
    for (terms, id) in whole.terms.all_terms().iter().zip(&terms_ids) {
        let Some((approved_by, approved_at_ms)) = terms.approval() else { continue };
        let (source, known_from_ms) = (terms.source.as_str(), terms.known_from_ms);
        standings.push(Standing { id, source, known_from_ms, approved_by, approved_at_ms });
        rows.push(Row::Settlement(terms));
    }
    let terms = || rows.iter().map(Row::terms);
    let cents = |of: fn(&Terms) -> Option<Cents>| {
        micro(rows.iter().map(move |row| {
            let Cents(cents) = row.terms().and_then(of)?;
            cents.checked_mul(CENT_MICRO)
        }))
    };
    let mut columns = vec![
        texts(rows.iter().map(|row| row.either(|c| c.version.id.clone(), |t| t.id.clone()))),
        texts(rows.iter().map(|row| row.either(|_| "rating".into(), |_| "settlement".into()))),
        texts(rows.iter().map(|row| row.either(|c| c.vendor.clone(), |t| t.vendor.clone()))),
        texts(rows.iter().map(|row| row.either(|c| c.model.to_string(), Terms::pattern_text))),
        texts(
            rows.iter()
                .map(|row| row.either(|_| "price_list".to_owned(), |t| t.form.name().to_owned())),
        ),
        maybe_texts(terms().map(|t| t.map(Terms::form_words))),
        texts(
            rows.iter()
                .map(|row| row.either(|c| c.currency.to_string(), |t| t.currency.to_string())),
        ),
        maybe_integers(rows.iter().map(|row| match row {
            Row::Rating(contract) => Some(whole_number(contract.discount_ppm)),
            Row::Settlement(_) => None,
        })),
        maybe_integers(terms().map(|t| t.map(|t| i64::from(t.tax_ppm)))),
        flags(terms().map(|t| t.map(|t| t.tax_basis == TaxBasis::Inclusive))),
        maybe_texts(terms().map(|t| t.map(|t| t.rounding.name()))),
        cents(|t| t.minimum.map(|minimum| minimum.amount))?,
        maybe_integers(terms().map(|t| t?.minimum.map(|m| i64::from(m.carry_months)))),
        cents(|t| t.cap)?,
        maybe_texts(terms().map(|t| t.and_then(Terms::prepaid_words))),
        maybe_texts(terms().map(|t| t.and_then(Terms::trial_words))),
        maybe_texts(terms().map(|t| t.map(Terms::tolerance_words))),
        times(rows.iter().map(|row| match row {
            Row::Rating(contract) => Some(contract.valid.from_ms),
            Row::Settlement(terms) => Some(midnight_ms(terms.valid_from)),
        })),
        times(rows.iter().map(|row| match row {
            Row::Rating(contract) => contract.valid.to_ms,
            Row::Settlement(terms) => terms.valid_to.map(midnight_ms),
        })),
    ];
    columns.extend(standing(ReferenceKind::Contract, whole, &standings));
    Ok(columns)
}

/// Columns of `settlement.fx_rates`.
pub(crate) fn rate_rows(whole: &Whole) -> Result<Vec<ArrayRef>, ArrowError> {
    let approved = whole.terms.all_rates().iter().filter(|rate| rate.approval().is_some());
    let (rates, ids): (Vec<_>, Vec<String>) = approved.map(|rate| (rate, rate.words_id())).unzip();
    let mut standings = Vec::new();
    for (rate, id) in rates.iter().zip(&ids) {
        let Some((approved_by, approved_at_ms)) = rate.approval() else { continue };
        let (source, known_from_ms) = (rate.source.as_str(), rate.known_from_ms);
        standings.push(Standing { id, source, known_from_ms, approved_by, approved_at_ms });
    }
    let of = || rates.iter();
    let mut columns = vec![
        texts(of().map(|rate| rate.from.to_string())),
        texts(of().map(|rate| rate.to.to_string())),
        texts(of().map(|rate| rate.period.to_string())),
        micro(of().map(|rate| Some(rate.rate_micro)))?,
        dates(of().map(|rate| Some(rate.date))),
    ];
    columns.extend(standing(ReferenceKind::Contract, whole, &standings));
    Ok(columns)
}

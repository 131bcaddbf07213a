//! Accepted events as a correction needs them: the row of `usage_events`, and what it was charged.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use serde_json::{Map, Value};
use tally_schemas::{Charge, ChargeKind, Currency, ShanghaiDay, StoredRating, TokenClass};
use tally_tables::PinnedTables;

use crate::answer_rows::{count, decimal, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::removed_days::removed_days;

/// An accepted event, as its rows have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedEvent {
    /// Account.
    pub account: String,
    /// End of the call, milliseconds UTC.
    pub completed_at_ms: i64,
    /// The event as JSON, with everything that was found out about it.
    pub event: String,
    /// What it came to; none where events are only counted.
    pub rating: Option<StoredRating>,
    /// Whether it was taken back already.
    pub is_taken_back: bool,
    /// Whether more was accepted under its identity: there is another row, or there are charges of
    /// one, which may be removed by now.
    pub is_there_twice: bool,
}

/// Columns of texts, under the names of the event's fields.
const TEXTS: [&str; 15] = [
    "source",
    "id",
    "account",
    "subscriber",
    "model",
    "billed_model",
    "vendor",
    "supplier",
    "region",
    "channel",
    "product",
    "service_tier",
    "finish_reason",
    "usage_source",
    "vendor_request_id",
];

/// Columns of texts that are of the rating.
const RATING: [&str; 5] = [
    "retail_currency",
    "wholesale_currency",
    "retail_price_ids",
    "wholesale_price_ids",
    "price_book_version",
];

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn instant_ms(columns: &[ArrayRef], column: usize, row: usize) -> Result<i64, QueryError> {
    let times = columns
        .get(column)
        .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>())
        .ok_or_else(|| QueryError::Internal("the answer has another shape".to_owned()))?;
    Ok(times.value(row).div_euclid(1_000))
}

impl AcceptedEvent {
    /// The event of an identity in one version of the tables; `None` where they have none. Where its
    /// time is told, the files of that day are read first, and as a rule no others.
    ///
    /// # Errors
    /// `Retry` while the store is away; `Removed` where it is not there and may be of a day that is
    /// removed; `Data` where the rows are not those of an event.
    pub async fn find(
        engine: &QueryEngine,
        pin: &Arc<PinnedTables>,
        (source, id): (&str, &str),
        completed_at_ms: Option<i64>,
    ) -> Result<Option<Self>, QueryError> {
        let day = completed_at_ms.map(ShanghaiDay::of_instant);
        let of_day = day.map(|day| format!("usage_events WHERE day = DATE '{}' AND", day.date()));
        let mut rows = match of_day {
            Some(from) => Rows::about(engine, pin, (source, id), &from).await?,
            None => Rows::default(),
        };
        if rows.events.is_empty() {
            // What asks for a correction may tell a time that is not the event's.
            let from = "system.kept_events WHERE";
            rows = Rows::about(engine, pin, (source, id), from).await?;
        }
        if rows.events.is_empty() && !removed_days(pin).is_empty() {
            // An error where it may be of a day that is removed.
            rows = Rows::about(engine, pin, (source, id), "usage_events WHERE").await?;
        }
        let Rows { events, is_taken_back } = rows;
        let mut is_there_twice = events.len() > 1;
        let Some(row) = events.into_iter().next() else { return Ok(None) };
        let rating = match row.rating {
            None => None,
            Some(rating) => {
                let charges = charges(engine, pin, (source, id)).await?;
                is_there_twice |= charged(&charges) != (rating.points_micro, rating.retail_pico);
                Some(StoredRating { charges, ..rating })
            }
        };
        Ok(Some(Self {
            account: row.account,
            completed_at_ms: row.completed_at_ms,
            event: row.event,
            rating,
            is_taken_back,
            is_there_twice,
        }))
    }
}

/// What `usage_events` has about an identity.
#[derive(Default)]
struct Rows {
    /// Accepted under it: as a rule one at most.
    events: Vec<Row>,
    /// Whether a reversal names it. That has the day of what it takes back.
    is_taken_back: bool,
}

impl Rows {
    async fn about(
        engine: &QueryEngine,
        pin: &Arc<PinnedTables>,
        (source, id): (&str, &str),
        from: &str,
    ) -> Result<Self, QueryError> {
        let texts = TEXTS.iter().chain(&RATING).map(|name| format!("coalesce({name}, '')"));
        let classes = TokenClass::ALL.iter().map(|class| class.name().to_owned());
        let columns: Vec<String> = texts.chain(classes).collect();
        let (source, id) = (quoted(source), quoted(id));
        let sql = format!(
            "SELECT {}, started_at, completed_at, points, retail_amount, wholesale_amount, \
             CASE WHEN correction = 'reversal' THEN 1 ELSE 0 END FROM {from} \
             (source = {source} AND id = {id} AND coalesce(correction, '') <> 'reversal' \
             OR correction = 'reversal' AND corrects_source = {source} AND corrects_id = {id})",
            columns.join(", ")
        );
        let reversal = columns.len() + 5;
        let mut rows = Self { events: Vec::new(), is_taken_back: false };
        for columns in rows_of(engine, pin, &sql).await? {
            for row in 0..columns.first().map_or(0, |column| column.len()) {
                if count(&columns, reversal, row)? > 0 {
                    rows.is_taken_back = true;
                } else {
                    rows.events.push(Row::of(&columns, row)?);
                }
            }
        }
        Ok(rows)
    }
}

/// What its row of `usage_events` says.
struct Row {
    account: String,
    completed_at_ms: i64,
    event: String,
    rating: Option<StoredRating>,
}

impl Row {
    fn of(columns: &[ArrayRef], row: usize) -> Result<Self, QueryError> {
        let mut object = Map::new();
        for (column, name) in TEXTS.iter().enumerate() {
            let value = text(columns, column, row)?;
            if !value.is_empty() {
                object.insert((*name).to_owned(), value.into());
            }
        }
        let rated = TEXTS.len();
        let [retail_currency, wholesale_currency, retail_ids, wholesale_ids, version] =
            [0, 1, 2, 3, 4].map(|column| text(columns, rated + column, row));
        let classes = rated + RATING.len();
        let mut usage = Map::new();
        for (column, class) in TokenClass::ALL.into_iter().enumerate() {
            let units = count(columns, classes + column, row)?;
            // A count of requests that is not given is 1.
            if units > 0 || class == TokenClass::Requests {
                usage.insert(class.name().to_owned(), units.into());
            }
        }
        object.insert("usage".to_owned(), usage.into());
        let rest = classes + TokenClass::ALL.len();
        let completed_at_ms = instant_ms(columns, rest + 1, row)?;
        object.insert("started_at".to_owned(), instant_ms(columns, rest, row)?.into());
        object.insert("completed_at".to_owned(), completed_at_ms.into());
        let wholesale_currency = wholesale_currency?;
        let some = |text: String| Some(text).filter(|text| !text.is_empty());
        let rating = StoredRating {
            points_micro: decimal(columns, rest + 2, row)?,
            retail_pico: decimal(columns, rest + 3, row)?,
            retail_currency: Currency::parse(&retail_currency?),
            retail_price_ids: some(retail_ids?),
            wholesale_pico: decimal(columns, rest + 4, row)?,
            wholesale_currency: wholesale_currency.clone(),
            wholesale_price_ids: wholesale_ids?,
            price_book_version: version?,
            charges: Vec::new(),
        };
        Ok(Self {
            account: text(columns, 2, row)?,
            completed_at_ms,
            event: Value::Object(object).to_string(),
            rating: some(wholesale_currency).map(|_| rating),
        })
    }
}

/// What charges come to: points, and what a subscriber owes.
fn charged(charges: &[Charge]) -> (i128, i128) {
    let (mut points, mut retail) = (0_i128, 0_i128);
    for charge in charges {
        // A sum that does not fit is that of no event.
        points = points.saturating_add(charge.points_micro);
        if charge.kind != ChargeKind::Overrun {
            retail = retail.saturating_add(charge.amount_pico);
        }
    }
    (points, retail)
}

/// What charged an event, as `quota_ledger` has it.
async fn charges(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    (source, id): (&str, &str),
) -> Result<Vec<Charge>, QueryError> {
    let sql = format!(
        "SELECT kind, coalesce(bucket, ''), coalesce(package, ''), coalesce(cause, ''), \
         coalesce(currency, ''), points, amount FROM quota_ledger \
         WHERE event_source = {} AND event_id = {} AND kind IN ('debit', 'payg', 'overrun')",
        quoted(source),
        quoted(id)
    );
    let mut charges = Vec::new();
    for columns in rows_of(engine, pin, &sql).await? {
        for row in 0..columns.first().map_or(0, |column| column.len()) {
            let some = |column: usize| -> Result<Option<String>, QueryError> {
                Ok(Some(text(&columns, column, row)?).filter(|text| !text.is_empty()))
            };
            charges.push(Charge {
                kind: match text(&columns, 0, row)?.as_str() {
                    "debit" => ChargeKind::Debit,
                    "payg" => ChargeKind::Payg,
                    _ => ChargeKind::Overrun,
                },
                bucket: some(1)?,
                package: some(2)?,
                cause: some(3)?,
                points_micro: -decimal(&columns, 5, row)?,
                amount_pico: decimal(&columns, 6, row)?,
                currency: some(4)?.as_deref().and_then(Currency::parse),
            });
        }
    }
    // One record for the same rows, in whatever order they were read.
    charges.sort_by(|a, b| (a.kind as u8, &a.bucket).cmp(&(b.kind as u8, &b.bucket)));
    Ok(charges)
}

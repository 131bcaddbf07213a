//! The largest differences of a comparison, as the journal keeps them: what SQL shows of it. All of
//! them are in the files of the comparison.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::day_text;
use crate::decimal::{Pico, parse_decimal};
use crate::reconcile::{DifferenceRow, GroupRow, Outcome};

/// A difference of records, or of a group where the bill has no records.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LargeDifference {
    /// Class; none where a group is outside of the tolerance by what its other rows say.
    pub class: Option<String>,
    /// More about the class.
    pub detail: Option<String>,
    /// Whether it is part of the dispute.
    pub disputed: bool,
    /// The vendor's amount less ours, where both are in one currency.
    pub difference: Option<Pico>,
    /// Price of 1,000,000 units in micro-currency, where a group has one.
    pub price_micro: Option<u64>,
    /// The request; none of a group.
    pub request: Option<DifferingRequest>,
    /// What we have.
    pub ours: Option<DifferingSide>,
    /// What the vendor has.
    pub theirs: Option<DifferingSide>,
}

/// A request that the sides differ on, and where each has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DifferingRequest {
    /// The vendor's id; empty where our event has none.
    pub id: String,
    /// Line or row of the bill.
    pub bill_line: Option<u64>,
    /// Our event.
    pub event: Option<EventPlace>,
    /// The prices that rated it.
    pub price_ids: Option<String>,
}

/// Where an event is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventPlace {
    /// Kafka partition.
    pub partition: u32,
    /// Kafka offset.
    pub offset: u64,
    /// Position within its batch.
    pub index: u32,
}

/// What one side has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DifferingSide {
    /// Day, in the bill's zone.
    #[serde(with = "day_text")]
    pub day: Date,
    /// Billed model.
    pub model: String,
    /// Service tier.
    pub service_tier: String,
    /// Counts by class, such as `input 434 output 345`.
    pub counts: String,
    /// Amount, where amounts are compared.
    pub amount: Option<Pico>,
    /// Its currency.
    pub currency: String,
}

impl LargeDifference {
    /// The largest of an outcome, largest first: of records, or of groups where the bill has no
    /// records.
    ///
    /// # Errors
    /// In words. Never in a build whose tests pass: the rows were made from days and amounts.
    pub fn of_outcome(outcome: &Outcome) -> Result<Vec<Self>, String> {
        match outcome.level {
            "record" => outcome.top.iter().map(Self::of_record).collect(),
            _ => outcome.top_groups().into_iter().map(Self::of_group).collect(),
        }
    }

    fn of_record(row: &DifferenceRow) -> Result<Self, String> {
        let ours = [&row.our_day, &row.our_model, &row.our_tier, &row.our_counts];
        let theirs = [&row.their_day, &row.their_model, &row.their_tier, &row.their_counts];
        let event = match (row.kafka_partition, row.kafka_offset, row.batch_index) {
            (Some(partition), Some(offset), Some(index)) => {
                Some(EventPlace { partition, offset, index })
            }
            _ => None,
        };
        Ok(Self {
            class: some(row.class),
            detail: some(row.detail),
            disputed: row.disputed,
            difference: amount(row.difference.as_ref())?,
            price_micro: None,
            request: Some(DifferingRequest {
                id: row.request_id.clone(),
                bill_line: row.bill_line,
                event,
                price_ids: row.price_ids.clone(),
            }),
            ours: side(ours, row.our_amount.as_ref(), row.our_currency.as_ref())?,
            theirs: side(theirs, row.their_amount.as_ref(), row.their_currency.as_ref())?,
        })
    }

    fn of_group(row: &GroupRow) -> Result<Self, String> {
        let counts = |quantity: &str| Some(format!("{} {quantity}", row.token_class));
        let (day, model) = (Some(row.day.clone()), Some(row.model.clone()));
        let (tier, currency) = (Some(row.tier.clone()), Some(row.currency.clone()));
        let of_side = |quantity: &str, of_amount: Option<&String>| {
            side([&day, &model, &tier, &counts(quantity)], of_amount, currency.as_ref())
        };
        Ok(Self {
            class: row.class.and_then(some),
            detail: None,
            disputed: row.outside,
            difference: amount(row.difference.as_ref())?,
            price_micro: row.price_micro_per_million,
            request: None,
            ours: of_side(&row.our_quantity, row.our_amount.as_ref())?,
            theirs: of_side(&row.their_quantity, row.their_amount.as_ref())?,
        })
    }

    /// `record`, or `group` for a bill without records.
    pub const fn level(&self) -> &'static str {
        if self.request.is_some() { "record" } else { "group" }
    }
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

fn amount(text: Option<&String>) -> Result<Option<Pico>, String> {
    text.map(|text| parse_decimal(text, 12).map(Pico)).transpose()
}

/// One side: day, model, service tier and counts; none without a day.
fn side(
    texts: [&Option<String>; 4],
    of_amount: Option<&String>,
    currency: Option<&String>,
) -> Result<Option<DifferingSide>, String> {
    let [day, model, service_tier, counts] = texts.map(Option::as_ref);
    let Some(day) = day else { return Ok(None) };
    let text = |text: Option<&String>| text.cloned().unwrap_or_default();
    Ok(Some(DifferingSide {
        day: day.parse::<Date>().map_err(|error| format!("the day {day:?}: {error}"))?,
        model: text(model),
        service_tier: text(service_tier),
        counts: text(counts),
        amount: amount(of_amount)?,
        currency: text(currency),
    }))
}

//! A difference of records as it goes out: flat, with texts for amounts.

use serde::Serialize;
use tally_schemas::{TokenClass, UsageCounts, decimal_text};

use super::class::Class;
use super::instant::{day_text, instant_text};
use super::names::Names;
use super::record::Record;

/// One request, or one line too many, on which the sides differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference<'a> {
    /// Why.
    pub class: Class,
    /// More about it: the kind of a time shift, the side of a duplicate.
    pub detail: &'static str,
    /// What we have.
    pub ours: Option<Record<'a>>,
    /// What the vendor has.
    pub theirs: Option<Record<'a>>,
}

impl Difference<'_> {
    /// Our part of the totals, in pico-currency: what is outside of the period is in none.
    pub fn ours_pico(&self) -> i128 {
        self.ours.filter(|ours| ours.in_period).map_or(0, |ours| ours.amount_pico)
    }

    /// The vendor's part of the totals, in pico-currency.
    pub fn theirs_pico(&self) -> i128 {
        self.theirs.map_or(0, |theirs| theirs.amount_pico)
    }

    /// Which record names the request, the vendor's where there is one.
    fn named(&self) -> Record<'_> {
        self.theirs.or(self.ours).unwrap_or_default()
    }
}

/// A difference as a row of `differences.csv` and `differences.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DifferenceRow {
    /// Class.
    pub class: &'static str,
    /// More about it.
    pub detail: &'static str,
    /// Whether it is part of the dispute.
    pub disputed: bool,
    /// The vendor's id of the request.
    pub request_id: String,
    /// The vendor's amount less ours, where both are in one currency.
    pub difference: Option<String>,
    /// Line or row of the bill.
    pub bill_line: Option<u64>,
    /// Kafka partition of our event.
    pub kafka_partition: Option<u32>,
    /// Kafka offset of our event.
    pub kafka_offset: Option<u64>,
    /// Position of our event within its batch.
    pub batch_index: Option<u32>,
    /// Our day, in the bill's zone.
    pub our_day: Option<String>,
    /// The vendor's day.
    pub their_day: Option<String>,
    /// Our time.
    pub our_time: Option<String>,
    /// The vendor's time, where the bill tells more than the day.
    pub their_time: Option<String>,
    /// Model that we think is billed.
    pub our_model: Option<String>,
    /// Model that the vendor bills.
    pub their_model: Option<String>,
    /// Our service tier.
    pub our_tier: Option<String>,
    /// The vendor's service tier.
    pub their_tier: Option<String>,
    /// Our counts.
    pub our_counts: Option<String>,
    /// The vendor's counts.
    pub their_counts: Option<String>,
    /// Our amount.
    pub our_amount: Option<String>,
    /// The vendor's amount, without the tax that the bill shows beside it.
    pub their_amount: Option<String>,
    /// Currency of our amount.
    pub our_currency: Option<String>,
    /// Currency of the vendor's amount.
    pub their_currency: Option<String>,
    /// Where our counts come from.
    pub usage_source: Option<&'static str>,
    /// Why our call ended.
    pub finish_reason: Option<String>,
    /// The prices that rated ours.
    pub price_ids: Option<String>,
}

impl DifferenceRow {
    /// The row of a difference.
    pub fn new(difference: &Difference<'_>, disputed: bool, names: &Names) -> Self {
        let (ours, theirs) = (difference.ours, difference.theirs);
        let text = |id| names.text(id).to_owned();
        let amount = |pico: i128| decimal_text(pico, 12);
        let same_currency = match (&ours, &theirs) {
            (Some(ours), Some(theirs)) => ours.currency == theirs.currency,
            _ => true,
        };
        let pico = difference.theirs_pico().checked_sub(difference.ours_pico());
        let time = |record: Record<'_>| record.at_ms.map(instant_text);
        Self {
            class: difference.class.name(),
            detail: difference.detail,
            disputed,
            request_id: difference.named().request_id.to_owned(),
            difference: pico.filter(|_| same_currency).map(amount),
            bill_line: theirs.map(|record| record.position.number),
            kafka_partition: ours.map(|record| record.position.partition),
            kafka_offset: ours.map(|record| record.position.number),
            batch_index: ours.map(|record| record.position.index),
            our_day: ours.map(|record| day_text(record.day)),
            their_day: theirs.map(|record| day_text(record.day)),
            our_time: ours.and_then(time),
            their_time: theirs.and_then(time),
            our_model: ours.map(|record| text(record.model)),
            their_model: theirs.map(|record| text(record.model)),
            our_tier: ours.map(|record| text(record.tier)),
            their_tier: theirs.map(|record| text(record.tier)),
            our_counts: ours.map(|record| counts_text(&record.counts)),
            their_counts: theirs.map(|record| counts_text(&record.counts)),
            our_amount: ours.map(|record| amount(record.amount_pico)),
            their_amount: theirs.map(|record| amount(record.amount_pico)),
            our_currency: ours.map(|record| text(record.currency)),
            their_currency: theirs.map(|record| text(record.currency)),
            usage_source: ours.map(|record| record.usage_source.name()),
            finish_reason: ours.map(|record| text(record.finish)),
            price_ids: ours.map(|record| text(record.prices)),
        }
    }
}

/// Counts other than zero, such as `input 434 output 345`.
fn counts_text(counts: &UsageCounts) -> String {
    let told: Vec<String> = TokenClass::ALL
        .into_iter()
        .filter(|class| counts.get(*class) > 0)
        .map(|class| format!("{class} {}", counts.get(class)))
        .collect();
    told.join(" ")
}

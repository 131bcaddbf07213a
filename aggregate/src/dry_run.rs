//! Rates events without a log and without a store: the same core that rates the stream, and
//! nothing of it is kept.

use tally_log::{Record, RecordKind};
use tally_schemas::{
    AggregateConfig, CORRECT, RECYCLE, SuspenseReason, UsageCounts, WRITE_OFF, decimal_text,
    parse_event,
};

use crate::core::{LastOutcome, Partition, PartitionConfig, REFERENCE, ReferenceData};

/// What one event would cost, by which prices; or why it would be held back.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RatedLine {
    /// Id of the event, where it could be read.
    pub id: Option<String>,
    /// Name of the account command that the line was, and that was carried out.
    pub command: Option<String>,
    /// Requested model.
    pub model: Option<String>,
    /// Model that the vendor bills.
    pub billed_model: Option<String>,
    /// Counts by class, as far as they could be read.
    pub usage: UsageCounts,
    /// Micro-points.
    pub points_micro: Option<i128>,
    /// Decimal with twelve places.
    pub retail_amount: Option<String>,
    /// Decimal with twelve places.
    pub wholesale_amount: Option<String>,
    /// Currency of the wholesale amount.
    pub wholesale_currency: Option<String>,
    /// Ids of the prices, in the order of the classes.
    pub wholesale_price_ids: Vec<String>,
    /// Reason for which the event would be held back, or `duplicate`.
    pub suspense: Option<String>,
    /// What is wrong with it, in words.
    pub why: Option<String>,
}

/// Rates lines one after the other, as one partition would.
#[derive(Debug)]
pub struct DryRun(Partition);

impl DryRun {
    /// Rates by reference data. No event is too old or too new: it is asked what it would cost.
    pub fn new(reference: ReferenceData) -> Self {
        let aggregate = AggregateConfig {
            future_max_ms: u64::MAX >> 2,
            dedupe_horizon_days: 100_000,
            ..AggregateConfig::default()
        };
        let config = PartitionConfig {
            topic: "dry-run".to_owned(),
            partition: 0,
            partition_count: 1,
            log: None,
            aggregate,
        };
        Self(Partition::new(config, reference, 0))
    }

    /// What an event in JSON would cost. A line may be an account command: what follows is charged
    /// to what it bought.
    pub fn rate(&mut self, line: &[u8]) -> RatedLine {
        let parsed = parse_event(line);
        let event = parsed.event;
        let carried_out = self.0.commands_carried_out();
        let text = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let mut rated = RatedLine {
            id: text(&event.id),
            model: text(&event.model),
            usage: event.usage,
            ..RatedLine::default()
        };
        let not_here = match parsed.command.as_deref() {
            Some(REFERENCE) => Some("only the stream changes by what it rates"),
            Some(RECYCLE | WRITE_OFF) => Some("only the stream has rows in suspense"),
            Some(CORRECT) => Some("only the stream has events to correct"),
            _ => None,
        };
        if let Some(why) = not_here {
            rated.suspense = Some(SuspenseReason::UnsupportedCommand.as_str().to_owned());
            rated.why = Some(why.to_owned());
            return rated;
        }
        let record = Record {
            offset: self.0.next_offset(),
            timestamp_ms: event.completed_at_ms.unwrap_or(0),
            key: None,
            value: Some(line),
            kind: RecordKind::Single,
        };
        let pushed = self.0.push(record);
        // Nobody is told of what might be.
        drop(self.0.take_notices());
        if pushed.is_err() {
            // A sealed bucket would have to be read: nothing is sealed before an epoch closes.
            rated.why = Some("dedupe asks for the store".into());
            return rated;
        }
        if self.0.commands_carried_out() > carried_out {
            rated.command = parsed.command;
            return rated;
        }
        match self.0.last_outcome() {
            LastOutcome::Accepted(row) => {
                rated.billed_model = Some(row.billed_model);
                rated.points_micro = row.points_micro;
                rated.retail_amount = row.retail_pico.map(|pico| decimal_text(pico, 12));
                rated.wholesale_amount = row.wholesale_pico.map(|pico| decimal_text(pico, 12));
                rated.wholesale_currency = row.wholesale_currency;
                let ids = row.wholesale_price_ids.unwrap_or_default();
                rated.wholesale_price_ids =
                    ids.split(',').filter(|id| !id.is_empty()).map(str::to_owned).collect();
            }
            LastOutcome::HeldBack { reason, why } => {
                rated.suspense = Some(reason);
                rated.why = why;
            }
            LastOutcome::Duplicate => rated.suspense = Some("duplicate".into()),
        }
        rated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_carried_out_and_pays_for_what_follows() {
        let mut run = DryRun::new(ReferenceData::shipped().unwrap());
        let purchase = br#"{"command":"purchase","id":"c1","account":"A1","at":1795326157827,"package":"telecom-10m"}"#;
        let event = br#"{"source":"g","id":"1","account":"A1","model":"glm-5","completed_at":1795326157828,"usage":{"input":1000000}}"#;
        assert_eq!(run.rate(event).retail_amount.as_deref(), Some("0.000000000000"));
        let bought = run.rate(purchase);
        assert_eq!((bought.command.as_deref(), bought.suspense), (Some("purchase"), None));
        assert_eq!(run.rate(purchase).suspense.as_deref(), Some("duplicate"));
        assert_eq!(run.rate(event).suspense.as_deref(), Some("duplicate"));
        let second = String::from_utf8_lossy(event).replace("\"id\":\"1\"", "\"id\":\"2\"");
        let rated = run.rate(second.as_bytes());
        assert_eq!(rated.retail_amount.as_deref(), Some("0.990000000000"));
        assert_eq!(rated.wholesale_amount.as_deref(), Some("6.000000000000"));
        for not_here in [
            br#"{"command":"reference","version":"3-8f14@1"}"#.as_slice(),
            br#"{"command":"recycle","partition":0,"offset":0,"batch_index":0}"#,
            br#"{"command":"write_off","partition":0,"offset":0,"batch_index":0}"#,
            br#"{"command":"correct","account":"A1"}"#,
        ] {
            assert_eq!(run.rate(not_here).suspense.as_deref(), Some("unsupported_command"));
        }
    }
}

//! Records of a simulated run that take held-back rows out of suspense: the right one for a row that
//! is held back, one for a row that is not or for something else, and each of them again.

use prost::Message;
use rand::Rng;
use rand::seq::IndexedRandom;
use tally_schemas::{
    HeldPosition, Recycle, Recycling, Resolution, SuspenseReason, TokenClass, UsageCounts, WriteOff,
};

use super::encodings::{json_of, json_only, message_of};
use super::oracle::Place;
use super::simulated_log::{Defect, Out, Sent, SentResolution};
use super::workload::Gateways;

/// Something in the log that may have been held back.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    pub(super) place: Place,
    pub(super) event: Option<Sent>,
    /// Why it is held back for certain, where there is no event.
    pub(super) reason: Option<SuspenseReason>,
    /// When the log received it, milliseconds UTC.
    pub(super) received_ms: i64,
}

impl Gateways<'_> {
    /// A record about something that lies in the log, if there is anything yet.
    pub(super) fn resolution(&mut self) -> Option<SentResolution> {
        let again = self.random.random_ratio(1, 3);
        if let Some(earlier) = again.then(|| self.resolutions.choose(&mut self.random)).flatten() {
            return Some(earlier.clone());
        }
        let promising = |placed: &&Placed| self.reason_of(placed).is_some();
        let promising: Vec<&Placed> = self.placed.iter().filter(promising).collect();
        let placed = if promising.is_empty() || self.random.random_ratio(1, 8) {
            self.placed.choose(&mut self.random)?.clone()
        } else {
            (*promising.choose(&mut self.random)?).clone()
        };
        let wrong = || [SuspenseReason::NoPrice, SuspenseReason::UnknownModel];
        let reason = match self.reason_of(&placed) {
            Some(reason) if !self.random.random_ratio(1, 10) => reason,
            // It has a mark to be told by; of others nothing is known here.
            _ => *wrong().choose(&mut self.random)?,
        };
        let resolution = self.record_of(placed, reason);
        self.resolutions.push(resolution.clone());
        Some(resolution)
    }

    /// Why something is held back, if it is and was not sent before.
    fn reason_of(&self, placed: &Placed) -> Option<SuspenseReason> {
        let Some(event) = &placed.event else { return placed.reason };
        if event.defect != Defect::None {
            return None;
        }
        let ahead_ms = event.completed_at_ms - placed.received_ms;
        if ahead_ms > self.settings.future_max_ms.cast_signed() {
            return Some(SuspenseReason::TimeInFuture);
        }
        match event.model {
            "nobody-1" => Some(SuspenseReason::UnknownModel),
            "house-1" if event.counts[TokenClass::Images.index()] > 0 => {
                Some(SuspenseReason::NoPrice)
            }
            _ => None,
        }
    }

    fn record_of(&mut self, placed: Placed, reason: SuspenseReason) -> SentResolution {
        let Placed { place, event, received_ms, .. } = placed;
        let position =
            HeldPosition { partition: self.partition, offset: place.0, batch_index: place.1 };
        let recycled =
            !matches!(reason.recycling(), Recycling::Never(_)) && !self.random.random_ratio(1, 4);
        let (out, record) = match &event {
            Some(event) if recycled && !event.account.is_empty() => {
                let in_hex = !json_only(event.defect) && self.random.random_ratio(1, 4);
                let raw = if in_hex { hex_of(event) } else { json_of(event).to_string() };
                let (account, by) = (event.account.clone(), "alice".to_owned());
                let recycle = Recycle { position, reason, account, raw, by };
                (Out::Recycled, Resolution::Recycle(recycle))
            }
            event => {
                let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
                let off = WriteOff {
                    position,
                    reason,
                    at_ms: event.as_ref().map_or(received_ms, |event| event.completed_at_ms),
                    account: event.as_ref().and_then(|event| some(&event.account)),
                    source: event.as_ref().and_then(|event| some(event.source)),
                    id: event.as_ref().and_then(|event| some(&event.id)),
                    usage: event
                        .as_ref()
                        .map_or(UsageCounts::default(), |event| UsageCounts(event.counts)),
                    proposal: 0,
                    why: "simulated".to_owned(),
                    by: "alice".to_owned(),
                    approved_by: "bob".to_owned(),
                };
                (Out::WrittenOff, Resolution::WriteOff(off))
            }
        };
        let bytes = record.to_json().into_bytes();
        SentResolution { out, held: place, reason, event, received_ms, bytes }
    }
}

fn hex_of(event: &Sent) -> String {
    let bytes = message_of(event).encode_to_vec();
    format!("hex:{}", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

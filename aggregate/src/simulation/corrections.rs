//! Records of a simulated run that take events back: for one that came, for one that did not, and
//! each of them again. What they say that the event came to is made up, as the core believes it.

use rand::Rng;
use rand::seq::IndexedRandom;
use tally_schemas::{
    Charge, ChargeKind, Correction, CorrectionRequest, Currency, StoredRating, TokenClass,
};

use super::encodings::json_of;
use super::simulated_log::{Defect, Sent, SentCorrection};
use super::workload::Gateways;

impl Gateways<'_> {
    /// A record about an event that lies in the log, if there is any yet.
    pub(super) fn correction(&mut self) -> Option<SentCorrection> {
        let again = self.random.random_ratio(1, 3);
        if let Some(earlier) = again.then(|| self.corrections.choose(&mut self.random)).flatten() {
            return Some(earlier.clone());
        }
        let whole = |event: &&Sent| event.defect == Defect::None;
        let events = self.placed.iter().filter_map(|placed| placed.event.as_ref()).filter(whole);
        let events: Vec<&Sent> = events.collect();
        let chosen = (*events.choose(&mut self.random)?).clone();
        // As its row would have it.
        let vendor = Some(chosen.vendor.unwrap_or("acme"));
        let supplier = chosen.supplier.or(vendor);
        let mut event = Sent { vendor, supplier, ..chosen };
        if self.random.random_ratio(1, 6) {
            event.id = format!("never-{}", event.id);
        }
        let correction = self.correction_of(event);
        self.corrections.push(correction.clone());
        Some(correction)
    }

    fn correction_of(&mut self, event: Sent) -> SentCorrection {
        let random = &mut self.random;
        let bucket = format!("c-{}", random.random_range(0..6));
        let from_bucket = random.random_range(0..2_000_000_000_i128);
        let nobody = random.random_range(0..5_000_000_i128);
        let revenue = if from_bucket > 0 { random.random_range(0..9_000_000) } else { 0 };
        let charge = |kind, points_micro, amount_pico| Charge {
            kind,
            bucket: (kind == ChargeKind::Debit).then(|| bucket.clone()),
            package: Some("small".to_owned()),
            cause: (kind == ChargeKind::Overrun).then(|| "lag".to_owned()),
            points_micro,
            amount_pico,
            currency: Some(Currency::CNY),
        };
        let mut charges = Vec::new();
        if from_bucket > 0 {
            charges.push(charge(ChargeKind::Debit, from_bucket, revenue));
        }
        if nobody > 0 {
            charges.push(charge(ChargeKind::Overrun, nobody, 5));
        }
        let wholesale_pico = random.random_range(0..70_000_000_000_i128);
        let replaces = random.random_ratio(1, 2);
        let is_debited = from_bucket > 0;
        let rating = StoredRating {
            points_micro: from_bucket + nobody,
            retail_pico: revenue,
            retail_currency: is_debited.then_some(Currency::CNY),
            retail_price_ids: is_debited.then(|| "small".to_owned()),
            wholesale_pico,
            wholesale_currency: "CNY".to_owned(),
            wholesale_price_ids: "p".to_owned(),
            price_book_version: "simulated".to_owned(),
            charges,
        };
        let replacement = replaces.then(|| self.replacement(&event));
        let request = replacement.as_ref().map(|replacement| {
            let mut asking = json_of(replacement);
            asking["corrects"] = serde_json::json!({"source": event.source, "id": event.id});
            CorrectionRequest { raw: asking.to_string(), held: None }
        });
        let record = Correction {
            account: event.account.clone(),
            event: json_of(&event).to_string(),
            rating: Some(rating.clone()),
            request,
            why: "simulated".to_owned(),
            by: "alice".to_owned(),
        };
        SentCorrection {
            points_micro: rating.points_micro,
            wholesale_pico,
            retail_pico: rating.retail_pico,
            retail_currency: is_debited.then_some("CNY"),
            replacement,
            bytes: record.to_json().into_bytes(),
            event,
        }
    }

    /// An event of the same account and time; of a model that has a price or not.
    fn replacement(&mut self, event: &Sent) -> Sent {
        let mut fresh = self.fresh(false);
        while fresh.defect != Defect::None {
            fresh = self.fresh(false);
        }
        fresh.counts[TokenClass::Requests.index()] = 1;
        // It must not come again under the time that it had at first: that would be a resend with
        // another time, which not every plan has.
        self.late.retain(|late| late.id != fresh.id);
        fresh.account.clone_from(&event.account);
        fresh.completed_at_ms = event.completed_at_ms;
        fresh
    }
}

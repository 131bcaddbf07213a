//! Corrections: what an event says of an earlier one that it voids or replaces, and the record that
//! carries it out. The record travels in the topic of usage like account commands, so that a replay
//! is identical. See `docs/adr/0020-corrections.md`.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::money::Currency;
use crate::resolution::HeldPosition;

/// Name of the record that carries a correction out, in its member `command`.
pub const CORRECT: &str = "correct";

/// What becomes of a corrected event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CorrectionKind {
    /// It counts for nothing.
    Void,
    /// Another event counts in its stead.
    Replace,
}

impl CorrectionKind {
    /// Name in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Void => "void",
            Self::Replace => "replace",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Void, Self::Replace].into_iter().find(|kind| kind.name() == name)
    }
}

/// The earlier event that an event corrects.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Corrects {
    /// Its source.
    pub source: String,
    /// Its id there.
    pub id: String,
    /// What becomes of it.
    pub kind: CorrectionKind,
}

impl Corrects {
    /// Mixes what is corrected into the content hash of the event that says so. Stable, as it is
    /// stored.
    pub fn mixed_into(&self, content: u64) -> u64 {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&content.to_le_bytes());
        for text in [self.kind.name(), &self.source, &self.id] {
            bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        xxh3_64(&bytes)
    }
}

/// Id of the row that takes an event back, at the event's own source. One for each event: so an
/// event is taken back once, and dedupe knows that it was.
pub fn reversal_id(identity_hash: u64) -> String {
    format!("reversal-{identity_hash:016x}")
}

/// What charged the corrected event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeKind {
    /// A bucket.
    Debit,
    /// A tariff.
    Payg,
    /// Nobody.
    Overrun,
}

/// Most micro-points and pico-currency of an event: what charging allows.
const POINTS_MAX: i128 = 1 << 96;
const AMOUNT_MAX: i128 = 1 << 120;

/// A part of what the corrected event was charged: a row of `quota_ledger`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// What charged it.
    pub kind: ChargeKind,
    /// The bucket of a debit.
    pub bucket: Option<String>,
    /// Package or tariff.
    pub package: Option<String>,
    /// Cause of an overrun.
    pub cause: Option<String>,
    /// Micro-points that were taken, from 0.
    #[serde(with = "decimal")]
    pub points_micro: i128,
    /// Pico-currency that they came to, from 0.
    #[serde(with = "decimal")]
    pub amount_pico: i128,
    /// Currency of the amount.
    #[serde(with = "code")]
    pub currency: Option<Currency>,
}

/// What the corrected event came to, as its row of `usage_events` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredRating {
    /// Micro-points.
    #[serde(with = "decimal")]
    pub points_micro: i128,
    /// Retail pico-currency.
    #[serde(with = "decimal")]
    pub retail_pico: i128,
    /// Its currency.
    #[serde(with = "code")]
    pub retail_currency: Option<Currency>,
    /// Packages and tariffs that charged it, with commas.
    pub retail_price_ids: Option<String>,
    /// Wholesale pico-currency.
    #[serde(with = "decimal")]
    pub wholesale_pico: i128,
    /// Its currency.
    pub wholesale_currency: String,
    /// Prices that rated it, with commas.
    pub wholesale_price_ids: String,
    /// Version of the price book that rated it.
    pub price_book_version: String,
    /// What charged it.
    pub charges: Vec<Charge>,
}

impl StoredRating {
    /// What does not add up.
    fn check(&self) -> Result<(), String> {
        let (mut points, mut retail) = (0_i128, 0_i128);
        for charge in &self.charges {
            let is_point = (0..=POINTS_MAX).contains(&charge.points_micro);
            if !is_point || !(0..=AMOUNT_MAX).contains(&charge.amount_pico) {
                return Err("rating.charges: a charge that no event has".to_owned());
            }
            points = points.checked_add(charge.points_micro).ok_or("rating.charges: too much")?;
            if charge.kind != ChargeKind::Overrun {
                retail =
                    retail.checked_add(charge.amount_pico).ok_or("rating.charges: too much")?;
                if charge.currency != self.retail_currency {
                    return Err("rating.charges: not in the currency of the event".to_owned());
                }
            }
            if charge.kind == ChargeKind::Debit && charge.bucket.is_none() {
                return Err("rating.charges: a debit needs its bucket".to_owned());
            }
        }
        if points > POINTS_MAX || retail > AMOUNT_MAX {
            return Err("rating: more than an event comes to".to_owned());
        }
        let is_amount = (0..=AMOUNT_MAX).contains(&self.wholesale_pico);
        if !is_amount || Currency::parse(&self.wholesale_currency).is_none() {
            return Err("rating: no wholesale amount".to_owned());
        }
        if (points, retail) != (self.points_micro, self.retail_pico) {
            return Err("rating.charges: they are not what the event came to".to_owned());
        }
        Ok(())
    }
}

/// The event that asks for the correction, where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CorrectionRequest {
    /// Its payload, as `suspense.raw` has it, or of a person who replaces an event.
    pub raw: String,
    /// The row of `suspense` that waits for it; none where a person asks.
    pub held: Option<HeldPosition>,
}

/// A record that carries a correction out. Who makes it has read the corrected event's rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// Account of the corrected event: the record's key.
    pub account: String,
    /// The corrected event as JSON, as its row has it.
    pub event: String,
    /// What it came to; none where events are only counted.
    pub rating: Option<StoredRating>,
    /// The event that asks for it; none where a person voids.
    pub request: Option<CorrectionRequest>,
    /// Why.
    pub why: String,
    /// Who carries it out.
    pub by: String,
}

/// The shape in JSON.
#[derive(Serialize, Deserialize)]
struct Wire<T> {
    command: String,
    #[serde(flatten)]
    correction: T,
}

impl Correction {
    /// Reads a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let mut value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let name = value.as_object_mut().and_then(|object| object.remove("command"));
        if name.as_ref().and_then(|name| name.as_str()) != Some(CORRECT) {
            return Err(format!("command: is not {CORRECT:?}"));
        }
        let correction: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        for (name, text) in [("account", &correction.account), ("by", &correction.by)] {
            if text.trim().is_empty() {
                return Err(format!("{name}: is required"));
            }
        }
        if let Some(rating) = &correction.rating {
            rating.check()?;
        }
        Ok(correction)
    }

    /// The record's value in the log. [`Correction::parse`] gives the same again.
    pub fn to_json(&self) -> String {
        let wire = Wire { command: CORRECT.to_owned(), correction: self };
        // No map with other keys than texts, so this does not fail.
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Hash of what it does, whoever asks for it: the same again is a repeat. Stable, as it is
    /// stored.
    pub fn content_hash(&self) -> u64 {
        let raw = self.request.as_ref().map_or("", |request| &request.raw);
        let parts = [&b"correct"[..], self.event.as_bytes(), raw.as_bytes()];
        xxh3_64(&parts.join(&0))
    }
}

/// Whole numbers beyond 2^53 as decimal texts.
mod decimal {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(number: &i128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(number)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<i128, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(|_| D::Error::custom(format!("{text:?} is not a whole number")))
    }
}

/// A currency by its code.
mod code {
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::money::Currency;

    #[expect(clippy::ref_option, reason = "serde passes references")]
    pub(super) fn serialize<S: Serializer>(
        currency: &Option<Currency>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        currency.as_ref().map(Currency::code).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Currency>, D::Error> {
        let Some(text) = Option::<String>::deserialize(from)? else { return Ok(None) };
        let currency = Currency::parse(&text);
        currency.map(Some).ok_or_else(|| D::Error::custom(format!("{text:?} is not a currency")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn correction() -> Correction {
        let debit = Charge {
            kind: ChargeKind::Debit,
            bucket: Some("c1/0".into()),
            package: Some("telecom-10m".into()),
            cause: None,
            points_micro: 1 << 70,
            amount_pico: 7,
            currency: Some(Currency::CNY),
        };
        Correction {
            account: "A1".into(),
            event: "{}".into(),
            rating: Some(StoredRating {
                points_micro: 1 << 70,
                retail_pico: 7,
                retail_currency: Some(Currency::CNY),
                retail_price_ids: Some("telecom-10m".into()),
                wholesale_pico: 5,
                wholesale_currency: "CNY".into(),
                wholesale_price_ids: "p".into(),
                price_book_version: "1-a".into(),
                charges: vec![debit],
            }),
            request: Some(CorrectionRequest {
                raw: "{\"a\":\"é\"}".into(),
                held: Some(HeldPosition { partition: 1, offset: 1 << 60, batch_index: 3 }),
            }),
            why: "counted twice".into(),
            by: "alice".into(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        let full = correction();
        assert_eq!(Correction::parse(full.to_json().as_bytes()), Ok(full.clone()));
        let bare = Correction { rating: None, request: None, ..full.clone() };
        assert_eq!(Correction::parse(bare.to_json().as_bytes()), Ok(bare.clone()));
        let other = Correction { by: "bob".into(), ..bare.clone() };
        assert_eq!(other.content_hash(), bare.content_hash());
        let another = Correction { event: "{ }".into(), ..bare.clone() };
        assert_ne!(another.content_hash(), bare.content_hash());
        assert_ne!(full.content_hash(), bare.content_hash());
    }

    #[test]
    fn what_is_wrong_is_named() {
        let text = correction().to_json();
        for (from, to, said) in [
            ("\"correct\"", "\"recycle\"", "command: is not"),
            ("\"by\":\"alice\"", "\"by\":\" \"", "by: is required"),
            ("\"by\"", "\"colour\":1,\"by\"", "unknown field"),
            ("\"amount_pico\":\"7\"", "\"amount_pico\":\"6\"", "not what the event came to"),
            ("\"amount_pico\":\"7\"", "\"amount_pico\":\"-7\"", "that no event has"),
            ("\"bucket\":\"c1/0\"", "\"bucket\":null", "needs its bucket"),
            ("\"wholesale_currency\":\"CNY\"", "\"wholesale_currency\":\"\"", "no wholesale"),
        ] {
            assert!(text.contains(from), "{from}: {text}");
            let wrong = Correction::parse(text.replacen(from, to, 1).as_bytes());
            assert!(wrong.as_ref().is_err_and(|words| words.contains(said)), "{to}: {wrong:?}");
        }
    }

    #[test]
    fn what_is_corrected_is_part_of_the_content() {
        let corrects =
            |id: &str, kind| Corrects { source: "gw".into(), id: id.into(), kind }.mixed_into(7);
        let hashes = [
            corrects("1", CorrectionKind::Void),
            corrects("2", CorrectionKind::Void),
            corrects("1", CorrectionKind::Replace),
            7,
        ];
        let unique: std::collections::BTreeSet<u64> = hashes.into_iter().collect();
        assert_eq!(unique.len(), 4);
        assert_eq!(reversal_id(0xab), "reversal-00000000000000ab");
    }
}

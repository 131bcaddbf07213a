//! What an epoch adds by model: the increments in a ledger entry, and the message of the topic
//! `usage.models` that carries them to whoever adds up what spans accounts.

use std::collections::BTreeMap;

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::ledger_entry::LedgerEntry;
use crate::money::Currency;
use crate::token_class::{CLASS_COUNT, TokenClass};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// What Asia/Shanghai is ahead of UTC, all year since 1991.
const SHANGHAI_OFFSET_MS: i64 = 8 * 3_600_000;

/// A date of Asia/Shanghai as days since 1970-01-01. In JSON it is the date, such as `2026-11-22`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShanghaiDay(i32);

impl ShanghaiDay {
    /// The day that an instant lies in, milliseconds of UTC. Instants beyond the calendar's years
    /// lie in its first or last day.
    pub fn of_instant(at_ms: i64) -> Self {
        let days = at_ms.saturating_add(SHANGHAI_OFFSET_MS).div_euclid(DAY_MS);
        Self(i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX })).in_range()
    }

    /// The day of a date.
    pub fn of_date(date: Date) -> Self {
        Self(date.since(EPOCH).map_or(0, |span| span.get_days()))
    }

    /// Days since 1970-01-01.
    pub fn days(self) -> i32 {
        self.0
    }

    /// Its date.
    pub fn date(self) -> Date {
        EPOCH.saturating_add(jiff::Span::new().days(self.in_range().0))
    }

    /// Its first millisecond, UTC.
    pub fn start_ms(self) -> i64 {
        i64::from(self.0).saturating_mul(DAY_MS).saturating_sub(SHANGHAI_OFFSET_MS)
    }

    /// The day after it.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// The first day of its month.
    #[must_use]
    pub fn month_start(self) -> Self {
        Self::of_date(self.date().first_of_month())
    }

    /// The first day of the month after its own.
    #[must_use]
    pub fn next_month(self) -> Self {
        Self::of_date(self.date().last_of_month()).next()
    }

    fn in_range(self) -> Self {
        Self(self.0.clamp(-4_000_000, 2_900_000))
    }
}

const EPOCH: Date = jiff::civil::date(1970, 1, 1);

impl std::fmt::Display for ShanghaiDay {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.date().fmt(f)
    }
}

impl std::str::FromStr for ShanghaiDay {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("{text:?} is not a date such as 2026-11-22");
        // The library's parser lets a time of day follow.
        if text.len() != 10 {
            return Err(wrong());
        }
        text.parse::<Date>().map(Self::of_date).map_err(|_| wrong())
    }
}

impl Serialize for ShanghaiDay {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ShanghaiDay {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What usage by model is kept by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ModelDay {
    /// Day in Asia/Shanghai on which the `usage_by_model` window begins.
    pub day: ShanghaiDay,
    /// Requested model.
    pub model: String,
    /// Vendor of the model.
    pub vendor: String,
    /// Who supplied it.
    pub supplier: String,
    /// Currency of the retail side, where there is one.
    pub retail_currency: Option<Currency>,
    /// Currency of the wholesale side; absent where events are only counted.
    pub wholesale_currency: Option<Currency>,
}

/// Sums of usage. Signed, because a correction takes back what was added.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModelSums {
    /// Events.
    pub events: i128,
    /// By class, in the order of [`TokenClass::ALL`].
    pub usage: [i128; CLASS_COUNT],
    /// Micro-points.
    pub points_micro: i128,
    /// Pico-currency of the retail side.
    pub retail_pico: i128,
    /// Pico-currency of the wholesale side.
    pub wholesale_pico: i128,
}

impl ModelSums {
    /// Adds others; `None` where a sum would pass an `i128`.
    #[must_use]
    pub fn plus(&self, more: &Self) -> Option<Self> {
        let mut usage = self.usage;
        for (sum, more) in usage.iter_mut().zip(more.usage) {
            *sum = sum.checked_add(more)?;
        }
        Some(Self {
            events: self.events.checked_add(more.events)?,
            usage,
            points_micro: self.points_micro.checked_add(more.points_micro)?,
            retail_pico: self.retail_pico.checked_add(more.retail_pico)?,
            wholesale_pico: self.wholesale_pico.checked_add(more.wholesale_pico)?,
        })
    }

    /// Sum of the disjoint token classes.
    pub fn tokens(&self) -> i128 {
        let counted = TokenClass::ALL.into_iter().filter(|class| class.in_total());
        counted.fold(0, |sum, class| sum.saturating_add(self.usage[class.index()]))
    }
}

/// Usage of one model on one day. In JSON, sums are decimal strings, as they may pass 2^53, and
/// classes without usage are left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "IncrementWire", try_from = "IncrementWire")]
pub struct ModelIncrement {
    /// Of what.
    pub of: ModelDay,
    /// How much.
    pub sums: ModelSums,
}

/// JSON shape of a [`ModelIncrement`].
#[derive(Serialize, Deserialize)]
struct IncrementWire {
    day: ShanghaiDay,
    model: String,
    vendor: String,
    supplier: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retail_currency: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    wholesale_currency: Option<String>,
    events: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    usage: BTreeMap<String, String>,
    points_micro: String,
    retail_pico: String,
    wholesale_pico: String,
}

impl From<ModelIncrement> for IncrementWire {
    fn from(ModelIncrement { of, sums }: ModelIncrement) -> Self {
        let text = |currency: Option<Currency>| currency.map(|currency| currency.to_string());
        let used = TokenClass::ALL.into_iter().filter(|class| sums.usage[class.index()] != 0);
        Self {
            day: of.day,
            model: of.model,
            vendor: of.vendor,
            supplier: of.supplier,
            retail_currency: text(of.retail_currency),
            wholesale_currency: text(of.wholesale_currency),
            events: sums.events.to_string(),
            usage: used
                .map(|class| (class.name().to_owned(), sums.usage[class.index()].to_string()))
                .collect(),
            points_micro: sums.points_micro.to_string(),
            retail_pico: sums.retail_pico.to_string(),
            wholesale_pico: sums.wholesale_pico.to_string(),
        }
    }
}

impl TryFrom<IncrementWire> for ModelIncrement {
    type Error = String;

    fn try_from(wire: IncrementWire) -> Result<Self, Self::Error> {
        let currency = |code: Option<String>| {
            let parse =
                |code: String| Currency::parse(&code).ok_or(format!("{code:?} is not a currency"));
            code.map(parse).transpose()
        };
        let number = |text: &str| {
            text.parse::<i128>().map_err(|_| format!("{text:?} is not a whole number"))
        };
        let mut usage = [0; CLASS_COUNT];
        for (name, sum) in &wire.usage {
            let class =
                TokenClass::from_name(name).ok_or_else(|| format!("unknown class {name:?}"))?;
            usage[class.index()] = number(sum)?;
        }
        Ok(Self {
            of: ModelDay {
                day: wire.day,
                model: wire.model,
                vendor: wire.vendor,
                supplier: wire.supplier,
                retail_currency: currency(wire.retail_currency)?,
                wholesale_currency: currency(wire.wholesale_currency)?,
            },
            sums: ModelSums {
                events: number(&wire.events)?,
                usage,
                points_micro: number(&wire.points_micro)?,
                retail_pico: number(&wire.retail_pico)?,
                wholesale_pico: number(&wire.wholesale_pico)?,
            },
        })
    }
}

/// A message of `usage.models`: what one committed ledger entry added. The key is the partition.
/// Every entry has one, those without usage too, so that a reader sees that it missed none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochIncrements {
    /// Topic whose ledger it is.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Partitions of the topic.
    pub partition_count: u32,
    /// Number of the ledger entry.
    pub epoch: u64,
    /// BLAKE3 of the entry's bytes, in hex.
    pub entry: String,
    /// The same of the entry before it; empty for entry 0.
    pub previous: String,
    /// When the entry's writer closed the epoch, milliseconds UTC.
    pub committed_at_ms: i64,
    /// The partition's watermark after it, milliseconds UTC.
    pub watermark_ms: Option<i64>,
    /// What it added; null where its writer did not tell, as builds before this message did not.
    pub increments: Option<Vec<ModelIncrement>>,
}

impl EpochIncrements {
    /// What an entry, whose bytes have this hash, added.
    pub fn of_entry(entry: &LedgerEntry, hash: &str) -> Self {
        Self {
            topic: entry.topic.clone(),
            partition: entry.partition,
            partition_count: entry.partition_count,
            epoch: entry.n,
            entry: hash.to_owned(),
            previous: entry.previous.clone(),
            committed_at_ms: entry.committed_at_ms,
            watermark_ms: entry.watermark_ms,
            increments: entry.tells_increments().then(|| entry.models.clone()),
        }
    }
}

/// How far the reader of `usage.models` has added a partition's epochs. Part of its own ledger
/// entries, so that what is due follows from the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourcePosition {
    /// Partition.
    pub partition: u32,
    /// The first epoch that was added; those before it had been cleaned up when it began.
    pub first: u64,
    /// The next epoch to add: all from `first` up to it are in the sums, each once.
    pub next: u64,
    /// Hash of entry `next - 1`, in hex.
    pub entry: String,
    /// The partition's watermark after it, milliseconds UTC.
    pub watermark_ms: Option<i64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_day_begins_in_shanghai() {
        let day = ShanghaiDay::of_instant(at("2026-11-30T16:00:00Z"));
        assert_eq!(day.to_string(), "2026-12-01");
        assert_eq!(day.start_ms(), at("2026-12-01T00:00:00+08:00"));
        let before = ShanghaiDay::of_instant(at("2026-11-30T15:59:59.999Z"));
        assert_eq!((before.to_string().as_str(), before.next()), ("2026-11-30", day));
        assert_eq!(before.month_start().to_string(), "2026-11-01");
        assert_eq!((before.next_month(), day.next_month().to_string()), (day, "2027-01-01".into()));
    }

    #[test]
    fn days_agree_with_a_calendar_library() {
        let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
        let mut instant = at("1969-12-30T00:00:00Z");
        while instant < at("2104-03-02T00:00:00Z") {
            let date = jiff::Timestamp::from_millisecond(instant).unwrap().to_zoned(zone.clone());
            let day = ShanghaiDay::of_instant(instant);
            assert_eq!(day.date(), date.date());
            assert_eq!(day.start_ms(), date.start_of_day().unwrap().timestamp().as_millisecond());
            assert_eq!(day.to_string().parse(), Ok(day));
            instant += 7 * 3_600_000 + 1_013;
        }
        for far in [i64::MIN, i64::MAX] {
            let day = ShanghaiDay::of_instant(far);
            assert!(day.to_string().len() >= 10, "{day}");
        }
        for wrong in ["", "2026-11-31", "2026-11-22T00:00:00", "22.11.2026"] {
            assert!(wrong.parse::<ShanghaiDay>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_increment_survives_json_beyond_2_pow_64() {
        let mut usage = [0; CLASS_COUNT];
        usage[TokenClass::CachedInput.index()] = i128::from(u64::MAX) * 3;
        let increment = ModelIncrement {
            of: ModelDay {
                day: "2026-11-22".parse().unwrap(),
                model: "deepseek-v4-pro".into(),
                vendor: "deepseek".into(),
                supplier: "bailian".into(),
                retail_currency: None,
                wholesale_currency: Some(Currency::CNY),
            },
            sums: ModelSums { events: 3, usage, wholesale_pico: -7, ..ModelSums::default() },
        };
        let text = serde_json::to_string(&increment).unwrap();
        assert_eq!(serde_json::from_str::<ModelIncrement>(&text).unwrap(), increment);
        assert!(text.contains(r#""usage":{"cached_input":"55340232221128654845"}"#), "{text}");
        assert!(!text.contains("retail_currency"), "{text}");
        let broken = text.replace("cached_input", "cached");
        assert!(serde_json::from_str::<ModelIncrement>(&broken).is_err());
    }
}

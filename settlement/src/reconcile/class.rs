//! The fifteen ways in which two figures of one thing can differ, and the order of decision. The
//! rules are in `docs/reconciliation.md`.

use std::fmt;

use tally_schemas::UsageSource;

use super::instant::DAY_MS;
use super::mapping::BillMapping;
use super::names::{NameId, Names};
use super::record::Record;
use super::{CompareBug, planted};

/// Why a record or a group differs. Each has exactly one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// The vendor bills it, we do not have it.
    MissingAtOurs,
    /// We have it, the vendor does not bill it.
    MissingAtTheirs,
    /// One side has it more than once.
    Duplicate,
    /// Another number of tokens.
    TokenCount,
    /// As many tokens, in other classes: cached or not.
    TokenClass,
    /// Another billed model.
    Model,
    /// The same counts at another price.
    PriceVersion,
    /// Another time: zone, midnight or month end.
    TimeShift,
    /// Another currency.
    Currency,
    /// No more than rounding explains.
    Rounding,
    /// Our counts are the gateway's estimate.
    Estimated,
    /// The client left, and our counts end there.
    ClientAborted,
    /// Another service tier.
    ServiceTier,
    /// One side took it off as free quota.
    FreeQuota,
    /// The vendor's amount contains tax.
    Tax,
}

impl Class {
    /// Every class in the order in which they are listed.
    pub const ALL: [Self; 15] = [
        Self::MissingAtOurs,
        Self::MissingAtTheirs,
        Self::Duplicate,
        Self::TokenCount,
        Self::TokenClass,
        Self::Model,
        Self::PriceVersion,
        Self::TimeShift,
        Self::Currency,
        Self::Rounding,
        Self::Estimated,
        Self::ClientAborted,
        Self::ServiceTier,
        Self::FreeQuota,
        Self::Tax,
    ];

    /// Name in files and tables.
    pub const fn name(self) -> &'static str {
        match self {
            Self::MissingAtOurs => "missing_at_ours",
            Self::MissingAtTheirs => "missing_at_theirs",
            Self::Duplicate => "duplicate",
            Self::TokenCount => "token_count",
            Self::TokenClass => "token_class",
            Self::Model => "model",
            Self::PriceVersion => "price_version",
            Self::TimeShift => "time_shift",
            Self::Currency => "currency",
            Self::Rounding => "rounding",
            Self::Estimated => "estimated",
            Self::ClientAborted => "client_aborted",
            Self::ServiceTier => "service_tier",
            Self::FreeQuota => "free_quota",
            Self::Tax => "tax",
        }
    }

    /// What it means, for people.
    pub const fn title(self) -> &'static str {
        match self {
            Self::MissingAtOurs => "Billed by the vendor, unknown to us",
            Self::MissingAtTheirs => "Known to us, not billed by the vendor",
            Self::Duplicate => "More than once on one side",
            Self::TokenCount => "Another number of tokens",
            Self::TokenClass => "Same number of tokens, other classes",
            Self::Model => "Another model",
            Self::PriceVersion => "Same counts, another price",
            Self::TimeShift => "Another day or month",
            Self::Currency => "Another currency",
            Self::Rounding => "Rounding only",
            Self::Estimated => "Our gateway estimated",
            Self::ClientAborted => "The client left",
            Self::ServiceTier => "Another service tier",
            Self::FreeQuota => "Free quota applied by one side",
            Self::Tax => "Amount with tax",
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Both sides say the same.
    Agree,
    /// They do not; a word says more where there is more to say.
    Differs(Class, &'static str),
}

/// Words that gateways have for a client that left.
const ABORTED: [&str; 8] = [
    "client_disconnect",
    "client_aborted",
    "client_abort",
    "client_closed",
    "aborted",
    "abort",
    "cancelled",
    "canceled",
];

/// What the decision depends on beside the two records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Whether the bill has counts.
    pub has_counts: bool,
    /// Largest difference of amounts that rounding explains, in pico-currency.
    pub rounding_pico: i128,
    /// Tax rate, in ppm; 0 knows no tax.
    pub tax_ppm: u64,
    /// How far the two times of one call may be apart.
    pub time_tolerance_ms: i64,
    /// Offset of the bill's days from UTC.
    pub offset_ms: i64,
    /// Names of ends where the client left.
    pub aborted: Vec<NameId>,
}

/// Parts per million of a whole.
const PPM: i128 = 1_000_000;

/// Zones lie whole quarters of an hour apart, fourteen hours at most.
const ZONE_STEP_MS: u64 = 900_000;
const ZONE_MAX_MS: u64 = 14 * 3_600_000;

/// How much the clocks of two machines may differ and still tell the same zone apart.
const CLOCKS_MS: u64 = 60_000;

impl Rules {
    /// The rules of a mapping.
    pub fn new(mapping: &BillMapping, names: &mut Names) -> Self {
        Self {
            has_counts: mapping.has_counts(),
            rounding_pico: mapping.amount.rounding_pico,
            tax_ppm: mapping.amount.tax_ppm,
            time_tolerance_ms: mapping.time.tolerance_ms,
            offset_ms: mapping.time.offset_ms,
            aborted: ABORTED.iter().map(|word| names.id(word)).collect(),
        }
    }

    /// Compares one request as both sides have it. The first rule that holds decides.
    pub fn decide(&self, ours: &Record<'_>, theirs: &Record<'_>) -> Verdict {
        use Verdict::Differs;
        if ours.currency != theirs.currency {
            return Differs(Class::Currency, "");
        }
        if ours.model != theirs.model {
            return Differs(Class::Model, "");
        }
        if ours.tier != theirs.tier {
            return Differs(Class::ServiceTier, "");
        }
        let other_counts = if planted(CompareBug::ClassesIgnored) {
            ours.counts.token_total() != theirs.counts.token_total()
        } else {
            ours.counts != theirs.counts
        };
        if self.has_counts && other_counts {
            return self.decide_counts(ours, theirs);
        }
        if let Some(detail) = self.time_shift(ours, theirs) {
            return Differs(Class::TimeShift, detail);
        }
        match self.decide_amounts(ours.amount_pico, theirs.amount_pico, theirs.credit_pico, 1) {
            None => Verdict::Agree,
            Some(class) => Differs(class, ""),
        }
    }

    fn decide_counts(&self, ours: &Record<'_>, theirs: &Record<'_>) -> Verdict {
        let left = ours.usage_source == UsageSource::Partial || self.aborted.contains(&ours.finish);
        let class = if left {
            Class::ClientAborted
        } else if ours.usage_source == UsageSource::Estimated
            && !planted(CompareBug::EstimateTakenAsCount)
        {
            Class::Estimated
        } else if ours.counts.token_total() == theirs.counts.token_total() {
            Class::TokenClass
        } else {
            Class::TokenCount
        };
        Verdict::Differs(class, "")
    }

    /// Compares the amounts of what both sides count alike; `lines` were rounded on their own.
    /// `None` where they are equal.
    pub(crate) fn decide_amounts(
        &self,
        ours_pico: i128,
        theirs_pico: i128,
        credit_pico: i128,
        lines: u64,
    ) -> Option<Class> {
        if ours_pico == theirs_pico {
            return None;
        }
        let rounding = self.rounding_pico.saturating_mul(i128::from(lines.max(1))).unsigned_abs();
        let rounding = if planted(CompareBug::RoundingTooWide) {
            rounding.saturating_mul(1_000)
        } else {
            rounding
        };
        if credit_pico != 0 {
            return Some(Class::FreeQuota);
        }
        if ours_pico.abs_diff(theirs_pico) <= rounding {
            return Some(Class::Rounding);
        }
        if (ours_pico == 0 || theirs_pico == 0) && !planted(CompareBug::FreeQuotaUnknown) {
            return Some(Class::FreeQuota);
        }
        let taxed = self.tax_ppm > 0 && !planted(CompareBug::TaxUnknown);
        if taxed && self.is_with_tax(ours_pico, theirs_pico, rounding) {
            return Some(Class::Tax);
        }
        Some(Class::PriceVersion)
    }

    /// Whether `theirs = ours × (1 + rate)`, to the rounding or one pico.
    fn is_with_tax(&self, ours_pico: i128, theirs_pico: i128, rounding: u128) -> bool {
        let rate = i128::from(self.tax_ppm);
        let Some(tax) = ours_pico.checked_mul(rate).map(|tax| tax.div_euclid(PPM)) else {
            return false;
        };
        let gross = ours_pico.saturating_add(tax);
        gross.abs_diff(theirs_pico) <= rounding.max(1)
    }

    /// Which kind of shift there is between the two times of one call, if there is one.
    fn time_shift(&self, ours: &Record<'_>, theirs: &Record<'_>) -> Option<&'static str> {
        let apart_ms = match (ours.at_ms, theirs.at_ms) {
            (Some(ours), Some(theirs)) => Some(ours.abs_diff(theirs)),
            _ => None,
        };
        let tolerance = self.time_tolerance_ms.unsigned_abs();
        let far = apart_ms.is_some_and(|apart| apart > tolerance);
        // A line of another month has no place in this bill, even where we agree on its time.
        if ours.in_period != theirs.in_period || !theirs.in_period {
            return Some("month_end");
        }
        let passes = !far || planted(CompareBug::SameDayShiftPasses);
        if passes && ours.day == theirs.day {
            return None;
        }
        if let Some(apart) = apart_ms {
            let rest = (apart % ZONE_STEP_MS).min(ZONE_STEP_MS - apart % ZONE_STEP_MS);
            // Steps apart to within a minute: that much do the clocks of two machines differ.
            return Some(match (far, apart <= ZONE_MAX_MS && rest <= CLOCKS_MS) {
                (false, _) => "midnight",
                (true, true) => "zone",
                (true, false) => "clock",
            });
        }
        let at_ms = ours.at_ms? + self.offset_ms;
        let past_ms = at_ms.rem_euclid(DAY_MS);
        let near = past_ms.min(DAY_MS - past_ms) <= self.time_tolerance_ms;
        Some(if near { "midnight" } else { "zone" })
    }
}

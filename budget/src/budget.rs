//! A budget: how much of what may be used within which period, and at what part of it to say so.

use tally_rating::{ModelPattern, Version};
use tally_schemas::{Currency, ModelDay, ModelSums, PICO, ShanghaiDay};

use crate::planted::{Bug, planted};

/// Micro-units of one unit: alerts tell what was used in these.
const MICRO: i128 = 1_000_000;

/// What kind of promise it is; the kind of its alerts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BudgetKind {
    /// What the operator means to spend or sell.
    Budget,
    /// What was paid to a vendor beforehand and is drawn down.
    Commitment,
}

impl BudgetKind {
    /// Name in files, alerts and SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Budget => "budget",
            Self::Commitment => "commitment",
        }
    }
}

/// Side of an amount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// What subscribers owe.
    Retail,
    /// What vendors are owed.
    Wholesale,
}

/// Which usage counts. What is not said matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Requested model.
    pub model: Option<ModelPattern>,
    /// Vendor of the model.
    pub vendor: Option<String>,
    /// Who supplied it.
    pub supplier: Option<String>,
}

impl Scope {
    /// Whether usage counts.
    pub fn contains(&self, of: &ModelDay) -> bool {
        self.model.as_ref().is_none_or(|pattern| pattern.matches(&of.model))
            && self.vendor.as_ref().is_none_or(|vendor| *vendor == of.vendor)
            && self.supplier.as_ref().is_none_or(|supplier| *supplier == of.supplier)
    }

    /// What alerts are about: the model, else the vendor, else the supplier, else `*`.
    pub fn subject(&self) -> String {
        match (&self.model, &self.vendor, &self.supplier) {
            (Some(ModelPattern::Exact(name)), ..) => name.clone(),
            (Some(ModelPattern::Prefix(prefix)), ..) => format!("{prefix}*"),
            (None, Some(vendor), _) => vendor.clone(),
            (None, None, Some(supplier)) => supplier.clone(),
            (None, None, None) => "*".to_owned(),
        }
    }
}

/// What is counted, and how much of it there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Measure {
    /// Money of one side in one currency; usage in another currency does not count.
    Amount {
        /// Side.
        side: Side,
        /// Currency.
        currency: Currency,
        /// Micro-currency.
        limit_micro: i64,
    },
    /// Points.
    Points {
        /// Micro-points.
        limit_micro: i64,
    },
    /// Tokens of every disjoint class.
    Tokens {
        /// Tokens.
        limit: i64,
    },
}

impl Measure {
    /// Name in SQL.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Amount { side: Side::Retail, .. } => "retail_amount",
            Self::Amount { side: Side::Wholesale, .. } => "wholesale_amount",
            Self::Points { .. } => "points",
            Self::Tokens { .. } => "tokens",
        }
    }

    /// Currency of an amount.
    pub const fn currency(&self) -> Option<Currency> {
        match self {
            Self::Amount { currency, .. } => Some(*currency),
            Self::Points { .. } | Self::Tokens { .. } => None,
        }
    }

    /// What may be used: pico-currency, micro-points or tokens.
    pub fn limit(&self) -> i128 {
        match self {
            Self::Amount { limit_micro, .. } => i128::from(*limit_micro) * (PICO / MICRO),
            Self::Points { limit_micro } => i128::from(*limit_micro),
            Self::Tokens { limit } => i128::from(*limit),
        }
    }

    /// What usage counts: pico-currency, micro-points or tokens.
    pub fn of(&self, of: &ModelDay, sums: &ModelSums) -> i128 {
        match self {
            Self::Amount { side: Side::Retail, currency, .. } => {
                if of.retail_currency == Some(*currency) { sums.retail_pico } else { 0 }
            }
            Self::Amount { side: Side::Wholesale, currency, .. } => {
                let counts =
                    of.wholesale_currency == Some(*currency) || planted(Bug::CurrencyIgnored);
                if counts { sums.wholesale_pico } else { 0 }
            }
            Self::Points { .. } => sums.points_micro,
            Self::Tokens { .. } => sums.tokens(),
        }
    }

    /// A count in millionths of currency, points or tokens, rounded down, as alerts tell it.
    pub fn micro(&self, count: i128) -> i128 {
        match self {
            Self::Amount { .. } => count.div_euclid(PICO / MICRO),
            Self::Points { .. } => count,
            Self::Tokens { .. } => count.saturating_mul(MICRO),
        }
    }

    /// Whether a threshold is reached: `used × 100 ≥ limit × percent`, without passing an `i128`.
    pub fn is_reached(&self, used: i128, percent: u32) -> bool {
        let of_limit = self.limit().saturating_mul(i128::from(percent));
        // The smallest count that is so much of it.
        let least = of_limit.saturating_add(99).div_euclid(100);
        if planted(Bug::ThresholdExceeded) { used > least } else { used >= least }
    }

    /// The same thing is counted, however much of it there is.
    fn counts_like(&self, other: &Self) -> bool {
        (self.name(), self.currency()) == (other.name(), other.currency())
    }
}

/// How long the limit is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Each day of Asia/Shanghai.
    Day,
    /// Each month of Asia/Shanghai.
    Month,
    /// Once, for as long as the budget is valid.
    Once,
}

impl Period {
    /// Name in files and SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Month => "month",
            Self::Once => "once",
        }
    }
}

/// One period, half-open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// First day.
    pub from: ShanghaiDay,
    /// The day after the last.
    pub to: ShanghaiDay,
}

/// One version of a budget or commitment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    /// Id, when it became known, who approved it.
    pub version: Version,
    /// Budget or commitment.
    pub kind: BudgetKind,
    /// Title in Chinese.
    pub title: String,
    /// Title in English.
    pub title_en: String,
    /// Which usage counts.
    pub scope: Scope,
    /// What is counted and how much of it there is.
    pub measure: Measure,
    /// How long that is for.
    pub period: Period,
    /// Usage of days before does not count.
    pub valid_from: ShanghaiDay,
    /// Usage from this day on does not count.
    pub valid_to: Option<ShanghaiDay>,
    /// Percent of the limit, rising.
    pub thresholds: Vec<u32>,
    /// Made up, to show the form.
    pub example: bool,
}

impl Budget {
    /// The period that a day's usage counts in, `None` where it counts for nothing.
    pub fn period_of(&self, day: ShanghaiDay) -> Option<Span> {
        if day < self.valid_from || self.valid_to.is_some_and(|to| to <= day) {
            return None;
        }
        Some(match (self.period, self.valid_to) {
            (Period::Month, _) => Span { from: day.month_start(), to: day.next_month() },
            (Period::Once, Some(to)) => Span { from: self.valid_from, to },
            // Without an end there is no whole; the reader of files refuses it.
            (Period::Once, None) | (Period::Day, _) => Span { from: day, to: day.next() },
        })
    }

    /// Whether the period that it counts was over, with nothing more to come on time, at a
    /// watermark.
    pub(crate) fn is_over(span: Span, watermark_ms: Option<i64>) -> bool {
        watermark_ms.is_some_and(|watermark| watermark >= span.to.start_ms())
    }

    /// Whether this version, which follows `before`, is armed anew: it counts something else, or
    /// has more of it.
    pub(crate) fn arms_anew(&self, before: &Self) -> bool {
        self.kind != before.kind
            || self.scope != before.scope
            || self.period != before.period
            || !self.measure.counts_like(&before.measure)
            || self.measure.limit() > before.measure.limit()
    }
}

//! What is sold: packages, tariffs and their thresholds, each in versions.

use tally_schemas::Currency;
use xxhash_rust::xxh3::xxh3_64;

use crate::window::Window;

/// How long a package lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Months.
    Months(u32),
    /// Days of 24 hours.
    Days(u32),
    /// Hours.
    Hours(u32),
}

/// What a period is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// The purchase.
    Purchase,
    /// The calendar month or day.
    Calendar,
}

/// Who a package is sold to and for what.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PackageKind {
    /// Bought.
    Paid,
    /// A trial.
    Trial,
    /// A gift.
    Free,
}

impl PackageKind {
    /// Whether it is used before what was paid for.
    pub const fn is_free(self) -> bool {
        matches!(self, Self::Trial | Self::Free)
    }
}

/// What becomes of points that are left at the end of the period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollover {
    /// They expire.
    None,
    /// They can be used for one more period.
    NextPeriod {
        /// Of them at most this many micro-points.
        max_micro: Option<i64>,
    },
}

/// What a gateway is to do when the package is used up, unless a tariff is consented to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverflowPolicy {
    /// Refuse.
    Block,
    /// Offer pay as you go.
    Payg,
    /// Slow down.
    Throttle,
}

/// What a second purchase does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stacking {
    /// It begins where the one before ends.
    Queue,
    /// It begins at once.
    Parallel,
}

/// A limit of usage in a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cap {
    /// The window.
    pub window: Window,
    /// Micro-points.
    pub limit_micro: i64,
}

/// What a threshold watches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ThresholdKind {
    /// Percent of a bucket's allowance.
    PercentUsed,
    /// Micro-points left of a bucket.
    PointsLeft,
    /// Days to a bucket's end.
    ExpiresSoon,
    /// Percent of a cap.
    Cap,
    /// Micro-points of a package in an hour.
    Spike,
    /// Hours until a bucket is used up.
    Forecast,
    /// Micro-currency of pay as you go in a month.
    OverflowSpent,
    /// Micro-points of overrun in a month.
    Overrun,
}

impl ThresholdKind {
    /// Every kind, in the order in which those that one event crosses are told.
    pub const ALL: [Self; 8] = [
        Self::PercentUsed,
        Self::PointsLeft,
        Self::ExpiresSoon,
        Self::Cap,
        Self::Spike,
        Self::Forecast,
        Self::OverflowSpent,
        Self::Overrun,
    ];

    /// Name, also the kind of the alert.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PercentUsed => "percent_used",
            Self::PointsLeft => "points_left",
            Self::ExpiresSoon => "expires_soon",
            Self::Cap => "cap",
            Self::Spike => "spike",
            Self::Forecast => "forecast",
            Self::OverflowSpent => "overflow_spent",
            Self::Overrun => "overrun",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether it belongs to an account instead of a package.
    pub const fn of_account(self) -> bool {
        matches!(self, Self::OverflowSpent | Self::Overrun)
    }
}

/// A value at which an alert goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threshold {
    /// What it watches, and in which unit.
    pub kind: ThresholdKind,
    /// The value.
    pub at: i64,
}

/// One version of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Package {
    /// Id, shared by the versions.
    pub id: String,
    /// Chinese title.
    pub title: String,
    /// English title.
    pub title_en: String,
    /// Price in micro-currency.
    pub price_micro: i64,
    /// Currency of the price.
    pub currency: Currency,
    /// How long it lasts.
    pub period: Period,
    /// What the period is counted from.
    pub anchor: Anchor,
    /// Micro-points.
    pub allowance_micro: i64,
    /// Id of the weight table.
    pub weights: String,
    /// Whether it is paid for.
    pub kind: PackageKind,
    /// Lower is used first.
    pub priority: i64,
    /// Whether it is meant for its models or products, and so is used before all others.
    pub directed: bool,
    /// Models that it may be used for, exact or ended by `*`; none: all.
    pub models: Vec<String>,
    /// Products that it may be used for; none: all.
    pub products: Vec<String>,
    /// What becomes of what is left.
    pub rollover: Rollover,
    /// Limits within windows.
    pub caps: Vec<Cap>,
    /// When alerts go out.
    pub thresholds: Vec<Threshold>,
    /// What a gateway does when it is used up.
    pub overflow: OverflowPolicy,
    /// What a second purchase does.
    pub stacking: Stacking,
    /// Who bears a free one: `operator`, `vendor`, `shared`.
    pub funded_by: String,
    /// Only accounts of this region may buy it.
    pub region: Option<String>,
    /// Whether its figures are made up.
    pub example: bool,
    /// Where its figures are from.
    pub source: String,
    /// Sold from, ms of UTC.
    pub valid_from_ms: i64,
    /// Sold until, ms of UTC.
    pub valid_to_ms: Option<i64>,
    /// Known from, ms of UTC.
    pub known_from_ms: i64,
    /// Who approved it; without approval it is not sold.
    pub approved_by: Option<String>,
    /// When, ms of UTC.
    pub approved_at_ms: Option<i64>,
    /// File and line where it is written; empty where it is not from a file.
    pub place: String,
    /// Known from, as it is written.
    pub(crate) written_ms: Option<i64>,
    /// Thresholds as they are written; empty where the package does not say. They tell versions
    /// apart, so that layers approved before there was a default keep the versions that they had.
    pub(crate) written_thresholds: Vec<Threshold>,
    /// Windows in which usage of the package is counted: those of the caps of all its versions.
    pub(crate) counted: Vec<Window>,
    /// Whether any of its versions watches spikes.
    pub(crate) watched: bool,
    /// [`version_hash`].
    pub(crate) hash: u64,
    /// [`name_hash`] of the id.
    pub(crate) id_hash: u64,
}

impl Package {
    /// Pico-currency.
    pub fn price_pico(&self) -> i128 {
        i128::from(self.price_micro) * 1_000_000
    }

    /// Whether usage of a model and product may be charged to it.
    pub fn may_take(&self, model: &str, billed_model: &str, product: Option<&str>) -> bool {
        let model_fits = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => model.starts_with(prefix) || billed_model.starts_with(prefix),
            None => model == pattern || billed_model == pattern,
        };
        (self.models.is_empty() || self.models.iter().any(model_fits))
            && (self.products.is_empty()
                || product.is_some_and(|product| self.products.iter().any(|p| p == product)))
    }

    /// Whether it is sold at an instant.
    pub fn sold_at(&self, at_ms: i64) -> bool {
        self.valid_from_ms <= at_ms && self.valid_to_ms.is_none_or(|to| at_ms < to)
    }
}

/// One version of a pay-as-you-go tariff.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tariff {
    /// Id, shared by the versions.
    pub id: String,
    /// Chinese title.
    pub title: String,
    /// English title.
    pub title_en: String,
    /// Currency of the price.
    pub currency: Currency,
    /// Micro-currency of 1,000,000 points.
    pub price_micro_per_million_points: i64,
    /// Only accounts of this region may consent to it.
    pub region: Option<String>,
    /// When alerts go out.
    pub thresholds: Vec<Threshold>,
    /// Where its figures are from.
    pub source: String,
    /// Known from, ms of UTC.
    pub known_from_ms: i64,
    /// Who approved it; without approval it is not used.
    pub approved_by: Option<String>,
    /// When, ms of UTC.
    pub approved_at_ms: Option<i64>,
    /// File and line where it is written; empty where it is not from a file.
    pub place: String,
    /// Known from, as it is written.
    pub(crate) written_ms: Option<i64>,
    /// [`name_hash`] of the id.
    pub(crate) id_hash: u64,
}

/// Whether something of a region is for an account of a region.
pub(crate) fn region_fits(offered: Option<&str>, account: Option<&str>) -> bool {
    offered.is_none_or(|region| account == Some(region))
}

/// Stands for a name in state.
pub(crate) fn name_hash(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// Stands for a package's version in state: never its position, which changes with the reference
/// data.
pub(crate) fn version_hash(id: &str, known_from_ms: i64) -> u64 {
    let mut bytes = Vec::with_capacity(id.len() + 8);
    bytes.extend_from_slice(&known_from_ms.to_le_bytes());
    bytes.extend_from_slice(id.as_bytes());
    xxh3_64(&bytes)
}

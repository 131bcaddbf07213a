//! A price: what one class of one model costs, for whom, and when.

use tally_schemas::{Currency, TokenClass, UsageCounts};

use crate::calendar::Windows;
use crate::instant::Validity;
use crate::pattern::ModelPattern;
use crate::record_words::price_words;
use crate::version::{Version, Versioned};

/// Who pays it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The subscriber pays the operator.
    Retail,
    /// The operator pays the vendor.
    Wholesale,
}

impl Side {
    /// Its name in the book.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Retail => "retail",
            Self::Wholesale => "wholesale",
        }
    }
}

/// Which tokens choose the tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TierBasis {
    /// Every token of the prompt, cached or not.
    Context,
    /// The tokens of the prompt that were not read from a cache.
    Prompt,
    /// Generated tokens.
    Output,
    /// What was used in the period; settlement trues it up, an event accrues at the first tier.
    PeriodVolume,
}

impl TierBasis {
    /// Its name in the book.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Context => "context",
            Self::Prompt => "prompt",
            Self::Output => "output",
            Self::PeriodVolume => "period_volume",
        }
    }
}

impl TierBasis {
    /// Tokens of an event that choose its tier.
    pub(crate) fn tokens(self, usage: &UsageCounts) -> u64 {
        let sum = |classes: &[TokenClass]| classes.iter().map(|class| usage.get(*class)).sum();
        // At most six counts of 2^53: no overflow.
        match self {
            Self::Context if !crate::planted(crate::Bug::TierWithoutCache) => sum(&[
                TokenClass::Input,
                TokenClass::CachedInput,
                TokenClass::CacheWrite5m,
                TokenClass::CacheWrite1h,
                TokenClass::AudioInput,
                TokenClass::ImageInput,
            ]),
            Self::Context | Self::Prompt => sum(&[
                TokenClass::Input,
                TokenClass::CacheWrite5m,
                TokenClass::CacheWrite1h,
                TokenClass::AudioInput,
                TokenClass::ImageInput,
            ]),
            Self::Output => {
                sum(&[TokenClass::Output, TokenClass::AudioOutput, TokenClass::ImageOutput])
            }
            Self::PeriodVolume => 0,
        }
    }
}

/// What a tier above the first does with the units below it; for settlement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TierMode {
    /// Each slice has its own price.
    Graduated,
    /// Reaching a tier prices everything at it.
    AllUnits,
}

impl TierMode {
    /// Its name in the book.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Graduated => "graduated",
            Self::AllUnits => "all_units",
        }
    }
}

/// A tier: `(from, to]` units of a basis; the first one includes 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tier {
    /// What is counted.
    pub basis: TierBasis,
    /// Units up to which another tier holds.
    pub from: u64,
    /// The last unit count; without it, no end.
    pub to: Option<u64>,
    /// For settlement.
    pub mode: Option<TierMode>,
}

impl Tier {
    pub(crate) fn contains(&self, tokens: u64) -> bool {
        let begun = self.from == 0 || self.from < tokens;
        let inside = if crate::planted(crate::Bug::TierEdgeExcluded) {
            self.to.is_none_or(|to| tokens < to)
        } else {
            self.to.is_none_or(|to| tokens <= to)
        };
        begun && inside
    }

    pub(crate) fn meets(&self, other: &Self) -> bool {
        let end = |tier: &Self| tier.to.unwrap_or(u64::MAX);
        self.basis != other.basis || (self.from < end(other) && other.from < end(self))
    }
}

/// Which instant of a call its price is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum TimeBasis {
    /// The start.
    Start,
    /// The end.
    #[default]
    Completion,
}

impl TimeBasis {
    /// Its name in the book.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Completion => "completion",
        }
    }
}

/// One version of a price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Id, known time, approval.
    pub version: Version,
    /// Who pays.
    pub side: Side,
    /// Only for what this contract covers.
    pub contract_id: Option<String>,
    /// Vendor of the model.
    pub vendor: String,
    /// Only from this supplier.
    pub supplier: Option<String>,
    /// Models.
    pub model: ModelPattern,
    /// What is counted.
    pub class: TokenClass,
    /// Currency.
    pub currency: Currency,
    /// Micro-currency for 1,000,000 units.
    pub micro_per_million: u64,
    /// Tier.
    pub tier: Option<Tier>,
    /// Only in this service tier; `None` is all of them.
    pub service_tier: Option<String>,
    /// Only in this region.
    pub region: Option<String>,
    /// Calendar of the windows.
    pub calendar_id: Option<String>,
    /// Only at these times of day.
    pub windows: Windows,
    /// Which instant prices a call.
    pub time_basis: TimeBasis,
    /// When it is in force.
    pub valid: Validity,
    /// Zero on purpose.
    pub free: bool,
    /// Ends on purpose; something must follow.
    pub promotion: bool,
}

impl Versioned for Price {
    const KIND: &'static str = "price";

    fn version(&self) -> &Version {
        &self.version
    }

    fn version_mut(&mut self) -> &mut Version {
        &mut self.version
    }

    fn words(&self) -> String {
        price_words(self)
    }
}

/// What a class is counted in.
pub const fn unit_of(class: TokenClass) -> &'static str {
    match class {
        TokenClass::Requests => "request",
        TokenClass::Images => "image",
        TokenClass::Seconds => "second",
        TokenClass::Characters => "character",
        _ => "token",
    }
}

/// How specific a price is; of several that match the greatest counts.
pub(crate) type Rank = (usize, bool, bool, bool, bool, bool);

impl Price {
    /// The order of `docs/rating.md`: model, contract, supplier, region, service tier, windows.
    pub(crate) fn rank(&self) -> Rank {
        (
            self.model.rank(),
            self.contract_id.is_some(),
            self.supplier.is_some(),
            self.region.is_some(),
            self.service_tier.is_some(),
            !self.windows.is_empty(),
        )
    }
}

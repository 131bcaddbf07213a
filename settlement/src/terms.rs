//! Settlement terms: how a vendor is paid for a group of models, and from which day on.

use jiff::civil::Date;
use tally_rating::{ModelPattern, TierMode};
use tally_schemas::{Currency, TokenClass};

use crate::contract_words::{form_words, prepaid_words, tolerance_words, trial_words};
use crate::decimal::Cents;
use crate::fraction::Rounding;
use crate::{Bug, planted};

/// Parts per million of a whole: every rate of a contract is in this unit.
pub(crate) const PPM: i128 = 1_000_000;

/// What is paid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Form {
    /// What events were rated at, by the vendor's price list.
    PriceList,
    /// A share of what subscribers pay.
    Share {
        /// Of which revenue.
        of: ShareBase,
        /// The vendor's share, ppm.
        share_ppm: u32,
    },
    /// What events were rated at, and a markup on it.
    CostPlus {
        /// The markup, ppm.
        markup_ppm: u32,
    },
    /// A price that falls with the period's volume.
    Tiers {
        /// What reaching a tier does to the units below it.
        mode: TierMode,
        /// The classes that are counted and priced so; the others go by price list.
        classes: Vec<TokenClass>,
        /// The tiers, ascending, the first from 0.
        steps: Vec<Step>,
    },
}

impl Form {
    /// Name in contracts and statements.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::PriceList => "price_list",
            Self::Share { of: ShareBase::Gross, .. } => "share_of_gross",
            Self::Share { of: ShareBase::Net { .. }, .. } => "share_of_net",
            Self::CostPlus { .. } => "cost_plus",
            Self::Tiers { mode: TierMode::Graduated, .. } => "graduated_tiers",
            Self::Tiers { mode: TierMode::AllUnits, .. } => "all_units_tiers",
        }
    }
}

/// The revenue that is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareBase {
    /// What subscribers pay, tax included.
    Gross,
    /// What is left of it after tax, and of that after channel fee and bad debt.
    Net {
        /// Tax that the gross revenue includes, ppm of the revenue without it.
        revenue_tax_ppm: u32,
        /// Fee of the channel, ppm of the revenue without tax.
        channel_fee_ppm: u32,
        /// Bad debt, ppm of the revenue without tax.
        bad_debt_ppm: u32,
    },
}

/// A tier: from the unit after `above_units` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Units of the period before it.
    pub above_units: u64,
    /// Micro-currency for 1,000,000 units.
    pub micro_per_million: u64,
}

/// A guaranteed minimum a month.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Minimum {
    /// The minimum.
    pub amount: Cents,
    /// For how many of the following months a shortfall that was paid may be used.
    pub carry_months: u32,
}

/// An amount paid in advance, drawn down by later statements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Prepayment {
    /// Day of the payment.
    pub paid_on: Date,
    /// The amount.
    pub amount: Cents,
}

/// Who bears what free trials cost at the vendor's prices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Burden {
    /// The operator pays it like any usage.
    Operator,
    /// The vendor is paid nothing for it.
    Vendor,
    /// The vendor bears a part.
    Shared {
        /// The vendor's part, ppm.
        vendor_ppm: u32,
    },
}

impl Burden {
    /// The vendor's part, ppm.
    pub(crate) const fn vendor_ppm(self) -> u32 {
        match self {
            Self::Operator => 0,
            Self::Vendor => 1_000_000,
            Self::Shared { vendor_ppm } => vendor_ppm,
        }
    }
}

/// Free trials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trial {
    /// Who bears them.
    pub burden: Burden,
    /// The packages that are trials.
    pub packages: Vec<String>,
}

/// Whether the amounts of a contract include tax.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaxBasis {
    /// They do not: tax comes on top.
    Exclusive,
    /// They do: tax is taken out.
    Inclusive,
}

/// Whose figure counts inside the tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Counts {
    /// The operator's.
    Ours,
    /// The vendor's.
    Theirs,
}

/// What the vendor's bill may differ by without a dispute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance {
    /// Difference in quantity, ppm of ours; `qty_pct` in the file.
    pub qty_ppm: u32,
    /// Difference in amount, ppm of ours; `amt_pct` in the file.
    pub amt_ppm: u32,
    /// Difference in amount; `amt_abs` in the file.
    pub amt_abs: Cents,
    /// Whose figure counts inside of it.
    pub counts: Counts,
}

impl Tolerance {
    /// None at all; our figure counts.
    pub const NONE: Self = Self { qty_ppm: 0, amt_ppm: 0, amt_abs: Cents(0), counts: Counts::Ours };
}

/// Who approved terms, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Approved {
    /// By whom.
    pub(crate) by: String,
    /// Milliseconds UTC.
    pub(crate) at_ms: i64,
}

/// One version of the terms for a vendor's models.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// Id; its versions share it.
    pub id: String,
    /// Vendor.
    pub vendor: String,
    /// Billed models.
    pub model: ModelPattern,
    /// What is paid for.
    pub form: Form,
    /// Currency that is paid.
    pub currency: Currency,
    /// Tax, ppm of the net amount.
    pub tax_ppm: u32,
    /// Whether amounts and prices include tax.
    pub tax_basis: TaxBasis,
    /// How a line is rounded to 0.01.
    pub rounding: Rounding,
    /// Guaranteed minimum.
    pub minimum: Option<Minimum>,
    /// Most that is paid for a period.
    pub cap: Option<Cents>,
    /// Payments in advance, by day.
    pub prepayments: Vec<Prepayment>,
    /// Free trials; `None` is the operator's burden.
    pub trial: Option<Trial>,
    /// For the comparison with the vendor's bill.
    pub tolerance: Tolerance,
    /// First day in Asia/Shanghai.
    pub valid_from: Date,
    /// The day after the last.
    pub valid_to: Option<Date>,
    /// From when on this version is known, milliseconds UTC.
    pub known_from_ms: i64,
    /// The same as it is written, where it is.
    pub(crate) written_ms: Option<i64>,
    /// Where it comes from.
    pub source: String,
    /// File that it is in.
    pub(crate) file: String,
    /// Line of the file that it begins on.
    pub line: usize,
    pub(crate) approved: Option<Approved>,
}

impl Terms {
    /// Whether they are in force on a day.
    pub fn in_force(&self, day: Date) -> bool {
        let ends = |to: Date| {
            if planted(Bug::TermsEndIncluded) { day <= to } else { day < to }
        };
        self.valid_from <= day && self.valid_to.is_none_or(ends)
    }

    /// Whether they are approved.
    pub const fn is_approved(&self) -> bool {
        self.approved.is_some()
    }

    /// Who approved them and when, milliseconds UTC.
    pub fn approval(&self) -> Option<(&str, i64)> {
        self.approved.as_ref().map(|approved| (approved.by.as_str(), approved.at_ms))
    }

    /// The form with its figures, in words.
    pub fn form_words(&self) -> String {
        form_words(&self.form)
    }

    /// Free trials, in words.
    pub fn trial_words(&self) -> Option<String> {
        trial_words(self)
    }

    /// What was paid in advance, in words.
    pub fn prepaid_words(&self) -> Option<String> {
        prepaid_words(self)
    }

    /// What may differ from the vendor's bill without a dispute, in words.
    pub fn tolerance_words(&self) -> String {
        tolerance_words(self)
    }

    /// Whether what packages paid for an event makes it a free trial.
    pub fn is_trial(&self, retail_price_ids: &str) -> bool {
        let Some(trial) = &self.trial else { return false };
        !retail_price_ids.is_empty()
            && retail_price_ids.split(',').all(|id| trial.packages.iter().any(|p| p == id))
    }

    /// The more, the more closely they name the model: as in rating.
    pub(crate) fn closeness(&self) -> usize {
        match &self.model {
            ModelPattern::Exact(_) => usize::MAX,
            ModelPattern::Prefix(prefix) => prefix.len(),
        }
    }

    /// The pattern as it is written.
    pub fn pattern_text(&self) -> String {
        match &self.model {
            ModelPattern::Exact(name) => name.clone(),
            ModelPattern::Prefix(prefix) => format!("{prefix}*"),
        }
    }
}

//! Adjustments: what a statement owes beside its own period's usage, each with its reason and,
//! where it has one, its origin.

use serde::{Deserialize, Serialize};

use crate::decimal::{Cents, Units};
use crate::error::SettlementError;
use crate::line::Amounts;
use crate::period::Period;
use crate::person::same_person;
use crate::{Bug, planted};

/// Why there is an adjustment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AdjustmentReason {
    /// Usage of a closed period that came later.
    LateUsage,
    /// A closed period rated again.
    ReRate,
    /// A quantity that was wrong.
    VolumeCorrection,
    /// A dispute that was settled.
    DisputeCredit,
    /// A refund to a subscriber that the vendor bears.
    ComplaintRefund,
    /// Held-back events that were given up.
    SuspenseWriteOff,
    /// The guaranteed minimum: a shortfall, or less what is used of an earlier one.
    MinimumGuaranteeTrueUp,
    /// A tier of all units that was reached.
    TierTrueUp,
    /// A rate that was corrected.
    FxDifference,
    /// Tax that was wrong.
    TaxCorrection,
    /// An event that a gateway corrected.
    CorrectionEvent,
    /// The vendor's part of free trials.
    FreeTrial,
    /// What goes beyond the cap.
    Cap,
    /// Drawn from what was paid in advance.
    PrepaidDrawn,
}

impl AdjustmentReason {
    /// Every reason.
    pub const ALL: [Self; 14] = [
        Self::LateUsage,
        Self::ReRate,
        Self::VolumeCorrection,
        Self::DisputeCredit,
        Self::ComplaintRefund,
        Self::SuspenseWriteOff,
        Self::MinimumGuaranteeTrueUp,
        Self::TierTrueUp,
        Self::FxDifference,
        Self::TaxCorrection,
        Self::CorrectionEvent,
        Self::FreeTrial,
        Self::Cap,
        Self::PrepaidDrawn,
    ];

    /// Name in statements.
    pub const fn name(self) -> &'static str {
        match self {
            Self::LateUsage => "late_usage",
            Self::ReRate => "re_rate",
            Self::VolumeCorrection => "volume_correction",
            Self::DisputeCredit => "dispute_credit",
            Self::ComplaintRefund => "complaint_refund",
            Self::SuspenseWriteOff => "suspense_write_off",
            Self::MinimumGuaranteeTrueUp => "minimum_guarantee_true_up",
            Self::TierTrueUp => "tier_true_up",
            Self::FxDifference => "fx_difference",
            Self::TaxCorrection => "tax_correction",
            Self::CorrectionEvent => "correction_event",
            Self::FreeTrial => "free_trial",
            Self::Cap => "cap",
            Self::PrepaidDrawn => "prepaid_drawn",
        }
    }

    /// The reason of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.name() == name)
    }

    /// Whether a person posts it; the others follow from usage and terms.
    pub const fn is_posted(self) -> bool {
        matches!(
            self,
            Self::ReRate
                | Self::VolumeCorrection
                | Self::DisputeCredit
                | Self::ComplaintRefund
                | Self::SuspenseWriteOff
                | Self::FxDifference
                | Self::TaxCorrection
                | Self::CorrectionEvent
        )
    }
}

/// An adjustment on a statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Adjustment {
    /// Id, the same in every run of the period.
    pub id: String,
    /// Why.
    pub reason: AdjustmentReason,
    /// The period that it belongs to, where that is another.
    pub orig_period: Option<Period>,
    /// The line that it corrects, where there is one.
    pub orig_line_id: Option<String>,
    /// Billed model or pattern; empty where it is for the whole section.
    pub model: String,
    /// Token class, `revenue` or `units`; empty where it is for the whole section.
    pub class: String,
    /// Price id or tier; empty where it has none.
    pub price: String,
    /// Units, where it is for some.
    pub units: Units,
    /// Words of whoever posted it.
    pub note: String,
    /// Who asked for it and who approved it, where it was posted.
    pub posted_by: Option<String>,
    /// Who approved it, where it was posted.
    pub approved_by: Option<String>,
    /// What it adds to what is owed.
    pub amounts: Amounts,
}

impl Adjustment {
    /// An adjustment of a whole section.
    pub(crate) fn of_section(id: String, reason: AdjustmentReason, amounts: Amounts) -> Self {
        Self {
            id,
            reason,
            orig_period: None,
            orig_line_id: None,
            model: String::new(),
            class: String::new(),
            price: String::new(),
            units: Units(0),
            note: String::new(),
            posted_by: None,
            approved_by: None,
            amounts,
        }
    }
}

/// An adjustment that a person posts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostedAdjustment {
    /// Id; the same twice counts once too often, so it is refused.
    pub id: String,
    /// Terms that it belongs to.
    pub terms: String,
    /// Why: one of those that are posted.
    pub reason: AdjustmentReason,
    /// What it adds to what is owed, with or without tax as the terms have it.
    pub amount: Cents,
    /// The closed period that it corrects.
    pub orig_period: Option<Period>,
    /// The line of that period that it corrects.
    pub orig_line_id: Option<String>,
    /// Words.
    pub note: String,
    /// Who asks for it.
    pub by: String,
    /// Who approved it: somebody else.
    pub approved_by: String,
}

impl PostedAdjustment {
    /// Refuses what may not be posted to a period; `line_exists` says whether a statement of an
    /// earlier period has a line.
    pub(crate) fn check(
        &self,
        period: Period,
        line_exists: impl Fn(Period, &str) -> bool,
    ) -> Result<(), SettlementError> {
        let bad = |what: String| SettlementError::BadAdjustment { id: self.id.clone(), what };
        if !self.reason.is_posted() {
            return Err(bad(format!(
                "{} follows from usage and terms and cannot be posted",
                self.reason.name()
            )));
        }
        if self.by.trim().is_empty() || self.approved_by.trim().is_empty() {
            return Err(bad("needs who posts it and who approves it".to_owned()));
        }
        if same_person(&self.by, &self.approved_by) && !planted(Bug::TwoEyes) {
            return Err(bad(format!("{} may not approve what they post themselves", self.by)));
        }
        match (self.orig_period, &self.orig_line_id) {
            (Some(orig), _) if orig >= period => {
                Err(bad(format!("orig_period {orig} is not before {period}")))
            }
            (Some(orig), Some(line)) if !line_exists(orig, line) => {
                Err(bad(format!("the statement of {orig} has no line {line}")))
            }
            (None, Some(line)) => Err(bad(format!("line {line} needs its orig_period"))),
            _ => Ok(()),
        }
    }
}

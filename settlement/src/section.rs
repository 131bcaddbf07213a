//! A section: everything that is owed by the same terms, with a rounding line that makes it foot.

use serde::{Deserialize, Serialize};

use crate::adjustment::Adjustment;
use crate::decimal::{Cents, Units};
use crate::line::{Amounts, Line};
use crate::minimum::MinimumBalance;
use crate::period::Period;
use crate::prepayment::PrepaymentBalance;

/// A currency that was converted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FxLine {
    /// From.
    pub from: String,
    /// To.
    pub to: String,
    /// Millionths of `to` for one `from`.
    pub rate_micro: String,
    /// Day of the rate.
    pub date: String,
    /// Who published it.
    pub source: String,
    /// What was converted, for reading: rounded.
    pub amount_from: Cents,
    /// What came out, for reading: rounded.
    pub amount_to: Cents,
}

/// The units that a period has counted towards tiers so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TierVolume {
    /// The period of the usage.
    pub period: Period,
    /// Its units, late ones included.
    pub units: Units,
}

/// Everything that is owed by the same terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Section {
    /// Id of the terms.
    pub terms: String,
    /// Their models.
    pub models: String,
    /// Their form.
    pub form: String,
    /// Tax, ppm of the net amount.
    pub tax_ppm: u32,
    /// Rounding mode.
    pub rounding_mode: String,
    /// Lines.
    pub lines: Vec<Line>,
    /// Adjustments.
    pub adjustments: Vec<Adjustment>,
    /// The rounding line: what the total differs by from the sum of lines and adjustments.
    pub rounding: Amounts,
    /// The total, rounded once.
    pub total: Amounts,
    /// Guaranteed minimum, opening and closing.
    pub minimum: Option<MinimumBalance>,
    /// What was paid in advance, opening and closing.
    pub prepaid: Option<PrepaymentBalance>,
    /// Units that were counted towards tiers.
    pub tier_volumes: Vec<TierVolume>,
    /// Currencies that were converted.
    pub fx: Vec<FxLine>,
}

impl Section {
    /// The sum of lines and adjustments.
    pub(crate) fn parts(&self) -> Option<Amounts> {
        let lines = self.lines.iter().map(|line| line.amounts);
        let adjustments = self.adjustments.iter().map(|adjustment| adjustment.amounts);
        lines.chain(adjustments).try_fold(Amounts::default(), Amounts::plus)
    }
}

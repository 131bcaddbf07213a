//! What a vendor is told of its share: what was used by model, what that came to step by step by its
//! contract, and what became of it. Made from a statement and its terms; what is owed is never
//! computed again, and nobody's name is in it.

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use tally_schemas::decimal_text;

use crate::adjustment::AdjustmentReason;
use crate::contracts::Contracts;
use crate::decimal::{Cents, Pico, Units};
use crate::error::SettlementError;
use crate::fraction::Fraction;
use crate::labels::{self, Label};
use crate::line::{Amounts, Line};
use crate::minimum::MinimumBalance;
use crate::period::Period;
use crate::period_state::PeriodState;
use crate::prepayment::PrepaymentBalance;
use crate::section::{FxLine, Section};
use crate::statement::Statement;
use crate::terms::{Form, PPM, ShareBase, Terms};

/// A step from what was sold, or rated, to what is owed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReportStep {
    /// What subscribers owe.
    GrossRevenue,
    /// The tax within it.
    RevenueTax,
    /// The channel's fee.
    ChannelFee,
    /// Bad debt.
    BadDebt,
    /// What is left to be shared.
    NetRevenue,
    /// The vendor's share of it.
    Share,
    /// What events were rated at.
    Rated,
    /// The markup on it.
    Markup,
    /// Units of a tier.
    Tier,
    /// What is owed for the usage: the sum of the statement's lines.
    Usage,
    /// Adjustments of one reason.
    Adjustment(AdjustmentReason),
    /// What makes lines and adjustments foot.
    Rounding,
    /// The total.
    Total,
}

impl ReportStep {
    /// Its name in files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::GrossRevenue => "gross_revenue",
            Self::RevenueTax => "revenue_tax",
            Self::ChannelFee => "channel_fee",
            Self::BadDebt => "bad_debt",
            Self::NetRevenue => "net_revenue",
            Self::Share => "share",
            Self::Rated => "rated",
            Self::Markup => "markup",
            Self::Tier => "tier",
            Self::Usage => "usage",
            Self::Adjustment(reason) => reason.name(),
            Self::Rounding => "rounding",
            Self::Total => "total",
        }
    }

    /// Its name for people.
    pub const fn label(self) -> Label {
        match self {
            Self::GrossRevenue => ("用户应付收入", "Revenue from subscribers"),
            Self::RevenueTax => ("减：收入税额", "less tax on the revenue"),
            Self::ChannelFee => ("减：渠道费", "less channel fee"),
            Self::BadDebt => ("减：坏账", "less bad debt"),
            Self::NetRevenue => ("可分成净收入", "Net revenue to be shared"),
            Self::Share => ("供应商分成", "The vendor's share"),
            Self::Rated => ("按价目计价", "Rated by the price list"),
            Self::Markup => ("加：成本加成", "plus markup"),
            Self::Tier => ("阶梯", "Tier"),
            Self::Usage => ("用量应付", "Owed for usage"),
            Self::Adjustment(reason) => labels::reason(reason),
            Self::Rounding => labels::ROUNDING,
            Self::Total => labels::TOTAL,
        }
    }
}

impl Serialize for ReportStep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// What one step comes to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StepRow {
    /// The step.
    pub step: ReportStep,
    /// Its rate, tier or number of rows.
    pub of: String,
    /// Currency of its amounts.
    pub currency: String,
    /// The amount; net where there are amounts with tax beside it. Before `usage` for reading:
    /// rounded at each step.
    pub amount: Cents,
    /// Net, tax and gross of what is owed.
    pub amounts: Option<Amounts>,
}

/// What was used of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UsageRow {
    /// Billed model, or the pattern of models for tiers.
    pub model: String,
    /// Token class; `revenue` for a share, `units` for tiers.
    pub class: String,
    /// Whether it is free trials.
    pub trial: bool,
    /// Units; events for a share.
    pub units: Units,
    /// What it was rated at, or what subscribers owe, exactly.
    pub listed: Pico,
    /// Currency of `listed`.
    pub listed_currency: String,
    /// What is owed for it.
    pub amounts: Amounts,
}

/// What is owed by the same terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReportSection {
    /// Id of the terms.
    pub terms: String,
    /// Their models.
    pub models: String,
    /// Their form.
    pub form: String,
    /// Tax, ppm of the net amount.
    pub tax_ppm: u32,
    /// Usage by model and class.
    pub usage: Vec<UsageRow>,
    /// The steps, in their order; the last is the section's total.
    pub steps: Vec<StepRow>,
    /// Guaranteed minimum.
    pub minimum: Option<MinimumBalance>,
    /// What was paid in advance.
    pub prepaid: Option<PrepaymentBalance>,
    /// Currencies that were converted.
    pub fx: Vec<FxLine>,
}

/// The report of a vendor's period.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VendorReport {
    /// Vendor.
    pub vendor: String,
    /// Period.
    pub period: Period,
    /// State of the period: of a draft everything may change.
    pub state: &'static str,
    /// Hash of the statement that it is made from.
    pub statement: String,
    /// Currency that is paid.
    pub currency: String,
    /// By terms.
    pub sections: Vec<ReportSection>,
    /// The statement's total.
    pub total: Amounts,
}

impl VendorReport {
    /// The report of a statement, by the contracts that it was made by.
    ///
    /// # Errors
    /// `Overflow`, and `Damaged` for a section whose terms are not there.
    pub fn of(
        statement: &Statement,
        state: PeriodState,
        contracts: &Contracts,
    ) -> Result<Self, SettlementError> {
        let sections = statement.sections.iter().map(|section| {
            let terms = contracts.terms(&section.terms).ok_or_else(|| {
                SettlementError::Damaged(format!("the terms {} are not there", section.terms))
            })?;
            section_of(section, terms, &statement.currency)
                .ok_or_else(|| SettlementError::Overflow(section.terms.clone()))
        });
        Ok(Self {
            vendor: statement.vendor.clone(),
            period: statement.period,
            state: state.name(),
            statement: statement.hash()?,
            currency: statement.currency.clone(),
            sections: sections.collect::<Result<_, _>>()?,
            total: statement.total,
        })
    }
}

/// `None` where sums are too large.
fn section_of(section: &Section, terms: &Terms, currency: &str) -> Option<ReportSection> {
    let mut steps = contract_steps(section, terms)?;
    let owed = |step, of: String, amounts: Amounts| StepRow {
        step,
        of,
        currency: currency.to_owned(),
        amount: amounts.net,
        amounts: Some(amounts),
    };
    let lines = sum(section.lines.iter().map(|line| line.amounts))?;
    steps.push(owed(ReportStep::Usage, String::new(), lines));
    for reason in AdjustmentReason::ALL {
        let rows = || section.adjustments.iter().filter(move |row| row.reason == reason);
        if rows().next().is_some() {
            let amounts = sum(rows().map(|row| row.amounts))?;
            let periods: Vec<String> = rows()
                .filter_map(|row| row.orig_period)
                .map(|period| period.to_string())
                .collect::<std::collections::BTreeSet<_>>()
                .into_iter()
                .collect();
            steps.push(owed(ReportStep::Adjustment(reason), periods.join(", "), amounts));
        }
    }
    if section.rounding != Amounts::default() {
        steps.push(owed(ReportStep::Rounding, String::new(), section.rounding));
    }
    steps.push(owed(ReportStep::Total, String::new(), section.total));
    Some(ReportSection {
        terms: section.terms.clone(),
        models: section.models.clone(),
        form: section.form.clone(),
        tax_ppm: section.tax_ppm,
        usage: usage_of(section)?,
        steps,
        minimum: section.minimum.clone(),
        prepaid: section.prepaid,
        fx: section.fx.clone(),
    })
}

/// `None` where it is too large.
fn sum(mut amounts: impl Iterator<Item = Amounts>) -> Option<Amounts> {
    amounts.try_fold(Amounts::default(), Amounts::plus)
}

fn usage_of(section: &Section) -> Option<Vec<UsageRow>> {
    let mut rows: Vec<UsageRow> = Vec::new();
    let mut places: BTreeMap<(&str, &str, bool, &str), usize> = BTreeMap::new();
    for line in &section.lines {
        let Line { model, class, trial, listed_currency, .. } = line;
        let key = (model.as_str(), class.as_str(), *trial, listed_currency.as_str());
        let place = *places.entry(key).or_insert_with(|| {
            rows.push(UsageRow {
                model: model.clone(),
                class: class.clone(),
                trial: *trial,
                units: Units(0),
                listed: Pico(0),
                listed_currency: listed_currency.clone(),
                amounts: Amounts::default(),
            });
            rows.len() - 1
        });
        let row = &mut rows[place];
        row.units.0 = row.units.0.checked_add(line.units.0)?;
        row.listed.0 = row.listed.0.checked_add(line.listed.0)?;
        row.amounts = row.amounts.plus(line.amounts)?;
    }
    Some(rows)
}

/// The steps of the contract, by currency; each is the difference of two rounded sums, so that they
/// foot.
fn contract_steps(section: &Section, terms: &Terms) -> Option<Vec<StepRow>> {
    let mut listed: BTreeMap<&str, i128> = BTreeMap::new();
    let mut steps = Vec::new();
    for line in &section.lines {
        if matches!(terms.form, Form::Tiers { .. }) && line.class == "units" {
            let price = line.unit_price_micro.map_or(String::new(), |micro| {
                format!("{}: {} × {} / M", line.price, line.units, decimal_text(micro.into(), 6))
            });
            let amount = Fraction::whole(line.listed.0).rounded(terms.rounding)?;
            steps.push(plain(ReportStep::Tier, price, &line.listed_currency, amount));
            continue;
        }
        let sum = listed.entry(&line.listed_currency).or_default();
        *sum = sum.checked_add(line.listed.0)?;
    }
    for (currency, pico) in listed {
        let base = Fraction::whole(pico);
        let rounded = |exact: Fraction| exact.rounded(terms.rounding);
        let mut put = |step, of: String, amount| steps.push(plain(step, of, currency, amount));
        match &terms.form {
            Form::PriceList | Form::Tiers { .. } => {
                put(ReportStep::Rated, String::new(), rounded(base)?);
            }
            Form::CostPlus { markup_ppm } => {
                let whole = rounded(base.times(PPM + i128::from(*markup_ppm), PPM)?)?;
                let rated = rounded(base)?;
                put(ReportStep::Rated, String::new(), rated);
                put(ReportStep::Markup, percent(*markup_ppm), Cents(whole.0 - rated.0));
            }
            Form::Share { of, share_ppm } => {
                let gross = rounded(base)?;
                put(ReportStep::GrossRevenue, String::new(), gross);
                let mut shared = base;
                if let ShareBase::Net { revenue_tax_ppm, channel_fee_ppm, bad_debt_ppm } = *of {
                    let taxed = base.times(PPM, PPM + i128::from(revenue_tax_ppm))?;
                    let left = |ppm: i128| taxed.times(PPM - ppm, PPM);
                    let (fee, debt) = (i128::from(channel_fee_ppm), i128::from(bad_debt_ppm));
                    let sums = [gross, rounded(taxed)?, rounded(left(fee)?)?];
                    shared = left(fee + debt)?;
                    let net = rounded(shared)?;
                    let less = |from: usize, to: Cents| Cents(to.0 - sums[from].0);
                    put(ReportStep::RevenueTax, percent(revenue_tax_ppm), less(0, sums[1]));
                    put(ReportStep::ChannelFee, percent(channel_fee_ppm), less(1, sums[2]));
                    put(ReportStep::BadDebt, percent(bad_debt_ppm), less(2, net));
                    put(ReportStep::NetRevenue, String::new(), net);
                }
                let share = rounded(shared.times(i128::from(*share_ppm), PPM)?)?;
                put(ReportStep::Share, percent(*share_ppm), share);
            }
        }
    }
    Some(steps)
}

fn plain(step: ReportStep, of: String, currency: &str, amount: Cents) -> StepRow {
    StepRow { step, of, currency: currency.to_owned(), amount, amounts: None }
}

fn percent(ppm: u32) -> String {
    let text = decimal_text(ppm.into(), 4);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

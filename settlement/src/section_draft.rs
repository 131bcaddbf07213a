//! A section in the making: what its groups come to by its terms, in the order of
//! `docs/settlement.md`.

use std::collections::{BTreeMap, BTreeSet};

use tally_schemas::Currency;

use crate::adjusted_usage::AdjustedUsage;
use crate::adjustment::{Adjustment, AdjustmentReason, PostedAdjustment};
use crate::contracts::Contracts;
use crate::decimal::{Cents, Units};
use crate::error::SettlementError;
use crate::footing::ClassCharge;
use crate::fraction::Fraction;
use crate::line::{Amounts, Line, LineKey};
use crate::line_parts::{LinePart, LineParts, Sum, line_parts};
use crate::minimum;
use crate::period::Period;
use crate::prepayment;
use crate::rated_group::RatedGroup;
use crate::sealed_object::hash_of;
use crate::section::{FxLine, Section, TierVolume};
use crate::statement::Statement;
use crate::terms::{Form, PPM, ShareBase, Step, Terms};
use crate::tiers::{Slice, slices, true_up_pico};
use crate::{Bug, planted};

/// Where usage comes from: its period, and whether corrections of a closed one brought it about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Origin {
    period: Period,
    corrected: bool,
}

impl Origin {
    /// Why there is an adjustment for usage of a closed period.
    const fn reason(self) -> AdjustmentReason {
        if self.corrected { AdjustmentReason::CorrectionEvent } else { AdjustmentReason::LateUsage }
    }
}

/// Collects what belongs to one section.
#[derive(Debug)]
pub(crate) struct SectionDraft<'a> {
    terms: &'a Terms,
    period: Period,
    sums: BTreeMap<(Origin, LineKey), Sum>,
    /// Units counted towards tiers.
    volumes: BTreeMap<Origin, i128>,
    posted: Vec<&'a PostedAdjustment>,
}

/// What a section is finished with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) vendor: &'a str,
    pub(crate) contracts: &'a Contracts,
    pub(crate) earlier: &'a [Statement],
}

/// What a section adds up while its lines are written.
#[derive(Debug)]
struct Ledger<'c> {
    context: Context<'c>,
    exact: Fraction,
    converted: BTreeMap<String, (Fraction, Fraction)>,
    lines: Vec<Line>,
    adjustments: Vec<Adjustment>,
    earlier_lines: BTreeSet<(Period, String)>,
}

impl<'a> SectionDraft<'a> {
    pub(crate) const fn new(terms: &'a Terms, period: Period) -> Self {
        Self { terms, period, sums: BTreeMap::new(), volumes: BTreeMap::new(), posted: Vec::new() }
    }

    pub(crate) fn post(&mut self, adjustment: &'a PostedAdjustment) {
        self.posted.push(adjustment);
    }

    /// Adds a group, whose charges have been proved.
    ///
    /// # Errors
    /// `Overflow`.
    pub(crate) fn add(
        &mut self,
        group: &RatedGroup,
        charges: &[ClassCharge<'_>],
    ) -> Result<(), SettlementError> {
        let overflow = || SettlementError::Overflow(group.billed_model.clone());
        let period = if planted(Bug::LateUsageAsLine) {
            self.period
        } else {
            Period::of_day(group.day).min(self.period)
        };
        let origin = Origin { period, corrected: group.corrected };
        let LineParts { lines, volume } = line_parts(self.terms, group, charges)?;
        for LinePart { key, sum: more, .. } in lines {
            let sum = self.sums.entry((origin, key)).or_default();
            *sum = sum.plus(more).ok_or_else(overflow)?;
        }
        if volume != 0 {
            let sum = self.volumes.entry(origin).or_default();
            *sum = sum.checked_add(volume).ok_or_else(overflow)?;
        }
        Ok(())
    }

    /// Writes the section; `None` where there is nothing to say.
    ///
    /// # Errors
    /// `NoRate`, `Overflow`.
    pub(crate) fn finish(self, context: Context<'_>) -> Result<Option<Section>, SettlementError> {
        let terms = self.terms;
        let overflow = || SettlementError::Overflow(terms.id.clone());
        let mut ledger = Ledger {
            context,
            exact: Fraction::ZERO,
            converted: BTreeMap::new(),
            lines: Vec::new(),
            adjustments: Vec::new(),
            earlier_lines: earlier_lines(context.earlier, &terms.id),
        };
        for ((origin, key), sum) in &self.sums {
            self.charge(&mut ledger, *origin, key.clone(), *sum)?;
        }
        let tier_volumes = self.charge_tiers(&mut ledger)?;
        let usage = ledger.exact.rounded(terms.rounding).ok_or_else(overflow)?;
        let mut payable = usage;
        let amounts = |ledger: &mut Ledger<'_>, payable: &mut Cents, reason, cents: i128| {
            payable.0 = payable.0.checked_add(cents)?;
            if cents != 0 {
                let id = self.adjustment_id(context.vendor, reason, "");
                let amounts = Amounts::of(Cents(cents), terms)?;
                ledger.adjustments.push(Adjustment::of_section(id, reason, amounts));
            }
            Some(())
        };
        for posted in &self.posted {
            payable.0 = payable.0.checked_add(posted.amount.0).ok_or_else(overflow)?;
            ledger.adjustments.push(self.posted(posted).ok_or_else(overflow)?);
        }
        if let Some(cap) = terms.cap.filter(|cap| payable > *cap && !planted(Bug::CapForgotten)) {
            let beyond = cap.0 - payable.0;
            amounts(&mut ledger, &mut payable, AdjustmentReason::Cap, beyond)
                .ok_or_else(overflow)?;
        }
        let guaranteed = terms.minimum.filter(|_| terms.in_force(self.period.last_day()));
        let minimum = guaranteed.map(|minimum| {
            let last = last_section(context.earlier, &terms.id, |section| section.minimum.clone());
            let opening = last.map_or(Vec::new(), |balance| balance.closing);
            minimum::apply(minimum, self.period, payable, opening)
        });
        if let Some(balance) = &minimum {
            let reason = AdjustmentReason::MinimumGuaranteeTrueUp;
            amounts(&mut ledger, &mut payable, reason, balance.true_up().0).ok_or_else(overflow)?;
        }
        let before = last_section(context.earlier, &terms.id, |section| section.prepaid);
        let prepaid = prepayment::apply(&terms.prepayments, self.period, payable, before);
        if let Some(balance) = &prepaid {
            let reason = AdjustmentReason::PrepaidDrawn;
            amounts(&mut ledger, &mut payable, reason, -balance.drawn.0).ok_or_else(overflow)?;
        }
        if ledger.lines.is_empty()
            && ledger.adjustments.is_empty()
            && minimum.is_none()
            && prepaid.is_none()
        {
            return Ok(None);
        }
        let total = Amounts::of(payable, terms).ok_or_else(overflow)?;
        let fx = self.fx_lines(&ledger).ok_or_else(overflow)?;
        let mut section = Section {
            terms: terms.id.clone(),
            models: terms.pattern_text(),
            form: terms.form.name().to_owned(),
            tax_ppm: terms.tax_ppm,
            rounding_mode: terms.rounding.name().to_owned(),
            lines: ledger.lines,
            adjustments: ledger.adjustments,
            rounding: Amounts::default(),
            total,
            minimum,
            prepaid,
            tier_volumes,
            fx,
        };
        section.rounding =
            section.parts().and_then(|parts| parts.up_to(total)).ok_or_else(overflow)?;
        if planted(Bug::NoRoundingLine) {
            section.rounding = Amounts::default();
        }
        Ok(Some(section))
    }

    /// What is owed for a listed amount, exactly and in the terms' currency.
    fn owed(
        &self,
        ledger: &mut Ledger<'_>,
        listed: Fraction,
        currency: &str,
    ) -> Result<Fraction, SettlementError> {
        let overflow = || SettlementError::Overflow(self.terms.id.clone());
        let owed = share_of(&self.terms.form, listed).ok_or_else(overflow)?;
        if currency == self.terms.currency.code() {
            return Ok(owed);
        }
        let rate = self.rate(ledger.context.contracts, currency)?;
        let converted = owed.times(rate, PPM).ok_or_else(overflow)?;
        let sums =
            ledger.converted.entry(currency.to_owned()).or_insert((Fraction::ZERO, Fraction::ZERO));
        sums.0 = sums.0.plus(owed).ok_or_else(overflow)?;
        sums.1 = sums.1.plus(converted).ok_or_else(overflow)?;
        Ok(converted)
    }

    fn rate(&self, contracts: &Contracts, from: &str) -> Result<i128, SettlementError> {
        let rate = Currency::parse(from)
            .and_then(|from| contracts.rate(from, self.terms.currency, self.period));
        rate.map(|rate| rate.rate_micro).ok_or_else(|| SettlementError::NoRate {
            terms: self.terms.id.clone(),
            from: from.to_owned(),
            to: self.terms.currency.to_string(),
            period: self.period,
        })
    }

    /// Writes the line of a sum, or the adjustment where its period is closed, and the vendor's
    /// part of a trial.
    fn charge(
        &self,
        ledger: &mut Ledger<'_>,
        origin: Origin,
        key: LineKey,
        sum: Sum,
    ) -> Result<(), SettlementError> {
        let overflow = || SettlementError::Overflow(self.terms.id.clone());
        let owed = self.owed(ledger, Fraction::whole(sum.pico), &key.currency)?;
        self.write(ledger, origin, &key, sum, owed)?;
        let vendor_ppm = self.terms.trial.as_ref().map_or(0, |trial| trial.burden.vendor_ppm());
        if key.trial && vendor_ppm > 0 && !planted(Bug::TrialPaid) {
            let back = owed.times(-i128::from(vendor_ppm), PPM).ok_or_else(overflow)?;
            self.adjust(ledger, AdjustmentReason::FreeTrial, origin, &key, sum.units, back)?;
        }
        Ok(())
    }

    fn write(
        &self,
        ledger: &mut Ledger<'_>,
        origin: Origin,
        key: &LineKey,
        sum: Sum,
        owed: Fraction,
    ) -> Result<(), SettlementError> {
        if origin.period < self.period {
            return self.adjust(ledger, origin.reason(), origin, key, sum.units, owed);
        }
        let amounts = self.amounts(ledger, owed)?;
        let id = key.id(ledger.context.vendor, &self.terms.id, origin.period);
        ledger.lines.push(Line::new(id, key.clone(), sum.units, sum.pico, amounts));
        Ok(())
    }

    /// Adds an exact amount, and rounds it for its line.
    fn amounts(&self, ledger: &mut Ledger<'_>, owed: Fraction) -> Result<Amounts, SettlementError> {
        let overflow = || SettlementError::Overflow(self.terms.id.clone());
        ledger.exact = ledger.exact.plus(owed).ok_or_else(overflow)?;
        let rounded = owed.rounded(self.terms.rounding).ok_or_else(overflow)?;
        Amounts::of(rounded, self.terms).ok_or_else(overflow)
    }

    fn adjust(
        &self,
        ledger: &mut Ledger<'_>,
        reason: AdjustmentReason,
        origin: Origin,
        key: &LineKey,
        units: i128,
        owed: Fraction,
    ) -> Result<(), SettlementError> {
        let period = origin.period;
        let amounts = self.amounts(ledger, owed)?;
        let line = key.id(ledger.context.vendor, &self.terms.id, period);
        let id = self.usage_adjustment_id(ledger.context.vendor, reason, origin, key);
        let closed = period < self.period;
        let known = !closed || ledger.earlier_lines.contains(&(period, line.clone()));
        ledger.adjustments.push(Adjustment {
            orig_period: closed.then_some(period),
            orig_line_id: known.then_some(line),
            model: key.model.clone(),
            class: key.class.clone(),
            price: key.price.clone(),
            units: Units(units),
            ..Adjustment::of_section(id, reason, amounts)
        });
        Ok(())
    }

    /// Writes the slices of the tiers and their true-up, for each period of usage.
    fn charge_tiers(&self, ledger: &mut Ledger<'_>) -> Result<Vec<TierVolume>, SettlementError> {
        let Form::Tiers { mode, steps, .. } = &self.terms.form else { return Ok(Vec::new()) };
        let overflow = || SettlementError::Overflow(self.terms.id.clone());
        let mut volumes: Vec<TierVolume> = Vec::new();
        for (origin, units) in &self.volumes {
            // Corrections of a period go on where its late usage ended.
            let counted = volumes.last().filter(|volume| volume.period == origin.period);
            let before = match counted {
                Some(volume) => volume.units.0,
                None if origin.period < self.period && !planted(Bug::LateUsageFromFirstTier) => {
                    volume_before(ledger.context.earlier, &self.terms.id, origin.period)
                }
                None => 0,
            };
            let after = before.checked_add(*units).ok_or_else(overflow)?;
            let volume = |units: i128| u128::try_from(units).map_err(|_| overflow());
            let (from, to) = (volume(before)?, volume(after)?);
            // What is taken back comes out of the highest tiers that were reached.
            let sign = if to < from { -1 } else { 1 };
            for slice in slices(steps, from.min(to), from.max(to)) {
                let (key, sum) = self.slice(&slice, sign).ok_or_else(overflow)?;
                let owed = self.owed(ledger, Fraction::whole(sum.pico), &key.currency)?;
                self.write(ledger, *origin, &key, sum, owed)?;
            }
            let true_up = |units| true_up_pico(*mode, steps, units).ok_or_else(overflow);
            let difference = true_up(to)?.checked_sub(true_up(from)?).ok_or_else(overflow)?;
            if difference != 0 {
                let key = self.tier_key(String::new(), None);
                let owed = self.owed(ledger, Fraction::whole(difference), &key.currency)?;
                let reason = AdjustmentReason::TierTrueUp;
                self.adjust(ledger, reason, *origin, &key, *units, owed)?;
                // It re-prices a period and not one line of it.
                if let Some(last) = ledger.adjustments.last_mut() {
                    last.orig_line_id = None;
                }
            }
            match volumes.last_mut().filter(|volume| volume.period == origin.period) {
                Some(volume) => volume.units = Units(after),
                None => volumes.push(TierVolume { period: origin.period, units: Units(after) }),
            }
        }
        Ok(volumes)
    }

    fn slice(&self, slice: &Slice, sign: i128) -> Option<(LineKey, Sum)> {
        let Slice { tier, step: Step { micro_per_million, .. }, units } = *slice;
        let units = i128::try_from(units).ok()?.checked_mul(sign)?;
        let pico = units.checked_mul(i128::from(micro_per_million))?;
        Some((self.tier_key(tier.to_string(), Some(micro_per_million)), Sum { units, pico }))
    }

    fn tier_key(&self, price: String, unit_price_micro: Option<u64>) -> LineKey {
        LineKey {
            model: self.terms.pattern_text(),
            class: "units".to_owned(),
            supplier: String::new(),
            service_tier: String::new(),
            price_book_version: String::new(),
            price,
            unit_price_micro,
            trial: false,
            currency: self.terms.currency.to_string(),
        }
    }

    /// Under the number that people know it by.
    fn posted(&self, posted: &PostedAdjustment) -> Option<Adjustment> {
        let id = posted.id.clone();
        Some(Adjustment {
            orig_period: posted.orig_period,
            orig_line_id: posted.orig_line_id.clone(),
            note: posted.note.clone(),
            posted_by: Some(posted.by.clone()),
            approved_by: Some(posted.approved_by.clone()),
            ..Adjustment::of_section(id, posted.reason, Amounts::of(posted.amount, self.terms)?)
        })
    }

    /// The id of an adjustment for usage. A line may have one for late usage and one for corrections.
    fn usage_adjustment_id(
        &self,
        vendor: &str,
        reason: AdjustmentReason,
        origin: Origin,
        key: &LineKey,
    ) -> String {
        let line = key.id(vendor, &self.terms.id, origin.period);
        let of = if origin.corrected { format!("{line} corrected") } else { line };
        self.adjustment_id(vendor, reason, &of)
    }

    /// The usage that an adjustment of this section is for, and the line that it would be on the
    /// statement of its own month, with the adjustment's id. A slice of a tier is a part of all
    /// usage of its month.
    pub(crate) fn usage_of(&self, vendor: &str, adjustment: &Adjustment) -> Option<AdjustedUsage> {
        let usage = |origin: Origin, key: LineKey, sum: Sum| {
            let id = adjustment.id.clone();
            let line = Line::new(id, key, sum.units, sum.pico, adjustment.amounts);
            Some(AdjustedUsage { period: origin.period, corrected: origin.corrected, line })
        };
        let has = |reason: AdjustmentReason, origin: Origin, key: &LineKey| {
            self.usage_adjustment_id(vendor, reason, origin, key) == adjustment.id
        };
        for ((origin, key), sum) in &self.sums {
            let reasons = [origin.reason(), AdjustmentReason::FreeTrial];
            if reasons.into_iter().any(|reason| has(reason, *origin, key)) {
                return usage(*origin, key.clone(), *sum);
            }
        }
        for (origin, units) in &self.volumes {
            let key = self.tier_key(String::new(), None);
            let is_slice = adjustment.class == key.class
                && adjustment.reason == origin.reason()
                && adjustment.orig_period == Some(origin.period);
            if is_slice || has(AdjustmentReason::TierTrueUp, *origin, &key) {
                return usage(*origin, key, Sum { units: *units, pico: 0 });
            }
        }
        None
    }

    fn adjustment_id(&self, vendor: &str, reason: AdjustmentReason, of: &str) -> String {
        let period = self.period.to_string();
        let parts = [vendor, &self.terms.id, &period, reason.name(), of];
        format!("A{}", &hash_of(parts.join("\0").as_bytes())[..16])
    }

    fn fx_lines(&self, ledger: &Ledger<'_>) -> Option<Vec<FxLine>> {
        let (to, rounding) = (self.terms.currency, self.terms.rounding);
        let line = |(from, (before, after)): (&String, &(Fraction, Fraction))| {
            let code = Currency::parse(from)?;
            let rate = ledger.context.contracts.rate(code, to, self.period)?;
            Some(FxLine {
                from: from.clone(),
                to: to.to_string(),
                rate_micro: rate.rate_micro.to_string(),
                date: rate.date.to_string(),
                source: rate.source.clone(),
                amount_from: before.rounded(rounding)?,
                amount_to: after.rounded(rounding)?,
            })
        };
        ledger.converted.iter().map(line).collect()
    }
}

/// What terms pay for a listed amount.
pub(crate) fn share_of(form: &Form, listed: Fraction) -> Option<Fraction> {
    match form {
        Form::PriceList | Form::Tiers { .. } => Some(listed),
        Form::CostPlus { markup_ppm } => listed.times(PPM + i128::from(*markup_ppm), PPM),
        Form::Share { of: ShareBase::Gross, share_ppm } => {
            listed.times(i128::from(*share_ppm), PPM)
        }
        Form::Share {
            of: ShareBase::Net { revenue_tax_ppm, channel_fee_ppm, bad_debt_ppm },
            share_ppm,
        } => {
            let rest = PPM - i128::from(*channel_fee_ppm) - i128::from(*bad_debt_ppm);
            let net = listed.times(PPM, PPM + i128::from(*revenue_tax_ppm))?;
            let net = if planted(Bug::FeeOfGross) {
                net.plus(listed.times(rest - PPM, PPM)?)?
            } else {
                net.times(rest, PPM)?
            };
            net.times(i128::from(*share_ppm), PPM)
        }
    }
}

/// What the last statement that knows of it says in a section of the terms.
fn last_section<T>(
    earlier: &[Statement],
    terms: &str,
    of: impl Fn(&Section) -> Option<T>,
) -> Option<T> {
    let sections = earlier.iter().rev().flat_map(|statement| statement.sections.iter());
    sections.filter(|section| section.terms == terms).find_map(of)
}

/// Units of a period that earlier statements have counted towards tiers.
fn volume_before(earlier: &[Statement], terms: &str, period: Period) -> i128 {
    let units = last_section(earlier, terms, |section| {
        let of_period = section.tier_volumes.iter().find(|volume| volume.period == period);
        of_period.map(|volume| volume.units)
    });
    units.map_or(0, |units| units.0)
}

/// The lines of the terms that earlier statements have.
fn earlier_lines(earlier: &[Statement], terms: &str) -> BTreeSet<(Period, String)> {
    let mut lines = BTreeSet::new();
    for statement in earlier {
        for section in statement.sections.iter().filter(|section| section.terms == terms) {
            lines.extend(section.lines.iter().map(|line| (statement.period, line.id.clone())));
        }
    }
    lines
}

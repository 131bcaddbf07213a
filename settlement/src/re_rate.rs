//! A period rated again: what its statement would come to by another reading of the price book, line
//! by line, less what it came to and what was posted of that before.
//!
//! Terms are those of the statement, and so is the exchange rate. What terms pay is compared, and
//! not what prices list: a share does not change with prices, a trial is the vendor's in part, and
//! tiers count units whatever they cost.

use std::collections::{BTreeMap, BTreeSet};

use tally_schemas::{Currency, TokenClass};

use crate::contracts::Contracts;
use crate::decimal::{Cents, Pico, Units};
use crate::error::SettlementError;
use crate::footing::charges;
use crate::fraction::Fraction;
use crate::line::LineKey;
use crate::line_parts::{LinePart, LineParts, line_parts};
use crate::period::Period;
use crate::price_lists::PriceLists;
use crate::rated_group::RatedGroup;
use crate::section_draft::share_of;
use crate::statement::Statement;
use crate::terms::{Form, PPM, Terms};
use crate::tiers::{slices, true_up_pico};
use crate::{Bug, planted};

/// Events as they are stored, and the same ones as they are rated now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReRatedGroup {
    /// As stored.
    pub before: RatedGroup,
    /// As rated now.
    pub after: RatedGroup,
}

/// What a re-rate is made of.
#[derive(Debug, Clone, Copy)]
pub struct ReRateInput<'a> {
    /// Vendor.
    pub vendor: &'a str,
    /// Period.
    pub period: Period,
    /// The contracts that the period was settled by.
    pub contracts: &'a Contracts,
    /// Prices that rated the groups, and those that rate them now.
    pub prices: &'a PriceLists,
    /// All usage of the vendor's period.
    pub groups: &'a [ReRatedGroup],
    /// The sealed statement, where there is one.
    pub statement: Option<&'a Statement>,
    /// What was posted of the period's re-rates so far, by terms and line.
    pub posted: &'a BTreeMap<(String, Option<String>), Cents>,
}

/// A line whose events cost something else now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReRatedLine {
    /// Id of the line.
    pub id: String,
    /// Whether the sealed statement has it.
    pub on_statement: bool,
    /// Billed model.
    pub model: String,
    /// Token class; `revenue` for a share.
    pub class: String,
    /// Supplier.
    pub supplier: String,
    /// Service tier.
    pub service_tier: String,
    /// Whether it is a free trial.
    pub trial: bool,
    /// Price id; empty where it has none.
    pub price_before: String,
    /// Prices now, each with its model where that is another; ascending.
    pub prices_after: BTreeSet<String>,
    /// Events, less those that were taken back.
    pub events: i64,
    /// Units.
    pub units: Units,
    /// Units × price as stored.
    pub before: Pico,
    /// The same events now; nothing of those that moved to the line of another model.
    pub after: Pico,
    /// Currency of `before`, and of `after` where that is another.
    pub currency: String,
    /// By how much more is owed now, rounded once.
    pub difference: Cents,
}

/// What is to be posted to a line, or to none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReRateAmount {
    /// The line of the sealed statement; `None` for everything that is on none: usage that came
    /// later, tiers, and what rounding leaves.
    pub orig_line_id: Option<String>,
    /// By how much more is owed now than the statements had.
    pub difference: Cents,
    /// What was posted of it.
    pub posted: Cents,
    /// What is still to be posted.
    pub to_post: Cents,
}

/// What changes by the same terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReRateSection {
    /// Id of the terms.
    pub terms: String,
    /// Currency of what is owed.
    pub currency: Currency,
    /// The lines that change.
    pub lines: Vec<ReRatedLine>,
    /// What tiers differ by, because usage moved to other models.
    pub tiers: Cents,
    /// What makes lines and tiers come to the difference.
    pub rounding: Cents,
    /// By how much more is owed now, rounded once.
    pub difference: Cents,
    /// The same by what it is posted to; what was posted and is owed no more included.
    pub amounts: Vec<ReRateAmount>,
}

/// A period rated again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReRate {
    /// Events that were rated again, less those that were taken back.
    pub events: i64,
    /// Events that cost something else now, or are billed as another model.
    pub events_changed: i64,
    /// What changes, by terms.
    pub sections: Vec<ReRateSection>,
}

impl ReRate {
    /// Compares stored usage with the same as it is rated now.
    ///
    /// # Errors
    /// What keeps a statement from being exact; see [`SettlementError`].
    pub fn build(input: &ReRateInput<'_>) -> Result<Self, SettlementError> {
        let ReRateInput { vendor, period, contracts, prices, groups, statement, posted } = *input;
        let mut drafts: BTreeMap<&str, Draft<'_>> = BTreeMap::new();
        let (mut events, mut events_changed) = (0_i64, 0_i64);
        for ReRatedGroup { before, after } in groups {
            let strange = Period::of_day(before.day) != period || before.day != after.day;
            if strange || before.vendor != vendor || after.vendor != vendor {
                return Err(SettlementError::WrongPeriod { day: before.day, period });
            }
            events = events.saturating_add(before.events);
            let by = |group: &RatedGroup| {
                let terms = contracts.terms_for(vendor, &group.billed_model, group.day);
                terms.ok_or_else(|| SettlementError::NoTerms {
                    vendor: vendor.to_owned(),
                    model: group.billed_model.clone(),
                    day: group.day,
                })
            };
            let (terms, terms_after) = (by(before)?, by(after)?);
            let stored = line_parts(terms, before, &charges(before, prices)?)?;
            let now = line_parts(terms_after, after, &charges(after, prices)?)?;
            if before.wholesale_pico != after.wholesale_pico
                || before.billed_model != after.billed_model
                || before.currency != after.currency
            {
                events_changed = events_changed.saturating_add(before.events);
            }
            let rater = Rater { contracts, period, events: before.events };
            if terms.id == terms_after.id {
                let draft = drafts.entry(&terms.id).or_insert_with(|| Draft::new(terms));
                rater.within(draft, stored, now)?;
            } else {
                let draft = drafts.entry(&terms.id).or_insert_with(|| Draft::new(terms));
                rater.out_of(draft, stored, &after.billed_model)?;
                let draft =
                    drafts.entry(&terms_after.id).or_insert_with(|| Draft::new(terms_after));
                rater.into(draft, now, &before.billed_model)?;
            }
        }
        // Terms that nothing differs by any more may have something posted.
        for (terms, _) in posted.keys() {
            if let Some(terms) = contracts.terms(terms) {
                drafts.entry(&terms.id).or_insert_with(|| Draft::new(terms));
            }
        }
        let sealed: BTreeSet<&str> = statement
            .iter()
            .flat_map(|statement| &statement.sections)
            .flat_map(|section| &section.lines)
            .map(|line| line.id.as_str())
            .collect();
        let context = Context { vendor, period, sealed, posted };
        let mut sections = Vec::new();
        for draft in drafts.into_values() {
            sections.extend(draft.finish(&context)?);
        }
        Ok(Self { events, events_changed, sections })
    }

    /// Whether nothing is left to be posted.
    pub fn is_posted(&self) -> bool {
        let mut amounts = self.sections.iter().flat_map(|section| &section.amounts);
        amounts.all(|amount| amount.to_post.0 == 0)
    }
}

/// What of a line is compared.
#[derive(Debug, Default)]
struct Compared {
    events: i64,
    units: i128,
    before: i128,
    after: i128,
    prices_after: BTreeSet<String>,
    currency_after: Option<String>,
    difference: Option<Fraction>,
}

/// What changes by the same terms, in the making.
struct Draft<'a> {
    terms: &'a Terms,
    lines: BTreeMap<LineKey, Compared>,
    volume_before: i128,
    volume_after: i128,
}

impl<'a> Draft<'a> {
    const fn new(terms: &'a Terms) -> Self {
        Self { terms, lines: BTreeMap::new(), volume_before: 0, volume_after: 0 }
    }
}

/// How groups are compared.
#[derive(Clone, Copy)]
struct Rater<'a> {
    contracts: &'a Contracts,
    period: Period,
    events: i64,
}

fn overflow(terms: &Terms) -> SettlementError {
    SettlementError::Overflow(terms.id.clone())
}

impl Rater<'_> {
    /// Usage that stays under its terms: class by class, what it costs now against its line.
    fn within(
        self,
        draft: &mut Draft<'_>,
        stored: LineParts,
        now: LineParts,
    ) -> Result<(), SettlementError> {
        let terms = draft.terms;
        self.add_volumes(draft, stored.volume, now.volume)?;
        let mut now: BTreeMap<Option<TokenClass>, LinePart> =
            now.lines.into_iter().map(|part| (part.class, part)).collect();
        for part in stored.lines {
            let owed = self.owed(terms, &part)?;
            let other = now.remove(&part.class);
            let owed_now = match &other {
                Some(other) => self.owed(terms, other)?,
                None => Fraction::ZERO,
            };
            let difference = owed.negated().and_then(|less| owed_now.plus(less));
            let difference = difference.ok_or_else(|| overflow(terms))?;
            self.compare(draft, Some(part), other, difference)?;
        }
        for part in now.into_values() {
            let difference = self.owed(terms, &part)?;
            self.compare(draft, None, Some(part), difference)?;
        }
        Ok(())
    }

    /// Usage that other terms pay for now.
    fn out_of(
        self,
        draft: &mut Draft<'_>,
        stored: LineParts,
        model_now: &str,
    ) -> Result<(), SettlementError> {
        self.add_volumes(draft, stored.volume, 0)?;
        for part in stored.lines {
            let owed = self.owed(draft.terms, &part)?;
            let key = part.key.clone();
            let difference = owed.negated().ok_or_else(|| overflow(draft.terms))?;
            self.compare(draft, Some(part), None, difference)?;
            if let Some(compared) = draft.lines.get_mut(&key) {
                compared.prices_after.insert(format!("{model_now}: by other terms"));
            }
        }
        Ok(())
    }

    /// Usage that other terms paid for before.
    fn into(
        self,
        draft: &mut Draft<'_>,
        now: LineParts,
        model_before: &str,
    ) -> Result<(), SettlementError> {
        self.add_volumes(draft, 0, now.volume)?;
        for part in now.lines {
            let difference = self.owed(draft.terms, &part)?;
            let key = part.key.clone();
            self.compare(draft, None, Some(part), difference)?;
            if let Some(compared) = draft.lines.get_mut(&key) {
                compared.prices_after.insert(format!("{model_before}: by other terms before"));
            }
        }
        Ok(())
    }

    fn add_volumes(
        self,
        draft: &mut Draft<'_>,
        before: i128,
        after: i128,
    ) -> Result<(), SettlementError> {
        let more = |sum: i128, more| sum.checked_add(more).ok_or_else(|| overflow(draft.terms));
        (draft.volume_before, draft.volume_after) =
            (more(draft.volume_before, before)?, more(draft.volume_after, after)?);
        Ok(())
    }

    /// Notes what a line's part costs now. Usage that had no line before is noted under the one that
    /// it would be on.
    fn compare(
        self,
        draft: &mut Draft<'_>,
        stored: Option<LinePart>,
        now: Option<LinePart>,
        difference: Fraction,
    ) -> Result<(), SettlementError> {
        let terms = draft.terms;
        let Some(key) = stored.as_ref().or(now.as_ref()).map(|part| part.key.clone()) else {
            return Ok(());
        };
        let same_price = match (&stored, &now) {
            (Some(stored), Some(now)) => {
                stored.key.price == now.key.price
                    && stored.key.model == now.key.model
                    && stored.sum.pico == now.sum.pico
                    && stored.key.currency == now.key.currency
            }
            _ => false,
        };
        if same_price && difference.is_zero() {
            return Ok(());
        }
        let compared = draft.lines.entry(key).or_default();
        let over = || overflow(terms);
        compared.events = compared.events.saturating_add(self.events);
        let sum = stored.as_ref().or(now.as_ref()).map_or(0, |part| part.sum.units);
        compared.units = compared.units.checked_add(sum).ok_or_else(over)?;
        let pico = |part: &Option<LinePart>| part.as_ref().map_or(0, |part| part.sum.pico);
        compared.before = compared.before.checked_add(pico(&stored)).ok_or_else(over)?;
        compared.after = compared.after.checked_add(pico(&now)).ok_or_else(over)?;
        if let Some(now) = &now {
            let other_model = stored.as_ref().is_some_and(|s| s.key.model != now.key.model);
            let price = &now.key.price;
            compared.prices_after.insert(if other_model {
                format!("{}: {price}", now.key.model)
            } else {
                price.clone()
            });
            if stored.as_ref().is_some_and(|stored| stored.key.currency != now.key.currency) {
                compared.currency_after = Some(now.key.currency.clone());
            }
        }
        let sum = compared.difference.unwrap_or(Fraction::ZERO);
        compared.difference = Some(sum.plus(difference).ok_or_else(over)?);
        Ok(())
    }

    /// What terms pay for a part, exactly, in their currency, and without what the vendor bears of
    /// a trial.
    fn owed(self, terms: &Terms, part: &LinePart) -> Result<Fraction, SettlementError> {
        let over = || overflow(terms);
        let listed = Fraction::whole(part.sum.pico);
        let owed = if planted(Bug::ReRateOfList) {
            listed
        } else {
            share_of(&terms.form, listed).ok_or_else(over)?
        };
        let owed = if part.key.currency == terms.currency.code() {
            owed
        } else {
            let from = Currency::parse(&part.key.currency);
            let rate = from.and_then(|from| self.contracts.rate(from, terms.currency, self.period));
            let rate = rate.ok_or_else(|| SettlementError::NoRate {
                terms: terms.id.clone(),
                from: part.key.currency.clone(),
                to: terms.currency.to_string(),
                period: self.period,
            })?;
            owed.times(rate.rate_micro, PPM).ok_or_else(over)?
        };
        let vendor_ppm = terms.trial.as_ref().map_or(0, |trial| trial.burden.vendor_ppm());
        if part.key.trial && vendor_ppm > 0 && !planted(Bug::ReRateTrialWhole) {
            return owed.times(PPM - i128::from(vendor_ppm), PPM).ok_or_else(over);
        }
        Ok(owed)
    }
}

/// What drafts are finished with.
struct Context<'a> {
    vendor: &'a str,
    period: Period,
    /// Lines of the sealed statement.
    sealed: BTreeSet<&'a str>,
    posted: &'a BTreeMap<(String, Option<String>), Cents>,
}

impl Draft<'_> {
    /// Rounds each line once, and all of them once.
    fn finish(self, context: &Context<'_>) -> Result<Option<ReRateSection>, SettlementError> {
        let terms = self.terms;
        let over = || overflow(terms);
        let rounded = |exact: Fraction| exact.rounded(terms.rounding).ok_or_else(over);
        let mut exact = Fraction::ZERO;
        let mut by_line: BTreeMap<Option<String>, Cents> = BTreeMap::new();
        let mut add = |line: Option<String>, cents: Cents| {
            let sum: &mut Cents = by_line.entry(line).or_default();
            sum.0 = sum.0.checked_add(cents.0)?;
            Some(())
        };
        let mut parts = Cents(0);
        let mut lines = Vec::new();
        let tiers_exact = Fraction::whole(self.tiers_pico().ok_or_else(over)?);
        let tiers = rounded(tiers_exact)?;
        exact = exact.plus(tiers_exact).ok_or_else(over)?;
        add(None, tiers).ok_or_else(over)?;
        parts.0 = parts.0.checked_add(tiers.0).ok_or_else(over)?;
        for (key, compared) in self.lines {
            let of_line = compared.difference.unwrap_or(Fraction::ZERO);
            exact = exact.plus(of_line).ok_or_else(over)?;
            let difference = rounded(of_line)?;
            parts.0 = parts.0.checked_add(difference.0).ok_or_else(over)?;
            let id = key.id(context.vendor, &terms.id, context.period);
            let on_statement = context.sealed.contains(id.as_str());
            add(on_statement.then(|| id.clone()), difference).ok_or_else(over)?;
            lines.push(ReRatedLine {
                id,
                on_statement,
                model: key.model,
                class: key.class,
                supplier: key.supplier,
                service_tier: key.service_tier,
                trial: key.trial,
                price_before: key.price,
                prices_after: compared.prices_after,
                events: compared.events,
                units: Units(compared.units),
                before: Pico(compared.before),
                after: Pico(compared.after),
                currency: match compared.currency_after {
                    Some(after) => format!("{} → {after}", key.currency),
                    None => key.currency,
                },
                difference,
            });
        }
        let difference = rounded(exact)?;
        let rounding = if planted(Bug::ReRateRoundingLost) {
            Cents(0)
        } else {
            Cents(difference.0.checked_sub(parts.0).ok_or_else(over)?)
        };
        add(None, rounding).ok_or_else(over)?;
        for (of, line) in context.posted.keys() {
            if *of == terms.id {
                by_line.entry(line.clone()).or_default();
            }
        }
        let mut amounts = Vec::new();
        for (orig_line_id, difference) in by_line {
            let key = (terms.id.clone(), orig_line_id);
            let posted = context.posted.get(&key).copied().unwrap_or_default();
            let counted = if planted(Bug::ReRatePostedAgain) { Cents(0) } else { posted };
            let to_post = Cents(difference.0.checked_sub(counted.0).ok_or_else(over)?);
            if difference.0 != 0 || posted.0 != 0 {
                amounts.push(ReRateAmount { orig_line_id: key.1, difference, posted, to_post });
            }
        }
        if lines.is_empty() && amounts.is_empty() {
            return Ok(None);
        }
        let currency = terms.currency;
        let terms = terms.id.clone();
        Ok(Some(ReRateSection { terms, currency, lines, tiers, rounding, difference, amounts }))
    }

    /// What the volume that moved changes: both volumes from the first unit on, with their true-ups.
    fn tiers_pico(&self) -> Option<i128> {
        let Form::Tiers { mode, steps, .. } = &self.terms.form else { return Some(0) };
        if self.volume_before == self.volume_after || planted(Bug::ReRateTierStays) {
            return Some(0);
        }
        let cost = |units: i128| {
            let units = u128::try_from(units).ok()?;
            let slices = slices(steps, 0, units);
            let sum = slices.into_iter().try_fold(0_i128, |sum, slice| {
                let price = i128::from(slice.step.micro_per_million);
                sum.checked_add(i128::try_from(slice.units).ok()?.checked_mul(price)?)
            })?;
            sum.checked_add(true_up_pico(*mode, steps, units)?)
        };
        cost(self.volume_after)?.checked_sub(cost(self.volume_before)?)
    }
}

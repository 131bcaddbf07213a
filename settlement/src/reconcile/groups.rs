//! Levels 1 and 2: sums of both sides by day, model, service tier and currency, and within these by
//! class and price.

use std::collections::{BTreeMap, BTreeSet};

use tally_schemas::TokenClass;

use super::bill::BillLine;
use super::class_prices::ClassPrices;
use super::error::ReconcileError;
use super::mapping::BillMapping;
use super::names::{NameId, Names};
use super::record::{Record, Side};
use super::tolerance::{Binding, Tolerance};

/// What a cell's sums are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct CellKey {
    pub(crate) day: i32,
    pub(crate) model: NameId,
    pub(crate) tier: NameId,
    pub(crate) currency: NameId,
}

/// A class of a cell, at one price where the bill tells prices.
pub(crate) type LineKey = (TokenClass, Option<u64>);

/// Sums of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Both {
    /// Units, ours and theirs.
    pub quantity: [u128; 2],
    /// Pico-currency, ours and theirs.
    pub amount_pico: [i128; 2],
    /// Records or lines, ours and theirs.
    pub records: [u64; 2],
}

impl Both {
    fn add(&mut self, side: Side, quantity: u128, amount_pico: i128) -> Result<(), ReconcileError> {
        let at = usize::from(side == Side::Theirs);
        self.quantity[at] += quantity;
        self.amount_pico[at] = self.amount_pico[at]
            .checked_add(amount_pico)
            .ok_or(ReconcileError::Overflow("amounts"))?;
        self.records[at] += 1;
        Ok(())
    }

    fn join(&mut self, other: &Self) -> Result<(), ReconcileError> {
        for at in 0..2 {
            self.quantity[at] += other.quantity[at];
            self.amount_pico[at] = self.amount_pico[at]
                .checked_add(other.amount_pico[at])
                .ok_or(ReconcileError::Overflow("amounts"))?;
            self.records[at] += other.records[at];
        }
        Ok(())
    }
}

/// The sums of one day, model, service tier and currency.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cell {
    pub(crate) lines: BTreeMap<LineKey, Both>,
    pub(crate) total: Both,
    /// What of our amounts the price ids do not explain by class.
    pub(crate) unexplained_pico: i128,
    /// What the vendor took off as free quota.
    pub(crate) credit_pico: i128,
}

/// The sums of a period.
#[derive(Debug, Clone)]
pub struct Groups {
    pub(crate) cells: BTreeMap<CellKey, Cell>,
    class_amounts: bool,
    by_price: bool,
    has_counts: bool,
    has_amounts: bool,
    units: Units,
    /// Credits that the bill lists as lines of their own, by currency.
    pub(crate) credits: BTreeMap<NameId, i128>,
    /// Our records whose price ids do not explain their amount.
    pub unexplained: u64,
}

impl Groups {
    /// No sums yet, by what a mapping can tell apart.
    pub fn new(mapping: &BillMapping) -> Self {
        Self {
            cells: BTreeMap::new(),
            class_amounts: mapping.has_class_amounts(),
            by_price: mapping.has_class_amounts() && mapping.amount.price.is_some(),
            has_counts: mapping.has_counts(),
            has_amounts: mapping.amount.compared,
            units: Units::of(mapping),
            credits: BTreeMap::new(),
            unexplained: 0,
        }
    }

    /// Whether amounts are known by class.
    pub const fn has_class_amounts(&self) -> bool {
        self.class_amounts
    }

    /// Whether amounts are known at all.
    pub const fn has_amounts(&self) -> bool {
        self.has_amounts
    }

    fn key(record: &Record<'_>) -> CellKey {
        CellKey {
            day: record.day,
            model: record.model,
            tier: record.tier,
            currency: record.currency,
        }
    }

    /// Adds one of our records that is in the period.
    ///
    /// # Errors
    /// `Overflow`.
    pub fn add_ours(
        &mut self,
        record: &Record<'_>,
        prices: Option<&ClassPrices>,
    ) -> Result<(), ReconcileError> {
        let cell = self.cells.entry(Self::key(record)).or_default();
        cell.total.add(Side::Ours, self.units.total(record), record.amount_pico)?;
        if self.class_amounts && prices.is_none() {
            self.unexplained += 1;
            cell.unexplained_pico = cell
                .unexplained_pico
                .checked_add(record.amount_pico)
                .ok_or(ReconcileError::Overflow("amounts"))?;
        }
        for class in TokenClass::ALL {
            let count = record.counts.get(class);
            let price = prices.and_then(|prices| prices[class.index()]);
            if count == 0 {
                continue;
            }
            let amount = i128::from(count) * i128::from(price.unwrap_or(0));
            let price = if self.by_price { Some(price.unwrap_or(0)) } else { None };
            let line = cell.lines.entry((class, price)).or_default();
            line.add(Side::Ours, u128::from(count), if self.class_amounts { amount } else { 0 })?;
        }
        Ok(())
    }

    /// Adds a line of the bill.
    ///
    /// # Errors
    /// `Overflow`.
    pub fn add_theirs(&mut self, line: &BillLine<'_>) -> Result<(), ReconcileError> {
        let record = &line.record;
        if line.is_credit {
            let credits = self.credits.entry(record.currency).or_default();
            *credits = credits
                .checked_add(record.amount_pico)
                .ok_or(ReconcileError::Overflow("amounts"))?;
            return Ok(());
        }
        let cell = self.cells.entry(Self::key(record)).or_default();
        cell.total.add(Side::Theirs, self.units.total(record), record.amount_pico)?;
        cell.credit_pico = cell
            .credit_pico
            .checked_add(record.credit_pico)
            .ok_or(ReconcileError::Overflow("amounts"))?;
        if let Some(class) = line.class {
            let price =
                if self.by_price { Some(line.price_micro_per_million.unwrap_or(0)) } else { None };
            let count = u128::from(record.counts.get(class));
            let sums = cell.lines.entry((class, price)).or_default();
            return sums.add(Side::Theirs, count, record.amount_pico);
        }
        for class in TokenClass::ALL {
            let count = record.counts.get(class);
            if count > 0 {
                let sums = cell.lines.entry((class, None)).or_default();
                sums.add(Side::Theirs, u128::from(count), 0)?;
            }
        }
        Ok(())
    }

    /// Level 1: the sums by currency, credits included.
    ///
    /// # Errors
    /// `Overflow`.
    pub fn totals(&self, names: &Names) -> Result<BTreeMap<String, Both>, ReconcileError> {
        let mut totals: BTreeMap<String, Both> = BTreeMap::new();
        for (key, cell) in &self.cells {
            totals.entry(names.text(key.currency).to_owned()).or_default().join(&cell.total)?;
        }
        for (currency, pico) in &self.credits {
            let total = totals.entry(names.text(*currency).to_owned()).or_default();
            total.amount_pico[1] = total.amount_pico[1]
                .checked_add(*pico)
                .ok_or(ReconcileError::Overflow("amounts"))?;
        }
        Ok(totals)
    }

    /// Whether the sums of two sides are within a tolerance.
    pub(crate) fn inside(&self, sums: &Both, tolerance: &Tolerance, amounts: bool) -> bool {
        let [ours, theirs] = sums.quantity;
        let [our_pico, their_pico] = sums.amount_pico;
        (!self.has_counts || tolerance.quantity_inside(ours, theirs))
            && (!amounts || tolerance.amount_inside(our_pico, their_pico))
    }

    /// Whether one cell is within a tolerance, with all of its lines.
    fn cell_inside(&self, cell: &Cell, tolerance: &Tolerance) -> bool {
        self.inside(&cell.total, tolerance, true)
            && (!self.has_counts && !self.class_amounts
                || cell.lines.values().all(|sums| {
                    self.inside(sums, tolerance, self.class_amounts && cell.unexplained_pico == 0)
                }))
    }

    /// What is outside of a tolerance.
    ///
    /// # Errors
    /// `Overflow`.
    pub fn outside(&self, tolerance: &Tolerance, names: &Names) -> Result<Outside, ReconcileError> {
        let totals = self.totals(names)?;
        let total = !totals.values().all(|sums| self.inside(sums, tolerance, true));
        let mut cells = BTreeSet::new();
        if tolerance.binding != Binding::Total {
            for (key, cell) in &self.cells {
                if !self.cell_inside(cell, tolerance) {
                    cells.insert(*key);
                }
            }
        }
        Ok(Outside { total, cells, records: 0, tolerance: *tolerance, units: self.units })
    }
}

/// What is added up to a total quantity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Units {
    /// Tokens, where the bill has any.
    Tokens,
    /// Else whatever it counts.
    Counted,
}

impl Units {
    fn of(mapping: &BillMapping) -> Self {
        let classes = mapping.classes();
        let tokens = TokenClass::ALL.iter().any(|c| classes[c.index()] && c.in_total());
        if tokens { Self::Tokens } else { Self::Counted }
    }

    fn total(self, record: &Record<'_>) -> u128 {
        match self {
            Self::Tokens => u128::from(record.counts.token_total()),
            Self::Counted => record.counts.0.iter().map(|count| u128::from(*count)).sum(),
        }
    }
}

/// What is outside of the tolerance, and so in dispute.
#[derive(Debug, Clone)]
pub struct Outside {
    /// Whether the total is.
    pub total: bool,
    pub(crate) cells: BTreeSet<CellKey>,
    /// Records that are.
    pub records: u64,
    tolerance: Tolerance,
    units: Units,
}

impl Outside {
    /// Groups that are.
    pub fn groups(&self) -> usize {
        self.cells.len()
    }

    /// Whether anything is.
    pub fn any(&self) -> bool {
        self.total || !self.cells.is_empty() || self.records > 0
    }

    /// Whether a difference of records belongs to what is in dispute: it lies in a group that is
    /// outside, or is outside itself, or explains a total that no group explains.
    pub fn disputes(&self, ours: Option<&Record<'_>>, theirs: Option<&Record<'_>>) -> bool {
        let cell_outside = [ours.filter(|record| record.in_period), theirs]
            .into_iter()
            .flatten()
            .any(|record| self.cells.contains(&Groups::key(record)));
        cell_outside || self.record_outside(ours, theirs) || (self.total && self.cells.is_empty())
    }

    /// Whether a difference of records is outside by itself; never where only sums bind.
    pub fn record_outside(&self, ours: Option<&Record<'_>>, theirs: Option<&Record<'_>>) -> bool {
        if self.tolerance.binding != Binding::Record {
            return false;
        }
        let quantity =
            |record: Option<&Record<'_>>| record.map_or(0, |record| self.units.total(record));
        let pico = |record: Option<&Record<'_>>| record.map_or(0, |record| record.amount_pico);
        !self.tolerance.quantity_inside(quantity(ours), quantity(theirs))
            || !self.tolerance.amount_inside(pico(ours), pico(theirs))
    }
}

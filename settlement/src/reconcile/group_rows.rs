//! Level 2 as it goes out: one row a day, model, service tier, currency, class and price, and for a
//! bill without records the class of each difference.

use std::collections::BTreeMap;

use serde::Serialize;
use tally_schemas::{TokenClass, decimal_text};

use super::class::{Class, Rules};
use super::groups::{Both, Cell, CellKey, Groups, LineKey, Outside};
use super::instant::day_text;
use super::names::{NameId, Names};
use super::tolerance::Tolerance;

/// A row of `groups.csv`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct GroupRow {
    /// Day, in the bill's zone.
    pub day: String,
    /// Billed model.
    pub model: String,
    /// Service tier, where the bill tells it.
    pub tier: String,
    /// Currency.
    pub currency: String,
    /// Class, or `all`.
    pub token_class: &'static str,
    /// Micro-currency per 1,000,000 units, where the bill tells it.
    pub price_micro_per_million: Option<u64>,
    /// Our units.
    pub our_quantity: String,
    /// The vendor's units.
    pub their_quantity: String,
    /// Our amount, where it is compared on this row.
    pub our_amount: Option<String>,
    /// The vendor's amount.
    pub their_amount: Option<String>,
    /// The vendor's amount less ours.
    pub difference: Option<String>,
    /// Why it differs, for a bill without records.
    pub class: Option<&'static str>,
    /// Whether it is outside of the tolerance.
    pub outside: bool,
    /// Both quantities as numbers, for sums.
    #[serde(skip)]
    pub quantities: [u128; 2],
    /// Both amounts in pico-currency, 0 where they are not compared on this row.
    #[serde(skip)]
    pub amounts_pico: [i128; 2],
}

/// What decides a group's class: a line of one side without its counterpart, by what it has in
/// common with others.
type Twin = (TokenClass, u128);

/// Lines of one side by day and twin: where each is, its price, its side.
type Twins = BTreeMap<(i32, Twin), Vec<(CellKey, Option<u64>, usize)>>;

/// Quantities of both sides over the period, by model, service tier, currency and class.
type PeriodSums = BTreeMap<(NameId, NameId, NameId, TokenClass), [u128; 2]>;

/// Classifies and lays out the groups.
#[derive(Debug)]
pub struct GroupReport<'a> {
    /// The sums.
    pub groups: &'a Groups,
    /// The names in them.
    pub names: &'a Names,
    /// The rules of decision.
    pub rules: &'a Rules,
    /// The tolerance.
    pub tolerance: &'a Tolerance,
    /// Whether differences get a class here, since there are no records.
    pub classify: bool,
}

impl GroupReport<'_> {
    /// Every row, sorted by what it is of.
    pub fn rows(&self, outside: &Outside) -> Vec<GroupRow> {
        let twins = self.twins();
        let period = self.period_sums();
        let mut rows = Vec::new();
        for (key, cell) in &self.groups.cells {
            let by_class = self.groups.has_class_amounts() && cell.unexplained_pico == 0;
            for (line, sums) in &cell.lines {
                // Where only the whole amount is known, the row of the whole has the class.
                let of_line = by_class || !self.groups.has_amounts();
                let class = (self.classify && of_line)
                    .then(|| self.class_of(*key, cell, *line, sums, &twins, &period))
                    .flatten();
                let is_outside = outside.cells.contains(key)
                    && !self.groups.inside(sums, self.tolerance, by_class);
                rows.push(self.row(*key, Some(*line), sums, by_class, class, is_outside));
            }
            if !by_class {
                let is_outside = outside.cells.contains(key)
                    && !self.groups.inside(&cell.total, self.tolerance, true);
                let class = self.classify.then(|| self.class_of_total(cell)).flatten();
                let amounts = self.groups.has_amounts();
                rows.push(self.row(*key, None, &cell.total, amounts, class, is_outside));
            }
        }
        rows.sort();
        rows
    }

    fn row(
        &self,
        key: CellKey,
        line: Option<LineKey>,
        sums: &Both,
        amounts: bool,
        class: Option<Class>,
        outside: bool,
    ) -> GroupRow {
        let text = |id: NameId| self.names.text(id).to_owned();
        let [our_quantity, their_quantity] = sums.quantity.map(|quantity| quantity.to_string());
        let [ours, theirs] = sums.amount_pico;
        let amount = |pico: i128| amounts.then(|| decimal_text(pico, 12));
        GroupRow {
            day: day_text(key.day),
            model: text(key.model),
            tier: text(key.tier),
            currency: text(key.currency),
            token_class: line.map_or("all", |(class, _)| class.name()),
            price_micro_per_million: line.and_then(|(_, price)| price),
            our_quantity,
            their_quantity,
            our_amount: amount(ours),
            their_amount: amount(theirs),
            difference: theirs.checked_sub(ours).and_then(amount),
            class: class.map(Class::name),
            outside,
            quantities: sums.quantity,
            amounts_pico: if amounts { sums.amount_pico } else { [0; 2] },
        }
    }

    /// The one-sided lines of each day, by class and quantity.
    fn twins(&self) -> Twins {
        let mut twins: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (key, cell) in &self.groups.cells {
            for ((class, price), sums) in &cell.lines {
                if let Some(side) = one_sided(sums) {
                    let twin = (*class, sums.quantity[side]);
                    twins.entry((key.day, twin)).or_default().push((*key, *price, side));
                }
            }
        }
        twins
    }

    /// The quantities of the whole period by model, tier, currency and class.
    fn period_sums(&self) -> PeriodSums {
        let mut sums: BTreeMap<_, [u128; 2]> = BTreeMap::new();
        for (key, cell) in &self.groups.cells {
            for ((class, _), both) in &cell.lines {
                let sum = sums.entry((key.model, key.tier, key.currency, *class)).or_default();
                sum[0] += both.quantity[0];
                sum[1] += both.quantity[1];
            }
        }
        sums
    }

    fn class_of(
        &self,
        key: CellKey,
        cell: &Cell,
        line: LineKey,
        sums: &Both,
        twins: &Twins,
        period: &PeriodSums,
    ) -> Option<Class> {
        let (class, price) = line;
        if !self.rules.has_counts || sums.quantity[0] == sums.quantity[1] {
            let [ours, theirs] = sums.amount_pico;
            return match one_sided(sums) {
                _ if !self.groups.has_class_amounts() || ours == theirs => None,
                Some(0) => Some(Class::MissingAtTheirs),
                Some(_) => Some(Class::MissingAtOurs),
                None => self.rules.decide_amounts(ours, theirs, 0, sums.records[1]),
            };
        }
        if let Some(side) = one_sided(sums) {
            let same = twins.get(&(key.day, (class, sums.quantity[side])));
            for (other, other_price, other_side) in same.into_iter().flatten() {
                if *other_side == side {
                    continue;
                }
                let differs = [
                    (other.currency != key.currency, Class::Currency),
                    (other.model != key.model, Class::Model),
                    (other.tier != key.tier, Class::ServiceTier),
                    (*other_price != price, Class::PriceVersion),
                ];
                let mut found = differs.into_iter().filter(|(differs, _)| *differs);
                // Only what differs in one thing is the same thing under another name.
                if let (Some((_, class)), None) = (found.next(), found.next()) {
                    return Some(class);
                }
            }
        }
        let in_period = period.get(&(key.model, key.tier, key.currency, class));
        if in_period.is_some_and(|[ours, theirs]| ours == theirs) {
            return Some(Class::TimeShift);
        }
        let [ours, theirs] = cell.total.quantity;
        Some(match one_sided(&cell.total) {
            Some(0) => Class::MissingAtTheirs,
            Some(_) => Class::MissingAtOurs,
            None if ours == theirs => Class::TokenClass,
            None => Class::TokenCount,
        })
    }

    /// The class of a cell of which only the whole amount is known.
    fn class_of_total(&self, cell: &Cell) -> Option<Class> {
        if !self.groups.has_amounts() {
            return None;
        }
        match one_sided(&cell.total) {
            Some(0) => return Some(Class::MissingAtTheirs),
            Some(_) => return Some(Class::MissingAtOurs),
            None => {}
        }
        let [ours, theirs] = cell.total.quantity;
        let counted = self.rules.has_counts;
        if counted && cell.lines.values().any(|sums| sums.quantity[0] != sums.quantity[1]) {
            return Some(if ours == theirs { Class::TokenClass } else { Class::TokenCount });
        }
        let [ours, theirs] = cell.total.amount_pico;
        self.rules.decide_amounts(ours, theirs, cell.credit_pico, cell.total.records[1])
    }
}

/// Which side alone has something, 0 ours and 1 theirs.
fn one_sided(sums: &Both) -> Option<usize> {
    match sums.records {
        [0, 0] => None,
        [_, 0] => Some(0),
        [0, _] => Some(1),
        _ => None,
    }
}

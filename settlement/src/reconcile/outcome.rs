//! What a comparison came to: totals, classes, the largest differences, the difference by day.

use std::collections::BTreeMap;

use serde::Serialize;
use tally_schemas::decimal_text;

use super::bill::{BillContext, BillTotals};
use super::class::Class;
use super::comparison::OurTotals;
use super::difference::{Difference, DifferenceRow};
use super::disputed_groups::DisputedGroups;
use super::error::ReconcileError;
use super::group_rows::GroupRow;
use super::groups::{Groups, Outside};
use super::instant::day_text;
use super::join::JoinTotals;
use super::names::Names;
use super::tolerance::Inside;

/// How many of the largest differences are shown.
pub const TOP: usize = 50;

/// The sums of a currency, and whether they are within the tolerance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TotalRow {
    /// Currency.
    pub currency: String,
    /// Our units.
    pub our_quantity: String,
    /// The vendor's units.
    pub their_quantity: String,
    /// Our amount.
    pub our_amount: String,
    /// The vendor's amount, credits included.
    pub their_amount: String,
    /// Of these, credits that are lines of their own.
    pub credits: String,
    /// The vendor's amount less ours.
    pub difference: String,
    /// Whether both are within the tolerance.
    pub inside: bool,
}

/// A class of differences in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ClassRow {
    /// Class.
    pub class: &'static str,
    /// What it means.
    pub title: &'static str,
    /// Currency; a difference of currencies is in the rows of both.
    pub currency: String,
    /// Differences.
    pub count: u64,
    /// Our amount in them.
    pub our_amount: String,
    /// The vendor's amount in them.
    pub their_amount: String,
    /// The vendor's amount less ours.
    pub difference: String,
}

/// The difference of one day in one currency.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DayRow {
    /// Day, in the bill's zone.
    pub day: String,
    /// Currency.
    pub currency: String,
    /// Our amount.
    pub our_amount: String,
    /// The vendor's amount.
    pub their_amount: String,
    /// The vendor's amount less ours.
    pub difference: String,
    /// The same in pico-currency, for the chart.
    #[serde(skip)]
    pub difference_pico: i128,
}

/// What is outside of the tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct OutsideRow {
    /// Whether the total is.
    pub total: bool,
    /// Groups: days, models, tiers and currencies.
    pub groups: u64,
    /// Records, where they bind.
    pub records: u64,
}

/// What a comparison came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Outcome {
    /// Vendor.
    pub vendor: String,
    /// Name of the bill's file.
    pub bill: String,
    /// Mapping.
    pub mapping: String,
    /// Whether the mapping was compared with a real bill or its documentation.
    pub mapping_verified: bool,
    /// First and last day of the period, in the bill's zone.
    pub days: [String; 2],
    /// The bill's zone, as an offset from UTC.
    pub zone: String,
    /// `record` or `group`.
    pub level: &'static str,
    /// Lines of the bill.
    pub bill_lines: u64,
    /// Of these, outside of the period.
    pub bill_lines_outside: u64,
    /// Encoding of the bill; none for a workbook.
    pub bill_encoding: Option<&'static str>,
    /// Whether a total row was there, and agreed.
    pub total_row_agreed: bool,
    /// Our rows in the period.
    pub our_rows: u64,
    /// Of these, without the vendor's request id.
    pub our_rows_without_request_id: u64,
    /// Of these, with an amount that their price ids do not explain by class.
    pub our_rows_unexplained: u64,
    /// Requests that both sides have.
    pub matched: u64,
    /// Of these, the ones on which they agree.
    pub agreed: u64,
    /// Differences.
    pub differences: u64,
    /// Of these, in dispute.
    pub disputed: u64,
    /// What is outside of the tolerance.
    pub outside: OutsideRow,
    /// Who says how far the figures may be apart: `terms` of the vendor, or the `mapping`.
    pub tolerance_source: &'static str,
    /// Whose figure the contract takes inside of the tolerance.
    pub inside_counts: &'static str,
    /// Level 1.
    pub totals: Vec<TotalRow>,
    /// Differences by class.
    pub classes: Vec<ClassRow>,
    /// Differences by day.
    pub by_day: Vec<DayRow>,
    /// The largest differences of records.
    pub top: Vec<DifferenceRow>,
    /// Level 2.
    #[serde(skip)]
    pub groups: Vec<GroupRow>,
    /// Which of our rows are in a group that is outside of the tolerance.
    #[serde(skip)]
    pub disputed_groups: DisputedGroups,
}

impl Outcome {
    /// Whether everything is within the tolerance.
    pub const fn is_inside(&self) -> bool {
        !self.outside.total && self.outside.groups == 0 && self.outside.records == 0
    }

    /// What is owed besides our figures, in words: within the tolerance the contract may take the
    /// vendor's, and nothing is posted by a comparison. `None` where ours stand.
    pub fn unposted(&self) -> Option<String> {
        if !self.is_inside() || self.inside_counts != "theirs" {
            return None;
        }
        let differing = self.totals.iter().filter(|total| total.our_amount != total.their_amount);
        let amounts: Vec<String> =
            differing.map(|total| format!("{} {}", total.currency, total.difference)).collect();
        (!amounts.is_empty()).then(|| {
            format!(
                "The vendor's figures count; theirs less ours is {}. No statement has that before \
                 it is posted: tally settle reconcile with --by NAME --post proposes it",
                amounts.join(", ")
            )
        })
    }

    /// The rows of level 2 that differ most, largest first.
    pub fn top_groups(&self) -> Vec<&GroupRow> {
        let mut rows: Vec<(u128, &GroupRow)> = self
            .groups
            .iter()
            .filter(|row| row.outside || row.class.is_some())
            .map(|row| (row_weight(row), row))
            .collect();
        rows.sort_by(|(a, a_row), (b, b_row)| b.cmp(a).then_with(|| a_row.cmp(b_row)));
        rows.into_iter().take(TOP).map(|(_, row)| row).collect()
    }
}

/// How much a group differs: its amount, or its quantity where no amount is compared.
fn row_weight(row: &GroupRow) -> u128 {
    let [ours_pico, theirs_pico] = row.amounts_pico;
    let [ours, theirs] = row.quantities;
    match row.difference {
        Some(_) => ours_pico.abs_diff(theirs_pico),
        None => ours.abs_diff(theirs),
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    count: u64,
    ours_pico: i128,
    theirs_pico: i128,
}

/// Counts and sums of the differences while they come.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    differences: u64,
    disputed: u64,
    classes: BTreeMap<(Class, String), Sums>,
    /// The largest ones: size, and then what makes the order independent of the input's.
    top: BTreeMap<TopKey, DifferenceRow>,
}

/// Largest first: the size is negated by taking it from the largest.
type TopKey = (u128, &'static str, String, Option<u64>, Option<u32>, Option<u32>);

impl Tally {
    pub(crate) fn add(
        &mut self,
        difference: &Difference<'_>,
        row: &DifferenceRow,
        names: &Names,
    ) -> Result<(), ReconcileError> {
        self.differences += 1;
        self.disputed += u64::from(row.disputed);
        let ours = difference.ours.map(|record| record.currency);
        let theirs = difference.theirs.map(|record| record.currency);
        let (ours_pico, theirs_pico) = (difference.ours_pico(), difference.theirs_pico());
        if let (Some(our), Some(their)) = (ours, theirs)
            && our != their
        {
            self.sum(difference.class, names.text(our), ours_pico, 0)?;
            self.sum(difference.class, names.text(their), 0, theirs_pico)?;
        } else if let Some(currency) = theirs.or(ours) {
            self.sum(difference.class, names.text(currency), ours_pico, theirs_pico)?;
        }
        let size = u128::MAX - theirs_pico.abs_diff(ours_pico);
        let full = self.top.len() >= TOP;
        if full && self.top.last_key_value().is_some_and(|((smallest, ..), _)| size > *smallest) {
            return Ok(());
        }
        let key = (
            size,
            row.class,
            row.request_id.clone(),
            row.bill_line.or(row.kafka_offset),
            row.kafka_partition,
            row.batch_index,
        );
        self.top.insert(key, row.clone());
        if self.top.len() > TOP {
            self.top.pop_last();
        }
        Ok(())
    }

    fn sum(
        &mut self,
        class: Class,
        currency: &str,
        ours_pico: i128,
        theirs_pico: i128,
    ) -> Result<(), ReconcileError> {
        let sums = self.classes.entry((class, currency.to_owned())).or_default();
        let add = |a: i128, b: i128| a.checked_add(b).ok_or(ReconcileError::Overflow("amounts"));
        sums.count += 1;
        sums.ours_pico = add(sums.ours_pico, ours_pico)?;
        sums.theirs_pico = add(sums.theirs_pico, theirs_pico)?;
        Ok(())
    }

    /// Takes the differences of groups, for a bill without records.
    fn add_groups(&mut self, rows: &[GroupRow]) -> Result<(), ReconcileError> {
        for row in rows {
            let Some(class) = Class::ALL.into_iter().find(|c| Some(c.name()) == row.class) else {
                continue;
            };
            self.differences += 1;
            self.disputed += u64::from(row.outside);
            let [ours, theirs] = row.amounts_pico;
            self.sum(class, &row.currency, ours, theirs)?;
        }
        Ok(())
    }
}

/// What an outcome is made of.
#[derive(Debug)]
pub(crate) struct OutcomeParts<'a> {
    pub(crate) context: &'a BillContext<'a>,
    pub(crate) names: &'a Names,
    pub(crate) groups: &'a Groups,
    pub(crate) group_rows: Vec<GroupRow>,
    pub(crate) bill: BillTotals,
    pub(crate) ours: OurTotals,
    pub(crate) join: JoinTotals,
    pub(crate) tally: Tally,
    pub(crate) disputed_groups: DisputedGroups,
    pub(crate) outside: Outside,
}

fn text(pico: i128) -> String {
    decimal_text(pico, 12)
}

impl Outcome {
    pub(crate) fn new(parts: OutcomeParts<'_>) -> Result<Self, ReconcileError> {
        let OutcomeParts {
            context,
            names,
            groups,
            group_rows,
            bill,
            ours,
            join,
            mut tally,
            disputed_groups,
            outside,
        } = parts;
        let mapping = context.mapping;
        if !mapping.has_records() {
            tally.add_groups(&group_rows)?;
        }
        let credits: BTreeMap<&str, i128> =
            groups.credits.iter().map(|(currency, pico)| (names.text(*currency), *pico)).collect();
        let totals = groups
            .totals(names)?
            .into_iter()
            .map(|(currency, sums)| TotalRow {
                our_quantity: sums.quantity[0].to_string(),
                their_quantity: sums.quantity[1].to_string(),
                our_amount: text(sums.amount_pico[0]),
                their_amount: text(sums.amount_pico[1]),
                credits: text(credits.get(currency.as_str()).copied().unwrap_or(0)),
                difference: text(sums.amount_pico[1].saturating_sub(sums.amount_pico[0])),
                inside: groups.inside(&sums, &mapping.tolerance, true),
                currency,
            })
            .collect();
        let classes = tally
            .classes
            .iter()
            .map(|((class, currency), sums)| ClassRow {
                class: class.name(),
                title: class.title(),
                currency: currency.clone(),
                count: sums.count,
                our_amount: text(sums.ours_pico),
                their_amount: text(sums.theirs_pico),
                difference: text(sums.theirs_pico.saturating_sub(sums.ours_pico)),
            })
            .collect();
        let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        Ok(Self {
            vendor: context.vendor.to_owned(),
            bill: context.file.to_owned(),
            mapping: mapping.name.clone(),
            mapping_verified: mapping.verified,
            days: [day_text(context.period.first_day), day_text(context.period.end_day - 1)],
            zone: mapping.zone_text(),
            level: if mapping.has_records() { "record" } else { "group" },
            bill_lines: bill.lines,
            bill_lines_outside: bill.lines_outside,
            bill_encoding: bill.encoding,
            total_row_agreed: bill.total_row_agreed,
            our_rows: ours.rows,
            our_rows_without_request_id: ours.without_request_id,
            our_rows_unexplained: groups.unexplained,
            matched: join.matched,
            agreed: join.agreed,
            differences: tally.differences,
            disputed: tally.disputed,
            outside: OutsideRow {
                total: outside.total,
                groups: count(outside.groups()),
                records: outside.records,
            },
            tolerance_source: mapping.tolerance_source.name(),
            inside_counts: match mapping.tolerance.inside {
                Inside::Ours => "ours",
                Inside::Theirs => "theirs",
            },
            totals,
            classes,
            by_day: by_day(groups, names),
            top: tally.top.into_values().collect(),
            groups: group_rows,
            disputed_groups,
        })
    }
}

/// The difference of each day, by currency.
fn by_day(groups: &Groups, names: &Names) -> Vec<DayRow> {
    let mut days: BTreeMap<(String, i32), [i128; 2]> = BTreeMap::new();
    for (key, cell) in &groups.cells {
        let sums = days.entry((names.text(key.currency).to_owned(), key.day)).or_default();
        sums[0] = sums[0].saturating_add(cell.total.amount_pico[0]);
        sums[1] = sums[1].saturating_add(cell.total.amount_pico[1]);
    }
    days.into_iter()
        .map(|((currency, day), [ours, theirs])| DayRow {
            day: day_text(day),
            currency,
            our_amount: text(ours),
            their_amount: text(theirs),
            difference: text(theirs.saturating_sub(ours)),
            difference_pico: theirs.saturating_sub(ours),
        })
        .collect()
}

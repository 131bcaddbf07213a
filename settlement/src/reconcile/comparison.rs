//! A comparison from the first line of the bill to the outcome. The edge opens files and reads our
//! rows; everything in between is here.

use tally_schemas::{TokenClass, UsageCounts, UsageSource};

use super::bill::{BillContext, BillTotals, read_bill};
use super::class::Rules;
use super::class_prices::PriceTable;
use super::difference::{Difference, DifferenceRow};
use super::disputed_groups::DisputedGroups;
use super::error::ReconcileError;
use super::group_rows::GroupReport;
use super::groups::Groups;
use super::instant::{DAY_MS, day_of};
use super::join::{JoinOptions, JoinTotals, join};
use super::names::{NameId, Names};
use super::outcome::{Outcome, OutcomeParts, Tally};
use super::record::{Position, Record, Side};
use super::rows::OpenBill;
use super::spool::{Shelf, Spool};
use super::{CompareBug, planted};

/// How far beyond the days of the bill our rows are read, so that a shifted one is still found.
const MARGIN_MS: i64 = 36 * 3_600_000;

/// Bounds of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most memory for the records that are compared at a time.
    pub memory_max_bytes: u64,
    /// Temporary files a side.
    pub partitions: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { memory_max_bytes: 1 << 30, partitions: 64 }
    }
}

/// One of our rated events.
#[derive(Debug, Clone, Copy)]
pub struct OurRow<'a> {
    /// The vendor's id of the request, where the gateway told it.
    pub request_id: Option<&'a str>,
    /// Position in the log.
    pub position: Position,
    /// The instant that the mapping's basis asks for, in milliseconds of UTC.
    pub at_ms: i64,
    /// Billed model.
    pub billed_model: &'a str,
    /// Service tier.
    pub service_tier: &'a str,
    /// Counts.
    pub counts: UsageCounts,
    /// What is owed, in pico-currency.
    pub amount_pico: i128,
    /// Currency of that.
    pub currency: &'a str,
    /// Ids of the prices, with commas.
    pub price_ids: &'a str,
    /// Where the counts come from.
    pub usage_source: UsageSource,
    /// Why the call ended.
    pub finish_reason: &'a str,
}

/// What of our rows was added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct OurTotals {
    /// Rows in the period.
    pub rows: u64,
    /// Of these, without the vendor's request id.
    pub without_request_id: u64,
}

/// A comparison under way: first the bill, then our rows, then the outcome.
#[derive(Debug)]
pub struct Comparison<'a> {
    context: BillContext<'a>,
    names: Names,
    groups: Groups,
    prices: PriceTable,
    classes: [bool; tally_schemas::CLASS_COUNT],
    theirs: Spool,
    ours: Spool,
    bill: BillTotals,
    bill_days: Option<(i32, i32)>,
    our_totals: OurTotals,
    limits: Limits,
}

impl<'a> Comparison<'a> {
    /// Starts one, with its temporary files.
    ///
    /// # Errors
    /// What the shelf says.
    pub fn new(
        context: BillContext<'a>,
        prices: PriceTable,
        shelf: &mut dyn Shelf,
        limits: Limits,
    ) -> Result<Self, ReconcileError> {
        Ok(Self {
            context,
            names: Names::default(),
            groups: Groups::new(context.mapping),
            prices,
            classes: context.mapping.classes(),
            theirs: Spool::new(shelf, Side::Theirs, limits.partitions)?,
            ours: Spool::new(shelf, Side::Ours, limits.partitions)?,
            bill: BillTotals::default(),
            bill_days: None,
            our_totals: OurTotals::default(),
            limits,
        })
    }

    /// Reads the bill.
    ///
    /// # Errors
    /// As [`read_bill`].
    pub fn read_bill(&mut self, open: &OpenBill<'_>) -> Result<(), ReconcileError> {
        let Self { context, names, groups, theirs, bill_days, .. } = self;
        let has_records = context.mapping.has_records();
        self.bill = read_bill(context, open, names, &mut |line| {
            let day = line.record.day;
            let (first, last) = bill_days.get_or_insert((day, day));
            (*first, *last) = ((*first).min(day), (*last).max(day));
            groups.add_theirs(line)?;
            if has_records && !line.is_credit {
                theirs.add(&line.record)?;
            }
            Ok(())
        })?;
        Ok(())
    }

    /// Which of our rows are needed: `[from, to)` of the instant that the mapping's basis asks for,
    /// in milliseconds of UTC. Known once the bill was read.
    pub fn our_window_ms(&self) -> (i64, i64) {
        let period = self.context.period;
        let (mut from, mut to) = (period.from_ms(), period.to_ms());
        if let Some((first, last)) = self.bill_days {
            let start = |day: i32| i64::from(day) * DAY_MS - period.offset_ms;
            from = from.min(start(first));
            to = to.max(start(last) + DAY_MS);
        }
        (from - MARGIN_MS, to + MARGIN_MS)
    }

    /// Adds one of our rows.
    ///
    /// # Errors
    /// `Overflow`, or what writing ran into.
    pub fn add_our_row(&mut self, row: &OurRow<'_>) -> Result<(), ReconcileError> {
        let mapping = self.context.mapping;
        let offset_ms = if planted(CompareBug::DaysOfUtc) { 0 } else { mapping.time.offset_ms };
        let Some(day) = day_of(row.at_ms, offset_ms) else { return Ok(()) };
        let in_period = self.context.period.contains(day);
        let mut record = Record {
            request_id: row.request_id.unwrap_or_default(),
            position: row.position,
            at_ms: Some(row.at_ms),
            day,
            in_period,
            model: self.name_if(mapping.model.is_some(), row.billed_model),
            tier: self.name_if(mapping.service_tier.is_some(), row.service_tier),
            currency: self.names.id(row.currency),
            counts: self.compared(&row.counts),
            amount_pico: if mapping.amount.compared { row.amount_pico } else { 0 },
            usage_source: row.usage_source,
            finish: self.names.id(row.finish_reason),
            prices: self.names.id(row.price_ids),
            ..Record::default()
        };
        if in_period {
            self.our_totals.rows += 1;
            self.our_totals.without_request_id += u64::from(record.request_id.is_empty());
            let explained = if self.groups.has_class_amounts() {
                self.prices.explain(record.prices, &row.counts, row.amount_pico, &self.names)
            } else {
                None
            };
            self.groups.add_ours(&record, explained.as_ref())?;
        }
        if mapping.has_records() {
            if record.request_id.len() > super::record::REQUEST_ID_MAX_BYTES {
                record.request_id = "";
            }
            self.ours.add(&record)?;
        }
        Ok(())
    }

    fn name_if(&mut self, told: bool, name: &str) -> NameId {
        if told { self.names.id(name) } else { NameId::default() }
    }

    /// Our counts as the bill would have them: what it counts elsewhere there, and nothing that it
    /// does not have.
    fn compared(&self, counts: &UsageCounts) -> UsageCounts {
        let mut compared = *counts;
        for (from, to) in &self.context.mapping.fold {
            let count = compared.get(*from);
            compared.set(*from, 0);
            compared.set(*to, compared.get(*to).saturating_add(count));
        }
        for class in TokenClass::ALL {
            if !self.classes[class.index()] {
                compared.set(class, 0);
            }
        }
        compared
    }

    /// Compares record by record and tells what came out; each difference goes to `each` on the
    /// way, in an order that depends on the data only.
    ///
    /// # Errors
    /// As [`join`], and what `each` says.
    pub fn finish(
        mut self,
        shelf: &mut dyn Shelf,
        each: &mut dyn FnMut(&DifferenceRow) -> Result<(), ReconcileError>,
    ) -> Result<Outcome, ReconcileError> {
        let mapping = self.context.mapping;
        let rules = Rules::new(mapping, &mut self.names);
        let names = &self.names;
        let mut outside = self.groups.outside(&mapping.tolerance, names)?;
        let mut tally = Tally::default();
        let mut join_totals = JoinTotals::default();
        if mapping.has_records() {
            let options = JoinOptions {
                rules: &rules,
                names,
                file: self.context.file,
                duplicates: mapping.duplicates,
                memory_max_bytes: self.limits.memory_max_bytes,
            };
            let mut take = |difference: &Difference<'_>| {
                let (ours, theirs) = (difference.ours.as_ref(), difference.theirs.as_ref());
                outside.records += u64::from(outside.record_outside(ours, theirs));
                let row = DifferenceRow::new(difference, outside.disputes(ours, theirs), names);
                tally.add(difference, &row, names)?;
                each(&row)
            };
            join_totals = join(shelf, self.ours, self.theirs, &options, &mut take)?;
        }
        let report = GroupReport {
            groups: &self.groups,
            names,
            rules: &rules,
            tolerance: &mapping.tolerance,
            classify: !mapping.has_records(),
        };
        let groups = report.rows(&outside);
        Outcome::new(OutcomeParts {
            context: &self.context,
            names,
            groups: &self.groups,
            group_rows: groups,
            bill: self.bill,
            ours: self.our_totals,
            join: join_totals,
            tally,
            disputed_groups: DisputedGroups::new(&outside, names),
            outside,
        })
    }
}

//! Our rows that a dispute over groups is about: those of every group that is outside of the
//! tolerance. Together they are our side of these groups, to the last unit and pico.

use super::bill::BillContext;
use super::comparison::OurRow;
use super::groups::Outside;
use super::instant::{DAY_MS, day_of};
use super::names::Names;

/// Day, and the names of model, service tier and currency; empty where the bill does not tell.
type Group = (i32, [String; 3]);

/// Which of our rows of the period are in a group that is in dispute.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DisputedGroups {
    /// The total alone is outside: no group explains it, and everything is in dispute.
    everything: bool,
    /// The groups that are outside, sorted.
    groups: Vec<Group>,
}

impl DisputedGroups {
    pub(crate) fn new(outside: &Outside, names: &Names) -> Self {
        let text = |id| names.text(id).to_owned();
        let mut groups: Vec<Group> = outside
            .cells
            .iter()
            .map(|key| (key.day, [key.model, key.tier, key.currency].map(text)))
            .collect();
        groups.sort();
        Self { everything: outside.total && groups.is_empty(), groups }
    }

    /// Whether one of our rows is in dispute.
    pub fn has(&self, context: &BillContext<'_>, row: &OurRow<'_>) -> bool {
        let mapping = context.mapping;
        let Some(day) = day_of(row.at_ms, mapping.time.offset_ms) else { return false };
        if !context.period.contains(day) {
            return false;
        }
        let told = |is_told: bool, name| if is_told { name } else { "" };
        let names = [
            told(mapping.model.is_some(), row.billed_model),
            told(mapping.service_tier.is_some(), row.service_tier),
            row.currency,
        ];
        let of_row = |(other, others): &Group| {
            other.cmp(&day).then_with(|| others.each_ref().map(String::as_str).cmp(&names))
        };
        self.everything || self.groups.binary_search_by(of_row).is_ok()
    }

    /// Where these rows lie: `[from, to)` in milliseconds of UTC, no wider than the period.
    pub fn window_ms(&self, context: &BillContext<'_>) -> (i64, i64) {
        let period = context.period;
        let (from, to) = (period.from_ms(), period.to_ms());
        let start = |day: i32| i64::from(day) * DAY_MS - period.offset_ms;
        match (self.groups.first(), self.groups.last()) {
            (Some((first, _)), Some((last, _))) => {
                let begin = start(*first).clamp(from, to);
                (begin, (start(*last) + DAY_MS).clamp(begin, to))
            }
            _ if self.everything => (from, to),
            _ => (from, from),
        }
    }
}

//! What an account used within windows: for caps, spikes, and the sums of a month.

use crate::bucket::GRACE_MS;
use crate::window::{SPIKE, Span, Window};

/// What is counted. The subject that goes with it is a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meter {
    /// Micro-points of a package's buckets in a window of a cap; the subject is the package.
    Package(Window),
    /// Micro-points of a package's buckets in an hour.
    Spike,
    /// Micro-points of a member from buckets and pay as you go; the subject is the subscriber.
    Member(Window),
    /// Pico-currency of pay as you go in a month; the subject is the currency.
    PaygMonth,
    /// Micro-points of overrun in a month; there is no subject.
    OverrunMonth,
    /// Micro-points of pay as you go since the beginning; the subject is the tariff.
    Payg,
}

const MEMBER: u8 = 8;

impl Meter {
    /// Byte in state.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Package(window) => window as u8,
            Self::Spike => 6,
            Self::Member(window) => MEMBER + window as u8,
            Self::PaygMonth => 16,
            Self::OverrunMonth => 17,
            Self::Payg => 18,
        }
    }

    /// The meter of a byte.
    pub(crate) fn from_code(code: u8) -> Option<Self> {
        let window = |code: u8| Window::ALL.get(usize::from(code)).copied();
        match code {
            0..6 => window(code).map(Self::Package),
            6 => Some(Self::Spike),
            MEMBER..14 => window(code - MEMBER).map(Self::Member),
            16 => Some(Self::PaygMonth),
            17 => Some(Self::OverrunMonth),
            18 => Some(Self::Payg),
            _ => None,
        }
    }

    /// How it is cut into slots; none where it is never forgotten.
    pub(crate) const fn span(self) -> Option<Span> {
        match self {
            Self::Package(window) | Self::Member(window) => Some(window.span()),
            Self::Spike => Some(SPIKE),
            Self::PaygMonth | Self::OverrunMonth => Some(Span::Month),
            Self::Payg => None,
        }
    }

    /// When a slot is forgotten: the grace after its last window.
    pub(crate) fn forgotten_ms(self, slot_ms: i64) -> i64 {
        self.span().map_or(i64::MAX, |span| span.last_window_end(slot_ms).saturating_add(GRACE_MS))
    }

    /// Whether a slot is forgotten at a watermark. Mostly it is clear without looking at the length
    /// of a month.
    fn is_forgotten(self, slot_ms: i64, watermark_ms: i64) -> bool {
        let Some(span) = self.span() else { return false };
        let least_ms = span.least_ms().saturating_add(GRACE_MS);
        watermark_ms >= slot_ms.saturating_add(least_ms)
            && watermark_ms >= self.forgotten_ms(slot_ms)
    }
}

/// Start of each slot and what was used in it, oldest first.
pub(crate) type Slots = Vec<(i64, i128)>;

/// One meter of one subject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) meter: Meter,
    pub(crate) subject: u64,
    pub(crate) slots: Slots,
}

impl Usage {
    /// What the window counts whose last slot holds the instant.
    pub(crate) fn at(&self, at_ms: i64) -> i128 {
        let Some(span) = self.meter.span() else {
            return self.slots.first().map_or(0, |slot| slot.1);
        };
        let last = self.slot_of(span, at_ms);
        let first = span.first_slot(last);
        let newest_first = self.slots.iter().rev();
        newest_first
            .skip_while(|slot| slot.0 > last)
            .take_while(|slot| slot.0 >= first)
            .map(|slot| slot.1)
            .sum()
    }

    /// The slot of an instant: mostly the newest there is.
    fn slot_of(&self, span: Span, at_ms: i64) -> i64 {
        match self.slots.last() {
            Some((newest, _)) if span.surely_holds(*newest, at_ms) => *newest,
            _ => span.slot_start(at_ms),
        }
    }

    /// Counts what was used at an instant, unless its slot is forgotten already.
    pub(crate) fn add(&mut self, at_ms: i64, used: i128, watermark_ms: i64) {
        let slot = self.meter.span().map_or(0, |span| self.slot_of(span, at_ms));
        if self.meter.is_forgotten(slot, watermark_ms) {
            return;
        }
        match self.slots.binary_search_by_key(&slot, |slot| slot.0) {
            Ok(found) => self.slots[found].1 += used,
            Err(free) => self.slots.insert(free, (slot, used)),
        }
    }

    /// Takes back what was used at an instant, as far as its slot is there.
    pub(crate) fn take_back(&mut self, at_ms: i64, used: i128) {
        let slot = self.meter.span().map_or(0, |span| span.slot_start(at_ms));
        let Ok(found) = self.slots.binary_search_by_key(&slot, |slot| slot.0) else { return };
        let left = &mut self.slots[found].1;
        *left = (*left - used).max(0);
        if *left == 0 {
            self.slots.remove(found);
        }
    }

    /// Forgets the slots that no window needs.
    pub(crate) fn forget(&mut self, watermark_ms: i64) {
        let forgotten = |slot: &(i64, i128)| self.meter.is_forgotten(slot.0, watermark_ms);
        if self.slots.first().is_some_and(forgotten) {
            let kept = self.slots.iter().position(|slot| !forgotten(slot));
            self.slots.drain(..kept.unwrap_or(self.slots.len()));
        }
    }
}

/// The meter of a subject in a list; zero where there is none.
pub(crate) fn used_at(usages: &[Usage], meter: Meter, subject: u64, at_ms: i64) -> i128 {
    let same = |usage: &&Usage| usage.meter == meter && usage.subject == subject;
    usages.iter().find(same).map_or(0, |usage| usage.at(at_ms))
}

/// The first slot, of the meter of a subject in a list, that begins after an instant.
pub(crate) fn next_slot(
    usages: &[Usage],
    meter: Meter,
    subject: u64,
    after_ms: i64,
) -> Option<i64> {
    let same = |usage: &&Usage| usage.meter == meter && usage.subject == subject;
    let slots = &usages.iter().find(same)?.slots;
    slots.iter().rev().map(|slot| slot.0).take_while(|slot| *slot > after_ms).last()
}

/// The meter of a subject in a list, added where there is none.
pub(crate) fn usage_of(usages: &mut Vec<Usage>, meter: Meter, subject: u64) -> &mut Usage {
    let same = |usage: &Usage| usage.meter == meter && usage.subject == subject;
    let found = usages.iter().position(same).unwrap_or_else(|| {
        usages.push(Usage { meter, subject, slots: Vec::new() });
        usages.len() - 1
    });
    &mut usages[found]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::HOUR_MS;

    const TEN_MINUTES: i64 = HOUR_MS / 6;

    #[test]
    fn a_rolling_window_is_its_own_slice_and_the_29_before() {
        let mut usage =
            Usage { meter: Meter::Package(Window::Rolling5h), subject: 1, slots: vec![] };
        usage.add(5, 1, i64::MIN);
        usage.add(TEN_MINUTES, 2, i64::MIN);
        usage.add(31 * TEN_MINUTES, 4, i64::MIN);
        assert_eq!(usage.at(0), 1);
        assert_eq!(usage.at(TEN_MINUTES), 3);
        assert_eq!(usage.at(29 * TEN_MINUTES), 3);
        assert_eq!(usage.at(30 * TEN_MINUTES), 2);
        assert_eq!(usage.at(31 * TEN_MINUTES), 4);
        assert_eq!(usage.at(32 * TEN_MINUTES), 4);
        usage.add(TEN_MINUTES - 1, 8, i64::MIN);
        assert_eq!(usage.at(29 * TEN_MINUTES), 11, "late usage is in every window of its slice");
    }

    #[test]
    fn a_slot_is_forgotten_with_its_last_window_and_the_grace() {
        let mut usage =
            Usage { meter: Meter::Package(Window::Rolling5h), subject: 1, slots: vec![] };
        let forgotten = 5 * HOUR_MS + GRACE_MS;
        usage.add(0, 1, forgotten - 1);
        usage.forget(forgotten - 1);
        assert_eq!(usage.slots.len(), 1);
        usage.forget(forgotten);
        usage.add(0, 1, forgotten);
        assert_eq!(usage.slots.len(), 0);
    }

    #[test]
    fn codes_round_trip() {
        for code in 0..=u8::MAX {
            if let Some(meter) = Meter::from_code(code) {
                assert_eq!(meter.code(), code);
            }
        }
        assert_eq!(Meter::from_code(Meter::Payg.code()), Some(Meter::Payg));
    }
}

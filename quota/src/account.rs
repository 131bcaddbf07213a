//! An account as it is worked on.

use crate::bucket::{Bucket, TextRange};
use crate::package::{Cap, ThresholdKind};
use crate::reference::QuotaReference;
use crate::usage::{Meter, Slots, Usage};
use crate::window::{SPIKE, Span, Window};

/// When and by what an account was exhausted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted {
    /// `completed_at` of the event that left an overflow while it was not exhausted.
    pub(crate) at_ms: i64,
    /// Kafka's time of its record.
    pub(crate) log_time_ms: i64,
}

/// What a subscriber may use of the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) subscriber: String,
    pub(crate) caps: Vec<Cap>,
}

/// What the counter of an alert names that is not about one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Watched {
    /// A cap's window.
    Cap(Window),
    /// An hour.
    Spike,
    /// A month's pay as you go.
    OverflowSpent,
    /// A month's overrun.
    Overrun,
}

impl Watched {
    pub(crate) const fn kind(self) -> ThresholdKind {
        match self {
            Self::Cap(_) => ThresholdKind::Cap,
            Self::Spike => ThresholdKind::Spike,
            Self::OverflowSpent => ThresholdKind::OverflowSpent,
            Self::Overrun => ThresholdKind::Overrun,
        }
    }

    pub(crate) const fn span(self) -> Span {
        match self {
            Self::Cap(window) => window.span(),
            Self::Spike => SPIKE,
            Self::OverflowSpent | Self::Overrun => Span::Month,
        }
    }

    /// Byte in state.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Cap(window) => window as u8,
            Self::Spike => 6,
            Self::OverflowSpent => 7,
            Self::Overrun => 8,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Self> {
        match code {
            0..6 => Window::ALL.get(usize::from(code)).copied().map(Self::Cap),
            6 => Some(Self::Spike),
            7 => Some(Self::OverflowSpent),
            8 => Some(Self::Overrun),
            _ => None,
        }
    }
}

/// A threshold that was sent or superseded in a period and is not sent again in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FiredInPeriod {
    pub(crate) watched: Watched,
    /// Hash of the package or tariff.
    pub(crate) subject: u64,
    pub(crate) period_ms: i64,
    pub(crate) threshold: i64,
}

/// One account.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// The account's name, then ids of buckets; those of forgotten ones stay until it is encoded.
    pub(crate) text: String,
    pub(crate) name_len: usize,
    pub(crate) region: Option<String>,
    /// Hash of the tariff that is consented to.
    pub(crate) overflow: Option<u64>,
    pub(crate) exhausted: Option<Exhausted>,
    /// Oldest first, in the order of the log.
    pub(crate) buckets: Vec<Bucket>,
    pub(crate) usages: Vec<Usage>,
    pub(crate) fired: Vec<FiredInPeriod>,
    pub(crate) members: Vec<Member>,
    /// Whether it changed since the last settling.
    pub(crate) dirty: bool,
    /// Its number in the store.
    pub(crate) number: u32,
    /// Memory of usages of an account that was here before.
    pub(crate) spare: Spare,
}

/// Emptied lists of slots. The cache decodes an account for nearly every event, and most of them
/// have a usage.
#[derive(Debug, Default)]
pub(crate) struct Spare(Vec<Slots>);

/// Lists that are kept, and the slots that one of them has room for.
const SPARE_MAX: usize = 4;

impl Spare {
    fn keep(&mut self, mut slots: Slots) {
        if self.0.len() < SPARE_MAX && slots.capacity() <= SPARE_MAX {
            slots.clear();
            self.0.push(slots);
        }
    }

    /// An empty list.
    pub(crate) fn take(&mut self) -> Slots {
        self.0.pop().unwrap_or_default()
    }
}

/// What is spare is no part of an account: a copy of one has none.
impl Clone for Spare {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Spare {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Spare {}

impl Account {
    pub(crate) fn name(&self) -> &str {
        &self.text[..self.name_len]
    }

    pub(crate) fn text_of(&self, range: TextRange) -> &str {
        text_of(&self.text, range)
    }

    /// Makes it an account that nothing is known of.
    pub(crate) fn reset(&mut self, name: &str) {
        self.text.clear();
        self.text.push_str(name);
        self.name_len = name.len();
        self.region = None;
        (self.overflow, self.exhausted) = (None, None);
        self.buckets.clear();
        for usage in self.usages.drain(..) {
            self.spare.keep(usage.slots);
        }
        self.fired.clear();
        self.members.clear();
        self.dirty = false;
        self.number = 0;
    }

    /// Adds a text to the account's.
    pub(crate) fn add_text(&mut self, text: &str) -> TextRange {
        let at = u32::try_from(self.text.len()).unwrap_or(u32::MAX);
        self.text.push_str(text);
        TextRange { at, len: u32::try_from(text.len()).unwrap_or(u32::MAX) }
    }

    /// Whether nothing is known of it.
    pub(crate) fn is_blank(&self) -> bool {
        self.region.is_none()
            && self.overflow.is_none()
            && self.exhausted.is_none()
            && self.buckets.is_empty()
            && self.usages.is_empty()
            && self.fired.is_empty()
            && self.members.is_empty()
    }

    /// Position of a bucket by its id.
    pub(crate) fn bucket(&self, id: &str) -> Option<usize> {
        self.buckets.iter().position(|bucket| self.text_of(bucket.id) == id)
    }

    /// Forgets usage and alerts that no window needs at a watermark. What is told does not depend
    /// on when this is called: forgotten is what is due, whether it was called then or not.
    pub(crate) fn forget(&mut self, watermark_ms: Option<i64>) {
        if self.buckets.is_empty() {
            // Without buckets an overrun is one of configuration, exhausted or not.
            self.exhausted = None;
        }
        let Some(watermark_ms) = watermark_ms else { return };
        if !self.usages.is_empty() {
            let mut any = false;
            for usage in &mut self.usages {
                usage.forget(watermark_ms);
                any |= usage.slots.is_empty();
            }
            if any {
                self.usages.retain(|usage| !usage.slots.is_empty());
            }
        }
        if !self.fired.is_empty() {
            let over = |fired: &FiredInPeriod| {
                fired.watched.span().alert_period_end(fired.period_ms) <= watermark_ms
            };
            self.fired.retain(|fired| !over(fired));
        }
    }

    /// When something of the account is due: a bucket closes, a threshold of days is reached,
    /// usage is forgotten.
    pub(crate) fn next_due_ms(&self, reference: &QuotaReference) -> Option<i64> {
        let mut due = None;
        let mut at = |ms: i64| due = Some(due.map_or(ms, |due: i64| due.min(ms)));
        for bucket in &self.buckets {
            at(bucket.closes_ms());
            for (threshold, number) in reference.package(bucket.package).thresholds.iter().zip(0..)
            {
                if threshold.kind == ThresholdKind::ExpiresSoon
                    && bucket.fired(number) == crate::bucket::Fired::Armed
                {
                    at(bucket.expiry_due_ms(threshold.at));
                }
            }
        }
        // Once, when all of a meter can go: not for each of its slots.
        for usage in &self.usages {
            if let (Some(last), true) = (usage.slots.last(), usage.meter != Meter::Payg) {
                at(usage.meter.forgotten_ms(last.0));
            }
        }
        due
    }
}

pub(crate) fn text_of(text: &str, range: TextRange) -> &str {
    let at = range.at as usize;
    &text[at..at + range.len as usize]
}

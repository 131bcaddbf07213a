//! Sums of a window: the five classes that every event has in place, the others only where used.

use tally_schemas::{CLASS_COUNT, TokenClass, UsageCounts};

/// Classes that are kept in place.
const COMMON: [TokenClass; 5] = [
    TokenClass::Input,
    TokenClass::CachedInput,
    TokenClass::Output,
    TokenClass::Reasoning,
    TokenClass::Requests,
];

/// Sums by class and the number of events. A sum never passes `i64::MAX`, as tables hold `Int64`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WindowSums {
    common: [u64; 5],
    rare: Option<Box<[u64; CLASS_COUNT]>>,
    pub(crate) events: u64,
}

/// The sums are full: the event must go to a new row. Rows are additive, so nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl WindowSums {
    /// Adds one event, or says that a sum would pass `i64::MAX` and adds nothing.
    pub(crate) fn add(&mut self, counts: &UsageCounts) -> Result<(), Full> {
        const LIMIT: u64 = i64::MAX.cast_unsigned();
        let fits = |sum: u64, count: u64| sum.checked_add(count).is_some_and(|sum| sum <= LIMIT);
        let has_rare = RARE.iter().any(|class| counts.get(*class) != 0);
        for (sum, class) in self.common.iter().zip(COMMON) {
            if !fits(*sum, counts.get(class)) {
                return Err(Full);
            }
        }
        if has_rare {
            let rare = self.rare.get_or_insert_with(Default::default);
            if RARE.iter().any(|class| !fits(rare[class.index()], counts.get(*class))) {
                return Err(Full);
            }
            for class in RARE {
                rare[class.index()] += counts.get(class);
            }
        }
        for (sum, class) in self.common.iter_mut().zip(COMMON) {
            *sum += counts.get(class);
        }
        self.events += 1;
        Ok(())
    }

    /// Sums in column order.
    pub(crate) fn all(&self) -> [u64; CLASS_COUNT] {
        let mut all = self.rare.as_deref().copied().unwrap_or_default();
        for (sum, class) in self.common.iter().zip(COMMON) {
            all[class.index()] = *sum;
        }
        all
    }

    /// Sums that were written with [`WindowSums::all`].
    pub(crate) fn from_all(all: &[u64; CLASS_COUNT], events: u64) -> Self {
        let rare = RARE.iter().any(|class| all[class.index()] != 0).then(|| {
            let mut rare = Box::new(*all);
            for class in COMMON {
                rare[class.index()] = 0;
            }
            rare
        });
        Self { common: COMMON.map(|class| all[class.index()]), rare, events }
    }
}

/// Classes that most events do not have.
const RARE: [TokenClass; 9] = [
    TokenClass::CacheWrite5m,
    TokenClass::CacheWrite1h,
    TokenClass::AudioInput,
    TokenClass::AudioOutput,
    TokenClass::ImageInput,
    TokenClass::ImageOutput,
    TokenClass::Images,
    TokenClass::Seconds,
    TokenClass::Characters,
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_class_is_summed_once() {
        let mut classes: Vec<TokenClass> = COMMON.into_iter().chain(RARE).collect();
        classes.sort_unstable();
        assert_eq!(classes, TokenClass::ALL);
    }

    proptest! {
        #[test]
        fn sums_are_exact(events in prop::collection::vec(prop::array::uniform14(0_u64..1 << 53), 1..40)) {
            let mut sums = WindowSums::default();
            let mut expected = [0_u64; CLASS_COUNT];
            for counts in &events {
                sums.add(&UsageCounts(*counts)).unwrap();
                for (sum, count) in expected.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            prop_assert_eq!(sums.all(), expected);
            prop_assert_eq!(WindowSums::from_all(&expected, sums.events), sums);
        }
    }

    #[test]
    fn a_full_sum_refuses_and_stays_as_it_was() {
        let mut sums = WindowSums::default();
        let mut counts = UsageCounts::default();
        counts.set(TokenClass::Images, 1 << 53);
        for _ in 0..1023 {
            sums.add(&counts).unwrap();
        }
        let before = sums.clone();
        assert_eq!(sums.add(&counts), Err(Full));
        assert_eq!(sums, before);
    }
}

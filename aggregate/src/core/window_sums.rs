//! Sums of a window: the five classes that every event has in place, the others only where used.

use tally_schemas::{Amounts, CLASS_COUNT, TokenClass, UsageCounts};

/// Classes that are kept in place.
const COMMON: [TokenClass; 5] = [
    TokenClass::Input,
    TokenClass::CachedInput,
    TokenClass::Output,
    TokenClass::Reasoning,
    TokenClass::Requests,
];

/// Sums by class, amounts and the number of events. A sum of a class never passes `i64::MAX`, as
/// tables hold `Int64`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WindowSums {
    common: [u64; 5],
    /// Micro-points, retail and wholesale pico-currency, up to what 64 bits hold: nine million yuan
    /// of one subscriber's hour.
    small: [i64; 3],
    rare: Option<Box<RareSums>>,
    pub(crate) events: u64,
}

/// What most windows do not have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct RareSums {
    counts: [u64; CLASS_COUNT],
    /// Beside the small ones.
    amounts: Amounts,
}

/// The sums are full: the event must go to a new row. Rows are additive, so nothing is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Full;

impl WindowSums {
    /// Adds one event, or says that a sum would pass what tables hold and adds nothing.
    pub(crate) fn add(&mut self, counts: &UsageCounts, amounts: &Amounts) -> Result<(), Full> {
        const LIMIT: u64 = i64::MAX.cast_unsigned();
        let fits = |sum: u64, count: u64| sum.checked_add(count).is_some_and(|sum| sum <= LIMIT);
        let small = small_sum(self.small, amounts);
        if small.is_none() {
            self.amounts().plus(amounts).ok_or(Full)?;
        }
        let has_rare = RARE.iter().any(|class| counts.get(*class) != 0);
        for (sum, class) in self.common.iter().zip(COMMON) {
            if !fits(*sum, counts.get(class)) {
                return Err(Full);
            }
        }
        if has_rare {
            let rare = self.rare.get_or_insert_with(Default::default);
            if RARE.iter().any(|class| !fits(rare.counts[class.index()], counts.get(*class))) {
                return Err(Full);
            }
            for class in RARE {
                rare.counts[class.index()] += counts.get(class);
            }
        }
        for (sum, class) in self.common.iter_mut().zip(COMMON) {
            *sum += counts.get(class);
        }
        match small {
            Some(small) => self.small = small,
            None => {
                let rare = self.rare.get_or_insert_with(Default::default);
                // What fits tables is far from what 128 bits hold.
                rare.amounts.points_micro += amounts.points_micro;
                rare.amounts.retail_pico += amounts.retail_pico;
                rare.amounts.wholesale_pico += amounts.wholesale_pico;
            }
        }
        self.events += 1;
        Ok(())
    }

    /// Bytes beside those of the sums themselves.
    pub(crate) fn rare_bytes(&self) -> usize {
        if self.rare.is_some() { size_of::<RareSums>() } else { 0 }
    }

    /// Points and amounts.
    pub(crate) fn amounts(&self) -> Amounts {
        let [points_micro, retail_pico, wholesale_pico] = self.small.map(i128::from);
        let rare = self.rare.as_ref().map(|rare| rare.amounts).unwrap_or_default();
        Amounts {
            points_micro: points_micro + rare.points_micro,
            retail_pico: retail_pico + rare.retail_pico,
            wholesale_pico: wholesale_pico + rare.wholesale_pico,
        }
    }

    /// Sums in column order.
    pub(crate) fn all(&self) -> [u64; CLASS_COUNT] {
        let mut all = self.rare.as_ref().map(|rare| rare.counts).unwrap_or_default();
        for (sum, class) in self.common.iter().zip(COMMON) {
            all[class.index()] = *sum;
        }
        all
    }

    /// Sums that were written with [`WindowSums::all`].
    pub(crate) fn from_all(all: &[u64; CLASS_COUNT], events: u64, amounts: Amounts) -> Self {
        let small = small_sum([0; 3], &amounts);
        let has_rare = RARE.iter().any(|class| all[class.index()] != 0) || small.is_none();
        let rare = has_rare.then(|| {
            let mut counts = *all;
            for class in COMMON {
                counts[class.index()] = 0;
            }
            let amounts = if small.is_none() { amounts } else { Amounts::default() };
            Box::new(RareSums { counts, amounts })
        });
        let common = COMMON.map(|class| all[class.index()]);
        Self { common, small: small.unwrap_or_default(), rare, events }
    }
}

/// The small amounts with others added, where that fits.
fn small_sum(small: [i64; 3], amounts: &Amounts) -> Option<[i64; 3]> {
    let Amounts { points_micro, retail_pico, wholesale_pico } = *amounts;
    let mut sums = small;
    for (sum, more) in sums.iter_mut().zip([points_micro, retail_pico, wholesale_pico]) {
        *sum = sum.checked_add(i64::try_from(more).ok()?)?;
    }
    Some(sums)
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

    fn amount() -> impl Strategy<Value = i128> {
        prop_oneof![-1_000_i128..1_000, -(1_i128 << 63)..1 << 63, -(1_i128 << 90)..1 << 90]
    }

    proptest! {
        #[test]
        fn sums_are_exact(events in prop::collection::vec((prop::array::uniform14(0_u64..1 << 53), amount()), 1..40)) {
            let mut sums = WindowSums::default();
            let mut expected = [0_u64; CLASS_COUNT];
            let mut pico = 0;
            for (counts, amount) in &events {
                let amounts = Amounts { wholesale_pico: *amount, retail_pico: -amount, points_micro: 1 };
                sums.add(&UsageCounts(*counts), &amounts).unwrap();
                pico += amount;
                for (sum, count) in expected.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            prop_assert_eq!(sums.all(), expected);
            let points_micro = i128::from(sums.events);
            let amounts = Amounts { wholesale_pico: pico, retail_pico: -pico, points_micro };
            prop_assert_eq!(sums.amounts(), amounts);
            let again = WindowSums::from_all(&expected, sums.events, amounts);
            prop_assert_eq!((again.all(), again.amounts()), (expected, amounts));
        }
    }

    #[test]
    fn a_full_sum_refuses_and_stays_as_it_was() {
        let mut sums = WindowSums::default();
        let mut counts = UsageCounts::default();
        counts.set(TokenClass::Images, 1 << 53);
        for _ in 0..1023 {
            sums.add(&counts, &Amounts::default()).unwrap();
        }
        let before = sums.clone();
        assert_eq!(sums.add(&counts, &Amounts::default()), Err(Full));
        assert_eq!(sums, before);
    }
}

//! Prices that fall with a period's volume (scenario S6). A tier is `(above, next above]` units:
//! its last unit is still in it.

use tally_rating::TierMode;

use crate::terms::Step;
use crate::{Bug, planted};

/// Units of one tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slice {
    /// Number of the tier, from 1.
    pub(crate) tier: usize,
    pub(crate) step: Step,
    pub(crate) units: u128,
}

/// The last unit of each tier, and the tier.
fn bounds(steps: &[Step]) -> impl Iterator<Item = (usize, Step, u128, u128)> + '_ {
    steps.iter().enumerate().map(|(number, step)| {
        let to = steps.get(number + 1).map_or(u128::MAX, |next| u128::from(next.above_units));
        let late = u128::from(planted(Bug::TierEndPassed));
        let from = u128::from(step.above_units);
        (number + 1, *step, if from == 0 { 0 } else { from + late }, to.saturating_add(late))
    })
}

/// The units `(from, to]` of a period by tier, only tiers that have any.
pub(crate) fn slices(steps: &[Step], from: u128, to: u128) -> Vec<Slice> {
    bounds(steps)
        .filter_map(|(tier, step, first, last)| {
            let units = to.min(last).checked_sub(from.max(first)).filter(|units| *units > 0)?;
            Some(Slice { tier, step, units })
        })
        .collect()
}

/// What all-units pricing of so many units differs by from graduated pricing, pico-currency;
/// nothing for graduated tiers. `None` beyond 128 bits.
pub(crate) fn true_up_pico(mode: TierMode, steps: &[Step], units: u128) -> Option<i128> {
    if mode == TierMode::Graduated || planted(Bug::NoTrueUp) {
        return Some(0);
    }
    let parts = slices(steps, 0, units);
    let Some(reached) = parts.last() else { return Some(0) };
    let price = i128::from(reached.step.micro_per_million);
    parts.iter().try_fold(0_i128, |sum, part| {
        let difference = price - i128::from(part.step.micro_per_million);
        sum.checked_add(i128::try_from(part.units).ok()?.checked_mul(difference)?)
    })
}

#[cfg(test)]
mod tests {
    use tally_schemas::PICO;

    use super::*;

    const STEPS: [Step; 2] = [
        Step { above_units: 0, micro_per_million: 1_000_000 },
        Step { above_units: 1_000_000_000, micro_per_million: 800_000 },
    ];

    /// S6.
    #[test]
    fn one_and_a_half_billion() {
        let parts = slices(&STEPS, 0, 1_500_000_000);
        let pico = |part: &Slice| {
            i128::try_from(part.units).unwrap() * i128::from(part.step.micro_per_million)
        };
        let amounts: Vec<i128> = parts.iter().map(pico).collect();
        assert_eq!(amounts, [1_000 * PICO, 400 * PICO]);
        let true_up = true_up_pico(TierMode::AllUnits, &STEPS, 1_500_000_000);
        assert_eq!(true_up, Some(-200 * PICO));
        assert_eq!(true_up_pico(TierMode::Graduated, &STEPS, 1_500_000_000), Some(0));
    }

    #[test]
    fn the_last_unit_of_a_tier_is_still_in_it() {
        let billion = 1_000_000_000;
        assert_eq!(slices(&STEPS, 0, billion).len(), 1);
        assert_eq!(true_up_pico(TierMode::AllUnits, &STEPS, billion), Some(0));
        assert_eq!(slices(&STEPS, billion, billion + 1)[0].tier, 2);
        assert_eq!(slices(&STEPS, 5, 5), []);
    }

    proptest::proptest! {
        /// Units that come in two parts are sliced as if they had come at once.
        #[test]
        fn slices_go_on_where_others_ended(
            edges in proptest::collection::btree_set(1_u64..1_000, 0..5),
            first in 0_u128..1_500, second in 0_u128..1_500,
        ) {
            let steps: Vec<Step> = [0]
                .into_iter()
                .chain(edges)
                .map(|above_units| Step { above_units, micro_per_million: 1 })
                .collect();
            let by_tier = |parts: &[Slice]| {
                let mut sums = vec![0; steps.len()];
                for part in parts {
                    sums[part.tier - 1] += part.units;
                }
                sums
            };
            let mut parts = slices(&steps, 0, first);
            parts.extend(slices(&steps, first, first + second));
            let whole = by_tier(&slices(&steps, 0, first + second));
            proptest::prop_assert_eq!(by_tier(&parts), whole.clone());
            proptest::prop_assert_eq!(whole.iter().sum::<u128>(), first + second);
        }
    }
}

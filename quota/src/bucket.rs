//! One period of a bought package: when it may be used, what is left of it, what of its price is
//! allocated.

use tally_schemas::PICO;

use crate::calendar::HOUR_MS;
use crate::package::{Package, Rollover};
use crate::planted::{Bug, planted};

/// How long a bucket stays open for late usage after its end, milliseconds.
pub const GRACE_MS: i64 = 48 * HOUR_MS;

/// Where a text lies in [`crate::account::Account::text`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct TextRange {
    pub(crate) at: u32,
    pub(crate) len: u32,
}

/// What became of a threshold since it was armed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fired {
    /// Nothing.
    Armed = 0,
    /// Not sent and not to be sent: superseded, or passed when nothing was left.
    Passed = 1,
    /// Sent.
    Sent = 2,
    /// Sent, and taken back by a `corrected` alert.
    Corrected = 3,
}

/// A bucket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Bucket {
    pub(crate) id: TextRange,
    /// Position of the package's version in the reference data.
    pub(crate) package: u32,
    pub(crate) valid_from_ms: i64,
    pub(crate) valid_to_ms: i64,
    /// End of the rolled phase.
    pub(crate) rolled_to_ms: Option<i64>,
    /// Where its chain began, and its number in the chain.
    pub(crate) anchor_ms: i64,
    pub(crate) number: u32,
    pub(crate) allowance: i128,
    pub(crate) price_pico: i128,
    /// Micro-points used in both phases.
    pub(crate) used: i128,
    /// Micro-points used in the rolled phase.
    pub(crate) used_rolled: i128,
    /// `used` and the revenue allocated when allowance or price last changed: what is left of the
    /// price is allocated over what was left of the allowance.
    pub(crate) base_used: i128,
    pub(crate) base_allocated_pico: i128,
    /// [`Fired`] of each threshold, two bits each.
    pub(crate) fired: u64,
    /// Times that its thresholds were armed again.
    pub(crate) armed_again: u32,
    /// Whether it closed and is about to be forgotten.
    pub(crate) closed: bool,
}

impl Bucket {
    /// Allowance that is not used.
    pub(crate) fn left(&self) -> i128 {
        self.allowance - self.used
    }

    /// Whether its figures are those of a bucket, however often it was charged and changed: then
    /// everything that is reckoned from them can be counted.
    pub(crate) fn is_sound(&self) -> bool {
        let is_used = (0..=self.allowance).contains(&self.used)
            && (0..=self.used).contains(&self.used_rolled);
        let is_allocated = (0..=self.used).contains(&self.base_used)
            && (0..=self.price_pico).contains(&self.base_allocated_pico);
        is_used
            && is_allocated
            && self.price_pico.checked_mul(self.allowance.max(100)).is_some()
            && self.valid_from_ms <= self.valid_to_ms
            && self.valid_to_ms <= self.end_ms()
    }

    /// Whether an instant is in its rolled phase (`Some(true)`), its first phase, or neither.
    pub(crate) fn phase_at(&self, at_ms: i64) -> Option<bool> {
        if at_ms < self.valid_from_ms {
            return None;
        }
        let inclusive = planted(Bug::BucketEndInclusive);
        if at_ms < self.valid_to_ms || (inclusive && at_ms == self.valid_to_ms) {
            return Some(false);
        }
        self.rolled_to_ms.is_some_and(|end| at_ms < end).then_some(true)
    }

    /// End of its last phase.
    pub(crate) fn end_ms(&self) -> i64 {
        self.rolled_to_ms.unwrap_or(self.valid_to_ms)
    }

    /// The instants at which it begins, leaves its first phase, and ends.
    pub(crate) fn turns_ms(&self) -> [i64; 3] {
        [self.valid_from_ms, self.valid_to_ms, self.end_ms()]
    }

    /// When it closes.
    pub(crate) fn closes_ms(&self) -> i64 {
        self.end_ms().saturating_add(GRACE_MS)
    }

    /// What it may give in a phase, caps aside.
    pub(crate) fn room(&self, package: &Package, rolled: bool) -> i128 {
        let left = self.left();
        match package.rollover {
            Rollover::NextPeriod { max_micro: Some(max) }
                if rolled && !planted(Bug::RolledPhaseUnlimited) =>
            {
                left.min(i128::from(max) - self.used_rolled)
            }
            _ => left,
        }
    }

    /// Revenue allocated when `used` micro-points are used, in pico-currency: cumulative, so that
    /// a bucket used up has allocated exactly its price. None on overflow.
    pub(crate) fn allocated_at(&self, used: i128) -> Option<i128> {
        if used < self.base_used {
            return mul_div(self.base_allocated_pico, used, self.base_used);
        }
        let (points, price) =
            (self.allowance - self.base_used, self.price_pico - self.base_allocated_pico);
        if points == 0 {
            return Some(self.base_allocated_pico);
        }
        Some(self.base_allocated_pico + mul_div(price, used - self.base_used, points)?)
    }

    /// Revenue allocated by `points` more.
    pub(crate) fn allocation_of(&self, points: i128) -> Option<i128> {
        if planted(Bug::AllocationRoundedPerEvent) && self.allowance > 0 {
            return mul_div(self.price_pico, points, self.allowance);
        }
        Some(self.allocated_at(self.used + points)? - self.allocated_at(self.used)?)
    }

    /// Changes allowance and price; what was allocated before stays. None where the new ones could
    /// not be counted exactly, and then nothing has changed.
    pub(crate) fn change(&mut self, points: i128, price_pico: i128) -> Option<()> {
        let allocated = self.allocated_at(self.used)?;
        let allowance = self.allowance.checked_add(points)?;
        let price = self.price_pico.checked_add(price_pico)?;
        // Every later product of price and points is at most this one.
        price.checked_mul(allowance.max(100))?;
        (self.base_used, self.base_allocated_pico) = (self.used, allocated);
        (self.allowance, self.price_pico) = (allowance, price);
        Some(())
    }

    /// Sets `used` by hand. The base moves with it where it falls below, so that revenue is taken
    /// back in the proportion in which it was allocated.
    pub(crate) fn set_used(&mut self, used: i128) -> Option<i128> {
        let (before, after) = (self.allocated_at(self.used)?, self.allocated_at(used)?);
        if used < self.base_used {
            (self.base_used, self.base_allocated_pico) = (used, after);
        }
        self.used = used;
        Some(after - before)
    }

    /// What became of a threshold of its package.
    pub(crate) fn fired(&self, threshold: usize) -> Fired {
        match (self.fired >> (2 * threshold)) & 3 {
            0 => Fired::Armed,
            1 => Fired::Passed,
            2 => Fired::Sent,
            _ => Fired::Corrected,
        }
    }

    /// Notes what became of a threshold.
    pub(crate) fn set_fired(&mut self, threshold: usize, fired: Fired) {
        let shift = 2 * threshold;
        self.fired = self.fired & !(3 << shift) | (fired as u64) << shift;
    }

    /// When a threshold of days before the end is due.
    pub(crate) fn expiry_due_ms(&self, days: i64) -> i64 {
        self.end_ms().saturating_sub(days.saturating_mul(crate::calendar::DAY_MS))
    }
}

/// `floor(a × b / c)` of numbers that are not negative, `c` above 0. None on overflow.
pub(crate) fn mul_div(a: i128, b: i128, c: i128) -> Option<i128> {
    let product = checked_product(a, b)?;
    // Most quotients fit 64 bits, where a division is several times faster.
    match (u64::try_from(product), u64::try_from(c)) {
        (Ok(product), Ok(c)) => product.checked_div(c).map(i128::from),
        // Once, where a Euclidean division is one for the quotient and one for the rest.
        _ if product >= 0 && c > 0 => {
            Some((product.cast_unsigned() / c.cast_unsigned()).cast_signed())
        }
        _ => product.checked_div_euclid(c),
    }
}

/// `floor(whole × part / of)`, whatever the product: `part` is from 0 to `of`, which is from 1 to
/// 2^96. None where the result cannot be counted, which no `whole` from 0 brings about.
pub(crate) fn share_of(whole: i128, part: i128, of: i128) -> Option<i128> {
    if let Some(share) = mul_div(whole, part, of) {
        return Some(share);
    }
    let (each, left) = (whole.div_euclid(of), whole.rem_euclid(of));
    // Long division of `left × part`, by 30 bits of `part` at a time: both numbers are at most
    // 2^96, so that no step reaches 2^127.
    let (mut share, mut rest) = (0, 0);
    for shift in [90, 60, 30, 0] {
        let sum = (rest << 30) + left * ((part >> shift) & 0x3fff_ffff);
        (share, rest) = ((share << 30) + sum / of, sum % of);
    }
    each.checked_mul(part)?.checked_add(share)
}

/// `a × b`. None on overflow. Nearly all numbers fit 64 bits, where it is one instruction.
pub(crate) fn checked_product(a: i128, b: i128) -> Option<i128> {
    match (i64::try_from(a), i64::try_from(b)) {
        (Ok(a), Ok(b)) => Some(i128::from(a) * i128::from(b)),
        _ => a.checked_mul(b),
    }
}

/// Micro-currency to pico-currency.
pub(crate) const MICRO_PICO: i128 = PICO / 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn bucket(price_pico: i128, allowance: i128) -> Bucket {
        Bucket {
            id: TextRange::default(),
            package: 0,
            valid_from_ms: 0,
            valid_to_ms: 1_000,
            rolled_to_ms: None,
            anchor_ms: 0,
            number: 0,
            allowance,
            price_pico,
            used: 0,
            used_rolled: 0,
            base_used: 0,
            base_allocated_pico: 0,
            fired: 0,
            armed_again: 0,
            closed: false,
        }
    }

    #[test]
    fn used_up_is_allocated_exactly_whatever_changed_in_between() {
        let mut bucket = bucket(9_900_000_000_000, 7);
        let mut allocated = 0;
        for (used, points, price) in [(3, 10, 0), (4, 5, 1_000_003), (2, -8, -4_000_000_000_000)] {
            allocated += bucket.allocation_of(used).unwrap();
            bucket.used += used;
            bucket.change(points, price).unwrap();
            assert_eq!(bucket.allocated_at(bucket.used), Some(allocated));
        }
        allocated += bucket.set_used(1).unwrap();
        assert!(allocated >= 0);
        allocated += bucket.allocation_of(bucket.left()).unwrap();
        assert_eq!(allocated, bucket.price_pico);
    }

    #[test]
    fn a_quotient_is_rounded_down() {
        let price = 9_900_000_000_000;
        for (b, c) in [(7, 10_000_000_000_000), (1_234_567_890_123, 9_999_999_999_999), (0, 5)] {
            assert_eq!(mul_div(price, b, c), (price * b).checked_div_euclid(c));
            assert_eq!(mul_div(-price, b, c), (-price * b).checked_div_euclid(c));
        }
        assert_eq!(mul_div(i128::MAX, 1, 1), Some(i128::MAX));
        assert_eq!(mul_div(i128::MAX, 2, 3), None);
        assert_eq!(mul_div(price, price, 0), None);
    }

    #[test]
    fn a_change_that_cannot_be_counted_changes_nothing() {
        let mut bucket = bucket(1 << 80, 1 << 40);
        let before = bucket.clone();
        assert_eq!(bucket.change(1 << 100, 0), None);
        assert_eq!(bucket.change(0, i128::MAX), None);
        assert_eq!(bucket, before);
    }

    #[test]
    fn a_share_is_that_of_the_unbounded_product() {
        let huge = 1_i128 << 96;
        assert_eq!(share_of(i128::MAX, huge, huge), Some(i128::MAX));
        assert_eq!(share_of(i128::MAX, 0, huge), Some(0));
        assert_eq!(share_of(i128::MAX, huge - 1, huge), Some(i128::MAX - (1 << 31)));
        // floor((2^127 - 1) × 10^28 / (2^96 - 1)), computed without bounds.
        let share = share_of(i128::MAX, 10_i128.pow(28), huge - 1);
        assert_eq!(share, Some(21_474_836_480_000_000_000_000_000_000_271_050_542));
        assert_eq!(share_of(1_000, 100, 130), Some(769));
    }

    #[test]
    fn thresholds_do_not_touch_each_other() {
        let mut bucket = bucket(1, 1);
        for number in 0..32 {
            bucket.set_fired(number, Fired::Corrected);
            bucket.set_fired(number, [Fired::Armed, Fired::Sent, Fired::Passed][number % 3]);
        }
        for number in 0..32 {
            assert_eq!(
                bucket.fired(number),
                [Fired::Armed, Fired::Sent, Fired::Passed][number % 3]
            );
        }
    }
}

//! Distributions as tables of whole numbers: the same draws on every machine.

/// Draws an index by weight in constant time (Walker's alias method, in integers).
#[derive(Debug, Clone)]
pub(crate) struct Weighted {
    /// For each column: the threshold in 2^-32 below which it is the column itself, and its alias.
    columns: Vec<(u32, u32)>,
}

impl Weighted {
    /// Weights of zero are never drawn. No weights, or only zeros, always draw 0.
    pub(crate) fn new(weights: &[u64]) -> Self {
        let total: u128 = weights.iter().copied().map(u128::from).sum();
        let count = u128::try_from(weights.len()).unwrap_or(0);
        if total == 0 {
            return Self { columns: vec![(u32::MAX, 0)] };
        }
        // Each weight times the number of columns: a column is full at `total`.
        let mut scaled: Vec<u128> =
            weights.iter().map(|weight| u128::from(*weight) * count).collect();
        let mut columns = vec![(u32::MAX, 0_u32); weights.len()];
        for (position, column) in columns.iter_mut().enumerate() {
            column.1 = u32::try_from(position).unwrap_or(0);
        }
        let (mut small, mut large): (Vec<usize>, Vec<usize>) =
            (0..weights.len()).partition(|position| scaled[*position] < total);
        while let (Some(poor), Some(rich)) = (small.pop(), large.last().copied()) {
            let threshold = (scaled[poor] << 32) / total;
            columns[poor] =
                (u32::try_from(threshold).unwrap_or(u32::MAX), u32::try_from(rich).unwrap_or(0));
            scaled[rich] -= total - scaled[poor];
            if scaled[rich] < total {
                large.pop();
                small.push(rich);
            }
        }
        Self { columns }
    }

    /// Zipf-Mandelbrot with exponent 1 and shift 10: the heaviest of 200,000 accounts has about
    /// 1 % of the traffic.
    pub(crate) fn zipf_mandelbrot(count: u32) -> Self {
        let weights: Vec<u64> =
            (0..u64::from(count.max(1))).map(|rank| (1_u64 << 40) / (rank + 10)).collect();
        Self::new(&weights)
    }

    /// The index drawn by two random words.
    pub(crate) fn pick(&self, column: u32, coin: u32) -> u32 {
        let columns = u64::try_from(self.columns.len()).unwrap_or(1);
        let position = (u64::from(column) * columns) >> 32;
        let position = usize::try_from(position).unwrap_or(0);
        let (threshold, alias) = self.columns[position];
        if coin < threshold || threshold == u32::MAX {
            u32::try_from(position).unwrap_or(0)
        } else {
            alias
        }
    }
}

/// Draws a whole number by its quantile function, linear between the given points.
#[derive(Debug, Clone)]
pub(crate) struct Quantiles {
    /// Values at 0/1024, 1/1024, … 1024/1024.
    knots: Vec<u64>,
}

const SLOTS: u32 = 1024;

impl Quantiles {
    /// From `(per mille, value)` points, both rising, from 0 to 1000 per mille.
    pub(crate) fn new(points: &[(u64, u64)]) -> Self {
        let knots = (0..=u64::from(SLOTS))
            .map(|knot| {
                let at = knot * 1000;
                let after = points
                    .iter()
                    .position(|(per_mille, _)| per_mille * u64::from(SLOTS) >= at)
                    .unwrap_or(points.len().saturating_sub(1));
                let (right_at, right) = points.get(after).copied().unwrap_or((1000, 0));
                let (left_at, left) =
                    points.get(after.wrapping_sub(1)).copied().unwrap_or((right_at, right));
                let width = (right_at - left_at) * u64::from(SLOTS);
                if width == 0 {
                    return right;
                }
                left + (right - left) * (at - left_at * u64::from(SLOTS)) / width
            })
            .collect();
        Self { knots }
    }

    /// The value at a random word's place between 0 and 2^32.
    pub(crate) fn draw(&self, word: u32) -> u64 {
        let slot = usize::try_from(word >> 22).unwrap_or(0);
        let within = u64::from((word >> 6) & 0xffff);
        let (low, high) = (self.knots[slot], self.knots[slot + 1]);
        low + (((high - low) * within) >> 16)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fixed sequence of words that covers 0..2^32 evenly.
    fn words(count: u64) -> impl Iterator<Item = u32> {
        (0..count).map(|i| u32::try_from(i.wrapping_mul(0x9e37_79b9) & 0xffff_ffff).unwrap())
    }

    #[test]
    fn picks_are_in_proportion_to_weights() {
        let table = Weighted::new(&[7, 0, 1, 2]);
        let mut counts = [0_u64; 4];
        for (column, coin) in words(100_000).zip(words(100_000).map(|w| w.rotate_left(13))) {
            counts[usize::try_from(table.pick(column, coin)).unwrap()] += 1;
        }
        assert_eq!(counts[1], 0);
        for (count, weight) in [(counts[0], 7), (counts[2], 1), (counts[3], 2)] {
            let wanted = weight * 10_000;
            assert!(count.abs_diff(wanted) < wanted / 10, "{counts:?}");
        }
    }

    #[test]
    fn an_empty_table_draws_zero() {
        assert_eq!(Weighted::new(&[]).pick(u32::MAX, u32::MAX), 0);
        assert_eq!(Weighted::new(&[0, 0]).pick(1, 2), 0);
    }

    #[test]
    fn quantiles_rise_and_meet_their_points() {
        let quantiles = Quantiles::new(&[(0, 8), (500, 434), (900, 3_000), (1000, 200_000)]);
        assert_eq!(quantiles.draw(0), 8);
        assert_eq!(quantiles.draw(1 << 31), 434);
        assert!(quantiles.draw(u32::MAX) <= 200_000);
        let drawn: Vec<u64> = (0..2_000).map(|i| quantiles.draw(i * 2_147_483)).collect();
        assert!(drawn.is_sorted());
    }
}

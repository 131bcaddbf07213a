//! How far two figures may be apart before somebody has to look at them.

/// The finest level whose excess counts as outside of tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Binding {
    /// Only the total.
    Total,
    /// The total and each group.
    #[default]
    Group,
    /// The total, each group and each record.
    Record,
}

/// Whose figure counts inside of the tolerance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Inside {
    /// The operator's.
    #[default]
    Ours,
    /// The vendor's.
    Theirs,
}

/// Who says how far the figures may be apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ToleranceSource {
    /// Whoever wrote the mapping.
    #[default]
    Mapping,
    /// The terms of the vendor.
    Terms,
}

impl ToleranceSource {
    /// Name in the summary.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mapping => "mapping",
            Self::Terms => "terms",
        }
    }
}

/// Tolerance of a contract: without any, everything that differs is outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tolerance {
    /// Quantities: parts per million of the larger one.
    pub qty_ppm: u64,
    /// Amounts: parts per million of the larger one.
    pub amt_ppm: u64,
    /// Amounts: pico-currency; the wider of the two holds.
    pub amt_abs_pico: i128,
    /// From which level on it decides.
    pub binding: Binding,
    /// Whose figure counts inside.
    pub inside: Inside,
}

/// Parts per million of a whole.
const PPM: u128 = 1_000_000;

impl Tolerance {
    /// Whether two quantities are as good as equal.
    pub fn quantity_inside(&self, ours: u128, theirs: u128) -> bool {
        within_ppm(ours.abs_diff(theirs), ours.max(theirs), self.qty_ppm)
    }

    /// Whether two amounts are as good as equal, in pico-currency.
    pub fn amount_inside(&self, ours: i128, theirs: i128) -> bool {
        let difference = ours.abs_diff(theirs);
        difference <= self.amt_abs_pico.unsigned_abs()
            || within_ppm(difference, ours.unsigned_abs().max(theirs.unsigned_abs()), self.amt_ppm)
    }
}

/// `difference ≤ whole × ppm / 1,000,000`; what would overflow is divided first.
fn within_ppm(difference: u128, whole: u128, ppm: u64) -> bool {
    let ppm = u128::from(ppm);
    match (difference.checked_mul(PPM), whole.checked_mul(ppm)) {
        (Some(left), Some(right)) => left <= right,
        _ => difference <= (whole / PPM).saturating_mul(ppm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_is_inside() {
        let tolerance =
            Tolerance { qty_ppm: 1_000, amt_ppm: 500, amt_abs_pico: 10, ..Tolerance::default() };
        assert!(tolerance.quantity_inside(1_000, 999) && !tolerance.quantity_inside(999, 998));
        assert!(tolerance.amount_inside(0, 10) && !tolerance.amount_inside(0, 11));
        assert!(tolerance.amount_inside(-1_000_000, -999_500));
        assert!(!tolerance.amount_inside(-1_000_000, -999_499));
        assert!(!tolerance.amount_inside(i128::MAX, i128::MIN));
    }

    #[test]
    fn without_a_tolerance_only_equal_figures_are_inside() {
        let none = Tolerance::default();
        assert!(none.quantity_inside(0, 0) && none.amount_inside(5, 5));
        assert!(!none.quantity_inside(1, 0) && !none.amount_inside(5, 4));
    }
}

//! Lengths on a page, whole thousandths of a point: layout needs no floats, so that every machine
//! breaks lines and pages at the same places.

/// Thousandths of a point.
pub(super) type Milli = i32;

/// So many points.
pub(super) const fn points(points: i32) -> Milli {
    points * 1_000
}

/// In points, as PDF wants it.
pub(super) fn in_points(length: Milli) -> f32 {
    // Both parts fit: a page is some hundreds of points.
    let whole = i16::try_from(length / 1_000).unwrap_or(i16::MAX);
    let part = i16::try_from(length % 1_000).unwrap_or(0);
    f32::from(whole) + f32::from(part) / 1_000.0
}

/// `length × part ÷ whole`, without overflow.
pub(super) fn scaled(length: Milli, part: Milli, whole: Milli) -> Milli {
    if whole == 0 {
        return 0;
    }
    let scaled = i64::from(length) * i64::from(part) / i64::from(whole);
    Milli::try_from(scaled).unwrap_or(Milli::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_points() {
        assert_eq!(in_points(841_890).to_string(), "841.89");
        assert_eq!(in_points(-500).to_string(), "-0.5");
        assert_eq!(scaled(points(10), 3, 4), 7_500);
    }
}

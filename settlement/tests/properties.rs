//! What must hold for whatever numbers and texts.

#![allow(clippy::unwrap_used, reason = "tests stop at the first surprise")]

use proptest::prelude::*;
use tally_schemas::decimal_text;
use tally_settlement::{Contracts, EXAMPLE_CONTRACTS, Fraction, Period, Rounding, parse_decimal};

proptest! {
    #[test]
    fn a_decimal_is_read_as_it_is_written(units in -(1_i128 << 100)..(1_i128 << 100), scale in 0_u32..13) {
        prop_assert_eq!(parse_decimal(&decimal_text(units, scale), scale), Ok(units));
    }

    /// Against the schoolbook: over one denominator, and the nearest hundredth by distance.
    #[test]
    fn fractions_add_up_and_round_to_the_nearest(
        a in -1_000_000_000_000_i128..1_000_000_000_000, b in 1_i128..1_000,
        c in -1_000_000_000_000_i128..1_000_000_000_000, d in 1_i128..1_000,
    ) {
        let left = Fraction::whole(a).times(1, b).unwrap();
        let right = Fraction::whole(c).times(1, d).unwrap();
        let sum = left.plus(right).unwrap();
        prop_assert_eq!(sum, Fraction::whole(a * d + c * b).times(1, b * d).unwrap());
        let cent = 10_000_000_000_i128 * b * d;
        let exact = a * d + c * b;
        for rounding in [Rounding::HalfUp, Rounding::HalfEven] {
            let rounded = sum.rounded(rounding).unwrap().0;
            let distance = (exact - rounded * cent).abs();
            prop_assert!(2 * distance <= cent, "{} is {distance} away", rounded);
            if 2 * distance == cent {
                let wanted = match rounding {
                    Rounding::HalfUp => rounded.abs() * cent > exact.abs(),
                    Rounding::HalfEven => rounded % 2 == 0,
                };
                prop_assert!(wanted);
            }
        }
    }

    /// The same share applied in parts or as one.
    #[test]
    fn factors_may_come_in_any_order(
        pico in 0_i128..1_i128 << 70, first in 1_i128..1_000_000, second in 1_i128..1_000_000,
    ) {
        let ppm = 1_000_000;
        let one = Fraction::whole(pico).times(first, ppm).unwrap().times(ppm, ppm + second);
        let other = Fraction::whole(pico).times(ppm, ppm + second).unwrap().times(first, ppm);
        prop_assert_eq!(one, other);
    }

    #[test]
    fn no_text_stops_the_reader(text in "\\PC{0,200}") {
        drop(Contracts::parse("text", &text));
        drop(Period::parse(&text));
    }

    /// One edit of a good file: it is read, or refused with the file's name and a line that it has.
    #[test]
    fn an_edited_file_is_read_or_refused_with_a_line(
        at in 0..EXAMPLE_CONTRACTS.len(), removed in 0_usize..40, put in "[\\x20-\\x7e\n]{0,12}",
    ) {
        let mut text = EXAMPLE_CONTRACTS.as_bytes().to_vec();
        let end = (at + removed).min(text.len());
        text.splice(at..end, put.bytes());
        let Ok(text) = String::from_utf8(text) else { return Ok(()) };
        if let Err(bad) = Contracts::parse("terms.toml", &text) {
            prop_assert!(!bad.defects.is_empty());
            for defect in bad.defects {
                let rest = defect.strip_prefix("terms.toml, line ").map(str::to_owned);
                let line = rest.and_then(|rest| rest.split(':').next()?.parse::<usize>().ok());
                prop_assert!(line.is_some_and(|line| (1..=text.lines().count() + 1).contains(&line)), "{}", defect);
            }
        }
    }
}

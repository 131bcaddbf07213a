//! A bar a day as SVG: how much more, or less, the vendor bills. No script, no floats.

use std::fmt::Write as _;

use super::bill::short_amount;
use super::outcome::DayRow;

const WIDTH: i128 = 960;
const HEIGHT: i128 = 260;
const LEFT: i128 = 120;
const TOP: i128 = 16;
const BOTTOM: i128 = 44;

/// Pixels from the base line at which an edge gets a label of its own.
const EDGE_MIN: i128 = 16;

/// Days that are named at most.
const LABELS: i128 = 12;

/// The chart of the days of one currency; empty without any.
pub(crate) fn day_chart(days: &[&DayRow], currency: &str) -> String {
    if days.is_empty() {
        return String::new();
    }
    let largest = |sign: i128| {
        let of_sign = days.iter().map(|day| day.difference_pico.saturating_mul(sign));
        of_sign.max().unwrap_or(0).max(0)
    };
    let (most, least) = (largest(1), largest(-1));
    // A scale of whole numbers that cannot overflow: amounts are cut to what the pixels need.
    let unit = most.max(least) / 10_000 + 1;
    let span = most / unit + least / unit + 1;
    let room = HEIGHT - TOP - BOTTOM;
    let below = least / unit * room / span;
    let above = room - below;
    let zero = TOP + above;
    let count = i128::try_from(days.len()).unwrap_or(1).max(1);
    let step = (WIDTH - LEFT) / count;
    let mut svg = String::new();
    let mut put = |line: std::fmt::Arguments<'_>| {
        // Writing to a string does not fail.
        svg.write_fmt(line).unwrap_or_default();
    };
    put(format_args!(
        "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"Difference by day in {currency}\">"
    ));
    let mut label = |y: i128, pico: i128| {
        put(format_args!(
            "<line x1=\"{LEFT}\" y1=\"{y}\" x2=\"{WIDTH}\" y2=\"{y}\" class=\"grid\"/>\
             <text x=\"{}\" y=\"{}\" class=\"axis\" text-anchor=\"end\">{}</text>",
            LEFT - 8,
            y + 4,
            short_amount(pico)
        ));
    };
    // An edge that lies on the base line would hide its label.
    if above > EDGE_MIN && most > 0 {
        label(TOP, most);
    }
    label(zero, 0);
    if below > EDGE_MIN {
        label(zero + below, -least);
    }
    for (at, day) in (0_i128..).zip(days) {
        let pico = day.difference_pico;
        // A bar that is not nothing can be seen.
        let height = (pico.saturating_abs() / unit * room / span).max(i128::from(pico != 0));
        let x = LEFT + at * step;
        let y = if pico < 0 { zero } else { zero - height };
        let class = if pico < 0 { "less" } else { "more" };
        put(format_args!(
            "<rect x=\"{}\" y=\"{y}\" width=\"{}\" height=\"{height}\" class=\"{class}\">\
             <title>{}: {} {currency}</title></rect>",
            x + step / 6,
            (step * 2 / 3).max(1),
            day.day,
            short_amount(pico)
        ));
        let every = (count + LABELS - 1) / LABELS;
        if at % every == 0 {
            put(format_args!(
                "<text x=\"{}\" y=\"{}\" class=\"axis\" text-anchor=\"middle\">{}</text>",
                x + step / 2,
                HEIGHT - BOTTOM / 2,
                day.day.get(5..).unwrap_or_default()
            ));
        }
    }
    svg.push_str("</svg>");
    svg
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(day: &str, difference_pico: i128) -> DayRow {
        DayRow {
            day: day.to_owned(),
            currency: "CNY".to_owned(),
            our_amount: String::new(),
            their_amount: String::new(),
            difference: String::new(),
            difference_pico,
        }
    }

    #[test]
    fn a_bar_a_day_within_the_frame_whatever_the_amounts() {
        for amounts in [[0, 0], [5, -3], [i128::MAX, i128::MIN], [-1, -2], [10_i128.pow(30), 1]] {
            let days = [day("2026-10-01", amounts[0]), day("2026-10-02", amounts[1])];
            let svg = day_chart(&days.iter().collect::<Vec<_>>(), "CNY");
            assert_eq!(svg.matches("<rect").count(), 2);
            for part in svg.split("<rect").skip(1) {
                let number = |key: &str| {
                    let text = part.split_once(&format!(" {key}=\"")).unwrap().1;
                    text.split_once('"').unwrap().0.parse::<i128>().unwrap()
                };
                let (y, height) = (number("y"), number("height"));
                assert!(y >= 0 && height >= 0 && y + height <= HEIGHT, "{amounts:?}: {part}");
            }
        }
        assert_eq!(day_chart(&[], "CNY"), "");
    }

    #[test]
    fn bars_are_as_high_as_their_amounts_above_and_below_one_line() {
        let days = [day("2026-10-01", 3_000_000), day("2026-10-02", -1_000_000), day("x", 0)];
        let svg = day_chart(&days.iter().collect::<Vec<_>>(), "CNY");
        let bar = |part: &str| {
            let number = |key: &str| {
                let text = part.split_once(&format!(" {key}=\"")).unwrap().1;
                text.split_once('"').unwrap().0.parse::<i128>().unwrap()
            };
            (number("x"), number("y"), number("height"))
        };
        let bars: Vec<_> = svg.split("<rect").skip(1).map(bar).collect();
        let [(x, y, height), (less_x, zero, less_height), (_, at, none)] = bars[..] else {
            panic!("{svg}")
        };
        assert!(x < less_x && y + height == zero && at == zero && none == 0, "{svg}");
        // Whole pixels: off by one at most.
        assert!((height - 3 * less_height).abs() <= 3 && height > 100, "{svg}");
    }
}

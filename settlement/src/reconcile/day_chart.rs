//! A bar a day as SVG: how much more, or less, the vendor bills. No script, no floats.

use std::fmt::Write as _;

use super::bill::short_amount;
use super::outcome::DayRow;

const WIDTH: i128 = 960;
const HEIGHT: i128 = 260;
const LEFT: i128 = 120;
const TOP: i128 = 16;
const BOTTOM: i128 = 44;

/// The chart of the days of one currency; empty without any.
pub(crate) fn day_chart(days: &[&DayRow], currency: &str) -> String {
    let Some(most) = days.iter().map(|day| day.difference_pico.unsigned_abs()).max() else {
        return String::new();
    };
    // A scale of whole numbers that cannot overflow: amounts are cut to what the pixels need.
    let unit = i128::try_from(most / 10_000).unwrap_or(i128::MAX / 10_000) + 1;
    let most = i128::try_from(most).unwrap_or(i128::MAX) / unit + 1;
    let high = days.iter().any(|day| day.difference_pico > 0);
    let low = days.iter().any(|day| day.difference_pico < 0);
    let room = HEIGHT - TOP - BOTTOM;
    let (above, below) = match (high, low) {
        (true, true) => (room / 2, room / 2),
        (false, true) => (0, room),
        _ => (room, 0),
    };
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
    let largest = days.iter().map(|day| day.difference_pico.saturating_abs()).max().unwrap_or(0);
    if high {
        label(TOP, largest);
    }
    label(zero, 0);
    if low {
        label(zero + below, -largest);
    }
    for (at, day) in (0_i128..).zip(days) {
        let pico = day.difference_pico;
        let reach = if pico < 0 { below } else { above };
        // A bar that is not nothing can be seen.
        let height = (pico.saturating_abs() / unit * reach / most).max(i128::from(pico != 0));
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
        let every = (count / 16).max(1);
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

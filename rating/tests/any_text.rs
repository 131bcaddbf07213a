//! Whatever text stands in a file of the book is read or refused: never a panic, and never a book
//! that cannot be linted and rated with.

use proptest::prelude::*;
use tally_rating::{Book, BookFile, Call, LaneKey, RateCard, Rater};
use tally_schemas::UsageCounts;

/// Files of each kind: the head of those that ship with Tally.
const FILES: [(&str, &str); 5] = [
    ("prices.csv", include_str!("../data/prices.csv")),
    ("aliases.toml", include_str!("../data/aliases.toml")),
    ("calendars.toml", include_str!("../data/calendars.toml")),
    ("weights.toml", include_str!("../data/weights.toml")),
    ("contracts.toml", include_str!("../data/contracts.toml")),
];

/// Bytes that mean something in TOML, CSV, times and numbers, or are none of theirs.
const SPOILERS: [&str; 24] = [
    "",
    " ",
    "\"",
    "'",
    ",",
    "\n",
    "=",
    "[",
    "]",
    "{",
    "}",
    "#",
    "-",
    ".",
    ":",
    "T",
    "+24:00",
    "0",
    "9",
    "99999999999999999999",
    "-1",
    "\u{0}",
    "上",
    "*",
];

/// The first lines of a file, up to a blank line after so many of them, with some places changed.
fn spoilt(text: &str, spots: &[(prop::sample::Index, usize, usize)]) -> String {
    let mut text: String = text.lines().take(40).map(|line| format!("{line}\n")).collect();
    for (at, spoiler, removed) in spots {
        let start = (0..=at.index(text.len() + 1)).rev().find(|at| text.is_char_boundary(*at));
        let start = start.unwrap_or(0);
        let end = (start + removed..=text.len()).find(|at| text.is_char_boundary(*at));
        text.replace_range(start..end.unwrap_or(text.len()), SPOILERS[*spoiler]);
    }
    text
}

/// Reads a file; what is accepted must bear to be used.
fn read(name: &str, text: &str) {
    let Ok(book) = Book::read(&[BookFile { name, text }]) else { return };
    book.lint();
    let mut rater = Rater::new(RateCard::new(&book, None).into());
    let lane = rater.lane(&LaneKey {
        vendor: "deepseek",
        supplier: "deepseek",
        billed_model: "deepseek-v4-pro",
        service_tier: "standard",
        region: None,
    });
    for at_ms in [i64::MIN, 0, 1_795_326_155_827, i64::MAX] {
        let call =
            Call { usage: &UsageCounts([1; 14]), started_at_ms: at_ms, completed_at_ms: at_ms };
        drop(rater.wholesale(lane, &call));
        drop(rater.points_micro(lane, "default", None, &call));
    }
}

proptest! {
    #[test]
    fn spoilt_files_are_read_or_refused(
        file in 0..FILES.len(),
        spots in prop::collection::vec((any::<prop::sample::Index>(), 0..SPOILERS.len(), 0..4_usize), 0..5),
    ) {
        let (name, text) = FILES[file];
        read(name, &spoilt(text, &spots));
    }

    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}", csv in any::<bool>()) {
        read(if csv { "any.csv" } else { "any.toml" }, &text);
    }
}

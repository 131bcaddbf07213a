//! A file of the price book, `c` before CSV, and an event in JSON after it: the file is read or
//! refused; a book bears its lints, is read the same again, and rates the event by every price.

#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use tally_fuzz::pieces;
use tally_rating::{Book, BookFile, Call, LaneKey, RateCard, Rater, Side, attribute};
use tally_schemas::{UsageCounts, parse_event};

fuzz_target!(|bytes: &[u8]| {
    let mut pieces = pieces(bytes);
    let Some((kind, file)) = pieces.next().and_then(<[u8]>::split_first) else { return };
    let Ok(text) = std::str::from_utf8(file) else { return };
    let name = if *kind == b'c' { "book.csv" } else { "book.toml" };
    let files = [BookFile { name, text }];
    let book = match Book::read(&files) {
        Ok(book) => book,
        Err(bad) => {
            assert!(!bad.defects.is_empty());
            return;
        }
    };
    for finding in book.lint() {
        assert!(!finding.to_string().is_empty());
    }
    assert_eq!(Book::read(&files).as_ref(), Ok(&book));
    let event = parse_event(pieces.next().unwrap_or_default()).event;
    let first_ms = book.prices().iter().map(|price| price.version.known_from_ms).min();
    for known_at_ms in [None, first_ms] {
        rate(&book, &RateCard::new(&book, known_at_ms), &event);
    }
});

fn rate(book: &Book, card: &RateCard, event: &tally_schemas::UsageEvent<'_>) {
    let mut rater = Rater::new(Arc::new(card.clone()));
    let at_ms = event.completed_at_ms.unwrap_or(0);
    if let Some(to) = attribute(card, event, at_ms) {
        let key = LaneKey {
            vendor: to.vendor,
            supplier: to.supplier,
            billed_model: to.billed_model,
            service_tier: event.service_tier(),
            region: event.region.as_deref(),
        };
        rate_lane(&mut rater, &key, &event.usage, at_ms);
    }
    for price in book.prices().iter().filter(|price| price.side == Side::Wholesale).take(16) {
        let pattern = price.model.to_string();
        let key = LaneKey {
            vendor: &price.vendor,
            supplier: price.supplier.as_deref().unwrap_or(&price.vendor),
            billed_model: pattern.trim_end_matches('*'),
            service_tier: price.service_tier.as_deref().unwrap_or("standard"),
            region: price.region.as_deref(),
        };
        let mut usage = UsageCounts::default();
        usage.set(price.class, event.usage.get(price.class).max(1));
        for at_ms in [at_ms, price.valid.from_ms, price.valid.to_ms.unwrap_or(at_ms)] {
            rate_lane(&mut rater, &key, &usage, at_ms);
        }
        card.charged_micro(price, key.billed_model, price.valid);
    }
}

fn rate_lane(rater: &mut Rater, key: &LaneKey<'_>, usage: &UsageCounts, at_ms: i64) {
    let lane = rater.lane(key);
    let call = Call { usage, started_at_ms: at_ms, completed_at_ms: at_ms };
    match rater.wholesale(lane, &call) {
        Ok(rated) => {
            assert!(rated.amount_pico >= 0, "{rated:?}");
            let ids = rater.price_ids(lane, rated.prices);
            assert!(rated.amount_pico == 0 || !ids.is_empty(), "{rated:?}");
        }
        Err(held) => assert!(!held.what.is_empty()),
    }
    for table in ["default", "all"] {
        match rater.points_micro(lane, table, None, &call) {
            Ok(points) => assert!(points >= 0, "{points}"),
            Err(held) => assert!(!held.what.is_empty()),
        }
    }
}

//! The book that ships with Tally against an independent oracle: more than three thousand vectors at
//! the edges of every change, window and holiday, made by `tests/python/rating_oracle.py` from the
//! published chronology, and every day of the calendar.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests stop at the first surprise")]

use std::process::Command;
use std::sync::Arc;

use serde_json::Value;
use tally_rating::{
    Book, Bug, Call, HoldReason, LaneKey, RateCard, Rater, attribute, parse_instant, plant,
};
use tally_schemas::{UsageEvent, decimal_text, parse_event};

fn oracle(mode: &[&str]) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/python/rating_oracle.py");
    let run = Command::new("python3").arg(script).args(mode).output().expect("python3 is needed");
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    String::from_utf8(run.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The same four answers that a vector expects.
fn rated(rater: &mut Rater, event: &UsageEvent<'_>, weights: &str) -> [Option<String>; 4] {
    let held = |reason: &str| [None, None, None, Some(reason.to_owned())];
    let completed_at_ms = event.completed_at_ms.unwrap();
    let card = Arc::clone(rater.card());
    let Some(to) = attribute(&card, event, completed_at_ms) else { return held("unknown_model") };
    let lane = rater.lane(&LaneKey {
        vendor: to.vendor,
        supplier: to.supplier,
        billed_model: to.billed_model,
        service_tier: event.service_tier(),
        region: event.region.as_deref(),
    });
    let started_at_ms = event.started_at_ms().unwrap();
    let call = Call { usage: &event.usage, started_at_ms, completed_at_ms };
    let both = rater.wholesale(lane, &call).and_then(|wholesale| {
        let points = rater.points_micro(lane, weights, event.product.as_deref(), &call)?;
        Ok((wholesale, points))
    });
    match both {
        Ok((wholesale, points)) => [
            Some(points.to_string()),
            Some(decimal_text(wholesale.amount_pico, 12)),
            Some(wholesale.currency.to_string()),
            None,
        ],
        Err(held_back) => held(match held_back.reason {
            HoldReason::UnknownCalendarYear => "unknown_calendar_year",
            HoldReason::NoPrice => "no_price",
            HoldReason::AmbiguousPrice => "ambiguous_price",
            HoldReason::CurrencyMismatch => "currency_mismatch",
            HoldReason::UnknownWeights => "unknown_weights",
        }),
    }
}

/// Names of the vectors that come out otherwise.
fn differences(vectors: &[Value]) -> Vec<String> {
    let book = Book::shipped().unwrap();
    let mut raters: Vec<(Option<i64>, Rater)> = Vec::new();
    let mut differences = Vec::new();
    for vector in vectors {
        let known_at = vector["known_at"].as_str().map(|at| parse_instant(at).unwrap());
        if !raters.iter().any(|(at, _)| *at == known_at) {
            raters.push((known_at, Rater::new(Arc::new(RateCard::new(&book, known_at)))));
        }
        let (_, rater) = raters.iter_mut().find(|(at, _)| *at == known_at).unwrap();
        let text = vector["event"].to_string();
        let parsed = parse_event(text.as_bytes());
        assert_eq!(parsed.errors, vec![], "{text}");
        let ours = rated(rater, &parsed.event, vector["weights"].as_str().unwrap());
        let fields = ["points_micro", "wholesale_amount", "wholesale_currency", "suspense"];
        for (field, ours) in fields.into_iter().zip(ours) {
            let theirs = &vector["expect"][field];
            if theirs.as_str() != Some("any") && theirs.as_str() != ours.as_deref() {
                differences
                    .push(format!("{}: {field}: {ours:?}, expected {theirs}", vector["name"]));
            }
        }
    }
    differences
}

#[test]
fn every_vector_comes_out_as_the_oracle_says() {
    let vectors = oracle(&[]);
    assert!(vectors.len() >= 3_800, "{} vectors", vectors.len());
    let differences = differences(&vectors);
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn planted_bugs_are_caught() {
    let vectors = oracle(&[]);
    for bug in [
        Bug::WindowEndIncluded,
        Bug::ValidEndIncluded,
        Bug::HolidayForgotten,
        Bug::WeekendForWorkday,
        Bug::TierEdgeExcluded,
        Bug::TierWithoutCache,
        Bug::KnownTimeIgnored,
        Bug::StartForCompletion,
        Bug::SupplierIgnored,
        Bug::WeightWindowIgnored,
    ] {
        plant(Some(bug));
        let caught = !differences(&vectors).is_empty();
        plant(None);
        assert!(caught, "{bug:?} goes unnoticed");
    }
}

#[test]
fn workdays_are_those_of_the_notices() {
    let book = Book::shipped().unwrap();
    let card = RateCard::new(&book, None);
    let calendar = card.calendar("cn-workdays").unwrap();
    let days = oracle(&["--calendar"]);
    assert_eq!(days.len(), 730);
    for day in days {
        let at = parse_instant(day["day"].as_str().unwrap()).unwrap();
        for at in [at, at + 86_399_999] {
            assert_eq!(calendar.applies(at).ok(), day["workday"].as_bool(), "{day}");
        }
    }
}

#[test]
fn the_shipped_book_has_no_finding() {
    let findings = Book::shipped().unwrap().lint();
    assert_eq!(findings, vec![], "{findings:#?}");
}

//! A month in which the discount on list prices changes, at midnight and within a day, for prices
//! of the instant at which a call ended and of the one at which it began: it is closed, each line
//! has exactly its events, and what comes late is at the discount of its own time.

use std::collections::BTreeSet;
use std::sync::Arc;

use object_store::ObjectStore;
use object_store::memory::InMemory;
use serde_json::{Value, json};
use tally_aggregate::ReferenceData;
use tally_query::{CloseOutcome, OtherReading, QueryEngine, Settlement};
use tally_rating::RateCard;
use tally_reference::{FileOrigin, NewFiles, ReferenceKind, ReferenceStore, StoredFile, Whole};
use tally_settlement::{AdjustmentReason, Cents, Period};

use crate::books::settled_by;
use crate::feed::{Feed, engine_over, first_edition, ms, rows, settings};

type Store = Arc<dyn ObjectStore>;

const PRICES: &str = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,time_basis,valid_from,service_tier
by-end,wholesale,acme,m,input,token,CNY,10000000,completion,2026-01-01,*
by-start,wholesale,acme,m,output,token,CNY,20000000,start,2026-01-01,*
of-far,wholesale,far,n,output,token,CNY,20000000,start,2026-01-01,*
";

const TERMS: &str = "[[terms]]\nid = \"acme-2026\"\nvendor = \"acme\"\nmodel_pattern = \"*\"\nform = \"price_list\"\n\
    currency = \"CNY\"\ntax_ppm = 0\nrounding = \"half_up\"\nvalid_from = \"2026-01-01\"\nsource = \"test\"\n";

/// A tenth less on every model, from noon of the 15th a fifth on those that begin with m, from
/// midnight of the 20th half on m, as good as for ever: the narrower counts while several are in
/// force. Another vendor's is for longer than nanoseconds can count, either way, and within a day.
const DISCOUNTS: [(&str, &str, &str, u32, &str, &str); 4] = [
    ("acme", "first", "*", 100_000, "2026-01-01T00:00:00+08:00", "2027-01-01T00:00:00+08:00"),
    ("acme", "second", "m*", 200_000, "2026-10-15T12:00:00+08:00", "2026-11-20T00:00:00+08:00"),
    ("acme", "third", "m", 500_000, "2026-10-20T00:00:00+08:00", "9999-12-31"),
    ("far", "for-ever", "*", 100_000, "1600-01-01T00:00:01+08:00", "9999-12-30T23:59:59+08:00"),
];

/// When calls began and ended, in the order of their ids; each has 1,000,000 tokens of both classes.
const CALLS: [(&str, &str); 6] = [
    ("2026-10-14T23:00:00+08:00", "2026-10-15T11:59:59.999+08:00"),
    ("2026-10-15T11:59:59.999+08:00", "2026-10-15T12:00:00+08:00"),
    ("2026-10-15T12:00:00+08:00", "2026-10-15T12:30:00+08:00"),
    ("2026-10-19T23:59:59.999+08:00", "2026-10-20T00:00:00+08:00"),
    ("2026-10-20T00:00:00+08:00", "2026-10-20T00:00:01+08:00"),
    ("2026-11-05T10:00:00+08:00", "2026-11-05T10:00:01+08:00"),
];

fn discounts() -> String {
    type Contract = (&'static str, &'static str, &'static str, u32, &'static str, &'static str);
    let contract = |(vendor, id, models, ppm, from, to): Contract| {
        format!(
            "[[contract]]\nid = \"{id}\"\nvendor = \"{vendor}\"\nmodel_pattern = \"{models}\"\nform = \"price_list\"\n\
             discount_ppm = {ppm}\ncurrency = \"CNY\"\nvalid_from = \"{from}\"\nvalid_to = \"{to}\"\nsource = \"test\"\n"
        )
    };
    DISCOUNTS.map(contract).concat()
}

/// Prices, discounts and terms, each approved, and the calls rated by them.
async fn used() -> Feed {
    let store: Store = Arc::new(InMemory::new());
    let first = first_edition(&store).await;
    let references = ReferenceStore::new(Arc::clone(&store));
    for (kind, name, text) in [
        (ReferenceKind::Price, "acme.csv", PRICES.to_owned()),
        (ReferenceKind::Contract, "discounts.toml", discounts()),
        (ReferenceKind::Contract, "terms.toml", TERMS.to_owned()),
    ] {
        let files = vec![StoredFile { name: name.to_owned(), text }];
        let new = NewFiles { kind, files, origin: FileOrigin::Written };
        let at_ms = ms("2026-09-01T09:00:00+08:00");
        let imported = references.import(&new, "lin", at_ms).await.unwrap();
        references.approve(kind, imported.version.unwrap(), "chen", at_ms + 1).await.unwrap();
    }
    let whole = whole(&store).await;
    let known_at_ms = whole.known_at_ms(now());
    let reference = ReferenceData {
        version: whole.edition.read_at(known_at_ms),
        card: Arc::new(RateCard::new(&whole.book, Some(known_at_ms))),
        ..first
    };
    let mut feed = Feed::begin(store, 1, &settings(), &reference).await;
    for (number, (started_at, completed_at)) in CALLS.into_iter().enumerate() {
        call(&mut feed, &format!("e-{}", number + 1), started_at, completed_at);
    }
    feed.close().await;
    feed.publish().await;
    feed
}

async fn whole(store: &Store) -> Whole {
    ReferenceStore::new(Arc::clone(store)).newest_whole().await.unwrap()
}

fn call(feed: &mut Feed, id: &str, started_at: &str, completed_at: &str) {
    let event = json!({"model": "m", "vendor": "acme", "started_at": started_at,
        "usage": {"input": 1_000_000, "output": 1_000_000}});
    feed.event("D", id, completed_at, event);
}

async fn settlement<'a>(feed: &Feed, engine: &'a QueryEngine) -> Settlement<'a> {
    let (by, prices) = settled_by(whole(&feed.store).await);
    Settlement::new(engine, by, prices)
}

fn october() -> Period {
    Period::parse("2026-10").unwrap()
}

fn now() -> i64 {
    ms("2026-12-05T09:00:00+08:00")
}

/// Class, price of a million, and the calls of each line of October.
const LINES: [(&str, u64, &[&str]); 6] = [
    ("input", 5_000_000, &["e-4", "e-5"]),
    ("input", 8_000_000, &["e-2", "e-3"]),
    ("input", 9_000_000, &["e-1"]),
    ("output", 10_000_000, &["e-5"]),
    ("output", 16_000_000, &["e-3", "e-4"]),
    ("output", 18_000_000, &["e-1", "e-2"]),
];

#[tokio::test]
async fn a_month_whose_discount_changes_is_closed_and_each_line_has_its_events() {
    let mut feed = used().await;
    let engine = engine_over(&feed.store).await;
    let books = settlement(&feed, &engine).await;
    let draft = books.statement("acme", october(), now()).await.unwrap().statement;
    let found: Vec<(&str, Option<u64>, String)> = draft.sections[0]
        .lines
        .iter()
        .map(|line| (line.class.as_str(), line.unit_price_micro, line.units.to_string()))
        .collect();
    let expected: Vec<(&str, Option<u64>, String)> = LINES
        .iter()
        .map(|(class, price, ids)| (*class, Some(*price), format!("{}000000", ids.len())))
        .collect();
    assert_eq!(found, expected);
    // 5 + 5 + 8 + 8 + 9 and 10 + 16 + 16 + 18 + 18.
    assert_eq!(draft.total.net, Cents(11_300));
    for other in ["far", "zhipu"] {
        let nothing = books.statement(other, october(), now()).await.unwrap_err();
        let words = format!("{other} has neither usage in 2026-10 nor settlement terms");
        assert!(nothing.to_string().starts_with(&words), "{nothing}");
    }

    let mut seen = BTreeSet::new();
    for (line, (class, price, ids)) in draft.sections[0].lines.iter().zip(LINES) {
        let down = books.line_events("acme", october(), &line.id, now()).await.unwrap();
        assert_eq!(down.events, ids.len() as u64, "{class} at {price}: {}", down.sql);
        let rows = rows(&engine, &down.sql).await;
        let of_line: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
        assert_eq!(of_line, *ids, "{class} at {price}: {}", down.sql);
        for id in of_line {
            assert!(seen.insert((class, id.to_owned())), "{class} of {id} is on two lines");
        }
    }
    assert_eq!(seen.len(), 10);

    // Rated again by the same book, nothing changes: each part of a day is proved by its own price.
    let whole = whole(&feed.store).await;
    let known_at_ms = whole.known_at_ms(now());
    let reading = OtherReading {
        card: Arc::new(RateCard::new(&whole.book, Some(known_at_ms))),
        known_at_ms,
        reference: whole.edition.read_at(known_at_ms).to_string(),
    };
    let again = books.re_rate("acme", october(), &reading, now()).await.unwrap();
    assert!(again.unrated.is_empty(), "{again:?}");
    assert_eq!((again.re_rate.events, again.re_rate.events_changed), (5, 0), "{again:?}");
    assert!(again.re_rate.sections.iter().all(|section| section.lines.is_empty()), "{again:?}");

    let outcome = books.close(october(), "ann", now(), "0.1.0").await.unwrap();
    assert!(matches!(outcome, CloseOutcome::InReview(_)), "{outcome:?}");
    books.approve(october(), "bob", now()).await.unwrap();
    let sealed = books.statement("acme", october(), now()).await.unwrap().statement;
    assert_eq!(sealed.hash().unwrap(), draft.hash().unwrap());

    // What comes late is at the discount of its own time, and names the line that it would be on.
    call(&mut feed, "late-1", "2026-10-15T11:00:00+08:00", "2026-10-15T11:00:01+08:00");
    call(&mut feed, "late-2", "2026-10-15T11:59:00+08:00", "2026-10-15T12:00:01+08:00");
    feed.close().await;
    feed.publish().await;
    let engine = engine_over(&feed.store).await;
    let period = Period::parse("2026-11").unwrap();
    let books = settlement(&feed, &engine).await;
    let november = books.statement("acme", period, now()).await.unwrap().statement;
    let id_of = |class: &str, price: u64| {
        let mut lines = sealed.sections[0].lines.iter();
        lines
            .find(|line| line.class == class && line.unit_price_micro == Some(price))
            .unwrap()
            .id
            .clone()
    };
    let mut late: Vec<(String, i128, i128)> = november.sections[0]
        .adjustments
        .iter()
        .filter(|row| row.reason == AdjustmentReason::LateUsage)
        .map(|row| (row.orig_line_id.clone().unwrap(), row.units.0, row.amounts.net.0))
        .collect();
    late.sort();
    // Each of them walked down to its events.
    for row in &november.sections[0].adjustments {
        let down = books.adjustment_events("acme", period, &row.id, now()).await.unwrap();
        assert_eq!(down.line.units, row.units);
        let ids = rows(&engine, &down.sql).await;
        let ids: Vec<&str> = ids.iter().map(|row| row["id"].as_str().unwrap()).collect();
        let expected: &[&str] = match (row.class.as_str(), row.amounts.net.0) {
            ("input", 900) => &["late-1"],
            ("input", 800) => &["late-2"],
            ("output", 3_600) => &["late-1", "late-2"],
            _ => panic!("{row:?}"),
        };
        assert_eq!(ids, expected, "{row:?}: {}", down.sql);
    }
    let none = books.adjustment_events("acme", period, "A0", now()).await.unwrap_err();
    assert!(none.to_string().contains("has no adjustment \"A0\""), "{none}");
    let mut expected = vec![
        (id_of("input", 9_000_000), 1_000_000, 900),
        (id_of("input", 8_000_000), 1_000_000, 800),
        (id_of("output", 18_000_000), 2_000_000, 3_600),
    ];
    expected.sort();
    assert_eq!(late, expected);
}

/// The example of `docs/sql.md` that goes from a line down to its events: of prices of the instant
/// at which a call ended, and of the one at which it began.
#[tokio::test]
async fn the_example_in_sql_tells_lines_of_two_discounts_apart() {
    let feed = used().await;
    let engine = engine_over(&feed.store).await;
    let books = settlement(&feed, &engine).await;
    books.close(october(), "ann", now(), "0.1.0").await.unwrap();
    books.approve(october(), "bob", now()).await.unwrap();
    let page = include_str!("../../../docs/sql.md");
    let example = page.split("```sql\n").find(|text| text.starts_with("WITH discounts AS"));
    let example = example.unwrap().split("```").next().unwrap();
    let statement = books.statement("acme", october(), now()).await.unwrap().statement;
    for class in ["input", "output"] {
        let sql = example.replace("'zhipu'", "'acme'").replace("'input'", &format!("'{class}'"));
        let sql = sql.replace("e.input", &format!("e.{class}"));
        let mut found: Vec<(String, Vec<String>)> = Vec::new();
        for row in rows(&engine, &sql).await {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            let (line, id) = (text(&row["line_id"]), text(&row["id"]));
            match found.last_mut() {
                Some((last, ids)) if *last == line => ids.push(id),
                _ => found.push((line, vec![id])),
            }
        }
        let mut expected: Vec<(String, Vec<String>)> = statement.sections[0]
            .lines
            .iter()
            .zip(LINES)
            .filter(|(line, _)| line.class == class)
            .map(|(line, (_, _, ids))| {
                (line.id.clone(), ids.iter().map(|id| (*id).to_owned()).collect())
            })
            .collect();
        expected.sort();
        assert_eq!(found, expected, "{sql}");
    }
}

//! Three sealed months and what somebody may do to them: a seal, an entry or a statement that is
//! taken away, and content that was never approved under hashes that fit. `tally verify` names each,
//! and nothing is built on what is left.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::join_all;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde_json::json;
use tally_query::{
    CloseOutcome, ErrorKind, NewAdjustment, QueryError, Settlement, VerifyOptions, verify,
};
use tally_reference::ReferenceStore;
use tally_settlement::{
    AdjustmentReason, Amounts, Cents, Decision, Period, Seal, SealedStatement, Statement,
};

use crate::books::{TERMS, approved, settled_by};
use crate::feed::{Feed, copied, engine_over, first_edition, ms, objects_below, settings};

type Store = Arc<dyn ObjectStore>;

const MONTHS: [&str; 3] = ["2026-10", "2026-11", "2026-12"];

fn period(text: &str) -> Period {
    Period::parse(text).unwrap()
}

/// Some time after the last month that has usage.
fn now() -> i64 {
    ms("2027-02-05T09:00:00+08:00")
}

fn seal_path(n: u64) -> String {
    Seal::path(n)
}

fn entry_path(n: u64) -> String {
    format!("statements/journal/{n:020}.json")
}

/// Usage of four months, of which three are closed. A refund of 1.00 is on the first statement, and
/// one of 2.00 on the second.
async fn three_sealed() -> Feed {
    let store: Store = Arc::new(InMemory::new());
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(store, 1, &settings(), &reference).await;
    for (number, day) in ["10-05", "11-05", "12-05"].iter().enumerate() {
        let event = json!({"model": "glm-5", "usage": {"input": 6_000_000 + number}});
        feed.event("D", &format!("d-{number}"), &format!("2026-{day}T10:00:00+08:00"), event);
    }
    let event = json!({"model": "glm-5", "usage": {"input": 1_000_000}});
    feed.event("D", "d-january", "2027-01-05T10:00:00+08:00", event);
    feed.close().await;
    feed.publish().await;
    approved(&feed, TERMS).await;
    let engine = engine_over(&feed.store).await;
    let settlement = settlement(&feed.store, &engine).await;
    for (number, month) in MONTHS.into_iter().enumerate() {
        if number < 2 {
            let new = NewAdjustment {
                vendor: "zhipu".into(),
                period: period(month),
                terms: None,
                reason: AdjustmentReason::ComplaintRefund,
                amount: Cents(-100 * (i128::try_from(number).unwrap() + 1)),
                orig_period: None,
                orig_line: None,
                note: format!("refund of {month}"),
            };
            let n = settlement.propose(&new, "ann", now()).await.unwrap().proposal.n;
            let decision = Decision { of: n, approve: true, note: String::new() };
            settlement.decide_adjustment(&decision, "bob", now()).await.unwrap();
        }
        settlement.close(period(month), "ann", now(), "0.1.0").await.unwrap();
        settlement.approve(period(month), "bob", now()).await.unwrap();
    }
    assert_eq!(findings(&feed.store).await, "");
    feed
}

/// Two sealed months; half a million tokens of the first came after its seal and are on the second
/// statement.
pub(crate) async fn late_sealed() -> Feed {
    let store: Store = Arc::new(InMemory::new());
    let reference = first_edition(&store).await;
    let mut feed = Feed::begin(store, 1, &settings(), &reference).await;
    let glm = |tokens: u64| json!({"model": "glm-5", "usage": {"input": tokens}});
    feed.event("D", "d-1", "2026-10-05T10:00:00+08:00", glm(6_000_000));
    feed.close().await;
    feed.publish().await;
    approved(&feed, TERMS).await;
    for (month, late) in [("2026-10", true), ("2026-11", false)] {
        let engine = engine_over(&feed.store).await;
        let settlement = settlement(&feed.store, &engine).await;
        settlement.close(period(month), "ann", now(), "0.1.0").await.unwrap();
        settlement.approve(period(month), "bob", now()).await.unwrap();
        if late {
            feed.event("D", "late-1", "2026-10-15T10:00:00+08:00", glm(500_000));
            feed.event("D", "d-2", "2026-11-05T10:00:00+08:00", glm(1_000_000));
            feed.close().await;
            feed.publish().await;
        }
    }
    feed
}

async fn settlement<'a>(store: &Store, engine: &'a tally_query::QueryEngine) -> Settlement<'a> {
    let whole = ReferenceStore::new(Arc::clone(store)).newest_whole().await.unwrap();
    let (by, prices) = settled_by(whole);
    Settlement::new(engine, by, prices)
}

/// What `verify` finds about what was sealed.
async fn findings(store: &Store) -> String {
    let engine = engine_over(store).await;
    let report = verify(&engine, &VerifyOptions::default()).await.unwrap();
    let of_seals = report.checks.into_iter().filter(|check| check.invariant == "I6");
    of_seals.flat_map(|check| check.findings).collect::<Vec<_>>().join("\n")
}

async fn without(store: &Store, paths: &[String]) -> Store {
    let copy = copied(store).await;
    for path in paths {
        copy.delete(&Path::from(path.as_str())).await.unwrap();
    }
    copy
}

async fn put(store: &Store, path: &str, bytes: Vec<u8>) {
    store.put(&Path::from(path), PutPayload::from(Bytes::from(bytes))).await.unwrap();
}

async fn seal(store: &Store, n: u64) -> Seal {
    let bytes = store.get(&Path::from(seal_path(n))).await.unwrap().bytes().await.unwrap();
    Seal::from_bytes("seal", &bytes).unwrap()
}

/// What of the books is asked for, and how it is answered.
async fn asked(store: &Store) -> Vec<(String, Result<(), QueryError>)> {
    let engine = engine_over(store).await;
    let settlement = settlement(store, &engine).await;
    let mut answers = Vec::new();
    for month in MONTHS.into_iter().chain(["2027-01"]) {
        let month = period(month);
        let closed = settlement.close(month, "cam", now(), "0.1.0").await.map(drop);
        answers.push((format!("close {month}"), closed));
        let approved = settlement.approve(month, "dan", now()).await.map(drop);
        answers.push((format!("approve {month}"), approved));
        let statement = settlement.statement("zhipu", month, now()).await.map(drop);
        answers.push((format!("statement {month}"), statement));
    }
    for table in ["periods", "statements", "statement_lines", "adjustments"] {
        let sql = format!("SELECT * FROM settlement.{table}");
        let answer = match engine.run(&sql, None, engine.limits()).await {
            Ok(answer) => answer.collect().await.map(drop),
            Err(error) => Err(error),
        };
        answers.push((sql, answer));
    }
    answers
}

/// I6: whichever seals are gone, where a later one or a later review shows that they were there.
#[tokio::test]
async fn a_seal_that_is_gone_is_found_and_nothing_is_built_on_the_others() {
    let feed = three_sealed().await;
    let cases: [(&[u64], &[u64]); 5] =
        [(&[0], &[0]), (&[1], &[1]), (&[0, 1], &[0, 1]), (&[1, 2], &[1]), (&[0, 1, 2], &[0, 1])];
    join_all(cases.map(|(removed, gone)| {
        let store = &feed.store;
        async move {
            let removed_paths: Vec<String> = removed.iter().map(|n| seal_path(*n)).collect();
            let store = without(store, &removed_paths).await;
            let before = objects_below(&store, None).await;
            let found = findings(&store).await;
            for n in gone {
                let words = format!("was approved, and its seal {} is gone", seal_path(*n));
                assert!(found.contains(&words), "{removed:?}: {found}");
            }
            for (what, answer) in asked(&store).await {
                let error = answer.expect_err(&what);
                assert_eq!(error.kind(), ErrorKind::Data, "{removed:?}: {what}: {error}");
                let words = format!("its seal {} is gone", seal_path(gone[0]));
                assert!(error.to_string().contains(&words), "{removed:?}: {what}: {error}");
            }
            let after = objects_below(&store, None).await;
            assert!(before == after, "{removed:?}: a refusal left something behind");
        }
    }))
    .await;
}

/// The newest approval may have been interrupted before its seal: it can be carried out, to the
/// same bytes, and until then it is found, and nothing is built on it.
#[tokio::test]
async fn the_newest_seal_can_be_written_and_nothing_is_built_on_it_before() {
    let feed = three_sealed().await;
    let whole = objects_below(&feed.store, None).await;
    for resume in ["close", "approve"] {
        let store = without(&feed.store, &[seal_path(2)]).await;
        let found = findings(&store).await;
        let words = format!("2026-12 was approved, and its seal {} is not there", seal_path(2));
        assert!(found.contains(&words), "{found}");
        let engine = engine_over(&store).await;
        let settlement = settlement(&store, &engine).await;
        let january = period("2027-01");
        // While it may still be under way, whoever asks is to try again; then somebody has to act.
        // The clock of who approved may have been ahead.
        let moment = (ErrorKind::Retry, "which was approved a moment ago");
        let interrupted = (ErrorKind::Invalid, "first tally settle approve --period 2026-12");
        for (later_ms, (kind, words)) in
            [(59_999, moment), (60_000, interrupted), (-59_999, moment), (-60_000, interrupted)]
        {
            let at_ms = now() + later_ms;
            let refused = [
                settlement.close(january, "cam", at_ms, "0.1.0").await.map(drop),
                settlement.statement("zhipu", january, at_ms).await.map(drop),
                settlement.report("zhipu", january, at_ms).await.map(drop),
            ];
            for refused in refused {
                let error = refused.unwrap_err();
                assert_eq!(error.kind(), kind, "{error}");
                let said = error.to_string();
                assert!(said.contains(words), "{said}");
            }
        }
        // As of a time, it stays as it is.
        let error = settlement.statement_as_of("zhipu", january, now()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
        let draft = settlement.statement("zhipu", period("2026-12"), now()).await.unwrap();
        assert_eq!(draft.state.name(), "review");
        assert!(draft.notes[0].contains("was approved, and its seal is not there"), "{draft:?}");
        let standing = settlement.statement("zhipu", period("2026-11"), now()).await.unwrap();
        assert_eq!(standing.state.name(), "closed");
        // Carried out by whoever comes, it is what it was.
        match resume {
            "close" => {
                let outcome = settlement.close(period("2026-12"), "eve", now(), "0.2").await;
                assert!(matches!(outcome.unwrap(), CloseOutcome::Closed(_)));
            }
            _ => {
                let closed = settlement.approve(period("2026-12"), "eve", now()).await.unwrap();
                assert!(!closed.was_closed);
            }
        }
        assert!(objects_below(&store, None).await == whole, "{resume}: not the same bytes");
        assert_eq!(findings(&store).await, "");
    }
}

/// The only seal, the only approval: nothing in the journal is behind it.
#[tokio::test]
async fn without_its_only_seal_the_next_month_begins_no_chain_of_its_own() {
    let feed = three_sealed().await;
    let whole = objects_below(&feed.store, None).await;
    // October alone: refund, its approval, review, approval are the first four entries.
    let store: Store = Arc::new(InMemory::new());
    for (path, bytes) in &whole {
        let of_later = ["2026-11/", "2026-12/"]
            .iter()
            .any(|month| path.contains(&format!("statements/{month}")));
        let is_late_entry = path.starts_with("statements/journal/") && *path >= entry_path(4);
        let is_seal = path.starts_with("statements/seals/");
        if !(of_later || is_late_entry || is_seal) {
            put(&store, path, bytes.to_vec()).await;
        }
    }
    let found = findings(&store).await;
    assert!(found.contains("2026-10 was approved, and its seal"), "{found}");
    let engine = engine_over(&store).await;
    let october = settlement(&store, &engine).await;
    let error = october.close(period("2026-11"), "ann", now(), "0.1.0").await.unwrap_err();
    assert!(error.to_string().contains("2026-11 is built on the seal of 2026-10"), "{error}");
    october.approve(period("2026-10"), "eve", now()).await.unwrap();
    assert_eq!(seal(&store, 0).await, seal(&feed.store, 0).await);
    assert_eq!(findings(&store).await, "");
    // Once November was put into review, October had its seal.
    october.close(period("2026-11"), "ann", now(), "0.1.0").await.unwrap();
    let store = without(&store, &[seal_path(0)]).await;
    let found = findings(&store).await;
    assert!(found.contains("is gone: bring it back"), "{found}");
    let engine = engine_over(&store).await;
    let error = settlement(&store, &engine)
        .await
        .approve(period("2026-10"), "eve", now())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data, "{error}");
}

/// As the version before this one could leave a store: the approval of the first month was
/// interrupted, and the second month became seal 0. It is named, and the chain goes on.
#[tokio::test]
async fn a_chain_that_begins_behind_an_approval_goes_on() {
    let feed = three_sealed().await;
    let [mut first, mut second] = [seal(&feed.store, 1).await, seal(&feed.store, 2).await];
    (first.n, first.previous) = (0, String::new());
    (second.n, second.previous) = (1, first.hash().unwrap());
    let october = "statements/2026-10/vendor-zhipu.json".to_owned();
    let store = without(&feed.store, &[seal_path(2), october]).await;
    for seal in [&first, &second] {
        put(&store, &seal_path(seal.n), seal.to_bytes().unwrap()).await;
    }
    let never = "2026-10 was approved and never sealed: the first seal was made of a later month";
    let found = findings(&store).await;
    assert!(found.starts_with(never) && found.lines().count() == 1, "{found}");
    for (what, answer) in asked(&store).await {
        if what == "close 2026-10" || what == "approve 2026-10" {
            let error = answer.expect_err(&what);
            assert_eq!(error.kind(), ErrorKind::Data, "{what}: {error}");
            assert!(error.to_string().starts_with(never), "{what}: {error}");
        } else {
            answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
    // With the first seal damaged, nobody says that the newest one is not there.
    let unread = copied(&store).await;
    let mut bytes = first.to_bytes().unwrap();
    bytes[10] ^= 1;
    put(&unread, &seal_path(0), bytes).await;
    let found = findings(&unread).await;
    assert!(found.contains(&format!("{}: its checksum", seal_path(0))), "{found}");
    assert!(!found.contains("was approved, and its seal"), "{found}");
    // January was closed meanwhile, upon December.
    assert_eq!(seal(&store, 2).await.previous, second.hash().unwrap());
    let found = findings(&store).await;
    assert!(found.starts_with(never) && found.lines().count() == 1, "{found}");
}

/// The end of the journal is gone, with or without the seals that it approved.
#[tokio::test]
async fn entries_that_are_gone_from_the_end_are_missed() {
    let feed = three_sealed().await;
    // Three reviews, two refunds, and the approval of each.
    let last = 9;
    let without_last = without(&feed.store, &[entry_path(last)]).await;
    let found = findings(&without_last).await;
    let words = format!("{} is a seal that no entry of the journal approved", seal_path(2));
    assert!(found.contains(&words), "{found}");
    for (what, answer) in asked(&without_last).await {
        let error = answer.expect_err(&what);
        assert!(error.to_string().contains(&words), "{what}: {error}");
    }
    // With its seal, the statement is left.
    let with_seal = without(&without_last, &[seal_path(2)]).await;
    let found = findings(&with_seal).await;
    assert!(
        found.contains("statements/2026-12/vendor-zhipu.json is there, and the approval"),
        "{found}"
    );
    // All of the journal and all seals.
    let mut all: Vec<String> = (0..=last).map(entry_path).collect();
    all.extend((0..3).map(seal_path));
    let nothing = without(&feed.store, &all).await;
    let found = findings(&nothing).await;
    for month in MONTHS {
        let words = format!("statements/{month}/vendor-zhipu.json is there, and the approval");
        assert!(found.contains(&words), "{found}");
    }
    // A gap at its beginning that is wider than what is read at once.
    let first = without(&feed.store, &(0..last).map(entry_path).collect::<Vec<_>>()).await;
    let far = entry_path(99);
    let bytes = first.get(&Path::from(entry_path(last))).await.unwrap().bytes().await.unwrap();
    first.delete(&Path::from(entry_path(last))).await.unwrap();
    put(&first, &far, bytes.to_vec()).await;
    let found = findings(&first).await;
    assert!(
        found.contains(&format!("{far} is there, and entry 0 of the journal is gone")),
        "{found}"
    );
}

/// A seal with one byte changed hides nothing else that is wrong, and is not taken for one that is
/// gone, nor for a defect of the journal.
#[tokio::test]
async fn a_damaged_seal_is_named_beside_everything_else() {
    let feed = three_sealed().await;
    let damaged = async |store: &Store, n: u64| {
        let bytes = store.get(&Path::from(seal_path(n))).await.unwrap().bytes().await.unwrap();
        let mut bytes = bytes.to_vec();
        bytes[10] ^= 1;
        put(store, &seal_path(n), bytes).await;
    };
    let unread = |n: u64| format!("{}: its checksum is not that of its content", seal_path(n));
    let of_journal = async |store: &Store| {
        let engine = engine_over(store).await;
        let report = verify(&engine, &VerifyOptions::default()).await.unwrap();
        let of_journal = |check: &tally_query::Check| check.what.contains("four eyes");
        report.checks.into_iter().find(of_journal).unwrap()
    };

    // With a statement of October and an entry of the journal that are wrong by themselves.
    let far = entry_path(99);
    let store = without(&feed.store, &["statements/2026-10/vendor-zhipu.json".to_owned()]).await;
    damaged(&store, 2).await;
    put(&store, &far, b"{}".to_vec()).await;
    let found = findings(&store).await;
    for words in [
        unread(2).as_str(),
        "statements/2026-10/vendor-zhipu.json is gone, which seal 0 has the hash of",
        format!("{far} is there, and entry 10 of the journal is gone").as_str(),
        "ADJ-000000 is on_statement and must be on 1 statements; it is on none",
    ] {
        assert!(found.contains(words), "{words}: {found}");
    }
    assert_eq!(found.lines().count(), 4, "{found}");
    for (what, answer) in asked(&store).await {
        let error = answer.expect_err(&what);
        assert_eq!(error.kind(), ErrorKind::Data, "{what}: {error}");
        assert!(error.to_string().contains(&unread(2)), "{what}: {error}");
    }

    // The one behind it is whole, and nobody says otherwise.
    let store = copied(&feed.store).await;
    damaged(&store, 1).await;
    let found = findings(&store).await;
    for words in [
        unread(1).as_str(),
        "the seal before that of 2026-12 is not there, or cannot be read: not compared",
        "2026-12: the seal before it is gone or cannot be read: not compared",
    ] {
        assert!(found.contains(words), "{words}: {found}");
    }
    for words in ["does not follow", "out of order", "is gone: bring"] {
        assert!(!found.contains(words), "{found}");
    }

    // Behind one that is gone.
    let store = without(&feed.store, &[seal_path(0)]).await;
    damaged(&store, 1).await;
    let found = findings(&store).await;
    assert!(found.contains(&unread(1)), "{found}");
    let gone = format!("2026-10 was approved, and its seal {} is gone", seal_path(0));
    assert!(found.contains(&gone), "{found}");
    assert!(!found.contains(&format!("{} is gone", seal_path(1))), "{found}");
    let journal = of_journal(&store).await;
    assert!(journal.ok, "{journal:?}");

    // And where the journal cannot be read either.
    put(&store, &entry_path(0), b"{}".to_vec()).await;
    put(&store, &seal_path(0), b"{}".to_vec()).await;
    let found = findings(&store).await;
    for words in [&unread(1), &seal_path(0), &entry_path(0)] {
        assert!(found.contains(words.as_str()), "{words}: {found}");
    }
    assert!(!of_journal(&store).await.ok);
}

/// A seal as somebody would write it who knows how: its checksum is right.
async fn edited(store: &Store, n: u64, edit: impl Fn(&mut Seal)) -> Store {
    let copy = copied(store).await;
    let mut seal = seal(&copy, n).await;
    edit(&mut seal);
    put(&copy, &seal_path(n), seal.to_bytes().unwrap()).await;
    copy
}

#[tokio::test]
async fn what_was_sealed_must_be_what_was_approved() {
    let feed = three_sealed().await;
    let as_approved = "2026-12: what was sealed is not what was approved";
    type Edit = fn(&mut Seal);
    let edits: [(Edit, &str); 6] = [
        (|seal| seal.approved_by = "mallory".into(), as_approved),
        (|seal| seal.by = "mallory".into(), as_approved),
        (|seal| seal.plan = "0".repeat(64), as_approved),
        (|seal| seal.statements[0].total.net = Cents(1), as_approved),
        (|seal| seal.entry = 0, "2026-12: entry 0 is not the one that was sealed with"),
        (
            |seal| seal.entry_hash = "0".repeat(64),
            "2026-12: entry 9 is not the one that was sealed with",
        ),
    ];
    for (edit, words) in edits {
        let found = findings(&edited(&feed.store, 2, edit).await).await;
        assert!(found.contains(words), "{found}");
    }
    let period_moved = |seal: &mut Seal| seal.period = period("2027-01");
    let found = findings(&edited(&feed.store, 2, period_moved).await).await;
    assert!(found.contains("2027-01 is sealed, and nobody approved it"), "{found}");
}

/// A statement as somebody would write it who knows how, with a seal that has its hash.
async fn restated(store: &Store, n: u64, edit: impl Fn(&mut Statement)) -> Store {
    let sealed = seal(store, n).await;
    let path = format!("statements/{}/vendor-zhipu.json", sealed.period);
    let bytes = store.get(&Path::from(path.as_str())).await.unwrap().bytes().await.unwrap();
    let mut statement = Statement::from_bytes("statement", &bytes).unwrap();
    edit(&mut statement);
    let statements = SealedStatement::of_all(std::slice::from_ref(&statement)).unwrap();
    let copy = edited(store, n, |seal| seal.statements = statements.clone()).await;
    put(&copy, &path, statement.to_bytes().unwrap()).await;
    copy
}

#[tokio::test]
async fn each_approved_adjustment_must_be_on_exactly_one_statement() {
    let feed = three_sealed().await;
    let bytes = feed.store.get(&Path::from("statements/2026-10/vendor-zhipu.json")).await.unwrap();
    let bytes = bytes.bytes().await.unwrap();
    let october = Statement::from_bytes("statement", &bytes).unwrap();
    let posted = |statement: &Statement| {
        let rows = statement.sections[0].adjustments.iter();
        rows.filter(|row| row.posted_by.is_some()).cloned().collect::<Vec<_>>()
    };
    let [refund] = &posted(&october)[..] else { panic!("{october:?}") };
    assert_eq!(refund.id, "ADJ-000000");

    // On none.
    let dropped = restated(&feed.store, 0, |statement| {
        statement.sections[0].adjustments.retain(|row| row.posted_by.is_none());
    });
    let found = findings(&dropped.await).await;
    let words = "ADJ-000000 is on_statement and must be on 1 statements; it is on none";
    assert!(found.contains(words), "{found}");
    // On two.
    let twice = restated(&feed.store, 1, |statement| {
        statement.sections[0].adjustments.push(refund.clone());
    });
    let found = findings(&twice.await).await;
    let words = "ADJ-000000 is on_statement and must be on 1 statements; it is on 2026-10 of zhipu, 2026-11 of zhipu";
    assert!(found.contains(words), "{found}");
    assert!(
        found.contains("ADJ-000000 on the statement of zhipu for 2026-11 is not what was approved"),
        "{found}"
    );
    // With another amount, approver or reason.
    type Edit = fn(&mut tally_settlement::Adjustment);
    let edits: [Edit; 3] = [
        |row| {
            let net = Cents(row.amounts.net.0 - 1);
            row.amounts = Amounts { net, ..row.amounts };
            row.amounts.gross.0 -= 1;
        },
        |row| row.approved_by = Some("mallory".into()),
        |row| row.reason = AdjustmentReason::DisputeCredit,
    ];
    for edit in edits {
        let other = restated(&feed.store, 0, |statement| {
            let mut rows = statement.sections[0].adjustments.iter_mut();
            edit(rows.find(|row| row.posted_by.is_some()).unwrap());
        });
        let found = findings(&other.await).await;
        let words = "ADJ-000000 on the statement of zhipu for 2026-10 is not what was approved";
        assert!(found.contains(words), "{found}");
    }
    // One that nobody ever proposed.
    let made_up = restated(&feed.store, 2, |statement| {
        let id = "ADJ-000099".to_owned();
        statement.sections[0]
            .adjustments
            .push(tally_settlement::Adjustment { id, ..refund.clone() });
    });
    let found = findings(&made_up.await).await;
    assert!(found.contains("ADJ-000099 is on 2026-12 of zhipu and in no journal"), "{found}");
}

/// A sealed data file that was written anew, with the same rows.
#[tokio::test]
async fn a_sealed_data_file_must_be_what_it_was() {
    let feed = three_sealed().await;
    let file = seal(&feed.store, 1).await.files[0].path.clone();
    let store = copied(&feed.store).await;
    let bytes = store.get(&Path::from(file.as_str())).await.unwrap().bytes().await.unwrap();
    // The name of the program that wrote it stands in the footer and counts for nothing.
    let name = b"tally";
    let at = bytes.windows(name.len()).rposition(|window| window == name).unwrap();
    let mut changed = bytes.to_vec();
    changed[at] = b'T';
    put(&store, &file, changed).await;
    let found = findings(&store).await;
    assert!(found.contains(&format!("{file} was changed")), "{found}");
    // Compaction takes files away, and their rows are elsewhere: that is no finding of this check.
    assert!(!found.contains("is gone"), "{found}");
}

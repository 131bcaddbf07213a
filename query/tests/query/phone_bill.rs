//! Phone bills over a store that the real core has filled: cases that were worked out by hand,
//! rows that come late, crashes between any two steps, answers, and damage.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};
use serde_json::{Value, json};
use tally_query::{
    ErrorKind, IssuedBill, PhoneBill, QueryEngine, QueryError, VerifyOptions, verify,
};
use tally_schemas::Table;
use tally_settlement::Period;
use tally_settlement::phone_bill::{BillLine, BillScope, Day, read_lines};

use crate::feed::{
    Feed, copied, engine_over, first_edition, ms, objects_below, rows, settings, spoilt, worked_out,
};
use crate::late_store::LateStore;

type Store = Arc<dyn ObjectStore>;

/// Some time after everything in these stores.
fn later() -> i64 {
    ms("2027-01-01T00:00:00+08:00")
}

fn day(text: &str) -> BillScope {
    BillScope::Daily { day: Day::parse(text).unwrap() }
}

fn month(text: &str) -> BillScope {
    BillScope::Monthly { month: Period::parse(text).unwrap() }
}

async fn try_issue(engine: &QueryEngine, scope: &BillScope) -> Result<IssuedBill, QueryError> {
    PhoneBill::new(engine).issue(scope, "billing", later(), "0.1").await
}

async fn issue(engine: &QueryEngine, scope: &BillScope) -> IssuedBill {
    try_issue(engine, scope).await.unwrap_or_else(|error| panic!("{scope:?}: {error}"))
}

/// Issues the file of a day.
pub(crate) async fn issue_day(engine: &QueryEngine, of: &str) -> IssuedBill {
    issue(engine, &day(of)).await
}

async fn refused(engine: &QueryEngine, scope: &BillScope, kind: ErrorKind) -> String {
    let error = try_issue(engine, scope).await.unwrap_err();
    assert_eq!(error.kind(), kind, "{scope:?}: {error}");
    error.to_string()
}

fn lines(issued: &IssuedBill) -> Vec<BillLine> {
    read_lines("test", &issued.csv).unwrap()
}

/// Lines in words: where it stands, where it stood first, whose, for what, when, how much.
fn told(issued: &IssuedBill) -> Vec<String> {
    let told = |line: &BillLine| {
        let key = &line.key;
        format!(
            "{} {} {} {} {} {} {} {}",
            line.id,
            line.first,
            key.account,
            key.kind.name(),
            key.package,
            line.date,
            line.amount,
            line.after
        )
    };
    lines(issued).iter().map(told).collect()
}

/// Every object below `phone-bill/`.
async fn objects(store: &Store) -> BTreeMap<String, Bytes> {
    objects_below(store, Some("phone-bill")).await
}

async fn put(store: &Store, path: &str, bytes: Bytes) {
    store.put(&Path::from(path), PutPayload::from(bytes)).await.unwrap();
}

/// What `verify` finds about phone bills.
async fn findings(store: &Store) -> String {
    let engine = engine_over(store).await;
    let report = verify(&engine, &VerifyOptions::default()).await.unwrap();
    let checks = report.checks.into_iter().filter(|check| check.what.contains("phone bill"));
    let checks: Vec<_> = checks.collect();
    assert!(
        checks.iter().any(|check| check.what.contains("in one daily phone bill"))
            || checks.len() == 1
    );
    checks.into_iter().flat_map(|check| check.findings).collect::<Vec<_>>().join("\n")
}

fn answer(issued: &IssuedBill, answers: &[&str]) -> String {
    let seal = &issued.seal;
    let mut text = format!(
        "H,tally-phone-bill-return,1,{},{}\nrecord,line,status,reason\n",
        seal.sequence, seal.lines_hash
    );
    for answer in answers {
        text.push_str(&format!("D,{}-{answer}\n", seal.sequence));
    }
    text + &format!("T,{}\n", answers.len())
}

async fn taken(engine: &QueryEngine, text: &str) -> Result<u64, String> {
    let bills = PhoneBill::new(engine);
    let answer = bills.take_return("return.csv", text.as_bytes(), "ann", later()).await;
    answer.map(|answer| answer.taken.n).map_err(|error| {
        assert_eq!(error.kind(), ErrorKind::Data);
        error.to_string()
    })
}

#[tokio::test]
async fn what_subscribers_are_charged() {
    let mut feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let issued = issue(&engine, &day("2026-11-20")).await;
    assert_eq!(
        told(&issued),
        [
            "1-1 1-1 A package_fee telecom-10m 2026-11-20 9.90 0.000000000000",
            "1-2 1-2 B package_fee mobile-gift-500k 2026-11-20 0.00 0.000000000000",
            "1-3 1-3 C payg sh-telecom-payg 2026-11-20 1.00 0.000000000000",
            // The first file has what was before its day, under its own date.
            "1-4 1-4 F package_fee telecom-10m 2026-10-01 9.90 0.000000000000",
            // G was given points back, and these are no money.
            "1-5 1-5 G package_fee telecom-10m 2026-11-20 9.90 0.000000000000",
        ]
    );
    // A file without lines has its number all the same; and each row of the ledger is in one of
    // them, charged or not.
    let second = issue(&engine, &day("2026-11-21")).await;
    let third = issue(&engine, &day("2026-11-22")).await;
    assert_eq!((told(&second).len(), told(&third).len(), third.seal.sequence), (0, 0, 3));
    let seals = [&issued.seal, &second.seal, &third.seal];
    let counted: u64 = seals.iter().flat_map(|seal| &seal.ledger).map(|sum| sum.rows).sum();
    let all = rows(&engine, "SELECT count(*) AS n FROM quota_ledger").await;
    assert_eq!(all[0]["n"], counted);
    assert!(seals[1].ledger.iter().all(|sum| sum.kind == "debit" && sum.rows == 1));

    // What is asked for again is given again.
    let again = issue(&engine, &day("2026-11-20")).await;
    assert_eq!((again.was_issued, issued.was_issued), (true, false));
    assert_eq!((&again.csv, &again.hash), (&issued.csv, &issued.hash));
    let reissued = PhoneBill::new(&engine).reissue(1).await.unwrap();
    assert_eq!(reissued.csv, issued.csv);
    assert_eq!(findings(&feed.store).await, "");

    for (scope, kind, words) in [
        (day("2026-11-24"), ErrorKind::Invalid, "2026-11-23 has no phone bill yet"),
        (day("2026-11-19"), ErrorKind::Invalid, "before the first phone bill"),
        (day("2027-01-01"), ErrorKind::Invalid, "is not over"),
        (month("2026-11"), ErrorKind::Invalid, "2026-11-30 has no daily phone bill"),
    ] {
        let said = refused(&engine, &scope, kind).await;
        assert!(said.contains(words), "{said}");
    }
    let missing = PhoneBill::new(&engine).reissue(4).await.unwrap_err();
    assert_eq!(missing.to_string(), "there is no phone bill 4; 3 are issued");

    // A is given 600,000 of 1.6 million used points back, and has its package cancelled: money comes
    // back for what is left of it, and A has paid for the million points that it keeps as used.
    let adjust = |id: &str, points_micro: i64, refund: bool| {
        json!({"command": "adjust", "id": id, "bucket": "buy-a", "points_micro": points_micro,
               "refund": refund, "reason": "complaint", "approver": "finance"})
    };
    let cancel = json!({"command": "cancel", "id": "end-a", "bucket": "buy-a"});
    feed.command("A", "2026-11-23T09:00:00+08:00", adjust("back-a", 600_000_000_000, false));
    feed.command("A", "2026-11-23T09:00:01+08:00", cancel);
    feed.command("A", "2026-11-23T09:00:02+08:00", adjust("money-a", -9_000_000_000_000, true));
    feed.close().await;
    feed.publish().await;
    let fourth = issue(&engine, &day("2026-11-23")).await;
    assert_eq!(told(&fourth), ["4-1 4-1 A refund telecom-10m 2026-11-23 -8.91 0.000000000000"]);
    let sql = "SELECT granted, used, remaining, paid, earned, unearned FROM quota.balance \
               WHERE bucket = 'buy-a'";
    let found = &rows(&engine, sql).await[0];
    let balance = ["granted", "used", "remaining", "paid", "earned", "unearned"]
        .map(|column| found[column].as_str().unwrap_or_default().trim_end_matches('0'));
    assert_eq!(balance, ["1000000.", "1000000.", "0.", "0.99", "0.99", "0."]);
    assert_eq!(findings(&feed.store).await, "");
}

/// A store with one account that pays as it goes, C, and what it uses.
struct Payg {
    feed: Feed,
    events: u32,
}

impl Payg {
    async fn begin() -> Self {
        let store: Store = Arc::new(InMemory::new());
        let reference = first_edition(&store).await;
        let mut feed = Feed::begin(store, 1, &settings(), &reference).await;
        let flags = json!({"region": "sh", "overflow": "sh-telecom-payg"});
        let set_flags = json!({"command": "set_flags", "id": "flags", "flags": flags});
        feed.command("C", "2026-11-20T00:00:00+08:00", set_flags);
        Self { feed, events: 0 }
    }

    /// Uses so many points; each costs four micro-yuan.
    fn uses(&mut self, at: &str, points: u32) {
        self.events += 1;
        let event = json!({"model": "glm-5", "usage": {"input": points}});
        self.feed.event("C", &format!("c-{}", self.events), at, event);
    }

    async fn published(&mut self) {
        self.feed.close().await;
        self.feed.publish().await;
    }
}

#[tokio::test]
async fn late_rows_are_on_the_next_file_with_their_own_date_and_no_fen_is_lost() {
    let mut world = Payg::begin().await;
    // 0.001344 yuan are less than half a fen; what comes on the 21st waits for its own file.
    world.uses("2026-11-20T10:00:00+08:00", 336);
    world.uses("2026-11-21T10:00:00+08:00", 1_000);
    world.published().await;
    let engine = engine_over(&world.feed.store).await;
    let first = issue(&engine, &day("2026-11-20")).await;
    assert_eq!(told(&first), ["1-1 1-1 C payg sh-telecom-payg 2026-11-20 0.00 0.001344000000"]);

    // 0.004 of the 20th come late, 0.004 are of the 21st: with what was carried 0.005344 round up
    // to 0.01, and the 0.004656 too much are taken off the next line.
    world.uses("2026-11-20T23:59:59.999+08:00", 1_000);
    world.published().await;
    let second = issue(&engine, &day("2026-11-21")).await;
    assert_eq!(
        told(&second),
        [
            "2-1 2-1 C payg sh-telecom-payg 2026-11-20 0.01 -0.004656000000",
            "2-2 2-2 C payg sh-telecom-payg 2026-11-21 0.00 -0.000656000000",
        ]
    );
    // Nothing on the 22nd; the remainder waits for the 23rd.
    let third = issue(&engine, &day("2026-11-22")).await;
    assert_eq!(told(&third), Vec::<String>::new());
    world.uses("2026-11-23T00:00:00+08:00", 2_500);
    world.published().await;
    let fourth = issue(&engine, &day("2026-11-23")).await;
    assert_eq!(told(&fourth), ["4-1 4-1 C payg sh-telecom-payg 2026-11-23 0.01 -0.000656000000"]);

    // 4,836 points are 0.019344 yuan: 0.02 are charged and 0.000656 carried.
    let sql = "SELECT CAST(sum(amount) AS VARCHAR) AS charged, CAST(sum(exact) AS VARCHAR) AS exact \
               FROM settlement.phone_bill_lines";
    let found = &rows(&engine, sql).await[0];
    assert_eq!((&found["charged"], &found["exact"]), (&json!("0.02"), &json!("0.019344000000")));
    assert_eq!(findings(&world.feed.store).await, "");

    // The month is their sums, and equal to what the ledger has of it.
    for of in 24..=30 {
        issue(&engine, &day(&format!("2026-11-{of}"))).await;
    }
    let month = issue(&engine, &month("2026-11")).await;
    assert_eq!(told(&month), ["12-1 12-1 C payg sh-telecom-payg 2026-11 0.02 -0.000656000000"]);
    let line = &lines(&month)[0];
    assert_eq!((line.rows, line.points.to_string()), (4, "-4836.000000".to_owned()));
    assert_eq!(findings(&world.feed.store).await, "");
    let summary = "SELECT status, count(*) AS n FROM settlement.phone_bill_lines GROUP BY status ORDER BY status";
    let found = rows(&engine, summary).await;
    assert_eq!(found, [json!({"status": "sent", "n": 4}), json!({"status": "summary", "n": 1})]);
}

#[tokio::test]
async fn rows_of_the_day_that_wait_for_publication_are_waited_for() {
    let mut world = Payg::begin().await;
    world.uses("2026-11-20T10:00:00+08:00", 336);
    world.feed.close().await;
    let engine = engine_over(&world.feed.store).await;
    let said = refused(&engine, &day("2026-11-20"), ErrorKind::Retry).await;
    assert!(said.contains("wait for their publication"), "{said}");
    assert!(objects(&world.feed.store).await.is_empty(), "a refusal left something behind");
    world.feed.publish().await;
    // Those of a later day are not.
    world.uses("2026-11-21T00:00:00+08:00", 336);
    world.feed.close().await;
    let issued = issue(&engine, &day("2026-11-20")).await;
    assert_eq!(told(&issued), ["1-1 1-1 C payg sh-telecom-payg 2026-11-20 0.00 0.001344000000"]);
    let said = refused(&engine, &day("2026-11-21"), ErrorKind::Retry).await;
    assert!(said.contains("committed rows of 2026-11-21"), "{said}");
}

/// R28: whatever of a file's objects a process left behind, the next one comes to the same bytes.
#[tokio::test]
async fn a_file_that_was_begun_is_finished_as_it_was_begun() {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let first = issue(&engine, &day("2026-11-20")).await;
    let text = answer(&first, &["3,rejected,no such account"]);
    assert_eq!(taken(&engine, &text).await, Ok(1));
    let before = copied(&feed.store).await;
    let second = issue(&engine, &day("2026-11-21")).await;
    assert_eq!(told(&second), ["2-1 1-3 C payg sh-telecom-payg 2026-11-20 1.00 0.000000000000"]);
    let whole = objects(&feed.store).await;
    let steps = ["plan.json", "csv", "remainders.csv", "json"]
        .map(|end| format!("phone-bill/{:020}.{end}", 2));
    for left in 1..=steps.len() {
        let store = copied(&before).await;
        for path in &steps[..left] {
            put(&store, path, whole[path].clone()).await;
        }
        // Rows and answers that came meanwhile are the next file's.
        let engine = engine_over(&store).await;
        let text = answer(&first, &["5,rejected,account closed"]);
        assert_eq!(taken(&engine, &text).await, Ok(2));
        // Asked for another file, it finishes this one first.
        let bills = PhoneBill::new(&engine);
        let third = bills.issue(&day("2026-11-22"), "somebody else", later(), "0.2").await.unwrap();
        assert_eq!(
            told(&third)[0],
            "3-1 1-5 G package_fee telecom-10m 2026-11-20 9.90 0.000000000000"
        );
        let after = objects(&store).await;
        for (path, bytes) in &whole {
            assert_eq!(after[path], *bytes, "{path} with {left} objects left behind");
        }
        assert_eq!(findings(&store).await, "");
    }
    // One that is there with other content stops it.
    let store = copied(&before).await;
    put(&store, &steps[0], whole[&steps[0]].clone()).await;
    put(&store, &steps[1], Bytes::from_static(b"H,tally-phone-bill,1\n")).await;
    let engine = engine_over(&store).await;
    let said = refused(&engine, &day("2026-11-21"), ErrorKind::Data).await;
    assert!(said.contains("is there with other content"), "{said}");
    assert!(!objects(&store).await.contains_key(&steps[3]));
}

/// R28: an answer, and the plan that counts it, come while the book is read.
#[tokio::test]
async fn an_answer_that_a_plan_counts_is_read_with_it() {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let first = issue(&engine, &day("2026-11-20")).await;
    assert_eq!(taken(&engine, &answer(&first, &["3,rejected,no such account"])).await, Ok(1));
    let store = copied(&feed.store).await;
    issue(&engine, &day("2026-11-21")).await;
    let whole = objects(&feed.store).await;
    let plan = format!("phone-bill/{:020}.plan.json", 2);
    put(&store, &plan, whole[&plan].clone()).await;
    let late =
        LateStore::new(Arc::clone(&store), &format!("phone-bill/returns/{:020}.json", 1), &plan);
    let engine = engine_over(&(Arc::new(late) as Store)).await;
    issue(&engine, &day("2026-11-21")).await;
    assert_eq!(objects(&store).await, whole);
}

#[tokio::test]
async fn many_that_issue_at_once_come_to_one_file() {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let scope = day("2026-11-20");
    let issuers = ["ann", "bob", "cam"].map(|by| {
        let (engine, scope) = (Arc::clone(&engine), scope.clone());
        tokio::spawn(async move {
            PhoneBill::new(&engine).issue(&scope, by, later(), "0.1").await.unwrap().hash
        })
    });
    let mut hashes = Vec::new();
    for issuer in issuers {
        hashes.push(issuer.await.unwrap());
    }
    hashes.dedup();
    assert_eq!(hashes.len(), 1, "{hashes:?}");
    assert_eq!(objects(&feed.store).await.len(), 4);
    assert_eq!(findings(&feed.store).await, "");
}

#[tokio::test]
async fn rejected_lines_come_again_until_they_are_accepted() {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let bills = PhoneBill::new(&engine);
    let first = issue(&engine, &day("2026-11-20")).await;
    let text = answer(
        &first,
        &["1,accepted,", "3,rejected,no such account", "5,rejected,\"closed, moved\""],
    );
    assert_eq!(taken(&engine, &text).await, Ok(1));
    // The same answer again is the same.
    assert_eq!(taken(&engine, &text).await, Ok(1));
    let waiting = bills.waiting(&bills.book().await.unwrap()).await.unwrap();
    let waits: Vec<String> =
        waiting.iter().map(|waiting| format!("{} {}", waiting.line.id, waiting.reason)).collect();
    assert_eq!(waits, ["1-3 no such account", "1-5 closed, moved"]);

    let before = objects(&feed.store).await;
    let other = issue(&engine, &day("2026-11-21")).await;
    for (text, words) in [
        (
            answer(&first, &["2,accepted,", "3,accepted,"]),
            "line 4: 1-3 was answered by return 1 already",
        ),
        (
            answer(&first, &["2,accepted,", "2,accepted,"]),
            "line 4: 1-2 was answered in line 3 already",
        ),
        (answer(&first, &["6,accepted,"]), "line 3: 1-6 is no line: phone bill 1 has 5"),
        (
            answer(&first, &["2,accepted,"])
                .replace(&first.seal.lines_hash, &other.seal.lines_hash),
            "line 1: the hash is not that of phone bill 1",
        ),
    ] {
        let said = taken(&engine, &text).await.unwrap_err();
        assert!(said.contains(words), "{said}");
    }
    let after = objects(&feed.store).await;
    assert!(
        after
            .keys()
            .filter(|path| path.contains("returns"))
            .eq(before.keys().filter(|path| path.contains("returns"))),
        "a refused answer left something behind"
    );

    assert_eq!(
        told(&other),
        [
            "2-1 1-3 C payg sh-telecom-payg 2026-11-20 1.00 0.000000000000",
            "2-2 1-5 G package_fee telecom-10m 2026-11-20 9.90 0.000000000000",
        ]
    );
    assert_eq!(
        (other.seal.lines_again, bills.waiting(&bills.book().await.unwrap()).await.unwrap().len()),
        (2, 0)
    );
    // Rejected once more, it says still where it stood first.
    let text = answer(&other, &["1,accepted,", "2,rejected,closed"]);
    assert_eq!(taken(&engine, &text).await, Ok(2));
    let third = issue(&engine, &day("2026-11-22")).await;
    assert_eq!(told(&third), ["3-1 1-5 G package_fee telecom-10m 2026-11-20 9.90 0.000000000000"]);

    let sql = "SELECT line, first_line, status, reason, again_in, comes_again FROM settlement.phone_bill_lines \
               WHERE account IN ('C', 'G') OR line = '1-1' ORDER BY sequence, line";
    let found = rows(&engine, sql).await;
    let row = |line: &str, first: &str, status: &str, reason: Value, again: Value| {
        json!({"line": line, "first_line": first, "status": status, "reason": reason,
               "again_in": again, "comes_again": line != first})
    };
    assert_eq!(
        found,
        [
            row("1-1", "1-1", "accepted", Value::Null, Value::Null),
            row("1-3", "1-3", "rejected", json!("no such account"), json!(2)),
            row("1-5", "1-5", "rejected", json!("closed, moved"), json!(2)),
            row("2-1", "1-3", "accepted", Value::Null, Value::Null),
            row("2-2", "1-5", "rejected", json!("closed"), json!(3)),
            row("3-1", "1-5", "sent", Value::Null, Value::Null),
        ]
    );
    // However often a line comes, it is charged once.
    let sql = "SELECT CAST(sum(amount) AS VARCHAR) AS due FROM settlement.phone_bill_lines WHERE status IN ('sent', 'accepted')";
    assert_eq!(rows(&engine, sql).await[0]["due"], "30.70");
    let sql = "SELECT sequence, lines, lines_again, accepted, rejected, CAST(day AS VARCHAR) AS day FROM settlement.phone_bill_files ORDER BY sequence";
    let found = rows(&engine, sql).await;
    assert_eq!(
        found[0],
        json!({"sequence": 1, "lines": 5, "lines_again": 0, "accepted": 1, "rejected": 2, "day": "2026-11-20"})
    );
    assert_eq!(
        found[1],
        json!({"sequence": 2, "lines": 2, "lines_again": 2, "accepted": 1, "rejected": 1, "day": "2026-11-21"})
    );
    assert_eq!(findings(&feed.store).await, "");
}

#[tokio::test]
async fn a_file_that_could_not_be_taken_is_replaced_whole() {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let first = issue(&engine, &day("2026-11-20")).await;
    let scope = BillScope::Correction { of: 1, reason: "could not be read".to_owned() };
    let second = issue(&engine, &scope).await;
    assert_eq!(told(&second)[2], "2-3 1-3 C payg sh-telecom-payg 2026-11-20 1.00 0.000000000000");
    assert_eq!(lines(&second).len(), lines(&first).len());
    let header = String::from_utf8(second.csv.to_vec()).unwrap();
    let header = header.lines().next().unwrap();
    assert!(
        header.contains(",2,correction,1,") && header.ends_with(&first.seal.lines_hash),
        "{header}"
    );
    assert!(issue(&engine, &scope).await.was_issued);
    let said = taken(&engine, &answer(&first, &["1,accepted,"])).await.unwrap_err();
    assert!(said.contains("phone bill 1 was replaced by phone bill 2"), "{said}");
    assert_eq!(taken(&engine, &answer(&second, &["3,rejected,no such account"])).await, Ok(1));
    let again = BillScope::Correction { of: 2, reason: "again".to_owned() };
    let said = refused(&engine, &again, ErrorKind::Invalid).await;
    assert!(said.contains("phone bill 2 was answered by return 1"), "{said}");
    let third = issue(&engine, &day("2026-11-21")).await;
    assert_eq!(told(&third), ["3-1 1-3 C payg sh-telecom-payg 2026-11-20 1.00 0.000000000000"]);
    let sql = "SELECT CAST(sum(amount) AS VARCHAR) AS due FROM settlement.phone_bill_lines WHERE status IN ('sent', 'accepted')";
    assert_eq!(rows(&engine, sql).await[0]["due"], "30.70");
    assert_eq!(findings(&feed.store).await, "");
}

#[tokio::test]
async fn edits_and_lost_rows_are_found() {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let first = issue(&engine, &day("2026-11-20")).await;
    issue(&engine, &day("2026-11-21")).await;
    taken(&engine, &answer(&first, &["1,accepted,"])).await.unwrap();
    taken(&engine, &answer(&first, &["2,accepted,"])).await.unwrap();
    let whole = objects(&feed.store).await;
    let path = |n: u64, end: &str| format!("phone-bill/{n:020}.{end}");
    for (of, from, to, words) in [
        (path(1, "csv"), ",9.90,", ",8.90,", "csv is not what was sealed"),
        (
            path(1, "remainders.csv"),
            "remainder",
            "remaindel",
            "remainders.csv is not what was sealed",
        ),
        (path(1, "plan.json"), "billing", "nobody!", "plan.json is not what was sealed"),
        (path(1, "json"), "billing", "nobody!", "checksum is not that of its content"),
        (
            "phone-bill/returns/00000000000000000001.json".to_owned(),
            "ann",
            "bob",
            "checksum is not",
        ),
    ] {
        let store = copied(&feed.store).await;
        let text = String::from_utf8(whole[&of].to_vec()).unwrap();
        let edited = text.replacen(from, to, 1);
        assert_ne!(edited, text, "{of}");
        put(&store, &of, Bytes::from(edited)).await;
        let found = findings(&store).await;
        assert!(found.contains(words), "{of}: {found}");
    }
    for (gone, words) in [(path(1, "csv"), "csv is gone"), (path(1, "json"), "json is gone")] {
        let store = copied(&feed.store).await;
        store.delete(&Path::from(gone.clone())).await.unwrap();
        let found = findings(&store).await;
        assert!(!found.is_empty() && found.contains(words), "{gone}: {found}");
    }
    // The same files over a ledger in which a row has one pico-yuan less, or is of another day.
    let less = spoilt(Some(|table, batch| match table {
        Table::QuotaLedger => changed_payg(batch, "amount", -1),
        _ => batch.clone(),
    }));
    let moved = spoilt(Some(|table, batch| match table {
        Table::QuotaLedger => changed_payg(batch, "at", 86_400_000_000),
        _ => batch.clone(),
    }));
    for (feed, words) in [
        (
            less.await,
            "payg in CNY: phone bills have 1 rows of 1.000000000000, quota_ledger has 1 of 0.999999999999",
        ),
        (moved.await, "phone bill 1: sealed rows "),
    ] {
        for (path, bytes) in &whole {
            put(&feed.store, path, bytes.clone()).await;
        }
        let found = findings(&feed.store).await;
        assert!(found.contains(words), "{found}");
    }
}

/// I6: whichever seals are gone. What was created after one shows that it was there.
#[tokio::test]
async fn a_seal_that_is_gone_is_found_and_no_file_follows() {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let first = issue(&engine, &day("2026-11-20")).await;
    taken(&engine, &answer(&first, &["3,rejected,no such account"])).await.unwrap();
    let second = issue(&engine, &day("2026-11-21")).await;
    taken(&engine, &answer(&second, &["1,rejected,closed"])).await.unwrap();
    let third = issue(&engine, &day("2026-11-22")).await;
    let path = |n: u64, end: &str| format!("phone-bill/{n:020}.{end}");
    let returned = |n: u64| format!("phone-bill/returns/{n:020}.json");
    let without = async |store: &Store, gone: &[String]| -> Store {
        let copy = copied(store).await;
        for path in gone {
            copy.delete(&Path::from(path.as_str())).await.unwrap();
        }
        copy
    };
    let refuses = async |store: &Store, words: &str| {
        let before = objects(store).await;
        let found = findings(store).await;
        assert!(found.contains(words), "{found}");
        let engine = engine_over(store).await;
        for of in ["2026-11-20", "2026-11-22", "2026-11-23"] {
            let said = refused(&engine, &day(of), ErrorKind::Data).await;
            assert!(said.contains(words), "{of}: {said}");
        }
        let said = taken(&engine, &answer(&first, &["2,accepted,"])).await.unwrap_err();
        assert!(said.contains(words), "{said}");
        assert_eq!(objects(store).await, before, "a refusal left something behind");
    };
    for gone in [&[1][..], &[2], &[1, 2], &[2, 3], &[1, 2, 3]] {
        let paths: Vec<String> = gone.iter().map(|n| path(*n, "json")).collect();
        let store = without(&feed.store, &paths).await;
        refuses(&store, &format!("{} is gone", paths[0])).await;
    }
    // The last one may have been interrupted: it is found, and written again as it was.
    let whole = objects(&feed.store).await;
    let store = without(&feed.store, &[path(3, "json")]).await;
    let found = findings(&store).await;
    assert!(found.contains("the file of phone bill 3 is there, and its seal is not"), "{found}");
    let over_the_copy = engine_over(&store).await;
    issue(&over_the_copy, &day("2026-11-22")).await;
    assert_eq!(objects(&store).await, whole);
    let store = without(&feed.store, &[path(3, "json"), path(3, "plan.json")]).await;
    let found = findings(&store).await;
    assert!(found.contains("the plan of phone bill 3 is gone"), "{found}");
    // No other plan is made in the place of the one that is gone, whatever of the file is left.
    let made = [path(3, "csv"), path(3, "remainders.csv")];
    for left in &made {
        let of_others = made.iter().filter(|other| *other != left).cloned().collect::<Vec<_>>();
        let store = without(&store, &of_others).await;
        let before = objects(&store).await;
        let engine = engine_over(&store).await;
        let said = refused(&engine, &day("2026-11-22"), ErrorKind::Data).await;
        let words = format!("{left} is there, and its plan {} is gone", path(3, "plan.json"));
        assert!(said.contains(&words), "{said}");
        assert_eq!(objects(&store).await, before, "a refusal left something behind");
    }
    // Brought back, they come to the file that it was.
    for end in ["plan.json", "json"] {
        let at = path(3, end);
        put(&store, &at, whole[&at].clone()).await;
    }
    let over_the_copy = engine_over(&store).await;
    issue(&over_the_copy, &day("2026-11-22")).await;
    assert_eq!(objects(&store).await, whole);
    // Not where the billing system has answered it.
    assert_eq!(taken(&engine, &answer(&third, &["1,accepted,"])).await, Ok(3));
    let store = without(&feed.store, &[path(3, "json")]).await;
    refuses(&store, "the seal of phone bill 3 is gone, which return 3 answers").await;
    // Answers: one that another follows, and one that a file counts.
    let store = without(&feed.store, &[returned(1)]).await;
    refuses(&store, &format!("{} is gone", returned(1))).await;
    let store = without(&feed.store, &[1, 2, 3].map(returned)).await;
    refuses(&store, "return 1 is gone, which phone bill 2 counts").await;
}

/// Rows of pay as you go with a number changed by as much.
fn changed_payg(
    batch: &arrow::array::RecordBatch,
    column: &str,
    by: i64,
) -> arrow::array::RecordBatch {
    use arrow::array::{Array, AsArray, Decimal128Array, TimestampMicrosecondArray};
    use arrow::compute::cast;
    use arrow::datatypes::{DataType, Decimal128Type, TimestampMicrosecondType};
    let kinds = cast(batch.column_by_name("kind").unwrap(), &DataType::Utf8).unwrap();
    let kinds = kinds.as_string::<i32>();
    let at = batch.schema().index_of(column).unwrap();
    let mut columns = batch.columns().to_vec();
    let data_type = columns[at].data_type().clone();
    let of = |row: usize| if kinds.value(row) == "payg" { by } else { 0 };
    columns[at] = match &data_type {
        DataType::Decimal128(..) => {
            let values = columns[at].as_primitive::<Decimal128Type>();
            let values = (0..values.len()).map(|row| values.value(row) + i128::from(of(row)));
            Arc::new(Decimal128Array::from_iter_values(values).with_data_type(data_type.clone()))
        }
        _ => {
            let values = columns[at].as_primitive::<TimestampMicrosecondType>();
            let values = (0..values.len()).map(|row| values.value(row) + of(row));
            Arc::new(TimestampMicrosecondArray::from_iter_values(values).with_timezone("UTC"))
        }
    };
    arrow::array::RecordBatch::try_new(batch.schema(), columns).unwrap()
}

#[tokio::test]
async fn clients_see_the_tables_with_comments() {
    let store: Store = Arc::new(InMemory::new());
    let engine = engine_over(&store).await;
    for table in ["phone_bill_files", "phone_bill_lines"] {
        let sql = format!("SELECT count(*) AS n FROM settlement.{table}");
        assert_eq!(rows(&engine, &sql).await[0]["n"], 0, "{sql}");
        let sql = format!(
            "SELECT count(*) AS n, count(comment) AS comments FROM system.columns \
             WHERE table_schema = 'settlement' AND table_name = '{table}'"
        );
        let found = &rows(&engine, &sql).await[0];
        assert_eq!(found["n"], found["comments"], "{table}");
        assert!(found["n"].as_u64().unwrap() > 15, "{table}");
    }
}

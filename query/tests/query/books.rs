//! The books as tables, over a month that two people closed: what SQL says of periods, statements,
//! adjustments, disputes and comparisons with bills.

use std::sync::Arc;

use serde_json::json;
use tally_query::{
    BooksTable, CloseOutcome, Format, HowResolved, NewAdjustment, NewDispute, QueryEngine,
    Settlement, SettlementTerms, TermsOrigin, parse_as_of, render_bytes,
};
use tally_reference::{FileOrigin, NewFiles, ReferenceKind, ReferenceStore, StoredFile, Whole};
use tally_settlement::{
    AdjustmentReason, Cents, ClassSum, CurrencySum, Decision, DifferingRequest, DifferingSide,
    LargeDifference, Payment, Period, Pico, PriceLists, Reconciled,
};

use crate::feed::{Feed, engine_over, ms, rows, worked_out};

/// Terms of the only vendor with usage in October.
pub(crate) const TERMS: &str = "[[terms]]\nid = \"zhipu-2026\"\nvendor = \"zhipu\"\nmodel_pattern = \"*\"\n\
    form = \"price_list\"\ncurrency = \"CNY\"\ntax_ppm = 60000\nrounding = \"half_up\"\n\
    minimum = \"20.00\"\ncarry_months = 3\nvalid_from = \"2026-01-01\"\nsource = \"contract 2026-17\"\n\
    tolerance = { qty_pct = \"0.1\", amt_pct = \"0.1\", amt_abs = \"1.00\", counts = \"ours\" }\n\
    [[fx]]\nfrom = \"USD\"\nto = \"CNY\"\nperiod = \"2026-10\"\nrate = \"7.1\"\ndate = \"2026-10-30\"\n\
    source = \"State Administration of Foreign Exchange\"\n";

fn october() -> Period {
    Period::parse("2026-10").unwrap()
}

pub(crate) async fn approved(feed: &Feed, terms: &str) -> Whole {
    let references = ReferenceStore::new(Arc::clone(&feed.store));
    let kind = ReferenceKind::Contract;
    let files = vec![StoredFile { name: "terms.toml".to_owned(), text: terms.to_owned() }];
    let new = NewFiles { kind, files, origin: FileOrigin::Written };
    let imported = references.import(&new, "lin", ms("2026-10-30T09:00:00+08:00")).await.unwrap();
    let (version, at_ms) = (imported.version.unwrap(), ms("2026-10-30T10:00:00+08:00"));
    references.approve(kind, version, "chen", at_ms).await.unwrap();
    references.newest_whole().await.unwrap()
}

fn compared() -> Reconciled {
    let pico = |fen: i128| Pico(fen * 10_000_000_000);
    Reconciled {
        vendor: "zhipu".into(),
        period: october(),
        bill: "zhipu-2026-10.csv".into(),
        bill_hash: "9c1b".into(),
        mapping: "records-csv".into(),
        bill_lines: 3,
        our_events: 1,
        differences: 2,
        disputed: 2,
        inside: false,
        totals: vec![CurrencySum {
            currency: "CNY".into(),
            ours: pico(3_600),
            theirs: pico(4_150),
            inside: false,
        }],
        classes: vec![ClassSum {
            class: "missing_at_ours".into(),
            currency: "CNY".into(),
            count: 2,
            difference: pico(550),
        }],
        largest: vec![not_ours(5, "r-3", 350), not_ours(4, "r-2", 200)],
    }
}

/// A line of the bill that we do not have.
fn not_ours(line: u64, request: &str, fen: i128) -> LargeDifference {
    let amount = Some(Pico(fen * 10_000_000_000));
    LargeDifference {
        class: Some("missing_at_ours".into()),
        detail: None,
        disputed: true,
        difference: amount,
        price_micro: None,
        request: Some(DifferingRequest {
            id: request.into(),
            bill_line: Some(line),
            event: None,
            price_ids: None,
        }),
        ours: None,
        theirs: Some(DifferingSide {
            day: "2026-10-21".parse().unwrap(),
            model: "glm-5".into(),
            service_tier: "standard".into(),
            counts: "input 500000".into(),
            amount,
            currency: "CNY".into(),
        }),
    }
}

/// What periods are settled by.
pub(crate) fn settled_by(whole: Whole) -> (SettlementTerms, PriceLists) {
    let mut prices = PriceLists::default();
    prices.add(&whole.book);
    for known_at_ms in whole.readings_ms() {
        prices.add_as_known(&whole.book, known_at_ms);
    }
    let origin = TermsOrigin::Approved(whole.edition.read_at(0).to_string());
    (SettlementTerms { contracts: whole.terms, origin }, prices)
}

/// Settles by terms that are approved now.
pub(crate) async fn settlement_by<'a>(
    feed: &Feed,
    engine: &'a QueryEngine,
    terms: &str,
) -> Settlement<'a> {
    let (settled_by, prices) = settled_by(approved(feed, terms).await);
    Settlement::new(engine, settled_by, prices)
}

/// The worked-out store with October closed: a refund on its statement, a payment, and a dispute
/// whose credit waits for an approval.
pub(crate) async fn settled() -> Feed {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let settlement = settlement_by(&feed, &engine, TERMS).await;
    let at = |time: &str| ms(&format!("{time}+08:00"));
    let new = NewAdjustment {
        vendor: "zhipu".into(),
        period: october(),
        terms: None,
        reason: AdjustmentReason::ComplaintRefund,
        amount: Cents(-100),
        orig_period: None,
        orig_line: None,
        note: "refund of ticket 4711".into(),
    };
    let proposed = settlement.propose(&new, "ann", at("2026-11-01T09:00:00")).await.unwrap();
    let decision = Decision { of: proposed.proposal.n, approve: true, note: String::new() };
    settlement.decide_adjustment(&decision, "bob", at("2026-11-01T10:00:00")).await.unwrap();
    let closed =
        settlement.close(october(), "ann", at("2026-11-03T09:00:00"), "0.1.0").await.unwrap();
    assert!(matches!(closed, CloseOutcome::InReview(_)), "{closed:?}");
    settlement.approve(october(), "bob", at("2026-11-05T09:00:00")).await.unwrap();
    let payment = Payment {
        period: october(),
        vendor: "zhipu".into(),
        paid_on: "2026-11-20".parse().unwrap(),
        reference: "BANK-7731".into(),
    };
    settlement.pay(&payment, "ann", at("2026-11-21T09:00:00")).await.unwrap();
    settlement.put_down(&compared(), "cam", at("2026-11-06T09:00:00")).await.unwrap();
    let dispute = NewDispute {
        reconciled: compared(),
        evidence: "77d0".into(),
        deadline: "2026-11-14".parse().unwrap(),
        note: "calls that nobody made".into(),
    };
    let opened = settlement.open_dispute(&dispute, "ann", at("2026-11-06T10:00:00")).await.unwrap();
    let how = HowResolved::Settled { credit: Cents(250), terms: None };
    let (n, note) = (opened.dispute.n, "half of it");
    let ended =
        settlement.resolve_dispute(n, &how, note, "ann", at("2026-11-12T09:00:00")).await.unwrap();
    assert_eq!(ended.state(), "settled");
    feed
}

#[tokio::test]
async fn every_table_of_the_books_has_rows_and_comments() {
    let feed = settled().await;
    let engine = engine_over(&feed.store).await;
    for table in BooksTable::ALL {
        let sql = format!("SELECT * FROM settlement.{}", table.name());
        let answer = engine.run(&sql, None, engine.limits()).await.unwrap();
        let names: Vec<String> =
            answer.schema.fields().iter().map(|field| field.name().clone()).collect();
        let schema = table.schema();
        let declared: Vec<String> =
            schema.fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, declared, "{sql}");
        let (_, batches) = answer.collect().await.unwrap();
        assert!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>() > 0, "{sql} is empty");
        let sql = format!(
            "SELECT count(*) AS n FROM system.columns WHERE table_schema = 'settlement' \
             AND table_name = '{}' AND comment <> ''",
            table.name()
        );
        assert_eq!(rows(&engine, &sql).await[0]["n"], declared.len(), "{sql}");
    }
}

#[tokio::test]
async fn an_empty_store_has_empty_books() {
    let store: Arc<dyn object_store::ObjectStore> = Arc::new(object_store::memory::InMemory::new());
    let engine = engine_over(&store).await;
    for table in BooksTable::ALL {
        let sql = format!("SELECT count(*) AS n FROM settlement.{}", table.name());
        assert_eq!(rows(&engine, &sql).await[0]["n"], 0, "{sql}");
    }
}

/// A bill of 36.4567 beside our 36, within the tolerance.
fn within() -> Reconciled {
    let pico = |ten_thousandths: i128| Pico(ten_thousandths * 100_000_000);
    let (ours, theirs) = (pico(360_000), pico(364_567));
    let totals = vec![CurrencySum { currency: "CNY".into(), ours, theirs, inside: true }];
    Reconciled { inside: true, disputed: 0, totals, ..compared() }
}

/// By terms that take the vendor's figure it is on the statement of the month, once somebody else
/// has approved it.
#[tokio::test]
async fn the_vendors_figure_counts_where_the_terms_say_so_and_two_people_do() {
    let at = |time: &str| ms(&format!("{time}+08:00"));
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let ours = settlement_by(&feed, &engine, TERMS).await;
    let now = at("2026-11-01T09:00:00");
    let refused = ours.check_theirs(&within(), None, now).await.unwrap_err().to_string();
    assert!(refused.contains("our figures count within the tolerance"), "{refused}");

    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let terms = TERMS.replace("\"ours\"", "\"theirs\"");
    let settlement = settlement_by(&feed, &engine, &terms).await;
    let of_usd = CurrencySum { currency: "USD".into(), ..within().totals[0].clone() };
    for (words, bad, named) in [
        ("is outside of the tolerance", compared(), None),
        ("pay by price list in USD", Reconciled { totals: vec![of_usd], ..within() }, None),
        ("pay by price list in CNY", within(), Some("zhipu-2025")),
    ] {
        let refused = settlement.check_theirs(&bad, named, now).await.unwrap_err().to_string();
        assert!(refused.contains(words), "{refused}");
    }
    settlement.check_theirs(&within(), None, now).await.unwrap();
    let put_down = settlement.put_down(&within(), "cam", now).await.unwrap();
    let proposed = settlement.propose_theirs(&put_down, None, "cam", now).await.unwrap();
    let [state] = &proposed[..] else { panic!("{proposed:?}") };
    assert_eq!((state.state(), state.proposal.what.amount), ("proposed", Cents(46)));
    assert_eq!(state.proposal.what.orig_period, None);
    // The same again is found; another amount of the month is refused.
    let again = settlement.put_down(&within(), "cam", now).await.unwrap();
    assert_eq!(settlement.propose_theirs(&again, None, "ann", now).await.unwrap(), proposed);
    let mut other = within();
    other.totals[0].theirs = Pico(37_000_000_000_000);
    let refused = settlement.check_theirs(&other, None, now).await.unwrap_err().to_string();
    assert!(refused.contains("is proposed as ADJ-000001 already"), "{refused}");
    let other = settlement.put_down(&other, "cam", now).await.unwrap();
    let refused = settlement.propose_theirs(&other, None, "cam", now).await.unwrap_err();
    assert!(refused.to_string().contains("is proposed as ADJ-000001 already"), "{refused}");
    // What comes to nothing is not proposed.
    let mut nothing = within();
    nothing.totals[0].theirs = Pico(36_004_999_999_999);
    let nothing = settlement.put_down(&nothing, "cam", now).await.unwrap();
    let proposed_of = settlement.propose_theirs(&nothing, None, "cam", now).await.unwrap();
    assert!(proposed_of.is_empty(), "{proposed_of:?}");

    let decision = Decision { of: state.proposal.n, approve: true, note: String::new() };
    settlement.decide_adjustment(&decision, "Cam", now).await.unwrap_err();
    settlement.decide_adjustment(&decision, "bob", now).await.unwrap();
    settlement.close(october(), "ann", at("2026-11-03T09:00:00"), "0.1.0").await.unwrap();
    settlement.approve(october(), "bob", at("2026-11-05T09:00:00")).await.unwrap();
    let found = rows(
        &engine,
        "SELECT (SELECT net FROM settlement.statements) AS net, reason, net AS adjusted, \
         (SELECT note FROM settlement.adjustments) AS note \
         FROM settlement.statement_lines WHERE kind = 'adjustment'",
    )
    .await;
    let expected = json!({"net": "36.460000000000", "reason": "volume_correction",
        "adjusted": "0.460000000000",
        "note": "the vendor's figure counts: zhipu-2026-10.csv for 2026-10, 9c1b"});
    assert_eq!(found, [expected]);
    // It stands, whoever compares the bill again.
    let late = at("2026-11-08T09:00:00");
    let standing = settlement.propose_theirs(&put_down, None, "cam", late).await.unwrap();
    assert_eq!(standing[0].state(), "on_statement");
}

/// Whatever people post, for whichever reason, is on the statement once and proved.
#[tokio::test]
async fn every_reason_that_people_post_is_on_the_statement() {
    let feed = worked_out().await;
    let engine = engine_over(&feed.store).await;
    let settlement = settlement_by(&feed, &engine, TERMS).await;
    let at = ms("2026-11-03T09:00:00+08:00");
    // A re-rate is proposed with its lines, by a command of its own.
    let posted =
        |reason: &AdjustmentReason| reason.is_posted() && *reason != AdjustmentReason::ReRate;
    let reasons: Vec<AdjustmentReason> = AdjustmentReason::ALL.into_iter().filter(posted).collect();
    assert!(reasons.contains(&AdjustmentReason::FxDifference));
    assert!(reasons.contains(&AdjustmentReason::SuspenseWriteOff));
    let mut expected = Vec::new();
    for (cents, reason) in (1..).zip(&reasons) {
        let new = NewAdjustment {
            vendor: "zhipu".into(),
            period: october(),
            terms: None,
            reason: *reason,
            amount: Cents(if cents % 2 == 0 { -cents } else { cents }),
            orig_period: None,
            orig_line: None,
            note: format!("because of {}", reason.name()),
        };
        let n = settlement.propose(&new, "ann", at).await.unwrap().proposal.n;
        let decision = Decision { of: n, approve: true, note: String::new() };
        settlement.decide_adjustment(&decision, "bob", at).await.unwrap();
        let note = format!("because of {}", reason.name());
        expected.push(json!({"reason": reason.name(), "net": format!("{}0000000000", new.amount),
            "state": "on_statement", "note": note}));
    }
    settlement.close(october(), "ann", at, "0.1.0").await.unwrap();
    settlement.approve(october(), "bob", at).await.unwrap();
    let found = rows(
        &engine,
        "SELECT l.reason, l.net, a.state, a.note FROM settlement.statement_lines l \
         JOIN settlement.adjustments a ON a.adjustment = l.line_id ORDER BY a.adjustment",
    )
    .await;
    assert_eq!(found, expected);
    // 1 - 2 + 3 - 4 + 5 - 6 + 7 hundredths beside 36.00.
    assert_eq!(reasons.len(), 7);
    let net = rows(&engine, "SELECT net FROM settlement.statements").await;
    assert_eq!(net, [json!({"net": "36.040000000000"})]);
    let report =
        tally_query::verify(&engine, &tally_query::VerifyOptions::default()).await.unwrap();
    let failed: Vec<_> = report.checks.iter().filter(|check| !check.ok).collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

/// 6,000,000 tokens at 6 yuan a million are 36.00, less 1.00, with 6 % of tax on it.
#[tokio::test]
async fn the_books_say_what_was_sealed() {
    let feed = settled().await;
    let engine = engine_over(&feed.store).await;
    let found = rows(
        &engine,
        "SELECT period, state, reviewed_by, decided_by, statements, seal, events FROM settlement.periods \
         WHERE reviewed_by IS NOT NULL",
    )
    .await;
    let expected = json!({"period": "2026-10", "state": "settled", "reviewed_by": "ann",
        "decided_by": "bob", "statements": 1, "seal": 0, "events": 1});
    assert_eq!(found, [expected]);
    let found = rows(
        &engine,
        "SELECT vendor, net, tax, gross, paid_on, payment_reference FROM settlement.statements",
    )
    .await;
    let expected = json!({"vendor": "zhipu", "net": "35.000000000000", "tax": "2.100000000000",
        "gross": "37.100000000000", "paid_on": "2026-11-20", "payment_reference": "BANK-7731"});
    assert_eq!(found, [expected]);
    let found = rows(
        &engine,
        "SELECT kind, model, class, units, listed, net, reason FROM settlement.statement_lines ORDER BY kind DESC",
    )
    .await;
    assert_eq!(found.len(), 2, "{found:?}");
    assert_eq!(
        found[0],
        json!({"kind": "line", "model": "glm-5", "class": "input", "units": 6_000_000,
               "listed": "36.000000000000", "net": "36.000000000000", "reason": null})
    );
    let payable =
        "SELECT model, units, net, gross FROM settlement.vendor_payable ORDER BY net DESC";
    let found = rows(&engine, payable).await;
    let expected = json!({"model": "glm-5", "units": 6_000_000, "net": "36.000000000000",
        "gross": "38.160000000000"});
    assert_eq!(found[0], expected);
    let found = rows(
        &engine,
        "SELECT adjustment, state, period, amount, proposed_by, decided_by, dispute FROM settlement.adjustments ORDER BY 1",
    )
    .await;
    let on_statement = json!({"adjustment": "ADJ-000000", "state": "on_statement",
        "period": "2026-10", "amount": "-1.000000000000", "proposed_by": "ann", "decided_by": "bob",
        "dispute": null});
    let waits = json!({"adjustment": "ADJ-000007", "state": "proposed", "period": null,
        "amount": "-2.500000000000", "proposed_by": "ann", "decided_by": null,
        "dispute": "DSP-000006"});
    assert_eq!(found, [on_statement, waits]);
    let found = rows(
        &engine,
        "SELECT contract_id, applies_to, figures, minimum, valid_from, approved_by, version \
         FROM settlement.contracts WHERE applies_to = 'settlement'",
    )
    .await;
    let expected = json!({"contract_id": "zhipu-2026", "applies_to": "settlement",
        "figures": "by price list", "minimum": "20.000000", "valid_from": "2025-12-31T16:00:00Z",
        "approved_by": "chen", "version": 1});
    assert_eq!(found, [expected]);
}

#[tokio::test]
async fn verify_proves_that_an_adjustment_is_on_exactly_one_statement() {
    let feed = settled().await;
    let engine = engine_over(&feed.store).await;
    let report =
        tally_query::verify(&engine, &tally_query::VerifyOptions::default()).await.unwrap();
    let of_books: Vec<_> =
        report.checks.iter().filter(|check| check.what.contains("adjustment")).collect();
    assert_eq!(of_books.len(), 1);
    assert!(of_books[0].ok, "{:?}", of_books[0]);
    assert_eq!(of_books[0].looked_at, "1 on statements, 0 wait for the next close");
    let people: Vec<_> = report
        .checks
        .iter()
        .filter(|check| check.what.contains("four eyes") || check.what.contains("approved"))
        .collect();
    assert!(people.len() == 3 && people.iter().all(|check| check.ok), "{people:?}");
}

/// Every line of a sealed statement, walked down to its events and added up again.
#[tokio::test]
async fn a_line_is_exactly_its_events() {
    let feed = settled().await;
    let engine = engine_over(&feed.store).await;
    let whole = ReferenceStore::new(Arc::clone(&feed.store)).newest_whole().await.unwrap();
    let mut prices = PriceLists::default();
    prices.add(&whole.book);
    let origin = TermsOrigin::Approved(whole.edition.read_at(0).to_string());
    let by = SettlementTerms { contracts: whole.terms, origin };
    let settlement = Settlement::new(&engine, by, prices);
    let now = ms("2026-11-22T09:00:00+08:00");
    let issued = settlement.statement("zhipu", october(), now).await.unwrap();
    let lines: Vec<_> = issued.statement.sections.iter().flat_map(|s| &s.lines).collect();
    assert!(!lines.is_empty());
    for line in lines {
        let found = settlement.line_events("zhipu", october(), &line.id, now).await.unwrap();
        assert_eq!(found.line, *line);
        let (_, batches) = found.rows(&engine, None).await.unwrap().collect().await.unwrap();
        let events: usize = batches.iter().map(|batch| batch.num_rows()).sum();
        assert_eq!(events, usize::try_from(found.events).unwrap());
        let sql = format!(
            "SELECT CAST(sum(units) AS BIGINT) AS units, count(DISTINCT id) AS events FROM ({})",
            found.sql
        );
        let sum = &rows(&engine, &sql).await[0];
        assert_eq!(sum["units"].to_string().trim_matches('"'), line.units.to_string());
        assert_eq!(sum["events"], found.events);
        let (_, first) = found.rows(&engine, Some(1)).await.unwrap().collect().await.unwrap();
        assert_eq!(first.iter().map(|batch| batch.num_rows()).sum::<usize>(), 1);
    }
    let error = settlement.line_events("zhipu", october(), "L0", now).await.unwrap_err();
    assert!(error.to_string().contains("has no line \"L0\""), "{error}");
}

/// The books as they were known at a time, on one engine: what it prepared for one time is not shown
/// for another.
#[tokio::test]
async fn the_books_are_read_as_they_were_known() {
    let feed = settled().await;
    let engine = engine_over(&feed.store).await;
    let ask = async |sql: &str, at: Option<&str>| -> serde_json::Value {
        let as_of = at.map(|at| parse_as_of(&format!("{at}+08:00")).unwrap());
        let answer = engine.run(sql, as_of, engine.limits()).await.unwrap();
        let (schema, batches) = answer.collect().await.unwrap();
        let bytes = render_bytes(Format::Json, schema, &batches).unwrap();
        serde_json::from_slice(&bytes).unwrap()
    };
    let states = "SELECT (SELECT min(state) FROM settlement.periods WHERE reviewed_by IS NOT NULL) AS period, \
        (SELECT min(state) FROM settlement.adjustments WHERE reason = 'complaint_refund') AS refund, \
        (SELECT min(state) FROM settlement.statements) AS statement, \
        (SELECT min(state) FROM settlement.disputes) AS dispute, \
        (SELECT count(*) FROM settlement.reconciliation) AS compared, \
        (SELECT count(*) FROM settlement.reconciliation_classes) AS classes, \
        (SELECT count(*) FROM settlement.reconciliation_differences) AS differences, \
        (SELECT count(*) FROM settlement.contracts WHERE contract_id = 'zhipu-2026') AS terms, \
        (SELECT count(*) FROM settlement.fx_rates) AS rates";
    let now = json!([{"period": "settled", "refund": "on_statement", "statement": "settled",
        "dispute": "settled", "compared": 1, "classes": 1, "differences": 2, "terms": 1,
        "rates": 1}]);
    assert_eq!(ask(states, None).await, now);
    for (at, period, refund, statement, dispute, compared, terms) in [
        ("2026-10-30T09:30:00", None, None, None, None::<&str>, 0, 0),
        ("2026-10-30T10:00:00", None, None, None, None, 0, 1),
        ("2026-11-01T09:00:00", None, Some("proposed"), None, None, 0, 1),
        ("2026-11-02T00:00:00", None, Some("approved"), None, None, 0, 1),
        ("2026-11-04T00:00:00", Some("review"), Some("approved"), None, None, 0, 1),
        ("2026-11-05T09:00:00", Some("closed"), Some("on_statement"), Some("closed"), None, 0, 1),
    ] {
        let expected = json!([{"period": period, "refund": refund, "statement": statement,
            "dispute": dispute, "compared": compared, "classes": compared,
            "differences": 2 * compared, "terms": terms, "rates": terms}]);
        assert_eq!(ask(states, Some(at)).await, expected, "{at}");
    }
    assert_eq!(ask(states, None).await, now);
    // What took the place of a price later had not yet.
    let prices = "SELECT count(*) AS versions, count(superseded_at) AS superseded FROM \
        settlement.price_book WHERE price_id = 'deepseek-v4-pro.input.list'";
    for (at, versions, superseded) in [
        (Some("2026-04-23T23:59:59"), 0, 0),
        (Some("2026-04-24T00:00:00"), 1, 0),
        (Some("2026-04-26T20:15:00"), 2, 1),
        (None, 2, 1),
    ] {
        let expected = json!([{"versions": versions, "superseded": superseded}]);
        assert_eq!(ask(prices, at).await, expected, "{at:?}");
    }
}

/// Months that nobody closed: after the last seal, and before there is one from the first usage on.
#[tokio::test]
async fn months_that_are_not_closed_have_a_row_too() {
    let month = |text: &str| Period::parse(text).unwrap();
    let now_ms = jiff::Timestamp::now().as_millisecond();
    // Whatever the clock says: usage of November is there.
    let expected = |first: &str| {
        let mut rows = Vec::new();
        let mut period = month(first);
        while period <= month("2026-11") || period.end_ms() <= now_ms || rows.is_empty() {
            let state = if now_ms < period.end_ms() { "open" } else { "soft_closed" };
            rows.push(json!({"period": period.to_string(), "state": state, "reviewed_by": null,
                "seal": null, "statements": null}));
            period = period.next();
        }
        if now_ms >= month("2026-11").end_ms() {
            rows.push(json!({"period": period.to_string(), "state": "open", "reviewed_by": null,
                "seal": null, "statements": null}));
        }
        rows
    };
    let sql = "SELECT period, state, reviewed_by, seal, statements FROM settlement.periods ORDER BY period";
    let engine = engine_over(&worked_out().await.store).await;
    assert_eq!(rows(&engine, sql).await, expected("2026-10"));
    let engine = engine_over(&settled().await.store).await;
    let mut found = rows(&engine, sql).await;
    assert_eq!(found.remove(0)["state"], "settled");
    assert_eq!(found, expected("2026-11"));
}

/// Usage of a sealed month that is committed after its seal is on no statement yet: it is accrued,
/// each currency by itself.
#[tokio::test]
async fn late_usage_of_a_sealed_month_is_open() {
    let mut feed = settled().await;
    let late = "2026-10-15T10:00:00+08:00";
    let glm = json!({"model": "glm-5", "usage": {"input": 500_000}});
    feed.event("F", "late-1", late, glm);
    let claude = json!({"model": "claude-opus", "usage": {"input": 100_000}});
    feed.event("F", "late-2", late, claude);
    feed.close().await;
    feed.publish().await;
    let engine = engine_over(&feed.store).await;
    let sql = "SELECT vendor, currency, statement, state, events, wholesale_amount \
        FROM settlement.accrual WHERE month = DATE '2026-10-01' ORDER BY vendor, statement";
    let row = |vendor: &str, currency: &str, statement: Option<&str>, state: &str, amount: &str| {
        json!({"vendor": vendor, "currency": currency, "statement": statement, "state": state,
            "events": 1, "wholesale_amount": amount})
    };
    let expected = [
        row("anthropic", "USD", None, "open", "0.500000000000"),
        row("zhipu", "CNY", Some("2026-10"), "settled", "36.000000000000"),
        row("zhipu", "CNY", None, "open", "3.000000000000"),
    ];
    assert_eq!(rows(&engine, sql).await, expected);
    // November is on no statement, though the seal of October knows its epochs.
    let sql =
        "SELECT DISTINCT state, statement FROM settlement.accrual WHERE month = DATE '2026-11-01'";
    assert_eq!(rows(&engine, sql).await, [json!({"state": "open", "statement": null})]);
    // What is open and what is closed is all that there is.
    let sql = "SELECT (SELECT CAST(sum(events) AS BIGINT) FROM settlement.accrual) AS accrued, \
        (SELECT count(*) FROM usage_events) AS stored";
    let found = &rows(&engine, sql).await[0];
    assert_eq!(found["accrued"], found["stored"], "{found}");
}

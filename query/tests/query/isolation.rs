//! A vendor finds out nothing of others: not from rows, not from errors, not from plans.
//!
//! Thousands of statements by chance are asked as a vendor in two stores that differ in nothing but
//! the rows of others. What comes back has to be the same, to the letter where the order is not left
//! open. And rows have to be those that somebody who sees everything gets from the vendor's part.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tally_access::Caller;
use tally_query::{QueryEngine, QueryError};

use crate::canaries::{CANARY, CANARY_DIGITS, OWN, caller, config, engine};
use crate::isolation_queries::{Asked, Form, Generator, TABLES};

const SEED: u64 = 8_110_503;

fn is_soak() -> bool {
    std::env::var("TALLY_SOAK").is_ok_and(|soak| soak == "1")
}

/// Statements by chance; ten times as many with `TALLY_SOAK=1`.
fn statements() -> usize {
    if is_soak() { 20_000 } else { 2_000 }
}

/// What came back: rows as texts, in order, or an error.
type Outcome = Result<Vec<String>, QueryError>;

async fn ask(engine: &QueryEngine, caller: &Caller, sql: &str) -> Outcome {
    let answer = engine.run_as(caller, sql, None, engine.limits()).await?;
    let (schema, batches) = answer.collect().await?;
    let mut rows = vec![schema.fields().iter().map(|f| f.name().clone()).collect::<String>()];
    for batch in &batches {
        let columns: Vec<_> = batch
            .columns()
            .iter()
            .map(|column| {
                arrow::util::display::ArrayFormatter::try_new(column, &Default::default()).unwrap()
            })
            .collect();
        for row in 0..batch.num_rows() {
            let cells: Vec<String> = columns.iter().map(|c| c.value(row).to_string()).collect();
            rows.push(cells.join("|"));
        }
    }
    Ok(rows)
}

fn text_of(outcome: &Outcome) -> String {
    match outcome {
        Ok(rows) => rows.join("\n"),
        Err(error) => error.to_string(),
    }
}

fn sorted(outcome: &Outcome) -> Option<Vec<String>> {
    let mut rows = outcome.as_ref().ok()?.clone();
    rows.sort();
    Some(rows)
}

/// Numbers of rows in a plan that was run; its times are never the same.
fn output_rows(plan: &str) -> Vec<String> {
    plan.split("output_rows=")
        .skip(1)
        .map(|rest| rest.chars().take_while(|c| !matches!(c, ',' | ']')).collect())
        .collect()
}

/// The words of a plan, sorted and without positions of columns. In which order a join has its keys
/// is chance: the planner keeps them in a hash table.
fn words_of(plan: &str) -> Vec<String> {
    let no_word = |c: char| !(c.is_alphanumeric() || matches!(c, '_' | '@' | '.' | '-' | '#'));
    let mut words: Vec<String> = plan
        .split(no_word)
        .map(|word| word.split('@').next().unwrap_or_default().to_owned())
        .collect();
    words.sort();
    words
}

/// Whether a text has something of others in it. What the statement itself says may come back; then
/// the comparison of the two stores decides.
fn canary_in(text: &str, sql: &str) -> Option<String> {
    let text = text.to_ascii_lowercase();
    let words = [CANARY, "yranac", CANARY_DIGITS, "qza", "qzb", "gpt-5", "claude", "glm-5"];
    let said = |word: &str| match word {
        "yranac" => sql.contains(CANARY),
        word => sql.contains(word),
    };
    let mut found = words.into_iter().filter(|word| text.contains(word) && !said(word));
    found.next().map(|word| format!("{word} in {text}"))
}

/// The vendor's part of each table, for somebody who sees everything.
async fn parts(vendor: &QueryEngine) -> Vec<(String, String)> {
    let mut parts = Vec::new();
    for (stand_in, table) in TABLES {
        let sql = format!("SELECT * FROM {table} LIMIT 0");
        let as_vendor = caller(&format!("vendor:{OWN}"));
        let answer = vendor.run_as(&as_vendor, &sql, None, vendor.limits()).await.unwrap();
        let columns: Vec<String> =
            answer.schema.fields().iter().map(|field| field.name().clone()).collect();
        let also = match table {
            "settlement.price_book" => " AND side = 'wholesale'",
            "settlement.adjustments" => " AND state = 'on_statement'",
            _ => "",
        };
        parts.push((
            stand_in.to_owned(),
            format!("SELECT {} FROM {table} WHERE vendor = '{OWN}'{also}", columns.join(", ")),
        ));
    }
    parts
}

#[derive(Debug, Default)]
struct Seen {
    rows: usize,
    not_empty: usize,
    errors: usize,
    /// Errors that name a value of the vendor's own.
    telling: usize,
    plans: usize,
    /// Plans that have the same words in another order.
    reordered: usize,
    hidden: usize,
    proved: usize,
}

impl Seen {
    /// What was asked, appended to `TALLY_FIGURES` where that is set, as the fault tests do.
    fn report(&self, statements: usize, began: Instant) {
        let Some(path) = std::env::var_os("TALLY_FIGURES") else { return };
        let day = Timestamp::now().strftime("%Y-%m-%d").to_string();
        let line = json!({"test": "vendor isolation", "seed": SEED,
            "counts": if is_soak() { "full" } else { "small" }, "day": day, "statements": statements,
            "with_rows": self.not_empty, "proved_by_hand": self.proved, "errors": self.errors,
            "plans": self.plans, "hidden_columns": self.hidden,
            "elapsed_s": began.elapsed().as_secs()});
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
        writeln!(file, "{line}").unwrap();
    }
}

struct Two {
    /// The store with others.
    full: Arc<QueryEngine>,
    /// The store without.
    alone: Arc<QueryEngine>,
    vendor: Caller,
    finance: Caller,
    parts: Vec<(String, String)>,
}

impl Two {
    async fn new() -> Self {
        let (full, alone) = (engine(true, config()).await, engine(false, config()).await);
        let parts = parts(&full).await;
        let vendor = caller(&format!("vendor:{OWN}"));
        Self { full, alone, vendor, finance: caller("finance"), parts }
    }

    async fn check(&self, asked: &Asked, seen: &mut Seen) {
        let sql = asked.as_vendor();
        let with = ask(&self.full, &self.vendor, &sql).await;
        let without = ask(&self.alone, &self.vendor, &sql).await;
        for outcome in [&with, &without] {
            if let Some(found) = canary_in(&text_of(outcome), &sql) {
                panic!("{sql}\n{found}");
            }
        }
        match (&with, &without) {
            (Ok(left), Ok(right)) if asked.form == Form::ExplainAnalyze => {
                let (left, right) = (output_rows(&left.join("\n")), output_rows(&right.join("\n")));
                assert_eq!(left, right, "{sql}");
                seen.plans += 1;
            }
            (Ok(left), Ok(right)) if asked.form != Form::Rows => {
                if left != right {
                    assert_eq!(words_of(&left.join("\n")), words_of(&right.join("\n")), "{sql}");
                    seen.reordered += 1;
                }
                seen.plans += 1;
            }
            (Ok(left), Ok(_)) => {
                assert_eq!(sorted(&with), sorted(&without), "{sql}");
                seen.rows += 1;
                seen.not_empty += usize::from(left.len() > 1);
            }
            (Err(left), Err(right)) => {
                assert_eq!(left.kind(), right.kind(), "{sql}\n{left}\n{right}");
                // Which of its own values an expression fails on first is left open: files are read
                // by size. What cannot be planned says the same in both.
                if asked.hidden || matches!(asked.form, Form::Explain | Form::ExplainVerbose) {
                    assert_eq!(left.to_string(), right.to_string(), "{sql}");
                }
                seen.errors += 1;
                let text = left.to_string();
                let own = ["deepseek", "req-p", "900719925474099", "stop", "length"];
                seen.telling += usize::from(own.iter().any(|word| {
                    text.contains(&format!("'{word}")) || text.contains(&format!("{word} *"))
                }));
            }
            _ => panic!("{sql}\nwith others {}\nwithout {}", text_of(&with), text_of(&without)),
        }
        if asked.hidden {
            seen.hidden += 1;
        } else if asked.form == Form::Rows && with.is_ok() {
            let by_hand = ask(&self.full, &self.finance, &asked.over(&self.parts)).await;
            // A rewritten statement may meet an error on rows that the vendor's never meets, and
            // that is not the vendor's to know.
            if by_hand.is_ok() {
                assert_eq!(sorted(&with), sorted(&by_hand), "{sql}");
                seen.proved += 1;
            }
        }
    }
}

#[tokio::test]
async fn thousands_of_statements_tell_a_vendor_nothing_of_others() {
    println!("seed {SEED}");
    let began = Instant::now();
    let two = Two::new().await;
    let mut random = ChaCha8Rng::seed_from_u64(SEED);
    let mut seen = Seen::default();
    let statements = statements();
    for _ in 0..statements {
        let asked = Generator::new(&mut random).statement();
        two.check(&asked, &mut seen).await;
    }
    println!("{seen:?}");
    // The statements have to be such that something could be found out.
    assert!(seen.not_empty > statements / 5, "{seen:?}");
    assert!(seen.errors > statements / 20, "{seen:?}");
    assert!(seen.telling > 20, "{seen:?}");
    assert!(seen.plans > statements / 20, "{seen:?}");
    assert!(seen.reordered < seen.plans / 10, "{seen:?}");
    assert!(seen.hidden > 20, "{seen:?}");
    assert!(seen.proved > statements / 5, "{seen:?}");
    seen.report(statements, began);
}

/// Statements that somebody would write who wants to know.
#[tokio::test]
async fn what_an_attacker_asks_is_answered_as_if_there_were_no_others() {
    let two = Two::new().await;
    for sql in [
        // Errors that name a value, kept away from own rows.
        "SELECT count(*) FROM usage_events WHERE vendor <> 'deepseek' AND CAST(model AS BIGINT) = 1",
        "SELECT * FROM usage_events WHERE CASE WHEN vendor = 'zhipu' THEN 1 / (input - input) ELSE 1 END = 1",
        "SELECT sum(CASE WHEN vendor <> 'deepseek' THEN CAST(model AS BIGINT) ELSE 0 END) FROM usage_events",
        "SELECT * FROM usage_events WHERE vendor LIKE 'can%' OR CAST(vendor AS DATE) = DATE '2026-01-01'",
        "SELECT CAST(max(model) AS BIGINT) FROM usage_events WHERE model > 'canary'",
        // Files: days that only others have, by their partition and by statistics.
        "SELECT 1 / (CAST(day AS INT) - CAST(DATE '2026-11-25' AS INT)) FROM usage_events WHERE 1 / (CAST(day AS INT) - CAST(DATE '2026-11-25' AS INT)) = 0",
        "SELECT count(*) FROM usage_events WHERE day = DATE '2026-11-25'",
        "SELECT count(*), min(day), max(day), min(input), max(input) FROM usage_events",
        "EXPLAIN SELECT count(*), min(day), max(input) FROM usage_events",
        "EXPLAIN VERBOSE SELECT * FROM usage_events WHERE day > DATE '2026-11-24'",
        "EXPLAIN ANALYZE SELECT count(*) FROM usage_events WHERE input > 7000000",
        "EXPLAIN FORMAT TREE SELECT * FROM usage_events JOIN usage_by_model USING (model)",
        // The catalog.
        "SELECT table_schema, table_name FROM information_schema.tables ORDER BY 1, 2",
        "SELECT table_name, column_name FROM information_schema.columns ORDER BY 1, 2",
        "SELECT * FROM information_schema.views",
        "SELECT relname, reltuples, relpages FROM pg_catalog.pg_class ORDER BY 1",
        "SELECT attname FROM pg_catalog.pg_attribute ORDER BY 1",
        "SELECT * FROM pg_catalog.pg_roles",
        "SHOW TABLES",
        "SHOW COLUMNS FROM usage_events",
        // Names that could mean something else.
        "SELECT count(*) FROM tally.public.usage_events",
        "SELECT count(*) FROM PUBLIC.USAGE_EVENTS",
        "SELECT * FROM public.suspense",
        "SELECT account FROM usage_events",
        "SELECT usage_events.account FROM usage_events",
        "SELECT count(a), count(c) FROM usage_events AS t (a, b, c)",
        "SELECT row_to_json(usage_events) FROM usage_events",
        "SELECT count(*) FROM usage_events AS o WHERE EXISTS (SELECT 1 FROM usage_events AS i WHERE i.account = o.account)",
        // Prices and contracts of others, and what subscribers pay.
        "SELECT DISTINCT vendor, side FROM settlement.price_book",
        "SELECT DISTINCT vendor FROM settlement.contracts",
        "SELECT count(*) FROM settlement.price_book WHERE side = 'retail' OR vendor <> 'deepseek'",
        "SELECT approved_by FROM settlement.price_book",
        "SELECT vendor, count(*) FROM model_aliases GROUP BY vendor",
        // The books.
        "SELECT vendor, sum(gross) FROM settlement.statements GROUP BY vendor",
        "SELECT CAST(terms AS BIGINT) FROM settlement.statement_lines WHERE vendor <> 'deepseek'",
        "SELECT CAST(max(model) AS BIGINT) FROM settlement.vendor_payable WHERE vendor > 'a'",
        "SELECT sum(net) FROM settlement.vendor_payable WHERE vendor = 'zhipu' OR 1 / (units - units) = 1",
        "EXPLAIN VERBOSE SELECT * FROM settlement.vendor_payable WHERE gross > 0",
        "EXPLAIN ANALYZE SELECT vendor, sum(net) FROM settlement.vendor_payable GROUP BY vendor",
        "SELECT state, count(*) FROM settlement.adjustments GROUP BY state",
        "SELECT * FROM settlement.adjustments WHERE state = 'proposed' OR note LIKE '%canary%'",
        "SELECT proposed_by FROM settlement.adjustments",
        "SELECT opened_by FROM settlement.disputes",
        "SELECT note FROM settlement.disputes",
        "SELECT paid_by FROM settlement.statements",
        "SELECT compared_by FROM settlement.reconciliation",
        "SELECT count(*), count(DISTINCT vendor) FROM settlement.disputes",
        "SELECT vendor, classes FROM settlement.reconciliation ORDER BY 1",
        "SELECT vendor, class, sum(difference) FROM settlement.reconciliation_classes GROUP BY vendor, class",
        "SELECT * FROM settlement.reconciliation_differences ORDER BY vendor, place",
        "SELECT kafka_partition, kafka_offset FROM settlement.reconciliation_differences",
        "SELECT CAST(vendor_request_id AS BIGINT) FROM settlement.reconciliation_differences WHERE vendor <> 'deepseek'",
        "SELECT vendor, minimum FROM settlement.contracts WHERE applies_to = 'settlement' ORDER BY 1",
        "SELECT vendor, sum(net) FROM settlement.vendor_payable_by_price GROUP BY vendor",
        "SELECT 1 / (units - units) FROM settlement.vendor_payable_by_price WHERE vendor > 'e'",
        "SELECT * FROM settlement.package_revenue",
        "SELECT * FROM settlement.free_usage_cost",
        "SELECT * FROM settlement.periods",
        "SELECT * FROM settlement.cut_offs",
        "SELECT * FROM settlement.accrual",
        "SELECT * FROM settlement.fx_rates",
        "SELECT * FROM settlement.completeness",
        "SELECT * FROM settlement.missing_events",
        "SELECT * FROM settlement.control_totals",
        "SELECT * FROM control_totals",
        "SELECT pg_get_viewdef(c.oid) FROM pg_catalog.pg_class c WHERE relname = 'vendor_payable'",
    ] {
        let with = ask(&two.full, &two.vendor, sql).await;
        let without = ask(&two.alone, &two.vendor, sql).await;
        if sql.contains("ANALYZE") {
            let (with, without) = (output_rows(&text_of(&with)), output_rows(&text_of(&without)));
            assert!(!with.is_empty(), "{sql}");
            assert_eq!(with, without, "{sql}");
        } else if with.is_ok() && !sql.starts_with("EXPLAIN") {
            // In which order rows come is left open: files are read by size.
            assert_eq!(sorted(&with), sorted(&without), "{sql}");
        } else {
            assert_eq!(text_of(&with), text_of(&without), "{sql}");
        }
        if let Some(found) = canary_in(&text_of(&with), sql) {
            panic!("{sql}\n{found}");
        }
    }
    let one = |sql: &'static str| {
        let two = &two;
        async move { ask(&two.full, &two.vendor, sql).await.unwrap()[1..].join(";") }
    };
    assert_eq!(
        one("SELECT DISTINCT vendor, side FROM settlement.price_book").await,
        "deepseek|wholesale"
    );
    assert_eq!(one("SELECT DISTINCT vendor FROM usage_events").await, OWN);
    assert_eq!(
        one("SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema NOT IN ('information_schema', 'pg_catalog') ORDER BY 1, 2").await,
        "public|model_aliases;public|usage_by_model;public|usage_events;settlement|adjustments;settlement|contracts;settlement|disputes;settlement|price_book;settlement|reconciliation;settlement|reconciliation_classes;settlement|reconciliation_differences;settlement|statement_lines;settlement|statements;settlement|vendor_payable;settlement|vendor_payable_by_price;settlement|vendor_report"
    );
    assert_eq!(
        one("SELECT relname FROM pg_catalog.pg_class WHERE relname IN ('usage_events', 'suspense', 'margin', 'quota_ledger', 'audit_log')").await,
        "usage_events"
    );
    assert_eq!(
        one("SELECT vendor, gross FROM settlement.statements").await,
        "deepseek|12.000000000000"
    );
    assert_eq!(
        one("SELECT state, count(*) FROM settlement.adjustments GROUP BY state").await,
        "on_statement|1"
    );
    assert_eq!(
        one("SELECT vendor, sum(units) FROM settlement.vendor_payable GROUP BY vendor").await,
        "deepseek|900719925479099"
    );
    // The other way round: the other vendor sees its own and not this one's.
    let other = caller("vendor:canary-vendor");
    let rows = ask(&two.full, &other, "SELECT DISTINCT vendor FROM usage_events").await.unwrap();
    assert_eq!(rows[1..], ["canary-vendor"]);
    let nobody = caller("vendor:' OR 1=1 --".replace(' ', "_").as_str());
    let rows = ask(&two.full, &nobody, "SELECT count(*) FROM usage_events").await.unwrap();
    assert_eq!(rows[1..], ["0"]);
}

/// What the engine says of others' queries and files is not told either.
#[tokio::test]
async fn errors_of_the_engine_say_nothing_of_others() {
    let small = tally_schemas::QueryConfig { memory_max_bytes: 1 << 20, ..config() };
    let engine = engine(true, small).await;
    let sql = "SELECT a.model, b.vendor_request_id, count(DISTINCT a.vendor_request_id) FROM usage_events a, usage_events b, usage_events c GROUP BY 1, 2 ORDER BY 3";
    let vendor = caller(&format!("vendor:{OWN}"));
    let error = ask(&engine, &vendor, sql).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "the query needs more memory than is left for it (limit query.memory_max_bytes = 1048576)"
    );
    let gateway = ask(&engine, &caller("gateway"), "SELECT 1").await.unwrap_err();
    assert_eq!(gateway.kind(), tally_query::ErrorKind::Denied);
}

/// Operators see how the system runs, and no amounts.
#[tokio::test]
async fn operators_see_what_is_held_back_and_no_amounts() {
    let engine = engine(true, config()).await;
    let operator = caller("operator");
    for sql in [
        "SELECT count(*) FROM suspense",
        "SELECT * FROM settlement.suspense_aging",
        "SELECT * FROM quota.alerts_outstanding",
        "SELECT * FROM settlement.completeness",
        "SELECT * FROM settlement.missing_events",
        "SELECT count(*) FROM settlement.control_totals",
        "SELECT * FROM system.epochs",
        "SELECT * FROM system.config",
        "SELECT count(*) FROM packages",
    ] {
        let rows = ask(&engine, &operator, sql).await;
        assert!(rows.is_ok(), "{sql}: {rows:?}");
    }
    for sql in [
        "SELECT count(*) FROM usage_events",
        "SELECT * FROM usage_by_subscriber",
        "SELECT * FROM quota_ledger",
        "SELECT * FROM settlement.margin",
        "SELECT * FROM settlement.price_book",
        "SELECT * FROM settlement.statements",
        "SELECT * FROM settlement.vendor_payable",
        "SELECT * FROM settlement.disputes",
        "SELECT * FROM settlement.budgets",
        "SELECT * FROM settlement.phone_bill_files",
        "SELECT * FROM settlement.phone_bill_lines",
        "SELECT * FROM quota.balance",
        "SELECT * FROM system.audit_log",
    ] {
        let error = ask(&engine, &operator, sql).await.unwrap_err().to_string();
        assert!(error.contains("not found"), "{sql}: {error}");
    }
}

/// A filter on the side of a join that may be missing is not taken for one on the other side, which
/// has a column of the same name.
#[tokio::test]
async fn a_filter_stays_on_its_side_of_a_join() {
    let two = Two::new().await;
    let body = "SELECT t2.bill_hash FROM own_report AS t1 \
        RIGHT JOIN own_classes AS t2 ON t1.class = t2.vendor";
    let asked = async |body: &str| {
        let parts = two.parts.iter().filter(|(name, _)| body.contains(name.as_str()));
        let parts: Vec<String> = parts.map(|(name, sql)| format!("{name} AS ({sql})")).collect();
        let sql = format!("WITH {} {body}", parts.join(", "));
        text_of(&ask(&two.full, &two.finance, &sql).await)
    };
    let all = asked(body).await;
    assert!(all.contains("own-hash-deepseek"), "{all}");
    // No class has the name of a vendor, so t1.vendor is null in every row.
    for filter in
        ["upper(t1.vendor) <> 'x'", "regexp_replace(t1.vendor, '[a-m]', '#') NOT IN ('x', '')"]
    {
        let left = asked(&format!("{body} WHERE {filter}")).await;
        assert!(!left.contains("own-hash"), "{filter}: {left}");
    }
}

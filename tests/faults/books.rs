//! What people do to the books, with the real program: adjustments by four eyes that count once and
//! in the first open month, disputes out of a comparison with a bill, payments, and what SQL and
//! `tally verify` say about all of it.

use std::path::Path;

use serde_json::{Value, json};

use crate::embedded::tally;
use crate::settle::{Books, contracts};
use crate::support::Dice;

/// Terms of qwen for one model beside those for all, so that an adjustment has to say which.
const SECOND_TERMS: &str = "[[terms]]\nid = \"tencent-hunyuan\"\nvendor = \"tencent\"\nmodel_pattern = \"no-such-model\"\n\
     form = \"price_list\"\ncurrency = \"CNY\"\ntax_ppm = 60000\nrounding = \"half_up\"\nvalid_from = \"2026-01-01\"\n";

fn begun(folder: &Path, dice: &mut Dice) -> Books {
    let books = Books { folder: folder.join("books") };
    std::fs::create_dir(&books.folder).unwrap();
    books.traffic(dice.next_seed(), 1_500, "2026-02-02T00:00:00+08:00", 72);
    books.traffic(dice.next_seed(), 600, "2026-03-02T00:00:00+08:00", 48);
    books
}

pub(crate) fn sql(books: &Books, query: &str) -> Vec<Value> {
    let answer = books.done(&["sql", "--format", "json", query]);
    serde_json::from_str::<Value>(&answer).unwrap().as_array().unwrap().clone()
}

/// The posted adjustments of a statement: id and net amount.
fn posted(statement: &Value) -> Vec<(String, String)> {
    let sections = statement["statement"]["sections"].as_array().unwrap();
    let rows = sections.iter().flat_map(|section| section["adjustments"].as_array().unwrap());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    rows.filter(|row| row["posted_by"].is_string())
        .map(|row| (text(&row["id"]), text(&row["amounts"]["net"])))
        .collect()
}

const ADJUST: [&str; 14] = [
    "settle",
    "adjust",
    "--vendor",
    "baidu",
    "--period",
    "2026-02",
    "--reason",
    "complaint_refund",
    "--amount",
    "-12.50",
    "--note",
    "refund of ticket 4711",
    "--by",
    "ann",
];

/// The same with one option changed, or with more.
fn adjust<'a>(option: &str, value: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut arguments: Vec<&str> = ADJUST.to_vec();
    if let Some(at) = arguments.iter().position(|argument| *argument == option) {
        arguments[at + 1] = value;
    }
    arguments.extend(more);
    arguments
}

fn name(adjustment: &Value) -> String {
    adjustment["adjustment"].as_str().unwrap().to_owned()
}

fn approve(books: &Books, adjustment: &str, by: &str) -> Value {
    books.json(&["settle", "adjust", "--approve", adjustment, "--by", by])
}

#[test]
fn people_change_the_books_by_four_eyes_and_every_change_is_found_once() {
    let mut dice = Dice::of("books");
    let scratch = tempfile::tempdir().unwrap();
    let books = begun(scratch.path(), &mut dice);

    // Nothing is closed by terms that nobody approved; a draft says what it goes by.
    let close = ["settle", "close", "--period", "2026-02", "--by", "ann"];
    let said = books.refused(2, &close);
    assert!(said.contains("no settlement terms are approved: tally contract import"), "{said}");
    let file = contracts(scratch.path());
    let draft = ["settle", "statement", "--vendor", "baidu", "--period", "2026-02", "--json"];
    let by_file = [&draft[..], &["--contracts", file.to_str().unwrap()]].concat();
    let printed: Value = serde_json::from_str(&books.done(&by_file)).unwrap();
    assert!(printed["notes"][0].as_str().unwrap().contains("nobody has approved"), "{printed}");
    books.put_in_force(&file);
    let second = scratch.path().join("second.toml");
    std::fs::write(&second, SECOND_TERMS).unwrap();
    books.put_in_force(&second);
    let approved: Value = serde_json::from_str(&books.done(&draft)).unwrap();
    assert_eq!(approved["notes"], json!([]));
    assert_eq!(approved["statement"]["total"], printed["statement"]["total"]);

    refuses_what_cannot_be(&books);
    let on_statement = adjusts(&books);
    disputes(&books, scratch.path());
    sql_says_the_same(&books, &on_statement);
    books.done(&["verify"]);
    notices_another_journal(&books);
}

/// Each bad input is refused in words, and nothing is left behind.
fn refuses_what_cannot_be(books: &Books) {
    for (code, words, arguments) in [
        (
            2,
            "acme has no approved settlement terms; vendors that have are: anthropic",
            adjust("--vendor", "acme", &[]),
        ),
        (2, "2999-01 has not begun", adjust("--period", "2999-01", &[])),
        (2, "an amount of 0.00 changes nothing", adjust("--amount", "0.00", &[])),
        (2, "is not a decimal with at most 2 places", adjust("--amount", "-12.505", &[])),
        (2, "there is no such reason; there are re_rate", adjust("--reason", "generosity", &[])),
        (2, "cannot be posted", adjust("--reason", "cap", &[])),
        (2, "--note is empty", adjust("--note", " ", &[])),
        (2, "needs the name", adjust("--by", "", &[])),
        (
            2,
            "2026-01 is not closed",
            adjust("--by", "ann", &["--orig-period", "2026-01", "--orig-line", "L0"]),
        ),
        (2, "needs its period", adjust("--by", "ann", &["--orig-line", "L0"])),
        (
            2,
            "has several terms: say which by --terms, one of tencent-2026, tencent-hunyuan",
            adjust("--vendor", "tencent", &[]),
        ),
        (2, "baidu has no terms qwen-2026", adjust("--by", "ann", &["--terms", "qwen-2026"])),
        (
            2,
            "there is no adjustment ADJ-000007",
            vec!["settle", "adjust", "--approve", "ADJ-000007", "--by", "bob"],
        ),
        (2, "there is no dispute DSP-000001", vec!["settle", "dispute", "show", "DSP-000001"]),
        (
            2,
            "is not closed",
            vec![
                "settle",
                "paid",
                "--vendor",
                "baidu",
                "--period",
                "2026-02",
                "--on",
                "2026-04-01",
                "--reference",
                "B",
                "--by",
                "ann",
            ],
        ),
    ] {
        let said = books.refused(code, &arguments);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    assert!(!books.folder.join("store/statements").exists(), "a refusal left something behind");
}

/// Proposes, dies, approves, closes; returns what must be on statements: number and month.
fn adjusts(books: &Books) -> Vec<(String, &'static str)> {
    // Dead before the entry: nothing. Dead after it: the next one finds it and makes no other.
    for (point, proposals) in [("before-books-entry:1", 0), ("after-books-entry:1", 1)] {
        let died = tally(&books.folder, &ADJUST).env("TALLY_CRASH_AT", point).output().unwrap();
        assert_eq!(died.status.code(), None, "{point}: it did not die");
        let listed = books.json(&["settle", "adjust", "--list"]);
        assert_eq!(listed.as_array().unwrap().len(), proposals, "{point}");
    }
    let first = books.json(&ADJUST);
    assert_eq!((&first["adjustment"], &first["state"]), (&json!("ADJ-000000"), &json!("proposed")));
    assert!(posted(&books.statement("baidu", "2026-02")).is_empty());
    let said = books.refused(3, &["settle", "adjust", "--approve", "ADJ-000000", "--by", "Ann"]);
    assert!(said.contains("ADJ-000000 is ann's: somebody else must approve it"), "{said}");
    let rejected = name(&books.json(&adjust("--amount", "999.99", &[])));
    let reject =
        ["settle", "adjust", "--reject", &rejected, "--note", "no such ticket", "--by", "bob"];
    assert_eq!(books.json(&reject)["state"], "rejected");
    assert_eq!(approve(books, "ADJ-000000", "bob")["state"], "approved");
    let said = books.refused(2, &["settle", "adjust", "--approve", "ADJ-000000", "--by", "cam"]);
    assert!(said.contains("was approved by bob already"), "{said}");
    let expected = [("ADJ-000000".to_owned(), "-12.50".to_owned())];
    assert_eq!(posted(&books.statement("baidu", "2026-02")), expected);

    // What is approved while a month is in review counts in the next one.
    let review = books.review("2026-02", "ann");
    assert_eq!(review["adjustments"], json!(["ADJ-000000"]));
    let late = name(&books.json(&adjust("--amount", "3.20", &[])));
    approve(books, &late, "bob");
    assert_eq!(posted(&books.statement("baidu", "2026-02")), expected);
    let closed = books.approve("2026-02", "bob");
    assert_eq!(closed["seal"]["adjustments"], json!(["ADJ-000000"]));
    assert!(closed["seal"]["reference"].as_str().unwrap().starts_with("2-"), "{closed}");
    assert_eq!(posted(&books.statement("baidu", "2026-02")), expected);
    books.done(&["verify"]);
    let said = books.refused(2, &ADJUST);
    assert!(said.contains("2026-02 is closed; the first open period is 2026-03"), "{said}");

    // A line of the closed month can be corrected, if it is there.
    let of_line = |line: &str| -> Vec<String> {
        let more = ["--orig-period", "2026-02", "--orig-line", line];
        adjust("--period", "2026-03", &more).into_iter().map(str::to_owned).collect()
    };
    let run =
        |arguments: &[String]| books.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    let bad = run(&of_line("L0123456789abcdef"));
    let said = String::from_utf8_lossy(&bad.stderr).into_owned();
    assert_eq!(bad.status.code(), Some(2), "{said}");
    assert!(said.contains("of baidu for 2026-02 has no line L0123456789abcdef"), "{said}");
    let line = sql(
        books,
        "SELECT line_id FROM settlement.statement_lines WHERE vendor = 'baidu' AND kind = 'line' ORDER BY gross DESC LIMIT 1",
    );
    let of_line = of_line(line[0]["line_id"].as_str().unwrap());
    let corrected: Value =
        serde_json::from_slice(&run(&[of_line, vec!["--json".to_owned()]].concat()).stdout)
            .unwrap();
    let corrected = name(&corrected);
    approve(books, &corrected, "bob");

    pays(books);
    vec![("ADJ-000000".to_owned(), "2026-02"), (late, "2026-03"), (corrected, "2026-03")]
}

fn pays(books: &Books) {
    let pay = |vendor: &str, reference: &str| {
        let arguments = [
            "settle",
            "paid",
            "--vendor",
            vendor,
            "--period",
            "2026-02",
            "--on",
            "2026-04-01",
            "--reference",
            reference,
            "--by",
            "ann",
            "--json",
        ];
        books.run(&arguments)
    };
    let owed =
        sql(books, "SELECT vendor, gross FROM settlement.statements WHERE gross <> 0 ORDER BY 1");
    assert!(owed.len() > 3, "{owed:?}");
    let mut last = Value::Null;
    for row in &owed {
        let output = pay(row["vendor"].as_str().unwrap(), "BANK-7731");
        last = serde_json::from_slice(&output.stdout).unwrap();
    }
    assert_eq!(last["state"], "settled", "{last}");
    let vendor = owed[0]["vendor"].as_str().unwrap();
    assert!(pay(vendor, "BANK-7731").status.success(), "the same again is nothing new");
    let other = pay(vendor, "BANK-7732");
    let said = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(other.status.code() == Some(2) && said.contains("was paid on 2026-04-01"), "{said}");
    assert_eq!(books.statement(vendor, "2026-02")["state"], "settled");
}

/// A bill that is not ours, disputed; its credit comes to March's statement.
fn disputes(books: &Books, scratch: &Path) {
    let model =
        sql(books, "SELECT min(billed_model) AS model FROM usage_events WHERE vendor = 'baidu'");
    let model = model[0]["model"].as_str().unwrap();
    let bill = scratch.join("baidu.csv");
    let header = "request_id,completed_at,model,service_tier,amount,currency,free_quota,input_tokens,cached_tokens,cache_write_5m_tokens,cache_write_1h_tokens,output_tokens";
    let line = format!("r-1,2026-02-03T10:00:00+08:00,{model},standard,8.00,CNY,0,1000000,0,0,0,0");
    std::fs::write(&bill, format!("{header}\n{line}\n")).unwrap();
    let out = scratch.join("evidence");
    let (bill, folder) = (bill.to_str().unwrap(), out.to_str().unwrap());
    let output = books.run(&[
        "settle",
        "reconcile",
        bill,
        "--vendor",
        "baidu",
        "--period",
        "2026-02",
        "--mapping",
        "records-csv",
        "--out",
        folder,
        "--by",
        "cam",
    ]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let open = [
        "settle",
        "dispute",
        "open",
        folder,
        "--deadline",
        "2999-12-14",
        "--note",
        "calls that nobody made",
        "--by",
        "ann",
    ];
    // Evidence that somebody touched is none.
    let differences = out.join("differences.csv");
    let written = std::fs::read(&differences).unwrap();
    std::fs::write(&differences, [&written[..], b"\n"].concat()).unwrap();
    let said = books.refused(3, &open);
    assert!(said.contains("is not the file that was written"), "{said}");
    std::fs::write(&differences, written).unwrap();
    let opened = books.json(&open);
    let dispute = opened["dispute"].as_str().unwrap();
    assert_eq!((&opened["state"], &opened["period"]), (&json!("open"), &json!("2026-02")));
    assert_eq!(opened["reconciled"]["totals"][0]["theirs"], "8.000000000000");
    let said = books.refused(2, &open);
    assert!(said.contains(&format!("disputed already: {dispute}")), "{said}");

    let resolve = |more: &[&str]| -> Vec<String> {
        let fixed = ["settle", "dispute", "resolve", dispute, "--note", "agreed", "--by", "ann"];
        fixed.iter().chain(more).map(|argument| (*argument).to_owned()).collect()
    };
    for (words, more) in [
        ("--credit", vec!["--as", "settled"]),
        ("--credit goes with --as settled only", vec!["--as", "accepted", "--credit", "1"]),
        ("a credit is above 0.00", vec!["--as", "settled", "--credit", "0"]),
    ] {
        let arguments = resolve(&more);
        let said = books.refused(2, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        assert!(said.contains(words), "{said}");
    }
    let settled = resolve(&["--as", "settled", "--credit", "2.50"]);
    let settled = books.json(&settled.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((&settled["state"], &settled["credit"]), (&json!("settled"), &json!("2.50")));
    let credit = settled["adjustment"].as_str().unwrap();
    assert_eq!(approve(books, credit, "bob")["dispute"], dispute);
    books.close("2026-03", "ann");
    let printed = posted(&books.statement("baidu", "2026-03"));
    assert!(printed.contains(&(credit.to_owned(), "-2.50".to_owned())), "{printed:?}");
    assert_eq!(printed.len(), 3, "{printed:?}");
    let listed = books.json(&["settle", "dispute", "list"]);
    assert_eq!(listed[0]["adjustment"], json!(credit));
}

/// The tables of the books say what the statements say.
fn sql_says_the_same(books: &Books, on_statement: &[(String, &str)]) {
    let states = sql(
        books,
        "SELECT period, state FROM settlement.periods WHERE reviewed_by IS NOT NULL ORDER BY 1",
    );
    assert_eq!(
        states,
        [
            json!({"period": "2026-02", "state": "settled"}),
            json!({"period": "2026-03", "state": "closed"})
        ]
    );
    // Lines, adjustments and rounding lines sum to the statements, and so does what is payable. A
    // statement without any comes to nothing.
    for table in ["settlement.statement_lines", "settlement.vendor_payable"] {
        let query = format!(
            "SELECT count(*) AS n FROM settlement.statements s LEFT JOIN \
             (SELECT period, vendor, sum(net) AS net, sum(tax) AS tax, sum(gross) AS gross FROM {table} GROUP BY 1, 2) l \
             ON s.period = l.period AND s.vendor = l.vendor \
             WHERE s.net = coalesce(l.net, 0) AND s.tax = coalesce(l.tax, 0) AND s.gross = coalesce(l.gross, 0)"
        );
        let footing = sql(books, &query);
        let all = sql(books, "SELECT count(*) AS n FROM settlement.statements");
        assert_eq!(footing, all, "{table}");
    }
    for period in ["2026-02", "2026-03"] {
        for statement in sql(
            books,
            &format!(
                "SELECT vendor, gross, hash FROM settlement.statements WHERE period = '{period}'"
            ),
        ) {
            let printed = books.statement(statement["vendor"].as_str().unwrap(), period);
            assert_eq!(printed["hash"], statement["hash"]);
            let gross = printed["statement"]["total"]["gross"].as_str().unwrap();
            assert_eq!(statement["gross"], format!("{gross}0000000000"), "{statement}");
        }
    }
    for (adjustment, period) in on_statement {
        let rows = sql(
            books,
            &format!(
                "SELECT state, period, decided_by FROM settlement.adjustments WHERE adjustment = '{adjustment}'"
            ),
        );
        let expected = json!({"state": "on_statement", "period": period, "decided_by": "bob"});
        assert_eq!(rows, [expected], "{adjustment}");
    }
    let rows = sql(books, "SELECT state, credit, at_stake, adjustment FROM settlement.disputes");
    assert_eq!(
        (&rows[0]["state"], &rows[0]["credit"]),
        (&json!("settled"), &json!("2.500000000000"))
    );
    let rows =
        sql(books, "SELECT their_amount, inside, compared_by FROM settlement.reconciliation");
    let expected = json!({"their_amount": "8.000000000000", "inside": false, "compared_by": "cam"});
    assert_eq!(rows, [expected]);
    let rows = sql(
        books,
        "SELECT applies_to, imported_by, approved_by, tax_ppm FROM settlement.contracts WHERE contract_id = 'baidu-2026'",
    );
    let expected = json!({"applies_to": "settlement", "imported_by": "lin", "approved_by": "chen", "tax_ppm": 60000});
    assert_eq!(rows, [expected]);
    let rows = sql(books, "SELECT period, rate FROM settlement.fx_rates ORDER BY 1");
    assert_eq!(rows[0], json!({"period": "2026-02", "rate": "7.012300"}));
}

/// I6: an entry that somebody edits is found, and nothing more is done by such a journal.
fn notices_another_journal(books: &Books) {
    let path = books.folder.join("store/statements/journal/00000000000000000000.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let edited = text.replacen("-12.50", "-99.50", 1);
    assert_ne!(edited, text);
    std::fs::write(&path, edited).unwrap();
    let output = books.run(&["verify"]);
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{report}");
    assert!(report.contains("its checksum is not that of its content"), "{report}");
    let list = ["settle", "adjust", "--list"];
    let said = books.refused(3, &list);
    assert!(said.contains("its checksum is not that of its content"), "{said}");
    std::fs::remove_file(&path).unwrap();
    let said = books.refused(3, &list);
    assert!(said.contains("is gone, and there are entries behind it"), "{said}");
}

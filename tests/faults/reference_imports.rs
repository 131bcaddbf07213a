//! A package and a price map of somebody else, imported and approved by the program while the stream
//! runs: what comes after that is sold and rated by them.

use std::path::Path;

use serde_json::{Value, json};

use crate::door::post;
use crate::embedded::{PATIENCE, json_of};
use crate::quota::asked;
use crate::reference::{price, rates_by, tally, up, wait_for_rows};
use crate::support::{Process, block_on, eventually};

/// Micro-points of the allowance of `telecom-10m` as it ships, and as it is raised here.
const ALLOWANCE: u64 = 10_000_000_000_000;
const RAISED: u64 = 12_000_000_000_000;

/// Two models of LiteLLM's map, of which one is wanted.
const MAP: &str = r#"{
  "acme/tiny-1": {"litellm_provider": "acme", "mode": "chat",
    "input_cost_per_token": 1.1e-06, "output_cost_per_token": 7.2e-06},
  "other/big-1": {"litellm_provider": "other", "mode": "chat", "input_cost_per_token": 5e-06}
}"#;

/// The package `telecom-10m` with a larger allowance, as somebody writes it for an import.
fn raised() -> String {
    let book = Path::new(env!("CARGO_MANIFEST_DIR")).join("rating/data/packages.toml");
    let book = std::fs::read_to_string(book).unwrap();
    let shipped = book.split("[[package]]").find(|text| text.contains("\"telecom-10m\"")).unwrap();
    // When it is known and who answers for it comes with the approval.
    let written = |line: &&str| !line.starts_with("known_from") && !line.starts_with("approved_");
    let lines: Vec<&str> = shipped.lines().filter(written).collect();
    let text = format!("[[package]]{}\n", lines.join("\n"));
    let changed = text.replace(&format!("= {ALLOWANCE}"), &format!("= {RAISED}"));
    assert_ne!(text, changed);
    changed
}

/// Runs `tally package …` and returns its exit code and everything that it said.
fn package(folder: &Path, arguments: &[&str]) -> (i32, String) {
    run(folder, "package", arguments)
}

fn run(folder: &Path, kind: &str, arguments: &[&str]) -> (i32, String) {
    let arguments: Vec<&str> = std::iter::once(kind).chain(arguments.iter().copied()).collect();
    let output = tally(folder, &arguments).output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&words).into_owned())
}

/// Buys `telecom-10m` at a time, and waits for the allowance that was bought.
fn bought(address: &str, account: &str, at_ms: i64) -> u64 {
    let url = format!("http://{address}/v1/accounts/{account}/commands");
    let purchase = json!({"command": "purchase", "id": "b", "package": "telecom-10m", "at": at_ms});
    let (status, answer) = block_on(post(&url, "application/json", purchase.to_string()));
    assert_eq!(status, 202, "{answer}");
    eventually(&format!("the bucket of {account}"), PATIENCE, || {
        let (status, _, quota) = asked(address, account);
        (status == 200).then(|| quota["buckets"][0]["allowance_micro"].as_u64()).flatten()
    })
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

#[test]
fn a_package_and_a_price_map_are_approved_beside_a_running_stream() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (mut process, address) = up(folder, "up", "");
    let before_ms = now_ms();
    assert_eq!(bought(&address, "early", before_ms), ALLOWANCE);

    let file = folder.join("raised.toml");
    std::fs::write(&file, raised()).unwrap();
    let file = file.display().to_string();
    let (code, words) = package(folder, &["lint", &file]);
    assert!(code == 0 && words.contains("1 records are new"), "{code}: {words}");
    let (code, words) = package(folder, &["import", &file, "--by", "alice"]);
    assert!(code == 0 && words.contains("package version 1 is a candidate"), "{code}: {words}");
    // A candidate is sold to nobody.
    assert_eq!(bought(&address, "candidate", now_ms()), ALLOWANCE);
    let (code, words) = package(folder, &["approve", "1", "--by", "alice"]);
    assert!(code == 3 && words.contains("four eyes"), "{code}: {words}");
    let (code, words) = package(folder, &["approve", "1", "--by", "bob"]);
    assert!(code == 0 && words.contains("package version 1 is approved"), "{code}: {words}");
    rates_by(folder, 1);
    assert_eq!(bought(&address, "after", now_ms()), RAISED);
    // What was bought before the approval, though it comes after it, is what was for sale then.
    assert_eq!(bought(&address, "late", before_ms), ALLOWANCE);
    let (status, _, early) = asked(&address, "early");
    assert_eq!((status, &early["buckets"][0]["allowance_micro"]), (200, &json!(ALLOWANCE)));

    let file = folder.join("map.json");
    std::fs::write(&file, MAP).unwrap();
    let file = file.display().to_string();
    let litellm = ["--format", "litellm", "--valid-from", "2026-01-01", "--by", "alice"];
    let none = [["import", file.as_str(), "--only", "none"].as_slice(), &litellm].concat();
    let (code, words) = price(folder, &none);
    assert_ne!(code, 0, "{words}");
    let wanted = [["import", file.as_str(), "--only", "acme/*"].as_slice(), &litellm].concat();
    let (code, words) = price(folder, &wanted);
    assert!(code == 0 && words.contains("price version 1 is a candidate"), "{code}: {words}");
    let (_, words) = price(folder, &["show", "1"]);
    assert!(words.contains("acme/tiny-1") && !words.contains("big-1"), "{words}");
    let (code, words) = price(folder, &["approve", "1", "--by", "bob"]);
    assert_eq!(code, 0, "{words}");
    rates_by(folder, 2);
    // By the map's prices, from the day on that was named; nothing was taken of the other model.
    let event = |id: &str, model: &str, vendor: &str, at: &str| {
        json!({"source": "gw", "id": id, "account": "early", "model": model, "vendor": vendor,
               "completed_at": at, "usage": {"input": 1_000_000, "output": 1_000_000}})
    };
    let events = json!([
        event("priced", "acme/tiny-1", "acme", "2026-06-01T12:00:00+08:00"),
        event("before", "acme/tiny-1", "acme", "2025-12-31T23:59:59+08:00"),
        event("other", "other/big-1", "other", "2026-06-01T12:00:00+08:00"),
    ]);
    let url = format!("http://{address}/v1/events");
    let (status, answer) = block_on(post(&url, "application/json", events.to_string()));
    assert_eq!((status, &answer["accepted"]), (200, &json!(3)), "{answer}");
    wait_for_rows(folder, 1);
    let query =
        "SELECT id, wholesale_amount AS amount, wholesale_currency AS currency FROM usage_events";
    let rows = json_of(folder, "rows", &["sql", "--format", "json", query]);
    let priced = json!({"id": "priced", "amount": "8.300000000000", "currency": "USD"});
    assert_eq!(rows, json!([priced]));
    let query = "SELECT count(*) AS n FROM suspense WHERE account = 'early'";
    eventually("both others held back", PATIENCE, || {
        let rows: Value = json_of(folder, "held", &["sql", "--format", "json", query]);
        (rows[0]["n"].to_string().trim_matches('"') == "2").then_some(())
    });
    assert!(process.terminate(PATIENCE).success());
    Process::start("verify", tally(folder, &["verify"]), folder).succeed(PATIENCE);
}

/// Packages and contracts, looked at before and after somebody answers for them, without a stream.
#[test]
fn packages_and_contracts_are_linted_and_shown() {
    const CONTRACT: &str = "[[contract]]\nid = \"acme-list\"\nvendor = \"acme\"\nmodel_pattern = \"*\"\n\
        form = \"price_list\"\ndiscount_ppm = 250000\ncurrency = \"CNY\"\nvalid_from = \"2026-01-01\"\n";
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let written = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let raised = written("raised.toml", &raised());
    let contract = written("contract.toml", CONTRACT);
    for (kind, file, id, shipped) in [
        ("package", &raised, "telecom-10m", "packages.toml"),
        ("contract", &contract, "acme-list", "contracts.toml"),
    ] {
        let (code, words) = run(folder, kind, &["show"]);
        assert!(code == 0 && words.contains("shipped with Tally"), "{code}: {words}");
        assert!(words.contains(shipped), "{words}");
        let (code, words) = run(folder, kind, &["lint", file]);
        assert!(code == 0 && words.contains("1 records are new"), "{code}: {words}");
        // A table has no place for the parts of either.
        let table = written("table.csv", "id,vendor\na,b\n");
        let (code, words) = run(folder, kind, &["lint", &table]);
        assert!(code == 1 && words.contains(&format!("{kind}s are read from TOML")), "{words}");
        let (code, words) = run(folder, kind, &["import", file, "--by", "alice"]);
        assert!(code == 0 && words.contains(&format!("tally {kind} show 1")), "{code}: {words}");
        let (code, words) = run(folder, kind, &["show", "1"]);
        for part in [id, "candidate", "imported by alice", "BLAKE3"] {
            assert!(code == 0 && words.contains(part), "{part} in {code}: {words}");
        }
        assert!(!words.contains("approved by"), "{words}");
        let (code, words) = run(folder, kind, &["approve", "1", "--by", "bob"]);
        assert_eq!(code, 0, "{words}");
        // By its number and by its file.
        for wanted in ["1", file.as_str()] {
            let (code, words) = run(folder, kind, &["show", wanted]);
            assert!(code == 0 && words.contains("approved by bob"), "{code}: {words}");
        }
        let (code, words) = run(folder, kind, &["lint", file]);
        assert!(code == 0 && words.contains("0 records are new"), "{code}: {words}");
        let (code, words) = run(folder, kind, &["show", "7"]);
        assert!(code == 2 && words.contains(&format!("no {kind} version 7")), "{code}: {words}");
    }
    // What would be wrong beside it.
    let overlap = CONTRACT.replace("acme-list", "acme-other");
    let overlap = written("overlap.toml", &overlap);
    let (code, words) = run(folder, "contract", &["lint", &overlap]);
    assert!(code == 1 && words.contains("overlap: "), "{code}: {words}");
}

//! R27: prices that change while events come, after the fact, and where two overlap; on the
//! embedded log and a local folder, with the real program.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::door::post;
use crate::embedded::{PATIENCE, json_of};
use crate::support::{Process, block_on, eventually};

/// Every event is of one of these times: before the change of the second list, and after it.
const EARLY: &str = "2026-11-10T12:00:00+08:00";
const LATE: &str = "2026-11-20T12:00:00+08:00";
const PARTITIONS: u32 = 2;

/// `tally …` that looks for approvals often, over two partitions.
pub(crate) fn tally(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = crate::embedded::tally(folder, arguments);
    command
        .env("TALLY_LOG__PARTITIONS", PARTITIONS.to_string())
        .env("TALLY_AGGREGATE__REFERENCE_POLL_MS", "100");
    command
}

pub(crate) fn up(folder: &Path, name: &str, crash_at: &str) -> (Process, String) {
    let mut command = tally(folder, &["up"]);
    command.env("TALLY_CRASH_AT", crash_at);
    let mut process = Process::start(name, command, folder);
    let address = crate::door::address(&process.says("HTTP ", PATIENCE)).to_owned();
    (process, address)
}

/// The price list of one price after the other: id, yuan, valid from, valid to.
fn list(folder: &Path, name: &str, rows: &[[&str; 4]]) -> PathBuf {
    let mut text = "price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,valid_from,valid_to\n".to_owned();
    for [id, yuan, from, to] in rows {
        let row = format!("{id},wholesale,acme,acme-1,input,token,CNY,{yuan}000000,{from},{to}\n");
        text.push_str(&row);
    }
    let path = folder.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Runs `tally price …` and returns its exit code and everything that it said.
pub(crate) fn price(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let arguments: Vec<&str> = std::iter::once("price").chain(arguments.iter().copied()).collect();
    let output = tally(folder, &arguments).output().unwrap();
    let words = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8_lossy(&words).into_owned())
}

/// Imports a list by alice and approves it by bob; what bob names is the file.
fn put_in_force(folder: &Path, file: &Path) {
    let file = file.display().to_string();
    let (code, words) = price(folder, &["import", &file, "--by", "alice"]);
    assert_eq!(code, 0, "{words}");
    let (code, words) = price(folder, &["approve", &file, "--by", "bob"]);
    assert_eq!(code, 0, "{words}");
}

/// Sends `count` events from number `first` on, half of them of each time.
fn send(address: &str, first: usize, count: usize) {
    let events: Vec<Value> = (first..first + count)
        .map(|id| {
            json!({"source": "gw-1", "id": id.to_string(), "account": format!("A{}", id % 20),
                   "model": "acme-1", "vendor": "acme",
                   "completed_at": if id % 2 == 0 { EARLY } else { LATE },
                   "usage": {"input": 1_000_000}})
        })
        .collect();
    let url = format!("http://{address}/v1/events");
    let (status, answer) = block_on(post(&url, "application/json", json!(events).to_string()));
    assert_eq!((status, &answer["accepted"]), (200, &json!(count)), "{answer}");
}

/// The ledger entries of a partition, by number.
fn entries(folder: &Path, partition: u32) -> Vec<Value> {
    let ledger = folder.join(format!("store/ledger/usage.events/{partition}"));
    (0..)
        .map_while(|n| std::fs::read(ledger.join(format!("{n:020}.json"))).ok())
        .map(|bytes| serde_json::from_slice(&bytes).unwrap())
        .collect()
}

/// The number before the hash, in the name of a version of the reference data.
fn edition(version: &Value) -> u64 {
    version.as_str().unwrap().split_once('-').unwrap().0.parse().unwrap()
}

/// Waits until every partition rates by an edition.
pub(crate) fn rates_by(folder: &Path, wanted: u64) {
    eventually(&format!("edition {wanted} in every ledger"), PATIENCE, || {
        (0..PARTITIONS)
            .all(|partition| {
                let entries = entries(folder, partition);
                entries.last().is_some_and(|last| edition(&last["next_reference"]) == wanted)
            })
            .then_some(())
    });
}

/// Yuan by which each edition rates events of each time.
fn yuan_of(edition: u64, completed_at: &str) -> &'static str {
    match (edition, completed_at) {
        (1, _) | (2 | 3, "early") => "3.000000000000",
        (2 | 3, _) | (4, "early") => "5.000000000000",
        (4, _) => "8.000000000000",
        other => panic!("nothing is rated by {other:?}"),
    }
}

/// A row of `usage_events`, as far as it is looked at: amount, edition of its epoch.
type Rows = BTreeMap<String, (String, u64)>;

/// Compares every row with what its epoch's edition says; returns the rows.
fn rated_rows(folder: &Path, editions: &[u64]) -> Rows {
    let by_epoch: BTreeMap<(u64, u64), u64> = (0..PARTITIONS)
        .flat_map(|partition| {
            entries(folder, partition).into_iter().filter(|entry| entry["kind"] == "epoch").map(
                move |entry| {
                    let n = entry["n"].as_u64().unwrap();
                    ((u64::from(partition), n), edition(&entry["reference_version"]))
                },
            )
        })
        .collect();
    let query = "SELECT id, CASE WHEN completed_at < TIMESTAMP '2026-11-15T00:00:00Z' THEN 'early' ELSE 'late' END AS at, \
                 wholesale_amount, price_book_version, kafka_partition, epoch FROM usage_events";
    let rows = json_of(folder, "sql", &["sql", "--format", "json", query]);
    let mut books: BTreeMap<u64, String> = BTreeMap::new();
    let mut rated = Rows::new();
    for row in rows.as_array().unwrap() {
        let number = |name: &str| row[name].to_string().trim_matches('"').parse::<u64>().unwrap();
        let edition = by_epoch[&(number("kafka_partition"), number("epoch"))];
        let amount = row["wholesale_amount"].as_str().unwrap().to_owned();
        assert_eq!(
            amount,
            yuan_of(edition, row["at"].as_str().unwrap()),
            "{row}, edition {edition}"
        );
        let book = row["price_book_version"].as_str().unwrap().to_owned();
        assert_eq!(books.entry(edition).or_insert_with(|| book.clone()), &book, "{row}");
        let id = row["id"].as_str().unwrap().to_owned();
        assert!(rated.insert(id, (amount, edition)).is_none(), "twice: {row}");
    }
    for edition in editions {
        assert!(books.contains_key(edition), "nothing was rated by edition {edition}");
    }
    rated
}

pub(crate) fn wait_for_rows(folder: &Path, rows: usize) {
    eventually(&format!("{rows} rows"), PATIENCE, || {
        let query = "SELECT count(*) AS n FROM usage_events";
        let found = json_of(folder, "count", &["sql", "--format", "json", query]);
        (found[0]["n"].to_string().trim_matches('"') == rows.to_string()).then_some(())
    });
}

/// The flow of events while something else is done: a batch, the deed, a batch.
fn around(address: &str, next: &mut usize, deed: impl FnOnce()) {
    for _ in 0..5 {
        send(address, *next, 40);
        *next += 40;
    }
    let sending = std::thread::spawn({
        let (address, first) = (address.to_owned(), *next);
        move || {
            for batch in 0..40 {
                send(&address, first + batch * 10, 10);
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
    });
    *next += 400;
    deed();
    sending.join().unwrap();
}

#[test]
fn prices_that_change_while_events_come_rate_none_wrongly() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    // It dies after an entry that names edition 4 is committed, and before anything is rated by it:
    // two partitions come by the point for each edition.
    let (mut process, address) = up(folder, "up", "reference-named:7");
    let mut next = 0;

    // Nobody has a price of acme-1 before this.
    put_in_force(folder, &list(folder, "one.csv", &[["a", "3", "2026-01-01", ""]]));
    rates_by(folder, 1);

    // Mid-stream, and after the fact: a change that holds since days ago.
    let second = list(
        folder,
        "two.csv",
        &[["a", "3", "2026-01-01", "2026-11-15"], ["b", "5", "2026-11-15", ""]],
    );
    around(&address, &mut next, || put_in_force(folder, &second));
    rates_by(folder, 2);
    around(&address, &mut next, || {});
    wait_for_rows(folder, next);
    let before = rated_rows(folder, &[1, 2]);

    // Four eyes; an overlap; what is not approved.
    let overlap = list(folder, "three.csv", &[["c", "7", "2026-11-18", ""]]).display().to_string();
    around(&address, &mut next, || {
        let (code, words) = price(folder, &["import", &overlap, "--by", "alice"]);
        assert!(code == 0 && words.contains("cannot be approved"), "{code}: {words}");
        let (code, words) = price(folder, &["approve", "3", "--by", "Alice"]);
        assert!(code == 3 && words.contains("four eyes"), "{code}: {words}");
        let (code, words) = price(folder, &["approve", "3", "--by", "bob"]);
        assert!(code == 3 && words.contains("overlap"), "{code}: {words}");
    });
    wait_for_rows(folder, next);

    // A change of something else is an edition of its own.
    let contract = folder.join("contract.toml");
    std::fs::write(&contract, "[[contract]]\nid = \"other\"\nvendor = \"other\"\nmodel_pattern = \"*\"\nform = \"price_list\"\ncurrency = \"CNY\"\nvalid_from = \"2026-01-01\"\n").unwrap();
    let contract = contract.display().to_string();
    for arguments in [
        ["contract", "import", &contract, "--by", "alice"],
        ["contract", "approve", "1", "--by", "bob"],
    ] {
        Process::start("contract", tally(folder, &arguments), folder).succeed(PATIENCE);
    }
    rates_by(folder, 3);

    // Once more, around a crash.
    let fourth = list(
        folder,
        "four.csv",
        &[["a", "5", "2026-01-01", "2026-11-15"], ["b", "8", "2026-11-15", ""]],
    );
    send(&address, next, 100);
    next += 100;
    put_in_force(folder, &fourth);
    assert!(!process.wait(PATIENCE).success());
    let named = |partition| {
        let entries = entries(folder, partition);
        edition(&entries.last().unwrap()["next_reference"]) == 4
    };
    assert!((0..PARTITIONS).any(named), "no entry names edition 4 at the crash");
    let (mut process, address) = up(folder, "up-again", "");
    // What was acknowledged is a duplicate, at whatever price.
    for first in (0..next).step_by(40) {
        send(&address, first, 40.min(next - first));
    }
    rates_by(folder, 4);
    around(&address, &mut next, || {});
    wait_for_rows(folder, next);
    let after = rated_rows(folder, &[1, 2, 4]);
    for (id, row) in &before {
        assert_eq!(after[id], *row, "{id} was stored, and is not rated again");
    }

    // Finance sees who approved what, and `tally rate` costs what the stream costs.
    let query = "SELECT price_id, price_per_million AS yuan, imported_by, approved_by, version FROM settlement.price_book WHERE vendor = 'acme' AND superseded_at IS NULL ORDER BY 1";
    let rows = json_of(folder, "book", &["sql", "--format", "json", query]);
    let row = |id: &str, yuan: &str| json!({"price_id": id, "yuan": yuan, "imported_by": "alice", "approved_by": "bob", "version": 4});
    assert_eq!(rows, json!([row("a", "5.000000"), row("b", "8.000000")]));
    let event = folder.join("event.jsonl");
    std::fs::write(&event, format!("{{\"source\":\"g\",\"id\":\"1\",\"account\":\"A\",\"vendor\":\"acme\",\"model\":\"acme-1\",\"completed_at\":\"{LATE}\",\"usage\":{{\"input\":1000000}}}}\n")).unwrap();
    let rated = json_of(folder, "rate", &["rate", "--json", &event.display().to_string()]);
    assert_eq!(rated["wholesale_amount"], json!("8.000000000000"), "{rated}");

    assert!(process.terminate(PATIENCE).success());
    Process::start("verify", tally(folder, &["verify"]), folder).succeed(PATIENCE);
}

#[test]
fn lint_and_show_say_what_a_file_would_do_without_a_store() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let wrong = list(folder, "wrong.csv", &[["a", "x", "soon", ""], ["b", "3", "2026-01-01", ""]]);
    let (code, words) = price(folder, &["lint", &wrong.display().to_string()]);
    assert_eq!(code, 1, "{words}");
    for words_of in
        ["wrong.csv, line 2, a: price_micro_per_million", "wrong.csv, line 2, a: valid_from"]
    {
        assert!(words.contains(words_of), "{words_of} in {words}");
    }
    let right = list(folder, "right.csv", &[["a", "3", "2026-01-01", ""]]);
    let (code, words) = price(folder, &["lint", &right.display().to_string()]);
    assert!(code == 0 && words.contains("1 records are new"), "{code}: {words}");
    let (code, words) = price(folder, &["show"]);
    assert!(code == 0 && words.contains("shipped with Tally"), "{code}: {words}");
    assert!(!folder.join("store").exists(), "looking makes no store");
    let (code, words) = price(folder, &["approve", "1", "--by", "bob"]);
    assert!(code == 2 && words.contains("there is no price version 1"), "{code}: {words}");
}

#[test]
fn of_two_people_who_approve_at_once_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for round in 1..=6 {
        let id = format!("r{round}");
        let from = format!("202{}-01-01", round + 2);
        let to = format!("202{}-01-01", round + 3);
        let file = list(folder, "round.csv", &[[&id, "3", &from, &to]]).display().to_string();
        let (code, words) = price(folder, &["import", &file, "--by", "alice"]);
        assert_eq!(code, 0, "{words}");
        let version = round.to_string();
        let approvals = ["bob", "carol"].map(|by| {
            let mut command = tally(folder, &["price", "approve", &version, "--by", by]);
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
            command.spawn().unwrap()
        });
        let mut codes: Vec<i32> = Vec::new();
        let mut words = String::new();
        for approval in approvals {
            let output = approval.wait_with_output().unwrap();
            codes.push(output.status.code().unwrap());
            words.push_str(&String::from_utf8_lossy(&output.stderr));
        }
        codes.sort_unstable();
        assert_eq!(codes, [0, 3], "round {round}: {words}");
        assert!(words.contains("is approved already, by"), "{words}");
    }
    let rows = json_of(folder, "list", &["price", "show", "--json"]);
    assert_eq!(rows.as_array().unwrap().len(), 7);
    assert!(rows.as_array().unwrap().iter().all(|row| row["state"] == "approved"), "{rows}");
}

//! Buying, using and being told what is left, over HTTP alone, in one process on the embedded log;
//! and what gateways read of the topic `quota.status`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};
use tally_log::{EmbeddedLog, EmbeddedLogConfig, EventLog};

use crate::door::post;
use crate::embedded::up;
use crate::support::{Dice, Payload, Process, Stream, block_on, eventually};

const PATIENCE: Duration = Duration::from_secs(60);
/// Micro-points of a point.
const MICRO: i64 = 1_000_000;
/// Partitions of the topics of these tests.
const PARTITIONS: u32 = 16;

/// A running `tally up`, and a client of it.
struct Tally {
    process: Process,
    address: String,
    folder: PathBuf,
    /// Ten minutes before the test began, milliseconds UTC.
    start_ms: i64,
}

impl Tally {
    fn start(folder: &Path, name: &str) -> Self {
        let (process, address) = up(folder, name);
        let start_ms = jiff::Timestamp::now().as_millisecond() - 600_000;
        Self { process, address, folder: folder.to_owned(), start_ms }
    }

    /// Posts a command of an account; returns status and answer.
    fn try_command(&self, account: &str, command: &Value) -> (u16, Value) {
        let url = format!("http://{}/v1/accounts/{account}/commands", self.address);
        block_on(post(&url, "application/json", command.to_string()))
    }

    /// Posts a command, which must be taken.
    fn command(&self, account: &str, mut command: Value) {
        if command.get("at").is_none() {
            command["at"] = self.start_ms.into();
        }
        let (status, answer) = self.try_command(account, &command);
        assert_eq!((status, &answer["id"]), (202, &command["id"]), "{command}: {answer}");
    }

    fn buy(&self, account: &str, id: &str, package: &str) {
        self.command(account, json!({"command": "purchase", "id": id, "package": package}));
    }

    /// Sends usage of an account, numbered from `ids.start`, which must be accepted.
    fn usage(&self, account: &str, ids: std::ops::Range<i64>, fields: &Value) {
        let events: Vec<Value> = ids
            .map(|id| {
                let mut event = json!({
                    "source": "gw-1", "id": format!("{account}-{id}"), "account": account,
                    "model": "glm-5", "completed_at": self.start_ms + 1_000 + id,
                });
                for (name, value) in fields.as_object().unwrap() {
                    event[name] = value.clone();
                }
                event
            })
            .collect();
        let url = format!("http://{}/v1/events", self.address);
        for part in events.chunks(1_000) {
            let body = json!(part).to_string();
            let (status, answer) = block_on(post(&url, "application/json", body));
            assert_eq!((status, &answer["accepted"]), (200, &json!(part.len())), "{answer}");
        }
    }

    /// Sends usage of so many tokens each.
    fn tokens(&self, account: &str, ids: std::ops::Range<i64>, tokens: i64) {
        self.usage(account, ids, &json!({"usage": {"input": tokens}}));
    }

    /// What `GET /v1/accounts/{account}/quota` answers: status, `Retry-After`, body.
    fn ask(&self, account: &str) -> (u16, Option<String>, Value) {
        let url = format!("http://{}/v1/accounts/{account}/quota", self.address);
        block_on(async {
            let answer = reqwest::get(&url).await.unwrap();
            let kind = answer.headers()["content-type"].to_str().unwrap().to_owned();
            let after = answer.headers().get("retry-after");
            let after = after.map(|value| value.to_str().unwrap().to_owned());
            let status = answer.status().as_u16();
            let expected =
                if status == 200 { "application/json" } else { "application/problem+json" };
            assert_eq!(kind, expected, "{url}");
            (status, after, answer.json().await.unwrap())
        })
    }

    /// The quota of an account once it fulfils a condition.
    fn quota_when(&self, account: &str, what: &str, done: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("{account}: {what}"), PATIENCE, || {
            let (status, _, quota) = self.ask(account);
            (status == 200 && done(&quota)).then_some(quota)
        })
    }

    /// Rows of a query, once it has as many.
    fn rows(&self, count: usize, query: &str) -> Vec<Value> {
        let url = format!("http://{}/v1/sql", self.address);
        eventually(query, PATIENCE, || {
            let body = json!({"query": query}).to_string();
            let (status, rows) = block_on(post(&url, "application/json", body));
            assert_eq!(status, 200, "{rows}");
            let rows = rows.as_array().unwrap().clone();
            (rows.len() == count).then_some(rows)
        })
    }

    /// Ends it in order, and reads the topic `quota.status`: the messages of each account in the
    /// order in which a gateway gets them.
    fn statuses(mut self) -> BTreeMap<String, Vec<Value>> {
        assert!(self.process.terminate(PATIENCE).success());
        let topic = self.folder.join("topics/quota.status");
        let log = EmbeddedLog::open(EmbeddedLogConfig::new(topic, "quota.status")).unwrap();
        let mut statuses: BTreeMap<String, Vec<Value>> = BTreeMap::new();
        for partition in 0..log.partition_count() {
            let bounds = log.bounds(partition).unwrap();
            let mut reader = log.reader_at(partition, bounds.start).unwrap();
            let mut next = bounds.start;
            while next < bounds.end {
                reader
                    .read(1_000, Duration::from_secs(1), &mut |record| {
                        next = record.offset + 1;
                        let message: Value = serde_json::from_slice(record.value.unwrap()).unwrap();
                        let account = message["account"].as_str().unwrap();
                        assert_eq!(record.key, Some(account.as_bytes()));
                        assert_eq!(
                            tally_schemas::partition_of(account, log.partition_count()),
                            partition
                        );
                        statuses.entry(account.to_owned()).or_default().push(message);
                    })
                    .unwrap();
            }
        }
        statuses
    }
}

fn is(field: &'static str, value: Value) -> impl Fn(&Value) -> bool {
    move |quota| quota[field] == value
}

/// Whether so many points of the first bucket are used.
fn used(points: i64) -> impl Fn(&Value) -> bool {
    move |quota| quota["buckets"][0]["used_micro"] == json!(points * MICRO)
}

/// The words that a gateway was told, one after the other, and that none is older than one before.
fn words(messages: &[Value]) -> Vec<&str> {
    let offsets: Vec<u64> =
        messages.iter().map(|message| message["as_of_offset"].as_u64().unwrap()).collect();
    assert!(offsets.is_sorted(), "{offsets:?}");
    let mut words: Vec<&str> =
        messages.iter().map(|message| message["status"].as_str().unwrap()).collect();
    words.dedup();
    words
}

/// S1: a package is used up event by event; with pay as you go consented, and without.
#[test]
fn a_package_is_used_up_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let tally = Tally::start(folder.path(), "up");
    tally.buy("S1", "b1", "telecom-10m");
    let flags = json!({"region": "sh", "overflow": "sh-telecom-payg"});
    tally.command("S1-payg", json!({"command": "set_flags", "id": "f1", "flags": flags}));
    tally.buy("S1-payg", "b1", "telecom-10m");
    let fresh = tally.quota_when("S1", "the purchase", |quota| quota["buckets"] != json!([]));
    assert_eq!(fresh["status"], "ok");
    let bucket = json!({
        "bucket": "b1", "package": "telecom-10m", "valid_from": tally.start_ms,
        "valid_to": fresh["buckets"][0]["valid_to"], "allowance_micro": 10_000_000 * MICRO,
        "used_micro": 0, "remaining_micro": 10_000_000 * MICRO,
    });
    let days = (fresh["buckets"][0]["valid_to"].as_i64().unwrap() - tally.start_ms) / 86_400_000;
    assert!((28..=31).contains(&days), "{fresh}");
    let expected = json!({
        "account": "S1", "status": "ok", "buckets": [bucket], "caps": [], "overflow": null,
        "overrun_micro": 0, "as_of": fresh["as_of"],
    });
    assert_eq!(fresh, expected);
    let partition = tally_schemas::partition_of("S1", PARTITIONS);
    assert_eq!(fresh["as_of"]["partition"], json!(partition));

    for account in ["S1", "S1-payg"] {
        tally.tokens(account, 1..8_104, 1_234);
        let quota = tally.quota_when(account, "event 8,103", used(8_103 * 1_234));
        assert_eq!(quota["status"], "warned", "{quota}");
        assert_eq!(quota["buckets"][0]["remaining_micro"], json!(898 * MICRO));
        tally.tokens(account, 8_104..8_105, 1_234);
    }
    let quota = tally.quota_when("S1", "the last points", used(10_000_000));
    assert_eq!(quota["status"], "exhausted", "{quota}");
    assert_eq!(quota["buckets"][0]["remaining_micro"], 0);
    assert_eq!(quota["overrun_micro"], json!(336 * MICRO));
    let quota = tally.quota_when("S1-payg", "the last points", used(10_000_000));
    let overflow = json!({"tariff": "sh-telecom-payg", "points_micro": 336 * MICRO,
                          "amount": "0.001344000000", "currency": "CNY"});
    assert_eq!(quota["status"], "warned", "{quota}");
    assert_eq!((&quota["overflow"], &quota["overrun_micro"]), (&overflow, &json!(0)));
    // Both packages have allocated exactly their price.
    let revenue = tally.rows(
        2,
        "SELECT account, cast(sum(amount) AS text) AS amount FROM quota_ledger
         WHERE kind = 'debit' GROUP BY account HAVING sum(points) = -10000000
         ORDER BY account",
    );
    for row in &revenue {
        assert_eq!(row["amount"], "9.900000000000", "{revenue:?}");
    }
    // A top-up makes it usable again at once.
    let more = json!({"command": "top_up", "id": "t1", "bucket": "b1", "at": tally.start_ms + 60_000,
                      "points_micro": 5 * MICRO, "amount_micro": 0});
    tally.command("S1", more);
    let quota = tally.quota_when("S1", "the top-up", is("status", json!("ok")));
    assert_eq!(quota["buckets"][0]["remaining_micro"], json!(5 * MICRO));

    let statuses = tally.statuses();
    assert_eq!(words(&statuses["S1"]), ["ok", "warned", "exhausted", "ok"]);
    let last = statuses["S1"].last().unwrap();
    assert_eq!(last["buckets"], quota["buckets"], "the topic says what the answer says");
    assert!(last.get("overrun_micro").is_none() && last["as_of"].is_i64(), "{last}");
    assert_eq!(words(&statuses["S1-payg"]), ["ok", "warned"]);
}

/// S2: a free trial is used before what was bought, though it was granted later and ends later;
/// S3: the seventeenth photo is split over a gift and a package. Each account is blocked or slowed
/// down as its last package says.
#[test]
fn the_order_of_consumption_over_http() {
    let folder = tempfile::tempdir().unwrap();
    let tally = Tally::start(folder.path(), "up");
    let flags = json!({"region": "sh"});
    tally.command("S2", json!({"command": "set_flags", "id": "f", "flags": flags}));
    tally.buy("S2", "bought", "telecom-10m");
    let trial = json!({"command": "purchase", "id": "trial", "package": "sh-telecom-trial-25m",
                       "at": tally.start_ms + 500});
    tally.command("S2", trial);
    tally.quota_when("S2", "both buckets", |quota| quota["buckets"][1]["bucket"] == "trial");
    tally.tokens("S2", 1..2, 24_999_999);
    tally.tokens("S2", 2..3, 3);
    let quota = tally.quota_when("S2", "both events", used(2));
    let buckets = quota["buckets"].as_array().unwrap();
    assert!(buckets[1]["valid_to"].as_i64() > buckets[0]["valid_to"].as_i64(), "{quota}");
    assert_eq!(buckets[1]["bucket"], "trial");
    assert_eq!(buckets[1]["used_micro"], json!(25_000_000 * MICRO));
    assert_eq!(buckets[0]["remaining_micro"], json!(9_999_998 * MICRO));
    assert_eq!(quota["status"], "warned", "{quota}");
    // The trial came last, and says to refuse.
    tally.tokens("S2", 3..4, 9_999_998);
    let quota = tally.quota_when("S2", "nothing left", used(10_000_000));
    assert_eq!(quota["status"], "blocked", "{quota}");
    assert_eq!(quota["overrun_micro"], 0);

    tally.buy("S3", "gift", "mobile-gift-500k");
    tally.buy("S3", "bought", "telecom-10m");
    tally.quota_when("S3", "both buckets", |quota| quota["buckets"][1]["bucket"] == "bought");
    let photo = json!({"model": "photo-cutout-1", "product": "photo-cutout",
                       "usage": {"requests": 1}});
    tally.usage("S3", 1..17, &photo);
    let quota = tally.quota_when("S3", "sixteen photos", used(16 * 31_000));
    assert_eq!(quota["buckets"][0]["remaining_micro"], json!(4_000 * MICRO));
    assert_eq!(quota["buckets"][1]["used_micro"], 0);
    tally.usage("S3", 17..18, &photo);
    let quota = tally.quota_when("S3", "the seventeenth", used(500_000));
    assert_eq!(quota["buckets"][1]["used_micro"], json!(27_000 * MICRO));
    let owed = tally.rows(
        1,
        "SELECT cast(sum(wholesale_amount) AS text) AS amount FROM usage_events
         WHERE account = 'S3' HAVING count(*) = 17",
    );
    assert_eq!(owed[0]["amount"], "0.340000000000", "the vendor is owed its price a request");

    // Nothing is sent to this account's partition any more: it answers all the same.
    let (status, _, again) = tally.ask("S3");
    assert_eq!((status, &again["buckets"]), (200, &quota["buckets"]));
    let statuses = tally.statuses();
    let told = words(&statuses["S2"]);
    // Before the first purchase there were flags, and nothing to be used.
    assert!(told.ends_with(&["ok", "warned", "blocked"]), "{told:?}");
    assert_eq!(words(&statuses["S3"]), ["ok", "warned"]);
}

/// What cannot be carried out changes nothing: it is an error at the door, or a row of `suspense`
/// with its reason.
#[test]
fn a_bad_command_charges_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tally = Tally::start(folder.path(), "up");
    let at = tally.start_ms;
    // At the door: what cannot be attributed, or is personal data.
    let good = json!({"command": "purchase", "id": "p", "package": "telecom-10m", "at": at});
    let without = |field: &str| {
        let mut command = good.clone();
        command.as_object_mut().unwrap().remove(field);
        command
    };
    for (account, command, status) in [
        ("B", without("id"), 422),
        ("B", without("at"), 422),
        ("B", without("command"), 422),
        ("B", json!([good]), 400),
        ("B", json!({"command": "purchase", "id": "p", "account": "C", "at": at}), 422),
        ("13800138000", good.clone(), 422),
    ] {
        let (answered, answer) = tally.try_command(account, &command);
        assert_eq!(answered, status, "{command}: {answer}");
        assert!(answer["code"].is_string(), "{answer}");
    }
    assert_eq!(tally.ask("13800138000").0, 400);
    assert_eq!(tally.ask(&"x".repeat(300)).0, 400);
    let (status, after, problem) = tally.ask("nobody");
    assert_eq!((status, after), (404, None), "{problem}");
    assert_eq!(problem["type"], "urn:tally:problem:unknown_account");

    // Further on: a row of suspense each.
    tally.buy("B", "p", "telecom-10m");
    tally.buy("B", "p", "telecom-10m");
    tally.command(
        "B",
        json!({"command": "purchase", "id": "old", "package": "telecom-40m",
                              "at": at - 1_000}),
    );
    let cancel = json!({"command": "cancel", "id": "cancel", "bucket": "old", "at": at + 1});
    tally.command("B", cancel);
    let flags = |flags: Value| json!({"command": "set_flags", "id": "", "flags": flags});
    let bad = [
        ("unknown_package", json!({"command": "purchase", "package": "no-such-package"})),
        ("package_not_sold", json!({"command": "purchase", "package": "bj-mobile-20m"})),
        (
            "conflicting_duplicate",
            json!({"command": "purchase", "package": "telecom-80m",
                                         "id": "p"}),
        ),
        ("bad_command", json!({"command": "purchase", "package": "telecom-10m", "quantity": 0})),
        (
            "bad_command",
            json!({"command": "purchase", "package": "telecom-10m",
                               "quantity": 1_001}),
        ),
        ("bad_command", json!({"command": "gift", "package": "telecom-10m"})),
        (
            "bad_command",
            json!({"command": "purchase", "package": "telecom-10m",
                               "allowance_micro": -5}),
        ),
        ("bad_command", json!({"command": "top_up", "bucket": "p", "points_micro": -5})),
        ("bad_command", json!({"command": "top_up", "bucket": "p", "points_micro": 0})),
        ("bad_command", json!({"command": "top_up", "bucket": "p", "points_micro": 1.5})),
        (
            "bad_command",
            json!({"command": "top_up", "bucket": "p", "points_micro": 1,
                               "amount_micro": -1}),
        ),
        ("bucket_expired", json!({"command": "top_up", "bucket": "old", "points_micro": 1})),
        ("unknown_bucket", json!({"command": "top_up", "bucket": "none", "points_micro": 1})),
        (
            "transfer_out_of_range",
            json!({"command": "transfer", "from_bucket": "p",
            "to_bucket": "q", "points_micro": 10_000_001 * MICRO}),
        ),
        (
            "bucket_expired",
            json!({"command": "transfer", "from_bucket": "p",
            "to_bucket": "old", "points_micro": 1}),
        ),
        (
            "bad_command",
            json!({"command": "transfer", "from_bucket": "p", "to_bucket": "p",
                               "points_micro": 1}),
        ),
        ("unknown_bucket", json!({"command": "cancel", "bucket": "none"})),
        (
            "adjust_out_of_range",
            json!({"command": "adjust", "bucket": "p", "points_micro": 1,
                                       "reason": "r", "approver": "a"}),
        ),
        ("bad_command", json!({"command": "adjust", "bucket": "p", "points_micro": -1})),
        ("unknown_tariff", flags(json!({"overflow": "no-such-tariff"}))),
        ("package_not_sold", flags(json!({"overflow": "sh-telecom-payg"}))),
        ("unknown_flag", flags(json!({"colour": "red"}))),
    ];
    tally.buy("B", "q", "telecom-10m");
    for (number, (_, command)) in bad.iter().enumerate() {
        let mut command = command.clone();
        if command["id"] != "p" {
            command["id"] = format!("bad-{number}").into();
        }
        command["at"] = (at + 2).into();
        tally.command("B", command);
    }
    // Behind all of them, in the same partition: once it is seen, they are processed.
    tally.tokens("B", 1..2, 7);
    let quota = tally.quota_when("B", "the event behind", |quota| {
        quota["buckets"][0]["used_micro"] == json!(7 * MICRO)
    });
    let buckets: Vec<(&str, i64)> = quota["buckets"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| (b["bucket"].as_str().unwrap(), b["allowance_micro"].as_i64().unwrap() / MICRO))
        .collect();
    assert_eq!(buckets, [("p", 10_000_000), ("old", 40_000_000), ("q", 10_000_000)], "{quota}");
    assert_eq!(quota["overflow"], Value::Null);
    let rows = tally.rows(
        bad.len(),
        "SELECT reason, subreason, raw FROM suspense WHERE account = 'B' ORDER BY kafka_offset",
    );
    for ((reason, command), row) in bad.iter().zip(&rows) {
        assert_eq!(row["reason"], *reason, "{command}: {row}");
        assert!(row["subreason"].as_str().is_some_and(|words| !words.is_empty()), "{row}");
        assert!(row["raw"].as_str().unwrap().contains(command["command"].as_str().unwrap()));
    }
    let granted = tally.rows(
        1,
        "SELECT count(*) AS n FROM quota_ledger WHERE account = 'B' AND kind = 'grant'
         HAVING count(*) = 3",
    );
    assert_eq!(granted[0]["n"].to_string().trim_matches('"'), "3", "the purchase came twice");
    tally.statuses();
}

/// After kill -9 what was told is told again where it may not have been, and never less: whoever
/// keeps the newest by `as_of_offset` knows what the answer says.
#[test]
fn what_gateways_know_survives_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let tally = Tally::start(folder.path(), "up");
    let accounts: Vec<String> = (0..40).map(|number| format!("K{number}")).collect();
    for account in &accounts {
        tally.buy(account, "gift", "mobile-gift-500k");
        tally.tokens(account, 1..2, 300_000);
    }
    let start_ms = tally.start_ms;
    tally.process.kill();
    let mut tally = Tally::start(folder.path(), "up-again");
    tally.start_ms = start_ms;
    let mut answers = BTreeMap::new();
    for (account, number) in accounts.iter().zip(0..) {
        // Sent again, as a gateway does that got no answer: a duplicate.
        tally.tokens(account, 1..2, 300_000);
        let (more, status) = if number % 2 == 0 { (200_000, "blocked") } else { (1, "warned") };
        tally.tokens(account, 2..3, more);
        let quota = tally.quota_when(account, "both events", used(300_000 + more));
        assert_eq!(quota["status"], status, "{quota}");
        answers.insert(account.clone(), quota);
    }
    let statuses = tally.statuses();
    for (account, answer) in answers {
        let newest = statuses[&account]
            .iter()
            .max_by_key(|message| message["as_of_offset"].as_u64().unwrap())
            .unwrap();
        assert_eq!(newest["status"], answer["status"], "{account}: {:?}", statuses[&account]);
        if answer["status"] == "blocked" {
            assert_eq!(newest["buckets"], answer["buckets"]);
        }
    }
}

/// One process of two, and the answer it gives about an account, without following anything.
pub(crate) fn asked(address: &str, account: &str) -> (u16, Option<String>, Value) {
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let url = format!("http://{address}/v1/accounts/{account}/quota");
    block_on(async {
        let answer = client.build().unwrap().get(url).send().await.unwrap();
        let location = answer.headers().get("location");
        let location = location.map(|value| value.to_str().unwrap().to_owned());
        (answer.status().as_u16(), location, answer.json().await.unwrap_or_default())
    })
}

/// Of two processes on real Kafka each answers for its partitions. For the others' it redirects to
/// a process that tells its address, and names one that does not.
#[test]
fn a_process_without_the_partition_says_who_has_it() {
    let dice = Dice::of("quota-of-two");
    let mut stream = Stream::new("quota-of-two", dice.seed(), 6);
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let told = format!("127.0.0.1:{port}");
    stream.set("http.advertise", format!("http://{told}/"));
    let command = stream.tally(&["aggregate", "--listen", &told]);
    let mut first = stream.start("told", command);
    first.says("health and metrics on", PATIENCE);
    stream.set("http.advertise", "");
    let command = stream.tally(&["aggregate", "--listen", "127.0.0.1:0"]);
    let mut second = stream.start("untold", command);
    let line = second.says("health and metrics on", PATIENCE);
    let untold = crate::door::address(&line).to_owned();
    let accounts: Vec<String> = (0..60).map(|number| format!("A{number:09}")).collect();
    let partitions = stream.topic.partitions;
    let bought: Vec<Payload> = accounts
        .iter()
        .map(|account| {
            let at = jiff::Timestamp::now().as_millisecond();
            let command = json!({"command": "purchase", "id": "p", "account": account, "at": at,
                                 "package": "telecom-10m"});
            let partition = tally_schemas::partition_of(account, partitions);
            Payload { partition, value: Some(command.to_string().into_bytes()), batch: false }
        })
        .collect();
    stream.topic.append(&bought);
    let mut seen: BTreeMap<(u16, u16), u32> = BTreeMap::new();
    for account in &accounts {
        let both = eventually(&format!("two answers about {account}"), PATIENCE, || {
            let both = (asked(&told, account), asked(&untold, account));
            // One has it, and the ledger says so.
            let settled = match (both.0.0, both.1.0) {
                (200, 307) => true,
                // Not one that is about to lose it, or has just lost it.
                (503, 200) => both.0.2["code"] == "elsewhere",
                _ => false,
            };
            settled.then_some(both)
        });
        let ((status, _, answer), (other_status, location, other)) = both;
        *seen.entry((status, other_status)).or_default() += 1;
        if status == 200 {
            assert_eq!(answer["buckets"][0]["package"], "telecom-10m", "{answer}");
            let way = format!("http://{told}/v1/accounts/{account}/quota");
            assert_eq!(location.as_deref(), Some(way.as_str()));
        } else {
            assert_eq!(other["buckets"][0]["package"], "telecom-10m", "{other}");
            let partition = tally_schemas::partition_of(account, partitions);
            let entries = stream.ledger().entries(partition);
            let owner = &entries.last().unwrap().owner;
            assert_eq!(answer["owner"], json!(owner), "{answer}");
        }
    }
    assert_eq!(seen.len(), 2, "each has some: {seen:?}");
    assert!(first.terminate(PATIENCE).success() && second.terminate(PATIENCE).success());
}

//! The topic `quota.status` on real Kafka: compacted, what it says of an account last is what the
//! answer over HTTP says, and how soon a gateway that reads it knows that an account is blocked.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use serde_json::{Value, json};
use tally_schemas::partition_of;

use crate::quota::asked;
use crate::support::{Dice, Figures, Payload, Stream, at_scale, eventually, patience};

/// Points of the package `mobile-gift-500k`, one a token. Who has none left is blocked.
const GIFT: u64 = 500_000;
/// Points that are left before the last event of an account.
const LAST: u64 = 1_000;

/// The newest message of each account, by its `as_of_offset`, as a gateway keeps it.
#[derive(Default)]
struct Newest(BTreeMap<String, Value>);

impl Newest {
    fn take(&mut self, value: &[u8]) {
        let message: Value = serde_json::from_slice(value).unwrap();
        let offset = |message: &Value| message["as_of_offset"].as_u64().unwrap();
        let account = message["account"].as_str().unwrap();
        if self.0.get(account).is_none_or(|known| offset(known) <= offset(&message)) {
            self.0.insert(account.to_owned(), message);
        }
    }

    fn says(&self, account: &str, status: &str) -> bool {
        self.0.get(account).is_some_and(|message| message["status"] == status)
    }
}

#[test]
fn gateways_are_told_of_a_blocked_account_by_a_compacted_topic() {
    let dice = Dice::of("quota-topic");
    let mut stream = Stream::new("quota-topic", dice.seed(), 4);
    let command = stream.tally(&["aggregate", "--listen", "127.0.0.1:0"]);
    let mut process = stream.start("member", command);
    let line = process.says("health and metrics on", patience());
    let address = crate::door::address(&line).to_owned();
    let accounts: Vec<String> =
        (0..at_scale(40, 1_000)).map(|number| format!("Q{number:09}")).collect();
    let at_ms = jiff::Timestamp::now().as_millisecond() - 600_000;
    let (partitions, micro) = (stream.topic.partitions, 1_000_000);
    let payload = |account: &str, value: &Value| Payload {
        partition: partition_of(account, partitions),
        value: Some(value.to_string().into_bytes()),
        batch: false,
    };
    let usage = |account: &str, number: i64, tokens: u64| {
        let event = json!({"source": "gw", "id": format!("{account}-{number}"), "account": account,
            "model": "glm-5", "completed_at": at_ms + number, "usage": {"input": tokens}});
        payload(account, &event)
    };
    let mut sold = Vec::new();
    for account in &accounts {
        let purchase = json!({"command": "purchase", "id": "gift", "account": account,
            "at": at_ms, "package": "mobile-gift-500k"});
        sold.extend([payload(account, &purchase), usage(account, 1, GIFT - LAST)]);
    }
    stream.topic.append(&sold);
    for account in &accounts {
        eventually(&format!("{account}: the first event"), patience(), || {
            let (status, _, quota) = asked(&address, account);
            let used = json!((GIFT - LAST) * micro);
            (status == 200 && quota["buckets"][0]["used_micro"] == used).then_some(())
        });
    }

    let topic = stream.status_topic();
    assert_eq!(topic.setting("cleanup.policy").as_deref(), Some("compact"));
    let reader = topic.reader();
    let mut newest = Newest::default();
    // Reads on until the newest message of an account has a status.
    let mut until = |account: &str, status: &str| {
        let began = Instant::now();
        while !newest.says(account, status) {
            let late = began.elapsed() > patience();
            assert!(!late, "{account} is not {status}: {:?}", newest.0.get(account));
            match reader.poll(Duration::from_millis(200)) {
                Some(Ok(message)) => newest.take(message.payload().unwrap()),
                None | Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => panic!("{error}"),
            }
        }
    };
    for account in &accounts {
        until(account, "warned");
    }
    // From before the last event is handed to a producer that has to connect first: what a gateway
    // waits is less.
    let mut times = Vec::new();
    for account in &accounts {
        let began = Instant::now();
        stream.topic.append(&[usage(account, 2, LAST)]);
        until(account, "blocked");
        times.push(began.elapsed());
    }

    let mut newest = Newest::default();
    let mut messages = 0;
    // What was said of each account, in the order in which its offsets rise.
    let mut said: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    topic.each(|partition, value| {
        newest.take(value);
        messages += 1;
        let message: Value = serde_json::from_slice(value).unwrap();
        let account = message["account"].as_str().unwrap();
        assert_eq!(partition, partition_of(account, topic.partitions));
        let status = message["status"].as_str().unwrap().to_owned();
        let offset = message["as_of_offset"].as_u64().unwrap();
        said.entry(account.to_owned()).or_default().push((offset, status));
    });
    // However long it took: blocked is what the last event alone made of an account, and nothing is
    // said as of an earlier offset, or of a better state, after that.
    for (account, said) in &said {
        let grade = |status: &str| ["ok", "warned", "blocked"].iter().position(|s| *s == status);
        assert!(said.iter().all(|(_, status)| grade(status).is_some()), "{account}: {said:?}");
        let graded: Vec<(u64, Option<usize>)> =
            said.iter().map(|(offset, status)| (*offset, grade(status))).collect();
        assert!(graded.is_sorted(), "{account}: {said:?}");
        assert!(graded.is_sorted_by_key(|(_, grade)| *grade), "{account}: {said:?}");
        let blocked = said.iter().position(|(_, status)| status == "blocked").unwrap();
        let before = blocked.checked_sub(1).map(|at| said[at].0);
        assert!(before.is_some_and(|before| before < said[blocked].0), "{account}: {said:?}");
    }
    assert_eq!(newest.0.len(), accounts.len());
    for (account, message) in &newest.0 {
        let (status, _, quota) = asked(&address, account);
        assert_eq!((status, &quota["status"]), (200, &json!("blocked")), "{quota}");
        for field in ["account", "status", "buckets", "caps", "overflow"] {
            assert_eq!(message[field], quota[field], "{field}: {message} beside {quota}");
        }
        let (told, answered) = (&message["as_of_offset"], &quota["as_of"]["offset"]);
        assert!(told.as_u64().unwrap() <= answered.as_u64().unwrap(), "{message} beside {quota}");
    }
    assert!(process.terminate(patience()).success());
    let mut figures = Figures::of("quota.status on Kafka", &dice);
    figures.note("messages", messages);
    figures.note_times("append_to_blocked", times);
    figures.report();
}

//! What an outbox sends, and what it lets an epoch's entry say.

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tally_log::{Appended, LogError};
use tally_schemas::{AlertMessage, LogPosition};

use super::*;
use crate::core::StatusNotice;
use crate::planted::plant;

/// A topic of one partition. Of the appends that fail, every second one is there all the same.
#[derive(Debug, Default)]
struct Topic {
    ids: Mutex<Vec<String>>,
    failures_left: Mutex<u32>,
    reads: Mutex<Vec<Offsets>>,
}

impl NoticeTopic for Topic {
    fn partition_count(&self) -> u32 {
        1
    }

    fn append(&self, record: Outgoing) -> Appended {
        let mut left = self.failures_left.lock();
        let fails = *left > 0;
        *left = left.saturating_sub(1);
        let mut ids = self.ids.lock();
        let offset = ids.len() as u64;
        if !fails || (*left).is_multiple_of(2) {
            let message: AlertMessage = serde_json::from_slice(&record.value).unwrap();
            ids.push(message.id);
        }
        let lost = LogError::Retry("lost".to_owned());
        Box::pin(std::future::ready(if fails { Err(lost) } else { Ok(offset) }))
    }

    fn ends(&self, _: Vec<u32>) -> BoxFuture<'static, Result<Offsets, AggregateError>> {
        Box::pin(std::future::ready(Ok(Offsets::new())))
    }

    fn read_back(&self, from: Offsets) -> BoxFuture<'static, Result<ReadBack, AggregateError>> {
        self.reads.lock().push(from.clone());
        let ids = self.ids.lock();
        let found = ids.iter().skip(usize::try_from(from[&0]).unwrap());
        let alerts = found.map(|id| (id.clone(), LogPosition::default())).collect();
        Box::pin(std::future::ready(Ok(ReadBack { alerts, from, ..ReadBack::default() })))
    }
}

#[derive(Debug)]
struct StillEdge;

impl Edge for StillEdge {
    fn now_ms(&self) -> i64 {
        1_000
    }

    fn new_owner(&self) -> String {
        "owner".to_owned()
    }

    fn pause(&self, _: u32, _: &AggregateError) -> BoxFuture<'static, ()> {
        Box::pin(tokio::task::yield_now())
    }
}

fn alert(id: &str, offset: u64) -> Notice {
    let message = AlertMessage {
        id: id.to_owned(),
        kind: "cap".to_owned(),
        account: Some("A1".to_owned()),
        position: Some(LogPosition { partition: 0, offset }),
        ..AlertMessage::default()
    };
    Notice::Alert(AlertNotice { message, logged_at_ms: 400 })
}

/// An outbox over a topic in which ids are from offset `from` on, with the positions of the
/// records that caused them.
fn outbox(topic: &Arc<Topic>, from: u64, sent: &[(&str, u64)]) -> (Outbox, StreamStatus) {
    let mut read_back = ReadBack { from: Offsets::from([(0, from)]), ..ReadBack::default() };
    for (id, offset) in sent {
        let position = LogPosition { partition: 0, offset: *offset };
        read_back.alerts.insert((*id).to_owned(), position);
    }
    let topics =
        NoticeTopics { alerts: Some(Arc::clone(topic) as Arc<dyn NoticeTopic>), statuses: None };
    let status = StreamStatus::default();
    let (outbox, courier) = open_outbox(topics, Arc::new(StillEdge), status.clone(), read_back);
    tokio::spawn(courier.run());
    (outbox, status)
}

async fn ends_of(outbox: &Outbox) -> u64 {
    let notices = outbox.close_epoch();
    notices.acknowledged().await.unwrap().unwrap()[&0]
}

#[tokio::test]
async fn what_a_predecessor_sent_is_not_sent_again_and_stays_to_be_read_back() {
    let topic = Arc::new(Topic::default());
    topic.ids.lock().extend(["old", "a10", "a50"].map(str::to_owned));
    let (mut outbox, _) = outbox(&topic, 1, &[("a10", 10), ("a50", 50)]);
    outbox.hand_over(vec![alert("a10", 10), alert("a15", 15)], 20);
    assert_eq!(ends_of(&outbox).await, 1, "a50 belongs to a later epoch");
    assert_eq!(*topic.ids.lock(), ["old", "a10", "a50", "a15"]);
    assert_eq!(ends_of(&outbox).await, 1);
    outbox.hand_over(vec![alert("a50", 50)], 51);
    assert_eq!(ends_of(&outbox).await, 4, "nothing of the predecessor is left");
    outbox.hand_over(vec![alert("a60", 60)], 61);
    assert_eq!(ends_of(&outbox).await, 4, "as it was when the epoch closed");
    assert_eq!(ends_of(&outbox).await, 5);
}

/// What comes of it takes two crashes in a row and an append that failed between them, which few
/// seeds of the simulation have: so this bug is planted here.
#[tokio::test]
async fn an_end_behind_what_the_replay_has_yet_to_come_by_is_noticed() {
    let topic = Arc::new(Topic::default());
    topic.ids.lock().extend(["a10", "a50"].map(str::to_owned));
    let (mut outbox, _) = outbox(&topic, 0, &[("a10", 10), ("a50", 50)]);
    outbox.hand_over(vec![alert("a10", 10), alert("a15", 15)], 20);
    outbox.close_epoch().acknowledged().await.unwrap();
    plant(Some(Bug::AlertsEndBehindReplay));
    let wrong = ends_of(&outbox).await;
    plant(None);
    // From there, a next owner would not find a50, and send it again.
    assert_eq!((wrong, ends_of(&outbox).await), (3, 0));
}

#[tokio::test]
async fn an_alert_that_the_replay_does_not_give_holds_nothing_up() {
    let topic = Arc::new(Topic::default());
    let (mut outbox, _) = outbox(&topic, 0, &[("stranger", 10)]);
    outbox.hand_over(vec![alert("a5", 5)], 9);
    outbox.hand_over(Vec::new(), 11);
    outbox.close_epoch().acknowledged().await.unwrap();
    assert_eq!(ends_of(&outbox).await, 1);
}

#[tokio::test]
async fn a_lost_reply_is_looked_for_before_anything_is_sent_again() {
    let topic = Arc::new(Topic::default());
    *topic.failures_left.lock() = 7;
    let (mut outbox, status) = outbox(&topic, 0, &[]);
    let ids: Vec<String> = (0..20).map(|n| format!("a{n}")).collect();
    outbox.hand_over(ids.iter().map(|id| alert(id, 1)).collect(), 2);
    outbox.close_epoch().acknowledged().await.unwrap();
    let mut sent = topic.ids.lock().clone();
    sent.sort();
    let mut must = ids.clone();
    must.sort();
    assert_eq!(sent, must, "each once");
    assert!(topic.reads.lock().iter().all(|from| *from == Offsets::from([(0, 0)])));
    assert_eq!(status.counters().alerts.lock()["cap"], 20);
}

#[tokio::test]
async fn an_outbox_is_full_while_the_log_takes_nothing() {
    let topic = Arc::new(Topic::default());
    *topic.failures_left.lock() = u32::MAX;
    let (mut outbox, _) = outbox(&topic, 0, &[]);
    let many = (0..WAITING_MAX).map(|n| alert(&format!("a{n}"), n)).collect();
    outbox.hand_over(many, WAITING_MAX);
    assert!(outbox.is_full());
    *topic.failures_left.lock() = 0;
    while outbox.waiting() > 0 {
        outbox.moved().await;
    }
    assert!(!outbox.is_full());
    assert_eq!(topic.ids.lock().len() as u64, WAITING_MAX);
}

#[tokio::test]
async fn without_a_topic_an_epoch_waits_for_nothing() {
    let (mut outbox, courier) = open_outbox(
        NoticeTopics::default(),
        Arc::new(StillEdge),
        StreamStatus::default(),
        ReadBack::default(),
    );
    tokio::spawn(courier.run());
    outbox.hand_over(vec![alert("a", 0)], 1);
    assert_eq!(outbox.close_epoch().acknowledged().await.unwrap(), None);
}

/// A topic that keeps the keys and values of what is there; of those that fail every second one is
/// there all the same.
#[derive(Debug, Default)]
struct StatusTopic {
    values: Mutex<Vec<(String, u64)>>,
    failures_left: Mutex<u32>,
}

impl NoticeTopic for StatusTopic {
    fn partition_count(&self) -> u32 {
        1
    }

    fn append(&self, record: Outgoing) -> Appended {
        let mut left = self.failures_left.lock();
        // Some fail, and those behind them do not.
        let fails = *left > 0 && !(*left).is_multiple_of(3);
        *left = left.saturating_sub(1);
        if !fails || (*left).is_multiple_of(2) {
            let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            let value = String::from_utf8(record.value.to_vec()).unwrap();
            self.values.lock().push((key, value.parse().unwrap()));
        }
        let lost = LogError::Retry("lost".to_owned());
        Box::pin(std::future::ready(if fails { Err(lost) } else { Ok(0) }))
    }

    fn ends(&self, _: Vec<u32>) -> BoxFuture<'static, Result<Offsets, AggregateError>> {
        unreachable!("statuses are not read back")
    }

    fn read_back(&self, _: Offsets) -> BoxFuture<'static, Result<ReadBack, AggregateError>> {
        unreachable!("statuses are not read back")
    }
}

/// A status as of an offset; the message is the offset alone.
fn status(account: u64, offset: u64) -> Notice {
    Notice::Status(StatusNotice { account: format!("A{account}"), message: offset.to_string() })
}

#[tokio::test]
async fn statuses_of_an_account_never_fall_though_appends_fail() {
    let topic = Arc::new(StatusTopic::default());
    *topic.failures_left.lock() = 200;
    let topics =
        NoticeTopics { alerts: None, statuses: Some(Arc::clone(&topic) as Arc<dyn NoticeTopic>) };
    let counted = StreamStatus::default();
    let (mut outbox, courier) =
        open_outbox(topics, Arc::new(StillEdge), counted.clone(), ReadBack::default());
    tokio::spawn(courier.run());
    let mut newest = std::collections::BTreeMap::new();
    for offset in 0..300 {
        let account = offset * 7 % 5;
        newest.insert(format!("A{account}"), offset);
        outbox.hand_over(vec![status(account, offset)], offset);
        if offset % 11 == 0 {
            // Time for some of them to go.
            outbox.moved().await;
        }
    }
    outbox.close_epoch().acknowledged().await.unwrap();
    let values = topic.values.lock().clone();
    let mut held: std::collections::BTreeMap<String, u64> = Default::default();
    for (account, offset) in values {
        let before = held.insert(account, offset);
        assert!(before.is_none_or(|before| before <= offset), "{before:?} and then {offset}");
    }
    assert_eq!(held, newest, "the newest of each is there when the epoch may be committed");
    let sent = counted.counters().statuses.load(std::sync::atomic::Ordering::Relaxed);
    assert!((5..=300).contains(&sent), "{sent}");
}

//! A log whose answers the test decides on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use prost::Message;
use tally_log::{
    Appended, Assignee, Bounds, EventLog, LogError, LogProducer, Outgoing, PartitionReader,
    RecordKind,
};
use tally_schemas::{UsageBatch, UsageEventMessage};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What the log answers to an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answering {
    Acknowledge,
    /// Nothing, until the test changes its mind.
    Hold,
    Fail(LogError),
    /// Fails records of one partition only.
    FailPartition(u32, LogError),
}

#[derive(Debug)]
pub(crate) struct ControlledLog {
    partitions: u32,
    answering: watch::Sender<Answering>,
    appended: Arc<Mutex<Vec<Outgoing>>>,
}

impl ControlledLog {
    pub(crate) fn new(partitions: u32) -> Arc<Self> {
        let answering = watch::Sender::new(Answering::Acknowledge);
        Arc::new(Self { partitions, answering, appended: Arc::default() })
    }

    pub(crate) fn answer_with(&self, answering: Answering) {
        self.answering.send_replace(answering);
    }

    /// Every record that was appended, acknowledged or not.
    pub(crate) fn records(&self) -> Vec<Outgoing> {
        self.appended.lock().unwrap().clone()
    }

    /// The events of every batch, by partition and in order, each checked to be where it belongs.
    pub(crate) fn batched_events(&self) -> Vec<UsageEventMessage> {
        let mut events = Vec::new();
        for record in self.records() {
            if record.kind == RecordKind::Batch {
                assert_eq!(record.key, None, "a batch has no key");
                for event in UsageBatch::decode(record.value).unwrap().events {
                    let home = tally_schemas::partition_of(&event.account, self.partitions);
                    assert_eq!(home, record.partition, "an event in the partition of its account");
                    events.push(event);
                }
            }
        }
        events
    }

    /// The values of single records, each checked to be where its key belongs.
    pub(crate) fn singles(&self) -> Vec<serde_json::Value> {
        let mut values = Vec::new();
        for record in self.records() {
            if record.kind == RecordKind::Single {
                let key = record.key.unwrap();
                let account = std::str::from_utf8(&key).unwrap();
                assert_eq!(record.partition, tally_schemas::partition_of(account, self.partitions));
                let value: serde_json::Value = serde_json::from_slice(&record.value).unwrap();
                assert_eq!(value["account"], account, "the key is the account");
                values.push(value);
            }
        }
        values
    }
}

struct ControlledProducer {
    answering: watch::Receiver<Answering>,
    appended: Arc<Mutex<Vec<Outgoing>>>,
}

impl LogProducer for ControlledProducer {
    fn append(&self, record: Outgoing) -> Appended {
        let mut answering = self.answering.clone();
        let partition = record.partition;
        let offset = {
            let mut appended = self.appended.lock().unwrap();
            appended.push(record);
            u64::try_from(appended.len()).unwrap()
        };
        Box::pin(async move {
            let answer = answering.wait_for(|answer| *answer != Answering::Hold).await;
            match answer.map(|answer| answer.clone()) {
                Ok(Answering::Fail(error)) => Err(error),
                Ok(Answering::FailPartition(failing, error)) if failing == partition => Err(error),
                Ok(_) => Ok(offset),
                Err(_) => Err(LogError::Retry("the log is gone".to_owned())),
            }
        })
    }

    fn flush(&self, _: Duration) -> Result<(), LogError> {
        Ok(())
    }
}

impl EventLog for ControlledLog {
    fn topic(&self) -> &str {
        "usage.events"
    }
    fn partition_count(&self) -> u32 {
        self.partitions
    }
    fn bounds(&self, _: u32) -> Result<Bounds, LogError> {
        Ok(Bounds { start: 0, end: 0 })
    }
    fn reader_at(&self, _: u32, _: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        Err(LogError::Invalid("the door does not read".to_owned()))
    }
    fn producer(&self) -> Result<Arc<dyn LogProducer>, LogError> {
        Ok(Arc::new(ControlledProducer {
            answering: self.answering.subscribe(),
            appended: Arc::clone(&self.appended),
        }))
    }
    fn consume(&self, _: Arc<dyn Assignee>, _: CancellationToken) -> Result<(), LogError> {
        Err(LogError::Invalid("the door does not read".to_owned()))
    }
    fn reassign(&self, _: u32) {}
    fn note_committed(&self, _: u32, _: u64) {}
}

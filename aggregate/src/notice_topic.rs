//! The topics that notices go to, as the outbox needs them: append, and read back what is there.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use tally_log::{Appended, EventLog, LogError, LogProducer, Outgoing, PartitionReader};
use tally_schemas::{AlertMessage, LogPosition, Offsets};
use tokio::runtime::Handle;

use crate::error::AggregateError;

/// A topic that notices go to.
pub trait NoticeTopic: Send + Sync + fmt::Debug {
    /// Number of partitions.
    fn partition_count(&self) -> u32;

    /// Appends a record. An error says nothing about whether it was appended.
    fn append(&self, record: Outgoing) -> Appended;

    /// The next offset of each of these partitions.
    fn ends(&self, partitions: Vec<u32>) -> BoxFuture<'static, Result<Offsets, AggregateError>>;

    /// Reads partitions from these offsets to where they end now. Where a partition ends before,
    /// it was made anew, and is read from its start.
    fn read_back(&self, from: Offsets) -> BoxFuture<'static, Result<ReadBack, AggregateError>>;
}

/// What was read back of a topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadBack {
    /// Ids of the alerts, and where the record lies that caused each.
    pub alerts: BTreeMap<String, LogPosition>,
    /// The same of budgets and commitments, whose records are in the topic of increments.
    pub of_budgets: BTreeMap<String, LogPosition>,
    /// Where each partition was read from.
    pub from: Offsets,
}

impl ReadBack {
    /// Adds a record, where it is an alert that a record of the log caused.
    pub(crate) fn add(&mut self, value: Option<&[u8]>) {
        let Some(sent) = value.and_then(AlertMessage::sent_at) else { return };
        let found = if sent.of_budget { &mut self.of_budgets } else { &mut self.alerts };
        found.insert(sent.id, sent.position);
    }
}

/// The topics that notices go to. What has no topic is not sent.
#[derive(Debug, Clone, Default)]
pub struct NoticeTopics {
    /// `usage.alerts`.
    pub alerts: Option<Arc<dyn NoticeTopic>>,
    /// `quota.status`.
    pub statuses: Option<Arc<dyn NoticeTopic>>,
}

/// The partitions of a topic of `topic_count` partitions that accounts of a partition may fall
/// into. Both are the hash of the account modulo a count, so they agree modulo what divides both.
pub(crate) fn partitions_reached(
    partition: u32,
    partition_count: u32,
    topic_count: u32,
) -> Vec<u32> {
    let (mut common, mut rest) = (topic_count.max(1), partition_count.max(1));
    while rest > 0 {
        (common, rest) = (rest, common % rest);
    }
    (0..topic_count).filter(|reached| reached % common == partition % common).collect()
}

/// A topic of the real log.
pub struct LogTopic {
    log: Arc<dyn EventLog>,
    producer: Arc<dyn LogProducer>,
    runtime: Handle,
}

impl fmt::Debug for LogTopic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogTopic").field("topic", &self.log.topic()).finish_non_exhaustive()
    }
}

impl LogTopic {
    /// A topic of a log that is open. Blocking calls run on `runtime`.
    ///
    /// # Errors
    /// Where the log has no producer.
    pub fn open(log: Arc<dyn EventLog>, runtime: Handle) -> Result<Arc<Self>, LogError> {
        let producer = log.producer()?;
        Ok(Arc::new(Self { log, producer, runtime }))
    }

    /// Asks the log on a thread that may block.
    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&dyn EventLog) -> Result<T, LogError> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, AggregateError>> {
        let log = Arc::clone(&self.log);
        let asked = self.runtime.spawn_blocking(move || question(log.as_ref()));
        Box::pin(async move {
            let answer = asked.await.unwrap_or_else(|e| Err(LogError::Internal(e.to_string())));
            answer.map_err(AggregateError::from)
        })
    }
}

impl NoticeTopic for LogTopic {
    fn partition_count(&self) -> u32 {
        self.log.partition_count()
    }

    fn append(&self, record: Outgoing) -> Appended {
        self.producer.append(record)
    }

    fn ends(&self, partitions: Vec<u32>) -> BoxFuture<'static, Result<Offsets, AggregateError>> {
        self.ask(move |log| partitions.into_iter().map(|p| Ok((p, log.bounds(p)?.end))).collect())
    }

    fn read_back(&self, from: Offsets) -> BoxFuture<'static, Result<ReadBack, AggregateError>> {
        self.ask(move |log| {
            let mut found = ReadBack::default();
            for (partition, from) in from {
                read_partition(log, partition, from, &mut found)?;
            }
            Ok(found)
        })
    }
}

/// Records that are read at a time.
const READ_MAX: usize = 4_096;
/// How long one read waits.
const READ_WAIT: Duration = Duration::from_millis(500);
/// Reads without a record after which the log does not answer.
const EMPTY_READS_MAX: u32 = 20;

fn read_partition(
    log: &dyn EventLog,
    partition: u32,
    from: u64,
    found: &mut ReadBack,
) -> Result<(), LogError> {
    let bounds = log.bounds(partition)?;
    let next = if from > bounds.end { bounds.start } else { from.max(bounds.start) };
    found.from.insert(partition, next);
    if next >= bounds.end {
        return Ok(());
    }
    read_to(log.reader_at(partition, next)?.as_mut(), next, bounds.end, found)
}

/// Reads from the offset `next` up to `end`.
fn read_to(
    reader: &mut dyn PartitionReader,
    mut next: u64,
    end: u64,
    found: &mut ReadBack,
) -> Result<(), LogError> {
    let mut empty_reads = 0;
    while next < end {
        let read = reader.read(READ_MAX, READ_WAIT, &mut |record| {
            next = record.offset + 1;
            found.add(record.value);
        })?;
        empty_reads = if read == 0 { empty_reads + 1 } else { 0 };
        // Offsets that are left hold nothing, as those of a transaction's markers do.
        if read == 0 && reader.is_at_end() {
            break;
        }
        // What was sent may be among what did not come, and would be sent again.
        if empty_reads >= EMPTY_READS_MAX {
            let why =
                format!("what was sent cannot be read back: offset {next} of {end} does not come");
            return Err(LogError::Retry(why));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tally_log::{LogErrorKind, MemoryLog, Record, RecordKind};
    use tally_schemas::partition_of;

    use super::*;

    #[test]
    fn accounts_reach_no_other_partitions() {
        for (count, topic_count) in [(16, 16), (16, 4), (4, 16), (6, 4), (5, 7), (1, 3), (3, 1)] {
            for account in (0..200).map(|n| format!("A{n}")) {
                let partition = partition_of(&account, count);
                let reached = partitions_reached(partition, count, topic_count);
                let home = partition_of(&account, topic_count);
                assert!(reached.contains(&home), "{account}: {count} and {topic_count}");
            }
        }
        assert_eq!(partitions_reached(3, 16, 16), [3]);
        assert_eq!(partitions_reached(1, 6, 4), [1, 3]);
        assert_eq!(partitions_reached(1, 5, 3), [0, 1, 2]);
    }

    #[tokio::test]
    async fn a_topic_is_read_back_from_an_offset_to_its_end() {
        let log = MemoryLog::new("usage.alerts", 2);
        let append = |partition, text: &str| {
            let value = Bytes::from(text.to_owned());
            log.append_at(partition, None, Some(value), RecordKind::Single, 0).unwrap();
        };
        for n in 0..5 {
            let position = format!("{{\"partition\":7,\"offset\":{n}}}");
            let kind = "\"kind\":\"percent_used\"";
            append(n % 2, &format!("{{\"id\":\"a{n}\",{kind},\"position\":{position}}}"));
        }
        append(0, "not an alert");
        let topic = LogTopic::open(Arc::new(log), Handle::current()).unwrap();
        assert_eq!(topic.ends(vec![0, 1]).await.unwrap(), Offsets::from([(0, 4), (1, 2)]));
        let read = topic.read_back(Offsets::from([(0, 1), (1, 2)])).await.unwrap();
        let ids: Vec<&str> = read.alerts.keys().map(String::as_str).collect();
        assert_eq!((ids, read.alerts["a2"].offset), (vec!["a2", "a4"], 2));
        assert_eq!(read.from, Offsets::from([(0, 1), (1, 2)]));
        // Ends before: made anew since.
        let read = topic.read_back(Offsets::from([(1, 100)])).await.unwrap();
        assert_eq!(read.alerts.len(), 2);
        assert_eq!(read.from, Offsets::from([(1, 0)]));
    }

    /// Finds nothing, at the end or for want of an answer.
    struct Nothing {
        at_end: bool,
    }

    impl PartitionReader for Nothing {
        fn read(
            &mut self,
            _: usize,
            _: Duration,
            _: &mut dyn FnMut(Record<'_>),
        ) -> Result<usize, LogError> {
            Ok(0)
        }

        fn known_end(&self) -> Option<u64> {
            None
        }

        fn is_at_end(&self) -> bool {
            self.at_end
        }
    }

    #[test]
    fn a_log_that_does_not_answer_is_not_taken_for_one_without_alerts() {
        let read = |at_end| read_to(&mut Nothing { at_end }, 3, 5, &mut ReadBack::default());
        assert_eq!(read(true), Ok(()));
        assert_eq!(read(false).unwrap_err().kind(), LogErrorKind::Retry);
    }
}

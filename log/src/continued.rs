//! A topic that a stream goes on with after its partition count was changed: it has the stream's
//! name, and its offsets go on above those of the topics before it. So a position names one record,
//! and later ones are greater, whatever topic they came by.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::{
    Appended, Assignee, Bounds, EventLog, LogError, LogProducer, Outgoing, PartitionReader, Record,
    TraceParent, TracedRecord,
};

/// What a stream has gone on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Continued {
    /// Name of the topic.
    pub topic: String,
    /// What its offset 0 counts as.
    pub first_offset: u64,
}

/// A topic under the name of the stream, with its offsets moved.
pub struct ContinuedLog {
    stream: String,
    continued: Continued,
    log: Arc<dyn EventLog>,
}

impl std::fmt::Debug for ContinuedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ContinuedLog")
            .field("stream", &self.stream)
            .field("continued", &self.continued)
            .finish_non_exhaustive()
    }
}

impl ContinuedLog {
    /// The topic of `log` as that of a stream, from `first_offset` on.
    pub fn new(stream: &str, first_offset: u64, log: Arc<dyn EventLog>) -> Self {
        let continued = Continued { topic: log.topic().to_owned(), first_offset };
        Self { stream: stream.to_owned(), continued, log }
    }

    fn shift(&self) -> Shift {
        Shift(self.continued.first_offset)
    }
}

/// Between the offsets of the topic and those of the stream.
#[derive(Debug, Clone, Copy)]
struct Shift(u64);

impl Shift {
    fn of_stream(self, offset: u64) -> u64 {
        offset.saturating_add(self.0)
    }

    fn bounds(self, bounds: Bounds) -> Bounds {
        Bounds { start: self.of_stream(bounds.start), end: self.of_stream(bounds.end) }
    }

    /// An offset of the topic; one of a topic before it is none.
    fn of_topic(self, partition: u32, offset: u64) -> Result<u64, LogError> {
        offset.checked_sub(self.0).ok_or_else(|| {
            LogError::Invalid(format!(
                "partition {partition}: offset {offset} is before {}, where the topic begins",
                self.0
            ))
        })
    }

    fn error(self, error: LogError) -> LogError {
        match error {
            LogError::OffsetLost { partition, wanted, start } => LogError::OffsetLost {
                partition,
                wanted: self.of_stream(wanted),
                start: self.of_stream(start),
            },
            LogError::Truncated { partition, wanted, end } => LogError::Truncated {
                partition,
                wanted: self.of_stream(wanted),
                end: self.of_stream(end),
            },
            other => other,
        }
    }
}

impl EventLog for ContinuedLog {
    fn topic(&self) -> &str {
        &self.stream
    }

    fn continued(&self) -> Option<&Continued> {
        Some(&self.continued)
    }

    fn partition_count(&self) -> u32 {
        self.log.partition_count()
    }

    fn bounds(&self, partition: u32) -> Result<Bounds, LogError> {
        self.log.bounds(partition).map(|bounds| self.shift().bounds(bounds))
    }

    fn failure(&self) -> Option<LogError> {
        self.log.failure()
    }

    fn reader_at(&self, partition: u32, offset: u64) -> Result<Box<dyn PartitionReader>, LogError> {
        let shift = self.shift();
        let reader = self.log.reader_at(partition, shift.of_topic(partition, offset)?)?;
        Ok(Box::new(ContinuedReader { shift, reader }))
    }

    fn producer(&self) -> Result<Arc<dyn LogProducer>, LogError> {
        Ok(Arc::new(ContinuedProducer { shift: self.shift(), producer: self.log.producer()? }))
    }

    fn consume(
        &self,
        assignee: Arc<dyn Assignee>,
        stop: CancellationToken,
    ) -> Result<(), LogError> {
        self.log.consume(Arc::new(ContinuedAssignee { shift: self.shift(), assignee }), stop)
    }

    fn reassign(&self, partition: u32) {
        self.log.reassign(partition);
    }

    fn note_committed(&self, partition: u32, offset: u64) {
        // What was committed by a topic before this one says nothing of it.
        self.log.note_committed(partition, offset.saturating_sub(self.continued.first_offset));
    }
}

struct ContinuedReader {
    shift: Shift,
    reader: Box<dyn PartitionReader>,
}

impl PartitionReader for ContinuedReader {
    fn read(
        &mut self,
        max: usize,
        wait: Duration,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, LogError> {
        let shift = self.shift;
        let mut moved = |record: Record<'_>| {
            sink(Record { offset: shift.of_stream(record.offset), ..record });
        };
        self.reader.read(max, wait, &mut moved).map_err(|error| shift.error(error))
    }

    fn is_at_end(&self) -> bool {
        self.reader.is_at_end()
    }

    fn known_end(&self) -> Option<u64> {
        self.reader.known_end().map(|end| self.shift.of_stream(end))
    }

    fn take_traced(&mut self) -> Vec<TracedRecord> {
        let mut traced = self.reader.take_traced();
        for record in &mut traced {
            record.offset = self.shift.of_stream(record.offset);
        }
        traced
    }
}

struct ContinuedProducer {
    shift: Shift,
    producer: Arc<dyn LogProducer>,
}

impl ContinuedProducer {
    fn moved(&self, appended: Appended) -> Appended {
        let shift = self.shift;
        Box::pin(async move { appended.await.map(|offset| shift.of_stream(offset)) })
    }
}

impl LogProducer for ContinuedProducer {
    fn append(&self, record: Outgoing) -> Appended {
        self.moved(self.producer.append(record))
    }

    fn append_traced(&self, record: Outgoing, parent: Option<&TraceParent>) -> Appended {
        self.moved(self.producer.append_traced(record, parent))
    }

    fn flush(&self, timeout: Duration) -> Result<(), LogError> {
        self.producer.flush(timeout)
    }
}

struct ContinuedAssignee {
    shift: Shift,
    assignee: Arc<dyn Assignee>,
}

impl Assignee for ContinuedAssignee {
    fn assign(&self, partition: u32, bounds: Bounds) -> Result<u64, LogError> {
        let offset = self.assignee.assign(partition, self.shift.bounds(bounds))?;
        self.shift.of_topic(partition, offset)
    }

    fn start(&self, partition: u32, reader: Box<dyn PartitionReader>) {
        self.assignee.start(partition, Box::new(ContinuedReader { shift: self.shift, reader }));
    }

    fn revoke(&self, partitions: &[u32]) {
        self.assignee.revoke(partitions);
    }

    fn told(&self) {
        self.assignee.told();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::{MemoryLog, RecordKind};

    #[test]
    fn a_continued_topic_has_the_streams_name_and_goes_on_above() {
        let topic = Arc::new(MemoryLog::new("usage.events.2", 3));
        let log = ContinuedLog::new("usage.events", 1_000, topic);
        assert_eq!(log.topic(), "usage.events");
        assert_eq!(
            log.continued(),
            Some(&Continued { topic: "usage.events.2".to_owned(), first_offset: 1_000 })
        );
        assert_eq!(log.bounds(1).unwrap(), Bounds { start: 1_000, end: 1_000 });
        let record = |value: &'static [u8]| Outgoing {
            partition: 1,
            key: None,
            value: Bytes::from_static(value),
            kind: RecordKind::Single,
        };
        let producer = log.producer().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let offsets: Vec<u64> = [record(b"a"), record(b"b")]
            .into_iter()
            .map(|record| runtime.block_on(producer.append(record)).unwrap())
            .collect();
        assert_eq!(offsets, [1_000, 1_001]);
        let mut reader = log.reader_at(1, 1_001).unwrap();
        let mut read = Vec::new();
        reader
            .read(10, Duration::ZERO, &mut |record| {
                read.push((record.offset, record.value.unwrap().to_vec()));
            })
            .unwrap();
        assert_eq!(read, [(1_001, b"b".to_vec())]);
        assert!(matches!(log.reader_at(1, 999), Err(LogError::Invalid(_))));
    }
}

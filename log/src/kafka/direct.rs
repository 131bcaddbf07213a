//! Reads one partition by a client of its own, outside of the group.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::context::QuietContext;
use super::reader::{Ends, KafkaReader, Place};
use super::settings::Settings;
use super::{admin, log_error};
use crate::gate::Gate;
use crate::{LogError, PartitionReader, Record};

/// A reader with a client of its own, which ends with it.
pub(super) struct DirectReader {
    reader: KafkaReader<QuietContext>,
    client: Arc<BaseConsumer<QuietContext>>,
}

impl DirectReader {
    pub(super) fn open(
        settings: &Settings,
        partition_count: u32,
        partition: u32,
        offset: u64,
    ) -> Result<Self, LogError> {
        let topic = settings.topic();
        let client: BaseConsumer<QuietContext> = settings
            .direct(partition_count)
            .create_with_context(QuietContext::default())
            .map_err(|error| log_error("Kafka reader", &error))?;
        let client = Arc::new(client);
        let id = admin::partition_id(partition)?;
        let start = i64::try_from(offset)
            .map_err(|_| LogError::Invalid(format!("{offset} is no offset of Kafka")))?;
        // As in a group: the queue first, then the assignment, so that no record strays.
        let queue = client.split_partition_queue(topic, id).ok_or_else(|| {
            LogError::Internal(format!("partition {partition} has no queue to split off"))
        })?;
        let mut assignment = TopicPartitionList::new();
        assignment
            .add_partition_offset(topic, id, Offset::Offset(start))
            .and_then(|()| client.assign(&assignment))
            .map_err(|error| log_error(&format!("partition {partition} of {topic}"), &error))?;
        let place = Place { partition, offset, gate: Arc::new(Gate::new(partition)) };
        let ends = Arc::new(Ends::new(partition_count));
        let reader = KafkaReader::new(queue, Arc::clone(&client), topic, place, ends);
        Ok(Self { reader, client })
    }
}

impl PartitionReader for DirectReader {
    fn read(
        &mut self,
        max: usize,
        wait: Duration,
        sink: &mut dyn FnMut(Record<'_>),
    ) -> Result<usize, LogError> {
        // Log lines and errors of the client; the records come by the partition's queue.
        drop(self.client.poll(Duration::ZERO));
        self.reader.read(max, wait, sink)
    }

    fn is_at_end(&self) -> bool {
        self.reader.is_at_end()
    }

    fn known_end(&self) -> Option<u64> {
        self.reader.known_end()
    }
}

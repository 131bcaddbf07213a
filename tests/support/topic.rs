//! A topic of the real broker, with what only an administrator can do to it.

use std::collections::BTreeSet;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::deadline::eventually;
use super::ledger::block_on;

const PATIENCE: Duration = Duration::from_secs(20);

/// A record as a producer outside of Tally may write it.
#[derive(Debug, Clone)]
pub(crate) struct Payload {
    /// Partition.
    pub(crate) partition: u32,
    /// Value; `None` is a tombstone.
    pub(crate) value: Option<Vec<u8>>,
    /// Whether the header says that the value is a batch.
    pub(crate) batch: bool,
}

/// A topic.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    bootstrap: String,
    /// Name.
    pub(crate) name: String,
    /// Number of partitions.
    pub(crate) partitions: u32,
}

impl Topic {
    /// Creates a topic.
    pub(crate) fn create(bootstrap: &str, name: &str, partitions: u32) -> Self {
        let topic = Self { bootstrap: bootstrap.to_owned(), name: name.to_owned(), partitions };
        topic.make();
        topic
    }

    /// A topic that is there.
    pub(crate) fn existing(bootstrap: &str, name: &str) -> Self {
        let asker: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
        let metadata = asker.fetch_metadata(Some(name), PATIENCE).unwrap();
        let partitions = u32::try_from(metadata.topics()[0].partitions().len()).unwrap();
        assert!(partitions > 0, "there is no topic {name}");
        Self { bootstrap: bootstrap.to_owned(), name: name.to_owned(), partitions }
    }

    /// Every record: its partition and its value.
    pub(crate) fn values(&self) -> Vec<(u32, Vec<u8>)> {
        let mut values = Vec::new();
        self.each(|partition, value| values.push((partition, value.to_vec())));
        values
    }

    /// Hands over every record, its partition and its value, without keeping any. A compacted topic
    /// has gaps: the broker tells where a partition ends.
    pub(crate) fn each(&self, mut take: impl FnMut(u32, &[u8])) {
        let reader = self.reader();
        let mut left: BTreeSet<i32> = (0..self.partitions).map(u32::cast_signed).collect();
        while !left.is_empty() {
            let polled =
                eventually("a record", PATIENCE, || reader.poll(Duration::from_millis(500)));
            match polled {
                Ok(message) => {
                    let partition = u32::try_from(message.partition()).unwrap();
                    take(partition, message.payload().unwrap_or_default());
                }
                Err(KafkaError::PartitionEOF(partition)) => {
                    left.remove(&partition);
                }
                Err(error) => panic!("topic {}: {error}", self.name),
            }
        }
    }

    /// Who reads all partitions from their start, without a group, and is told where one ends.
    pub(crate) fn reader(&self) -> BaseConsumer {
        let reader: BaseConsumer = self
            .client()
            .set("group.id", "tally-test-reader")
            .set("enable.auto.commit", "false")
            .set("enable.partition.eof", "true")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        for partition in 0..self.partitions {
            let id = partition.cast_signed();
            list.add_partition_offset(&self.name, id, Offset::Beginning).unwrap();
        }
        reader.assign(&list).unwrap();
        reader
    }

    /// A setting of the topic, as the broker has it.
    pub(crate) fn setting(&self, name: &str) -> Option<String> {
        let topic = [ResourceSpecifier::Topic(&self.name)];
        let told = block_on(self.admin().describe_configs(&topic, &AdminOptions::new())).unwrap();
        told[0].as_ref().unwrap().get(name).and_then(|entry| entry.value.clone())
    }

    fn make(&self) {
        let count = i32::try_from(self.partitions).unwrap();
        let new = NewTopic::new(&self.name, count, TopicReplication::Fixed(1));
        let made = block_on(self.admin().create_topics([&new], &AdminOptions::new())).unwrap();
        assert!(made.iter().all(Result::is_ok), "topic {}: {made:?}", self.name);
    }

    /// Deletes the topic and creates one of the same name, as somebody does by mistake.
    pub(crate) fn recreate(&self) {
        let options = AdminOptions::new();
        let gone = block_on(self.admin().delete_topics(&[&self.name], &options)).unwrap();
        assert!(gone.iter().all(Result::is_ok), "topic {}: {gone:?}", self.name);
        // The name is free only when the broker has removed the old topic.
        let count = i32::try_from(self.partitions).unwrap();
        eventually("the topic's new life", PATIENCE, || {
            let new = NewTopic::new(&self.name, count, TopicReplication::Fixed(1));
            let made = block_on(self.admin().create_topics([&new], &options)).unwrap();
            made.iter().all(Result::is_ok).then_some(())
        });
    }

    /// Removes the records before `offset`, as retention does.
    pub(crate) fn delete_records_before(&self, partition: u32, offset: u64) {
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(i64::try_from(offset).unwrap());
        let id = i32::try_from(partition).unwrap();
        list.add_partition_offset(&self.name, id, offset).unwrap();
        let deleted = block_on(self.admin().delete_records(&list, &AdminOptions::new())).unwrap();
        for element in deleted.elements() {
            element.error().unwrap();
        }
    }

    /// First offset that exists, and next offset to be written.
    pub(crate) fn bounds(&self, partition: u32) -> (u64, u64) {
        let asker: BaseConsumer = self.client().create().unwrap();
        let id = i32::try_from(partition).unwrap();
        let (start, end) = asker.fetch_watermarks(&self.name, id, PATIENCE).unwrap();
        (u64::try_from(start).unwrap(), u64::try_from(end).unwrap())
    }

    /// Records in the topic.
    pub(crate) fn records(&self) -> u64 {
        (0..self.partitions).map(|p| self.bounds(p)).map(|(start, end)| end - start).sum()
    }

    /// Appends records in order and returns the offset of each.
    pub(crate) fn append(&self, payloads: &[Payload]) -> Vec<u64> {
        let producer: FutureProducer = self
            .client()
            .set("message.max.bytes", (16 << 20).to_string())
            .set("enable.idempotence", "true")
            .create()
            .unwrap();
        block_on(async {
            let mut acknowledgements = Vec::new();
            for payload in payloads {
                let mut record: FutureRecord<'_, (), Vec<u8>> =
                    FutureRecord::to(&self.name).partition(payload.partition.cast_signed());
                if let Some(value) = &payload.value {
                    record = record.payload(value);
                }
                if payload.batch {
                    let header = Header { key: "tally-type", value: Some("batch") };
                    record = record.headers(OwnedHeaders::new().insert(header));
                }
                acknowledgements.push(producer.send_result(record).map_err(|(e, _)| e).unwrap());
            }
            let mut offsets = Vec::new();
            for acknowledgement in acknowledgements {
                let delivery = acknowledgement.await.unwrap().map_err(|(e, _)| e).unwrap();
                offsets.push(u64::try_from(delivery.offset).unwrap());
            }
            offsets
        })
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.bootstrap);
        client
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }
}

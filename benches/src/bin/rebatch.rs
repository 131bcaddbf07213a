//! Copies a topic of single JSON events to another one as `UsageBatch` records, each partition to
//! the same partition in the same order.
//!
//! `rebatch BOOTSTRAP FROM TO EVENTS_A_BATCH`

use std::error::Error;
use std::time::Duration;

use prost::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use tally_log::{EventLog, KafkaLog, KafkaLogConfig, Outgoing, RecordKind};
use tally_schemas::{UsageBatch, UsageEventMessage, parse_event};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bootstrap, from, to, size] = arguments.as_slice() else {
        return Err("usage: rebatch BOOTSTRAP FROM TO EVENTS_A_BATCH".into());
    };
    let size: usize = size.parse()?;
    let source = KafkaLog::open(KafkaLogConfig::new(bootstrap, from, "rebatch"))?;
    let mut target = KafkaLogConfig::new(bootstrap, to, "rebatch");
    target.partitions_if_created = source.partition_count();
    let producer = KafkaLog::open(target)?.producer()?;
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("group.id", "rebatch")
        .set("enable.auto.commit", "false")
        .create()?;
    for partition in 0..source.partition_count() {
        let end = source.bounds(partition)?.end;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(from, i32::try_from(partition)?, Offset::Beginning)?;
        consumer.assign(&list)?;
        let mut batch = UsageBatch::default();
        let mut acknowledged = Vec::new();
        let mut next = 0;
        while next < end {
            let Some(message) = consumer.poll(Duration::from_secs(30)) else {
                return Err(format!("partition {partition} ends at {next}, not at {end}").into());
            };
            let message = message?;
            let parsed = parse_event(message.payload().unwrap_or_default());
            batch.events.push(UsageEventMessage::from_event(&parsed.event));
            next = u64::try_from(message.offset())? + 1;
            if batch.events.len() == size || next >= end {
                let value = std::mem::take(&mut batch).encode_to_vec().into();
                let kind = RecordKind::Batch;
                acknowledged.push(producer.append(Outgoing { partition, key: None, value, kind }));
                if acknowledged.len() >= 64 {
                    producer.flush(Duration::from_secs(60))?;
                    acknowledged.clear();
                }
            }
        }
        producer.flush(Duration::from_secs(60))?;
        eprintln!("partition {partition}: {next} events");
    }
    Ok(())
}

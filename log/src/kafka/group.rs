//! Takes and gives up partitions, as the group decides.
//!
//! Everything here runs on the thread that polls the consumer. The order is what matters:
//! a partition is claimed, its queue is split off, and only then is it added to librdkafka's
//! assignment at the claimed offset. So no record can arrive on the main queue, none is read
//! before the claim, and nothing ever seeks.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Instant;

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::statistics::Statistics;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaRespErr;

use super::context::{Refusable, Refusals, trace_error, trace_line};
use super::reader::{Ends, KafkaReader, Place};
use super::{admin, log_error};
use crate::claim::{CLAIM_PAUSE, Held, claim_all, log_failed_claim};
use crate::gate::Gate;
use crate::{Assignee, LogError};

pub(super) type GroupConsumer = BaseConsumer<GroupContext>;

/// What one member of the group knows.
pub(super) struct GroupContext {
    topic: String,
    assignee: Arc<dyn Assignee>,
    /// Set once the consumer exists; splitting a queue needs a counted reference.
    consumer: OnceLock<Weak<GroupConsumer>>,
    held: Mutex<BTreeMap<u32, Held>>,
    ends: Arc<Ends>,
    refusals: Refusals,
}

impl GroupContext {
    pub(super) fn new(topic: &str, partition_count: u32, assignee: Arc<dyn Assignee>) -> Self {
        Self {
            topic: topic.to_owned(),
            assignee,
            consumer: OnceLock::new(),
            held: Mutex::new(BTreeMap::new()),
            ends: Arc::new(Ends::new(partition_count)),
            refusals: Refusals::default(),
        }
    }

    pub(super) fn attach(&self, consumer: &Arc<GroupConsumer>) {
        // Attached once, by who makes both.
        drop(self.consumer.set(Arc::downgrade(consumer)));
    }

    /// Claims partitions that the group gave to this member and starts those whose claim
    /// succeeded. The others wait for [`GroupContext::retry_due`].
    fn take(&self, consumer: &GroupConsumer, partitions: &[u32], rebalance: IsRebalance) {
        // The group takes a partition away before it gives it again. If it ever does not, the
        // reader of before must end first: two of them would share one queue.
        let still_read = self.stop_reading(partitions);
        if !still_read.is_empty() {
            self.unassign(consumer, &still_read);
        }
        let claims = claim_all(self.assignee.as_ref(), partitions, &|partition| {
            admin::bounds(consumer, &self.topic, partition)
        });
        let mut assignment = TopicPartitionList::new();
        let mut started = Vec::new();
        for (partition, claim) in claims {
            let prepared =
                claim.and_then(|offset| self.prepare(&mut assignment, partition, offset));
            match prepared {
                Ok(reader) => started.push((partition, reader)),
                Err(error) => self.postpone(partition, &error),
            }
        }
        // librdkafka waits for this call after each rebalance, even with nothing in it.
        if started.is_empty() && rebalance == IsRebalance::No {
            return;
        }
        if let Err(error) = consumer.incremental_assign(&assignment) {
            let error = log_error("assignment", &error);
            for (partition, _) in started {
                self.postpone(partition, &error);
            }
            return;
        }
        for (partition, (reader, gate)) in started {
            self.held.lock().insert(partition, Held::Reading(gate));
            self.assignee.start(partition, Box::new(reader));
        }
    }

    /// Splits the partition's queue off, and adds the partition at its offset to the assignment
    /// to be.
    fn prepare(
        &self,
        assignment: &mut TopicPartitionList,
        partition: u32,
        offset: u64,
    ) -> Result<(KafkaReader<Self>, Arc<Gate>), LogError> {
        let consumer = self
            .consumer
            .get()
            .and_then(Weak::upgrade)
            .ok_or_else(|| LogError::Retry("the consumer is closing".to_owned()))?;
        let id = admin::partition_id(partition)?;
        let start = i64::try_from(offset)
            .map_err(|_| LogError::Invalid(format!("{offset} is no offset of Kafka")))?;
        let queue = consumer.split_partition_queue(&self.topic, id).ok_or_else(|| {
            LogError::Internal(format!("partition {partition} has no queue to split off"))
        })?;
        assignment
            .add_partition_offset(&self.topic, id, Offset::Offset(start))
            .map_err(|error| log_error("assignment", &error))?;
        let gate = Arc::new(Gate::new(partition));
        let place = Place { partition, offset, gate: Arc::clone(&gate) };
        let ends = Arc::clone(&self.ends);
        Ok((KafkaReader::new(queue, consumer, &self.topic, place, ends), gate))
    }

    fn postpone(&self, partition: u32, error: &LogError) {
        log_failed_claim(partition, error);
        self.held.lock().insert(partition, Held::Waiting(Instant::now() + CLAIM_PAUSE));
    }

    /// Gives partitions up: their owners first, then their readers, then the assignment.
    fn give_up(&self, consumer: &GroupConsumer, partitions: &[u32]) {
        // What the assignee could not take yet is not its own any more either.
        let waiting: Vec<u32> = {
            let held = self.held.lock();
            let waits = |partition: &&u32| matches!(held.get(*partition), Some(Held::Waiting(_)));
            partitions.iter().filter(waits).copied().collect()
        };
        if !waiting.is_empty() {
            self.assignee.revoke(&waiting);
        }
        let reading = self.stop_reading(partitions);
        // Only what is in librdkafka's assignment may be taken out of it; the call itself must
        // happen even with nothing in it, as librdkafka waits for it.
        self.unassign(consumer, &reading);
    }

    fn unassign(&self, consumer: &GroupConsumer, partitions: &[u32]) {
        let unassigned = self.list(partitions).and_then(|list| {
            consumer.incremental_unassign(&list).map_err(|error| log_error("unassignment", &error))
        });
        if let Err(error) = unassigned {
            tracing::warn!(?partitions, %error, "partitions not unassigned");
        }
    }

    /// Revokes those of the partitions that are read, closes their readers, forgets all of them,
    /// and returns which were read.
    fn stop_reading(&self, partitions: &[u32]) -> Vec<u32> {
        let mut gates = Vec::new();
        {
            let mut held = self.held.lock();
            for partition in partitions {
                if let Some(Held::Reading(gate)) = held.remove(partition) {
                    gates.push((*partition, gate));
                }
            }
        }
        let reading: Vec<u32> = gates.iter().map(|(partition, _)| *partition).collect();
        if !reading.is_empty() {
            self.assignee.revoke(&reading);
        }
        for (_, gate) in &gates {
            gate.close();
        }
        reading
    }

    /// Gives up everything, when the member leaves.
    pub(super) fn stop_all(&self) {
        let all: Vec<u32> = self.held.lock().keys().copied().collect();
        self.stop_reading(&all);
    }

    pub(super) fn holds_none(&self) -> bool {
        self.held.lock().is_empty()
    }

    /// Claims a held partition anew, after its owner has given it up.
    pub(super) fn reassign(&self, consumer: &GroupConsumer, partition: u32) {
        let gate = match self.held.lock().get(&partition) {
            Some(Held::Reading(gate)) => Arc::clone(gate),
            Some(Held::Waiting(_)) | None => return,
        };
        gate.close();
        // If a rebalance is on its way to this thread, librdkafka takes this call for the answer
        // to it, and another member may get a partition before it is drained here. Rare, and the
        // ledger fences it.
        self.unassign(consumer, &[partition]);
        self.held.lock().insert(partition, Held::Waiting(Instant::now()));
        self.take(consumer, &[partition], IsRebalance::No);
    }

    /// A record of a split partition came by the main queue, and is missing from its own: the
    /// partition is read again from what is committed. Cannot happen as long as queues are split
    /// before the assignment; it must not lose a record if it does.
    pub(super) fn stray(&self, consumer: &GroupConsumer, partition: u32) {
        tracing::error!(partition, "a record came by the wrong queue: partition is read again");
        self.assignee.revoke(&[partition]);
        self.reassign(consumer, partition);
    }

    /// Claims what could not be claimed before and is due.
    pub(super) fn retry_due(&self, consumer: &GroupConsumer) {
        let now = Instant::now();
        let due: Vec<u32> = {
            let held = self.held.lock();
            held.iter()
                .filter_map(|(partition, state)| {
                    matches!(state, Held::Waiting(due) if *due <= now).then_some(*partition)
                })
                .collect()
        };
        if !due.is_empty() {
            self.take(consumer, &due, IsRebalance::No);
        }
    }

    fn list(&self, partitions: &[u32]) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, admin::partition_id(*partition)?);
        }
        Ok(list)
    }

    fn partitions_of(&self, list: &TopicPartitionList) -> Vec<u32> {
        list.elements()
            .iter()
            .filter(|element| element.topic() == self.topic)
            .filter_map(|element| u32::try_from(element.partition()).ok())
            .collect()
    }
}

impl Refusable for GroupContext {
    fn refusals(&self) -> &Refusals {
        &self.refusals
    }
}

/// Whether librdkafka waits for an answer to a rebalance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum IsRebalance {
    Yes,
    No,
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        trace_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        trace_error(&error, reason);
        self.refusals.note(&error, reason);
    }

    fn stats(&self, statistics: Statistics) {
        let Some(topic) = statistics.topics.get(&self.topic) else { return };
        for (id, seen) in &topic.partitions {
            if let (Ok(partition), Ok(end)) =
                (u32::try_from(*id), u64::try_from(seen.ls_offset.max(seen.hi_offset)))
            {
                self.ends.set(partition, end);
            }
        }
    }
}

impl ConsumerContext for GroupContext {
    /// Takes the place of librdkafka's default, which would assign what it is given: here the
    /// offsets are the assignee's, and what it refuses is left out.
    fn rebalance(
        &self,
        consumer: &GroupConsumer,
        code: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let partitions = self.partitions_of(list);
        if code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            tracing::info!(topic = self.topic, ?partitions, "partitions given to this member");
            self.take(consumer, &partitions, IsRebalance::Yes);
            self.assignee.told();
        } else {
            tracing::info!(topic = self.topic, ?partitions, "partitions taken from this member");
            self.give_up(consumer, &partitions);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            tracing::debug!(%error, "group offsets not committed");
        }
    }
}

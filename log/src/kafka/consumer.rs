//! The loop of one member of the group.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use parking_lot::Mutex;
use rdkafka::consumer::{CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use super::group::{GroupConsumer, GroupContext};
use super::settings::Settings;
use super::{admin, log_error};
use crate::{Assignee, LogError};

/// How long the loop waits for the group before it looks at commands and claims that are due.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// How long a member that leaves waits for librdkafka to say so to the group.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a member that holds nothing any more stays, before its client may be closed. A client
/// that is closed while partitions still stop (milliseconds) does not tell the group that it
/// leaves, and everybody waits for its session to time out.
const LEAVE_GRACE: Duration = Duration::from_millis(200);

/// Pause between two warnings that the group is not served: polling may fail many times a second.
const WARNING_PAUSE: Duration = Duration::from_secs(60);

/// When it was last said that the group is not served.
#[derive(Default)]
struct Warned(Mutex<Option<Instant>>);

impl Warned {
    /// Whether it is to be said again; from now on it is said.
    fn is_due(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let is_due = last.is_none_or(|last| now.duration_since(last) >= WARNING_PAUSE);
        if is_due {
            *last = Some(now);
        }
        is_due
    }
}

/// The consumer that runs at present, for those who are not on its thread.
#[derive(Default)]
pub(super) struct Live {
    consumer: Weak<GroupConsumer>,
    running: bool,
}

impl Live {
    /// Tells the group an offset, without waiting for the answer.
    pub(super) fn note_committed(&self, topic: &str, partition: u32, offset: u64) {
        let Some(consumer) = self.consumer.upgrade() else { return };
        let committed = admin::partition_id(partition).and_then(|id| {
            let offset = i64::try_from(offset)
                .map_err(|_| LogError::Invalid(format!("{offset} is no offset of Kafka")))?;
            let mut list = TopicPartitionList::new();
            list.add_partition_offset(topic, id, Offset::Offset(offset))
                .and_then(|()| consumer.commit(&list, CommitMode::Async))
                .map_err(|error| log_error("commit", &error))
        });
        if let Err(error) = committed {
            tracing::debug!(partition, %error, "group offset not committed");
        }
    }
}

/// A member of the group.
pub(super) struct Consumption<'a> {
    consumer: Arc<GroupConsumer>,
    live: &'a Mutex<Live>,
    warned: Warned,
}

impl<'a> Consumption<'a> {
    /// Subscribes, as the one consumer of this log.
    pub(super) fn join(
        settings: &Settings,
        partition_count: u32,
        assignee: Arc<dyn Assignee>,
        live: &'a Mutex<Live>,
    ) -> Result<Self, LogError> {
        let mut current = live.lock();
        if current.running {
            return Err(LogError::Invalid("this log is being consumed already".to_owned()));
        }
        let topic = settings.topic();
        let consumer: GroupConsumer = settings
            .consumer(partition_count)
            .create_with_context(GroupContext::new(topic, partition_count, assignee))
            .map_err(|error| log_error("Kafka consumer", &error))?;
        let consumer = Arc::new(consumer);
        consumer.context().attach(&consumer);
        consumer.subscribe(&[topic]).map_err(|error| log_error("subscription", &error))?;
        *current = Live { consumer: Arc::downgrade(&consumer), running: true };
        Ok(Self { consumer, live, warned: Warned::default() })
    }

    /// Serves the group until `stop`, or until it can no longer be served.
    pub(super) fn run(
        self,
        inbox: &Receiver<u32>,
        stop: &CancellationToken,
    ) -> Result<(), LogError> {
        // What was asked of a consumption that has ended does not concern this one.
        while inbox.try_recv().is_ok() {}
        let mut outcome = Ok(());
        while outcome.is_ok() && !stop.is_cancelled() {
            outcome = self.serve(POLL_INTERVAL);
            self.consumer.context().retry_due(&self.consumer);
            while let Ok(partition) = inbox.try_recv() {
                self.consumer.context().reassign(&self.consumer, partition);
            }
        }
        self.leave();
        outcome
    }

    /// Serves one event of the group, if there is one.
    fn serve(&self, wait: Duration) -> Result<(), LogError> {
        match self.consumer.poll(wait) {
            None | Some(Err(KafkaError::PartitionEOF(_))) => Ok(()),
            Some(Ok(message)) => {
                if let Ok(partition) = u32::try_from(message.partition()) {
                    drop(message);
                    self.consumer.context().stray(&self.consumer, partition);
                }
                Ok(())
            }
            Some(Err(error)) => match (&error, error.rdkafka_error_code()) {
                (KafkaError::MessageConsumptionFatal(_), _)
                | (
                    _,
                    Some(
                        RDKafkaErrorCode::TopicAuthorizationFailed
                        | RDKafkaErrorCode::GroupAuthorizationFailed
                        | RDKafkaErrorCode::FencedInstanceId,
                    ),
                ) => Err(log_error("consumption", &error)),
                // A broker that is away or lets us in no more, a coordinator that moves: librdkafka
                // goes on by itself. Who looks for trouble names it; a bounded run has nobody else.
                _ => {
                    if self.warned.is_due(Instant::now()) {
                        tracing::warn!(%error, "the group is not served");
                    }
                    Ok(())
                }
            },
        }
    }

    /// Revokes everything and tells the group, so that others need not wait for the session to
    /// time out.
    fn leave(&self) {
        let context = self.consumer.context();
        self.consumer.unsubscribe();
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        // librdkafka revokes what the group gave to this member by the same way as ever.
        while !context.holds_none() && Instant::now() < deadline {
            if let Err(error) = self.serve(POLL_INTERVAL) {
                tracing::debug!(%error, "while leaving the group");
            }
        }
        context.stop_all();
        let closing = Instant::now() + LEAVE_GRACE;
        while Instant::now() < closing {
            if let Err(error) = self.serve(POLL_INTERVAL) {
                tracing::debug!(%error, "while leaving the group");
            }
        }
    }
}

impl Drop for Consumption<'_> {
    fn drop(&mut self) {
        *self.live.lock() = Live::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn that_the_group_is_not_served_is_said_at_most_once_a_minute() {
        let (warned, began) = (Warned::default(), Instant::now());
        let said = [0, 1, 59, 60, 61, 119, 121]
            .map(|seconds| warned.is_due(began + Duration::from_secs(seconds)));
        assert_eq!(said, [true, false, false, true, false, false, true]);
    }
}

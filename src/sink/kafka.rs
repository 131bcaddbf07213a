//! Events as records of the log, each in the partition of its account.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tally_generate::{EventBody, GeneratedEvent, encode_batch};
use tally_log::{Appended, EventLog, LogErrorKind, LogProducer, Outgoing, RecordKind};
use tally_schemas::{UsageEvent, partition_of};

use super::{Delivered, put_json};
use crate::exit::Failure;

/// Most records that wait for their acknowledgement.
const IN_FLIGHT_RECORDS: usize = 20_000;

/// Most bytes of them.
const IN_FLIGHT_BYTES: usize = 32 << 20;

/// How often a record is sent again before the log counts as away.
const ATTEMPTS: u32 = 20;

pub(crate) struct KafkaSink {
    /// Kept open as long as its producer.
    log: Arc<dyn EventLog>,
    producer: Arc<dyn LogProducer>,
    batch: Option<NonZeroUsize>,
    /// Events of each partition that wait for their batch to be full.
    gathered: Vec<Vec<UsageEvent<'static>>>,
    in_flight: VecDeque<(Outgoing, Appended)>,
    in_flight_bytes: usize,
    records: u64,
}

impl KafkaSink {
    pub(super) fn open(
        log: Arc<dyn EventLog>,
        batch: Option<NonZeroUsize>,
    ) -> Result<Self, Failure> {
        let producer = log.producer()?;
        let gathered = (0..log.partition_count()).map(|_| Vec::new()).collect();
        Ok(Self {
            log,
            producer,
            batch,
            gathered,
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            records: 0,
        })
    }

    pub(super) async fn send(&mut self, event: GeneratedEvent) -> Result<(), Failure> {
        let partition = partition_of(&event.account, self.log.partition_count());
        let place = usize::try_from(partition).unwrap_or(0);
        match (self.batch, event.body) {
            (Some(limit), EventBody::Event(usage_event)) => {
                let gathered = &mut self.gathered[place];
                gathered.push(*usage_event);
                if gathered.len() >= limit.get() {
                    self.append_batch(partition).await?;
                }
                Ok(())
            }
            (_, body) => {
                let mut value = Vec::with_capacity(512);
                put_json(&body, &mut value)?;
                let key = (!event.account.is_empty()).then(|| event.account.into_bytes().into());
                let record =
                    Outgoing { partition, key, value: value.into(), kind: RecordKind::Single };
                self.append(record).await
            }
        }
    }

    pub(super) async fn idle(&mut self) -> Result<(), Failure> {
        for partition in 0..self.log.partition_count() {
            self.append_batch(partition).await?;
        }
        Ok(())
    }

    pub(super) async fn finish(mut self) -> Result<Delivered, Failure> {
        self.idle().await?;
        while !self.in_flight.is_empty() {
            self.settle_oldest().await?;
        }
        Ok(Delivered { messages: self.records, refused: 0 })
    }

    async fn append_batch(&mut self, partition: u32) -> Result<(), Failure> {
        let place = usize::try_from(partition).unwrap_or(0);
        if self.gathered[place].is_empty() {
            return Ok(());
        }
        let value = encode_batch(&self.gathered[place]).into();
        self.gathered[place].clear();
        self.append(Outgoing { partition, key: None, value, kind: RecordKind::Batch }).await
    }

    async fn append(&mut self, record: Outgoing) -> Result<(), Failure> {
        while self.in_flight.len() >= IN_FLIGHT_RECORDS
            || (self.in_flight_bytes + record.value.len() > IN_FLIGHT_BYTES
                && !self.in_flight.is_empty())
        {
            self.settle_oldest().await?;
        }
        self.in_flight_bytes += record.value.len();
        self.records += 1;
        let appended = self.producer.append(record.clone());
        self.in_flight.push_back((record, appended));
        Ok(())
    }

    /// Waits for the oldest record, and sends it again while the log is away. What was stored
    /// nevertheless is then a duplicate, which the stream drops.
    async fn settle_oldest(&mut self) -> Result<(), Failure> {
        let Some((record, mut appended)) = self.in_flight.pop_front() else { return Ok(()) };
        self.in_flight_bytes -= record.value.len();
        let mut pause = Duration::from_millis(100);
        for _ in 0..ATTEMPTS {
            match appended.await {
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == LogErrorKind::Retry => {
                    tracing::warn!(%error, "sending again");
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                    appended = self.producer.append(record.clone());
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(appended.await.map(drop)?)
    }
}

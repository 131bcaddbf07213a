//! The topic of alerts of a simulated run, with replies that are lost and appends that never
//! arrive. What it never does is to lose what it acknowledged.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::Rng;
use tally_log::{Appended, LogError, Outgoing};
use tally_schemas::{LedgerEntry, Offsets};

use super::world::{Inside, World};
use crate::error::AggregateError;
use crate::notice_topic::{NoticeTopic, ReadBack};

/// Partitions of the topic: not as many as of the topic of usage events.
pub(super) const ALERT_PARTITIONS: u32 = 3;

/// A record of the topic.
#[derive(Debug, Clone)]
pub(super) struct AlertRecord {
    pub(super) partition: u32,
    pub(super) value: Bytes,
    /// Whether somebody else had taken the sender's partition by then, so that nobody can know
    /// whether it would still send.
    pub(super) by_zombie: bool,
    /// Writes of the store before it.
    pub(super) writes_before: usize,
}

/// The topic as one member sees it.
pub(super) struct SimulatedAlerts {
    world: World,
    /// Folder of the ledger of the member's partition.
    ledger: String,
    /// The member, once it has claimed.
    owner: Mutex<String>,
}

impl fmt::Debug for SimulatedAlerts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedAlerts")
    }
}

impl SimulatedAlerts {
    /// For a member of a partition.
    pub(super) fn new(world: &World, topic: &str, partition: u32) -> Arc<Self> {
        let ledger = format!("ledger/{topic}/{partition}/");
        Arc::new(Self { world: world.clone(), ledger, owner: Mutex::default() })
    }

    /// The member is this owner.
    pub(super) fn owned_by(&self, owner: &str) {
        owner.clone_into(&mut self.owner.lock());
    }

    /// Whose append it is: the folder of the ledger, and the owner.
    fn place(&self) -> (String, String) {
        (self.ledger.clone(), self.owner.lock().clone())
    }

    /// Waits as a call does; then whether it went wrong.
    fn call(&self) -> (BoxFuture<'static, ()>, bool) {
        let mut inside = self.world.inside();
        let latency_max = inside.faults.latency_max;
        let ticks = inside.random.random_range(0..=latency_max);
        let per_mille = inside.faults.per_mille;
        let fails = inside.random.random_ratio(per_mille, 1_000);
        drop(inside);
        (Box::pin(self.world.sleep(ticks)), fails)
    }
}

/// A record arrives; its offset.
fn arrive(world: &World, (ledger, owner): &(String, String), record: Outgoing) -> u64 {
    let mut inside = world.inside();
    let by_zombie = is_zombie(&inside, ledger, owner);
    let Outgoing { partition, value, .. } = record;
    let offset = inside.alerts.iter().filter(|r| r.partition == partition).count() as u64;
    let writes_before = inside.writes.len();
    inside.note(|| format!("an alert in {partition} at {offset}: {value:?}"));
    inside.alerts.push(AlertRecord { partition, value, by_zombie, writes_before });
    offset
}

/// Whether the newest entry of a ledger is another's.
fn is_zombie(inside: &Inside, ledger: &str, owner: &str) -> bool {
    let entries = inside.objects.range(ledger.to_owned()..);
    let last = entries.take_while(|(path, _)| path.starts_with(ledger)).last();
    last.is_some_and(|(_, bytes)| {
        let entry: LedgerEntry = serde_json::from_slice(bytes).unwrap();
        entry.owner != owner
    })
}

fn away() -> LogError {
    LogError::Retry("the topic of alerts is away".to_owned())
}

impl NoticeTopic for SimulatedAlerts {
    fn partition_count(&self) -> u32 {
        ALERT_PARTITIONS
    }

    fn append(&self, record: Outgoing) -> Appended {
        let (wait, fails) = self.call();
        let mut inside = self.world.inside();
        // Some that fail arrive all the same, and some arrive only when their time has passed.
        let arrives = !fails || inside.random.random_ratio(1, 2);
        let at_once = fails || inside.random.random_ratio(1, 2);
        drop(inside);
        let (world, place) = (self.world.clone(), self.place());
        let mut record = Some(record).filter(|_| arrives);
        let mut offset = 0;
        if at_once && let Some(record) = record.take() {
            offset = arrive(&world, &place, record);
        }
        Box::pin(async move {
            wait.await;
            if let Some(record) = record {
                offset = arrive(&world, &place, record);
            }
            if fails { Err(away()) } else { Ok(offset) }
        })
    }

    fn ends(&self, partitions: Vec<u32>) -> BoxFuture<'static, Result<Offsets, AggregateError>> {
        let ((wait, fails), world) = (self.call(), self.world.clone());
        Box::pin(async move {
            wait.await;
            if fails {
                return Err(away().into());
            }
            let inside = world.inside();
            let count = |p: u32| inside.alerts.iter().filter(|r| r.partition == p).count() as u64;
            Ok(partitions.into_iter().map(|partition| (partition, count(partition))).collect())
        })
    }

    fn read_back(&self, from: Offsets) -> BoxFuture<'static, Result<ReadBack, AggregateError>> {
        let ((wait, fails), world) = (self.call(), self.world.clone());
        Box::pin(async move {
            wait.await;
            if fails {
                return Err(away().into());
            }
            let mut found = ReadBack { from: from.clone(), ..ReadBack::default() };
            let inside = world.inside();
            for (partition, from) in from {
                let records = inside.alerts.iter().filter(|r| r.partition == partition);
                for record in records.skip(usize::try_from(from).unwrap()) {
                    found.add(Some(&record.value));
                }
            }
            Ok(found)
        })
    }
}

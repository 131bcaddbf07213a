//! A group of one member, which holds every partition: for logs that live in this process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio_util::sync::CancellationToken;

use crate::claim::{CLAIM_PAUSE, Held, claim_all, log_failed_claim};
use crate::gate::Gate;
use crate::{Assignee, Bounds, LogError, PartitionReader};

/// How often a group looks whether it is to stop.
const STOP_INTERVAL: Duration = Duration::from_millis(20);

/// A log whose partitions all belong to this process.
pub(crate) trait LocalSource: Sync {
    fn partition_count(&self) -> u32;
    fn bounds(&self, partition: u32) -> Result<Bounds, LogError>;
    fn reader(&self, partition: u32, offset: u64, gate: Arc<Gate>) -> Box<dyn PartitionReader>;
}

/// Assigns every partition and keeps them until it is stopped.
#[derive(Debug)]
pub(crate) struct LocalGroup {
    commands: Sender<u32>,
    inbox: Receiver<u32>,
    consuming: AtomicBool,
}

impl LocalGroup {
    pub(crate) fn new() -> Self {
        let (commands, inbox) = unbounded();
        Self { commands, inbox, consuming: AtomicBool::new(false) }
    }

    pub(crate) fn reassign(&self, partition: u32) {
        // The other end lives as long as this one.
        if self.commands.send(partition).is_err() {
            tracing::error!(partition, "reassignment not asked for");
        }
    }

    pub(crate) fn consume(
        &self,
        source: &dyn LocalSource,
        assignee: &dyn Assignee,
        stop: &CancellationToken,
    ) -> Result<(), LogError> {
        if self.consuming.swap(true, Ordering::AcqRel) {
            return Err(LogError::Invalid("this log is being consumed already".to_owned()));
        }
        // What was asked of a consumption that has ended does not concern this one.
        while self.inbox.try_recv().is_ok() {}
        let now = Instant::now();
        let mut held: BTreeMap<u32, Held> = (0..source.partition_count())
            .map(|partition| (partition, Held::Waiting(now)))
            .collect();
        let mut told = false;
        while !stop.is_cancelled() {
            claim_due(source, assignee, &mut held);
            if !std::mem::replace(&mut told, true) {
                assignee.told();
            }
            if let Ok(partition) = self.inbox.recv_timeout(STOP_INTERVAL)
                && let Some(state) = held.get_mut(&partition)
            {
                if let Held::Reading(gate) = state {
                    gate.close();
                }
                *state = Held::Waiting(Instant::now());
            }
        }
        let reading: Vec<u32> = held
            .iter()
            .filter_map(|(partition, state)| {
                matches!(state, Held::Reading(_)).then_some(*partition)
            })
            .collect();
        if !reading.is_empty() {
            assignee.revoke(&reading);
        }
        for state in held.values() {
            if let Held::Reading(gate) = state {
                gate.close();
            }
        }
        self.consuming.store(false, Ordering::Release);
        Ok(())
    }
}

fn claim_due(source: &dyn LocalSource, assignee: &dyn Assignee, held: &mut BTreeMap<u32, Held>) {
    let now = Instant::now();
    let due: Vec<u32> = held
        .iter()
        .filter_map(|(partition, state)| {
            matches!(state, Held::Waiting(due) if *due <= now).then_some(*partition)
        })
        .collect();
    for (partition, claim) in claim_all(assignee, &due, &|partition| source.bounds(partition)) {
        match claim {
            Ok(offset) => {
                let gate = Arc::new(Gate::new(partition));
                held.insert(partition, Held::Reading(Arc::clone(&gate)));
                assignee.start(partition, source.reader(partition, offset, gate));
            }
            Err(error) => {
                log_failed_claim(partition, &error);
                held.insert(partition, Held::Waiting(Instant::now() + CLAIM_PAUSE));
            }
        }
    }
}

//! Reads the topic of alerts for one receiver. The readers block, so each has a thread; they read no
//! further while too many alerts wait to be delivered.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tally_log::{Assignee, Bounds, LogError, LogErrorKind, PartitionReader};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use crate::position;

/// Records that are read at a time.
const READ_MAX: usize = 256;
/// Longest wait of one read.
const WAIT: Duration = Duration::from_millis(100);

/// What arrives from the log.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A partition is read from an offset on.
    Begun { partition: u32, next: u64 },
    /// A record.
    Record(ArrivedRecord),
    /// A partition is another's now.
    Ended { partition: u32 },
}

/// A record of the topic.
#[derive(Debug)]
pub(crate) struct ArrivedRecord {
    pub(crate) partition: u32,
    pub(crate) offset: u64,
    /// When the log received it, milliseconds UTC.
    pub(crate) logged_at_ms: i64,
    pub(crate) value: Bytes,
    /// Held as long as the alert waits.
    pub(crate) room: OwnedSemaphorePermit,
}

/// Takes partitions for one receiver.
pub(crate) struct Arrivals {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) topic: String,
    pub(crate) receiver: String,
    pub(crate) runtime: Handle,
    pub(crate) channel: mpsc::UnboundedSender<Arrival>,
    /// Room for alerts that wait.
    pub(crate) room: Arc<Semaphore>,
    /// Ends the readers of the partitions that are held.
    pub(crate) held: Mutex<BTreeMap<u32, CancellationToken>>,
}

impl Arrivals {
    /// Where to read from: the stored position, as far as the log still has it.
    fn begin(&self, partition: u32, bounds: Bounds) -> Result<u64, LogError> {
        let Self { store, topic, receiver, runtime, .. } = self;
        let loaded = position::load(store.as_ref(), topic, receiver, partition);
        let stored = runtime.block_on(loaded).map_err(|e| LogError::Retry(e.to_string()))?;
        Ok(match stored {
            Some(next) if (bounds.start..=bounds.end).contains(&next) => next,
            Some(next) => {
                let start = bounds.start;
                tracing::warn!(partition, next, start, receiver, "alerts are read from the start");
                start
            }
            None => bounds.start,
        })
    }

    /// Reads until told to end; sends what is read.
    fn read(
        &self,
        partition: u32,
        reader: &mut dyn PartitionReader,
        stop: &CancellationToken,
    ) -> Result<(), LogError> {
        let mut records = Vec::new();
        while !stop.is_cancelled() {
            let read = reader.read(READ_MAX, WAIT, &mut |record| {
                // A record without a value is no alert; it only moves the position.
                let value = Bytes::copy_from_slice(record.value.unwrap_or_default());
                records.push((record.offset, record.timestamp_ms, value));
            });
            for (offset, logged_at_ms, value) in records.drain(..) {
                let Some(room) = self.wait_for_room(stop) else { return Ok(()) };
                let record = ArrivedRecord { partition, offset, logged_at_ms, value, room };
                self.send(Arrival::Record(record));
            }
            match read {
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), LogErrorKind::Retry | LogErrorKind::Refused) =>
                {
                    std::thread::sleep(WAIT);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Waits until another alert may wait; none where told to end.
    fn wait_for_room(&self, stop: &CancellationToken) -> Option<OwnedSemaphorePermit> {
        loop {
            if stop.is_cancelled() {
                return None;
            }
            if let Ok(room) = Arc::clone(&self.room).try_acquire_owned() {
                return Some(room);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn send(&self, arrival: Arrival) {
        // The other end is gone only when everything ends.
        drop(self.channel.send(arrival));
    }
}

/// The assignee of a receiver's group; it hands clones of itself to the readers.
pub(crate) struct Assigned(pub(crate) Arc<Arrivals>);

impl Assignee for Assigned {
    fn assign(&self, partition: u32, bounds: Bounds) -> Result<u64, LogError> {
        let next = self.0.begin(partition, bounds)?;
        let stop = CancellationToken::new();
        if let Some(before) = self.0.held.lock().insert(partition, stop) {
            before.cancel();
        }
        self.0.send(Arrival::Begun { partition, next });
        Ok(next)
    }

    fn start(&self, partition: u32, mut reader: Box<dyn PartitionReader>) {
        let Some(stop) = self.0.held.lock().get(&partition).cloned() else { return };
        let arrivals = Arc::clone(&self.0);
        let read = move || {
            if let Err(error) = arrivals.read(partition, reader.as_mut(), &stop)
                && error.kind() != LogErrorKind::Gone
            {
                let receiver = &arrivals.receiver;
                tracing::error!(partition, receiver, %error, "alerts cannot be read");
            }
        };
        let spawned = std::thread::Builder::new().name(format!("webhook-{partition}")).spawn(read);
        if let Err(error) = spawned {
            tracing::error!(partition, %error, "no thread to read alerts");
        }
    }

    fn revoke(&self, partitions: &[u32]) {
        for partition in partitions {
            if let Some(stop) = self.0.held.lock().remove(partition) {
                stop.cancel();
            }
            // Whoever has it next reads from what is stored; what is sent twice has the same id.
            self.0.send(Arrival::Ended { partition: *partition });
        }
    }
}

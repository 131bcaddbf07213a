//! Whether a reader may still read.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, MutexGuard};

use crate::LogError;

/// Shared by a reader and by who takes partitions away. After [`Gate::close`] has returned, the
/// reader hands out no further record, so that a new reader of the partition can never compete
/// with it for records.
#[derive(Debug)]
pub(crate) struct Gate {
    partition: u32,
    closed: AtomicBool,
    reading: Mutex<()>,
}

impl Gate {
    pub(crate) fn new(partition: u32) -> Self {
        Self { partition, closed: AtomicBool::new(false), reading: Mutex::new(()) }
    }

    /// Held for the length of one read.
    pub(crate) fn enter(&self) -> Result<MutexGuard<'_, ()>, LogError> {
        let guard = self.reading.lock();
        self.check().map(|()| guard)
    }

    /// `Gone` once the partition was taken away.
    pub(crate) fn check(&self) -> Result<(), LogError> {
        if self.closed.load(Ordering::Acquire) {
            Err(LogError::Gone { partition: self.partition })
        } else {
            Ok(())
        }
    }

    /// Ends reading, and waits for the read that is under way.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        drop(self.reading.lock());
    }
}

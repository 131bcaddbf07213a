//! How a worker announces newer reference data, and changes to it where the log says so.

use std::sync::Arc;

use tally_schemas::ReferenceVersion;

use super::{Ended, Worker};
use crate::core::{ReferenceData, ReferenceLost};
use crate::error::{AggregateError, ErrorKind};
use crate::references::Found;

impl Worker {
    /// Announces newer reference data, where there is any. It is used when its record is read.
    pub(super) fn announce(&mut self) {
        let Some(announcer) = &mut self.announcer else { return };
        let (current, next_offset) = {
            let state = self.desk.state();
            (state.reference().version.clone(), state.next_offset())
        };
        if let Some(newer) = self.references.newer_than(&current) {
            announcer.announce(newer, next_offset, self.surroundings.edge.now_ms());
        }
    }

    /// Rates by the version that the log names, from its record on; or has the record held back,
    /// where nobody approved such a version. While it cannot be had, nothing more is read: what
    /// follows is rated by nothing else.
    pub(super) fn follow(&mut self, named: ReferenceVersion) -> Result<(), Ended> {
        let partition = self.partition;
        let mut attempt = 0;
        loop {
            let references = Arc::clone(&self.references);
            let why = match self.unless_told(async { references.find(&named).await })? {
                Ok(Found::Here(newer)) => return self.change_reference(newer),
                Ok(Found::Other(there)) => {
                    tracing::error!(partition, %named, %there, "the log names reference data that nobody approved");
                    let why = format!("nobody approved {named}, the store has {there}");
                    self.desk.state().refuse_reference(named, why);
                    return Ok(());
                }
                Ok(Found::Absent) => AggregateError::NoSuchEdition(named.clone()),
                Err(error) if error.kind() == ErrorKind::Retry => error,
                Err(error) => return Err(Ended::Failed(error)),
            };
            // What was read before does not wait with it (I14).
            self.collect_commit().map_err(Ended::Failed)?;
            if self.in_flight.is_none() {
                self.close().map_err(Ended::Failed)?;
            }
            self.desk.answer();
            attempt += 1;
            let edge = Arc::clone(&self.surroundings.edge);
            self.unless_told(async { edge.pause(attempt, &why).await })?;
        }
    }

    /// Waits for something, unless the worker is told to end meanwhile.
    fn unless_told<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Ended> {
        let (drain, abandon) = (self.signals.drain.clone(), self.signals.abandon.clone());
        let done = self.runtime.block_on(async {
            tokio::select! {
                done = future => Some(done),
                () = drain.cancelled() => None,
                () = abandon.cancelled() => None,
            }
        });
        match done {
            Some(done) => Ok(done),
            None if abandon.is_cancelled() => Err(Ended::Abandoned),
            None => Err(self.drained().unwrap_or_else(Ended::Failed)),
        }
    }

    /// Ends the epoch at a record that names newer reference data, and rates by that from now on: a
    /// replay, by whomever, does the same at the same record. The entry names it for what comes
    /// next, without rows where nothing was read since the last one.
    fn change_reference(&mut self, newer: ReferenceData) -> Result<(), Ended> {
        let lost = |lost: ReferenceLost| AggregateError::Damaged(lost.to_string());
        let kept = newer.keeps(self.desk.state().reference());
        kept.map_err(lost).map_err(Ended::Failed)?;
        let sent = self
            .wait_for_commit()
            .and_then(|committed| Ok(committed && self.send(Some(&newer.version))?));
        if !sent.map_err(Ended::Failed)? {
            return Err(Ended::Abandoned);
        }
        tracing::info!(partition = self.partition, version = %newer.version, "reference data changes");
        let set = self.desk.state().set_reference(newer);
        set.map_err(lost).map_err(Ended::Failed)
    }
}

//! What a worker is made of.

use std::sync::Arc;

use tally_schemas::AggregateConfig;
use tokio::runtime::Handle;

use super::{Signals, Worker};
use crate::announcer::Announcer;
use crate::outbox::open_outbox;
use crate::owner::{Ownership, Surroundings};
use crate::quota_desk::QuotaDesk;
use crate::references::References;
use crate::stream_status::StreamStatus;
use crate::ticker::Ticker;
use crate::turns::Turns;

/// What a worker is made of.
#[derive(Debug)]
pub(crate) struct WorkerParts {
    pub(crate) surroundings: Surroundings,
    pub(crate) references: Arc<dyn References>,
    pub(crate) settings: AggregateConfig,
    pub(crate) partition: u32,
    pub(crate) desk: Arc<QuotaDesk>,
    pub(crate) ownership: Ownership,
    pub(crate) signals: Signals,
    pub(crate) status: StreamStatus,
    pub(crate) runtime: Handle,
    pub(crate) turns: Turns,
    pub(crate) until: Option<u64>,
    /// Appends ticks, where there are to be any.
    pub(crate) ticker: Option<Ticker>,
    /// Announces newer reference data; none in a bounded run, which does so at its start.
    pub(crate) announcer: Option<Announcer>,
}

impl Worker {
    pub(crate) fn new(parts: WorkerParts, committed: Arc<dyn Fn(u32, u64) + Send + Sync>) -> Self {
        let Surroundings { edge, notices, .. } = parts.surroundings.clone();
        let mut ownership = parts.ownership;
        let read_back = ownership.take_read_back();
        let (outbox, courier) = open_outbox(notices, edge, parts.status.clone(), read_back);
        Self {
            outbox,
            courier: parts.runtime.spawn(courier.run()),
            notices_seen: None,
            surroundings: parts.surroundings,
            references: parts.references,
            settings: parts.settings,
            partition: parts.partition,
            desk: parts.desk,
            ownership: Some(ownership),
            signals: parts.signals,
            status: parts.status,
            runtime: parts.runtime,
            turns: parts.turns,
            committed,
            until: parts.until,
            ticker: parts.ticker,
            announcer: parts.announcer,
            in_flight: None,
            epoch_began_ms: None,
            oldest_ms: None,
            idle_since_ms: None,
            read_max: 1,
            unattended: 0,
            traced: Vec::new(),
        }
    }
}

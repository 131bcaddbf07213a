//! Answers who asks for an account's quota: from the partition, where this process has it, or with
//! who has it.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tally_schemas::partition_of;

use crate::aggregator::Aggregator;
use crate::core::QuotaPicture;
use crate::ledger;
use crate::quota_desk::{QuotaDesk, Unanswered};

/// How long a question may wait for a partition that is busy.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long it is believed who has a partition, before the ledger is asked anew, milliseconds.
const OWNER_BELIEVED_MS: i64 = 1_000;

/// Who has a partition, by the last entry of its ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionOwner {
    /// Id of the assignment.
    pub owner: String,
    /// URL under which the process is reached, where it tells one.
    pub address: Option<String>,
}

/// Why there is no quota to be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoQuota {
    /// Nothing was bought, used or set.
    #[error("nothing is known of this account")]
    UnknownAccount,
    /// This process is taking the partition.
    #[error("partition {partition} is being recovered")]
    Recovering {
        /// Partition.
        partition: u32,
    },
    /// Another process has the partition, or none.
    #[error("partition {partition} is not processed here")]
    Elsewhere {
        /// Partition.
        partition: u32,
        /// Who had it last, where that is known.
        owner: Option<PartitionOwner>,
    },
    /// The partition has no time to answer.
    #[error("partition {partition} is busy")]
    Busy {
        /// Partition.
        partition: u32,
    },
    /// The account's state does not parse.
    #[error("the state of this account is damaged")]
    Damaged,
}

/// The desks of this process, by partition.
#[derive(Debug, Default)]
pub(crate) struct QuotaDesks {
    seats: Mutex<BTreeMap<u32, Seat>>,
    owners: Mutex<BTreeMap<u32, (i64, Option<PartitionOwner>)>>,
}

/// What this process is doing about a partition that the log gave it.
#[derive(Debug)]
enum Seat {
    Recovering,
    Open(Weak<QuotaDesk>),
}

impl QuotaDesks {
    /// The partition is about to be taken.
    pub(crate) fn recovering(&self, partition: u32) {
        self.seats.lock().insert(partition, Seat::Recovering);
    }

    /// The partition's worker begins.
    pub(crate) fn open(&self, partition: u32, desk: &Arc<QuotaDesk>) {
        self.seats.lock().insert(partition, Seat::Open(Arc::downgrade(desk)));
    }

    /// The log took partitions away.
    pub(crate) fn gone(&self, partitions: &[u32]) {
        let mut seats = self.seats.lock();
        for partition in partitions {
            seats.remove(partition);
        }
    }

    /// Partitions that are being recovered.
    pub(crate) fn in_recovery(&self) -> Vec<u32> {
        let seats = self.seats.lock();
        let recovering = seats.iter().filter(|(_, seat)| matches!(seat, Seat::Recovering));
        recovering.map(|(partition, _)| *partition).collect()
    }

    /// The desk of a partition; none while it is being recovered.
    ///
    /// # Errors
    /// Where the log did not give it to this process.
    fn desk(&self, partition: u32) -> Result<Option<Arc<QuotaDesk>>, NotHere> {
        match self.seats.lock().get(&partition) {
            // A worker that has ended is about to be followed by another one.
            Some(Seat::Open(desk)) => Ok(desk.upgrade()),
            Some(Seat::Recovering) => Ok(None),
            None => Err(NotHere),
        }
    }
}

/// The log did not give a partition to this process.
#[derive(Debug)]
struct NotHere;

impl Aggregator {
    /// What an account has, as of what its partition has processed, which may be ahead of what is
    /// committed.
    ///
    /// # Errors
    /// Why this process cannot tell.
    pub async fn quota(&self, account: &str) -> Result<QuotaPicture, NoQuota> {
        let partition = partition_of(account, self.log().partition_count());
        let desk = match self.desks().desk(partition) {
            Ok(Some(desk)) => desk,
            Ok(None) => return Err(NoQuota::Recovering { partition }),
            Err(NotHere) => {
                let owner = self.owner_of(partition).await;
                let address = owner.as_ref().and_then(|owner| owner.address.as_deref());
                // A predecessor at this process's own address: the log has not given it yet.
                return Err(if address.is_some() && address == self.address().as_deref() {
                    NoQuota::Recovering { partition }
                } else {
                    NoQuota::Elsewhere { partition, owner }
                });
            }
        };
        match tokio::time::timeout(PATIENCE, desk.ask(account)).await {
            Ok(Ok(Ok(Some(picture)))) => Ok(picture),
            Ok(Ok(Ok(None))) => Err(NoQuota::UnknownAccount),
            Ok(Ok(Err(_))) => Err(NoQuota::Damaged),
            Ok(Err(Unanswered::Closed)) => Err(NoQuota::Recovering { partition }),
            Ok(Err(Unanswered::Busy)) | Err(_) => Err(NoQuota::Busy { partition }),
        }
    }

    fn address(&self) -> Option<String> {
        self.surroundings().edge.address()
    }

    /// Who has a partition, by its ledger; none where nobody ever had it, or the store is away.
    async fn owner_of(&self, partition: u32) -> Option<PartitionOwner> {
        let surroundings = self.surroundings();
        let now_ms = surroundings.edge.now_ms();
        let known = self.desks().owners.lock().get(&partition).cloned();
        if let Some((since_ms, owner)) = known
            && (0..OWNER_BELIEVED_MS).contains(&now_ms.saturating_sub(since_ms))
        {
            return owner;
        }
        let store = surroundings.store.as_ref();
        let last = ledger::find_last(store, self.log().topic(), partition);
        let last = tokio::time::timeout(PATIENCE, last).await.ok()?.ok().flatten();
        let owner = last
            .map(|last| PartitionOwner { owner: last.entry.owner, address: last.entry.address });
        self.desks().owners.lock().insert(partition, (now_ms, owner.clone()));
        owner
    }
}

//! Where the stream gets its reference data from. The core is handed it; finding out what is newest
//! is for the edge.

use futures::future::BoxFuture;
use tally_schemas::ReferenceVersion;

use crate::core::ReferenceData;
use crate::error::AggregateError;

/// Versions of reference data, each of which, once named by a ledger entry, can be had again.
pub trait References: Send + Sync + std::fmt::Debug {
    /// What a ledger begins with.
    fn newest(&self) -> ReferenceData;

    /// What should follow `current`, where anything does: it has all that `current` has. Asked
    /// often, by every partition, between records.
    fn newer_than(&self, current: &ReferenceVersion) -> Option<ReferenceData>;

    /// Exactly the version of a ledger entry.
    ///
    /// # Errors
    /// `Retry` while the store is away; `Data` where the version is missing, or is not what its
    /// name says.
    fn load<'a>(
        &'a self,
        version: &'a ReferenceVersion,
    ) -> BoxFuture<'a, Result<ReferenceData, AggregateError>>;
}

/// Reference data that never changes.
impl References for ReferenceData {
    fn newest(&self) -> ReferenceData {
        self.clone()
    }

    fn newer_than(&self, _: &ReferenceVersion) -> Option<ReferenceData> {
        None
    }

    fn load<'a>(
        &'a self,
        version: &'a ReferenceVersion,
    ) -> BoxFuture<'a, Result<ReferenceData, AggregateError>> {
        let found = if *version == self.version {
            Ok(self.clone())
        } else {
            Err(AggregateError::Damaged(format!("there is no reference data {version}")))
        };
        Box::pin(std::future::ready(found))
    }
}

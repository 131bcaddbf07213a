//! Where the stream gets its reference data from. The core is handed it; finding out what is newest
//! is for the edge.

use futures::future::BoxFuture;
use tally_schemas::ReferenceVersion;

use crate::core::ReferenceData;
use crate::error::AggregateError;

/// What there is under the name of a version. Editions are made one after the other and never
/// changed, so `Here` and `Other` are said by everybody who asks, at any time.
#[derive(Debug, Clone)]
pub enum Found {
    /// It.
    Here(ReferenceData),
    /// The edition of this number is another one, or is never read as of that time: this.
    Other(ReferenceVersion),
    /// There is no edition of this number, or not yet.
    Absent,
}

/// Versions of reference data, each of which, once named by a ledger entry or by the log, can be
/// had again.
pub trait References: Send + Sync + std::fmt::Debug {
    /// What a ledger begins with.
    fn newest(&self) -> ReferenceData;

    /// The version that should follow `current`, where any does: it has all that `current` has.
    /// Asked often, by every partition, between records.
    fn newer_than(&self, current: &ReferenceVersion) -> Option<ReferenceVersion>;

    /// Exactly this version.
    ///
    /// # Errors
    /// `Retry` while the store is away; `Data` where what is stored is damaged.
    fn find<'a>(
        &'a self,
        version: &'a ReferenceVersion,
    ) -> BoxFuture<'a, Result<Found, AggregateError>>;
}

/// Reference data that never changes.
impl References for ReferenceData {
    fn newest(&self) -> ReferenceData {
        self.clone()
    }

    fn newer_than(&self, _: &ReferenceVersion) -> Option<ReferenceVersion> {
        None
    }

    fn find<'a>(
        &'a self,
        version: &'a ReferenceVersion,
    ) -> BoxFuture<'a, Result<Found, AggregateError>> {
        let found = if *version == self.version {
            Found::Here(self.clone())
        } else if version.edition == self.version.edition {
            Found::Other(self.version.clone())
        } else {
            Found::Absent
        };
        Box::pin(std::future::ready(Ok(found)))
    }
}

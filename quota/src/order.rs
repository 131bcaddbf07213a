//! The order in which buckets are used.

use crate::account::Account;
use crate::charge_event::ChargeEvent;
use crate::reference::QuotaReference;

/// A bucket that may take an event. Compared field by field: directed first, then free and trial,
/// then the rolled phase, then the earliest end, the lower priority number, the older one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    general: bool,
    paid: bool,
    first_phase: bool,
    end_ms: i64,
    priority: i64,
    /// Position in the account, which is the order of the log.
    pub(crate) bucket: usize,
}

impl Rank {
    /// Whether the event is in the bucket's rolled phase.
    pub(crate) const fn rolled(&self) -> bool {
        !self.first_phase
    }
}

/// Fills `ranks` with the buckets that may take the event, with room or without, in the order of
/// consumption.
pub(crate) fn rank(
    account: &Account,
    reference: &QuotaReference,
    event: &ChargeEvent<'_>,
    ranks: &mut Vec<Rank>,
) {
    ranks.clear();
    for (bucket, at) in account.buckets.iter().zip(0..) {
        let Some(rolled) = bucket.phase_at(event.completed_at_ms) else { continue };
        let package = reference.package(bucket.package);
        if !package.may_take(event.model, event.billed_model, event.product) {
            continue;
        }
        ranks.push(Rank {
            general: !package.directed,
            paid: !package.kind.is_free(),
            first_phase: !rolled,
            end_ms: if rolled { bucket.end_ms() } else { bucket.valid_to_ms },
            priority: package.priority,
            bucket: at,
        });
    }
    if ranks.len() > 1 {
        ranks.sort_unstable();
    }
}

//! Packages, buckets, quota and alerts: what an account is charged, exactly. The rules are in
//! `docs/quota.md`. A pure function of the account, one event or command, the watermark, and the
//! reference data: no clock, no I/O, no floats.
//!
//! - [`Quota`]: the accounts of one partition.
//! - [`QuotaReference`]: packages and tariffs, in versions.
//! - [`ChargeEvent`], [`Weigh`], [`Charged`]: an event that is charged, and what it costs.
//! - [`Command`]: purchases, top-ups, transfers, cancellations, adjustments, flags.
//! - [`QuotaSink`]: takes rows of the ledger and alerts.
//! - [`AccountStatus`]: what gateways and the subscriber's app are told.
//! - [`StoredAccount`]: what stored state says of an account, for who only looks.

mod account;
mod account_codec;
mod account_store;
mod alert_identity;
mod arena;
mod bucket;
mod bucket_alerts;
mod calendar;
mod carry_out;
mod charge;
mod charge_event;
mod command;
mod command_json;
mod due;
mod fields;
mod number_set;
mod order;
mod package;
#[cfg_attr(
    not(any(test, feature = "planted")),
    allow(dead_code, unreachable_pub, reason = "the switch is open to tests only")
)]
mod planted;
mod purchase;
mod quota;
mod reference;
mod reference_layers;
mod reference_lint;
mod reference_text;
mod reverse;
mod sink;
mod split;
mod status;
mod status_feed;
mod status_json;
mod stored_account;
mod timers;
mod usage;
mod varint;
mod window;
mod window_alerts;

#[cfg(test)]
mod tests;

pub use account_codec::BadAccount;
pub use alert_identity::alert_identity;
pub use bucket::GRACE_MS;
pub use charge_event::{ChargeError, ChargeEvent, Charged, DEFAULT_WEIGHTS, Weigh, WeighError};
pub use command::{Action, COMMAND_ID_MAX_BYTES, Command, CommandError, QUANTITY_MAX};
pub use package::{
    Anchor, Cap, OverflowPolicy, Package, PackageKind, Period, Rollover, Stacking, Tariff,
    Threshold, ThresholdKind,
};
#[cfg(any(test, feature = "planted"))]
pub use planted::Bug;
pub use quota::Quota;
pub use reference::{Problem, QuotaReference, ReferenceError, VersionLost};
pub use reference_layers::{LayerApproval, PackageChange, PackageFile, PackageLayer};
pub use reverse::Reversal;
pub use sink::{Alert, EntryKind, LedgerRow, OverrunCause, QuotaSink};
pub use split::{EVENT_AMOUNT_MAX, EVENT_POINTS_MAX};
pub use status::{AccountStatus, BucketStatus, CapStatus, OverflowStatus, QuotaState};
pub use status_json::{AsOf, quota_answer, quota_message};
pub use stored_account::{StoredAccount, StoredBucket};
pub use window::Window;
pub use window_alerts::alert_window_end_ms;

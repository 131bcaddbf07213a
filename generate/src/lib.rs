//! Synthetic gateway traffic, the exact truth about it, and recorded traffic in other formats.
//!
//! - [`Traffic`] is an iterator of [`GeneratedEvent`]s: the same [`TrafficParams`] give the same
//!   bytes on every machine. Each event says which [`Outcome`] it must have.
//! - [`Truth`] sums what must come out, with no code of the stream: the oracle of `tally verify`.
//! - [`HourlyTotals`]: what the gateways would say they sent, hour by hour.
//! - [`Recording`] reads Mooncake and Azure traces, native events and LiteLLM logs.
//! - [`encode_json`] and [`encode_batch`] write events in the two wire formats.
//!
//! Nothing here uses floating-point numbers: shares are parts per million, distributions are
//! tables of whole numbers, so that rounding cannot differ between machines.

mod accounts;
mod arrivals;
mod catalogue;
mod distribution;
mod draws;
mod gateways;
mod hourly_totals;
mod json;
mod poison;
mod replay;
mod share;
mod traffic;
mod truth;

pub use catalogue::{MODELS, Model, VENDORS};
pub use hourly_totals::HourlyTotals;
pub use json::{encode_batch, encode_json};
pub use poison::PoisonKind;
pub use replay::{Format, Recording, ReplayError, ReplayOptions};
pub use share::{Share, ShareError};
pub use traffic::{EventBody, GeneratedEvent, Outcome, Traffic, TrafficParams};
pub use truth::{ModelTruth, Sum, Truth, TruthError};

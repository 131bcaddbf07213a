//! Delivers alerts to webhooks: each at least once, with the same id and the same body every time,
//! signed as [Standard Webhooks](https://www.standardwebhooks.com) has it. See `docs/alerts.md`.
//!
//! - [`Receiver`]: one configured webhook, with its key and what it wants.
//! - [`Dispatcher`]: reads the topic of alerts for one receiver and delivers, from a position of its
//!   own in the store; one that is slow or down holds up nobody else.
//! - [`WebhookStatus`]: what became of deliveries, for metrics and people.

mod address;
mod arrivals;
mod attempt;
mod dead_letter;
mod dispatcher;
mod error;
mod position;
mod receiver;
mod signature;
mod status;
mod waiting;

pub use address::is_public;
pub use dead_letter::{DeadLetter, dead_letters};
pub use dispatcher::{AlertsLog, Dispatcher, Patience};
pub use error::{ErrorKind, WebhookError};
pub use receiver::{Receiver, receivers_of};
pub use signature::SigningKey;
pub use status::{ReceiverStatus, WebhookStatus};

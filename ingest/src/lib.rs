//! The HTTP front door: takes usage events in every format that gateways speak, and answers when
//! the log has them.
//!
//! One request goes through these files, in this order:
//!
//! 1. `events` picks the format by content type; `budget` lets the request in or turns it away
//!    (429), so that memory is bounded; `body` reads it within its limits.
//! 2. `adapters`, one a file, turn the body into events: native JSON, NDJSON, CloudEvents
//!    (structured, batch, binary) and protobuf.
//! 3. `intake` decides for each event: accepted; refused, because it cannot be attributed (no
//!    source, id, account or time); or held: it belongs to an account but has a defect, so it goes
//!    on, its known fields only (`known_fields`), and ends in suspense.
//! 4. `event_encoding` writes accepted events as elements of a protobuf `UsageBatch`, and `batcher`
//!    joins those of concurrent requests into one record a partition within a few milliseconds.
//! 5. When the log has acknowledged every record with an event of the request, the `answer` goes
//!    out. Where it has not, the answer is 503: a part may have been stored, the sender sends all
//!    of it again with the same ids, and dedupe downstream takes care of what was there.
//!
//! [`Door`] holds all of this; [`router`] makes a server of it; [`routes`] are its `/v1/…` paths
//! alone, to be merged with those of other roles. Errors of a request are RFC 9457
//! `application/problem+json` (`problem`).
//!
//! Serve it with `TCP_NODELAY`, or the answers to single events wait for the peer's delayed
//! acknowledgements.
//!
//! # Example
//! ```no_run
//! # use std::sync::{Arc, Mutex};
//! # async fn serve(log: Arc<dyn tally_log::EventLog>) -> Result<(), Box<dyn std::error::Error>> {
//! let door = tally_ingest::Door::new(Default::default(), 3_600_000, &log, Arc::new(Mutex::default()))?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! let listener = axum::serve::ListenerExt::tap_io(listener, |io| {
//!     io.set_nodelay(true).ok();
//! });
//! axum::serve(listener, tally_ingest::router(door.clone())).await?;
//! door.drain(std::time::Duration::from_secs(10)).await?;
//! # Ok(()) }
//! ```

mod adapters;
mod answer;
mod batcher;
mod body;
mod budget;
mod commands;
mod control_totals;
mod door;
mod error;
mod event_encoding;
mod events;
#[cfg(feature = "fuzz")]
pub mod fuzzed;
mod gateways;
mod health;
mod intake;
mod known_fields;
mod metrics;
mod problem;
mod progress;
mod router;

pub use door::Door;
pub use error::{DoorError, DoorErrorKind};
pub use router::{router, routes};

//! The deterministic core: no I/O, no clock, no randomness. Records go in, an epoch comes out.

mod arrow_schema;
pub(crate) mod base_policy;
pub(crate) mod batch_reader;
mod control_total_rows;
mod counts;
pub(crate) mod dedupe;
mod epoch;
mod event_columns;
mod event_rating;
mod few_words;
mod held_payload;
mod id_table;
mod interner;
mod last_outcome;
mod message_text;
pub(crate) mod model_windows;
mod notice;
mod partition;
mod proto_fields;
pub(crate) mod quota_rows;
mod quota_stage;
mod reference_record;
mod resolution_rows;
pub(crate) mod state_codec;
mod stored_windows;
pub(crate) mod subscriber_windows;
mod suspense_rows;
mod text_column;
mod tick;
mod window_rows;
mod window_sums;

pub use dedupe::SegmentRef;
pub(crate) use epoch::EpochState;
pub use epoch::{ClosedEpoch, SpareColumns};
pub use event_rating::{ReferenceData, ReferenceLost};
pub use held_payload::HeldReading;
pub(crate) use last_outcome::LastOutcome;
pub use notice::{AlertNotice, Notice, StatusNotice};
pub use partition::{Need, NeedSegments, Partition, PartitionConfig, QuotaPicture};
pub(crate) use partition::{StateForm, WholeState, blake3_hex};
pub(crate) use reference_record::{REFERENCE, write_reference};
pub(crate) use stored_windows::StoredWindows;
#[cfg(test)]
pub(crate) use subscriber_windows::OpenWindow;
pub(crate) use tick::write_tick;

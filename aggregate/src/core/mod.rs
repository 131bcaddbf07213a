//! The deterministic core: no I/O, no clock, no randomness. Records go in, an epoch comes out.

mod arrow_schema;
mod batch_reader;
mod counts;
pub(crate) mod dedupe;
mod event_columns;
mod id_table;
mod interner;
mod message_text;
mod model_windows;
mod partition;
mod state_codec;
pub(crate) mod subscriber_windows;
mod suspense_rows;
mod window_rows;
mod window_sums;

pub use dedupe::SegmentRef;
pub use partition::{ClosedEpoch, NeedSegments, Partition, PartitionConfig, SpareColumns};
pub(crate) use partition::{EpochState, StateForm, blake3_hex};
#[cfg(test)]
pub(crate) use subscriber_windows::OpenWindow;

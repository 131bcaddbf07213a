//! What the fuzz targets reach of the door: the feature `fuzz` opens it, the program is built
//! without it.

use bytes::Bytes;

use crate::adapters::{BinaryEnvelope, Format};
use crate::intake::{Intake, IntakeRules};

/// Partitions of the topic.
pub const PARTITIONS: u32 = 4;
/// So small that a request with a few events is split.
const BATCH_MAX_BYTES: usize = 300;

/// Formats of bodies.
const FORMATS: [Format; 6] = [
    Format::Json,
    Format::Ndjson,
    Format::CloudEvent,
    Format::CloudEventBatch,
    Format::CloudEventBinary,
    Format::Protobuf,
];

/// What the door makes of the body of a request.
#[derive(Debug, Clone, Default)]
pub struct TakenBody {
    /// Events of the request.
    pub events: u64,
    /// Events that go on.
    pub accepted: u64,
    /// Positions of events that were refused.
    pub refused: Vec<u64>,
    /// Batches in protobuf, each with its partition and the number of its events.
    pub batches: Vec<(u32, Vec<u8>, u64)>,
    /// Events with a defect, which go on as JSON: partition, key, value.
    pub singles: Vec<(u32, Bytes, Bytes)>,
}

/// Reads a body in the format of a number; `None` where it is refused as a whole.
pub fn read_body(format: usize, body: &[u8]) -> Option<TakenBody> {
    let rules = IntakeRules {
        partition_count: PARTITIONS,
        batch_max_bytes: BATCH_MAX_BYTES,
        future_after_ms: i64::MAX,
    };
    let mut intake = Intake::new(rules);
    let envelope = BinaryEnvelope::default();
    FORMATS[format % FORMATS.len()].read(body, Some(&envelope), &mut intake).ok()?;
    let taken = intake.finish();
    let slices = taken.slices.into_iter();
    let singles = taken.singles.into_iter();
    Some(TakenBody {
        events: taken.events,
        accepted: taken.answer.accepted,
        refused: taken.answer.rejected.iter().map(|rejection| rejection.index).collect(),
        batches: slices.map(|(partition, slice)| (partition, slice.bytes, slice.events)).collect(),
        singles: singles.map(|single| (single.partition, single.key, single.value)).collect(),
    })
}

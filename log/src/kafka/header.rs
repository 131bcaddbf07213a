//! Tells a batch from a single event by the record's header, and finds the trace that it is of.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedMessage, Headers, Message};

use crate::{RecordKind, TRACE_HEADER, TYPE_HEADER, TraceParent};

/// Value of the header of a batch.
pub(super) const BATCH: &[u8] = b"batch";

/// What the record is, and its trace, where that is followed. librdkafka parses the headers of each
/// record anew, even where there are none: what begins as JSON does is not asked for them, as no
/// batch begins so (the byte would open a protobuf group, which a batch has none of).
pub(super) fn kind_of(message: &BorrowedMessage<'_>) -> (RecordKind, Option<TraceParent>) {
    const SINGLE: (RecordKind, Option<TraceParent>) = (RecordKind::Single, None);
    if message.payload().is_none_or(|value| value.first() == Some(&b'{')) {
        return SINGLE;
    }
    match message.headers() {
        None => SINGLE,
        // rdkafka panics on a header whose name is not UTF-8. A stranger's record must not stop
        // the partition: it is taken as a single event, and ends in suspense if it is none.
        Some(headers) => catch_unwind(AssertUnwindSafe(|| read(headers))).unwrap_or(SINGLE),
    }
}

fn read<H: Headers>(headers: &H) -> (RecordKind, Option<TraceParent>) {
    let (mut kind, mut parent) = (RecordKind::Single, None);
    for header in headers.iter() {
        match (header.key, header.value) {
            (TYPE_HEADER, Some(BATCH)) => kind = RecordKind::Batch,
            (TRACE_HEADER, Some(value)) => parent = TraceParent::of(value),
            _ => {}
        }
    }
    (kind, parent)
}

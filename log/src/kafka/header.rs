//! Tells a batch from a single event by the record's header.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::message::{BorrowedMessage, Headers, Message};

use crate::{RecordKind, TYPE_HEADER};

/// Value of the header of a batch.
pub(super) const BATCH: &[u8] = b"batch";

/// What the record is. librdkafka parses the headers of each record anew, even where there are
/// none: what begins as JSON does is not asked for them, as no batch begins so (the byte would
/// open a protobuf group, which a batch has none of).
pub(super) fn kind_of(message: &BorrowedMessage<'_>) -> RecordKind {
    if message.payload().is_none_or(|value| value.first() == Some(&b'{')) {
        return RecordKind::Single;
    }
    match message.headers() {
        None => RecordKind::Single,
        // rdkafka panics on a header whose name is not UTF-8. A stranger's record must not stop
        // the partition: it is taken as a single event, and ends in suspense if it is none.
        Some(headers) => {
            catch_unwind(AssertUnwindSafe(|| kind_by(headers))).unwrap_or(RecordKind::Single)
        }
    }
}

fn kind_by<H: Headers>(headers: &H) -> RecordKind {
    let batch =
        headers.iter().any(|header| header.key == TYPE_HEADER && header.value == Some(BATCH));
    if batch { RecordKind::Batch } else { RecordKind::Single }
}

//! How a record is laid out in the store: flags (1 byte), timestamp (8, little endian), length
//! of the key (4, little endian), key, value.

use crate::{LogError, Outgoing, Record, RecordKind};

const BATCH: u8 = 1;
const KEYED: u8 = 2;
const HEADER_BYTES: usize = 13;

/// Bytes of one record in the store.
pub(super) fn encode(record: &Outgoing, timestamp_ms: i64) -> Result<Vec<u8>, LogError> {
    let key = record.key.as_deref().unwrap_or_default();
    let key_length = u32::try_from(key.len())
        .map_err(|_| LogError::Invalid("a key is at most 4 GiB".to_owned()))?;
    let mut flags = 0;
    if record.kind == RecordKind::Batch {
        flags |= BATCH;
    }
    if record.key.is_some() {
        flags |= KEYED;
    }
    let mut bytes = Vec::with_capacity(HEADER_BYTES + key.len() + record.value.len());
    bytes.push(flags);
    bytes.extend_from_slice(&timestamp_ms.to_le_bytes());
    bytes.extend_from_slice(&key_length.to_le_bytes());
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(&record.value);
    Ok(bytes)
}

/// Reads a record back without copying it.
pub(super) fn decode(offset: u64, bytes: &[u8]) -> Result<Record<'_>, LogError> {
    parse(offset, bytes)
        .ok_or_else(|| LogError::Internal(format!("the record at offset {offset} is damaged")))
}

fn parse(offset: u64, bytes: &[u8]) -> Option<Record<'_>> {
    let (flags, rest) = bytes.split_first()?;
    let (timestamp, rest) = rest.split_first_chunk::<8>()?;
    let (key_length, rest) = rest.split_first_chunk::<4>()?;
    let key_length = usize::try_from(u32::from_le_bytes(*key_length)).ok()?;
    let (key, value) = rest.split_at_checked(key_length)?;
    if flags & !(BATCH | KEYED) != 0 {
        return None;
    }
    Some(Record {
        offset,
        timestamp_ms: i64::from_le_bytes(*timestamp),
        key: (flags & KEYED != 0).then_some(key),
        value: Some(value),
        kind: if flags & BATCH == 0 { RecordKind::Single } else { RecordKind::Batch },
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn a_record_comes_back_as_it_was_written() {
        for (key, kind) in [
            (None, RecordKind::Single),
            (Some(""), RecordKind::Batch),
            (Some("A000012345"), RecordKind::Single),
        ] {
            let record = Outgoing {
                partition: 3,
                key: key.map(|key| Bytes::from_static(key.as_bytes())),
                value: Bytes::from_static(b"{}"),
                kind,
            };
            let bytes = encode(&record, 1_795_326_155_827).unwrap();
            let read = decode(7, &bytes).unwrap();
            assert_eq!(read.offset, 7);
            assert_eq!(read.timestamp_ms, 1_795_326_155_827);
            assert_eq!(read.key, key.map(str::as_bytes));
            assert_eq!(read.value, Some(b"{}".as_slice()));
            assert_eq!(read.kind, kind);
        }
    }

    #[test]
    fn a_short_or_unknown_record_is_an_error_and_not_a_panic() {
        let record = Outgoing {
            partition: 0,
            key: Some(Bytes::from_static(b"key")),
            value: Bytes::new(),
            kind: RecordKind::Single,
        };
        let bytes = encode(&record, 0).unwrap();
        for length in 0..bytes.len() {
            assert!(decode(0, &bytes[..length]).is_err(), "{length} bytes");
        }
        let mut unknown = bytes;
        unknown[0] = 0x80;
        assert!(decode(0, &unknown).is_err());
    }
}

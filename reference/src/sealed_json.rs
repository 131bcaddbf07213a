//! JSON objects that show damage: the last member is the BLAKE3 of all bytes before it, as in the
//! epoch ledger, so that a flipped bit never becomes a price (R20).

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::ReferenceError;

const CHECKSUM_MEMBER: &[u8] = b",\"checksum\":\"";

/// The bytes of a value that is written as an object with members.
///
/// # Errors
/// `Usage` where the value cannot be written as JSON.
pub fn seal<T: Serialize>(value: &T) -> Result<Bytes, ReferenceError> {
    let mut bytes = serde_json::to_vec(value).map_err(|e| ReferenceError::Usage(e.to_string()))?;
    // The object stays open for its last member.
    bytes.pop();
    let checksum = hash_of(&bytes);
    bytes.extend_from_slice(CHECKSUM_MEMBER);
    bytes.extend_from_slice(checksum.as_bytes());
    bytes.extend_from_slice(b"\"}");
    Ok(Bytes::from(bytes))
}

/// What is looked at first of an object.
#[derive(Deserialize)]
struct OfFormat {
    format: u32,
}

/// The value of sealed bytes, where this build knows their format; `path` is for the words of an
/// error. The rest is read after that: what a later build adds, this one cannot read.
///
/// # Errors
/// `Data` where they are not what was sealed; `Usage` for a format after the `newest` one.
pub fn open_known<T: DeserializeOwned>(
    path: &str,
    bytes: &[u8],
    newest: u32,
) -> Result<T, ReferenceError> {
    intact(path, bytes)?;
    let OfFormat { format } = parse(path, bytes)?;
    if format > newest {
        return Err(ReferenceError::Usage(format!(
            "{path} has format {format}, this build reads up to {newest}: upgrade"
        )));
    }
    parse(path, bytes)
}

fn parse<T: DeserializeOwned>(path: &str, bytes: &[u8]) -> Result<T, ReferenceError> {
    serde_json::from_slice(bytes)
        .map_err(|error| ReferenceError::Damaged(format!("{path}: {error}")))
}

fn intact(path: &str, bytes: &[u8]) -> Result<(), ReferenceError> {
    let intact = || {
        let (rest, checksum) = bytes.strip_suffix(b"\"}")?.split_last_chunk::<64>()?;
        Some(hash_of(rest.strip_suffix(CHECKSUM_MEMBER)?).as_bytes() == checksum)
    };
    if intact() != Some(true) {
        return Err(ReferenceError::Damaged(format!("{path} is not what its checksum says")));
    }
    Ok(())
}

/// BLAKE3 in hex.
pub fn hash_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_byte_is_noticed() {
        let sealed = seal(&serde_json::json!({"format": 1, "price": "12"})).unwrap();
        let read = open_known::<serde_json::Value>("p", &sealed, 1).unwrap();
        assert_eq!(read["price"], "12");
        for place in 0..sealed.len() {
            let mut flipped = sealed.to_vec();
            flipped[place] ^= 1;
            let read = open_known::<serde_json::Value>("p", &flipped, 1);
            assert!(read.is_err(), "byte {place}");
        }
    }
}

//! Objects that are written once: JSON with the hash of itself as its last member, so that a
//! damaged or edited one is found.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::SettlementError;

const CHECKSUM: &str = ",\"checksum\":\"";

/// BLAKE3 in hex.
pub fn hash_of(bytes: &[u8]) -> String {
    blake3::hash(bytes).to_hex().to_string()
}

/// Encodes an object. The same value gives the same bytes.
///
/// # Errors
/// `Damaged` for what is not a JSON object.
pub fn encode_sealed<T: Serialize>(value: &T) -> Result<Vec<u8>, SettlementError> {
    let text = serde_json::to_string(value).map_err(|e| SettlementError::Damaged(e.to_string()))?;
    let Some(body) = text.strip_suffix('}').filter(|body| body.len() > 1) else {
        return Err(SettlementError::Damaged("only an object can be sealed".to_owned()));
    };
    let hash = hash_of(body.as_bytes());
    Ok(format!("{body}{CHECKSUM}{hash}\"}}").into_bytes())
}

/// Reads an object back; `what` is for messages.
///
/// # Errors
/// `Damaged` where a byte is not what was written.
pub fn decode_sealed<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, SettlementError> {
    let damaged = |why: String| SettlementError::Damaged(format!("{what}: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
    let parts = text.rsplit_once(CHECKSUM);
    let (body, rest) = parts.ok_or_else(|| damaged("has no checksum".to_owned()))?;
    let hash = rest.strip_suffix("\"}");
    if hash != Some(hash_of(body.as_bytes()).as_str()) {
        return Err(damaged("its checksum is not that of its content".to_owned()));
    }
    serde_json::from_str(&format!("{body}}}")).map_err(|error| damaged(error.to_string()))
}

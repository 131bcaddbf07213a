//! Objects that are written once: JSON with the hash of itself as its last member, so that a
//! damaged or edited one is found.

use std::ops::RangeInclusive;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

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

/// What is looked at first of an object.
#[derive(Deserialize)]
struct OfFormat {
    format: u32,
}

/// Reads an object back, where this build knows its format; `what` is for messages. The rest is read
/// after that: what a later version adds, this one cannot read.
///
/// # Errors
/// `Damaged` where a byte is not what was written, and for a format that is not `known`.
pub(crate) fn decode_sealed<T: DeserializeOwned>(
    what: &str,
    bytes: &[u8],
    known: RangeInclusive<u32>,
) -> Result<T, SettlementError> {
    let body = whole(what, bytes)?;
    let OfFormat { format } = parse(what, &body)?;
    if known.contains(&format) {
        return parse(what, &body);
    }
    let (newest, later) = (known.end(), format > *known.end());
    Err(SettlementError::Damaged(if later {
        format!("{what} has format {format}, this build reads up to {newest}: upgrade")
    } else {
        format!("{what} has format {format}, which this build does not read any more")
    }))
}

fn parse<T: DeserializeOwned>(what: &str, body: &str) -> Result<T, SettlementError> {
    serde_json::from_str(body).map_err(|error| SettlementError::Damaged(format!("{what}: {error}")))
}

/// The object without its hash, which is that of its content.
fn whole(what: &str, bytes: &[u8]) -> Result<String, SettlementError> {
    let damaged = |why: String| SettlementError::Damaged(format!("{what}: {why}"));
    let text = std::str::from_utf8(bytes).map_err(|error| damaged(error.to_string()))?;
    let parts = text.rsplit_once(CHECKSUM);
    let (body, rest) = parts.ok_or_else(|| damaged("has no checksum".to_owned()))?;
    let hash = rest.strip_suffix("\"}");
    if hash != Some(hash_of(body.as_bytes()).as_str()) {
        return Err(damaged("its checksum is not that of its content".to_owned()));
    }
    Ok(format!("{body}}}"))
}

/// That what is read of a later format, with what only a later build knows, is refused with words that
/// say what to do; and what is `known` is read.
#[cfg(test)]
pub(crate) fn refuses_later<T: Serialize>(
    known: &T,
    newest: u32,
    why_not: impl Fn(&str, &[u8]) -> Option<String>,
) {
    let said = |format: u32, more: bool| {
        let mut value = serde_json::to_value(known).unwrap();
        value["format"] = format.into();
        if more {
            value["of_later_builds_only"] = true.into();
        }
        why_not("books/7.json", &encode_sealed(&value).unwrap()).unwrap()
    };
    let later = newest + 1;
    let words =
        format!("books/7.json has format {later}, this build reads up to {newest}: upgrade");
    assert_eq!(said(later, true), words);
    assert_eq!(said(later, false), words);
    let words = "books/7.json has format 0, which this build does not read any more";
    assert_eq!(said(0, false), words);
    assert_eq!(why_not("books/7.json", &encode_sealed(known).unwrap()), None);
}

//! Which earlier event an event corrects.

use super::{ParsedEvent, TEXT_MAX_BYTES};
use crate::correction::{CorrectionKind, Corrects};
use crate::event_error::EventErrorCode as Code;

/// Name of the member that says which earlier event is corrected.
pub(crate) const CORRECTS: &str = "corrects";

/// Reads which earlier event is corrected. Where the kind is not given, an event with usage replaces
/// and one without voids.
pub(super) fn read_corrects(
    parsed: &mut ParsedEvent<'_>,
    value: &serde_json::Value,
    has_usage: bool,
) {
    let text = |name: &str| value.get(name).and_then(serde_json::Value::as_str);
    let kind = match value.get("kind") {
        None | Some(serde_json::Value::Null) => None,
        Some(_) => Some(text("kind").unwrap_or_default()),
    };
    let [source, id] = ["source", "id"].map(|name| text(name).unwrap_or_default());
    note_corrects(parsed, (source, id), kind, has_usage);
}

/// Notes which earlier event is corrected, or what is wrong with it.
pub(crate) fn note_corrects(
    parsed: &mut ParsedEvent<'_>,
    (source, id): (&str, &str),
    kind: Option<&str>,
    has_usage: bool,
) {
    let implied = if has_usage { CorrectionKind::Replace } else { CorrectionKind::Void };
    let Some(kind) = kind.map_or(Some(implied), CorrectionKind::from_name) else {
        return parsed.fail(Code::InvalidType, "corrects.kind", "expected void or replace");
    };
    for (field, text) in [("corrects.source", source), ("corrects.id", id)] {
        if text.is_empty() || text.len() > TEXT_MAX_BYTES {
            let words = format!("expected a text of 1 to {TEXT_MAX_BYTES} bytes");
            return parsed.fail(Code::InvalidType, field, words);
        }
    }
    if kind == CorrectionKind::Void && has_usage {
        parsed.fail(Code::InvalidType, "usage", "an event that voids another has no usage");
    }
    parsed.corrects = Some(Corrects { source: source.to_owned(), id: id.to_owned(), kind });
}

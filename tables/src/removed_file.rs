//! What stands in the log in the place of a file that retention has removed.

use serde::{Deserialize, Serialize};

use crate::action::Add;
use crate::error::TablesError;

/// Key of the tag that says of a file that it stands in the place of a removed one. Other readers
/// of Delta find a file without rows there.
pub(crate) const REMOVED_TAG: &str = "tally.removed";

/// What its name begins with.
pub(crate) const IN_ITS_PLACE: &str = "removed-";

/// A file that retention has removed, as the file in its place says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedFile {
    /// Number of the record that names it, among those of its table.
    pub record: u64,
    /// SHA-256 of that record, in hex.
    pub record_sha256: String,
    /// Rows that it had.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// When it was removed, milliseconds UTC.
    pub removed_at_ms: i64,
    /// Statistics of its rows, as its own `add` had them: who asks for none of these rows need not
    /// be told that they are gone.
    pub stats: String,
}

/// What a file stands in the place of; `None` for a file with rows of its own.
///
/// # Errors
/// `Data` for a tag that does not parse: read over, its rows would silently be none.
pub(crate) fn removed_tag(path: &str, add: &Add) -> Result<Option<RemovedFile>, TablesError> {
    let Some(Some(json)) = add.tags.as_ref().and_then(|tags| tags.get(REMOVED_TAG)) else {
        return Ok(None);
    };
    let removed = serde_json::from_str(json)
        .map_err(|error| TablesError::Damaged(format!("tag {REMOVED_TAG} of {path}: {error}")))?;
    Ok(Some(removed))
}

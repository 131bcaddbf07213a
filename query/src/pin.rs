//! What a query reads: one version of every table, taken together.

use tally_schemas::Table;
use tally_tables::{AsOf, ErrorKind, PinnedTables, TablesError};

use crate::error::QueryError;

/// Reads a point in the history of the tables: digits are a version, anything else is an
/// RFC 3339 time with an offset.
///
/// # Errors
/// `Invalid` for anything else.
pub fn parse_as_of(text: &str) -> Result<AsOf, QueryError> {
    let text = text.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text
            .parse()
            .map(AsOf::Version)
            .map_err(|_| QueryError::Invalid(format!("as_of: {text} is not a version")));
    }
    text.parse::<jiff::Timestamp>().map(|time| AsOf::TimestampMs(time.as_millisecond())).map_err(
        |_| {
            QueryError::Invalid(format!(
                "as_of: {text:?} is neither a version number nor an RFC 3339 time"
            ))
        },
    )
}

/// The version of each table: what identifies a pin.
pub(crate) type Versions = Vec<(Table, Option<u64>)>;

pub(crate) fn versions(pin: &PinnedTables) -> Versions {
    pin.iter().map(|table| (table.table, table.version)).collect()
}

pub(crate) fn error_of(error: &TablesError) -> QueryError {
    match error.kind() {
        ErrorKind::Retry => QueryError::Retry(error.to_string()),
        ErrorKind::Invalid => QueryError::Invalid(error.to_string()),
        ErrorKind::Data => QueryError::Data(error.to_string()),
        _ => QueryError::Internal(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_of_is_a_version_or_a_time() {
        assert_eq!(parse_as_of("17").unwrap(), AsOf::Version(17));
        assert_eq!(parse_as_of("1970-01-01T08:00:01+08:00").unwrap(), AsOf::TimestampMs(1000));
        for bad in ["", "yesterday", "-3", "99999999999999999999999", "2026-11-22 10:00"] {
            assert!(parse_as_of(bad).is_err(), "{bad}");
        }
    }
}

//! A reference record: by which prices and packages what follows is rated, as an input of the log.
//! So every reader of the log changes at the same record, whatever else it knows. See
//! `docs/adr/0017-reference-records.md`.

use serde::{Deserialize, Serialize};
use tally_schemas::ReferenceVersion;

/// Name of the command.
pub(crate) const REFERENCE: &str = "reference";

/// `{"command":"reference","version":"EDITION-HASH@KNOWN_AT_MS"}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReferenceRecord {
    command: String,
    version: ReferenceVersion,
}

/// The value of a reference record: what follows is rated by `version`.
pub(crate) fn write_reference(version: &ReferenceVersion) -> Vec<u8> {
    format!("{{\"command\":\"{REFERENCE}\",\"version\":\"{version}\"}}").into_bytes()
}

/// The version that a reference record names.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn read_reference(bytes: &[u8]) -> Result<ReferenceVersion, String> {
    let read = serde_json::from_slice::<ReferenceRecord>(bytes);
    read.map(|record| record.version).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_record_names_a_version_and_nothing_else() {
        let version: ReferenceVersion = "3-8f14e45fceea167a@1795326157827".parse().unwrap();
        assert_eq!(read_reference(&write_reference(&version)), Ok(version));
        for wrong in [
            r#"{"command":"reference"}"#,
            r#"{"command":"reference","version":3}"#,
            r#"{"command":"reference","version":"3"}"#,
            r#"{"command":"reference","version":"3-8f14@1","account":"A1"}"#,
        ] {
            assert!(read_reference(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}

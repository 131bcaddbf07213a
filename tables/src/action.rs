//! The lines of a Delta commit that Tally writes and reads, as the protocol of Delta has them.
//!
//! A commit is one JSON object a line, each with one action. Actions of other writers that do not
//! matter here (`cdc`, `domainMetadata`, …) are read over.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use tally_schemas::{DataFile, Table};

use crate::error::TablesError;

/// The reader version that tables are made with; a table that asks for more is refused.
pub(crate) const READER_VERSION: u32 = 1;
/// The writer version that tables are made with.
pub(crate) const WRITER_VERSION: u32 = 2;
/// The writer version of a table that days were removed from; a table that asks for more is not
/// written to. By Delta it says that there may be constraints, of which Tally makes none. Builds
/// that know nothing of removed days refuse it: they would merge the files that stand in the place
/// of others, and lose what these have left.
pub(crate) const WRITER_VERSION_OF_REMOVAL: u32 = 3;

/// One line of a commit: exactly one field is set.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Action {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) commit_info: Option<serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) protocol: Option<Protocol>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) meta_data: Option<Metadata>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) txn: Option<Txn>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) add: Option<Add>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) remove: Option<Remove>,
}

/// What a client must be able to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Protocol {
    pub(crate) min_reader_version: u32,
    pub(crate) min_writer_version: u32,
}

/// Schema, partitioning and properties of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Metadata {
    pub(crate) id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) description: Option<String>,
    pub(crate) format: Format,
    pub(crate) schema_string: String,
    #[serde(default)]
    pub(crate) partition_columns: Vec<String>,
    #[serde(default)]
    pub(crate) configuration: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) created_time: Option<i64>,
}

/// Format of the data files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Format {
    pub(crate) provider: String,
    #[serde(default)]
    pub(crate) options: BTreeMap<String, String>,
}

/// How far an application has committed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Txn {
    pub(crate) app_id: String,
    pub(crate) version: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) last_updated: Option<i64>,
}

/// A file that becomes part of the table. `path` is percent-encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Add {
    pub(crate) path: String,
    #[serde(default)]
    pub(crate) partition_values: BTreeMap<String, Option<String>>,
    pub(crate) size: i64,
    pub(crate) modification_time: i64,
    pub(crate) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stats: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) tags: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_vector: Option<serde_json::Value>,
}

/// A file that is no longer part of the table. `path` is percent-encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Remove {
    pub(crate) path: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) deletion_timestamp: Option<i64>,
    #[serde(default)]
    pub(crate) data_change: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) extended_file_metadata: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) partition_values: Option<BTreeMap<String, Option<String>>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<i64>,
}

impl Action {
    /// The line that says who commits what; `unique_id` tells two otherwise equal commits apart,
    /// so that a commit whose reply was lost is recognized by its bytes.
    pub(crate) fn commit_info(
        operation: &str,
        timestamp_ms: i64,
        read_version: Option<u64>,
        unique_id: &str,
    ) -> Self {
        let mut info = serde_json::json!({
            "timestamp": timestamp_ms,
            "operation": operation,
            "operationParameters": {},
            "isBlindAppend": false,
            "isolationLevel": "Serializable",
            "engineInfo": concat!("tally/", env!("CARGO_PKG_VERSION")),
            "txnId": unique_id,
        });
        if let (Some(version), Some(map)) = (read_version, info.as_object_mut()) {
            map.insert("readVersion".to_owned(), version.into());
        }
        Self { commit_info: Some(info), ..Self::default() }
    }

    pub(crate) fn protocol(min_writer_version: u32) -> Self {
        let protocol = Protocol { min_reader_version: READER_VERSION, min_writer_version };
        Self { protocol: Some(protocol), ..Self::default() }
    }

    pub(crate) fn metadata(metadata: Metadata) -> Self {
        Self { meta_data: Some(metadata), ..Self::default() }
    }

    pub(crate) fn txn(app_id: String, version: i64, last_updated_ms: i64) -> Self {
        let txn = Txn { app_id, version, last_updated: Some(last_updated_ms) };
        Self { txn: Some(txn), ..Self::default() }
    }

    pub(crate) fn add(add: Add) -> Self {
        Self { add: Some(add), ..Self::default() }
    }

    pub(crate) fn remove(remove: Remove) -> Self {
        Self { remove: Some(remove), ..Self::default() }
    }
}

impl Add {
    /// The action for a file of a ledger entry.
    pub(crate) fn of_data_file(
        file: &DataFile,
        committed_at_ms: i64,
    ) -> Result<(Table, Self), TablesError> {
        let table = Table::from_name(&file.table).ok_or_else(|| {
            TablesError::Invalid(format!("table {} is unknown to this build: upgrade", file.table))
        })?;
        let size = i64::try_from(file.bytes)
            .map_err(|_| TablesError::Damaged(format!("{} has {} bytes", file.path, file.bytes)))?;
        let values = &file.partition_values;
        if !table.partition_columns().iter().all(|column| values.contains_key(*column)) {
            return Err(TablesError::Damaged(format!("{} lacks a partition value", file.path)));
        }
        let add = Self {
            path: encode_path(&file.path),
            partition_values: values.iter().map(|(k, v)| (k.clone(), Some(v.clone()))).collect(),
            size,
            modification_time: committed_at_ms,
            data_change: true,
            stats: Some(file.stats.clone()).filter(|stats| !stats.is_empty()),
            tags: None,
            deletion_vector: None,
        };
        Ok((table, add))
    }
}

/// Bytes of a commit.
pub(crate) fn encode_commit(actions: &[Action]) -> Result<Vec<u8>, TablesError> {
    let mut bytes = Vec::with_capacity(actions.len() * 512);
    for action in actions {
        serde_json::to_writer(&mut bytes, action)
            .map_err(|e| TablesError::Internal(e.to_string()))?;
        bytes.push(b'\n');
    }
    Ok(bytes)
}

/// Actions of a commit, or of a checkpoint written as lines. `place` names it in errors.
pub(crate) fn decode_commit(bytes: &[u8], place: &str) -> Result<Vec<Action>, TablesError> {
    serde_json::Deserializer::from_slice(bytes)
        .into_iter::<Action>()
        .collect::<Result<_, _>>()
        .map_err(|e| TablesError::Damaged(format!("{place}: {e}")))
}

/// A path as Delta stores it: a relative URI, so everything but its plain characters is escaped.
pub(crate) fn encode_path(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b'=' => {
                out.push(char::from(byte));
            }
            _ => {
                const HEX: &[u8; 16] = b"0123456789ABCDEF";
                out.push('%');
                out.push(char::from(HEX[usize::from(byte >> 4)]));
                out.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    out
}

/// The path of an encoded one.
pub(crate) fn decode_path(encoded: &str) -> Result<String, TablesError> {
    let damaged = || TablesError::Damaged(format!("file path {encoded}"));
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = tail;
            continue;
        }
        let digits = tail.get(..2).and_then(|d| std::str::from_utf8(d).ok()).ok_or_else(damaged)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| damaged())?);
        rest = &tail[2..];
    }
    String::from_utf8(bytes).map_err(|_| damaged())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::checkpoint::CheckpointHint;
    use crate::stats::FileStats;
    use crate::table_state::{StatsPolicy, TableState};

    /// A commit with every kind of action.
    const COMMIT: &str = concat!(
        r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":2}}"#,
        "\n",
        r#"{"metaData":{"id":"i","format":{"provider":"parquet","options":{}},"schemaString":"{\"type\":\"struct\",\"fields\":[{\"name\":\"account\",\"type\":\"string\",\"nullable\":false,\"metadata\":{}},{\"name\":\"points\",\"type\":\"decimal(38,6)\",\"nullable\":true,\"metadata\":{}}]}","partitionColumns":["day"],"configuration":{},"createdTime":0}}"#,
        "\n",
        r#"{"txn":{"appId":"tally/usage.events/0","version":7,"lastUpdated":1}}"#,
        "\n",
        r#"{"remove":{"path":"day=2026-11-22/a%20b.parquet","deletionTimestamp":5,"dataChange":false,"size":3}}"#,
        "\n",
        r#"{"add":{"path":"day=2026-11-22/a%20c.parquet","partitionValues":{"day":"2026-11-22"},"size":9,"modificationTime":1,"dataChange":true,"stats":"{\"numRecords\":3,\"minValues\":{\"completed_at\":\"2026-11-22T06:22:37.827Z\",\"input\":3,\"account\":\"A\"},\"maxValues\":{\"completed_at\":\"2026-11-22T06:22:37.827Z\"},\"nullCount\":{\"region\":2}}","tags":{"tally.usage_by_day.1":"17","x":null}}}"#,
        "\n",
    );

    const SPOILERS: [&str; 20] = [
        "",
        " ",
        "\"",
        "\\",
        ",",
        ":",
        "{",
        "}",
        "[",
        "]",
        "null",
        "-",
        "0",
        "9999999999999999999999",
        "-1",
        "%",
        "%zz",
        "\u{0}",
        "上",
        "decimal(99,",
    ];

    /// Reads a commit as a table does, and all that is made of it.
    fn replay(bytes: &[u8]) {
        let Ok(actions) = decode_commit(bytes, "any") else { return };
        let mut state = TableState::empty(Table::UsageEvents, StatsPolicy::Parse);
        if state.apply(0, &actions).is_err() {
            return;
        }
        if let Some(metadata) = state.metadata() {
            drop(metadata.schema_for(Table::UsageEvents));
            drop(metadata.with_columns_of(Table::UsageEvents));
        }
    }

    proptest! {
        #[test]
        fn spoilt_commits_are_read_or_refused(
            spots in prop::collection::vec((any::<prop::sample::Index>(), 0..SPOILERS.len(), 0..4_usize), 0..5),
        ) {
            let mut bytes = COMMIT.as_bytes().to_vec();
            for (at, spoiler, removed) in &spots {
                let start = at.index(bytes.len() + 1);
                let end = (start + removed).min(bytes.len());
                bytes.splice(start..end, SPOILERS[*spoiler].bytes());
            }
            replay(&bytes);
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,120}", bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            replay(&bytes);
            drop(serde_json::from_slice::<CheckpointHint>(&bytes));
            FileStats::parse(Table::UsageEvents, &text);
            // What is decoded comes back, however it was written.
            if let Ok(path) = decode_path(&text) {
                prop_assert_eq!(decode_path(&encode_path(&path)).unwrap(), path);
            }
        }
    }

    #[test]
    fn paths_survive_encoding() {
        for path in ["day=2026-11-22/a-b_c.parquet", "p 1%/ü#?.parquet", "a:b+c&d"] {
            let encoded = encode_path(path);
            assert!(encoded.is_ascii());
            assert_eq!(decode_path(&encoded).unwrap(), path);
        }
        assert!(decode_path("a%2").is_err());
        assert!(decode_path("a%zz").is_err());
    }

    #[test]
    fn actions_of_other_writers_are_read_over() {
        let text = concat!(
            r#"{"domainMetadata":{"domain":"x","configuration":"{}","removed":false}}"#,
            "\n",
            r#"{"txn":{"appId":"a","version":3}}"#,
            "\n",
            r#"{"add":{"path":"x","partitionValues":{"day":null},"size":1,"modificationTime":2,"dataChange":true,"tags":{"a":"b"}}}"#,
        );
        let actions = decode_commit(text.as_bytes(), "test").unwrap();
        assert_eq!(actions.len(), 3);
        assert_eq!(actions[1].txn.as_ref().unwrap().version, 3);
        assert_eq!(actions[2].add.as_ref().unwrap().partition_values["day"], None);
    }
}

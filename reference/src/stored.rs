//! What is stored: versions, as they were imported, and editions, which say what is approved. Both
//! are created once and never changed.
//!
//! - `reference/<kind>/<n>.json`: version n of a kind, n = 1, 2, …; 0 is what ships with Tally.
//! - `reference/editions/<e>.json`: edition e of everything, e = 0, 1, …: edition e - 1 and one
//!   approval. Creating it is the approval, so of two that race one wins.

use serde::{Deserialize, Serialize};
use tally_schemas::ReferenceVersion;

use crate::kind::ReferenceKind;

/// The format that this build writes; it reads this one and no later one.
pub(crate) const FORMAT: u32 = 1;

/// The format of a version with settlement terms, which a build that does not know them must not
/// take for a contract that it can read.
pub(crate) const TERMS_FORMAT: u32 = 2;

/// A file as it was imported.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Its name, without folders.
    pub name: String,
    /// Its text.
    pub text: String,
}

/// Where the files of a version come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileOrigin {
    /// They ship with Tally.
    Shipped,
    /// Somebody wrote them for this.
    Written,
    /// Made of LiteLLM's price map, which nobody vouches for.
    Litellm,
}

impl FileOrigin {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Shipped => "shipped",
            Self::Written => "written",
            Self::Litellm => "litellm, unverified",
        }
    }
}

/// A version of one kind: the records that it adds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredVersion {
    /// Format version.
    pub format: u32,
    /// Kind.
    pub kind: ReferenceKind,
    /// Number, from 0.
    pub version: u64,
    /// Its files.
    pub files: Vec<StoredFile>,
    /// Where they come from.
    pub origin: FileOrigin,
    /// Who imported it.
    pub imported_by: String,
    /// When, milliseconds UTC.
    pub imported_at_ms: i64,
}

/// An approved version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layer {
    /// Kind.
    pub kind: ReferenceKind,
    /// Number.
    pub version: u64,
    /// BLAKE3 of the version's object, in hex: what was approved is this and nothing else.
    pub hash: String,
    /// Who approved it.
    pub approved_by: String,
    /// When, milliseconds UTC. Later than that of the layer before, whatever the clocks say; no
    /// record of it is known before this.
    pub approved_at_ms: i64,
}

/// Everything that is approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edition {
    /// Format version.
    pub format: u32,
    /// Number, from 0.
    pub edition: u64,
    /// Approved versions in the order of their approval. The first three are what ships.
    pub layers: Vec<Layer>,
    /// BLAKE3 of the edition before, in hex; empty for edition 0.
    pub previous: String,
}

impl Edition {
    /// The layer of an approved version.
    pub fn layer(&self, kind: ReferenceKind, version: u64) -> Option<&Layer> {
        self.layers.iter().find(|layer| layer.kind == kind && layer.version == version)
    }
}

/// An edition with the hash of its object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEdition {
    /// The edition.
    pub edition: Edition,
    /// BLAKE3 of its object, in hex.
    pub hash: String,
}

/// Digits of an edition's hash that name it.
const HASH_DIGITS: usize = 16;

impl StoredEdition {
    /// The edition as it is read at a time.
    pub fn read_at(&self, known_at_ms: i64) -> ReferenceVersion {
        ReferenceVersion {
            edition: self.edition.edition,
            known_at_ms,
            hash: self.hash.chars().take(HASH_DIGITS).collect(),
        }
    }
}

pub(crate) fn version_path(kind: ReferenceKind, version: u64) -> String {
    format!("reference/{kind}/{version:010}.json")
}

pub(crate) fn edition_path(edition: u64) -> String {
    format!("reference/editions/{edition:010}.json")
}

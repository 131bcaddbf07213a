//! What there is: versions with their states, and what one of them contains or changes.

use serde::Serialize;

use crate::error::ReferenceError;
use crate::finding::Finding;
use crate::import::next_instant;
use crate::kind::ReferenceKind;
use crate::store::{HashedVersion, ReferenceStore};
use crate::stored::{Edition, FileOrigin, StoredFile};
use crate::whole::Change;

/// How far a version is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VersionState {
    /// It waits for an approval and rates nothing.
    Candidate,
    /// It is approved.
    Approved,
}

/// A version in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct VersionRow {
    /// Number.
    pub version: u64,
    /// How far it is.
    pub state: VersionState,
    /// Where its files come from.
    pub origin: FileOrigin,
    /// Names of its files.
    pub files: Vec<String>,
    /// Who imported it.
    pub imported_by: String,
    /// When, milliseconds UTC; absent for what ships.
    pub imported_at_ms: Option<i64>,
    /// Who approved it.
    pub approved_by: Option<String>,
    /// When, milliseconds UTC; absent for what ships.
    pub approved_at_ms: Option<i64>,
    /// BLAKE3 of its object, in hex.
    pub hash: String,
}

/// What a version contains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// The version.
    #[serde(flatten)]
    pub row: VersionRow,
    /// What it adds to what was approved before it, or is approved now where it is a candidate.
    pub changes: Vec<Change>,
    /// What keeps a candidate from being approved as it is.
    pub findings: Vec<Finding>,
}

fn row(version: HashedVersion, edition: &Edition) -> VersionRow {
    let HashedVersion { stored, hash } = version;
    let layer = edition.layer(stored.kind, stored.version);
    let shipped = stored.origin == FileOrigin::Shipped;
    VersionRow {
        version: stored.version,
        state: if layer.is_some() { VersionState::Approved } else { VersionState::Candidate },
        origin: stored.origin,
        files: stored.files.into_iter().map(|file| file.name).collect(),
        imported_by: stored.imported_by,
        imported_at_ms: (!shipped).then_some(stored.imported_at_ms),
        approved_by: layer.map(|layer| layer.approved_by.clone()),
        approved_at_ms: layer.filter(|_| !shipped).map(|layer| layer.approved_at_ms),
        hash,
    }
}

impl ReferenceStore {
    /// Every version of a kind, from 0.
    ///
    /// # Errors
    /// `Retry` while the store is away, `Data` where something stored is damaged.
    pub async fn list(&self, kind: ReferenceKind) -> Result<Vec<VersionRow>, ReferenceError> {
        let whole = self.newest_whole().await?;
        let versions = self.versions(kind).await?;
        if versions.is_empty() {
            let shipped = whole.layers().filter(|(layer, _)| layer.kind == kind);
            let hashed = shipped
                .map(|(layer, stored)| HashedVersion {
                    stored: stored.clone(),
                    hash: layer.hash.clone(),
                })
                .map(|version| row(version, &whole.edition.edition));
            return Ok(hashed.collect());
        }
        Ok(versions.into_iter().map(|version| row(version, &whole.edition.edition)).collect())
    }

    /// What a version contains, and what it changes.
    ///
    /// # Errors
    /// `NoSuchVersion`; else as [`Self::list`].
    pub async fn contents(
        &self,
        kind: ReferenceKind,
        version: u64,
        now_ms: i64,
    ) -> Result<Contents, ReferenceError> {
        let rows = self.list(kind).await?;
        let found = rows.into_iter().find(|row| row.version == version);
        let row = found.ok_or(ReferenceError::NoSuchVersion { kind, version })?;
        let newest = self.newest_whole().await?;
        let position =
            newest.layers().position(|(layer, _)| layer.kind == kind && layer.version == version);
        // An edition is the one before it and one layer, but for the first, which has three.
        let before = match position {
            None => newest,
            Some(position) => match position.checked_sub(ReferenceKind::ALL.len()) {
                None => {
                    let (changes, findings) = (newest.shipped(kind)?, Vec::new());
                    return Ok(Contents { row, changes, findings });
                }
                Some(edition) => {
                    let edition = u64::try_from(edition).unwrap_or(u64::MAX);
                    let stored = self.edition(edition).await?.ok_or_else(|| {
                        ReferenceError::Damaged(format!("edition {edition} is missing"))
                    })?;
                    self.whole(stored).await?
                }
            },
        };
        let stored = self.version(kind, version).await?.stored;
        let by = row.approved_by.clone().unwrap_or_default();
        let at_ms = row.approved_at_ms.unwrap_or_else(|| next_instant(&before, now_ms));
        Ok(match before.extended(&stored, (&by, at_ms)) {
            Ok(extended) => {
                Contents { row, changes: extended.changes, findings: extended.findings }
            }
            Err(findings) => Contents { row, changes: Vec::new(), findings },
        })
    }

    /// The newest version that was imported from exactly this text.
    ///
    /// # Errors
    /// As [`Self::list`]; `Usage` where there is none.
    pub async fn version_of_file(
        &self,
        kind: ReferenceKind,
        file: &StoredFile,
    ) -> Result<u64, ReferenceError> {
        let versions = self.versions(kind).await?;
        let has_it = |version: &&HashedVersion| {
            version.stored.files.iter().any(|there| there.text == file.text)
        };
        let found = versions.iter().rev().find(has_it).map(|version| version.stored.version);
        found.ok_or_else(|| {
            ReferenceError::Usage(format!(
                "{} was not imported as it is: import it first, or name a version (tally {kind} show)",
                file.name
            ))
        })
    }
}

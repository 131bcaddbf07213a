//! Import: files become a candidate. It rates nothing before somebody else approves it.

use serde::Serialize;
use tally_settlement::is_terms_file;

use crate::error::ReferenceError;
use crate::finding::Finding;
use crate::kind::ReferenceKind;
use crate::person::named;
use crate::sealed_json::seal;
use crate::store::{Creation, ReferenceStore};
use crate::stored::{FORMAT, FileOrigin, StoredFile, StoredVersion, TERMS_FORMAT, version_path};
use crate::whole::{Change, Whole};

/// Files that are to become a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFiles {
    /// What they are of.
    pub kind: ReferenceKind,
    /// The files.
    pub files: Vec<StoredFile>,
    /// Where they come from.
    pub origin: FileOrigin,
}

/// What an import came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Imported {
    /// Number of the candidate; none where everything in the files is approved already.
    pub version: Option<u64>,
    /// What it adds to what is approved.
    pub changes: Vec<Change>,
    /// What keeps it from being approved as it is.
    pub findings: Vec<Finding>,
}

impl NewFiles {
    fn candidate(&self, version: u64, by: &str, now_ms: i64) -> StoredVersion {
        let has_terms = self.kind == ReferenceKind::Contract
            && self.files.iter().any(|file| is_terms_file(&file.text));
        StoredVersion {
            format: if has_terms { TERMS_FORMAT } else { FORMAT },
            kind: self.kind,
            version,
            files: self.files.clone(),
            origin: self.origin,
            imported_by: by.to_owned(),
            imported_at_ms: now_ms,
        }
    }

    /// Files that are a table where records have parts: only prices come as CSV, and would be taken
    /// for prices here.
    fn as_tables(&self) -> Vec<Finding> {
        let is_table = |file: &&StoredFile| {
            self.kind != ReferenceKind::Price && file.name.to_ascii_lowercase().ends_with(".csv")
        };
        let finding = |file: &StoredFile| {
            let (name, kind) = (&file.name, self.kind);
            Finding::new(
                "unreadable",
                format!("{name}: {kind}s are read from TOML; CSV is for prices (tally price)"),
            )
        };
        self.files.iter().filter(is_table).map(finding).collect()
    }

    /// What they would change and everything that is wrong with them, beside what is approved.
    /// Stores nothing.
    ///
    /// # Errors
    /// What makes them unreadable, all of it at once.
    pub fn lint(&self, whole: &Whole, now_ms: i64) -> Result<Imported, Vec<Finding>> {
        let tables = self.as_tables();
        if !tables.is_empty() {
            return Err(tables);
        }
        let at_ms = next_instant(whole, now_ms);
        let extended = whole.extended(&self.candidate(0, "", now_ms), ("lint", at_ms))?;
        Ok(Imported { version: None, changes: extended.changes, findings: extended.findings })
    }
}

/// The instant of an approval: now, and after every earlier one.
pub(crate) fn next_instant(whole: &Whole, now_ms: i64) -> i64 {
    let last = whole.edition.edition.layers.iter().map(|layer| layer.approved_at_ms).max();
    last.map_or(now_ms, |last| now_ms.max(last.saturating_add(1)))
}

impl ReferenceStore {
    /// Stores files as a candidate, under the next number of their kind. What is wrong with the
    /// records taken together does not keep them from being stored, only from being approved.
    ///
    /// # Errors
    /// `Unreadable` with everything that keeps the files from being read, or that would change
    /// what is there; `Usage` without a name; `Retry` while the store is away.
    pub async fn import(
        &self,
        new: &NewFiles,
        by: &str,
        now_ms: i64,
    ) -> Result<Imported, ReferenceError> {
        let by = named(by)?;
        let last = self.begin(now_ms).await?;
        let whole = self.whole(last).await?;
        let linted = new.lint(&whole, now_ms).map_err(ReferenceError::Unreadable)?;
        if linted.changes.is_empty() {
            return Ok(linted);
        }
        loop {
            let last = self.last_version(new.kind).await?;
            let version = last.map_or(0, |last| last.stored.version) + 1;
            let bytes = seal(&new.candidate(version, &by, now_ms))?;
            match self.create(&version_path(new.kind, version), &bytes).await? {
                Creation::Ours => return Ok(Imported { version: Some(version), ..linted }),
                // Somebody imported at the same time.
                Creation::Foreign => {}
            }
        }
    }
}

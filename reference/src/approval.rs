//! Approval: a candidate becomes part of the next edition. Creating that edition's object is the
//! approval, so of two at once one wins, and the other looks again at what there is then.

use serde::Serialize;
use tally_settlement::same_person;

use crate::error::ReferenceError;
use crate::finding::Finding;
use crate::import::next_instant;
use crate::kind::ReferenceKind;
use crate::person::named;
use crate::sealed_json::seal;
use crate::store::{Creation, ReferenceStore};
use crate::stored::{Edition, FORMAT, Layer, edition_path};
use crate::whole::Change;

/// What was approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approved {
    /// Kind.
    pub kind: ReferenceKind,
    /// Number of the version.
    pub version: u64,
    /// Number of the edition that has it.
    pub edition: u64,
    /// When, milliseconds UTC.
    pub approved_at_ms: i64,
    /// What it adds.
    pub changes: Vec<Change>,
}

impl ReferenceStore {
    /// Approves a version: what follows its announcement in the log is rated by it, where its records
    /// say so.
    ///
    /// # Errors
    /// `SamePerson` where `by` imported it; `AlreadyApproved`; `Refused` with everything that is
    /// wrong beside what is approved by now, such as an overlap; `NoSuchVersion`; `Retry` while
    /// the store is away.
    pub async fn approve(
        &self,
        kind: ReferenceKind,
        version: u64,
        by: &str,
        now_ms: i64,
    ) -> Result<Approved, ReferenceError> {
        let by = named(by)?;
        let mut last = self.begin(now_ms).await?;
        let candidate = self.version(kind, version).await?;
        loop {
            if let Some(layer) = last.edition.layer(kind, version) {
                let by = layer.approved_by.clone();
                return Err(ReferenceError::AlreadyApproved { kind, version, by });
            }
            let importer = &candidate.stored.imported_by;
            if same_person(importer, &by) {
                let importer = importer.clone();
                return Err(ReferenceError::SamePerson { kind, version, importer });
            }
            let whole = self.whole(last).await?;
            let approved_at_ms = next_instant(&whole, now_ms);
            let refused = |findings| ReferenceError::Refused { kind, version, findings };
            let extended =
                whole.extended(&candidate.stored, (&by, approved_at_ms)).map_err(refused)?;
            if extended.changes.is_empty() {
                let message = "everything in it is approved already";
                return Err(refused(vec![Finding::new("nothing_new", message)]));
            }
            if !extended.findings.is_empty() {
                return Err(refused(extended.findings));
            }
            let mut layers = whole.edition.edition.layers.clone();
            layers.push(Layer {
                kind,
                version,
                hash: candidate.hash.clone(),
                approved_by: by.clone(),
                approved_at_ms,
            });
            let edition = whole.edition.edition.edition + 1;
            let previous = whole.edition.hash.clone();
            let bytes = seal(&Edition { format: FORMAT, edition, layers, previous })?;
            if let Creation::Ours = self.create(&edition_path(edition), &bytes).await? {
                let changes = extended.changes;
                return Ok(Approved { kind, version, edition, approved_at_ms, changes });
            }
            last = self.last_edition(edition).await?.ok_or_else(|| {
                ReferenceError::Damaged(format!("{} is gone", edition_path(edition)))
            })?;
        }
    }
}

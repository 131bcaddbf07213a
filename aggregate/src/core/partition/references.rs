//! Which reference data rates: the log says where it changes, and nothing else does.

use std::sync::Arc;

use tally_schemas::{ReferenceVersion, SuspenseReason, UsageCounts, UsageEvent};

use super::{Need, Partition, Position, Raw};
use crate::core::event_rating::{EventRater, ReferenceData, ReferenceLost};
use crate::core::reference_record::read_reference;
use crate::core::suspense_rows::SuspenseRow;
use crate::planted::{Bug, planted};

impl Partition {
    /// The reference data in use.
    pub fn reference(&self) -> &ReferenceData {
        &self.reference
    }

    /// Uses newer reference data from now on, as a record asked for by [`Need::Reference`].
    /// Between [`Partition::close`] and the next [`Partition::push`] only, so that all rows of an
    /// epoch are of one version.
    ///
    /// # Errors
    /// Where it lacks what the data in use has; then that stays.
    pub fn set_reference(&mut self, reference: ReferenceData) -> Result<(), ReferenceLost> {
        reference.keeps(&self.reference)?;
        let older = &self.reference;
        self.accounts.quota.set_reference(Arc::clone(&reference.packages)).map_err(|lost| {
            ReferenceLost {
                newer: reference.version.clone(),
                older: older.version.clone(),
                record: lost.to_string(),
            }
        })?;
        self.rater = EventRater::new(Arc::clone(&reference.card));
        self.reference = reference;
        Ok(())
    }

    /// Holds the record back that asked for `version` by [`Need::Reference`], when it is pushed
    /// again, and says `why`: nobody approved that version.
    pub fn refuse_reference(&mut self, version: ReferenceVersion, why: String) {
        self.refused = Some((version, why));
    }

    /// Takes a record that names reference data. What is in use already, or was before, changes
    /// nothing, so that it does not matter how many owners say the same, and how late; nor does
    /// what was not known yet when the log received the record, whatever the clock was that it
    /// came from.
    pub(super) fn reference_record(
        &mut self,
        bytes: &[u8],
        event: &UsageEvent<'_>,
        position: Position,
    ) -> Result<(), Need> {
        let why = match read_reference(bytes) {
            Err(why) => why,
            Ok(version) => {
                let current = &self.reference.version;
                let newer = version.exceeds(current)
                    || planted(Bug::OlderReferenceTaken) && version != *current;
                if !newer || version.known_at_ms > position.timestamp_ms {
                    return Ok(());
                }
                match self.refused.take_if(|(refused, _)| *refused == version) {
                    Some((_, why)) => why,
                    None => return Err(Need::Reference(version)),
                }
            }
        };
        let mut row = SuspenseRow::of(SuspenseReason::BadCommand, event);
        row.subreason = Some(format!("bad_command: reference: {why}"));
        self.hold_back(row, position, Some(Raw::Bytes(bytes)), &UsageCounts::default());
        Ok(())
    }
}

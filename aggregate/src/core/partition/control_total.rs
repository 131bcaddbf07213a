//! Takes a gateway's control total.

use tally_schemas::{GatewayTotal, SuspenseReason, UsageCounts, UsageEvent, partition_of};

use super::{NeedSegments, Partition, Position, Raw};
use crate::core::control_total_rows::ControlTotalRow;
use crate::core::dedupe::Verdict;
use crate::core::suspense_rows::SuspenseRow;

impl Partition {
    /// Takes a control total, once. A second one of the same hour that says something else is held
    /// back: which of them is right is not for the stream to say.
    pub(super) fn control_total(
        &mut self,
        bytes: &[u8],
        event: &UsageEvent<'_>,
        position: Position,
    ) -> Result<(), NeedSegments> {
        let held = match GatewayTotal::parse(bytes) {
            Err(wrong) => Some((
                SuspenseReason::BadCommand,
                format!("bad_command: control_total: {}", wrong.join("; ")),
            )),
            Ok(total) => match self.misplaced(&total, position) {
                Some(held) => Some(held),
                None => self.judge_total(total, position)?,
            },
        };
        if let Some((reason, words)) = held {
            let mut row = SuspenseRow::of(reason, event);
            row.subreason = Some(words);
            self.hold_back(row, position, Some(Raw::Bytes(bytes)), &UsageCounts::default());
        }
        Ok(())
    }

    fn judge_total(
        &mut self,
        total: GatewayTotal,
        position: Position,
    ) -> Result<Option<(SuspenseReason, String)>, NeedSegments> {
        let (identity, content) = (total.identity_hash(), total.content_hash());
        match self.dedupe.judge(identity, content, total.hour_ms, self.watermark_ms) {
            Verdict::New => {
                self.epoch.totals.commands += 1;
                self.epoch.control_totals.push(ControlTotalRow {
                    total,
                    received_ms: position.timestamp_ms,
                    offset: position.offset,
                });
                Ok(None)
            }
            Verdict::Duplicate => {
                self.epoch.totals.duplicate_commands += 1;
                Ok(None)
            }
            Verdict::Conflict => Ok(Some((
                SuspenseReason::ConflictingDuplicate,
                "another control total of the same gateway, start and hour came before".to_owned(),
            ))),
            Verdict::Need(bucket) => {
                let segments = self.dedupe.segments_of(bucket).to_vec();
                Err(NeedSegments { bucket, segments })
            }
        }
    }

    /// Why a total cannot be of this partition or of this time.
    fn misplaced(
        &self,
        total: &GatewayTotal,
        position: Position,
    ) -> Option<(SuspenseReason, String)> {
        let home = partition_of(&total.source, self.config.partition_count);
        let settings = &self.config.aggregate;
        let ahead_ms = total.end_ms() - position.timestamp_ms;
        let horizon_days = settings.dedupe_horizon_days;
        if home != self.config.partition {
            let words = format!("control totals of this source belong to partition {home}");
            Some((SuspenseReason::WrongPartition, words))
        } else if ahead_ms > settings.future_max_ms.cast_signed() {
            let words = format!("its hour ends {ahead_ms} ms after it was received");
            Some((SuspenseReason::TimeInFuture, words))
        } else if -ahead_ms > horizon_days.cast_signed() * 86_400_000 {
            let words = format!("older than the dedupe horizon of {horizon_days} days");
            Some((SuspenseReason::TooOld, words))
        } else {
            None
        }
    }
}

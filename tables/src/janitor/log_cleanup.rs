//! Delta checkpoints when the log says that one is due, and removal of log files that no kept
//! version needs.

use std::sync::Arc;

use super::{JanitorReport, JanitorSettings, remove};
use crate::checkpoint::write_checkpoint;
use crate::delta_log::LogFileKind;
use crate::error::TablesError;
use crate::table_log::TableLog;

/// Writes a checkpoint where at least `checkpoint_commits` commits have come since the last one.
pub(super) async fn checkpoint(
    table: &mut TableLog,
    settings: &JanitorSettings,
    report: &mut JanitorReport,
) -> Result<(), TablesError> {
    let Some(version) = table.state().await?.version() else { return Ok(()) };
    let last = table.log().last_checkpoint().await?;
    let commits = last.map_or(version + 1, |last| version.saturating_sub(last.version));
    if commits < settings.checkpoint_commits.max(1) {
        return Ok(());
    }
    write_checkpoint(Arc::clone(table.log().store()), table.table(), version).await?;
    report.checkpoints += 1;
    Ok(())
}

/// Removes commits and checkpoints below the newest checkpoint that is older than the retention:
/// every version within the retention can still be read.
pub(super) async fn clean(
    table: &mut TableLog,
    now_ms: i64,
    settings: &JanitorSettings,
    report: &mut JanitorReport,
) -> Result<(), TablesError> {
    let cutoff_ms = settings.cutoff_ms(now_ms);
    // Readers start at the checkpoint that `_last_checkpoint` names, so nothing from there on
    // may go, whatever is listed.
    let Some(hint) = table.log().last_checkpoint().await? else { return Ok(()) };
    let files = table.log().list().await?;
    let aged = |at: &object_store::ObjectMeta| at.last_modified.timestamp_millis() <= cutoff_ms;
    let keep_from = files
        .iter()
        .filter(|file| file.kind == LogFileKind::Checkpoint && aged(&file.meta))
        .map(|file| file.version)
        .max();
    let Some(keep_from) = keep_from.map(|version| version.min(hint.version)) else {
        return Ok(());
    };
    // Oldest first, so that what remains never has a gap.
    for file in files.iter().filter(|file| file.version < keep_from && aged(&file.meta)) {
        if remove(table.log().store().as_ref(), &file.meta.location).await? {
            report.log_files_removed += 1;
        }
    }
    Ok(())
}

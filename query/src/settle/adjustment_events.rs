//! From an adjustment for usage down to its events: what came late, what corrections took back or
//! counted in its stead, free trials, and what a tier was trued up for.

use tally_settlement::{AdjustedUsage, AdjustmentReason, Period};

use super::line_events::{Wanted, terms_of};
use super::rated_groups::{self, Scope};
use super::{LineEvents, Settlement, invalid};
use crate::error::QueryError;

impl Settlement<'_> {
    /// The events that an adjustment on a vendor's statement is for. A slice or a true-up of tiers
    /// is for all usage of its month that counts towards them.
    ///
    /// # Errors
    /// `Invalid` for an adjustment that the statement does not have, and for one that is not for
    /// usage; `Data` where the events do not come to its units; what [`Self::statement`] may answer.
    pub async fn adjustment_events(
        &self,
        vendor: &str,
        period: Period,
        id: &str,
        now_ms: i64,
    ) -> Result<LineEvents, QueryError> {
        let issued = self.statement(vendor, period, now_ms).await?;
        let found = issued.statement.sections.iter().find_map(|section| {
            section.adjustments.iter().find(|row| row.id == id).map(|row| (section, row))
        });
        let (section, adjustment) = found.ok_or_else(|| {
            let rows: usize = issued.statement.sections.iter().map(|s| s.adjustments.len()).sum();
            invalid(format!(
                "the statement of {vendor} for {period} has no adjustment {id:?}; it has {rows}, which tally settle statement --vendor {vendor} --period {period} lists with their ids"
            ))
        })?;
        let reason = adjustment.reason.name();
        if let Some(by) = &adjustment.posted_by {
            let of = match (adjustment.orig_period, &adjustment.orig_line_id) {
                (Some(orig), Some(line)) => format!(
                    "; it corrects a line: tally settle events --vendor {vendor} --period {orig} --line {line}"
                ),
                _ => String::new(),
            };
            return Err(invalid(format!(
                "{id} was posted by {by} ({reason}) and has no events{of}"
            )));
        }
        if !is_for_usage(adjustment.reason) {
            return Err(invalid(format!(
                "{id} follows from the section's total ({reason}) and has no events of its own"
            )));
        }
        let known = self.known().await?;
        let contracts = self.contracts_of(&known.facts(period, now_ms)).await?;
        let terms = terms_of(&contracts, section)?;
        let before = known.seals.iter().find(|seal| seal.period.next() == period);
        let scope = Scope {
            period,
            cut_offs: &issued.cut_offs,
            sealed: before.map(|seal| seal.cut_offs.as_slice()),
            vendor: Some(vendor),
        };
        let pin = self.engine.pin(None).await?;
        let groups = rated_groups::read(self.engine, &pin, &scope, &self.spans).await?;
        let of = (terms, period);
        let usage = AdjustedUsage::find(adjustment, of, &contracts, &self.prices, &groups)?;
        let AdjustedUsage { period: used, corrected, line } = usage.ok_or_else(|| {
            QueryError::Data(format!("no usage of {vendor} is what {id} ({reason}) is for"))
        })?;
        let mut rows = scope.condition();
        rows.push_str(&format!(
            " AND day >= DATE '{}' AND day < DATE '{}'",
            used.first_day(),
            used.end_day()
        ));
        if used < period {
            rows.push_str(if corrected {
                " AND correction IS NOT NULL"
            } else {
                " AND correction IS NULL"
            });
        }
        let (expected, state) = (line.units.0, issued.state);
        self.events_of(Wanted { line, expected, rows, state, pin }, &contracts, terms).await
    }
}

/// Whether an adjustment is made of events.
const fn is_for_usage(reason: AdjustmentReason) -> bool {
    matches!(
        reason,
        AdjustmentReason::LateUsage
            | AdjustmentReason::CorrectionEvent
            | AdjustmentReason::FreeTrial
            | AdjustmentReason::TierTrueUp
    )
}

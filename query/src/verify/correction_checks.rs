//! What was taken back: exactly what was there, once (I1, I4, I9).

use std::sync::Arc;

use tally_schemas::{Table, TokenClass};
use tally_tables::PinnedTables;

use super::table_checks::{Published, rows_that_should_not_be};
use super::{Check, Finding};
use crate::engine::QueryEngine;
use crate::removed_days::not_removed;

/// Columns that a reversal has as the event that it takes back.
const SAME: [&str; 16] = [
    "account",
    "subscriber",
    "model",
    "billed_model",
    "vendor",
    "supplier",
    "region",
    "channel",
    "product",
    "service_tier",
    "completed_at",
    "retail_currency",
    "wholesale_currency",
    "retail_price_ids",
    "wholesale_price_ids",
    "price_book_version",
];

/// Columns that it has below 0.
fn opposite() -> impl Iterator<Item = &'static str> {
    let amounts = ["points", "retail_amount", "wholesale_amount"];
    TokenClass::ALL.into_iter().map(TokenClass::name).chain(amounts)
}

/// Every check of corrections.
pub(super) async fn all(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    published: &Published,
) -> Vec<Check> {
    let twice = "SELECT corrects_source, corrects_id, count(*) FROM system.kept_events \
                 WHERE correction = 'reversal' GROUP BY corrects_source, corrects_id \
                 HAVING count(*) > 1 LIMIT 20";
    // In parentheses: what follows IS DISTINCT FROM is otherwise read to its end, with every OR.
    let same = SAME.map(|column| format!("(r.{column} IS DISTINCT FROM e.{column})"));
    let opposite = opposite().map(|column| format!("(-r.{column} IS DISTINCT FROM e.{column})"));
    let differs: Vec<String> = same.into_iter().chain(opposite).collect();
    let foreign = format!(
        "SELECT r.corrects_source, r.corrects_id, CAST(1 AS BIGINT) FROM system.kept_events r \
         LEFT JOIN system.kept_events e ON e.source = r.corrects_source AND e.id = r.corrects_id \
         AND coalesce(e.correction, '') <> 'reversal' \
         WHERE r.correction = 'reversal' AND (e.id IS NULL OR {}) AND {} LIMIT 20",
        differs.join(" OR "),
        // A reversal has the day of what it takes back, which may be removed.
        not_removed(pin, Table::UsageEvents, "r.day")
    );
    // Which part of it came from which bucket: as it was charged, with the opposite sign.
    let charges = "SELECT source, id, CAST(1 AS BIGINT) FROM (\
         SELECT r.source, r.id, q.kind, q.bucket, q.package, q.points, q.amount FROM system.kept_events r \
         JOIN quota_ledger q ON q.event_source = r.source AND q.event_id = r.id \
         WHERE r.correction = 'reversal' AND q.kind IN ('debit', 'payg', 'overrun') \
         UNION ALL \
         SELECT r.source, r.id, q.kind, q.bucket, q.package, q.points, q.amount FROM system.kept_events r \
         JOIN quota_ledger q ON q.event_source = r.corrects_source AND q.event_id = r.corrects_id \
         WHERE r.correction = 'reversal' AND q.kind IN ('debit', 'payg', 'overrun')) \
         GROUP BY source, id, kind, bucket, package \
         HAVING sum(points) <> 0 OR sum(amount) <> 0 LIMIT 20";
    let mut checks = Vec::new();
    for (invariant, what, sql, needs_level) in [
        ("I2", "no event is taken back twice", twice, false),
        (
            "I4",
            "a reversal is the event that it takes back, with the opposite counts and amounts",
            &foreign,
            true,
        ),
        ("I9", "what a reversal gives back is what the event was charged", charges, true),
    ] {
        let finding = Finding::new(invariant, what);
        checks.push(if needs_level && !published.is_level() {
            finding.done("nothing: the tables are not at the same epoch")
        } else {
            rows_that_should_not_be(engine, pin, finding, sql).await
        });
    }
    checks
}

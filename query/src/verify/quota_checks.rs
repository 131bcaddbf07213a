//! What accounts were charged, beside the events: I4, I5, I7, I9.

use std::sync::Arc;

use tally_tables::PinnedTables;

use super::table_checks::rows_that_should_not_be;
use super::{Check, Finding, VerifyOptions};
use crate::engine::QueryEngine;

/// Events and the rows that charged them, with opposite signs, by epoch.
fn balanced(events: &str, charges: &str, kinds: &str) -> String {
    format!(
        "SELECT CAST(kafka_partition AS VARCHAR), CAST(epoch AS VARCHAR), count(*) FROM \
         (SELECT kafka_partition, epoch, {events} FROM system.usage_of_epochs WHERE points IS NOT NULL \
         UNION ALL SELECT kafka_partition, epoch, {charges} FROM quota_ledger WHERE kind IN ({kinds})) \
         GROUP BY kafka_partition, epoch, currency HAVING sum(value) <> 0 LIMIT 20"
    )
}

/// Rows of a bucket in the order of the log, with the sum of its points so far. Offsets alone tell the
/// order: an account is in one partition at a time, and offsets go on rising where it comes into
/// another one. One record may close a bucket that it has begun: then its grant comes first, and its
/// expiry and breakage last; a correction may give back and then take what was given back by hand
/// before; any other kind comes at most once a record and bucket.
const RUNNING_BALANCE: &str = "\
    SELECT account, bucket, count(*) FROM (\
      SELECT account, bucket, balance_after, sum(points) OVER (\
        PARTITION BY account, bucket ORDER BY kafka_offset, batch_index, \
          CASE kind WHEN 'grant' THEN 0 WHEN 'adjust' THEN 2 WHEN 'expire' THEN 3 WHEN 'breakage' THEN 4 \
            ELSE 1 END \
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS balance \
      FROM quota_ledger WHERE bucket IS NOT NULL) \
    WHERE balance_after IS NULL OR balance_after <> balance \
    GROUP BY account, bucket LIMIT 20";

/// Every check of `quota_ledger` and `alerts`.
pub(super) async fn all(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    options: &VerifyOptions,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let mut look = async |invariant: &'static str, what: &'static str, sql: &str| {
        let finding = Finding::new(invariant, what);
        checks.push(rows_that_should_not_be(engine, pin, finding, sql).await);
    };
    look(
        "I7",
        "no alert is in alerts twice",
        // By the id alone: receivers know alerts by nothing else.
        "SELECT id, min(kind), count(*) FROM alerts GROUP BY id HAVING count(*) > 1 LIMIT 20",
    )
    .await;
    // The tables of a running stream may not be at the same epoch.
    if options.unpublished_allowed {
        return checks;
    }
    look(
        "I9",
        "no bucket gave more than it had",
        "SELECT account, bucket, count(*) FROM quota_ledger WHERE bucket IS NOT NULL \
         GROUP BY account, bucket HAVING sum(points) < 0 LIMIT 20",
    )
    .await;
    look(
        "I9",
        "each row's balance_after is the sum of the bucket's points up to it: grants less uses and expiries",
        RUNNING_BALANCE,
    )
    .await;
    look(
        "I9",
        "the points of events are what buckets, tariffs and overrun took",
        &balanced(
            "points AS value, 'points' AS currency",
            "points AS value, 'points' AS currency",
            "'debit', 'payg', 'overrun'",
        ),
    )
    .await;
    look(
        "I4",
        "the retail amounts of events are what buckets and tariffs were paid",
        &balanced(
            "retail_amount AS value, coalesce(retail_currency, '') AS currency",
            "-amount AS value, coalesce(currency, '') AS currency",
            "'debit', 'payg'",
        ),
    )
    .await;
    look(
        "I5",
        "of a bucket that is closed, what was paid is what was allocated and breakage",
        "SELECT account, bucket, count(*) FROM quota_ledger WHERE bucket IS NOT NULL \
         GROUP BY account, bucket \
         HAVING sum(CASE WHEN kind IN ('expire', 'breakage') THEN 1 ELSE 0 END) > 0 AND \
         sum(CASE WHEN kind IN ('grant', 'top_up', 'transfer_in', 'transfer_out', 'refund') THEN amount \
         ELSE -amount END) <> 0 LIMIT 20",
    )
    .await;
    checks
}

//! What accounts were charged, beside the events: I4, I5, I7, I9.

use std::sync::Arc;

use tally_tables::PinnedTables;

use super::table_checks::{add_rows_that_should_not_be, rows_that_should_not_be};
use super::{Check, Finding, VerifyOptions};
use crate::answer_rows::{count, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;

/// Memory to reckon with for putting a row of `quota_ledger` in order: three texts, four numbers,
/// its key, and the copy of the merge. In 2 GiB, 9.9 million rows were too many, that is 216 bytes
/// each.
const BYTES_A_SORTED_ROW: u64 = 512;

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
fn running_balance(of: &Slice) -> String {
    let accounts = of.condition();
    format!(
        "SELECT account, bucket, count(*) FROM (\
           SELECT account, bucket, balance_after, sum(points) OVER (\
             PARTITION BY account, bucket ORDER BY kafka_offset, batch_index, \
               CASE kind WHEN 'grant' THEN 0 WHEN 'adjust' THEN 2 WHEN 'expire' THEN 3 \
                 WHEN 'breakage' THEN 4 ELSE 1 END \
             ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS balance \
           FROM quota_ledger WHERE bucket IS NOT NULL{accounts}) \
         WHERE balance_after IS NULL OR balance_after <> balance \
         GROUP BY account, bucket LIMIT 20"
    )
}

/// Accounts from one name to before another one; none is no bound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Slice {
    from: Option<String>,
    before: Option<String>,
}

impl Slice {
    fn condition(&self) -> String {
        let bound = |sign: &str, name: &Option<String>| {
            let quoted = name.as_ref().map(|name| name.replace('\'', "''"));
            quoted.map_or_else(String::new, |name| format!(" AND account {sign} '{name}'"))
        };
        bound(">=", &self.from) + &bound("<", &self.before)
    }
}

/// Cuts accounts with so many rows each, in the order of their names, into slices of at most
/// `rows_max` rows, or one account. Every account is in one slice.
fn slices(accounts: impl Iterator<Item = (String, u64)>, rows_max: u64) -> Vec<Slice> {
    let (mut done, mut open, mut rows) = (Vec::new(), Slice::default(), 0_u64);
    for (name, more) in accounts {
        if rows > 0 && rows.saturating_add(more) > rows_max {
            done.push(Slice { before: Some(name.clone()), ..open });
            (open, rows) = (Slice { from: Some(name), before: None }, 0);
        }
        rows = rows.saturating_add(more);
    }
    done.push(open);
    done
}

/// Rows of a bucket are put in order to add them up, so many at once as memory allows: a sort that
/// spills beside another one may end without memory for its merge.
async fn running_balances(engine: &QueryEngine, pin: &Arc<PinnedTables>, rows_max: u64) -> Check {
    let mut finding = Finding::new(
        "I9",
        "each row's balance_after is the sum of the bucket's points up to it: grants less uses and expiries",
    );
    if let Err(error) = add_running_balances(engine, pin, rows_max, &mut finding).await {
        finding.add(error.to_string());
    }
    finding.done("every row")
}

async fn add_running_balances(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    rows_max: u64,
    finding: &mut Finding,
) -> Result<(), QueryError> {
    let of_buckets = "FROM quota_ledger WHERE bucket IS NOT NULL";
    let whole = rows_of(engine, pin, &format!("SELECT count(*) {of_buckets}")).await?;
    let rows = whole.first().map_or(Ok(0), |columns| count(columns, 0, 0))?;
    let mut accounts = Vec::new();
    if rows > rows_max {
        let sql =
            format!("SELECT account, count(*) {of_buckets} GROUP BY account ORDER BY account");
        for columns in rows_of(engine, pin, &sql).await? {
            for row in 0..columns.first().map_or(0, |names| names.len()) {
                accounts.push((text(&columns, 0, row)?, count(&columns, 1, row)?));
            }
        }
    }
    for slice in slices(accounts.into_iter(), rows_max) {
        add_rows_that_should_not_be(engine, pin, finding, &running_balance(&slice)).await?;
    }
    Ok(())
}

/// Every check of `quota_ledger` and `alerts`.
pub(super) async fn all(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    options: &VerifyOptions,
) -> Vec<Check> {
    let mut checks = Vec::new();
    let look = async |invariant: &'static str, what: &'static str, sql: &str| {
        rows_that_should_not_be(engine, pin, Finding::new(invariant, what), sql).await
    };
    let check = look(
        "I7",
        "no alert is in alerts twice",
        // By the id alone: receivers know alerts by nothing else.
        "SELECT id, min(kind), count(*) FROM alerts GROUP BY id HAVING count(*) > 1 LIMIT 20",
    )
    .await;
    checks.push(check);
    // The tables of a running stream may not be at the same epoch.
    if options.unpublished_allowed {
        return checks;
    }
    let check = look(
        "I9",
        "no bucket gave more than it had",
        "SELECT account, bucket, count(*) FROM quota_ledger WHERE bucket IS NOT NULL \
         GROUP BY account, bucket HAVING sum(points) < 0 LIMIT 20",
    )
    .await;
    checks.push(check);
    let rows_max = engine.memory_max_bytes() / BYTES_A_SORTED_ROW;
    let rows_max = options.rows_at_once.unwrap_or(rows_max);
    checks.push(running_balances(engine, pin, rows_max).await);
    let check = look(
        "I9",
        "the points of events are what buckets, tariffs and overrun took",
        &balanced(
            "points AS value, 'points' AS currency",
            "points AS value, 'points' AS currency",
            "'debit', 'payg', 'overrun'",
        ),
    )
    .await;
    checks.push(check);
    let check = look(
        "I4",
        "the retail amounts of events are what buckets and tariffs were paid",
        &balanced(
            "retail_amount AS value, coalesce(retail_currency, '') AS currency",
            "-amount AS value, coalesce(currency, '') AS currency",
            "'debit', 'payg'",
        ),
    )
    .await;
    checks.push(check);
    let check = look(
        "I5",
        "of a bucket that is closed, what was paid is what was allocated and breakage",
        "SELECT account, bucket, count(*) FROM quota_ledger WHERE bucket IS NOT NULL \
         GROUP BY account, bucket \
         HAVING sum(CASE WHEN kind IN ('expire', 'breakage') THEN 1 ELSE 0 END) > 0 AND \
         sum(CASE WHEN kind IN ('grant', 'top_up', 'transfer_in', 'transfer_out', 'refund') THEN amount \
         ELSE -amount END) <> 0 LIMIT 20",
    )
    .await;
    checks.push(check);
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(accounts: &[(&str, u64)], rows_max: u64) -> Vec<Slice> {
        slices(accounts.iter().map(|(name, rows)| ((*name).to_owned(), *rows)), rows_max)
    }

    fn slice(from: &str, before: &str) -> Slice {
        let bound = |name: &str| Some(name.to_owned()).filter(|name| !name.is_empty());
        Slice { from: bound(from), before: bound(before) }
    }

    #[test]
    fn every_account_is_in_one_slice() {
        assert_eq!(cut(&[], 10), [Slice::default()]);
        assert_eq!(cut(&[("A", 3), ("B", 7)], 10), [Slice::default()]);
        assert_eq!(cut(&[("A", 3), ("B", 8), ("C", 1)], 10), [slice("", "B"), slice("B", "")]);
        // One account may have more rows than are wished for.
        assert_eq!(
            cut(&[("A", 30), ("B", 1), ("C", 30)], 10),
            [slice("", "B"), slice("B", "C"), slice("C", "")]
        );
    }

    #[test]
    fn names_with_quotes_stay_names() {
        let sql = running_balance(&slice("O'Hara", "P"));
        assert!(sql.contains(" AND account >= 'O''Hara' AND account < 'P')"), "{sql}");
    }
}

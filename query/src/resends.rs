//! Resends that were stamped with another time: identities that are in `usage_events` more than
//! once.
//!
//! They may be on any two days, so all of them are compared. Grouped, the identities of a month
//! would take more memory than queries have. Hashes of 8 bytes are compared instead, as many at
//! once as there is memory for: their range is cut into slices, and the two columns are read once
//! for each. Only identities of equal hashes are then looked at themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef};
use futures::TryStreamExt;
use tally_schemas::UsageEvent;
use tally_tables::PinnedTables;

use crate::answer_rows::{count, rows_of};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::limits::Limits;

/// Identities that one query names.
const NAMED_AT_ONCE: usize = 200;

/// Identities with more than one row.
#[derive(Debug)]
pub struct Resends {
    /// Columns of the rows.
    pub schema: SchemaRef,
    /// One row each: who, how often, and between which times.
    pub batches: Vec<RecordBatch>,
    /// Whether there are more than were asked for.
    pub more: bool,
}

impl Resends {
    /// Number of rows.
    pub fn found(&self) -> usize {
        self.batches.iter().map(RecordBatch::num_rows).sum()
    }
}

/// Looks for at most `limit` identities with more than one row, comparing about `hashes_at_once`
/// at a time.
///
/// # Errors
/// `Retry` while the store is away, `Data` where a file is damaged.
pub async fn resends(
    engine: &QueryEngine,
    limit: usize,
    hashes_at_once: u64,
) -> Result<Resends, QueryError> {
    let pin = engine.pin(None).await?;
    let rows = rows_of(engine, &pin, "SELECT count(*) FROM system.kept_events").await?;
    let rows = rows.first().map_or(Ok(0), |columns| count(columns, 0, 0))?;
    let slices = rows.div_ceil(hashes_at_once.max(1)).max(1);
    let mut twice: BTreeSet<u64> = BTreeSet::new();
    let mut more = false;
    for slice in 0..slices {
        // Hashes are spread evenly, but for a little.
        let expected = usize::try_from(rows / slices).unwrap_or(0);
        let mut hashes: Vec<u64> = Vec::with_capacity(expected + expected / 64 + 1_024);
        each_identity(engine, &pin, |_, _, hash| {
            if (u128::from(hash) * u128::from(slices)) >> 64 == u128::from(slice) {
                hashes.push(hash);
            }
        })
        .await?;
        hashes.sort_unstable();
        for pair in hashes.windows(2) {
            if let [hash, next] = pair
                && hash == next
                && !twice.contains(hash)
            {
                more |= twice.len() >= limit;
                if more {
                    break;
                }
                twice.insert(*hash);
            }
        }
        if more {
            break;
        }
    }
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    if !twice.is_empty() {
        each_identity(engine, &pin, |source, id, hash| {
            if twice.contains(&hash) {
                named.entry(source.to_owned()).or_default().insert(id.to_owned());
            }
        })
        .await?;
    }
    let mut conditions: Vec<String> = Vec::new();
    for (source, ids) in &named {
        let ids: Vec<String> = ids.iter().map(|id| quoted(id)).collect();
        for ids in ids.chunks(NAMED_AT_ONCE) {
            conditions.push(format!("source = {} AND id IN ({})", quoted(source), ids.join(", ")));
        }
    }
    // Without any, a query without rows: its columns are asked for.
    if conditions.is_empty() {
        conditions.push("false".to_owned());
    }
    let mut answers = Vec::with_capacity(conditions.len());
    for condition in conditions {
        // Equal hashes may be of different identities.
        let sql = format!(
            "SELECT source, id, min(account) AS account, min(model) AS model, count(*) AS times, \
             min(completed_at) AS first_completed_at, max(completed_at) AS last_completed_at \
             FROM system.kept_events WHERE {condition} GROUP BY source, id HAVING count(*) > 1 \
             ORDER BY source, id"
        );
        let answer = engine.run_on(Arc::clone(&pin), &sql, Limits::unlimited()).await?;
        answers.push(answer.collect().await?);
    }
    let schema = answers.first().map(|(schema, _)| Arc::clone(schema));
    let schema = schema.ok_or_else(|| QueryError::Internal("no query was run".to_owned()))?;
    let batches = answers.into_iter().flat_map(|(_, batches)| batches).collect();
    Ok(Resends { schema, batches, more })
}

/// Hands every identity to `take`, with its hash.
async fn each_identity(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    mut take: impl FnMut(&str, &str, u64),
) -> Result<(), QueryError> {
    let sql = "SELECT source, id FROM system.kept_events";
    let mut rows = engine.run_on(Arc::clone(pin), sql, Limits::unlimited()).await?.rows;
    let mut scratch = Vec::new();
    while let Some(batch) = rows.try_next().await? {
        let column = |index: usize| {
            cast(batch.column(index), &DataType::Utf8)
                .map_err(|error| QueryError::Internal(error.to_string()))
        };
        let (sources, ids) = (column(0)?, column(1)?);
        for (source, id) in sources.as_string::<i32>().iter().zip(ids.as_string::<i32>()) {
            let (source, id) = (source.unwrap_or_default(), id.unwrap_or_default());
            let identity =
                UsageEvent { source: source.into(), id: id.into(), ..UsageEvent::default() };
            take(source, id, identity.identity_hash(&mut scratch));
        }
    }
    Ok(())
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

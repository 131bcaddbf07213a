//! Rows of `suspense`, as they are read by a filter.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::TimestampMicrosecondType;
use futures::StreamExt;
use jiff::Timestamp;
use tally_schemas::{HeldPosition, SuspenseReason};
use tally_tables::PinnedTables;

use crate::answer::Rows;
use crate::answer_rows::{count, plain};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::instant_sql::instant_sql;
use crate::limits::Limits;

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeldStatus {
    /// It waits.
    Open,
    /// It was taken in again.
    Recycled,
    /// It was given up.
    WrittenOff,
}

impl HeldStatus {
    /// The word of `suspense.status`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Recycled => "recycled",
            Self::WrittenOff => "written_off",
        }
    }

    fn from_name(name: &str) -> Result<Self, QueryError> {
        [Self::Open, Self::Recycled, Self::WrittenOff]
            .into_iter()
            .find(|status| status.name() == name)
            .ok_or_else(|| {
                QueryError::Data(format!("suspense.status {name:?} is of a later build: upgrade"))
            })
    }
}

/// Which rows. What is not given does not matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HeldFilter {
    /// What became of them.
    pub status: Option<HeldStatus>,
    /// Why they are held back.
    pub reason: Option<SuspenseReason>,
    /// Their model.
    pub model: Option<String>,
    /// Received at that time or later, milliseconds UTC.
    pub since_ms: Option<i64>,
    /// Received before that time, milliseconds UTC.
    pub until_ms: Option<i64>,
    /// These alone; any, where there is none.
    pub positions: Vec<HeldPosition>,
    /// The oldest so many, in their order; all of them in any order where it is not given.
    pub limit: Option<u64>,
}

impl HeldFilter {
    fn sql(&self) -> Result<String, QueryError> {
        let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let instant = |ms: i64| {
            Timestamp::from_millisecond(ms)
                .map(|_| instant_sql(ms))
                .map_err(|_| QueryError::Invalid(format!("{ms} is no time")))
        };
        let mut conditions = Vec::new();
        if let Some(status) = self.status {
            conditions.push(format!("status = '{}'", status.name()));
        }
        if let Some(reason) = self.reason {
            conditions.push(format!("reason = '{reason}'"));
        }
        if let Some(model) = &self.model {
            conditions.push(format!("model = {}", quoted(model)));
        }
        if let Some(ms) = self.since_ms {
            conditions.push(format!("first_seen >= {}", instant(ms)?));
        }
        if let Some(ms) = self.until_ms {
            conditions.push(format!("first_seen < {}", instant(ms)?));
        }
        if !self.positions.is_empty() {
            let one = |HeldPosition { partition, offset, batch_index }: &HeldPosition| {
                format!(
                    "(kafka_partition = {partition} AND kafka_offset = {offset} AND batch_index = {batch_index})"
                )
            };
            let any: Vec<String> = self.positions.iter().map(one).collect();
            conditions.push(format!("({})", any.join(" OR ")));
        }
        let mut sql = "SELECT reason, subreason, raw, status, source, id, account, model, \
                       first_seen, completed_at, kafka_partition, kafka_offset, batch_index \
                       FROM suspense"
            .to_owned();
        if !conditions.is_empty() {
            sql.push_str(&format!(" WHERE {}", conditions.join(" AND ")));
        }
        if let Some(limit) = self.limit {
            let order = "first_seen, kafka_partition, kafka_offset, batch_index";
            sql.push_str(&format!(" ORDER BY {order} LIMIT {limit}"));
        }
        Ok(sql)
    }
}

/// A row of `suspense`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRow {
    /// Which row.
    pub position: HeldPosition,
    /// Why it is held back.
    pub reason: SuspenseReason,
    /// Every defect, in words.
    pub subreason: Option<String>,
    /// The payload as it came; none of a tombstone.
    pub raw: Option<String>,
    /// What became of it.
    pub status: HeldStatus,
    /// Gateway, where it could be read.
    pub source: Option<String>,
    /// Id within the gateway, where it could be read.
    pub id: Option<String>,
    /// Account, where it could be read.
    pub account: Option<String>,
    /// Model, where it could be read.
    pub model: Option<String>,
    /// When the log received it, milliseconds UTC.
    pub first_seen_ms: i64,
    /// End of the call, where it could be read, milliseconds UTC.
    pub completed_at_ms: Option<i64>,
}

/// Rows as they come, a few thousand at a time.
#[derive(Debug)]
pub struct HeldRows(Rows);

impl HeldRows {
    /// Asks for the rows of a filter, in one version of every table.
    ///
    /// # Errors
    /// `Retry` while the store is away; `Invalid` for a time that is none.
    pub async fn open(
        engine: &QueryEngine,
        pin: Arc<PinnedTables>,
        filter: &HeldFilter,
    ) -> Result<Self, QueryError> {
        let answer = engine.run_on(pin, &filter.sql()?, Limits::unlimited()).await?;
        Ok(Self(answer.rows))
    }

    /// The next rows; `None` after the last.
    ///
    /// # Errors
    /// `Retry` while the store is away; `Data` where a row has a reason that this build does not
    /// know.
    pub async fn next(&mut self) -> Result<Option<Vec<HeldRow>>, QueryError> {
        let Some(batch) = self.0.next().await else { return Ok(None) };
        let batch = batch?;
        let columns = plain(&batch)?;
        (0..batch.num_rows()).map(|row| held_row(&columns, row)).collect::<Result<_, _>>().map(Some)
    }
}

fn unexpected() -> QueryError {
    QueryError::Internal("the answer has another shape".to_owned())
}

fn held_row(columns: &[ArrayRef], row: usize) -> Result<HeldRow, QueryError> {
    let text = |column: usize| -> Result<Option<String>, QueryError> {
        let texts = columns.get(column).and_then(|column| column.as_string_opt::<i32>());
        let texts = texts.ok_or_else(unexpected)?;
        Ok(texts.is_valid(row).then(|| texts.value(row).to_owned()))
    };
    let instant = |column: usize| -> Result<Option<i64>, QueryError> {
        let times = columns
            .get(column)
            .and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
        let times = times.ok_or_else(unexpected)?;
        Ok(times.is_valid(row).then(|| times.value(row).div_euclid(1_000)))
    };
    let small = |column: usize| -> Result<u32, QueryError> {
        u32::try_from(count(columns, column, row)?).map_err(|_| unexpected())
    };
    let reason = text(0)?.ok_or_else(unexpected)?;
    let status = text(3)?.ok_or_else(unexpected)?;
    Ok(HeldRow {
        position: HeldPosition {
            partition: small(10)?,
            offset: count(columns, 11, row)?,
            batch_index: small(12)?,
        },
        reason: SuspenseReason::from_name(&reason).ok_or_else(|| {
            QueryError::Data(format!("suspense.reason {reason:?} is of a later build: upgrade"))
        })?,
        subreason: text(1)?,
        raw: text(2)?,
        status: HeldStatus::from_name(&status)?,
        source: text(4)?,
        id: text(5)?,
        account: text(6)?,
        model: text(7)?,
        first_seen_ms: instant(8)?.ok_or_else(unexpected)?,
        completed_at_ms: instant(9)?,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray, TimestampMicrosecondArray};

    use super::*;

    /// The columns of an answer with one row.
    fn answer(reason: &str, status: &str) -> Vec<ArrayRef> {
        let text = |text: &str| -> ArrayRef { Arc::new(StringArray::from(vec![text])) };
        let number = |number: i64| -> ArrayRef { Arc::new(Int64Array::from(vec![number])) };
        let at: ArrayRef = Arc::new(TimestampMicrosecondArray::from(vec![1_500_000]));
        let texts = [reason, "why", "{}", status, "gw-1", "id", "A1", "glm-5"].map(text);
        let times = [Arc::clone(&at), at];
        texts.into_iter().chain(times).chain([2, 7, 0].map(number)).collect()
    }

    #[test]
    fn what_a_later_build_wrote_is_refused_with_what_to_do() {
        let known = held_row(&answer("no_price", "open"), 0).unwrap();
        assert_eq!((known.reason, known.first_seen_ms), (SuspenseReason::NoPrice, 1_500));
        assert_eq!(known.position, HeldPosition { partition: 2, offset: 7, batch_index: 0 });
        for (column, reason, status) in
            [("reason", "bad_weather", "open"), ("status", "no_price", "bad_weather")]
        {
            let error = held_row(&answer(reason, status), 0).unwrap_err();
            assert!(matches!(error, QueryError::Data(_)), "{error}");
            let words = format!(r#"suspense.{column} "bad_weather" is of a later build: upgrade"#);
            assert!(error.to_string().contains(&words), "{error}");
        }
    }

    #[test]
    fn a_filter_is_a_query_and_texts_are_quoted() {
        let filter = HeldFilter {
            status: Some(HeldStatus::Open),
            reason: Some(SuspenseReason::NoPrice),
            model: Some("o'clock".to_owned()),
            since_ms: Some(0),
            until_ms: Some(86_400_000),
            positions: vec![HeldPosition { partition: 1, offset: 2, batch_index: 3 }],
            limit: Some(5),
        };
        let sql = filter.sql().unwrap();
        let (_, conditions) = sql.split_once(" WHERE ").unwrap();
        assert_eq!(
            conditions,
            "status = 'open' AND reason = 'no_price' AND model = 'o''clock' \
             AND first_seen >= TIMESTAMP(6) '1970-01-01T08:00:00+08:00' \
             AND first_seen < TIMESTAMP(6) '1970-01-02T08:00:00+08:00' \
             AND ((kafka_partition = 1 AND kafka_offset = 2 AND batch_index = 3)) \
             ORDER BY first_seen, kafka_partition, kafka_offset, batch_index LIMIT 5"
        );
        assert!(!HeldFilter::default().sql().unwrap().contains("WHERE"));
        let never = HeldFilter { since_ms: Some(i64::MAX), ..HeldFilter::default() };
        assert!(never.sql().is_err());
    }
}

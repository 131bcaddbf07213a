//! Statistics of a file: the JSON of its `add` action, as typed values to prune by.

use jiff::civil::Date;
use jiff::{Timestamp, Unit};
use serde_json::{Map, Value};
use tally_schemas::{ColumnType, Table};

/// A bound of a column.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum StatValue {
    /// A whole number, of 32- and 64-bit columns.
    Int(i64),
    /// Text; may be shorter than the longest value, but is a bound all the same.
    Text(Box<str>),
    /// Microseconds UTC.
    TimestampMicros(i64),
    /// Days since 1970-01-01.
    DateDays(i32),
}

/// What is known of one column of one file. Bounds are inclusive.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ColumnStats {
    /// No value is smaller.
    pub min: Option<StatValue>,
    /// No value is greater.
    pub max: Option<StatValue>,
    /// Number of nulls.
    pub null_count: Option<u64>,
}

/// Rows and column statistics of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct FileStats {
    pub(crate) rows: Option<u64>,
    pub(crate) columns: Box<[(&'static str, ColumnStats)]>,
}

/// A date as it stands in `partitionValues` or in the statistics, as days since 1970-01-01.
pub fn date_days(text: &str) -> Option<i32> {
    let date: Date = text.parse().ok()?;
    let epoch = Date::constant(1970, 1, 1);
    Some(epoch.until((Unit::Day, date)).ok()?.get_days())
}

fn timestamp_micros(text: &str) -> Option<i64> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

fn value_of(column_type: ColumnType, value: &Value) -> Option<StatValue> {
    Some(match column_type {
        ColumnType::Text => StatValue::Text(value.as_str()?.into()),
        ColumnType::Int64 | ColumnType::Int32 => StatValue::Int(value.as_i64()?),
        ColumnType::Timestamp => StatValue::TimestampMicros(timestamp_micros(value.as_str()?)?),
        ColumnType::Date => StatValue::DateDays(date_days(value.as_str()?)?),
        // Not written: nobody selects by them.
        ColumnType::Points | ColumnType::Amount => return None,
    })
}

impl FileStats {
    /// Reads the statistics of an `add` action. What cannot be read is unknown: statistics only
    /// ever help to skip.
    pub(crate) fn parse(table: Table, json: &str) -> Self {
        let Ok(all) = serde_json::from_str::<Map<String, Value>>(json) else {
            return Self::default();
        };
        let part = |name: &str| all.get(name).and_then(Value::as_object);
        let (min, max, nulls) = (part("minValues"), part("maxValues"), part("nullCount"));
        let columns = table
            .columns()
            .iter()
            .filter_map(|column| {
                let bound = |values: Option<&Map<String, Value>>| {
                    value_of(column.column_type, values?.get(column.name)?)
                };
                // Delta's timestamps may be cut to milliseconds: the upper bound is one more.
                let max = match bound(max) {
                    Some(StatValue::TimestampMicros(micros)) if micros % 1000 == 0 => {
                        Some(StatValue::TimestampMicros(micros.saturating_add(999)))
                    }
                    other => other,
                };
                let null_count = nulls.and_then(|n| n.get(column.name)).and_then(Value::as_u64);
                let stats = ColumnStats { min: bound(min), max, null_count };
                (stats != ColumnStats::default()).then_some((column.name, stats))
            })
            .collect();
        Self { rows: all.get("numRecords").and_then(Value::as_u64), columns }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_read_by_the_type_of_the_column() {
        let json = r#"{"numRecords":7,
            "minValues":{"account":"A1","input":3,"completed_at":"2026-11-22T06:22:37.827Z"},
            "maxValues":{"account":"A9","input":9,"completed_at":"2026-11-22T14:22:37.827+00:00"},
            "nullCount":{"region":2}}"#;
        let stats = FileStats::parse(Table::UsageEvents, json);
        let column = |name: &str| &stats.columns.iter().find(|(n, _)| *n == name).unwrap().1;
        assert_eq!(stats.rows, Some(7));
        assert_eq!(column("account").min, Some(StatValue::Text("A1".into())));
        assert_eq!(column("input").max, Some(StatValue::Int(9)));
        assert_eq!(
            column("completed_at").min,
            Some(StatValue::TimestampMicros(1_795_328_557_827_000))
        );
        assert_eq!(column("region").null_count, Some(2));
        assert_eq!(column("region").min, None);
    }

    #[test]
    fn an_upper_bound_of_milliseconds_covers_the_whole_millisecond() {
        let json = r#"{"maxValues":{"completed_at":"2026-11-22T06:22:37.827Z"}}"#;
        let stats = FileStats::parse(Table::UsageEvents, json);
        assert_eq!(stats.columns[0].1.max, Some(StatValue::TimestampMicros(1_795_328_557_827_999)));
    }

    #[test]
    fn unreadable_statistics_are_unknown() {
        assert_eq!(FileStats::parse(Table::UsageEvents, "{"), FileStats::default());
        let odd = r#"{"numRecords":"x","minValues":{"input":"x","day":"?"}}"#;
        assert_eq!(FileStats::parse(Table::UsageEvents, odd), FileStats::default());
    }

    #[test]
    fn dates_are_days_since_1970() {
        assert_eq!(date_days("1970-01-02"), Some(1));
        assert_eq!(date_days("2026-11-22"), Some(20_779));
        assert_eq!(date_days("1969-12-31"), Some(-1));
    }
}

//! Roll-ups: what the rows of one data file come to, by a few keys. They are stored beside the file
//! and read in its place.

use crate::tables::{Column, ColumnType, Table};
use crate::token_class::TokenClass;

/// A kind of roll-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RollUp {
    /// Events by day, package, model, region, channel and currencies.
    UsageByDay,
    /// Events that are no correction, by gateway and hour.
    UsageByGatewayHour,
    /// Runs of consecutive numbers of a gateway's events that are no correction.
    GatewayRuns,
    /// Debits and credits of buckets, by day, package and kind.
    BucketsByDay,
}

/// Which rows of a file a roll-up counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolledRows {
    /// All of them.
    All,
    /// Those in which a column is not null.
    With(&'static str),
    /// Those in which a column is null.
    Without(&'static str),
}

/// Where the values of a column are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolledFrom {
    /// A key: the column of the same name.
    Key,
    /// A key: the start of the hour of an instant, UTC.
    HourOf(&'static str),
    /// A key: the day of an instant in Asia/Shanghai.
    DayOf(&'static str),
    /// The number of events, less those that are taken back.
    Events,
    /// The sum of the column of the same name; null where every value is.
    Sum,
    /// The column of this name in the first row of a run: a row by itself is a run of one.
    FirstOf(&'static str),
    /// The column of this name in the last row of a run.
    LastOf(&'static str),
}

impl RolledFrom {
    /// Whether rows with other values are kept apart.
    pub const fn is_key(self) -> bool {
        matches!(self, Self::Key | Self::HourOf(_) | Self::DayOf(_))
    }
}

/// A column of a roll-up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RolledColumn {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub column_type: ColumnType,
    /// Whether it may be null.
    pub nullable: bool,
    /// Where its values are from.
    pub from: RolledFrom,
}

/// What every path of a roll-up begins with. Readers of Delta do not look into folders of such a
/// name, and other cleaners leave them alone.
const FOLDER: &str = "_roll_ups/";

impl RollUp {
    /// Every kind.
    pub const ALL: [Self; 4] =
        [Self::UsageByDay, Self::UsageByGatewayHour, Self::GatewayRuns, Self::BucketsByDay];

    /// Name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UsageByDay => "usage_by_day",
            Self::UsageByGatewayHour => "usage_by_gateway_hour",
            Self::GatewayRuns => "gateway_runs",
            Self::BucketsByDay => "buckets_by_day",
        }
    }

    /// The roll-ups of a table.
    pub fn of_table(table: Table) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |roll_up| roll_up.table() == table)
    }

    /// The table whose files it is of.
    pub const fn table(self) -> Table {
        match self {
            Self::UsageByDay | Self::UsageByGatewayHour | Self::GatewayRuns => Table::UsageEvents,
            Self::BucketsByDay => Table::QuotaLedger,
        }
    }

    /// Number of its form: another one where its columns or rows change, so that what was stored
    /// in the old form is not read as the new one.
    const fn form(self) -> u32 {
        match self {
            Self::UsageByDay
            | Self::UsageByGatewayHour
            | Self::GatewayRuns
            | Self::BucketsByDay => 1,
        }
    }

    /// Key of the tag that says of a file in the log of its table how many bytes its roll-up has.
    pub fn tag(self) -> String {
        format!("tally.{}.{}", self.name(), self.form())
    }

    /// Path of the roll-up of a file; both below the table's root.
    pub fn path(self, file: &str) -> String {
        format!("{FOLDER}{}.{}/{file}", self.name(), self.form())
    }

    /// The file that a path of a roll-up, of whatever kind and form, belongs to; `None` for other
    /// paths.
    pub fn file_of(path: &str) -> Option<&str> {
        path.strip_prefix(FOLDER)?.split_once('/').map(|(_, file)| file)
    }

    /// Which rows it counts.
    pub const fn rows(self) -> RolledRows {
        match self {
            Self::UsageByDay => RolledRows::All,
            Self::UsageByGatewayHour | Self::GatewayRuns => RolledRows::Without("correction"),
            Self::BucketsByDay => RolledRows::With("bucket"),
        }
    }

    /// Columns in order: keys, then sums.
    pub fn columns(self) -> Vec<RolledColumn> {
        use ColumnType::{Date, Int64, Timestamp};
        let of_table = self.table().columns();
        let same = |name: &'static str, from: RolledFrom| {
            of_table.iter().find(|column| column.name == name).map(
                |&Column { name, column_type, nullable, .. }| RolledColumn {
                    name,
                    column_type,
                    nullable,
                    from,
                },
            )
        };
        let keys = |names: &[&'static str]| -> Vec<RolledColumn> {
            names.iter().filter_map(|name| same(name, RolledFrom::Key)).collect()
        };
        let sums = |names: &[&'static str]| -> Vec<RolledColumn> {
            names.iter().filter_map(|name| same(name, RolledFrom::Sum)).collect()
        };
        let own = |name, column_type, from| {
            vec![RolledColumn { name, column_type, nullable: false, from }]
        };
        let events = || own("events", Int64, RolledFrom::Events);
        let parts = match self {
            Self::UsageByDay => vec![
                keys(&[
                    "day",
                    "retail_price_ids",
                    "vendor",
                    "model",
                    "region",
                    "channel",
                    "retail_currency",
                    "wholesale_currency",
                ]),
                events(),
                sums(&["points", "retail_amount", "wholesale_amount"]),
            ],
            Self::UsageByGatewayHour => vec![
                keys(&["source", "gateway_epoch"]),
                own("hour", Timestamp, RolledFrom::HourOf("completed_at")),
                events(),
                sums(&TokenClass::ALL.map(TokenClass::name)),
            ],
            Self::GatewayRuns => {
                let of_run = |name, column_type, from| {
                    vec![RolledColumn { name, column_type, nullable: true, from }]
                };
                vec![
                    keys(&["source", "gateway_epoch"]),
                    of_run("first_seq", Int64, RolledFrom::FirstOf("gateway_seq")),
                    of_run("last_seq", Int64, RolledFrom::LastOf("gateway_seq")),
                    of_run("first_at", Timestamp, RolledFrom::FirstOf("completed_at")),
                    of_run("last_at", Timestamp, RolledFrom::LastOf("completed_at")),
                ]
            }
            Self::BucketsByDay => vec![
                own("day", Date, RolledFrom::DayOf("at")),
                keys(&["package", "currency", "kind"]),
                sums(&["points", "amount"]),
            ],
        };
        parts.concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_back_to_its_file() {
        for roll_up in RollUp::ALL {
            let file = "day=2026-11-22/merged-x.parquet";
            assert_eq!(RollUp::file_of(&roll_up.path(file)), Some(file));
        }
        assert_eq!(RollUp::file_of("day=2026-11-22/merged-x.parquet"), None);
    }

    #[test]
    fn every_column_that_is_named_is_there() {
        let counts = RollUp::ALL.map(|roll_up| roll_up.columns().len());
        assert_eq!(counts, [12, 4 + TokenClass::ALL.len(), 6, 6]);
        for roll_up in RollUp::ALL {
            let first_sum = roll_up.columns().iter().position(|column| !column.from.is_key());
            let columns = roll_up.columns();
            let (keys, sums) = columns.split_at(first_sum.unwrap());
            assert!(keys.iter().all(|key| key.from.is_key()));
            assert!(sums.iter().all(|sum| !sum.from.is_key()));
        }
    }
}

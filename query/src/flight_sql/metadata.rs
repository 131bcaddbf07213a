//! What drivers ask about the database.

use std::collections::BTreeSet;

use arrow::array::RecordBatch;
use arrow_flight::error::FlightError;
use arrow_flight::sql::metadata::{SqlInfoData, SqlInfoDataBuilder};
use arrow_flight::sql::{
    CommandGetCatalogs, CommandGetDbSchemas, CommandGetTableTypes, CommandGetTables, SqlInfo,
};

use crate::error::QueryError;
use crate::sight::Sight;
use crate::views::View;

/// The only catalog, as on the PostgreSQL wire.
const CATALOG: &str = "tally";

const TABLE: &str = "TABLE";
const VIEW: &str = "VIEW";

pub(super) fn server_info() -> Result<SqlInfoData, QueryError> {
    let mut info = SqlInfoDataBuilder::new();
    info.append(SqlInfo::FlightSqlServerName, "Tally");
    info.append(SqlInfo::FlightSqlServerVersion, env!("CARGO_PKG_VERSION"));
    info.append(SqlInfo::FlightSqlServerReadOnly, true);
    info.append(SqlInfo::FlightSqlServerSql, true);
    info.append(SqlInfo::FlightSqlServerSubstrait, false);
    // No transactions, by the numbers of the protocol.
    info.append(SqlInfo::FlightSqlServerTransaction, 0_i32);
    info.append(SqlInfo::FlightSqlServerCancel, false);
    info.build().map_err(|error| QueryError::Internal(error.to_string()))
}

pub(super) fn catalogs(query: CommandGetCatalogs) -> Result<RecordBatch, FlightError> {
    let mut rows = query.into_builder();
    rows.append(CATALOG);
    rows.build()
}

pub(super) fn schemas(
    query: CommandGetDbSchemas,
    sight: &Sight,
) -> Result<RecordBatch, FlightError> {
    let mut rows = query.into_builder();
    let names: BTreeSet<&str> = sight.shapes().into_iter().map(|(schema, _, _)| schema).collect();
    for name in names {
        rows.append(CATALOG, name);
    }
    rows.build()
}

pub(super) fn tables(query: CommandGetTables, sight: &Sight) -> Result<RecordBatch, FlightError> {
    let mut rows = query.into_builder();
    for (schema, name, shape) in sight.shapes() {
        let is_view = View::all().any(|view| (view.schema, view.name) == (schema, name));
        rows.append(CATALOG, schema, name, if is_view { VIEW } else { TABLE }, &shape)?;
    }
    rows.build()
}

pub(super) fn table_types(query: CommandGetTableTypes) -> Result<RecordBatch, FlightError> {
    let mut rows = query.into_builder();
    rows.append(TABLE);
    rows.append(VIEW);
    rows.build()
}

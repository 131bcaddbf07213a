//! Arrow Flight SQL, with the client of the Arrow project.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use arrow_flight::FlightInfo;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandGetDbSchemas, CommandGetTables, SqlInfo};
use axum::Extension;
use futures::TryStreamExt;
use tally_access::{Caller, Channel, User};
use tally_query::{QueryEngine, flight_router};
use tokio::net::TcpListener;
use tonic::Code;
use tonic::transport::{Channel as Connection, Endpoint};

use crate::world::World;

type Client = FlightSqlServiceClient<Connection>;

/// A client of a listener that knows who asks.
async fn client_of(engine: &Arc<QueryEngine>, caller: Caller) -> Client {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = flight_router(Arc::clone(engine)).unwrap().layer(Extension(caller));
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    FlightSqlServiceClient::new(endpoint.connect().await.unwrap())
}

async fn client(engine: &Arc<QueryEngine>) -> Client {
    client_of(engine, Caller::local(Channel::Flight, None)).await
}

fn of_role(role: &str) -> Caller {
    let role = role.parse().unwrap();
    let user = User { name: "u".to_owned(), role, password: None, token: None };
    Caller::of(&user, Channel::Flight, None)
}

async fn read(client: &mut Client, info: FlightInfo) -> Result<Vec<RecordBatch>, tonic::Status> {
    let ticket = info.endpoint[0].ticket.clone().unwrap();
    let rows = client.do_get(ticket).await.map_err(|error| status_of(&error))?;
    rows.try_collect().await.map_err(tonic::Status::from)
}

/// The client wraps what the server said in an error of Arrow.
fn status_of(error: &dyn std::error::Error) -> tonic::Status {
    let text = error.to_string();
    let code = [
        (Code::InvalidArgument, "InvalidArgument"),
        (Code::PermissionDenied, "PermissionDenied"),
        (Code::Unauthenticated, "Unauthenticated"),
    ]
    .into_iter()
    .find(|(code, name)| text.contains(name) || text.contains(&code.to_string()))
    .map_or(Code::Unknown, |(code, _)| code);
    tonic::Status::new(code, text)
}

async fn rows(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, tonic::Status> {
    let info = client.execute(sql.to_owned(), None).await.map_err(|error| status_of(&error))?;
    read(client, info).await
}

fn texts(batches: &[RecordBatch], column: &str) -> Vec<String> {
    let of = |batch: &RecordBatch| {
        let array = batch.column_by_name(column).unwrap().clone();
        let array = arrow::compute::cast(&array, &arrow::datatypes::DataType::Utf8).unwrap();
        array.as_string::<i32>().iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_as_arrow_with_every_digit() {
    let world = World::new().await;
    let engine = world.engine().await;
    let mut client = client(&engine).await;
    let sql = "SELECT count(*) AS n, CAST('0.123456789012' AS DECIMAL(38,12)) AS amount FROM usage_events";
    let found = rows(&mut client, sql).await.unwrap();
    let n = found[0].column_by_name("n").unwrap().as_primitive::<Int64Type>().value(0);
    assert_eq!(usize::try_from(n).unwrap(), world.events.len());
    assert_eq!(texts(&found, "amount"), ["0.123456789012"]);
    // Many batches, and exactly the columns that were promised: drivers refuse any other.
    for sql in [
        "SELECT id, input, completed_at, day FROM usage_events ORDER BY id",
        "SELECT vendor, count(*) AS n, sum(wholesale_amount) FROM usage_events GROUP BY vendor",
        "SELECT * FROM settlement.margin",
        "SELECT 1 AS one, 'a' AS text, NULL AS nothing",
    ] {
        let info = client.execute(sql.to_owned(), None).await.unwrap();
        let promised = info.clone().try_decode_schema().unwrap();
        let found = read(&mut client, info).await.unwrap();
        for batch in &found {
            assert_eq!(*batch.schema(), promised, "{sql}");
        }
        if sql.contains("ORDER BY id") {
            let events: usize = found.iter().map(RecordBatch::num_rows).sum();
            assert_eq!(events, world.events.len());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prepared_statement_runs_with_each_of_its_parameters() {
    let world = World::new().await;
    let engine = world.engine().await;
    let mut client = client(&engine).await;
    let sql = "SELECT count(*) AS n FROM usage_events WHERE input >= $1".to_owned();
    let mut prepared = client.prepare(sql, None).await.unwrap();
    assert_eq!(prepared.parameter_schema().unwrap().fields().len(), 1);
    for (least, all) in [(0, true), (i64::MAX, false)] {
        let column: Arc<dyn arrow::array::Array> = Arc::new(Int64Array::from(vec![least]));
        prepared.set_parameters(RecordBatch::try_from_iter([("$1", column)]).unwrap()).unwrap();
        let info = prepared.execute().await.unwrap();
        let found = read(&mut client, info).await.unwrap();
        let n = found[0].column(0).as_primitive::<Int64Type>().value(0);
        assert_eq!(usize::try_from(n).unwrap(), if all { world.events.len() } else { 0 });
    }
    prepared.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn drivers_learn_what_there_is() {
    let world = World::new().await;
    let engine = world.engine().await;
    let mut client = client(&engine).await;
    let info = client.get_catalogs().await.unwrap();
    assert_eq!(texts(&read(&mut client, info).await.unwrap(), "catalog_name"), ["tally"]);
    let query = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: None };
    let info = client.get_db_schemas(query).await.unwrap();
    let schemas = texts(&read(&mut client, info).await.unwrap(), "db_schema_name");
    for schema in ["public", "quota", "settlement", "system"] {
        assert_eq!(schemas.iter().filter(|found| *found == schema).count(), 1, "{schemas:?}");
    }
    let query = CommandGetTables {
        db_schema_filter_pattern: Some("settle%".to_owned()),
        include_schema: true,
        ..CommandGetTables::default()
    };
    let info = client.get_tables(query).await.unwrap();
    let tables = read(&mut client, info).await.unwrap();
    let names = texts(&tables, "table_name");
    assert!(names.contains(&"margin".to_owned()) && !names.contains(&"usage_events".to_owned()));
    assert!(texts(&tables, "table_type").contains(&"VIEW".to_owned()));
    let info = client.get_table_types().await.unwrap();
    assert_eq!(texts(&read(&mut client, info).await.unwrap(), "table_type"), ["TABLE", "VIEW"]);
    let info = client.get_sql_info(vec![SqlInfo::FlightSqlServerName]).await.unwrap();
    assert_eq!(read(&mut client, info).await.unwrap()[0].num_rows(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn everybody_sees_what_is_theirs() {
    let world = World::new().await;
    let engine = world.engine().await;
    let mut vendor = client_of(&engine, of_role("vendor:zhipu")).await;
    let found = rows(&mut vendor, "SELECT DISTINCT vendor FROM usage_events").await.unwrap();
    assert!(texts(&found, "vendor").iter().all(|vendor| vendor == "zhipu"));
    let error = rows(&mut vendor, "SELECT * FROM quota_ledger").await.unwrap_err();
    assert!(error.message().contains("not found"), "{error}");
    let info = vendor.get_tables(CommandGetTables::default()).await.unwrap();
    let tables = texts(&read(&mut vendor, info).await.unwrap(), "table_name");
    assert!(tables.contains(&"usage_events".to_owned()), "{tables:?}");
    assert!(!tables.contains(&"quota_ledger".to_owned()), "{tables:?}");
    // A ticket is nothing that one could give to somebody else.
    let mut finance = client_of(&engine, of_role("finance")).await;
    let sql = "SELECT count(*) FROM quota_ledger".to_owned();
    let info = finance.execute(sql, None).await.unwrap();
    assert!(read(&mut finance, info.clone()).await.is_ok());
    let error = read(&mut vendor, info).await.unwrap_err();
    assert!(error.message().contains("not found"), "{error}");
    let mut gateway = client_of(&engine, of_role("gateway")).await;
    assert_eq!(rows(&mut gateway, "SELECT 1").await.unwrap_err().code(), Code::PermissionDenied);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_allowed_is_refused() {
    let world = World::new().await;
    let engine = world.engine().await;
    let mut client = client(&engine).await;
    for sql in [
        "DELETE FROM usage_events",
        "COPY usage_events TO '/tmp/x'",
        "CREATE TABLE t (a INT)",
        "SELECT 1; SELECT 2",
        "SELECT no_such_column FROM usage_events",
        "",
    ] {
        let error = rows(&mut client, sql).await.unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{sql}: {error}");
    }
    assert!(client.execute_update("DELETE FROM usage_events".to_owned(), None).await.is_err());
    assert!(client.begin_transaction().await.is_err());
}

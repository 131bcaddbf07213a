//! Arrow Flight SQL: ADBC, JDBC and other drivers read answers as Arrow, without a detour by rows.
//!
//! Nothing is kept between calls. A ticket, and the handle of a prepared statement, contain the
//! statement itself with the values of its parameters: whoever brings one back is asked again who
//! they are, and sees what is theirs. So any process that answers queries can take over.

mod handle;
mod metadata;

use std::pin::Pin;
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::metadata::SqlInfoData;
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetDbSchemas,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandPreparedStatementQuery,
    CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse,
    IpcMessage, SchemaAsIpc, Ticket,
};
use datafusion::logical_expr::LogicalPlan;
use futures::{Stream, TryStreamExt, stream};
use prost::Message;
use tally_access::Caller;
use tonic::{Request, Response, Status, Streaming};

use self::handle::Handle;
use crate::engine::{Depth, Planned, QueryEngine, Versions};
use crate::error::QueryError;
use crate::guard;
use crate::limits::Limits;
use crate::sight::Sight;

/// What [`FlightService::do_get`] answers with.
type DataStream = <FlightSql as FlightService>::DoGetStream;

/// The routes of Flight SQL, for a listener that speaks HTTP/2. Whoever serves them says who asks,
/// as an extension of the request ([`Caller`]); without one nothing is answered.
///
/// # Errors
/// `Internal` where what is said of the server cannot be put together.
pub fn flight_router(engine: Arc<QueryEngine>) -> Result<axum::Router, QueryError> {
    let service = FlightSql { engine, info: metadata::server_info()? };
    Ok(tonic::service::Routes::new(FlightServiceServer::new(service)).into_axum_router())
}

struct FlightSql {
    engine: Arc<QueryEngine>,
    info: SqlInfoData,
}

/// Who asks.
fn caller_of<Message>(request: &Request<Message>) -> Result<Caller, Status> {
    let caller = request.extensions().get::<Caller>();
    caller.cloned().ok_or_else(|| Status::unauthenticated("who asks is not known"))
}

/// An error as a client of gRPC is told it.
fn status(error: QueryError) -> Status {
    let words = error.to_string();
    match error {
        QueryError::Invalid(_) | QueryError::Removed(_) => Status::invalid_argument(words),
        QueryError::Denied(_) => Status::permission_denied(words),
        QueryError::Limit { setting: "query.timeout_ms", .. } => Status::deadline_exceeded(words),
        QueryError::Limit { .. } => Status::resource_exhausted(words),
        QueryError::Retry(_) => Status::unavailable(words),
        QueryError::Data(_) => Status::data_loss(words),
        QueryError::Internal(_) => Status::internal(words),
    }
}

fn no_transactions(transaction: Option<&[u8]>) -> Result<(), Status> {
    match transaction {
        None | Some([]) => Ok(()),
        Some(_) => {
            Err(Status::invalid_argument("there are no transactions: nothing can be written"))
        }
    }
}

impl FlightSql {
    fn sight(caller: &Caller) -> Result<Sight, Status> {
        Sight::of(caller).ok_or_else(|| {
            Status::permission_denied(format!("role {} runs no statements", caller.role_name()))
        })
    }

    /// Plans a statement, to learn its parameters and the columns of its answer, which drivers hold
    /// the answer to.
    async fn plan(&self, caller: &Caller, handle: &Handle) -> Result<Planned, QueryError> {
        let depth = Depth::Answer(handle.parameters()?);
        let words = handle.parameter_words()?;
        let asked = self.engine.asked(caller, &handle.sql, words.as_deref()).await?;
        match guard::parse(&handle.sql) {
            Ok(statement) => self.engine.plan(statement, depth, self.limits(), asked).await,
            Err(error) => Err(self.engine.refused(asked, error)),
        }
    }

    fn limits(&self) -> Limits {
        self.engine.limits()
    }

    /// Runs a statement; its rows as they come.
    async fn answer(
        &self,
        caller: &Caller,
        handle: Handle,
    ) -> Result<Response<DataStream>, Status> {
        let values = handle.parameters().map_err(status)?;
        let words = handle.parameter_words().map_err(status)?;
        let asked =
            self.engine.asked(caller, &handle.sql, words.as_deref()).await.map_err(status)?;
        let statement = match guard::parse(&handle.sql) {
            Ok(statement) => statement,
            Err(error) => return Err(status(self.engine.refused(asked, error))),
        };
        let (versions, limits) = (Versions::AsOf(None), self.limits());
        let answer = self.engine.run_statement(statement, values, versions, limits, asked);
        let answer = answer.await.map_err(status)?;
        let rows = answer.rows.map_err(|error| FlightError::Tonic(Box::new(status(error))));
        let data = FlightDataEncoderBuilder::new().with_schema(answer.schema).build(rows);
        Ok(Response::new(Box::pin(data.map_err(Status::from))))
    }
}

/// What a client has to bring back, and the columns that it will get.
fn info_of(
    schema: &Schema,
    ticket: Vec<u8>,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(error.to_string()))?
        .with_endpoint(endpoint)
        .with_descriptor(descriptor);
    Ok(Response::new(info))
}

/// The ticket of a statement.
fn statement_ticket(handle: &Handle) -> Vec<u8> {
    let statement_handle = handle.to_bytes().into();
    TicketStatementQuery { statement_handle }.as_any().encode_to_vec()
}

/// An answer that is here already.
fn metadata_batch(
    batch: Result<arrow::array::RecordBatch, FlightError>,
) -> Result<Response<DataStream>, Status> {
    let batch = batch?;
    let schema = batch.schema();
    let data = FlightDataEncoderBuilder::new()
        .with_schema(schema)
        .build(stream::iter([Ok(batch)]))
        .map_err(Status::from);
    Ok(Response::new(Box::pin(data)))
}

/// A schema in the bytes that clients read it from.
fn ipc_bytes(schema: &Schema) -> Result<bytes::Bytes, Status> {
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    let message = IpcMessage::try_from(SchemaAsIpc::new(schema, &options))
        .map_err(|error| Status::internal(error.to_string()))?;
    Ok(message.0)
}

/// The parameters of a statement, in the order of their numbers; text where nothing says of which
/// type one is.
fn parameter_schema(plan: &LogicalPlan) -> Result<Schema, Status> {
    let types =
        plan.get_parameter_types().map_err(|error| Status::invalid_argument(error.to_string()))?;
    let mut fields: Vec<(u32, Field)> = types
        .into_iter()
        .map(|(name, data_type)| {
            let number = name.trim_start_matches('$').parse().unwrap_or(u32::MAX);
            let data_type = data_type.unwrap_or(arrow::datatypes::DataType::Utf8);
            (number, Field::new(name, data_type, true))
        })
        .collect();
    fields.sort_by_key(|(number, _)| *number);
    Ok(Schema::new(fields.into_iter().map(|(_, field)| field).collect::<Vec<_>>()))
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = Self;

    /// Drivers that know names and passwords only: the token is the password, and comes back as
    /// what the other calls carry. Whoever serves the routes has looked at it already.
    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<
        Response<Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>>,
        Status,
    > {
        caller_of(&request)?;
        let given = request.metadata().get("authorization").cloned();
        let answer = HandshakeResponse::default();
        let mut response: Response<
            Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>,
        > = Response::new(Box::pin(stream::iter([Ok(answer)])));
        if let Some(given) = given {
            response.metadata_mut().insert("authorization", given);
        }
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = caller_of(&request)?;
        no_transactions(query.transaction_id.as_deref())?;
        let handle = Handle::new(query.query);
        let Planned { columns, .. } = self.plan(&caller, &handle).await.map_err(status)?;
        info_of(&columns, statement_ticket(&handle), request.into_inner())
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<DataStream>, Status> {
        let caller = caller_of(&request)?;
        let handle = Handle::of_bytes(&ticket.statement_handle).map_err(status)?;
        self.answer(&caller, handle).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let caller = caller_of(&request)?;
        no_transactions(query.transaction_id.as_deref())?;
        let handle = Handle::new(query.query);
        let Planned { plan, columns } = self.plan(&caller, &handle).await.map_err(status)?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle: handle.to_bytes().into(),
            dataset_schema: ipc_bytes(&columns)?,
            parameter_schema: ipc_bytes(&parameter_schema(&plan)?)?,
        })
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        caller_of(&request)?;
        let handle = Handle::of_bytes(&query.prepared_statement_handle).map_err(status)?;
        let data = request.into_inner().into_peekable().map_err(FlightError::from);
        let batches = arrow_flight::decode::FlightRecordBatchStream::new_from_flight_data(data);
        let batches: Vec<_> = batches.try_collect().await?;
        let bound = handle.with_parameters(&batches).map_err(status)?;
        let prepared_statement_handle = Some(bound.to_bytes().into());
        Ok(DoPutPreparedStatementResult { prepared_statement_handle })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let caller = caller_of(&request)?;
        let handle = Handle::of_bytes(&query.prepared_statement_handle).map_err(status)?;
        let Planned { columns, .. } = self.plan(&caller, &handle).await.map_err(status)?;
        info_of(&columns, query.as_any().encode_to_vec(), request.into_inner())
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<Response<DataStream>, Status> {
        let caller = caller_of(&request)?;
        let handle = Handle::of_bytes(&query.prepared_statement_handle).map_err(status)?;
        self.answer(&caller, handle).await
    }

    /// There is nothing to be closed.
    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        info_of(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<Ticket>,
    ) -> Result<Response<DataStream>, Status> {
        Self::sight(&caller_of(&request)?)?;
        metadata_batch(metadata::catalogs(query))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        info_of(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<Ticket>,
    ) -> Result<Response<DataStream>, Status> {
        let sight = Self::sight(&caller_of(&request)?)?;
        metadata_batch(metadata::schemas(query, &sight))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        info_of(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<Response<DataStream>, Status> {
        let sight = Self::sight(&caller_of(&request)?)?;
        metadata_batch(metadata::tables(query, &sight))
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        info_of(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<Ticket>,
    ) -> Result<Response<DataStream>, Status> {
        Self::sight(&caller_of(&request)?)?;
        metadata_batch(metadata::table_types(query))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        let schema: SchemaRef = query.into_builder(&self.info).schema();
        info_of(&schema, ticket, request.into_inner())
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<Ticket>,
    ) -> Result<Response<DataStream>, Status> {
        Self::sight(&caller_of(&request)?)?;
        metadata_batch(query.into_builder(&self.info).build())
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

//! The PostgreSQL wire: psql and BI tools read the tables; nothing can be written.
//!
//! The protocol and the catalog queries of clients are datafusion-postgres's; every statement
//! passes our guard and runs in our engine, on a pin and within limits of its own.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use datafusion::arrow::datatypes::DataType;
use datafusion::common::ParamValues;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionContext;
use datafusion::sql::parser::Statement as DfStatement;
use datafusion::sql::sqlparser::ast::{
    Expr, FunctionArguments, Set, Statement, Value, visit_expressions_mut,
};
use datafusion_postgres::QueryHook;
use datafusion_postgres::arrow_pg::datatypes::df::deserialize_parameters_with_server_types;
use datafusion_postgres::arrow_pg::datatypes::{
    arrow_schema_to_pg_fields, encode_recordbatch, into_pg_type,
};
use datafusion_postgres::datafusion_pg_catalog::sql::PostgresCompatibilityParser;
use datafusion_postgres::hooks::set_show::SetShowHook;
use datafusion_postgres::hooks::transactions::TransactionStatementHook;
use futures::{Sink, StreamExt, stream};
use pgwire::api::auth::StartupHandler;
use pgwire::api::cancel::{CancelHandler, DefaultCancelHandler};
use pgwire::api::portal::{Format, Portal};
use pgwire::api::query::{ExtendedQueryHandler, SimpleQueryHandler};
use pgwire::api::results::{FieldInfo, QueryResponse, Response, Tag};
use pgwire::api::stmt::QueryParser;
use pgwire::api::store::PortalStore;
use pgwire::api::{
    ClientInfo, ClientPortalStore, ConnectionManager, PgWireServerHandlers,
    RandomPidSecretKeyGenerator, Type,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::PgWireBackendMessage;
use pgwire::tokio::{TlsAcceptor, process_socket};
use tally_access::Caller;
use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore};
use tokio::task::AbortHandle;
use tokio::time::sleep;

use crate::answer::Answer;
use crate::engine::{Depth, Planned, QueryEngine, Versions};
use crate::error::QueryError;
use crate::guard::QUERY_MAX_BYTES;
use crate::limits::Limits;
use crate::pg_settings::shown;
use crate::pg_sign_in::{PgDoor, SignInHandler};

/// Where datafusion-postgres keeps a client's `statement_timeout`, milliseconds.
const CLIENT_TIMEOUT: &str = "statement_timeout_ms";

/// How long a client may take to sign in. Those who were told why not are gone by then as well.
const SIGN_IN_TIMEOUT: Duration = Duration::from_secs(30);
/// How many clients sign in at once; more wait until they are accepted.
const SIGNING_IN: usize = 256;

/// A listener of the PostgreSQL wire. Dropping it stops it; open connections end with the engine.
#[derive(Debug)]
pub struct PgServer {
    address: SocketAddr,
    task: AbortHandle,
}

impl PgServer {
    /// Listens on a loopback address (`HOST:PORT`), for whoever has this machine.
    ///
    /// # Errors
    /// `Invalid` for an address that is not loopback or not free.
    pub async fn bind(engine: Arc<QueryEngine>, listen: &str) -> Result<Self, QueryError> {
        Self::bind_for(engine, listen, PgDoor::default()).await
    }

    /// Listens on `listen` (`HOST:PORT`), on the threads of the engine, for those whom `door` lets
    /// in.
    ///
    /// # Errors
    /// `Invalid` for an address that is not free, or not loopback where the door has no users or no
    /// encryption.
    pub async fn bind_for(
        engine: Arc<QueryEngine>,
        listen: &str,
        door: PgDoor,
    ) -> Result<Self, QueryError> {
        let addresses: Vec<SocketAddr> = tokio::net::lookup_host(listen)
            .await
            .map_err(|error| QueryError::Invalid(format!("query.pg_listen {listen}: {error}")))?
            .collect();
        let loopback = addresses.iter().all(|address| address.ip().is_loopback());
        if addresses.is_empty() || !(loopback || door.is_for_others()) {
            return Err(QueryError::Invalid(format!(
                "query.pg_listen {listen}: beyond loopback the PostgreSQL wire needs authentication \
                 and encryption: set auth.users_file, tls.certificate and tls.key, or listen on \
                 127.0.0.1"
            )));
        }
        let encryption = door.encryption()?;
        // The listener belongs to the runtime that polls it.
        let bound = engine
            .spawn(async move { TcpListener::bind(addresses.as_slice()).await })
            .await
            .map_err(|error| QueryError::Internal(error.to_string()))?;
        let listener = bound
            .map_err(|error| QueryError::Invalid(format!("query.pg_listen {listen}: {error}")))?;
        let address =
            listener.local_addr().map_err(|error| QueryError::Internal(error.to_string()))?;
        let handlers = Arc::new(Handlers::new(&engine, Arc::new(door)));
        let task = engine.spawn(accept(listener, encryption, handlers)).abort_handle();
        Ok(Self { address, task })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for PgServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, encryption: Option<TlsAcceptor>, handlers: Arc<Handlers>) {
    let signing_in = Arc::new(Semaphore::new(SIGNING_IN));
    loop {
        let Ok(turn) = Arc::clone(&signing_in).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((socket, _)) => {
                let signed_in = Arc::new(Notify::new());
                let connection = Connection {
                    handlers: Arc::clone(&handlers),
                    signed_in: Arc::clone(&signed_in),
                };
                let served = process_socket(socket, encryption.clone(), connection);
                tokio::spawn(async move {
                    let known = async move {
                        signed_in.notified().await;
                        drop(turn);
                    };
                    match in_time(served, known, SIGN_IN_TIMEOUT).await {
                        Some(Ok(())) => {}
                        Some(Err(error)) => {
                            tracing::debug!(%error, "a PostgreSQL connection ended");
                        }
                        None => tracing::debug!("a PostgreSQL client did not sign in in time"),
                    }
                });
            }
            Err(error) => {
                // Out of file descriptors, most likely: closing connections will free some.
                tracing::warn!(%error, "cannot accept a PostgreSQL connection");
                sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

/// Serves a connection to its end, where its client is known within a time. `None` where it is not:
/// the connection is dropped then.
async fn in_time<Served: Future>(
    served: Served,
    known: impl Future<Output = ()>,
    within: Duration,
) -> Option<Served::Output> {
    let mut served = std::pin::pin!(served);
    tokio::select! {
        ended = &mut served => return Some(ended),
        () = known => {}
        () = sleep(within) => return None,
    }
    Some(served.await)
}

struct Handlers {
    service: Arc<Service>,
    cancel: Arc<DefaultCancelHandler>,
    connections: Arc<ConnectionManager>,
    keys: Arc<RandomPidSecretKeyGenerator>,
}

impl Handlers {
    fn new(engine: &Arc<QueryEngine>, door: Arc<PgDoor>) -> Self {
        let connections = Arc::new(ConnectionManager::new());
        Self {
            service: Arc::new(Service { statements: Arc::new(Statements::new(engine, door)) }),
            cancel: Arc::new(DefaultCancelHandler::new(Arc::clone(&connections))),
            connections,
            keys: Arc::default(),
        }
    }
}

/// One connection.
struct Connection {
    handlers: Arc<Handlers>,
    signed_in: Arc<Notify>,
}

impl PgWireServerHandlers for Connection {
    fn simple_query_handler(&self) -> Arc<impl SimpleQueryHandler> {
        Arc::clone(&self.handlers.service)
    }

    fn extended_query_handler(&self) -> Arc<impl ExtendedQueryHandler> {
        Arc::clone(&self.handlers.service)
    }

    /// Asked for once a connection: what it remembers is of that connection.
    fn startup_handler(&self) -> Arc<impl StartupHandler> {
        let Statements { door, engine, .. } = self.handlers.service.statements.as_ref();
        Arc::new(SignInHandler::new(
            Arc::clone(door),
            std::sync::Weak::clone(engine),
            Arc::clone(&self.handlers.connections),
            Arc::clone(&self.handlers.keys),
            Arc::clone(&self.signed_in),
        ))
    }

    fn cancel_handler(&self) -> Arc<impl CancelHandler> {
        Arc::clone(&self.handlers.cancel)
    }
}

/// Parses, plans and runs statements of all connections.
struct Statements {
    // Weak: the listener runs on the engine's own threads and must not keep it alive.
    engine: std::sync::Weak<QueryEngine>,
    door: Arc<PgDoor>,
    parser: PostgresCompatibilityParser,
    /// `SET`, `SHOW` and transactions, which clients send and which change nothing here.
    hooks: [Arc<dyn QueryHook>; 2],
    /// What the hooks play with. No query runs in it.
    scratch: SessionContext,
}

/// A statement as a client prepared it.
#[derive(Clone)]
struct Prepared {
    /// As the client wrote it.
    sql: Arc<str>,
    statement: Arc<Statement>,
    /// How it was planned when it was prepared: its parameters and columns.
    plan: Arc<LogicalPlan>,
}

impl Statements {
    fn new(engine: &Arc<QueryEngine>, door: Arc<PgDoor>) -> Self {
        Self {
            engine: Arc::downgrade(engine),
            door,
            parser: PostgresCompatibilityParser::new(),
            hooks: [Arc::new(SetShowHook), Arc::new(TransactionStatementHook)],
            scratch: SessionContext::new(),
        }
    }

    fn engine(&self) -> PgWireResult<Arc<QueryEngine>> {
        self.engine
            .upgrade()
            .ok_or_else(|| pg_error(&QueryError::Retry("the server is stopping".to_owned())))
    }

    /// Parses a text of at most one statement; what is refused here is noted, too.
    async fn parse(&self, caller: &Caller, sql: &str) -> PgWireResult<Option<Statement>> {
        match self.parsed(sql) {
            Ok(statement) => Ok(statement),
            Err(error) => {
                let engine = self.engine()?;
                let asked = engine.asked(caller, sql, None).await;
                Err(pg_error(&match asked {
                    Ok(asked) => engine.refused(asked, error),
                    Err(denied) => denied,
                }))
            }
        }
    }

    fn parsed(&self, sql: &str) -> Result<Option<Statement>, QueryError> {
        let invalid = QueryError::Invalid;
        if sql.len() > QUERY_MAX_BYTES {
            return Err(invalid(format!(
                "the query has {} bytes; at most {QUERY_MAX_BYTES} are allowed",
                sql.len()
            )));
        }
        let statements = self.parser.parse(sql).map_err(|error| invalid(error.to_string()))?;
        let mut statements = statements.into_iter();
        match (statements.next(), statements.next()) {
            (None, _) => Ok(None),
            (Some(_), Some(_)) => Err(invalid("one statement at a time".to_owned())),
            (Some(mut statement), None) => {
                refuse_setting(&statement)?;
                without_storage_options(&mut statement);
                Ok(Some(shown(statement, &self.parser)?))
            }
        }
    }

    fn limits<C: ClientInfo>(engine: &QueryEngine, client: &C) -> Limits {
        let own = client.metadata().get(CLIENT_TIMEOUT).and_then(|ms| ms.parse().ok());
        engine.limits().within(own.map(Duration::from_millis))
    }

    async fn run<C: ClientInfo>(
        &self,
        client: &C,
        caller: &Caller,
        sql: &str,
        statement: Statement,
        parameters: Option<ParamValues>,
        format: &Format,
    ) -> PgWireResult<Response> {
        let engine = self.engine()?;
        let limits = Self::limits(&engine, client);
        let statement = DfStatement::Statement(Box::new(statement));
        let values = parameters.as_ref().map(in_words);
        let asked =
            engine.asked(caller, sql, values.as_deref()).await.map_err(|error| pg_error(&error))?;
        let answer = engine
            .run_statement(statement, parameters, Versions::AsOf(None), limits, asked)
            .await
            .map_err(|error| pg_error(&error))?;
        respond(answer, format)
    }
}

/// The values of parameters, as the audit log has them.
fn in_words(parameters: &ParamValues) -> String {
    match parameters {
        ParamValues::List(values) => {
            let values = values.iter().enumerate();
            let words = values.map(|(place, value)| format!("${} = {}", place + 1, value.value()));
            words.collect::<Vec<_>>().join(", ")
        }
        ParamValues::Map(values) => {
            let mut words: Vec<String> =
                values.iter().map(|(name, value)| format!("{name} = {}", value.value())).collect();
            words.sort();
            words.join(", ")
        }
    }
}

/// Settings of the engine are not a client's to change.
fn refuse_setting(statement: &Statement) -> Result<(), QueryError> {
    if let Statement::Set(Set::SingleAssignment { variable, .. }) = statement
        && variable.to_string().to_ascii_lowercase().starts_with("datafusion.")
    {
        return Err(QueryError::Invalid(format!("SET {variable} is not allowed")));
    }
    Ok(())
}

/// psql's `\d+` asks for the storage options of a table and of its TOAST table, in words that the
/// engine does not know (`array(SELECT …)`) and of a column that the catalog does not have. Tables
/// here have no such options.
fn without_storage_options(statement: &mut Statement) {
    let rewritten: ControlFlow<()> = visit_expressions_mut(statement, |expr| {
        if let Expr::Function(function) = expr
            && let Some(name) = function.name.0.last().and_then(|part| part.as_ident())
            && name.value.eq_ignore_ascii_case("array_to_string")
            && let FunctionArguments::List(arguments) = &function.args
            && let Some(first) = arguments.args.first()
            && first.to_string().contains(".reloptions")
        {
            *expr = Expr::value(Value::SingleQuotedString(String::new()));
        }
        ControlFlow::Continue(())
    });
    debug_assert!(rewritten.is_continue());
}

/// Statements that end something a client has not begun here.
fn acknowledged(statement: &Statement) -> Option<Tag> {
    match statement {
        Statement::Discard { .. } => Some(Tag::new("DISCARD ALL")),
        Statement::Deallocate { .. } => Some(Tag::new("DEALLOCATE")),
        _ => None,
    }
}

fn respond(answer: Answer, format: &Format) -> PgWireResult<Response> {
    let fields = Arc::new(arrow_schema_to_pg_fields(&answer.schema, format, None)?);
    let of_rows = Arc::clone(&fields);
    let rows = answer.rows.flat_map(move |batch| match batch {
        Ok(batch) => stream::iter(encode_recordbatch(Arc::clone(&of_rows), batch)).left_stream(),
        Err(error) => stream::iter([Err(pg_error(&error))]).right_stream(),
    });
    Ok(Response::Query(QueryResponse::new(fields, rows)))
}

/// An error with the SQLSTATE that clients expect.
fn pg_error(error: &QueryError) -> PgWireError {
    let code = match error {
        QueryError::Invalid(_) | QueryError::Removed(_) => "42000",
        QueryError::Denied(_) => "42501",
        QueryError::Limit { setting: "query.timeout_ms", .. } => "57014",
        QueryError::Limit { setting: "query.memory_max_bytes", .. } => "53200",
        QueryError::Limit { setting: "query.concurrency", .. } => "53300",
        QueryError::Limit { .. } => "54000",
        QueryError::Retry(_) => "57P03",
        QueryError::Data(_) => "XX001",
        QueryError::Internal(_) => "XX000",
    };
    let info = ErrorInfo::new("ERROR".to_owned(), code.to_owned(), error.to_string());
    PgWireError::UserError(Box::new(info))
}

struct Service {
    statements: Arc<Statements>,
}

#[async_trait]
impl SimpleQueryHandler for Service {
    async fn do_query<C>(&self, client: &mut C, query: &str) -> PgWireResult<Vec<Response>>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = &self.statements;
        let caller = statements.door.caller_of(client)?;
        let Some(statement) = statements.parse(&caller, query).await? else {
            return Ok(vec![Response::EmptyQuery]);
        };
        if let Some(tag) = acknowledged(&statement) {
            return Ok(vec![Response::Execution(tag)]);
        }
        for hook in &statements.hooks {
            let handled = hook.handle_simple_query(&statement, &statements.scratch, client).await;
            if let Some(response) = handled {
                return Ok(vec![response?]);
            }
        }
        let text = &Format::UnifiedText;
        Ok(vec![statements.run(client, &caller, query, statement, None, text).await?])
    }
}

#[async_trait]
impl ExtendedQueryHandler for Service {
    type Statement = Prepared;
    type QueryParser = Statements;

    fn query_parser(&self) -> Arc<Statements> {
        Arc::clone(&self.statements)
    }

    async fn do_query<C>(
        &self,
        client: &mut C,
        portal: &Portal<Prepared>,
        _max_rows: usize,
    ) -> PgWireResult<Response>
    where
        C: ClientInfo + ClientPortalStore + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::PortalStore: PortalStore,
        C::Error: std::fmt::Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let statements = &self.statements;
        let caller = statements.door.caller_of(client)?;
        let Prepared { sql, statement, plan } = &portal.statement.statement;
        if let Some(tag) = acknowledged(statement) {
            return Ok(Response::Execution(tag));
        }
        let types = parameter_types(plan)?;
        let arrow_types: Vec<Option<&DataType>> = types.iter().map(Option::as_ref).collect();
        let wire_types = wire_types(&types)?;
        let wire_refs: Vec<Option<&Type>> = wire_types.iter().map(Some).collect();
        let values = deserialize_parameters_with_server_types(portal, &arrow_types, &wire_refs)?;
        for hook in &statements.hooks {
            let handled = hook
                .handle_extended_query(statement, plan, &values, &statements.scratch, client)
                .await;
            if let Some(response) = handled {
                return response;
            }
        }
        // Planned anew, on a new pin: a statement that was prepared long ago reads what is
        // current now.
        let values = Some(values).filter(|_| !types.is_empty());
        let statement = Statement::clone(statement);
        let format = &portal.result_column_format;
        statements.run(client, &caller, sql, statement, values, format).await
    }
}

/// Type of each parameter, where it could be inferred, in order of the numbers.
fn parameter_types(plan: &LogicalPlan) -> PgWireResult<Vec<Option<DataType>>> {
    let types = plan.get_parameter_types().map_err(|error| PgWireError::ApiError(error.into()))?;
    let mut types: Vec<(u32, Option<DataType>)> = types
        .into_iter()
        .map(|(name, data_type)| {
            (name.trim_start_matches('$').parse().unwrap_or(u32::MAX), data_type)
        })
        .collect();
    types.sort_by_key(|(number, _)| *number);
    Ok(types.into_iter().map(|(_, data_type)| data_type).collect())
}

fn wire_types(types: &[Option<DataType>]) -> PgWireResult<Vec<Type>> {
    types
        .iter()
        .map(|data_type| data_type.as_ref().map_or(Ok(Type::UNKNOWN), into_pg_type))
        .collect()
}

#[async_trait]
impl QueryParser for Statements {
    type Statement = Prepared;

    async fn parse_sql<C>(
        &self,
        client: &C,
        sql: &str,
        _types: &[Option<Type>],
    ) -> PgWireResult<Option<Prepared>>
    where
        C: ClientInfo + Unpin + Send + Sync,
    {
        let caller = self.door.caller_of(client)?;
        let Some(statement) = self.parse(&caller, sql).await? else { return Ok(None) };
        let prepared = |statement, plan| Prepared {
            sql: sql.into(),
            statement: Arc::new(statement),
            plan: Arc::new(plan),
        };
        if acknowledged(&statement).is_some() {
            let nothing = datafusion::logical_expr::LogicalPlanBuilder::empty(false).build();
            let nothing = nothing.map_err(|error| PgWireError::ApiError(error.into()))?;
            return Ok(Some(prepared(statement, nothing)));
        }
        for hook in &self.hooks {
            let handled = hook.handle_extended_parse_query(&statement, &self.scratch, client).await;
            if let Some(plan) = handled {
                return Ok(Some(prepared(statement, plan?)));
            }
        }
        let engine = self.engine()?;
        let limits = Self::limits(&engine, client);
        let asked = engine.asked(&caller, sql, None).await.map_err(|error| pg_error(&error))?;
        let of_client = DfStatement::Statement(Box::new(statement.clone()));
        let planned = engine.plan(of_client, Depth::Statement, limits, asked).await;
        let Planned { plan, .. } = planned.map_err(|error| pg_error(&error))?;
        Ok(Some(prepared(statement, plan)))
    }

    fn get_parameter_types(&self, prepared: &Prepared) -> PgWireResult<Vec<Type>> {
        wire_types(&parameter_types(&prepared.plan)?)
    }

    fn get_result_schema(
        &self,
        prepared: &Prepared,
        column_format: Option<&Format>,
    ) -> PgWireResult<Vec<FieldInfo>> {
        let format = column_format.unwrap_or(&Format::UnifiedText);
        arrow_schema_to_pg_fields(prepared.plan.schema().as_arrow(), format, None)
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn who_is_not_known_in_time_is_dropped() {
        let moment = Duration::from_millis(20);
        let slow = || async move {
            sleep(moment * 3).await;
            1
        };
        assert_eq!(in_time(slow(), pending(), moment).await, None);
        assert_eq!(in_time(slow(), ready(()), moment).await, Some(1));
        assert_eq!(in_time(ready(1), pending(), moment).await, Some(1));
    }
}

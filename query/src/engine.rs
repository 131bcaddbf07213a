//! Runs queries: each on one pin of all tables, within limits, on threads of its own.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arrow::datatypes::SchemaRef;
use datafusion::catalog::TableProvider;
use datafusion::common::ParamValues;
use datafusion::error::DataFusionError;
use datafusion::execution::SessionState;
use datafusion::execution::context::SQLOptions;
use datafusion::logical_expr::LogicalPlan;
use datafusion::physical_plan::execute_stream;
use datafusion::sql::parser::Statement;
use futures::StreamExt;
use object_store::ObjectStore;
use prometheus_client::registry::Registry;
use tally_access::Caller;
use tally_reference::ReferenceStore;
use tally_schemas::{QueryConfig, Setting};
use tally_tables::{AsOf, PinnedTables, TableSet};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use crate::answer::{AbortOnDrop, Answer, Message, Rows, stopped};
use crate::audit_log::{AuditLog, AuditRecord};
use crate::budget_view::{BudgetSource, BudgetView};
use crate::connections::Connections;
use crate::error::{QueryError, from_datafusion};
use crate::guard;
use crate::ledger_view::LedgerView;
use crate::limits::{Limits, too_many_queries};
use crate::metrics::QueryMetrics;
use crate::pin::error_of;
use crate::scanned_rows::{Scanned, ScannedRows};
use crate::session::{SessionParts, Sessions};
use crate::sight::Sight;
use crate::stop::Stop;
use crate::system_schema::SystemSource;

/// Batches that wait for a slow reader.
const BATCHES_AHEAD: usize = 2;

/// Stack of a query thread: plans are trees, and deep ones are walked by recursion.
const STACK_BYTES: usize = 8 << 20;

/// What an engine works on.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Object store, rooted at the store URL.
    pub store: Arc<dyn ObjectStore>,
    /// The tables of the store.
    pub tables: Arc<TableSet>,
    /// Kafka topic whose ledger schema `system` shows.
    pub topic: String,
    /// Budgets, and where what is used of them is kept.
    pub budgets: BudgetSource,
    /// Limits, threads and addresses.
    pub config: QueryConfig,
    /// Effective settings, for `system.config`.
    pub settings: Vec<Setting>,
}

/// How long the end of a process waits for the audit log.
const AUDIT_PATIENCE: Duration = Duration::from_secs(10);

/// Runs queries. Cheap to share through an `Arc`.
pub struct QueryEngine {
    shared: Arc<Shared>,
    /// `None` where nobody asks but the program itself.
    audit: Option<AuditLog>,
    store: Arc<dyn ObjectStore>,
    ledger: LedgerView,
    references: ReferenceStore,
    budgets: BudgetView,
    connections: Connections,
    /// `None` only while the engine is dropped.
    runtime: Option<Runtime>,
    handle: Handle,
}

impl fmt::Debug for QueryEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryEngine").field("config", &self.shared.config).finish_non_exhaustive()
    }
}

impl Drop for QueryEngine {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not a plain drop: that blocks, and panics inside another runtime.
            runtime.shutdown_background();
        }
    }
}

#[derive(Debug)]
struct Shared {
    tables: Arc<TableSet>,
    sessions: Sessions,
    permits: Arc<Semaphore>,
    config: QueryConfig,
    metrics: QueryMetrics,
    scanned: Arc<ScannedRows>,
}

/// Who asks: what they see, and where it is noted.
#[derive(Debug)]
pub(crate) struct Asked {
    sight: Sight,
    record: AuditRecord,
}

impl Asked {
    /// The program itself, or whoever has the store's credentials.
    fn by_program() -> Self {
        Self { sight: Sight::All, record: AuditRecord::none() }
    }

    /// An error as the one who asked is told it. It is noted, too.
    fn told(&mut self, error: QueryError) -> QueryError {
        self.record.ended(Some(&error));
        if self.sight.is_all() { error } else { error.without_others() }
    }
}

/// Which versions a query reads.
#[derive(Debug)]
pub(crate) enum Versions {
    /// The newest, or those of a point in the past.
    AsOf(Option<AsOf>),
    /// These, for a question of the program's own, and perhaps a table of this crate's own.
    Pinned(Arc<PinnedTables>, Option<Beside>),
}

/// How far a statement is planned that is not run.
#[derive(Debug)]
pub(crate) enum Depth {
    /// To its parameters, and its columns as SQL has them.
    Statement,
    /// To the columns of its answer, exactly: which texts are views and what may be null is decided
    /// by the optimizer. With the values of its parameters, where they are known.
    Answer(Option<ParamValues>),
}

/// A statement that is not run.
#[derive(Debug)]
pub(crate) struct Planned {
    pub(crate) plan: LogicalPlan,
    pub(crate) columns: SchemaRef,
}

/// A table that is only there for one query, in schema `system`.
#[derive(Debug)]
pub(crate) struct Beside {
    pub(crate) name: &'static str,
    pub(crate) table: Arc<dyn TableProvider>,
}

struct Head {
    schema: SchemaRef,
    pin: Arc<PinnedTables>,
}

/// Where an answer goes.
struct Out<'a> {
    head: oneshot::Sender<Head>,
    batches: &'a mpsc::Sender<Message>,
    /// Rows that were handed out.
    rows: &'a AtomicU64,
    stop: &'a Stop,
}

/// How an answer ended that no error ended.
enum Read {
    /// Every row was handed out.
    ToTheEnd,
    /// The reader has gone.
    GivenUp,
}

impl QueryEngine {
    /// Starts the query threads and prepares functions and catalogs.
    ///
    /// # Errors
    /// `Internal` where threads cannot be started or the catalog cannot be set up.
    pub async fn open(options: EngineOptions) -> Result<Self, QueryError> {
        let EngineOptions { store, tables, topic, budgets, config, settings } = options;
        let threads = match usize::try_from(config.threads) {
            Ok(threads) if threads > 0 => threads,
            _ => std::thread::available_parallelism().map_or(2, usize::from),
        };
        let runtime = Builder::new_multi_thread()
            // One more than a query uses: somebody must be free to look at the clock.
            .worker_threads(threads + 1)
            .thread_name("tally-query")
            .thread_stack_size(STACK_BYTES)
            .enable_all()
            .build()
            .map_err(|error| QueryError::Internal(format!("query threads: {error}")))?;
        let ledger = LedgerView::new(Arc::clone(&store), &topic);
        let budgets = BudgetView::new(Arc::clone(&store), &budgets);
        let memory_max_bytes = config.memory_max_bytes;
        let references = ReferenceStore::new(Arc::clone(&store));
        let parts = SessionParts {
            store: Arc::clone(&store),
            source: SystemSource {
                ledger: ledger.clone(),
                settings,
                references: references.clone(),
                budgets: budgets.clone(),
            },
            memory_max_bytes,
            threads,
        };
        let handle = runtime.handle().clone();
        // Held from here on, so that an early return shuts it down without blocking.
        let sessions = handle.spawn(Sessions::new(parts)).await;
        let sessions = match sessions {
            Ok(Ok(sessions)) => sessions,
            Ok(Err(error)) => {
                runtime.shutdown_background();
                return Err(QueryError::Internal(format!("catalog: {error}")));
            }
            Err(error) => {
                runtime.shutdown_background();
                return Err(QueryError::Internal(format!("catalog: {error}")));
            }
        };
        let connections = Connections::new(config.connections_max);
        let permits = usize::try_from(config.concurrency).unwrap_or(1).max(1);
        let permits = Arc::new(Semaphore::new(permits));
        let (metrics, scanned) = (QueryMetrics::new(), Arc::default());
        let shared = Shared { tables, sessions, permits, config, metrics, scanned };
        let shared = Arc::new(shared);
        let audit = None;
        Ok(Self {
            shared,
            audit,
            store,
            ledger,
            references,
            budgets,
            connections,
            runtime: Some(runtime),
            handle,
        })
    }

    /// The same engine, which notes what others ask of it in the store's audit log.
    #[must_use]
    pub fn with_audit_log(mut self) -> Self {
        self.audit = Some(AuditLog::start(Arc::clone(&self.store), &self.handle));
        self
    }

    /// Waits until what was asked so far is in the audit log. `false` where the store does not take
    /// it in time.
    pub async fn finish_audit_log(&self) -> bool {
        match &self.audit {
            Some(audit) => audit.flush(AUDIT_PATIENCE).await,
            None => true,
        }
    }

    pub(crate) fn audit(&self) -> Option<&AuditLog> {
        self.audit.as_ref()
    }

    /// Adds the metrics of queries.
    pub fn register_metrics(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
        self.connections.register(registry);
        if let Some(audit) = &self.audit {
            audit.register(registry);
        }
    }

    /// The limits of the configuration.
    pub fn limits(&self) -> Limits {
        Limits::of(&self.shared.config)
    }

    /// Bytes that all queries together may take.
    pub(crate) fn memory_max_bytes(&self) -> u64 {
        self.shared.config.memory_max_bytes
    }

    /// How many of the `query.concurrency` places are taken: by statements that run, and by those
    /// that were told to stop and have not yet.
    pub fn running(&self) -> usize {
        let places = usize::try_from(self.shared.config.concurrency).unwrap_or(1).max(1);
        places.saturating_sub(self.shared.permits.available_permits())
    }

    /// How far the queries so far are in the tables: what a job of many of them is measured by.
    pub fn scanned(&self) -> Scanned {
        self.shared.scanned.look()
    }

    /// The object store that everything is read from.
    pub fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// The places of connections to the PostgreSQL wire.
    pub(crate) fn connections(&self) -> &Connections {
        &self.connections
    }

    /// The ledgers that schema `system` shows.
    pub fn ledger(&self) -> &LedgerView {
        &self.ledger
    }

    /// The reference data of the store.
    pub(crate) fn references(&self) -> &ReferenceStore {
        &self.references
    }

    /// What the second stage has added up.
    pub fn budgets(&self) -> &BudgetView {
        &self.budgets
    }

    /// Pins one version of every table, as the next query would.
    ///
    /// # Errors
    /// `Retry` while the store is away.
    pub async fn pin(&self, as_of: Option<AsOf>) -> Result<Arc<PinnedTables>, QueryError> {
        self.shared.pin(as_of).await
    }

    /// Runs one statement of somebody, who sees what is theirs. Returns when the first row can be
    /// read.
    ///
    /// # Errors
    /// `Denied` where they may not run statements; otherwise as [`Self::run`].
    pub async fn run_as(
        &self,
        caller: &Caller,
        sql: &str,
        as_of: Option<AsOf>,
        limits: Limits,
    ) -> Result<Answer, QueryError> {
        let mut asked = self.asked(caller, sql, None).await?;
        match guard::parse(sql) {
            Ok(statement) => {
                self.run_statement(statement, None, Versions::AsOf(as_of), limits, asked).await
            }
            Err(error) => Err(asked.told(error)),
        }
    }

    /// Notes that somebody asks.
    ///
    /// # Errors
    /// `Denied` where they may not.
    pub(crate) async fn asked(
        &self,
        caller: &Caller,
        sql: &str,
        parameters: Option<&str>,
    ) -> Result<Asked, QueryError> {
        let record = match &self.audit {
            Some(audit) => audit.statement(caller, sql, parameters).await,
            None => AuditRecord::none(),
        };
        match Sight::of(caller) {
            Some(sight) => Ok(Asked { sight, record }),
            None => {
                let mut record = record;
                let role = caller.role_name();
                let error = QueryError::Denied(format!("role {role} runs no statements"));
                record.ended(Some(&error));
                Err(error)
            }
        }
    }

    /// Notes that what somebody asked is not run.
    pub(crate) fn refused(&self, mut asked: Asked, error: QueryError) -> QueryError {
        asked.told(error)
    }

    /// Runs one statement. Returns when the first row can be read.
    ///
    /// # Errors
    /// `Invalid` for what the guard or the planner refuses, `Limit` with the setting's name,
    /// `Retry` while the store is away.
    pub async fn run(
        &self,
        sql: &str,
        as_of: Option<AsOf>,
        limits: Limits,
    ) -> Result<Answer, QueryError> {
        let statement = guard::parse(sql)?;
        let asked = Asked::by_program();
        self.run_statement(statement, None, Versions::AsOf(as_of), limits, asked).await
    }

    /// Runs one statement on a pin, so that several see the same tables.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub async fn run_on(
        &self,
        pin: Arc<PinnedTables>,
        sql: &str,
        limits: Limits,
    ) -> Result<Answer, QueryError> {
        self.run_beside(pin, sql, None, limits).await
    }

    /// Runs one statement on a pin, beside a table of this crate's own.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) async fn run_beside(
        &self,
        pin: Arc<PinnedTables>,
        sql: &str,
        beside: Option<Beside>,
        limits: Limits,
    ) -> Result<Answer, QueryError> {
        let statement = guard::parse(sql)?;
        let asked = Asked::by_program();
        self.run_statement(statement, None, Versions::Pinned(pin, beside), limits, asked).await
    }

    /// Runs a statement that the guard has passed, with the values of its parameters.
    pub(crate) async fn run_statement(
        &self,
        statement: Statement,
        parameters: Option<ParamValues>,
        versions: Versions,
        limits: Limits,
        mut asked: Asked,
    ) -> Result<Answer, QueryError> {
        let deadline = Instant::now() + limits.timeout;
        asked.record.due(deadline);
        let permit = match guard::check(&statement) {
            Ok(()) => self.permit(deadline).await,
            Err(error) => Err(error),
        };
        let permit = permit.map_err(|error| asked.told(error))?;
        let (head_in, head_out) = oneshot::channel();
        let (batches_in, batches) = mpsc::channel(BATCHES_AHEAD);
        let shared = Arc::clone(&self.shared);
        let stop = Stop::at(deadline);
        let watch = stop.clone();
        let task = self.handle.spawn(async move {
            let _permit = permit;
            let mut measured = shared.metrics.begin();
            let (sight, rows) = (asked.sight.clone(), asked.record.rows());
            let out = Out { head: head_in, batches: &batches_in, rows: &rows, stop: &watch };
            let work = shared.answer(statement, parameters, versions, limits, &sight, out);
            let end = match timeout_at(deadline, work).await {
                // A join that was told so says that it was stopped, and not why.
                Ok(Err(_)) | Err(_) if Instant::now() >= deadline => {
                    Err(limits.timed_out("running"))
                }
                Err(_) => Err(limits.timed_out("running")),
                Ok(end) => end,
            };
            let failure = end.as_ref().err().map(QueryError::kind);
            let end = match end {
                Ok(Read::ToTheEnd) => {
                    asked.record.ended(None);
                    Ok(None)
                }
                Ok(Read::GivenUp) => Ok(None),
                Err(error) => Err(asked.told(error)),
            };
            // Before the reader knows the end: who has the answer finds it in the audit log.
            drop(asked);
            // Nobody listens where the reader has gone: that is what stopped the query.
            if batches_in.send(end).await.is_ok() {
                measured.ended(failure);
            }
        });
        let task = AbortOnDrop { task: task.abort_handle(), stop };
        let head = match timeout_at(deadline, head_out).await {
            Err(_) => return Err(limits.timed_out("planning")),
            Ok(Ok(head)) => head,
            Ok(Err(_)) => return Err(first_error(batches).await),
        };
        Ok(Answer {
            schema: head.schema,
            pin: head.pin,
            rows: Rows {
                batches,
                deadline: Box::pin(sleep_until(deadline)),
                limits,
                task,
                ended: false,
            },
        })
    }

    /// Plans a statement, to learn its parameters and columns. That is only noted where it fails:
    /// otherwise the statement is noted when it runs.
    pub(crate) async fn plan(
        &self,
        statement: Statement,
        depth: Depth,
        limits: Limits,
        mut asked: Asked,
    ) -> Result<Planned, QueryError> {
        let sight = asked.sight.clone();
        match self.planned(statement, depth, limits, sight).await {
            Ok(planned) => {
                asked.record.forget(self.audit.as_ref());
                Ok(planned)
            }
            Err(error) => Err(asked.told(error)),
        }
    }

    async fn planned(
        &self,
        statement: Statement,
        depth: Depth,
        limits: Limits,
        sight: Sight,
    ) -> Result<Planned, QueryError> {
        guard::check(&statement)?;
        let deadline = Instant::now() + limits.timeout;
        let permit = self.permit(deadline).await?;
        let shared = Arc::clone(&self.shared);
        let task = self.handle.spawn(async move {
            let _permit = permit;
            let pin = shared.pin(None).await?;
            let state =
                shared.sessions.session(&pin, None, &sight).await.map_err(|e| shared.error(&e))?;
            let plan = state.statement_to_plan(statement).await.map_err(|e| shared.error(&e))?;
            read_only(&plan)?;
            let columns = match depth {
                Depth::Statement => Arc::clone(plan.schema().inner()),
                Depth::Answer(values) => {
                    columns_of(&state, &plan, values).await.map_err(|e| shared.error(&e))?
                }
            };
            Ok(Planned { plan, columns })
        });
        let _abort = AbortOnDrop { task: task.abort_handle(), stop: Stop::at(deadline) };
        match timeout_at(deadline, task).await {
            Err(_) => Err(limits.timed_out("planning")),
            Ok(Err(_)) => Err(stopped()),
            Ok(Ok(planned)) => planned,
        }
    }

    /// Runs a future on the query threads.
    pub(crate) fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        self.handle.spawn(future)
    }

    async fn permit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, QueryError> {
        let permits = Arc::clone(&self.shared.permits);
        match timeout_at(deadline, permits.acquire_owned()).await {
            Ok(Ok(permit)) => Ok(permit),
            Ok(Err(_)) => Err(stopped()),
            Err(_) => Err(too_many_queries(self.shared.config.concurrency)),
        }
    }
}

/// The error that ended a query before it had a first row.
async fn first_error(mut batches: mpsc::Receiver<Message>) -> QueryError {
    match batches.recv().await {
        Some(Err(error)) => error,
        _ => stopped(),
    }
}

/// The columns of a statement's answer. With parameters that are not known it cannot be planned to
/// the end, but for what the optimizer makes of it.
async fn columns_of(
    state: &SessionState,
    plan: &LogicalPlan,
    values: Option<ParamValues>,
) -> Result<SchemaRef, DataFusionError> {
    let plan = match values {
        Some(values) => plan.clone().replace_params_with_values(&values)?,
        None if plan.get_parameter_names()?.is_empty() => plan.clone(),
        None => return Ok(Arc::clone(state.optimize(plan)?.schema().inner())),
    };
    Ok(state.create_physical_plan(&plan).await?.schema())
}

fn read_only(plan: &LogicalPlan) -> Result<(), QueryError> {
    SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false)
        .verify_plan(plan)
        .map_err(|error| QueryError::Invalid(error.strip_backtrace()))
}

impl Shared {
    fn error(&self, error: &DataFusionError) -> QueryError {
        from_datafusion(error, self.config.memory_max_bytes)
    }

    async fn pin(&self, as_of: Option<AsOf>) -> Result<Arc<PinnedTables>, QueryError> {
        self.tables.pin(as_of).await.map(Arc::new).map_err(|error| error_of(&error))
    }

    async fn answer(
        &self,
        statement: Statement,
        parameters: Option<ParamValues>,
        versions: Versions,
        limits: Limits,
        sight: &Sight,
        out: Out<'_>,
    ) -> Result<Read, QueryError> {
        let (pin, as_of, of_program) = match versions {
            Versions::AsOf(as_of) => (self.pin(as_of).await?, as_of, None),
            Versions::Pinned(pin, beside) => (pin, None, Some(beside)),
        };
        let session = self.sessions.session(&pin, as_of, sight).await;
        let mut state = session.map_err(|e| self.error(&e))?;
        if let Some(beside) = of_program {
            let of_program = self.sessions.for_program(&state, &pin, beside);
            state = of_program.map_err(|e| self.error(&e))?;
        }
        let plan = state.statement_to_plan(statement).await.map_err(|e| self.error(&e))?;
        read_only(&plan)?;
        let plan = match parameters {
            Some(values) => plan.replace_params_with_values(&values).map_err(|e| self.error(&e))?,
            None => plan,
        };
        let plan = state.create_physical_plan(&plan).await.map_err(|e| self.error(&e))?;
        let plan = out.stop.watch(plan).map_err(|e| self.error(&e))?;
        let schema = plan.schema();
        let _scan = self.scanned.begin(&plan);
        let mut rows = execute_stream(plan, state.task_ctx()).map_err(|e| self.error(&e))?;
        if out.head.send(Head { schema, pin }).is_err() {
            return Ok(Read::GivenUp);
        }
        let mut row_count = 0_u64;
        while let Some(batch) = rows.next().await {
            let batch = batch.map_err(|e| self.error(&e))?;
            if batch.num_rows() == 0 {
                continue;
            }
            row_count += u64::try_from(batch.num_rows()).unwrap_or(u64::MAX);
            if row_count > limits.rows_max {
                return Err(limits.too_many_rows());
            }
            out.rows.store(row_count, Ordering::Relaxed);
            if out.batches.send(Ok(Some(batch))).await.is_err() {
                return Ok(Read::GivenUp);
            }
        }
        Ok(Read::ToTheEnd)
    }
}

//! The engine's state: functions, rules and options once, a catalog for each pin.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int64Type, SchemaRef};
use datafusion::catalog::{
    CatalogProvider, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::common::config::Dialect;
use datafusion::datasource::empty::EmptyTable;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::memory_pool::{GreedyMemoryPool, TrackConsumersPool};
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};
use datafusion_postgres::datafusion_pg_catalog::pg_catalog::context::EmptyContextProvider;
use datafusion_postgres::datafusion_pg_catalog::setup_pg_catalog;
use object_store::ObjectStore;
use parking_lot::Mutex;
use tally_schemas::{RollUp, Table};
use tally_tables::{AsOf, PinnedTable, PinnedTables};
use tokio::sync::OnceCell;

use crate::alert_window::alert_window_function;
use crate::audit_table::{AUDIT_LOG, AuditTable};
use crate::books_schema::{BooksRows, BooksTable};
use crate::budget_table::{BUDGETS, BudgetRows};
use crate::catalog::{FixedCatalog, FixedSchema};
use crate::checked_arithmetic::CheckedArithmetic;
use crate::checked_sum::checked_sum;
use crate::comments::{Comments, size_functions};
use crate::engine::Beside;
use crate::exhaustion::exhaustion_function;
use crate::filter_pushdown::by_unique_names;
use crate::gathered_table::GatheredTable;
use crate::guard::CATALOG;
use crate::phone_bill::{PhoneBillRows, PhoneBillTable};
use crate::pin::{Versions, versions};
use crate::provider::{PinnedTableProvider, STORE_URL};
use crate::reference_schema::{ReferenceRows, ReferenceTable};
use crate::restricted_table::RestrictedTable;
use crate::rolled_table::{ROLL_UPS, proof_tables, rolled_tables};
use crate::shanghai_calendar::calendar_functions;
use crate::sight::{KINDS, Sight, TableSight};
use crate::stream_time::{STREAM_TIME, StreamTime, WATERMARKS};
use crate::suspense_table::suspense_table;
use crate::system_schema::{COMMENT, SystemRows, SystemSource, SystemTable, without_comments};
use crate::usage_by_epoch::{RollUpSchema, UsageByEpoch};
use crate::views::{Below, View, ViewSchema};

/// Bytes of Parquet footers that are kept, so that a second query opens no file for them.
const FOOTER_CACHE_BYTES: usize = 128 << 20;

/// Spilled bytes may be this many times the memory of all queries.
const SPILL_FACTOR: u64 = 8;

/// Prepared catalogs that are kept: of the current pin one for each sight, the others serve `as_of`.
const CATALOGS_KEPT: usize = 16;

/// How many memory consumers an error of an exhausted pool names.
const CONSUMERS_NAMED: usize = 3;

/// Makes a session for each pin and each sight.
#[derive(Debug)]
pub(crate) struct Sessions {
    runtime: Arc<RuntimeEnv>,
    threads: usize,
    store: Arc<dyn ObjectStore>,
    /// One for each kind of sight, made when it is first needed.
    bases: [OnceCell<Base>; KINDS],
    source: Arc<SystemSource>,
    /// Prepared catalogs, the most recently used last.
    kept: Mutex<Vec<(Catalog, SessionState)>>,
    /// Prepared tables, kept beyond their pin: most tables do not change between two pins.
    tables: Mutex<BTreeMap<Table, Prepared>>,
}

/// A version of a table.
#[derive(Debug, Clone)]
struct Prepared {
    rows: Arc<PinnedTableProvider>,
    /// The same summed up, by name.
    rolled: Vec<(&'static str, Arc<dyn TableProvider>)>,
}

/// What identifies a prepared catalog.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Catalog {
    versions: Versions,
    /// Which old version was asked for; `None` is now.
    as_of: Option<AsOf>,
    sight: Sight,
}

impl Catalog {
    /// The time at which books and reference data are read; `None` is now. A version is of a table,
    /// and says nothing of when.
    fn known_at_ms(&self) -> Option<i64> {
        match self.as_of {
            Some(AsOf::TimestampMs(at_ms)) => Some(at_ms),
            Some(AsOf::Version(_)) | None => None,
        }
    }
}

/// Everything of a session but the catalog.
#[derive(Debug)]
struct Base {
    state: SessionState,
    /// Describes what one kind of sight sees.
    pg_catalog: Arc<dyn SchemaProvider>,
}

/// What an engine is made of.
#[derive(Debug)]
pub(crate) struct SessionParts {
    pub(crate) store: Arc<dyn ObjectStore>,
    pub(crate) source: SystemSource,
    pub(crate) memory_max_bytes: u64,
    pub(crate) threads: usize,
}

fn config(threads: usize) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_default_catalog_and_schema(CATALOG, "public")
        .with_create_default_catalog_and_schema(false)
        .with_information_schema(true)
        .with_target_partitions(threads);
    let options = config.options_mut();
    options.sql_parser.dialect = Dialect::PostgreSQL;
    // A literal such as 0.1 is a decimal: money never meets a float by accident.
    options.sql_parser.parse_float_as_decimal = true;
    options.execution.enable_recursive_ctes = false;
    options.execution.enable_ansi_mode = true;
    options.execution.parquet.pushdown_filters = true;
    options.execution.parquet.reorder_filters = true;
    options.execution.parquet.bloom_filter_on_read = true;
    // Views are for the inside: clients know plain strings.
    options.optimizer.expand_views_at_output = true;
    config
}

fn runtime(parts: &SessionParts) -> Result<Arc<RuntimeEnv>> {
    let memory = usize::try_from(parts.memory_max_bytes).unwrap_or(usize::MAX);
    let consumers = std::num::NonZeroUsize::new(CONSUMERS_NAMED)
        .ok_or_else(|| DataFusionError::Internal("no consumers to name".to_owned()))?;
    let runtime = RuntimeEnvBuilder::new()
        // First come, first served: a fair share for each operator that can spill would make a
        // query spill at an eighth of the limit, and take twice as long, with memory to spare.
        .with_memory_pool(Arc::new(TrackConsumersPool::new(
            GreedyMemoryPool::new(memory),
            consumers,
        )))
        .with_metadata_cache_limit(FOOTER_CACHE_BYTES)
        .with_max_temp_directory_size(parts.memory_max_bytes.saturating_mul(SPILL_FACTOR))
        .build_arc()?;
    let url =
        url::Url::parse(STORE_URL).map_err(|error| DataFusionError::Internal(error.to_string()))?;
    runtime.register_object_store(&url, Arc::clone(&parts.store));
    Ok(runtime)
}

/// A context with the shapes that `sight` sees and no rows: what `pg_catalog` describes.
fn shape_context(
    config: SessionConfig,
    runtime: Arc<RuntimeEnv>,
    sight: &Sight,
) -> Result<SessionContext> {
    let state = SessionStateBuilder::new()
        .with_config(config)
        .with_runtime_env(runtime)
        .with_default_features()
        .build();
    let context = SessionContext::new_with_state(state);
    let catalog = MemoryCatalogProvider::new();
    let mut schemas: BTreeMap<&str, MemorySchemaProvider> = BTreeMap::new();
    for (schema, name, shape) in sight.shapes() {
        let view = View::all().find(|view| (view.schema, view.name) == (schema, name));
        let table: Arc<dyn TableProvider> = match view {
            Some(view) => Arc::new(view.empty()?),
            None => Arc::new(EmptyTable::new(without_comments(&shape))),
        };
        schemas.entry(schema).or_default().register_table(name.to_owned(), table)?;
    }
    for (schema, tables) in schemas {
        catalog.register_schema(schema, Arc::new(tables))?;
    }
    context.register_catalog(CATALOG, Arc::new(catalog));
    Ok(context)
}

impl Sessions {
    /// Sets up functions, rules, options and `pg_catalog`. Runs a few small queries.
    pub(crate) async fn new(parts: SessionParts) -> Result<Self> {
        let sessions = Self {
            runtime: runtime(&parts)?,
            threads: parts.threads,
            store: parts.store,
            bases: std::array::from_fn(|_| OnceCell::new()),
            source: Arc::new(parts.source),
            kept: Mutex::new(Vec::new()),
            tables: Mutex::new(BTreeMap::new()),
        };
        // What is wrong with the set-up is said at the start.
        sessions.base(&Sight::All).await?;
        Ok(sessions)
    }

    async fn base(&self, sight: &Sight) -> Result<&Base> {
        let Some(cell) = self.bases.get(sight.kind()) else {
            return Err(DataFusionError::Internal("no such kind of sight".to_owned()));
        };
        cell.get_or_try_init(|| self.make_base(sight)).await
    }

    async fn make_base(&self, sight: &Sight) -> Result<Base> {
        let context = shape_context(config(self.threads), Arc::clone(&self.runtime), sight)?;
        setup_pg_catalog(&context, CATALOG, EmptyContextProvider).map_err(|error| *error)?;
        let pg_catalog = context
            .catalog(CATALOG)
            .and_then(|catalog| catalog.schema("pg_catalog"))
            .ok_or_else(|| DataFusionError::Internal("pg_catalog is missing".to_owned()))?;
        let comments = comments_of(&context, sight).await?;
        let of_quota = [exhaustion_function(), alert_window_function()];
        let own = calendar_functions().into_iter().chain(of_quota);
        for function in comments.functions().into_iter().chain(size_functions()).chain(own) {
            context.register_udf(function);
        }
        context.register_udaf(checked_sum());
        let state = context.state();
        let rules = by_unique_names(state.physical_optimizers());
        let state = SessionStateBuilder::new_from_existing(state)
            .with_analyzer_rule(Arc::new(CheckedArithmetic::default()))
            .with_physical_optimizer_rules(rules)
            .with_catalog_list(Arc::new(FixedCatalog::default()))
            .build();
        Ok(Base { state, pg_catalog })
    }

    /// A session that reads what `sight` sees of exactly this pin, which is what `as_of` asks for,
    /// and of books and reference data what was known at its time, with its clock set to now.
    pub(crate) async fn session(
        &self,
        pin: &Arc<PinnedTables>,
        as_of: Option<AsOf>,
        sight: &Sight,
    ) -> Result<SessionState> {
        let base = self.base(sight).await?;
        let catalog = Catalog { versions: versions(pin), as_of, sight: sight.clone() };
        let found = {
            let mut kept = self.kept.lock();
            let position = kept.iter().position(|(of, _)| *of == catalog);
            position.map(|position| {
                let entry = kept.remove(position);
                let state = entry.1.clone();
                kept.push(entry);
                state
            })
        };
        let mut state = match found {
            Some(state) => state,
            None => {
                let state = self.prepare(base, pin, &catalog)?;
                let mut kept = self.kept.lock();
                if kept.len() >= CATALOGS_KEPT {
                    kept.remove(0);
                }
                kept.push((catalog, state.clone()));
                state
            }
        };
        state.mark_start_execution();
        Ok(state)
    }

    /// A version of a table, prepared now where it is not the last that was.
    fn prepared(&self, pinned: &PinnedTable) -> Result<Prepared> {
        let known = self.tables.lock().get(&pinned.table).cloned();
        let before = match known {
            Some(known) if known.rows.version() == pinned.version => return Ok(known),
            known => known.map(|known| known.rows),
        };
        let rows = PinnedTableProvider::try_new_after(pinned, before.as_deref())?;
        let rows = Arc::new(rows);
        let rolled = rolled_tables(pinned, &rows)?;
        let prepared = Prepared { rows, rolled };
        self.tables.lock().insert(pinned.table, prepared.clone());
        Ok(prepared)
    }

    fn prepare(
        &self,
        base: &Base,
        pin: &Arc<PinnedTables>,
        catalog: &Catalog,
    ) -> Result<SessionState> {
        let sight = &catalog.sight;
        let known_at_ms = catalog.known_at_ms();
        let mut public: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
        let mut rolled: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
        let mut by_epoch = None;
        for pinned in pin.iter() {
            let prepared = self.prepared(pinned)?;
            if pinned.table == Table::UsageEvents {
                let (rows, source) = (Arc::clone(&prepared.rows), Arc::clone(&self.source));
                by_epoch = Some(UsageByEpoch::new(pinned, rows, source, known_at_ms));
            }
            public.insert(pinned.table.name().to_owned(), prepared.rows);
            let named = prepared.rolled.into_iter().map(|(name, table)| (name.to_owned(), table));
            rolled.extend(named);
        }
        let held = public.remove(Table::Suspense.name());
        if let (Some(held), Some(resolutions)) =
            (held, public.get(Table::SuspenseResolutions.name()).cloned())
        {
            let joined = suspense_table(held, resolutions)?;
            public.insert(Table::Suspense.name().to_owned(), joined);
        }
        let mut settlement: BTreeMap<String, Arc<dyn TableProvider>> = BTreeMap::new();
        for table in ReferenceTable::ALL {
            let rows = ReferenceRows::new(table, self.source.references.clone(), known_at_ms);
            let tables = match table.schema_name() {
                "settlement" => &mut settlement,
                _ => &mut public,
            };
            tables.insert(table.name().to_owned(), Arc::new(GatheredTable(rows)));
        }
        let system = SystemTable::ALL.into_iter().map(|table| {
            let rows = SystemRows::new(table, Arc::clone(&self.source), pin.clone());
            (table.name().to_owned(), Arc::new(GatheredTable(rows)) as Arc<dyn TableProvider>)
        });
        let mut system: BTreeMap<String, Arc<dyn TableProvider>> = system.collect();
        system.insert(AUDIT_LOG.to_owned(), Arc::new(AuditTable::new(Arc::clone(&self.store))));
        let budgets = BudgetRows::new(self.source.budgets.clone());
        settlement.insert(BUDGETS.to_owned(), Arc::new(GatheredTable(budgets)));
        for table in BooksTable::ALL {
            let rows = BooksRows::new(table, Arc::clone(&self.source), pin.clone(), known_at_ms);
            settlement.insert(table.name().to_owned(), Arc::new(GatheredTable(rows)));
        }
        for table in PhoneBillTable::ALL {
            let rows = PhoneBillRows::new(table, self.source.ledger.clone());
            settlement.insert(table.name().to_owned(), Arc::new(GatheredTable(rows)));
        }
        let tables = [("public", public), ("system", system), ("settlement", settlement)];
        let past = catalog.as_of.map(|as_of| (as_of, Arc::clone(pin)));
        let time = StreamTime::new(self.source.ledger.clone(), past);
        let time: Arc<dyn TableProvider> = Arc::new(GatheredTable(time));
        let stream = Tables::from([(WATERMARKS.to_owned(), time)]);
        // Only views know what is summed up, and the stream's time.
        let of_views = [(ROLL_UPS, rolled.clone()), (STREAM_TIME, stream)];
        let mut whole = base.schemas(tables.clone().into_iter().chain(of_views));
        if let Some(by_epoch) = by_epoch {
            let tables = FixedSchema { tables: rolled.clone() };
            whole.insert(ROLL_UPS.to_owned(), Arc::new(RollUpSchema { tables, by_epoch }));
        }
        let whole = with_schemas(&base.state, whole);
        let seen: Vec<(&str, Tables)> = tables
            .into_iter()
            .map(|(schema, tables)| Ok((schema, seen_of(sight, schema, tables)?)))
            .collect::<Result<_>>()?;
        let seen = base.schemas(seen.into_iter().filter(|(_, tables)| !tables.is_empty()));
        let mut below_seen = seen.clone();
        below_seen.extend(base.schemas([(ROLL_UPS, rolled_seen(sight, rolled)?)]));
        let below = Below { whole, seen: with_schemas(&base.state, below_seen) };
        let schemas = ViewSchema::over(below, sight, seen);
        Ok(with_schemas(&base.state, schemas))
    }

    /// A session like another for the program's own questions: schema `system` is what proofs read
    /// of this pin, and perhaps a table of this crate's own.
    pub(crate) fn for_program(
        &self,
        state: &SessionState,
        pin: &Arc<PinnedTables>,
        beside: Option<Beside>,
    ) -> Result<SessionState> {
        let mut tables = Tables::new();
        for pinned in pin.iter() {
            let rolled = self.prepared(pinned)?.rolled;
            let proofs = proof_tables(pinned, &rolled)?.into_iter();
            tables.extend(proofs.map(|(name, table)| (name.to_owned(), table)));
        }
        tables.extend(beside.map(|beside| (beside.name.to_owned(), beside.table)));
        let catalog = state.catalog_list().catalog(CATALOG);
        let schemas = catalog.iter().flat_map(|catalog| {
            let names = catalog.schema_names().into_iter();
            names.filter_map(|name| Some((name.clone(), catalog.schema(&name)?)))
        });
        let mut schemas: BTreeMap<String, Arc<dyn SchemaProvider>> = schemas.collect();
        schemas.insert("system".to_owned(), Arc::new(FixedSchema { tables }));
        Ok(with_schemas(state, schemas))
    }
}

type Tables = BTreeMap<String, Arc<dyn TableProvider>>;

impl Base {
    /// Schemas of these tables, and `pg_catalog`.
    fn schemas<'a>(
        &self,
        tables: impl IntoIterator<Item = (&'a str, Tables)>,
    ) -> BTreeMap<String, Arc<dyn SchemaProvider>> {
        let mut schemas: BTreeMap<String, Arc<dyn SchemaProvider>> =
            [("pg_catalog".to_owned(), Arc::clone(&self.pg_catalog))].into();
        for (schema, tables) in tables {
            schemas.insert(schema.to_owned(), Arc::new(FixedSchema { tables }));
        }
        schemas
    }
}

/// What a sight sees of the tables of a schema.
fn seen_of(sight: &Sight, schema: &str, tables: Tables) -> Result<Tables> {
    let mut seen = Tables::new();
    for (name, table) in tables {
        let table: Arc<dyn TableProvider> = match sight.table(schema, &name) {
            // Only a view can be put over something.
            TableSight::Hidden | TableSight::OverSeen => continue,
            TableSight::Whole => table,
            TableSight::Part(part) => Arc::new(RestrictedTable::try_new(table, &part)?),
        };
        seen.insert(name, table);
    }
    Ok(seen)
}

/// What views over what a sight sees may read of the tables that are summed up.
fn rolled_seen(sight: &Sight, tables: Tables) -> Result<Tables> {
    let mut seen = Tables::new();
    for roll_up in RollUp::ALL {
        let Some(table) = tables.get(roll_up.name()).cloned() else { continue };
        let table: Arc<dyn TableProvider> = match sight.roll_up(roll_up) {
            TableSight::Hidden | TableSight::OverSeen => continue,
            TableSight::Whole => table,
            TableSight::Part(part) => Arc::new(RestrictedTable::try_new(table, &part)?),
        };
        seen.insert(roll_up.name().to_owned(), table);
    }
    Ok(seen)
}

/// A state over these schemas.
fn with_schemas(
    state: &SessionState,
    schemas: BTreeMap<String, Arc<dyn SchemaProvider>>,
) -> SessionState {
    let catalog = FixedCatalog { schemas: Arc::new(schemas) };
    SessionStateBuilder::new_from_existing(state.clone())
        .with_catalog_list(Arc::new(catalog))
        .build()
}

/// The comments of every table and column that is seen, under the object ids that `pg_class` gives
/// out. The ids stay the same for the life of the schema provider.
async fn comments_of(context: &SessionContext, sight: &Sight) -> Result<Comments> {
    let shapes: BTreeMap<(String, String), SchemaRef> = sight
        .shapes()
        .into_iter()
        .map(|(schema, table, shape)| ((schema.to_owned(), table.to_owned()), shape))
        .collect();
    let batches = context
        .sql(
            "SELECT CAST(c.oid AS BIGINT) AS oid, CAST(n.nspname AS VARCHAR) AS schema, \
             CAST(c.relname AS VARCHAR) AS name \
             FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace",
        )
        .await?
        .collect()
        .await?;
    let mut comments = Comments::default();
    for batch in &batches {
        let oids = batch.column(0).as_primitive::<Int64Type>();
        let text = |column: usize| {
            arrow::compute::cast(batch.column(column), &arrow::datatypes::DataType::Utf8)
        };
        let (schemas, names) = (text(1)?, text(2)?);
        for row in 0..batch.num_rows() {
            let key = (
                schemas.as_string::<i32>().value(row).to_owned(),
                names.as_string::<i32>().value(row).to_owned(),
            );
            let Some(shape) = shapes.get(&key) else { continue };
            if let Some(comment) = shape.metadata().get(COMMENT) {
                comments.insert(oids.value(row), 0, comment.clone());
            }
            for (number, field) in (1..).zip(shape.fields()) {
                if let Some(comment) = field.metadata().get(COMMENT) {
                    comments.insert(oids.value(row), number, comment.clone());
                }
            }
            let view = View::all().find(|view| view.schema == key.0 && view.name == key.1);
            if let Some(view) = view {
                comments.insert_definition(oids.value(row), view.sql);
            }
        }
    }
    Ok(comments)
}

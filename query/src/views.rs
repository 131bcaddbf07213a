//! Views for people: what finance, operations and product managers ask, under names that say what
//! is answered. A view only sums amounts that are stored with events and ledger rows; it never
//! multiplies a price, and never adds two currencies.

mod completeness;
mod held_back;
mod margin;
mod month_end;
mod payable;
mod quota;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::datatypes::{Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::DFSchema;
use datafusion::datasource::{TableType, ViewTable};
use datafusion::error::Result;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::{EmptyRelation, LogicalPlan};
use tally_schemas::{Column, ColumnType};

use crate::system_schema::{COMMENT, without_comments};

/// A view: a named query over the tables, with a comment on it and on each of its columns.
#[derive(Debug)]
pub struct View {
    /// Schema in SQL.
    pub schema: &'static str,
    /// Name in SQL.
    pub name: &'static str,
    /// What a SQL client shows.
    pub comment: &'static str,
    /// Its columns, in the order of the query's.
    pub columns: &'static [Column],
    /// The query.
    pub sql: &'static str,
}

/// A column that may be null.
const fn maybe(name: &'static str, column_type: ColumnType, comment: &'static str) -> Column {
    Column { name, column_type, nullable: true, comment }
}

/// A column that is never null.
const fn always(name: &'static str, column_type: ColumnType, comment: &'static str) -> Column {
    Column { name, column_type, nullable: false, comment }
}

impl View {
    /// Every view.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        let settlement = margin::VIEWS
            .iter()
            .chain(payable::VIEWS)
            .chain(month_end::VIEWS)
            .chain(held_back::VIEWS);
        quota::VIEWS.iter().chain(settlement).chain(completeness::VIEWS)
    }

    /// The Arrow schema, with comments in the metadata.
    pub fn arrow_schema(&self) -> SchemaRef {
        let fields: Vec<Field> = self
            .columns
            .iter()
            .map(|column| {
                Field::new(column.name, column.column_type.arrow(), column.nullable)
                    .with_metadata([(COMMENT.to_owned(), column.comment.to_owned())].into())
            })
            .collect();
        Arc::new(Schema::new_with_metadata(
            fields,
            [(COMMENT.to_owned(), self.comment.to_owned())].into(),
        ))
    }

    /// A view of the same shape without rows: what `pg_catalog` describes.
    pub(crate) fn empty(&self) -> Result<ViewTable> {
        let schema = Arc::new(DFSchema::try_from(without_comments(&self.arrow_schema()))?);
        let plan = LogicalPlan::EmptyRelation(EmptyRelation { produce_one_row: false, schema });
        Ok(ViewTable::new(plan, Some(self.sql.to_owned())))
    }
}

/// Views over the tables of one pin, planned when they are used; and the tables of the same schema.
#[derive(Debug)]
pub(crate) struct ViewSchema {
    schema: &'static str,
    /// Knows the tables, and no view: a view is a query over tables.
    state: Arc<SessionState>,
    tables: Option<Arc<dyn SchemaProvider>>,
}

impl ViewSchema {
    /// Puts the views over the schemas of a catalog. `state` must know these.
    pub(crate) fn over(
        state: SessionState,
        mut schemas: BTreeMap<String, Arc<dyn SchemaProvider>>,
    ) -> BTreeMap<String, Arc<dyn SchemaProvider>> {
        let state = Arc::new(state);
        let names: BTreeSet<&'static str> = View::all().map(|view| view.schema).collect();
        for schema in names {
            let tables = schemas.remove(schema);
            let with_views = Self { schema, state: Arc::clone(&state), tables };
            schemas.insert(schema.to_owned(), Arc::new(with_views));
        }
        schemas
    }

    fn view(&self, name: &str) -> Option<&'static View> {
        View::all().find(|view| view.schema == self.schema && view.name == name)
    }
}

#[async_trait]
impl SchemaProvider for ViewSchema {
    fn table_names(&self) -> Vec<String> {
        let tables = self.tables.iter().flat_map(|tables| tables.table_names());
        let views = View::all().filter(|view| view.schema == self.schema);
        tables.chain(views.map(|view| view.name.to_owned())).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(view) = self.view(name) else {
            return match &self.tables {
                Some(tables) => tables.table(name).await,
                None => Ok(None),
            };
        };
        let plan = self.state.create_logical_plan(view.sql).await?;
        Ok(Some(Arc::new(ViewTable::new(plan, Some(view.sql.to_owned())))))
    }

    async fn table_type(&self, name: &str) -> Result<Option<TableType>> {
        match (self.view(name), &self.tables) {
            (Some(_), _) => Ok(Some(TableType::View)),
            (None, Some(tables)) => tables.table_type(name).await,
            (None, None) => Ok(None),
        }
    }

    fn table_exist(&self, name: &str) -> bool {
        self.view(name).is_some()
            || self.tables.as_ref().is_some_and(|tables| tables.table_exist(name))
    }
}

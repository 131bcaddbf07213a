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

use crate::sight::{Sight, TableSight};
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

/// What views are planned over. Neither knows a view: a view is a query over tables.
#[derive(Debug)]
pub(crate) struct Below {
    /// Knows every table: who may see a view whole need not see the tables behind it.
    pub(crate) whole: SessionState,
    /// Knows what is seen of the tables.
    pub(crate) seen: SessionState,
}

/// Views over the tables of one pin, planned when they are used; and the tables of the same schema.
#[derive(Debug)]
pub(crate) struct ViewSchema {
    schema: &'static str,
    /// Who asks: views that they do not see are not there.
    sight: Sight,
    below: Arc<Below>,
    tables: Option<Arc<dyn SchemaProvider>>,
}

impl ViewSchema {
    /// Puts the views that `sight` sees over the schemas of a catalog.
    pub(crate) fn over(
        below: Below,
        sight: &Sight,
        mut schemas: BTreeMap<String, Arc<dyn SchemaProvider>>,
    ) -> BTreeMap<String, Arc<dyn SchemaProvider>> {
        let below = Arc::new(below);
        let names: BTreeSet<&'static str> = View::all()
            .filter(|view| sight.sees(view.schema, view.name))
            .map(|view| view.schema)
            .collect();
        for schema in names {
            let tables = schemas.remove(schema);
            let below = Arc::clone(&below);
            let with_views = Self { schema, sight: sight.clone(), below, tables };
            schemas.insert(schema.to_owned(), Arc::new(with_views));
        }
        schemas
    }

    fn views(&self) -> impl Iterator<Item = &'static View> {
        View::all()
            .filter(|view| view.schema == self.schema && self.sight.sees(view.schema, view.name))
    }

    fn view(&self, name: &str) -> Option<&'static View> {
        self.views().find(|view| view.name == name)
    }
}

#[async_trait]
impl SchemaProvider for ViewSchema {
    fn table_names(&self) -> Vec<String> {
        let tables = self.tables.iter().flat_map(|tables| tables.table_names());
        tables.chain(self.views().map(|view| view.name.to_owned())).collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        let Some(view) = self.view(name) else {
            return match &self.tables {
                Some(tables) => tables.table(name).await,
                None => Ok(None),
            };
        };
        let state = match self.sight.table(view.schema, view.name) {
            TableSight::Whole => &self.below.whole,
            // Rows of a view cannot be told apart below it.
            TableSight::Hidden | TableSight::Part(_) => return Ok(None),
            TableSight::OverSeen => &self.below.seen,
        };
        let plan = state.create_logical_plan(view.sql).await?;
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

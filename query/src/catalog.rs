//! The catalog of one query: schema `public` with pinned tables, `settlement`, `system`, and
//! `pg_catalog`.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, CatalogProviderList, SchemaProvider, TableProvider};
use datafusion::error::Result;

use crate::guard::CATALOG;

/// A schema whose tables never change.
#[derive(Debug, Default)]
pub(crate) struct FixedSchema {
    pub(crate) tables: BTreeMap<String, Arc<dyn TableProvider>>,
}

#[async_trait]
impl SchemaProvider for FixedSchema {
    fn table_names(&self) -> Vec<String> {
        self.tables.keys().cloned().collect()
    }

    async fn table(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        Ok(self.tables.get(name).cloned())
    }

    fn table_exist(&self, name: &str) -> bool {
        self.tables.contains_key(name)
    }
}

/// The only catalog of a query, and the list of catalogs that holds it.
#[derive(Debug, Clone, Default)]
pub(crate) struct FixedCatalog {
    pub(crate) schemas: Arc<BTreeMap<String, Arc<dyn SchemaProvider>>>,
}

impl CatalogProvider for FixedCatalog {
    fn schema_names(&self) -> Vec<String> {
        self.schemas.keys().cloned().collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        self.schemas.get(name).cloned()
    }
}

impl CatalogProviderList for FixedCatalog {
    /// Nothing can be registered: the catalog stays as it was made.
    fn register_catalog(
        &self,
        _: String,
        _: Arc<dyn CatalogProvider>,
    ) -> Option<Arc<dyn CatalogProvider>> {
        None
    }

    fn catalog_names(&self) -> Vec<String> {
        vec![CATALOG.to_owned()]
    }

    fn catalog(&self, name: &str) -> Option<Arc<dyn CatalogProvider>> {
        (name == CATALOG).then(|| Arc::new(self.clone()) as Arc<dyn CatalogProvider>)
    }
}

//! A table's Delta metadata: schema with comments, partitioning, properties; and how it follows
//! the columns of this build.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use serde::{Deserialize, Serialize};
use tally_schemas::{Column, Table};

use crate::action::{Format, Metadata};
use crate::error::TablesError;

/// How long a table keeps removed files and superseded log entries, unless the janitor is told
/// otherwise: a day.
const RETENTION_DEFAULT_MS: u64 = 24 * 3_600_000;

const LOG_RETENTION: &str = "delta.logRetentionDuration";
const FILE_RETENTION: &str = "delta.deletedFileRetentionDuration";
const CHECKPOINT_INTERVAL: &str = "delta.checkpointInterval";

/// Delta's JSON form of a schema.
#[derive(Debug, Serialize, Deserialize)]
struct SchemaJson {
    #[serde(rename = "type")]
    kind: String,
    fields: Vec<FieldJson>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FieldJson {
    name: String,
    #[serde(rename = "type")]
    data_type: serde_json::Value,
    nullable: bool,
    #[serde(default)]
    metadata: serde_json::Map<String, serde_json::Value>,
}

impl FieldJson {
    fn of(column: &Column) -> Self {
        Self {
            name: column.name.to_owned(),
            data_type: column.column_type.delta().into(),
            nullable: column.nullable,
            metadata: std::iter::once(("comment".to_owned(), column.comment.into())).collect(),
        }
    }

    fn arrow(&self) -> Result<Field, TablesError> {
        let name = self.data_type.as_str().unwrap_or("nested");
        let data_type = match name {
            "string" => DataType::Utf8,
            "long" => DataType::Int64,
            "integer" => DataType::Int32,
            "boolean" => DataType::Boolean,
            "date" => DataType::Date32,
            "timestamp" => DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())),
            _ => decimal_of(name).ok_or_else(|| {
                TablesError::Invalid(format!("column {} has the unknown type {name}", self.name))
            })?,
        };
        let comment = self.metadata.get("comment").and_then(|comment| comment.as_str());
        let metadata = comment.map(|text| ("comment".to_owned(), text.to_owned()));
        Ok(Field::new(&self.name, data_type, self.nullable)
            .with_metadata(metadata.into_iter().collect()))
    }
}

/// The Arrow type of `decimal(38,12)`.
fn decimal_of(name: &str) -> Option<DataType> {
    let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    Some(DataType::Decimal128(precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}

fn interval(ms: u64) -> String {
    format!("interval {} seconds", ms.div_ceil(1000))
}

impl Metadata {
    /// Metadata of a new table.
    pub(crate) fn new(table: Table, id: String, now_ms: i64) -> Result<Self, TablesError> {
        let fields = table.columns().iter().map(FieldJson::of).collect();
        let configuration = [
            (LOG_RETENTION, interval(RETENTION_DEFAULT_MS)),
            (FILE_RETENTION, interval(RETENTION_DEFAULT_MS)),
            (CHECKPOINT_INTERVAL, "100".to_owned()),
        ];
        Ok(Self {
            id,
            name: Some(table.name().to_owned()),
            description: Some(table.comment().to_owned()),
            format: Format { provider: "parquet".to_owned(), options: BTreeMap::new() },
            schema_string: schema_string(fields)?,
            partition_columns: table.partition_columns().iter().map(|&c| c.to_owned()).collect(),
            configuration: configuration.map(|(key, value)| (key.to_owned(), value)).into(),
            created_time: Some(now_ms),
        })
    }

    /// The Arrow schema, comments in each field's metadata under `comment`, the table's under the
    /// same key of the schema's.
    pub(crate) fn arrow_schema(&self) -> Result<SchemaRef, TablesError> {
        let fields = self.fields()?.iter().map(FieldJson::arrow).collect::<Result<Vec<_>, _>>()?;
        let comment = self.description.clone().map(|text| ("comment".to_owned(), text));
        Ok(Arc::new(Schema::new_with_metadata(fields, comment.into_iter().collect())))
    }

    fn fields(&self) -> Result<Vec<FieldJson>, TablesError> {
        serde_json::from_str::<SchemaJson>(&self.schema_string)
            .map(|schema| schema.fields)
            .map_err(|e| TablesError::Damaged(format!("schema: {e}")))
    }

    /// The columns as this build reads them, in its own order: those that the stored schema lacks
    /// are null in every row, and those that only the stored schema has come last. So a store that
    /// an older build has written can be queried at once, and in any of its versions (R26).
    ///
    /// # Errors
    /// As [`Self::arrow_schema`].
    pub(crate) fn schema_for(&self, table: Table) -> Result<SchemaRef, TablesError> {
        let stored = self.arrow_schema()?;
        let built = table.arrow_schema();
        let own = built.fields().iter().map(|field| match stored.field_with_name(field.name()) {
            Ok(known) => known.clone(),
            Err(_) => field.as_ref().clone().with_nullable(true),
        });
        let others =
            stored.fields().iter().filter(|field| built.field_with_name(field.name()).is_err());
        let fields: Vec<Field> = own.chain(others.map(|field| field.as_ref().clone())).collect();
        Ok(Arc::new(Schema::new_with_metadata(fields, stored.metadata().clone())))
    }

    /// The metadata that a commit of this build has to write first: `None` where the stored one
    /// has every column of the build. Columns that are new in this build are appended, nullable;
    /// columns that a later build has added, or this build has given up, stay, and are nullable
    /// from now on, as is what may be null in this build's rows (R25, R26).
    ///
    /// # Errors
    /// `Invalid` where a column has another type than in this build: readers of Delta tables at
    /// this protocol version know no change of a column's type.
    pub(crate) fn with_columns_of(&self, table: Table) -> Result<Option<Self>, TablesError> {
        let mut fields = self.fields()?;
        let columns = table.columns();
        let mut changed = false;
        for field in fields.iter_mut().filter(|field| !field.nullable) {
            let own = columns.iter().find(|column| column.name == field.name);
            field.nullable = own.is_none_or(|column| column.nullable);
            changed |= field.nullable;
        }
        for column in columns {
            match fields.iter().find(|field| field.name == column.name) {
                None => {
                    fields.push(FieldJson { nullable: true, ..FieldJson::of(&column) });
                    changed = true;
                }
                Some(field) if field.data_type == column.column_type.delta() => {}
                Some(field) => {
                    return Err(TablesError::Invalid(format!(
                        "column {}.{} is stored as {}, this build has {}",
                        table.name(),
                        column.name,
                        field.data_type,
                        column.column_type.delta()
                    )));
                }
            }
        }
        if !changed {
            return Ok(None);
        }
        Ok(Some(Self { schema_string: schema_string(fields)?, ..self.clone() }))
    }

    /// The metadata with the janitor's settings as properties, `None` where it has them.
    pub(crate) fn with_settings(&self, retention_ms: u64, commits: u64) -> Option<Self> {
        let mut changed = self.clone();
        let configuration = &mut changed.configuration;
        configuration.insert(LOG_RETENTION.to_owned(), interval(retention_ms));
        configuration.insert(FILE_RETENTION.to_owned(), interval(retention_ms));
        configuration.insert(CHECKPOINT_INTERVAL.to_owned(), commits.max(1).to_string());
        Some(changed).filter(|changed| changed != self)
    }
}

fn schema_string(fields: Vec<FieldJson>) -> Result<String, TablesError> {
    serde_json::to_string(&SchemaJson { kind: "struct".to_owned(), fields })
        .map_err(|e| TablesError::Internal(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stored_schema_is_the_declared_one_comments_included() {
        for table in Table::ALL {
            let metadata = Metadata::new(table, "id".to_owned(), 0).unwrap();
            assert_eq!(metadata.arrow_schema().unwrap(), table.arrow_schema());
            assert_eq!(metadata.with_columns_of(table).unwrap(), None);
        }
    }

    #[test]
    fn a_column_that_is_new_in_this_build_is_appended_nullable() {
        let whole = Metadata::new(Table::Suspense, "id".to_owned(), 0).unwrap();
        let mut fields = whole.fields().unwrap();
        let removed = fields.remove(0);
        let old = Metadata { schema_string: schema_string(fields).unwrap(), ..whole };
        let new = old.with_columns_of(Table::Suspense).unwrap().unwrap();
        let schema = new.arrow_schema().unwrap();
        let last = schema.fields().last().unwrap();
        assert_eq!((last.name().as_str(), last.is_nullable()), (removed.name.as_str(), true));
        assert_eq!(new.with_columns_of(Table::Suspense).unwrap(), None);
    }

    #[test]
    fn a_column_that_this_build_does_not_fill_may_be_null() {
        let whole = Metadata::new(Table::Suspense, "id".to_owned(), 0).unwrap();
        let given_up = r#"{"name":"given_up","type":"long","nullable":false,"metadata":{}}"#;
        let before = whole.schema_string.replace("[{", &format!("[{given_up},{{"));
        // A column that an older build never left empty, and this one does.
        let strict = r#""name":"subreason","type":"string","nullable":false"#;
        let before = before.replace(&strict.replace("false", "true"), strict);
        let old = Metadata { schema_string: before, ..whole };
        let schema = old.arrow_schema().unwrap();
        for name in ["given_up", "subreason"] {
            assert!(!schema.field_with_name(name).unwrap().is_nullable());
        }
        let new = old.with_columns_of(Table::Suspense).unwrap().unwrap();
        let schema = new.arrow_schema().unwrap();
        for name in ["given_up", "subreason"] {
            assert!(schema.field_with_name(name).unwrap().is_nullable(), "{name}");
        }
        assert!(!schema.field_with_name("reason").unwrap().is_nullable());
        assert_eq!(new.with_columns_of(Table::Suspense).unwrap(), None);
    }

    #[test]
    fn an_old_table_is_read_in_the_columns_of_this_build() {
        let table = Table::UsageByModel;
        let whole = Metadata::new(table, "id".to_owned(), 0).unwrap();
        let mut fields = whole.fields().unwrap();
        fields.retain(|field| field.name != "points");
        fields.insert(
            0,
            FieldJson { name: "given_up".to_owned(), ..FieldJson::of(&table.columns()[0]) },
        );
        let old = Metadata { schema_string: schema_string(fields).unwrap(), ..whole };
        let schema = old.schema_for(table).unwrap();
        let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
        let expected = table.columns().into_iter().map(|column| column.name);
        assert_eq!(names, expected.chain(["given_up"]).collect::<Vec<_>>());
        assert!(schema.field_with_name("points").unwrap().is_nullable());
        assert!(!schema.field_with_name("model").unwrap().is_nullable());
    }

    #[test]
    fn a_column_of_another_type_is_refused() {
        let mut metadata = Metadata::new(Table::Suspense, "id".to_owned(), 0).unwrap();
        metadata.schema_string = metadata.schema_string.replace("\"long\"", "\"string\"");
        assert!(metadata.with_columns_of(Table::Suspense).is_err());
    }
}

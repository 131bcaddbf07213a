//! Comments for SQL clients: `obj_description` and `col_description`, which psql's `\d+` and BI
//! tools ask, answered from the table schemas; and `pg_get_viewdef`, from the views.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, StringBuilder};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The place of a view's query among the comments: a column number that no column has.
const DEFINITION: i64 = -1;

/// Comments by object id and column number; column 0 is the table itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Comments {
    by_oid: HashMap<(i64, i64), String>,
}

impl Comments {
    pub(crate) fn insert(&mut self, oid: i64, column: i64, comment: String) {
        self.by_oid.insert((oid, column), comment);
    }

    /// The query of a view.
    pub(crate) fn insert_definition(&mut self, oid: i64, sql: &str) {
        self.insert(oid, DEFINITION, sql.to_owned());
    }

    fn get(&self, oid: i64, column: i64) -> Option<&str> {
        self.by_oid.get(&(oid, column)).map(String::as_str)
    }

    pub(crate) fn functions(self) -> Vec<ScalarUDF> {
        let comments = Arc::new(self);
        [
            ("col_description", DescribedColumn::Argument(1)),
            ("obj_description", DescribedColumn::Fixed(0)),
            ("shobj_description", DescribedColumn::Fixed(0)),
            ("pg_get_viewdef", DescribedColumn::Fixed(DEFINITION)),
        ]
        .into_iter()
        .map(|(name, column)| {
            ScalarUDF::from(Description {
                name,
                column,
                comments: Arc::clone(&comments),
                signature: Signature::variadic_any(Volatility::Stable),
            })
        })
        .collect()
    }
}

/// Functions that psql's `\dt+` calls for the size of a table: unknown here. `system.tables` has it
/// for the version that is read.
pub(crate) fn size_functions() -> Vec<ScalarUDF> {
    [("pg_table_size", DataType::Int64), ("pg_size_pretty", DataType::Utf8)]
        .into_iter()
        .map(|(name, data_type)| {
            let signature = Signature::any(1, Volatility::Stable);
            ScalarUDF::from(Unknown { name, data_type, signature })
        })
        .collect()
}

/// A function whose answer is not known.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Unknown {
    name: &'static str,
    data_type: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for Unknown {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.data_type.clone())
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        Ok(ColumnarValue::Scalar(ScalarValue::try_from(&self.data_type)?))
    }
}

/// Which column a function describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum DescribedColumn {
    /// The one whose number is this argument.
    Argument(usize),
    /// The one of this number.
    Fixed(i64),
}

/// A function from an object id, and perhaps a column number, to a comment.
#[derive(Debug)]
struct Description {
    name: &'static str,
    column: DescribedColumn,
    comments: Arc<Comments>,
    signature: Signature,
}

impl PartialEq for Description {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.comments == other.comments
    }
}

impl Eq for Description {}

impl std::hash::Hash for Description {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

fn integers(value: &ColumnarValue, rows: usize) -> Result<ArrayRef> {
    Ok(cast(&value.to_array(rows)?, &DataType::Int64)?)
}

impl ScalarUDFImpl for Description {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let missing = || DataFusionError::Plan(format!("{} needs an object id", self.name));
        let oids = integers(args.args.first().ok_or_else(missing)?, args.number_rows)?;
        let (fixed, columns) = match self.column {
            DescribedColumn::Fixed(column) => (Some(column), None),
            DescribedColumn::Argument(position) => {
                let column = args.args.get(position).ok_or_else(missing)?;
                (None, Some(integers(column, args.number_rows)?))
            }
        };
        let mut answer = StringBuilder::new();
        for row in 0..oids.len() {
            let oid = oids.is_valid(row).then(|| oids.as_primitive::<Int64Type>().value(row));
            let column = columns.as_ref().map_or(fixed, |columns| {
                columns.is_valid(row).then(|| columns.as_primitive::<Int64Type>().value(row))
            });
            answer.append_option(oid.zip(column).and_then(|(oid, n)| self.comments.get(oid, n)));
        }
        Ok(ColumnarValue::Array(Arc::new(answer.finish())))
    }
}

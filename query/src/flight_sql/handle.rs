//! A statement on its way to the client and back.

use arrow::array::RecordBatch;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use datafusion::common::{ParamValues, ScalarValue};

use crate::error::QueryError;
use crate::guard::QUERY_MAX_BYTES;

/// Bytes of the values of parameters, at most.
const PARAMETERS_MAX_BYTES: usize = 1 << 20;

/// A statement, and the values of its parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Handle {
    pub(super) sql: String,
    /// One row, as an Arrow stream; empty where there are none.
    parameters: Vec<u8>,
}

fn damaged() -> QueryError {
    QueryError::Invalid("the handle of the statement is damaged: prepare it anew".to_owned())
}

impl Handle {
    pub(super) fn new(sql: String) -> Self {
        Self { sql, parameters: Vec::new() }
    }

    /// Length of the statement in four bytes, the statement, and the parameters.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // A statement that is too long is refused by the guard; here it must only not be cut.
        let length = u32::try_from(self.sql.len()).unwrap_or(u32::MAX);
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(self.sql.as_bytes());
        bytes.extend_from_slice(&self.parameters);
        bytes
    }

    /// # Errors
    /// `Invalid` where these bytes were not made by [`Self::to_bytes`].
    pub(super) fn of_bytes(bytes: &[u8]) -> Result<Self, QueryError> {
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| damaged())?;
        if length > QUERY_MAX_BYTES || rest.len() < length {
            return Err(damaged());
        }
        let (sql, parameters) = rest.split_at(length);
        if parameters.len() > PARAMETERS_MAX_BYTES {
            return Err(damaged());
        }
        let sql = std::str::from_utf8(sql).map_err(|_| damaged())?.to_owned();
        Ok(Self { sql, parameters: parameters.to_vec() })
    }

    /// The same statement with these values: one row, whose columns are the parameters in the order
    /// of their numbers.
    ///
    /// # Errors
    /// `Invalid` where there is not exactly one row, or more than fits.
    pub(super) fn with_parameters(self, batches: &[RecordBatch]) -> Result<Self, QueryError> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let row = match (rows, batches.iter().find(|batch| batch.num_rows() == 1)) {
            (0, _) => return Ok(Self::new(self.sql)),
            (1, Some(row)) => row,
            _ => {
                return Err(QueryError::Invalid(format!(
                    "{rows} rows of parameters: a statement runs with one at a time"
                )));
            }
        };
        let invalid = |error: arrow::error::ArrowError| QueryError::Invalid(error.to_string());
        let mut writer = StreamWriter::try_new(Vec::new(), &row.schema()).map_err(invalid)?;
        writer.write(row).map_err(invalid)?;
        let parameters = writer.into_inner().map_err(invalid)?;
        if parameters.len() > PARAMETERS_MAX_BYTES {
            return Err(QueryError::Invalid(format!(
                "parameters of {} bytes; at most {PARAMETERS_MAX_BYTES} are taken",
                parameters.len()
            )));
        }
        Ok(Self { sql: self.sql, parameters })
    }

    fn values(&self) -> Result<Vec<ScalarValue>, QueryError> {
        if self.parameters.is_empty() {
            return Ok(Vec::new());
        }
        let mut reader =
            StreamReader::try_new(self.parameters.as_slice(), None).map_err(|_| damaged())?;
        let row = reader.next().ok_or_else(damaged)?.map_err(|_| damaged())?;
        if row.num_rows() != 1 {
            return Err(damaged());
        }
        let columns = row.columns().iter();
        columns
            .map(|column| ScalarValue::try_from_array(column, 0).map_err(|_| damaged()))
            .collect()
    }

    /// The values; `None` where there are none.
    pub(super) fn parameters(&self) -> Result<Option<ParamValues>, QueryError> {
        let values = self.values()?;
        Ok((!values.is_empty()).then(|| ParamValues::from(values)))
    }

    /// The values as the audit log has them.
    pub(super) fn parameter_words(&self) -> Result<Option<String>, QueryError> {
        let words: Vec<String> = self
            .values()?
            .iter()
            .enumerate()
            .map(|(place, value)| format!("${} = {value}", place + 1))
            .collect();
        Ok((!words.is_empty()).then(|| words.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray};
    use proptest::prelude::*;

    use super::*;

    fn row(vendor: &str, count: i64) -> RecordBatch {
        RecordBatch::try_from_iter([
            ("$1", Arc::new(StringArray::from(vec![vendor])) as _),
            ("$2", Arc::new(Int64Array::from(vec![count])) as _),
        ])
        .unwrap()
    }

    #[test]
    fn a_statement_comes_back_with_its_parameters() {
        let handle = Handle::new("SELECT $1, $2".to_owned());
        assert_eq!(Handle::of_bytes(&handle.to_bytes()).unwrap(), handle);
        assert!(handle.parameters().unwrap().is_none());
        let bound = handle.clone().with_parameters(&[row("deepseek", 7)]).unwrap();
        let back = Handle::of_bytes(&bound.to_bytes()).unwrap();
        assert_eq!(back, bound);
        assert_eq!(back.parameter_words().unwrap().unwrap(), "$1 = deepseek, $2 = 7");
        // Bound again, and to nothing.
        let other = back.with_parameters(&[row("zhipu", 8)]).unwrap();
        assert_eq!(other.parameter_words().unwrap().unwrap(), "$1 = zhipu, $2 = 8");
        assert_eq!(other.with_parameters(&[]).unwrap(), handle);
    }

    #[test]
    fn two_rows_of_parameters_are_refused() {
        let handle = Handle::new("SELECT $1, $2".to_owned());
        let error = handle.with_parameters(&[row("a", 1), row("b", 2)]).unwrap_err();
        assert!(error.to_string().contains("one at a time"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_handle_or_refused(bytes: Vec<u8>) {
            if let Ok(handle) = Handle::of_bytes(&bytes) {
                prop_assert_eq!(handle.to_bytes(), bytes);
                drop(handle.parameters());
            }
        }
    }
}

//! `alert_window_end`: until when the window of an alert goes on.

use std::sync::Arc;

use arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use tally_quota::alert_window_end_ms;

/// The function `alert_window_end(counter, period_start)`: the end of the window that an alert's
/// counter counts in; null where it is of a bucket, or of a budget.
pub(crate) fn alert_window_function() -> ScalarUDF {
    let arguments = vec![DataType::Utf8, instant_type()];
    let signature = Signature::exact(arguments, Volatility::Immutable);
    ScalarUDF::from(AlertWindowEnd { signature })
}

fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct AlertWindowEnd {
    signature: Signature,
}

impl ScalarUDFImpl for AlertWindowEnd {
    fn name(&self) -> &str {
        "alert_window_end"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(instant_type())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = args.args.iter().map(|value| value.to_array(args.number_rows));
        let columns = arrays.collect::<Result<Vec<_>>>()?;
        let [counters, starts] = columns.as_slice() else {
            let words = "alert_window_end takes two values";
            return Err(DataFusionError::Internal(words.to_owned()));
        };
        let (counters, starts) = (cast(counters, &DataType::Utf8)?, cast(starts, &instant_type())?);
        let counters = counters.as_string::<i32>();
        let starts = starts.as_primitive::<TimestampMicrosecondType>();
        let ends: TimestampMicrosecondArray = (0..starts.len())
            .map(|row| {
                if counters.is_null(row) || starts.is_null(row) {
                    return None;
                }
                // Windows begin at whole minutes.
                let start_ms = starts.value(row).div_euclid(1_000);
                alert_window_end_ms(counters.value(row), start_ms)?.checked_mul(1_000)
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(ends.with_timezone("UTC"))))
    }
}

//! `exhausted_at`: when a bucket runs out at the rate of its recent use.

use std::sync::Arc;

use arrow::array::{Array, AsArray, TimestampMicrosecondArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Decimal128Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::Result;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The last instant that is told, the end of the year 9999: what is forecast beyond it is as good
/// as never.
const LATEST_US: i64 = 253_402_300_799_999_999;

/// The function `exhausted_at(since, until, used, left)`: the points `used` between two instants go
/// on to be used at that rate, and `left` is what is left of them.
pub(crate) fn exhaustion_function() -> ScalarUDF {
    let signature = Signature::exact(
        vec![instant_type(), instant_type(), POINTS, POINTS],
        Volatility::Immutable,
    );
    ScalarUDF::from(ExhaustedAt { signature })
}

const POINTS: DataType = DataType::Decimal128(38, 6);

fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

/// `until + (until − since) × left / used`, rounded down to the microsecond. `None` where nothing
/// was used, or no time has passed, or less than nothing is left, or it is beyond the year 9999.
fn exhausted_at_us(since_us: i64, until_us: i64, used: i128, left: i128) -> Option<i64> {
    let elapsed_us = i128::from(until_us) - i128::from(since_us);
    if elapsed_us <= 0 || used <= 0 || left < 0 {
        return None;
    }
    // What leaves 128 bits is the best part of the age of the universe away.
    let ahead_us = elapsed_us.checked_mul(left)? / used;
    let at_us = i64::try_from(i128::from(until_us).checked_add(ahead_us)?).ok()?;
    (at_us <= LATEST_US).then_some(at_us)
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExhaustedAt {
    signature: Signature,
}

impl ScalarUDFImpl for ExhaustedAt {
    fn name(&self) -> &str {
        "exhausted_at"
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
        let [since, until, used, left] = columns.as_slice() else {
            return Err(DataFusionError::Internal("exhausted_at takes four values".to_owned()));
        };
        let (since, until) = (cast(since, &instant_type())?, cast(until, &instant_type())?);
        let since = since.as_primitive::<TimestampMicrosecondType>();
        let until = until.as_primitive::<TimestampMicrosecondType>();
        let used = used.as_primitive::<Decimal128Type>();
        let left = left.as_primitive::<Decimal128Type>();
        let answer: TimestampMicrosecondArray = (0..since.len())
            .map(|row| {
                let known = since.is_valid(row)
                    && until.is_valid(row)
                    && used.is_valid(row)
                    && left.is_valid(row);
                known
                    .then(|| {
                        let (used, left) = (used.value(row), left.value(row));
                        exhausted_at_us(since.value(row), until.value(row), used, left)
                    })
                    .flatten()
            })
            .collect();
        Ok(ColumnarValue::Array(Arc::new(answer.with_timezone("UTC"))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_US: i64 = 86_400_000_000;

    #[test]
    fn what_is_left_lasts_as_the_rate_says() {
        // Seven points in seven days, three are left: three more days.
        assert_eq!(exhausted_at_us(0, 7 * DAY_US, 7_000_000, 3_000_000), Some(10 * DAY_US));
        // Rounded down: one third of a microsecond is not waited for.
        assert_eq!(exhausted_at_us(0, 1, 3, 10), Some(1 + 3));
        assert_eq!(exhausted_at_us(0, DAY_US, 5, 0), Some(DAY_US));
    }

    #[test]
    fn what_cannot_be_said_is_not() {
        assert_eq!(exhausted_at_us(5, 5, 1, 1), None);
        assert_eq!(exhausted_at_us(6, 5, 1, 1), None);
        assert_eq!(exhausted_at_us(0, 5, 0, 1), None);
        assert_eq!(exhausted_at_us(0, 5, 1, -1), None);
        assert_eq!(exhausted_at_us(0, DAY_US, 1, i128::MAX), None);
        assert_eq!(exhausted_at_us(0, DAY_US, 1, 10_000_000), None);
    }
}

//! `shanghai_day` and `shanghai_month`: the days and months that finance counts in, from instants.
//!
//! A comparison of the answer with a date is turned into one of the instant with two instants
//! (its preimage), which statistics of files and row groups can be pruned by.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, TimeUnit, TimestampMicrosecondType};
use datafusion::common::{Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::interval_arithmetic::Interval;
use datafusion::logical_expr::preimage::PreimageResult;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use jiff::civil::Date;
use jiff::{Span, Unit};

/// Asia/Shanghai's offset from UTC, which has not changed since 1991.
const OFFSET_US: i64 = 8 * 3_600 * 1_000_000;
const DAY_US: i64 = 86_400 * 1_000_000;

/// The functions.
pub(crate) fn calendar_functions() -> [ScalarUDF; 2] {
    [CalendarUnit::Day, CalendarUnit::Month].map(|unit| {
        let signature = Signature::any(1, Volatility::Immutable);
        ScalarUDF::from(CalendarFunction { unit, signature })
    })
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum CalendarUnit {
    Day,
    Month,
}

/// From an instant, or a date, to the date at which its day or month begins.
#[derive(Debug, PartialEq, Eq, Hash)]
struct CalendarFunction {
    unit: CalendarUnit,
    signature: Signature,
}

/// The type that instants are computed in.
fn instant_type() -> DataType {
    DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()))
}

fn date_of(days: i32) -> Option<Date> {
    Date::constant(1970, 1, 1).checked_add(Span::new().try_days(days).ok()?).ok()
}

fn days_of(date: Date) -> Option<i32> {
    Some(Date::constant(1970, 1, 1).until((Unit::Day, date)).ok()?.get_days())
}

/// The day of an instant, in days since 1970-01-01.
fn shanghai_day(at_us: i64) -> Option<i32> {
    i32::try_from(at_us.checked_add(OFFSET_US)?.div_euclid(DAY_US)).ok()
}

/// The first instant of a day.
fn begin_us(days: i32) -> Option<i64> {
    i64::from(days).checked_mul(DAY_US)?.checked_sub(OFFSET_US)
}

impl CalendarUnit {
    /// The first day of the unit that a day is in.
    fn first(self, days: i32) -> Option<i32> {
        match self {
            Self::Day => Some(days),
            Self::Month => days_of(date_of(days)?.first_of_month()),
        }
    }

    /// The first day of the unit after the one that begins at a day; `None` where none does.
    fn next(self, first: i32) -> Option<i32> {
        match self {
            Self::Day => first.checked_add(1),
            Self::Month => {
                let date = date_of(first)?;
                if date.day() != 1 {
                    return None;
                }
                days_of(date.checked_add(Span::new().months(1)).ok()?)
            }
        }
    }
}

impl CalendarFunction {
    fn of_array(&self, values: &ArrayRef) -> Result<ArrayRef> {
        // Rows that follow each other are mostly of one day: the calendar is asked once for them.
        let mut known: Option<(i32, i32)> = None;
        let mut first = |days: Option<i32>| -> Result<i32> {
            if let (Some(days), Some((of, begin))) = (days, known)
                && of == days
            {
                return Ok(begin);
            }
            let begin = days.and_then(|days| self.unit.first(days)).ok_or_else(|| {
                DataFusionError::Execution(format!("{}: beyond the calendar", self.name()))
            })?;
            known = days.map(|days| (days, begin));
            Ok(begin)
        };
        let dates: Date32Array = match values.data_type() {
            DataType::Date32 => values
                .as_primitive::<Date32Type>()
                .iter()
                .map(|days| days.map(|days| first(Some(days))).transpose())
                .collect::<Result<_>>()?,
            DataType::Timestamp(..) | DataType::Null => {
                let instants = cast(values, &instant_type())?;
                instants
                    .as_primitive::<TimestampMicrosecondType>()
                    .iter()
                    .map(|at| at.map(|at| first(shanghai_day(at))).transpose())
                    .collect::<Result<_>>()?
            }
            other => return Err(self.refused(other)),
        };
        Ok(Arc::new(dates))
    }

    /// Text is not read as an instant: without an offset it would be one of UTC, and a day off.
    fn refused(&self, found: &DataType) -> DataFusionError {
        let name = self.name();
        DataFusionError::Plan(format!(
            "{name} takes a timestamp or a date, and not {found}: cast it, such as \
             {name}(TIMESTAMP '2026-11-22T00:00:00+08:00')"
        ))
    }
}

impl ScalarUDFImpl for CalendarFunction {
    fn name(&self) -> &str {
        match self.unit {
            CalendarUnit::Day => "shanghai_day",
            CalendarUnit::Month => "shanghai_month",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    /// Asked for while a statement is planned.
    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types {
            [DataType::Date32 | DataType::Timestamp(..) | DataType::Null] => Ok(DataType::Date32),
            [other] => Err(self.refused(other)),
            _ => Err(DataFusionError::Plan(format!("{} takes one argument", self.name()))),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.first() {
            Some(ColumnarValue::Array(values)) => Ok(ColumnarValue::Array(self.of_array(values)?)),
            Some(ColumnarValue::Scalar(value)) => {
                let answer = self.of_array(&value.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&answer, 0)?))
            }
            None => Err(DataFusionError::Internal(format!("{} of nothing", self.name()))),
        }
    }

    fn preimage(
        &self,
        args: &[Expr],
        literal: &Expr,
        info: &SimplifyContext,
    ) -> Result<PreimageResult> {
        let ([of], Some(ScalarValue::Date32(Some(first)))) = (args, literal.as_literal()) else {
            return Ok(PreimageResult::None);
        };
        let Some(next) = self.unit.next(*first) else { return Ok(PreimageResult::None) };
        let bounds = match info.get_data_type(of)? {
            DataType::Date32 => {
                Some((ScalarValue::Date32(Some(*first)), ScalarValue::Date32(Some(next))))
            }
            // Of this unit only, as all tables have it: others would have to be rounded.
            DataType::Timestamp(TimeUnit::Microsecond, zone) => {
                let instant = |at| ScalarValue::TimestampMicrosecond(Some(at), zone.clone());
                begin_us(*first).zip(begin_us(next)).map(|(a, b)| (instant(a), instant(b)))
            }
            _ => None,
        };
        let Some((lower, upper)) = bounds else { return Ok(PreimageResult::None) };
        let interval = Box::new(Interval::try_new(lower, upper)?);
        Ok(PreimageResult::Range { expr: of.clone(), interval })
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;

    use super::*;

    fn us(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    #[test]
    fn what_is_neither_an_instant_nor_a_date_is_refused_before_it_is_read() {
        for function in calendar_functions() {
            for accepted in [DataType::Date32, DataType::Null, instant_type()] {
                assert_eq!(function.return_type(&[accepted]).unwrap(), DataType::Date32);
            }
            for refused in [DataType::Utf8, DataType::Utf8View, DataType::Int64] {
                let error = function.return_type(&[refused]).unwrap_err().to_string();
                assert!(error.contains(function.name()) && error.contains("cast it"), "{error}");
            }
        }
    }

    #[test]
    fn a_day_begins_at_midnight_in_shanghai() {
        let day = |text| date_of(shanghai_day(us(text)).unwrap()).unwrap().to_string();
        assert_eq!(day("2026-11-21T15:59:59.999999Z"), "2026-11-21");
        assert_eq!(day("2026-11-21T16:00:00Z"), "2026-11-22");
        assert_eq!(day("1969-12-31T15:59:59.999Z"), "1969-12-31");
        let month = |text| CalendarUnit::Month.first(shanghai_day(us(text)).unwrap());
        assert_eq!(month("2026-10-31T16:00:00Z"), days_of(Date::constant(2026, 11, 1)));
        assert_eq!(month("2026-10-31T15:59:59Z"), days_of(Date::constant(2026, 10, 1)));
    }

    #[test]
    fn each_row_has_the_month_of_its_own_day() {
        let signature = Signature::any(1, Volatility::Immutable);
        let function = CalendarFunction { unit: CalendarUnit::Month, signature };
        let day = |month, day| days_of(Date::constant(2026, month, day));
        let days = vec![day(10, 31), day(10, 31), day(11, 1), None, day(10, 31), day(11, 30)];
        let values: ArrayRef = Arc::new(Date32Array::from(days));
        let months = function.of_array(&values).unwrap();
        let (october, november) = (day(10, 1), day(11, 1));
        assert_eq!(
            months.as_primitive::<Date32Type>().iter().collect::<Vec<_>>(),
            [october, october, november, None, october, november]
        );
    }

    proptest! {
        /// The interval of a day or month holds exactly the instants of it.
        #[test]
        fn preimages_are_exact(at_us in -60_000_000_000_000_000_i64..60_000_000_000_000_000) {
            let days = shanghai_day(at_us).unwrap();
            let zone = TimeZone::get("Asia/Shanghai").unwrap();
            // Before 1992 Shanghai had other offsets.
            if at_us > us("1992-01-01T00:00:00Z") {
                let date = Timestamp::from_microsecond(at_us).unwrap().to_zoned(zone).date();
                prop_assert_eq!(Some(days), days_of(date));
            }
            for unit in [CalendarUnit::Day, CalendarUnit::Month] {
                let first = unit.first(days).unwrap();
                let next = unit.next(first).unwrap();
                let (from, to) = (begin_us(first).unwrap(), begin_us(next).unwrap());
                prop_assert!(from <= at_us && at_us < to);
                for outside in [from - 1, to] {
                    prop_assert_ne!(unit.first(shanghai_day(outside).unwrap()), Some(first));
                }
            }
        }
    }
}

//! `sum` that is right or an error: DataFusion's own wraps around on integers and decimals
//! without a word (`lessons.md` §2).
//!
//! Integers and decimals are added in 128 bits. No number of rows that fits a table can overflow
//! that with 64-bit integers, so the order of addition does not matter and only a total outside
//! the result type is an error. Floats, durations and intervals are left to the built-in.

use std::collections::HashSet;
use std::mem::size_of_val;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Decimal128Array, PrimitiveArray};
use arrow::buffer::{BooleanBuffer, NullBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Field, FieldRef,
    Int64Type, UInt64Type,
};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue};
use datafusion::error::DataFusionError;
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::{AggregateOrderSensitivity, format_state_name};
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, EmitTo, GroupsAccumulator, ReversedUDAF, Signature,
};

/// Largest precision of `Decimal128`.
const DECIMAL_PRECISION: u8 = 38;

/// One more than the largest unscaled value of 38 digits.
const DECIMAL_BOUND: i128 = 10_i128.pow(38);

/// The checked `sum`, registered over the built-in of the same name.
pub fn checked_sum() -> AggregateUDF {
    AggregateUDF::from(CheckedSum { builtin: Sum::new() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedSum {
    builtin: Sum,
}

/// What the sum is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Int64,
    UInt64,
    /// Precision and scale of the result.
    Decimal(u8, i8),
}

impl Kind {
    /// The kind by the result type; `None` for what the built-in does.
    fn of(result: &DataType) -> Option<Self> {
        match result {
            DataType::Int64 => Some(Self::Int64),
            DataType::UInt64 => Some(Self::UInt64),
            DataType::Decimal128(precision, scale) => Some(Self::Decimal(*precision, *scale)),
            _ => None,
        }
    }

    fn state_type(self) -> DataType {
        match self {
            Self::Int64 | Self::UInt64 => DataType::Decimal128(DECIMAL_PRECISION, 0),
            Self::Decimal(_, scale) => DataType::Decimal128(DECIMAL_PRECISION, scale),
        }
    }

    /// A finished sum as a scalar of the result type.
    fn scalar(self, sum: Option<i128>) -> Result<ScalarValue> {
        Ok(match self {
            Self::Int64 => ScalarValue::Int64(sum.map(|v| narrow(v, "BIGINT")).transpose()?),
            Self::UInt64 => {
                ScalarValue::UInt64(sum.map(|v| narrow(v, "BIGINT UNSIGNED")).transpose()?)
            }
            Self::Decimal(precision, scale) => {
                if let Some(sum) = sum {
                    check_precision(sum, precision)?;
                }
                ScalarValue::Decimal128(sum, precision, scale)
            }
        })
    }

    /// Finished sums as an array of the result type.
    fn array(self, sums: Vec<i128>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        Ok(match self {
            Self::Int64 => {
                let sums: Vec<i64> =
                    sums.into_iter().map(|v| narrow(v, "BIGINT")).collect::<Result<_>>()?;
                Arc::new(PrimitiveArray::<Int64Type>::new(sums.into(), nulls))
            }
            Self::UInt64 => {
                let sums: Vec<u64> = sums
                    .into_iter()
                    .map(|v| narrow(v, "BIGINT UNSIGNED"))
                    .collect::<Result<_>>()?;
                Arc::new(PrimitiveArray::<UInt64Type>::new(sums.into(), nulls))
            }
            Self::Decimal(precision, scale) => {
                for sum in &sums {
                    check_precision(*sum, precision)?;
                }
                Arc::new(
                    Decimal128Array::new(sums.into(), nulls)
                        .with_data_type(DataType::Decimal128(precision, scale)),
                )
            }
        })
    }

    /// Partial sums as an array of the state type.
    fn state_array(self, sums: Vec<i128>, nulls: Option<NullBuffer>) -> Result<ArrayRef> {
        for sum in &sums {
            check_precision(*sum, DECIMAL_PRECISION)?;
        }
        Ok(Arc::new(Decimal128Array::new(sums.into(), nulls).with_data_type(self.state_type())))
    }
}

fn overflow(result: &str) -> DataFusionError {
    DataFusionError::Execution(format!("sum is out of range for {result}"))
}

fn narrow<T: TryFrom<i128>>(sum: i128, result: &str) -> Result<T> {
    T::try_from(sum).map_err(|_| overflow(result))
}

fn check_precision(sum: i128, precision: u8) -> Result<()> {
    let bound = if precision >= DECIMAL_PRECISION {
        DECIMAL_BOUND
    } else {
        10_i128.pow(u32::from(precision))
    };
    if sum > -bound && sum < bound {
        Ok(())
    } else {
        Err(overflow(&format!("DECIMAL({precision})")))
    }
}

fn checked(sum: i128, value: i128) -> Result<i128> {
    sum.checked_add(value).ok_or_else(|| overflow("DECIMAL(38)"))
}

/// Calls `each` with the position and value of every non-null input.
fn for_each(values: &dyn Array, each: &mut dyn FnMut(usize, i128) -> Result<()>) -> Result<()> {
    fn typed<T>(values: &dyn Array, each: &mut dyn FnMut(usize, i128) -> Result<()>) -> Result<()>
    where
        T: ArrowPrimitiveType,
        i128: From<T::Native>,
    {
        let values = values.as_primitive::<T>();
        match values.nulls().filter(|nulls| nulls.null_count() > 0) {
            None => {
                for (row, value) in values.values().iter().enumerate() {
                    each(row, i128::from(*value))?;
                }
            }
            Some(nulls) => {
                for row in nulls.valid_indices() {
                    each(row, i128::from(values.value(row)))?;
                }
            }
        }
        Ok(())
    }
    match values.data_type() {
        DataType::Int64 => typed::<Int64Type>(values, each),
        DataType::UInt64 => typed::<UInt64Type>(values, each),
        DataType::Decimal128(..) => typed::<Decimal128Type>(values, each),
        DataType::Decimal64(..) => typed::<Decimal64Type>(values, each),
        DataType::Decimal32(..) => typed::<Decimal32Type>(values, each),
        other => Err(DataFusionError::Internal(format!("sum of {other}"))),
    }
}

/// The sum of an array, `None` where every value is null.
fn sum_array(values: &dyn Array) -> Result<Option<i128>> {
    if values.null_count() == values.len() {
        return Ok(None);
    }
    // Contiguous 64-bit integers: no check needed within a batch, and the loop vectorises.
    if values.null_count() == 0
        && let Some(integers) = values.as_primitive_opt::<Int64Type>()
    {
        return Ok(Some(integers.values().iter().map(|value| i128::from(*value)).sum()));
    }
    let mut sum = 0_i128;
    for_each(values, &mut |_, value| {
        sum = checked(sum, value)?;
        Ok(())
    })?;
    Ok(Some(sum))
}

fn first(values: &[ArrayRef]) -> Result<&ArrayRef> {
    values.first().ok_or_else(|| DataFusionError::Internal("sum without an argument".to_owned()))
}

impl AggregateUDFImpl for CheckedSum {
    fn name(&self) -> &str {
        "sum"
    }

    fn signature(&self) -> &Signature {
        self.builtin.signature()
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        match arguments {
            [DataType::Decimal32(precision, scale) | DataType::Decimal64(precision, scale)] => {
                Ok(DataType::Decimal128((*precision + 10).min(DECIMAL_PRECISION), *scale))
            }
            [DataType::Decimal256(..)] => Err(DataFusionError::Plan(
                "sum of decimals of more than 38 digits is not supported".to_owned(),
            )),
            arguments => self.builtin.return_type(arguments),
        }
    }

    fn accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Kind::of(args.return_field.data_type()) {
            None => self.builtin.accumulator(args),
            Some(kind) if args.is_distinct => {
                Ok(Box::new(DistinctSum { kind, values: HashSet::new() }))
            }
            Some(kind) => Ok(Box::new(RunningSum { kind, sum: 0, count: 0 })),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs) -> Result<Vec<FieldRef>> {
        let Some(kind) = Kind::of(args.return_field.data_type()) else {
            return self.builtin.state_fields(args);
        };
        Ok(if args.is_distinct {
            vec![Arc::new(Field::new_list(
                format_state_name(args.name, "sum distinct"),
                Field::new_list_field(kind.state_type(), true),
                false,
            ))]
        } else {
            vec![Arc::new(Field::new(format_state_name(args.name, "sum"), kind.state_type(), true))]
        })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs) -> bool {
        !args.is_distinct
    }

    fn create_groups_accumulator(
        &self,
        args: AccumulatorArgs,
    ) -> Result<Box<dyn GroupsAccumulator>> {
        match Kind::of(args.return_field.data_type()) {
            None => self.builtin.create_groups_accumulator(args),
            Some(kind) => Ok(Box::new(GroupedSum { kind, sums: Vec::new(), seen: Vec::new() })),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs) -> Result<Box<dyn Accumulator>> {
        match Kind::of(args.return_field.data_type()) {
            None => self.builtin.create_sliding_accumulator(args),
            Some(_) if args.is_distinct => Err(DataFusionError::Plan(
                "sum(DISTINCT) over a window frame that moves is not supported".to_owned(),
            )),
            Some(kind) => Ok(Box::new(RunningSum { kind, sum: 0, count: 0 })),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }
}

/// One sum, for queries without groups and for window frames (values leave it again).
#[derive(Debug)]
struct RunningSum {
    kind: Kind,
    sum: i128,
    /// Number of non-null values in the sum.
    count: u64,
}

impl Accumulator for RunningSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = first(values)?;
        if let Some(sum) = sum_array(values)? {
            self.sum = checked(self.sum, sum)?;
            self.count += u64::try_from(values.len() - values.null_count()).unwrap_or(u64::MAX);
        }
        Ok(())
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let values = first(values)?;
        if let Some(sum) = sum_array(values)? {
            self.sum = self.sum.checked_sub(sum).ok_or_else(|| overflow("DECIMAL(38)"))?;
            let gone = u64::try_from(values.len() - values.null_count()).unwrap_or(u64::MAX);
            self.count = self.count.saturating_sub(gone);
        }
        Ok(())
    }

    fn supports_retract_batch(&self) -> bool {
        true
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        self.kind.scalar((self.count > 0).then_some(self.sum))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        check_precision(self.sum, DECIMAL_PRECISION)?;
        let DataType::Decimal128(precision, scale) = self.kind.state_type() else {
            return Err(DataFusionError::Internal("state of sum is not a decimal".to_owned()));
        };
        let sum = (self.count > 0).then_some(self.sum);
        Ok(vec![ScalarValue::Decimal128(sum, precision, scale)])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.update_batch(states)
    }

    fn size(&self) -> usize {
        size_of_val(self)
    }
}

/// The sum of distinct values.
#[derive(Debug)]
struct DistinctSum {
    kind: Kind,
    values: HashSet<i128>,
}

impl Accumulator for DistinctSum {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        for_each(first(values)?, &mut |_, value| {
            self.values.insert(value);
            Ok(())
        })
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let mut sum = 0;
        for value in &self.values {
            sum = checked(sum, *value)?;
        }
        self.kind.scalar((!self.values.is_empty()).then_some(sum))
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let values = self.kind.state_array(self.values.iter().copied().collect(), None)?;
        Ok(vec![SingleRowListArrayBuilder::new(values).build_list_scalar()])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        for list in first(states)?.as_list::<i32>().iter().flatten() {
            self.update_batch(&[list])?;
        }
        Ok(())
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.values.capacity() * size_of::<i128>()
    }
}

/// One sum a group.
#[derive(Debug)]
struct GroupedSum {
    kind: Kind,
    sums: Vec<i128>,
    /// Whether the group has seen a value: a group without one sums to null.
    seen: Vec<bool>,
}

impl GroupedSum {
    fn nulls(&mut self, emit_to: EmitTo) -> Option<NullBuffer> {
        let seen = emit_to.take_needed(&mut self.seen);
        if seen.iter().all(|seen| *seen) {
            return None;
        }
        Some(NullBuffer::new(BooleanBuffer::from(seen)))
    }

    fn outside(group: usize) -> DataFusionError {
        DataFusionError::Internal(format!("sum: no group {group}"))
    }

    fn add(&mut self, group: usize, value: i128) -> Result<()> {
        let (Some(sum), Some(seen)) = (self.sums.get_mut(group), self.seen.get_mut(group)) else {
            return Err(Self::outside(group));
        };
        *sum = checked(*sum, value)?;
        *seen = true;
        Ok(())
    }

    /// The common case, a column of 64-bit integers without nulls and filter, in one tight loop.
    fn add_integers(&mut self, values: &[i64], group_indices: &[usize]) -> Result<()> {
        let groups = self.sums.len();
        if let Some(outside) = group_indices.iter().find(|group| **group >= groups) {
            return Err(Self::outside(*outside));
        }
        let (sums, seen) = (self.sums.as_mut_slice(), self.seen.as_mut_slice());
        for (value, group) in values.iter().zip(group_indices) {
            // 2^63 rows of 2^63 fit 127 bits.
            sums[*group] += i128::from(*value);
            seen[*group] = true;
        }
        Ok(())
    }
}

impl GroupsAccumulator for GroupedSum {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        total_num_groups: usize,
    ) -> Result<()> {
        let values = first(values)?;
        self.sums.resize(total_num_groups, 0);
        self.seen.resize(total_num_groups, false);
        if filter.is_none()
            && values.null_count() == 0
            && let Some(integers) = values.as_primitive_opt::<Int64Type>()
        {
            return self.add_integers(integers.values(), group_indices);
        }
        for_each(values, &mut |row, value| {
            if filter.is_some_and(|filter| !(filter.is_valid(row) && filter.value(row))) {
                return Ok(());
            }
            let group = group_indices.get(row).copied().unwrap_or(usize::MAX);
            self.add(group, value)
        })
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        let sums = emit_to.take_needed(&mut self.sums);
        let nulls = self.nulls(emit_to);
        self.kind.array(sums, nulls)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        let sums = emit_to.take_needed(&mut self.sums);
        let nulls = self.nulls(emit_to);
        Ok(vec![self.kind.state_array(sums, nulls)?])
    }

    fn merge_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        total_num_groups: usize,
    ) -> Result<()> {
        self.update_batch(values, group_indices, None, total_num_groups)
    }

    fn convert_to_state(
        &self,
        values: &[ArrayRef],
        filter: Option<&BooleanArray>,
    ) -> Result<Vec<ArrayRef>> {
        let values = first(values)?;
        let mut sums = vec![0_i128; values.len()];
        let mut seen = vec![false; values.len()];
        for_each(values, &mut |row, value| {
            if filter.is_none_or(|filter| filter.is_valid(row) && filter.value(row)) {
                sums[row] = value;
                seen[row] = true;
            }
            Ok(())
        })?;
        let nulls = Some(NullBuffer::new(BooleanBuffer::from(seen)));
        Ok(vec![self.kind.state_array(sums, nulls)?])
    }

    fn size(&self) -> usize {
        self.sums.capacity() * size_of::<i128>() + self.seen.capacity()
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Int32Array, Int64Array, RecordBatch, UInt64Array};
    use arrow::datatypes::Schema;
    use datafusion::datasource::MemTable;
    use datafusion::prelude::{SessionConfig, SessionContext};
    use proptest::prelude::*;

    use super::*;

    /// A group and a value a row.
    type Row = (u8, Option<i64>);

    fn batch(rows: &[Row]) -> RecordBatch {
        let groups = Int32Array::from_iter_values(rows.iter().map(|row| i32::from(row.0)));
        let signed = Int64Array::from_iter(rows.iter().map(|row| row.1));
        let unsigned = UInt64Array::from_iter(rows.iter().map(|row| row.1.map(i64::cast_unsigned)));
        // Scaled so that a handful of extremes passes 38 digits.
        let decimals = Decimal128Array::from_iter(
            rows.iter().map(|row| row.1.map(|value| i128::from(value) * 10_i128.pow(19))),
        )
        .with_precision_and_scale(38, 12)
        .unwrap();
        let schema = Schema::new(vec![
            Field::new("k", DataType::Int32, false),
            Field::new("i", DataType::Int64, true),
            Field::new("u", DataType::UInt64, true),
            Field::new("d", DataType::Decimal128(38, 12), true),
        ]);
        RecordBatch::try_new(
            Arc::new(schema),
            vec![Arc::new(groups), Arc::new(signed), Arc::new(unsigned), Arc::new(decimals)],
        )
        .unwrap()
    }

    fn context(rows: &[Row]) -> SessionContext {
        let config = SessionConfig::new().with_target_partitions(3).with_batch_size(7);
        let context = SessionContext::new_with_config(config);
        context.register_udaf(checked_sum());
        let whole = batch(rows);
        let parts: Vec<Vec<RecordBatch>> = (0..3)
            .map(|part| {
                let from = rows.len() * part / 3;
                let to = rows.len() * (part + 1) / 3;
                vec![whole.slice(from, to - from)]
            })
            .collect();
        let table = MemTable::try_new(whole.schema(), parts).unwrap();
        context.register_table("t", Arc::new(table)).unwrap();
        context
    }

    /// Every value of an answer as text, or `None` where it is an error.
    fn ask(context: &SessionContext, sql: &str) -> Option<Vec<String>> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answer: Result<Vec<RecordBatch>> =
            runtime.block_on(async { context.sql(sql).await?.collect().await });
        let batches = match answer {
            Ok(batches) => batches,
            Err(error) => {
                assert!(error.to_string().contains("out of range"), "{error}");
                return None;
            }
        };
        let mut values = Vec::new();
        for batch in &batches {
            let column = batch.column(batch.num_columns() - 1);
            for row in 0..batch.num_rows() {
                values.push(arrow::util::display::array_value_to_string(column, row).unwrap());
            }
        }
        Some(values)
    }

    fn in_range(sum: Option<i128>, low: i128, high: i128) -> Option<String> {
        match sum {
            None => Some(String::new()),
            Some(sum) => (low <= sum && sum <= high).then(|| sum.to_string()),
        }
    }

    /// A sum, scaled as the column is, as `Decimal128(38, 12)` shows it; `None` past 38 digits.
    fn as_decimal(sum: Option<i128>) -> Option<String> {
        let Some(sum) = sum else { return Some(String::new()) };
        let sum = sum.checked_mul(10_i128.pow(19))?;
        let bound = 10_i128.pow(38);
        (sum > -bound && sum < bound).then(|| {
            let sign = if sum < 0 { "-" } else { "" };
            let (whole, rest) =
                (sum.unsigned_abs() / 10_u128.pow(12), sum.unsigned_abs() % 10_u128.pow(12));
            format!("{sign}{whole}.{rest:012}")
        })
    }

    fn sum_by(rows: &[Row], value: impl Fn(i64) -> i128) -> Vec<Option<i128>> {
        let mut groups: std::collections::BTreeMap<u8, Option<i128>> = Default::default();
        for (group, number) in rows {
            let sum = groups.entry(*group).or_default();
            if let Some(number) = number {
                *sum = Some(sum.unwrap_or(0) + value(*number));
            }
        }
        groups.into_values().collect()
    }

    fn value() -> impl Strategy<Value = Option<i64>> {
        prop_oneof![
            1 => Just(None),
            4 => (-1_000_i64..1_000).prop_map(Some),
            1 => any::<i64>().prop_map(Some),
            1 => prop_oneof![Just(i64::MAX), Just(i64::MIN), Just(i64::MAX / 2)].prop_map(Some),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Every sum equals the one in 128 bits, or is an error where that does not fit.
        #[test]
        fn equals_wide_arithmetic(rows in prop::collection::vec((0_u8..4, value()), 1..60)) {
            let context = context(&rows);
            let all: Vec<Row> = rows.iter().map(|row| (0, row.1)).collect();
            let grouped = "FROM t GROUP BY k ORDER BY k";

            let signed = |sum| in_range(sum, i64::MIN.into(), i64::MAX.into());
            let expected: Option<Vec<String>> =
                sum_by(&rows, i128::from).into_iter().map(signed).collect();
            prop_assert_eq!(ask(&context, &format!("SELECT k, sum(i) {grouped}")), expected);
            let expected = signed(sum_by(&all, i128::from)[0]).map(|sum| vec![sum]);
            prop_assert_eq!(ask(&context, "SELECT sum(i) FROM t"), expected);

            let wide = |value: i64| i128::from(value.cast_unsigned());
            let unsigned = |sum| in_range(sum, 0, u64::MAX.into());
            let expected: Option<Vec<String>> =
                sum_by(&rows, wide).into_iter().map(unsigned).collect();
            prop_assert_eq!(ask(&context, &format!("SELECT k, sum(u) {grouped}")), expected);

            // Decimals may also fail on the way to a sum that would fit: an error, never a
            // wrong number.
            let small = rows.iter().all(|row| row.1.is_none_or(|v| v.unsigned_abs() < 1 << 56));
            let expected: Option<Vec<String>> =
                sum_by(&rows, i128::from).into_iter().map(as_decimal).collect();
            let found = ask(&context, &format!("SELECT k, sum(d) {grouped}"));
            prop_assert!(found == expected || (found.is_none() && !small));
        }

        /// A window frame that moves retracts exactly what it added.
        #[test]
        fn windows_retract(rows in prop::collection::vec((0_u8..1, value()), 1..40)) {
            let numbered: Vec<Row> = rows.clone();
            let context = context(&numbered);
            let sql = "SELECT sum(i) OVER (ORDER BY i NULLS FIRST ROWS BETWEEN 2 PRECEDING AND CURRENT ROW) AS s FROM t ORDER BY i NULLS FIRST, s";
            let mut values: Vec<Option<i64>> = rows.iter().map(|row| row.1).collect();
            values.sort();
            let mut expected: Option<Vec<String>> = (0..values.len())
                .map(|end| {
                    let frame = &values[end.saturating_sub(2)..=end];
                    let sum = frame.iter().flatten().map(|v| i128::from(*v)).reduce(|a, b| a + b);
                    in_range(sum, i64::MIN.into(), i64::MAX.into())
                })
                .collect();
            let mut found = ask(&context, sql);
            if let Some(found) = &mut found { found.sort(); }
            if let Some(expected) = &mut expected { expected.sort(); }
            prop_assert_eq!(found, expected);
        }

        /// DISTINCT counts each value once.
        #[test]
        fn distinct(rows in prop::collection::vec((0_u8..3, value()), 1..40)) {
            let context = context(&rows);
            let mut seen: std::collections::BTreeSet<Row> = Default::default();
            let unique: Vec<Row> =
                rows.iter().copied().filter(|row| row.1.is_none() || seen.insert(*row)).collect();
            let expected: Option<Vec<String>> = sum_by(&unique, i128::from)
                .into_iter()
                .map(|sum| in_range(sum, i64::MIN.into(), i64::MAX.into()))
                .collect();
            // Beside another aggregate it is not rewritten to a grouping, so that our own
            // accumulator runs.
            let sql = "SELECT k, min(u), sum(DISTINCT i) FROM t GROUP BY k ORDER BY k";
            prop_assert_eq!(ask(&context, sql), expected);
        }
    }
}

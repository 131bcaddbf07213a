//! `settlement.budgets`: how much of each budget and commitment is used, from what the second stage
//! has committed. A budget is a row in each period that has usage, and in the current one.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arrow::array::{
    ArrayRef, BooleanArray, Decimal128Array, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray,
};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use async_trait::async_trait;
use tally_budget::{Measure, Standing};
use tally_rating::ModelPattern;
use tally_schemas::PICO;

use crate::budget_view::BudgetView;
use crate::error::QueryError;
use crate::gathered_table::RowSource;
use crate::system_schema::{COMMENT, without_comments};

/// Name in schema `settlement`.
pub(crate) const BUDGETS: &str = "budgets";

const TABLE_COMMENT: &str = "One row a budget or commitment and period: what is used of it, as the second stage has added it up";

fn columns() -> Vec<(&'static str, DataType, bool, &'static str)> {
    use DataType::{Boolean, Int32, Int64, Utf8};
    let time = || DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    let count = || DataType::Decimal128(38, 12);
    vec![
        ("budget", Utf8, false, "Id"),
        ("kind", Utf8, false, "budget, or commitment: paid beforehand and drawn down"),
        ("title", Utf8, false, "Title in Chinese"),
        ("title_en", Utf8, false, "Title in English"),
        ("model", Utf8, true, "Requested model that counts, or the beginning of it and *"),
        ("vendor", Utf8, true, "Vendor whose models count"),
        ("supplier", Utf8, true, "Supplier whose models count"),
        (
            "measure",
            Utf8,
            false,
            "What is counted: retail_amount, wholesale_amount, points or tokens",
        ),
        ("currency", Utf8, true, "Currency of an amount; usage in another does not count"),
        ("period", Utf8, false, "day, month or once, of Asia/Shanghai"),
        ("period_start", time(), false, "Start of the period, UTC, inclusive"),
        ("period_end", time(), false, "End of the period, UTC, exclusive"),
        ("used", count(), false, "Used in the period: currency, points or tokens"),
        ("allowance", count(), false, "What may be used: currency, points or tokens"),
        ("percent", Int64, false, "Percent used, rounded down"),
        ("passed", Utf8, false, "Thresholds that were passed, percent, with commas"),
        ("next_threshold", Int32, true, "The next threshold, percent; null after the last"),
        ("example", Boolean, false, "Made up, to show the form"),
        ("as_of", time(), false, "When the usage was added that is in used, UTC"),
    ]
}

/// The Arrow schema, with comments in the metadata.
pub(crate) fn budgets_schema() -> SchemaRef {
    let fields: Vec<Field> = columns()
        .into_iter()
        .map(|(name, data_type, nullable, comment)| {
            Field::new(name, data_type, nullable)
                .with_metadata([(COMMENT.to_owned(), comment.to_owned())].into())
        })
        .collect();
    let comment = [(COMMENT.to_owned(), TABLE_COMMENT.to_owned())].into();
    Arc::new(Schema::new_with_metadata(fields, comment))
}

/// The table, read when it is scanned.
#[derive(Debug)]
pub(crate) struct BudgetRows {
    view: BudgetView,
    schema: SchemaRef,
}

impl BudgetRows {
    pub(crate) fn new(view: BudgetView) -> Self {
        Self { view, schema: without_comments(&budgets_schema()) }
    }
}

#[async_trait]
impl RowSource for BudgetRows {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    async fn rows(&self) -> Result<RecordBatch, QueryError> {
        let internal = |error: arrow::error::ArrowError| QueryError::Internal(error.to_string());
        let Some((last, stage)) = self.view.stage().await? else {
            return Ok(RecordBatch::new_empty(Arc::clone(&self.schema)));
        };
        let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let standings = stage.standings(now_ms);
        let columns = rows_of(&standings, last.entry.committed_at_ms).map_err(internal)?;
        RecordBatch::try_new(Arc::clone(&self.schema), columns).map_err(internal)
    }
}

/// A count in units of `Decimal128(38, 12)`.
fn decimal(measure: &Measure, count: i128) -> i128 {
    match measure {
        Measure::Amount { .. } => count,
        Measure::Points { .. } => count.saturating_mul(PICO / 1_000_000),
        Measure::Tokens { .. } => count.saturating_mul(PICO),
    }
}

fn rows_of(
    standings: &[Standing<'_>],
    as_of_ms: i64,
) -> Result<Vec<ArrayRef>, arrow::error::ArrowError> {
    let text = |of: &dyn Fn(&Standing<'_>) -> String| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(standings.iter().map(of)))
    };
    let maybe = |of: &dyn Fn(&Standing<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(standings.iter().map(of).collect::<StringArray>())
    };
    let time = |of: &dyn Fn(&Standing<'_>) -> i64| -> ArrayRef {
        let micros = standings.iter().map(|standing| of(standing).saturating_mul(1_000));
        Arc::new(TimestampMicrosecondArray::from_iter_values(micros).with_timezone("UTC"))
    };
    let count = |of: &dyn Fn(&Standing<'_>) -> i128| -> Result<ArrayRef, arrow::error::ArrowError> {
        let counts = standings.iter().map(|s| decimal(&s.budget.measure, of(s)));
        let counts = Decimal128Array::from_iter_values(counts).with_precision_and_scale(38, 12)?;
        // A count that no decimal of 38 digits holds must not be shown cut.
        counts.validate_decimal_precision(38)?;
        Ok(Arc::new(counts))
    };
    let model = |s: &Standing<'_>| {
        s.budget.scope.model.as_ref().map(|pattern| match pattern {
            ModelPattern::Exact(name) => name.clone(),
            ModelPattern::Prefix(prefix) => format!("{prefix}*"),
        })
    };
    let passed =
        |s: &Standing<'_>| s.passed.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let next = |s: &Standing<'_>| {
        let left = |percent: &&u32| !s.passed.contains(percent);
        s.budget.thresholds.iter().find(left).and_then(|percent| i32::try_from(*percent).ok())
    };
    Ok(vec![
        text(&|s| s.budget.version.id.clone()),
        text(&|s| s.budget.kind.name().to_owned()),
        text(&|s| s.budget.title.clone()),
        text(&|s| s.budget.title_en.clone()),
        maybe(&model),
        maybe(&|s| s.budget.scope.vendor.clone()),
        maybe(&|s| s.budget.scope.supplier.clone()),
        text(&|s| s.budget.measure.name().to_owned()),
        maybe(&|s| s.budget.measure.currency().map(|currency| currency.to_string())),
        text(&|s| s.budget.period.name().to_owned()),
        time(&|s| s.span.from.start_ms()),
        time(&|s| s.span.to.start_ms()),
        count(&|s| s.used)?,
        count(&|s| s.budget.measure.limit())?,
        Arc::new(Int64Array::from_iter_values(
            standings.iter().map(|s| i64::try_from(s.percent()).unwrap_or(i64::MAX)),
        )),
        text(&passed),
        Arc::new(standings.iter().map(next).collect::<Int32Array>()),
        Arc::new(BooleanArray::from_iter(standings.iter().map(|s| Some(s.budget.example)))),
        time(&|_| as_of_ms),
    ])
}

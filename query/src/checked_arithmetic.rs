//! Integer `+ - *` that are right or an error. The engine's own wrap around, and its switch
//! for that (`BinaryExpr::with_fail_on_overflow`) is not reachable from SQL, so the
//! analyzer puts checked functions in their place.

use std::sync::Arc;

use arrow::compute::kernels::numeric;
use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::common::config::ConfigOptions;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::error::DataFusionError;
use datafusion::logical_expr::expr_rewriter::NamePreserver;
use datafusion::logical_expr::utils::merge_schema;
use datafusion::logical_expr::{
    BinaryExpr, ColumnarValue, Expr, ExprSchemable, LogicalPlan, Operator, ReturnFieldArgs,
    ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::optimizer::AnalyzerRule;
use datafusion::physical_expr_common::datum::apply;

/// Replaces `+ - *` between integers of one type; it runs after type coercion, which makes both
/// sides the same type.
#[derive(Debug)]
pub struct CheckedArithmetic {
    functions: [(Operator, Arc<ScalarUDF>); 3],
    negate: Arc<ScalarUDF>,
}

impl Default for CheckedArithmetic {
    fn default() -> Self {
        let function = |operation| Arc::new(ScalarUDF::from(CheckedFunction::new(operation)));
        Self {
            functions: [
                (Operator::Plus, function(Operation::Add)),
                (Operator::Minus, function(Operation::Subtract)),
                (Operator::Multiply, function(Operation::Multiply)),
            ],
            negate: function(Operation::Negate),
        }
    }
}

impl CheckedArithmetic {
    fn rewrite(&self, expr: Expr, schema: &DFSchema) -> Result<Transformed<Expr>> {
        match expr {
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => {
                let function = self.functions.iter().find(|(candidate, _)| *candidate == op);
                if let Some((_, function)) = function
                    && let (Ok(l), Ok(r)) = (left.get_type(schema), right.get_type(schema))
                    && l.is_integer()
                    && l == r
                {
                    return Ok(Transformed::yes(function.call(vec![*left, *right])));
                }
                Ok(Transformed::no(Expr::BinaryExpr(BinaryExpr { left, op, right })))
            }
            // The analyzer sees literals still under their sign: -5 stays as it is.
            Expr::Negative(inner)
                if !matches!(*inner, Expr::Literal(..))
                    && inner.get_type(schema).is_ok_and(|t| t.is_signed_integer()) =>
            {
                Ok(Transformed::yes(self.negate.call(vec![*inner])))
            }
            other => Ok(Transformed::no(other)),
        }
    }
}

impl AnalyzerRule for CheckedArithmetic {
    fn name(&self) -> &str {
        "checked_arithmetic"
    }

    fn analyze(&self, plan: LogicalPlan, _: &ConfigOptions) -> Result<LogicalPlan> {
        let plan = plan.transform_up_with_subqueries(|plan| {
            let mut schema = merge_schema(&plan.inputs());
            if let LogicalPlan::TableScan(scan) = &plan {
                schema.merge(&DFSchema::try_from_qualified_schema(
                    scan.table_name.clone(),
                    &scan.source.schema(),
                )?);
            }
            let names = NamePreserver::new(&plan);
            plan.map_expressions(|expr| {
                let name = names.save(&expr);
                let rewritten = expr.transform_up(|expr| self.rewrite(expr, &schema))?;
                Ok(rewritten.update_data(|expr| name.restore(expr)))
            })
        })?;
        if plan.transformed { plan.data.recompute_schema() } else { Ok(plan.data) }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Operation {
    Add,
    Subtract,
    Multiply,
    Negate,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct CheckedFunction {
    operation: Operation,
    signature: Signature,
}

impl CheckedFunction {
    fn new(operation: Operation) -> Self {
        let arity = if operation == Operation::Negate { 1 } else { 2 };
        Self { operation, signature: Signature::any(arity, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for CheckedFunction {
    fn name(&self) -> &str {
        match self.operation {
            Operation::Add => "checked_add",
            Operation::Subtract => "checked_subtract",
            Operation::Multiply => "checked_multiply",
            Operation::Negate => "checked_negate",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arguments: &[DataType]) -> Result<DataType> {
        arguments.first().cloned().ok_or_else(|| {
            DataFusionError::Internal("checked arithmetic without an argument".to_owned())
        })
    }

    /// Null only where an argument may be: as the operator that it stands for, or the plans around
    /// it would not fit any more.
    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let types: Vec<DataType> =
            args.arg_fields.iter().map(|field| field.data_type().clone()).collect();
        let nullable = args.arg_fields.iter().any(|field| field.is_nullable());
        Ok(Arc::new(Field::new(self.name(), self.return_type(&types)?, nullable)))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match (self.operation, args.args.as_slice()) {
            (Operation::Add, [left, right]) => apply(left, right, numeric::add),
            (Operation::Subtract, [left, right]) => apply(left, right, numeric::sub),
            (Operation::Multiply, [left, right]) => apply(left, right, numeric::mul),
            (Operation::Negate, [value]) => {
                apply(value, value, |value, _| numeric::neg(value.get().0))
            }
            _ => Err(DataFusionError::Internal("checked arithmetic: wrong arity".to_owned())),
        }
    }
}

//! Filters go down a plan only where names tell columns apart.

use std::collections::BTreeSet;
use std::sync::Arc;

use datafusion::common::Result;
use datafusion::config::ConfigOptions;
use datafusion::physical_optimizer::PhysicalOptimizerRule;
use datafusion::physical_plan::{ExecutionPlan, replace_children_if_necessary};

/// What the engine's rules that push filters down are called.
const NAMED: &str = "FilterPushdown";

/// One of the engine's rules that push filters down, for the parts of a plan in which each node's
/// columns have names of their own. The engine looks for a filter's column in what lies below by its
/// name and takes the first that has it (datafusion 55.2, `FilterRemapper`). Below a join whose sides
/// have a column of the same name that may be the other side's: a filter on the side that may be
/// missing went down the side that is kept, and rows came that it leaves out.
#[derive(Debug)]
struct ByName(Arc<dyn PhysicalOptimizerRule + Send + Sync>);

impl PhysicalOptimizerRule for ByName {
    fn optimize(
        &self,
        plan: Arc<dyn ExecutionPlan>,
        config: &ConfigOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        if names_are_unique(&plan) {
            return self.0.optimize(plan, config);
        }
        let mut children = Vec::new();
        for child in plan.children() {
            children.push(self.optimize(Arc::clone(child), config)?);
        }
        replace_children_if_necessary(plan, children)
    }

    fn name(&self) -> &str {
        self.0.name()
    }

    fn schema_check(&self) -> bool {
        self.0.schema_check()
    }
}

/// Whether no node of a plan has two columns of one name.
fn names_are_unique(plan: &Arc<dyn ExecutionPlan>) -> bool {
    let schema = plan.schema();
    let names: BTreeSet<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    names.len() == schema.fields().len() && plan.children().into_iter().all(names_are_unique)
}

/// The rules of a session, with filters pushed down by names that are unique.
pub(crate) fn by_unique_names(
    rules: &[Arc<dyn PhysicalOptimizerRule + Send + Sync>],
) -> Vec<Arc<dyn PhysicalOptimizerRule + Send + Sync>> {
    let careful = |rule: &Arc<dyn PhysicalOptimizerRule + Send + Sync>| {
        if rule.name().starts_with(NAMED) {
            Arc::new(ByName(Arc::clone(rule))) as Arc<dyn PhysicalOptimizerRule + Send + Sync>
        } else {
            Arc::clone(rule)
        }
    };
    rules.iter().map(careful).collect()
}

#[cfg(test)]
mod tests {
    use datafusion::execution::session_state::SessionStateBuilder;

    use super::*;

    /// Both rules are there by the name that they are looked for by.
    #[test]
    fn the_engine_has_the_rules_that_are_kept_in_check() {
        let state = SessionStateBuilder::new().with_default_features().build();
        let rules = by_unique_names(state.physical_optimizers());
        let kept = rules.iter().filter(|rule| rule.name().starts_with(NAMED));
        assert_eq!(kept.count(), 2, "{rules:?}");
        assert_eq!(format!("{rules:?}").matches("ByName(").count(), 2, "{rules:?}");
    }
}

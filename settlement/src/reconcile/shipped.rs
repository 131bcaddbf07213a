//! The mappings that ship with Tally, by name.

use super::error::ReconcileError;
use super::mapping::BillMapping;

const SHIPPED: [(&str, &str); 7] = [
    ("anthropic-cost", include_str!("../../data/mappings/anthropic-cost.toml")),
    ("anthropic-usage", include_str!("../../data/mappings/anthropic-usage.toml")),
    ("deepseek-amount", include_str!("../../data/mappings/deepseek-amount.toml")),
    ("deepseek-cost", include_str!("../../data/mappings/deepseek-cost.toml")),
    ("openai-cost", include_str!("../../data/mappings/openai-cost.toml")),
    ("openai-usage", include_str!("../../data/mappings/openai-usage.toml")),
    ("records-csv", include_str!("../../data/mappings/records-csv.toml")),
];

/// Names of the mappings that ship with Tally.
pub fn shipped_names() -> Vec<&'static str> {
    SHIPPED.iter().map(|(name, _)| *name).collect()
}

/// A mapping that ships with Tally, with its text; `None` where there is none of this name.
///
/// # Errors
/// Never in a build whose tests pass.
pub fn shipped_mapping(name: &str) -> Option<Result<(BillMapping, &'static str), ReconcileError>> {
    let (name, text) = SHIPPED.iter().find(|(shipped, _)| *shipped == name)?;
    Some(BillMapping::parse(name, text).map(|mapping| (mapping, *text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shipped_mapping_can_be_read() {
        for name in shipped_names() {
            let (mapping, _) = shipped_mapping(name).unwrap().unwrap();
            assert_eq!(mapping.name, name);
        }
        assert!(shipped_mapping("no-such-mapping").is_none());
    }
}

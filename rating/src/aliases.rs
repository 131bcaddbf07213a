//! Model aliases: effective-dated names, the vendor behind each and the model that is billed.

use std::collections::BTreeMap;

/// What a requested model stands for at one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resolved<'a> {
    /// Vendor of the model.
    pub vendor: &'a str,
    /// Model that the vendor bills.
    pub billed_model: &'a str,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Alias {
    from_ms: i64,
    vendor: String,
    billed_model: String,
}

/// Model names with the vendor and billed model of each, by valid time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ModelAliases {
    version: String,
    by_model: BTreeMap<String, Vec<Alias>>,
}

/// 2026-09-10T12:00:00+08:00: `deepseek-flash` becomes the name of the V4 flash models.
const FLASH_RENAMED_MS: i64 = 1_789_012_800_000;

impl ModelAliases {
    /// The names that ship with Tally. DeepSeek's renaming of its flash models is the one of
    /// 2026-09-10 12:00 Beijing time; the announced billing of V4-Pro as flash from 2026-09-14
    /// was not carried out and is therefore absent.
    pub fn builtin() -> Self {
        let mut aliases = Self { version: "builtin-1".to_owned(), by_model: BTreeMap::new() };
        for (model, vendor) in [
            ("deepseek-v4-pro", "deepseek"),
            ("deepseek-flash", "deepseek"),
            ("deepseek-v4-flash", "deepseek"),
            ("deepseek-v4-flash-vision-exp", "deepseek"),
            ("glm-5", "zhipu"),
            ("qwen3-max", "qwen"),
            ("doubao-seed-2.1-pro", "bytedance"),
            ("claude-opus", "anthropic"),
            ("gpt-5.5", "openai"),
        ] {
            aliases.insert(model, 0, vendor, model);
        }
        for model in ["deepseek-v4-flash", "deepseek-v4-flash-vision-exp"] {
            aliases.insert(model, FLASH_RENAMED_MS, "deepseek", "deepseek-flash");
        }
        aliases
    }

    /// From `from_ms` on, requests of `model` are `vendor`'s and billed as `billed_model`.
    pub fn insert(&mut self, model: &str, from_ms: i64, vendor: &str, billed_model: &str) {
        let history = self.by_model.entry(model.to_owned()).or_default();
        history.push(Alias {
            from_ms,
            vendor: vendor.to_owned(),
            billed_model: billed_model.to_owned(),
        });
        history.sort_by_key(|alias| alias.from_ms);
    }

    /// Version of the list, recorded with every epoch.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What `model` stands for at `at_ms`; `None` where no alias is known at that time.
    pub fn resolve(&self, model: &str, at_ms: i64) -> Option<Resolved<'_>> {
        let history = self.by_model.get(model)?;
        let alias = history.iter().rev().find(|alias| alias.from_ms <= at_ms)?;
        Some(Resolved { vendor: &alias.vendor, billed_model: &alias.billed_model })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flash_is_billed_under_its_new_name_from_the_millisecond_of_the_change() {
        let aliases = ModelAliases::builtin();
        let billed = |at| aliases.resolve("deepseek-v4-flash", at).map(|r| r.billed_model);
        assert_eq!(billed(FLASH_RENAMED_MS - 1), Some("deepseek-v4-flash"));
        assert_eq!(billed(FLASH_RENAMED_MS), Some("deepseek-flash"));
        // 2026-09-10T04:00:00Z is noon in Beijing.
        assert_eq!(FLASH_RENAMED_MS, 1_788_998_400_000 + 4 * 3_600_000);
    }

    #[test]
    fn an_unknown_model_has_no_vendor() {
        assert_eq!(ModelAliases::builtin().resolve("nobody-1", 0), None);
    }
}

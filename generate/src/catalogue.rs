//! The models that synthetic traffic asks for: thirty of ten vendors.

/// What a model does besides text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Modality {
    Text,
    /// Reasons before it answers.
    Thinking,
    /// Reads images.
    Vision,
    /// Makes images, counted.
    Images,
    /// Hears and speaks.
    Realtime,
    /// Speaks a text; characters are counted.
    Speech,
}

/// A model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Model {
    /// Name that is asked for.
    pub name: &'static str,
    /// Vendor.
    pub vendor: &'static str,
    /// Name that the vendor bills, where it is another.
    pub billed: Option<&'static str>,
    /// Another supplier that some calls go to.
    pub reseller: Option<&'static str>,
    pub(crate) modality: Modality,
    /// Whether the vendor charges for writing to its prompt cache.
    pub(crate) cache_writes: bool,
    /// Whether the shipped model aliases know the vendor, so that a gateway may leave it out.
    pub(crate) aliased: bool,
}

const fn model(vendor: &'static str, name: &'static str, modality: Modality) -> Model {
    Model {
        name,
        vendor,
        billed: None,
        reseller: None,
        modality,
        cache_writes: false,
        aliased: false,
    }
}

const fn aliased(vendor: &'static str, name: &'static str, modality: Modality) -> Model {
    Model { aliased: true, ..model(vendor, name, modality) }
}

use Modality::{Images, Realtime, Speech, Text, Thinking, Vision};

/// Vendors of the catalogue.
pub const VENDORS: [&str; 10] = [
    "deepseek",
    "qwen",
    "zhipu",
    "bytedance",
    "moonshot",
    "minimax",
    "baidu",
    "tencent",
    "anthropic",
    "openai",
];

/// The catalogue, the most used first.
pub const MODELS: [Model; 30] = [
    aliased("deepseek", "deepseek-flash", Text),
    aliased("qwen", "qwen3-max", Text),
    aliased("bytedance", "doubao-seed-2.1-pro", Text),
    aliased("deepseek", "deepseek-v4-pro", Thinking),
    Model { reseller: Some("bailian"), ..aliased("zhipu", "glm-5", Thinking) },
    Model { billed: Some("deepseek-flash"), ..aliased("deepseek", "deepseek-v4-flash", Text) },
    model("moonshot", "kimi-k3", Text),
    model("qwen", "qwen3-plus", Text),
    model("bytedance", "doubao-seed-2.1-lite", Text),
    model("minimax", "minimax-m3", Text),
    model("tencent", "hunyuan-turbos", Text),
    model("zhipu", "glm-5-air", Text),
    model("baidu", "ernie-6-turbo", Text),
    model("moonshot", "kimi-k3-thinking", Thinking),
    Model { cache_writes: true, ..model("anthropic", "claude-sonnet", Text) },
    aliased("openai", "gpt-5.5", Thinking),
    model("qwen", "qwen3-vl-plus", Vision),
    model("bytedance", "doubao-seed-2.1-vision", Vision),
    model("zhipu", "glm-5-flash", Text),
    model("openai", "gpt-5.5-mini", Text),
    model("tencent", "hunyuan-t2", Thinking),
    model("baidu", "ernie-6", Text),
    Model { cache_writes: true, ..aliased("anthropic", "claude-opus", Thinking) },
    model("minimax", "minimax-m3-lite", Text),
    model("moonshot", "kimi-k2-turbo", Text),
    Model { cache_writes: true, ..model("anthropic", "claude-haiku", Text) },
    model("tencent", "hunyuan-image", Images),
    model("baidu", "ernie-speed-pro", Text),
    model("openai", "gpt-realtime", Realtime),
    model("minimax", "minimax-speech", Speech),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn thirty_models_of_ten_vendors() {
        let names: BTreeSet<_> = MODELS.iter().map(|model| model.name).collect();
        let vendors: BTreeSet<_> = MODELS.iter().map(|model| model.vendor).collect();
        assert_eq!(names.len(), MODELS.len());
        assert_eq!(vendors, VENDORS.into_iter().collect());
    }
}

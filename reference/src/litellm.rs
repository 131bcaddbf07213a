//! LiteLLM's price map as files that can be imported: a candidate that nobody vouches for.
//!
//! The map is JSON: for each model `litellm_provider`, `mode` and prices in USD a unit, such as
//! `input_cost_per_token`. Prices are decimals, and are read as such from the text: a float would
//! make another price of some of them.

use std::collections::BTreeMap;

use serde_json::Value;
use tally_rating::{Book, instant_text};

use crate::error::ReferenceError;
use crate::finding::Finding;
use crate::stored::StoredFile;

/// What became of a price map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiteLlmFiles {
    /// Prices, and aliases of models that the book does not know yet.
    pub files: Vec<StoredFile>,
    /// Models that were taken.
    pub models: usize,
    /// What was left out, and why.
    pub left_out: Vec<String>,
}

/// A price of the map: its class and unit, by the key without suffixes.
const KEYS: [(&str, &str, &str); 12] = [
    ("input_cost_per_token", "input", "token"),
    ("output_cost_per_token", "output", "token"),
    ("cache_read_input_token_cost", "cached_input", "token"),
    ("cache_creation_input_token_cost", "cache_write_5m", "token"),
    ("cache_creation_input_token_cost_above_1hr", "cache_write_1h", "token"),
    ("input_cost_per_audio_token", "audio_input", "token"),
    ("output_cost_per_audio_token", "audio_output", "token"),
    ("input_cost_per_image_token", "image_input", "token"),
    ("output_cost_per_image_token", "image_output", "token"),
    ("output_cost_per_image", "images", "image"),
    ("input_cost_per_second", "seconds", "second"),
    ("input_cost_per_character", "characters", "character"),
];

/// Columns of the price file.
const COLUMNS: [&str; 14] = [
    "price_id",
    "side",
    "vendor",
    "model_pattern",
    "class",
    "unit",
    "currency",
    "price_micro_per_million",
    "tier_basis",
    "tier_from",
    "tier_to",
    "service_tier",
    "valid_from",
    "source",
];

/// Endings of keys that stand for another service tier.
const TIERS: [(&str, &str); 3] =
    [("_batches", "batch"), ("_flex", "flex"), ("_priority", "priority")];

/// Part of keys of prices that hold above so many tokens of context.
const ABOVE: &str = "_above_";
const TOKENS: &str = "k_tokens";

/// What a key of the map prices.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Priced {
    class: &'static str,
    unit: &'static str,
    service_tier: &'static str,
    /// Tokens of context above which it holds.
    above: u64,
}

fn priced(key: &str) -> Option<Priced> {
    let (rest, service_tier) = TIERS
        .iter()
        .find_map(|(ending, tier)| Some((key.strip_suffix(ending)?, *tier)))
        .unwrap_or((key, "standard"));
    let known = |name: &str| KEYS.iter().find(|(key, ..)| *key == name);
    if let Some((_, class, unit)) = known(rest) {
        return Some(Priced { class, unit, service_tier, above: 0 });
    }
    let (name, above) = rest.strip_suffix(TOKENS)?.rsplit_once(ABOVE)?;
    let (_, class, unit) = known(name)?;
    let above = above.parse::<u64>().ok()?.checked_mul(1_000)?;
    Some(Priced { class, unit, service_tier, above })
}

/// Micro-currency a million units of a decimal of currency a unit; `None` where that is not a
/// whole number of 64 bits.
fn micro_per_million(decimal: &str) -> Option<u64> {
    let (mantissa, exponent) = match decimal.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
        None => (decimal, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let kept = digits.trim_end_matches('0');
    if kept.is_empty() {
        return Some(0);
    }
    let dropped = i64::try_from(digits.len() - kept.len()).ok()?;
    let places = i64::try_from(fraction.len()).ok()?;
    // A micro of a million is the unit's price times 10^12. An exponent of 32 bits and the length
    // of a text are far from the limits of 64.
    let scale = i64::from(exponent) + 12 - places + dropped;
    let factor = 10_u64.checked_pow(u32::try_from(scale).ok()?)?;
    kept.parse::<u64>().ok()?.checked_mul(factor)
}

/// The same JSON with every number as a text, so that reading it makes no float of any.
fn numbers_as_texts(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    let (mut in_text, mut escaped, mut in_number) = (false, false, false);
    for character in json.chars() {
        let numeric = matches!(character, '0'..='9' | '+' | '-' | '.')
            || (in_number && matches!(character, 'e' | 'E'));
        if !in_text && numeric != in_number {
            out.push('"');
            in_number = numeric;
        }
        if in_text {
            in_text = escaped || character != '"';
            escaped = !escaped && character == '\\';
        } else {
            in_text = character == '"';
        }
        out.push(character);
    }
    if in_number {
        out.push('"');
    }
    out
}

/// Turns a price map into files. Prices hold from `valid_from_ms` on; `is_wanted` says which
/// models are taken, `book` which names have an alias already.
///
/// # Errors
/// `Unreadable` where the text is no price map, or nothing in it is wanted.
pub fn read_litellm(
    name: &str,
    text: &str,
    valid_from_ms: i64,
    is_wanted: impl Fn(&str) -> bool,
    book: &Book,
) -> Result<LiteLlmFiles, ReferenceError> {
    let unreadable = |message: String| {
        ReferenceError::Unreadable(vec![Finding::new("unreadable", format!("{name}: {message}"))])
    };
    let map: BTreeMap<String, Value> = serde_json::from_str(&numbers_as_texts(text))
        .map_err(|error| unreadable(error.to_string()))?;
    let valid_from = instant_text(valid_from_ms);
    let source = format!("LiteLLM price map {name}, unverified");
    let mut writer = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| unreadable(error.to_string());
    writer.write_record(COLUMNS).map_err(failed)?;
    let mut aliases = String::new();
    let (mut models, mut left_out) = (0, Vec::new());
    for (model, entry) in
        map.iter().filter(|(model, _)| *model != "sample_spec" && is_wanted(model))
    {
        let Some(vendor) = entry.get("litellm_provider").and_then(Value::as_str) else {
            left_out.push(format!("{model}: has no litellm_provider"));
            continue;
        };
        if model.is_empty() || model.contains('*') {
            left_out.push(format!("{model:?}: is not the name of one model"));
            continue;
        }
        let rows = prices_of(model, entry, &mut left_out);
        if rows.is_empty() {
            left_out.push(format!("{model}: has no price of a kind that is known"));
            continue;
        }
        models += 1;
        for (priced, (micro, tier_to)) in &rows {
            let Priced { class, unit, service_tier, above } = priced;
            let tiered = *above > 0 || tier_to.is_some();
            let id = format!("litellm.{vendor}.{model}.{class}.{service_tier}.{above}");
            let micro = micro.to_string();
            let tier_from = if tiered { above.to_string() } else { String::new() };
            let tier_to = tier_to.map(|to| to.to_string()).unwrap_or_default();
            let fields: [&str; COLUMNS.len()] = [
                &id,
                "wholesale",
                vendor,
                model,
                class,
                unit,
                "USD",
                &micro,
                if tiered { "context" } else { "" },
                &tier_from,
                &tier_to,
                service_tier,
                &valid_from,
                &source,
            ];
            writer.write_record(fields).map_err(failed)?;
        }
        if !book.aliases().iter().any(|alias| alias.model == *model) {
            let alias = toml::Table::from_iter(
                [
                    ("id", format!("litellm.{model}")),
                    ("model", model.clone()),
                    ("vendor", vendor.to_owned()),
                    ("billed_model", model.clone()),
                    ("valid_from", valid_from.clone()),
                    ("source", source.clone()),
                ]
                .map(|(key, value)| (key.to_owned(), toml::Value::String(value))),
            );
            aliases.push_str(&format!("[[alias]]\n{alias}\n"));
        }
    }
    if models == 0 {
        return Err(unreadable("no model in it is wanted and has a price".to_owned()));
    }
    let bytes = writer.into_inner().map_err(|error| unreadable(error.to_string()))?;
    let prices = String::from_utf8(bytes).map_err(|error| unreadable(error.to_string()))?;
    let stem = name.trim_end_matches(".json");
    let mut files = vec![StoredFile { name: format!("{stem}.prices.csv"), text: prices }];
    if !aliases.is_empty() {
        files.push(StoredFile { name: format!("{stem}.aliases.toml"), text: aliases });
    }
    Ok(LiteLlmFiles { files, models, left_out })
}

/// The prices of a model, each with where its tier ends.
fn prices_of(
    model: &str,
    entry: &Value,
    left_out: &mut Vec<String>,
) -> BTreeMap<Priced, (u64, Option<u64>)> {
    let mut rows: BTreeMap<Priced, (u64, Option<u64>)> = BTreeMap::new();
    for (key, value) in
        entry.as_object().into_iter().flatten().filter(|(key, _)| key.contains("cost"))
    {
        if value.is_null() {
            continue;
        }
        let (Some(priced), Some(decimal)) = (priced(key), value.as_str()) else {
            left_out.push(format!("{model}: {key}: is not a price that Tally has"));
            continue;
        };
        match micro_per_million(decimal) {
            // Whether something is free is for a person to say.
            Some(0) => left_out.push(format!("{model}: {key}: is zero")),
            Some(micro) => drop(rows.insert(priced, (micro, None))),
            None => left_out.push(format!(
                "{model}: {key}: {decimal} USD is not a whole number of micro-dollars a million, or beyond 64 bits"
            )),
        }
    }
    // A tier ends where the next one of the same thing begins.
    let starts: Vec<Priced> = rows.keys().cloned().collect();
    for (priced, (_, tier_to)) in &mut rows {
        let same_thing = |other: &&Priced| {
            (other.class, other.service_tier) == (priced.class, priced.service_tier)
                && other.above > priced.above
        };
        *tier_to = starts.iter().filter(same_thing).map(|other| other.above).min();
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_read_exactly_from_their_text() {
        for (text, micro) in [
            ("1.5e-07", Some(150_000)),
            ("0.00000015", Some(150_000)),
            ("3E-6", Some(3_000_000)),
            ("2.5e-06", Some(2_500_000)),
            // As f64 × 10^12 these come out as 71999.99… and 1100000.0000000001.
            ("7.2e-08", Some(72_000)),
            ("1.1e-06", Some(1_100_000)),
            ("0.0", Some(0)),
            ("0", Some(0)),
            ("1e-12", Some(1)),
            ("1e-13", None),
            ("12.000", Some(12_000_000_000_000)),
            ("1e9", None),
            ("1e2147483647", None),
            ("100e2147483647", None),
            ("1e-2147483648", None),
            ("0.1e-2147483648", None),
            ("1e2147483648", None),
            ("1e", None),
            ("0e2147483647", Some(0)),
            ("18446744073709551615e-12", Some(u64::MAX)),
            ("18446744073709551616e-12", None),
            ("-1e-06", None),
            ("", None),
            (".", None),
            ("1.2.3", None),
        ] {
            assert_eq!(micro_per_million(text), micro, "{text}");
        }
    }

    #[test]
    fn numbers_become_texts_and_texts_stay() {
        let json = r#"{"a-1": [1.5e-07, -2, 3], "b\"4,5": "6.7", "c": {"d":8}, "e": true, "f":9}"#;
        let texts: Value = serde_json::from_str(&numbers_as_texts(json)).unwrap();
        assert_eq!(
            texts,
            serde_json::json!({"a-1": ["1.5e-07", "-2", "3"], "b\"4,5": "6.7", "c": {"d": "8"},
                               "e": true, "f": "9"})
        );
        assert_eq!(numbers_as_texts("12"), "\"12\"");
    }

    #[test]
    fn keys_name_class_tier_and_service_tier() {
        let what = |key| priced(key).map(|p| (p.class, p.service_tier, p.above));
        assert_eq!(what("input_cost_per_token"), Some(("input", "standard", 0)));
        assert_eq!(what("output_cost_per_token_batches"), Some(("output", "batch", 0)));
        let above = what("cache_read_input_token_cost_above_200k_tokens_priority");
        assert_eq!(above, Some(("cached_input", "priority", 200_000)));
        let hour = what("cache_creation_input_token_cost_above_1hr");
        assert_eq!(hour, Some(("cache_write_1h", "standard", 0)));
        assert_eq!(what("search_context_cost_per_query"), None);
        assert_eq!(what("input_cost_per_token_above_k_tokens"), None);
    }
}

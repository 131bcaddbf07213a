//! The prices of a simulated run, as a book for the core and as a few lines for the oracle.

use std::fmt::Write as _;
use std::sync::Arc;

use tally_quota::QuotaReference;
use tally_rating::{Book, BookFile, RateCard};
use tally_schemas::TokenClass;

use super::simulated_log::Sent;
use super::workload::BEGIN_MS;
use crate::core::ReferenceData;

/// Midnight in Shanghai, which runs cross: prices of `glm-5` rise.
const RISE_MS: i64 = BEGIN_MS + 120_000;

/// Classes that simulated events have. `house-1` has no price for images.
const PRICED: [TokenClass; 4] =
    [TokenClass::Input, TokenClass::CachedInput, TokenClass::Output, TokenClass::Images];

/// Micro-currency per million of a class; by itself, so that classes cannot stand in for each
/// other.
const fn base(class: TokenClass) -> u64 {
    (class.index() as u64 + 1) * 1_003
}

/// Small packages, so that a run of a few hundred events uses many of them up.
const PACKAGES: &str = r#"
[[tariff]]
id = "payg"
title = "pay as you go"
title_en = "pay as you go"
currency = "CNY"
price_micro_per_million_points = 2500001
thresholds = [{ kind = "overflow_spent", at = 20000 }]
known_from = "1970-01-01"
source = "simulation"
approved_by = "a"
approved_at = "1970-01-01"

[[package]]
id = "small"
title = "small"
title_en = "small"
price_micro = 1234567
currency = "CNY"
period = { hours = 1 }
anchor = "purchase"
allowance_micro = 30000000001
weights = "default"
kind = "paid"
priority = 100
directed = false
models = ["*"]
products = []
rollover = "next_period"
caps = [{ window = "rolling_5h", limit_micro = 50000000000 }]
thresholds = [{ kind = "percent_used", at = 5 }, { kind = "percent_used", at = 10 }, { kind = "percent_used", at = 20 }, { kind = "percent_used", at = 35 }, { kind = "percent_used", at = 50 }, { kind = "percent_used", at = 65 }, { kind = "percent_used", at = 80 }, { kind = "percent_used", at = 90 }, { kind = "percent_used", at = 100 }, { kind = "expires_soon", at = 1 }]
overflow = "payg"
stacking = "queue"
funded_by = "operator"
example = true
source = "simulation"
valid_from = "1970-01-01"
known_from = "1970-01-01"
approved_by = "a"
approved_at = "1970-01-01"

[[package]]
id = "trial"
title = "trial"
title_en = "trial"
price_micro = 0
currency = "CNY"
period = { days = 1 }
anchor = "calendar"
allowance_micro = 15000000000
weights = "default"
kind = "trial"
priority = 50
directed = true
models = ["glm-5"]
products = []
rollover = "none"
caps = []
thresholds = [{ kind = "percent_used", at = 100 }]
overflow = "block"
stacking = "parallel"
funded_by = "vendor"
example = true
source = "simulation"
valid_from = "1970-01-01"
known_from = "1970-01-01"
approved_by = "a"
approved_at = "1970-01-01"
"#;

/// Prices and packages of a run.
pub(super) fn reference() -> ReferenceData {
    let packages = QuotaReference::from_toml(PACKAGES).unwrap();
    ReferenceData { card: Arc::new(card()), packages: Arc::new(packages) }
}

fn card() -> RateCard {
    let mut text = String::new();
    for (model, vendor) in [("glm-5", "zhipu"), ("qwen3-max", "qwen")] {
        let known = "valid_from = \"1970-01-01\"\nknown_from = \"1970-01-01\"\napproved_by = \"a\"\napproved_at = \"1970-01-01\"";
        writeln!(
            text,
            "[[alias]]\nid = \"{model}\"\nmodel = \"{model}\"\nvendor = \"{vendor}\"\nbilled_model = \"{model}\"\n{known}"
        )
        .unwrap();
    }
    let rise = format!("{}", jiff::Timestamp::from_millisecond(RISE_MS).unwrap());
    let began = "1970-01-01T00:00:00Z";
    let mut price = |id: String,
                     model: &str,
                     vendor: &str,
                     class: TokenClass,
                     currency: &str,
                     micro: u64,
                     when: (&str, &str),
                     tier: &str| {
        let unit = if class == TokenClass::Images { "image" } else { "token" };
        writeln!(
            text,
            "[[price]]\nprice_id = \"{id}\"\nside = \"wholesale\"\nvendor = \"{vendor}\"\nmodel_pattern = \"{model}\"\nclass = \"{class}\"\nunit = \"{unit}\"\ncurrency = \"{currency}\"\nprice_micro_per_million = {micro}\nservice_tier = \"*\"\nvalid_from = \"{}\"\nvalid_to = \"{}\"\nknown_from = \"1970-01-01\"\napproved_by = \"a\"\napproved_at = \"1970-01-01\"\n{tier}",
            when.0, when.1
        )
        .unwrap();
    };
    for class in PRICED {
        let before = (began, rise.as_str());
        price(format!("g1.{class}"), "glm-5", "zhipu", class, "CNY", base(class), before, "");
        let after = (rise.as_str(), "");
        price(format!("g2.{class}"), "glm-5", "zhipu", class, "CNY", base(class) * 2, after, "");
        let low = "tier_basis = \"context\"\ntier_from = 0\ntier_to = 4000";
        price(
            format!("q1.{class}"),
            "qwen3-max",
            "qwen",
            class,
            "USD",
            base(class) * 3,
            (began, ""),
            low,
        );
        let high = "tier_basis = \"context\"\ntier_from = 4000";
        price(
            format!("q2.{class}"),
            "qwen3-max",
            "qwen",
            class,
            "USD",
            base(class) * 5,
            (began, ""),
            high,
        );
        if class != TokenClass::Images {
            price(
                format!("h.{class}"),
                "house-*",
                "acme",
                class,
                "CNY",
                base(class) * 7,
                (began, ""),
                "",
            );
        }
    }
    let book = Book::read(&[BookFile { name: "simulated.toml", text: &text }]).unwrap();
    assert_eq!(book.lint(), vec![]);
    RateCard::new(&book, None)
}

/// Currency and pico-currency of an event; `None` where it has no price.
pub(super) fn wholesale(event: &Sent) -> Option<(&'static str, i128)> {
    let context =
        event.counts[TokenClass::Input.index()] + event.counts[TokenClass::CachedInput.index()];
    let (currency, times) = match event.model {
        "glm-5" if event.completed_at_ms < RISE_MS => ("CNY", 1),
        "glm-5" => ("CNY", 2),
        "qwen3-max" if context <= 4_000 => ("USD", 3),
        "qwen3-max" => ("USD", 5),
        _ if event.counts[TokenClass::Images.index()] > 0 => return None,
        _ => ("CNY", 7),
    };
    let amount = PRICED.map(|class| i128::from(base(class) * times * event.counts[class.index()]));
    Some((currency, amount.into_iter().sum()))
}

/// Micro-points of an event: one point a token.
pub(super) fn points_micro(event: &Sent) -> i128 {
    let tokens = [TokenClass::Input, TokenClass::CachedInput, TokenClass::Output];
    tokens.into_iter().map(|class| i128::from(event.counts[class.index()]) * 1_000_000).sum()
}

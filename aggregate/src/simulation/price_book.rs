//! The prices of a simulated run, as a book for the core and as a few lines for the oracle.

use std::fmt::Write as _;
use std::sync::Arc;

use tally_quota::{PackageFile, PackageLayer, QuotaReference};
use tally_rating::{Book, BookFile, BookLayer, RateCard};
use tally_schemas::{ReferenceVersion, TokenClass};

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

/// Editions of a run's reference data. The first raises the prices of `glm-5`, sells and charges
/// otherwise, and knows `nobody-1`; the second raises them again, and prices the images of `house-*`.
pub(super) const EDITIONS: usize = 3;

/// What each edition multiplies the prices of `glm-5` by.
const FACTORS: [u64; EDITIONS] = [1, 11, 13];

/// When each edition's records become known.
const KNOWN: [&str; EDITIONS] = ["1970-01-01", "1970-01-02", "1970-01-03"];

/// Prices and packages of a run, as one edition has them.
pub(super) fn edition(number: usize) -> ReferenceData {
    let books: Vec<String> = (0..=number).map(book_layer).collect();
    let layers: Vec<BookLayer<'_>> = books
        .iter()
        .map(|text| BookLayer {
            files: vec![BookFile { name: "simulated.toml", text }],
            approval: None,
        })
        .collect();
    let book = Book::read_layers(&layers).unwrap();
    assert_eq!(book.lint(), vec![]);
    let packages: Vec<String> = (0..=number.min(1)).map(package_layer).collect();
    let layers: Vec<PackageLayer<'_>> = packages
        .iter()
        .map(|text| PackageLayer {
            files: vec![PackageFile { name: "simulated.toml", text }],
            approval: None,
        })
        .collect();
    ReferenceData {
        version: ReferenceVersion {
            edition: number as u64,
            known_at_ms: 0,
            hash: format!("{number:04x}"),
        },
        card: Arc::new(RateCard::new(&book, None)),
        packages: Arc::new(QuotaReference::read_layers(&layers).unwrap()),
    }
}

/// Packages that an edition adds: later ones cost and give other amounts.
fn package_layer(edition: usize) -> String {
    if edition == 0 {
        return PACKAGES.to_owned();
    }
    PACKAGES
        .replace("known_from = \"1970-01-01\"", &format!("known_from = \"{}\"", KNOWN[edition]))
        .replace("2500001", "3100003")
        .replace("price_micro = 1234567", "price_micro = 7654321")
        .replace("30000000001", "22000000003")
        .replace("15000000000", "11000000000")
}

/// Records that an edition adds to the book.
fn book_layer(edition: usize) -> String {
    let known = KNOWN[edition];
    let mut text = String::new();
    if edition == 0 {
        for (model, vendor) in [("glm-5", "zhipu"), ("qwen3-max", "qwen")] {
            let known = "valid_from = \"1970-01-01\"\nknown_from = \"1970-01-01\"\napproved_by = \"a\"\napproved_at = \"1970-01-01\"";
            writeln!(
                text,
                "[[alias]]\nid = \"{model}\"\nmodel = \"{model}\"\nvendor = \"{vendor}\"\nbilled_model = \"{model}\"\n{known}"
            )
            .unwrap();
        }
    }
    if edition == 1 {
        // Before that nobody knows whose model it is.
        writeln!(
            text,
            "[[alias]]\nid = \"nobody-1\"\nmodel = \"nobody-1\"\nvendor = \"acme\"\nbilled_model = \"house-1\"\nvalid_from = \"1970-01-01\"\nknown_from = \"{known}\"\napproved_by = \"a\"\napproved_at = \"{known}\""
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
            "[[price]]\nprice_id = \"{id}\"\nside = \"wholesale\"\nvendor = \"{vendor}\"\nmodel_pattern = \"{model}\"\nclass = \"{class}\"\nunit = \"{unit}\"\ncurrency = \"{currency}\"\nprice_micro_per_million = {micro}\nservice_tier = \"*\"\nvalid_from = \"{}\"\nvalid_to = \"{}\"\nknown_from = \"{known}\"\napproved_by = \"a\"\napproved_at = \"{known}\"\n{tier}",
            when.0, when.1
        )
        .unwrap();
    };
    let factor = FACTORS[edition];
    for class in PRICED {
        let micro = base(class) * factor;
        let before = (began, rise.as_str());
        price(format!("g1.{class}"), "glm-5", "zhipu", class, "CNY", micro, before, "");
        let after = (rise.as_str(), "");
        price(format!("g2.{class}"), "glm-5", "zhipu", class, "CNY", micro * 2, after, "");
        let always = (began, "");
        if edition == 2 && class == TokenClass::Images {
            let micro = base(class) * 7;
            price(format!("h.{class}"), "house-*", "acme", class, "CNY", micro, always, "");
        }
        if edition > 0 {
            continue;
        }
        let low = "tier_basis = \"context\"\ntier_from = 0\ntier_to = 4000";
        let micro = base(class) * 3;
        price(format!("q1.{class}"), "qwen3-max", "qwen", class, "USD", micro, always, low);
        let high = "tier_basis = \"context\"\ntier_from = 4000";
        let micro = base(class) * 5;
        price(format!("q2.{class}"), "qwen3-max", "qwen", class, "USD", micro, always, high);
        if class != TokenClass::Images {
            let micro = base(class) * 7;
            price(format!("h.{class}"), "house-*", "acme", class, "CNY", micro, always, "");
        }
    }
    text
}

/// Who is behind the model of an event, by an edition.
pub(super) fn vendor(event: &Sent, edition: u64) -> Option<&'static str> {
    event.vendor.or(match event.model {
        "glm-5" => Some("zhipu"),
        "qwen3-max" => Some("qwen"),
        "nobody-1" if edition > 0 => Some("acme"),
        _ => None,
    })
}

/// Currency and pico-currency of an event by an edition; `None` where it has no price.
pub(super) fn wholesale(event: &Sent, edition: u64) -> Option<(&'static str, i128)> {
    let context =
        event.counts[TokenClass::Input.index()] + event.counts[TokenClass::CachedInput.index()];
    let factor = FACTORS[usize::try_from(edition).unwrap()];
    let (currency, times) = match event.model {
        "glm-5" if event.completed_at_ms < RISE_MS => ("CNY", factor),
        "glm-5" => ("CNY", 2 * factor),
        "qwen3-max" if context <= 4_000 => ("USD", 3),
        "qwen3-max" => ("USD", 5),
        _ if edition < 2 && event.counts[TokenClass::Images.index()] > 0 => return None,
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

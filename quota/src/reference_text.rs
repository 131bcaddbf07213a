//! Reference data from text: every record is read to its end, so that all problems come at once.

use serde_json::Value;
use tally_schemas::Currency;

use crate::fields::Fields;
use crate::package::{
    Anchor, Cap, OverflowPolicy, Package, PackageKind, Period, Rollover, Stacking, Tariff,
    Threshold, ThresholdKind, name_hash, version_hash,
};
use crate::reference::{Problem, QuotaReference, ReferenceError};
use crate::reference_lint::{lint_packages, lint_tariffs, lint_thresholds};
use crate::window::Window;

pub(crate) fn read_toml(text: &str) -> Result<QuotaReference, ReferenceError> {
    let value: Value = toml::from_str(text).map_err(|error| unreadable(&error.to_string()))?;
    read(&value, ["package", "tariff", "account_threshold"])
}

pub(crate) fn read_json(value: &Value) -> Result<QuotaReference, ReferenceError> {
    read(value, ["packages", "tariffs", "account_thresholds"])
}

fn unreadable(message: &str) -> ReferenceError {
    let message = message.trim_end().to_owned();
    let (record, field) = ("reference".to_owned(), "text".to_owned());
    ReferenceError { problems: vec![Problem { record, field, message }] }
}

fn read(value: &Value, names: [&'static str; 3]) -> Result<QuotaReference, ReferenceError> {
    let mut problems = Vec::new();
    let mut top = Fields::new("reference", "", value, &mut problems);
    let lists = names.map(|name| top.list(name));
    top.finish();
    let mut packages = Vec::new();
    for (value, number) in lists[0].iter().zip(0..) {
        packages.extend(read_package(&label(names[0], number, value), value, &mut problems));
    }
    let mut tariffs = Vec::new();
    for (value, number) in lists[1].iter().zip(0..) {
        tariffs.extend(read_tariff(&label(names[1], number, value), value, &mut problems));
    }
    let mut thresholds = Vec::new();
    for (value, number) in lists[2].iter().zip(0..) {
        let label = label(names[2], number, value);
        let fields = Fields::new(&label, "", value, &mut problems);
        thresholds.extend(read_threshold(fields));
    }
    lint_packages(&packages, &mut problems);
    lint_tariffs(&tariffs, &mut problems);
    lint_thresholds(names[2], &thresholds, true, &mut problems);
    if problems.is_empty() {
        Ok(QuotaReference::new(packages, tariffs, thresholds))
    } else {
        Err(ReferenceError { problems })
    }
}

fn label(list: &str, number: usize, value: &Value) -> String {
    match value.get("id").and_then(Value::as_str) {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => format!("{list}[{number}]"),
    }
}

fn currency(fields: &mut Fields<'_, '_>) -> Option<Currency> {
    fields.word("currency", Currency::parse, "the ISO 4217 codes, such as CNY")
}

/// Reads a package. Where something is wrong there is a problem for it, and no package.
fn read_package(label: &str, value: &Value, problems: &mut Vec<Problem>) -> Option<Package> {
    let mut fields = Fields::new(label, "", value, problems);
    let id = fields.required_text("id");
    let title = fields.required_text("title");
    let title_en = fields.required_text("title_en");
    let price_micro = fields.required_integer("price_micro");
    let currency = currency(&mut fields);
    let period = read_period(&mut fields);
    let anchor = fields.word("anchor", anchor, "purchase, calendar");
    let allowance_micro = fields.required_integer("allowance_micro");
    let weights = fields.required_text("weights");
    let kind = fields.word("kind", kind, "paid, trial, free");
    let priority = fields.required_integer("priority");
    let directed = fields.flag("directed");
    let models = fields.texts("models");
    let products = fields.texts("products");
    let rollover = read_rollover(&mut fields);
    let caps = read_caps(&mut fields);
    let thresholds = read_thresholds(&mut fields);
    let overflow = fields.word("overflow", overflow, "block, payg, throttle");
    let stacking = fields.word("stacking", stacking, "queue, parallel");
    let funded_by = fields.word("funded_by", funded_by, "operator, vendor, shared");
    let region = fields.text("region").map(str::to_owned);
    let example = fields.flag("example");
    let source = fields.required_text("source");
    let valid_from_ms = fields.required_instant("valid_from");
    let valid_to_ms = fields.instant("valid_to");
    let known_from_ms = fields.required_instant("known_from");
    let approved_by = fields.text("approved_by").map(str::to_owned);
    let approved_at_ms = fields.instant("approved_at");
    fields.finish();
    Some(Package {
        hash: version_hash(id?, known_from_ms?),
        id_hash: name_hash(id?),
        counted: Vec::new(),
        watched: false,
        id: id?.to_owned(),
        title: title?.to_owned(),
        title_en: title_en?.to_owned(),
        price_micro: price_micro?,
        currency: currency?,
        period: period?,
        anchor: anchor?,
        allowance_micro: allowance_micro?,
        weights: weights?.to_owned(),
        kind: kind?,
        priority: priority?,
        directed,
        models,
        products,
        rollover: rollover?,
        caps,
        thresholds,
        overflow: overflow?,
        stacking: stacking?,
        funded_by: funded_by?,
        region,
        example,
        source: source?.to_owned(),
        valid_from_ms: valid_from_ms?,
        valid_to_ms,
        known_from_ms: known_from_ms?,
        approved_by,
        approved_at_ms,
    })
}

fn read_tariff(label: &str, value: &Value, problems: &mut Vec<Problem>) -> Option<Tariff> {
    let mut fields = Fields::new(label, "", value, problems);
    let id = fields.required_text("id");
    let title = fields.required_text("title");
    let title_en = fields.required_text("title_en");
    let currency = currency(&mut fields);
    let price = fields.required_integer("price_micro_per_million_points");
    let region = fields.text("region").map(str::to_owned);
    let thresholds = read_thresholds(&mut fields);
    let source = fields.required_text("source");
    let known_from_ms = fields.required_instant("known_from");
    let approved_by = fields.text("approved_by").map(str::to_owned);
    let approved_at_ms = fields.instant("approved_at");
    fields.finish();
    Some(Tariff {
        id_hash: name_hash(id?),
        id: id?.to_owned(),
        title: title?.to_owned(),
        title_en: title_en?.to_owned(),
        currency: currency?,
        price_micro_per_million_points: price?,
        region,
        thresholds,
        source: source?.to_owned(),
        known_from_ms: known_from_ms?,
        approved_by,
        approved_at_ms,
    })
}

fn read_period(fields: &mut Fields<'_, '_>) -> Option<Period> {
    let Some(value) = fields.value("period") else {
        fields.problem("period", "is missing");
        return None;
    };
    let mut period = fields.within("period", value);
    let (months, days) = (period.integer("months"), period.integer("days"));
    let hours = period.integer("hours");
    let count = |n: i64| u32::try_from(n).ok().filter(|n| *n > 0);
    let found = match (months, days, hours) {
        (Some(n), None, None) => count(n).filter(|n| *n <= 1_200).map(Period::Months),
        (None, Some(n), None) => count(n).filter(|n| *n <= 36_600).map(Period::Days),
        (None, None, Some(n)) => count(n).filter(|n| *n <= 878_400).map(Period::Hours),
        _ => None,
    };
    if found.is_none() {
        period.problem("", "must have one of months, days, hours, from 1 to a hundred years");
    }
    period.finish();
    found
}

fn read_rollover(fields: &mut Fields<'_, '_>) -> Option<Rollover> {
    let max_micro = fields.integer("rollover_max_micro");
    let next = fields.word(
        "rollover",
        |text| match text {
            "none" => Some(false),
            "next_period" => Some(true),
            _ => None,
        },
        "none, next_period",
    )?;
    if max_micro.is_some_and(|max| max < 0) {
        fields.problem("rollover_max_micro", "is negative");
    }
    if !next && max_micro.is_some() {
        fields.problem("rollover_max_micro", "is given without rollover");
    }
    Some(if next { Rollover::NextPeriod { max_micro } } else { Rollover::None })
}

/// Caps of a package or a member: at most one a window.
pub(crate) fn read_caps(fields: &mut Fields<'_, '_>) -> Vec<Cap> {
    let mut caps: Vec<Cap> = Vec::new();
    for (value, number) in fields.list("caps").iter().zip(0..) {
        let mut cap = fields.within(&format!("caps[{number}]"), value);
        let window = cap.word("window", Window::from_name, &window_names());
        let limit_micro = cap.required_integer("limit_micro");
        if limit_micro.is_some_and(|limit| limit < 0) {
            cap.problem("limit_micro", "is negative");
        }
        if window.is_some_and(|window| caps.iter().any(|cap| cap.window == window)) {
            cap.problem("window", "has a cap already");
        }
        cap.finish();
        if let (Some(window), Some(limit_micro)) = (window, limit_micro) {
            caps.push(Cap { window, limit_micro });
        }
    }
    caps
}

/// Names of windows, for messages.
pub(crate) fn window_names() -> String {
    Window::ALL.map(Window::name).join(", ")
}

fn read_thresholds(fields: &mut Fields<'_, '_>) -> Vec<Threshold> {
    let mut thresholds = Vec::new();
    for (value, number) in fields.list("thresholds").iter().zip(0..) {
        let threshold = fields.within(&format!("thresholds[{number}]"), value);
        thresholds.extend(read_threshold(threshold));
    }
    thresholds
}

fn read_threshold(mut fields: Fields<'_, '_>) -> Option<Threshold> {
    let names = ThresholdKind::ALL.map(ThresholdKind::name).join(", ");
    let kind = fields.word("kind", ThresholdKind::from_name, &names);
    let at = fields.required_integer("at");
    fields.finish();
    Some(Threshold { kind: kind?, at: at? })
}

fn anchor(text: &str) -> Option<Anchor> {
    match text {
        "purchase" => Some(Anchor::Purchase),
        "calendar" => Some(Anchor::Calendar),
        _ => None,
    }
}

fn kind(text: &str) -> Option<PackageKind> {
    match text {
        "paid" => Some(PackageKind::Paid),
        "trial" => Some(PackageKind::Trial),
        "free" => Some(PackageKind::Free),
        _ => None,
    }
}

fn overflow(text: &str) -> Option<OverflowPolicy> {
    match text {
        "block" => Some(OverflowPolicy::Block),
        "payg" => Some(OverflowPolicy::Payg),
        "throttle" => Some(OverflowPolicy::Throttle),
        _ => None,
    }
}

fn stacking(text: &str) -> Option<Stacking> {
    match text {
        "queue" => Some(Stacking::Queue),
        "parallel" => Some(Stacking::Parallel),
        _ => None,
    }
}

fn funded_by(text: &str) -> Option<String> {
    ["operator", "vendor", "shared"].contains(&text).then(|| text.to_owned())
}

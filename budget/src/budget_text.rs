//! Budgets from text. Strict: an unknown key is a defect, and every defect is told at once with
//! its place.

use std::collections::BTreeSet;

use serde::Deserialize;
use tally_rating::{Approval, ModelPattern, Version, parse_instant};
use tally_schemas::{Currency, ShanghaiDay};

use crate::budget::{Budget, BudgetKind, Measure, Period, Scope, Side};
use crate::budget_book::{BadBudgets, BudgetBook};

/// The highest threshold, percent.
const PERCENT_MAX: u32 = 1_000;

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TomlBudgets {
    budget: Vec<toml::Value>,
}

/// One version as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BudgetRow {
    id: String,
    kind: String,
    title: String,
    title_en: String,
    #[serde(default)]
    model: Option<String>,
    #[serde(default)]
    vendor: Option<String>,
    #[serde(default)]
    supplier: Option<String>,
    #[serde(default)]
    side: Option<String>,
    #[serde(default)]
    currency: Option<String>,
    #[serde(default)]
    amount_micro: Option<i64>,
    #[serde(default)]
    points_micro: Option<i64>,
    #[serde(default)]
    tokens: Option<i64>,
    period: String,
    valid_from: String,
    #[serde(default)]
    valid_to: Option<String>,
    thresholds: Vec<u32>,
    #[serde(default)]
    example: bool,
    source: String,
    known_from: String,
    #[serde(default)]
    approved_by: String,
    #[serde(default)]
    approved_at: String,
}

/// Notes what is wrong with one record.
struct Defects<'d> {
    record: String,
    defects: &'d mut Vec<String>,
}

impl Defects<'_> {
    fn add(&mut self, field: &str, what: impl std::fmt::Display) {
        self.defects.push(format!("{}: {field}: {what}", self.record));
    }

    fn read<T>(&mut self, field: &str, read: Result<T, String>) -> Option<T> {
        read.map_err(|what| self.add(field, what)).ok()
    }
}

pub(crate) fn read_toml(text: &str) -> Result<BudgetBook, BadBudgets> {
    let unreadable = |error: toml::de::Error| BadBudgets {
        defects: vec![format!("budgets: {}", error.to_string().trim_end())],
    };
    let file: TomlBudgets = toml::from_str(text).map_err(unreadable)?;
    let mut defects = Vec::new();
    let mut budgets = Vec::new();
    let mut known = BTreeSet::new();
    for (number, value) in file.budget.into_iter().enumerate() {
        let id = value.get("id").and_then(toml::Value::as_str).unwrap_or_default();
        let record =
            if id.is_empty() { format!("budget[{number}]") } else { format!("budget {id}") };
        let mut defects = Defects { record, defects: &mut defects };
        match value.try_into::<BudgetRow>() {
            Err(error) => defects.add("record", error.to_string().trim_end()),
            Ok(row) => {
                let Some(budget) = read_row(&row, &mut defects) else { continue };
                if !known.insert((budget.version.id.clone(), budget.version.known_from_ms)) {
                    defects
                        .add("known_from", "there is a version of this id that is known from then");
                }
                budgets.push(budget);
            }
        }
    }
    if defects.is_empty() { Ok(BudgetBook::new(budgets)) } else { Err(BadBudgets { defects }) }
}

/// Reads a version. Where something is wrong there is a defect for it.
fn read_row(row: &BudgetRow, defects: &mut Defects<'_>) -> Option<Budget> {
    for (field, text) in [("id", &row.id), ("title", &row.title), ("source", &row.source)] {
        if text.is_empty() {
            defects.add(field, "is empty");
        }
    }
    let scope = [&row.model, &row.vendor, &row.supplier];
    if scope.into_iter().flatten().any(String::is_empty) {
        defects.add("model, vendor, supplier", "an empty text matches nothing: leave it out");
    }
    let model = row.model.as_deref().map(ModelPattern::parse).transpose();
    let valid_to = row.valid_to.as_deref().map(str::parse::<ShanghaiDay>).transpose();
    let kind = match row.kind.as_str() {
        "budget" => Ok(BudgetKind::Budget),
        "commitment" => Ok(BudgetKind::Commitment),
        other => Err(format!("{other:?} is none of budget, commitment")),
    };
    let period = match row.period.as_str() {
        "day" => Ok(Period::Day),
        "month" => Ok(Period::Month),
        "once" => Ok(Period::Once),
        other => Err(format!("{other:?} is none of day, month, once")),
    };
    let kind = defects.read("kind", kind);
    let period = defects.read("period", period);
    let model = defects.read("model", model);
    let measure = read_measure(row, defects);
    let valid_from = defects.read("valid_from", row.valid_from.parse::<ShanghaiDay>());
    let valid_to = defects.read("valid_to", valid_to);
    let thresholds = read_thresholds(&row.thresholds, defects);
    let version = read_version(row, defects);
    if period == Some(Period::Once) && row.valid_to.is_none() {
        defects.add("valid_to", "is missing: what is for once has an end");
    }
    if kind == Some(BudgetKind::Commitment) && period.is_some_and(|p| p != Period::Once) {
        defects.add("period", "a commitment is for once: it is not paid anew by the calendar");
    }
    if let (Some(from), Some(Some(to))) = (valid_from, valid_to)
        && to <= from
    {
        defects.add("valid_to", "is not after valid_from");
    }
    Some(Budget {
        version: version?,
        kind: kind?,
        title: row.title.clone(),
        title_en: row.title_en.clone(),
        scope: Scope { model: model?, vendor: row.vendor.clone(), supplier: row.supplier.clone() },
        measure: measure?,
        period: period?,
        valid_from: valid_from?,
        valid_to: valid_to?,
        thresholds,
        example: row.example,
    })
}

fn read_measure(row: &BudgetRow, defects: &mut Defects<'_>) -> Option<Measure> {
    let measure = match (row.amount_micro, row.points_micro, row.tokens) {
        (Some(limit_micro), None, None) => {
            let side = match row.side.as_deref() {
                Some("retail") => Ok(Side::Retail),
                Some("wholesale") => Ok(Side::Wholesale),
                other => Err(format!("{:?} is none of retail, wholesale", other.unwrap_or(""))),
            };
            let code = row.currency.as_deref().unwrap_or("");
            let currency = Currency::parse(code)
                .ok_or_else(|| format!("{code:?} is not an ISO 4217 code such as CNY"));
            let side = defects.read("side", side);
            let currency = defects.read("currency", currency);
            Measure::Amount { side: side?, currency: currency?, limit_micro }
        }
        (None, Some(limit_micro), None) => Measure::Points { limit_micro },
        (None, None, Some(limit)) => Measure::Tokens { limit },
        _ => {
            defects.add("amount_micro, points_micro, tokens", "exactly one of them is needed");
            return None;
        }
    };
    if row.amount_micro.is_none() && (row.side.is_some() || row.currency.is_some()) {
        defects.add("side, currency", "are of amounts: points and tokens have none");
    }
    if measure.limit() <= 0 {
        defects.add("amount_micro, points_micro, tokens", "must be above 0");
    }
    Some(measure)
}

fn read_thresholds(thresholds: &[u32], defects: &mut Defects<'_>) -> Vec<u32> {
    let sorted: BTreeSet<u32> = thresholds.iter().copied().collect();
    if sorted.is_empty() {
        defects.add("thresholds", "there is none: nothing would ever be said");
    }
    if sorted.len() < thresholds.len() {
        defects.add("thresholds", "one is there twice");
    }
    if sorted.iter().any(|percent| !(1..=PERCENT_MAX).contains(percent)) {
        defects.add("thresholds", format!("percent from 1 to {PERCENT_MAX}"));
    }
    sorted.into_iter().collect()
}

fn read_version(row: &BudgetRow, defects: &mut Defects<'_>) -> Option<Version> {
    let known_from = defects.read("known_from", parse_instant(&row.known_from));
    let approved = match (row.approved_by.as_str(), row.approved_at.as_str()) {
        ("", "") => Some(None),
        ("", _) | (_, "") => {
            defects.add("approved_by, approved_at", "both or none");
            None
        }
        (by, at) => defects
            .read("approved_at", parse_instant(at))
            .map(|at_ms| Some(Approval { by: by.to_owned(), at_ms })),
    };
    Some(Version::new(row.id.clone(), known_from?, row.source.clone(), approved?))
}

//! Reference data from text: every record is read to its end, so that all problems come at once.

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use tally_schemas::Currency;

use crate::fields::Fields;
use crate::package::{
    Anchor, Cap, OverflowPolicy, Package, PackageKind, Period, Rollover, Stacking, Tariff,
    Threshold, ThresholdKind, name_hash, version_hash,
};
use crate::reference::{Problem, QuotaReference, ReferenceError};
use crate::reference_layers::LayerApproval;
use crate::reference_lint::{lint_packages, lint_tariffs, lint_thresholds};
use crate::window::Window;

/// Names of the lists in TOML.
pub(crate) const TOML_LISTS: [&str; 3] = ["package", "tariff", "account_threshold"];

pub(crate) fn read_toml(text: &str) -> Result<QuotaReference, ReferenceError> {
    let mut problems = Vec::new();
    let origin = Origin { name: "", approval: None };
    let lists = read_file(text, origin, &mut problems);
    linted(lists, TOML_LISTS[2], problems)
}

pub(crate) fn read_json(value: &Value) -> Result<QuotaReference, ReferenceError> {
    let mut problems = Vec::new();
    let names = ["packages", "tariffs", "account_thresholds"];
    let lists = read_lists(value, names, &Places::default(), None, &mut problems);
    linted(lists, names[2], problems)
}

/// Where a file is from, and the approval that everything in it has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    /// Its name; empty where there is none.
    pub(crate) name: &'a str,
    /// Without it, each record says by itself who approved it.
    pub(crate) approval: Option<&'a LayerApproval>,
}

/// The records of one text.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    pub(crate) packages: Vec<Package>,
    pub(crate) tariffs: Vec<Tariff>,
    pub(crate) thresholds: Vec<Threshold>,
}

/// File and line of each record of each list.
#[derive(Debug, Default)]
struct Places([Vec<String>; 3]);

impl Places {
    fn of(name: &str, text: &str) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Lines {
            package: Vec<toml::Spanned<IgnoredAny>>,
            tariff: Vec<toml::Spanned<IgnoredAny>>,
            account_threshold: Vec<toml::Spanned<IgnoredAny>>,
        }
        if name.is_empty() {
            return Self::default();
        }
        // What is not a list is told when the values are read.
        let lines: Lines = toml::from_str(text).unwrap_or_default();
        let lists = [lines.package, lines.tariff, lines.account_threshold];
        Self(lists.map(|list| {
            let line = |row: toml::Spanned<IgnoredAny>| {
                let before = text.get(..row.span().start).unwrap_or_default();
                format!("{name}, line {}", 1 + before.matches('\n').count())
            };
            list.into_iter().map(line).collect()
        }))
    }

    fn get(&self, list: usize, number: usize) -> String {
        self.0[list].get(number).cloned().unwrap_or_default()
    }
}

/// Reads a file in TOML; what is wrong is noted.
pub(crate) fn read_file(text: &str, origin: Origin<'_>, problems: &mut Vec<Problem>) -> Lists {
    let text = text.trim_start_matches('\u{feff}');
    match toml::from_str::<Value>(text) {
        Ok(value) => {
            let places = Places::of(origin.name, text);
            read_lists(&value, TOML_LISTS, &places, origin.approval, problems)
        }
        Err(error) => {
            problems.push(Problem {
                place: origin.name.to_owned(),
                record: "reference".to_owned(),
                field: "text".to_owned(),
                message: error.to_string().trim_end().to_owned(),
            });
            Lists::default()
        }
    }
}

fn read_lists(
    value: &Value,
    names: [&'static str; 3],
    places: &Places,
    approval: Option<&LayerApproval>,
    problems: &mut Vec<Problem>,
) -> Lists {
    let mut top = Fields::new("reference", "", value, problems);
    let lists = names.map(|name| top.list(name));
    top.finish();
    let mut read = Lists::default();
    for (value, number) in lists[0].iter().zip(0..) {
        let (label, place) = (label(names[0], number, value), places.get(0, number));
        let before = problems.len();
        read.packages.extend(read_package(&label, value, &place, approval, problems));
        put_at(&place, &mut problems[before..]);
    }
    for (value, number) in lists[1].iter().zip(0..) {
        let (label, place) = (label(names[1], number, value), places.get(1, number));
        let before = problems.len();
        read.tariffs.extend(read_tariff(&label, value, &place, approval, problems));
        put_at(&place, &mut problems[before..]);
    }
    for (value, number) in lists[2].iter().zip(0..) {
        let (label, place) = (label(names[2], number, value), places.get(2, number));
        let before = problems.len();
        let fields = Fields::new(&label, "", value, problems);
        read.thresholds.extend(read_threshold(fields));
        put_at(&place, &mut problems[before..]);
    }
    read
}

/// Says of problems where they are.
pub(crate) fn put_at(place: &str, problems: &mut [Problem]) {
    for problem in problems {
        problem.place = place.to_owned();
    }
}

/// Looks at all records together.
pub(crate) fn linted(
    lists: Lists,
    thresholds_name: &str,
    mut problems: Vec<Problem>,
) -> Result<QuotaReference, ReferenceError> {
    let Lists { packages, tariffs, thresholds } = lists;
    lint_packages(&packages, &mut problems);
    lint_tariffs(&tariffs, &mut problems);
    lint_thresholds(thresholds_name, &thresholds, true, &mut problems);
    if problems.is_empty() {
        Ok(QuotaReference::new(packages, tariffs, thresholds))
    } else {
        Err(ReferenceError { problems })
    }
}

/// From when on a record is known, and who approved it.
struct Standing {
    written_ms: Option<i64>,
    known_from_ms: Option<i64>,
    approved_by: Option<String>,
    approved_at_ms: Option<i64>,
}

/// What is approved as a whole is known from that approval, or from later where the record says
/// so: what was sold before must stay what it was.
fn read_standing(fields: &mut Fields<'_, '_>, approval: Option<&LayerApproval>) -> Standing {
    let written_ms = match approval {
        Some(_) => fields.instant("known_from"),
        None => fields.required_instant("known_from"),
    };
    let approved_by = fields.text("approved_by").map(str::to_owned);
    let approved_at_ms = fields.instant("approved_at");
    match approval {
        None => Standing { written_ms, known_from_ms: written_ms, approved_by, approved_at_ms },
        Some(LayerApproval { by, at_ms }) => Standing {
            written_ms,
            known_from_ms: Some(written_ms.unwrap_or(*at_ms).max(*at_ms)),
            approved_by: Some(by.clone()),
            approved_at_ms: Some(*at_ms),
        },
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

/// Percent of the allowance at which alerts go out where a package does not say: who wants none
/// writes an empty list.
const PERCENT_USED: [i64; 3] = [50, 80, 100];

fn default_thresholds() -> Vec<Threshold> {
    PERCENT_USED.map(|at| Threshold { kind: ThresholdKind::PercentUsed, at }).to_vec()
}

/// Reads a package. Where something is wrong there is a problem for it, and no package.
fn read_package(
    label: &str,
    value: &Value,
    place: &str,
    approval: Option<&LayerApproval>,
    problems: &mut Vec<Problem>,
) -> Option<Package> {
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
    let says_thresholds = fields.value("thresholds").is_some();
    let written_thresholds = read_thresholds(&mut fields);
    let thresholds =
        if says_thresholds { written_thresholds.clone() } else { default_thresholds() };
    let overflow = fields.word("overflow", overflow, "block, payg, throttle");
    let stacking = fields.word("stacking", stacking, "queue, parallel");
    let funded_by = fields.word("funded_by", funded_by, "operator, vendor, shared");
    let region = fields.text("region").map(str::to_owned);
    let example = fields.flag("example");
    let source = fields.required_text("source");
    let valid_from_ms = fields.required_instant("valid_from");
    let valid_to_ms = fields.instant("valid_to");
    let Standing { written_ms, known_from_ms, approved_by, approved_at_ms } =
        read_standing(&mut fields, approval);
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
        place: place.to_owned(),
        written_ms,
        written_thresholds,
    })
}

fn read_tariff(
    label: &str,
    value: &Value,
    place: &str,
    approval: Option<&LayerApproval>,
    problems: &mut Vec<Problem>,
) -> Option<Tariff> {
    let mut fields = Fields::new(label, "", value, problems);
    let id = fields.required_text("id");
    let title = fields.required_text("title");
    let title_en = fields.required_text("title_en");
    let currency = currency(&mut fields);
    let price = fields.required_integer("price_micro_per_million_points");
    let region = fields.text("region").map(str::to_owned);
    let thresholds = read_thresholds(&mut fields);
    let source = fields.required_text("source");
    let Standing { written_ms, known_from_ms, approved_by, approved_at_ms } =
        read_standing(&mut fields, approval);
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
        place: place.to_owned(),
        written_ms,
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

//! Reads the book's files: prices as CSV or TOML, everything else as TOML. Strict: an unknown
//! column or key is a defect, and every defect is told at once with its place.

use serde::Deserialize;
use tally_schemas::{Currency, TokenClass};

use crate::aliases::Alias;
use crate::book::{Book, CalendarRecord};
use crate::calendar::{CalendarYear, Days, Windows};
use crate::contract::{Contract, PPM};
use crate::instant::{Validity, parse_instant};
use crate::pattern::ModelPattern;
use crate::price::{Price, Side, Tier, TierBasis, TierMode, TimeBasis};
use crate::version::{Approval, Version};
use crate::weights::{Product, Weight, WeightTable};

/// A file of the book.
#[derive(Debug, Clone, Copy)]
pub struct BookFile<'a> {
    /// Its name, for messages; the ending tells the format.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Files that cannot be read as a book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .defects.join("\n"))]
pub struct BadBook {
    /// Each defect: file, record, field and what is wrong.
    pub defects: Vec<String>,
}

/// One price as it is written; every field text, so that each defect is told in the same words
/// for CSV and TOML.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PriceRow {
    price_id: String,
    side: String,
    contract_id: String,
    vendor: String,
    supplier: String,
    model_pattern: String,
    class: String,
    unit: String,
    currency: String,
    #[serde(deserialize_with = "integer_text")]
    price_micro_per_million: String,
    tier_basis: String,
    #[serde(deserialize_with = "integer_text")]
    tier_from: String,
    #[serde(deserialize_with = "integer_text")]
    tier_to: String,
    tier_mode: String,
    service_tier: String,
    region: String,
    calendar_id: String,
    windows: String,
    time_basis: String,
    valid_from: String,
    valid_to: String,
    known_from: String,
    #[serde(deserialize_with = "flag_text")]
    free: String,
    #[serde(deserialize_with = "flag_text")]
    promotion: String,
    source: String,
    approved_by: String,
    approved_at: String,
}

/// An integer, bare as TOML has it or as text as CSV does.
fn integer_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "a whole number is needed")]
    enum Integer {
        Number(i64),
        Text(String),
    }
    Ok(match Integer::deserialize(deserializer)? {
        Integer::Number(number) => number.to_string(),
        Integer::Text(text) => text,
    })
}

/// `true` or `false`, bare or as text.
fn flag_text<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "true or false is needed")]
    enum Flag {
        Is(bool),
        Text(String),
    }
    Ok(match Flag::deserialize(deserializer)? {
        Flag::Is(is) => is.to_string(),
        Flag::Text(text) => text,
    })
}

/// What every record says of its version.
#[derive(Debug, Clone, Copy)]
struct Origin<'r> {
    known_from: &'r str,
    source: &'r str,
    approved_by: &'r str,
    approved_at: &'r str,
}

/// A record of a TOML file: its fields and those of its [`Origin`]. Not flattened by serde, which
/// would let unknown keys pass.
macro_rules! toml_record {
    ($name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty),* $(,)? }) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        struct $name {
            $($(#[$attribute])* $field: $kind,)*
            known_from: String,
            #[serde(default)]
            source: String,
            #[serde(default)]
            approved_by: String,
            #[serde(default)]
            approved_at: String,
        }

        impl $name {
            fn origin(&self) -> Origin<'_> {
                Origin {
                    known_from: &self.known_from,
                    source: &self.source,
                    approved_by: &self.approved_by,
                    approved_at: &self.approved_at,
                }
            }
        }
    };
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct TomlBook {
    price: Vec<PriceRow>,
    alias: Vec<AliasRow>,
    calendar: Vec<CalendarRow>,
    weights: Vec<WeightsRow>,
    product: Vec<ProductRow>,
    contract: Vec<ContractRow>,
}

toml_record!(AliasRow {
    id: String,
    model: String,
    vendor: String,
    billed_model: String,
    valid_from: String,
    valid_to: Option<String>,
});

toml_record!(CalendarRow {
    id: String,
    utc_offset: String,
    days: String,
    #[serde(default)]
    year: Vec<YearRow>,
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct YearRow {
    year: i16,
    source: String,
    holidays: Vec<String>,
}

toml_record!(WeightsRow {
    id: String,
    #[serde(default)]
    weight: Vec<WeightRow>,
});

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WeightRow {
    model_pattern: String,
    class: String,
    micro_per_unit: u64,
    #[serde(default)]
    calendar_id: String,
    #[serde(default)]
    windows: String,
    valid_from: String,
    valid_to: Option<String>,
}

toml_record!(ProductRow { id: String, points_per_request_micro: u64 });

toml_record!(ContractRow {
    id: String,
    vendor: String,
    model_pattern: String,
    form: String,
    #[serde(default)]
    discount_ppm: u64,
    currency: String,
    valid_from: String,
    valid_to: Option<String>,
});

/// Where a record stands, and the defects found in it.
struct Place<'d> {
    at: String,
    defects: &'d mut Vec<String>,
}

impl Place<'_> {
    fn defect(&mut self, field: &str, what: impl std::fmt::Display) {
        self.defects.push(format!("{}: {field}: {what}", self.at));
    }

    /// The value, or `None` after a defect.
    fn check<T, E: std::fmt::Display>(&mut self, field: &str, read: Result<T, E>) -> Option<T> {
        read.map_err(|what| self.defect(field, what)).ok()
    }

    fn required(&mut self, field: &str, text: &str) -> String {
        if text.trim().is_empty() {
            self.defect(field, "is missing");
        }
        text.to_owned()
    }

    /// One of the names of a list.
    fn one_of<T: Copy>(&mut self, field: &str, text: &str, names: &[(&str, T)]) -> Option<T> {
        let found = names.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            self.defect(field, format!("{text:?} is none of {}", names.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    fn integer(&mut self, field: &str, text: &str) -> Option<u64> {
        let read = text.parse::<u64>();
        self.check(field, read.map_err(|_| format!("{text:?} is not a whole number from 0")))
    }

    fn instant(&mut self, field: &str, text: &str) -> Option<i64> {
        if text.is_empty() {
            self.defect(field, "is missing");
            return None;
        }
        self.check(field, parse_instant(text))
    }

    fn validity(&mut self, from: &str, to: Option<&str>) -> Option<Validity> {
        let from_ms = self.instant("valid_from", from);
        let to_ms = match to.filter(|to| !to.is_empty()) {
            Some(to) => Some(self.instant("valid_to", to)?),
            None => None,
        };
        let validity = Validity { from_ms: from_ms?, to_ms };
        if validity.to_ms.is_some_and(|to| to < validity.from_ms) {
            self.defect("valid_to", "lies before valid_from");
        }
        Some(validity)
    }

    fn version(&mut self, id: &str, origin: Origin<'_>) -> Option<Version> {
        let id = self.required("id", id);
        let known_from_ms = self.instant("known_from", origin.known_from);
        let approved = match (origin.approved_by, origin.approved_at) {
            ("", "") => None,
            (by, at) => {
                let by = self.required("approved_by", by);
                Some(Approval { by, at_ms: self.instant("approved_at", at)? })
            }
        };
        Some(Version {
            id,
            known_from_ms: known_from_ms?,
            source: origin.source.to_owned(),
            approved,
        })
    }

    fn class(&mut self, text: &str) -> Option<TokenClass> {
        let class = TokenClass::from_name(text);
        if class.is_none() {
            self.defect("class", format!("{text:?} is not a token class or a counted unit"));
        }
        class
    }

    fn currency(&mut self, text: &str) -> Option<Currency> {
        let currency = Currency::parse(text);
        if currency.is_none() {
            self.defect("currency", format!("{text:?} is not a code like CNY"));
        }
        currency
    }

    fn windows(&mut self, windows: &str, calendar_id: &str) -> Option<Windows> {
        let windows = self.check("windows", Windows::parse(windows))?;
        if windows.is_empty() != calendar_id.is_empty() {
            self.defect("calendar_id", "windows and calendar_id belong together");
        }
        Some(windows)
    }
}

fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Reads one file into the book.
pub(crate) fn read_file(file: &BookFile<'_>, book: &mut Book, defects: &mut Vec<String>) {
    // Spreadsheets put a byte order mark before the first column's name.
    let text = file.text.trim_start_matches('\u{feff}');
    if file.name.to_ascii_lowercase().ends_with(".csv") {
        read_csv(file.name, text, book, defects);
    } else {
        match toml::from_str::<TomlBook>(text) {
            Ok(rows) => read_toml(file.name, &rows, book, defects),
            Err(error) => defects.push(format!("{}: {error}", file.name)),
        }
    }
}

fn read_csv(name: &str, text: &str, book: &mut Book, defects: &mut Vec<String>) {
    let mut reader = csv::ReaderBuilder::new()
        .comment(Some(b'#'))
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let headers = match reader.headers() {
        Ok(headers) => headers.clone(),
        Err(error) => return defects.push(format!("{name}: {error}")),
    };
    for record in reader.records() {
        let row = record.map(|record| {
            let line = record.position().map_or(0, csv::Position::line);
            // Through a table of texts: the reader would guess numbers, floats among them.
            let text = |text: &str| toml::Value::String(text.to_owned());
            let fields = headers.iter().zip(&record).map(|(key, value)| (key.into(), text(value)));
            (line, fields.collect::<toml::Table>())
        });
        match row.map(|(line, fields)| (line, PriceRow::deserialize(fields))) {
            Ok((line, Ok(row))) => {
                let at = format!("{name}, line {line}, {}", row.price_id);
                book.prices.extend(price(&row, &mut Place { at, defects }));
            }
            Ok((line, Err(error))) => defects.push(format!("{name}, line {line}: {error}")),
            Err(error) => defects.push(format!("{name}: {error}")),
        }
    }
}

fn read_toml(name: &str, rows: &TomlBook, book: &mut Book, defects: &mut Vec<String>) {
    let place = |kind: &str, id: &str| format!("{name}: {kind} {id}");
    for row in &rows.price {
        let at = place("price", &row.price_id);
        book.prices.extend(price(row, &mut Place { at, defects }));
    }
    for row in &rows.alias {
        let at = place("alias", &row.id);
        book.aliases.extend(alias(row, &mut Place { at, defects }));
    }
    for row in &rows.calendar {
        let at = place("calendar", &row.id);
        book.calendars.extend(calendar(row, &mut Place { at, defects }));
    }
    for row in &rows.weights {
        let at = place("weights", &row.id);
        book.weights.extend(weights(row, &mut Place { at, defects }));
    }
    for row in &rows.product {
        let at = place("product", &row.id);
        let place = &mut Place { at, defects };
        let version = place.version(&row.id, row.origin());
        book.products.extend(
            version.map(|version| Product {
                version,
                micro_per_request: row.points_per_request_micro,
            }),
        );
    }
    for row in &rows.contract {
        let at = place("contract", &row.id);
        book.contracts.extend(contract(row, &mut Place { at, defects }));
    }
}

fn price(row: &PriceRow, place: &mut Place<'_>) -> Option<Price> {
    let origin = Origin {
        known_from: &row.known_from,
        source: &row.source,
        approved_by: &row.approved_by,
        approved_at: &row.approved_at,
    };
    let version = place.version(&row.price_id, origin);
    let side = place.one_of(
        "side",
        &row.side,
        &[("retail", Side::Retail), ("wholesale", Side::Wholesale)],
    );
    let vendor = place.required("vendor", &row.vendor);
    let model = place.check("model_pattern", ModelPattern::parse(&row.model_pattern));
    let class = place.class(&row.class);
    if let Some(class) = class {
        let unit = match class {
            TokenClass::Requests => "request",
            TokenClass::Images => "image",
            TokenClass::Seconds => "second",
            TokenClass::Characters => "character",
            _ => "token",
        };
        if row.unit != unit {
            place.defect(
                "unit",
                format!("{:?} is not the unit of {class}, which is {unit}", row.unit),
            );
        }
        if class == TokenClass::Reasoning {
            place.defect("class", "reasoning is a part of output and has no price of its own");
        }
    }
    let currency = place.currency(&row.currency);
    let micro_per_million = place.integer("price_micro_per_million", &row.price_micro_per_million);
    let flag = |place: &mut Place<'_>, field, text| {
        place.one_of(field, text, &[("", false), ("false", false), ("true", true)])
    };
    let free = flag(place, "free", &row.free);
    let promotion = flag(place, "promotion", &row.promotion);
    if let (Some(micro), Some(free)) = (micro_per_million, free)
        && (micro == 0) != free
    {
        place.defect("free", "a price of zero needs free = true, and no other may have it");
    }
    let time_basis = place.one_of(
        "time_basis",
        &row.time_basis,
        &[
            ("", TimeBasis::Completion),
            ("completion", TimeBasis::Completion),
            ("start", TimeBasis::Start),
        ],
    );
    let windows = place.windows(&row.windows, &row.calendar_id);
    let valid = place.validity(&row.valid_from, Some(&row.valid_to));
    let tier = tier(row, place);
    Some(Price {
        version: version?,
        side: side?,
        contract_id: optional(&row.contract_id),
        vendor,
        supplier: optional(&row.supplier),
        model: model?,
        class: class?,
        currency: currency?,
        micro_per_million: micro_per_million?,
        tier: tier?,
        service_tier: match row.service_tier.as_str() {
            "" => Some("standard".to_owned()),
            "*" => None,
            tier => Some(tier.to_owned()),
        },
        region: optional(&row.region),
        calendar_id: optional(&row.calendar_id),
        windows: windows?,
        time_basis: time_basis?,
        valid: valid?,
        free: free?,
        promotion: promotion?,
    })
}

/// The tier; the outer `None` is a defect.
fn tier(row: &PriceRow, place: &mut Place<'_>) -> Option<Option<Tier>> {
    if row.tier_basis.is_empty() {
        if !(row.tier_from.is_empty() && row.tier_to.is_empty()) {
            place.defect("tier_basis", "is missing beside tier_from or tier_to");
        }
        return Some(None);
    }
    let basis = place.one_of(
        "tier_basis",
        &row.tier_basis,
        &[
            ("context", TierBasis::Context),
            ("prompt", TierBasis::Prompt),
            ("output", TierBasis::Output),
            ("period_volume", TierBasis::PeriodVolume),
        ],
    );
    let mode = place.one_of(
        "tier_mode",
        &row.tier_mode,
        &[
            ("", None),
            ("graduated", Some(TierMode::Graduated)),
            ("all_units", Some(TierMode::AllUnits)),
        ],
    );
    let from = place.integer("tier_from", &row.tier_from);
    let to = match row.tier_to.as_str() {
        "" => None,
        text => Some(place.integer("tier_to", text)?),
    };
    let tier = Tier { basis: basis?, from: from?, to, mode: mode? };
    if tier.to.is_some_and(|to| to <= tier.from) {
        place.defect("tier_to", "is not above tier_from");
    }
    Some(Some(tier))
}

fn alias(row: &AliasRow, place: &mut Place<'_>) -> Option<Alias> {
    let version = place.version(&row.id, row.origin());
    let valid = place.validity(&row.valid_from, row.valid_to.as_deref());
    Some(Alias {
        model: place.required("model", &row.model),
        vendor: place.required("vendor", &row.vendor),
        billed_model: place.required("billed_model", &row.billed_model),
        version: version?,
        valid: valid?,
    })
}

fn calendar(row: &CalendarRow, place: &mut Place<'_>) -> Option<CalendarRecord> {
    let version = place.version(&row.id, row.origin());
    let days = Days::from_name(&row.days);
    if days.is_none() {
        place.defect("days", format!("{:?} is none of all, weekdays, workdays", row.days));
    }
    let offset_ms = place.check("utc_offset", offset_ms(&row.utc_offset));
    let mut years = Vec::new();
    for year in &row.year {
        place.required("year.source", &year.source);
        years.extend(place.check(&format!("year {}", year.year), calendar_year(year)));
    }
    Some(CalendarRecord { version: version?, offset_ms: offset_ms?, days: days?, years })
}

/// `+08:00` in milliseconds.
fn offset_ms(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is not an offset like +08:00");
    let (sign, rest) = match text.split_at_checked(1) {
        Some(("+", rest)) => (1, rest),
        Some(("-", rest)) => (-1, rest),
        _ => return Err(wrong()),
    };
    let (hours, minutes) = rest.split_once(':').ok_or_else(wrong)?;
    let (hours, minutes): (i64, i64) =
        (hours.parse().map_err(|_| wrong())?, minutes.parse().map_err(|_| wrong())?);
    if !(0..=14).contains(&hours) || !(0..60).contains(&minutes) {
        return Err(wrong());
    }
    Ok(sign * (hours * 60 + minutes) * 60_000)
}

/// Days since 1970-01-01.
fn day_number(date: jiff::civil::Date) -> Result<i64, String> {
    let epoch = jiff::civil::date(1970, 1, 1);
    date.since(epoch)
        .map(|span| i64::from(span.get_days()))
        .map_err(|error| format!("{date}: {error}"))
}

fn calendar_year(row: &YearRow) -> Result<CalendarYear, String> {
    let first = |year: i16| {
        let day = jiff::civil::Date::new(year, 1, 1).map_err(|error| error.to_string());
        day_number(day?)
    };
    let days = (first(row.year)?, first(row.year + 1)?);
    let mut holidays = Vec::new();
    for range in &row.holidays {
        let (from, to) = range.split_once("..").unwrap_or((range, range));
        let day = |text: &str| {
            let date: jiff::civil::Date =
                text.parse().map_err(|_| format!("{text:?} is not a date"))?;
            day_number(date)
        };
        let (from, to) = (day(from)?, day(to)?);
        if to < from || !(days.0..days.1).contains(&from) || !(days.0..days.1).contains(&to) {
            return Err(format!("{range:?} is not a range of days of the year"));
        }
        holidays.extend(from..=to);
    }
    holidays.sort_unstable();
    if holidays.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err("a day is named twice".into());
    }
    if holidays.is_empty() {
        return Err("has no holidays".into());
    }
    Ok(CalendarYear { days, holidays })
}

fn weights(row: &WeightsRow, place: &mut Place<'_>) -> Option<WeightTable> {
    let version = place.version(&row.id, row.origin());
    let mut weights = Vec::new();
    for weight in &row.weight {
        let model = place.check("model_pattern", ModelPattern::parse(&weight.model_pattern));
        let class = place.class(&weight.class);
        let windows = place.windows(&weight.windows, &weight.calendar_id);
        let valid = place.validity(&weight.valid_from, weight.valid_to.as_deref());
        weights.push(Weight {
            model: model?,
            class: class?,
            micro_per_unit: weight.micro_per_unit,
            calendar_id: optional(&weight.calendar_id),
            windows: windows?,
            valid: valid?,
        });
    }
    Some(WeightTable { version: version?, weights })
}

fn contract(row: &ContractRow, place: &mut Place<'_>) -> Option<Contract> {
    let version = place.version(&row.id, row.origin());
    if row.form != "price_list" {
        place.defect("form", format!("{:?} is not known to this version: price_list", row.form));
    }
    if row.discount_ppm >= PPM {
        place.defect("discount_ppm", "leaves nothing: it must be below 1,000,000");
    }
    let model = place.check("model_pattern", ModelPattern::parse(&row.model_pattern));
    let currency = place.currency(&row.currency);
    let valid = place.validity(&row.valid_from, row.valid_to.as_deref());
    Some(Contract {
        version: version?,
        vendor: place.required("vendor", &row.vendor),
        model: model?,
        currency: currency?,
        discount_ppm: row.discount_ppm,
        valid: valid?,
    })
}

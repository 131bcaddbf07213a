//! The other records as they are written in TOML: aliases, calendars, weights, products, contracts.

use serde::Deserialize;

use crate::aliases::Alias;
use crate::book::CalendarRecord;
use crate::calendar::{CalendarYear, Days};
use crate::contract::{Contract, PPM};
use crate::pattern::ModelPattern;
use crate::record_place::{Origin, Place, optional};
use crate::weights::{Product, Weight, WeightTable};

/// A record of a TOML file: its fields and those of its [`Origin`]. Not flattened by serde, which
/// would let unknown keys pass.
macro_rules! toml_record {
    ($name:ident { $($(#[$attribute:meta])* $field:ident: $kind:ty),* $(,)? }) => {
        #[derive(Debug, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
            $($(#[$attribute])* pub(crate) $field: $kind,)*
            #[serde(default)]
            known_from: String,
            #[serde(default)]
            source: String,
            #[serde(default)]
            approved_by: String,
            #[serde(default)]
            approved_at: String,
        }

        impl $name {
            pub(crate) fn origin(&self) -> Origin<'_> {
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
pub(crate) struct YearRow {
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
pub(crate) struct WeightRow {
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

/// The record of a row; `None` after a defect.
pub(crate) fn alias(row: &AliasRow, place: &mut Place<'_>) -> Option<Alias> {
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

/// The record of a row; `None` after a defect.
pub(crate) fn calendar(row: &CalendarRow, place: &mut Place<'_>) -> Option<CalendarRecord> {
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
    Ok(CalendarYear { days, holidays, source: row.source.clone() })
}

/// The record of a row; `None` after a defect.
pub(crate) fn weights(row: &WeightsRow, place: &mut Place<'_>) -> Option<WeightTable> {
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

/// The record of a row; `None` after a defect.
pub(crate) fn contract(row: &ContractRow, place: &mut Place<'_>) -> Option<Contract> {
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

/// The record of a row; `None` after a defect.
pub(crate) fn product(row: &ProductRow, place: &mut Place<'_>) -> Option<Product> {
    let version = place.version(&row.id, row.origin())?;
    Some(Product { version, micro_per_request: row.points_per_request_micro })
}

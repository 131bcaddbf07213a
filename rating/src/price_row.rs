//! A price as it is written in CSV or TOML.

use serde::Deserialize;
use tally_schemas::TokenClass;

use crate::pattern::ModelPattern;
use crate::price::{Price, Side, Tier, TierBasis, TierMode, TimeBasis, unit_of};
use crate::record_place::{Origin, Place, optional};

/// One price as it is written; every field text, so that each defect is told in the same words
/// for CSV and TOML.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct PriceRow {
    pub(crate) price_id: String,
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

/// The price of a row; `None` after a defect.
pub(crate) fn price(row: &PriceRow, place: &mut Place<'_>) -> Option<Price> {
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
        let unit = unit_of(class);
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

//! What a record says, in a line for people who compare and approve.

use tally_schemas::decimal_text;

use crate::aliases::Alias;
use crate::book::CalendarRecord;
use crate::contract::Contract;
use crate::instant::{Validity, instant_text};
use crate::price::Price;
use crate::weights::{Product, WeightTable};

/// `6.3` of 6,300,000 micro.
fn of_micro(micro: impl Into<i128>) -> String {
    let text = decimal_text(micro.into(), 6);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn validity_words(valid: &Validity) -> String {
    let from = instant_text(valid.from_ms);
    match valid.to_ms {
        _ if valid.is_empty() => "never".to_owned(),
        Some(to) => format!("from {from} to {}", instant_text(to)),
        None => format!("from {from}"),
    }
}

/// `, NAME VALUE` where there is a value.
fn with(name: &str, value: Option<&str>) -> String {
    value.map(|value| format!(", {name} {value}")).unwrap_or_default()
}

pub(crate) fn price_words(price: &Price) -> String {
    let side = price.side.name();
    let tier = price.tier.map(|tier| match tier.to {
        Some(to) => format!("{} to {to}", tier.from),
        None => format!("above {}", tier.from),
    });
    let hours = (!price.windows.is_empty()).then(|| price.windows.to_string());
    format!(
        "{side} {} {} {} {} {} a million{}{}{}{}{}{}{}, {}",
        price.vendor,
        price.model,
        price.class,
        of_micro(price.micro_per_million),
        price.currency,
        with("supplier", price.supplier.as_deref()),
        with("contract", price.contract_id.as_deref()),
        with("region", price.region.as_deref()),
        with("service tier", price.service_tier.as_deref().filter(|tier| *tier != "standard")),
        with("tier", tier.as_deref()),
        with("hours", hours.as_deref()),
        if price.promotion { ", promotion" } else { "" },
        validity_words(&price.valid),
    )
}

pub(crate) fn alias_words(alias: &Alias) -> String {
    let Alias { model, vendor, billed_model, valid, .. } = alias;
    format!("{model} is {vendor}'s {billed_model}, {}", validity_words(valid))
}

pub(crate) fn calendar_words(calendar: &CalendarRecord) -> String {
    let holidays: usize = calendar.years.iter().map(|year| year.holidays.len()).sum();
    let (days, years) = (calendar.days.name(), calendar.years.len());
    format!("{days}, {years} years with {holidays} holidays, offset {} ms", calendar.offset_ms)
}

pub(crate) fn weights_words(table: &WeightTable) -> String {
    let weights = table.weights.iter().map(|weight| {
        let hours = (!weight.windows.is_empty()).then(|| weight.windows.to_string());
        format!(
            "{} {} {}{} {}",
            weight.model,
            weight.class,
            of_micro(weight.micro_per_unit),
            with("hours", hours.as_deref()),
            validity_words(&weight.valid),
        )
    });
    let weights: Vec<String> = weights.collect();
    if weights.is_empty() { "1 point a token".to_owned() } else { weights.join("; ") }
}

pub(crate) fn product_words(product: &Product) -> String {
    format!("{} points a request", of_micro(product.micro_per_request))
}

pub(crate) fn contract_words(contract: &Contract) -> String {
    let Contract { vendor, model, currency, discount_ppm, valid, .. } = contract;
    format!(
        "{vendor} {model} by price list in {currency}, less {discount_ppm} of a million, {}",
        validity_words(valid)
    )
}

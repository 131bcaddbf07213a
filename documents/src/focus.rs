//! A statement in the columns of FOCUS 1.2, the FinOps Open Cost and Usage Specification: a row a
//! line, adjustment and rounding, and one for the tax of each contract. The sum of `BilledCost` is
//! the statement's gross total.

use jiff::civil::Date;
use jiff::tz::{Offset, TimeZone};
use tally_schemas::{TokenClass, decimal_text};
use tally_settlement::{
    Adjustment, AdjustmentReason, Cents, Language, Line, Period, Section, Units,
};

use crate::error::DocumentError;
use crate::issue::Issue;
use crate::table::sum;
use crate::vocabulary;

/// The class of lines by a share of revenue.
const REVENUE: &str = "revenue";

/// The specification's columns in its order, then our own, whose names begin with `x_`.
const COLUMNS: [&str; 41] = [
    "BilledCost",
    "BillingAccountId",
    "BillingAccountName",
    "BillingCurrency",
    "BillingPeriodEnd",
    "BillingPeriodStart",
    "ChargeCategory",
    "ChargeClass",
    "ChargeDescription",
    "ChargeFrequency",
    "ChargePeriodEnd",
    "ChargePeriodStart",
    "ConsumedQuantity",
    "ConsumedUnit",
    "ContractedCost",
    "EffectiveCost",
    "InvoiceIssuerName",
    "ListCost",
    "PricingCategory",
    "PricingCurrency",
    "PricingQuantity",
    "PricingUnit",
    "ProviderName",
    "PublisherName",
    "ServiceCategory",
    "ServiceName",
    "ServiceSubcategory",
    "SkuId",
    "SkuMeter",
    "SkuPriceId",
    "x_AdjustmentReason",
    "x_LineId",
    "x_OriginalLineId",
    "x_Part",
    "x_PriceBookVersion",
    "x_PriceId",
    "x_RatedAmount",
    "x_ServiceTier",
    "x_StatementHash",
    "x_StatementStatus",
    "x_UnitPrice",
];

/// Units, and how many of them a price is for.
#[derive(Debug, Clone, Copy)]
struct Quantity {
    units: Units,
    unit: &'static str,
    is_per_million: bool,
}

impl Quantity {
    fn of(units: Units, class: &str) -> Self {
        // A share of revenue has no price for a unit.
        Self { units, unit: unit(class), is_per_million: class != REVENUE }
    }

    fn priced(self) -> (String, String) {
        if self.is_per_million {
            (decimal_text(self.units.0, 6), format!("1000000 {}", self.unit))
        } else {
            (self.units.to_string(), self.unit.to_owned())
        }
    }
}

/// One charge.
#[derive(Debug, Clone, Default)]
struct Charge {
    billed: Cents,
    effective: Cents,
    category: &'static str,
    is_correction: bool,
    description: String,
    period: Option<Period>,
    quantity: Option<Quantity>,
    pricing_currency: String,
    unit_price_micro: Option<u64>,
    provider: String,
    service: String,
    sku: String,
    meter: String,
    sku_price: String,
    reason: &'static str,
    id: String,
    orig_line: String,
    part: &'static str,
    price_book_version: String,
    price: String,
    rated: String,
    service_tier: String,
}

/// Writes the charges of a statement as CSV: UTF-8, decimals without an exponent, nulls as empty
/// fields, times in UTC.
///
/// # Errors
/// `Overflow` for sums beyond 128 bits.
pub fn statement_focus(issue: &Issue<'_>) -> Result<Vec<u8>, DocumentError> {
    let format = |error: csv::Error| DocumentError::Format(error.to_string());
    let hash = issue.statement.hash()?;
    let mut writer = csv::Writer::from_writer(Vec::new());
    writer.write_record(COLUMNS).map_err(format)?;
    for section in &issue.statement.sections {
        for charge in charges(issue, section)? {
            writer.write_record(fields(issue, &hash, section, charge)).map_err(format)?;
        }
    }
    writer.into_inner().map_err(|error| DocumentError::Format(error.to_string()))
}

fn charges(issue: &Issue<'_>, section: &Section) -> Result<Vec<Charge>, DocumentError> {
    let mut charges: Vec<Charge> =
        section.lines.iter().map(|line| of_line(issue, section, line)).collect();
    charges.extend(section.adjustments.iter().map(|row| of_adjustment(issue, row)));
    charges.push(Charge {
        billed: section.rounding.net,
        effective: section.rounding.net,
        category: "Adjustment",
        description: format!("Rounding of {}", section.terms),
        part: "rounding",
        ..Charge::default()
    });
    // Tax is levied on the total of a contract. What is drawn from advance payments was a cost
    // when it was used, whenever it was paid.
    let drawn = section.adjustments.iter().filter(|row| is_payment(row)).map(|row| row.amounts);
    let drawn = sum(&section.terms, drawn)?;
    let effective = section.total.tax.0.checked_sub(drawn.tax.0);
    charges.push(Charge {
        billed: section.total.tax,
        effective: Cents(effective.ok_or_else(|| DocumentError::Overflow(section.terms.clone()))?),
        category: "Tax",
        description: format!("Tax of {}", section.terms),
        part: "tax",
        ..Charge::default()
    });
    Ok(charges)
}

fn of_line(issue: &Issue<'_>, section: &Section, line: &Line) -> Charge {
    let unit = unit(&line.class);
    let meter = vocabulary::class(Language::En, &line.class);
    let sku = format!("{}/{}", line.model, line.class);
    let sku_price = match line.price.as_str() {
        "" => sku.clone(),
        price => format!("{sku}/{price}"),
    };
    let price = line.unit_price_micro.map_or_else(
        || vocabulary::form(Language::En, &section.form).to_owned(),
        |micro| {
            let price = decimal_text(i128::from(micro), 6);
            format!("{price} {} per 1000000 {unit}", line.listed_currency)
        },
    );
    let trial = if line.trial { ", free trial" } else { "" };
    let supplier = if line.supplier.is_empty() { &issue.statement.vendor } else { &line.supplier };
    Charge {
        billed: line.amounts.net,
        effective: line.amounts.net,
        category: "Usage",
        description: format!("{} {meter}, {price}{trial}", line.model),
        quantity: Some(Quantity::of(line.units, &line.class)),
        pricing_currency: line.listed_currency.clone(),
        unit_price_micro: line.unit_price_micro,
        provider: supplier.clone(),
        service: line.model.clone(),
        sku,
        meter: meter.to_owned(),
        sku_price,
        id: line.id.clone(),
        part: "line",
        price_book_version: line.price_book_version.clone(),
        price: line.price.clone(),
        rated: line.listed.to_string(),
        service_tier: line.service_tier.clone(),
        ..Charge::default()
    }
}

fn of_adjustment(issue: &Issue<'_>, row: &Adjustment) -> Charge {
    let corrected = row.orig_period.filter(|period| *period != issue.statement.period);
    let is_correction = corrected.is_some();
    let category = match row.reason {
        // Usage needs a quantity and a price, unless it corrects what was invoiced before.
        AdjustmentReason::LateUsage
        | AdjustmentReason::ReRate
        | AdjustmentReason::VolumeCorrection
        | AdjustmentReason::CorrectionEvent
            if is_correction =>
        {
            "Usage"
        }
        AdjustmentReason::DisputeCredit
        | AdjustmentReason::ComplaintRefund
        | AdjustmentReason::FreeTrial
        | AdjustmentReason::PrepaidDrawn => "Credit",
        _ => "Adjustment",
    };
    let reason = vocabulary::reason(Language::En, row.reason);
    let about = [row.model.as_str(), row.note.as_str()].map(|text| match text {
        "" => String::new(),
        text => format!(", {text}"),
    });
    let (sku, meter) = match (row.model.as_str(), row.class.as_str()) {
        ("", _) | (_, "") => (String::new(), ""),
        (model, class) => (format!("{model}/{class}"), vocabulary::class(Language::En, class)),
    };
    Charge {
        billed: row.amounts.net,
        effective: if is_payment(row) { Cents(0) } else { row.amounts.net },
        category,
        is_correction,
        description: format!("{reason}{}", about.concat()),
        period: corrected,
        quantity: (category == "Usage" && row.units.0 != 0)
            .then(|| Quantity::of(row.units, &row.class)),
        service: row.model.clone(),
        sku,
        meter: meter.to_owned(),
        reason: row.reason.name(),
        id: row.id.clone(),
        orig_line: row.orig_line_id.clone().unwrap_or_default(),
        part: "adjustment",
        price: row.price.clone(),
        ..Charge::default()
    }
}

/// Whether an adjustment is a way of paying and not a change of what was used.
fn is_payment(row: &Adjustment) -> bool {
    row.reason == AdjustmentReason::PrepaidDrawn
}

/// What units of a class are.
fn unit(class: &str) -> &'static str {
    match TokenClass::from_name(class) {
        Some(TokenClass::Requests) => "Requests",
        Some(TokenClass::Images) => "Images",
        Some(TokenClass::Seconds) => "Seconds",
        Some(TokenClass::Characters) => "Characters",
        Some(_) => "Tokens",
        // A share of revenue counts events, a tier units of several classes.
        None if class == REVENUE => "Events",
        None => "Units",
    }
}

fn fields(
    issue: &Issue<'_>,
    hash: &str,
    section: &Section,
    charge: Charge,
) -> [String; COLUMNS.len()] {
    let statement = issue.statement;
    let vendor = || statement.vendor.clone();
    let period = statement.period;
    let charged = charge.period.unwrap_or(period);
    let filled = |text: String, other: &dyn Fn() -> String| {
        if text.is_empty() { other() } else { text }
    };
    let billed = charge.billed.to_string();
    let (consumed, consumed_unit) =
        charge.quantity.map_or_else(Default::default, |q| (q.units.to_string(), q.unit));
    let (priced, pricing_unit) = charge.quantity.map_or_else(Default::default, Quantity::priced);
    let is_usage = charge.category == "Usage";
    let frequency = if is_usage { "Usage-Based" } else { "One-Time" };
    let pricing_category = match charge.quantity {
        Some(quantity) if is_usage && !charge.is_correction => {
            if quantity.is_per_million {
                "Standard"
            } else {
                "Other"
            }
        }
        _ => "",
    };
    [
        billed.clone(),
        section.terms.clone(),
        String::new(),
        statement.currency.clone(),
        utc(period.end_day()),
        utc(period.first_day()),
        charge.category.to_owned(),
        if charge.is_correction { "Correction" } else { "" }.to_owned(),
        charge.description,
        frequency.to_owned(),
        utc(charged.end_day()),
        utc(charged.first_day()),
        consumed,
        consumed_unit.to_owned(),
        billed.clone(),
        charge.effective.to_string(),
        vendor(),
        billed,
        pricing_category.to_owned(),
        filled(charge.pricing_currency, &|| statement.currency.clone()),
        priced,
        pricing_unit,
        filled(charge.provider, &vendor),
        vendor(),
        "AI and Machine Learning".to_owned(),
        filled(charge.service, &vendor),
        "Generative AI".to_owned(),
        charge.sku,
        charge.meter,
        charge.sku_price,
        charge.reason.to_owned(),
        charge.id,
        charge.orig_line,
        charge.part.to_owned(),
        charge.price_book_version,
        charge.price,
        charge.rated,
        charge.service_tier,
        hash.to_owned(),
        if issue.state.is_draft() { "draft" } else { "final" }.to_owned(),
        charge.unit_price_micro.map_or(String::new(), |micro| decimal_text(i128::from(micro), 6)),
    ]
}

/// Midnight in Asia/Shanghai of a day, as UTC.
fn utc(day: Date) -> String {
    let midnight = day.to_zoned(TimeZone::fixed(Offset::constant(8)));
    midnight.map_or_else(|_| String::new(), |midnight| midnight.timestamp().to_string())
}

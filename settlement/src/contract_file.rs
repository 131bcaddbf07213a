//! Reads contracts from TOML. Strict: an unknown key is a defect, and every defect is told at
//! once, with its line and what to do.

use tally_rating::TierMode;
use tally_schemas::TokenClass;
use toml::de::DeTable;

use crate::contract_fields::{Defects, Fields};
use crate::contracts::FxRate;
use crate::decimal::Cents;
use crate::fraction::Rounding;
use crate::terms::{
    Approved, Burden, Counts, Form, Minimum, Prepayment, ShareBase, Step, TaxBasis, Terms,
    Tolerance, Trial,
};

/// A whole, in parts per million.
const WHOLE_PPM: u32 = 1_000_000;

/// The months that a shortfall may be carried at most: ten years.
const CARRY_MONTHS_MAX: u64 = 120;

/// A file that cannot be read as contracts.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .defects.join("\n"))]
pub struct BadContracts {
    /// Each defect: file, line, record, field, what is wrong and what to do.
    pub defects: Vec<String>,
}

/// What a file of contracts holds.
#[derive(Debug, Default)]
pub(crate) struct ContractFile {
    pub(crate) terms: Vec<Terms>,
    pub(crate) rates: Vec<FxRate>,
}

/// Reads a file. Where its records will be known from their approval on, they need not say since
/// when.
///
/// # Errors
/// Every defect.
pub(crate) fn read_contracts(
    name: &str,
    text: &str,
    known_from_approval: bool,
) -> Result<ContractFile, BadContracts> {
    let mut defects = Defects::new(name, text);
    let mut file = ContractFile::default();
    let reading = Reading { name, known_from_approval };
    match DeTable::parse(text) {
        Ok(document) => read_document(reading, document.get_ref(), &mut file, &mut defects),
        Err(error) => {
            let at = error.span().map_or(0, |span| span.start);
            defects.add(at, error.message());
        }
    }
    let defects = defects.into_found();
    if defects.is_empty() { Ok(file) } else { Err(BadContracts { defects }) }
}

/// A file that is being read.
#[derive(Debug, Clone, Copy)]
struct Reading<'a> {
    name: &'a str,
    known_from_approval: bool,
}

fn read_document<'t>(
    reading: Reading<'_>,
    document: &DeTable<'t>,
    file: &mut ContractFile,
    defects: &mut Defects<'t>,
) {
    for (key, value) in document {
        let (name, at): (&str, usize) = (key.get_ref(), key.span().start);
        if name == "contract" {
            defects.add(at, "[[contract]] is what events are rated by: give it a file of its own");
            continue;
        }
        let Some(list) = value.get_ref().as_array().filter(|_| matches!(name, "terms" | "fx"))
        else {
            defects.add(at, format!("{name} is not known here; known are [[terms]] and [[fx]]"));
            continue;
        };
        for (number, item) in list.iter().enumerate() {
            let at = item.span().start;
            let Some(table) = item.get_ref().as_table() else {
                defects.add(at, format!("{name}: a table [[{name}]] is needed"));
                continue;
            };
            let mut fields =
                Fields::new(format!("{name} number {}", number + 1), at, table, defects);
            match name {
                "terms" => {
                    let terms = read_terms(reading, &mut fields);
                    fields.finish();
                    file.terms.extend(terms);
                }
                _ => {
                    let rate = read_rate(reading, &mut fields);
                    fields.finish();
                    file.rates.extend(rate);
                }
            }
        }
    }
}

/// From when on a record is known, as it is written.
fn read_known_from(reading: Reading<'_>, fields: &mut Fields<'_, '_, '_>) -> Option<Option<i64>> {
    if reading.known_from_approval {
        fields.optional_instant("known_from")
    } else {
        fields.instant("known_from").map(Some)
    }
}

fn read_terms(reading: Reading<'_>, fields: &mut Fields<'_, '_, '_>) -> Option<Terms> {
    let id = fields.text("id");
    if let Some(id) = &id {
        fields.of = format!("terms {id}");
    }
    let line = fields.line();
    // Everything is read before anything is given up, so that every defect is told.
    let vendor = fields.text("vendor");
    let model = fields.pattern("model_pattern");
    let form = read_form(fields);
    let currency = fields.currency("currency");
    let tax_ppm = fields.ppm("tax_ppm", WHOLE_PPM);
    let inclusive = fields.flag("amounts_include_tax", false);
    let rounding = fields.one_of(
        "rounding",
        &[("half_up", Rounding::HalfUp), ("half_even", Rounding::HalfEven)],
        None,
    );
    let minimum = read_minimum(fields);
    let cap = fields.optional_amount("cap");
    let prepayments = fields.tables("prepaid", |fields| {
        let (paid_on, amount) = (fields.day("paid_on"), fields.amount("amount"));
        Some(Prepayment { paid_on: paid_on?, amount: amount? })
    });
    let trial = fields.table("trial", read_trial);
    let tolerance = fields.table("tolerance", read_tolerance);
    let valid_from = fields.day("valid_from");
    let valid_to = fields.optional_day("valid_to");
    if let (Some(from), Some(Some(to))) = (valid_from, valid_to)
        && to < from
    {
        fields.wrong(format!("valid_to {to} lies before valid_from {from}"));
    }
    let written_ms = read_known_from(reading, fields);
    let source = fields.optional_text("source");
    let approved = read_approval(fields);
    Some(Terms {
        id: id?,
        vendor: vendor?,
        model: model?,
        form: form?,
        currency: currency?,
        tax_ppm: tax_ppm?,
        tax_basis: if inclusive? { TaxBasis::Inclusive } else { TaxBasis::Exclusive },
        rounding: rounding?,
        minimum: minimum?,
        cap: cap?,
        prepayments: prepayments?,
        trial: trial?,
        tolerance: tolerance?.unwrap_or(Tolerance::NONE),
        valid_from: valid_from?,
        valid_to: valid_to?,
        known_from_ms: written_ms?.unwrap_or(i64::MIN),
        written_ms: written_ms?,
        source: source?.unwrap_or_default(),
        file: reading.name.to_owned(),
        line,
        approved: approved?,
    })
}

/// The forms as they are named in a file.
#[derive(Debug, Clone, Copy)]
enum FormName {
    PriceList,
    ShareOfGross,
    ShareOfNet,
    CostPlus,
    Tiers(TierMode),
}

fn read_form(fields: &mut Fields<'_, '_, '_>) -> Option<Form> {
    let name = fields.one_of(
        "form",
        &[
            ("price_list", FormName::PriceList),
            ("share_of_gross", FormName::ShareOfGross),
            ("share_of_net", FormName::ShareOfNet),
            ("cost_plus", FormName::CostPlus),
            ("graduated_tiers", FormName::Tiers(TierMode::Graduated)),
            ("all_units_tiers", FormName::Tiers(TierMode::AllUnits)),
        ],
        None,
    )?;
    match name {
        FormName::PriceList => Some(Form::PriceList),
        FormName::ShareOfGross => {
            let share_ppm = fields.ppm("share_ppm", WHOLE_PPM)?;
            Some(Form::Share { of: ShareBase::Gross, share_ppm })
        }
        FormName::ShareOfNet => {
            let share_ppm = fields.ppm("share_ppm", WHOLE_PPM);
            let revenue_tax_ppm = fields.ppm("revenue_tax_ppm", WHOLE_PPM);
            let channel_fee_ppm = fields.ppm("channel_fee_ppm", WHOLE_PPM);
            let bad_debt_ppm = fields.ppm("bad_debt_ppm", WHOLE_PPM);
            let of = ShareBase::Net {
                revenue_tax_ppm: revenue_tax_ppm?,
                channel_fee_ppm: channel_fee_ppm?,
                bad_debt_ppm: bad_debt_ppm?,
            };
            if channel_fee_ppm? + bad_debt_ppm? >= WHOLE_PPM {
                fields.wrong("channel_fee_ppm and bad_debt_ppm leave nothing to share");
                return None;
            }
            Some(Form::Share { of, share_ppm: share_ppm? })
        }
        FormName::CostPlus => {
            Some(Form::CostPlus { markup_ppm: fields.ppm("markup_ppm", 10 * WHOLE_PPM)? })
        }
        FormName::Tiers(mode) => read_tiers(fields, mode),
    }
}

fn read_tiers(fields: &mut Fields<'_, '_, '_>, mode: TierMode) -> Option<Form> {
    let names = fields.texts("tier_classes");
    let steps = fields.tables("tiers", |fields| {
        let (above_units, price) =
            (fields.integer("above_units"), fields.integer("price_micro_per_million"));
        Some(Step { above_units: above_units?, micro_per_million: price? })
    });
    let (names, steps) = (names?, steps?);
    let mut classes = Vec::new();
    for name in &names {
        match TokenClass::from_name(name).filter(|class| *class != TokenClass::Reasoning) {
            Some(class) if !classes.contains(&class) => classes.push(class),
            Some(_) => fields.wrong(format!("tier_classes names {name} twice")),
            None => fields.wrong(format!("tier_classes: {name:?} is not a class that is priced")),
        }
    }
    classes.sort_unstable();
    if names.is_empty() {
        fields.wrong("tier_classes is missing: name the classes that are counted");
    }
    if steps.first().is_none_or(|first| first.above_units != 0) {
        fields.wrong("tiers: the first begins with above_units = 0");
    }
    if steps.windows(2).any(|pair| pair[1].above_units <= pair[0].above_units) {
        fields.wrong("tiers: above_units has to rise from one to the next");
    }
    (classes.len() == names.len() && !classes.is_empty() && !steps.is_empty())
        .then_some(Form::Tiers { mode, classes, steps })
}

fn read_minimum(fields: &mut Fields<'_, '_, '_>) -> Option<Option<Minimum>> {
    let amount = fields.optional_amount("minimum");
    let months = fields.optional_integer("carry_months");
    match (amount?, months?) {
        (Some(amount), months) => {
            let months = months.unwrap_or(0);
            let carry_months = u32::try_from(months).ok().filter(|_| months <= CARRY_MONTHS_MAX);
            if carry_months.is_none() {
                fields.wrong(format!("carry_months is above {CARRY_MONTHS_MAX}"));
            }
            Some(Some(Minimum { amount, carry_months: carry_months? }))
        }
        (None, None) => Some(None),
        (None, Some(_)) => {
            fields.wrong("carry_months needs a minimum");
            None
        }
    }
}

fn read_trial(fields: &mut Fields<'_, '_, '_>) -> Option<Trial> {
    let name = fields.one_of("burden", &[("operator", 0), ("vendor", 1), ("shared", 2)], None);
    let packages = fields.texts("packages");
    let vendor_ppm = fields.optional_ppm("vendor_ppm", WHOLE_PPM);
    let burden = match (name?, vendor_ppm?) {
        (0, None) => Burden::Operator,
        (1, None) => Burden::Vendor,
        (2, Some(vendor_ppm)) => Burden::Shared { vendor_ppm },
        (2, None) => {
            fields.wrong("a shared burden needs vendor_ppm, the vendor's part");
            return None;
        }
        _ => {
            fields.wrong("vendor_ppm goes with burden = \"shared\" only");
            return None;
        }
    };
    let packages = packages?;
    if packages.is_empty() {
        fields.wrong("packages is missing: name the packages that are free trials");
        return None;
    }
    Some(Trial { burden, packages })
}

fn read_tolerance(fields: &mut Fields<'_, '_, '_>) -> Option<Tolerance> {
    let qty_ppm = fields.percent_as_ppm("qty_pct");
    let amt_ppm = fields.percent_as_ppm("amt_pct");
    let amt_abs = fields.optional_amount("amt_abs");
    let counts =
        fields.one_of("counts", &[("ours", Counts::Ours), ("theirs", Counts::Theirs)], None);
    Some(Tolerance {
        qty_ppm: qty_ppm?,
        amt_ppm: amt_ppm?,
        amt_abs: amt_abs?.unwrap_or(Cents(0)),
        counts: counts?,
    })
}

fn read_approval(fields: &mut Fields<'_, '_, '_>) -> Option<Option<Approved>> {
    let by = fields.optional_text("approved_by");
    let at = fields.optional_instant("approved_at");
    match (by?, at?) {
        (Some(by), Some(at_ms)) if !by.trim().is_empty() => Some(Some(Approved { by, at_ms })),
        (None, None) => Some(None),
        _ => {
            fields.wrong("approved_by and approved_at belong together");
            None
        }
    }
}

fn read_rate(reading: Reading<'_>, fields: &mut Fields<'_, '_, '_>) -> Option<FxRate> {
    let line = fields.line();
    let (from, to) = (fields.currency("from"), fields.currency("to"));
    if let (Some(from), Some(to)) = (from, to) {
        fields.of = format!("fx {from} {to}");
    }
    let period = fields.period("period");
    let rate = fields.decimal("rate", 6);
    let date = fields.day("date");
    let source = fields.text("source");
    let written_ms = fields.optional_instant("known_from");
    let rate_micro = rate?;
    if rate_micro <= 0 || from? == to? {
        fields.wrong("a rate is above 0 and between two currencies");
        return None;
    }
    let written_ms = written_ms?;
    Some(FxRate {
        from: from?,
        to: to?,
        period: period?,
        rate_micro,
        date: date?,
        source: source?,
        known_from_ms: written_ms.unwrap_or(i64::MIN),
        written_ms,
        file: reading.name.to_owned(),
        line,
        approved: None,
    })
}

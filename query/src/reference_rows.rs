//! Rows of the tables of reference data.

use std::sync::Arc;

use arrow::array::{ArrayRef, BooleanArray, Date32Array, Decimal128Array, Int32Array, Int64Array};
use arrow::error::ArrowError;
use tally_quota::{
    Anchor, OverflowPolicy, Package, PackageKind, Period, Rollover, Stacking, Tariff, Threshold,
};
use tally_rating::{CalendarRecord, Version, unit_of};
use tally_reference::{FileOrigin, ReferenceKind, Whole};
use tally_schemas::decimal_text;

use crate::reference_schema::ReferenceTable;
use crate::system_schema::{integers, maybe_texts, texts, times, whole as whole_number};
use crate::terms_rows::{contract_rows, rate_rows};

/// Columns of a table, in its order.
pub(crate) fn rows_of(table: ReferenceTable, whole: &Whole) -> Result<Vec<ArrayRef>, ArrowError> {
    match table {
        ReferenceTable::PriceBook => prices(whole),
        ReferenceTable::Contracts => contract_rows(whole),
        ReferenceTable::FxRates => rate_rows(whole),
        ReferenceTable::Packages => packages(whole),
        ReferenceTable::Calendars => calendars(whole),
        ReferenceTable::ModelAliases => aliases(whole),
    }
}

/// Who brought and approved a record.
pub(crate) struct Standing<'a> {
    /// What its versions share, among all rows of the table.
    pub(crate) id: &'a str,
    pub(crate) source: &'a str,
    pub(crate) known_from_ms: i64,
    pub(crate) approved_by: &'a str,
    pub(crate) approved_at_ms: i64,
}

impl<'a> Standing<'a> {
    /// None where it is not approved: then it rates nothing.
    pub(crate) fn of_version(version: &'a Version) -> Option<Self> {
        let approval = version.approved.as_ref()?;
        Some(Self {
            id: &version.id,
            source: &version.source,
            known_from_ms: version.known_from_ms,
            approved_by: &approval.by,
            approved_at_ms: approval.at_ms,
        })
    }
}

/// The columns that every table ends with.
pub(crate) fn standing(kind: ReferenceKind, whole: &Whole, rows: &[Standing<'_>]) -> Vec<ArrayRef> {
    let layer = |row: &Standing<'_>| whole.layer_approved_at(kind, row.approved_at_ms);
    let superseded = |row: &Standing<'_>| {
        let later = rows.iter().filter(|other| other.id == row.id);
        later.map(|other| other.known_from_ms).filter(|known| *known > row.known_from_ms).min()
    };
    let shipped = |row: &Standing<'_>| row.approved_by.to_owned();
    vec![
        integers(rows.iter().map(|row| layer(row).map_or(0, |(at, _)| whole_number(at.version)))),
        maybe_texts(rows.iter().map(|row| Some(row.source).filter(|source| !source.is_empty()))),
        times(rows.iter().map(|row| Some(row.known_from_ms))),
        times(rows.iter().map(superseded)),
        texts(rows.iter().map(|row| {
            layer(row).map_or_else(|| shipped(row), |(_, version)| version.imported_by.clone())
        })),
        times(rows.iter().map(|row| {
            let written = layer(row).filter(|(_, version)| version.origin != FileOrigin::Shipped);
            written.map(|(_, version)| version.imported_at_ms)
        })),
        texts(rows.iter().map(|row| row.approved_by)),
        times(rows.iter().map(|row| Some(row.approved_at_ms))),
    ]
}

/// Micro-units as decimals.
pub(crate) fn micro(values: impl Iterator<Item = Option<i128>>) -> Result<ArrayRef, ArrowError> {
    let decimals = values.collect::<Decimal128Array>().with_precision_and_scale(38, 6)?;
    Ok(Arc::new(decimals))
}

pub(crate) fn flags(values: impl Iterator<Item = Option<bool>>) -> ArrayRef {
    Arc::new(values.collect::<BooleanArray>())
}

pub(crate) fn maybe_integers(values: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(Int64Array::from_iter(values))
}

fn prices(whole: &Whole) -> Result<Vec<ArrayRef>, ArrowError> {
    let all = whole.book.prices().iter();
    let (rows, standings): (Vec<_>, Vec<_>) =
        all.filter_map(|price| Some((price, Standing::of_version(&price.version)?))).unzip();
    let prices = || rows.iter();
    let tier = |price: &tally_rating::Price| price.tier;
    let per_million = |price: &tally_rating::Price| i128::from(price.micro_per_million);
    let mut columns = vec![
        texts(prices().map(|p| &p.version.id)),
        texts(prices().map(|p| p.side.name())),
        maybe_texts(prices().map(|p| p.contract_id.as_ref())),
        texts(prices().map(|p| &p.vendor)),
        maybe_texts(prices().map(|p| p.supplier.as_ref())),
        texts(prices().map(|p| p.model.to_string())),
        texts(prices().map(|p| p.class.name())),
        texts(prices().map(|p| unit_of(p.class))),
        texts(prices().map(|p| p.currency.code())),
        Arc::new(
            prices()
                .map(|p| Some(per_million(p)))
                .collect::<Decimal128Array>()
                .with_precision_and_scale(20, 0)?,
        ) as ArrayRef,
        micro(prices().map(|p| Some(per_million(p))))?,
        maybe_texts(prices().map(|p| tier(p).map(|tier| tier.basis.name()))),
        maybe_integers(prices().map(|p| tier(p).map(|tier| whole_number(tier.from)))),
        maybe_integers(prices().map(|p| tier(p).and_then(|tier| tier.to).map(whole_number))),
        maybe_texts(prices().map(|p| tier(p).and_then(|t| t.mode).map(|mode| mode.name()))),
        maybe_texts(prices().map(|p| p.service_tier.as_ref())),
        maybe_texts(prices().map(|p| p.region.as_ref())),
        maybe_texts(prices().map(|p| p.calendar_id.as_ref())),
        maybe_texts(prices().map(|p| Some(p.windows.to_string()).filter(|w| !w.is_empty()))),
        texts(prices().map(|p| p.time_basis.name())),
        times(prices().map(|p| Some(p.valid.from_ms))),
        times(prices().map(|p| p.valid.to_ms)),
        flags(prices().map(|p| Some(p.free))),
        flags(prices().map(|p| Some(p.promotion))),
    ];
    columns.extend(standing(ReferenceKind::Price, whole, &standings));
    Ok(columns)
}

fn aliases(whole: &Whole) -> Result<Vec<ArrayRef>, ArrowError> {
    let all = whole.book.aliases().iter();
    let (rows, standings): (Vec<_>, Vec<_>) =
        all.filter_map(|a| Some((a, Standing::of_version(&a.version)?))).unzip();
    let aliases = || rows.iter();
    let mut columns = vec![
        texts(aliases().map(|a| &a.version.id)),
        texts(aliases().map(|a| &a.model)),
        texts(aliases().map(|a| &a.vendor)),
        texts(aliases().map(|a| &a.billed_model)),
        times(aliases().map(|a| Some(a.valid.from_ms))),
        times(aliases().map(|a| a.valid.to_ms)),
    ];
    columns.extend(standing(ReferenceKind::Price, whole, &standings));
    Ok(columns)
}

fn calendars(whole: &Whole) -> Result<Vec<ArrayRef>, ArrowError> {
    let (mut rows, mut standings) = (Vec::new(), Vec::new());
    for calendar in whole.book.calendars() {
        let mut days: Vec<Option<(i64, &str)>> = calendar.holidays().map(Some).collect();
        if days.is_empty() {
            days.push(None);
        }
        for day in days {
            let Some(standing) = Standing::of_version(&calendar.version) else { continue };
            rows.push((calendar, day));
            standings.push(standing);
        }
    }
    let days = || rows.iter();
    let minutes = |calendar: &CalendarRecord| i32::try_from(calendar.offset_ms / 60_000).ok();
    let date = |day: Option<(i64, &str)>| day.and_then(|(day, _)| i32::try_from(day).ok());
    let mut columns = vec![
        texts(days().map(|(calendar, _)| &calendar.version.id)),
        texts(days().map(|(calendar, _)| calendar.days.name())),
        Arc::new(Int32Array::from_iter(days().map(|(calendar, _)| minutes(calendar)))) as ArrayRef,
        Arc::new(Date32Array::from_iter(days().map(|(_, day)| date(*day)))),
        maybe_texts(days().map(|(_, day)| day.map(|(_, source)| source))),
    ];
    columns.extend(standing(ReferenceKind::Price, whole, &standings));
    Ok(columns)
}

/// A package or a tariff.
enum Offer<'a> {
    Package(&'a Package),
    Tariff(&'a Tariff),
}

impl<'a> Offer<'a> {
    fn package(&self) -> Option<&'a Package> {
        match self {
            Self::Package(package) => Some(package),
            Self::Tariff(_) => None,
        }
    }

    fn thresholds(&self) -> &'a [Threshold] {
        match self {
            Self::Package(package) => &package.thresholds,
            Self::Tariff(tariff) => &tariff.thresholds,
        }
    }

    fn region(&self) -> Option<&'a str> {
        match self {
            Self::Package(package) => package.region.as_deref(),
            Self::Tariff(tariff) => tariff.region.as_deref(),
        }
    }
}

/// Texts with commas; none where there is nothing.
fn joined(texts: impl Iterator<Item = String>) -> Option<String> {
    let texts: Vec<String> = texts.collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn packages(whole: &Whole) -> Result<Vec<ArrayRef>, ArrowError> {
    let (mut offers, mut standings) = (Vec::new(), Vec::new());
    for package in whole.packages.packages() {
        if let (Some(approved_by), Some(approved_at_ms)) =
            (&package.approved_by, package.approved_at_ms)
        {
            let Package { id, source, known_from_ms, .. } = package;
            let known_from_ms = *known_from_ms;
            standings.push(Standing { id, source, known_from_ms, approved_by, approved_at_ms });
            offers.push(Offer::Package(package));
        }
    }
    for tariff in whole.packages.tariffs() {
        if let (Some(approved_by), Some(approved_at_ms)) =
            (&tariff.approved_by, tariff.approved_at_ms)
        {
            let Tariff { id, source, known_from_ms, .. } = tariff;
            let known_from_ms = *known_from_ms;
            standings.push(Standing { id, source, known_from_ms, approved_by, approved_at_ms });
            offers.push(Offer::Tariff(tariff));
        }
    }
    let of = || offers.iter().map(Offer::package);
    let both = |of_package: fn(&Package) -> String, of_tariff: fn(&Tariff) -> String| {
        texts(offers.iter().map(move |offer| match offer {
            Offer::Package(package) => of_package(package),
            Offer::Tariff(tariff) => of_tariff(tariff),
        }))
    };
    let thresholds = |offer: &Offer<'_>| {
        let words = |t: &Threshold| format!("{} {}", t.kind.name(), t.at);
        joined(offer.thresholds().iter().map(words))
    };
    let mut columns = vec![
        both(|p| p.id.clone(), |t| t.id.clone()),
        both(|p| p.title.clone(), |t| t.title.clone()),
        both(|p| p.title_en.clone(), |t| t.title_en.clone()),
        both(|p| kind_name(p.kind).to_owned(), |_| "payg".to_owned()),
        micro(offers.iter().map(|offer| {
            Some(i128::from(match offer {
                Offer::Package(package) => package.price_micro,
                Offer::Tariff(tariff) => tariff.price_micro_per_million_points,
            }))
        }))?,
        both(|p| p.currency.to_string(), |t| t.currency.to_string()),
        micro(of().map(|p| p.map(|p| i128::from(p.allowance_micro))))?,
        maybe_texts(of().map(|p| p.map(|p| period_words(p.period)))),
        maybe_texts(of().map(|p| p.map(|p| anchor_name(p.anchor)))),
        maybe_texts(of().map(|p| p.map(|p| p.weights.clone()))),
        maybe_integers(of().map(|p| p.map(|p| p.priority))),
        flags(of().map(|p| p.map(|p| p.directed))),
        maybe_texts(of().map(|p| joined(p?.models.iter().cloned()))),
        maybe_texts(of().map(|p| joined(p?.products.iter().cloned()))),
        maybe_texts(of().map(|p| p.map(|p| rollover_name(p.rollover)))),
        maybe_texts(of().map(|p| {
            let cap = |cap: &tally_quota::Cap| {
                format!("{} {}", cap.window.name(), decimal_text(cap.limit_micro.into(), 6))
            };
            joined(p?.caps.iter().map(cap))
        })),
        maybe_texts(offers.iter().map(thresholds)),
        maybe_texts(of().map(|p| p.map(|p| overflow_name(p.overflow)))),
        maybe_texts(of().map(|p| p.map(|p| stacking_name(p.stacking)))),
        maybe_texts(of().map(|p| p.map(|p| p.funded_by.clone()))),
        maybe_texts(offers.iter().map(Offer::region)),
        flags(of().map(|p| Some(p.is_some_and(|p| p.example)))),
        times(of().map(|p| p.map(|p| p.valid_from_ms))),
        times(of().map(|p| p?.valid_to_ms)),
    ];
    columns.extend(standing(ReferenceKind::Package, whole, &standings));
    Ok(columns)
}

const fn kind_name(kind: PackageKind) -> &'static str {
    match kind {
        PackageKind::Paid => "paid",
        PackageKind::Trial => "trial",
        PackageKind::Free => "free",
    }
}

fn period_words(period: Period) -> String {
    match period {
        Period::Months(n) => format!("{n} months"),
        Period::Days(n) => format!("{n} days"),
        Period::Hours(n) => format!("{n} hours"),
    }
}

const fn anchor_name(anchor: Anchor) -> &'static str {
    match anchor {
        Anchor::Purchase => "purchase",
        Anchor::Calendar => "calendar",
    }
}

const fn rollover_name(rollover: Rollover) -> &'static str {
    match rollover {
        Rollover::None => "none",
        Rollover::NextPeriod { .. } => "next_period",
    }
}

const fn overflow_name(overflow: OverflowPolicy) -> &'static str {
    match overflow {
        OverflowPolicy::Block => "block",
        OverflowPolicy::Payg => "payg",
        OverflowPolicy::Throttle => "throttle",
    }
}

const fn stacking_name(stacking: Stacking) -> &'static str {
    match stacking {
        Stacking::Queue => "queue",
        Stacking::Parallel => "parallel",
    }
}

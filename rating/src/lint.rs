//! What can be wrong with records that are each well-formed: overlaps, gaps, promotions that
//! nothing follows, calendars that are missing.

use std::collections::BTreeSet;

use crate::book::Book;
use crate::contract::discounted;
use crate::instant::{Validity, instant_text};
use crate::price::Price;
use crate::version::known_records;

/// A finding of the lints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lint {
    /// Stable code.
    pub code: LintCode,
    /// Id of the record.
    pub id: String,
    /// What is wrong, in words.
    pub what: String,
}

/// Kinds of findings. A book with any of them may not rate money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintCode {
    /// Two prices of the same rank can hold at one instant.
    Overlap,
    /// Between two prices of one thing lies a time without any.
    Gap,
    /// A promotion ends and nothing follows.
    PromotionWithoutSuccessor,
    /// Windows without a price for the rest of the day.
    NoPriceOutsideWindows,
    /// A calendar that the book does not have.
    UnknownCalendar,
    /// A contract that the book does not have.
    UnknownContract,
    /// A discount that leaves fractions of a micro-currency.
    FractionalDiscount,
    /// Two versions of one record that are known from the same instant.
    SameKnownTime,
}

impl LintCode {
    /// Name in messages and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Overlap => "overlap",
            Self::Gap => "gap",
            Self::PromotionWithoutSuccessor => "promotion_without_successor",
            Self::NoPriceOutsideWindows => "no_price_outside_windows",
            Self::UnknownCalendar => "unknown_calendar",
            Self::UnknownContract => "unknown_contract",
            Self::FractionalDiscount => "fractional_discount",
            Self::SameKnownTime => "same_known_time",
        }
    }
}

impl std::fmt::Display for Lint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}: {}", self.code.name(), self.id, self.what)
    }
}

/// Every finding, for every time at which the book knows something new. Prices that wait for
/// their approval are looked at as if they had it, so that a finding comes before the approval.
pub(crate) fn lint(book: &Book) -> Vec<Lint> {
    let mut approved = book.clone();
    for price in &mut approved.prices {
        let known_from_ms = price.version.known_from_ms;
        price.version.approved = Some(crate::Approval { by: "lint".into(), at_ms: known_from_ms });
    }
    let mut found = BTreeSet::new();
    references(&approved, &mut found);
    let times: BTreeSet<i64> = approved.prices.iter().map(|p| p.version.known_from_ms).collect();
    for known_at in times {
        let prices: Vec<&Price> = known_records(&approved.prices, Some(known_at))
            .filter(|price| !price.valid.is_empty())
            .collect();
        for (number, price) in prices.iter().enumerate() {
            for other in &prices[number + 1..] {
                if overlaps(price, other) {
                    found.insert(Lint {
                        code: LintCode::Overlap,
                        id: price.version.id.clone(),
                        what: format!("holds together with {}", other.version.id),
                    });
                }
            }
            if price.windows.is_empty() {
                continuity(price, &prices, &mut found);
            } else {
                rest_of_day(price, &prices, &mut found);
            }
        }
    }
    found.into_iter().collect()
}

fn references(book: &Book, found: &mut BTreeSet<Lint>) {
    let mut seen = BTreeSet::new();
    for price in &book.prices {
        let id = &price.version.id;
        let mut add = |code, what| found.insert(Lint { code, id: id.clone(), what });
        if let Some(calendar) = &price.calendar_id
            && !book.calendars.iter().any(|known| known.version.id == *calendar)
        {
            add(LintCode::UnknownCalendar, format!("calendar {calendar} is not in the book"));
        }
        if let Some(contract) = &price.contract_id
            && !book.contracts.iter().any(|known| known.version.id == *contract)
        {
            add(LintCode::UnknownContract, format!("contract {contract} is not in the book"));
        }
        if !seen.insert((id, price.version.known_from_ms)) {
            let at = instant_text(price.version.known_from_ms);
            add(LintCode::SameKnownTime, format!("two versions are known from {at}"));
        }
        for contract in &book.contracts {
            if price.contract_id.is_none()
                && contract.vendor == price.vendor
                && contract.valid.meets(&price.valid)
                && discounted(price.micro_per_million, contract.discount_ppm).is_none()
            {
                let contract = &contract.version.id;
                add(LintCode::FractionalDiscount, format!("contract {contract} leaves a fraction"));
            }
        }
    }
    for table in &book.weights {
        for calendar in table.weights.iter().filter_map(|weight| weight.calendar_id.as_ref()) {
            if !book.calendars.iter().any(|known| known.version.id == *calendar) {
                found.insert(Lint {
                    code: LintCode::UnknownCalendar,
                    id: table.version.id.clone(),
                    what: format!("calendar {calendar} is not in the book"),
                });
            }
        }
    }
}

/// Whether two prices are for the same thing, whenever they hold: tiers and windows aside.
fn same_thing(a: &Price, b: &Price) -> bool {
    a.side == b.side
        && a.vendor == b.vendor
        && a.model == b.model
        && a.class == b.class
        && a.contract_id == b.contract_id
        && a.supplier == b.supplier
        && a.region == b.region
        && a.service_tier == b.service_tier
}

fn same_tier(a: &Price, b: &Price) -> bool {
    match (a.tier, b.tier) {
        (Some(a), Some(b)) => a.meets(&b),
        _ => true,
    }
}

fn overlaps(a: &Price, b: &Price) -> bool {
    same_thing(a, b)
        && a.rank() == b.rank()
        && same_tier(a, b)
        && a.valid.meets(&b.valid)
        && (a.windows.is_empty() || a.windows.meets(&b.windows))
}

/// What follows a price without windows: at once, or nothing ever, unless it is a promotion.
fn continuity(price: &Price, prices: &[&Price], found: &mut BTreeSet<Lint>) {
    let Some(end) = price.valid.to_ms else { return };
    let alike = |other: &&&Price| {
        same_thing(price, other) && other.windows.is_empty() && same_tier(price, other)
    };
    let next = prices.iter().filter(alike).map(|other| other.valid.from_ms).filter(|at| *at >= end);
    let follows_at = next.min();
    let mut add = |code, what| found.insert(Lint { code, id: price.version.id.clone(), what });
    match follows_at {
        Some(at) if at == end => {}
        Some(at) => {
            let (end, at) = (instant_text(end), instant_text(at));
            add(LintCode::Gap, format!("nothing holds from {end} to {at}"));
        }
        None if price.promotion => {
            let end = instant_text(end);
            add(LintCode::PromotionWithoutSuccessor, format!("nothing follows at {end}"));
        }
        None => {}
    }
}

/// A price with windows needs one without, as long as it holds.
fn rest_of_day(price: &Price, prices: &[&Price], found: &mut BTreeSet<Lint>) {
    let mut covered_to = price.valid.from_ms;
    let end = price.valid.to_ms.unwrap_or(i64::MAX);
    let base = prices.iter().filter(|other| {
        same_thing(price, other) && other.windows.is_empty() && same_tier(price, other)
    });
    let mut spans: Vec<Validity> = base.map(|other| other.valid).collect();
    spans.sort_by_key(|span| span.from_ms);
    for span in spans {
        if span.from_ms <= covered_to {
            covered_to = covered_to.max(span.to_ms.unwrap_or(i64::MAX));
        }
    }
    if covered_to < end {
        found.insert(Lint {
            code: LintCode::NoPriceOutsideWindows,
            id: price.version.id.clone(),
            what: format!("nothing holds outside its windows from {}", instant_text(covered_to)),
        });
    }
}

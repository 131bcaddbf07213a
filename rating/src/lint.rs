//! What can be wrong with records that are each well-formed: overlaps, gaps, promotions that
//! nothing follows, calendars and contracts that are missing.

use std::collections::BTreeSet;

use crate::aliases::Alias;
use crate::book::Book;
use crate::contract::{Contract, discounted};
use crate::instant::{Validity, instant_text};
use crate::lint_tiers::{hole_above, parts, uncovered};
use crate::price::{Price, Side};
use crate::version::{Approval, Version, Versioned, known_records};
use crate::weights::WeightTable;

/// A finding of the lints.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lint {
    /// Stable code.
    pub code: LintCode,
    /// Id of the record.
    pub id: String,
    /// What is wrong, in words.
    pub what: String,
    /// File and line of the record.
    pub place: String,
    /// Kind and id of the other record, where it takes two.
    pub other: Option<(&'static str, String)>,
}

/// Kinds of findings. A book with any of them may not rate money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintCode {
    /// Two records of the same rank can hold at one instant.
    Overlap,
    /// Between two prices of one thing lies a time, or a tier, without any.
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
    /// A price that subscribers would pay: they are charged by packages and tariffs.
    RetailPrice,
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
            Self::RetailPrice => "retail_price",
        }
    }

    /// What to do about it.
    pub const fn advice(self) -> &'static str {
        match self {
            Self::Overlap => {
                "give the older one a new version whose valid_to is where the newer one begins"
            }
            Self::Gap => {
                "let one begin where the other ends, in time and in tokens; the last tier may have no end"
            }
            Self::PromotionWithoutSuccessor => "add what holds from the promotion's end on",
            Self::NoPriceOutsideWindows => "add a price without windows for the rest of the day",
            Self::UnknownCalendar => "add the calendar, or name one that is there",
            Self::UnknownContract => "import and approve the contract first, or correct its name",
            Self::FractionalDiscount => {
                "choose a price or a discount that leave whole micro-currency, or write the discounted price with the contract's id"
            }
            Self::SameKnownTime => {
                "leave out the version that the other replaces, or give one a later known_from"
            }
            Self::RetailPrice => {
                "sell it as a package, or as a tariff of pay as you go, with weights for what its models count: tally package import"
            }
        }
    }
}

impl std::fmt::Display for Lint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, id, what, place, .. } = self;
        write!(f, "{place}: {}: {id}: {what}; {}", code.name(), code.advice())
    }
}

impl Lint {
    fn of<T: Versioned>(code: LintCode, record: &T, what: String) -> Self {
        let Version { id, place, .. } = record.version();
        Self { code, id: id.clone(), what, place: place.clone(), other: None }
    }

    fn with<T: Versioned>(self, other: &T) -> Self {
        Self { other: Some((T::KIND, other.version().id.clone())), ..self }
    }
}

/// Every finding, for every time from `since_ms` on at which the book knows something new. Records
/// that wait for their approval are looked at as if they had it, so that a finding comes before
/// the approval.
pub(crate) fn lint(book: &Book, since_ms: Option<i64>) -> Vec<Lint> {
    let mut approved = book.clone();
    approve(&mut approved.prices);
    approve(&mut approved.aliases);
    approve(&mut approved.calendars);
    approve(&mut approved.weights);
    approve(&mut approved.contracts);
    let book = &approved;
    let mut found = BTreeSet::new();
    references(book, &mut found);
    retail_prices(book, since_ms, &mut found);
    same_known_time(&book.prices, &mut found);
    same_known_time(&book.aliases, &mut found);
    same_known_time(&book.calendars, &mut found);
    same_known_time(&book.weights, &mut found);
    same_known_time(&book.products, &mut found);
    same_known_time(&book.contracts, &mut found);
    let is_new = |at: &i64| since_ms.is_none_or(|since| *at >= since);
    for known_at in book.known_times().into_iter().filter(is_new) {
        let prices: Vec<&Price> = known_records(&book.prices, Some(known_at))
            .filter(|price| !price.valid.is_empty())
            .collect();
        for (number, price) in prices.iter().enumerate() {
            for other in &prices[number + 1..] {
                if overlaps(price, other) {
                    found.insert(together(*price, *other));
                }
            }
            if price.windows.is_empty() {
                continuity(price, &prices, &mut found);
                holes(price, &prices, &mut found);
            } else {
                rest_of_day(price, &prices, &mut found);
            }
        }
        fractions(book, known_at, &prices, &mut found);
        overlaps_of(&book.aliases, known_at, aliases_clash, &mut found);
        overlaps_of(&book.contracts, known_at, contracts_clash, &mut found);
        for table in known_records(&book.weights, Some(known_at)) {
            weights_overlap(table, &mut found);
        }
    }
    found.into_iter().collect()
}

fn approve<T: Versioned>(records: &mut [T]) {
    for record in records {
        let version = record.version_mut();
        let at_ms = version.known_from_ms;
        version.approved.get_or_insert_with(|| Approval { by: "lint".into(), at_ms });
    }
}

fn together<T: Versioned>(record: &T, other: &T) -> Lint {
    let what = format!("holds together with {}", other.version().id);
    Lint::of(LintCode::Overlap, record, what).with(other)
}

fn same_known_time<T: Versioned>(records: &[T], found: &mut BTreeSet<Lint>) {
    let mut seen = BTreeSet::new();
    for record in records {
        let Version { id, known_from_ms, .. } = record.version();
        if !seen.insert((id, known_from_ms)) {
            let what = format!("two versions are known from {}", instant_text(*known_from_ms));
            found.insert(Lint::of(LintCode::SameKnownTime, record, what));
        }
    }
}

/// Finds the pairs of records that clash at one known time.
fn overlaps_of<T: Versioned>(
    records: &[T],
    known_at_ms: i64,
    clash: impl Fn(&T, &T) -> bool,
    found: &mut BTreeSet<Lint>,
) {
    let known: Vec<&T> = known_records(records, Some(known_at_ms)).collect();
    for (number, record) in known.iter().enumerate() {
        for other in known[number + 1..].iter().filter(|other| clash(record, other)) {
            found.insert(together(*record, *other));
        }
    }
}

/// Of aliases of one name the one that began last counts: two that begin at once clash.
fn aliases_clash(a: &Alias, b: &Alias) -> bool {
    a.model == b.model && a.valid.from_ms == b.valid.from_ms && a.valid.meets(&b.valid)
}

/// Of contracts with a vendor the one that names the model most closely counts: two that name it
/// alike clash.
fn contracts_clash(a: &Contract, b: &Contract) -> bool {
    a.vendor == b.vendor && a.model == b.model && a.valid.meets(&b.valid)
}

fn weights_overlap(table: &WeightTable, found: &mut BTreeSet<Lint>) {
    for (number, a) in table.weights.iter().enumerate() {
        for b in &table.weights[number + 1..] {
            let same_rank = a.windows.is_empty() == b.windows.is_empty();
            let same_hours = a.windows.is_empty() || a.windows.meets(&b.windows);
            let same_thing = a.model == b.model && a.class == b.class;
            if same_thing && same_rank && same_hours && a.valid.meets(&b.valid) {
                let what = format!("two weights of {} {} hold together", a.model, a.class);
                found.insert(Lint::of(LintCode::Overlap, table, what));
            }
        }
    }
}

fn references(book: &Book, found: &mut BTreeSet<Lint>) {
    for price in &book.prices {
        let mut add = |code, what| found.insert(Lint::of(code, price, what));
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
    }
    for table in &book.weights {
        for calendar in table.weights.iter().filter_map(|weight| weight.calendar_id.as_ref()) {
            if !book.calendars.iter().any(|known| known.version.id == *calendar) {
                let what = format!("calendar {calendar} is not in the book");
                found.insert(Lint::of(LintCode::UnknownCalendar, table, what));
            }
        }
    }
}

/// Prices of the retail side, which nothing is charged by. One that was approved before `since_ms`
/// keeps nobody from approving something else.
fn retail_prices(book: &Book, since_ms: Option<i64>, found: &mut BTreeSet<Lint>) {
    let is_new = |price: &&Price| since_ms.is_none_or(|at| price.version.known_from_ms >= at);
    for price in book.prices.iter().filter(|price| price.side == Side::Retail).filter(is_new) {
        // A version that is never in force takes an earlier one back.
        if !price.valid.is_empty() {
            let what = "nothing is charged by a price of the side retail".to_owned();
            found.insert(Lint::of(LintCode::RetailPrice, price, what));
        }
    }
}

/// List prices of which a discount leaves a fraction of a micro-currency.
fn fractions(book: &Book, known_at_ms: i64, prices: &[&Price], found: &mut BTreeSet<Lint>) {
    let contracts: Vec<&Contract> = known_records(&book.contracts, Some(known_at_ms)).collect();
    for price in prices.iter().filter(|price| price.contract_id.is_none()) {
        for contract in &contracts {
            let meets = contract.vendor == price.vendor
                && contract.model.may_meet(&price.model)
                && contract.valid.meets(&price.valid);
            if meets && discounted(price.micro_per_million, contract.discount_ppm).is_none() {
                let what = format!("contract {} leaves a fraction", contract.version.id);
                found.insert(Lint::of(LintCode::FractionalDiscount, *price, what).with(*contract));
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

/// Prices of the same thing for the whole day, in the order in which they begin.
fn all_day<'a>(price: &Price, prices: &[&'a Price]) -> Vec<&'a Price> {
    let alike = |other: &&Price| same_thing(price, other) && other.windows.is_empty();
    let mut alike: Vec<&Price> = prices.iter().copied().filter(alike).collect();
    alike.sort_by_key(|other| other.valid.from_ms);
    alike
}

/// Prices for the whole day that hold where those of the same thing do not.
fn less_specific<'a>(price: &Price, prices: &[&'a Price]) -> Vec<&'a Price> {
    let counts = |other: &&Price| other.windows.is_empty() && falls_back(price, other);
    prices.iter().copied().filter(counts).collect()
}

/// What follows a price without windows, in each part of its tier: at once, or nothing ever of any
/// tier, unless it is a promotion. Where it comes late, or not for all, less specific prices may be
/// what holds.
fn continuity(price: &Price, prices: &[&Price], found: &mut BTreeSet<Lint>) {
    let Some(end) = price.valid.to_ms else { return };
    let mut next = all_day(price, prices);
    next.retain(|other| other.valid.from_ms >= end);
    let mut add = |code, what| found.insert(Lint::of(code, price, what));
    if next.is_empty() {
        if price.promotion {
            let from = instant_text(end);
            add(LintCode::PromotionWithoutSuccessor, format!("nothing follows at {from}"));
        }
        return;
    }
    // What is less specific has to hold until nothing is left that follows.
    let last = next.iter().map(|other| other.valid.to_ms.unwrap_or(i64::MAX)).max().unwrap_or(end);
    let fallback = less_specific(price, prices);
    for part in parts(price, next.iter().copied()) {
        let follows = next.iter().find(|other| part.is_covered_by(other));
        let begins = follows.map(|next| next.valid.from_ms);
        let time = Validity { from_ms: end, to_ms: Some(begins.unwrap_or(last)) };
        let Some((at, part)) = uncovered(part, time, &[], &fallback) else { continue };
        let from = instant_text(at);
        let what = match begins {
            Some(at) => format!("nothing holds from {from} to {}{part}", instant_text(at)),
            None => format!("what follows leaves out from {from} on what it holds{part}"),
        };
        add(LintCode::Gap, what);
    }
}

/// Where a price's tier ends and another one begins further up, with nothing in between: at the
/// instants at which this can begin.
fn holes(price: &Price, prices: &[&Price], found: &mut BTreeSet<Lint>) {
    if price.tier.is_none_or(|tier| tier.to.is_none()) {
        return;
    }
    let alike = all_day(price, prices);
    let fallback = less_specific(price, prices);
    let begins = alike.iter().map(|other| other.valid.from_ms);
    let ends = alike.iter().chain(&fallback).filter_map(|other| other.valid.to_ms);
    for at_ms in begins.chain(ends).filter(|at_ms| price.valid.contains(*at_ms)) {
        let beside = alike.iter().copied().filter(|other| other.valid.contains(at_ms));
        let Some(hole) = hole_above(price, beside) else { continue };
        let instant = Validity { from_ms: at_ms, to_ms: Some(at_ms.saturating_add(1)) };
        if let Some((at_ms, hole)) = uncovered(hole, instant, &[], &fallback) {
            let what = format!("nothing holds from {}{hole}", instant_text(at_ms));
            found.insert(Lint::of(LintCode::Gap, price, what));
            return;
        }
    }
}

/// Whether a price that is less specific matches whatever another one does, tiers and time aside.
fn falls_back(price: &Price, other: &Price) -> bool {
    let wider = |other: &Option<String>, own: &Option<String>| other.is_none() || other == own;
    other.side == price.side
        && other.vendor == price.vendor
        && other.class == price.class
        && other.model.includes(&price.model)
        && wider(&other.contract_id, &price.contract_id)
        && wider(&other.supplier, &price.supplier)
        && wider(&other.region, &price.region)
        && wider(&other.service_tier, &price.service_tier)
        && !same_thing(price, other)
}

/// A price with windows needs one without, as long as it holds, in each part of its tier; a less
/// specific one will do.
fn rest_of_day(price: &Price, prices: &[&Price], found: &mut BTreeSet<Lint>) {
    let base = all_day(price, prices);
    let fallback = less_specific(price, prices);
    for part in parts(price, base.iter().copied()) {
        if let Some((at_ms, part)) = uncovered(part, price.valid, &base, &fallback) {
            let at = instant_text(at_ms);
            let what = format!("nothing holds outside its windows from {at}{part}");
            found.insert(Lint::of(LintCode::NoPriceOutsideWindows, price, what));
        }
    }
}

//! A book as one reader knows it, ready to rate: of every record the version that counts.

use std::collections::{BTreeMap, BTreeSet};

use tally_schemas::{CLASS_COUNT, Currency, TokenClass, UsageCounts};

use crate::aliases::{ModelAliases, Resolved};
use crate::book::Book;
use crate::book_files::BadBook;
use crate::calendar::{Calendar, UnknownYear};
use crate::contract::{Contract, discounted};
use crate::instant::Validity;
use crate::price::{Price, Rank, Side, Tier, TierBasis, TimeBasis};
use crate::version::{Versioned, known_records};
use crate::weights::{DEFAULT_WEIGHTS, TOKEN_MICRO_POINTS, Weight};
use crate::{Bug, planted};

/// Why an event cannot be rated. The order is the one in which reasons go before others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum HoldReason {
    /// A calendar lacks the year.
    UnknownCalendarYear,
    /// A class, or the model, has no price.
    NoPrice,
    /// Two prices of the same rank match.
    AmbiguousPrice,
    /// Its prices are in two currencies.
    CurrencyMismatch,
    /// The table of weights is not known.
    UnknownWeights,
}

/// An event that cannot be rated.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Held {
    /// The reason.
    pub reason: HoldReason,
    /// What is missing, in words.
    pub what: String,
}

/// What decides which prices are looked at: everything but counts and time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneKey<'a> {
    /// Vendor of the model.
    pub vendor: &'a str,
    /// Supplier, the vendor where there is no other.
    pub supplier: &'a str,
    /// Billed model.
    pub billed_model: &'a str,
    /// Service tier.
    pub service_tier: &'a str,
    /// Region.
    pub region: Option<&'a str>,
}

/// When a call was and what it used.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// Counts.
    pub usage: &'a UsageCounts,
    /// Start, milliseconds UTC.
    pub started_at_ms: i64,
    /// End, milliseconds UTC.
    pub completed_at_ms: i64,
}

/// Numbers of a lane's prices that rated a call, by class; [`PriceSet::NONE`] where a class has
/// none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PriceSet([u16; CLASS_COUNT]);

impl PriceSet {
    /// Number that stands for no price.
    const NONE: u16 = u16::MAX;
}

/// What a call costs on one side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rated {
    /// Pico-currency.
    pub amount_pico: i128,
    /// Currency.
    pub currency: Currency,
    /// The prices.
    pub prices: PriceSet,
}

/// A price that may hold in a lane.
#[derive(Debug, Clone)]
struct Candidate {
    id: String,
    rank: Rank,
    valid: Validity,
    time_basis: TimeBasis,
    tier: Option<Tier>,
    hours: Hours,
    currency: Currency,
    micro_per_million: u64,
    /// Whether a contract's discount is taken off.
    is_list: bool,
    /// Where it belongs to a contract: when that is in force.
    contract: Option<Validity>,
}

/// Windows with the number of their calendar.
#[derive(Debug, Clone)]
struct Hours {
    windows: crate::calendar::Windows,
    calendar: Option<usize>,
}

/// The prices that may hold for one [`LaneKey`], by class, the most specific first.
#[derive(Debug, Clone)]
pub struct Lane {
    candidates: Vec<Candidate>,
    by_class: [Vec<u16>; CLASS_COUNT],
    /// Discounts of contracts, each with when it is in force.
    discounts: Vec<(Validity, u64)>,
}

/// The weights of one table that may hold for one billed model, by class, the most specific first.
#[derive(Debug, Clone)]
pub struct WeightLane {
    by_class: [Vec<(Weight, Hours)>; CLASS_COUNT],
    kind: WeightKind,
}

/// How a table of weights counts a model.
#[derive(Debug, Clone, PartialEq, Eq)]
enum WeightKind {
    /// By its weights.
    Weighed,
    /// As without weights: it has none for the model.
    Plain,
    /// Not at all: this reader does not know the table of this id, and what it says is not
    /// guessed.
    Unknown(String),
}

/// Around the id of a table that a card does not know, in the words of what is held back for it.
const UNKNOWN_TABLE: [&str; 2] = ["no table of weights ", " is known"];

/// A book as it is known at one time.
#[derive(Debug, Clone)]
pub struct RateCard {
    version: String,
    aliases: ModelAliases,
    calendars: Vec<Calendar>,
    prices: Vec<Price>,
    contracts: Vec<Contract>,
    weights: BTreeMap<String, Vec<Weight>>,
    products: BTreeMap<String, u64>,
}

impl RateCard {
    /// The book that ships with Tally, all of it known.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn shipped() -> Result<Self, BadBook> {
        Ok(Self::new(&Book::shipped()?, None))
    }

    /// What a reader of the book at a time knows; `None` knows everything that is approved.
    pub fn new(book: &Book, known_at_ms: Option<i64>) -> Self {
        let mut aliases = ModelAliases::default();
        for alias in known_records(&book.aliases, known_at_ms) {
            aliases.insert(alias);
        }
        let tables = known_records(&book.weights, known_at_ms);
        let products = known_records(&book.products, known_at_ms);
        // A reading that does not know all there is rates otherwise, and is named otherwise.
        let version = match (known_at_ms, book.known_times().last()) {
            (Some(at_ms), Some(last)) if at_ms < *last => format!("{}@{at_ms}", book.version()),
            _ => book.version().to_owned(),
        };
        Self {
            version,
            aliases,
            calendars: book.calendars_known(known_at_ms),
            prices: known_records(&book.prices, known_at_ms).cloned().collect(),
            contracts: known_records(&book.contracts, known_at_ms).cloned().collect(),
            weights: tables
                .map(|table| (table.version.id.clone(), table.weights.clone()))
                .collect(),
            products: products
                .map(|product| (product.version.id.clone(), product.micro_per_request))
                .collect(),
        }
    }

    /// Version of the book; with `@` and the time at which it is read, where that is before some of
    /// it becomes known.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A record that an older card had and this one has not: a newer book replaces versions of
    /// records, and never loses one.
    pub fn lost_since(&self, older: &Self) -> Option<String> {
        fn ids<T: Versioned>(records: &[T]) -> BTreeSet<&str> {
            records.iter().map(|record| record.version().id.as_str()).collect()
        }
        let lost = |newer: BTreeSet<&str>, older: BTreeSet<&str>| {
            older.difference(&newer).next().map(|id| (*id).to_owned())
        };
        let calendars = |card: &'_ Self| -> BTreeSet<String> {
            card.calendars.iter().map(|calendar| calendar.id().to_owned()).collect()
        };
        lost(ids(&self.prices), ids(&older.prices))
            .or_else(|| lost(ids(&self.contracts), ids(&older.contracts)))
            .or_else(|| lost(self.aliases.ids(), older.aliases.ids()))
            .or_else(|| calendars(older).difference(&calendars(self)).next().cloned())
            .or_else(|| older.weights.keys().find(|id| !self.weights.contains_key(*id)).cloned())
            .or_else(|| older.products.keys().find(|id| !self.products.contains_key(*id)).cloned())
    }

    /// What a requested model stands for at an instant.
    pub fn resolve(&self, model: &str, at_ms: i64) -> Option<Resolved<'_>> {
        self.aliases.resolve(model, at_ms)
    }

    /// Whether a price of a vendor means a model, and not just because it means all of them.
    pub fn names_model(&self, vendor: &str, model: &str) -> bool {
        let names = |price: &Price| price.vendor == vendor && price.model.names(model);
        self.prices.iter().any(names)
    }

    /// Whether usage that was held back as [`HoldReason::UnknownWeights`] in these words would be so
    /// by this card too.
    pub fn still_lacks_weights(&self, what: &str) -> bool {
        let [before, after] = UNKNOWN_TABLE;
        let table = what.strip_prefix(before).and_then(|rest| rest.strip_suffix(after));
        table.is_some_and(|table| table != DEFAULT_WEIGHTS && !self.weights.contains_key(table))
    }

    /// A calendar.
    pub fn calendar(&self, id: &str) -> Option<&Calendar> {
        self.calendars.iter().find(|calendar| calendar.id() == id)
    }

    /// A price by its id, in the version that counts.
    pub fn price(&self, id: &str) -> Option<&Price> {
        // `known_records` gives them in the order of their ids.
        let place = self.prices.binary_search_by(|price| price.version.id.as_str().cmp(id));
        place.ok().map(|place| &self.prices[place])
    }

    /// The vendors that have a price.
    pub fn vendors(&self) -> impl Iterator<Item = &str> {
        self.prices.iter().map(|price| price.vendor.as_str())
    }

    /// What one of its prices came to for calls of a model whose pricing instants, by the price's
    /// `time_basis`, lie within a span: micro-currency for 1,000,000 units, less the discount.
    /// `None` where the discount changes within, or leaves a fraction.
    pub fn charged_micro(
        &self,
        price: &Price,
        billed_model: &str,
        within: Validity,
    ) -> Option<u64> {
        if price.contract_id.is_some() {
            return Some(price.micro_per_million);
        }
        let mut own: Vec<&Contract> = self
            .contracts
            .iter()
            .filter(|c| c.vendor == price.vendor && c.model.matches(billed_model))
            .collect();
        own.sort_by_key(|contract| std::cmp::Reverse(contract.model.rank()));
        let discount_at = |at_ms: i64| {
            own.iter().find(|c| c.valid.contains(at_ms)).map_or(0, |contract| contract.discount_ppm)
        };
        let is_within = |at_ms: &i64| {
            within.from_ms < *at_ms && within.to_ms.is_none_or(|to_ms| *at_ms < to_ms)
        };
        let discount = discount_at(within.from_ms);
        let mut changes = own.iter().flat_map(|c| [Some(c.valid.from_ms), c.valid.to_ms]).flatten();
        if changes.any(|at_ms| is_within(&at_ms) && discount_at(at_ms) != discount) {
            return None;
        }
        discounted(price.micro_per_million, discount)
    }

    /// The instants at which a discount on a vendor's list prices may change: where one of its
    /// contracts begins or ends. None where no contract has a discount.
    pub fn discount_changes(&self, vendor: &str) -> BTreeSet<i64> {
        let own = || self.contracts.iter().filter(|contract| contract.vendor == vendor);
        if own().all(|contract| contract.discount_ppm == 0) {
            return BTreeSet::new();
        }
        own().flat_map(|c| [Some(c.valid.from_ms), c.valid.to_ms]).flatten().collect()
    }

    /// The vendors that have a contract.
    pub fn contracted_vendors(&self) -> impl Iterator<Item = &str> {
        self.contracts.iter().map(|contract| contract.vendor.as_str())
    }

    /// Whether a list price of a vendor is that of the instant at which a call began.
    pub fn has_prices_by_start(&self, vendor: &str) -> bool {
        self.prices.iter().any(|price| {
            price.vendor == vendor
                && price.contract_id.is_none()
                && price.time_basis == TimeBasis::Start
        })
    }

    /// The prices of a side that may hold for a key. Looks at all prices: keep the lane.
    pub fn lane(&self, side: Side, key: &LaneKey<'_>) -> Lane {
        let contracts = || {
            let of_vendor = self.contracts.iter().filter(|c| c.vendor == key.vendor);
            of_vendor.filter(|contract| contract.model.matches(key.billed_model))
        };
        let is = |wanted: &Option<String>, given: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == given)
        };
        let mut lane =
            Lane { candidates: Vec::new(), by_class: Default::default(), discounts: Vec::new() };
        // The contract that names the model more closely counts.
        let mut own: Vec<&Contract> = contracts().collect();
        own.sort_by_key(|contract| std::cmp::Reverse(contract.model.rank()));
        lane.discounts = own.into_iter().map(|c| (c.valid, c.discount_ppm)).collect();
        for price in self.prices.iter().filter(|price| {
            price.side == side
                && price.vendor == key.vendor
                && (is(&price.supplier, Some(key.supplier)) || planted(Bug::SupplierIgnored))
                && price.model.matches(key.billed_model)
                && is(&price.service_tier, Some(key.service_tier))
                && is(&price.region, key.region)
        }) {
            let contract = price.contract_id.as_ref().map(|id| {
                let contract = contracts().find(|contract| contract.version.id == *id);
                contract.map_or(Validity { from_ms: 0, to_ms: Some(0) }, |contract| contract.valid)
            });
            let Ok(number) = u16::try_from(lane.candidates.len()) else { break };
            lane.by_class[price.class.index()].push(number);
            lane.candidates.push(Candidate {
                id: price.version.id.clone(),
                rank: price.rank(),
                valid: price.valid,
                time_basis: price.time_basis,
                tier: price.tier,
                hours: self.hours(&price.windows, price.calendar_id.as_deref()),
                currency: price.currency,
                micro_per_million: price.micro_per_million,
                is_list: price.contract_id.is_none(),
                contract,
            });
        }
        let Lane { candidates, by_class, .. } = &mut lane;
        for class in by_class {
            class.sort_by(|a, b| {
                candidates[usize::from(*b)].rank.cmp(&candidates[usize::from(*a)].rank)
            });
        }
        lane
    }

    /// The weights of a table that may hold for a billed model. The default table always is, with
    /// or without weights; by another one that is not known nothing is counted.
    pub fn weight_lane(&self, table: &str, billed_model: &str) -> WeightLane {
        let weights = self.weights.get(table);
        let kind = match weights {
            None if table != DEFAULT_WEIGHTS => WeightKind::Unknown(table.to_owned()),
            _ => WeightKind::Plain,
        };
        let mut lane = WeightLane { by_class: Default::default(), kind };
        for weight in weights.into_iter().flatten() {
            if weight.model.matches(billed_model) {
                lane.kind = WeightKind::Weighed;
                let hours = self.hours(&weight.windows, weight.calendar_id.as_deref());
                lane.by_class[weight.class.index()].push((weight.clone(), hours));
            }
        }
        for class in &mut lane.by_class {
            class.sort_by_key(|(weight, hours)| {
                std::cmp::Reverse((weight.model.rank(), !hours.windows.is_empty()))
            });
        }
        lane
    }

    fn hours(&self, windows: &crate::calendar::Windows, calendar_id: Option<&str>) -> Hours {
        let calendar = calendar_id.and_then(|id| self.calendars.iter().position(|c| c.id() == id));
        Hours { windows: windows.clone(), calendar }
    }

    /// Whether an instant lies in windows on a day to which their calendar applies them.
    fn in_hours(&self, hours: &Hours, at_ms: i64) -> Result<bool, UnknownYear> {
        if hours.windows.is_empty() {
            return Ok(true);
        }
        // Windows without a known calendar are refused when a book is read.
        let Some(calendar) = hours.calendar.map(|number| &self.calendars[number]) else {
            return Err(UnknownYear { calendar: "of windows without a calendar".into() });
        };
        Ok(calendar.applies(at_ms)? && hours.windows.contains(calendar.of_day_ms(at_ms)))
    }

    /// What a call costs by a lane of this card.
    ///
    /// # Errors
    /// Why it cannot be rated, the first of the reasons in their order.
    pub fn rate(&self, lane: &Lane, call: &Call<'_>) -> Result<Rated, Held> {
        let mut prices = PriceSet([PriceSet::NONE; CLASS_COUNT]);
        let (mut amount_pico, mut in_currency) = (0, None);
        let mut held: Option<Held> = None;
        for class in TokenClass::ALL {
            let count = call.usage.get(class);
            if count == 0 || class == TokenClass::Reasoning {
                continue;
            }
            // Every event is a request, which few vendors charge for: not worth the words.
            if class == TokenClass::Requests && lane.by_class[class.index()].is_empty() {
                continue;
            }
            let number = match self.price_of(lane, class, call) {
                Ok(number) => number,
                Err(Held { reason: HoldReason::NoPrice, .. }) if class == TokenClass::Requests => {
                    continue;
                }
                Err(other) => {
                    held = Some(held.map_or(other.clone(), |first| first.min(other)));
                    continue;
                }
            };
            let price = &lane.candidates[usize::from(number)];
            if in_currency.is_some_and(|currency| currency != price.currency) {
                let other = Held {
                    reason: HoldReason::CurrencyMismatch,
                    what: format!("{} is in {}, other classes are not", price.id, price.currency),
                };
                held = Some(held.map_or(other.clone(), |first| first.min(other)));
                continue;
            }
            let Some(micro_per_million) = lane.micro_per_million(price, call) else {
                let other = Held {
                    reason: HoldReason::NoPrice,
                    what: format!("a discount leaves a fraction of a micro of {}", price.id),
                };
                held = Some(held.map_or(other.clone(), |first| first.min(other)));
                continue;
            };
            in_currency = Some(price.currency);
            // Fourteen products of 64 and 53 bits do not reach 127.
            amount_pico += i128::from(micro_per_million) * i128::from(count);
            prices.0[class.index()] = number;
        }
        if let Some(held) = held {
            return Err(held);
        }
        let currency = match in_currency {
            Some(currency) => currency,
            None => self.currency_of_model(lane, call)?,
        };
        Ok(Rated { amount_pico, currency, prices })
    }

    /// The currency of a call without any priced class: its model must still have a price then.
    fn currency_of_model(&self, lane: &Lane, call: &Call<'_>) -> Result<Currency, Held> {
        let mut first: Option<Held> = None;
        for class in TokenClass::ALL {
            match self.price_of(lane, class, call) {
                Ok(number) => return Ok(lane.candidates[usize::from(number)].currency),
                Err(held) => first = Some(first.map_or(held.clone(), |first| first.min(held))),
            }
        }
        Err(first.map_or_else(
            || Held { reason: HoldReason::NoPrice, what: "no price at all".into() },
            |held| match held.reason {
                HoldReason::NoPrice => Held { what: "the model has no price then".into(), ..held },
                _ => held,
            },
        ))
    }

    /// Number of the price that holds for a class.
    fn price_of(&self, lane: &Lane, class: TokenClass, call: &Call<'_>) -> Result<u16, Held> {
        let mut found: Option<u16> = None;
        for number in &lane.by_class[class.index()] {
            let price = &lane.candidates[usize::from(*number)];
            if let Some(found) = found {
                let best = &lane.candidates[usize::from(found)];
                if best.rank != price.rank {
                    break;
                }
            }
            if !price.may_hold(call) {
                continue;
            }
            match self.in_hours(&price.hours, price.instant(call)) {
                Ok(false) => {}
                Ok(true) if found.is_none() => found = Some(*number),
                Ok(true) => {
                    return Err(Held {
                        reason: HoldReason::AmbiguousPrice,
                        what: format!("{} and another price of the same rank hold", price.id),
                    });
                }
                Err(UnknownYear { calendar }) => {
                    return Err(Held {
                        reason: HoldReason::UnknownCalendarYear,
                        what: format!("calendar {calendar} has no holidays for the year"),
                    });
                }
            }
        }
        found.ok_or_else(|| Held {
            reason: HoldReason::NoPrice,
            what: format!("no price for {class}"),
        })
    }

    /// Ids of the prices that rated a call, in the order of the classes, each once, with commas.
    pub fn price_ids(&self, lane: &Lane, prices: PriceSet) -> String {
        let mut ids: Vec<&str> = Vec::new();
        for number in prices.0.into_iter().filter(|number| *number != PriceSet::NONE) {
            let id = lane.candidates[usize::from(number)].id.as_str();
            if !ids.contains(&id) {
                ids.push(id);
            }
        }
        ids.join(",")
    }

    /// Micro-points of a call, by a lane of weights and the product.
    ///
    /// # Errors
    /// Where the table is not known, or a calendar of the weights lacks the year.
    pub fn points_micro(
        &self,
        lane: &WeightLane,
        product: Option<&str>,
        call: &Call<'_>,
    ) -> Result<i128, Held> {
        if let Some(micro) = product.and_then(|product| self.products.get(product)) {
            return Ok(i128::from(*micro) * i128::from(call.usage.get(TokenClass::Requests)));
        }
        match &lane.kind {
            WeightKind::Weighed => {}
            WeightKind::Plain => {
                return Ok(i128::from(call.usage.token_total()) * i128::from(TOKEN_MICRO_POINTS));
            }
            WeightKind::Unknown(table) => {
                let [before, after] = UNKNOWN_TABLE;
                return Err(Held {
                    reason: HoldReason::UnknownWeights,
                    what: format!("{before}{table}{after}"),
                });
            }
        }
        let mut points = 0;
        for class in TokenClass::ALL {
            let count = call.usage.get(class);
            if count > 0 {
                let weight = self.weight_of(lane, class, call.completed_at_ms)?;
                points += i128::from(weight) * i128::from(count);
            }
        }
        Ok(points)
    }

    fn weight_of(&self, lane: &WeightLane, class: TokenClass, at_ms: i64) -> Result<u64, Held> {
        for (weight, hours) in &lane.by_class[class.index()] {
            if !weight.valid.contains(at_ms) {
                continue;
            }
            match self.in_hours(hours, at_ms) {
                Ok(true) => return Ok(weight.micro_per_unit),
                Ok(false) if planted(Bug::WeightWindowIgnored) => return Ok(weight.micro_per_unit),
                Ok(false) => {}
                Err(UnknownYear { calendar }) => {
                    return Err(Held {
                        reason: HoldReason::UnknownCalendarYear,
                        what: format!("calendar {calendar} of the weights lacks the year"),
                    });
                }
            }
        }
        Ok(if class.in_total() { TOKEN_MICRO_POINTS } else { 0 })
    }
}

impl Candidate {
    fn instant(&self, call: &Call<'_>) -> i64 {
        match self.time_basis {
            TimeBasis::Completion if !planted(Bug::StartForCompletion) => call.completed_at_ms,
            _ => call.started_at_ms,
        }
    }

    /// Whether it holds, but for its windows.
    fn may_hold(&self, call: &Call<'_>) -> bool {
        let at = self.instant(call);
        let in_force = |valid: &Validity| {
            valid.contains(at) || (planted(Bug::ValidEndIncluded) && valid.to_ms == Some(at))
        };
        let in_tier = |tier: Tier| match tier.basis {
            TierBasis::PeriodVolume => tier.from == 0,
            basis => tier.contains(basis.tokens(call.usage)),
        };
        in_force(&self.valid)
            && self.contract.as_ref().is_none_or(in_force)
            && self.tier.is_none_or(in_tier)
    }
}

impl Lane {
    /// The price less the discount of the contract in force; `None` where that leaves a fraction.
    fn micro_per_million(&self, price: &Candidate, call: &Call<'_>) -> Option<u64> {
        if !price.is_list {
            return Some(price.micro_per_million);
        }
        let at = price.instant(call);
        let discount = self.discounts.iter().find(|(valid, _)| valid.contains(at));
        match discount {
            Some((_, ppm)) if *ppm > 0 => discounted(price.micro_per_million, *ppm),
            _ => Some(price.micro_per_million),
        }
    }
}

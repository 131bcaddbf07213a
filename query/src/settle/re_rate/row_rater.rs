//! Rows of `usage_events` rated again: batch by batch, with what rows have in common looked up once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Date32Type, Decimal128Type, Int64Type, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use jiff::ToSpan;
use jiff::civil::Date;
use tally_rating::{
    Call, Held, HoldReason, LaneKey, PriceSet, RateCard, Rated, Rater, StoredNames, attribute_again,
};
use tally_schemas::{CLASS_COUNT, Currency, TokenClass, UsageCounts};
use tally_settlement::{CallSpans, DiscountSpans, PriceLists, RatedGroup, ReRatedGroup};

use super::super::rated_groups::EVENTS;
use super::UnratedEvents;
use crate::error::QueryError;

/// What rows have in common, the day first.
const KEYS: [&str; 11] = [
    "day",
    "model",
    "billed_model",
    "supplier",
    "service_tier",
    "region",
    "wholesale_price_ids",
    "price_book_version",
    "wholesale_currency",
    "retail_price_ids",
    "retail_currency",
];

/// Events that are named of those that cannot be rated for one reason.
const NAMED: usize = 5;

/// The query whose batches [`RowRater::take`] takes.
pub(super) fn sql(condition: &str) -> String {
    let classes: Vec<&str> = TokenClass::ALL.iter().map(|class| class.name()).collect();
    format!(
        "SELECT {}, started_at, completed_at, wholesale_amount, retail_amount, {EVENTS}, {}, \
         kafka_partition, kafka_offset, batch_index FROM usage_events WHERE {condition}",
        KEYS.join(", "),
        classes.join(", ")
    )
}

/// Everything of a scope, rated again.
#[derive(Debug, Default)]
pub(super) struct RatedAgain {
    /// Sums of what has everything in common that matters, before and now.
    pub(super) groups: Vec<ReRatedGroup>,
    /// What cannot be rated.
    pub(super) unrated: Vec<UnratedEvents>,
    /// Partition, offset and index of the first ones, for each of `unrated`.
    pub(super) places: Vec<BTreeSet<[i64; 3]>>,
}

/// What a rater came to.
#[derive(Debug)]
pub(super) struct Part {
    groups: Vec<ReRatedGroup>,
    unrated: BTreeMap<Why, Unrated>,
}

/// Why events cannot be rated, their model, and what is missing.
type Why = (&'static str, String, String);

#[derive(Debug, Default)]
struct Unrated {
    events: u64,
    first: BTreeSet<[i64; 3]>,
}

impl Unrated {
    fn add(&mut self, events: u64, places: impl IntoIterator<Item = [i64; 3]>) {
        self.events = self.events.saturating_add(events);
        self.first.extend(places);
        while self.first.len() > NAMED {
            self.first.pop_last();
        }
    }
}

/// Rows that have [`KEYS`] in common.
struct Alike<'a> {
    /// Without sums.
    stored: RatedGroup,
    model: String,
    region: Option<String>,
    rated_by: &'a RateCard,
    now: Vec<Now>,
}

/// What rows of one [`Alike`] that are rated the same now, and lie in the same part of their day,
/// come to.
struct Now {
    part: (usize, usize),
    supplier: String,
    billed_model: String,
    prices: PriceSet,
    price_ids: Arc<str>,
    currency: Currency,
    events: i64,
    units: [i128; CLASS_COUNT],
    before_pico: i128,
    after_pico: i128,
    retail_pico: i128,
}

/// Rates rows again.
pub(super) struct RowRater<'a> {
    vendor: &'a str,
    prices: &'a PriceLists,
    spans: DiscountSpans,
    card: Arc<RateCard>,
    rater: Rater,
    converter: Option<RowConverter>,
    numbers: HashMap<Box<[u8]>, usize>,
    alike: Vec<Alike<'a>>,
    unrated: BTreeMap<Why, Unrated>,
}

/// The numbers of a batch.
struct Columns<'a> {
    started_at: &'a [i64],
    completed_at: &'a [i64],
    wholesale: ArrayRef,
    retail: ArrayRef,
    events: ArrayRef,
    classes: Vec<ArrayRef>,
    place: Vec<ArrayRef>,
}

fn internal(error: &ArrowError) -> QueryError {
    QueryError::Internal(error.to_string())
}

fn too_large(model: &str) -> QueryError {
    QueryError::Data(format!("the amounts of {model} are too large to be added"))
}

impl<'a> RowRater<'a> {
    /// Rates a vendor's rows by a card; `prices` has those that rated them.
    pub(super) fn new(vendor: &'a str, prices: &'a PriceLists, card: Arc<RateCard>) -> Self {
        let rater = Rater::new(Arc::clone(&card));
        let spans = prices.discount_spans().remove(vendor).unwrap_or_default();
        Self {
            vendor,
            prices,
            spans,
            card,
            rater,
            converter: None,
            numbers: HashMap::new(),
            alike: Vec::new(),
            unrated: BTreeMap::new(),
        }
    }

    /// Rates a batch of the query.
    ///
    /// # Errors
    /// `Data` for rows that no price book at hand rated, or that were not rated.
    pub(super) fn take(&mut self, batch: &RecordBatch) -> Result<(), QueryError> {
        let columns = columns(batch)?;
        let keys = batch.columns().get(..KEYS.len()).ok_or_else(no_such_column)?;
        let converter = match &mut self.converter {
            Some(converter) => converter,
            none => {
                let fields = keys.iter().map(|key| SortField::new(key.data_type().clone()));
                none.insert(RowConverter::new(fields.collect()).map_err(|e| internal(&e))?)
            }
        };
        let rows = converter.convert_columns(keys).map_err(|e| internal(&e))?;
        for row in 0..batch.num_rows() {
            let bytes = rows.row(row);
            let number = match self.numbers.get(bytes.as_ref()) {
                Some(number) => *number,
                None => {
                    let number = self.alike.len();
                    self.alike.push(self.alike(keys, row)?);
                    self.numbers.insert(bytes.as_ref().into(), number);
                    number
                }
            };
            self.rate(number, &columns, row)?;
        }
        Ok(())
    }

    fn alike(&self, keys: &[ArrayRef], row: usize) -> Result<Alike<'a>, QueryError> {
        let mut texts: [String; KEYS.len()] = Default::default();
        for (text, key) in texts.iter_mut().zip(keys).skip(1) {
            let value = cast(&key.slice(row, 1), &DataType::Utf8).map_err(|e| internal(&e))?;
            let value = value.as_string::<i32>();
            if value.is_valid(0) {
                value.value(0).clone_into(text);
            }
        }
        let day = keys.first().and_then(|day| day.as_primitive_opt::<Date32Type>());
        let days = i64::from(day.ok_or_else(no_such_column)?.value(row));
        let [
            _,
            model,
            billed_model,
            supplier,
            service_tier,
            region,
            price_ids,
            version,
            currency,
            packages,
            revenue,
        ] = texts;
        let data = |what: String| QueryError::Data(format!("rows of {billed_model} {what}"));
        let day = Date::constant(1970, 1, 1).checked_add(days.days());
        let day = day.map_err(|error| data(format!("have no such day: {error}")))?;
        let rated_by = self.prices.get(&version).ok_or_else(|| {
            data(format!("were rated by price book {version:?}, which is not at hand"))
        })?;
        let stored = RatedGroup {
            day,
            calls: CallSpans::of_day(day),
            vendor: self.vendor.to_owned(),
            currency: Currency::parse(&currency)
                .ok_or_else(|| data(format!("have an amount in the currency {currency:?}")))?,
            billed_model,
            supplier,
            service_tier,
            price_ids,
            price_book_version: version,
            retail_price_ids: packages,
            retail_currency: Currency::parse(&revenue),
            corrected: false,
            events: 0,
            units: [0; CLASS_COUNT],
            wholesale_pico: 0,
            retail_pico: 0,
        };
        let region = (!region.is_empty()).then_some(region);
        Ok(Alike { stored, model, region, rated_by, now: Vec::new() })
    }

    fn rate(&mut self, number: usize, columns: &Columns<'_>, row: usize) -> Result<(), QueryError> {
        let Self { vendor, spans, card, rater, alike, unrated, .. } = self;
        let Alike { stored, model, region, rated_by, now } = &mut alike[number];
        let completed_at_ms = columns.completed_at[row].div_euclid(1_000);
        let names = StoredNames {
            model: model.as_str(),
            vendor,
            supplier: &stored.supplier,
            billed_model: &stored.billed_model,
        };
        let mut hold = |reason: &'static str, what: String| {
            let place = columns.place_of(row);
            unrated.entry((reason, names.model.to_owned(), what)).or_default().add(1, [place]);
            Ok(())
        };
        let Some(to) = attribute_again(rated_by, card, &names, completed_at_ms) else {
            return hold("unknown_model", "nobody knows its vendor".to_owned());
        };
        if to.vendor != *vendor {
            return hold("other_vendor", format!("its vendor would be {}", to.vendor));
        }
        // What took an event back has its counts below 0, and is rated as the event was.
        let events = columns.events_of(row);
        let usage = columns.usage(row, events)?;
        let call = Call {
            usage: &usage,
            started_at_ms: columns.started_at[row].div_euclid(1_000),
            completed_at_ms,
        };
        let lane = rater.lane(&LaneKey {
            vendor: to.vendor,
            supplier: to.supplier,
            billed_model: to.billed_model,
            service_tier: &stored.service_tier,
            region: region.as_deref(),
        });
        let Rated { amount_pico, currency, prices } = match rater.wholesale(lane, &call) {
            Ok(rated) => rated,
            Err(Held { reason, what }) => return hold(reason_name(reason), what),
        };
        let part = spans.numbers_of(call.started_at_ms, call.completed_at_ms);
        let same = |known: &Now| {
            known.part == part
                && known.prices == prices
                && known.currency == currency
                && known.billed_model == to.billed_model
                && known.supplier == to.supplier
        };
        let place = match now.iter().position(same) {
            Some(place) => place,
            None => {
                now.push(Now {
                    part,
                    supplier: to.supplier.to_owned(),
                    billed_model: to.billed_model.to_owned(),
                    prices,
                    price_ids: rater.price_ids(lane, prices),
                    currency,
                    events: 0,
                    units: [0; CLASS_COUNT],
                    before_pico: 0,
                    after_pico: 0,
                    retail_pico: 0,
                });
                now.len() - 1
            }
        };
        let (before, retail) =
            (columns.amount(&columns.wholesale, row), columns.amount(&columns.retail, row));
        now[place]
            .add(events, &usage, [before, amount_pico, retail])
            .ok_or_else(|| too_large(&stored.billed_model))
    }

    /// What the rows came to.
    pub(super) fn finish(self) -> Part {
        let version = self.card.version();
        let mut groups = Vec::new();
        for Alike { stored, now, .. } in self.alike {
            for now in now {
                if now.is_nothing() {
                    continue;
                }
                let sums = RatedGroup {
                    calls: self.spans.spans(stored.day, now.part),
                    events: now.events,
                    units: now.units,
                    retail_pico: now.retail_pico,
                    ..stored.clone()
                };
                let before = RatedGroup { wholesale_pico: now.before_pico, ..sums.clone() };
                let after = RatedGroup {
                    billed_model: now.billed_model,
                    supplier: now.supplier,
                    price_ids: now.price_ids.to_string(),
                    price_book_version: version.to_owned(),
                    currency: now.currency,
                    wholesale_pico: now.after_pico,
                    ..sums
                };
                groups.push(ReRatedGroup { before, after });
            }
        }
        Part { groups, unrated: self.unrated }
    }
}

impl Now {
    /// Whether everything of it was taken back.
    fn is_nothing(&self) -> bool {
        self.events == 0
            && self.units == [0; CLASS_COUNT]
            && [self.before_pico, self.after_pico, self.retail_pico] == [0; 3]
    }

    fn add(
        &mut self,
        events: i64,
        usage: &UsageCounts,
        [before_pico, after_pico, retail_pico]: [i128; 3],
    ) -> Option<()> {
        let sign = i128::from(events);
        self.events = self.events.checked_add(events)?;
        for (sum, count) in self.units.iter_mut().zip(usage.0) {
            *sum = sum.checked_add(sign.checked_mul(count.into())?)?;
        }
        self.before_pico = self.before_pico.checked_add(before_pico)?;
        self.after_pico = self.after_pico.checked_add(sign.checked_mul(after_pico)?)?;
        self.retail_pico = self.retail_pico.checked_add(retail_pico)?;
        Some(())
    }
}

fn no_such_column() -> QueryError {
    QueryError::Internal("the answer has no such column".to_owned())
}

fn columns(batch: &RecordBatch) -> Result<Columns<'_>, QueryError> {
    let column =
        |number: usize| batch.columns().get(KEYS.len() + number).ok_or_else(no_such_column);
    let instants = |number: usize| {
        let times = column(number)?.as_primitive_opt::<TimestampMicrosecondType>();
        times.map(|times| &times.values()[..]).ok_or_else(no_such_column)
    };
    let integers =
        |number: usize| cast(column(number)?, &DataType::Int64).map_err(|error| internal(&error));
    let first_of_place = 5 + CLASS_COUNT;
    Ok(Columns {
        started_at: instants(0)?,
        completed_at: instants(1)?,
        wholesale: Arc::clone(column(2)?),
        retail: Arc::clone(column(3)?),
        events: integers(4)?,
        classes: (5..first_of_place).map(integers).collect::<Result<_, _>>()?,
        place: (first_of_place..first_of_place + 3).map(integers).collect::<Result<_, _>>()?,
    })
}

impl Columns<'_> {
    /// 1, or -1 of what took an event back.
    fn events_of(&self, row: usize) -> i64 {
        self.events.as_primitive::<Int64Type>().value(row)
    }

    /// The counts of the event that was counted or taken back.
    fn usage(&self, row: usize, events: i64) -> Result<UsageCounts, QueryError> {
        let mut usage = UsageCounts([0; CLASS_COUNT]);
        for (class, column) in TokenClass::ALL.into_iter().zip(&self.classes) {
            let count = column.as_primitive::<Int64Type>().value(row);
            let count = count.checked_mul(events).and_then(|count| u64::try_from(count).ok());
            let of_wrong_sign = || QueryError::Data(format!("a count of {}", class.name()));
            usage.set(class, count.ok_or_else(of_wrong_sign)?);
        }
        Ok(usage)
    }

    fn amount(&self, column: &ArrayRef, row: usize) -> i128 {
        let amounts = column.as_primitive::<Decimal128Type>();
        if amounts.is_null(row) { 0 } else { amounts.value(row) }
    }

    fn place_of(&self, row: usize) -> [i64; 3] {
        let mut place = [0; 3];
        for (part, column) in place.iter_mut().zip(&self.place) {
            *part = column.as_primitive::<Int64Type>().value(row);
        }
        place
    }
}

/// As suspense calls it.
const fn reason_name(reason: HoldReason) -> &'static str {
    match reason {
        HoldReason::UnknownCalendarYear => "unknown_calendar_year",
        HoldReason::NoPrice => "no_price",
        HoldReason::AmbiguousPrice => "ambiguous_price",
        HoldReason::CurrencyMismatch => "currency_mismatch",
        HoldReason::UnknownWeights => "unknown_weights",
    }
}

/// One of several, in an order that does not depend on who rated what.
///
/// # Errors
/// `Data` where sums are too large.
pub(super) fn merged(parts: Vec<Part>) -> Result<RatedAgain, QueryError> {
    let mut groups: BTreeMap<[String; 13], ReRatedGroup> = BTreeMap::new();
    let mut unrated: BTreeMap<Why, Unrated> = BTreeMap::new();
    for part in parts {
        for group in part.groups {
            let key = key_of(&group);
            match groups.get_mut(&key) {
                None => {
                    groups.insert(key, group);
                }
                Some(sum) => {
                    let added = add(&mut sum.before, &group.before)
                        .and_then(|()| add(&mut sum.after, &group.after));
                    added.ok_or_else(|| too_large(&group.before.billed_model))?;
                }
            }
        }
        for (why, of_part) in part.unrated {
            unrated.entry(why).or_default().add(of_part.events, of_part.first);
        }
    }
    let mut again = RatedAgain { groups: groups.into_values().collect(), ..RatedAgain::default() };
    for ((reason, model, what), Unrated { events, first }) in unrated {
        again.unrated.push(UnratedEvents { reason, model, what, events, first: Vec::new() });
        again.places.push(first);
    }
    Ok(again)
}

fn key_of(ReRatedGroup { before, after }: &ReRatedGroup) -> [String; 13] {
    let CallSpans { started, completed } = before.calls;
    [
        before.day.to_string(),
        // Spans of one vendor do not overlap: where they begin tells them apart.
        format!("{} {}", started.from_ms, completed.from_ms),
        before.billed_model.clone(),
        before.supplier.clone(),
        before.service_tier.clone(),
        before.price_ids.clone(),
        before.price_book_version.clone(),
        before.currency.to_string(),
        before.retail_price_ids.clone(),
        before.retail_currency.map_or(String::new(), |currency| currency.to_string()),
        after.billed_model.clone(),
        after.supplier.clone(),
        format!("{} {}", after.currency, after.price_ids),
    ]
}

fn add(sum: &mut RatedGroup, more: &RatedGroup) -> Option<()> {
    sum.events = sum.events.checked_add(more.events)?;
    for (sum, more) in sum.units.iter_mut().zip(more.units) {
        *sum = sum.checked_add(more)?;
    }
    sum.wholesale_pico = sum.wholesale_pico.checked_add(more.wholesale_pico)?;
    sum.retail_pico = sum.retail_pico.checked_add(more.retail_pico)?;
    Some(())
}

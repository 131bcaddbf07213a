//! Accepted events of one epoch, a vector a column, until they become rows of `usage_events`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, Decimal128Array, DictionaryArray, Int32Array, Int64Array, RecordBatch, StringArray,
    TimestampMicrosecondArray, UInt32Array,
};
use arrow::datatypes::UInt32Type;
use arrow::error::ArrowError;
use tally_schemas::{CLASS_COUNT, Table, TokenClass, UsageEvent};

use crate::core::arrow_schema::in_memory_schema;
use crate::core::counts::Counts;
use crate::core::event_rating::EventRating;
use crate::core::few_words::{FewWords, LastCurrency};
use crate::core::interner::Interner;
use crate::core::last_outcome::AcceptedRow;
use crate::core::subscriber_windows::holder_hash;
use crate::core::text_column::{Names, SharedTexts, Texts};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Asia/Shanghai is UTC+8 all year since 1991.
const SHANGHAI_OFFSET_MS: i64 = 8 * 3_600_000;

/// Days since 1970-01-01 of an instant's date in Asia/Shanghai.
pub(crate) fn shanghai_day(at_ms: i64) -> i32 {
    // Times lie between 1970 and 9999, so the day fits.
    i32::try_from((at_ms + SHANGHAI_OFFSET_MS).div_euclid(DAY_MS)).unwrap_or(i32::MAX)
}

impl KnownTexts {
    /// The key of the windows by model.
    pub(crate) const fn model_key(&self) -> [u32; 8] {
        [
            self.model,
            self.vendor,
            self.supplier,
            self.region,
            self.channel,
            self.service_tier,
            self.retail_currency,
            self.wholesale_currency,
        ]
    }
}

/// How a row corrects an earlier event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowKind<'a> {
    /// It takes the event back: counts and amounts are written below 0. It names the price book that
    /// rated the event.
    Reversal { book_version: &'a str },
    /// It counts in the event's stead.
    Replacement,
}

/// The earlier event that a row corrects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RowCorrection<'a> {
    pub(crate) kind: RowKind<'a>,
    pub(crate) source: &'a str,
    pub(crate) id: &'a str,
}

/// The same, kept until the rows are written: few rows have one.
#[derive(Debug, Clone)]
struct KeptCorrection {
    /// The price book of a reversal; none of a replacement.
    book_version: Option<String>,
    source: String,
    id: String,
}

/// An event with what the stream found out about it.
#[derive(Debug)]
pub(crate) struct AcceptedEvent<'a> {
    pub(crate) event: &'a UsageEvent<'a>,
    pub(crate) vendor: &'a str,
    pub(crate) supplier: &'a str,
    pub(crate) billed_model: &'a str,
    /// What it came to; `None` where events are only counted.
    pub(crate) rating: Option<&'a EventRating>,
    /// What it corrects, if anything.
    pub(crate) correction: Option<RowCorrection<'a>>,
    pub(crate) completed_at_ms: i64,
    pub(crate) offset: u64,
    pub(crate) batch_index: u32,
}

/// The texts of an accepted event by number, as long as its epoch is open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownTexts {
    /// Hash of account and subscriber.
    pub(crate) holder_hash: u64,
    pub(crate) model: u32,
    pub(crate) vendor: u32,
    pub(crate) supplier: u32,
    /// [`ABSENT`] where there is none, as for the channel.
    pub(crate) region: u32,
    pub(crate) channel: u32,
    pub(crate) service_tier: u32,
    /// [`ABSENT`] where it was not rated, or charged to nothing.
    pub(crate) retail_currency: u32,
    pub(crate) wholesale_currency: u32,
}

/// What all batches of an epoch have in common: the texts of the interners, and where it is.
#[derive(Debug)]
pub(crate) struct Dictionaries {
    holders: Arc<StringArray>,
    names: Arc<StringArray>,
    /// Versions of the price book: that of the epoch, then those of events that are taken back.
    book_versions: Arc<StringArray>,
    partition: i32,
    epoch: i64,
}

/// Notes what a row corrects. Tells whether it takes an event back.
fn note_correction(
    corrections: &mut BTreeMap<u32, KeptCorrection>,
    row: usize,
    correction: Option<RowCorrection<'_>>,
) -> bool {
    let Some(RowCorrection { kind, source, id }) = correction else { return false };
    let book_version = match kind {
        RowKind::Reversal { book_version } => Some(book_version.to_owned()),
        RowKind::Replacement => None,
    };
    let is_reversal = book_version.is_some();
    let kept = KeptCorrection { book_version, source: source.to_owned(), id: id.to_owned() };
    corrections.insert(u32::try_from(row).unwrap_or(u32::MAX), kept);
    is_reversal
}

/// Columns of accepted events in the order of the log.
#[derive(Debug, Default, Clone)]
pub(crate) struct EventColumns {
    /// Accounts and subscribers.
    holders: Interner,
    /// Texts of the other columns with few texts.
    names: Interner,
    source: Names,
    id: Texts,
    account: Names,
    subscriber: Names,
    model: Names,
    billed_model: Names,
    vendor: Names,
    supplier: Names,
    region: Names,
    channel: Names,
    product: Names,
    service_tier: Names,
    started_at_ms: Vec<i64>,
    completed_at_ms: Vec<i64>,
    counts: [Counts; CLASS_COUNT],
    finish_reason: Names,
    usage_source: Names,
    vendor_request_id: Texts,
    /// Micro-points and pico-currency; empty where events are only counted, as for all rows or none.
    points_micro: Vec<i128>,
    retail_pico: Vec<i128>,
    wholesale_pico: Vec<i128>,
    retail_currency: Names,
    wholesale_currency: Names,
    retail_price_ids: Names,
    wholesale_price_ids: Names,
    shared: SharedTexts,
    usage_sources: FewWords,
    last_retail: LastCurrency,
    last_wholesale: LastCurrency,
    gateway_epoch: Vec<Option<i64>>,
    gateway_seq: Vec<Option<i64>>,
    labels: Texts,
    offset: Vec<i64>,
    batch_index: Vec<i32>,
    /// By row.
    corrections: BTreeMap<u32, KeptCorrection>,
}

impl EventColumns {
    /// Adds a row, and tells by which numbers its texts are known until the epoch ends.
    pub(crate) fn push(&mut self, row: &AcceptedEvent<'_>) -> KnownTexts {
        let event = row.event;
        let (holders, names) = (&mut self.holders, &mut self.names);
        self.source.push(&event.source, names);
        self.id.push(Some(&event.id));
        let account = self.account.push_holder(&event.account, holders);
        let subscriber =
            self.subscriber.push_like(event.subscriber(), (&event.account, account), holders);
        let model = self.model.push(&event.model, names);
        self.billed_model.push_like(row.billed_model, (&event.model, model), names);
        let vendor = self.vendor.push(row.vendor, names);
        let supplier = self.supplier.push_like(row.supplier, (row.vendor, vendor), names);
        let region = self.region.push_optional(event.region.as_deref(), names);
        let channel = self.channel.push_optional(event.channel.as_deref(), names);
        self.product.push_optional(event.product.as_deref(), names);
        let service_tier = self.service_tier.push(event.service_tier(), names);
        self.finish_reason.push_optional(event.finish_reason.as_deref(), names);
        let usage_source = event.usage_source;
        let usage_source =
            self.usage_sources.number(usage_source as usize, usage_source.name(), names);
        self.usage_source.push_number(usage_source);
        self.started_at_ms.push(event.started_at_ms().unwrap_or(row.completed_at_ms));
        self.completed_at_ms.push(row.completed_at_ms);
        let at = self.completed_at_ms.len() - 1;
        let is_reversal = note_correction(&mut self.corrections, at, row.correction);
        for (column, count) in self.counts.iter_mut().zip(event.usage.0) {
            let count = count.cast_signed();
            column.push(at, if is_reversal { -count } else { count });
        }
        self.vendor_request_id.push(event.vendor_request_id.as_deref());
        let retail = row.rating.and_then(|rating| rating.retail_currency);
        let retail_currency = self.last_retail.number(retail, names);
        self.retail_currency.push_number(retail_currency);
        let payers = row.rating.map(|rating| rating.payers.as_str()).filter(|p| !p.is_empty());
        self.retail_price_ids.push_optional(payers, names);
        match row.rating {
            None => self.wholesale_price_ids.push_absent(),
            Some(rating) => {
                self.points_micro.push(rating.amounts.points_micro);
                self.retail_pico.push(rating.amounts.retail_pico);
                self.wholesale_pico.push(rating.amounts.wholesale_pico);
                self.wholesale_price_ids.push_shared(
                    &rating.wholesale_price_ids,
                    &mut self.shared,
                    names,
                );
            }
        }
        let wholesale = row.rating.map(|rating| rating.wholesale_currency);
        let wholesale_currency = self.last_wholesale.number(wholesale, names);
        self.wholesale_currency.push_number(wholesale_currency);
        // At most 2^53, as validation has it.
        self.gateway_epoch.push(event.gateway_epoch.map(u64::cast_signed));
        self.gateway_seq.push(event.gateway_seq.map(u64::cast_signed));
        self.labels.push(event.labels_json().as_deref());
        self.offset.push(row.offset.cast_signed());
        self.batch_index.push(row.batch_index.cast_signed());
        let holder_hash = holder_hash(holders.hash_of(account), holders.hash_of(subscriber));
        KnownTexts {
            holder_hash,
            model,
            vendor,
            supplier,
            region,
            channel,
            service_tier,
            retail_currency,
            wholesale_currency,
        }
    }

    /// A text of what rows correct, in their order.
    fn correction_column(&self, order: &[u32], of: impl Fn(&KeptCorrection) -> &str) -> ArrayRef {
        if self.corrections.is_empty() {
            let text = arrow::datatypes::DataType::Utf8;
            return arrow::array::new_null_array(&text, order.len());
        }
        let text = |row: &u32| self.corrections.get(row).map(&of);
        Arc::new(order.iter().map(text).collect::<StringArray>())
    }

    /// The number of each row's version of the price book among those of [`Dictionaries`].
    fn book_versions(&self, order: &[u32], texts: &Dictionaries) -> UInt32Array {
        if self.points_micro.is_empty() {
            return UInt32Array::new_null(order.len());
        }
        if self.corrections.is_empty() {
            return UInt32Array::from_value(0, order.len());
        }
        let number = |row: &u32| {
            let version = self.corrections.get(row).and_then(|kept| kept.book_version.as_deref());
            let known = version.and_then(|version| {
                (0_u32..)
                    .zip(texts.book_versions.iter().flatten())
                    .find(|(_, text)| *text == version)
            });
            known.map_or(0, |(number, _)| number)
        };
        UInt32Array::from_iter_values(order.iter().map(number))
    }

    /// The texts that [`KnownTexts`] numbers.
    pub(crate) fn names(&self) -> &Interner {
        &self.names
    }

    /// The newest row, where it is of the record at `offset`.
    pub(crate) fn last_of(&self, offset: u64) -> Option<AcceptedRow> {
        let row = self.len().checked_sub(1)?;
        if self.offset[row] != offset.cast_signed() {
            return None;
        }
        let text = |column: &Names| column.text(row, &self.names).map(str::to_owned);
        Some(AcceptedRow {
            billed_model: text(&self.billed_model).unwrap_or_default(),
            points_micro: self.points_micro.last().copied(),
            retail_pico: self.retail_pico.last().copied(),
            wholesale_pico: self.wholesale_pico.last().copied(),
            wholesale_currency: text(&self.wholesale_currency),
            wholesale_price_ids: text(&self.wholesale_price_ids),
        })
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.completed_at_ms.len()
    }

    /// Bytes in memory, roughly.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.len() * (8 * (CLASS_COUNT + 3) + 5 * 16 + 18 * 4 + 3 * 5 + 4)
            + self.id.memory_bytes()
            + self.vendor_request_id.memory_bytes()
            + self.labels.memory_bytes()
            + self.holders.memory_bytes()
            + self.names.memory_bytes()
    }

    /// Rows of each day in the order of the table: by account, completion and position in the log.
    pub(crate) fn days(&self) -> BTreeMap<i32, Vec<u32>> {
        let times = || self.completed_at_ms.iter().copied();
        let [first, last] = [times().min(), times().max()].map(|at| at.map(shanghai_day));
        if let Some(day) = first
            && first == last
        {
            return BTreeMap::from([(day, self.sorted_rows())]);
        }
        let mut days: BTreeMap<i32, Vec<u32>> = Default::default();
        for row in self.sorted_rows() {
            days.entry(shanghai_day(self.completed_at_ms[row as usize])).or_default().push(row);
        }
        days
    }

    /// What all batches of the epoch have in common.
    pub(crate) fn dictionaries(
        &self,
        partition: u32,
        epoch: u64,
        book_version: &str,
    ) -> Dictionaries {
        let reversed = self.corrections.values().filter_map(|kept| kept.book_version.as_deref());
        let reversed: BTreeSet<&str> =
            reversed.filter(|version| *version != book_version).collect();
        let versions: Vec<&str> = std::iter::once(book_version).chain(reversed).collect();
        Dictionaries {
            holders: Arc::new(self.holders.array()),
            names: Arc::new(self.names.array()),
            book_versions: Arc::new(StringArray::from(versions)),
            partition: partition.cast_signed(),
            epoch: epoch.cast_signed(),
        }
    }

    /// Columns that have the same number in every row.
    pub(crate) fn constant_columns(&self) -> Vec<&'static str> {
        let classes = TokenClass::ALL.into_iter().zip(&self.counts);
        let constant = classes.filter(|(_, counts)| counts.is_constant());
        let others = [
            ("vendor_request_id", self.vendor_request_id.is_absent()),
            ("labels", self.labels.is_absent()),
            ("points", self.points_micro.is_empty()),
            ("retail_amount", self.points_micro.is_empty()),
            ("wholesale_amount", self.points_micro.is_empty()),
            ("gateway_epoch", self.gateway_epoch.iter().all(Option::is_none)),
            ("batch_index", self.batch_index.iter().all(|index| *index == 0)),
            ("correction", self.corrections.is_empty()),
            ("corrects_source", self.corrections.is_empty()),
            ("corrects_id", self.corrections.is_empty()),
            ("kafka_partition", true),
            ("epoch", true),
        ];
        let others = others.into_iter().filter_map(|(name, is)| is.then_some(name));
        constant.map(|(class, _)| class.name()).chain(others).collect()
    }

    /// Empties every column and keeps the memory, so that the next epoch need not ask for it.
    pub(crate) fn clear(&mut self) {
        let Self { holders, names, .. } = self;
        holders.clear();
        names.clear();
        self.shared.clear();
        self.usage_sources = FewWords::default();
        (self.last_retail, self.last_wholesale) = Default::default();
        for column in [
            &mut self.source,
            &mut self.account,
            &mut self.subscriber,
            &mut self.model,
            &mut self.billed_model,
            &mut self.vendor,
            &mut self.supplier,
            &mut self.region,
            &mut self.channel,
            &mut self.product,
            &mut self.service_tier,
            &mut self.finish_reason,
            &mut self.usage_source,
            &mut self.retail_currency,
            &mut self.wholesale_currency,
            &mut self.retail_price_ids,
            &mut self.wholesale_price_ids,
        ] {
            column.clear();
        }
        for column in [&mut self.id, &mut self.vendor_request_id, &mut self.labels] {
            column.clear();
        }
        for column in [&mut self.started_at_ms, &mut self.completed_at_ms, &mut self.offset] {
            column.clear();
        }
        for column in [&mut self.points_micro, &mut self.retail_pico, &mut self.wholesale_pico] {
            column.clear();
        }
        self.counts.iter_mut().for_each(Counts::clear);
        self.corrections.clear();
        self.gateway_epoch.clear();
        self.gateway_seq.clear();
        self.batch_index.clear();
    }

    /// Rows by account, completion and position in the log. Dealt to the accounts first, as most
    /// have few rows.
    fn sorted_rows(&self) -> Vec<u32> {
        let ranks = self.holders.ranks();
        let rank_of = |row: usize| ranks[self.account.number(row) as usize] as usize;
        let mut ends = vec![0_u32; ranks.len() + 1];
        for row in 0..self.len() {
            ends[rank_of(row) + 1] += 1;
        }
        for rank in 1..ends.len() {
            ends[rank] += ends[rank - 1];
        }
        let mut rows = vec![0_u32; self.len()];
        // The start of each account's rows, which becomes their end.
        for (row, number) in (0..self.len()).zip(0_u32..) {
            let place = &mut ends[rank_of(row)];
            rows[*place as usize] = number;
            *place += 1;
        }
        let mut start = 0;
        for end in ends {
            let end = end as usize;
            if end > start {
                rows[start..end]
                    .sort_unstable_by_key(|row| (self.completed_at_ms[*row as usize], *row));
                start = end;
            }
        }
        rows
    }

    /// Some rows in their order as a record batch of the table's in-memory schema.
    ///
    /// # Errors
    /// Where Arrow refuses a column, which means that an epoch was far beyond its limits.
    pub(crate) fn batch(
        &self,
        order: &[u32],
        texts: &Dictionaries,
    ) -> Result<RecordBatch, ArrowError> {
        let rows = order.len();
        let pick = |column: &[i64]| -> Vec<i64> {
            order.iter().map(|row| column[*row as usize]).collect()
        };
        let instants = |column: &[i64]| -> ArrayRef {
            let micros: Vec<i64> =
                order.iter().map(|row| column[*row as usize].saturating_mul(1_000)).collect();
            Arc::new(TimestampMicrosecondArray::from(micros).with_timezone("UTC"))
        };
        let optional = |column: &[Option<i64>]| -> ArrayRef {
            Arc::new(order.iter().map(|row| column[*row as usize]).collect::<Int64Array>())
        };
        let decimals = |column: &[i128], scale: i8| -> Result<ArrayRef, ArrowError> {
            let column = if column.is_empty() {
                Decimal128Array::new_null(rows)
            } else {
                order.iter().map(|row| column[*row as usize]).collect::<Vec<_>>().into()
            };
            Ok(Arc::new(column.with_precision_and_scale(38, scale)?))
        };
        let book_version = Arc::new(DictionaryArray::<UInt32Type>::try_new(
            self.book_versions(order, texts),
            Arc::clone(&texts.book_versions) as ArrayRef,
        )?);
        let mut columns: Vec<ArrayRef> = vec![
            self.source.array(&texts.names, order)?,
            self.id.array(order)?,
            self.account.array(&texts.holders, order)?,
            self.subscriber.array(&texts.holders, order)?,
            self.model.array(&texts.names, order)?,
            self.billed_model.array(&texts.names, order)?,
            self.vendor.array(&texts.names, order)?,
            self.supplier.array(&texts.names, order)?,
            self.region.array(&texts.names, order)?,
            self.channel.array(&texts.names, order)?,
            self.product.array(&texts.names, order)?,
            self.service_tier.array(&texts.names, order)?,
            instants(&self.started_at_ms),
            instants(&self.completed_at_ms),
        ];
        for counts in &self.counts {
            columns.push(Arc::new(counts.array(order)));
        }
        columns.extend([
            self.finish_reason.array(&texts.names, order)?,
            self.usage_source.array(&texts.names, order)?,
            self.vendor_request_id.array(order)?,
            decimals(&self.points_micro, 6)?,
            decimals(&self.retail_pico, 12)?,
            decimals(&self.wholesale_pico, 12)?,
            self.retail_currency.array(&texts.names, order)?,
            self.wholesale_currency.array(&texts.names, order)?,
            self.retail_price_ids.array(&texts.names, order)?,
            self.wholesale_price_ids.array(&texts.names, order)?,
            book_version,
            optional(&self.gateway_epoch),
            optional(&self.gateway_seq),
            self.labels.array(order)?,
            Arc::new(Int32Array::from(vec![texts.partition; rows])) as ArrayRef,
            Arc::new(Int64Array::from(pick(&self.offset))),
            Arc::new(
                order.iter().map(|row| self.batch_index[*row as usize]).collect::<Int32Array>(),
            ),
            Arc::new(Int64Array::from(vec![texts.epoch; rows])),
            self.correction_column(order, |kept| {
                if kept.book_version.is_some() { "reversal" } else { "replacement" }
            }),
            self.correction_column(order, |kept| &kept.source),
            self.correction_column(order, |kept| &kept.id),
        ]);
        RecordBatch::try_new(in_memory_schema(Table::UsageEvents, &columns), columns)
    }
}

//! A comparison in memory.

use std::io::{Cursor, Read};

use serde_json::Value;
use tally_rating::{Book, BookFile, RateCard};
use tally_schemas::{TokenClass, UsageCounts, UsageSource};
use tally_settlement::reconcile::{
    BillContext, BillMapping, Comparison, DifferenceRow, Limits, MemoryShelf, OurRow, Outcome,
    Period, Position, PriceTable, ReconcileError,
};

/// A bill of October 2026 as bytes, how it is read, and what it is compared with.
pub(crate) struct Case<'a> {
    pub(crate) file: &'a str,
    pub(crate) bytes: &'a [u8],
    pub(crate) mapping: &'a BillMapping,
    pub(crate) vendor: &'a str,
    pub(crate) limits: Limits,
    /// A file of prices in place of the shipped book.
    pub(crate) prices: Option<&'a str>,
}

impl<'a> Case<'a> {
    pub(crate) fn new(file: &'a str, bytes: &'a [u8], mapping: &'a BillMapping) -> Self {
        Self { file, bytes, mapping, vendor: "deepseek", limits: Limits::default(), prices: None }
    }

    /// Compares with our rows; the differences in the order in which they came.
    pub(crate) fn run(
        &self,
        rows: &[Ours],
    ) -> Result<(Outcome, Vec<DifferenceRow>), ReconcileError> {
        let book = self.book();
        self.in_context(&book, |context| {
            let mut shelf = MemoryShelf::default();
            let prices = PriceTable::new(&book, &[]);
            let mut comparison = Comparison::new(*context, prices, &mut shelf, self.limits)?;
            let open = || Ok(Box::new(Cursor::new(self.bytes.to_vec())) as Box<dyn Read>);
            comparison.read_bill(&open)?;
            for row in rows {
                comparison.add_our_row(&row.row())?;
            }
            let mut differences = Vec::new();
            let outcome = comparison.finish(&mut shelf, &mut |row| {
                differences.push(row.clone());
                Ok(())
            })?;
            Ok((outcome, differences))
        })
    }

    fn book(&self) -> Book {
        match self.prices {
            Some(text) => Book::read(&[BookFile { name: "prices.csv", text }]).unwrap(),
            None => Book::shipped().unwrap(),
        }
    }

    fn in_context<T>(&self, book: &Book, then: impl FnOnce(&BillContext<'_>) -> T) -> T {
        let (file, mapping, vendor) = (self.file, self.mapping, self.vendor);
        let card = RateCard::new(book, None);
        let period = Period::parse("2026-10", mapping.time.offset_ms).unwrap();
        then(&BillContext { file, mapping, card: &card, vendor, period })
    }

    /// Which of our rows are in dispute as parts of groups, and the window that has them.
    pub(crate) fn disputed(&self, outcome: &Outcome, rows: &[Ours]) -> (Vec<bool>, (i64, i64)) {
        let groups = &outcome.disputed_groups;
        self.in_context(&self.book(), |context| {
            let disputed = rows.iter().map(|row| groups.has(context, &row.row())).collect();
            (disputed, groups.window_ms(context))
        })
    }

    /// The words of the error.
    pub(crate) fn error(&self) -> String {
        self.run(&[]).map(|(outcome, _)| outcome).unwrap_err().to_string()
    }
}

/// One of our rows with texts of its own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ours {
    pub(crate) request_id: String,
    pub(crate) number: u64,
    pub(crate) at_ms: i64,
    pub(crate) model: String,
    pub(crate) tier: String,
    pub(crate) counts: UsageCounts,
    pub(crate) amount_pico: i128,
    pub(crate) currency: String,
    pub(crate) source: UsageSource,
    pub(crate) finish: String,
    pub(crate) price_ids: String,
}

impl Ours {
    pub(crate) fn row(&self) -> OurRow<'_> {
        OurRow {
            request_id: Some(self.request_id.as_str()).filter(|id| !id.is_empty()),
            position: Position { number: self.number, partition: 0, index: 0 },
            at_ms: self.at_ms,
            billed_model: &self.model,
            service_tier: &self.tier,
            counts: self.counts,
            amount_pico: self.amount_pico,
            currency: &self.currency,
            price_ids: &self.price_ids,
            usage_source: self.source,
            finish_reason: &self.finish,
        }
    }

    /// A row as `plant_differences.py` writes it.
    pub(crate) fn from_json(number: u64, line: &str) -> Self {
        let value: Value = serde_json::from_str(line).unwrap();
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        let mut counts = UsageCounts::default();
        for (name, count) in value["counts"].as_object().unwrap() {
            counts.set(TokenClass::from_name(name).unwrap(), count.as_u64().unwrap());
        }
        Self {
            request_id: text("request_id"),
            number,
            at_ms: value["at_ms"].as_i64().unwrap(),
            model: text("model"),
            tier: text("tier"),
            counts,
            amount_pico: value["amount_pico"].to_string().parse().unwrap(),
            currency: text("currency"),
            source: UsageSource::from_name(&text("usage_source")).unwrap(),
            finish: text("finish_reason"),
            price_ids: text("price_ids"),
        }
    }
}

//! The vendor's bill: rows read by a mapping, checked, and made into records.

use std::collections::BTreeMap;

use tally_rating::RateCard;
use tally_schemas::{Currency, TokenClass, UsageCounts, decimal_text};
use xxhash_rust::xxh3::Xxh3;

use super::bill_cells::{CellReader, Columns};
use super::error::{DEFECTS_MAX, Defect, Place, ReconcileError};
use super::instant::{Period, day_text};
use super::mapping::{BillMapping, ColumnSum, DuplicateLines, Layout, NegativeAmounts};
use super::names::{NameId, Names};
use super::record::{Position, REQUEST_ID_MAX_BYTES, Record};
use super::rows::{Cells, OpenBill, Stop, encoding_of, read_rows};

/// What a bill is read against.
#[derive(Debug, Clone, Copy)]
pub struct BillContext<'a> {
    /// Name of the file, for errors.
    pub file: &'a str,
    /// How it is read.
    pub mapping: &'a BillMapping,
    /// The book, for the names of models.
    pub card: &'a RateCard,
    /// Whose bill it is.
    pub vendor: &'a str,
    /// What it is for.
    pub period: Period,
}

/// One line of a bill.
#[derive(Debug, Clone, Copy)]
pub struct BillLine<'a> {
    /// What it says; without a request id where the bill has none.
    pub record: Record<'a>,
    /// Its class, in a bill with a line a class.
    pub class: Option<TokenClass>,
    /// Its price, micro-currency per 1,000,000 units, where the bill tells one.
    pub price_micro_per_million: Option<u64>,
    /// Whether it is a credit: part of the total, and no record.
    pub is_credit: bool,
}

/// What a bill came to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct BillTotals {
    /// Lines, total rows and skipped ones left out.
    pub lines: u64,
    /// Lines outside of the period.
    pub lines_outside: u64,
    /// Whether a total row was there and agreed.
    pub total_row_agreed: bool,
    /// How the text was encoded; `None` for a workbook.
    pub encoding: Option<&'static str>,
}

/// What is done with each line.
pub type EachBillLine<'a> = dyn FnMut(&BillLine<'_>) -> Result<(), ReconcileError> + 'a;

/// Reads a bill, line by line.
///
/// # Errors
/// `Bill` with up to twenty defects, each with its place, column, what was found and what to do.
pub fn read_bill(
    context: &BillContext<'_>,
    open: &OpenBill<'_>,
    names: &mut Names,
    each: &mut EachBillLine<'_>,
) -> Result<BillTotals, ReconcileError> {
    let wanted = context.mapping.columns();
    let columns = Columns::new(&wanted);
    let mut reader = BillReader {
        context,
        cells: CellReader { mapping: context.mapping, columns },
        names,
        defects: Vec::new(),
        totals: BillTotals::default(),
        sums: Sums::default(),
        seen: BTreeMap::new(),
        currencies: BTreeMap::new(),
        first_day: None,
    };
    let read = read_rows(context.file, open, context.mapping, &wanted, &mut |place, cells| {
        reader.row(place, cells, each)
    });
    let stopped = read.and_then(|()| {
        reader.totals.encoding =
            encoding_of(context.file, open, context.mapping)?.map(|encoding| encoding.name());
        Ok(())
    });
    match stopped {
        Ok(()) => reader.check_whole(),
        Err(Stop::Defect(defect)) => reader.defects.push(defect),
        Err(Stop::Enough) => {}
        Err(Stop::Error(error)) => return Err(error),
    }
    if reader.defects.is_empty() {
        return Ok(reader.totals);
    }
    Err(ReconcileError::Bill { file: context.file.to_owned(), defects: reader.defects })
}

/// Sums of the columns that a total row repeats.
#[derive(Debug, Default)]
struct Sums {
    amount_pico: i128,
    quantity: u128,
    classes: BTreeMap<TokenClass, u128>,
}

struct BillReader<'a, 'n> {
    context: &'a BillContext<'a>,
    cells: CellReader<'a>,
    names: &'n mut Names,
    defects: Vec<Defect>,
    totals: BillTotals,
    sums: Sums,
    /// Place of each line by what it says, where the same twice is refused.
    seen: BTreeMap<u128, Place>,
    /// First place of each currency.
    currencies: BTreeMap<Currency, Place>,
    first_day: Option<i32>,
}

impl BillReader<'_, '_> {
    fn row(
        &mut self,
        place: Place,
        cells: &Cells<'_>,
        each: &mut EachBillLine<'_>,
    ) -> Result<(), Stop> {
        if self.cells.is_marked(cells, self.context.mapping.skip.as_ref()) {
            return Ok(());
        }
        let read = if self.cells.is_marked(cells, self.context.mapping.total.as_ref()) {
            self.total_row(cells)
        } else {
            self.line(place, cells, each)
        };
        match read {
            Err(Stop::Defect(defect)) => {
                let placed = if defect.place.is_none() { defect.at(place) } else { defect };
                self.defects.push(placed);
                if self.defects.len() < DEFECTS_MAX { Ok(()) } else { Err(Stop::Enough) }
            }
            other => other,
        }
    }

    fn line(
        &mut self,
        place: Place,
        cells: &Cells<'_>,
        each: &mut EachBillLine<'_>,
    ) -> Result<(), Stop> {
        let mapping = self.context.mapping;
        let time = self.cells.time(cells)?;
        let mut counts = UsageCounts::default();
        let mut line_class = None;
        let mut quantity = None;
        match &mapping.layout {
            Layout::Wide(classes) => {
                for (class, sum) in classes {
                    let count = self.cells.count_sum(cells, sum)?;
                    counts.set(*class, count);
                    *self.sums.classes.entry(*class).or_default() += u128::from(count);
                }
            }
            Layout::Long { class, quantity: column, words } => {
                let Some(class) = self.cells.class(cells, class, words)? else { return Ok(()) };
                line_class = Some(class);
                if let Some(column) = column {
                    let count = self.cells.count(cells, column)?;
                    counts.set(class, count);
                    quantity = Some(count);
                    self.sums.quantity += u128::from(count);
                }
            }
        }
        let price = self.cells.price(cells)?;
        let gross_pico = self.cells.amount(cells, price, quantity)?;
        self.sums.amount_pico = self
            .sums
            .amount_pico
            .checked_add(gross_pico)
            .ok_or(ReconcileError::Overflow("amounts"))?;
        let tax_pico = self.cells.side_amount(cells, mapping.amount.tax_column.as_deref())?;
        let credit_pico = self.cells.side_amount(cells, mapping.amount.credit_column.as_deref())?;
        let is_credit = gross_pico < 0;
        if is_credit && mapping.amount.negative == NegativeAmounts::Refuse {
            return Err(self.negative(gross_pico));
        }
        let currency = self.cells.currency(cells)?;
        self.currencies.entry(currency).or_insert(place);
        self.refuse_repeated(place, cells)?;
        let at_ms = time.at_ms.unwrap_or_else(|| {
            i64::from(time.day) * super::instant::DAY_MS - mapping.time.offset_ms
        });
        let model = self.model(cells, at_ms)?;
        let in_period = self.context.period.contains(time.day);
        let request_id = if is_credit { "" } else { self.request_id(cells)? };
        let record = Record {
            request_id,
            position: Position { number: place.number(), partition: 0, index: 0 },
            at_ms: time.at_ms,
            day: time.day,
            in_period,
            model,
            tier: self.tier(cells),
            currency: self.names.id(currency.code()),
            counts,
            amount_pico: gross_pico - tax_pico,
            tax_pico,
            credit_pico,
            ..Record::default()
        };
        self.totals.lines += 1;
        self.totals.lines_outside += u64::from(!in_period);
        self.first_day.get_or_insert(time.day);
        // A bill with a defect is refused as a whole; the rest is only read for its defects.
        if self.defects.is_empty() {
            let price_micro_per_million = price;
            each(&BillLine { record, class: line_class, price_micro_per_million, is_credit })?;
        }
        Ok(())
    }

    fn negative(&self, pico: i128) -> Stop {
        let found = format!("the amount is {}", short_amount(pico));
        let advice = "only a credit may be below zero; write negative = \"credit\" under [amount] \
                      if this vendor lists credits as lines";
        let column = self.context.mapping.amount.column.as_deref().unwrap_or_default();
        Stop::Defect(Defect::new(found, advice).column(column))
    }

    fn refuse_repeated(&mut self, place: Place, cells: &Cells<'_>) -> Result<(), Stop> {
        let mapping = self.context.mapping;
        // Requests are compared by their id later on, in bounded memory.
        if mapping.duplicates == DuplicateLines::Report || mapping.has_records() {
            return Ok(());
        }
        let mut hash = Xxh3::new();
        for cell in cells {
            let text = cell.unwrap_or_default().trim();
            hash.update(text.as_bytes());
            hash.update(&[0xFF]);
        }
        let Some(first) = self.seen.insert(hash.digest128(), place) else { return Ok(()) };
        let found = format!("says the same as {first} in every column that is read");
        let advice = "ask the vendor whether it is meant twice; write duplicates = \"report\" into \
                      the mapping to compare it nevertheless";
        Err(Stop::Defect(Defect::new(found, advice)))
    }

    fn request_id<'c>(&self, cells: &Cells<'c>) -> Result<&'c str, Stop> {
        let Some(column) = &self.context.mapping.request_id else { return Ok("") };
        let id = self.cells.text(cells, column).unwrap_or_default();
        let defect = if id.is_empty() {
            Defect::new("there is no request id", "every line needs one, or none of them")
        } else if id.len() > REQUEST_ID_MAX_BYTES {
            Defect::new("the request id is longer than 1024 bytes", "correct the mapping")
        } else {
            return Ok(id);
        };
        Err(Stop::Defect(defect.column(column)))
    }

    fn tier(&mut self, cells: &Cells<'_>) -> NameId {
        let mapping = self.context.mapping;
        let Some(column) = &mapping.service_tier else { return NameId::default() };
        let word = self.cells.text(cells, column).unwrap_or_default();
        let tier = match mapping.tiers.get(word) {
            Some(tier) => tier.as_str(),
            None if word.is_empty() => "standard",
            None => word,
        };
        self.names.id(tier)
    }

    /// The billed model, through the mapping's names and the aliases of the book; a name that has no
    /// alias and that the vendor has a price for is its own.
    fn model(&mut self, cells: &Cells<'_>, at_ms: i64) -> Result<NameId, Stop> {
        let mapping = self.context.mapping;
        let Some(column) = &mapping.model else { return Ok(NameId::default()) };
        let word = self.cells.text(cells, column).unwrap_or_default();
        let name = mapping.models.get(word).map_or(word, String::as_str);
        let defect = if name.is_empty() {
            Defect::new(
                "there is no model",
                "every line needs one; leave columns.model out if none has",
            )
        } else {
            match self.context.card.resolve(name, at_ms) {
                Some(known) if known.vendor == self.context.vendor => {
                    return Ok(self.names.id(known.billed_model));
                }
                Some(known) => {
                    let found = format!("model {word:?} is of vendor {:?}", known.vendor);
                    let advice =
                        format!("this bill is of {:?}; give --vendor", self.context.vendor);
                    Defect::new(found, advice)
                }
                None if self.context.card.names_model(self.context.vendor, name) => {
                    return Ok(self.names.id(name));
                }
                None => {
                    let found = format!("model {word:?} is not known");
                    let advice = "name ours for it under [models] in the mapping, or import an \
                                  alias into the price book";
                    Defect::new(found, advice)
                }
            }
        };
        Err(Stop::Defect(defect.column(column)))
    }

    /// A row that repeats the sums of the lines before it.
    fn total_row(&mut self, cells: &Cells<'_>) -> Result<(), Stop> {
        let mapping = self.context.mapping;
        let differs = |column: &str, row: String, sum: String| {
            let found = format!("the total row says {row}, the lines before it are {sum}");
            let advice = "lines are missing or the row is wrong: ask for the bill again";
            Err(Stop::Defect(Defect::new(found, advice).column(column)))
        };
        if let Some(column) = &mapping.amount.column
            && self.cells.text(cells, column).is_some_and(|text| !text.is_empty())
        {
            let total = self.cells.amount(cells, None, None)?;
            if total != self.sums.amount_pico {
                let sum = short_amount(self.sums.amount_pico);
                return differs(column, short_amount(total), sum);
            }
        }
        match &mapping.layout {
            Layout::Wide(classes) => {
                for (class, sum) in classes {
                    let ColumnSum(parts) = sum;
                    let told = parts.iter().all(|(_, name)| {
                        self.cells.text(cells, name).is_some_and(|t| !t.is_empty())
                    });
                    let lines = self.sums.classes.get(class).copied().unwrap_or(0);
                    if told {
                        let total = self.cells.count_sum(cells, sum)?;
                        if u128::from(total) != lines {
                            let columns: Vec<&str> =
                                parts.iter().map(|(_, name)| name.as_str()).collect();
                            return differs(
                                &columns.join(", "),
                                total.to_string(),
                                lines.to_string(),
                            );
                        }
                    }
                }
            }
            Layout::Long { quantity: Some(column), .. } => {
                if self.cells.text(cells, column).is_some_and(|text| !text.is_empty()) {
                    let total = self.cells.count(cells, column)?;
                    if u128::from(total) != self.sums.quantity {
                        let lines = self.sums.quantity.to_string();
                        return differs(column, total.to_string(), lines);
                    }
                }
            }
            Layout::Long { .. } => {}
        }
        self.totals.total_row_agreed = true;
        Ok(())
    }

    /// What can only be said once every line was read.
    fn check_whole(&mut self) {
        if !self.defects.is_empty() {
            return;
        }
        let expected = self.context.mapping.amount.currency;
        let first = self.currencies.iter().min_by_key(|(_, place)| **place);
        if self.totals.lines == 0 {
            let advice = "the vendor's export may have failed: ask for it again";
            self.defects.push(Defect::new("the bill has no lines", advice));
        } else if let Some((currency, place)) = first
            && !self.currencies.contains_key(&expected)
        {
            let found = format!("the bill is in {currency} where the contract is in {expected}");
            let advice = "ask for the bill in the contract's currency, or correct currency under \
                          [amount] in the mapping";
            let column = self.context.mapping.amount.currency_column.as_deref();
            let defect = Defect::new(found, advice).at(*place);
            self.defects.push(match column {
                Some(column) => defect.column(column),
                None => defect,
            });
        } else if self.totals.lines_outside == self.totals.lines {
            let day = day_text(self.first_day.unwrap_or_default());
            let advice = "give --period the month of the bill, or correct time.zone in the mapping";
            let found = format!("no line is in the period; the first is of {day}");
            let column = self.context.mapping.time.column.clone();
            self.defects.push(Defect::new(found, advice).column(&column));
        }
    }
}

/// An amount without the zeros behind its last digit.
pub(crate) fn short_amount(pico: i128) -> String {
    decimal_text(pico, 12).trim_end_matches('0').trim_end_matches('.').to_owned()
}

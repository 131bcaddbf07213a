//! The cells of a bill's row as what they mean.

use std::collections::BTreeMap;

use tally_schemas::{Currency, TokenClass};

use super::decimal::Decimal;
use super::error::Defect;
use super::instant::{BillTime, parse_time};
use super::mapping::{BeyondPico, BillMapping, ColumnSum, TotalRow};
use super::rows::{Cells, Stop};

/// Amounts from here on are mistakes: sums of them must fit 128 bits.
const AMOUNT_MAX_PICO: i128 = 10_i128.pow(37);

/// Counts from here on are mistakes: those of a line's classes must add up within 64 bits.
const COUNT_LIMIT: u64 = 10_u64.pow(18);

/// Position of each column that is read.
#[derive(Debug)]
pub(crate) struct Columns(BTreeMap<String, usize>);

impl Columns {
    pub(crate) fn new(wanted: &[String]) -> Self {
        Self(wanted.iter().enumerate().map(|(at, column)| (column.clone(), at)).collect())
    }
}

/// Reads cells by a mapping.
#[derive(Debug)]
pub(crate) struct CellReader<'a> {
    pub(crate) mapping: &'a BillMapping,
    pub(crate) columns: Columns,
}

fn defect(column: &str, found: String, advice: &str) -> Stop {
    Stop::Defect(Defect::new(found, advice).column(column))
}

impl CellReader<'_> {
    /// The text of a column, without the spaces around it.
    pub(crate) fn text<'c>(&self, cells: &Cells<'c>, column: &str) -> Option<&'c str> {
        cells.get(*self.columns.0.get(column)?).copied().flatten().map(str::trim)
    }

    /// Whether the row is a total row, or one to leave out.
    pub(crate) fn is_marked(&self, cells: &Cells<'_>, mark: Option<&TotalRow>) -> bool {
        mark.is_some_and(|mark| {
            let text = self.text(cells, &mark.column).unwrap_or_default();
            mark.words.iter().any(|word| word == text)
        })
    }

    pub(crate) fn time(&self, cells: &Cells<'_>) -> Result<BillTime, Stop> {
        let rules = &self.mapping.time;
        let text = self.text(cells, &rules.column).unwrap_or_default();
        parse_time(text, &rules.format, rules.offset_ms).ok_or_else(|| {
            let found = format!("{text:?} is not {}", rules.format.example());
            defect(&rules.column, found, "correct the line, or time.format in the mapping")
        })
    }

    fn number(&self, text: &str, column: &str) -> Result<Decimal, Stop> {
        Decimal::parse(text, self.mapping.numbers).map_err(|why| {
            let found = format!("{text:?}: {why}");
            let advice =
                "correct the line, or decimal and thousands under [numbers] in the mapping";
            defect(column, found, advice)
        })
    }

    /// A whole number; an empty cell is 0.
    pub(crate) fn count(&self, cells: &Cells<'_>, column: &str) -> Result<u64, Stop> {
        let Some(text) = self.text(cells, column).filter(|text| !text.is_empty()) else {
            return Ok(0);
        };
        // The usual form, without going through decimals.
        if let Ok(count) = text.parse::<u64>()
            && count < COUNT_LIMIT
        {
            return Ok(count);
        }
        let number = self.number(text, column)?;
        let count = number.units(0).and_then(|units| u64::try_from(units).ok());
        count.filter(|count| *count < COUNT_LIMIT).ok_or_else(|| {
            let advice = "a count is a whole number from 0 on, below 10^18";
            defect(column, format!("{text:?} is no count"), advice)
        })
    }

    /// A signed sum of counts, which is bounded as one of them is.
    pub(crate) fn count_sum(&self, cells: &Cells<'_>, sum: &ColumnSum) -> Result<u64, Stop> {
        let ColumnSum(parts) = sum;
        if let [(false, column)] = parts.as_slice() {
            return self.count(cells, column);
        }
        let mut total = 0_i128;
        for (negative, column) in parts {
            let count = i128::from(self.count(cells, column)?);
            total += if *negative { -count } else { count };
        }
        let names = || {
            let names: Vec<&str> = parts.iter().map(|(_, column)| column.as_str()).collect();
            names.join(", ")
        };
        let count = u64::try_from(total).map_err(|_| {
            let found = format!("what remains of the first column is {total}");
            let advice = "the parts are more than the whole: ask the vendor";
            defect(&names(), found, advice)
        })?;
        if count >= COUNT_LIMIT {
            let advice = "what columns come to together is below 10^18: ask for the file again";
            return Err(defect(&names(), format!("their sum is {count}"), advice));
        }
        Ok(count)
    }

    /// The class of a line; `None` leaves it out.
    pub(crate) fn class(
        &self,
        cells: &Cells<'_>,
        column: &str,
        words: &BTreeMap<String, Option<TokenClass>>,
    ) -> Result<Option<TokenClass>, Stop> {
        let word = self.text(cells, column).unwrap_or_default();
        words.get(word).copied().ok_or_else(|| {
            let found = format!("{word:?} is no class that the mapping knows");
            let advice = "name its class, or \"ignore\", under [class_words] in the mapping";
            defect(column, found, advice)
        })
    }

    /// Micro-currency per 1,000,000 units; `None` where the bill has no price.
    pub(crate) fn price(&self, cells: &Cells<'_>) -> Result<Option<u64>, Stop> {
        let Some((column, units)) = &self.mapping.amount.price else { return Ok(None) };
        let Some(text) = self.text(cells, column).filter(|text| !text.is_empty()) else {
            return Ok(Some(0));
        };
        // A price in currency for `units` units is pico-currency for one, times a million for a
        // million, by a million for micro: the same number.
        let pico = self.number(text, column)?.units(12);
        let units = i128::from(*units);
        let price = pico.filter(|pico| pico % units == 0).map(|pico| pico / units);
        price.and_then(|price| u64::try_from(price).ok()).map(Some).ok_or_else(|| {
            let found = format!("{text:?} is no price in whole micro-currency per 1,000,000 units");
            defect(column, found, "correct the line, or price_units under [amount] in the mapping")
        })
    }

    /// The amount of a line as it is written, or its price times its quantity, in pico-currency.
    pub(crate) fn amount(
        &self,
        cells: &Cells<'_>,
        price: Option<u64>,
        quantity: Option<u64>,
    ) -> Result<i128, Stop> {
        let Some(column) = &self.mapping.amount.column else {
            if !self.mapping.amount.compared {
                return Ok(0);
            }
            let (price, quantity) = (price.unwrap_or(0), quantity.unwrap_or(0));
            let pico = i128::from(price).checked_mul(i128::from(quantity));
            return pico.filter(|pico| *pico < AMOUNT_MAX_PICO).ok_or_else(|| {
                let found = format!(
                    "{quantity} units at {price} micro-currency per 1,000,000 are more than any bill"
                );
                let column = self.mapping.amount.price.as_ref().map_or("", |(column, _)| column);
                defect(column, found, "ask for the file again")
            });
        };
        let text = self.text(cells, column).unwrap_or_default();
        if text.is_empty() {
            let advice = "every line needs one; write 0 where nothing is owed";
            return Err(defect(column, "there is no amount".to_owned(), advice));
        }
        self.pico(text, column)
    }

    /// An amount beside the line's own; an empty cell, or no such column, is 0.
    pub(crate) fn side_amount(
        &self,
        cells: &Cells<'_>,
        column: Option<&str>,
    ) -> Result<i128, Stop> {
        let Some(column) = column else { return Ok(0) };
        match self.text(cells, column).filter(|text| !text.is_empty()) {
            Some(text) => self.pico(text, column),
            None => Ok(0),
        }
    }

    fn pico(&self, text: &str, column: &str) -> Result<i128, Stop> {
        let rules = &self.mapping.amount;
        let number = self.number(text, column)?;
        let number = Decimal { scale: number.scale + rules.unit_decimals, ..number };
        let pico = match rules.beyond_pico {
            BeyondPico::Refuse => number.units(12),
            BeyondPico::Round => number.units_rounded(12),
        };
        let limit = AMOUNT_MAX_PICO.unsigned_abs();
        pico.filter(|pico| pico.unsigned_abs() < limit).ok_or_else(|| {
            let found = format!("{text:?} has more decimals than twelve, or too many digits");
            let advice = "write beyond_pico = \"round\" under [amount] in the mapping if the bill \
                          was made from floats";
            defect(column, found, advice)
        })
    }

    /// The currency of a line.
    pub(crate) fn currency(&self, cells: &Cells<'_>) -> Result<Currency, Stop> {
        let rules = &self.mapping.amount;
        let Some(column) = &rules.currency_column else { return Ok(rules.currency) };
        let text = self.text(cells, column).unwrap_or_default();
        let code = match text {
            "" => return Ok(rules.currency),
            "元" | "人民币" | "RMB" | "¥" | "￥" => "CNY".to_owned(),
            "$" => "USD".to_owned(),
            other => other.to_ascii_uppercase(),
        };
        Currency::parse(&code).ok_or_else(|| {
            let found = format!("{text:?} is no currency");
            defect(column, found, "write a code such as CNY")
        })
    }
}

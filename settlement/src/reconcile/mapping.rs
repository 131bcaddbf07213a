//! How a vendor's bill is read: which column is what, in which format, zone and currency. The file
//! is TOML; `docs/reconciliation.md` explains every key.

use std::collections::BTreeMap;

use tally_schemas::{CLASS_COUNT, Currency, TokenClass};

use super::decimal::NumberFormat;
use super::error::ReconcileError;
use super::instant::{TimeFormat, parse_offset};
use super::mapping_file::{self, MappingFile};
use super::tolerance::{Tolerance, ToleranceSource};

/// Shape of a bill's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BillFormat {
    /// Text with a header.
    Csv,
    /// One document with rows somewhere in it.
    Json,
    /// One object a line.
    Ndjson,
    /// A workbook.
    Xlsx,
}

/// Which call time of ours the bill's time is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BillTimeBasis {
    /// The end of the call.
    #[default]
    Completion,
    /// The start of the call.
    Start,
}

/// What a line below zero is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum NegativeAmounts {
    /// A mistake.
    #[default]
    Refuse,
    /// A credit: part of the total, and no record.
    Credit,
}

/// What lines that say the same are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DuplicateLines {
    /// A mistake of the file.
    Refuse,
    /// A difference of class `duplicate`.
    Report,
}

/// What an amount with more decimals than twelve is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum BeyondPico {
    /// A mistake.
    #[default]
    Refuse,
    /// Rounded, half to even: for bills that were written from floats.
    Round,
}

/// A signed sum of columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSum(pub Vec<(bool, String)>);

/// How counts are laid out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// A column a class; without any the bill has amounts only.
    Wide(Vec<(TokenClass, ColumnSum)>),
    /// A line a class: the column that names it, its words, and the column of the count.
    Long {
        /// Column that names the class.
        class: String,
        /// Column of the count, where there is one.
        quantity: Option<String>,
        /// Class of each word; `None` leaves the line out.
        words: BTreeMap<String, Option<TokenClass>>,
    },
}

/// How amounts are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AmountRules {
    /// Whether the bill has amounts; without them only counts are compared.
    pub compared: bool,
    /// Column; without it an amount is price × quantity.
    pub column: Option<String>,
    /// Currency of the contract, and of every line where no column says another.
    pub currency: Currency,
    /// Column of the currency.
    pub currency_column: Option<String>,
    /// Decimals by which the unit of amounts is finer than the currency: 2 for cents.
    pub unit_decimals: i32,
    /// Column of the tax that is contained in the amount.
    pub tax_column: Option<String>,
    /// Tax rate of the contract in ppm, to recognize amounts with tax.
    pub tax_ppm: u64,
    /// Column of what was taken off as free quota.
    pub credit_column: Option<String>,
    /// Column of the price of a unit, and how many units it is for.
    pub price: Option<(String, u32)>,
    /// Largest difference that rounding explains, in pico-currency.
    pub rounding_pico: i128,
    /// Lines below zero.
    pub negative: NegativeAmounts,
    /// Amounts with more than twelve decimals.
    pub beyond_pico: BeyondPico,
}

/// How times are written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeRules {
    /// Column.
    pub column: String,
    /// Format.
    pub format: TimeFormat,
    /// Offset of the bill's days and local times from UTC, in milliseconds.
    pub offset_ms: i64,
    /// Our time that is compared.
    pub basis: BillTimeBasis,
    /// How far the two times of one call may be apart.
    pub tolerance_ms: i64,
}

/// A total row: where this column says this word, the row is the sum of the lines before it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TotalRow {
    /// Column.
    pub column: String,
    /// Words.
    pub words: Vec<String>,
}

/// How a vendor's bill is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BillMapping {
    /// Name.
    pub name: String,
    /// Whether somebody has compared it with a real bill or the vendor's documentation.
    pub verified: bool,
    /// Shape of the file; `None` goes by the file's name.
    pub format: Option<BillFormat>,
    /// Delimiter of CSV; `None` is found out.
    pub delimiter: Option<u8>,
    /// `None` is found out: UTF-8, else GB18030.
    pub encoding: Option<super::encoding::TextEncoding>,
    /// Line or row of the header, from 1.
    pub header: u64,
    /// Sheet; `None` is the first.
    pub sheet: Option<String>,
    /// JSON: the arrays in which the rows are, from the outside in.
    pub rows: Vec<String>,
    /// How numbers are written.
    pub numbers: NumberFormat,
    /// Column of the vendor's request id; without it the bill is compared by groups only.
    pub request_id: Option<String>,
    /// Column of the model.
    pub model: Option<String>,
    /// The bill's names of models.
    pub models: BTreeMap<String, String>,
    /// Column of the service tier.
    pub service_tier: Option<String>,
    /// The bill's names of service tiers.
    pub tiers: BTreeMap<String, String>,
    /// Times.
    pub time: TimeRules,
    /// Counts.
    pub layout: Layout,
    /// Classes of ours that the bill counts in another class.
    pub fold: Vec<(TokenClass, TokenClass)>,
    /// Amounts.
    pub amount: AmountRules,
    /// Total row.
    pub total: Option<TotalRow>,
    /// Rows to leave out: a column and the words that mark them.
    pub skip: Option<TotalRow>,
    /// Lines that say the same.
    pub duplicates: DuplicateLines,
    /// Tolerance of the contract.
    pub tolerance: Tolerance,
    /// Who says so.
    pub tolerance_source: ToleranceSource,
}

impl BillMapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// `Mapping`, with what is wrong and what to write instead.
    pub fn parse(name: &str, text: &str) -> Result<Self, ReconcileError> {
        let wrong = |what: String| ReconcileError::Mapping { name: name.to_owned(), what };
        let file: MappingFile =
            toml::from_str(text).map_err(|error| wrong(error.to_string().trim_end().to_owned()))?;
        mapping_file::check(file).map_err(wrong)
    }

    /// Whether lines can be told apart by request.
    pub const fn has_records(&self) -> bool {
        self.request_id.is_some()
    }

    /// Whether amounts are known by class.
    pub const fn has_class_amounts(&self) -> bool {
        matches!(self.layout, Layout::Long { .. }) && self.amount.compared
    }

    /// Whether counts are known at all.
    pub fn has_counts(&self) -> bool {
        match &self.layout {
            Layout::Wide(classes) => !classes.is_empty(),
            Layout::Long { quantity, .. } => quantity.is_some(),
        }
    }

    /// Classes that are compared.
    pub fn classes(&self) -> [bool; CLASS_COUNT] {
        let mut compared = [false; CLASS_COUNT];
        match &self.layout {
            Layout::Wide(classes) => {
                for (class, _) in classes {
                    compared[class.index()] = true;
                }
            }
            Layout::Long { words, .. } => {
                for class in words.values().flatten() {
                    compared[class.index()] = true;
                }
            }
        }
        compared
    }

    /// Every column that is read, each once.
    pub fn columns(&self) -> Vec<String> {
        let mut columns = vec![self.time.column.clone()];
        columns.extend(self.request_id.clone());
        columns.extend(self.model.clone());
        columns.extend(self.service_tier.clone());
        columns.extend(self.amount.column.clone());
        columns.extend(self.amount.currency_column.clone());
        columns.extend(self.amount.tax_column.clone());
        columns.extend(self.amount.credit_column.clone());
        columns.extend(self.amount.price.as_ref().map(|(column, _)| column.clone()));
        match &self.layout {
            Layout::Wide(classes) => {
                for (_, ColumnSum(parts)) in classes {
                    columns.extend(parts.iter().map(|(_, column)| column.clone()));
                }
            }
            Layout::Long { class, quantity, .. } => {
                columns.push(class.clone());
                columns.extend(quantity.clone());
            }
        }
        columns.extend(self.total.as_ref().map(|total| total.column.clone()));
        columns.extend(self.skip.as_ref().map(|skip| skip.column.clone()));
        let mut seen = std::collections::BTreeSet::new();
        columns.retain(|column| seen.insert(column.clone()));
        columns
    }

    /// The offset of the bill's days, such as `+08:00`.
    pub fn zone_text(&self) -> String {
        let minutes = self.time.offset_ms / 60_000;
        let sign = if minutes < 0 { '-' } else { '+' };
        format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
    }
}

/// The offset of a zone's name.
pub(crate) fn zone_offset_ms(zone: &str) -> Result<i64, String> {
    match zone {
        "UTC" | "Z" => Ok(0),
        "Asia/Shanghai" | "Asia/Chongqing" | "PRC" => Ok(8 * 3_600_000),
        other => parse_offset(other).ok_or_else(|| {
            format!("time.zone {other:?} is not known; write \"UTC\", \"Asia/Shanghai\" or an offset such as \"+08:00\"")
        }),
    }
}

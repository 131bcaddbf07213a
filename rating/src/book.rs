//! The book: every version of every record of the reference data that rating needs.

use crate::aliases::Alias;
use crate::book_files::{BadBook, BookFile, read_file};
use crate::calendar::{Calendar, CalendarYear, Days};
use crate::contract::Contract;
use crate::lint::{Lint, lint};
use crate::price::Price;
use crate::version::{Version, Versioned, known_records};
use crate::weights::{Product, WeightTable};

/// One version of a calendar, with the years that its file gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CalendarRecord {
    pub(crate) version: Version,
    pub(crate) offset_ms: i64,
    pub(crate) days: Days,
    pub(crate) years: Vec<CalendarYear>,
}

impl Versioned for CalendarRecord {
    fn version(&self) -> &Version {
        &self.version
    }
}

/// Every version of every record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Book {
    version: String,
    pub(crate) prices: Vec<Price>,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) calendars: Vec<CalendarRecord>,
    pub(crate) weights: Vec<WeightTable>,
    pub(crate) products: Vec<Product>,
    pub(crate) contracts: Vec<Contract>,
}

/// The files of the book that ships with Tally.
const SHIPPED: [(&str, &str); 6] = [
    ("prices.csv", include_str!("../data/prices.csv")),
    ("example_prices.csv", include_str!("../data/example_prices.csv")),
    ("aliases.toml", include_str!("../data/aliases.toml")),
    ("calendars.toml", include_str!("../data/calendars.toml")),
    ("weights.toml", include_str!("../data/weights.toml")),
    ("contracts.toml", include_str!("../data/contracts.toml")),
];

/// The packages and tariffs that ship with Tally, for the crate that charges.
pub const SHIPPED_PACKAGES: &str = include_str!("../data/packages.toml");

impl Book {
    /// The book that ships with Tally.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn shipped() -> Result<Self, BadBook> {
        let files: Vec<BookFile<'_>> =
            SHIPPED.iter().map(|(name, text)| BookFile { name, text }).collect();
        Self::read(&files)
    }

    /// Reads files; the format of each follows from its name (`.csv` prices, `.toml` anything).
    ///
    /// # Errors
    /// Every defect of every file, with its name and line.
    pub fn read(files: &[BookFile<'_>]) -> Result<Self, BadBook> {
        let mut book = Self::default();
        let mut defects = Vec::new();
        let mut hash = xxhash_rust::xxh3::Xxh3Default::new();
        for file in files {
            read_file(file, &mut book, &mut defects);
            hash.update(&(file.text.len() as u64).to_le_bytes());
            hash.update(file.text.as_bytes());
        }
        if !defects.is_empty() {
            return Err(BadBook { defects });
        }
        book.version = format!("{:016x}", hash.digest());
        Ok(book)
    }

    /// Version of the book: a hash of its files.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What is wrong with the records taken together.
    pub fn lint(&self) -> Vec<Lint> {
        lint(self)
    }

    /// Its prices, every version.
    pub fn prices(&self) -> &[Price] {
        &self.prices
    }

    /// Its contracts, every version.
    pub fn contracts(&self) -> &[Contract] {
        &self.contracts
    }

    /// The calendars as they are known at a time.
    pub(crate) fn calendars_known(&self, known_at_ms: Option<i64>) -> Vec<Calendar> {
        known_records(&self.calendars, known_at_ms)
            .map(|record| Calendar {
                id: record.version.id.clone(),
                offset_ms: record.offset_ms,
                days: record.days,
                years: if crate::planted(crate::Bug::HolidayForgotten) {
                    let without = |year: &CalendarYear| CalendarYear {
                        days: year.days,
                        holidays: Vec::new(),
                    };
                    record.years.iter().map(without).collect()
                } else {
                    record.years.clone()
                },
            })
            .collect()
    }
}

//! The book: every version of every record of the reference data that rating needs.

use crate::aliases::Alias;
use crate::book_files::{BadBook, BookFile};
use crate::calendar::{Calendar, CalendarYear, Days};
use crate::contract::Contract;
use crate::instant::DAY_MS;
use crate::layers::BookLayer;
use crate::lint::{Lint, lint};
use crate::price::Price;
use crate::record_words::calendar_words;
use crate::version::{Version, Versioned, known_records};
use crate::weights::{Product, WeightTable};

/// One version of a calendar, with the years that its file gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CalendarRecord {
    /// Id, known time, approval.
    pub version: Version,
    /// Offset of its local time from UTC, milliseconds.
    pub offset_ms: i64,
    /// To which days it applies windows.
    pub days: Days,
    pub(crate) years: Vec<CalendarYear>,
}

impl CalendarRecord {
    /// Its statutory holidays as days since 1970-01-01, each with where it is from.
    pub fn holidays(&self) -> impl Iterator<Item = (i64, &str)> {
        self.years
            .iter()
            .flat_map(|year| year.holidays.iter().map(|day| (*day, year.source.as_str())))
    }

    /// The local midnight, milliseconds UTC, from which on it does not know the holidays that it
    /// needs, so that events are held back; none where it needs none.
    pub fn unknown_from_ms(&self) -> Option<i64> {
        if self.days != Days::Workdays {
            return None;
        }
        let after = self.years.iter().map(|year| year.days.1).max().unwrap_or(0);
        Some(after.saturating_mul(DAY_MS).saturating_sub(self.offset_ms))
    }
}

impl Versioned for CalendarRecord {
    const KIND: &'static str = "calendar";

    fn version(&self) -> &Version {
        &self.version
    }

    fn version_mut(&mut self) -> &mut Version {
        &mut self.version
    }

    fn words(&self) -> String {
        calendar_words(self)
    }
}

/// Every version of every record.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Book {
    pub(crate) version: String,
    pub(crate) prices: Vec<Price>,
    pub(crate) aliases: Vec<Alias>,
    pub(crate) calendars: Vec<CalendarRecord>,
    pub(crate) weights: Vec<WeightTable>,
    pub(crate) products: Vec<Product>,
    pub(crate) contracts: Vec<Contract>,
}

/// Prices, aliases, calendars and weights that ship with Tally.
pub const SHIPPED_PRICES: [BookFile<'static>; 5] = [
    shipped("prices.csv", include_str!("../data/prices.csv")),
    shipped("example_prices.csv", include_str!("../data/example_prices.csv")),
    shipped("aliases.toml", include_str!("../data/aliases.toml")),
    shipped("calendars.toml", include_str!("../data/calendars.toml")),
    shipped("weights.toml", include_str!("../data/weights.toml")),
];

/// The contracts that ship with Tally.
pub const SHIPPED_CONTRACTS: [BookFile<'static>; 1] =
    [shipped("contracts.toml", include_str!("../data/contracts.toml"))];

const fn shipped(name: &'static str, text: &'static str) -> BookFile<'static> {
    BookFile { name, text }
}

/// The packages and tariffs that ship with Tally, for the crate that charges.
pub const SHIPPED_PACKAGES: &str = include_str!("../data/packages.toml");

impl Book {
    /// The book that ships with Tally.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn shipped() -> Result<Self, BadBook> {
        Self::read(&[SHIPPED_PRICES.as_slice(), &SHIPPED_CONTRACTS].concat())
    }

    /// Reads files; the format of each follows from its name (`.csv` prices, `.toml` anything).
    ///
    /// # Errors
    /// Every defect of every file, with its name and line.
    pub fn read(files: &[BookFile<'_>]) -> Result<Self, BadBook> {
        Self::read_layers(&[BookLayer { files: files.to_vec(), approval: None }])
    }

    /// Version of the book: a hash of its files.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// What is wrong with the records taken together, for every reader.
    pub fn lint(&self) -> Vec<Lint> {
        lint(self, None)
    }

    /// What is wrong with them for whoever reads the book at a time or later.
    pub fn lint_since(&self, since_ms: i64) -> Vec<Lint> {
        lint(self, Some(since_ms))
    }

    /// Its prices, every version.
    pub fn prices(&self) -> &[Price] {
        &self.prices
    }

    /// Its contracts, every version.
    pub fn contracts(&self) -> &[Contract] {
        &self.contracts
    }

    /// Its model aliases, every version.
    pub fn aliases(&self) -> &[Alias] {
        &self.aliases
    }

    /// Its calendars, every version.
    pub fn calendars(&self) -> &[CalendarRecord] {
        &self.calendars
    }

    /// Its tables of weights, every version.
    pub fn weights(&self) -> &[WeightTable] {
        &self.weights
    }

    /// Its products, every version.
    pub fn products(&self) -> &[Product] {
        &self.products
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
                        source: year.source.clone(),
                    };
                    record.years.iter().map(without).collect()
                } else {
                    record.years.clone()
                },
            })
            .collect()
    }
}

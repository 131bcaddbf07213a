//! Weights: how many points a unit of a class counts, by model and time; products with a charge
//! of their own.

use tally_schemas::TokenClass;

use crate::book::Book;
use crate::calendar::Windows;
use crate::instant::{Validity, instant_text};
use crate::pattern::ModelPattern;
use crate::record_words::{product_words, weights_words};
use crate::version::{Version, Versioned};

/// Micro-points of a token that no weight names: one point.
pub const TOKEN_MICRO_POINTS: u64 = 1_000_000;

/// The table that is always known: where the book has none of this id, it has no weights.
pub(crate) const DEFAULT_WEIGHTS: &str = "default";

/// One weight of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Weight {
    /// Billed models.
    pub model: ModelPattern,
    /// Class.
    pub class: TokenClass,
    /// Micro-points a unit.
    pub micro_per_unit: u64,
    /// Calendar of the windows.
    pub calendar_id: Option<String>,
    /// Only at these times of day.
    pub windows: Windows,
    /// When it is in force, by the end of the call.
    pub valid: Validity,
}

/// One version of a table of weights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WeightTable {
    /// Id, known time, approval.
    pub version: Version,
    /// Its weights.
    pub weights: Vec<Weight>,
}

/// One version of a product whose requests count a fixed number of points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Product {
    /// Id, known time, approval.
    pub version: Version,
    /// Micro-points a request.
    pub micro_per_request: u64,
}

/// Why usage cannot be weighed by a table over all of a time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightsLack {
    /// No book has it.
    #[error("no table {0} in the price book; import and approve it first, or correct its name")]
    Table(String),
    /// It is known too late.
    #[error(
        "table {id} is known from {}, which is after {}: from then on it is needed",
        instant_text(*.known_from_ms),
        instant_text(*.needed_from_ms)
    )]
    KnownLater {
        /// The table.
        id: String,
        /// When its first version becomes known, milliseconds UTC.
        known_from_ms: i64,
        /// From when on it is needed, milliseconds UTC.
        needed_from_ms: i64,
    },
    /// It has weights, and at an instant not one of them is in force: everything would count a
    /// point a token.
    #[error(
        "no weight of table {id} is in force at {}; give it one, if only of 1 point a token",
        instant_text(*.at_ms)
    )]
    NoneInForce {
        /// The table.
        id: String,
        /// The first such instant, milliseconds UTC.
        at_ms: i64,
    },
}

impl Book {
    /// Why usage cannot be weighed by a table over all of a time, if so. The default table needs no
    /// weights, and one that has none at all says by that what it means.
    pub fn weights_lack(&self, id: &str, needed: Validity) -> Option<WeightsLack> {
        if id == DEFAULT_WEIGHTS || needed.is_empty() {
            return None;
        }
        let mut versions: Vec<(i64, &WeightTable)> = self
            .weights
            .iter()
            .filter(|table| table.version.id == id)
            .filter_map(|table| Some((table.version.usable_from_ms()?, table)))
            .collect();
        versions.sort_by_key(|(usable_ms, table)| (*usable_ms, table.version.known_from_ms));
        let Some((first_ms, _)) = versions.first() else {
            return Some(WeightsLack::Table(id.to_owned()));
        };
        if *first_ms > needed.from_ms {
            return Some(WeightsLack::KnownLater {
                id: id.to_owned(),
                known_from_ms: *first_ms,
                needed_from_ms: needed.from_ms,
            });
        }
        // Each version counts until the next is usable.
        let ends = versions.iter().skip(1).map(|(usable_ms, _)| Some(*usable_ms));
        let counts = versions.iter().zip(ends.chain([None]));
        let idle = counts.filter_map(|((from_ms, table), to_ms)| {
            let to_ms = [to_ms, needed.to_ms].into_iter().flatten().min();
            table.idle_within(Validity { from_ms: needed.from_ms.max(*from_ms), to_ms })
        });
        idle.min().map(|at_ms| WeightsLack::NoneInForce { id: id.to_owned(), at_ms })
    }
}

impl WeightTable {
    /// The first instant of a time at which it has weights and none of them is in force.
    fn idle_within(&self, time: Validity) -> Option<i64> {
        if self.weights.is_empty() || time.is_empty() {
            return None;
        }
        let ends = self.weights.iter().filter_map(|weight| weight.valid.to_ms);
        std::iter::once(time.from_ms)
            .chain(ends)
            .filter(|at_ms| time.contains(*at_ms))
            .filter(|at_ms| !self.weights.iter().any(|weight| weight.valid.contains(*at_ms)))
            .min()
    }
}

impl Versioned for WeightTable {
    const KIND: &'static str = "weights";

    fn version(&self) -> &Version {
        &self.version
    }

    fn version_mut(&mut self) -> &mut Version {
        &mut self.version
    }

    fn words(&self) -> String {
        weights_words(self)
    }
}

impl Versioned for Product {
    const KIND: &'static str = "product";

    fn version(&self) -> &Version {
        &self.version
    }

    fn version_mut(&mut self) -> &mut Version {
        &mut self.version
    }

    fn words(&self) -> String {
        product_words(self)
    }
}

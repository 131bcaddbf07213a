//! What is charged, and what comes of it.

use tally_schemas::Currency;

/// A priced event that is to be charged. Times are ms of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChargeEvent<'a> {
    /// Source, first half of the identity.
    pub source: &'a str,
    /// Id, second half of the identity.
    pub id: &'a str,
    /// Who pays.
    pub account: &'a str,
    /// Who used it.
    pub subscriber: &'a str,
    /// The model that was asked for.
    pub model: &'a str,
    /// The model that is billed.
    pub billed_model: &'a str,
    /// The product it was used in.
    pub product: Option<&'a str>,
    /// When the call began.
    pub started_at_ms: i64,
    /// When it was completed: the time that is charged.
    pub completed_at_ms: i64,
    /// Kafka's time of its record.
    pub log_time_ms: i64,
    /// What it costs wholesale, pico-currency.
    pub wholesale_pico: i128,
    /// Currency of the wholesale cost.
    pub wholesale_currency: Option<Currency>,
}

/// Why an event has no points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeighError {
    /// There is no weight table of this id.
    #[error("there is no such weight table")]
    UnknownTable,
    /// The points cannot be counted exactly.
    #[error("points are too many to be counted exactly")]
    Overflow,
    /// Something else, such as an unknown calendar year.
    #[error("{0}")]
    Other(&'static str),
}

/// Gives an event its points.
pub trait Weigh {
    /// Micro-points of the event by a weight table (or a product's fixed charge).
    ///
    /// # Errors
    /// Where the event has no points by this table.
    fn points_micro(&self, weights: &str) -> Result<i128, WeighError>;
}

/// Weight table of events that no bucket may take.
pub const DEFAULT_WEIGHTS: &str = "default";

/// What an event was charged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Charged {
    /// Micro-points.
    pub points_micro: i128,
    /// Allocated revenue and pay as you go, pico-currency.
    pub retail_pico: i128,
    /// Their currency; none where nothing was charged to a bucket or tariff.
    pub retail_currency: Option<Currency>,
    /// The part of the points that neither a bucket nor a tariff took.
    pub overrun_micro: i128,
}

/// An event could not be charged, and nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChargeError {
    /// It has no points.
    #[error("the event has no points: {0}")]
    Weigh(#[from] WeighError),
    /// An amount or a sum cannot be counted exactly.
    #[error("an amount cannot be counted exactly")]
    AmountOverflow,
    /// The account's state in memory does not parse.
    #[error("the account's state is damaged")]
    Damaged,
}

impl ChargeError {
    /// Stable code.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Weigh(WeighError::UnknownTable) => "unknown_weights",
            Self::Weigh(WeighError::Other(code)) => code,
            Self::Weigh(WeighError::Overflow) | Self::AmountOverflow => "amount_overflow",
            Self::Damaged => "damaged_account",
        }
    }
}

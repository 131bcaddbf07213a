//! Rates an event on the wholesale side and weighs it in points; the reference data for it.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tally_quota::{ChargeError, CommandError, QuotaReference};
use tally_rating::{
    Attribution, Book, Call, Held, HoldReason, LaneKey, LaneNumber, RateCard, Rated, Rater,
};
use tally_schemas::{Amounts, Currency, ReferenceVersion, SuspenseReason, UsageEvent};

use crate::core::quota_stage::EventWeigher;

/// What an event came to, and by which prices.
#[derive(Debug, Clone)]
pub(crate) struct EventRating {
    pub(crate) amounts: Amounts,
    pub(crate) wholesale_currency: Currency,
    pub(crate) wholesale_price_ids: Arc<str>,
    /// Absent where it was charged to nothing.
    pub(crate) retail_currency: Option<Currency>,
    /// Packages and tariffs that charged it, with commas.
    pub(crate) payers: String,
}

/// Why an event is held back for want of a price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unrated {
    pub(crate) reason: SuspenseReason,
    pub(crate) what: String,
}

/// The reason of a code of the quota crate; every one of them is a reason, which a test shows.
fn reason_of(code: &str) -> SuspenseReason {
    SuspenseReason::from_name(code).unwrap_or(SuspenseReason::InvalidField)
}

impl From<ChargeError> for Unrated {
    fn from(error: ChargeError) -> Self {
        Self { reason: reason_of(error.code()), what: error.to_string() }
    }
}

impl From<CommandError> for Unrated {
    fn from(error: CommandError) -> Self {
        Self { reason: reason_of(error.code()), what: error.to_string() }
    }
}

impl From<Held> for Unrated {
    fn from(held: Held) -> Self {
        let reason = match held.reason {
            HoldReason::UnknownCalendarYear => SuspenseReason::UnknownCalendarYear,
            HoldReason::NoPrice => SuspenseReason::NoPrice,
            HoldReason::AmbiguousPrice => SuspenseReason::AmbiguousPrice,
            HoldReason::CurrencyMismatch => SuspenseReason::CurrencyMismatch,
            HoldReason::UnknownWeights => SuspenseReason::UnknownWeights,
        };
        Self { reason, what: held.what }
    }
}

/// Reference data of the stream: prices and packages, as one reader knows them.
#[derive(Debug, Clone)]
pub struct ReferenceData {
    /// Its name.
    pub version: ReferenceVersion,
    /// Prices, aliases, weights.
    pub card: Arc<RateCard>,
    /// Packages and tariffs.
    pub packages: Arc<QuotaReference>,
}

impl ReferenceData {
    /// What ships with Tally.
    ///
    /// # Errors
    /// Never in a build whose tests pass.
    pub fn shipped() -> Result<Self, String> {
        let card = RateCard::shipped().map_err(|error| error.to_string())?;
        let packages = QuotaReference::from_toml(tally_rating::SHIPPED_PACKAGES)
            .map_err(|error| error.to_string())?;
        let version =
            ReferenceVersion { edition: 0, known_at_ms: i64::MAX, hash: "shipped".to_owned() };
        Ok(Self { version, card: Arc::new(card), packages: Arc::new(packages) })
    }

    /// Without a price and without a package: for what reads state and rates nothing.
    pub fn none() -> Self {
        let card = RateCard::new(&Book::default(), None);
        let version = ReferenceVersion { edition: 0, known_at_ms: 0, hash: "none".to_owned() };
        Self { version, card: Arc::new(card), packages: Arc::default() }
    }

    /// Checks that everything of older reference data is still there.
    ///
    /// # Errors
    /// The first record that is missing or changed.
    pub fn keeps(&self, older: &Self) -> Result<(), ReferenceLost> {
        let (newer, older_version) = (self.version.clone(), older.version.clone());
        let lost = |record| ReferenceLost { newer, older: older_version, record };
        if let Some(record) = self.card.lost_since(&older.card) {
            return Err(lost(record));
        }
        older.packages.is_kept_by(&self.packages).map_err(|error| lost(error.to_string()))
    }
}

/// Newer reference data lacks or changes what older had. Versions are added, never overwritten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("reference data {newer} lacks what {older} had: {record}")]
pub struct ReferenceLost {
    /// The newer version.
    pub newer: ReferenceVersion,
    /// The older one.
    pub older: ReferenceVersion,
    /// What is missing or changed.
    pub record: String,
}

/// Rates the events of one partition.
#[derive(Debug, Clone)]
pub(crate) struct EventRater {
    rater: Rater,
    card: Arc<OwnCard>,
}

/// The prices behind a counter of this partition's own: all partitions share theirs, and to count
/// it for each event would have the cores wait for each other.
#[derive(Debug)]
pub(crate) struct OwnCard(Arc<RateCard>);

impl std::ops::Deref for OwnCard {
    type Target = RateCard;
    fn deref(&self) -> &RateCard {
        &self.0
    }
}

impl EventRater {
    pub(crate) fn new(card: Arc<RateCard>) -> Self {
        Self { card: Arc::new(OwnCard(Arc::clone(&card))), rater: Rater::new(card) }
    }

    /// The prices.
    pub(crate) fn card(&self) -> Arc<OwnCard> {
        Arc::clone(&self.card)
    }

    /// What the vendor is owed for an event, and where its prices are.
    ///
    /// # Errors
    /// Why it has no price.
    pub(crate) fn wholesale(
        &mut self,
        event: &UsageEvent<'_>,
        to: &Attribution<'_>,
        call: &Call<'_>,
    ) -> Result<(Rated, LaneNumber), Unrated> {
        let lane = self.rater.lane(&LaneKey {
            vendor: to.vendor,
            supplier: to.supplier,
            billed_model: to.billed_model,
            service_tier: event.service_tier(),
            region: event.region.as_deref(),
        });
        Ok((self.rater.wholesale(lane, call)?, lane))
    }

    /// The points of an event.
    pub(crate) fn weigher<'a>(
        &'a mut self,
        lane: LaneNumber,
        product: Option<&'a str>,
        call: Call<'a>,
    ) -> EventWeigher<'a> {
        let rater = RefCell::new(&mut self.rater);
        EventWeigher { rater, lane, product, call, lacks: Cell::new(None) }
    }

    /// Ids of the prices that rated an event, with commas.
    pub(crate) fn price_ids(&mut self, lane: LaneNumber, rated: &Rated) -> Arc<str> {
        self.rater.price_ids(lane, rated.prices)
    }
}

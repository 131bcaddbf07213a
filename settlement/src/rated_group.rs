//! What a statement is made of: sums of rated events that have everything in common that can
//! matter for what the vendor is owed.

use jiff::civil::Date;
use tally_schemas::{CLASS_COUNT, Currency};

use crate::discount_spans::CallSpans;

/// Sums of the rows of `usage_events` with one day, model, supplier, tier, set of prices and
/// discount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RatedGroup {
    /// Day in Asia/Shanghai on which the calls ended.
    pub day: Date,
    /// When they began and ended, as far as a discount may differ by it.
    pub calls: CallSpans,
    /// Vendor of the model.
    pub vendor: String,
    /// Model that the vendor bills.
    pub billed_model: String,
    /// Who supplied it.
    pub supplier: String,
    /// Service tier.
    pub service_tier: String,
    /// Ids of the wholesale prices, in the order of the classes, with commas.
    pub price_ids: String,
    /// Version of the price book.
    pub price_book_version: String,
    /// Currency of `wholesale_pico`.
    pub currency: Currency,
    /// Packages and tariffs that subscribers paid with, with commas.
    pub retail_price_ids: String,
    /// Currency of `retail_pico`; absent where nobody paid anything.
    pub retail_currency: Option<Currency>,
    /// Whether it is of corrections of a closed period: what they took back, and what counts in its
    /// stead. Within a period they are summed with the events that they correct.
    pub corrected: bool,
    /// Number of events, less those that were taken back.
    pub events: i64,
    /// Sum of each class, in the order of the classes; below 0 only of corrections.
    pub units: [i128; CLASS_COUNT],
    /// What the events were rated at, pico-currency.
    pub wholesale_pico: i128,
    /// What subscribers owe for them, pico-currency.
    pub retail_pico: i128,
}

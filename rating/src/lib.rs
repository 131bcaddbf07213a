//! What an event costs: the price book, calendars, aliases, weights and contracts, and the pure
//! functions that rate with them. No clock, no randomness, no I/O, no floats.
//!
//! - [`Book`]: every version of every record, read from files, with [`Book::lint`].
//! - [`RateCard`]: a book as it is known at one time, ready to rate.
//! - [`RateCard::rate`]: what a call costs, by which prices; [`RateCard::points_micro`]: its points.
//! - [`Rater`]: a card that remembers which prices may hold for what it was asked for.
//! - [`attribute_again`]: who is paid for a stored row, by another reading of the book.
//!
//! The rules are in `docs/rating.md`.

mod aliases;
mod book;
mod book_files;
mod book_rows;
mod calendar;
mod contract;
mod instant;
mod layers;
mod lint;
mod lint_tiers;
mod pattern;
mod planted;
mod price;
mod price_row;
mod rate_again;
mod rate_card;
mod rater;
mod record_place;
mod record_words;
mod version;
mod weights;

pub use aliases::{Alias, Resolved};
pub use book::{Book, CalendarRecord, SHIPPED_CONTRACTS, SHIPPED_PACKAGES, SHIPPED_PRICES};
pub use book_files::{BadBook, BookFile};
pub use calendar::{Calendar, Days, UnknownYear, Windows};
pub use contract::Contract;
pub use instant::{Validity, instant_text, parse_instant};
pub use layers::{BookLayer, RecordChange, RecordLost};
pub use lint::{Lint, LintCode};
pub use pattern::ModelPattern;
pub use planted::Bug;
#[cfg(any(test, feature = "planted"))]
pub use planted::plant;
pub(crate) use planted::planted;
pub use price::{Price, Side, Tier, TierBasis, TierMode, TimeBasis, unit_of};
pub use rate_again::{StoredNames, attribute_again};
pub use rate_card::{Call, Held, HoldReason, Lane, LaneKey, PriceSet, RateCard, Rated, WeightLane};
pub use rater::{Attribution, LaneNumber, Rater, attribute};
pub use version::{Approval, Version};
pub use weights::{Product, TOKEN_MICRO_POINTS, Weight, WeightTable, WeightsLack};

//! The price lists by which stored amounts are proved: one for each version of the price book that
//! rated them.

use std::collections::{BTreeMap, BTreeSet};

use tally_rating::{Book, RateCard};

/// Price books by their version.
#[derive(Debug, Clone, Default)]
pub struct PriceLists(BTreeMap<String, RateCard>);

impl PriceLists {
    /// Adds a book as the stream uses it: everything that is approved.
    pub fn add(&mut self, book: &Book) {
        let card = RateCard::new(book, None);
        self.0.insert(card.version().to_owned(), card);
    }

    /// Adds a book as somebody read it at a time.
    pub fn add_as_known(&mut self, book: &Book, known_at_ms: i64) {
        let card = RateCard::new(book, Some(known_at_ms));
        self.0.insert(card.version().to_owned(), card);
    }

    /// The book of a version.
    pub fn get(&self, version: &str) -> Option<&RateCard> {
        self.0.get(version)
    }

    /// Every book.
    pub(crate) fn cards(&self) -> impl Iterator<Item = &RateCard> + Clone {
        self.0.values()
    }

    /// Every vendor that has a price.
    pub fn vendors(&self) -> Vec<String> {
        let vendors: BTreeSet<&str> = self.0.values().flat_map(RateCard::vendors).collect();
        vendors.into_iter().map(str::to_owned).collect()
    }
}

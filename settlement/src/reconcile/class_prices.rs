//! What each class of one of our records cost: its price ids, looked up in the book. Only for
//! comparison with bills that have a line a class; the amount that counts is the stored one.

use std::collections::BTreeMap;

use tally_rating::{Book, Side as PriceSide};
use tally_schemas::{CLASS_COUNT, TokenClass, UsageCounts};

use super::names::{NameId, Names};

/// Micro-currency per 1,000,000 units by class; `None` where a class has no price.
pub type ClassPrices = [Option<u64>; CLASS_COUNT];

/// Parts per million of a whole.
const PPM: i128 = 1_000_000;

/// The wholesale prices of a book by their ids.
#[derive(Debug, Clone, Default)]
pub struct PriceTable {
    by_id: BTreeMap<String, (TokenClass, u64)>,
    /// What is taken off, in ppm; 0 first.
    discounts_ppm: Vec<u64>,
    sets: BTreeMap<NameId, ClassPrices>,
}

impl PriceTable {
    /// The prices of a book, and the discounts that the vendor's contracts may take off.
    pub fn new(book: &Book, discounts_ppm: &[u64]) -> Self {
        let wholesale = book.prices().iter().filter(|price| price.side == PriceSide::Wholesale);
        // Versions of one price change its validity; of several prices the last one counts.
        let by_id = wholesale
            .filter(|price| price.version.approved.is_some())
            .map(|price| (price.version.id.clone(), (price.class, price.micro_per_million)))
            .collect();
        let mut discounts: Vec<u64> = vec![0];
        discounts.extend(discounts_ppm.iter().copied().filter(|ppm| *ppm > 0));
        Self { by_id, discounts_ppm: discounts, sets: BTreeMap::new() }
    }

    /// The prices of a record's classes, such that they sum to the amount that is stored; `None`
    /// where the price ids do not explain the amount.
    pub fn explain(
        &mut self,
        prices: NameId,
        counts: &UsageCounts,
        amount_pico: i128,
        names: &Names,
    ) -> Option<ClassPrices> {
        let list = match self.sets.get(&prices) {
            Some(list) => *list,
            None => {
                let list = self.list(names.text(prices));
                self.sets.insert(prices, list);
                list
            }
        };
        self.discounts_ppm.iter().find_map(|ppm| {
            let discounted = less(&list, *ppm)?;
            let mut sum = 0_i128;
            for (count, price) in counts.0.iter().zip(&discounted) {
                sum = sum.checked_add(i128::from(*count) * i128::from(price.unwrap_or(0)))?;
            }
            (sum == amount_pico).then_some(discounted)
        })
    }

    fn list(&self, ids: &str) -> ClassPrices {
        let mut list = [None; CLASS_COUNT];
        for id in ids.split(',').map(str::trim) {
            if let Some((class, price)) = self.by_id.get(id) {
                list[class.index()] = Some(*price);
            }
        }
        list
    }
}

/// Prices less a discount; `None` where one is no whole number.
fn less(list: &ClassPrices, ppm: u64) -> Option<ClassPrices> {
    if ppm == 0 {
        return Some(*list);
    }
    let mut discounted = [None; CLASS_COUNT];
    for (to, price) in discounted.iter_mut().zip(list) {
        let Some(price) = price else { continue };
        let rest = i128::from(*price) * (PPM - i128::from(ppm));
        if rest % PPM != 0 {
            return None;
        }
        *to = Some(u64::try_from(rest / PPM).ok()?);
    }
    Some(discounted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_prices_that_sum_to_the_amount_are_found() {
        let book = Book::shipped().unwrap();
        let mut table = PriceTable::new(&book, &[150_000]);
        let mut names = Names::default();
        let ids = "deepseek-v4-pro.input.list,deepseek-v4-pro.output.list";
        let prices = names.id(ids);
        let mut counts = UsageCounts::default();
        counts.set(TokenClass::Input, 3);
        counts.set(TokenClass::Output, 2);
        counts.set(TokenClass::Requests, 1);
        let list = 3 * 12_000_000 + 2 * 24_000_000;
        let explained = table.explain(prices, &counts, list, &names).unwrap();
        assert_eq!(explained[TokenClass::Output.index()], Some(24_000_000));
        let discounted = table.explain(prices, &counts, list * 85 / 100, &names).unwrap();
        assert_eq!(discounted[TokenClass::Input.index()], Some(10_200_000));
        assert_eq!(table.explain(prices, &counts, list - 1, &names), None);
        let unknown = names.id("no.such.price");
        assert_eq!(table.explain(unknown, &counts, list, &names), None);
    }
}

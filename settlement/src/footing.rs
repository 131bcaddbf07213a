//! The proof that stored amounts are tokens × price, for the prices that the rows name. Whatever
//! does not foot is an error; nothing is adjusted to fit.

use tally_schemas::{TokenClass, decimal_text};

use crate::error::SettlementError;
use crate::price_lists::PriceLists;
use crate::rated_group::RatedGroup;

/// What one class of a group came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ClassCharge<'a> {
    pub(crate) class: TokenClass,
    pub(crate) price_id: &'a str,
    pub(crate) micro_per_million: u64,
    pub(crate) units: i128,
    pub(crate) pico: i128,
}

/// The charges of a group by class, which sum to what is stored.
///
/// # Errors
/// A book or price that is not known, a class without a price, and `DoesNotFoot`.
pub(crate) fn charges<'a>(
    group: &'a RatedGroup,
    prices: &PriceLists,
) -> Result<Vec<ClassCharge<'a>>, SettlementError> {
    let model = || group.billed_model.clone();
    let version = || group.price_book_version.clone();
    let Some(card) = prices.get(&group.price_book_version) else {
        return Err(SettlementError::UnknownPriceBook { model: model(), version: version() });
    };
    let mut by_class = Vec::new();
    for id in group.price_ids.split(',').filter(|id| !id.is_empty()) {
        let price = card.price(id).ok_or_else(|| SettlementError::UnknownPrice {
            model: model(),
            version: version(),
            price: id.to_owned(),
        })?;
        by_class.push((id, price));
    }
    let overflow = || SettlementError::Overflow(group.billed_model.clone());
    let mut charges = Vec::new();
    let mut computed: i128 = 0;
    for class in TokenClass::ALL {
        let units = group.units[class.index()];
        if units == 0 || class == TokenClass::Reasoning {
            continue;
        }
        let Some((id, price)) = by_class.iter().find(|(_, price)| price.class == class) else {
            // Requests are charged only where a price for them exists.
            if class == TokenClass::Requests {
                continue;
            }
            return Err(SettlementError::ClassWithoutPrice {
                model: model(),
                day: group.day,
                class: class.name(),
            });
        };
        let within = group.calls.of_basis(price.time_basis);
        let micro_per_million =
            card.charged_micro(price, &group.billed_model, within).ok_or_else(|| {
                SettlementError::DiscountChanges { price: (*id).to_owned(), day: group.day }
            })?;
        let pico = units.checked_mul(i128::from(micro_per_million)).ok_or_else(overflow)?;
        computed = computed.checked_add(pico).ok_or_else(overflow)?;
        let same_currency = price.currency == group.currency;
        if !same_currency {
            return Err(does_not_foot(group, format!("in {}", price.currency)));
        }
        charges.push(ClassCharge { class, price_id: id, micro_per_million, units, pico });
    }
    if computed != group.wholesale_pico {
        return Err(does_not_foot(group, decimal_text(computed, 12)));
    }
    Ok(charges)
}

fn does_not_foot(group: &RatedGroup, computed: String) -> SettlementError {
    SettlementError::DoesNotFoot {
        model: group.billed_model.clone(),
        day: group.day,
        prices: group.price_ids.clone(),
        version: group.price_book_version.clone(),
        computed,
        stored: format!("{} {}", decimal_text(group.wholesale_pico, 12), group.currency),
    }
}

//! Which lines a group of events is part of by its terms, and with what.

use tally_schemas::TokenClass;

use crate::error::SettlementError;
use crate::footing::ClassCharge;
use crate::line::LineKey;
use crate::rated_group::RatedGroup;
use crate::terms::{Form, Terms};

/// Units and listed amount of a line in the making.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Sum {
    pub(crate) units: i128,
    pub(crate) pico: i128,
}

impl Sum {
    /// Adds another; `None` where the sum would be too large.
    pub(crate) fn plus(self, other: Self) -> Option<Self> {
        let units = self.units.checked_add(other.units)?;
        Some(Self { units, pico: self.pico.checked_add(other.pico)? })
    }
}

/// What a group adds to a line; its class, but for what subscribers paid.
pub(crate) struct LinePart {
    pub(crate) class: Option<TokenClass>,
    pub(crate) key: LineKey,
    pub(crate) sum: Sum,
}

/// What a group adds to its section.
#[derive(Default)]
pub(crate) struct LineParts {
    pub(crate) lines: Vec<LinePart>,
    /// Units that count towards tiers.
    pub(crate) volume: i128,
}

/// The parts of a group, whose charges have been proved.
///
/// # Errors
/// `Overflow`.
pub(crate) fn line_parts(
    terms: &Terms,
    group: &RatedGroup,
    charges: &[ClassCharge<'_>],
) -> Result<LineParts, SettlementError> {
    let mut parts = LineParts::default();
    let key = |class: &str| LineKey {
        model: group.billed_model.clone(),
        class: class.to_owned(),
        supplier: group.supplier.clone(),
        service_tier: group.service_tier.clone(),
        price_book_version: String::new(),
        price: String::new(),
        unit_price_micro: None,
        trial: terms.is_trial(&group.retail_price_ids),
        currency: group.currency.to_string(),
    };
    if let Form::Share { .. } = terms.form {
        if let Some(currency) = group.retail_currency {
            let key = LineKey { currency: currency.to_string(), ..key("revenue") };
            let sum = Sum { units: group.events.into(), pico: group.retail_pico };
            parts.lines.push(LinePart { class: None, key, sum });
        }
        return Ok(parts);
    }
    for charge in charges {
        if let Form::Tiers { classes, .. } = &terms.form
            && classes.contains(&charge.class)
        {
            let volume = parts.volume.checked_add(charge.units);
            parts.volume =
                volume.ok_or_else(|| SettlementError::Overflow(group.billed_model.clone()))?;
            continue;
        }
        let key = LineKey {
            price_book_version: group.price_book_version.clone(),
            price: charge.price_id.to_owned(),
            unit_price_micro: Some(charge.micro_per_million),
            ..key(charge.class.name())
        };
        let sum = Sum { units: charge.units, pico: charge.pico };
        parts.lines.push(LinePart { class: Some(charge.class), key, sum });
    }
    Ok(parts)
}

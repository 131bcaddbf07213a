//! Balances of guaranteed minimums and advance payments, units of tiers, and exchange rates.

use tally_settlement::{Carry, Cents, Label, Language, Section, Statement};

use crate::labels;
use crate::table::{Cell, Column, RowKind, Table};
use crate::value::Value;

/// Opening and closing balances; without rows where no contract has any.
pub(crate) fn balances(statement: &Statement, language: Language) -> Table {
    let text = |label| Column::text(language.of(label));
    let amount = Column::number(language.of(labels::AMOUNT));
    let mut table = Table::new(
        language.of(labels::BALANCES),
        vec![
            text(labels::CONTRACT),
            text(labels::BALANCE),
            text(labels::OF_PERIOD),
            text(labels::USABLE_TO),
            amount,
        ],
    );
    for section in &statement.sections {
        for (name, of_period, usable_to, cents) in entries(section) {
            let cells = vec![
                section.terms.as_str().into(),
                language.of(name).into(),
                of_period.as_str().into(),
                usable_to.as_str().into(),
                Value::Amount(cents).into(),
            ];
            table.push(RowKind::Body, cells);
        }
    }
    table
}

/// Name, period, last period and amount of each balance.
fn entries(section: &Section) -> Vec<(Label, String, String, Cents)> {
    let plain = |name, cents| (name, String::new(), String::new(), cents);
    let carried = |name, carry: &Carry| {
        (name, carry.period.to_string(), carry.usable_to.to_string(), carry.amount)
    };
    let mut entries = Vec::new();
    if let Some(minimum) = &section.minimum {
        let opening = minimum.opening.iter().map(|carry| carried(labels::MINIMUM_OPENING, carry));
        let closing = minimum.closing.iter().map(|carry| carried(labels::MINIMUM_CLOSING, carry));
        entries.push(plain(labels::MINIMUM, minimum.minimum));
        entries.extend(opening);
        entries.push(plain(labels::MINIMUM_USED, minimum.used));
        entries.push(plain(labels::MINIMUM_EXPIRED, minimum.expired));
        entries.push(plain(labels::MINIMUM_SHORTFALL, minimum.shortfall));
        entries.extend(closing);
    }
    if let Some(prepaid) = &section.prepaid {
        entries.push(plain(labels::PREPAID_OPENING, prepaid.opening));
        entries.push(plain(labels::PREPAID_PAID, prepaid.paid));
        entries.push(plain(labels::PREPAID_DRAWN, prepaid.drawn));
        entries.push(plain(labels::PREPAID_CLOSING, prepaid.closing));
    }
    entries
}

/// Units that were counted towards tiers.
pub(crate) fn tier_volumes(statement: &Statement, language: Language) -> Table {
    let text = |label| Column::text(language.of(label));
    let units = Column::number(language.of(labels::UNITS));
    let columns = vec![text(labels::CONTRACT), text(labels::OF_PERIOD), units];
    let mut table = Table::new(language.of(labels::TIER_VOLUMES), columns);
    for section in &statement.sections {
        for volume in &section.tier_volumes {
            let period = Cell::from(volume.period.to_string().as_str());
            let cells =
                vec![section.terms.as_str().into(), period, Value::Units(volume.units).into()];
            table.push(RowKind::Body, cells);
        }
    }
    table
}

/// Exchange rates that were applied.
pub(crate) fn exchange_rates(statement: &Statement, language: Language) -> Table {
    let text = |label| Column::text(language.of(label));
    let number = |label| Column::number(language.of(label));
    let mut table = Table::new(
        language.of(labels::RATES),
        vec![
            text(labels::CONTRACT),
            text(labels::FROM),
            text(labels::TO),
            number(labels::RATE),
            text(labels::RATE_DAY),
            text(labels::SOURCE),
            number(labels::AMOUNT_FROM),
            number(labels::AMOUNT_TO),
        ],
    );
    for section in &statement.sections {
        for fx in &section.fx {
            let rate = fx.rate_micro.parse().map_or(Value::text(&fx.rate_micro), Value::Micro);
            let cells = vec![
                section.terms.as_str().into(),
                fx.from.as_str().into(),
                fx.to.as_str().into(),
                rate.into(),
                fx.date.as_str().into(),
                fx.source.as_str().into(),
                Value::Amount(fx.amount_from).into(),
                Value::Amount(fx.amount_to).into(),
            ];
            table.push(RowKind::Body, cells);
        }
    }
    table
}

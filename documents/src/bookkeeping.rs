//! What a statement was made of: control totals, and what identifies it.

use tally_settlement::{CutOff, Statement, Units};

use crate::error::DocumentError;
use crate::issue::Issue;
use crate::labels;
use crate::table::{Cell, Column, RowKind, Table};
use crate::value::Value;
use crate::vocabulary;

/// A name and what it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fact {
    pub(crate) name: String,
    pub(crate) value: String,
}

impl Fact {
    pub(crate) fn new(name: &str, value: impl AsRef<str>) -> Self {
        Self { name: name.to_owned(), value: Value::text(value).exact() }
    }
}

/// Totals of the events behind the statement.
pub(crate) fn control_totals(issue: &Issue<'_>) -> Table {
    let of = |label| issue.language.of(label);
    let mut table = Table::new(
        of(labels::CONTROL),
        vec![
            Column::text(of(labels::ITEM)),
            Column::text(of(labels::IN_UNIT)),
            Column::number(of(labels::QUANTITY)),
        ],
    );
    let control = &issue.statement.control;
    let mut put = |item: &str, unit: &str, value: Value| {
        let cells = vec![Cell::from(item), Cell::from(unit), value.into()];
        table.push(RowKind::Body, cells);
    };
    let events = of(labels::COUNT_UNIT);
    put(of(labels::EVENTS), events, Value::count(control.events));
    put(of(labels::LATE_EVENTS), events, Value::count(control.late_events));
    let corrected = Value::Units(Units(i128::from(control.corrected_events)));
    put(of(labels::CORRECTED_EVENTS), events, corrected);
    for (class, units) in &control.units {
        let name = vocabulary::class(issue.language, class);
        put(name, of(labels::CLASS_UNIT), Value::Units(*units));
    }
    for (name, sums) in [(labels::WHOLESALE, &control.wholesale), (labels::RETAIL, &control.retail)]
    {
        for (currency, amount) in sums {
            put(of(name), currency, Value::Exact(*amount));
        }
    }
    table
}

/// The hash, and the versions of everything that the statement follows from.
pub(crate) fn basis(issue: &Issue<'_>) -> Result<Vec<Fact>, DocumentError> {
    let Issue { statement, cut_offs, language, .. } = *issue;
    let of = |label| language.of(label);
    let cut_offs: Vec<String> =
        cut_offs.iter().map(|CutOff { partition, epoch }| format!("{partition}/{epoch}")).collect();
    Ok(vec![
        Fact::new(of(labels::HASH), statement.hash()?),
        Fact::new(of(labels::CONTRACTS_VERSION), &statement.contracts_version),
        Fact::new(of(labels::PRICE_BOOKS), statement.price_book_versions.join(", ")),
        Fact::new(of(labels::CUT_OFFS), cut_offs.join(", ")),
        Fact::new(of(labels::SCHEMA), statement.schema.to_string()),
    ])
}

/// The first and the last day of the statement's period.
pub(crate) fn days(statement: &Statement) -> String {
    format!("{} – {}", statement.period.first_day(), statement.period.last_day())
}

//! A statement as CSV: one table, its first column says what a row is. UTF-8 with a byte order
//! mark, as spreadsheets in Chinese want it.

use tally_schemas::decimal_text;

use crate::decimal::Cents;
use crate::error::SettlementError;
use crate::labels::{self, Label, Language};
use crate::line::Amounts;
use crate::period_state::PeriodState;
use crate::seal::CutOff;
use crate::section::Section;
use crate::statement::Statement;

/// A row by column; what is not set stays empty.
#[derive(Debug, Clone, Default)]
struct Row {
    part: &'static str,
    id: String,
    terms: String,
    model: String,
    class: String,
    supplier: String,
    service_tier: String,
    price: String,
    price_book_version: String,
    unit_price: String,
    trial: String,
    units: String,
    listed: String,
    listed_currency: String,
    amounts: Option<Amounts>,
    reason: String,
    orig_period: String,
    orig_line_id: String,
    note: String,
    posted_by: String,
    approved_by: String,
}

impl Row {
    fn into_fields(self) -> [String; labels::COLUMNS.len()] {
        let amount = |of: fn(Amounts) -> Cents| {
            self.amounts.map_or(String::new(), |amounts| of(amounts).to_string())
        };
        let (net, tax, gross) = (amount(|a| a.net), amount(|a| a.tax), amount(|a| a.gross));
        [
            self.part.to_owned(),
            self.id,
            self.terms,
            self.model,
            self.class,
            self.supplier,
            self.service_tier,
            self.price,
            self.price_book_version,
            self.unit_price,
            self.trial,
            self.units,
            self.listed,
            self.listed_currency,
            net,
            tax,
            gross,
            self.reason,
            self.orig_period,
            self.orig_line_id,
            self.note,
            self.posted_by,
            self.approved_by,
        ]
    }
}

/// The rows of a statement in one language.
#[derive(Debug)]
struct Rows {
    language: Language,
    rows: Vec<Row>,
}

impl Rows {
    /// A row that names a value: the name is in `id`, the value in `note`.
    fn fact(&mut self, part: Label, name: Label, value: impl Into<String>) {
        self.rows.push(Row {
            part: self.language.of(part),
            id: self.language.of(name).to_owned(),
            note: value.into(),
            ..Row::default()
        });
    }

    fn section(&mut self, section: &Section) {
        let of = |label| self.language.of(label);
        let yes = |is: bool| if is { of(labels::YES).to_owned() } else { String::new() };
        let micro = |price: u64| decimal_text(i128::from(price), 6);
        let mut rows = Vec::new();
        for line in &section.lines {
            rows.push(Row {
                part: of(labels::LINE),
                id: line.id.clone(),
                terms: section.terms.clone(),
                model: line.model.clone(),
                class: line.class.clone(),
                supplier: line.supplier.clone(),
                service_tier: line.service_tier.clone(),
                price: line.price.clone(),
                price_book_version: line.price_book_version.clone(),
                unit_price: line.unit_price_micro.map_or(String::new(), micro),
                trial: yes(line.trial),
                units: line.units.to_string(),
                listed: line.listed.to_string(),
                listed_currency: line.listed_currency.clone(),
                amounts: Some(line.amounts),
                ..Row::default()
            });
        }
        for adjustment in &section.adjustments {
            let orig_period = adjustment.orig_period.map_or(String::new(), |p| p.to_string());
            rows.push(Row {
                part: of(labels::ADJUSTMENT),
                id: adjustment.id.clone(),
                terms: section.terms.clone(),
                model: adjustment.model.clone(),
                class: adjustment.class.clone(),
                price: adjustment.price.clone(),
                units: if adjustment.units.0 == 0 {
                    String::new()
                } else {
                    adjustment.units.to_string()
                },
                amounts: Some(adjustment.amounts),
                reason: of(labels::reason(adjustment.reason)).to_owned(),
                orig_period,
                orig_line_id: adjustment.orig_line_id.clone().unwrap_or_default(),
                note: adjustment.note.clone(),
                posted_by: adjustment.posted_by.clone().unwrap_or_default(),
                approved_by: adjustment.approved_by.clone().unwrap_or_default(),
                ..Row::default()
            });
        }
        for (part, amounts) in
            [(labels::ROUNDING, section.rounding), (labels::SECTION_TOTAL, section.total)]
        {
            rows.push(Row {
                part: of(part),
                terms: section.terms.clone(),
                amounts: Some(amounts),
                ..Row::default()
            });
        }
        let mut balance = |name: Label, value: String, orig_period: String| {
            rows.push(Row {
                part: of(labels::BALANCE),
                id: of(name).to_owned(),
                terms: section.terms.clone(),
                orig_period,
                note: value,
                ..Row::default()
            });
        };
        if let Some(minimum) = &section.minimum {
            for (name, carries) in [
                (labels::MINIMUM_OPENING, &minimum.opening),
                (labels::MINIMUM_CLOSING, &minimum.closing),
            ] {
                for carry in carries {
                    balance(name, carry.amount.to_string(), carry.period.to_string());
                }
            }
            if minimum.expired.0 != 0 {
                balance(labels::MINIMUM_EXPIRED, minimum.expired.to_string(), String::new());
            }
        }
        if let Some(prepaid) = &section.prepaid {
            for (name, amount) in [
                (labels::PREPAID_OPENING, prepaid.opening),
                (labels::PREPAID_PAID, prepaid.paid),
                (labels::PREPAID_DRAWN, prepaid.drawn),
                (labels::PREPAID_CLOSING, prepaid.closing),
            ] {
                balance(name, amount.to_string(), String::new());
            }
        }
        for fx in &section.fx {
            let rate = fx.rate_micro.parse().map_or(String::new(), |micro| decimal_text(micro, 6));
            rows.push(Row {
                part: of(labels::FX),
                id: format!("{} {}", fx.from, fx.to),
                terms: section.terms.clone(),
                listed: fx.amount_from.to_string(),
                listed_currency: fx.from.clone(),
                note: format!("{rate}; {}; {}; {}", fx.date, fx.source, fx.amount_to),
                ..Row::default()
            });
        }
        self.rows.append(&mut rows);
    }

    fn control(&mut self, statement: &Statement) {
        let control = &statement.control;
        self.fact(labels::CONTROL, labels::EVENTS, control.events.to_string());
        self.fact(labels::CONTROL, labels::LATE_EVENTS, control.late_events.to_string());
        let corrected = control.corrected_events.to_string();
        self.fact(labels::CONTROL, labels::CORRECTED_EVENTS, corrected);
        let part = self.language.of(labels::CONTROL);
        for (class, units) in &control.units {
            let (class, units) = (class.clone(), units.to_string());
            self.rows.push(Row { part, class, units, ..Row::default() });
        }
        for (name, sums) in
            [(labels::WHOLESALE, &control.wholesale), (labels::RETAIL, &control.retail)]
        {
            for (currency, amount) in sums {
                self.rows.push(Row {
                    part,
                    id: self.language.of(name).to_owned(),
                    listed: amount.to_string(),
                    listed_currency: currency.clone(),
                    ..Row::default()
                });
            }
        }
    }
}

/// Writes a statement. `cut_offs` say up to where events count, `notes` go into its head.
///
/// # Errors
/// Never in a build whose tests pass.
pub fn statement_csv(
    statement: &Statement,
    state: PeriodState,
    cut_offs: &[CutOff],
    notes: &[String],
    language: Language,
) -> Result<Vec<u8>, SettlementError> {
    let mut rows = Rows { language, rows: Vec::new() };
    let status = language.of(if state.is_draft() { labels::DRAFT } else { labels::FINAL });
    rows.fact(labels::HEADER, labels::VENDOR, &statement.vendor);
    rows.fact(labels::HEADER, labels::PERIOD, statement.period.to_string());
    rows.fact(labels::HEADER, labels::STATUS, status);
    rows.fact(labels::HEADER, labels::SEQUENCE, statement.sequence.to_string());
    rows.fact(labels::HEADER, labels::SCHEMA, statement.schema.to_string());
    rows.fact(labels::HEADER, labels::CURRENCY, &statement.currency);
    rows.fact(labels::HEADER, labels::CONTRACTS_VERSION, &statement.contracts_version);
    for CutOff { partition, epoch } in cut_offs {
        rows.fact(labels::HEADER, labels::CUT_OFF, format!("{partition}/{epoch}"));
    }
    rows.fact(labels::HEADER, labels::HASH, statement.hash()?);
    for note in notes {
        rows.fact(labels::HEADER, labels::NOTE, note);
    }
    for section in &statement.sections {
        rows.section(section);
    }
    rows.rows.push(Row {
        part: language.of(labels::TOTAL),
        listed_currency: statement.currency.clone(),
        amounts: Some(statement.total),
        ..Row::default()
    });
    rows.fact(labels::TOTAL, labels::IN_WORDS, &statement.total_in_words);
    rows.control(statement);
    let damaged = |error: csv::Error| SettlementError::Damaged(error.to_string());
    let mut writer = csv::Writer::from_writer("\u{feff}".as_bytes().to_vec());
    writer.write_record(labels::COLUMNS.map(|label| language.of(label))).map_err(damaged)?;
    for row in rows.rows {
        writer.write_record(row.into_fields()).map_err(damaged)?;
    }
    writer.into_inner().map_err(|error| SettlementError::Damaged(error.to_string()))
}

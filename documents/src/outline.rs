//! What is on the pages of a statement, in its order, before it is HTML or PDF: who and when, what
//! is owed, the contracts, signatures; then everything that it is made of.

use tally_settlement::{Language, Statement};

use crate::balances::{balances, exchange_rates, tier_volumes};
use crate::bookkeeping::{Fact, basis, control_totals, days};
use crate::contract_part::{self, Sums, tax_rate};
use crate::english_words::amount_in_english;
use crate::error::DocumentError;
use crate::issue::Issue;
use crate::labels;
use crate::table::{Cell, Column, RowKind, Table, sum};
use crate::value::Value;
use crate::vocabulary;

/// Characters of the hash at the foot of each page: enough to tell two statements apart.
const HASH_SHOWN: usize = 16;

/// A party that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Party {
    pub(crate) name: String,
    /// What it fills in.
    pub(crate) lines: Vec<String>,
    pub(crate) seal: String,
}

/// A part with a heading.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) heading: String,
    /// What it is about, in small print.
    pub(crate) lead: String,
    pub(crate) tables: Vec<Table>,
}

/// What is on the pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outline {
    pub(crate) language: Language,
    pub(crate) title: String,
    /// Vendor and period.
    pub(crate) subtitle: String,
    /// What lies across every page of a draft.
    pub(crate) watermark: Option<String>,
    /// What a reader should know first.
    pub(crate) remarks: Vec<String>,
    pub(crate) facts: Vec<Fact>,
    /// Net, tax and what is paid, the last with another name.
    pub(crate) totals: [Fact; 3],
    pub(crate) words: Vec<Fact>,
    pub(crate) summary: Table,
    /// Who signs; a draft has nobody, and a sentence in place of them.
    pub(crate) parties: Vec<Party>,
    pub(crate) no_signature: String,
    pub(crate) parts: Vec<Part>,
    pub(crate) basis_heading: String,
    pub(crate) basis: Vec<Fact>,
    /// At the foot of each page.
    pub(crate) footer: String,
}

impl Outline {
    pub(crate) fn of(issue: &Issue<'_>) -> Result<Self, DocumentError> {
        let Issue { statement, state, notes, language, .. } = *issue;
        let of = |label| language.of(label);
        let draft = state.is_draft();
        let mut remarks = Vec::new();
        if draft {
            remarks.push(of(labels::DRAFT_SAYS).to_owned());
        }
        remarks.extend(notes.iter().map(|note| Value::text(note).exact()));
        let basis = basis(issue)?;
        let hash: String = statement.hash()?.chars().take(HASH_SHOWN).collect();
        let subtitle = Value::text(format!("{} / {}", statement.vendor, statement.period)).exact();
        Ok(Self {
            language,
            title: of(labels::TITLE).to_owned(),
            footer: format!("{} {subtitle} / {hash}", of(labels::STATEMENT)),
            subtitle,
            watermark: draft.then(|| of(labels::DRAFT).to_owned()),
            remarks,
            facts: facts(issue),
            totals: totals(statement, language),
            words: words(statement, language),
            summary: summary(statement, language)?,
            parties: if draft { Vec::new() } else { parties(statement, language) },
            no_signature: of(labels::NO_SIGNATURE).to_owned(),
            parts: parts(issue)?,
            basis_heading: of(labels::BASIS).to_owned(),
            basis,
        })
    }
}

fn facts(issue: &Issue<'_>) -> Vec<Fact> {
    let Issue { statement, state, language, .. } = *issue;
    let of = |label| language.of(label);
    let status = if state.is_draft() { labels::STATUS_DRAFT } else { labels::STATUS_FINAL };
    let count = |count| Value::count(count).shown();
    vec![
        Fact::new(of(labels::VENDOR), &statement.vendor),
        Fact::new(of(labels::PERIOD), statement.period.to_string()),
        Fact::new(of(labels::DAYS), days(statement)),
        Fact::new(of(labels::SEQUENCE), statement.sequence.to_string()),
        Fact::new(of(labels::STATUS), of(status)),
        Fact::new(of(labels::CURRENCY), &statement.currency),
        Fact::new(of(labels::EVENTS), count(statement.control.events)),
        Fact::new(of(labels::LATE_EVENTS), count(statement.control.late_events)),
    ]
}

fn totals(statement: &Statement, language: Language) -> [Fact; 3] {
    let total = statement.total;
    let payable = if total.gross.0 < 0 { labels::CREDIT } else { labels::PAYABLE };
    let fact = |label, cents| {
        let amount = Value::Amount(cents).shown();
        Fact::new(language.of(label), format!("{} {amount}", statement.currency))
    };
    [fact(labels::NET, total.net), fact(labels::TAX, total.tax), fact(payable, total.gross)]
}

/// The total in words: in Chinese on every document, as its law is, in English on an English one.
fn words(statement: &Statement, language: Language) -> Vec<Fact> {
    let chinese = Fact::new(language.of(labels::IN_WORDS), &statement.total_in_words);
    match language {
        Language::Zh => vec![chinese],
        Language::En => {
            let english = amount_in_english(statement.total.gross, &statement.currency);
            vec![Fact::new(language.of(labels::IN_ENGLISH), english), chinese]
        }
    }
}

/// The contracts, each with what its lines, adjustments and rounding come to.
pub(crate) fn summary(statement: &Statement, language: Language) -> Result<Table, DocumentError> {
    let of = |label| language.of(label);
    let text = |label| Column::text(of(label));
    let number = |label| Column::number(of(label));
    let columns = vec![
        text(labels::CONTRACT),
        text(labels::MODELS),
        text(labels::FORM),
        number(labels::TAX_RATE),
        number(labels::LINES_NET),
        number(labels::ADJUSTMENTS_NET),
        number(labels::ROUNDING_NET),
    ];
    let mut table = Table::of_amounts(of(labels::SUMMARY), columns, language);
    let amount = |cents| Cell::from(Value::Amount(cents));
    let (mut lines, mut adjustments, mut rounding) = (Vec::new(), Vec::new(), Vec::new());
    for section in &statement.sections {
        let sums = Sums::of(section)?;
        let cells = vec![
            section.terms.as_str().into(),
            section.models.as_str().into(),
            vocabulary::form(language, &section.form).into(),
            tax_rate(section).as_str().into(),
            amount(sums.lines.net),
            amount(sums.adjustments.net),
            amount(section.rounding.net),
        ];
        table.push_amounts(RowKind::Body, cells, section.total);
        lines.push(sums.lines);
        adjustments.push(sums.adjustments);
        rounding.push(section.rounding);
    }
    let mut cells = vec![Cell::from(of(labels::TOTAL)), Cell::default(), Cell::default()];
    cells.push(Cell::default());
    for amounts in [lines, adjustments, rounding] {
        cells.push(amount(sum(&statement.vendor, amounts)?.net));
    }
    table.push_amounts(RowKind::Total, cells, statement.total);
    Ok(table)
}

fn parties(statement: &Statement, language: Language) -> Vec<Party> {
    let lines = || labels::SIGN.map(|label| language.of(label).to_owned()).to_vec();
    let seal = language.of(labels::SEAL).to_owned();
    let vendor = Fact::new(language.of(labels::VENDOR), &statement.vendor);
    let colon = language.of(("：", ": "));
    vec![
        Party {
            name: language.of(labels::OPERATOR).to_owned(),
            lines: lines(),
            seal: seal.clone(),
        },
        Party { name: format!("{}{colon}{}", vendor.name, vendor.value), lines: lines(), seal },
    ]
}

fn parts(issue: &Issue<'_>) -> Result<Vec<Part>, DocumentError> {
    let Issue { statement, language, .. } = *issue;
    let of = |label| language.of(label);
    let mut parts = Vec::new();
    for section in &statement.sections {
        let heading = format!("{} {}", of(labels::CONTRACT), section.terms);
        let lead = [
            format!("{} {}", of(labels::MODELS), section.models),
            vocabulary::form(language, &section.form).to_owned(),
            format!("{} {}", of(labels::TAX_RATE), tax_rate(section)),
            format!(
                "{} {}",
                of(labels::ROUNDING_MODE),
                vocabulary::rounding(language, &section.rounding_mode)
            ),
        ];
        parts.push(Part {
            heading: Value::text(heading).exact(),
            lead: Value::text(lead.join(" / ")).exact(),
            tables: contract_part::tables(section, &statement.currency, language)?,
        });
    }
    let tables = [
        balances(statement, language),
        tier_volumes(statement, language),
        exchange_rates(statement, language),
        control_totals(issue),
    ];
    for mut table in tables.into_iter().filter(|table| !table.rows.is_empty()) {
        let heading = std::mem::take(&mut table.title);
        parts.push(Part { heading, lead: String::new(), tables: vec![table] });
    }
    Ok(parts)
}

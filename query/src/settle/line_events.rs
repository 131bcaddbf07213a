//! From a line of a statement down to the events that it is made of, and the proof that these are
//! all of them. `adjustment_events` does it for adjustments.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::civil::Date;
use tally_rating::{TimeBasis, Validity};
use tally_schemas::TokenClass;
use tally_settlement::{Contracts, Form, Line, Period, PeriodFacts, PeriodState, Section, Terms};
use tally_tables::PinnedTables;

use super::rated_groups::{EVENTS, Scope, quoted};
use super::{Settlement, invalid};
use crate::answer::Answer;
use crate::answer_rows::{count, integer, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::instant_sql::instant_sql;
use crate::limits::Limits;

/// The events behind a line of a statement, or behind an adjustment for usage.
#[derive(Debug)]
pub struct LineEvents {
    /// The line; of an adjustment what it would be a line of in its own month, under its id.
    pub line: Line,
    /// State of its period: of a draft the line may still change.
    pub state: PeriodState,
    /// How many rows it is made of: events, and what took some of them back.
    pub events: u64,
    /// The query that finds them, over the tables.
    pub sql: String,
    pin: Arc<PinnedTables>,
}

impl LineEvents {
    /// The events, the oldest first, of the version of the tables that they were counted in: the
    /// first so many, or all.
    ///
    /// # Errors
    /// As [`QueryEngine::run`].
    pub async fn rows(
        &self,
        engine: &QueryEngine,
        first: Option<u64>,
    ) -> Result<Answer, QueryError> {
        let limit = first.map_or(String::new(), |rows| format!(" LIMIT {rows}"));
        let sql = format!("{}{limit}", self.sql);
        engine.run_on(Arc::clone(&self.pin), &sql, Limits::unlimited()).await
    }
}

/// A line whose events are wanted.
pub(super) struct Wanted {
    /// The line.
    pub(super) line: Line,
    /// What its events must come to.
    pub(super) expected: i128,
    /// The rows among which they are, in SQL.
    pub(super) rows: String,
    /// State of the statement's period.
    pub(super) state: PeriodState,
    /// Where they are read.
    pub(super) pin: Arc<PinnedTables>,
}

/// The terms of a section.
pub(super) fn terms_of<'c>(
    contracts: &'c Contracts,
    section: &Section,
) -> Result<&'c Terms, QueryError> {
    contracts.terms(&section.terms).ok_or_else(|| {
        QueryError::Data(format!("the terms {} of a section are not there", section.terms))
    })
}

/// What of an event a line counts.
enum Counted<'a> {
    /// Units of one class at one price.
    Class(TokenClass),
    /// Events: of a share, its line is of what subscribers paid.
    Events,
    /// Units of these classes, of which a tier has a slice.
    Tiers(&'a [TokenClass]),
}

impl Counted<'_> {
    /// What an event adds, in SQL.
    fn units(&self) -> String {
        match self {
            Self::Class(class) => class.name().to_owned(),
            Self::Events => EVENTS.to_owned(),
            Self::Tiers(classes) => {
                let names: Vec<&str> = classes.iter().map(|class| class.name()).collect();
                names.join(" + ")
            }
        }
    }
}

impl Settlement<'_> {
    /// The events that a line of a vendor's statement is made of. A slice of a tier has no events
    /// of its own: of these lines it is the events of all tiers.
    ///
    /// # Errors
    /// `Invalid` for a line that the statement does not have, `Data` where the events do not come
    /// to the line's units, and what [`Self::statement`] may answer.
    pub async fn line_events(
        &self,
        vendor: &str,
        period: Period,
        line_id: &str,
        now_ms: i64,
    ) -> Result<LineEvents, QueryError> {
        let issued = self.statement(vendor, period, now_ms).await?;
        let found = issued.statement.sections.iter().find_map(|section| {
            section.lines.iter().find(|line| line.id == line_id).map(|line| (section, line))
        });
        let (section, line) = found.ok_or_else(|| {
            let lines: usize = issued.statement.sections.iter().map(|s| s.lines.len()).sum();
            invalid(format!(
                "the statement of {vendor} for {period} has no line {line_id:?}; it has {lines} lines, which tally settle statement --vendor {vendor} --period {period} lists with their ids"
            ))
        })?;
        let known = self.known().await?;
        let contracts = self.contracts_of(&known.facts(period, now_ms)).await?;
        let terms = terms_of(&contracts, section)?;
        let scope =
            Scope { period, cut_offs: &issued.cut_offs, sealed: None, vendor: Some(vendor) };
        let expected = match counted(line, terms)? {
            Counted::Tiers(_) => units_of_tiers(section),
            Counted::Class(_) | Counted::Events => line.units.0,
        };
        let wanted = Wanted {
            line: line.clone(),
            expected,
            rows: scope.condition(),
            state: issued.state,
            pin: self.engine.pin(None).await?,
        };
        self.events_of(wanted, &contracts, terms).await
    }

    /// The events of some rows that are of a line, and the proof that these are all.
    pub(super) async fn events_of(
        &self,
        wanted: Wanted,
        contracts: &Contracts,
        terms: &Terms,
    ) -> Result<LineEvents, QueryError> {
        let Wanted { line, expected, rows, state, pin } = wanted;
        let vendor = terms.vendor.as_str();
        let counted = counted(&line, terms)?;
        let mut condition = format!("{rows}{}", of_line(&line, &counted));
        condition.push_str(&self.of_discount(vendor, &line)?);
        let candidates = self.candidates(&pin, &condition, &counted.units()).await?;
        let trial = match counted {
            Counted::Tiers(_) => None,
            Counted::Class(_) | Counted::Events => Some(line.trial),
        };
        let narrowed = Narrowed::of(&candidates, trial, contracts, (vendor, terms));
        if narrowed.units != expected {
            return Err(QueryError::Data(format!(
                "{} has {expected} units, its {} events come to {}",
                line.id, narrowed.events, narrowed.units
            )));
        }
        let sql = format!(
            "SELECT source, id, completed_at, account, subscriber, model, vendor_request_id, \
             {} AS units, retail_price_ids, wholesale_price_ids, wholesale_amount, wholesale_currency \
             FROM usage_events WHERE {condition}{} ORDER BY completed_at, source, id",
            counted.units(),
            narrowed.condition
        );
        Ok(LineEvents { line, state, events: narrowed.events, sql, pin })
    }

    /// When the price of a line was what the line has: a discount may change within the month, and
    /// is then on lines of its own. Nothing where it is the same whenever the price held.
    fn of_discount(&self, vendor: &str, line: &Line) -> Result<String, QueryError> {
        let (Some(unit_price), false) = (line.unit_price_micro, line.price_book_version.is_empty())
        else {
            return Ok(String::new());
        };
        let unknown = |what: String| QueryError::Data(format!("line {}: {what}", line.id));
        let card = self.prices.get(&line.price_book_version).ok_or_else(|| {
            unknown(format!("price book {} is not at hand", line.price_book_version))
        })?;
        let price = card.price(&line.price).ok_or_else(|| {
            let version = &line.price_book_version;
            unknown(format!("price book {version} has no price {}", line.price))
        })?;
        let column = match price.time_basis {
            TimeBasis::Start => "started_at",
            TimeBasis::Completion => "completed_at",
        };
        let changes: Vec<i64> = card.discount_changes(vendor).into_iter().collect();
        let mut spans: Vec<Validity> = Vec::new();
        let mut differs = false;
        for number in 0..=changes.len() {
            let before = number.checked_sub(1).and_then(|before| changes.get(before));
            let from_ms = before.copied().unwrap_or(i64::MIN);
            let within = Validity { from_ms, to_ms: changes.get(number).copied() };
            if card.charged_micro(price, &line.model, within) != Some(unit_price) {
                differs = true;
                continue;
            }
            match spans.last_mut() {
                Some(last) if last.to_ms == Some(from_ms) => last.to_ms = within.to_ms,
                _ => spans.push(within),
            }
        }
        if !differs {
            return Ok(String::new());
        }
        let spans: Vec<String> = spans
            .iter()
            .map(|span| {
                let from = (span.from_ms > i64::MIN)
                    .then(|| format!("{column} >= {}", instant_sql(span.from_ms)));
                let to = span.to_ms.map(|to_ms| format!("{column} < {}", instant_sql(to_ms)));
                let ends: Vec<String> = from.into_iter().chain(to).collect();
                format!("({})", ends.join(" AND "))
            })
            .collect();
        Ok(format!(" AND ({})", any_of(&spans)))
    }

    /// The terms that a period's statement goes by.
    pub(super) async fn contracts_of(
        &self,
        facts: &PeriodFacts<'_>,
    ) -> Result<Contracts, QueryError> {
        let plan = match (facts.seal(), facts.standing_review()) {
            (Some(seal), _) => &seal.plan,
            (None, Some(review)) => &review.review.what.plan,
            (None, None) => return Ok(self.terms.contracts.as_known(facts.now_ms)),
        };
        Ok(self.store.plan(facts.period, plan).await?.contracts()?)
    }

    /// What may be of the line, summed by what its terms look at: model, day, and who paid.
    async fn candidates(
        &self,
        pin: &Arc<PinnedTables>,
        condition: &str,
        units: &str,
    ) -> Result<Vec<Candidate>, QueryError> {
        let sql = format!(
            "SELECT billed_model, CAST(day AS VARCHAR), coalesce(retail_price_ids, ''), count(*), \
             sum({units}) FROM usage_events WHERE {condition} \
             GROUP BY billed_model, CAST(day AS VARCHAR), coalesce(retail_price_ids, '')"
        );
        let mut candidates = Vec::new();
        for columns in rows_of(self.engine, pin, &sql).await? {
            for row in 0..columns.first().map_or(0, |column| column.len()) {
                let day = text(&columns, 1, row)?;
                candidates.push(Candidate {
                    billed_model: text(&columns, 0, row)?,
                    day: day
                        .parse()
                        .map_err(|_| QueryError::Data(format!("a row of the day {day:?}")))?,
                    payers: text(&columns, 2, row)?,
                    events: count(&columns, 3, row)?,
                    units: integer(&columns, 4, row)?.into(),
                });
            }
        }
        Ok(candidates)
    }
}

/// Events of one model, day and payer that may be of a line.
struct Candidate {
    billed_model: String,
    day: Date,
    payers: String,
    events: u64,
    units: i128,
}

/// Which candidates are of the line, and how to tell them in SQL.
struct Narrowed {
    condition: String,
    events: u64,
    units: i128,
}

impl Narrowed {
    /// `trial` is whether a line is of trials; none where it counts both.
    fn of(
        candidates: &[Candidate],
        trial: Option<bool>,
        contracts: &Contracts,
        (vendor, terms): (&str, &Terms),
    ) -> Self {
        let mut narrowed = Self { condition: String::new(), events: 0, units: 0 };
        let mut days: BTreeMap<&str, BTreeSet<Date>> = BTreeMap::new();
        let mut payers: BTreeSet<&str> = BTreeSet::new();
        let (mut other_days, mut other_payers) = (false, false);
        for candidate in candidates {
            let Candidate { billed_model, day, payers: paid, events, units } = candidate;
            let by = contracts.terms_for(vendor, billed_model, *day);
            let is_by_terms = by.is_some_and(|by| by.id == terms.id);
            let is_paid_so = trial.is_none_or(|trial| terms.is_trial(paid) == trial);
            other_days |= !is_by_terms;
            other_payers |= !is_paid_so;
            if is_by_terms {
                days.entry(billed_model).or_default().insert(*day);
            }
            if is_paid_so {
                payers.insert(paid);
            }
            if is_by_terms && is_paid_so {
                narrowed.events += events;
                narrowed.units += units;
            }
        }
        if other_days {
            let models: Vec<String> = days
                .iter()
                .map(|(model, days)| {
                    let days: Vec<String> =
                        days.iter().map(|day| format!("DATE '{day}'")).collect();
                    format!("(billed_model = {} AND day IN ({}))", quoted(model), days.join(", "))
                })
                .collect();
            narrowed.condition.push_str(&format!(" AND ({})", any_of(&models)));
        }
        if other_payers {
            let payers: Vec<String> = payers.into_iter().map(quoted).collect();
            let payers = if payers.is_empty() { "NULL".to_owned() } else { payers.join(", ") };
            narrowed
                .condition
                .push_str(&format!(" AND coalesce(retail_price_ids, '') IN ({payers})"));
        }
        narrowed
    }
}

fn any_of(conditions: &[String]) -> String {
    if conditions.is_empty() { "false".to_owned() } else { conditions.join(" OR ") }
}

fn counted<'t>(line: &Line, terms: &'t Terms) -> Result<Counted<'t>, QueryError> {
    match &terms.form {
        Form::Share { .. } => Ok(Counted::Events),
        Form::Tiers { classes, .. } if line.class == "units" => Ok(Counted::Tiers(classes)),
        _ => TokenClass::from_name(&line.class).map(Counted::Class).ok_or_else(|| {
            QueryError::Data(format!("line {} is of the class {:?}", line.id, line.class))
        }),
    }
}

/// The units of every tier's line: together they are made of the same events.
fn units_of_tiers(section: &Section) -> i128 {
    section.lines.iter().filter(|line| line.class == "units").map(|line| line.units.0).sum()
}

/// What the columns of a line's events have in common, in SQL.
fn of_line(line: &Line, counted: &Counted<'_>) -> String {
    let mut condition = String::new();
    let mut equal = |column: &str, value: &str| {
        condition.push_str(&format!(" AND {column} = {}", quoted(value)));
    };
    match counted {
        Counted::Tiers(_) => {}
        Counted::Events => {
            equal("billed_model", &line.model);
            equal("supplier", &line.supplier);
            equal("service_tier", &line.service_tier);
            equal("retail_currency", &line.listed_currency);
        }
        Counted::Class(_) => {
            equal("billed_model", &line.model);
            equal("supplier", &line.supplier);
            equal("service_tier", &line.service_tier);
            equal("price_book_version", &line.price_book_version);
            equal("wholesale_currency", &line.listed_currency);
        }
    }
    if let Counted::Class(_) = counted {
        let price = quoted(&format!(",{},", line.price));
        condition
            .push_str(&format!(" AND strpos(concat(',', wholesale_price_ids, ','), {price}) > 0"));
    }
    if !matches!(counted, Counted::Events) {
        condition.push_str(&format!(" AND {} <> 0", counted.units()));
    }
    condition
}

//! A period rated again by another reading of the price book: what that changes, and the proposals
//! that post the differences.

mod row_rater;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use tally_rating::{RateCard, instant_text};
use tally_settlement::{
    Act, AdjustmentReason, AdjustmentState, BooksError, Cents, CutOff, Period, PeriodState,
    PriceLists, Proposal, ReRate, ReRateAmount, ReRateInput, ReRateSection, ReRated, ReRatedAmount,
};
use tally_tables::PinnedTables;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use self::row_rater::{RatedAgain, RowRater};
use super::rated_groups::Scope;
use super::{Known, Settlement, invalid};
use crate::answer_rows::{integer, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::limits::Limits;

/// Batches that wait for a rater.
const BATCHES_AHEAD: usize = 2;

/// The price book as it was known at another time.
#[derive(Debug, Clone)]
pub struct OtherReading {
    /// Its prices.
    pub card: Arc<RateCard>,
    /// The time, milliseconds UTC.
    pub known_at_ms: i64,
    /// Edition of the reference data, and its reading.
    pub reference: String,
}

/// Events that the other reading cannot rate, or gives to another vendor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnratedEvents {
    /// Why: a reason of suspense, or `other_vendor`.
    pub reason: &'static str,
    /// Requested model.
    pub model: String,
    /// What is missing, in words.
    pub what: String,
    /// How many.
    pub events: u64,
    /// Source and id of the first ones, by their places in the log.
    pub first: Vec<(String, String)>,
}

/// A vendor's period, rated again.
#[derive(Debug, Clone)]
pub struct PeriodReRated {
    /// State of the period; only of a closed one something can be posted.
    pub state: PeriodState,
    /// What changes.
    pub re_rate: ReRate,
    /// What cannot be rated: while there is any, nothing is posted.
    pub unrated: Vec<UnratedEvents>,
    /// What waits for a decision already.
    pub waiting: Option<AdjustmentState>,
}

/// Which usage of whom is rated again.
#[derive(Debug, Clone, Copy)]
struct Which<'a> {
    vendor: &'a str,
    period: Period,
    reading: &'a OtherReading,
}

impl Settlement<'_> {
    /// What a vendor's period comes to by another reading of the price book: its events up to the
    /// last seal's cut-offs, or of a period that is not closed all there are.
    ///
    /// # Errors
    /// `Invalid` for a vendor without usage in the period; what [`Self::statement`] may answer.
    pub async fn re_rate(
        &self,
        vendor: &str,
        period: Period,
        reading: &OtherReading,
        now_ms: i64,
    ) -> Result<PeriodReRated, QueryError> {
        let which = Which { vendor, period, reading };
        let known = self.known().await?;
        let again = self.rated_again(&which, &known).await?;
        self.compared(&which, &known, &again, now_ms).await
    }

    /// Proposes the differences of a closed period that are not posted yet: an adjustment for each
    /// terms, with an amount for each line, which somebody else has to approve. Posted again it
    /// proposes nothing.
    ///
    /// # Errors
    /// `Invalid` where the period is not closed, events cannot be rated, or another re-rate of it
    /// waits for a decision; what [`Self::re_rate`] may answer.
    pub async fn propose_re_rate(
        &self,
        (vendor, period): (&str, Period),
        reading: &OtherReading,
        (note, by): (&str, &str),
        now_ms: i64,
    ) -> Result<(PeriodReRated, Vec<AdjustmentState>), QueryError> {
        let which = Which { vendor, period, reading };
        if reading.known_at_ms > now_ms {
            return Err(invalid(format!(
                "nobody knows yet what the price book says at {}",
                instant_text(reading.known_at_ms)
            )));
        }
        let mut known = self.known().await?;
        if !known.seals.iter().any(|seal| seal.period == period) {
            return Err(BooksError::OriginOpen(period).into());
        }
        let mut again = self.rated_again(&which, &known).await?;
        let mut seals = known.seals.len();
        let mut proposed = Vec::new();
        loop {
            if known.seals.len() != seals {
                // A close came between: its late usage is on a statement now.
                again = self.rated_again(&which, &known).await?;
                seals = known.seals.len();
            }
            let compared = self.compared(&which, &known, &again, now_ms).await?;
            if let Some(first) = compared.unrated.first() {
                let events: u64 = compared.unrated.iter().map(|unrated| unrated.events).sum();
                return Err(invalid(format!(
                    "{events} events cannot be rated as of {}, so that nothing is posted; the first: {} of {}: {}",
                    instant_text(reading.known_at_ms),
                    first.reason,
                    first.model,
                    first.what
                )));
            }
            let mut sections = compared.re_rate.sections.iter();
            let open = sections.find_map(|of| self.proposal_of(&which, of, note, &known));
            let Some(proposal) = open else { return Ok((compared, proposed)) };
            self.needs_terms(&proposal, now_ms)?;
            let act = Act::Adjust(proposal);
            if let Some(entry) = self.store.append(&mut known.journal, act, by, now_ms).await? {
                proposed.push(known.journal.books.adjustment(entry.n)?.clone());
            }
            // Whether it is ours or somebody else was faster: what is left is seen by what is there.
            known = self.known().await?;
        }
    }

    /// What is left to be posted of a section, where anything is.
    fn proposal_of(
        &self,
        which: &Which<'_>,
        section: &ReRateSection,
        note: &str,
        known: &Known,
    ) -> Option<Proposal> {
        let Which { vendor, period, reading } = which;
        let lines: Vec<ReRatedAmount> = section
            .amounts
            .iter()
            .filter(|amount| amount.to_post.0 != 0)
            .map(|ReRateAmount { orig_line_id, to_post, .. }| ReRatedAmount {
                orig_line_id: orig_line_id.clone(),
                amount: *to_post,
            })
            .collect();
        if lines.is_empty() {
            return None;
        }
        // They were added up once, with what is posted, and fit.
        let amount = Cents(lines.iter().map(|line| line.amount.0).sum());
        let note = match note.trim() {
            "" => format!("price book as of {}", instant_text(reading.known_at_ms)),
            note => note.to_owned(),
        };
        let last = known.journal.books.last_closed().unwrap_or(*period);
        Some(Proposal {
            vendor: (*vendor).to_owned(),
            period: last.next(),
            terms: section.terms.clone(),
            reason: AdjustmentReason::ReRate,
            amount,
            orig_period: Some(*period),
            orig_line_id: None,
            note,
            dispute: None,
            re_rate: Some(ReRated {
                known_at_ms: reading.known_at_ms,
                reference: reading.reference.clone(),
                price_book_version: reading.card.version().to_owned(),
                lines,
            }),
            billed: None,
        })
    }

    /// An adjustment by terms that are there no more would stop the next close.
    fn needs_terms(&self, proposal: &Proposal, now_ms: i64) -> Result<(), QueryError> {
        let contracts = self.terms.contracts.as_known(now_ms);
        match contracts.terms(&proposal.terms) {
            Some(terms) if terms.vendor == proposal.vendor => Ok(()),
            _ => Err(invalid(format!(
                "{} was settled by the terms {}, which are not approved any more: post it by tally settle adjust --terms",
                proposal.orig_period.unwrap_or(proposal.period),
                proposal.terms
            ))),
        }
    }

    async fn compared(
        &self,
        which: &Which<'_>,
        known: &Known,
        again: &RatedAgain,
        now_ms: i64,
    ) -> Result<PeriodReRated, QueryError> {
        let Which { vendor, period, .. } = *which;
        let facts = known.facts(period, now_ms);
        let contracts = self.contracts_of(&facts).await?;
        let statement = match facts.seal() {
            Some(seal) => self.store.statement(seal, vendor).await?,
            None => None,
        };
        let books = &known.journal.books;
        let re_rate = ReRate::build(&ReRateInput {
            vendor,
            period,
            contracts: &contracts,
            prices: &self.prices,
            groups: &again.groups,
            statement: statement.as_ref(),
            posted: &books.re_rated(vendor, period),
        })?;
        if again.groups.is_empty() && again.unrated.is_empty() {
            return Err(invalid(format!("{vendor} has no usage in {period}")));
        }
        Ok(PeriodReRated {
            state: facts.state(),
            re_rate,
            unrated: again.unrated.clone(),
            waiting: books.waiting_re_rate(vendor, period).cloned(),
        })
    }

    /// Rates the usage again: every event once, on as many threads as there are.
    async fn rated_again(
        &self,
        which: &Which<'_>,
        known: &Known,
    ) -> Result<RatedAgain, QueryError> {
        let pin = self.engine.pin(None).await?;
        let is_closed = known.seals.iter().any(|seal| seal.period == which.period);
        let last = known.seals.last().filter(|_| is_closed);
        let cut_offs: Vec<CutOff> =
            last.map_or_else(|| self.cut_offs(&pin), |seal| seal.cut_offs.clone());
        let scope = Scope {
            period: which.period,
            cut_offs: &cut_offs,
            sealed: None,
            vendor: Some(which.vendor),
        };
        let mut again = read(self.engine, &pin, &scope, which, &self.prices).await?;
        name_the_first(self.engine, &pin, &mut again).await?;
        Ok(again)
    }
}

/// Reads the rows of a scope and rates them, batch by batch.
async fn read(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    scope: &Scope<'_>,
    which: &Which<'_>,
    prices: &Arc<PriceLists>,
) -> Result<RatedAgain, QueryError> {
    let sql = row_rater::sql(&scope.condition());
    let answer = engine.run_on(Arc::clone(pin), &sql, Limits::unlimited()).await?;
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let (mut batches, mut raters) = (Vec::new(), Vec::new());
    for _ in 0..threads {
        let (to, mut from) = mpsc::channel(BATCHES_AHEAD);
        let (prices, card) = (Arc::clone(prices), Arc::clone(&which.reading.card));
        let vendor = which.vendor.to_owned();
        batches.push(to);
        raters.push(spawn_blocking(move || {
            let mut rater = RowRater::new(&vendor, &prices, card);
            while let Some(batch) = from.blocking_recv() {
                rater.take(&batch)?;
            }
            Ok::<_, QueryError>(rater.finish())
        }));
    }
    let mut rows = answer.rows;
    let mut turns = (0..batches.len()).cycle();
    while let Some(batch) = rows.next().await {
        let batch = batch?;
        let Some(to) = turns.next().and_then(|turn| batches.get(turn)) else { break };
        if to.send(batch).await.is_err() {
            // It stopped at an error, which it tells below.
            break;
        }
    }
    drop(batches);
    let mut parts = Vec::new();
    for rater in raters {
        parts.push(rater.await.map_err(|error| QueryError::Internal(error.to_string()))??);
    }
    row_rater::merged(parts)
}

/// Looks up which events the first ones are that cannot be rated.
async fn name_the_first(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    again: &mut RatedAgain,
) -> Result<(), QueryError> {
    let places: Vec<String> = again
        .places
        .iter()
        .flatten()
        .map(|[partition, offset, index]| {
            format!(
                "(kafka_partition = {partition} AND kafka_offset = {offset} AND batch_index = {index})"
            )
        })
        .collect();
    if places.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "SELECT kafka_partition, kafka_offset, batch_index, source, id FROM system.kept_events WHERE {}",
        places.join(" OR ")
    );
    let mut names = BTreeMap::new();
    for columns in rows_of(engine, pin, &sql).await? {
        for row in 0..columns.first().map_or(0, |column| column.len()) {
            let mut place = [0; 3];
            for (column, part) in place.iter_mut().enumerate() {
                *part = integer(&columns, column, row)?;
            }
            names.insert(place, (text(&columns, 3, row)?, text(&columns, 4, row)?));
        }
    }
    for (unrated, places) in again.unrated.iter_mut().zip(&again.places) {
        unrated.first = places.iter().filter_map(|place| names.get(place).cloned()).collect();
    }
    Ok(())
}

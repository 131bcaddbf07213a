//! What closed periods were sealed with, compared with what is there now: I6.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use tally_schemas::{CLASS_COUNT, TokenClass};
use tally_settlement::{Books, ControlTotals, CutOff, Pico, Seal, Units};
use tally_tables::PinnedTables;

use super::table_sums::USAGE;
use super::{Check, Finding, book_objects, journal_checks};
use crate::answer_rows::{count, decimal, integer, rows_of, text};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::settle::{Journal, Kept, SealStore, sha256_of, within};

/// How long a check waits for the seal of an approval that is under way.
const SEAL_PATIENCE: Duration = Duration::from_secs(5);

/// How often it looks meanwhile.
const LOOKS: u32 = 10;

/// Every check of sealed periods.
pub(super) async fn all(engine: &QueryEngine, pin: &Arc<PinnedTables>) -> Vec<Check> {
    let store = SealStore::new(engine.ledger().store());
    let mut chain =
        Finding::new("I6", "seals are whole, in order, and each has the hash of the last");
    let listed = match book_objects::below(engine.ledger().store(), "statements").await {
        Ok(listed) => listed,
        Err(error) => {
            chain.add(error.to_string());
            BTreeSet::new()
        }
    };
    let (kept, defect) = match kept(&store).await {
        Ok(kept) => (kept, None),
        // Without the journal, what the seals say is said: up to the first one that is missing.
        Err(defect) => match store.seals(&Books::default()).await {
            Ok(seals) => {
                let kept = Kept { journal: Journal::default(), seals, gaps: Vec::new() };
                (kept, Some(defect))
            }
            Err(error) => {
                let journal = journal_checks::chain(Err(&defect), &listed);
                return vec![failed(chain, &error), journal];
            }
        },
    };
    kept.seals.unread.values().for_each(|error| chain.add(error.to_string()));
    let seals: Vec<Seal> = kept.seals.whole.values().cloned().collect();
    if defect.is_none() {
        book_objects::beside_seals(&listed, &kept, &mut chain);
    }
    let mut checks = vec![
        links(chain, &seals),
        statements(&store, &seals).await,
        events(engine, pin, &seals).await,
        files(engine, &seals).await,
    ];
    match defect {
        Some(error) => checks.push(journal_checks::chain(Err(&error), &listed)),
        None => {
            checks.push(journal_checks::chain(Ok(&kept.journal), &listed));
            let Kept { journal, gaps, .. } = &kept;
            checks.extend(journal_checks::beside(&store, journal, &seals, gaps).await);
        }
    }
    checks
}

/// Journal and seals; the newest approval is given the time to be carried out.
async fn kept(store: &SealStore<'_>) -> Result<Kept, QueryError> {
    let mut kept = store.kept().await?;
    for _ in 0..LOOKS {
        if kept.gaps.iter().all(|gap| gap.unwritten().is_none()) {
            break;
        }
        tokio::time::sleep(SEAL_PATIENCE / LOOKS).await;
        kept = store.kept().await?;
    }
    Ok(kept)
}

fn failed(mut finding: Finding, error: &QueryError) -> Check {
    finding.add(error.to_string());
    finding.done("nothing more")
}

fn links(mut finding: Finding, seals: &[Seal]) -> Check {
    match Seal::chain_defects(seals) {
        Ok(defects) => defects.into_iter().for_each(|defect| finding.add(defect)),
        Err(error) => finding.add(error.to_string()),
    }
    finding.done(format!("{} seals", seals.len()))
}

async fn statements(store: &SealStore<'_>, seals: &[Seal]) -> Check {
    let mut finding = Finding::new("I6", "statements are those that were sealed, byte for byte");
    let mut looked_at = 0;
    for seal in seals {
        for sealed in &seal.statements {
            looked_at += 1;
            match store.statement(seal, &sealed.vendor).await {
                Ok(Some(statement)) => finding.expect(statement.total == sealed.total, || {
                    let vendor = &sealed.vendor;
                    format!("{} {vendor}: the total is not that of its seal", seal.period)
                }),
                Ok(None) => finding.add(format!("{} {}: is gone", seal.period, sealed.vendor)),
                Err(error) => finding.add(error.to_string()),
            }
        }
    }
    finding.done(format!("{looked_at} statements"))
}

/// The events that a seal counts, summed again.
async fn events(engine: &QueryEngine, pin: &Arc<PinnedTables>, seals: &[Seal]) -> Check {
    let mut finding = Finding::new("I6", "closed periods have the events that were sealed");
    let mut last: Option<&Seal> = None;
    for seal in seals {
        let before = last.filter(|last| last.n.checked_add(1) == Some(seal.n));
        if before.is_none() && seal.n > 0 {
            // What is late is told by the cut-offs of the seal before.
            finding.add(format!(
                "{}: the seal before it is gone or cannot be read: not compared",
                seal.period
            ));
            last = Some(seal);
            continue;
        }
        match counted(engine, pin, seal, before.map(|seal| seal.cut_offs.as_slice())).await {
            Ok(now) if without_nothing(&now) == without_nothing(&seal.totals) => {}
            Ok(now) => finding.add(format!(
                "{}: {} + {} late events and {:?} of wholesale were sealed, there are {} + {} and {:?}",
                seal.period,
                seal.totals.events,
                seal.totals.late_events,
                seal.totals.wholesale,
                now.events,
                now.late_events,
                now.wholesale
            )),
            Err(error) => finding.add(format!("{}: {error}", seal.period)),
        }
        last = Some(seal);
    }
    finding.done(format!("{} periods", seals.len()))
}

/// Sums of 0 say nothing: whether they are named depends on what was taken back with what.
fn without_nothing(totals: &ControlTotals) -> ControlTotals {
    let mut totals = totals.clone();
    totals.units.retain(|_, units| units.0 != 0);
    totals.wholesale.retain(|_, pico| pico.0 != 0);
    totals.retail.retain(|_, pico| pico.0 != 0);
    totals
}

async fn counted(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    seal: &Seal,
    before: Option<&[CutOff]>,
) -> Result<ControlTotals, QueryError> {
    let (first, end) = (seal.period.first_day(), seal.period.end_day());
    let late = before.map_or("false".to_owned(), |sealed| {
        format!("day < DATE '{first}' AND NOT ({})", within(sealed))
    });
    let classes: Vec<String> =
        TokenClass::ALL.iter().map(|class| format!("sum({})", class.name())).collect();
    let sql = format!(
        "SELECT coalesce(wholesale_currency, ''), coalesce(retail_currency, ''), \
         sum(CASE WHEN day >= DATE '{first}' THEN events ELSE 0 END), \
         sum(CASE WHEN day < DATE '{first}' AND correction IS NULL THEN events ELSE 0 END), {}, \
         sum(wholesale_amount), sum(retail_amount), \
         sum(CASE WHEN day < DATE '{first}' AND correction IS NOT NULL THEN events ELSE 0 END) \
         FROM {USAGE} \
         WHERE {} AND ((day >= DATE '{first}' AND day < DATE '{end}') OR ({late})) \
         GROUP BY coalesce(wholesale_currency, ''), coalesce(retail_currency, '')",
        classes.join(", "),
        within(&seal.cut_offs)
    );
    let mut totals = ControlTotals::default();
    for columns in rows_of(engine, pin, &sql).await? {
        let rows = columns.first().map_or(0, |column| column.len());
        for row in 0..rows {
            let mut units = BTreeMap::new();
            for class in TokenClass::ALL {
                let sum = integer(&columns, 4 + class.index(), row)?;
                if sum != 0 {
                    units.insert(class.name().to_owned(), Units(sum.into()));
                }
            }
            let amounts = |currency: usize, amount: usize| {
                let code = text(&columns, currency, row)?;
                let pico = decimal(&columns, 4 + CLASS_COUNT + amount, row)?;
                let known = !code.is_empty();
                Ok::<_, QueryError>(known.then_some((code, Pico(pico))).into_iter().collect())
            };
            totals.merge(&ControlTotals {
                events: count(&columns, 2, row)?,
                late_events: count(&columns, 3, row)?,
                corrected_events: integer(&columns, 6 + CLASS_COUNT, row)?,
                units,
                wholesale: amounts(0, 0)?,
                retail: amounts(1, 1)?,
            })?;
        }
    }
    Ok(totals)
}

/// Sealed files that are still there; compaction replaces files, and their rows stay.
async fn files(engine: &QueryEngine, seals: &[Seal]) -> Check {
    let mut finding =
        Finding::new("I6", "data files that were sealed, and are there, are unchanged");
    let (mut there, mut sealed) = (0, 0);
    for file in seals.iter().flat_map(|seal| &seal.files) {
        sealed += 1;
        let path = match Path::parse(&file.path) {
            Ok(path) => path,
            Err(error) => {
                finding.add(error.to_string());
                continue;
            }
        };
        match sha256_of(engine.ledger().store(), &path).await {
            Ok(None) => {}
            Ok(Some(now)) => {
                there += 1;
                finding.expect(now == file.sha256, || format!("{} was changed", file.path));
            }
            Err(error) => finding.add(error.to_string()),
        }
    }
    finding.done(format!("{there} of {sealed} files"))
}

//! Phone bills, beside what they were made of: I4, I6.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use tally_schemas::PICO;
use tally_settlement::Pico;
use tally_settlement::phone_bill::{BillBook, BillSeal, ChargeKind};
use tally_tables::PinnedTables;

use super::{Check, Finding, book_objects};
use crate::engine::QueryEngine;
use crate::error::QueryError;
use crate::phone_bill::{BillStore, Window, all_of, remade};

/// Pico-currency of 0.01.
const PICO_PER_CENT: i128 = PICO / 100;

/// How long an issue that is under way may take from its file to its seal.
const SEALED_WITHIN: Duration = Duration::from_secs(5);

/// How often it is looked at meanwhile.
const LOOKS: u32 = 10;

/// Every check of phone bills.
pub(super) async fn all(engine: &QueryEngine, pin: &Arc<PinnedTables>) -> Vec<Check> {
    let store = BillStore::new(engine.ledger().store());
    let mut chain =
        Finding::new("I6", "phone bills are in sequence, and each has the hash of the last");
    let listed = match book_objects::below(engine.ledger().store(), "phone-bill").await {
        Ok(listed) => listed,
        Err(error) => {
            chain.add(error.to_string());
            BTreeSet::new()
        }
    };
    let book = match issued(store, &listed).await {
        Ok(book) => book,
        Err(error) => {
            chain.add(error.to_string());
            return vec![chain.done("nothing more")];
        }
    };
    vec![
        links(chain, &book, &listed),
        files(engine, pin, store, &book).await,
        rows(engine, pin, store, &book).await,
    ]
}

/// Files and answers; one whose file is written is given the time to be sealed.
async fn issued(store: BillStore<'_>, listed: &BTreeSet<Path>) -> Result<BillBook, QueryError> {
    let mut book = store.book().await?;
    for _ in 0..LOOKS {
        if !listed.contains(&BillStore::file_path(book.next_sequence())) {
            break;
        }
        tokio::time::sleep(SEALED_WITHIN / LOOKS).await;
        book = store.book().await?;
    }
    Ok(book)
}

fn links(mut finding: Finding, book: &BillBook, listed: &BTreeSet<Path>) -> Check {
    book_objects::beside_bills(listed, book, &mut finding);
    for defects in [BillSeal::chain_defects(&book.seals), book.return_defects()] {
        match defects {
            Ok(defects) => defects.into_iter().for_each(|defect| finding.add(defect)),
            Err(error) => finding.add(error.to_string()),
        }
    }
    finding.done(format!("{} phone bills, {} returns", book.seals.len(), book.returns.len()))
}

/// Every file is what was sealed, and is what comes of the rows once more.
async fn files(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    store: BillStore<'_>,
    book: &BillBook,
) -> Check {
    let mut finding = Finding::new(
        "I6",
        "phone bills are those that were sealed, and the same rows give the same bytes again",
    );
    let mut lines = 0;
    for seal in &book.seals {
        lines += seal.lines;
        if let Err(error) = store.file(seal).await {
            finding.add(error.to_string());
            continue;
        }
        match remade(engine, pin, store, book, seal).await {
            Ok(again) if again == *seal => {}
            Ok(again) => finding.add(difference(seal, &again)),
            Err(error) => finding.add(format!("phone bill {}: {error}", seal.sequence)),
        }
    }
    finding.done(format!("{} phone bills, {lines} lines", book.seals.len()))
}

/// What is not as it was sealed.
fn difference(seal: &BillSeal, again: &BillSeal) -> String {
    let sequence = seal.sequence;
    if seal.ledger != again.ledger {
        let of = |seal: &BillSeal| {
            let sums = seal.ledger.iter();
            let sums = sums
                .map(|sum| format!("{} {} of {} {}", sum.rows, sum.kind, sum.amount, sum.currency));
            sums.collect::<Vec<_>>().join(", ")
        };
        return format!("phone bill {sequence}: sealed rows {}; there are {}", of(seal), of(again));
    }
    if seal.lines_hash != again.lines_hash {
        return format!(
            "phone bill {sequence}: {} lines were sealed with {}, the rows give {} lines with {}",
            seal.lines, seal.lines_hash, again.lines, again.lines_hash
        );
    }
    format!("phone bill {sequence} comes out otherwise: its seal is not what its plan comes to")
}

/// Each row up to the last file is in one daily file, and what was charged, with what is carried,
/// is what the rows of charged kinds come to.
async fn rows(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    store: BillStore<'_>,
    book: &BillBook,
) -> Check {
    let mut finding = Finding::new(
        "I4",
        "each row of quota_ledger is in one daily phone bill, and nothing of it is lost or charged twice",
    );
    match counted(engine, pin, store, book, &mut finding).await {
        Ok(rows) => finding.done(format!("{rows} rows")),
        Err(error) => {
            finding.add(error.to_string());
            finding.done("nothing more")
        }
    }
}

async fn counted(
    engine: &QueryEngine,
    pin: &Arc<PinnedTables>,
    store: BillStore<'_>,
    book: &BillBook,
    finding: &mut Finding,
) -> Result<u64, QueryError> {
    let Some((day, last)) = book.last_daily(u64::MAX) else { return Ok(0) };
    let window = Window { to: (day, &last.cut_offs), from: None };
    let mut sealed: BTreeMap<(String, String), (u64, i128)> = BTreeMap::new();
    for sum in book.dailies(u64::MAX).flat_map(|(_, seal)| &seal.ledger) {
        let of = sealed.entry((sum.kind.clone(), sum.currency.clone())).or_default();
        *of = (of.0 + sum.rows, of.1.saturating_add(sum.amount.0));
    }
    let (mut rows, mut due) = (0, BTreeMap::<(String, String), i128>::new());
    let there = all_of(engine, pin, &window).await?;
    for sum in &there {
        rows += sum.rows;
        let key = (sum.kind.clone(), sum.currency.clone());
        let (sealed_rows, amount) = sealed.remove(&key).unwrap_or_default();
        finding.expect((sealed_rows, amount) == (sum.rows, sum.amount.0), || {
            format!(
                "{} in {}: phone bills have {sealed_rows} rows of {}, quota_ledger has {} of {}",
                sum.kind,
                sum.currency,
                Pico(amount),
                sum.rows,
                sum.amount
            )
        });
        if let Some(kind) = ChargeKind::of_ledger(&sum.kind) {
            due.insert((kind.name().to_owned(), sum.currency.clone()), sum.amount.0);
        }
    }
    for ((kind, currency), (rows, _)) in sealed {
        finding
            .add(format!("{kind} in {currency}: phone bills have {rows} rows, quota_ledger none"));
    }
    let mut charged: BTreeMap<(String, String), i128> = BTreeMap::new();
    let mut add = |kind: &str, currency: &str, pico: i128| {
        let sum = charged.entry((kind.to_owned(), currency.to_owned())).or_default();
        *sum = sum.saturating_add(pico);
    };
    for (_, seal) in book.dailies(u64::MAX) {
        for line in store.lines(seal).await?.iter().filter(|line| !line.comes_again()) {
            let pico = line.amount.0.saturating_mul(PICO_PER_CENT);
            add(line.key.kind.name(), line.key.currency.code(), pico);
        }
    }
    for (key, remainder) in store.remainders(last).await?.iter() {
        finding.expect(remainder.0.unsigned_abs() * 2 <= PICO_PER_CENT.unsigned_abs(), || {
            format!("{} carries {remainder}, more than half a hundredth", key.account)
        });
        add(key.kind.name(), key.currency.code(), remainder.0);
    }
    for ((kind, currency), due) in due {
        let charged = charged.remove(&(kind.clone(), currency.clone())).unwrap_or_default();
        finding.expect(charged == due, || {
            format!(
                "{kind} in {currency}: charged and carried are {}, due is {}",
                Pico(charged),
                Pico(due)
            )
        });
    }
    for ((kind, currency), charged) in charged {
        let of = Pico(charged);
        finding.expect(charged == 0, || {
            format!("{kind} in {currency}: charged and carried are {of}, and there is no row")
        });
    }
    Ok(rows)
}

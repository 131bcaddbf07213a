//! What people did to the books, held to the rules again; and that every approved adjustment is on
//! exactly one statement.

use std::collections::{BTreeMap, BTreeSet};

use object_store::path::Path;
use tally_settlement::{AdjustmentState, Seal, SealGap, Statement, adjustment_of_part};

use super::{Check, Finding, book_objects};
use crate::error::QueryError;
use crate::settle::{Journal, SealStore};

/// The check of the journal itself. Where it cannot be read, nothing else can be said of the books.
pub(super) fn chain(journal: Result<&Journal, &QueryError>, listed: &BTreeSet<Path>) -> Check {
    let mut finding =
        Finding::new("I6", "people acted by the rules of four eyes, in one chain of entries");
    match journal {
        Ok(journal) => {
            book_objects::behind_journal(listed, journal, &mut finding);
            finding.done(format!("{} entries", journal.entries.len()))
        }
        Err(error) => {
            finding.add(error.to_string());
            finding.done("nothing more")
        }
    }
}

/// Every check of the journal beside what was sealed.
pub(super) async fn beside(
    store: &SealStore<'_>,
    journal: &Journal,
    seals: &[Seal],
    gaps: &[SealGap],
) -> Vec<Check> {
    vec![reviews(journal, seals, gaps), adjustments(store, journal, seals).await]
}

/// Each seal is what somebody else approved, and each approval became a seal.
fn reviews(journal: &Journal, seals: &[Seal], gaps: &[SealGap]) -> Check {
    let mut finding = Finding::new("I6", "what was approved is what was sealed");
    for seal in seals {
        let period = seal.period;
        let Some(state) = journal.books.review(period).filter(|state| state.is_approved()) else {
            finding.add(format!("{period} is sealed, and nobody approved it"));
            continue;
        };
        let entry = usize::try_from(seal.entry).ok().and_then(|n| journal.entries.get(n));
        let named = entry.and_then(|entry| entry.hash().ok());
        finding.expect(named.as_ref() == Some(&seal.entry_hash), || {
            format!("{period}: entry {} is not the one that was sealed with", seal.entry)
        });
        let review = &state.review.what;
        let decided = state.decision.as_ref().map(|done| (done.n, done.by.as_str()));
        let as_sealed = review.plan == seal.plan
            && review.statements == seal.statements
            && decided == Some((seal.entry, seal.approved_by.as_str()))
            && state.review.by == seal.by;
        finding.expect(as_sealed, || format!("{period}: what was sealed is not what was approved"));
    }
    gaps.iter().for_each(|gap| finding.add(gap.to_string()));
    finding.done(format!("{} periods", seals.len()))
}

/// The statements that each number is on, with vendor and what it comes to there.
type Places = BTreeMap<String, Vec<String>>;

async fn adjustments(store: &SealStore<'_>, journal: &Journal, seals: &[Seal]) -> Check {
    let mut finding = Finding::new("I6", "each approved adjustment is on exactly one statement");
    let mut places = Places::new();
    for seal in seals {
        for sealed in &seal.statements {
            // What is wrong with a statement is another check's to say.
            if let Ok(Some(statement)) = store.statement(seal, &sealed.vendor).await {
                place(&statement, journal, &mut places, &mut finding);
            }
        }
    }
    let (mut on, mut waiting) = (0, 0);
    for state in journal.books.adjustments() {
        let parts = state.posted();
        let sealed = state.counted_in.is_some_and(|p| seals.iter().any(|seal| seal.period == p));
        on += usize::from(sealed);
        waiting += usize::from(state.state() == "approved");
        let expected = usize::from(sealed);
        for part in parts {
            let found = places.remove(&part.id).unwrap_or_default();
            let name = part.id;
            finding.expect(found.len() == expected, || {
                let state = state.state();
                let there = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
                format!("{name} is {state} and must be on {expected} statements; it is on {there}")
            });
        }
    }
    for (name, there) in places {
        finding.add(format!("{name} is on {} and in no journal", there.join(", ")));
    }
    finding.done(format!("{on} on statements, {waiting} wait for the next close"))
}

/// Notes what people posted to a statement, each as it was approved.
fn place(statement: &Statement, journal: &Journal, places: &mut Places, finding: &mut Finding) {
    let (period, vendor) = (statement.period, &statement.vendor);
    let of_sections = statement.sections.iter().flat_map(|section| &section.adjustments);
    for adjustment in of_sections.filter(|adjustment| adjustment.posted_by.is_some()) {
        let id = &adjustment.id;
        places.entry(id.clone()).or_default().push(format!("{period} of {vendor}"));
        let name = adjustment_of_part(id);
        let known = journal.books.adjustments().find(|state| state.name() == name);
        let Some(state) = known else { continue };
        finding.expect(is_as_approved(state, statement, adjustment), || {
            format!("{id} on the statement of {vendor} for {period} is not what was approved")
        });
    }
}

fn is_as_approved(
    state: &AdjustmentState,
    statement: &Statement,
    adjustment: &tally_settlement::Adjustment,
) -> bool {
    let what = &state.proposal.what;
    let Some(posted) = state.posted().into_iter().find(|part| part.id == adjustment.id) else {
        return false;
    };
    let amounts = adjustment.amounts;
    state.counted_in == Some(statement.period)
        && what.vendor == statement.vendor
        && what.reason == adjustment.reason
        // Amounts are net or gross, as the terms have them.
        && (posted.amount == amounts.net || posted.amount == amounts.gross)
        && posted.orig_period == adjustment.orig_period
        && posted.orig_line_id == adjustment.orig_line_id
        && adjustment.posted_by.as_ref() == Some(&posted.by)
        && adjustment.approved_by.as_ref() == Some(&posted.approved_by)
}

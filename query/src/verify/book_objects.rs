//! Objects that lie in the store although something that they are built on does not. Nothing else
//! rests on a listing (R8), and an old one finds less and never too much: it is made before the
//! objects are read.

use std::collections::BTreeSet;

use futures::TryStreamExt;
use object_store::ObjectStore;
use object_store::path::Path;
use tally_schemas::in_full;
use tally_settlement::phone_bill::BillBook;
use tally_settlement::{Period, SealGap};

use super::Finding;
use crate::error::QueryError;
use crate::phone_bill::BillStore;
use crate::settle::{Journal, Kept, SealStore};

/// The objects below a folder.
///
/// # Errors
/// `Retry` while the store is away.
pub(super) async fn below(
    store: &dyn ObjectStore,
    folder: &str,
) -> Result<BTreeSet<Path>, QueryError> {
    let listed = store.list(Some(&Path::from(folder)));
    let listed = listed.map_ok(|object| object.location).try_collect().await;
    listed.map_err(|error| QueryError::Retry(format!("{folder}/: {}", in_full(&error))))
}

/// The number that an object of a numbered kind has, where it is one: `folder` and `end` are what
/// its name begins and ends with.
fn number_of(path: &Path, folder: &str, end: &str) -> Option<u64> {
    let digits = path.as_ref().strip_prefix(folder)?.strip_suffix(end)?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Entries that lie behind the last one that was read.
pub(super) fn behind_journal(listed: &BTreeSet<Path>, journal: &Journal, finding: &mut Finding) {
    let entries = journal.books.entries();
    for path in listed {
        if number_of(path, "statements/journal/", ".json").is_some_and(|n| n >= entries) {
            finding.add(format!("{path} is there, and entry {entries} of the journal is gone"));
        }
    }
}

/// Seals, statements and plans that are there although what they follow from is not.
pub(super) fn beside_seals(listed: &BTreeSet<Path>, kept: &Kept, finding: &mut Finding) {
    let approvals = || kept.journal.books.approvals().map(|state| &state.review.what);
    let approved: BTreeSet<Path> = approvals()
        .flat_map(|review| {
            let of = review.statements.iter();
            of.map(|sealed| SealStore::statement_path(review.period, &sealed.vendor))
        })
        .collect();
    let months: BTreeSet<Period> = approvals().map(|review| review.period).collect();
    let unwritten = kept.gaps.iter().find_map(SealGap::unwritten);
    for path in listed {
        if let Some(n) = number_of(path, "statements/seals/", ".json") {
            finding.expect(kept.seals.has(n), || {
                format!("{path} is there, and the entry of the journal that approved it is gone")
            });
            continue;
        }
        let mut parts = path.parts().skip(1);
        let (Some(month), Some(file)) = (parts.next(), parts.next()) else { continue };
        let Ok(month) = Period::parse(month.as_ref()) else { continue };
        if file.as_ref().starts_with("vendor-") {
            finding.expect(approved.contains(path), || {
                let known = if months.contains(&month) { "has it not" } else { "is gone" };
                format!("{path} is there, and the approval of {month} {known}")
            });
        }
        if file.as_ref().starts_with("plan-")
            && let Some(before) = unwritten.filter(|before| *before < month)
        {
            finding.add(format!("{path} was made upon the seal of {before}, which is gone"));
        }
    }
}

/// Objects of phone bills beyond the one that may have been begun, and a file that has no seal.
pub(super) fn beside_bills(listed: &BTreeSet<Path>, book: &BillBook, finding: &mut Finding) {
    let next = book.next_sequence();
    for path in listed {
        let of = |end: &str| number_of(path, "phone-bill/", end);
        let sequence = of(".plan.json")
            .or_else(|| of(".csv"))
            .or_else(|| of(".remainders.csv"))
            .or_else(|| of(".json"));
        match sequence {
            Some(sequence) if sequence > next => {
                finding.add(format!("{path} is there, and the seal of phone bill {next} is gone"));
            }
            Some(sequence) if sequence == next && book.plan.is_none() => {
                finding.add(format!("{path} is there, and the plan of phone bill {next} is gone"));
            }
            _ => {}
        }
        let answers = u64::try_from(book.returns.len()).unwrap_or(u64::MAX);
        if number_of(path, "phone-bill/returns/", ".json").is_some_and(|n| n > answers) {
            finding
                .add(format!("{path} is there, and return {} is gone", answers.saturating_add(1)));
        }
    }
    if listed.contains(&BillStore::file_path(next)) {
        finding.add(format!(
            "the file of phone bill {next} is there, and its seal is not: the issue was interrupted, or the seal was taken away; tally phone-bill issue writes it, and refuses other content"
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_twenty_digits_are_a_number() {
        let number = |path: &str, end: &str| number_of(&Path::from(path), "phone-bill/", end);
        assert_eq!(number("phone-bill/00000000000000000012.csv", ".csv"), Some(12));
        assert_eq!(number("phone-bill/00000000000000000012.remainders.csv", ".csv"), None);
        assert_eq!(number("phone-bill/00000000000000000012.plan.json", ".json"), None);
        assert_eq!(number("phone-bill/12.csv", ".csv"), None);
        assert_eq!(number("phone-bill/returns/00000000000000000012.json", ".json"), None);
    }
}

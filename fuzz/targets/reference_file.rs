//! Texts as the other files that people write: what each is, its first byte says. `p` packages, `b`
//! budgets, `c` contracts with vendors, `m` the mapping of a bill, `l` LiteLLM's price map.

#![no_main]

use libfuzzer_sys::fuzz_target;
use tally_budget::BudgetBook;
use tally_quota::QuotaReference;
use tally_rating::{Book, BookFile};
use tally_reference::read_litellm;
use tally_settlement::Contracts;
use tally_settlement::reconcile::BillMapping;

fuzz_target!(|bytes: &[u8]| {
    let Some((kind, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match kind {
        b'p' => {
            if let Ok(packages) = QuotaReference::from_toml(text) {
                assert_eq!(packages.is_kept_by(&packages), Ok(()));
                for package in packages.packages() {
                    assert!(!package.words().is_empty());
                    assert!(package.allowance_micro >= 0 && package.price_micro >= 0);
                }
            }
        }
        b'b' => match BudgetBook::from_toml(text) {
            Ok(book) => assert_eq!(BudgetBook::from_toml(text), Ok(book)),
            Err(bad) => assert!(!bad.defects.is_empty()),
        },
        b'c' => {
            if let Ok(contracts) = Contracts::parse("contracts.toml", text) {
                for finding in contracts.lint(&contracts.vendors()) {
                    assert!(!finding.to_string().is_empty());
                }
            }
        }
        b'm' => {
            if let Ok(mapping) = BillMapping::parse("mapping.toml", text) {
                assert!(!mapping.columns().is_empty());
                mapping.zone_text();
            }
        }
        b'l' => {
            let Ok(map) = read_litellm("map.json", text, 0, |_| true, &Book::default()) else {
                return;
            };
            let files: Vec<BookFile<'_>> = map
                .files
                .iter()
                .map(|file| BookFile { name: &file.name, text: &file.text })
                .collect();
            // What cannot be imported is told with its line.
            if let Err(bad) = Book::read(&files) {
                assert!(!bad.defects.is_empty());
            }
        }
        _ => {}
    }
});

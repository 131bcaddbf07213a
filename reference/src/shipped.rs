//! Version 0 of each kind: what ships with Tally, stored by whoever uses a store first, so that a
//! later release, which may ship other prices, rates old usage as it was.

use tally_rating::{BookFile, SHIPPED_CONTRACTS, SHIPPED_PACKAGES, SHIPPED_PRICES};

use crate::kind::ReferenceKind;
use crate::stored::{FORMAT, FileOrigin, StoredFile, StoredVersion};

/// Who vouches for it.
pub(crate) const SHIPPER: &str = "shipped with Tally";

/// Version 0 of a kind.
pub(crate) fn version_0(kind: ReferenceKind, now_ms: i64) -> StoredVersion {
    let stored =
        |file: &BookFile<'_>| StoredFile { name: file.name.to_owned(), text: file.text.to_owned() };
    let files = match kind {
        ReferenceKind::Price => SHIPPED_PRICES.iter().map(stored).collect(),
        ReferenceKind::Contract => SHIPPED_CONTRACTS.iter().map(stored).collect(),
        ReferenceKind::Package => {
            vec![StoredFile { name: "packages.toml".to_owned(), text: SHIPPED_PACKAGES.to_owned() }]
        }
    };
    StoredVersion {
        format: FORMAT,
        kind,
        version: 0,
        files,
        origin: FileOrigin::Shipped,
        imported_by: SHIPPER.to_owned(),
        imported_at_ms: now_ms,
    }
}

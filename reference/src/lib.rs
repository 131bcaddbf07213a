//! Reference data in the store: prices, packages and contracts in versions that somebody imports
//! and somebody else approves. Nothing that is stored is ever changed.
//!
//! - [`ReferenceStore`]: the versions and editions of a store.
//! - [`ReferenceStore::import`]: files become a candidate, a version that rates nothing.
//! - [`ReferenceStore::approve`]: a candidate becomes part of the next edition.
//! - [`Whole`]: everything that an edition holds, read: a price book and packages.
//! - [`read_litellm`]: LiteLLM's price map as files that can be imported.
//!
//! How people use it is in `docs/reference-data.md`; why it is so, in
//! `docs/adr/0007-reference-data.md`.

mod approval;
mod error;
mod finding;
mod import;
mod kind;
mod listing;
mod litellm;
mod person;
mod sealed_json;
mod shipped;
mod store;
mod stored;
mod whole;

pub use approval::Approved;
pub use error::{ErrorKind, ReferenceError};
pub use finding::Finding;
pub use import::{Imported, NewFiles};
pub use kind::ReferenceKind;
pub use listing::{Contents, VersionRow, VersionState};
pub use litellm::{LiteLlmFiles, read_litellm};
pub use sealed_json::{hash_of as sealed_hash, open_known, seal};
pub use store::ReferenceStore;
pub use stored::{Edition, FileOrigin, Layer, StoredEdition, StoredFile, StoredVersion};
/// Nobody approves what they brought in themselves.
pub use tally_settlement::same_person;
pub use whole::{Change, Whole};

//! Held-back rows for those who work on them: which are open, and what is to be written off.

mod held_rows;
mod write_offs;

pub use held_rows::{HeldFilter, HeldRow, HeldRows, HeldStatus};
pub use write_offs::{Approval, Proposal, ProposedRow, StoredProposal, WriteOffs};

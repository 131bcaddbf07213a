//! The second stage: what spans accounts, and so partitions. Each committed epoch's increments by
//! model go from its ledger to the topic `usage.models` ([`Relay`]); one owner adds each once, says
//! which budgets reached a threshold, and commits epochs of its own ([`BudgetOwner`]).
//!
//! The ledger of the partitions decides: what is due for the relay and for the owner follows from
//! it and from the owner's own ledger, and a message that it does not confirm is ignored. See
//! `docs/adr/0011-second-stage.md`.

mod budget_epoch;
mod budget_owner;
mod history;
mod relay;
mod second_stage;
mod stage_status;
mod untold_epoch;

pub use budget_owner::{BudgetOwner, EpochCounts, StageConfig, stored_stage};
pub use relay::Relay;
pub use second_stage::{SecondStage, StageParts};
pub use stage_status::{BudgetGauge, StageFigures, StageStatus};

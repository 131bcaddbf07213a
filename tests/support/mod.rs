//! What the fault tests are made of: real servers, real processes, one topic and one store prefix
//! a test, a proxy that spoils the way to S3, and the ledger as it lies in the store.

mod authority;
mod deadline;
mod dice;
mod fault_proxy;
mod figures;
mod http_message;
mod ledger;
mod own_records;
mod process;
mod servers;
mod stream;
mod topic;
mod traffic;

pub(crate) use authority::Authority;
pub(crate) use deadline::eventually;
pub(crate) use dice::{Dice, at_scale, rounds_at_scale};
pub(crate) use fault_proxy::{Fault, FaultProxy, Scope};
pub(crate) use figures::{Figures, percentile};
pub(crate) use ledger::{Ledger, block_on, open_s3};
pub(crate) use own_records::{OwnEvent, add_accepted};
pub(crate) use process::Process;
pub(crate) use servers::{S3Server, Servers};
pub(crate) use stream::{Stream, patience};
pub(crate) use topic::{Payload, Topic};
pub(crate) use traffic::Traffic;

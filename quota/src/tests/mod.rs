//! What the crate promises, tested through its front door.

mod alerts;
mod caps;
mod commands;
mod invariants;
mod memory;
mod overrun;
mod periods;
mod planted_bugs;
mod reference;
mod restored;
mod reversals;
mod scenarios;
mod script;
mod status_feed;
mod status_json;
mod world;

//! Queries over a small store, through every door.

mod answers;
mod http;
mod invariants;
mod limits;
mod psql;
mod world;

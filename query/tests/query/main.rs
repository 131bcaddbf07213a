//! Queries over a small store, through every door.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

mod answers;
mod attacks;
mod audit;
mod balances;
mod books;
mod budgets;
mod canaries;
mod canary_books;
mod completeness;
mod discounts;
mod evolution;
mod feed;
mod finance_questions;
mod flight;
mod http;
mod invariants;
mod isolation;
mod isolation_queries;
mod late_store;
mod limits;
mod margins;
mod one_version;
mod phone_bill;
mod psql;
mod rated_invariants;
mod resends;
mod retention;
mod roll_ups;
mod seals;
mod sign_in;
mod sql_page;
mod stored_accounts;
mod suspense;
mod view_oracle;
mod view_shapes;
mod world;

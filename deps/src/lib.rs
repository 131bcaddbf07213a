//! No code. Selecting this crate beside another one (`cargo test -p tally-log -p tally-deps`)
//! gives every dependency the features it has in the whole workspace, so that a single crate's
//! tests reuse the one dependency build instead of starting a second.

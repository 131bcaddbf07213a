//! What is charged: kinds of rows of `quota_ledger`, and their sums.

use tally_schemas::Currency;

use super::day::Day;
use super::line::LineKey;
use crate::decimal::{Pico, Points};

/// What a line of a phone bill is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChargeKind {
    /// The price of a package, when a bucket of it is granted.
    PackageFee,
    /// What was paid to raise a bucket.
    TopUp,
    /// Usage at a tariff.
    PayAsYouGo,
    /// What was given back for points that were taken out of a bucket unused.
    Refund,
}

impl ChargeKind {
    /// Every kind, in the order in which they stand on a file.
    pub const ALL: [Self; 4] = [Self::PackageFee, Self::TopUp, Self::PayAsYouGo, Self::Refund];

    /// Name on files and in SQL.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PackageFee => "package_fee",
            Self::TopUp => "top_up",
            Self::PayAsYouGo => "payg",
            Self::Refund => "refund",
        }
    }

    /// The kind of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// The `kind` of the rows in `quota_ledger`. Rows of any other kind move no money between the
    /// subscriber and the operator: they allocate what was paid (`adjust` too, which moves points),
    /// or count what nobody pays.
    pub const fn ledger_kind(self) -> &'static str {
        match self {
            Self::PackageFee => "grant",
            Self::TopUp => "top_up",
            Self::PayAsYouGo => "payg",
            Self::Refund => "refund",
        }
    }

    /// What rows of a `kind` in `quota_ledger` are charged as.
    pub fn of_ledger(kind: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|charge| charge.ledger_kind() == kind)
    }
}

/// Rows of one account, kind, package, currency and day, summed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charge {
    /// Account.
    pub account: String,
    /// What it is for.
    pub kind: ChargeKind,
    /// Package or tariff; empty where a row has none.
    pub package: String,
    /// Currency.
    pub currency: Currency,
    /// The rows' own day.
    pub day: Day,
    /// Number of rows.
    pub rows: u64,
    /// Their points, from the bucket's view.
    pub points: Points,
    /// Their amounts.
    pub exact: Pico,
}

impl Charge {
    /// What its remainder is carried by.
    pub(super) fn key(&self) -> LineKey {
        LineKey {
            account: self.account.clone(),
            kind: self.kind,
            package: self.package.clone(),
            currency: self.currency,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for kind in ChargeKind::ALL {
            assert_eq!(ChargeKind::from_name(kind.name()), Some(kind));
            assert_eq!(ChargeKind::of_ledger(kind.ledger_kind()), Some(kind));
        }
        for free in
            ["debit", "overrun", "transfer_in", "transfer_out", "adjust", "expire", "breakage"]
        {
            assert_eq!(ChargeKind::of_ledger(free), None, "{free}");
        }
    }
}

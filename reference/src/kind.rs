//! The three kinds of reference data, each with versions of its own.

use serde::{Deserialize, Serialize};

/// What a version is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReferenceKind {
    /// Prices, model aliases, calendars, weights, products.
    Price,
    /// Packages, tariffs, account thresholds.
    Package,
    /// Contracts with vendors: what events are rated by, and in files of their own the terms and
    /// exchange rates that periods are settled by.
    Contract,
}

impl ReferenceKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::Price, Self::Package, Self::Contract];

    /// Name of the command, and of the folder in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Price => "price",
            Self::Package => "package",
            Self::Contract => "contract",
        }
    }
}

impl std::fmt::Display for ReferenceKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

//! What is wrong with a version, in words that say where and what to do.

use serde::Serialize;
use tally_quota::ReferenceError as BadPackages;
use tally_rating::{BadBook, Lint};
use tally_settlement::{BadContracts, ContractLint};

/// Something that keeps a version from being approved.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Stable code, such as `overlap`, or `unreadable`.
    pub code: String,
    /// Where, what is wrong, and what to do.
    pub message: String,
}

impl Finding {
    pub(crate) fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }

    pub(crate) fn of_lint(lint: &Lint) -> Self {
        Self::new(lint.code.name(), lint.to_string())
    }

    pub(crate) fn of_book(bad: &BadBook) -> Vec<Self> {
        bad.defects.iter().map(|defect| Self::new("unreadable", defect)).collect()
    }

    pub(crate) fn of_terms(bad: &BadContracts) -> Vec<Self> {
        bad.defects.iter().map(|defect| Self::new("unreadable", defect)).collect()
    }

    pub(crate) fn of_terms_lint(lint: &ContractLint) -> Self {
        Self::new(lint.code.name(), lint.to_string())
    }

    pub(crate) fn of_packages(bad: &BadPackages) -> Vec<Self> {
        bad.problems.iter().map(|problem| Self::new("unreadable", problem.to_string())).collect()
    }
}

/// One line each.
pub(crate) fn lines(findings: &[Finding]) -> String {
    let lines: Vec<&str> = findings.iter().map(|finding| finding.message.as_str()).collect();
    lines.join("\n")
}

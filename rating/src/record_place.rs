//! Where a record of a file stands, and the checks of its fields: each defect is noted with its
//! place and reading goes on, so that all of them are told at once.

use tally_schemas::{Currency, TEXT_MAX_BYTES, TokenClass};

use crate::calendar::Windows;
use crate::instant::{Validity, parse_instant};
use crate::version::{Approval, Version};

/// What every record says of its version.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'r> {
    pub(crate) known_from: &'r str,
    pub(crate) source: &'r str,
    pub(crate) approved_by: &'r str,
    pub(crate) approved_at: &'r str,
}

/// Where a record stands, and the defects found in it.
pub(crate) struct Place<'d> {
    /// File and line.
    pub(crate) at: String,
    /// What the record is and its id.
    pub(crate) record: String,
    /// The approval that all records of the file have, whatever they say themselves.
    pub(crate) approval: Option<&'d Approval>,
    pub(crate) defects: &'d mut Vec<String>,
}

impl Place<'_> {
    pub(crate) fn defect(&mut self, field: &str, what: impl std::fmt::Display) {
        self.defects.push(format!("{}, {}: {field}: {what}", self.at, self.record));
    }

    /// The value, or `None` after a defect.
    pub(crate) fn check<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        read: Result<T, E>,
    ) -> Option<T> {
        read.map_err(|what| self.defect(field, what)).ok()
    }

    /// A text that must be there.
    pub(crate) fn required(&mut self, field: &str, text: &str) -> String {
        if text.trim().is_empty() {
            self.defect(field, "is missing");
        } else if text.len() > TEXT_MAX_BYTES {
            // Rows and windows hold these texts beside those of events, which have the same limit.
            self.defect(field, format!("is longer than {TEXT_MAX_BYTES} bytes"));
        }
        text.to_owned()
    }

    /// One of the names of a list.
    pub(crate) fn one_of<T: Copy>(
        &mut self,
        field: &str,
        text: &str,
        names: &[(&str, T)],
    ) -> Option<T> {
        let found = names.iter().find(|(name, _)| *name == text);
        if found.is_none() {
            let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            self.defect(field, format!("{text:?} is none of {}", names.join(", ")));
        }
        found.map(|(_, value)| *value)
    }

    pub(crate) fn integer(&mut self, field: &str, text: &str) -> Option<u64> {
        let read = text.parse::<u64>();
        self.check(field, read.map_err(|_| format!("{text:?} is not a whole number from 0")))
    }

    pub(crate) fn instant(&mut self, field: &str, text: &str) -> Option<i64> {
        if text.is_empty() {
            self.defect(field, "is missing");
            return None;
        }
        self.check(field, parse_instant(text))
    }

    pub(crate) fn validity(&mut self, from: &str, to: Option<&str>) -> Option<Validity> {
        let from_ms = self.instant("valid_from", from);
        let to_ms = match to.filter(|to| !to.is_empty()) {
            Some(to) => Some(self.instant("valid_to", to)?),
            None => None,
        };
        let validity = Validity { from_ms: from_ms?, to_ms };
        if validity.to_ms.is_some_and(|to| to < validity.from_ms) {
            self.defect("valid_to", "lies before valid_from");
        }
        Some(validity)
    }

    /// Who knows the record from when on. What is approved as a whole is known from that approval,
    /// or from later where the record says so: earlier readers of the book must not change their
    /// minds.
    pub(crate) fn version(&mut self, id: &str, origin: Origin<'_>) -> Option<Version> {
        let id = self.required("id", id);
        let (written_ms, known_from_ms, approved) = match self.approval {
            Some(approval) => {
                let written_ms = match origin.known_from {
                    "" => None,
                    text => Some(self.instant("known_from", text)?),
                };
                let known_from_ms = written_ms.unwrap_or(approval.at_ms).max(approval.at_ms);
                (written_ms, known_from_ms, Some(approval.clone()))
            }
            None => {
                let known_from_ms = self.instant("known_from", origin.known_from);
                let approved = match (origin.approved_by, origin.approved_at) {
                    ("", "") => None,
                    (by, at) => {
                        let by = self.required("approved_by", by);
                        Some(Approval { by, at_ms: self.instant("approved_at", at)? })
                    }
                };
                (known_from_ms, known_from_ms?, approved)
            }
        };
        Some(Version {
            id,
            known_from_ms,
            source: origin.source.to_owned(),
            approved,
            place: self.at.clone(),
            written_ms,
        })
    }

    pub(crate) fn class(&mut self, text: &str) -> Option<TokenClass> {
        let class = TokenClass::from_name(text);
        if class.is_none() {
            self.defect("class", format!("{text:?} is not a token class or a counted unit"));
        }
        class
    }

    pub(crate) fn currency(&mut self, text: &str) -> Option<Currency> {
        let currency = Currency::parse(text);
        if currency.is_none() {
            self.defect("currency", format!("{text:?} is not a code like CNY"));
        }
        currency
    }

    pub(crate) fn windows(&mut self, windows: &str, calendar_id: &str) -> Option<Windows> {
        let windows = self.check("windows", Windows::parse(windows))?;
        if windows.is_empty() != calendar_id.is_empty() {
            self.defect("calendar_id", "windows and calendar_id belong together");
        }
        Some(windows)
    }
}

/// A text, absent where it is empty.
pub(crate) fn optional(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

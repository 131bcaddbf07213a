//! The answer to a request with events.

use std::fmt;

use serde::Serialize;
use tally_schemas::EventError;

/// What became of each event of one request.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct Answer {
    /// Events that the log has acknowledged.
    pub(crate) accepted: u64,
    /// Events that were refused; sending them again unchanged does not help.
    pub(crate) rejected: Vec<Rejection>,
    /// What the sender should know about accepted events.
    pub(crate) warnings: Vec<Warning>,
}

/// One refused event, with everything that is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Rejection {
    /// Position in the request: of the array element, the batch element, or the non-blank line.
    pub(crate) index: u64,
    /// Id of the event, where it could be read.
    pub(crate) id: Option<String>,
    /// Code of the defect that caused the refusal.
    pub(crate) code: &'static str,
    /// Words for a person.
    pub(crate) message: String,
    /// Every defect of the event.
    pub(crate) errors: Vec<Defect>,
}

/// One defect of an event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Defect {
    /// Stable code.
    pub(crate) code: &'static str,
    /// Field, as a path; empty for the event as a whole.
    pub(crate) field: String,
    /// Words for a person.
    pub(crate) message: String,
}

impl From<&EventError> for Defect {
    fn from(error: &EventError) -> Self {
        Self {
            code: error.code.as_str(),
            field: shortened(&error.field),
            message: shortened(&error.message),
        }
    }
}

impl fmt::Display for Defect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.field.is_empty() {
            write!(f, "{}: {}", self.code, self.message)
        } else {
            write!(f, "{} at {}: {}", self.code, self.field, self.message)
        }
    }
}

/// Longest text that an answer repeats of a request, in bytes.
pub(crate) const QUOTE_MAX_BYTES: usize = 300;

/// The beginning of a text that may come from a request: an answer must not grow with what
/// somebody puts into the name of a field.
pub(crate) fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(QUOTE_MAX_BYTES)].to_owned()
}

impl Answer {
    /// About how many bytes the answer takes in memory.
    pub(crate) fn size_bytes(&self) -> u64 {
        let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let defect = |d: &Defect| size_of::<Defect>() + d.field.len() + d.message.len();
        let rejected = self.rejected.iter().map(|r| {
            let errors: usize = r.errors.iter().map(defect).sum();
            size_of::<Rejection>() + text(&r.id) + r.message.len() + errors
        });
        let warnings = self
            .warnings
            .iter()
            .map(|w| size_of::<Warning>() + text(&w.id) + text(&w.field) + w.message.len());
        u64::try_from(rejected.sum::<usize>() + warnings.sum::<usize>()).unwrap_or(u64::MAX)
    }
}

/// Something that the sender should know, of one event or of the request as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Warning {
    /// Position in the request, where it is about one event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) index: Option<u64>,
    /// Id of that event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id: Option<String>,
    /// Stable code.
    pub(crate) code: &'static str,
    /// Field that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) field: Option<String>,
    /// Words for a person.
    pub(crate) message: String,
}

impl Warning {
    /// A warning about the request as a whole.
    pub(crate) fn of_request(code: &'static str, message: impl Into<String>) -> Self {
        Self { index: None, id: None, code, field: None, message: message.into() }
    }
}

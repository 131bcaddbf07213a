//! What was looked at, how it is, and what to do.

use std::collections::BTreeMap;

use serde::Serialize;
use tally_schemas::Setting;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It was not looked at; why is said.
    Untried,
    /// It runs like this, at a risk that is said.
    Warning,
    /// It does not run like this, or not for long.
    Wrong,
}

impl State {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Untried => "not tried",
            Self::Warning => "warning",
            Self::Wrong => "WRONG",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// What was looked at.
    pub(super) check: String,
    pub(super) state: State,
    /// How it is, in words.
    pub(super) found: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Finding {
    fn new(check: impl Into<String>, state: State, found: impl Into<String>) -> Self {
        Self { check: check.into(), state, found: found.into(), advice: None }
    }

    pub(super) fn ok(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, State::Ok, found)
    }

    pub(super) fn untried(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, State::Untried, found)
    }

    pub(super) fn warning(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, State::Warning, found)
    }

    pub(super) fn wrong(check: impl Into<String>, found: impl Into<String>) -> Self {
        Self::new(check, State::Wrong, found)
    }

    /// The same, with what to do.
    pub(super) fn advise(self, advice: impl Into<String>) -> Self {
        Self { advice: Some(advice.into()), ..self }
    }
}

/// Where the configuration is from.
pub(super) fn of_settings(settings: &[Setting]) -> Finding {
    let mut origins: BTreeMap<String, usize> = BTreeMap::new();
    for setting in settings {
        *origins.entry(setting.origin.to_string()).or_default() += 1;
    }
    let origins: Vec<String> =
        origins.into_iter().map(|(origin, count)| format!("{count} from {origin}")).collect();
    Finding::ok("configuration", format!("{} settings: {}", settings.len(), origins.join(", ")))
}

/// `3 days`, `5 h`, `40 s`: a time in the unit that fits, rounded down.
pub(super) fn span(ms: i64) -> String {
    match ms / 1_000 {
        s if s >= 172_800 => format!("{} days", s / 86_400),
        s if s >= 7_200 => format!("{} h", s / 3_600),
        s if s >= 120 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// A number of bytes in the unit that fits, rounded down.
pub(super) fn bytes(count: u64) -> String {
    match count {
        n if n >= 10 << 30 => format!("{} GiB", n >> 30),
        n if n >= 10 << 20 => format!("{} MiB", n >> 20),
        n => format!("{n} bytes"),
    }
}

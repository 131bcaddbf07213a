//! Recorded traffic of other programs as usage events, one format a file.

mod azure;
mod jsonl;
mod litellm;
mod mooncake;

use std::borrow::Cow;
use std::fmt;
use std::io::BufRead;
use std::str::FromStr;

use tally_schemas::UsageEvent;

use crate::draws::mix;
use crate::traffic::{EventBody, GeneratedEvent, Outcome};

/// What a recording looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Mooncake's JSON lines: `timestamp`, `input_length`, `output_length`, `hash_ids`.
    Mooncake,
    /// The Azure LLM inference trace: `TIMESTAMP,ContextTokens,GeneratedTokens`.
    Azure,
    /// Native usage events and commands, one a line, passed on as they are.
    Jsonl,
    /// LiteLLM's `StandardLoggingPayload` or spend logs, one a line.
    Litellm,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 4] = [Self::Mooncake, Self::Azure, Self::Jsonl, Self::Litellm];

    /// Name on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mooncake => "mooncake",
            Self::Azure => "azure",
            Self::Jsonl => "jsonl",
            Self::Litellm => "litellm",
        }
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let known: Vec<&str> = Self::ALL.into_iter().map(Self::name).collect();
            format!("known formats: {}", known.join(", "))
        })
    }
}

/// How a recording is turned into events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplayOptions {
    /// Traces tell distances, not dates that matter today: they are moved so that their last
    /// request is at this time, milliseconds UTC. Native events and LiteLLM logs keep theirs.
    pub end_ms: i64,
    /// Tells recordings apart in the ids of their events, such as the file's name.
    pub name: String,
}

/// What is wrong with a recording.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The file cannot be read.
    #[error("line {line}: {error}")]
    Read {
        /// Line, from 1.
        line: u64,
        /// Why.
        error: std::io::Error,
    },
    /// A line is not what the format says.
    #[error("line {line}: {message}")]
    Invalid {
        /// Line, from 1.
        line: u64,
        /// What is wrong.
        message: String,
    },
}

impl ReplayError {
    fn invalid(line: u64, message: impl fmt::Display) -> Self {
        Self::Invalid { line, message: message.to_string() }
    }
}

type Events = Box<dyn Iterator<Item = Result<GeneratedEvent, ReplayError>> + Send>;

/// Iterates over a recording's events, in the order in which they are written.
pub struct Recording {
    events: Events,
    total: Option<u64>,
}

impl Recording {
    /// Reads a recording. Traces, which must be moved in time, are read whole; the others line by
    /// line as the iterator goes.
    ///
    /// # Errors
    /// A trace that cannot be read.
    pub fn read(
        format: Format,
        input: Box<dyn BufRead + Send>,
        options: ReplayOptions,
    ) -> Result<Self, ReplayError> {
        match format {
            Format::Mooncake => Ok(Self::of_trace(mooncake::read(input)?, options)),
            Format::Azure => Ok(Self::of_trace(azure::read(input)?, options)),
            Format::Jsonl => Ok(Self { events: Box::new(jsonl::read(input)), total: None }),
            Format::Litellm => Ok(Self { events: Box::new(litellm::read(input)), total: None }),
        }
    }

    /// Number of events, where it is known before they are read.
    pub fn total(&self) -> Option<u64> {
        self.total
    }

    fn of_trace(calls: Vec<TracedCall>, options: ReplayOptions) -> Self {
        let total = u64::try_from(calls.len()).ok();
        let last_ms = calls.iter().map(|call| call.at_ms).max().unwrap_or(0);
        let shift_ms = options.end_ms - last_ms;
        let events = (1_u64..)
            .zip(calls)
            .map(move |(row, call)| Ok(call.into_event(row, shift_ms, &options)));
        Self { events: Box::new(events), total }
    }
}

impl Iterator for Recording {
    type Item = Result<GeneratedEvent, ReplayError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.events.next()
    }
}

impl fmt::Debug for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Recording").field("total", &self.total).finish_non_exhaustive()
    }
}

/// A call of a trace, which names neither accounts nor dates that matter.
struct TracedCall {
    /// Milliseconds from any beginning.
    at_ms: i64,
    /// Calls of one account share it.
    account: u64,
    event: UsageEvent<'static>,
}

/// Accounts that the calls of a trace are spread over.
const TRACE_ACCOUNTS: u64 = 2_000;

impl TracedCall {
    fn into_event(self, row: u64, shift_ms: i64, options: &ReplayOptions) -> GeneratedEvent {
        let Self { at_ms, account, mut event } = self;
        let account = format!("A{:09}", 900_000_000 + mix(account) % TRACE_ACCOUNTS);
        let at_ms = at_ms + shift_ms;
        event.id = Cow::Owned(format!("{}-{:x}-{row}", options.name, options.end_ms));
        event.account = Cow::Owned(account.clone());
        event.completed_at_ms = Some(at_ms);
        event.finish_reason = Some(Cow::Borrowed("stop"));
        event.channel = Some(Cow::Borrowed("api"));
        GeneratedEvent {
            account,
            arrival_ms: at_ms,
            vendor: None,
            body: EventBody::Event(Box::new(event)),
            expected: Outcome::Accepted,
        }
    }
}

/// The non-empty lines of a text with their numbers from 1.
fn lines(
    mut input: Box<dyn BufRead + Send>,
) -> impl Iterator<Item = Result<(u64, Vec<u8>), ReplayError>> + Send {
    let mut number = 0;
    std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            number += 1;
            match input.read_until(b'\n', &mut line) {
                Ok(0) => return None,
                Ok(_) => {
                    let kept = line.trim_ascii_end().len();
                    line.truncate(kept);
                    if !line.is_empty() {
                        return Some(Ok((number, line)));
                    }
                }
                Err(error) => return Some(Err(ReplayError::Read { line: number, error })),
            }
        }
    })
}

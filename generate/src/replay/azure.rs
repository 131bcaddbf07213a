//! Azure's public traces of LLM inference: time, prompt tokens and generated tokens.

use std::borrow::Cow;
use std::io::BufRead;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::Deserialize;
use tally_schemas::{TokenClass, UsageCounts, UsageEvent};

use super::{ReplayError, TracedCall};

#[derive(Deserialize)]
struct Row {
    #[serde(rename = "TIMESTAMP")]
    timestamp: String,
    #[serde(rename = "ContextTokens")]
    context_tokens: u64,
    #[serde(rename = "GeneratedTokens")]
    generated_tokens: u64,
}

/// Rows that belong to one account: the trace does not name any.
const ROWS_PER_ACCOUNT: u64 = 25;

pub(super) fn read(input: Box<dyn BufRead + Send>) -> Result<Vec<TracedCall>, ReplayError> {
    let mut reader = csv::Reader::from_reader(input);
    // Line 1 is the header.
    (2_u64..)
        .zip(reader.deserialize())
        .map(|(line, row)| {
            let row: Row = row.map_err(|e| ReplayError::invalid(line, e))?;
            let at: DateTime = row.timestamp.parse().map_err(|e| ReplayError::invalid(line, e))?;
            let at = at.to_zoned(TimeZone::UTC).map_err(|e| ReplayError::invalid(line, e))?;
            let mut usage = UsageCounts::default();
            usage.set(TokenClass::Requests, 1);
            usage.set(TokenClass::Input, row.context_tokens);
            usage.set(TokenClass::Output, row.generated_tokens);
            Ok(TracedCall {
                at_ms: at.timestamp().as_millisecond(),
                account: line / ROWS_PER_ACCOUNT,
                event: UsageEvent {
                    source: Cow::Borrowed("trace-azure"),
                    model: Cow::Borrowed("gpt-5.5"),
                    vendor: Some(Cow::Borrowed("openai")),
                    supplier: Some(Cow::Borrowed("azure")),
                    usage,
                    ..UsageEvent::default()
                },
            })
        })
        .collect()
}

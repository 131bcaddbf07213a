//! Mooncake's traces of Kimi. The prompt comes as ids of its 512-token blocks; a leading block
//! that an earlier request already used was read from the cache.

use std::borrow::Cow;
use std::collections::HashSet;
use std::io::BufRead;

use serde::Deserialize;
use tally_schemas::{TokenClass, UsageCounts, UsageEvent};

use super::{ReplayError, TracedCall, lines};

const BLOCK_TOKENS: u64 = 512;

/// No recording is further from its beginning, or from 1970 where it writes dates: times are moved
/// by what they are apart.
const TIME_MAX_MS: i64 = 100_000_000_000_000;

#[derive(Deserialize)]
struct Row {
    /// Milliseconds from the start of the recording.
    timestamp: i64,
    input_length: u64,
    output_length: u64,
    hash_ids: Vec<u64>,
}

pub(super) fn read(input: Box<dyn BufRead + Send>) -> Result<Vec<TracedCall>, ReplayError> {
    let mut seen = HashSet::new();
    lines(input)
        .map(|line| {
            let (number, line) = line?;
            let row: Row =
                serde_json::from_slice(&line).map_err(|e| ReplayError::invalid(number, e))?;
            if !(-TIME_MAX_MS..=TIME_MAX_MS).contains(&row.timestamp) {
                let what = format!("timestamp {} is beyond any recording", row.timestamp);
                return Err(ReplayError::invalid(number, what));
            }
            let cached = cached_tokens(&row, &seen);
            seen.extend(row.hash_ids.iter().copied());
            let mut usage = UsageCounts::default();
            usage.set(TokenClass::Requests, 1);
            usage.set(TokenClass::Input, row.input_length - cached);
            usage.set(TokenClass::CachedInput, cached);
            usage.set(TokenClass::Output, row.output_length);
            Ok(TracedCall {
                at_ms: row.timestamp,
                // The first block is the shared system prompt; the second tells conversations apart.
                account: row.hash_ids.get(1).copied().unwrap_or(number),
                event: UsageEvent {
                    source: Cow::Borrowed("trace-mooncake"),
                    model: Cow::Borrowed("kimi-k3"),
                    vendor: Some(Cow::Borrowed("moonshot")),
                    usage,
                    ..UsageEvent::default()
                },
            })
        })
        .collect()
}

/// 512 for each leading block already used, at most the prompt: its last block may be shorter.
fn cached_tokens(row: &Row, seen: &HashSet<u64>) -> u64 {
    let blocks = row.hash_ids.iter().take_while(|id| seen.contains(id)).count();
    u64::try_from(blocks).unwrap_or(u64::MAX).saturating_mul(BLOCK_TOKENS).min(row.input_length)
}

//! Native usage events and commands, one a line. They are passed on byte by byte, bad ones too:
//! what is wrong with them is the stream's to say.

use std::io::BufRead;

use tally_schemas::parse_event;

use super::{ReplayError, lines};
use crate::traffic::{EventBody, GeneratedEvent, Outcome};

pub(super) fn read(
    input: Box<dyn BufRead + Send>,
) -> impl Iterator<Item = Result<GeneratedEvent, ReplayError>> + Send {
    let mut last_ms = 0;
    lines(input).map(move |line| {
        let (_, line) = line?;
        let parsed = parse_event(&line).event;
        // An event without a readable time goes out together with the one before it.
        last_ms = parsed.completed_at_ms.unwrap_or(last_ms);
        Ok(GeneratedEvent {
            account: parsed.account.to_string(),
            arrival_ms: last_ms,
            vendor: None,
            body: EventBody::Raw(line),
            expected: Outcome::Unjudged,
        })
    })
}

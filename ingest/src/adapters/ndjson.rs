//! Newline-delimited JSON: one event a line; blank lines do not count. A line that cannot be read
//! is refused alone.

use serde::de::DeserializeSeed;
use tally_schemas::parse_event;

use super::BodyError;
use super::json::unparseable;
use crate::intake::{Intake, Verdict};
use crate::known_fields::KnownFieldsSeed;

/// Reads the body.
///
/// # Errors
/// Too many events.
pub(super) fn read(body: &[u8], intake: &mut Intake) -> Result<(), BodyError> {
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.trim_ascii();
        if line.is_empty() {
            continue;
        }
        let parsed = parse_event(line);
        if let Verdict::Held(index) = intake.event(&parsed)? {
            let mut reader = serde_json::Deserializer::from_slice(line);
            let fields = KnownFieldsSeed.deserialize(&mut reader).map_err(unparseable)?;
            intake.hold(index, &fields);
        }
    }
    Ok(())
}

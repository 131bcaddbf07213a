//! A tick: the clock as an input of the log, so that what is due by time alone comes in a replay
//! exactly where it came before. See `docs/adr/0008-alerts.md`.

use serde::{Deserialize, Serialize};

/// Name of the command.
pub(crate) const TICK: &str = "tick";

/// `{"command":"tick","at":MS}`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tick {
    command: String,
    at: i64,
}

/// The value of a tick's record: by `at_ms`, milliseconds UTC, everything older has come.
pub(crate) fn write_tick(at_ms: i64) -> Vec<u8> {
    format!("{{\"command\":\"{TICK}\",\"at\":{at_ms}}}").into_bytes()
}

/// The time of a tick.
///
/// # Errors
/// What is wrong with it. Nothing came before 1970: whoever may write to the log could else make
/// the first watermark of a partition one that no time can be reckoned from.
pub(crate) fn read_tick(bytes: &[u8]) -> Result<i64, String> {
    match serde_json::from_slice::<Tick>(bytes) {
        Ok(tick) if tick.at < 0 => Err("before 1970".to_owned()),
        Ok(tick) => Ok(tick.at),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tick_has_a_time_and_nothing_else() {
        assert_eq!(read_tick(&write_tick(1_795_326_157_827)), Ok(1_795_326_157_827));
        for wrong in [
            r#"{"command":"tick"}"#,
            r#"{"command":"tick","at":1.5}"#,
            r#"{"command":"tick","at":"2026-11-22T14:22:37Z"}"#,
            r#"{"command":"tick","at":1,"account":"A1"}"#,
            r#"{"command":"tick","at":-9223372036854775808}"#,
        ] {
            assert!(read_tick(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}

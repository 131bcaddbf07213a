//! Results on standard output. A reader that has seen enough, such as `head`, is no failure.

use std::fmt::Display;
use std::io::{ErrorKind, Write};

use jiff::Timestamp;
use serde_json::json;

use crate::cli::LogFormat;
use crate::exit::Failure;

/// Prints a result and a line break.
pub(crate) fn print(result: impl Display) -> Result<(), Failure> {
    print_bytes(format!("{result}\n").as_bytes())
}

/// What a process says of itself when it starts, such as where it listens. Scripts read the words;
/// where the log is JSON, they are the message of an object like those of the log.
pub(crate) fn announcement(format: LogFormat, words: &str) -> String {
    match format {
        LogFormat::Text => words.to_owned(),
        LogFormat::Json => {
            let timestamp = Timestamp::now().to_string();
            let fields = json!({ "message": words });
            json!({ "timestamp": timestamp, "level": "INFO", "fields": fields, "target": "tally" })
                .to_string()
        }
    }
}

/// Prints a part of a result as it is.
pub(crate) fn print_bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(bytes).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::internal(format!("standard output: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_announcement_is_one_line_in_either_format() {
        let words = "listening on http://127.0.0.1:8080 and \"more\"";
        assert_eq!(announcement(LogFormat::Text, words), words);
        let line = announcement(LogFormat::Json, words);
        assert!(!line.contains('\n'), "{line}");
        let object: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(object["fields"]["message"], words);
        assert_eq!((&object["level"], &object["target"]), (&json!("INFO"), &json!("tally")));
        assert!(object["timestamp"].as_str().unwrap().parse::<Timestamp>().is_ok());
    }
}

//! Whatever a recording holds is turned into events or refused with its line: never a panic.

use std::io::{BufRead, Cursor};

use proptest::prelude::*;
use tally_generate::{Format, Recording, ReplayOptions};

/// Two lines of each format, in the order of [`Format::ALL`].
const SAMPLES: [&str; 4] = [
    "{\"timestamp\": 0, \"input_length\": 6955, \"output_length\": 52, \"hash_ids\": [46, 47]}\n{\"timestamp\": 3000, \"input_length\": 6472, \"output_length\": 26, \"hash_ids\": [46]}\n",
    "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.6805900,374,44\n2023-11-16 18:15:50.9951690,396,109\n",
    "{\"source\":\"gw\",\"id\":\"1\",\"account\":\"A\",\"model\":\"glm-5\",\"completed_at\":1,\"usage\":{\"input\":5}}\n",
    "{\"id\":\"chatcmpl-1\",\"model\":\"gpt-5.5\",\"startTime\":1795326155.827,\"endTime\":1795326156.9,\"prompt_tokens\":30,\"completion_tokens\":5,\"end_user\":\"U1\",\"metadata\":{\"user_api_key_team_id\":\"t\"}}\n",
];

const SPOILERS: [&str; 18] = [
    "",
    " ",
    "\"",
    ",",
    ":",
    "{",
    "}",
    "[",
    "\n",
    "-",
    ".",
    "e400",
    "0",
    "9999999999999999999",
    "null",
    "\u{0}",
    "上",
    "\\u0000",
];

fn read(format: Format, bytes: Vec<u8>) {
    let input: Box<dyn BufRead + Send> = Box::new(Cursor::new(bytes));
    let options = ReplayOptions { end_ms: 1_795_326_157_827, name: "any".to_owned() };
    let Ok(recording) = Recording::read(format, input, options) else { return };
    for event in recording.take(10) {
        drop(event);
    }
}

proptest! {
    #[test]
    fn spoilt_recordings_are_read_or_refused(
        sample in 0..SAMPLES.len(),
        spots in prop::collection::vec((any::<prop::sample::Index>(), 0..SPOILERS.len(), 0..4_usize), 0..5),
    ) {
        let mut bytes = SAMPLES[sample].as_bytes().to_vec();
        for (at, spoiler, removed) in &spots {
            let start = at.index(bytes.len() + 1);
            let end = (start + removed).min(bytes.len());
            bytes.splice(start..end, SPOILERS[*spoiler].bytes());
        }
        read(Format::ALL[sample], bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(
        format in 0..SAMPLES.len(),
        bytes in prop::collection::vec(any::<u8>(), 0..120),
    ) {
        read(Format::ALL[format], bytes);
    }
}

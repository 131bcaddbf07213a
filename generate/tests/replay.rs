//! Recorded traffic of other programs.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a test may stop at the first surprise"
)]

use std::io::{BufRead, BufReader, Cursor};
use std::path::Path;

use tally_generate::{
    EventBody, Format, GeneratedEvent, Outcome, Recording, ReplayOptions, Truth, encode_json,
};
use tally_schemas::{SuspenseReason, TokenClass, UsageEvent, parse_event};

const END_MS: i64 = 1_795_326_157_827;

fn options() -> ReplayOptions {
    ReplayOptions { end_ms: END_MS, name: "sample".to_owned() }
}

fn replay(format: Format, text: &str) -> Vec<GeneratedEvent> {
    let input: Box<dyn BufRead + Send> = Box::new(Cursor::new(text.as_bytes().to_vec()));
    Recording::read(format, input, options()).unwrap().map(Result::unwrap).collect()
}

fn usage_event(event: &GeneratedEvent) -> &UsageEvent<'static> {
    match &event.body {
        EventBody::Event(event) => event,
        EventBody::Raw(bytes) => panic!("raw: {}", String::from_utf8_lossy(bytes)),
    }
}

fn counts(event: &GeneratedEvent, classes: [TokenClass; 3]) -> [u64; 3] {
    classes.map(|class| usage_event(event).usage.get(class))
}

use TokenClass::{AudioOutput, CacheWrite1h, CacheWrite5m, CachedInput, Input, Output, Reasoning};

#[test]
fn mooncake_blocks_seen_before_are_cached_up_to_the_first_new_one() {
    let events = replay(
        Format::Mooncake,
        r#"{"timestamp": 0, "input_length": 1100, "output_length": 50, "hash_ids": [0, 1, 2]}
{"timestamp": 1500, "input_length": 1500, "output_length": 7, "hash_ids": [0, 9, 2]}
{"timestamp": 9000, "input_length": 1100, "output_length": 3, "hash_ids": [0, 1, 2]}
"#,
    );
    let classes = [Input, CachedInput, Output];
    assert_eq!(counts(&events[0], classes), [1100, 0, 50]);
    // Block 2 was seen, but stands behind a new one.
    assert_eq!(counts(&events[1], classes), [988, 512, 7]);
    // The last block is shorter than 512.
    assert_eq!(counts(&events[2], classes), [0, 1100, 3]);
    // One conversation, one account; the recording ends where it was asked to.
    assert_eq!(events[0].account, events[2].account);
    let ends: Vec<i64> = events.iter().map(|event| event.arrival_ms - END_MS).collect();
    assert_eq!(ends, [-9000, -7500, 0]);
}

#[test]
fn a_time_beyond_any_recording_is_named_with_its_line() {
    for timestamp in [i64::MIN, i64::MAX, 100_000_000_000_001] {
        let line = |timestamp: i64| {
            format!(
                r#"{{"timestamp": {timestamp}, "input_length": 1, "output_length": 1, "hash_ids": []}}"#
            )
        };
        let text = format!("{}\n{}\n", line(0), line(timestamp));
        let input = Box::new(Cursor::new(text.into_bytes()));
        let error = Recording::read(Format::Mooncake, input, options()).unwrap_err();
        let words = format!("line 2: timestamp {timestamp} is beyond any recording");
        assert_eq!(error.to_string(), words);
    }
}

#[test]
fn azure_times_keep_their_distances_to_the_millisecond() {
    let events = replay(
        Format::Azure,
        "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9799600,4808,10\n2023-11-16 18:17:04.0319600,3180,8\n",
    );
    assert_eq!(events[1].arrival_ms, END_MS);
    assert_eq!(events[1].arrival_ms - events[0].arrival_ms, 52);
    assert_eq!(counts(&events[0], [Input, CachedInput, Output]), [4808, 0, 10]);
}

#[test]
fn native_events_pass_byte_by_byte_bad_ones_too() {
    let good = r#"{"source":"gw","id":"1","account":"A1","model":"glm-5","completed_at":5000,"usage":{"input":1}}"#;
    let events = replay(Format::Jsonl, &format!("{good}\n\n{{\"broken\n"));
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].body, EventBody::Raw(good.as_bytes().to_vec()));
    assert_eq!((events[0].account.as_str(), events[0].arrival_ms), ("A1", 5000));
    assert_eq!((events[1].account.as_str(), events[1].arrival_ms), ("", 5000));
    assert!(Truth::new(0).add(&events[0]).is_err(), "what becomes of it is not known here");
}

#[test]
fn litellm_classes_become_disjoint() {
    let events = replay(
        Format::Litellm,
        r#"{"id":"chatcmpl-1","call_type":"acompletion","status":"success","model":"deepseek/deepseek-v4-pro","model_group":"pro","custom_llm_provider":"deepseek","startTime":1795326155.5,"endTime":1795326157.827,"total_tokens":1579,"prompt_tokens":1234,"completion_tokens":345,"end_user":"S1","cache_hit":false,"metadata":{"user_api_key_team_id":"team-7","usage_object":{"prompt_tokens":1234,"completion_tokens":345,"prompt_tokens_details":{"cached_tokens":800},"completion_tokens_details":{"reasoning_tokens":120}}},"messages":"never read"}
{"request_id":"r2","model":"claude-opus","custom_llm_provider":"anthropic","startTime":"2026-11-22T06:22:30Z","endTime":"2026-11-22 06:22:37.827000","prompt_tokens":1000,"completion_tokens":10,"total_tokens":1010,"user":"u-1","cache_hit":"True","metadata":"{\"usage_object\":{\"cache_read_input_tokens\":600,\"cache_creation_input_tokens\":300,\"prompt_tokens_details\":{\"cache_creation_token_details\":{\"ephemeral_1h_input_tokens\":100}}}}"}
"#,
    );
    let first = usage_event(&events[0]);
    assert_eq!(counts(&events[0], [Input, CachedInput, Reasoning]), [434, 800, 120]);
    assert_eq!((&*first.account, first.subscriber()), ("team-7", "S1"));
    assert_eq!((&*first.model, first.billed_model.as_deref()), ("pro", Some("deepseek-v4-pro")));
    assert_eq!(first.completed_at_ms, Some(END_MS));
    assert_eq!(first.started_at_ms, Some(1_795_326_155_500));
    let second = usage_event(&events[1]);
    assert_eq!(counts(&events[1], [Input, CacheWrite5m, CacheWrite1h]), [100, 200, 100]);
    assert_eq!(second.completed_at_ms, Some(1_795_328_557_827));
    assert_eq!(second.labels.len(), 1);
    assert!(events.iter().all(|event| event.expected == Outcome::Accepted));
}

#[test]
fn litellm_counts_that_contradict_each_other_go_to_suspense_as_they_are() {
    let line = |counts: &str| {
        let text = format!(
            r#"{{"id":"x","model":"gpt-5.5","custom_llm_provider":"openai","startTime":1,"endTime":2,"user":"u",{counts}}}"#
        );
        replay(Format::Litellm, &text).remove(0)
    };
    for (counts, reason) in [
        (
            r#""prompt_tokens":10,"completion_tokens":1,"metadata":{"usage_object":{"prompt_tokens_details":{"cached_tokens":11}}}"#,
            SuspenseReason::InvalidCount,
        ),
        (
            r#""prompt_tokens":10,"completion_tokens":1,"total_tokens":12"#,
            SuspenseReason::ClassesDoNotAddUp,
        ),
        (
            r#""prompt_tokens":10,"completion_tokens":1,"metadata":{"usage_object":{"completion_tokens_details":{"reasoning_tokens":2}}}"#,
            SuspenseReason::ClassesDoNotAddUp,
        ),
    ] {
        let event = line(counts);
        assert_eq!(event.expected, Outcome::Suspended(reason), "{counts}");
        let EventBody::Raw(bytes) = &event.body else { panic!("{counts}") };
        let parsed = parse_event(bytes);
        assert_eq!(parsed.errors.len(), 1, "{:?}", parsed.errors);
        assert_eq!(parsed.errors[0].code.reason(), reason);
    }
    let audio = line(
        r#""prompt_tokens":10,"completion_tokens":9,"metadata":{"usage_object":{"completion_tokens_details":{"audio_tokens":4}}}"#,
    );
    assert_eq!(counts(&audio, [Input, Output, AudioOutput]), [10, 5, 4]);
}

#[test]
fn a_line_that_cannot_be_read_is_named() {
    for (format, text) in [
        (Format::Mooncake, "{\"timestamp\":0}\n"),
        (Format::Azure, "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,2\n"),
        (Format::Litellm, "{\"id\":\"x\"}\n"),
        (
            Format::Litellm,
            "{\"id\":\"x\",\"model\":\"m\",\"custom_llm_provider\":\"v\",\"startTime\":1,\"endTime\":2,\"user\":\"u\",\"prompt_tokens\":18446744073709551615,\"completion_tokens\":18446744073709551615,\"total_tokens\":5}\n",
        ),
    ] {
        let input: Box<dyn BufRead + Send> = Box::new(Cursor::new(text.as_bytes().to_vec()));
        let error = match Recording::read(format, input, options()) {
            Err(error) => error,
            Ok(mut events) => events.next().unwrap().unwrap_err(),
        };
        let line = if format == Format::Azure { 2 } else { 1 };
        assert!(error.to_string().starts_with(&format!("line {line}:")), "{error}");
    }
}

/// The recordings that are kept beside the project, not in it.
#[test]
fn real_traces_replay_whole() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/traces");
    for (format, name, rows) in [
        (Format::Mooncake, "mooncake_conversation.jsonl", 12_031_u64),
        (Format::Azure, "azure_code_2023.csv", 8_819),
    ] {
        let Ok(file) = std::fs::File::open(folder.join(name)) else {
            println!(
                "skipped: the trace {name} is not there; put it into shared/data/traces beside the project"
            );
            continue;
        };
        let recording = Recording::read(format, Box::new(BufReader::new(file)), options()).unwrap();
        assert_eq!(recording.total(), Some(rows));
        let mut truth = Truth::new(0);
        for event in recording {
            let event = event.unwrap();
            truth.add(&event).unwrap();
            let mut bytes = Vec::new();
            encode_json(usage_event(&event), &mut bytes).unwrap();
            assert_eq!(parse_event(&bytes).errors, []);
        }
        assert_eq!((truth.sent, truth.accepted), (rows, rows));
        println!("{name}: {:?}", truth.tokens);
    }
}

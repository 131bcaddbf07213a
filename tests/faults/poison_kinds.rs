//! R16: more than a hundred ways in which a record can be bad, with the reason that each must be
//! held back for, and a few that only look bad.

use serde_json::{Value, json};
use tally_generate::Truth;
use tally_schemas::{SuspenseReason as Reason, partition_of};

use crate::support::{OwnEvent, Payload, add_accepted};

/// What must become of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// One row of `usage_events`.
    Accepted,
    /// One row of `suspense`.
    HeldBack(Reason),
}

/// How `suspense.raw` shows what was held back.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Shown {
    /// The bytes of the record: as text, or in hex where they are none.
    Record,
    /// The event of a batch in hex: as JSON it would not be what it was.
    Message,
    /// The event of a batch as JSON.
    Json(Value),
}

/// A record and what must become of it.
#[derive(Debug, Clone)]
pub(crate) struct Poison {
    /// What is bad.
    pub(crate) name: String,
    /// The record.
    pub(crate) payload: Payload,
    /// What must become of it.
    pub(crate) expected: Expected,
    /// How it is shown where it is held back.
    pub(crate) shown: Shown,
    /// Which event of its batch it is.
    pub(crate) batch_index: u64,
    /// Good events before it in its batch, of [`BESIDE`].
    pub(crate) beside: usize,
}

/// Tokens of a good event beside a bad one.
const BESIDE: [(&str, u64); 2] = [("input", 5), ("requests", 1)];

impl Poison {
    /// The event of a batch that has one.
    fn message(&self) -> &[u8] {
        // One byte says that an event comes, one how long it is.
        &self.payload.value.as_deref().unwrap()[2..]
    }

    /// What is wrong with a row's `raw`, if anything is.
    pub(crate) fn shown_otherwise(&self, raw: Option<&str>) -> Option<&'static str> {
        let (Some(value), Some(raw)) = (&self.payload.value, raw) else {
            let nothing = self.payload.value.is_none() && raw.is_none();
            return (!nothing).then_some("with a payload where there was none, or without one");
        };
        let same = match &self.shown {
            Shown::Record => raw == as_text(value),
            Shown::Message => raw == in_hex(self.message()),
            Shown::Json(event) => {
                serde_json::from_str::<Value>(raw).is_ok_and(|shown| shown == *event)
            }
        };
        (!same).then_some("with another payload")
    }
}

impl Poison {
    /// Adds what must come of its record to the truth.
    pub(crate) fn add_to(&self, truth: &mut Truth) {
        match self.expected {
            Expected::Accepted => {
                OwnEvent::of(self.payload.value.as_deref().unwrap()).add_to(truth);
            }
            Expected::HeldBack(reason) => {
                truth.sent += 1;
                *truth.suspended.entry(reason.as_str().to_owned()).or_default() += 1;
                for _ in 0..self.beside {
                    let tokens = BESIDE.map(|(class, count)| (class.to_owned(), count));
                    add_accepted(truth, "deepseek-flash", "deepseek", &tokens.into());
                }
            }
        }
    }
}

/// A payload as text, or in hex where it is none.
fn as_text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap_or_else(|_| in_hex(bytes))
}

fn in_hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut text = String::from("hex:");
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

/// Partitions of the topic, and now.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) partitions: u32,
    pub(crate) now_ms: i64,
}

const ACCOUNT: &str = "A000000042";
const DAY_MS: i64 = 86_400_000;

impl Place {
    /// A good event of an id.
    pub(crate) fn event(self, id: &str) -> Value {
        json!({
            "source": "gw-poison-01", "id": id, "account": ACCOUNT, "model": "deepseek-flash",
            "completed_at": self.now_ms - 5_000,
            "usage": {"input": 434, "output": 345, "reasoning": 120},
        })
    }

    fn home(self) -> u32 {
        partition_of(ACCOUNT, self.partitions)
    }

    fn record(self, name: &str, value: Option<Vec<u8>>, expected: Expected) -> Poison {
        let payload = Payload { partition: self.home(), value, batch: false };
        Poison {
            name: name.to_owned(),
            payload,
            expected,
            shown: Shown::Record,
            batch_index: 0,
            beside: 0,
        }
    }

    fn raw(self, name: &str, value: &[u8], reason: Reason) -> Poison {
        self.record(name, Some(value.to_vec()), Expected::HeldBack(reason))
    }

    /// A good event with one field, named by a JSON pointer, replaced by a JSON text as it is.
    fn with(self, pointer: &str, text: &str, expected: Expected) -> Poison {
        const MARK: &str = "\"@@\"";
        let name = format!("{pointer} = {}", text.chars().take(60).collect::<String>());
        let mut event = self.event(&name);
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        event.pointer_mut(parent).unwrap()[field] = json!("@@");
        let bytes = event.to_string().replace(MARK, text).into_bytes();
        let mut poison = self.record(&name, Some(bytes), expected);
        if pointer == "/account"
            && let Ok(Value::String(account)) = serde_json::from_str(text)
        {
            poison.payload.partition = partition_of(&account, self.partitions);
        }
        poison
    }

    fn without(self, field: &str, reason: Reason) -> Poison {
        let name = format!("no {field}");
        let mut event = self.event(&name);
        event.as_object_mut().unwrap().remove(field);
        self.raw(&name, event.to_string().as_bytes(), reason)
    }
}

/// Every kind.
pub(crate) fn kinds(place: Place) -> Vec<Poison> {
    let mut all = bytes_that_are_no_event(place);
    all.extend(wrong_fields(place));
    all.extend(wrong_counts(place));
    all.extend(wrong_times(place));
    all.extend(wrong_batches(place));
    all.extend(wrong_for_the_stream(place));
    all.extend(only_odd(place));
    all
}

fn bytes_that_are_no_event(place: Place) -> Vec<Poison> {
    let whole = place.event("torn").to_string();
    let class_twice = place.event("class twice").to_string();
    let total_twice = place.event("total twice").to_string();
    let with_end = |id: &str, end: &str| place.event(id).to_string() + end;
    let repeated = |id: &str, field: &str| {
        let mut text = place.event(id).to_string();
        text.truncate(text.len() - 1);
        format!("{text},{field}}}")
    };
    let kinds: Vec<(&str, Vec<u8>)> = vec![
        ("empty", Vec::new()),
        ("blank", b" \r\n\t ".to_vec()),
        ("one brace", b"{".to_vec()),
        ("torn in the middle", whole.as_bytes()[..whole.len() / 2].to_vec()),
        ("torn at the last byte", whole.as_bytes()[..whole.len() - 1].to_vec()),
        ("an array", format!("[{whole}]").into_bytes()),
        ("a number", b"42".to_vec()),
        ("a text", b"\"usage\"".to_vec()),
        ("null", b"null".to_vec()),
        ("true", b"true".to_vec()),
        ("plain words", b"usage=12 tokens".to_vec()),
        ("not UTF-8", b"\xff\xfe\x00 usage".to_vec()),
        ("UTF-16", whole.encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("byte order mark", [b"\xef\xbb\xbf".as_slice(), whole.as_bytes()].concat()),
        ("zeros", vec![0; 512]),
        ("gzip", b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03".to_vec()),
        ("XML", b"<usage id=\"1\"/>".to_vec()),
        ("garbage after the end", with_end("after", " x").into_bytes()),
        ("two events", with_end("two", &whole).into_bytes()),
        ("a comma at the end", whole.replace("\"model\"", ",\"model\"").into_bytes()),
        ("single quotes", whole.replace('"', "'").into_bytes()),
        ("a comment", whole.replacen('{', "{/* */", 1).into_bytes()),
        ("nested 100,000 deep", vec![b'['; 100_000]),
        ("id twice", repeated("twice", "\"id\":\"other\"").into_bytes()),
        ("usage twice", repeated("usage twice", "\"usage\":{\"input\":1}").into_bytes()),
        ("a class twice", class_twice.replace("434", "434,\"input\":1").into_bytes()),
        ("total twice", total_twice.replace("434", "434,\"total\":1,\"total\":1").into_bytes()),
        ("protobuf without its header", vec![0x0a, 0x03, b'a', b'b', b'c']),
        ("10 MB of nothing", vec![b' '; 10_000_000]),
        ("10 MB of garbage", vec![0xfe; 10_000_000]),
    ];
    let mut all: Vec<Poison> =
        kinds.into_iter().map(|(name, bytes)| place.raw(name, &bytes, Reason::Malformed)).collect();
    let event = "torn before it comes whole";
    let whole = place.event(event).to_string().into_bytes();
    all.push(place.raw("torn before", &whole[..whole.len() - 1], Reason::Malformed));
    all.push(place.record(event, Some(whole), Expected::Accepted));
    all.push(place.record("tombstone", None, Expected::HeldBack(Reason::Tombstone)));
    let malformed = Expected::HeldBack(Reason::Malformed);
    let nested = "[".repeat(1_000) + &"]".repeat(1_000);
    for (pointer, text) in [
        ("/usage/input", "NaN"),
        ("/usage/input", "Infinity"),
        ("/usage/input", "-Infinity"),
        ("/usage/input", "0x10"),
        ("/usage/input", "012"),
        ("/usage/input", "+12"),
        ("/usage/input", "1_000"),
        ("/usage/input", "12."),
        ("/usage/input", "1e400"),
        ("/usage/input", ""),
        ("/model", "\"a\u{0}b\""),
        ("/model", "\"\\ud800\""),
        ("/model", "\"\\x41\""),
        ("/model", "undefined"),
        ("/model", "True"),
        ("/labels", &*nested),
    ] {
        all.push(place.with(pointer, text, malformed));
    }
    all
}

fn wrong_fields(place: Place) -> Vec<Poison> {
    let long = format!("\"{}\"", "x".repeat(257));
    let labels: Vec<String> = (0..65).map(|label| format!("\"l{label}\":\"\"")).collect();
    let labels = format!("{{{}}}", labels.join(","));
    let nested = "[".repeat(1_000) + &"]".repeat(1_000);
    let identity = ["source", "id", "account", "completed_at"];
    let mut all: Vec<Poison> =
        identity.into_iter().map(|field| place.without(field, Reason::MissingIdentity)).collect();
    all.push(place.without("model", Reason::Incomplete));
    all.push(place.without("usage", Reason::Incomplete));
    for (pointer, text, reason) in [
        ("/source", "\"\"", Reason::MissingIdentity),
        ("/id", "null", Reason::MissingIdentity),
        ("/account", "\"\"", Reason::MissingIdentity),
        ("/completed_at", "null", Reason::MissingIdentity),
        ("/model", "\"\"", Reason::Incomplete),
        ("/model", "null", Reason::Incomplete),
        ("/usage", "null", Reason::Incomplete),
        ("/usage", "{}", Reason::Incomplete),
        ("/usage", "{\"total\":0}", Reason::Incomplete),
        ("/usage", "[]", Reason::InvalidField),
        ("/usage", "\"12\"", Reason::InvalidField),
        ("/usage", "12", Reason::InvalidField),
        ("/usage", "-12", Reason::InvalidField),
        ("/usage", "1.5", Reason::InvalidField),
        ("/usage", "true", Reason::InvalidField),
        ("/id", "7", Reason::InvalidField),
        ("/source", "{}", Reason::InvalidField),
        ("/account", "[\"A1\"]", Reason::InvalidField),
        ("/model", "false", Reason::InvalidField),
        ("/model", nested.as_str(), Reason::InvalidField),
        ("/subscriber", "8", Reason::InvalidField),
        ("/region", "31", Reason::InvalidField),
        ("/finish_reason", "{\"why\":\"stop\"}", Reason::InvalidField),
        ("/usage_source", "\"guessed\"", Reason::InvalidField),
        ("/usage_source", "1", Reason::InvalidField),
        ("/labels", "[]", Reason::InvalidField),
        ("/labels", "\"care\"", Reason::InvalidField),
        ("/labels", "{\"department\":1}", Reason::InvalidField),
        ("/labels", labels.as_str(), Reason::InvalidField),
        ("/id", long.as_str(), Reason::InvalidField),
        ("/account", long.as_str(), Reason::InvalidField),
        ("/model", long.as_str(), Reason::InvalidField),
        ("/product", long.as_str(), Reason::InvalidField),
        ("/account", "\"13800138000\"", Reason::PhoneNumber),
        ("/subscriber", "\"13912345678\"", Reason::PhoneNumber),
        ("/model", "\"a-model-that-nobody-lists\"", Reason::UnknownModel),
    ] {
        all.push(place.with(pointer, text, Expected::HeldBack(reason)));
    }
    all
}

fn wrong_counts(place: Place) -> Vec<Poison> {
    let mut all = Vec::new();
    for (pointer, text, reason) in [
        ("/usage/input", "-1", Reason::InvalidCount),
        ("/usage/input", "-9223372036854775808", Reason::InvalidCount),
        ("/usage/input", "-9223372036854775809", Reason::InvalidCount),
        ("/usage/input", "0.5", Reason::InvalidCount),
        ("/usage/input", "12.0", Reason::InvalidCount),
        ("/usage/input", "1e3", Reason::InvalidCount),
        ("/usage/input", "-0.0", Reason::InvalidCount),
        ("/usage/input", "9007199254740993", Reason::InvalidCount),
        ("/usage/input", "18446744073709551615", Reason::InvalidCount),
        ("/usage/input", "18446744073709551616", Reason::InvalidCount),
        ("/usage/input", "1e30", Reason::InvalidCount),
        ("/usage/input", "\"12\"", Reason::InvalidCount),
        ("/usage/input", "true", Reason::InvalidCount),
        ("/usage/input", "[12]", Reason::InvalidCount),
        ("/usage/input", "{\"n\":12}", Reason::InvalidCount),
        ("/usage/requests", "-1", Reason::InvalidCount),
        ("/usage/total", "779.0", Reason::InvalidCount),
        ("/gateway_seq", "-1", Reason::InvalidCount),
        ("/gateway_epoch", "\"3\"", Reason::InvalidCount),
        ("/usage/video_output", "4", Reason::UnknownUsageClass),
        ("/usage/Input", "4", Reason::UnknownUsageClass),
        ("/usage/tokens", "null", Reason::UnknownUsageClass),
        ("/usage/", "1", Reason::UnknownUsageClass),
        ("/usage/total", "778", Reason::ClassesDoNotAddUp),
        ("/usage/total", "0", Reason::ClassesDoNotAddUp),
        // Reasoning is a part of output and not beside it.
        ("/usage/total", "899", Reason::ClassesDoNotAddUp),
        ("/usage/reasoning", "346", Reason::ClassesDoNotAddUp),
    ] {
        all.push(place.with(pointer, text, Expected::HeldBack(reason)));
    }
    all
}

fn wrong_times(place: Place) -> Vec<Poison> {
    let at_ms = |ms: i64| ms.to_string();
    let now = place.now_ms;
    let mut all = Vec::new();
    for (pointer, text, reason) in [
        ("/completed_at", "1795326157.827".to_owned(), Reason::InvalidTime),
        ("/completed_at", "1.795326157827e12".to_owned(), Reason::InvalidTime),
        ("/completed_at", "-1".to_owned(), Reason::InvalidTime),
        ("/completed_at", "253402300800000".to_owned(), Reason::InvalidTime),
        ("/completed_at", "18446744073709551615".to_owned(), Reason::InvalidTime),
        ("/completed_at", "true".to_owned(), Reason::InvalidTime),
        ("/completed_at", "{}".to_owned(), Reason::InvalidTime),
        ("/completed_at", "\"yesterday\"".to_owned(), Reason::InvalidTime),
        ("/completed_at", "\"2026-11-22\"".to_owned(), Reason::InvalidTime),
        ("/completed_at", "\"2026-11-22T14:22:37\"".to_owned(), Reason::InvalidTime),
        ("/completed_at", "\"2026-02-30T00:00:00Z\"".to_owned(), Reason::InvalidTime),
        ("/completed_at", "\"1795326157827\"".to_owned(), Reason::InvalidTime),
        ("/completed_at", "\"1969-12-31T23:59:59Z\"".to_owned(), Reason::InvalidTime),
        ("/started_at", at_ms(now), Reason::InvalidTime),
        ("/started_at", "12.5".to_owned(), Reason::InvalidTime),
        ("/completed_at", at_ms(now + 2 * 3_600_000), Reason::TimeInFuture),
        ("/completed_at", "\"9999-12-30T22:00:00Z\"".to_owned(), Reason::TimeInFuture),
        ("/completed_at", "0".to_owned(), Reason::TooOld),
        // The model has no price for them.
        ("/usage", "{\"seconds\":5}".to_owned(), Reason::NoPrice),
        ("/completed_at", at_ms(now - 401 * DAY_MS), Reason::TooOld),
    ] {
        all.push(place.with(pointer, &text, Expected::HeldBack(reason)));
    }
    all
}

/// Protobuf batches, the header set.
fn wrong_batches(place: Place) -> Vec<Poison> {
    // Field 1 of a batch is an event; 1, 2, 3 and 5 of an event are its source, id, account and
    // model, 10 its time in milliseconds, 11 its usage.
    let text = |field: u8, bytes: &[u8]| {
        [&[field << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    };
    let head = |id: &str| {
        let identity =
            [text(1, b"gw-poison-02"), text(2, id.as_bytes()), text(3, ACCOUNT.as_bytes())];
        let mut time = vec![10 << 3];
        let mut rest = u64::try_from(place.now_ms - 5_000).unwrap();
        while rest >= 128 {
            time.push(u8::try_from(rest & 127).unwrap() | 128);
            rest >>= 7;
        }
        time.push(u8::try_from(rest).unwrap());
        [identity.concat(), text(5, b"deepseek-flash"), time].concat()
    };
    let one = |event: Vec<u8>| text(1, &event);
    let with_usage = |id: &str, usage: &[u8]| one([head(id), text(11, usage)].concat());
    // What is shown of an event that can be read: its identity, and what it has besides.
    let shown = |id: &str, usage: Value| {
        Shown::Json(json!({
            "source": "gw-poison-02", "id": id, "account": ACCOUNT, "model": "deepseek-flash",
            "completed_at": place.now_ms - 5_000, "usage": usage, "usage_source": "reported",
        }))
    };
    let kinds: Vec<(&str, Vec<u8>, Reason, Shown)> = vec![
        ("batch: empty", Vec::new(), Reason::Malformed, Shown::Record),
        ("batch: noise", vec![0xff; 64], Reason::Malformed, Shown::Record),
        (
            "batch: torn",
            with_usage("torn batch", &[8, 5])[..30].to_vec(),
            Reason::Malformed,
            Shown::Record,
        ),
        ("batch: events is a number", vec![8, 1], Reason::Malformed, Shown::Record),
        ("batch: only unknown fields", vec![16, 1], Reason::Malformed, Shown::Record),
        ("batch: field 0", vec![0, 1], Reason::Malformed, Shown::Record),
        ("batch: a group", vec![11, 12], Reason::Malformed, Shown::Record),
        ("batch: endless varint", vec![0x80; 32], Reason::Malformed, Shown::Record),
        ("batch: event of noise", one(vec![0xff; 16]), Reason::Malformed, Shown::Message),
        ("batch: source is a number", one(vec![8, 1]), Reason::Malformed, Shown::Message),
        ("batch: text is not UTF-8", one(text(1, b"\xff\xfe")), Reason::Malformed, Shown::Message),
        (
            "batch: empty event",
            one(Vec::new()),
            Reason::Incomplete,
            Shown::Json(json!({"usage": {}, "usage_source": "reported"})),
        ),
        (
            "batch: no usage",
            one(head("no usage")),
            Reason::Incomplete,
            shown("no usage", json!({})),
        ),
        (
            "batch: usage without a class",
            with_usage("no class", &[]),
            Reason::Incomplete,
            shown("no class", json!({})),
        ),
        (
            "batch: no time",
            one([text(1, b"g"), text(2, b"i"), text(3, ACCOUNT.as_bytes()), text(11, &[8, 5])]
                .concat()),
            Reason::Incomplete,
            Shown::Json(json!({
                "source": "g", "id": "i", "account": ACCOUNT,
                "usage": {"input": 5, "requests": 1}, "usage_source": "reported",
            })),
        ),
        (
            "batch: unknown class",
            with_usage("class 16", &[8, 5, 0x80, 1, 7]),
            Reason::UnknownUsageClass,
            Shown::Message,
        ),
        (
            "batch: wrong total",
            with_usage("total", &[8, 5, 15 << 3, 6]),
            Reason::ClassesDoNotAddUp,
            Shown::Message,
        ),
        (
            "batch: reasoning",
            with_usage("reasoning", &[5 << 3, 5, 6 << 3, 6]),
            Reason::ClassesDoNotAddUp,
            shown("reasoning", json!({"output": 5, "reasoning": 6, "requests": 1})),
        ),
        (
            "batch: count above 2^53",
            with_usage("2^53", &[8, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10]),
            Reason::InvalidCount,
            Shown::Message,
        ),
        (
            "batch: a negative count",
            with_usage("neg", &[8, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1]),
            Reason::InvalidCount,
            Shown::Message,
        ),
    ];
    let mut all: Vec<Poison> = kinds
        .into_iter()
        .map(|(name, bytes, reason, shown)| {
            let mut poison = Poison { shown, ..place.raw(name, &bytes, reason) };
            poison.payload.batch = true;
            poison
        })
        .collect();
    // Which event of a batch it is, is part of the position.
    let good = |id: &str| with_usage(id, &[8, 5]);
    let third = with_usage("third of three", &[5 << 3, 5, 6 << 3, 6]);
    let batch = [good("first of three"), good("second of three"), third].concat();
    let mut third = Poison {
        shown: shown("third of three", json!({"output": 5, "reasoning": 6, "requests": 1})),
        batch_index: 2,
        beside: 2,
        ..place.raw("batch: the third of three", &batch, Reason::ClassesDoNotAddUp)
    };
    third.payload.batch = true;
    all.push(third);
    all
}

fn wrong_for_the_stream(place: Place) -> Vec<Poison> {
    let first = place.event("conflict").to_string();
    let second = first.replace("434", "435");
    let mut wrong_partition = place.raw(
        "in another account's partition",
        place.event("lost").to_string().as_bytes(),
        Reason::WrongPartition,
    );
    wrong_partition.payload.partition = (place.home() + 1) % place.partitions;
    let command = json!({
        "command": "purchase", "id": "c1", "account": ACCOUNT, "at": place.now_ms,
        "package": "p", "quantity": 1,
    });
    let forged = json!({
        "command": "reference", "version": format!("0-ffffffffffffffff@{}", place.now_ms - 1_000),
    });
    vec![
        place.record("conflict: the first", Some(first.into_bytes()), Expected::Accepted),
        place.raw("conflict: the second", second.as_bytes(), Reason::ConflictingDuplicate),
        wrong_partition,
        place.raw("a command", command.to_string().as_bytes(), Reason::UnknownPackage),
        place.raw(
            "reference data that nobody approved",
            forged.to_string().as_bytes(),
            Reason::BadCommand,
        ),
        place.raw(
            "reference data without a version",
            br#"{"command":"reference","edition":7}"#,
            Reason::BadCommand,
        ),
    ]
}

/// What looks bad and is good.
fn only_odd(place: Place) -> Vec<Poison> {
    let instant = jiff::Timestamp::from_millisecond(place.now_ms - 5_000).unwrap();
    let offset = jiff::tz::Offset::constant(8);
    let shanghai = format!("\"{}\"", instant.display_with_offset(offset));
    let mut large = place.event("10 MB of a field that nobody knows");
    large["prompt_hash"] = json!("x".repeat(10_000_000));
    let mut all = vec![place.record(
        "10 MB of a field that nobody knows",
        Some(large.to_string().into_bytes()),
        Expected::Accepted,
    )];
    // No batch begins as JSON does, so that JSON is read as what it is.
    let json = place.event("JSON with the header of a batch").to_string().into_bytes();
    let mut json = place.record("JSON with the header of a batch", Some(json), Expected::Accepted);
    json.payload.batch = true;
    all.push(json);
    let nested = "[".repeat(100_000) + &"]".repeat(100_000);
    for (pointer, text) in [
        ("/completed_at", shanghai.as_str()),
        ("/usage", "{\"input\":0}"),
        ("/usage", "{\"output\":9007199254740992}"),
        ("/usage/total", "779"),
        ("/usage/cached_input", "null"),
        ("/region", "null"),
        ("/region", "\"\""),
        ("/nobody_knows", "{\"deep\":[1,2,{\"x\":null}]}"),
        ("/nobody_knows", nested.as_str()),
        ("/id", "\"\\u4f60\\u597d \\\"quoted\\\" \\u0001 \u{1f600}\""),
        ("/labels", "{\"\":\"\"}"),
    ] {
        all.push(place.with(pointer, text, Expected::Accepted));
    }
    all
}

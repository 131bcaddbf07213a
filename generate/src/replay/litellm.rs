//! LiteLLM's logs: `StandardLoggingPayload` (also inside `standard_logging_object`) and rows of
//! its spend logs, one JSON object a line. Prompts and answers in them are never looked at.
//!
//! LiteLLM counts as OpenAI does: `prompt_tokens` includes what was read from and written to a
//! cache, `completion_tokens` includes reasoning and audio. Classes are made disjoint here; what
//! does not add up is passed on as it is, for suspense.

use std::borrow::Cow;
use std::io::BufRead;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Map, Value, json};
use tally_schemas::{COUNT_MAX, SuspenseReason, TokenClass, UsageCounts, UsageEvent};

use super::{ReplayError, lines};
use crate::json::encode_json;
use crate::traffic::{EventBody, GeneratedEvent, Outcome};

pub(super) fn read(
    input: Box<dyn BufRead + Send>,
) -> impl Iterator<Item = Result<GeneratedEvent, ReplayError>> + Send {
    lines(input).map(|line| {
        let (number, line) = line?;
        let value: Value =
            serde_json::from_slice(&line).map_err(|e| ReplayError::invalid(number, e))?;
        let payload = value.get("standard_logging_object").unwrap_or(&value);
        event_of(payload).map_err(|message| ReplayError::invalid(number, message))
    })
}

fn event_of(payload: &Value) -> Result<GeneratedEvent, String> {
    let metadata = object(&payload["metadata"]);
    let text = |name: &str| text_of(payload.get(name)).or_else(|| text_of(metadata.get(name)));
    let first = |names: &[&str]| names.iter().find_map(|name| text(name));
    let id = first(&["id", "request_id"]).ok_or("no id and no request_id")?;
    let user = first(&["user_api_key_user_id", "user"]);
    let account = first(&["user_api_key_team_id", "team_id"])
        .or_else(|| user.clone())
        .or_else(|| first(&["user_api_key_hash", "api_key"]))
        .ok_or("no team, user or key to charge")?;
    let vendor = text("custom_llm_provider");
    let deployed = text("model").ok_or("no model")?;
    let deployed = match &vendor {
        Some(vendor) => {
            deployed.strip_prefix(&format!("{vendor}/")).unwrap_or(&deployed).to_owned()
        }
        None => deployed,
    };
    let requested = text("model_group").unwrap_or_else(|| deployed.clone());
    let completed_at_ms = time_of(&payload["endTime"])?;
    let failed = text("status").as_deref() == Some("failure");
    let from_cache = matches!(&payload["cache_hit"], Value::Bool(true))
        || text("cache_hit").is_some_and(|hit| hit.eq_ignore_ascii_case("true"));
    let counted = count(payload, &metadata)?;
    let event = UsageEvent {
        source: Cow::Borrowed("litellm"),
        id: Cow::Owned(id),
        account: Cow::Owned(account.clone()),
        subscriber: first(&["end_user", "user_api_key_end_user_id"]).or(user).map(Cow::Owned),
        billed_model: (deployed != requested).then_some(Cow::Owned(deployed)),
        model: Cow::Owned(requested),
        vendor: vendor.map(Cow::Owned),
        started_at_ms: Some(time_of(&payload["startTime"])?),
        completed_at_ms: Some(completed_at_ms),
        usage: counted.usage,
        finish_reason: failed.then_some(Cow::Borrowed("error")),
        // LiteLLM answered from its own cache: no vendor was called.
        labels: if from_cache {
            vec![(Cow::Borrowed("litellm_cache_hit"), Cow::Borrowed("true"))]
        } else {
            Vec::new()
        },
        ..UsageEvent::default()
    };
    let (body, expected) = match counted.defect {
        None if event.vendor.is_some() => (EventBody::Event(Box::new(event)), Outcome::Accepted),
        None => (EventBody::Event(Box::new(event)), Outcome::Unjudged),
        Some(defect) => {
            (EventBody::Raw(defect.written(&event)?), Outcome::Suspended(defect.reason()))
        }
    };
    Ok(GeneratedEvent { account, arrival_ms: completed_at_ms, vendor: None, body, expected })
}

struct Counted {
    usage: UsageCounts,
    defect: Option<Defect>,
}

/// Counts that contradict each other.
#[derive(Clone, Copy)]
enum Defect {
    /// More cached than prompt tokens, or more audio than completion tokens: what remains of a
    /// class is negative.
    Remainder { class: TokenClass, remainder: i64 },
    /// `total_tokens` is not the sum.
    Total(u64),
    /// More reasoning than output, of which it is a part.
    Reasoning,
}

impl Defect {
    const fn reason(self) -> SuspenseReason {
        match self {
            Self::Remainder { .. } => SuspenseReason::InvalidCount,
            Self::Total(_) | Self::Reasoning => SuspenseReason::ClassesDoNotAddUp,
        }
    }

    /// The event with the defect in it, so that the stream sees and keeps it.
    fn written(self, event: &UsageEvent<'_>) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        encode_json(event, &mut bytes).map_err(|e| e.to_string())?;
        let mut value: Value = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
        match self {
            Self::Remainder { class, remainder } => value["usage"][class.name()] = json!(remainder),
            Self::Total(total) => value["usage"]["total"] = json!(total),
            // The event has it already.
            Self::Reasoning => {}
        }
        Ok(value.to_string().into_bytes())
    }
}

fn count(payload: &Value, metadata: &Map<String, Value>) -> Result<Counted, String> {
    let usage = object(metadata.get("usage_object").unwrap_or(&Value::Null));
    let prompt_details = object(usage.get("prompt_tokens_details").unwrap_or(&Value::Null));
    let completion_details = object(usage.get("completion_tokens_details").unwrap_or(&Value::Null));
    let write_details =
        object(prompt_details.get("cache_creation_token_details").unwrap_or(&Value::Null));
    let of = |map: &Map<String, Value>, name: &str| number_of(name, map.get(name));
    let total_of = |name: &str| match number_of(name, payload.get(name))? {
        Some(count) => Ok(count),
        None => Ok::<u64, String>(of(&usage, name)?.unwrap_or(0)),
    };
    let prompt = total_of("prompt_tokens")?;
    let completion = total_of("completion_tokens")?;
    let cached = match of(&prompt_details, "cached_tokens")? {
        Some(cached) => cached,
        None => of(&usage, "cache_read_input_tokens")?.unwrap_or(0),
    };
    let written = match of(&usage, "cache_creation_input_tokens")? {
        Some(written) => written,
        None => of(&prompt_details, "cache_creation_tokens")?.unwrap_or(0),
    };
    let written_1h = of(&write_details, "ephemeral_1h_input_tokens")?.unwrap_or(0).min(written);
    let audio_input = of(&prompt_details, "audio_tokens")?.unwrap_or(0);
    let image_input = of(&prompt_details, "image_tokens")?.unwrap_or(0);
    let audio_output = of(&completion_details, "audio_tokens")?.unwrap_or(0);
    let reasoning = of(&completion_details, "reasoning_tokens")?.unwrap_or(0);

    let mut defect = None;
    let mut rest = |class, whole: u64, parts: &[u64]| {
        let remainder = parts
            .iter()
            .try_fold(i128::from(whole), |rest, part| rest.checked_sub(i128::from(*part)))
            .unwrap_or(i128::MIN);
        u64::try_from(remainder).unwrap_or_else(|_| {
            let remainder = i64::try_from(remainder).unwrap_or(i64::MIN);
            defect = Some(Defect::Remainder { class, remainder });
            0
        })
    };
    let mut counts = UsageCounts::default();
    counts.set(TokenClass::Requests, 1);
    counts.set(
        TokenClass::Input,
        rest(TokenClass::Input, prompt, &[cached, written, audio_input, image_input]),
    );
    counts.set(TokenClass::CachedInput, cached);
    counts.set(TokenClass::CacheWrite5m, written - written_1h);
    counts.set(TokenClass::CacheWrite1h, written_1h);
    counts.set(TokenClass::Output, rest(TokenClass::Output, completion, &[audio_output]));
    counts.set(TokenClass::Reasoning, reasoning);
    counts.set(TokenClass::AudioInput, audio_input);
    counts.set(TokenClass::AudioOutput, audio_output);
    counts.set(TokenClass::ImageInput, image_input);
    if defect.is_none() && reasoning > counts.get(TokenClass::Output) {
        defect = Some(Defect::Reasoning);
    }
    let total = number_of("total_tokens", payload.get("total_tokens"))?;
    if let Some(total) = total.filter(|total| defect.is_none() && *total != counts.token_total()) {
        defect = Some(Defect::Total(total));
    }
    Ok(Counted { usage: counts, defect })
}

/// An object, also where it is written as a text, as the database of LiteLLM has it.
fn object(value: &Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map.clone(),
        Value::String(text) => serde_json::from_str(text).unwrap_or_default(),
        _ => Map::new(),
    }
}

fn text_of(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|text| !text.is_empty()).map(str::to_owned)
}

fn number_of(name: &str, value: Option<&Value>) -> Result<Option<u64>, String> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            // Beyond it nobody counts, and the sum of the classes would leave 64 bits.
            let count = value.as_u64().filter(|count| *count <= COUNT_MAX);
            count.map(Some).ok_or_else(|| format!("{name} {value} is no whole number up to 2^53"))
        }
    }
}

/// Milliseconds of a time: seconds with a fraction, or a date and time, of UTC where it names no
/// offset.
fn time_of(value: &Value) -> Result<i64, String> {
    let wrong = || format!("{value} is no time");
    match value {
        Value::Number(seconds) => {
            // By digits: seconds with a fraction are no exact floating-point numbers.
            let text = seconds.to_string();
            let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
            let whole: i64 = whole.parse().map_err(|_| wrong())?;
            let millis = format!("{fraction:0<3}");
            let millis: i64 = millis.get(..3).unwrap_or("0").parse().map_err(|_| wrong())?;
            whole.checked_mul(1_000).and_then(|ms| ms.checked_add(millis)).ok_or_else(wrong)
        }
        Value::String(text) => {
            if let Ok(at) = text.parse::<Timestamp>() {
                return Ok(at.as_millisecond());
            }
            let at: DateTime = text.parse().map_err(|_| wrong())?;
            let at = at.to_zoned(TimeZone::UTC).map_err(|_| wrong())?;
            Ok(at.timestamp().as_millisecond())
        }
        _ => Err(wrong()),
    }
}

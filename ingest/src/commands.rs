//! `POST /v1/accounts/{account}/commands`: account commands travel in the same log as usage, under
//! the same key.

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Map, Value};
use tally_schemas::{
    CONTROL_TOTAL, CORRECT, EventErrorCode, ParsedEvent, RECYCLE, TEXT_MAX_BYTES, UsageEvent,
    WRITE_OFF, check_event,
};

use crate::answer::Defect;
use crate::body::read_body;
use crate::door::Door;
use crate::intake::SingleRecord;
use crate::problem::{Problem, ProblemKind};

/// Largest command in bytes. A command names a package or a few flags.
const COMMAND_MAX_BYTES: u64 = 64 << 10;
/// Longest name of a command, in bytes.
const NAME_MAX_BYTES: usize = 64;

/// The answer to a command.
#[derive(Debug, Serialize)]
struct Receipt {
    id: String,
}

/// Takes one account command.
pub(crate) async fn post_command(
    State(door): State<Door>,
    Path(account): Path<String>,
    request: Request,
) -> Response {
    let response = match take(&door, account, request).await {
        Ok(receipt) => (StatusCode::ACCEPTED, Json(receipt)).into_response(),
        Err(problem) => problem.into_response(),
    };
    door.metrics().answered(response.status().as_u16());
    response
}

async fn take(door: &Door, account: String, request: Request) -> Result<Receipt, Problem> {
    let (parts, body) = request.into_parts();
    let is_json = parts.headers.get(header::CONTENT_TYPE).is_some_and(|value| {
        value.to_str().is_ok_and(|text| {
            text.split(';')
                .next()
                .is_some_and(|t| t.trim().eq_ignore_ascii_case("application/json"))
        })
    });
    if !is_json {
        let detail = "send application/json";
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    let mut reservation = door.admit()?;
    let body = read_body(&parts.headers, body, COMMAND_MAX_BYTES, &mut reservation).await?;
    let command: Map<String, Value> = serde_json::from_slice(&body).map_err(|error| {
        Problem::new(ProblemKind::Unparseable, format!("not a JSON object: {error}"))
    })?;
    let (id, command) = checked(command, &account)?;
    let record = SingleRecord {
        partition: door.partition_of(&account),
        key: Bytes::from(account),
        value: Bytes::from(Value::Object(command).to_string()),
    };
    door.append_single(record, reservation).await?;
    Ok(Receipt { id })
}

/// The id of a command and the command with the account of the path; or everything that is wrong.
fn checked(
    mut command: Map<String, Value>,
    account: &str,
) -> Result<(String, Map<String, Value>), Problem> {
    let mut errors = account_defects(account);
    let mut fail = |code: &'static str, field: &str, message: String| {
        errors.push(Defect { code, field: field.to_owned(), message });
    };
    let name_is_fine = |name: &str| {
        !name.is_empty()
            && name.len() <= NAME_MAX_BYTES
            && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
    };
    if !command.get("command").and_then(Value::as_str).is_some_and(name_is_fine) {
        fail("invalid_command", "command", "expected a name such as purchase or top_up".to_owned());
    }
    let not_here = match command.get("command").and_then(Value::as_str) {
        Some("tick") => Some("the stream itself lets time pass"),
        Some("reference") => Some("the stream itself says by which prices it rates; approve them"),
        Some(CONTROL_TOTAL) => Some("use POST /v1/control-totals"),
        Some(RECYCLE | WRITE_OFF) => Some("use tally suspense"),
        Some(CORRECT) => Some("send an event that corrects another, or use tally correct"),
        _ => None,
    };
    if let Some(message) = not_here {
        fail("invalid_command", "command", message.to_owned());
    }
    let id = match command.get("id") {
        Some(Value::String(id)) if !id.is_empty() && id.len() <= TEXT_MAX_BYTES => id.clone(),
        None | Some(Value::Null) => {
            fail("missing_id", "id", "id is required".to_owned());
            String::new()
        }
        Some(_) => {
            let message = format!("expected a text of 1 to {TEXT_MAX_BYTES} bytes");
            fail("invalid_type", "id", message);
            String::new()
        }
    };
    match command.get("at") {
        None | Some(Value::Null) => fail("missing_at", "at", "at is required".to_owned()),
        Some(Value::String(text)) => {
            if let Err(error) = text.parse::<jiff::Timestamp>() {
                let message = format!("not RFC 3339 with an offset: {error}");
                fail("invalid_time", "at", message);
            }
        }
        Some(value) if value.is_u64() => {}
        Some(_) => {
            let message = "expected integer milliseconds since 1970 UTC or RFC 3339".to_owned();
            fail("invalid_time", "at", message);
        }
    }
    if command.get("account").is_some_and(|inner| inner != account) {
        fail("account_mismatch", "account", "differs from the account of the path".to_owned());
    }
    if !errors.is_empty() {
        let problem = Problem::new(ProblemKind::InvalidCommand, "see errors");
        return Err(problem.with_errors(errors));
    }
    command.insert("account".to_owned(), Value::String(account.to_owned()));
    Ok((id, command))
}

/// What is wrong with the account of a path: the rules of an event's account.
fn account_defects(account: &str) -> Vec<Defect> {
    let event = UsageEvent { account: account.into(), ..UsageEvent::default() };
    let mut parsed = ParsedEvent { event, ..ParsedEvent::default() };
    check_event(&mut parsed);
    let mut defects: Vec<Defect> =
        parsed.errors.iter().filter(|error| error.field == "account").map(Defect::from).collect();
    if account.len() > TEXT_MAX_BYTES {
        defects.push(Defect {
            code: EventErrorCode::TextTooLong.as_str(),
            field: "account".to_owned(),
            message: format!("longer than {TEXT_MAX_BYTES} bytes"),
        });
    }
    defects
}

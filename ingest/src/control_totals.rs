//! `POST /v1/control-totals`: what gateways say they sent, in the log beside the usage it is about.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;
use tally_schemas::GatewayTotal;

use crate::answer::Defect;
use crate::body::read_body;
use crate::door::Door;
use crate::intake::SingleRecord;
use crate::problem::{Problem, ProblemKind};

/// Largest body in bytes: a thousand gateways' hour.
const BODY_MAX_BYTES: u64 = 1 << 20;
/// Most totals of a body.
const TOTALS_MAX: usize = 1_000;

/// The answer.
#[derive(Debug, Serialize)]
struct Receipt {
    accepted: usize,
}

/// Takes one control total, an array of them, or NDJSON: all or none.
pub(crate) async fn post_control_totals(State(door): State<Door>, request: Request) -> Response {
    let response = match take(&door, request).await {
        Ok(receipt) => (StatusCode::OK, Json(receipt)).into_response(),
        Err(problem) => problem.into_response(),
    };
    door.metrics().answered(response.status().as_u16());
    response
}

async fn take(door: &Door, request: Request) -> Result<Receipt, Problem> {
    let (parts, body) = request.into_parts();
    let media_type = parts
        .headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|text| text.split(';').next())
        .map(|text| text.trim().to_ascii_lowercase());
    let is_lines = match media_type.as_deref() {
        Some("application/json") => false,
        Some("application/x-ndjson") => true,
        _ => {
            let detail = "send application/json or application/x-ndjson";
            return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
        }
    };
    let mut reservation = door.admit()?;
    let body = read_body(&parts.headers, body, BODY_MAX_BYTES, &mut reservation).await?;
    let totals = read(&body, is_lines)?;
    let accepted = totals.len();
    // What is in the log when another one fails is dropped as a duplicate when it is sent again.
    let records = totals.into_iter().map(|total| SingleRecord {
        partition: door.partition_of(&total.source),
        value: Bytes::from(total.to_json()),
        key: Bytes::from(total.source),
    });
    door.append_singles(records.collect(), reservation).await?;
    Ok(Receipt { accepted })
}

/// The totals of a body; or everything that is wrong with any of them.
fn read(body: &[u8], is_lines: bool) -> Result<Vec<GatewayTotal>, Problem> {
    let unparseable = |error: String| Problem::new(ProblemKind::Unparseable, error);
    let texts: Vec<&str> = if is_lines {
        let text = std::str::from_utf8(body).map_err(|error| unparseable(error.to_string()))?;
        text.lines().filter(|line| !line.trim().is_empty()).collect()
    } else if body.trim_ascii_start().first() == Some(&b'[') {
        let raw: Vec<&RawValue> =
            serde_json::from_slice(body).map_err(|error| unparseable(error.to_string()))?;
        raw.into_iter().map(RawValue::get).collect()
    } else {
        vec![std::str::from_utf8(body).map_err(|error| unparseable(error.to_string()))?]
    };
    if texts.is_empty() || texts.len() > TOTALS_MAX {
        let detail = format!("{} control totals, expected 1 to {TOTALS_MAX}", texts.len());
        return Err(unparseable(detail));
    }
    let (mut totals, mut errors) = (Vec::with_capacity(texts.len()), Vec::new());
    for (index, text) in texts.into_iter().enumerate() {
        match GatewayTotal::parse(text.as_bytes()) {
            Ok(total) => totals.push(total),
            Err(wrong) => errors.extend(wrong.into_iter().map(|message| Defect {
                code: "invalid_control_total",
                field: format!("[{index}]"),
                message,
            })),
        }
    }
    if errors.is_empty() {
        return Ok(totals);
    }
    Err(Problem::new(ProblemKind::InvalidControlTotal, "see errors").with_errors(errors))
}

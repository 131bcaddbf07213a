//! Reads a request's body into memory, within its limits.

use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures::StreamExt;

use crate::budget::Reservation;
use crate::problem::{Problem, ProblemKind};

/// What a request is charged beside its body: its tasks, headers and answer.
pub(crate) const REQUEST_OVERHEAD_BYTES: u64 = 1024;
/// How long a body may take to arrive: a sender that stops half way must not hold its bytes of
/// the budget for ever.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads a body, decompressed before, and charges it to `reservation` as it comes in.
///
/// # Errors
/// Too large; no budget left; broken off, late, or not what its encoding says.
pub(crate) async fn read_body(
    headers: &HeaderMap,
    body: Body,
    body_max_bytes: u64,
    reservation: &mut Reservation,
) -> Result<Bytes, Problem> {
    refuse_encoding(headers)?;
    let announced = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok())
        .unwrap_or(0);
    check_size(announced, body_max_bytes)?;
    charge(reservation, announced)?;
    let mut stream = body.into_data_stream();
    let mut chunks = BytesMut::with_capacity(usize::try_from(announced).unwrap_or(0));
    let read = async {
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| {
                Problem::new(ProblemKind::Unparseable, format!("the body broke off: {error}"))
            })?;
            let size = u64::try_from(chunks.len() + chunk.len()).unwrap_or(u64::MAX);
            check_size(size, body_max_bytes)?;
            charge(reservation, size)?;
            chunks.extend_from_slice(&chunk);
        }
        Ok(chunks.freeze())
    };
    within(BODY_READ_TIMEOUT, read).await
}

async fn within(
    timeout: Duration,
    read: impl Future<Output = Result<Bytes, Problem>>,
) -> Result<Bytes, Problem> {
    tokio::time::timeout(timeout, read).await.unwrap_or_else(|_| {
        let detail = format!("the body took longer than {} s", timeout.as_secs());
        Err(Problem::new(ProblemKind::BodyTimeout, detail))
    })
}

/// The decompressing layer takes the header of an encoding that it has undone away.
fn refuse_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(header::CONTENT_ENCODING) {
        None => Ok(()),
        Some(encoding) if encoding == "identity" => Ok(()),
        Some(encoding) => Err(Problem::new(
            ProblemKind::UnsupportedMediaType,
            format!("content encoding {encoding:?} is not known; use gzip or none"),
        )),
    }
}

fn check_size(size: u64, max: u64) -> Result<(), Problem> {
    if size <= max {
        return Ok(());
    }
    let detail = format!("the body has more than {max} bytes; send fewer events at once");
    Err(Problem::new(ProblemKind::TooLarge, detail))
}

fn charge(reservation: &mut Reservation, size: u64) -> Result<(), Problem> {
    if reservation.grow_to(size.saturating_add(REQUEST_OVERHEAD_BYTES)) {
        return Ok(());
    }
    Err(in_flight_problem())
}

/// The problem of a request for which there is no budget.
pub(crate) fn in_flight_problem() -> Problem {
    Problem::new(
        ProblemKind::TooMuchInFlight,
        "the log has not yet acknowledged what was sent before; nothing of this request was taken",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_that_never_ends_is_given_up() {
        let problem = within(Duration::from_millis(5), std::future::pending()).await.unwrap_err();
        assert_eq!(problem.status(), 408);
    }
}

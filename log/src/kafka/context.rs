//! Where librdkafka's own log lines go.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::log_error;
use crate::LogError;

/// How long a refusal counts. librdkafka tries again every two seconds, and tells the same refusal
/// once in half a minute.
const REFUSAL_HOLDS: Duration = Duration::from_secs(45);

/// Why brokers refused a client, which librdkafka tells its log only: who asks is told that nobody
/// answered.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Option<(Instant, String)>>);

impl Refusals {
    /// Remembers an error of the client that is a refusal: credentials or a certificate.
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        use RDKafkaErrorCode::{Authentication, SSL, SaslAuthenticationFailed};
        let code = error.rdkafka_error_code();
        if let Some(Authentication | SaslAuthenticationFailed | SSL) = code {
            *self.0.lock() = Some((Instant::now(), reason.to_owned()));
        }
    }

    /// The refusal that still counts.
    pub(super) fn last(&self) -> Option<String> {
        let last = self.0.lock();
        let (at, reason) = last.as_ref()?;
        (at.elapsed() < REFUSAL_HOLDS).then(|| reason.clone())
    }

    /// Brokers have answered: they refuse no more.
    pub(super) fn answered(&self) {
        *self.0.lock() = None;
    }

    /// What a question means that failed: brokers that refuse us are not away.
    pub(super) fn failure(&self, what: &str, error: &KafkaError) -> LogError {
        match (log_error(what, error), self.last()) {
            (LogError::Retry(_), Some(refusal)) => LogError::Refused(format!("{what}: {refusal}")),
            (error, _) => error,
        }
    }
}

/// A client that knows why it was refused.
pub(super) trait Refusable {
    /// Why it was.
    fn refusals(&self) -> &Refusals;
}

/// A client that only asks.
#[derive(Debug, Default)]
pub(super) struct QuietContext {
    refusals: Refusals,
}

impl Refusable for QuietContext {
    fn refusals(&self) -> &Refusals {
        &self.refusals
    }
}

impl ClientContext for QuietContext {
    /// Nobody asked; the default would be a long line of the log each second.
    fn stats(&self, _: rdkafka::Statistics) {}

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        trace_line(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        trace_error(&error, reason);
        self.refusals.note(&error, reason);
    }
}

impl ConsumerContext for QuietContext {}

/// librdkafka reports each lost connection at error level and recovers from it: at most a
/// warning here.
pub(super) fn trace_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error
        | RDKafkaLogLevel::Warning => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "librdkafka", facility, "{message}");
        }
    }
}

pub(super) fn trace_error(error: &KafkaError, reason: &str) {
    // Not one: who reads is told by its queue.
    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
        return;
    }
    tracing::warn!(target: "librdkafka", %error, "{reason}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::LogErrorKind;

    #[test]
    fn a_refusal_is_told_until_brokers_answer() {
        let refusals = Refusals::default();
        let of = |code| KafkaError::Global(code);
        let kind = |code| refusals.failure("bounds", &of(code)).kind();
        let timed_out = RDKafkaErrorCode::OperationTimedOut;
        refusals.note(&of(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert_eq!(kind(timed_out), LogErrorKind::Retry);
        for code in [RDKafkaErrorCode::Authentication, RDKafkaErrorCode::SSL] {
            refusals.note(&of(code), "they do not let us in");
            refusals.note(&of(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
            let told = refusals.failure("bounds", &of(timed_out));
            assert_eq!(told, LogError::Refused("bounds: they do not let us in".to_owned()));
            // What a broker has answered is more than what others refused.
            let denied = RDKafkaErrorCode::TopicAuthorizationFailed;
            assert_eq!(kind(denied), LogErrorKind::Invalid);
            refusals.answered();
            assert_eq!(kind(timed_out), LogErrorKind::Retry);
        }
    }
}

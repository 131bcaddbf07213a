//! Where librdkafka's own log lines go.

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A client that only asks. It remembers why brokers refused it, which librdkafka tells its log
/// only: who asks is told that nobody answered.
#[derive(Debug, Default)]
pub(super) struct QuietContext {
    refusal: Mutex<Option<String>>,
}

impl QuietContext {
    /// The last refusal since the last time this was asked.
    pub(super) fn take_refusal(&self) -> Option<String> {
        self.refusal.lock().take()
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
        use RDKafkaErrorCode::{Authentication, SSL, SaslAuthenticationFailed};
        let code = error.rdkafka_error_code();
        if let Some(Authentication | SaslAuthenticationFailed | SSL) = code {
            *self.refusal.lock() = Some(reason.to_owned());
        }
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
    tracing::warn!(target: "librdkafka", %error, "{reason}");
}

//! What keeps a process from running well, by its cause. `tally doctor`, `tally status`, the log and
//! the metrics of a process name a cause in the same words ([`docs/operations/bad-days.md`]).
//!
//! [`docs/operations/bad-days.md`]: ../docs/operations/bad-days.md

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why something does not work, as far as it can be told from what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Cause {
    /// Kafka does not answer.
    KafkaAway,
    /// Kafka answers, and does not let us in or do what is needed.
    KafkaRefuses,
    /// The brokers' certificate is not trusted, or has expired: it is we who refuse.
    KafkaCertificate,
    /// The embedded log cannot be read, or is not written any more.
    LogBroken,
    /// The store does not answer.
    StoreAway,
    /// The store does not know who we are.
    StoreCredentials,
    /// The store knows who we are, and does not let us read.
    StoreDenied,
    /// The store can be read and not written.
    StoreReadOnly,
    /// The store's certificate is not trusted, or has expired.
    StoreCertificate,
    /// The bucket is not there.
    StoreMissing,
    /// The store has no room.
    StoreFull,
    /// The store does not keep two writers apart.
    StoreUnsafe,
    /// This machine's clock and the store's do not agree.
    Clock,
    /// The certificate of the listeners is not valid.
    Certificate,
    /// A disk of this machine is full.
    DiskFull,
    /// A table that was made is not where it was.
    TableGone,
}

/// What a store says in trouble, most telling first, and what it means. A status is there with its
/// phrase: its number alone is in many a duration, offset and name.
const STORE_WORDS: [(&[&str], Cause); 7] = [
    (&["peer certificate"], Cause::StoreCertificate),
    (&["RequestTimeTooSkewed"], Cause::Clock),
    (
        &[
            "InvalidAccessKeyId",
            "SignatureDoesNotMatch",
            "UserNotFound",
            "Unauthenticated",
            "401 Unauthorized",
        ],
        Cause::StoreCredentials,
    ),
    (
        &[
            "AccessDenied",
            "PermissionDenied",
            "403 Forbidden",
            "Permission denied",
            "Read-only",
            "ReadOnly",
        ],
        Cause::StoreDenied,
    ),
    (&["NoSuchBucket", "404 Not Found"], Cause::StoreMissing),
    (
        &["No space left", "StorageFull", "QuotaExceeded", "507 Insufficient Storage"],
        Cause::StoreFull,
    ),
    (&["If-None-Match"], Cause::StoreUnsafe),
];

/// What librdkafka says where it does not take what a broker presents. A broker that does not take
/// ours says so by an alert, which is in none of these.
const KAFKA_CERTIFICATE_WORDS: [&str; 3] = [
    "certificate verify failed",
    "Failed to verify broker certificate",
    "Broker did not provide a certificate",
];

impl Cause {
    /// Every cause.
    pub(crate) const ALL: [Self; 16] = [
        Self::KafkaAway,
        Self::KafkaRefuses,
        Self::KafkaCertificate,
        Self::LogBroken,
        Self::StoreAway,
        Self::StoreCredentials,
        Self::StoreDenied,
        Self::StoreReadOnly,
        Self::StoreCertificate,
        Self::StoreMissing,
        Self::StoreFull,
        Self::StoreUnsafe,
        Self::Clock,
        Self::Certificate,
        Self::DiskFull,
        Self::TableGone,
    ];

    /// What a store's words mean.
    pub(crate) fn of_store(why: &str) -> Self {
        let known =
            STORE_WORDS.iter().find(|(words, _)| words.iter().any(|word| why.contains(word)));
        known.map_or(Self::StoreAway, |(_, cause)| *cause)
    }

    /// The same of a store that was read just before and does not take what is written.
    pub(crate) fn of_store_written(why: &str) -> Self {
        match Self::of_store(why) {
            Self::StoreDenied => Self::StoreReadOnly,
            cause => cause,
        }
    }

    /// What it means that Kafka answers and is of no use.
    pub(crate) fn of_refusal(why: &str) -> Self {
        if KAFKA_CERTIFICATE_WORDS.iter().any(|word| why.contains(word)) {
            Self::KafkaCertificate
        } else {
            Self::KafkaRefuses
        }
    }

    /// Name, as the metric's label has it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::KafkaAway => "kafka_away",
            Self::KafkaRefuses => "kafka_refuses",
            Self::KafkaCertificate => "kafka_certificate",
            Self::LogBroken => "log_broken",
            Self::StoreAway => "store_away",
            Self::StoreCredentials => "store_credentials",
            Self::StoreDenied => "store_denied",
            Self::StoreReadOnly => "store_read_only",
            Self::StoreCertificate => "store_certificate",
            Self::StoreMissing => "store_missing",
            Self::StoreFull => "store_full",
            Self::StoreUnsafe => "store_unsafe",
            Self::Clock => "clock",
            Self::Certificate => "certificate",
            Self::DiskFull => "disk_full",
            Self::TableGone => "table_gone",
        }
    }

    /// The cause in a few words.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::KafkaAway => "Kafka does not answer",
            Self::KafkaRefuses => "Kafka refuses this user",
            Self::KafkaCertificate => "Kafka's certificate is not trusted",
            Self::LogBroken => "the embedded log has stopped",
            Self::StoreAway => "the store does not answer",
            Self::StoreCredentials => "the store does not take these credentials",
            Self::StoreDenied => "the store does not let this user read",
            Self::StoreReadOnly => "the store is read-only",
            Self::StoreCertificate => "the store's certificate is not trusted",
            Self::StoreMissing => "the store's bucket is not there",
            Self::StoreFull => "the store is full",
            Self::StoreUnsafe => "the store does not keep two writers apart",
            Self::Clock => "the clock is wrong",
            Self::Certificate => "the certificate is not valid",
            Self::DiskFull => "a disk is full",
            Self::TableGone => "a table was moved away",
        }
    }

    /// What to do.
    pub(crate) const fn advice(self) -> &'static str {
        match self {
            Self::KafkaAway => {
                "nobody answers there: look whether the brokers run, at log.kafka, and at what lies between"
            }
            Self::KafkaRefuses => {
                "look at log.kafka_options: user, password, certificates, and what this user may do"
            }
            Self::KafkaCertificate => {
                "this machine does not trust the certificate of Kafka's brokers, or it has expired or is for another name: ssl.ca.location of log.kafka_options names a file of authorities to trust; who runs the brokers puts a new certificate in its place"
            }
            Self::LogBroken => {
                "look at log.data and at the disk below it; a log that stopped after a failed write goes on when the process is started again"
            }
            Self::StoreAway => {
                "look whether the store runs, at store.url, at AWS_ENDPOINT_URL or store.s3_options, and at what lies between"
            }
            Self::StoreCredentials => {
                "look at AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or at store.s3_options where these are not set"
            }
            Self::StoreDenied | Self::StoreReadOnly => {
                "let this user read, write, list and delete below the store's prefix; a process that only answers queries may do without writing, but then keeps no audit log"
            }
            Self::StoreCertificate => {
                "this machine does not trust the store's certificate, or it has expired or is for another name: SSL_CERT_FILE names a file of authorities to trust"
            }
            Self::StoreMissing => "create the bucket, or look at store.url",
            Self::StoreFull => "make room",
            Self::StoreUnsafe => "use a store with conditional writes",
            Self::Clock => {
                "let this machine and the store follow NTP: the store refuses signatures when the clock of this machine is wrong by a quarter of an hour, and events count as too far in the future by it"
            }
            Self::Certificate => {
                "put a new one in its place and restart: clients refuse to connect"
            }
            Self::DiskFull => "make room: nothing is committed on a full disk, and nothing is lost",
            Self::TableGone => {
                "put it back where it was, or restore it from a backup: counting goes on, and is published when it is there again"
            }
        }
    }
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) cause: Cause,
    /// Where, and what was said there.
    pub(crate) found: String,
}

impl Trouble {
    pub(crate) fn new(cause: Cause, found: impl Into<String>) -> Self {
        Self { cause, found: found.into() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause.words(), self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stores_words_have_a_cause() {
        for (why, cause) in [
            ("status 403 Forbidden: AccessDenied: no", Cause::StoreDenied),
            ("403: RequestTimeTooSkewed", Cause::Clock),
            ("403 Forbidden: InvalidAccessKeyId: no such key", Cause::StoreCredentials),
            ("404 Not Found: XAdminUserNotFound: no user", Cause::StoreCredentials),
            ("404: NoSuchBucket", Cause::StoreMissing),
            ("No space left on device (os error 28)", Cause::StoreFull),
            ("connection refused", Cause::StoreAway),
            ("GET http://s3/404/403 in 467.599404ms - connection closed", Cause::StoreAway),
            ("PUT in 398.401µs - status code: 403 Forbidden: no", Cause::StoreDenied),
            ("invalid peer certificate: UnknownIssuer", Cause::StoreCertificate),
            (
                "invalid peer certificate: certificate expired: verification time 1795803600 (UNIX), but certificate is not valid after 1738368000 (57435600 seconds ago)",
                Cause::StoreCertificate,
            ),
        ] {
            assert_eq!(Cause::of_store(why), cause, "{why}");
        }
        assert_eq!(Cause::of_store_written("Read-only file system"), Cause::StoreReadOnly);
        assert_eq!(Cause::of_store_written("SignatureDoesNotMatch"), Cause::StoreCredentials);
    }

    #[test]
    fn a_broker_that_refuses_us_is_told_from_one_that_we_refuse() {
        for (why, cause) in [
            (
                "bounds of partition 0: ssl://k:9093/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate verify failed: broker certificate could not be verified, verify that ssl.ca.location is correctly configured",
                Cause::KafkaCertificate,
            ),
            (
                "Failed to verify broker certificate: certificate has expired",
                Cause::KafkaCertificate,
            ),
            ("SASL authentication error: Authentication failed", Cause::KafkaRefuses),
            (
                "SSL handshake failed: error:0A000415:SSL routines::ssl/tls alert certificate expired",
                Cause::KafkaRefuses,
            ),
            ("metadata of topic t: Broker: Topic authorization failed", Cause::KafkaRefuses),
        ] {
            assert_eq!(Cause::of_refusal(why), cause, "{why}");
        }
    }

    #[test]
    fn every_cause_has_a_name_of_its_own() {
        let names: std::collections::BTreeSet<_> = Cause::ALL.map(Cause::name).into();
        assert_eq!(names.len(), Cause::ALL.len());
        for cause in Cause::ALL {
            assert_eq!(serde_json::to_string(&cause).unwrap(), format!("\"{}\"", cause.name()));
        }
    }
}

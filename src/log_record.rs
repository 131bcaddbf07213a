//! What people put into the log beside account commands: records that take rows out of suspense, and
//! records that carry corrections out.

use bytes::Bytes;
use tally_log::{Outgoing, RecordKind};
use tally_schemas::{CORRECT, Correction, Resolution, partition_of};

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LogRecord {
    Resolution(Resolution),
    Correction(Correction),
}

impl LogRecord {
    /// Reads a record.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let value: serde_json::Value =
            serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if value.get("command").and_then(serde_json::Value::as_str) == Some(CORRECT) {
            return Correction::parse(bytes).map(Self::Correction);
        }
        Resolution::parse(bytes).map(Self::Resolution)
    }

    /// Its value in the log.
    pub(crate) fn to_json(&self) -> String {
        match self {
            Self::Resolution(record) => record.to_json(),
            Self::Correction(record) => record.to_json(),
        }
    }

    /// As it is appended to a log of `count` partitions.
    pub(crate) fn outgoing(&self, count: u32) -> Outgoing {
        let (partition, account) = match self {
            Self::Resolution(record) => (record.home(count), record.account()),
            Self::Correction(record) => {
                (partition_of(&record.account, count), Some(record.account.as_str()))
            }
        };
        Outgoing {
            partition,
            key: account.map(|account| Bytes::from(account.to_owned())),
            value: Bytes::from(self.to_json()),
            kind: RecordKind::Single,
        }
    }

    /// Bytes of its texts, roughly.
    pub(crate) fn text_bytes(&self) -> usize {
        match self {
            Self::Resolution(Resolution::Recycle(recycle)) => recycle.raw.len(),
            Self::Resolution(Resolution::WriteOff(off)) => off.why.len(),
            Self::Correction(record) => {
                let asking = record.request.as_ref().map_or(0, |request| request.raw.len());
                record.event.len() + asking
            }
        }
    }
}

impl From<Resolution> for LogRecord {
    fn from(record: Resolution) -> Self {
        Self::Resolution(record)
    }
}

impl From<Correction> for LogRecord {
    fn from(record: Correction) -> Self {
        Self::Correction(record)
    }
}

//! Records that take a held-back row out of suspense: it is recycled, or written off. They travel in
//! the topic of usage like account commands, so that a replay is identical.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use crate::event_error::SuspenseReason;
use crate::partition::partition_of;
use crate::token_class::{COUNT_MAX, TokenClass, UsageCounts};

/// Name of a record that recycles a row, in its member `command`.
pub const RECYCLE: &str = "recycle";
/// Name of a record that writes a row off.
pub const WRITE_OFF: &str = "write_off";

/// Where a held-back row lies in the log: which row it is, for good. As text `P/OFFSET/INDEX`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HeldPosition {
    /// Kafka partition.
    pub partition: u32,
    /// Kafka offset.
    pub offset: u64,
    /// Position within a batch, 0 for a single event.
    pub batch_index: u32,
}

impl HeldPosition {
    /// Hash of a mark on this position. No event, command or control total is hashed from 18 bytes
    /// that begin so: their texts have a length in front, or a 0xff.
    fn hash(self, mark: u8) -> u64 {
        let mut bytes = [0xfe; 18];
        bytes[1] = mark;
        bytes[2..6].copy_from_slice(&self.partition.to_le_bytes());
        bytes[6..14].copy_from_slice(&self.offset.to_le_bytes());
        bytes[14..].copy_from_slice(&self.batch_index.to_le_bytes());
        xxh3_64(&bytes)
    }

    /// Identity under which dedupe remembers that the row is held back. Stable, as it is stored.
    pub fn held_hash(self) -> u64 {
        self.hash(1)
    }

    /// Identity under which dedupe remembers that the row was taken out. Stable, as it is stored.
    pub fn resolved_hash(self) -> u64 {
        self.hash(2)
    }
}

impl fmt::Display for HeldPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.partition, self.offset, self.batch_index)
    }
}

/// The text names no position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected PARTITION/OFFSET/INDEX, as `tally suspense list` shows it")]
pub struct NotAPosition;

impl FromStr for HeldPosition {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Self, NotAPosition> {
        let mut parts = text.split('/');
        let mut next = || parts.next().ok_or(NotAPosition);
        let (partition, offset, index) = (next()?, next()?, next()?);
        if parts.next().is_some() {
            return Err(NotAPosition);
        }
        Ok(Self {
            partition: partition.parse().map_err(|_| NotAPosition)?,
            offset: offset.parse().map_err(|_| NotAPosition)?,
            batch_index: index.parse().map_err(|_| NotAPosition)?,
        })
    }
}

/// Recycles one row: its payload is processed again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recycle {
    /// The row.
    pub position: HeldPosition,
    /// Why it is held back.
    pub reason: SuspenseReason,
    /// Account of its event.
    pub account: String,
    /// Its payload, as `suspense.raw` has it.
    pub raw: String,
    /// Who asked for it.
    pub by: String,
}

/// Writes one row off: it is not waited for any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOff {
    /// The row.
    pub position: HeldPosition,
    /// Why it is held back.
    pub reason: SuspenseReason,
    /// End of its call, or where that could not be read when the log received it, milliseconds UTC.
    pub at_ms: i64,
    /// Account, where it could be read.
    pub account: Option<String>,
    /// Gateway, where it could be read.
    pub source: Option<String>,
    /// Id within the gateway, where it could be read.
    pub id: Option<String>,
    /// What its payload says was used, as far as it can be read.
    pub usage: UsageCounts,
    /// Number of the proposal that was approved.
    pub proposal: u64,
    /// Why it is written off.
    pub why: String,
    /// Who proposed it.
    pub by: String,
    /// Who approved it: another person.
    pub approved_by: String,
}

/// A record that takes a row out of suspense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// Processes it again.
    Recycle(Recycle),
    /// Gives it up.
    WriteOff(WriteOff),
}

/// The shape in JSON of both.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    command: String,
    partition: u32,
    offset: u64,
    batch_index: u32,
    reason: String,
    account: Option<String>,
    by: String,
    raw: Option<String>,
    at: Option<i64>,
    source: Option<String>,
    id: Option<String>,
    usage: Option<BTreeMap<String, u64>>,
    proposal: Option<u64>,
    why: Option<String>,
    approved_by: Option<String>,
}

impl Resolution {
    /// Reads a record.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        let wire: Wire = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        let position = HeldPosition {
            partition: wire.partition,
            offset: wire.offset,
            batch_index: wire.batch_index,
        };
        let reason = SuspenseReason::from_name(&wire.reason)
            .ok_or_else(|| format!("reason: {:?} is none", wire.reason))?;
        let by = some_text("by", Some(wire.by))?;
        let foreign = |names: &[(&str, bool)]| match names.iter().find(|(_, given)| *given) {
            Some((name, _)) => Err(format!("{name}: does not belong to {:?}", wire.command)),
            None => Ok(()),
        };
        match wire.command.as_str() {
            RECYCLE => {
                foreign(&[
                    ("at", wire.at.is_some()),
                    ("source", wire.source.is_some()),
                    ("id", wire.id.is_some()),
                    ("usage", wire.usage.is_some()),
                    ("proposal", wire.proposal.is_some()),
                    ("why", wire.why.is_some()),
                    ("approved_by", wire.approved_by.is_some()),
                ])?;
                let account = some_text("account", wire.account)?;
                let raw = some_text("raw", wire.raw)?;
                Ok(Self::Recycle(Recycle { position, reason, account, raw, by }))
            }
            WRITE_OFF => {
                foreign(&[("raw", wire.raw.is_some())])?;
                Ok(Self::WriteOff(WriteOff {
                    position,
                    reason,
                    at_ms: wire.at.ok_or("at: is required")?,
                    account: wire.account.filter(|text| !text.is_empty()),
                    source: wire.source,
                    id: wire.id,
                    usage: counts(wire.usage.unwrap_or_default())?,
                    proposal: wire.proposal.ok_or("proposal: is required")?,
                    why: some_text("why", wire.why)?,
                    by,
                    approved_by: some_text("approved_by", wire.approved_by)?,
                }))
            }
            other => Err(format!("command: {other:?} is neither {RECYCLE:?} nor {WRITE_OFF:?}")),
        }
    }

    /// The record's value in the log. [`Resolution::parse`] gives the same again.
    pub fn to_json(&self) -> String {
        let head = |name: &str, position: HeldPosition, reason: SuspenseReason| {
            serde_json::json!({
                "command": name,
                "partition": position.partition,
                "offset": position.offset,
                "batch_index": position.batch_index,
                "reason": reason.as_str(),
            })
        };
        let value = match self {
            Self::Recycle(Recycle { position, reason, account, raw, by }) => {
                let mut value = head(RECYCLE, *position, *reason);
                value["account"] = account.as_str().into();
                value["raw"] = raw.as_str().into();
                value["by"] = by.as_str().into();
                value
            }
            Self::WriteOff(off) => {
                let usage: serde_json::Map<String, serde_json::Value> = TokenClass::ALL
                    .into_iter()
                    .filter(|class| off.usage.get(*class) > 0)
                    .map(|class| (class.name().to_owned(), off.usage.get(class).into()))
                    .collect();
                let mut value = head(WRITE_OFF, off.position, off.reason);
                value["at"] = off.at_ms.into();
                for (name, text) in
                    [("account", &off.account), ("source", &off.source), ("id", &off.id)]
                {
                    if let Some(text) = text {
                        value[name] = text.as_str().into();
                    }
                }
                value["usage"] = usage.into();
                value["proposal"] = off.proposal.into();
                value["why"] = off.why.as_str().into();
                value["by"] = off.by.as_str().into();
                value["approved_by"] = off.approved_by.as_str().into();
                value
            }
        };
        value.to_string()
    }

    /// Account of the row, where it is known: the record's key.
    pub fn account(&self) -> Option<&str> {
        match self {
            Self::Recycle(recycle) => Some(&recycle.account),
            Self::WriteOff(off) => off.account.as_deref(),
        }
    }

    /// The partition that takes the row out, of `count`: the account's, and that of the row where
    /// there is no account, or the one that follows from it where there were more partitions when
    /// it was held back. One for each row, so that of several records about it one is first.
    pub fn home(&self, count: u32) -> u32 {
        let position = match self {
            Self::Recycle(recycle) => recycle.position,
            Self::WriteOff(off) => off.position,
        };
        let of_row = || position.partition % count.max(1);
        self.account().map_or_else(of_row, |account| partition_of(account, count))
    }
}

fn some_text(name: &str, text: Option<String>) -> Result<String, String> {
    text.filter(|text| !text.trim().is_empty()).ok_or_else(|| format!("{name}: is required"))
}

fn counts(usage: BTreeMap<String, u64>) -> Result<UsageCounts, String> {
    let mut counts = UsageCounts::default();
    for (name, count) in usage {
        let class =
            TokenClass::from_name(&name).ok_or_else(|| format!("usage.{name}: no such class"))?;
        if count > COUNT_MAX {
            return Err(format!("usage.{name}: above 2^53"));
        }
        counts.set(class, count);
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSITION: HeldPosition = HeldPosition { partition: 3, offset: 1_742, batch_index: 5 };

    fn recycle() -> Resolution {
        Resolution::Recycle(Recycle {
            position: POSITION,
            reason: SuspenseReason::UnknownModel,
            account: "A1".into(),
            raw: "{\"source\":\"gw\"}".into(),
            by: "alice".into(),
        })
    }

    fn write_off() -> Resolution {
        let mut usage = UsageCounts::default();
        usage.set(TokenClass::Output, 7);
        Resolution::WriteOff(WriteOff {
            position: POSITION,
            reason: SuspenseReason::Malformed,
            at_ms: 1_795_326_157_827,
            account: None,
            source: Some("gw".into()),
            id: None,
            usage,
            proposal: 0,
            why: "test traffic".into(),
            by: "alice".into(),
            approved_by: "bob".into(),
        })
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for record in [recycle(), write_off()] {
            assert_eq!(Resolution::parse(record.to_json().as_bytes()), Ok(record.clone()));
        }
        assert_eq!(recycle().home(16), partition_of("A1", 16));
        assert_eq!(write_off().home(16), 3);
        assert_eq!("3/1742/5".parse(), Ok(POSITION));
        assert_eq!(POSITION.to_string(), "3/1742/5");
        for wrong in ["", "3/1742", "3/1742/5/1", "-1/0/0", "a/b/c"] {
            assert_eq!(wrong.parse::<HeldPosition>(), Err(NotAPosition), "{wrong}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let (recycle, write_off) = (recycle().to_json(), write_off().to_json());
        for (text, from, to, said) in [
            (&recycle, "unknown_model", "bad_mood", "reason: \"bad_mood\""),
            (&recycle, "\"by\":\"alice\"", "\"by\":\" \"", "by: is required"),
            (&recycle, "\"by\"", "\"at\":1,\"by\"", "at: does not belong"),
            (&recycle, "\"by\"", "\"colour\":1,\"by\"", "unknown field"),
            (&recycle, "\"recycle\"", "\"tick\"", "command: \"tick\""),
            (&recycle, "\"account\":\"A1\",", "", "account: is required"),
            (&write_off, "\"output\"", "\"prompt\"", "usage.prompt: no such class"),
            (&write_off, ":7}", ":9007199254740993}", "usage.output: above 2^53"),
            (&write_off, "\"approved_by\":\"bob\",", "", "approved_by: is required"),
            (&write_off, "\"by\"", "\"raw\":\"x\",\"by\"", "raw: does not belong"),
        ] {
            let wrong = Resolution::parse(text.replacen(from, to, 1).as_bytes());
            assert!(wrong.as_ref().is_err_and(|words| words.contains(said)), "{to}: {wrong:?}");
        }
    }

    #[test]
    fn marks_of_a_position_are_its_own() {
        let other = HeldPosition { batch_index: 6, ..POSITION };
        let marks = [POSITION, other].map(|p| [p.held_hash(), p.resolved_hash()]).concat();
        let unique: std::collections::BTreeSet<u64> = marks.iter().copied().collect();
        assert_eq!(unique.len(), 4);
    }
}

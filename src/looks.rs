//! Looks at what a process depends on: the log, the store and its clock, the tables, the
//! certificate, the disks. What is wrong is named by its cause.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use object_store::{ObjectStore, path::Path as ObjectPath};
use tally_access::Certificate;
use tally_log::{EventLog, LogError, LogErrorKind};
use tally_schemas::{Config, in_full};
use tokio::time::timeout;

use crate::disks::{folders, room_of};
use crate::store_clock;
use crate::trouble::{Cause, Trouble};

/// How long the log or the store may take. A look and the pause before it are well within the
/// half minute in which trouble is to be named.
const PATIENCE: Duration = Duration::from_secs(6);

/// What a process depends on.
#[derive(Clone)]
pub(crate) struct Depends {
    pub(crate) config: Config,
    /// The log of usage events first; none where the process has no log, or asks it itself.
    pub(crate) logs: Vec<Arc<dyn EventLog>>,
    /// None where the process has no store.
    pub(crate) store: Option<Arc<dyn ObjectStore>>,
    /// Whether it has to write to the store, and not only to read it.
    pub(crate) writes: bool,
    /// The certificate of the listeners: of a process the one that it began with.
    pub(crate) certificate: Option<Certificate>,
}

/// What was seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    pub(crate) troubles: Vec<Trouble>,
    /// This machine's clock less the store's, milliseconds; where the store has one and is written.
    pub(crate) clock_ahead_ms: Option<i64>,
}

/// Looks at everything but the tables once. Takes as long as who does not answer is waited for.
pub(crate) async fn look(depends: &Depends) -> Seen {
    let mut seen = Seen::default();
    let (log, store) = tokio::join!(log_trouble(depends), store_look(depends));
    seen.troubles.extend(log);
    seen.troubles.extend(store.troubles);
    seen.clock_ahead_ms = store.clock_ahead_ms;
    seen.troubles.extend(depends.certificate.as_ref().and_then(certificate));
    seen.troubles.extend(disks(&depends.config));
    seen
}

/// What an error of the log means.
pub(crate) fn of_log(config: &Config, error: &str, kind: LogErrorKind) -> Trouble {
    if config.log.kafka.is_empty() {
        return Trouble::new(Cause::LogBroken, format!("{}: {error}", config.log.data));
    }
    let cause = match kind {
        LogErrorKind::Retry => Cause::KafkaAway,
        _ => Cause::of_refusal(error),
    };
    Trouble::new(cause, format!("{}: {error}", config.log.kafka))
}

async fn log_trouble(depends: &Depends) -> Option<Trouble> {
    // Topics of an embedded log stop one by one.
    let stopped = depends.logs.iter().find_map(|log| log.failure());
    let error = match stopped {
        Some(error) => error,
        None => bounds(Arc::clone(depends.logs.first()?)).await.err()?,
    };
    Some(of_log(&depends.config, &error.to_string(), error.kind()))
}

/// Asks the log for something.
async fn bounds(log: Arc<dyn EventLog>) -> Result<(), LogError> {
    // It blocks, and has a deadline of its own.
    match timeout(PATIENCE, tokio::task::spawn_blocking(move || log.bounds(0))).await {
        Ok(Ok(answer)) => answer.map(drop),
        Ok(Err(error)) => Err(LogError::Internal(error.to_string())),
        Err(_) => Err(LogError::Retry(no_answer())),
    }
}

fn no_answer() -> String {
    format!("no answer within {} s", PATIENCE.as_secs())
}

async fn store_look(depends: &Depends) -> Seen {
    let Some(store) = &depends.store else { return Seen::default() };
    let url = depends.config.store_url();
    let mut seen = Seen::default();
    // One answer that does not come is enough.
    if let Err(why) = within(read(store.as_ref())).await {
        seen.troubles.push(Trouble::new(Cause::of_store(&why), format!("{url}: {why}")));
        return seen;
    }
    match written(depends, store.as_ref()).await {
        Ok(ahead_ms) => {
            seen.clock_ahead_ms = ahead_ms;
            seen.troubles.extend(ahead_ms.and_then(clock));
        }
        Err(why) => {
            let cause = Cause::of_store_written(&why);
            seen.troubles.push(Trouble::new(cause, format!("{url}: {why}")));
        }
    }
    seen
}

/// Whether tables are gone.
pub(crate) async fn table_trouble(depends: &Depends) -> Option<Trouble> {
    let gone = gone_tables(depends.store.as_ref()?).await?;
    let url = depends.config.store_url();
    Some(Trouble::new(Cause::TableGone, format!("{url}: {gone}")))
}

async fn within<T>(asked: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    timeout(PATIENCE, asked).await.unwrap_or_else(|_| Err(no_answer()))
}

async fn read(store: &dyn ObjectStore) -> Result<(), String> {
    match store.list(Some(&ObjectPath::from("ledger"))).next().await {
        Some(Err(error)) => Err(in_full(&error)),
        Some(Ok(_)) | None => Ok(()),
    }
}

/// Writes an object and takes it away, where the process has to be able to; compares clocks where
/// the store has one of its own.
async fn written(depends: &Depends, store: &dyn ObjectStore) -> Result<Option<i64>, String> {
    if !depends.writes {
        return Ok(None);
    }
    let ahead_ms = within(store_clock::ahead_ms(store)).await?;
    Ok(depends.config.store_url().starts_with("s3://").then_some(ahead_ms))
}

/// The tables that are gone, in words. A store that fails here is said by its other answers.
pub(crate) async fn gone_tables(store: &Arc<dyn ObjectStore>) -> Option<String> {
    let asked = async { tally_tables::gone_tables(store).await.map_err(|error| error.to_string()) };
    let gone = within(asked).await.ok()?;
    let names: Vec<String> =
        gone.iter().map(|table| format!("tables/{}/_delta_log", table.name())).collect();
    (!names.is_empty()).then(|| format!("{} is not there any more", names.join(", ")))
}

fn clock(ahead_ms: i64) -> Option<Trouble> {
    if ahead_ms.saturating_abs() < store_clock::SKEW_WRONG_MS {
        return None;
    }
    let side = if ahead_ms > 0 { "ahead of" } else { "behind" };
    let off_s = ahead_ms.saturating_abs() / 1_000;
    Some(Trouble::new(Cause::Clock, format!("this machine's is {off_s} s {side} the store's")))
}

fn certificate(loaded: &Certificate) -> Option<Trouble> {
    let found = match loaded.valid_ms() {
        Ok(valid) => {
            let now_ms = Timestamp::now().as_millisecond();
            if valid.contains(&now_ms) {
                return None;
            }
            let (at_ms, side) = if now_ms < *valid.start() {
                (*valid.start(), "it is not valid before")
            } else {
                (*valid.end(), "it expired at")
            };
            let at = Timestamp::from_millisecond(at_ms);
            format!("{side} {}", at.map_or_else(|_| at_ms.to_string(), |at| at.to_string()))
        }
        Err(error) => error.to_string(),
    };
    Some(Trouble::new(Cause::Certificate, found))
}

fn disks(config: &Config) -> Vec<Trouble> {
    let full = |folder: &crate::disks::Folder| {
        let room = room_of(&folder.path).ok()?;
        let at = folder.path.display();
        room.is_full().then(|| {
            let free = room.free;
            Trouble::new(
                Cause::DiskFull,
                format!("{free} bytes are free at {at} ({})", folder.holds),
            )
        })
    };
    folders(config).iter().filter_map(full).collect()
}

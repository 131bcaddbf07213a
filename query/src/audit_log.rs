//! Writes the audit log: who ran which statement, and what became of it.
//!
//! A statement takes a place in a queue before it runs, so that its entry can be put there at any
//! end it comes to without waiting. While the queue is full (the store is away), a statement waits a
//! moment for a place; then it runs without one, which is counted, logged and written down with the
//! next batch. So memory is bounded, no statement waits without bound, and a gap says how wide it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use object_store::ObjectStore;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use sha2::{Digest, Sha256};
use tally_access::Caller;
use tokio::runtime::Handle;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::audit_entry::{AuditEntry, Chain};
use crate::audit_store::{Created, chain_ends, create};
use crate::error::QueryError;

/// Bytes that are kept of a statement, and of its parameters.
const TEXT_KEPT_BYTES: usize = 8 << 10;
/// How much waits, and for how long.
#[derive(Debug, Clone, Copy)]
struct Pace {
    /// Entries that wait for the store, those of statements that run included.
    queue_entries: usize,
    /// How long a statement waits for a place in the queue.
    patience: Duration,
    /// How long an entry waits for others to share a batch.
    gather: Duration,
}

const PACE: Pace =
    Pace { queue_entries: 1_024, patience: Duration::from_secs(1), gather: Duration::from_secs(5) };

/// Most entries of a batch.
const BATCH_ENTRIES: usize = 256;
/// Pause after a failed write; it doubles up to the longest.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

enum Message {
    Entry(Box<AuditEntry>),
    /// Answered when everything before it is stored.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Counts {
    /// Lost since the last batch.
    unsaid: AtomicU64,
    written: Counter,
    lost: Counter,
    failures: Counter,
    waiting: Gauge,
}

/// The audit log of a process.
#[derive(Debug)]
pub(crate) struct AuditLog {
    queue: mpsc::Sender<Message>,
    pace: Pace,
    counts: Arc<Counts>,
}

impl AuditLog {
    /// Starts the writer on `runtime`.
    pub(crate) fn start(store: Arc<dyn ObjectStore>, runtime: &Handle) -> Self {
        Self::start_at(PACE, store, runtime)
    }

    fn start_at(pace: Pace, store: Arc<dyn ObjectStore>, runtime: &Handle) -> Self {
        let (queue, inbox) = mpsc::channel(pace.queue_entries);
        let counts = Arc::new(Counts::default());
        runtime.spawn(write_all(store, inbox, pace.gather, Arc::clone(&counts)));
        Self { queue, pace, counts }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        let counts = &self.counts;
        registry.register(
            "tally_audit_entries",
            "Entries of the audit log that are stored",
            counts.written.clone(),
        );
        registry.register(
            "tally_audit_entries_lost",
            "Statements and sign-ins that are not in the audit log, because too many waited for the store",
            counts.lost.clone(),
        );
        registry.register(
            "tally_audit_write_failures",
            "Attempts to store a batch of the audit log that failed; it is tried again",
            counts.failures.clone(),
        );
        registry.register(
            "tally_audit_entries_waiting",
            "Entries of the audit log that wait for the store",
            counts.waiting.clone(),
        );
    }

    /// Takes a place for a statement that begins.
    pub(crate) async fn statement(
        &self,
        caller: &Caller,
        statement: &str,
        parameters: Option<&str>,
    ) -> AuditRecord {
        let mut entry = entry_of(caller.name(), caller.role_name(), "statement");
        caller.channel().name().clone_into(&mut entry.channel);
        entry.peer = caller.peer().map(|peer| peer.to_string());
        entry.statement = Some(cut(statement));
        entry.statement_sha256 = Some(hex(&Sha256::digest(statement.as_bytes())));
        entry.parameters = parameters.map(cut);
        self.record(entry).await
    }

    /// Notes an attempt to sign in. `role` is empty for one that failed.
    pub(crate) async fn sign_in(
        &self,
        user: &str,
        role: String,
        peer: std::net::SocketAddr,
        outcome: &str,
    ) {
        let mut entry = entry_of(&cut(user), role, "sign_in");
        tally_access::Channel::Postgres.name().clone_into(&mut entry.channel);
        entry.peer = Some(peer.to_string());
        outcome.clone_into(&mut entry.outcome);
        drop(self.record(entry).await);
    }

    async fn record(&self, entry: AuditEntry) -> AuditRecord {
        let place = timeout(self.pace.patience, self.queue.clone().reserve_owned()).await;
        let Ok(Ok(place)) = place else {
            self.counts.lost.inc();
            self.counts.unsaid.fetch_add(1, Ordering::Relaxed);
            tracing::error!(user = entry.user, action = entry.action, "no entry in the audit log");
            return AuditRecord::none();
        };
        self.counts.waiting.inc();
        AuditRecord { kept: Some((place, entry)), deadline: None, rows: Arc::default() }
    }

    /// Waits until everything up to now is stored; `false` where that takes longer.
    pub(crate) async fn flush(&self, patience: Duration) -> bool {
        let (done, stored) = oneshot::channel();
        let flushed =
            async { self.queue.send(Message::Flush(done)).await.is_ok() && stored.await.is_ok() };
        timeout(patience, flushed).await.unwrap_or(false)
    }
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

fn entry_of(user: &str, role: String, action: &str) -> AuditEntry {
    let at_ms = now_ms();
    AuditEntry {
        at_ms,
        ended_ms: at_ms,
        user: user.to_owned(),
        role,
        channel: String::new(),
        peer: None,
        action: action.to_owned(),
        statement: None,
        statement_sha256: None,
        parameters: None,
        outcome: "abandoned".to_owned(),
        limit: None,
        rows: 0,
    }
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The beginning of a text, whole characters.
fn cut(text: &str) -> String {
    let mut end = text.len().min(TEXT_KEPT_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// The entry of a statement that runs. Dropped, it goes to the queue with what is known by then.
#[derive(Debug)]
pub(crate) struct AuditRecord {
    kept: Option<(OwnedPermit<Message>, AuditEntry)>,
    /// When the statement's time is over.
    deadline: Option<Instant>,
    /// Rows that were handed out so far: whoever reads an answer and does not wait for its end has
    /// them all the same.
    rows: Arc<AtomicU64>,
}

impl AuditRecord {
    /// Of a statement that is not noted: one of the program's own.
    pub(crate) fn none() -> Self {
        Self { kept: None, deadline: None, rows: Arc::default() }
    }

    /// Where the rows are counted.
    pub(crate) fn rows(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.rows)
    }

    /// Notes by when the statement has to end: given up after that, it ran into this limit.
    pub(crate) fn due(&mut self, deadline: Instant) {
        self.deadline = Some(deadline);
    }

    /// Notes how it ended.
    pub(crate) fn ended(&mut self, failure: Option<&QueryError>) {
        self.deadline = None;
        let Some((_, entry)) = &mut self.kept else { return };
        failure.map_or("ok", |error| error.kind().name()).clone_into(&mut entry.outcome);
        entry.limit = match failure {
            Some(QueryError::Limit { setting, .. }) => Some((*setting).to_owned()),
            _ => None,
        };
    }

    /// Leaves it out: another entry will say it.
    pub(crate) fn forget(mut self, log: Option<&AuditLog>) {
        if self.kept.take().is_some()
            && let Some(log) = log
        {
            log.counts.waiting.dec();
        }
    }
}

impl Drop for AuditRecord {
    fn drop(&mut self) {
        let Some((place, mut entry)) = self.kept.take() else { return };
        entry.ended_ms = now_ms();
        entry.rows = self.rows.load(Ordering::Relaxed);
        if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            "limit".clone_into(&mut entry.outcome);
            entry.limit = Some("query.timeout_ms".to_owned());
        }
        drop(place.send(Message::Entry(Box::new(entry))));
    }
}

/// Gathers entries and stores them, until the queue is closed and empty.
async fn write_all(
    store: Arc<dyn ObjectStore>,
    mut inbox: mpsc::Receiver<Message>,
    gather: Duration,
    counts: Arc<Counts>,
) {
    let mut writer = Writer { store, chain: None, counts };
    while let Some(first) = inbox.recv().await {
        let due = Instant::now() + gather;
        let (mut entries, mut flushed) = (Vec::new(), None);
        let mut next = Some(first);
        while let Some(message) = next.take() {
            match message {
                Message::Entry(entry) => entries.push(*entry),
                Message::Flush(done) => flushed = Some(done),
            }
            if flushed.is_none() && entries.len() < BATCH_ENTRIES {
                next = timeout_at(due, inbox.recv()).await.unwrap_or(None);
            }
        }
        for entries in by_day(entries) {
            writer.store(entries).await;
        }
        if let Some(done) = flushed
            && done.send(()).is_err()
        {
            tracing::debug!("who waited for the audit log does not any more");
        }
    }
}

/// Cuts entries where the day changes, so that each batch lies under its day.
fn by_day(entries: Vec<AuditEntry>) -> Vec<Vec<AuditEntry>> {
    use tally_schemas::ShanghaiDay;
    let mut parts: Vec<Vec<AuditEntry>> = Vec::new();
    for entry in entries {
        let day = ShanghaiDay::of_instant(entry.ended_ms);
        match parts.last_mut() {
            Some(part)
                if part
                    .last()
                    .is_some_and(|last| ShanghaiDay::of_instant(last.ended_ms) == day) =>
            {
                part.push(entry);
            }
            _ => parts.push(vec![entry]),
        }
    }
    parts
}

struct Writer {
    store: Arc<dyn ObjectStore>,
    chain: Option<Chain>,
    counts: Arc<Counts>,
}

impl Writer {
    /// Stores a batch, however often that has to be tried.
    async fn store(&mut self, entries: Vec<AuditEntry>) {
        let count = entries.len();
        let lost = self.counts.unsaid.swap(0, Ordering::Relaxed);
        let mut pause = PAUSE_MIN;
        while let Err(error) = self.attempt(&entries, lost).await {
            self.counts.failures.inc();
            tracing::warn!(%error, "the audit log cannot be written; it is tried again");
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        let count_i64 = i64::try_from(count).unwrap_or(i64::MAX);
        self.counts.waiting.dec_by(count_i64);
        self.counts.written.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    async fn attempt(&mut self, entries: &[AuditEntry], lost: u64) -> Result<(), QueryError> {
        let chain = match &mut self.chain {
            Some(chain) => chain,
            None => {
                let writer = uuid::Uuid::new_v4().simple().to_string();
                let others = chain_ends(self.store.as_ref()).await?;
                self.chain.insert(Chain::begin(writer, others))
            }
        };
        let batch = chain.batch(entries.to_vec(), lost);
        let bytes = batch.to_bytes()?;
        match create(self.store.as_ref(), &batch.name(), &bytes).await? {
            Created::Stored => {
                chain.stored(&bytes);
                Ok(())
            }
            Created::Taken => {
                self.chain = None;
                let path = batch.name().path();
                Err(QueryError::Data(format!("{path} is there already; another chain is begun")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use tally_access::Channel;

    use super::*;
    use crate::audit_store::{batches, check, days, read};

    async fn entries(store: &dyn ObjectStore) -> Vec<AuditEntry> {
        let mut all = Vec::new();
        for day in days(store).await.unwrap() {
            for name in batches(store, &day).await.unwrap() {
                all.extend(read(store, name).await.unwrap().batch.unwrap().entries);
            }
        }
        all
    }

    #[tokio::test]
    async fn every_end_of_a_statement_is_noted() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let caller = Caller::local(Channel::Http, None);
        for round in 0..3 {
            let log = AuditLog::start(Arc::clone(&store), &Handle::current());
            let long = format!("SELECT '{}'", "上".repeat(TEXT_KEPT_BYTES));
            let mut ok = log.statement(&caller, &long, Some("$1 = 5")).await;
            ok.rows().store(7, Ordering::Relaxed);
            ok.ended(None);
            drop(ok);
            let mut failed = log.statement(&caller, "SELECT 1/0", None).await;
            failed.ended(Some(&QueryError::Invalid("divided".to_owned())));
            drop(failed);
            let mut late = log.statement(&caller, "late", None).await;
            late.due(Instant::now());
            drop(late);
            let given_up = log.statement(&caller, "given up", None).await;
            given_up.rows().store(5, Ordering::Relaxed);
            drop(given_up);
            log.statement(&caller, "said elsewhere", None).await.forget(Some(&log));
            log.sign_in("eve", String::new(), "127.0.0.1:1".parse().unwrap(), "denied").await;
            assert!(log.flush(Duration::from_secs(10)).await);
            assert_eq!(log.counts.waiting.get(), 0);
            let all = entries(store.as_ref()).await;
            assert_eq!(all.len(), 5 * (round + 1));
            assert_eq!(check(store.as_ref()).await.unwrap().0, Vec::<String>::new());
        }
        let mut all = entries(store.as_ref()).await;
        all.truncate(5);
        let told: Vec<_> =
            all.iter().map(|e| (e.outcome.as_str(), e.limit.as_deref(), e.rows)).collect();
        assert_eq!(
            told,
            [
                ("ok", None, 7),
                ("invalid", None, 0),
                ("limit", Some("query.timeout_ms"), 0),
                ("abandoned", None, 5),
                ("denied", None, 0),
            ]
        );
        let statement = all[0].statement.as_deref().unwrap();
        assert!(statement.starts_with("SELECT '上") && statement.len() <= TEXT_KEPT_BYTES);
        assert_eq!(all[0].parameters.as_deref(), Some("$1 = 5"));
    }

    /// While the store is away, statements go on, memory is bounded, and what is lost is counted
    /// and written down when it is back.
    #[tokio::test]
    async fn what_is_lost_while_the_store_is_away_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("store");
        std::fs::create_dir(&root).unwrap();
        let store: Arc<dyn ObjectStore> =
            Arc::new(object_store::local::LocalFileSystem::new_with_prefix(&root).unwrap());
        let pace = Pace {
            queue_entries: 20,
            patience: Duration::from_millis(5),
            gather: Duration::from_millis(5),
        };
        let log = AuditLog::start_at(pace, Arc::clone(&store), &Handle::current());
        let caller = Caller::local(Channel::Http, None);
        // A file where the store's folder was: nothing can be written below it.
        std::fs::remove_dir(&root).unwrap();
        std::fs::write(&root, "").unwrap();
        let asked = 2 * (pace.queue_entries + BATCH_ENTRIES);
        for n in 0..asked {
            log.statement(&caller, &format!("SELECT {n}"), None).await.ended(None);
        }
        let lost = log.counts.lost.get();
        assert!(lost > 0 && log.counts.failures.get() > 0, "{lost}");
        assert!(!log.flush(Duration::from_millis(50)).await);
        std::fs::remove_file(&root).unwrap();
        std::fs::create_dir(&root).unwrap();
        assert!(log.flush(Duration::from_secs(60)).await);
        let written = entries(store.as_ref()).await.len();
        assert_eq!(u64::try_from(asked - written).unwrap(), lost);
        // The number that is written down with the next batch.
        let mut said = 0;
        log.statement(&caller, "SELECT 'back'", None).await.ended(None);
        assert!(log.flush(Duration::from_secs(60)).await);
        for day in days(store.as_ref()).await.unwrap() {
            for name in batches(store.as_ref(), &day).await.unwrap() {
                said += read(store.as_ref(), name).await.unwrap().batch.unwrap().lost;
            }
        }
        assert_eq!(said, lost);
        assert_eq!(check(store.as_ref()).await.unwrap().0, Vec::<String>::new());
    }
}

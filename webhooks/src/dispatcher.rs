//! Delivers alerts to one receiver: reads the topic, tries, tries again, gives up, and keeps its
//! position in the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use backon::{BackoffBuilder, ExponentialBackoff};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use object_store::ObjectStore;
use parking_lot::Mutex;
use reqwest::Client;
use tally_log::{Assignee, EventLog, LogError};
use tally_schemas::AlertsConfig;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::arrivals::{Arrival, Arrivals, ArrivedRecord, Assigned};
use crate::attempt::{Outcome, attempt, client};
use crate::dead_letter::bury;
use crate::error::WebhookError;
use crate::position;
use crate::receiver::{Chosen, Receiver};
use crate::status::WebhookStatus;
use crate::waiting::{NewAlert, Place, WaitingRoom, delays};

/// Alerts that may wait for one receiver in memory; the others wait in the log.
const WAITING_MAX: usize = 1_000;
/// Attempts at a time, as long as the receiver takes them.
const ATTEMPTS_AT_A_TIME: usize = 8;
/// How often the position is stored.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);

/// The topic of alerts as one receiver reads it.
#[derive(Clone)]
pub enum AlertsLog {
    /// Opened for a group of the receiver's own, in which processes share the partitions.
    Shared(Arc<dyn EventLog>),
    /// A log of this process alone: it reads every partition.
    Alone(Arc<dyn EventLog>),
}

impl std::fmt::Debug for AlertsLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("AlertsLog").field(&self.log().topic()).finish()
    }
}

impl AlertsLog {
    fn log(&self) -> &Arc<dyn EventLog> {
        let (Self::Shared(log) | Self::Alone(log)) = self;
        log
    }
}

/// How long and how often a receiver is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Longest time of one attempt.
    pub attempt: Duration,
    /// Shortest pause after an attempt that failed; it doubles with each.
    pub retry_min: Duration,
    /// The pause that no longer doubles; jitter may double it once more.
    pub retry_max: Duration,
    /// An alert as old as this that fails once more is given up.
    pub give_up: Duration,
}

impl Patience {
    /// As configured.
    pub fn of_config(config: &AlertsConfig) -> Self {
        Self {
            attempt: Duration::from_millis(config.attempt_timeout_ms),
            retry_min: Duration::from_millis(config.retry_min_ms),
            retry_max: Duration::from_millis(config.retry_max_ms),
            give_up: Duration::from_millis(config.give_up_ms),
        }
    }
}

/// Delivers to one receiver.
pub struct Dispatcher {
    receiver: Receiver,
    log: AlertsLog,
    store: Arc<dyn ObjectStore>,
    patience: Patience,
    client: Client,
    status: WebhookStatus,
}

impl std::fmt::Debug for Dispatcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher").field("receiver", &self.receiver.name).finish_non_exhaustive()
    }
}

impl Dispatcher {
    /// A dispatcher that has not begun.
    ///
    /// # Errors
    /// `Invalid` where there is no client for it.
    pub fn new(
        receiver: Receiver,
        log: AlertsLog,
        store: Arc<dyn ObjectStore>,
        config: &AlertsConfig,
        status: WebhookStatus,
    ) -> Result<Self, WebhookError> {
        let patience = Patience::of_config(config);
        let client = client(patience.attempt, config.allow_private)?;
        status.update(&receiver.name, |_| ());
        Ok(Self { receiver, log, store, patience, client, status })
    }

    /// Notes where a receiver that is new begins: with the alerts that come after this. Before the
    /// stream begins, so that none of its alerts is missed.
    ///
    /// # Errors
    /// Where log or store are away.
    pub async fn register(&self) -> Result<(), WebhookError> {
        let log = Arc::clone(self.log.log());
        let bounds = move || {
            (0..log.partition_count())
                .map(|partition| Ok((partition, log.bounds(partition)?.end)))
                .collect::<Result<Vec<(u32, u64)>, LogError>>()
        };
        let ends = tokio::task::spawn_blocking(bounds)
            .await
            .map_err(|error| WebhookError::Damaged(error.to_string()))??;
        let (topic, id) = (self.log.log().topic(), self.receiver.id.as_str());
        for (partition, end) in ends {
            if position::load(self.store.as_ref(), topic, id, partition).await?.is_none() {
                position::save(self.store.as_ref(), topic, id, partition, end).await?;
            }
        }
        Ok(())
    }

    /// Delivers until stopped.
    ///
    /// # Errors
    /// Where the log cannot be consumed at all.
    pub async fn run(self, stop: CancellationToken) -> Result<(), WebhookError> {
        let (channel, inbox) = mpsc::unbounded_channel();
        let topic = self.log.log().topic().to_owned();
        let arrivals = Arc::new(Arrivals {
            store: Arc::clone(&self.store),
            topic: topic.clone(),
            receiver: self.receiver.id.clone(),
            runtime: Handle::current(),
            channel,
            room: Arc::new(Semaphore::new(WAITING_MAX)),
            held: Mutex::default(),
        });
        let (log, reading) = (self.log.clone(), stop.clone());
        let consuming = tokio::task::spawn_blocking(move || consume(&log, &arrivals, reading));
        let retries = delays(self.patience.retry_min, self.patience.retry_max);
        let delivery = Delivery {
            room: WaitingRoom::new(retries),
            saved: BTreeMap::new(),
            topic,
            gate: retries.build(),
            retries,
            closed_until: None,
            stopped: false,
            dispatcher: self,
        };
        delivery.run(inbox, &stop).await;
        let consumed = consuming.await.map_err(|error| WebhookError::Damaged(error.to_string()))?;
        Ok(consumed?)
    }
}

/// Reads until stopped. Blocks.
fn consume(
    log: &AlertsLog,
    arrivals: &Arc<Arrivals>,
    stop: CancellationToken,
) -> Result<(), LogError> {
    let assigned = Assigned(Arc::clone(arrivals));
    let log = match log {
        AlertsLog::Shared(log) => return log.consume(Arc::new(assigned), stop),
        AlertsLog::Alone(log) => log,
    };
    let partitions: Vec<u32> = (0..log.partition_count()).collect();
    for partition in &partitions {
        let next = assigned.assign(*partition, log.bounds(*partition)?)?;
        assigned.start(*partition, log.reader_at(*partition, next)?);
    }
    while !stop.is_cancelled() {
        std::thread::sleep(Duration::from_millis(50));
    }
    assigned.revoke(&partitions);
    Ok(())
}

/// The loop of one receiver.
struct Delivery {
    dispatcher: Dispatcher,
    topic: String,
    room: WaitingRoom,
    /// Positions as they are stored.
    saved: BTreeMap<u32, u64>,
    retries: backon::ExponentialBuilder,
    /// Pauses of the receiver as a whole, while it takes nothing.
    gate: ExponentialBackoff,
    /// While attempts fail: when the next one may be made, one at a time.
    closed_until: Option<Instant>,
    /// It wants no more.
    stopped: bool,
}

impl Delivery {
    async fn run(mut self, mut inbox: mpsc::UnboundedReceiver<Arrival>, stop: &CancellationToken) {
        let mut flights = FuturesUnordered::new();
        let mut saving = interval(SAVE_INTERVAL);
        saving.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let now = Instant::now();
            let open = self.closed_until.is_none_or(|until| until <= now) && !self.stopped;
            let at_a_time = if self.closed_until.is_some() { 1 } else { ATTEMPTS_AT_A_TIME };
            while open && flights.len() < at_a_time {
                let Some((place, alert)) = self.room.take_due(now) else { break };
                let (id, body) = (alert.id.clone(), alert.body.clone());
                let (client, receiver) =
                    (self.dispatcher.client.clone(), self.dispatcher.receiver.clone());
                flights.push(async move { (place, attempt(&client, &receiver, &id, body).await) });
            }
            let waiting = self.room.len() as u64;
            self.status(|status| status.waiting = waiting);
            let wake = self.room.next_due().map(|due| due.max(self.closed_until.unwrap_or(due)));
            let may_start = !self.stopped && flights.len() < at_a_time;
            tokio::select! {
                () = stop.cancelled() => break,
                Some((place, outcome)) = flights.next(), if !flights.is_empty() => {
                    self.landed(place, outcome).await;
                }
                Some(arrival) = inbox.recv() => self.arrived(arrival).await,
                () = sleep_until(wake.unwrap_or(now)), if may_start && wake.is_some() => {}
                _ = saving.tick() => self.save().await,
            }
        }
        self.save().await;
    }

    fn status(&self, change: impl FnOnce(&mut crate::ReceiverStatus)) {
        self.dispatcher.status.update(&self.dispatcher.receiver.name, change);
    }

    async fn arrived(&mut self, arrival: Arrival) {
        match arrival {
            Arrival::Begun { partition, next } => self.room.begin(partition, next),
            Arrival::Ended { partition } => {
                self.save().await;
                self.room.end(partition);
                self.saved.remove(&partition);
            }
            Arrival::Record(ArrivedRecord { partition, offset, logged_at_ms, value, room }) => {
                let receiver = &self.dispatcher.receiver;
                let chosen = serde_json::from_slice::<Chosen>(&value);
                let wanted = chosen.ok().filter(|alert| receiver.wants(alert));
                let alert = wanted.map(|Chosen { id, .. }| NewAlert {
                    id,
                    body: value,
                    logged_at_ms,
                    room,
                });
                self.room.add((partition, offset), alert);
            }
        }
    }

    async fn landed(&mut self, place: Place, outcome: Outcome) {
        let name = self.dispatcher.receiver.name.clone();
        match outcome {
            Outcome::Delivered => {
                self.room.done(place);
                self.closed_until = None;
                self.gate = self.retries.build();
                self.status(|status| {
                    status.delivered += 1;
                    status.failing = None;
                });
            }
            Outcome::Gone => {
                tracing::error!(receiver = name, "answered 410: nothing more is sent to it");
                self.stopped = true;
                self.room.failed(place, None);
                self.status(|status| {
                    status.stopped = Some("answered 410, it wants no more".to_owned());
                });
            }
            Outcome::Failed { why, not_before } => {
                tracing::warn!(receiver = name, why, "an alert was not delivered");
                let pause = self.gate.next().unwrap_or_default();
                self.closed_until =
                    Some(Instant::now() + pause.max(not_before.unwrap_or_default()));
                if !self.gave_up(place, &why).await {
                    self.room.failed(place, not_before);
                }
                self.status(|status| {
                    status.failures += 1;
                    status.failing = Some(why);
                });
            }
        }
    }

    /// Gives an alert up that is too old to be tried again; tells whether it did.
    async fn gave_up(&mut self, place: Place, why: &str) -> bool {
        let Some(alert) = self.room.get(place) else { return false };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let age_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX) - alert.logged_at_ms;
        let give_up_ms = i64::try_from(self.dispatcher.patience.give_up.as_millis());
        if age_ms < give_up_ms.unwrap_or(i64::MAX) {
            return false;
        }
        let Dispatcher { receiver, store, .. } = &self.dispatcher;
        let (id, body) = (alert.id.clone(), alert.body.clone());
        let who = (receiver.id.as_str(), receiver.name.as_str());
        match bury(store.as_ref(), &self.topic, who, (&id, &body), why).await {
            Ok(()) => {
                tracing::error!(receiver = receiver.name, id, why, "an alert was given up");
                self.room.done(place);
                self.status(|status| status.dead_letters += 1);
                true
            }
            Err(error) => {
                tracing::warn!(%error, id, "an alert that is given up cannot be kept yet");
                false
            }
        }
    }

    /// Stores the positions that have moved. What fails is stored the next time.
    async fn save(&mut self) {
        let Dispatcher { receiver, store, .. } = &self.dispatcher;
        for (partition, next) in self.room.positions() {
            if self.saved.get(&partition) == Some(&next) {
                continue;
            }
            let saved = position::save(store.as_ref(), &self.topic, &receiver.id, partition, next);
            match saved.await {
                Ok(()) => drop(self.saved.insert(partition, next)),
                Err(error) => tracing::warn!(partition, %error, "a position is not stored yet"),
            }
        }
    }
}

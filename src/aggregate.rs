//! `tally aggregate`: the stream, with the publisher and the janitor beside it.

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use object_store::ObjectStore;
use tally_aggregate::{
    Aggregator, ErrorKind as StreamErrorKind, Extent, ReferenceFeed, References, Surroundings,
    SystemEdge, open_store, probe,
};
use tally_log::EventLog;
use tally_schemas::Config;
use tally_tables::{ErrorKind, Janitor, Publisher};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::backlog::Backlog;
use crate::budgets::{self, Budgets};
use crate::cli::{GlobalArgs, PlaceArgs};
use crate::exit::Failure;
use crate::host_metrics::HostWatch;
use crate::janitor::{self, JanitorFigures};
use crate::looks::Depends;
use crate::patience::{START_PATIENCE, patiently, place_of};
use crate::progress::follow;
use crate::security::Security;
use crate::status::{Parts, WebhookLook};
use crate::stdout::announcement;
use crate::table_metrics::TableWatch;
use crate::topics::Topics;
use crate::traces::{Traces, hearing};
use crate::trouble::Cause;
use crate::webhooks::{Webhooks, register_metrics};
use crate::{config, event_log, quota, server, status, stop, stream_metrics};

/// Options of `tally aggregate`.
#[derive(Debug, Args)]
pub(crate) struct AggregateArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Stop when everything that the log holds now is committed and published
    #[arg(long)]
    until_end: bool,
    /// Address of /healthz, /readyz, /metrics and the quota of accounts; none where it is not given
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

pub(crate) async fn run(global: &GlobalArgs, args: AggregateArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.place.settings())?;
    let store = open_checked_store(&config).await?;
    let place = place_of(store.as_ref(), &config.log.topic).await?;
    let log = event_log::open_stream(&config, &place).await?;
    let topics = Topics::open(&config, log.as_ref()).await?;
    let extent = if args.until_end { Extent::UntilEnd } else { Extent::Endless };
    let stop = stop::on_signal()?;
    let traces = Traces::of(&config, "aggregate")?;
    // A bounded run is over when the log is; who runs on delivers what it alerts of.
    let webhooks = match extent {
        Extent::Endless => Some(Webhooks::start(&config, &topics, &store).await?),
        Extent::UntilEnd => None,
    };
    let watched = Arc::clone(&store);
    let security = Security::of(&config)?;
    let depends = Depends {
        config: config.clone(),
        logs: topics.with(&log),
        store: Some(Arc::clone(&store)),
        writes: true,
        certificate: security.certificate.clone(),
    };
    let seen = Arc::clone(&log);
    let stream =
        Stream::start(&config, log, &topics, store, traces.as_ref(), extent, stop.child_token())
            .await?;
    let host = HostWatch::new(&config, &security)?;
    if extent == Extent::Endless {
        host.watch(depends, stop.clone());
    }
    if let Some(listen) = args.listen {
        let registry = stream_metrics::registry_of(stream.aggregator());
        budgets::register(&registry, stream.budgets().status());
        if let (Some(webhooks), Ok(mut registry)) = (&webhooks, registry.lock()) {
            register_metrics(&mut registry, webhooks.status());
        }
        if let Ok(mut registry) = registry.lock() {
            security.register_metrics(&mut registry);
            stream.janitor().register(&mut registry);
            host.register(&mut registry);
            let tables = TableWatch::start(Arc::clone(&watched), &place.ledger, stop.clone());
            tables.register(&mut registry);
        }
        let hooks = webhooks.as_ref().map(|webhooks| webhooks.status().clone());
        let look = WebhookLook::of(&config, hooks)?;
        let parts = Parts {
            stream: stream.aggregator().status().clone(),
            budgets: stream.budgets().status().clone(),
            host: host.clone(),
        };
        let status = status::routes(&config, &place, seen, watched, parts, look);
        let listener = server::bind(&listen, &security).await?;
        let (scheme, address) = (security.scheme(), listener.local_addr()?);
        let words = format!("health and metrics on {scheme}://{address}");
        eprintln!("{}", announcement(global.log_format, &words));
        let quota = quota::routes(stream.aggregator(), &registry);
        let work: Arc<Aggregator> = Arc::clone(stream.aggregator());
        let watch = server::watch_routes(registry, work);
        let routes = watch.merge(quota).merge(status);
        tokio::spawn(server::serve(listener, routes, stop.clone()));
    }
    let finished = match extent {
        Extent::Endless => stream.finish().await,
        Extent::UntilEnd => {
            let (aggregator, mut backlog) = (Arc::clone(stream.aggregator()), Backlog::default());
            let position =
                || backlog.position(&aggregator.status().partitions(), &aggregator.until());
            follow(global, "aggregate", position, stream.finish()).await
        }
    };
    if let Some(webhooks) = webhooks {
        webhooks.finish().await;
    }
    if let Some(traces) = traces {
        traces.finish().await;
    }
    finished?;
    if args.until_end {
        println!("DRAINED");
    }
    Ok(())
}

/// Opens the store and tries a conditional write on it.
pub(crate) async fn open_checked_store(config: &Config) -> Result<Arc<dyn ObjectStore>, Failure> {
    let url = config.store_url();
    let store = open_store(&url, &config.store.s3_options)?;
    let began = tokio::time::Instant::now();
    loop {
        // A new object each time: whether the last one was made may not be known.
        let probe_id = uuid::Uuid::new_v4().simple().to_string();
        match probe(store.as_ref(), &probe_id).await {
            Ok(()) => return Ok(store),
            Err(error)
                if error.kind() == StreamErrorKind::Retry && began.elapsed() < START_PATIENCE =>
            {
                let cause = Cause::of_store_written(&error.to_string());
                tracing::warn!(%error, cause = cause.name(), "{}, waiting", cause.words());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            Err(error) => {
                return Err(Failure::from(error).while_doing(format!("store {url}")));
            }
        }
    }
}

/// Reads the reference data of the store, and waits for a store that is away.
pub(crate) async fn open_references(surroundings: &Surroundings) -> Result<ReferenceFeed, Failure> {
    let open = || async { Ok(ReferenceFeed::open(surroundings.clone()).await?) };
    patiently("reference data is", open).await
}

/// Looks for newly approved reference data until told to end. Where that fails, what is known
/// stays in use.
async fn look_for_approvals(
    references: Arc<ReferenceFeed>,
    interval: Duration,
    end: CancellationToken,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = end.cancelled() => return,
        }
        match references.refresh().await {
            Ok(_) => {}
            Err(error) if error.kind() == StreamErrorKind::Retry => {
                tracing::debug!(%error, "looking for reference data");
            }
            Err(error) => tracing::error!(%error, "newer reference data cannot be used"),
        }
    }
}

/// The running stream of this process.
pub(crate) struct Stream {
    aggregator: Arc<Aggregator>,
    consuming: JoinHandle<Result<(), Failure>>,
    publishing: Vec<JoinHandle<Result<(), Failure>>>,
    budgets: Budgets,
    /// None where the janitor is turned off, or runs in a process of its own.
    cleaning: Option<JoinHandle<()>>,
    figures: JanitorFigures,
    looking: JoinHandle<()>,
    /// Ends the publisher and the janitor, after the aggregator has ended.
    side: CancellationToken,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("aggregator", &self.aggregator).finish_non_exhaustive()
    }
}

impl Stream {
    /// Starts consuming, publishing and cleaning; `stop` ends it.
    pub(crate) async fn start(
        config: &Config,
        log: Arc<dyn EventLog>,
        topics: &Topics,
        store: Arc<dyn ObjectStore>,
        traces: Option<&Traces>,
        extent: Extent,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let settings = config.aggregate.clone();
        let source = (log.topic().to_owned(), log.partition_count());
        let publisher = Publisher::new(Arc::clone(&store), log.topic(), log.partition_count())
            .across_counts(log.continued().is_some());
        let of_budgets = budgets::publisher(config, &store);
        let janitor_settings = janitor::settings_of(config)?;
        let janitor = Janitor::new(Arc::clone(&store), log.topic(), log.partition_count())
            .with_second_stage(&config.budgets.topic);
        let runtime = tokio::runtime::Handle::current();
        let notices = topics.notices(&runtime)?;
        let advertised = Some(config.http.advertise.clone()).filter(|url| !url.is_empty());
        let edge = Arc::new(SystemEdge { address: advertised, traces: hearing(traces) });
        let surroundings = Surroundings { store, edge, notices };
        let references = Arc::new(open_references(&surroundings).await?);
        let aggregator = Aggregator::new(
            log,
            surroundings.clone(),
            settings.clone(),
            Arc::clone(&references) as Arc<dyn References>,
            runtime,
            stop.clone(),
            extent,
        )?;
        let budgets = Budgets::start(
            config,
            topics,
            &aggregator,
            surroundings,
            source,
            extent,
            stop.clone(),
        )?;
        let side = CancellationToken::new();
        let consuming = tokio::task::spawn_blocking({
            let aggregator = Arc::clone(&aggregator);
            move || aggregator.run().map_err(Failure::from)
        });
        let interval = Duration::from_millis(settings.publish_interval_ms.max(10));
        let publishing = [publisher, of_budgets].map(|publisher| {
            tokio::spawn(publish(publisher, interval, side.clone(), stop.clone()))
        });
        let figures = JanitorFigures::default();
        let cleaning = janitor::interval_of(config).map(|interval| {
            let (figures, end) = (figures.clone(), side.clone());
            tokio::spawn(janitor::clean(janitor, janitor_settings, interval, figures, end))
        });
        let interval = Duration::from_millis(settings.reference_poll_ms.max(10));
        let looking = tokio::spawn(look_for_approvals(references, interval, side.clone()));
        let publishing = publishing.into();
        Ok(Self { aggregator, consuming, publishing, budgets, cleaning, figures, looking, side })
    }

    pub(crate) fn aggregator(&self) -> &Arc<Aggregator> {
        &self.aggregator
    }

    /// What spans accounts.
    pub(crate) fn budgets(&self) -> &Budgets {
        &self.budgets
    }

    /// What the janitor did.
    pub(crate) fn janitor(&self) -> &JanitorFigures {
        &self.figures
    }

    /// Waits until the stream has ended and everything committed is published.
    pub(crate) async fn finish(self) -> Result<(), Failure> {
        let consumed =
            self.consuming.await.unwrap_or_else(|e| Err(Failure::internal(e.to_string())));
        // After the stream, so that its last epochs are added, and before the publishers.
        let added = self.budgets.finish().await;
        self.side.cancel();
        let mut published = Ok(());
        for publishing in self.publishing {
            let ended = publishing.await.unwrap_or_else(|e| Err(Failure::internal(e.to_string())));
            published = published.and(ended);
        }
        if let Some(cleaning) = self.cleaning {
            janitor::finish(cleaning).await;
        }
        self.looking.abort();
        consumed.and(added).and(published)
    }
}

/// Publishes what is committed until told to end, and once more then.
async fn publish(
    mut publisher: Publisher,
    interval: Duration,
    end: CancellationToken,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let mut failures = 0_u32;
    loop {
        let ending = end.is_cancelled();
        match publisher.publish_committed().await {
            Ok(_) => {
                failures = 0;
                if ending {
                    return Ok(());
                }
            }
            Err(error) if error.kind() == ErrorKind::Retry => {
                failures += 1;
                if failures.is_power_of_two() {
                    tracing::warn!(%error, failures, "publication waits for the store");
                }
                // What is committed is safe in the ledger; the next start publishes it.
                if ending && failures > 20 {
                    return Err(error.into());
                }
            }
            Err(error) => {
                tracing::error!(%error, "publication cannot go on");
                stop.cancel();
                return Err(error.into());
            }
        }
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = end.cancelled(), if !ending => {}
        }
    }
}

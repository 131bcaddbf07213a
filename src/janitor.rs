//! `tally janitor`: what keeps the tables in order, in a process of its own; and the same beside
//! the stream, where no such process runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tally_schemas::{AggregateConfig, Config, keep_events_defect};
use tally_tables::{Janitor, JanitorReport, JanitorSettings};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::aggregate::open_checked_store;
use crate::cli::{GlobalArgs, PlaceArgs};
use crate::exit::{Failure, FailureKind};
use crate::host_metrics::HostWatch;
use crate::looks::Depends;
use crate::patience::place_of;
use crate::probes::Work;
use crate::progress::follow;
use crate::security::Security;
use crate::stdout::announcement;
use crate::{config, event_log, server, stdout, stop};

/// Options of `tally janitor`.
#[derive(Debug, Args)]
pub(crate) struct JanitorArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Do what is due now, say what was done, and end
    #[arg(long)]
    once: bool,
    /// Address of /healthz, /readyz and /metrics; none where it is not given
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

pub(crate) async fn run(global: &GlobalArgs, args: JanitorArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.place.settings())?;
    let store = open_checked_store(&config).await?;
    let place = place_of(store.as_ref(), &config.log.topic).await?;
    // The topic says how many ledgers there are.
    let log = event_log::open_when_there(&config).await?;
    let partitions = log.partition_count();
    let mut janitor = Janitor::new(Arc::clone(&store), &place.ledger, partitions)
        .with_second_stage(&config.budgets.topic);
    let settings = settings_of(&config)?;
    if args.once {
        let (parts, now_ms) = (janitor.parts(), Timestamp::now().as_millisecond());
        let run = janitor.run_once(now_ms, &settings);
        let report = follow(global, "janitor", || parts.look().into(), run).await;
        return say(global, &report);
    }
    let interval = interval_of(&config).ok_or_else(|| {
        Failure::usage("aggregate.janitor_interval_ms is 0, which turns the janitor off: set it, or use --once")
    })?;
    let stop = stop::on_signal()?;
    let figures = JanitorFigures::default();
    let security = Security::of(&config)?;
    let host = HostWatch::new(&config, &security)?;
    let depends = Depends {
        config: config.clone(),
        logs: vec![log],
        store: Some(store),
        writes: true,
        certificate: security.certificate.clone(),
    };
    host.watch(depends, stop.clone());
    if let Some(listen) = &args.listen {
        let mut registry = Registry::default();
        figures.register(&mut registry);
        security.register_metrics(&mut registry);
        host.register(&mut registry);
        let listener = server::bind(listen, &security).await?;
        let (scheme, address) = (security.scheme(), listener.local_addr()?);
        let words = format!("health and metrics on {scheme}://{address}");
        eprintln!("{}", announcement(global.log_format, &words));
        let work = Arc::new(JanitorWork { figures: figures.clone(), interval });
        let routes = server::watch_routes(Arc::new(std::sync::Mutex::new(registry)), work);
        tokio::spawn(server::serve(listener, routes, stop.clone()));
    }
    let mut cleaning = tokio::spawn(clean(janitor, settings, interval, figures, stop.clone()));
    tokio::select! {
        () = stop.cancelled() => finish(cleaning).await,
        ended = &mut cleaning => ended.map_err(|error| Failure::internal(error.to_string()))?,
    }
    Ok(())
}

fn say(global: &GlobalArgs, report: &JanitorReport) -> Result<(), Failure> {
    if global.json {
        stdout::print(serde_json::to_string_pretty(report)?)?;
    } else {
        stdout::print(report)?;
    }
    match report.failures.len() {
        0 => Ok(()),
        parts => {
            let words = format!("{parts} parts failed; the next run tries them again");
            Err(Failure::new(FailureKind::Retry, words))
        }
    }
}

/// What the janitor goes by.
///
/// # Errors
/// `Usage` where events would be removed that others may still come for.
pub(crate) fn settings_of(config: &Config) -> Result<JanitorSettings, Failure> {
    let AggregateConfig { keep_events_days, dedupe_horizon_days, .. } = config.aggregate;
    match keep_events_defect(keep_events_days, dedupe_horizon_days) {
        Some(defect) => Err(Failure::usage(defect)),
        None => Ok(JanitorSettings::of_config(&config.aggregate)),
    }
}

/// How often it runs; none where it is turned off.
pub(crate) fn interval_of(config: &Config) -> Option<Duration> {
    let interval = Duration::from_millis(config.aggregate.janitor_interval_ms);
    (!interval.is_zero()).then_some(interval)
}

/// How long a stop waits for a run.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Waits for the run that goes on when [`clean`] is told to end, but not for long: it may take as
/// long as a month of files, and is left as if it had been killed, which is safe at any point.
pub(crate) async fn finish(mut cleaning: JoinHandle<()>) {
    match tokio::time::timeout(STOP_PATIENCE, &mut cleaning).await {
        Ok(Ok(())) => {}
        Ok(Err(_)) => tracing::warn!("the janitor ended badly; the next run does its work"),
        Err(_) => cleaning.abort(),
    }
}

/// Runs the janitor again and again until told to end, and finishes the run that has begun.
pub(crate) async fn clean(
    mut janitor: Janitor,
    settings: JanitorSettings,
    interval: Duration,
    figures: JanitorFigures,
    end: CancellationToken,
) {
    loop {
        tokio::select! {
            () = tokio::time::sleep(interval) => {}
            () = end.cancelled() => return,
        }
        figures.begin(Timestamp::now().as_second());
        let report = janitor.run_once(Timestamp::now().as_millisecond(), &settings).await;
        figures.add(&report, Timestamp::now().as_second());
        if report.failures.is_empty() {
            tracing::debug!(%report, "janitor");
        } else {
            tracing::warn!(%report, failures = ?report.failures, "the janitor tries again later");
        }
    }
}

/// What the janitor of this process did since it started.
#[derive(Debug, Clone, Default)]
pub(crate) struct JanitorFigures(Arc<Figures>);

#[derive(Debug)]
struct Figures {
    runs: AtomicU64,
    failures: AtomicU64,
    files_merged: AtomicU64,
    bytes_merged: AtomicU64,
    files_rolled_up: AtomicU64,
    days_removed: AtomicU64,
    /// By kind.
    removed: [(&'static str, AtomicU64); 4],
    /// Unix time of the last run without a failure; 0 before the first.
    good_run_at: AtomicI64,
    /// Unix time at which the run that is going on began; 0 where none is.
    begun_at: AtomicI64,
    /// Unix time at which the last run ended; at first, when the janitor was made.
    ended_at: AtomicI64,
}

impl Default for Figures {
    fn default() -> Self {
        let kinds = ["data_file", "table_log_file", "ledger_entry", "state_file"];
        Self {
            runs: AtomicU64::default(),
            failures: AtomicU64::default(),
            files_merged: AtomicU64::default(),
            bytes_merged: AtomicU64::default(),
            files_rolled_up: AtomicU64::default(),
            days_removed: AtomicU64::default(),
            removed: kinds.map(|kind| (kind, AtomicU64::default())),
            good_run_at: AtomicI64::default(),
            begun_at: AtomicI64::default(),
            ended_at: AtomicI64::new(Timestamp::now().as_second()),
        }
    }
}

/// How long a run may take, seconds. One that has much to do takes minutes; what a run leaves, the
/// next one does.
const RUN_MAX_S: i64 = 2 * 3_600;

/// The janitor of a process of its own, for probes.
struct JanitorWork {
    figures: JanitorFigures,
    interval: Duration,
}

impl Work for JanitorWork {
    fn stuck(&self) -> Vec<String> {
        self.figures.stuck(Timestamp::now().as_second(), self.interval).into_iter().collect()
    }
}

impl JanitorFigures {
    fn begin(&self, now: i64) {
        self.0.begun_at.store(now, Ordering::Relaxed);
    }

    /// Why no run begins or ends any more.
    fn stuck(&self, now: i64, interval: Duration) -> Option<String> {
        let begun_at = self.0.begun_at.load(Ordering::Relaxed);
        if begun_at > 0 {
            let seconds = now - begun_at;
            return (seconds > RUN_MAX_S).then(|| format!("a run has taken {seconds} s so far"));
        }
        let interval_s = i64::try_from(interval.as_secs()).unwrap_or(i64::MAX);
        let seconds = now - self.0.ended_at.load(Ordering::Relaxed);
        // Another interval, and a minute for a machine that is busy.
        let late = seconds > interval_s.saturating_mul(2).saturating_add(60);
        late.then(|| format!("no run has begun for {seconds} s"))
    }

    fn add(&self, report: &JanitorReport, now: i64) {
        let figures = &self.0;
        let failures = u64::try_from(report.failures.len()).unwrap_or(u64::MAX);
        for (counter, more) in [
            (&figures.runs, 1),
            (&figures.failures, failures),
            (&figures.files_merged, report.files_merged),
            (&figures.bytes_merged, report.bytes_merged),
            (&figures.files_rolled_up, report.files_rolled_up),
            (&figures.days_removed, report.days_removed),
        ] {
            counter.fetch_add(more, Ordering::Relaxed);
        }
        let removed = [
            report.files_removed,
            report.log_files_removed,
            report.ledger_entries_removed,
            report.state_files_removed,
        ];
        for ((_, counter), more) in figures.removed.iter().zip(removed) {
            counter.fetch_add(more, Ordering::Relaxed);
        }
        if report.failures.is_empty() {
            figures.good_run_at.store(now, Ordering::Relaxed);
        }
        figures.ended_at.store(now, Ordering::Relaxed);
        figures.begun_at.store(0, Ordering::Relaxed);
    }

    /// Adds the metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

impl Collector for JanitorFigures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let figures = &self.0;
        for (name, help, counter) in [
            ("tally_janitor_runs", "Runs of the janitor", &figures.runs),
            (
                "tally_janitor_failures",
                "Parts of runs that failed; the next run tries them again",
                &figures.failures,
            ),
            (
                "tally_janitor_files_merged",
                "Files of tables that were merged",
                &figures.files_merged,
            ),
            ("tally_janitor_bytes_merged", "Their size in bytes", &figures.bytes_merged),
            (
                "tally_janitor_files_rolled_up",
                "Files of tables that got roll-ups",
                &figures.files_rolled_up,
            ),
            (
                "tally_janitor_days_removed",
                "Days of usage_events that were sealed and old enough, and removed",
                &figures.days_removed,
            ),
        ] {
            let value = ConstCounter::new(counter.load(Ordering::Relaxed));
            value.encode(encoder.encode_descriptor(name, help, None, value.metric_type())?)?;
        }
        let mut family = encoder.encode_descriptor(
            "tally_janitor_objects_removed",
            "Objects removed that nobody can need any more, by kind",
            None,
            MetricType::Counter,
        )?;
        for (kind, removed) in &figures.removed {
            let value = ConstCounter::new(removed.load(Ordering::Relaxed));
            value.encode(family.encode_family(&[("kind", *kind)])?)?;
        }
        let at = ConstGauge::new(figures.good_run_at.load(Ordering::Relaxed));
        at.encode(encoder.encode_descriptor(
            "tally_janitor_last_success_timestamp_seconds",
            "When the last run without a failure ended, Unix time; 0 before the first",
            None,
            MetricType::Gauge,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_janitor_that_does_not_begin_or_end_a_run_is_stuck() {
        let (figures, interval) = (JanitorFigures::default(), Duration::from_secs(60));
        let report = JanitorReport { failures: vec!["x".to_owned()], ..JanitorReport::default() };
        // A failure is no reason to restart.
        figures.add(&report, 1_000);
        assert_eq!(figures.stuck(1_180, interval), None);
        assert!(figures.stuck(1_181, interval).unwrap().contains("no run has begun"));
        figures.begin(1_181);
        assert_eq!(figures.stuck(1_181 + RUN_MAX_S, interval), None);
        assert!(figures.stuck(1_182 + RUN_MAX_S, interval).unwrap().contains("so far"));
        figures.add(&report, 20_000);
        assert_eq!(figures.stuck(20_060, interval), None);
    }

    #[test]
    fn a_run_that_failed_is_no_good_run() {
        let figures = JanitorFigures::default();
        let good =
            JanitorReport { files_merged: 8, state_files_removed: 3, ..JanitorReport::default() };
        let bad = JanitorReport { failures: vec!["x".to_owned(); 2], ..good.clone() };
        figures.add(&good, 100);
        figures.add(&bad, 200);
        let mut registry = Registry::default();
        figures.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        for line in [
            "tally_janitor_runs_total 2",
            "tally_janitor_failures_total 2",
            "tally_janitor_files_merged_total 16",
            "tally_janitor_objects_removed_total{kind=\"state_file\"} 6",
            "tally_janitor_objects_removed_total{kind=\"data_file\"} 0",
            "tally_janitor_last_success_timestamp_seconds 100",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
    }
}

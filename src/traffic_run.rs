//! What `generate` and `replay` have in common: send events at a pace, keep the truth, report.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tally_generate::{GeneratedEvent, HourlyTotals, Truth};
use tally_schemas::Config;
use tokio::signal;

use crate::cli::GlobalArgs;
use crate::exit::{Failure, FailureKind, file_failure};
use crate::pace::{Pace, Pacer};
use crate::progress::Progress;
use crate::sink::{Delivery, Sink, Target};
use crate::stdout;

/// A run of traffic.
pub(crate) struct TrafficRun<'c> {
    pub(crate) global: &'c GlobalArgs,
    pub(crate) config: &'c Config,
    pub(crate) what: &'static str,
    /// Number of events, where it is known.
    pub(crate) total: Option<u64>,
    pub(crate) pace: Pace,
    pub(crate) delivery: Delivery,
    /// The truth to be kept, and where to write it.
    pub(crate) truth: Option<(Truth, PathBuf)>,
    /// The gateways' control totals to be kept, and where to write them.
    pub(crate) totals: Option<(HourlyTotals, PathBuf)>,
}

/// What was sent.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct TrafficReport {
    /// Events sent, resends included.
    sent: u64,
    /// Records, requests or lines.
    messages: u64,
    /// Events that the door refused.
    refused: u64,
    elapsed_ms: u64,
    events_per_second: u64,
    /// Whether the run was stopped before its end.
    stopped: bool,
}

impl TrafficRun<'_> {
    /// Sends the events. Stops early, with everything handed over and the truth about it written,
    /// when the process is interrupted; at once when it is interrupted a second time.
    pub(crate) async fn send(
        self,
        events: impl Iterator<Item = Result<GeneratedEvent, Failure>>,
    ) -> Result<TrafficReport, Failure> {
        let stop = AtomicBool::new(false);
        let interrupted = async {
            // Without signals there is nothing to wait for.
            if signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            stop.store(true, Ordering::Relaxed);
            signal::ctrl_c().await
        };
        tokio::select! {
            report = self.send_until(&stop, events) => report,
            _ = interrupted => Err(Failure::new(FailureKind::Retry, "interrupted")),
        }
    }

    async fn send_until(
        self,
        stop: &AtomicBool,
        events: impl Iterator<Item = Result<GeneratedEvent, Failure>>,
    ) -> Result<TrafficReport, Failure> {
        let mut sink = Sink::open(&self.delivery, self.config).await?;
        let (mut truth, mut totals) = (self.truth, self.totals);
        let mut progress = Progress::new(self.global, self.what, self.total);
        let mut pacer = Pacer::new(self.pace);
        let mut sent = 0_u64;
        for event in events {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let event = event?;
            if pacer.is_early(event.arrival_ms) {
                sink.idle().await?;
                pacer.wait().await;
            }
            if let Some((truth, _)) = &mut truth {
                truth.add(&event)?;
            }
            if let Some((totals, _)) = &mut totals {
                totals.add(&event)?;
            }
            sink.send(event).await?;
            sent += 1;
            progress.step();
            if sent.is_multiple_of(EVENTS_PER_YIELD) {
                // A sink that never waits would leave no room to be interrupted.
                tokio::task::yield_now().await;
            }
        }
        let stopped = stop.load(Ordering::Relaxed);
        let delivered = sink.finish().await?;
        let elapsed = progress.finish();
        if let Some((truth, path)) = truth {
            write_truth(&truth, &path)?;
        }
        if let Some((totals, path)) = totals {
            std::fs::write(&path, totals.ndjson()).map_err(|error| file_failure(&path, &error))?;
        }
        Ok(TrafficReport {
            sent,
            messages: delivered.messages,
            refused: delivered.refused,
            elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
            events_per_second: per_second(sent, elapsed),
            stopped,
        })
    }
}

/// Events between two chances to be interrupted.
const EVENTS_PER_YIELD: u64 = 1_024;

impl TrafficReport {
    /// Prints the report where events do not go.
    pub(crate) fn print(&self, target: &Target, json: bool) -> Result<(), Failure> {
        let text = if json {
            serde_json::to_string(self)?
        } else {
            let seconds = Duration::from_millis(self.elapsed_ms).as_secs_f64();
            format!(
                "{} events in {} messages, {seconds:.1} s, {} events/s{}",
                self.sent,
                self.messages,
                self.events_per_second,
                if self.stopped { ", stopped early" } else { "" },
            )
        };
        if *target == Target::Stdout {
            eprintln!("{text}");
        } else {
            stdout::print(text)?;
        }
        if self.refused > 0 {
            return Err(Failure::data(format!("the door refused {} events", self.refused)));
        }
        Ok(())
    }
}

fn per_second(events: u64, elapsed: Duration) -> u64 {
    let millis = elapsed.as_millis().max(1);
    u64::try_from(u128::from(events) * 1_000 / millis).unwrap_or(u64::MAX)
}

fn write_truth(truth: &Truth, path: &Path) -> Result<(), Failure> {
    let mut text = serde_json::to_string_pretty(truth)?;
    text.push('\n');
    std::fs::write(path, text).map_err(|error| file_failure(path, &error))
}

//! `tally generate`: synthetic gateway traffic.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use clap::Args;
use jiff::{SignedDuration, Timestamp};
use tally_generate::{HourlyTotals, PoisonKind, Share, Traffic, TrafficParams, Truth};

use crate::cli::{GlobalArgs, LogArgs};
use crate::config;
use crate::exit::Failure;
use crate::pace::Pace;
use crate::sink::{Delivery, Target};
use crate::traffic_run::TrafficRun;

/// What traffic to make, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct GenerateArgs {
    /// Distinct events; resends come on top
    #[arg(long, value_name = "N")]
    events: u64,
    /// Seed of everything random
    #[arg(long, value_name = "S")]
    seed: u64,
    /// Events a second [default: as fast as the receiver takes them]
    #[arg(long, value_name = "R", value_parser = clap::value_parser!(u64).range(1..))]
    rate: Option<u64>,
    /// Number of accounts
    #[arg(long, value_name = "A", default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=100_000_000))]
    accounts: u32,
    /// Share of events that are sent twice, most within half a minute, some an hour later
    #[arg(long, value_name = "F", default_value_t = Share::NONE)]
    dup_rate: Share,
    /// Share of events that come up to 24 hours late
    #[arg(long, value_name = "F", default_value_t = Share::NONE)]
    late_rate: Share,
    /// Share of events that must be held back, each for a known reason
    #[arg(long, value_name = "F", default_value_t = Share::NONE)]
    bad_rate: Share,
    /// Start of the period: RFC 3339 or milliseconds [default: now, less the span]
    #[arg(long, value_name = "TIME", value_parser = parse_time_ms)]
    start: Option<i64>,
    /// Length of the period, such as 1h or 30m [default: 1h; with --rate as long as the run, from now]
    #[arg(long, value_name = "DURATION", value_parser = parse_span_ms)]
    span: Option<u64>,
    /// Send protobuf batches of up to N events instead of single JSON events, with --out kafka
    #[arg(long, value_name = "N", value_parser = parse_batch)]
    batch: Option<NonZeroUsize>,
    /// Where to: kafka (the configured log), http (the door), a file, or - for standard output
    #[arg(long, value_name = "kafka|http|FILE|-", default_value = "-")]
    out: Target,
    /// Address of the door [default: http.listen]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Write the exact totals that must come out
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    /// Write what the gateways would say they sent: a body of POST /v1/control-totals
    #[arg(long, value_name = "FILE")]
    control_totals: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

const HOUR_MS: u64 = 3_600_000;

pub(crate) async fn run(global: &GlobalArgs, args: GenerateArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.log.settings())?;
    let params = params(&args, Timestamp::now().as_millisecond());
    if args.start.is_none() {
        tracing::info!(
            "to make the same events again: --start {} --span {}ms",
            params.start_ms,
            params.span_ms
        );
    }
    let run = TrafficRun {
        global,
        config: &config,
        what: "generate",
        total: Some(params.events),
        pace: args.rate.map_or(Pace::Max, Pace::PerSecond),
        delivery: Delivery { target: args.out.clone(), batch: args.batch, url: args.url },
        truth: args.truth.map(|path| (Truth::new(args.seed), path)),
        totals: args.control_totals.map(|path| (HourlyTotals::default(), path)),
    };
    let report = run.send(Traffic::new(params).map(Ok)).await?;
    report.print(&args.out, global.json)
}

fn params(args: &GenerateArgs, now_ms: i64) -> TrafficParams {
    // A run at a rate is live: its events happen while it goes.
    let live_ms = args.rate.map(|rate| args.events.saturating_mul(1_000) / rate.max(1));
    let span_ms = args.span.or(live_ms).unwrap_or(HOUR_MS).max(1);
    let live = args.span.is_none() && args.rate.is_some();
    let before_ms = if live { 0 } else { i64::try_from(span_ms).unwrap_or(0) };
    let poison = PoisonKind::ALL
        .into_iter()
        .filter(|kind| args.out != Target::Http || !kind.refused_at_door())
        .collect();
    TrafficParams {
        seed: args.seed,
        events: args.events,
        accounts: args.accounts,
        start_ms: args.start.unwrap_or(now_ms - before_ms),
        span_ms,
        resent: args.dup_rate,
        late: args.late_rate,
        bad: args.bad_rate,
        poison,
    }
}

/// Milliseconds UTC of a time on the command line.
pub(crate) fn parse_time_ms(text: &str) -> Result<i64, String> {
    if let Ok(ms) = text.parse() {
        return Ok(ms);
    }
    let at: Timestamp = text.parse().map_err(|error| {
        format!("expected RFC 3339 with an offset or milliseconds since 1970: {error}")
    })?;
    Ok(at.as_millisecond())
}

fn parse_span_ms(text: &str) -> Result<u64, String> {
    let span: SignedDuration =
        text.parse().map_err(|error| format!("expected a duration such as 90s, 1h: {error}"))?;
    u64::try_from(span.as_millis())
        .ok()
        .filter(|ms| *ms > 0)
        .ok_or_else(|| "expected at least a millisecond".to_owned())
}

/// Most events of a batch, well below the size that Kafka takes.
const BATCH_EVENTS_MAX: usize = 2_000;

fn parse_batch(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .ok()
        .filter(|batch: &NonZeroUsize| batch.get() <= BATCH_EVENTS_MAX)
        .ok_or_else(|| format!("expected a number from 1 to {BATCH_EVENTS_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_are_read() {
        assert_eq!(parse_time_ms("1795326157827"), Ok(1_795_326_157_827));
        assert_eq!(parse_time_ms("2026-11-22T14:22:37.827+08:00"), Ok(1_795_328_557_827));
        assert!(parse_time_ms("2026-11-22").is_err());
        assert_eq!(parse_span_ms("1h30m"), Ok(5_400_000));
        assert_eq!(parse_span_ms("250ms"), Ok(250));
        assert!(parse_span_ms("-1h").is_err());
        assert!(parse_span_ms("0s").is_err());
        assert!(parse_batch("0").is_err() && parse_batch("2001").is_err());
    }
}

//! `tally replay`: recorded traffic.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;
use jiff::Timestamp;
use tally_generate::{Format, Recording, ReplayOptions, Truth};

use crate::cli::{GlobalArgs, LogArgs};
use crate::config;
use crate::exit::{Failure, file_failure};
use crate::generate::parse_time_ms;
use crate::pace::Pace;
use crate::sink::{Delivery, Target};
use crate::traffic_run::TrafficRun;

/// Which recordings, how fast, and where they go.
#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// Recordings, sent one after the other; - for standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Format of the recordings: mooncake, azure, jsonl or litellm
    #[arg(long, value_name = "FORMAT")]
    format: Format,
    /// Original spacing, sixty times faster, or as fast as the receiver takes it
    #[arg(long, value_name = "1|60|max", default_value = "max")]
    speed: Speed,
    /// When a trace ends: RFC 3339 or milliseconds [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time_ms)]
    end: Option<i64>,
    /// Where to: kafka (the configured log), http (the door), a file, or - for standard output
    #[arg(long, value_name = "kafka|http|FILE|-", default_value = "http")]
    out: Target,
    /// Send protobuf batches of up to N events instead of single JSON events, with --out kafka
    #[arg(long, value_name = "N")]
    batch: Option<NonZeroUsize>,
    /// Address of the door [default: http.listen]
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Write the exact totals that must come out; not for jsonl, whose events may be anything
    #[arg(long, value_name = "FILE")]
    truth: Option<PathBuf>,
    #[command(flatten)]
    log: LogArgs,
}

/// How fast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speed {
    Times(u32),
    Max,
}

impl FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "max" => Ok(Self::Max),
            text => match text.parse() {
                Ok(times @ 1..=1_000_000) => Ok(Self::Times(times)),
                _ => Err("expected 1, 60, another whole number, or max".to_owned()),
            },
        }
    }
}

pub(crate) async fn run(global: &GlobalArgs, args: ReplayArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.log.settings())?;
    if args.truth.is_some() && args.format == Format::Jsonl {
        return Err(Failure::usage("--truth: what must become of native events is not known"));
    }
    let end_ms = args.end.unwrap_or_else(|| Timestamp::now().as_millisecond());
    let mut recordings = Vec::new();
    for path in &args.files {
        recordings.push((path.clone(), open(path, args.format, end_ms)?));
    }
    let total = recordings.iter().map(|(_, recording)| recording.total()).sum();
    let events = recordings.into_iter().flat_map(|(path, recording)| {
        recording.map(move |event| {
            event.map_err(|error| Failure::from(error).while_doing(path.display()))
        })
    });
    let run = TrafficRun {
        global,
        config: &config,
        what: "replay",
        total,
        pace: match args.speed {
            Speed::Max => Pace::Max,
            Speed::Times(times_faster) => Pace::Recorded { times_faster },
        },
        delivery: Delivery { target: args.out.clone(), batch: args.batch, url: args.url },
        truth: args.truth.map(|path| (Truth::new(0), path)),
        totals: None,
    };
    let report = run.send(events).await?;
    report.print(&args.out, global.json)
}

fn open(path: &Path, format: Format, end_ms: i64) -> Result<Recording, Failure> {
    let input: Box<dyn BufRead + Send> = if path == Path::new("-") {
        Box::new(BufReader::new(std::io::stdin()))
    } else {
        let file = File::open(path).map_err(|error| file_failure(path, &error))?;
        Box::new(BufReader::with_capacity(1 << 20, file))
    };
    let name = path.file_stem().map_or("stdin".into(), |stem| stem.to_string_lossy());
    let name = name.chars().take(60).collect();
    Recording::read(format, input, ReplayOptions { end_ms, name })
        .map_err(|error| Failure::from(error).while_doing(path.display()))
}

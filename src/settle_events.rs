//! `tally settle events`: from a line or an adjustment of a statement down to its events.

use std::io::IsTerminal;

use clap::Args;
use tally_query::{Format, LineEvents};
use tally_settlement::Period;

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::Failure;
use crate::reference;
use crate::settle_terms::{SettledBy, engine};
use crate::sql::{AnswerFormat, print_bytes, print_table};

/// Events that a table shows.
const ROWS_SHOWN: u64 = 50;

/// Which line, and how its events are written.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Vendor
    #[arg(long, value_name = "V")]
    vendor: String,
    /// A month in Asia/Shanghai, such as 2026-10
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    period: Period,
    /// Id of the line, as the statement has it
    #[arg(long, value_name = "ID", required_unless_present = "adjustment")]
    line: Option<String>,
    /// Id of an adjustment for usage instead: late_usage, correction_event, free_trial, tier_true_up
    #[arg(long, value_name = "ID", conflicts_with = "line")]
    adjustment: Option<String>,
    /// How the events are written [default: table, with --json json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<AnswerFormat>,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(global: &GlobalArgs, args: EventsArgs) -> Result<(), Failure> {
    let default = if global.json { AnswerFormat::Json } else { AnswerFormat::Table };
    let format = args.format.unwrap_or(default);
    if format == AnswerFormat::Parquet && std::io::stdout().is_terminal() {
        return Err(Failure::usage("a terminal cannot show Parquet: redirect it to a file"));
    }
    let settled_by = SettledBy::read(global, &args.store, None).await?;
    let engine = engine(global, &args.store).await?;
    let settlement = settled_by.over(&engine);
    let EventsArgs { vendor, period, line, adjustment, .. } = &args;
    let now_ms = reference::now_ms();
    let found = match (line, adjustment) {
        (_, Some(id)) => settlement.adjustment_events(vendor, *period, id, now_ms).await?,
        (line, None) => {
            let id = line.as_deref().unwrap_or_default();
            settlement.line_events(vendor, *period, id, now_ms).await?
        }
    };
    let LineEvents { line, state, events, .. } = &found;
    let shown = (format == AnswerFormat::Table).then_some(ROWS_SHOWN);
    let more = if shown.is_some_and(|rows| *events > rows) {
        format!("; the first {ROWS_SHOWN} of them, all with --format csv, json or parquet")
    } else {
        String::new()
    };
    // Beside the rows and not among them: these may go to a file.
    eprintln!(
        "{} ({}): {} units of {} of {}, from {events} events that come to exactly these{more}",
        line.id,
        state.name(),
        line.units,
        line.class,
        line.model,
    );
    let answer = found.rows(&engine, shown).await?;
    match format {
        AnswerFormat::Table => print_table(answer).await,
        AnswerFormat::Csv => print_bytes(answer, Format::Csv).await,
        AnswerFormat::Json => print_bytes(answer, Format::Json).await,
        AnswerFormat::Parquet => print_bytes(answer, Format::Parquet).await,
    }
}

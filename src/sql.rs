//! `tally sql`: a query on one version of every table.

use clap::{Args, ValueEnum};
use futures::StreamExt;
use tally_query::{Answer, Encoder, Format, parse_as_of, render_table};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::Failure;
use crate::{config, sql_session, stdout};

/// A query and how its answer is written.
#[derive(Debug, Args)]
pub(crate) struct SqlArgs {
    /// The statement
    #[arg(value_name = "SELECT …")]
    query: String,
    /// How the answer is written [default: table, with --json json]
    #[arg(long, value_enum, value_name = "FORMAT")]
    format: Option<AnswerFormat>,
    /// Read the tables as they were: a version, or RFC 3339; with a time, books and reference data
    /// too
    #[arg(long, value_name = "VERSION|TIME")]
    as_of: Option<String>,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerFormat {
    /// For people
    Table,
    /// With a header
    Csv,
    /// An array of objects; integers beyond 2^53 and decimals are strings
    Json,
    /// A file, to be redirected
    Parquet,
}

pub(crate) async fn run(global: &GlobalArgs, args: SqlArgs) -> Result<(), Failure> {
    let (config, settings) = config::load_settings(global, &args.store.settings())?;
    let engine = sql_session::open(&config, settings).await?;
    let as_of = args.as_of.as_deref().map(parse_as_of).transpose()?;
    let answer = engine.run(&args.query, as_of, engine.limits()).await?;
    let default = if global.json { AnswerFormat::Json } else { AnswerFormat::Table };
    match args.format.unwrap_or(default) {
        AnswerFormat::Table => print_table(answer).await,
        AnswerFormat::Csv => print_bytes(answer, Format::Csv).await,
        AnswerFormat::Json => print_bytes(answer, Format::Json).await,
        AnswerFormat::Parquet => print_bytes(answer, Format::Parquet).await,
    }
}

/// Prints an answer for people.
pub(crate) async fn print_table(answer: Answer) -> Result<(), Failure> {
    let (schema, batches) = answer.collect().await?;
    stdout::print(render_table(schema, &batches)?)
}

/// Prints an answer in a byte format, as its rows come.
pub(crate) async fn print_bytes(mut answer: Answer, format: Format) -> Result<(), Failure> {
    let mut encoder = Encoder::new(format, answer.schema)?;
    while let Some(batch) = answer.rows.next().await {
        stdout::print_bytes(&encoder.write(&batch?)?)?;
    }
    stdout::print_bytes(&encoder.finish()?)
}

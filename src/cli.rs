//! The command line.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tally_reference::ReferenceKind;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use crate::exit::Failure;
use crate::{
    aggregate, audit, config, correct, doctor, generate, ingest, janitor, partitions, phone_bill,
    query, rate, reference, replay, settle, sql, status, suspense, up, user, verify,
};

/// Meters LLM tokens sold by telecom operators and settles them with the model vendors.
#[derive(Debug, Parser)]
#[command(name = "tally", version, propagate_version = true)]
struct Cli {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct GlobalArgs {
    /// Configuration file [default: tally.toml, where there is one]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the result, and an error, as JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// How log lines are written to standard error; RUST_LOG says which
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text, value_name = "FORMAT")]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// Where the log is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LogArgs {
    /// Folder of the embedded log [log.data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// Kafka instead of the embedded log [log.kafka]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,
}

/// Where the store is.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct StoreArgs {
    /// Folder of the store, where --store does not name another [log.data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// Object storage: s3://BUCKET/PREFIX, file:///DIR or a folder [store.url]
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
}

/// Where the log and the store are.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PlaceArgs {
    /// Folder of the embedded log and, without --store, of the store [log.data]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<String>,
    /// Kafka instead of the embedded log [log.kafka]
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) kafka: Option<String>,
    /// Object storage: s3://BUCKET/PREFIX, file:///DIR or a folder [store.url]
    #[arg(long, value_name = "URL")]
    pub(crate) store: Option<String>,
}

/// Where SQL is answered.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ListenArgs {
    /// Address of the HTTP listener [http.listen]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the PostgreSQL wire [query.pg_listen]
    #[arg(long, value_name = "ADDR")]
    pg_listen: Option<String>,
    /// Address of Arrow Flight SQL [query.flight_listen]
    #[arg(long, value_name = "ADDR")]
    flight_listen: Option<String>,
}

impl ListenArgs {
    pub(crate) fn settings(&self) -> Vec<GivenSetting> {
        given([
            ("http.listen", &self.listen),
            ("query.pg_listen", &self.pg_listen),
            ("query.flight_listen", &self.flight_listen),
        ])
    }
}

/// A setting that a flag gives.
pub(crate) type GivenSetting = (&'static str, String);

/// The settings whose flags were given.
fn given<const N: usize>(flags: [(&'static str, &Option<String>); N]) -> Vec<GivenSetting> {
    flags.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect()
}

impl LogArgs {
    pub(crate) fn settings(&self) -> Vec<GivenSetting> {
        given([("log.data", &self.data), ("log.kafka", &self.kafka)])
    }
}

impl StoreArgs {
    pub(crate) fn settings(&self) -> Vec<GivenSetting> {
        given([("log.data", &self.data), ("store.url", &self.store)])
    }
}

impl PlaceArgs {
    pub(crate) fn settings(&self) -> Vec<GivenSetting> {
        given([("log.data", &self.data), ("log.kafka", &self.kafka), ("store.url", &self.store)])
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run every role in one process
    Up(up::UpArgs),
    /// Run the HTTP door
    Ingest(ingest::IngestArgs),
    /// Run the stream, its publisher and its janitor
    Aggregate(aggregate::AggregateArgs),
    /// Run the janitor alone: checkpoints, merged files, and removal of what nobody can need
    ///
    /// `tally aggregate` does this too, unless aggregate.janitor_interval_ms is 0.
    Janitor(janitor::JanitorArgs),
    /// Run SQL over HTTP, the PostgreSQL wire and Arrow Flight SQL
    Query(query::QueryArgs),
    /// Make synthetic gateway traffic, and the exact totals that must come out of it
    ///
    /// Few accounts have most of the traffic, thirty models of ten vendors share it, a day curve
    /// has bursts, events come out of order by up to ten seconds. The same seed, period and
    /// shares give the same bytes.
    Generate(generate::GenerateArgs),
    /// Send recorded traffic, in its original spacing or faster
    ///
    /// Traces (mooncake, azure) are moved in time so that they end now; native events (jsonl)
    /// and LiteLLM's logs keep their times.
    Replay(replay::ReplayArgs),
    /// Say what events would cost, by which prices, and why; nothing is stored
    ///
    /// Reads usage events as JSON, one a line, and rates them as the stream would. With --json, a
    /// line an event: id, points_micro, retail_amount, wholesale_amount, wholesale_currency,
    /// wholesale_price_ids, suspense.
    Rate(rate::RateArgs),
    /// Import, check and approve prices, model aliases, calendars and weights
    #[command(subcommand)]
    Price(reference::PriceCommand),
    /// Import, check and approve packages and pay-as-you-go tariffs
    #[command(subcommand)]
    Package(reference::PlainCommand),
    /// Import, check and approve contracts with vendors
    #[command(subcommand)]
    Contract(reference::PlainCommand),
    /// Run a query: one statement that only reads
    Sql(sql::SqlArgs),
    /// Held-back events: look at them, take them in again, or give them up
    #[command(subcommand)]
    Suspense(suspense::SuspenseCommand),
    /// Take accepted events back, or count others in their stead
    #[command(subcommand)]
    Correct(correct::CorrectCommand),
    /// Settle with the vendors: statements, closed periods, and their bills
    #[command(subcommand)]
    Settle(settle::SettleCommand),
    /// Issue what subscribers are charged, as files for the billing system
    #[command(subcommand)]
    PhoneBill(phone_bill::PhoneBillCommand),
    /// Check every invariant over ledger, state and tables
    Verify(verify::VerifyArgs),
    /// Show lag, watermark, owners and what is held back
    Status(status::StatusArgs),
    /// Change the partition count of a stopped stream
    #[command(subcommand)]
    Partitions(partitions::PartitionsCommand),
    /// Say what keeps a process from running well here, and what to do about it
    ///
    /// Looks at the configuration, users, certificate, listeners, Kafka and its topics, the store
    /// (two writers of one object are tried), clocks, reference data, disks and memory. Ends with 1
    /// where something is wrong.
    Doctor(doctor::DoctorArgs),
    /// Show the configuration
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Say who is let in, and as what
    ///
    /// Users are in the file of auth.users_file. A running process notices changes within a second.
    #[command(subcommand)]
    User(user::UserCommand),
    /// Look for what exact rules cannot see
    #[command(subcommand)]
    Audit(audit::AuditCommand),
}

/// Runs the command line and says how the process ends.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
            // There is nowhere left to say that standard error is closed.
            drop(error.print());
            return code;
        }
    };
    let json = cli.global.json;
    trace(cli.global.log_format);
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return Failure::internal(format!("runtime: {error}")).report(json),
    };
    match run_to_end(runtime, dispatch(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(json),
    }
}

/// How long an ended process waits for what nobody waits for.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(1);

/// Runs a command, and does not wait for what it has left running on other threads: a merge of the
/// janitor's may take minutes, and leaving it is as safe as a kill at any point. Dropped, the
/// runtime would wait for it.
fn run_to_end<T>(runtime: Runtime, command: impl Future<Output = T>) -> T {
    let outcome = runtime.block_on(command);
    runtime.shutdown_timeout(SHUTDOWN_PATIENCE);
    outcome
}

async fn dispatch(cli: Cli) -> Result<(), Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Up(args) => up::run(&global, args).await,
        Command::Ingest(args) => ingest::run(&global, args).await,
        Command::Aggregate(args) => aggregate::run(&global, args).await,
        Command::Janitor(args) => janitor::run(&global, args).await,
        Command::Query(args) => query::run(&global, args).await,
        Command::Generate(args) => generate::run(&global, args).await,
        Command::Replay(args) => replay::run(&global, args).await,
        Command::Rate(args) => rate::run(&global, &args).await,
        Command::Price(command) => reference::run_price(&global, command).await,
        Command::Package(command) => {
            reference::run_plain(&global, ReferenceKind::Package, command).await
        }
        Command::Contract(command) => {
            reference::run_plain(&global, ReferenceKind::Contract, command).await
        }
        Command::Sql(args) => sql::run(&global, args).await,
        Command::Suspense(command) => suspense::run(&global, command).await,
        Command::Correct(command) => correct::run(&global, command).await,
        Command::Settle(command) => settle::run(&global, command).await,
        Command::PhoneBill(command) => phone_bill::run(&global, command).await,
        Command::Verify(args) => verify::run(&global, args).await,
        Command::Status(args) => status::run(&global, args).await,
        Command::Partitions(command) => partitions::run(&global, command).await,
        Command::Doctor(args) => doctor::run(&global, args).await,
        Command::Config(command) => config::run(&global, command),
        Command::User(command) => user::run(&global, command),
        Command::Audit(command) => audit::run(&global, command).await,
    }
}

/// What the libraries below say on the normal path is theirs alone.
const DEFAULT_FILTER: &str = "warn,tally=info,tally_aggregate=info,tally_ingest=info,\
                              tally_log=info,tally_query=info,tally_tables=info";

/// Libraries that tell the text of a statement, or what is compared in it, from `debug` on: accounts
/// and whatever else is asked for. `RUST_LOG=debug` does not mean that; a word about one of them does.
const TELL_STATEMENTS: [&str; 2] = ["datafusion", "sqlparser"];

fn filter() -> EnvFilter {
    let words = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    EnvFilter::try_new(quiet(words)).unwrap_or_else(|_| EnvFilter::new(DEFAULT_FILTER))
}

/// Words of a filter, by which the libraries that tell statements do so only where they are named.
/// `datafusion_postgres` is another one than `datafusion`, `datafusion::optimizer` is not.
fn quiet(words: String) -> String {
    let lower = words.to_ascii_lowercase();
    // A word is a target with a level or spans, or one of them alone. Targets are compared as they
    // are written.
    let is_named = |library: &str| {
        words.split(',').any(|word| {
            let target = word.split(['=', '[']).next().unwrap_or_default();
            target.trim().split("::").next() == Some(library)
        })
    };
    // Levels by name, or by number.
    let mut added = String::new();
    if ["debug", "trace", "4", "5"].iter().any(|level| lower.contains(level)) {
        for library in TELL_STATEMENTS.into_iter().filter(|library| !is_named(library)) {
            added.push_str(&format!(",{library}=warn"));
        }
    }
    words + &added
}

/// Log lines go to standard error, so that standard output is only the result.
fn trace(format: LogFormat) {
    let filter = filter();
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => lines.try_init(),
        LogFormat::Json => lines.json().try_init(),
    };
    if let Err(error) = started {
        eprintln!("tally: no log lines: {error}");
    }
}

#[cfg(test)]
mod documented;
#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// Statements are told where somebody asks for that, and not by a name that only begins alike.
    #[test]
    fn statements_are_told_only_where_a_library_that_does_so_is_named() {
        let both = "datafusion=warn,sqlparser=warn";
        for (words, added) in [
            ("debug", both),
            ("debug,datafusion_postgres=info", both),
            ("trace,tally=5,my_datafusion=debug", both),
            ("debug,datafusion=info", "sqlparser=warn"),
            ("DEBUG", both),
            ("debug, datafusion::optimizer=trace", "sqlparser=warn"),
            // By this nothing is silenced, so it names nothing.
            ("debug, DataFusion::optimizer=trace", both),
            ("debug,datafusion[span]=info", "sqlparser=warn"),
            ("debug,datafusion", "sqlparser=warn"),
            ("sqlparser=debug", "datafusion=warn"),
            ("info,datafusion_postgres=info", ""),
            (DEFAULT_FILTER, ""),
        ] {
            let quiet = quiet(words.to_owned());
            assert_eq!(
                quiet.strip_prefix(words).unwrap().trim_start_matches(','),
                added,
                "{words}"
            );
        }
    }

    #[test]
    fn an_ended_process_does_not_wait_for_work_that_it_left() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let (begun, has_begun) = mpsc::channel();
        let (release, released) = mpsc::channel::<()>();
        let command = async move {
            let left = tokio::task::spawn_blocking(move || {
                begun.send(()).unwrap();
                // Until the sender is dropped.
                released.recv().unwrap_err();
            });
            has_begun.recv().unwrap();
            left.abort();
        };
        let (ended, has_ended) = mpsc::channel();
        std::thread::spawn(move || {
            run_to_end(runtime, command);
            ended.send(()).unwrap();
        });
        has_ended.recv_timeout(Duration::from_secs(60)).expect("it waits for what was left");
        drop(release);
    }

    /// Help of a command and of everything below it.
    fn help(command: &mut clap::Command, path: &str, out: &mut Vec<(String, String)>) {
        let path = format!("{path}{}", command.get_name());
        out.push((path.clone(), command.render_long_help().to_string()));
        for below in command.get_subcommands_mut().filter(|below| below.get_name() != "help") {
            help(below, &format!("{path} "), out);
        }
    }

    #[test]
    fn help_texts() {
        let mut command = Cli::command().term_width(100);
        command.build();
        let mut texts = Vec::new();
        help(&mut command, "", &mut texts);
        for (path, text) in texts {
            let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
            insta::assert_snapshot!(path.replace(' ', "_"), text);
        }
    }
}

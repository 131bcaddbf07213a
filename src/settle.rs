//! `tally settle`: statements of vendors, the closing of periods, and the vendors' bills.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use tally_query::{Closed, QueryEngine, Settlement};
use tally_settlement::{Contracts, EXAMPLE_CONTRACTS, Period, PriceLists};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, file_failure};
use crate::settle_documents::{self, DocumentArgs};
use crate::{config, reference, settle_reconcile, sql_session, stdout};

#[derive(Debug, Subcommand)]
pub(crate) enum SettleCommand {
    /// Print what a vendor is owed for a period
    ///
    /// Reads one version of every table. Until the period is closed it is a draft: the same usage
    /// gives the same hash, whenever it is printed. Of a closed period the sealed statement is
    /// printed.
    Statement(StatementArgs),
    /// Seal a period: statements of every vendor, and a seal that carries the hash of the last
    ///
    /// Can be started again after a crash and comes to the same seal; of a closed period the seal
    /// is printed. Usage that comes later is on the next statement as an adjustment.
    Close(CloseArgs),
    /// Compare a vendor's bill with our rated events
    ///
    /// By total, by day, model, class and price, and by the vendor's request id where the bill has
    /// it. Writes a folder with a report, every difference and, where something is outside of the
    /// tolerance, the evidence of a dispute; then the exit code is 1.
    Reconcile(settle_reconcile::ReconcileArgs),
}

/// By which contracts.
#[derive(Debug, Args)]
pub(crate) struct ContractArgs {
    /// Settlement terms as TOML [default: the example that ships with Tally]
    #[arg(long, value_name = "FILE")]
    pub(crate) contracts: Option<PathBuf>,
}

/// Which statement, and how it is written.
#[derive(Debug, Args)]
pub(crate) struct StatementArgs {
    /// Vendor
    #[arg(long, value_name = "V")]
    vendor: String,
    /// A month in Asia/Shanghai, such as 2026-10
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    period: Period,
    #[command(flatten)]
    document: DocumentArgs,
    #[command(flatten)]
    contracts: ContractArgs,
    #[command(flatten)]
    store: StoreArgs,
}

/// Which period, and who closes it.
#[derive(Debug, Args)]
pub(crate) struct CloseArgs {
    /// A month in Asia/Shanghai, such as 2026-10
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    period: Period,
    /// Who closes it
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    contracts: ContractArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(global: &GlobalArgs, command: SettleCommand) -> Result<(), Failure> {
    match command {
        SettleCommand::Statement(args) => statement(global, args).await,
        SettleCommand::Close(args) => close(global, args).await,
        SettleCommand::Reconcile(args) => settle_reconcile::run(global, args).await,
    }
}

impl ContractArgs {
    /// Reads and lints the contracts.
    pub(crate) fn read(&self, prices: &PriceLists) -> Result<Contracts, Failure> {
        let (name, text) = match &self.contracts {
            Some(path) => {
                let bytes = std::fs::read(path).map_err(|error| file_failure(path, &error))?;
                let text = String::from_utf8(bytes).map_err(|error| {
                    Failure::data(format!("{} is not UTF-8: {error}", path.display()))
                })?;
                (path.display().to_string(), text)
            }
            None => ("the shipped example".to_owned(), EXAMPLE_CONTRACTS.to_owned()),
        };
        let contracts =
            Contracts::parse(&name, &text).map_err(|bad| Failure::data(bad.to_string()))?;
        let findings = contracts.lint(&prices.vendors());
        if findings.is_empty() {
            return Ok(contracts);
        }
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        Err(Failure::data(format!("{name} cannot settle money:\n{}", findings.join("\n"))))
    }

    /// What a reader of the result should know about the contracts.
    fn note(&self) -> Option<String> {
        let example = "by the example contracts that ship with Tally: give yours with --contracts";
        self.contracts.is_none().then(|| example.to_owned())
    }
}

/// The prices that events may have been rated by: every edition, as it was read at every time.
pub(crate) async fn price_lists(
    global: &GlobalArgs,
    store: &StoreArgs,
) -> Result<PriceLists, Failure> {
    let config = config::load(global, &store.settings())?;
    let mut prices = PriceLists::default();
    for whole in reference::open_to_read(&config)?.every_whole().await? {
        for known_at_ms in whole.readings_ms() {
            prices.add_as_known(&whole.book, known_at_ms);
        }
    }
    Ok(prices)
}

/// Opens a settlement over the configured store.
async fn engine(global: &GlobalArgs, store: &StoreArgs) -> Result<QueryEngine, Failure> {
    let (config, settings) = config::load_settings(global, &store.settings())?;
    sql_session::open(&config, settings).await
}

async fn statement(global: &GlobalArgs, args: StatementArgs) -> Result<(), Failure> {
    args.document.check(global)?;
    let prices = price_lists(global, &args.store).await?;
    let contracts = args.contracts.read(&prices)?;
    let engine = engine(global, &args.store).await?;
    let settlement = Settlement::new(&engine, contracts, prices);
    let now_ms = Timestamp::now().as_millisecond();
    let mut issued = settlement.statement(&args.vendor, args.period, now_ms).await?;
    if issued.state.is_draft() {
        issued.notes.extend(args.contracts.note());
    }
    settle_documents::write(global, &args.store, &args.document, &issued)
}

async fn close(global: &GlobalArgs, args: CloseArgs) -> Result<(), Failure> {
    if args.by.trim().is_empty() {
        return Err(Failure::usage("--by needs the name of who closes the period"));
    }
    let prices = price_lists(global, &args.store).await?;
    let contracts = args.contracts.read(&prices)?;
    let engine = engine(global, &args.store).await?;
    let settlement = Settlement::new(&engine, contracts, prices);
    let now_ms = Timestamp::now().as_millisecond();
    let version = env!("CARGO_PKG_VERSION");
    let closed = settlement.close(args.period, args.by.trim(), now_ms, version).await?;
    if global.json {
        return stdout::print(serde_json::to_string_pretty(&closed_json(&closed)?)?);
    }
    if let Some(note) = args.contracts.note().filter(|_| !closed.was_closed) {
        eprintln!("{note}");
    }
    stdout::print(closed_in_words(&closed))
}

fn closed_json(closed: &Closed) -> Result<Value, Failure> {
    Ok(json!({
        "hash": closed.hash,
        "was_closed": closed.was_closed,
        "seal": serde_json::to_value(&closed.seal)?,
    }))
}

fn closed_in_words(closed: &Closed) -> String {
    let seal = &closed.seal;
    let at =
        Timestamp::from_millisecond(seal.at_ms).map_or_else(|_| String::new(), |at| at.to_string());
    let when = if closed.was_closed { "was closed" } else { "is closed" };
    let mut lines = vec![
        format!("{} {when} by {} at {at}", seal.period, seal.by),
        format!("seal     {} {}", seal.n, closed.hash),
        format!(
            "events   {} of the period, {} late; {} data files",
            seal.totals.events,
            seal.totals.late_events,
            seal.files.len()
        ),
    ];
    for statement in &seal.statements {
        lines.push(format!(
            "{:<20} {:>18} {}  {}",
            statement.vendor,
            statement.total.gross.to_string(),
            statement.currency,
            statement.hash
        ));
    }
    lines.join("\n")
}

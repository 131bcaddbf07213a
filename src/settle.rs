//! `tally settle`: statements of vendors, the closing of periods, adjustments, the vendors' bills
//! and disputes about them.

use clap::{Args, Subcommand};
use jiff::Timestamp;
use tally_rating::parse_instant;
use tally_settlement::{Period, PeriodState};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::Failure;
use crate::settle_documents::{self, DocumentArgs};
use crate::settle_terms::{ContractArgs, SettledBy, engine};
use crate::{
    settle_adjust, settle_close, settle_dispute, settle_events, settle_reconcile, settle_report,
    settle_rerate,
};

#[derive(Debug, Subcommand)]
pub(crate) enum SettleCommand {
    /// Print what a vendor is owed for a period
    ///
    /// Reads one version of every table. Until the period is closed it is a draft: the same usage
    /// gives the same hash, whenever it is printed. Of a closed period the sealed statement is
    /// printed.
    Statement(StatementArgs),
    /// Print what a vendor is told of its share: usage by model, and what that comes to step by step
    ///
    /// Made from the vendor's statement, sealed or draft, and its contract. Nobody's name is in it.
    Report(settle_report::ReportArgs),
    /// List the events that a line or an adjustment of a statement is made of
    ///
    /// Proves that they are all of them: their units must sum to the line's, or there is no
    /// answer but an error. A slice of a tier has no events of its own: of these lines it is the
    /// events of all tiers. Of adjustments it is those for usage: what came late, corrections, free
    /// trials, and what tiers were trued up for.
    Events(settle_events::EventsArgs),
    /// Put a period into review: fix what counts, and say what every vendor is owed
    ///
    /// Goes by approved terms only. Somebody else seals it with `tally settle approve`. Can be
    /// started again after a crash; of a period in review the review is printed, of a closed one
    /// the seal. Usage that comes later is on the next statement as an adjustment.
    Close(settle_close::CloseArgs),
    /// Seal a period that somebody else put into review
    ///
    /// Writes the statements of every vendor, and a seal that carries the hash of the last. Can be
    /// started again after a crash and comes to the same seal.
    Approve(settle_close::ApproveArgs),
    /// Send a period in review back, so that it can be closed anew
    Reject(settle_close::RejectArgs),
    /// Say that a sealed statement was paid; a period of which all is paid is settled
    Paid(settle_close::PaidArgs),
    /// Propose an adjustment, approve or reject one, or list them
    ///
    /// An approved one is on the statement of the first period that is closed after that, as a row
    /// with its reason and origin.
    Adjust(settle_adjust::AdjustArgs),
    /// Rate a period again as the price book was known at another time, and post the differences
    ///
    /// Prints what would change, line by line, and writes nothing. With --post the differences that
    /// are not posted yet become proposals of adjustments, which somebody else has to approve; sealed
    /// statements stay as they are.
    Rerate(settle_rerate::RerateArgs),
    /// Compare a vendor's bill with our rated events
    ///
    /// By total, by day, model, class and price, and by the vendor's request id where the bill has
    /// it. Writes a folder with a report, every difference and, where something is outside of the
    /// tolerance, the evidence of a dispute; then the exit code is 1.
    Reconcile(settle_reconcile::ReconcileArgs),
    /// Dispute a vendor's bill, and put down how that ends
    #[command(subcommand)]
    Dispute(settle_dispute::DisputeCommand),
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
    /// Print it as it was known then, by tables, terms and books of that time: a time with an offset,
    /// or a date in Shanghai
    #[arg(long, value_name = "TIME", value_parser = parse_instant, conflicts_with = "contracts")]
    as_of: Option<i64>,
    #[command(flatten)]
    contracts: ContractArgs,
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(global: &GlobalArgs, command: SettleCommand) -> Result<(), Failure> {
    match command {
        SettleCommand::Statement(args) => statement(global, args).await,
        SettleCommand::Report(args) => settle_report::run(global, args).await,
        SettleCommand::Events(args) => settle_events::run(global, args).await,
        SettleCommand::Close(args) => settle_close::close(global, args).await,
        SettleCommand::Approve(args) => settle_close::approve(global, args).await,
        SettleCommand::Reject(args) => settle_close::reject(global, args).await,
        SettleCommand::Paid(args) => settle_close::paid(global, args).await,
        SettleCommand::Adjust(args) => settle_adjust::run(global, args).await,
        SettleCommand::Rerate(args) => settle_rerate::run(global, args).await,
        SettleCommand::Reconcile(args) => settle_reconcile::run(global, args).await,
        SettleCommand::Dispute(command) => settle_dispute::run(global, command).await,
    }
}

async fn statement(global: &GlobalArgs, args: StatementArgs) -> Result<(), Failure> {
    args.document.check(global)?;
    let draft = args.contracts.contracts.as_deref();
    let settled_by = SettledBy::read(global, &args.store, draft).await?;
    let note = settled_by.note();
    let engine = engine(global, &args.store).await?;
    let settlement = settled_by.over(&engine);
    let now_ms = Timestamp::now().as_millisecond();
    let (vendor, period) = (&args.vendor, args.period);
    let mut issued = match args.as_of {
        Some(at_ms) => settlement.statement_as_of(vendor, period, at_ms.min(now_ms)).await?,
        None => settlement.statement(vendor, period, now_ms).await?,
    };
    // What is in review goes by the terms of its plan.
    if issued.state.is_draft() && issued.state != PeriodState::Review {
        issued.notes.extend(note);
    }
    settle_documents::write(global, &args.store, &args.document, &issued)
}

//! `tally phone-bill`: files of what subscribers are charged, for the operator's billing system.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};
use tally_query::{IssuedBill, PhoneBill, QueryEngine, TakenReturn, WaitingLine};
use tally_settlement::Period;
use tally_settlement::phone_bill::{BillBook, BillScope, BillSeal, Day, LineStates};

use crate::cli::{GlobalArgs, StoreArgs};
use crate::exit::{Failure, file_failure};
use crate::{config, sql_session, stdout};

#[derive(Debug, Subcommand)]
pub(crate) enum PhoneBillCommand {
    /// Issue the file of a day, or the sums of a month
    ///
    /// A daily file has what is to be charged up to the end of the day and stood on no earlier file:
    /// package fees, top-ups, pay as you go, refunds, and the lines that came back rejected. Days
    /// are issued in order. A month is the sums of its daily files and charges nothing. Can be
    /// started again after a crash and comes to the same file; one that is issued is told again.
    Issue(IssueArgs),
    /// Print a file that was issued, byte for byte
    Reissue(ReissueArgs),
    /// Issue a file in the place of one that the billing system could not take
    ///
    /// It has the same lines, the next sequence number, and names the file that it replaces. A file
    /// that was answered cannot be replaced: what was rejected of it comes again by itself.
    Correct(CorrectArgs),
    /// Take the billing system's answer to a file
    ///
    /// Rejected lines come again in the next daily file, with where they stood first. A return file
    /// is taken whole or not at all; the same file again changes nothing.
    Return(ReturnArgs),
    /// Show files, what was answered, and the lines that are to come again
    List(ListArgs),
}

/// The file of what.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct WhichArgs {
    /// A day in Asia/Shanghai, such as 2026-11-25
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = Day::parse)]
    day: Option<Day>,
    /// A month in Asia/Shanghai, such as 2026-10
    #[arg(long, value_name = "YYYY-MM", value_parser = Period::parse)]
    month: Option<Period>,
}

/// What is issued, by whom, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct IssueArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Who issues it
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Write the file here too; in the store it is in any case
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Which file, and where it goes.
#[derive(Debug, Args)]
pub(crate) struct ReissueArgs {
    /// Sequence number of the file
    #[arg(long, value_name = "N")]
    sequence: u64,
    /// Write the file here [default: standard output, with --json its seal alone]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// Which file is replaced, why and by whom.
#[derive(Debug, Args)]
pub(crate) struct CorrectArgs {
    /// Sequence number of the file that is replaced
    #[arg(long, value_name = "N")]
    sequence: u64,
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// Who issues it
    #[arg(long, value_name = "NAME")]
    by: String,
    /// Write the file here too; in the store it is in any case
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    store: StoreArgs,
}

/// The answer, and who brings it.
#[derive(Debug, Args)]
pub(crate) struct ReturnArgs {
    /// The return file, CSV
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Who brings it
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    store: StoreArgs,
}

/// Where the files are.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

pub(crate) async fn run(global: &GlobalArgs, command: PhoneBillCommand) -> Result<(), Failure> {
    match command {
        PhoneBillCommand::Issue(args) => {
            let WhichArgs { day, month } = args.which;
            let monthly = month.map(|month| BillScope::Monthly { month });
            // The command line has one of the two.
            let scope = day.map(|day| BillScope::Daily { day }).or(monthly);
            let scope = scope.ok_or_else(|| Failure::usage("give --day or --month"))?;
            issue(global, &args.store, &scope, &args.by, args.out.as_deref()).await
        }
        PhoneBillCommand::Reissue(args) => reissue(global, &args).await,
        PhoneBillCommand::Correct(args) => {
            let reason = named(&args.reason, "--reason needs a text")?.to_owned();
            let scope = BillScope::Correction { of: args.sequence, reason };
            issue(global, &args.store, &scope, &args.by, args.out.as_deref()).await
        }
        PhoneBillCommand::Return(args) => take_return(global, &args).await,
        PhoneBillCommand::List(args) => list(global, &args).await,
    }
}

async fn engine(global: &GlobalArgs, store: &StoreArgs) -> Result<QueryEngine, Failure> {
    let (config, settings) = config::load_settings(global, &store.settings())?;
    sql_session::open(&config, settings).await
}

fn named<'a>(text: &'a str, otherwise: &str) -> Result<&'a str, Failure> {
    let text = text.trim();
    if text.is_empty() { Err(Failure::usage(otherwise)) } else { Ok(text) }
}

fn write(out: &Path, issued: &IssuedBill) -> Result<(), Failure> {
    std::fs::write(out, &issued.csv).map_err(|error| file_failure(out, &error))
}

async fn issue(
    global: &GlobalArgs,
    store: &StoreArgs,
    scope: &BillScope,
    by: &str,
    out: Option<&Path>,
) -> Result<(), Failure> {
    let by = named(by, "--by needs the name of who issues the file")?;
    let engine = engine(global, store).await?;
    let now_ms = Timestamp::now().as_millisecond();
    let bills = PhoneBill::new(&engine);
    let issued = bills.issue(scope, by, now_ms, env!("CARGO_PKG_VERSION")).await?;
    if let Some(out) = out {
        write(out, &issued)?;
    }
    if global.json {
        return stdout::print(serde_json::to_string_pretty(&issued_json(&issued)?)?);
    }
    stdout::print(issued_in_words(&issued))
}

async fn reissue(global: &GlobalArgs, args: &ReissueArgs) -> Result<(), Failure> {
    let engine = engine(global, &args.store).await?;
    let issued = PhoneBill::new(&engine).reissue(args.sequence).await?;
    if let Some(out) = &args.out {
        write(out, &issued)?;
    }
    match (global.json, &args.out) {
        (true, _) => stdout::print(serde_json::to_string_pretty(&issued_json(&issued)?)?),
        (false, Some(_)) => stdout::print(issued_in_words(&issued)),
        (false, None) => stdout::print_bytes(&issued.csv),
    }
}

fn issued_json(issued: &IssuedBill) -> Result<Value, Failure> {
    Ok(json!({
        "hash": issued.hash,
        "was_issued": issued.was_issued,
        "path": issued.path,
        "seal": serde_json::to_value(&issued.seal)?,
    }))
}

fn issued_in_words(issued: &IssuedBill) -> String {
    let seal = &issued.seal;
    let when = if issued.was_issued { "was issued" } else { "is issued" };
    let mut lines = vec![
        format!("{} {when} by {} at {}", seal.file_id, seal.by, instant(seal.at_ms)),
        format!("file    {}", issued.path),
        format!("seal    {}", issued.hash),
        format!("lines   {}, {} of them again", seal.lines, seal.lines_again),
    ];
    lines.extend(seal.sums.iter().map(|sum| {
        let amount = sum.amount.to_string();
        format!("{:<12} {:>8} lines {amount:>18} {}", sum.kind, sum.lines, sum.currency)
    }));
    lines.join("\n")
}

fn instant(at_ms: i64) -> String {
    Timestamp::from_millisecond(at_ms).map_or_else(|_| String::new(), |at| at.to_string())
}

async fn take_return(global: &GlobalArgs, args: &ReturnArgs) -> Result<(), Failure> {
    let by = named(&args.by, "--by needs the name of who brings the answer")?;
    let bytes = std::fs::read(&args.file).map_err(|error| file_failure(&args.file, &error))?;
    let engine = engine(global, &args.store).await?;
    let now_ms = Timestamp::now().as_millisecond();
    let name = args.file.display().to_string();
    let taken = PhoneBill::new(&engine).take_return(&name, &bytes, by, now_ms).await?;
    if global.json {
        let told = json!({
            "was_taken": taken.was_taken,
            "return": serde_json::to_value(&taken.taken)?,
        });
        return stdout::print(serde_json::to_string_pretty(&told)?);
    }
    stdout::print(taken_in_words(&taken))
}

fn taken_in_words(answer: &TakenReturn) -> String {
    let taken = &answer.taken;
    let when = if answer.was_taken { "was taken" } else { "is taken" };
    let mut lines = vec![format!(
        "return {} to phone bill {} {when} by {} at {}: {} lines accepted, {} rejected",
        taken.n,
        taken.sequence,
        taken.by,
        instant(taken.at_ms),
        taken.accepted_lines(),
        taken.rejected.len()
    )];
    if !taken.rejected.is_empty() {
        lines.push("rejected lines come again in the next daily file".to_owned());
    }
    lines.join("\n")
}

async fn list(global: &GlobalArgs, args: &ListArgs) -> Result<(), Failure> {
    let engine = engine(global, &args.store).await?;
    let bills = PhoneBill::new(&engine);
    let book = bills.book().await?;
    let waiting = bills.waiting(&book).await?;
    if global.json {
        return stdout::print(serde_json::to_string_pretty(&list_json(&book, &waiting)?)?);
    }
    stdout::print(list_in_words(&book, &waiting))
}

fn list_json(book: &BillBook, waiting: &[WaitingLine]) -> Result<Value, Failure> {
    let line = |WaitingLine { line, reason }: &WaitingLine| {
        json!({
            "line": line.id.to_string(),
            "first_line": line.first.to_string(),
            "account": line.key.account,
            "kind": line.key.kind.name(),
            "package": line.key.package,
            "currency": line.key.currency.code(),
            "date": line.date.to_string(),
            "amount": line.amount.to_string(),
            "reason": reason,
        })
    };
    Ok(json!({
        "files": serde_json::to_value(&book.seals)?,
        "returns": serde_json::to_value(&book.returns)?,
        "begun": serde_json::to_value(&book.plan)?,
        "to_come_again": waiting.iter().map(line).collect::<Vec<_>>(),
    }))
}

fn list_in_words(book: &BillBook, waiting: &[WaitingLine]) -> String {
    let states = book.states();
    let mut lines: Vec<String> =
        book.seals.iter().map(|seal| file_in_words(&states, seal)).collect();
    if let Some(plan) = &book.plan {
        lines.push(format!("{} was begun by {} and is not issued", plan.file_id(), plan.by));
    }
    if lines.is_empty() {
        lines.push("no phone bill is issued".to_owned());
    }
    lines.push(format!("{} rejected lines are to come again", waiting.len()));
    lines.extend(waiting.iter().map(|WaitingLine { line, reason }| {
        let key = &line.key;
        let (kind, amount) = (key.kind.name(), line.amount.to_string());
        format!(
            "{:<12} {:<16} {kind:<12} {} {amount:>14} {}  {reason}",
            line.id.to_string(),
            key.account,
            line.date,
            key.currency
        )
    }));
    lines.join("\n")
}

fn file_in_words(states: &LineStates<'_>, seal: &BillSeal) -> String {
    let (mut accepted, mut rejected) = (0, 0);
    for taken in states.answers(seal.sequence) {
        accepted += taken.accepted_lines();
        rejected += taken.rejected.len();
    }
    let replaced = states
        .replaced_by(seal.sequence)
        .map_or_else(String::new, |by| format!(", replaced by {by}"));
    format!(
        "{:<36} {:>8} lines, {} again; {accepted} accepted, {rejected} rejected{replaced}",
        seal.file_id, seal.lines, seal.lines_again
    )
}

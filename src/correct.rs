//! `tally correct`: accepted events that are taken back, and those that count in their stead.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use tally_query::{AcceptedEvent, HeldFilter, HeldRows, HeldStatus, QueryEngine, QueryError};
use tally_schemas::{
    Config, Correction, CorrectionKind, CorrectionRequest, Corrects, ParsedEvent, SuspenseReason,
    decimal_text, parse_event,
};
use tally_settlement::person_name;

use crate::cli::{GlobalArgs, PlaceArgs};
use crate::exit::Failure;
use crate::suspense_log::{Chunk, ResolutionLog};
use crate::{config, reference, sql_session, stdout};

#[derive(Debug, Subcommand)]
pub(crate) enum CorrectCommand {
    /// Take one accepted event back: it counts for nothing
    ///
    /// Its row stays; another one takes its counts and amounts back. Points go back to the buckets
    /// that gave them. Of a closed month it becomes an adjustment of the open one.
    Void(VoidArgs),
    /// Take one accepted event back, and count another in its stead
    ///
    /// The other one is a JSON event in a file, with an id of its own, the account and the
    /// completed_at of the corrected one, and "corrects":{"source","id"}.
    Replace(ReplaceArgs),
    /// Carry out what gateways ask for: the corrections that wait in suspense
    Apply(ApplyArgs),
}

/// Who asks for it, and why.
#[derive(Debug, Args)]
struct AskedArgs {
    /// Why
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    done: DoneArgs,
}

/// Who does it, and where.
#[derive(Debug, Args)]
struct DoneArgs {
    /// Say what would be taken back; nothing is sent
    #[arg(long)]
    dry_run: bool,
    /// Who does this
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Which event.
#[derive(Debug, Args)]
pub(crate) struct VoidArgs {
    /// Source of the event
    #[arg(value_name = "SOURCE")]
    source: String,
    /// Its id there
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten)]
    asked: AskedArgs,
}

/// What counts in its stead.
#[derive(Debug, Args)]
pub(crate) struct ReplaceArgs {
    /// The event that counts in its stead
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    asked: AskedArgs,
}

/// Which corrections.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    done: DoneArgs,
}

pub(crate) async fn run(global: &GlobalArgs, command: CorrectCommand) -> Result<(), Failure> {
    match command {
        CorrectCommand::Void(VoidArgs { source, id, asked }) => {
            let kind = CorrectionKind::Void;
            one(global, &Corrects { source, id, kind }, None, asked).await
        }
        CorrectCommand::Replace(ReplaceArgs { file, asked }) => {
            let raw = std::fs::read_to_string(&file)
                .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
            let parsed = parse_event(raw.as_bytes());
            let wrong = |words: String| Failure::data(format!("{}: {words}", file.display()));
            if !parsed.errors.is_empty() {
                let words: Vec<String> = parsed.errors.iter().map(ToString::to_string).collect();
                return Err(wrong(words.join("; ")));
            }
            match parsed.corrects.clone() {
                Some(corrects) if corrects.kind == CorrectionKind::Replace => {
                    one(global, &corrects, Some(&raw), asked).await
                }
                _ => Err(wrong("corrects: has to name the event that it replaces".to_owned())),
            }
        }
        CorrectCommand::Apply(args) => apply(global, args.done).await,
    }
}

/// Why what is no longer known to dedupe is not corrected.
const OLD: &str = "it is older than the dedupe horizon: post an adjustment";

/// Reads events from one version of the tables.
struct Reader {
    engine: QueryEngine,
    pin: std::sync::Arc<tally_tables::PinnedTables>,
    config: Config,
    now_ms: i64,
}

impl Reader {
    async fn open(global: &GlobalArgs, done: &DoneArgs) -> Result<Self, Failure> {
        let (config, settings) = config::load_settings(global, &done.place.settings())?;
        let engine = sql_session::open(&config, settings).await?;
        let pin = engine.pin(None).await?;
        Ok(Self { engine, pin, config, now_ms: reference::now_ms() })
    }

    /// The event, or in words why it cannot be corrected now.
    async fn find(
        &self,
        corrects: &Corrects,
        asking: Option<&ParsedEvent<'_>>,
    ) -> Result<Result<AcceptedEvent, String>, Failure> {
        let Corrects { source, id, .. } = corrects;
        let told_at_ms = asking.and_then(|asking| asking.event.completed_at_ms);
        let identity = (source.as_str(), id.as_str());
        let horizon_ms =
            self.config.aggregate.dedupe_horizon_days.cast_signed().saturating_mul(86_400_000);
        let is_old = |at_ms: i64| self.now_ms.saturating_sub(at_ms) > horizon_ms;
        if told_at_ms.is_some_and(is_old) {
            return Ok(Err(format!("{id} of {source}: {OLD}")));
        }
        let found = AcceptedEvent::find(&self.engine, &self.pin, identity, told_at_ms).await;
        let found = match found {
            Ok(Some(found)) => found,
            Ok(None) => {
                return Ok(Err(format!("{id} of {source} is not among the accepted events")));
            }
            // It may be one of those. That is no reason to end: others are still to be corrected.
            Err(QueryError::Removed(rows)) => {
                let words = "is not among the accepted events that are there";
                return Ok(Err(format!("{id} of {source} {words}: {}", rows.told())));
            }
            Err(error) => return Err(error.into()),
        };
        let words = if found.is_taken_back {
            "it was taken back already: correct what replaced it"
        } else if is_old(found.completed_at_ms) {
            OLD
        } else if found.is_there_twice {
            "it was accepted more than once, so post an adjustment; or what it was charged is not all there yet, so try again"
        } else if found.rating.is_some() != self.config.aggregate.rate {
            "it was counted while events were rated otherwise: post an adjustment"
        } else {
            match asking.map(|asking| &asking.event) {
                Some(event) if event.account != found.account.as_str() => {
                    "it is of another account than the event that corrects it"
                }
                Some(event) if event.completed_at_ms != Some(found.completed_at_ms) => {
                    "its completed_at is not that of the event that corrects it"
                }
                _ => return Ok(Ok(found)),
            }
        };
        Ok(Err(format!("{id} of {source}: {words}")))
    }
}

/// What is taken back, for people.
fn told(corrects: &Corrects, found: &AcceptedEvent) -> Value {
    let Corrects { source, id, kind } = corrects;
    let mut value = json!({"source": source, "id": id, "kind": kind.name(),
        "account": found.account});
    if let Some(rating) = &found.rating {
        value["points"] = decimal_text(rating.points_micro, 6).into();
        value["retail_amount"] = decimal_text(rating.retail_pico, 12).into();
        value["wholesale_amount"] = decimal_text(rating.wholesale_pico, 12).into();
        value["wholesale_currency"] = rating.wholesale_currency.as_str().into();
    }
    value
}

fn line(value: &Value) -> String {
    let text = |name: &str| value[name].as_str().unwrap_or("-").to_owned();
    match value["why"].as_str() {
        Some(why) => format!("stays: {why}"),
        None => format!(
            "{}: {} of {}, account {}: {} points, {} {} owed to the vendor",
            text("kind"),
            text("id"),
            text("source"),
            text("account"),
            text("points"),
            text("wholesale_amount"),
            text("wholesale_currency"),
        ),
    }
}

fn print(global: &GlobalArgs, dry_run: bool, rows: &[Value]) -> Result<(), Failure> {
    let sent = rows.iter().filter(|row| row["why"].is_null()).count();
    if global.json {
        let sent = if dry_run { 0 } else { sent };
        let value = json!({"dry_run": dry_run, "sent": sent, "corrections": rows});
        return stdout::print(serde_json::to_string_pretty(&value)?);
    }
    let mut lines: Vec<String> = rows.iter().map(line).collect();
    lines.push(if dry_run {
        format!("{sent} would be sent")
    } else {
        format!("{sent} sent to the stream, and done once that has read them")
    });
    stdout::print(lines.join("\n"))
}

fn name_of(by: &str) -> Result<String, Failure> {
    let name = person_name(by)
        .ok_or_else(|| Failure::usage("--by needs the name of the person who does this"))?;
    Ok(name.to_owned())
}

async fn one(
    global: &GlobalArgs,
    corrects: &Corrects,
    raw: Option<&str>,
    asked: AskedArgs,
) -> Result<(), Failure> {
    let AskedArgs { reason, done } = asked;
    let by = name_of(&done.by)?;
    if reason.trim().is_empty() {
        return Err(Failure::usage("--reason needs words"));
    }
    let reader = Reader::open(global, &done).await?;
    let asking = raw.map(|raw| parse_event(raw.as_bytes()));
    let found = reader.find(corrects, asking.as_ref()).await?.map_err(Failure::data)?;
    let rows = [told(corrects, &found)];
    if !done.dry_run {
        let log = ResolutionLog::open(&reader.config).await?;
        let request = raw.map(|raw| CorrectionRequest { raw: raw.trim().to_owned(), held: None });
        let record = Correction {
            account: found.account,
            event: found.event,
            rating: found.rating,
            request,
            why: reason,
            by,
        };
        log.append(&[record.into()]).await?;
    }
    print(global, done.dry_run, &rows)
}

async fn apply(global: &GlobalArgs, done: DoneArgs) -> Result<(), Failure> {
    let by = name_of(&done.by)?;
    let reader = Reader::open(global, &done).await?;
    let filter = HeldFilter {
        status: Some(HeldStatus::Open),
        reason: Some(SuspenseReason::CorrectionPending),
        ..HeldFilter::default()
    };
    let mut held = HeldRows::open(&reader.engine, reader.pin.clone(), &filter).await?;
    let log = if done.dry_run { None } else { Some(ResolutionLog::open(&reader.config).await?) };
    let (mut chunk, mut rows) = (Chunk::default(), Vec::new());
    while let Some(more) = held.next().await? {
        for row in more {
            let raw = row.raw.unwrap_or_default();
            let asking = parse_event(raw.as_bytes());
            let stays = |why: String| {
                json!({"row": row.position.to_string(), "source": row.source, "id": row.id,
                    "why": why})
            };
            let Some(corrects) = asking.corrects.clone() else {
                rows.push(stays(format!("row {}: it cannot be read", row.position)));
                continue;
            };
            let found = match reader.find(&corrects, Some(&asking)).await? {
                Ok(found) => found,
                Err(why) => {
                    rows.push(stays(why));
                    continue;
                }
            };
            rows.push(told(&corrects, &found));
            if let Some(log) = &log {
                let why = format!("asked for by {} of {}", asking.event.id, asking.event.source);
                let request = CorrectionRequest { raw: raw.clone(), held: Some(row.position) };
                let record = Correction {
                    account: found.account,
                    event: found.event,
                    rating: found.rating,
                    request: Some(request),
                    why,
                    by: by.clone(),
                };
                chunk.push(record, log).await?;
            }
        }
    }
    if let Some(log) = &log {
        chunk.flush(log).await?;
    }
    print(global, done.dry_run, &rows)
}

//! `tally suspense`: held-back events, looked at, taken in again, or given up.

use std::sync::Arc;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;
use tally_aggregate::{DryRun, HeldReading, ReferenceData};
use tally_query::{
    HeldFilter, HeldRow, HeldRows, HeldStatus, ProposedRow, QueryEngine, StoredProposal, WriteOffs,
};
use tally_rating::{RateCard, parse_instant};
use tally_schemas::{
    Config, HeldPosition, LedgerEntry, Recycle, Recycling, ReferenceVersion, Resolution,
    SEND_COMMAND_AGAIN, SuspenseReason, TokenClass,
};
use tally_settlement::person_name;

use crate::cli::{GlobalArgs, PlaceArgs, StoreArgs};
use crate::exit::Failure;
use crate::progress::Progress;
use crate::suspense_log::{Chunk, ResolutionLog};
use crate::suspense_words::{self as words, Fate, Fates};
use crate::{config, reference, sql_session, stdout};

/// How long the stream may take to end an epoch for newly approved prices, beside the time after
/// which it looks for them.
const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug, Subcommand)]
pub(crate) enum SuspenseCommand {
    /// List held-back events, the oldest first
    List(ListArgs),
    /// Take held-back events in again, as of their own time
    ///
    /// What can be rated by the newest approved prices goes through the log to the stream, once
    /// however often it is asked for; the rest stays held back, and the command says why and what
    /// to do. Usage of a closed month comes into the open one as an adjustment.
    Recycle(RecycleArgs),
    /// Propose to give held-back events up, or approve what somebody else proposed
    ///
    /// A proposal has a number and holds the events as they are chosen now. Approving it takes
    /// another person; after a crash the same person may do so again to finish.
    WriteOff(WriteOffArgs),
}

/// Which events.
#[derive(Debug, Args)]
struct ChoiceArgs {
    /// Only of this model
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// Only those received at that time or later: a time with an offset, or a date in Shanghai
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    since: Option<i64>,
    /// Only those received before that time
    #[arg(long, value_name = "TIME", value_parser = parse_instant)]
    until: Option<i64>,
    /// Only this one, as it is listed: PARTITION/OFFSET/INDEX; can be given many times
    #[arg(long = "id", value_name = "ID")]
    ids: Vec<HeldPosition>,
}

impl ChoiceArgs {
    fn filter(&self, reason: Option<SuspenseReason>, status: Option<HeldStatus>) -> HeldFilter {
        HeldFilter {
            status,
            reason,
            model: self.model.clone(),
            since_ms: self.since,
            until_ms: self.until,
            positions: self.ids.clone(),
            limit: None,
        }
    }
}

fn reason(text: &str) -> Result<SuspenseReason, String> {
    SuspenseReason::from_name(text).ok_or_else(|| {
        let names: Vec<&str> = SuspenseReason::ALL.iter().map(|reason| reason.as_str()).collect();
        format!("expected one of {}", names.join(", "))
    })
}

/// Which are listed.
#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only those held back for this reason
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Option<SuspenseReason>,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// What became of them
    #[arg(long, value_enum, default_value_t = Listed::Open, value_name = "STATUS")]
    status: Listed,
    /// Most events
    #[arg(long, default_value_t = 50, value_name = "N")]
    limit: u64,
    /// List the proposals to write off instead
    #[arg(long)]
    proposals: bool,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Listed {
    /// They wait
    Open,
    /// They were taken in again
    Recycled,
    /// They were given up
    WrittenOff,
    /// Every one
    All,
}

impl Listed {
    const fn status(self) -> Option<HeldStatus> {
        match self {
            Self::Open => Some(HeldStatus::Open),
            Self::Recycled => Some(HeldStatus::Recycled),
            Self::WrittenOff => Some(HeldStatus::WrittenOff),
            Self::All => None,
        }
    }
}

/// Which are taken in again, and by whom.
#[derive(Debug, Args)]
pub(crate) struct RecycleArgs {
    /// Only those held back for this reason
    #[arg(long, value_name = "REASON", value_parser = reason)]
    reason: Option<SuspenseReason>,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Say what would become of them; nothing is sent
    #[arg(long)]
    dry_run: bool,
    /// Who does this
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Which are given up, and why; or which proposal is approved.
#[derive(Debug, Args)]
pub(crate) struct WriteOffArgs {
    /// Only those held back for this reason
    #[arg(long, value_name = "REASON", value_parser = reason)]
    held_for: Option<SuspenseReason>,
    #[command(flatten)]
    choice: ChoiceArgs,
    /// Why they are given up
    #[arg(long, value_name = "TEXT", required_unless_present = "approve")]
    reason: Option<String>,
    /// Approve this proposal
    #[arg(
        long,
        value_name = "NUMBER",
        conflicts_with_all = ["reason", "held_for", "model", "since", "until", "ids"]
    )]
    approve: Option<u64>,
    /// Show what is proposed or approved; nothing is stored or sent
    #[arg(long)]
    dry_run: bool,
    /// Who does this
    #[arg(long, value_name = "NAME")]
    by: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) async fn run(global: &GlobalArgs, command: SuspenseCommand) -> Result<(), Failure> {
    match command {
        SuspenseCommand::List(args) => list(global, args).await,
        SuspenseCommand::Recycle(args) => recycle(global, args).await,
        SuspenseCommand::WriteOff(args) => match args.approve {
            Some(proposal) => approve(global, proposal, &args).await,
            None => propose(global, args).await,
        },
    }
}

async fn list(global: &GlobalArgs, args: ListArgs) -> Result<(), Failure> {
    let (config, settings) = config::load_settings(global, &args.store.settings())?;
    if args.proposals {
        let proposals = write_offs(&config)?.all().await?;
        if global.json {
            let all: Vec<_> = proposals.iter().map(words::proposal_json).collect();
            return stdout::print(serde_json::to_string_pretty(&all)?);
        }
        return stdout::print(words::proposals(&proposals));
    }
    let engine = sql_session::open(&config, settings).await?;
    let filter = HeldFilter {
        limit: Some(args.limit),
        ..args.choice.filter(args.reason, args.status.status())
    };
    let mut held = read(&engine, &filter).await?;
    let mut rows = Vec::new();
    while let Some(more) = held.next().await? {
        rows.extend(more);
    }
    if global.json {
        let all: Vec<_> = rows.iter().map(words::row_json).collect();
        return stdout::print(serde_json::to_string_pretty(&all)?);
    }
    stdout::print(words::rows(&rows))
}

async fn read(engine: &QueryEngine, filter: &HeldFilter) -> Result<HeldRows, Failure> {
    let pin = engine.pin(None).await?;
    Ok(HeldRows::open(engine, pin, filter).await?)
}

fn write_offs(config: &Config) -> Result<WriteOffs, Failure> {
    let store = tally_aggregate::open_store(&config.store_url(), &config.store.s3_options)?;
    Ok(WriteOffs::new(store))
}

/// What is known now of how the stream will take events.
struct Foresight {
    now_ms: i64,
    future_max_ms: i64,
    horizon_ms: i64,
    /// Rates by the newest approved reference data; none where events are only counted.
    dry_run: Option<DryRun>,
    /// Its prices and weights.
    card: Arc<RateCard>,
    /// Which one that is.
    version: ReferenceVersion,
}

impl Foresight {
    async fn of(config: &Config) -> Result<Self, Failure> {
        let now_ms = reference::now_ms();
        let aggregate = &config.aggregate;
        let whole = reference::open_to_read(config)?.newest_whole().await?;
        let known_at_ms = whole.known_at_ms(now_ms);
        let version = whole.edition.read_at(known_at_ms);
        let card = Arc::new(RateCard::new(&whole.book, Some(known_at_ms)));
        let dry_run = aggregate.rate.then(|| {
            DryRun::new(ReferenceData {
                version: version.clone(),
                card: Arc::clone(&card),
                packages: Arc::new(whole.packages),
            })
        });
        Ok(Self {
            now_ms,
            future_max_ms: aggregate.future_max_ms.cast_signed(),
            horizon_ms: aggregate.dedupe_horizon_days.cast_signed() * 86_400_000,
            dry_run,
            card,
            version,
        })
    }

    /// What would become of a row that is recycled now, and the account that it is of.
    fn look(&mut self, row: &HeldRow) -> (Fate, Option<(String, String)>) {
        if let Recycling::Never(instead) = row.reason.recycling() {
            return (Fate::Never(instead), None);
        }
        let (Some(raw), Some(account), Some(completed_at_ms)) =
            (&row.raw, &row.account, row.completed_at_ms)
        else {
            return (Fate::Never("have the gateway send the event whole"), None);
        };
        let reading = HeldReading::of(raw);
        if reading.is_command {
            return (Fate::Never(SEND_COMMAND_AGAIN), None);
        }
        if completed_at_ms.saturating_sub(self.now_ms) > self.future_max_ms {
            return (Fate::Open("time_in_future: its time has not come".to_owned()), None);
        }
        if self.now_ms.saturating_sub(completed_at_ms) > self.horizon_ms {
            let instead = "it is older than the dedupe horizon: post an adjustment";
            return (Fate::Never(instead), None);
        }
        // The dry run has no buckets, so by it everything is weighed by the default table.
        let lacks_weights = |what: &str| self.card.still_lacks_weights(what);
        if row.reason == SuspenseReason::UnknownWeights
            && self.dry_run.is_some()
            && row.subreason.as_deref().is_some_and(lacks_weights)
        {
            let why = words::why(row.reason.as_str(), row.subreason.as_deref());
            return (Fate::Open(why), None);
        }
        let whole = Some((account.clone(), raw.clone()));
        // The stream reads bytes that are no text; here they are not looked into.
        let Some(dry_run) = self.dry_run.as_mut().filter(|_| reading.is_text) else {
            return (Fate::Recycled(None), whole);
        };
        let rated = dry_run.rate(raw.as_bytes());
        match rated.suspense.as_deref() {
            // Another row of the same event: the stream takes one of them.
            None | Some("duplicate") => {
                let amount = rated.wholesale_currency.zip(rated.wholesale_amount);
                (Fate::Recycled(amount), whole)
            }
            Some(reason) => (Fate::Open(words::why(reason, rated.why.as_deref())), None),
        }
    }
}

/// Waits until the process that has the log rates by an edition, as what it reads before that would
/// be as unknown as it was. Names the partitions that do not yet.
async fn behind(engine: &QueryEngine, edition: u64, config: &Config) -> Result<Vec<u32>, Failure> {
    let patience = Duration::from_millis(2 * config.aggregate.reference_poll_ms) + PATIENCE;
    let began = tokio::time::Instant::now();
    loop {
        let last = engine.ledger().current_last().await?;
        let rated_by = |entry: &LedgerEntry| entry.next_reference.as_ref().map_or(0, |v| v.edition);
        let behind: Vec<u32> = last
            .iter()
            .filter(|stored| rated_by(&stored.entry) < edition)
            .map(|stored| stored.entry.partition)
            .collect();
        if behind.is_empty() || began.elapsed() >= patience {
            return Ok(behind);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

async fn recycle(global: &GlobalArgs, args: RecycleArgs) -> Result<(), Failure> {
    let (config, settings) = config::load_settings(global, &args.place.settings())?;
    let by = person_name(&args.by)
        .ok_or_else(|| Failure::usage("--by needs the name of the person who does this"))?
        .to_owned();
    let engine = sql_session::open(&config, settings).await?;
    let mut foresight = Foresight::of(&config).await?;
    let filter = args.choice.filter(args.reason, Some(HeldStatus::Open));
    let mut held = read(&engine, &filter).await?;
    let log = if args.dry_run { None } else { Some(ResolutionLog::open(&config).await?) };
    let (mut fates, mut chunk) = (Fates::default(), Chunk::default());
    let mut looked = false;
    let mut progress = Progress::new(global, "held-back events", None);
    while let Some(rows) = held.next().await? {
        for row in rows {
            let (fate, whole) = foresight.look(&row);
            fates.count(row.reason, row.model.clone(), fate);
            progress.step();
            if let (Some(log), Some((account, raw))) = (&log, whole) {
                if !looked {
                    looked = true;
                    if !log.announce(&foresight.version).await? {
                        fates.behind = behind(&engine, foresight.version.edition, &config).await?;
                    }
                }
                let HeldRow { position, reason, .. } = row;
                let by = by.clone();
                let record = Recycle { position, reason, account, raw, by };
                chunk.push(Resolution::Recycle(record), log).await?;
            }
        }
    }
    if let Some(log) = &log {
        chunk.flush(log).await?;
    }
    progress.finish();
    if global.json {
        return stdout::print(serde_json::to_string_pretty(&fates.json(args.dry_run))?);
    }
    stdout::print(fates.table(args.dry_run))
}

fn proposed(row: &HeldRow) -> ProposedRow {
    let usage = HeldReading::of(row.raw.as_deref().unwrap_or_default()).usage;
    let counts = TokenClass::ALL.into_iter().filter(|class| usage.get(*class) > 0);
    ProposedRow {
        row: row.position.to_string(),
        reason: row.reason.to_string(),
        at_ms: row.completed_at_ms.unwrap_or(row.first_seen_ms),
        account: row.account.clone(),
        source: row.source.clone(),
        id: row.id.clone(),
        usage: counts.map(|class| (class.name().to_owned(), usage.get(class))).collect(),
    }
}

async fn propose(global: &GlobalArgs, args: WriteOffArgs) -> Result<(), Failure> {
    let filter = args.choice.filter(args.held_for, Some(HeldStatus::Open));
    let everything = HeldFilter { status: Some(HeldStatus::Open), ..HeldFilter::default() };
    if filter == everything {
        let message = "say which: --held-for, --model, --since, --until or --id";
        return Err(Failure::usage(message));
    }
    let (config, settings) = config::load_settings(global, &args.place.settings())?;
    let engine = sql_session::open(&config, settings).await?;
    let mut held = read(&engine, &filter).await?;
    let mut rows = Vec::new();
    while let Some(more) = held.next().await? {
        rows.extend(more.iter().map(proposed));
    }
    let why = args.reason.unwrap_or_default();
    if args.dry_run {
        let sums = words::sums_of(&rows);
        if global.json {
            return stdout::print(serde_json::to_string_pretty(&sums.json())?);
        }
        return stdout::print(format!("would be proposed\n{}", sums.table()));
    }
    let stored = write_offs(&config)?.propose(&args.by, &why, rows, reference::now_ms()).await?;
    tell(global, &stored, "somebody else approves it: tally suspense write-off --approve")
}

async fn approve(global: &GlobalArgs, proposal: u64, args: &WriteOffArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.place.settings())?;
    let offs = write_offs(&config)?;
    if args.dry_run {
        let found = offs.proposal(proposal).await?;
        let found =
            found.ok_or_else(|| Failure::usage(format!("there is no write-off {proposal}")))?;
        return tell(global, &found, "it is looked at, and nothing is approved:");
    }
    // First what can refuse, then the log, then what cannot be taken back.
    let log = ResolutionLog::open(&config).await?;
    let stored = offs.approve(proposal, &args.by, reference::now_ms()).await?;
    let mut chunk = Chunk::default();
    for record in stored.records()? {
        chunk.push(record, &log).await?;
    }
    chunk.flush(&log).await?;
    tell(global, &stored, "is on its way to the stream, and done once that has read it:")
}

fn tell(global: &GlobalArgs, stored: &StoredProposal, next: &str) -> Result<(), Failure> {
    if global.json {
        let mut value = words::proposal_json(stored);
        value["sums"] = json!(words::sums_of(&stored.proposal.rows).json());
        return stdout::print(serde_json::to_string_pretty(&value)?);
    }
    stdout::print(words::proposal(stored, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The dry run has no buckets: whether the table of the row's own is known now is asked by
    /// itself, so that nothing is called recycled that comes back.
    #[test]
    fn usage_that_lacks_its_table_of_weights_still_stays_open() {
        let reference = ReferenceData::shipped().unwrap();
        let completed_at_ms = 1_795_326_157_828;
        let mut foresight = Foresight {
            now_ms: completed_at_ms,
            future_max_ms: 1,
            horizon_ms: 1,
            card: Arc::clone(&reference.card),
            version: reference.version.clone(),
            dry_run: Some(DryRun::new(reference)),
        };
        let mut fate = |reason, what: &str| {
            let raw = r#"{"source":"g","id":"1","account":"A1","model":"glm-5","completed_at":1795326157828,"usage":{"input":1000000}}"#;
            let row = HeldRow {
                position: "0/0/0".parse().unwrap(),
                reason,
                subreason: Some(what.to_owned()),
                raw: Some(raw.to_owned()),
                status: HeldStatus::Open,
                source: Some("g".to_owned()),
                id: Some("1".to_owned()),
                account: Some("A1".to_owned()),
                model: Some("glm-5".to_owned()),
                first_seen_ms: completed_at_ms,
                completed_at_ms: Some(completed_at_ms),
            };
            let (fate, whole) = foresight.look(&row);
            assert_eq!(whole.is_some(), matches!(fate, Fate::Recycled(_)), "{fate:?}");
            fate
        };
        let lacking = "no table of weights night is known";
        let open = Fate::Open(format!("unknown_weights: {lacking}"));
        assert_eq!(fate(SuspenseReason::UnknownWeights, lacking), open);
        let known = "no table of weights coding-plan-example is known";
        let owed = Some(("CNY".to_owned(), "6.000000000000".to_owned()));
        assert_eq!(fate(SuspenseReason::UnknownWeights, known), Fate::Recycled(owed));
        assert!(matches!(fate(SuspenseReason::NoPrice, lacking), Fate::Recycled(_)));
    }
}

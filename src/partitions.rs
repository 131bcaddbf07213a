//! `tally partitions`: gives a stopped stream a topic of another number of partitions.

use std::sync::Arc;

use clap::{Args, Subcommand};
use object_store::ObjectStore;
use serde_json::json;
use tally_aggregate::{
    MovePlan, MoveReport, NoticeTopics, PartitionMove, References, Rehearsal, StreamPlace,
    Surroundings, SystemEdge, decision_of, intent_of, ledger, not_added, stream_of, unread,
};
use tally_log::{EventLog, KafkaLogConfig, LogError, look_at_topic};
use tally_schemas::{Config, MoveOutcome};
use tally_tables::Publisher;

use crate::aggregate::{open_checked_store, open_references};
use crate::cli::{GlobalArgs, PlaceArgs};
use crate::exit::{Failure, FailureKind};
use crate::traces::hearing;
use crate::{config, event_log, stdout};

#[derive(Debug, Subcommand)]
pub(crate) enum PartitionsCommand {
    /// Move the stream to a new topic with another number of partitions, while nothing runs
    ///
    /// Stop everything that writes to the topic and everything that reads it, and run `tally
    /// aggregate --until-end` before. log.topic is the topic that the stream has now. The new one
    /// is made where it is missing. After a crash, run the same command again. In the end set
    /// log.topic to the new topic in every process, and check with `tally verify`.
    Change(ChangeArgs),
    /// Give up a change that was begun and not decided; the stream goes on as it is
    Abandon(AbandonArgs),
}

/// Options of `tally partitions change`.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// The new topic; one that was never used
    #[arg(long, value_name = "NAME")]
    topic: String,
    /// Its partitions
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    to: u32,
    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
    #[command(flatten)]
    place: PlaceArgs,
}

/// Options of `tally partitions abandon`.
#[derive(Debug, Args)]
pub(crate) struct AbandonArgs {
    /// The topic that the stream was to be moved to
    #[arg(long, value_name = "NAME")]
    topic: String,
    #[command(flatten)]
    place: PlaceArgs,
}

pub(crate) async fn run(global: &GlobalArgs, command: PartitionsCommand) -> Result<(), Failure> {
    match command {
        PartitionsCommand::Change(args) => change(global, args).await,
        PartitionsCommand::Abandon(args) => abandon(global, args).await,
    }
}

fn only_kafka(config: &Config) -> Result<(), Failure> {
    if config.log.kafka.is_empty() {
        return Err(Failure::usage(
            "the embedded log keeps its number of partitions: it is of one machine, where more are of no use",
        ));
    }
    Ok(())
}

async fn change(global: &GlobalArgs, args: ChangeArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.place.settings())?;
    only_kafka(&config)?;
    let store = open_checked_store(&config).await?;
    let intent = intent_of(store.as_ref(), &args.topic).await?;
    if let Some(intent) = &intent
        && intent.partition_count != args.to
    {
        return Err(Failure::usage(format!(
            "topic {} was to have {} partitions, not {}",
            args.topic, intent.partition_count, args.to
        )));
    }
    let from_topic = intent.map_or(config.log.topic.clone(), |intent| intent.from_topic);
    let from = stream_of(store.as_ref(), &from_topic).await?;
    if from_topic == args.topic {
        return Err(Failure::usage(format!("the stream has topic {} already", args.topic)));
    }
    let old = open_old(&config, &from, &from_topic).await?;
    let plan = MovePlan {
        from: from.clone(),
        from_topic: from_topic.clone(),
        from_partition_count: old.partition_count(),
        topic: args.topic.clone(),
        partition_count: args.to,
    };
    let mover = mover(&config, &store, plan.clone()).await?;
    if let Some(outcome) = decision_of(store.as_ref(), &args.topic).await? {
        return finish(global, &store, &mover, &plan, (&outcome, None), old).await;
    }
    check_unused(&config, &args.topic, args.to).await?;
    let lasts = mover.lasts().await?;
    let ends = ends_of(Arc::clone(&old)).await?;
    if let Some(words) = unread(&lasts, &ends) {
        return Err(Failure::new(FailureKind::Check, format!("topic {from_topic}: {words}")));
    }
    let budgets = config.budgets.topic.as_str();
    let waiting = not_added(store.as_ref(), budgets, &lasts).await?;
    if !waiting.is_empty() {
        return Err(Failure::new(
            FailureKind::Check,
            format!(
                "budgets of topic {budgets} have not added what partitions {waiting:?} have committed: run `tally aggregate --until-end`, with the budgets.topic that the stream has"
            ),
        ));
    }
    let words = format!(
        "stream {}: topic {from_topic} of {} partitions, read to its end, becomes topic {} of {}",
        from.ledger,
        old.partition_count(),
        args.topic,
        args.to
    );
    if args.dry_run || !args.yes {
        stdout::print(&words)?;
        if args.dry_run {
            return Ok(());
        }
        return Err(Failure::usage("nothing was done: say --yes where nothing runs any more"));
    }
    tell(&words);
    let new = event_log::open_successor(&config, &args.topic, args.to).await?;
    if new.partition_count() != args.to {
        return Err(Failure::usage(format!(
            "topic {} has {} partitions, not {}",
            args.topic,
            new.partition_count(),
            args.to
        )));
    }
    mover.intend().await?;
    tell("intended: nothing begins with the new topic by itself");
    let frozen = mover.freeze(&ends).await?;
    tell(&format!("frozen: {} partitions, no process of before commits any more", frozen.len()));
    let mut publisher =
        Publisher::new(Arc::clone(&store), from.ledger.clone(), old.partition_count())
            .across_counts(from.log.is_some());
    publisher.publish_committed().await?;
    let waiting = not_added(store.as_ref(), budgets, &frozen).await?;
    if !waiting.is_empty() {
        return Err(Failure::new(
            FailureKind::Check,
            format!(
                "a process went on until now, and budgets have not added what partitions {waiting:?} have committed: `tally partitions abandon`, then `tally aggregate --until-end`"
            ),
        ));
    }
    // All that can be missing, damaged or too much for this machine shows before the decision.
    let rehearsal = mover.rehearse(frozen).await.map_err(|error| {
        Failure::from(error).while_doing(format!(
            "nothing is decided yet: put right what follows and run this again, or give it up with `tally partitions abandon --topic {}`",
            args.topic
        ))
    })?;
    tell("rehearsed: the new partitions' states are whole");
    let ends = ends_of(Arc::clone(&old)).await?;
    let outcome = mover.decide(&rehearsal, &ends).await?;
    finish(global, &store, &mover, &plan, (&outcome, Some(rehearsal)), old).await
}

/// Carries out what was decided, and says what is to be done then.
async fn finish(
    global: &GlobalArgs,
    store: &Arc<dyn ObjectStore>,
    mover: &PartitionMove,
    plan: &MovePlan,
    (outcome, rehearsal): (&MoveOutcome, Option<Rehearsal>),
    old: Arc<dyn EventLog>,
) -> Result<(), Failure> {
    let MoveOutcome::Continues { first_offset, ends, .. } = outcome else {
        return Err(Failure::usage(format!(
            "the move to topic {} was given up: take another topic",
            plan.topic
        )));
    };
    tell("decided: the stream goes on with the new topic, there is no way back");
    let MoveReport { partitions, state_bytes, segments } =
        mover.carry_out(outcome, rehearsal).await?;
    let later = mover.later_topic().await?;
    // What came into the old topic since is counted nowhere.
    let mut late = 0_u64;
    for ((partition, end), log_end) in (0_u32..).zip(ends).zip(ends_of(old).await?) {
        let Some(end) = end else { continue };
        let ledger = &plan.from.ledger;
        let entry = ledger::read_entry(store.as_ref(), ledger, partition, end.n).await?;
        let to = entry.map_or(log_end, |stored| stored.entry.to);
        late = late.saturating_add(log_end.saturating_sub(to));
    }
    if global.json {
        stdout::print(json!({
            "topic": plan.topic, "partitions": plan.partition_count, "moved": partitions,
            "state_bytes": state_bytes, "segments": segments, "first_offset": first_offset,
            "late_records": late,
        }))?;
    } else {
        let next = match later {
            None => format!(
                "now set log.topic to {} everywhere, start, and run `tally verify`",
                plan.topic
            ),
            Some(later) => format!("the stream has gone on since: log.topic is {later} now"),
        };
        stdout::print(format!(
            "moved: {partitions} partitions ({state_bytes} bytes of state, {segments} segments), the others had been\n\
             topic {} has {} partitions; its offset 0 is counted as {first_offset}\n\
             {next}",
            plan.topic, plan.partition_count
        ))?;
    }
    if late > 0 {
        return Err(Failure::new(
            FailureKind::Check,
            format!(
                "{late} records came into topic {} after it was frozen, and are counted nowhere: find who writes there, and send them again",
                plan.from_topic
            ),
        ));
    }
    Ok(())
}

async fn abandon(global: &GlobalArgs, args: AbandonArgs) -> Result<(), Failure> {
    let config = config::load(global, &args.place.settings())?;
    only_kafka(&config)?;
    let store = open_checked_store(&config).await?;
    let intent = intent_of(store.as_ref(), &args.topic)
        .await?
        .ok_or_else(|| Failure::usage(format!("nothing was begun with topic {}", args.topic)))?;
    let from = stream_of(store.as_ref(), &intent.from_topic).await?;
    let mover = mover(&config, &store, MovePlan::of_intent(&intent, from)).await?;
    mover.abandon().await?;
    stdout::print(format!(
        "given up: the stream goes on with topic {}; topic {} cannot be taken again",
        intent.from_topic, intent.topic
    ))
}

async fn mover(
    config: &Config,
    store: &Arc<dyn ObjectStore>,
    plan: MovePlan,
) -> Result<PartitionMove, Failure> {
    let edge = Arc::new(SystemEdge { address: None, traces: hearing(None) });
    let notices = NoticeTopics::default();
    let surroundings = Surroundings { store: Arc::clone(store), edge, notices };
    let references = Arc::new(open_references(&surroundings).await?) as Arc<dyn References>;
    Ok(PartitionMove::new(surroundings, config.aggregate.clone(), references, plan))
}

fn kafka_of(config: &Config, topic: &str) -> KafkaLogConfig {
    let mut asked = KafkaLogConfig::new(&config.log.kafka, topic, &config.log.group);
    asked.options = config.log.kafka_options.clone();
    asked
}

/// Partitions of a topic; none where there is no such topic.
async fn partitions_of(config: &Config, topic: &str) -> Result<Option<usize>, Failure> {
    let asked = kafka_of(config, topic);
    let look = tokio::task::spawn_blocking(move || look_at_topic(asked));
    let look = look.await.map_err(|error| Failure::internal(error.to_string()))??;
    Ok(look.topic.map(|facts| facts.partitions))
}

/// The topic that the stream has, which is never made here.
async fn open_old(
    config: &Config,
    from: &StreamPlace,
    topic: &str,
) -> Result<Arc<dyn EventLog>, Failure> {
    if partitions_of(config, topic).await?.is_none() {
        return Err(Failure::usage(format!(
            "there is no topic {topic}: log.topic is the one that the stream has now"
        )));
    }
    let log = event_log::open_successor(config, topic, config.log.partitions).await?;
    Ok(event_log::of_stream(from, log))
}

/// The new topic must be empty, where it is there.
async fn check_unused(config: &Config, topic: &str, to: u32) -> Result<(), Failure> {
    let Some(count) = partitions_of(config, topic).await? else { return Ok(()) };
    if u32::try_from(count) != Ok(to) {
        return Err(Failure::usage(format!("topic {topic} has {count} partitions, not {to}")));
    }
    let log = event_log::open_successor(config, topic, to).await?;
    if ends_of(log).await?.iter().any(|end| *end > 0) {
        return Err(Failure::usage(format!(
            "topic {topic} was used: its first record must be of this stream, after the change"
        )));
    }
    Ok(())
}

async fn ends_of(log: Arc<dyn EventLog>) -> Result<Vec<u64>, Failure> {
    // Blocks: a round trip a partition.
    let asked = tokio::task::spawn_blocking(move || {
        (0..log.partition_count())
            .map(|partition| log.bounds(partition).map(|bounds| bounds.end))
            .collect::<Result<Vec<u64>, LogError>>()
    });
    Ok(asked.await.map_err(|error| Failure::internal(error.to_string()))??)
}

/// Progress, beside the result.
fn tell(words: &str) {
    eprintln!("{words}");
}

//! The second stage over the ledgers of a simulated run: relays and owners that crash, freeze, wake
//! up as zombies and overlap, over a store that misbehaves and a topic that loses replies, repeats
//! and forgets. Afterwards the sums are what the gateways meant, by the oracle, and each alert is
//! there once.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::Int64Type;
use bytes::Bytes;
use futures::future::{Either, select};
use parking_lot::Mutex;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tally_budget::BudgetBook;
use tally_log::{Appended, Bounds, LogError, LogProducer, Outgoing, Record, RecordKind};
use tally_schemas::{AggregateConfig, AlertMessage, BUDGET_KINDS, LedgerEntry, TokenClass};

use super::executor::{Actors, run_alone};
use super::faulty_store::store_of;
use super::invariants::{Objects, check_ledger};
use super::oracle::{Sum, truth_of};
use super::plan::{Faults, Plan};
use super::replay;
use super::scenario::{Finished, run};
use super::schedule::Schedule;
use super::simulated_alerts::SimulatedAlerts;
use super::straight_run::straight_run;
use super::world::{SimulatedEdge, World};
use crate::core::PartitionConfig;
use crate::epoch_files::object_path;
use crate::error::{AggregateError, ErrorKind};
use crate::models::{BudgetOwner, Relay, StageConfig, stored_stage};
use crate::notice_topic::NoticeTopics;
use crate::owner::Surroundings;
use crate::planted::{Bug, plant};
use crate::stream_status::StreamStatus;

/// Seeds of `make test`.
const SEEDS: u64 = 300;
/// Polls after which a run counts as stuck (I14).
const POLLS_MAX: u64 = 60_000;

/// The topic of increments.
#[derive(Clone)]
struct SimulatedTopic {
    world: World,
    records: Arc<Mutex<Vec<Bytes>>>,
    calm: bool,
}

impl SimulatedTopic {
    fn bounds(&self) -> Bounds {
        Bounds { start: 0, end: self.records.lock().len() as u64 }
    }
}

impl LogProducer for SimulatedTopic {
    fn append(&self, record: Outgoing) -> Appended {
        let topic = self.clone();
        Box::pin(async move {
            topic.world.sleep(topic.world.draw(0..8)).await;
            let store = || {
                let mut records = topic.records.lock();
                records.push(record.value.clone());
                Ok(records.len() as u64 - 1)
            };
            let failed = || Err(LogError::Retry("simulated".to_owned()));
            match if topic.calm { 99 } else { topic.world.draw(0..40) } {
                0 => failed(),
                // The reply is lost.
                1 => store().and_then(|_| failed()),
                2 => store().and_then(|_| store()),
                // Acknowledged, and lost by the election of a replica that lagged.
                3 => Ok(0),
                // Of an earlier life of the topic, or of nobody.
                4 => {
                    topic.records.lock().push(Bytes::from_static(b"not an increment"));
                    store()
                }
                _ => store(),
            }
        })
    }

    fn flush(&self, _: Duration) -> Result<(), LogError> {
        Ok(())
    }
}

#[derive(Clone)]
struct Site {
    world: World,
    surroundings: Surroundings,
    config: StageConfig,
    book: Arc<BudgetBook>,
    topic: SimulatedTopic,
    partitions: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Relay,
    Owner,
}

/// Sends every epoch there is, a few at a time.
async fn run_relay(site: Site) -> Result<(), AggregateError> {
    let producer = Arc::new(site.topic.clone());
    let mut relay = Relay::new(site.surroundings.clone(), site.config.clone(), producer);
    let mut known = 0;
    loop {
        known += site.world.draw(1..5);
        let mut sent = 0;
        for partition in 0..site.partitions {
            let mut attempt = 0;
            loop {
                match relay.send_next(partition, Some(known)).await {
                    Err(error) if error.kind() == ErrorKind::Retry => {
                        attempt += 1;
                        site.surroundings.edge.pause(attempt, &error).await;
                    }
                    Ok(true) => sent += 1,
                    other => {
                        other?;
                        break;
                    }
                }
            }
        }
        if sent == 0 && known > 400 {
            return Ok(());
        }
        site.world.sleep(site.world.draw(0..40)).await;
    }
}

/// Adds until the topic has no more, and commits, while its alerts go out.
async fn run_owner(mut site: Site, until_idle: u64) -> Result<(), AggregateError> {
    let alerts = SimulatedAlerts::new(&site.world, &site.config.topic, 0);
    site.surroundings.notices = NoticeTopics { alerts: Some(alerts.clone()), statuses: None };
    let status = StreamStatus::default();
    let (owner, courier) = loop {
        let bounds = site.topic.bounds();
        let book = Arc::clone(&site.book);
        match BudgetOwner::take(&site.surroundings, &site.config, book, bounds, &status).await {
            // Older than what another one read meanwhile.
            Err(AggregateError::Truncated { committed, .. })
                if bounds.end < committed && site.topic.bounds().end >= committed => {}
            taken => break taken?,
        }
    };
    alerts.owned_by(&owner.last().owner);
    let run = pin!(add_all(site, owner, until_idle));
    match select(run, courier).await {
        Either::Left((ended, _)) => ended,
        // It has failed, which the owner sees.
        Either::Right(((), run)) => run.await,
    }
}

async fn add_all(
    site: Site,
    mut owner: BudgetOwner,
    until_idle: u64,
) -> Result<(), AggregateError> {
    let mut idle = 0;
    while idle < until_idle || owner.has_uncommitted() {
        let max = usize::try_from(site.world.draw(1..6)).unwrap();
        let from = owner.next_offset();
        let read: Vec<Bytes> = {
            let records = site.topic.records.lock();
            let skip = usize::try_from(from).unwrap();
            records.iter().skip(skip).take(max).cloned().collect()
        };
        idle = if read.is_empty() { idle + 1 } else { 0 };
        for (offset, value) in (from..).zip(read) {
            let record = Record {
                offset,
                timestamp_ms: 0,
                key: None,
                value: Some(&value),
                kind: RecordKind::Single,
            };
            let mut attempt = 0;
            while let Err(error) = owner.push(record).await {
                if error.kind() != ErrorKind::Retry {
                    return Err(error);
                }
                attempt += 1;
                site.surroundings.edge.pause(attempt, &error).await;
            }
        }
        if owner.has_uncommitted() && site.world.once_in(3) {
            owner.commit().await?;
        }
        site.world.sleep(site.world.draw(0..30)).await;
    }
    Ok(())
}

/// Budgets around what a run comes to.
fn book(total: &Sum, percent: u64) -> Arc<BudgetBook> {
    let tokens: i128 = TokenClass::ALL
        .into_iter()
        .filter(|class| class.in_total())
        .map(|class| total.counts[class.index()])
        .sum();
    let of = |count: i128| (count * i128::from(percent) / 100).max(1);
    let head = "title = \"t\"\ntitle_en = \"t\"\nsource = \"test\"\nknown_from = \"1970-01-01\"\n\
                approved_by = \"a\"\napproved_at = \"1970-01-01\"\nvalid_from = \"1970-01-01\"\n\
                thresholds = [10, 25, 50, 75, 100, 150]\n";
    let text = format!(
        "[[budget]]\nid = \"tokens\"\nkind = \"commitment\"\nperiod = \"once\"\n\
         valid_to = \"2999-01-01\"\ntokens = {}\n{head}\
         [[budget]]\nid = \"day\"\nkind = \"budget\"\nperiod = \"day\"\npoints_micro = {}\n{head}",
        of(tokens),
        of(total.points_micro),
    );
    Arc::new(BudgetBook::from_toml(&text).unwrap())
}

fn day_text(at_ms: i64) -> String {
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
    jiff::Timestamp::from_millisecond(at_ms).unwrap().to_zoned(zone).date().to_string()
}

/// Day, model, vendor, supplier, and the currencies.
type CellKey = [String; 6];

/// What the oracle says by model and day.
fn expected_cells(finished: &Finished) -> BTreeMap<CellKey, Sum> {
    let mut cells: BTreeMap<CellKey, Sum> = BTreeMap::new();
    for site in &finished.sites {
        let objects = site.world.inside().objects.clone();
        let entries = check_ledger(&objects, &site.config).unwrap();
        let schedule = Schedule::of(&site.log, &entries, &site.approvals).unwrap();
        let straight = straight_run(&site.log, &site.config, &schedule);
        let truth = truth_of(&site.log, &site.config.aggregate, &schedule, &straight.retail);
        for ((start_ms, _, keys), sum) in &truth.by_model {
            let text = |at: usize| keys[at].clone().unwrap_or_default();
            let key = [day_text(*start_ms), text(0), text(1), text(2), text(6), text(7)];
            cells.entry(key).or_default().merge(sum);
        }
    }
    cells
}

fn stored_cells(
    cells: &BTreeMap<tally_schemas::ModelDay, tally_schemas::ModelSums>,
) -> BTreeMap<CellKey, Sum> {
    let cell = |(of, sums): (&tally_schemas::ModelDay, &tally_schemas::ModelSums)| {
        let code =
            |c: Option<tally_schemas::Currency>| c.map(|c| c.to_string()).unwrap_or_default();
        let key = [
            of.day.to_string(),
            of.model.clone(),
            of.vendor.clone(),
            of.supplier.clone(),
            code(of.retail_currency),
            code(of.wholesale_currency),
        ];
        let sum = Sum {
            events: i64::try_from(sums.events).unwrap(),
            counts: sums.usage,
            points_micro: sums.points_micro,
            wholesale_pico: sums.wholesale_pico,
            retail_pico: sums.retail_pico,
        };
        (key, sum)
    };
    cells.iter().map(cell).collect()
}

/// A row of `alerts`: id, budget, threshold, superseded by.
type AlertRow = (String, String, i64, Option<String>);

/// Rows of `alerts` that the ledger lists.
fn alert_rows(objects: &Objects, entries: &[LedgerEntry]) -> Result<Vec<AlertRow>, String> {
    let mut rows = Vec::new();
    for entry in entries {
        for file in &entry.files {
            let bytes = objects.get(&object_path(file)).ok_or("I10: a file is missing")?;
            let reader = ParquetRecordBatchReaderBuilder::try_new(bytes.clone())
                .and_then(ParquetRecordBatchReaderBuilder::build)
                .map_err(|error| error.to_string())?;
            for batch in reader {
                let batch = batch.map_err(|error| error.to_string())?;
                let text = |name: &str, row: usize| {
                    let column = batch.column_by_name(name).unwrap().as_string::<i32>();
                    column.is_valid(row).then(|| column.value(row).to_owned())
                };
                let number = |name: &str, row: usize| {
                    batch.column_by_name(name).unwrap().as_primitive::<Int64Type>().value(row)
                };
                for row in 0..batch.num_rows() {
                    let epochs = ["epoch", "emitted_epoch"].map(|name| number(name, row));
                    if epochs.iter().any(|epoch| u64::try_from(*epoch) != Ok(entry.n)) {
                        return Err("I10: a row of another epoch".to_owned());
                    }
                    rows.push((
                        text("id", row).unwrap_or_default(),
                        text("package", row).unwrap_or_default(),
                        number("threshold", row),
                        text("superseded_by", row),
                    ));
                }
            }
        }
    }
    Ok(rows)
}

/// The topic of alerts has each alert that is not superseded once, but for zombies, who may repeat
/// what others send (I7).
fn check_sent(site: &Site, rows: &[(String, String, i64, Option<String>)]) -> Result<(), String> {
    let due: BTreeSet<&str> =
        rows.iter().filter(|row| row.3.is_none()).map(|row| row.0.as_str()).collect();
    let mut sent: BTreeMap<String, (Bytes, u64)> = BTreeMap::new();
    for record in &site.world.inside().alerts {
        let message: AlertMessage = serde_json::from_slice(&record.value).unwrap();
        if !BUDGET_KINDS.contains(&message.kind.as_str()) {
            continue;
        }
        if !due.contains(message.id.as_str()) {
            return Err(format!("I7: alert {} should not have been sent", message.id));
        }
        let (value, by_owners) = sent.entry(message.id).or_insert((record.value.clone(), 0));
        if *value != record.value {
            return Err(format!("I7: an alert went out as {value:?} and as {:?}", record.value));
        }
        *by_owners += u64::from(!record.by_zombie);
    }
    if let Some((id, _)) = sent.iter().find(|(_, (_, by_owners))| *by_owners > 1) {
        return Err(format!("I7: alert {id} was sent twice by owners"));
    }
    match due.iter().find(|id| !sent.contains_key(**id)) {
        None => Ok(()),
        Some(id) => Err(format!("I7: alert {id} was never sent")),
    }
}

#[derive(Debug, Default)]
struct Reach {
    alerts: usize,
    entries: usize,
    fenced: usize,
    records: usize,
}

struct Staged {
    site: Site,
    finished: Finished,
    total: Sum,
    percent: u64,
}

fn staged(seed: u64) -> Result<Staged, String> {
    let finished = run(seed, false)?;
    let expected = expected_cells(&finished);
    let mut total = Sum::default();
    for sum in expected.values() {
        total.merge(sum);
    }
    let plan = Plan::of(!seed);
    let world = World::new(seed ^ 0xb0d6_e75a, plan.faults, false);
    let (objects, alerts) = {
        let inside = finished.world.inside();
        (inside.objects.clone(), inside.alerts.clone())
    };
    world.begin_with(objects, (alerts, Vec::new()));
    let edge = Arc::new(SimulatedEdge(world.clone()));
    let notices = NoticeTopics::default();
    let surroundings = Surroundings { store: store_of(&world), edge, notices };
    let percent = world.draw(60..130);
    let site = Site {
        surroundings,
        config: StageConfig {
            source_topic: "usage".to_owned(),
            topic: "models".to_owned(),
            retention_ms: AggregateConfig::default().retention_ms,
        },
        book: book(&total, percent),
        topic: SimulatedTopic { world: world.clone(), records: Arc::default(), calm: false },
        partitions: u32::try_from(finished.sites.len()).unwrap(),
        world,
    };
    Ok(Staged { site, finished, total, percent })
}

/// Runs a seed. A bug is planted for this stage alone, or for what the partitions' entries say.
fn run_stage(seed: u64, bug: Option<Bug>) -> Result<Reach, String> {
    plant(bug.filter(|bug| *bug == Bug::IncrementsByUtcDay));
    let staged = staged(seed);
    plant(bug);
    let Staged { mut site, finished, total, percent } = staged?;
    let world = site.world.clone();
    let mut actors: Actors<Role, Result<(), AggregateError>> = Actors::new(&world);
    let mut reach = Reach::default();
    let mut disturbances = world.draw(0..10);
    // Until relays and owners have come to an end, with everything going wrong.
    let mut done = [false, false];
    while done != [true, true] {
        if actors.polls > POLLS_MAX {
            return Err(format!("I14: not done after {POLLS_MAX} polls"));
        }
        let tick = world.tick();
        if disturbances > 0 && world.once_in(80) && !actors.alive.is_empty() {
            disturbances -= 1;
            let chosen = usize::try_from(world.draw(0..actors.alive.len() as u64)).unwrap();
            match world.draw(0..6) {
                0..3 => drop(actors.alive.remove(chosen)),
                3 | 4 => actors.alive[chosen].stopped_until = tick + world.draw(50..1_500),
                _ => world.inside().faults.down_until = tick + world.draw(10..250),
            }
        }
        for (at, role) in [Role::Relay, Role::Owner].into_iter().enumerate() {
            let awake = actors.alive.iter().any(|a| a.tag == role && a.stopped_until <= tick);
            if !awake && !done[at] {
                match role {
                    Role::Relay => actors.start(role, run_relay(site.clone())),
                    Role::Owner => actors.start(role, run_owner(site.clone(), 6)),
                }
            }
        }
        let stuck = |_| "I14: relays and owners wait, and nothing can happen".to_owned();
        let Some((role, ended)) = actors.step().map_err(stuck)? else { continue };
        match ended {
            Ok(()) => done[usize::from(role == Role::Owner)] = true,
            Err(error) if error.kind() == ErrorKind::Fenced => reach.fenced += 1,
            Err(error) if error.kind() == ErrorKind::Retry => {}
            Err(error) => return Err(format!("I12: {role:?} stopped: {error}")),
        }
    }
    // A calm end: a new relay sends what was not added, a new owner adds it.
    drop(actors);
    world.inside().faults = Faults { latency_max: 2, ..Faults::default() };
    site.topic.calm = true;
    let sent = run_alone(&world, run_relay(site.clone()));
    sent.map_err(|error| format!("I12: the last relay: {error}"))?;
    let added = run_alone(&world, run_owner(site.clone(), 2));
    added.map_err(|error| format!("I12: the last owner: {error}"))?;
    while let Some(tick) = world.next_due() {
        world.skip_to(tick);
    }
    reach.records = site.topic.records.lock().len();
    check(&site, &finished, (&total, percent), reach)
}

fn check(
    site: &Site,
    finished: &Finished,
    (total, percent): (&Sum, u64),
    mut reach: Reach,
) -> Result<Reach, String> {
    let objects = site.world.inside().objects.clone();
    let config = PartitionConfig {
        topic: site.config.topic.clone(),
        partition: 0,
        partition_count: 1,
        log: None,
        aggregate: AggregateConfig::default(),
    };
    let entries = check_ledger(&objects, &config)?;
    let last = entries.last().ok_or("I14: the ledger is empty")?.clone();
    let (at, entry) = (site.clone(), last.clone());
    let stage = run_alone(&site.world, async move {
        stored_stage(at.surroundings.store.as_ref(), at.book, &entry).await
    });
    let stage = stage.map_err(|error| format!("I12: recovery: {error}"))?;
    let (found, expected) = (stored_cells(stage.cells()), expected_cells(finished));
    if found != expected {
        return Err(format!("the sums are {found:?}, expected {expected:?}"));
    }
    for source in &last.sources {
        let partition = &finished.sites[source.partition as usize].config;
        let end = check_ledger(&objects, partition)?.len() as u64;
        if (source.first, source.next) != (0, end) {
            return Err(format!("I14: {source:?}, the ledger has {end} entries"));
        }
    }
    let rows = alert_rows(&objects, &entries)?;
    let ids: BTreeSet<&String> = rows.iter().map(|row| &row.0).collect();
    if ids.len() != rows.len() {
        return Err(format!("I7: an alert is there twice: {rows:?}"));
    }
    if rows.iter().any(|row| row.3.as_ref().is_some_and(|by| !ids.contains(by))) {
        return Err("I7: an alert is superseded by one that is not there".to_owned());
    }
    check_sent(site, &rows)?;
    // The commitment is never over: what the whole comes to is reached, whatever the order. What was
    // reached before something was taken back was told too.
    let told: BTreeSet<i64> =
        rows.iter().filter(|row| row.1 == "tokens").map(|row| row.2).collect();
    let tokens: i128 = TokenClass::ALL
        .into_iter()
        .filter(|class| class.in_total())
        .map(|class| total.counts[class.index()])
        .sum();
    let limit = (tokens * i128::from(percent) / 100).max(1);
    let reached: BTreeSet<i64> = [10, 25, 50, 75, 100, 150]
        .into_iter()
        .filter(|threshold| tokens * 100 >= limit * i128::from(*threshold))
        .collect();
    let as_reached =
        if finished.reach.corrected == 0 { told == reached } else { told.is_superset(&reached) };
    if !as_reached {
        return Err(format!("I7: thresholds {told:?} were told, {reached:?} are reached"));
    }
    reach.alerts = rows.len();
    reach.entries = entries.len();
    Ok(reach)
}

#[test]
fn budgets_hold() {
    let hold = |seed| {
        let held =
            replay::hold("simulation::budgets::budgets_hold", seed, || run_stage(seed, None));
        held.unwrap_or_else(|broken| panic!("{broken}"))
    };
    if let Some(seed) = replay::replayed_seed() {
        println!("seed {seed} holds: {:?}", hold(seed));
        return;
    }
    let mut all = Reach::default();
    for seed in 0..SEEDS {
        let reach = hold(seed);
        all.alerts += reach.alerts;
        all.entries += reach.entries;
        all.fenced += reach.fenced;
        all.records += reach.records;
    }
    println!("{SEEDS} seeds hold: {all:?}");
    let least = usize::try_from(SEEDS).unwrap();
    assert!(all.alerts > 2 * least && all.fenced > least / 20, "the runs reach little: {all:?}");
}

/// What an owner of a partition and that of the second stage have in common, as waiting for the
/// topic of alerts, is planted in the partition's simulation.
#[test]
fn every_planted_bug_of_budgets_is_caught() {
    let bugs = [
        Bug::IncrementsByUtcDay,
        Bug::PositionsOneEpochOld,
        Bug::FenceSkipped,
        Bug::ClaimSkipped,
        Bug::AlertsNotReadBack,
        Bug::AlertIdWithClock,
        Bug::LostReplySentAgain,
    ];
    let mut missed = Vec::new();
    for bug in bugs {
        let found = (0..SEEDS).find_map(|seed| {
            let broken = match catch_unwind(AssertUnwindSafe(|| run_stage(seed, Some(bug)))) {
                Ok(run) => run.err(),
                Err(_) => Some("a panic".to_owned()),
            };
            plant(None);
            broken.map(|broken| (seed, broken))
        });
        match found {
            Some((seed, broken)) => {
                println!("{bug:?}: seed {seed}: {}", broken.chars().take(110).collect::<String>());
            }
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "{missed:?} are not caught in {SEEDS} seeds");
}

//! Logs with repeats and gaps, read by a stage that is restarted again and again from what it
//! stored, against what the events come to.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tally_schemas::{ShanghaiDay, SourcePosition};

use super::world::{MeantAlert, Scenario};
use crate::{BudgetAlert, BudgetBook, BudgetStage, Bug, Taken, Told, Untaken, plant};

/// What is durable: the objects that a ledger entry names, and what the entry says.
#[derive(Debug, Clone, Default)]
struct Stored {
    objects: Vec<Vec<u8>>,
    sources: Vec<SourcePosition>,
    watermark_ms: Option<i64>,
    /// Place in the log.
    next: usize,
    rows: Vec<BudgetAlert>,
}

impl Stored {
    fn stage(&self, book: &Arc<BudgetBook>) -> BudgetStage {
        let objects = self.objects.iter().map(Vec::as_slice);
        BudgetStage::restored(Arc::clone(book), objects, &self.sources, self.watermark_ms).unwrap()
    }
}

/// Offers an epoch, and the missing ones before it.
fn take(
    stage: &mut BudgetStage,
    scenario: &Scenario,
    partition: u32,
    epoch: u64,
) -> Vec<BudgetAlert> {
    let mut alerts = Vec::new();
    let mut told = Told::ByTopic;
    loop {
        match stage.take(&scenario.message(partition, epoch), told) {
            Ok(Taken::Added(more)) => {
                alerts.extend(more);
                return alerts;
            }
            Ok(Taken::Repeated) => return alerts,
            Err(Untaken::Gap { next: None, .. }) => {
                stage.begin(partition, scenario.floors[partition as usize]);
            }
            Err(Untaken::Unchained { .. }) if told == Told::ByTopic => told = Told::ByLedger,
            Err(Untaken::Gap { next: Some(next), .. }) => {
                alerts.extend(take(stage, scenario, partition, next));
            }
            Err(other) => panic!("{other}"),
        }
    }
}

fn meant(alert: &BudgetAlert) -> MeantAlert {
    (
        alert.budget.clone(),
        ShanghaiDay::of_instant(alert.period_start_ms).to_string(),
        alert.threshold,
        alert.superseded_by.is_none(),
        alert.used_micro,
        alert.allowance_micro,
    )
}

fn run(seed: u64) -> Result<usize, String> {
    let scenario = Scenario::of(seed);
    let book = Arc::new(BudgetBook::from_toml(&scenario.budgets_toml).map_err(|e| e.to_string())?);
    let mut random = ChaCha8Rng::seed_from_u64(!seed);
    let mut durable = Stored::default();
    let mut stage = durable.stage(&book);
    let mut open = durable.clone();
    // Every alert that went out, with repeats: before what it follows from was durable.
    let mut out: BTreeMap<String, BTreeSet<MeantAlert>> = BTreeMap::new();
    let mut crashes = random.random_range(0..12);
    while durable.next < scenario.log.len() {
        if open.next < scenario.log.len() {
            let (partition, epoch) = scenario.log[open.next];
            let alerts = take(&mut stage, &scenario, partition, epoch);
            for alert in &alerts {
                out.entry(alert.id.clone()).or_default().insert(meant(alert));
            }
            open.rows.extend(alerts);
            open.next += 1;
        }
        if crashes > 0 && random.random_ratio(1, 10) {
            crashes -= 1;
            open = durable.clone();
            stage = durable.stage(&book);
        } else if open.next == scenario.log.len() || random.random_ratio(1, 5) {
            if open.objects.is_empty() || random.random_ratio(1, 4) {
                open.objects = vec![stage.base().unwrap()];
            } else {
                open.objects.push(stage.delta().unwrap());
            }
            stage.settle();
            open.sources = stage.sources();
            open.watermark_ms = stage.watermark_ms();
            durable = open.clone();
        }
    }
    let (alerts, used) = scenario.expected();
    let rows: Vec<MeantAlert> = durable.rows.iter().map(meant).collect();
    if rows != alerts {
        return Err(format!("alerts {rows:?}, expected {alerts:?}"));
    }
    let ids: BTreeSet<&String> = durable.rows.iter().map(|row| &row.id).collect();
    if ids.len() != rows.len() || ids != out.keys().collect() {
        return Err("the ids of alerts are not the same in every replay".to_owned());
    }
    if let Some((id, _)) = out.iter().find(|(_, said)| said.len() > 1) {
        return Err(format!("alert {id} went out with two contents"));
    }
    let standings = durable.stage(&book);
    let standings = standings.standings(i64::MAX / 2);
    let found: BTreeMap<(String, String), i128> = standings
        .iter()
        .filter(|standing| standing.used != 0)
        .map(|s| ((s.budget.version.id.clone(), s.span.from.to_string()), s.used))
        .collect();
    if found != used {
        return Err(format!("used {found:?}, expected {used:?}"));
    }
    Ok(rows.len())
}

/// Runs a seed. One that fails, by a panic too, says so with the command that runs it again.
fn hold(seed: u64, run: impl FnOnce(u64) -> Result<usize, String>) -> Result<usize, String> {
    let broken = match catch_unwind(AssertUnwindSafe(|| run(seed))) {
        Ok(Ok(alerts)) => return Ok(alerts),
        Ok(Err(broken)) => broken,
        Err(_) => "the panic above".to_owned(),
    };
    Err(format!(
        "seed {seed}: {broken}\nreplay: TALLY_SEED={seed} cargo test -p tally-budget -p tally-deps {TEST} -- --exact --nocapture"
    ))
}

/// The test that a seed is replayed by.
const TEST: &str = "tests::seeds::alerts_and_sums_are_what_the_events_come_to";

#[expect(clippy::disallowed_methods, reason = "a person says which seed to run")]
fn replayed_seed() -> Option<u64> {
    std::env::var("TALLY_SEED").ok().map(|seed| seed.parse().expect("a whole number"))
}

#[test]
fn what_breaks_names_its_seed_and_how_to_see_it_again() {
    let both: [fn(u64) -> Result<usize, String>; 2] =
        [|_| Err("I7".to_owned()), |seed| panic!("of seed {seed}")];
    for breaks in both {
        let broken = hold(7, breaks).unwrap_err();
        assert!(broken.starts_with("seed 7: "), "{broken}");
        assert!(broken.contains("replay: TALLY_SEED=7 cargo test -p tally-budget "), "{broken}");
    }
}

#[test]
fn alerts_and_sums_are_what_the_events_come_to() {
    let hold = |seed| hold(seed, run).unwrap_or_else(|broken| panic!("{broken}"));
    if let Some(seed) = replayed_seed() {
        println!("seed {seed} holds, {} alerts", hold(seed));
        return;
    }
    let mut alerts = 0;
    for seed in 0..600 {
        alerts += hold(seed);
    }
    println!("600 seeds hold, {alerts} alerts");
    assert!(alerts > 600, "the scenarios reach next to nothing: {alerts} alerts");
}

#[test]
fn every_planted_bug_is_caught() {
    for bug in Bug::ALL {
        plant(Some(bug));
        let found = (0..600).find_map(|seed| {
            // A planted bug may also trip an assertion of the code under test.
            match catch_unwind(AssertUnwindSafe(|| run(seed))) {
                Ok(run) => run.err(),
                Err(_) => Some("a panic".to_owned()),
            }
            .map(|broken| (seed, broken))
        });
        plant(None);
        let Some((seed, broken)) = found else { panic!("{bug:?} is not caught in 600 seeds") };
        println!("{bug:?}: seed {seed}: {}", broken.chars().take(100).collect::<String>());
    }
}

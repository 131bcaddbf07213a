//! A seed's events, the epochs that they came in, a log of these with repeats and gaps, and what
//! must come of it, computed from the events alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tally_schemas::{
    CLASS_COUNT, Currency, EpochIncrements, ModelDay, ModelIncrement, ModelSums, TokenClass,
};

const PICO_OF_MICRO: i128 = 1_000_000;

/// One model call.
#[derive(Debug, Clone)]
pub(super) struct Call {
    completed_at_ms: i64,
    model: &'static str,
    vendor: &'static str,
    currency: &'static str,
    tokens: u64,
    points_micro: i128,
    retail_pico: i128,
    wholesale_pico: i128,
}

/// An epoch as it was meant.
#[derive(Debug, Clone)]
pub(super) struct MeantEpoch {
    calls: Vec<Call>,
    committed_at_ms: i64,
    watermark_ms: Option<i64>,
}

/// A budget as it was meant: what the oracle goes by, and never the parsed one.
#[derive(Debug, Clone)]
struct MeantBudget {
    id: String,
    model: Option<&'static str>,
    vendor: Option<&'static str>,
    /// `points`, `tokens`, or side and currency.
    counts: Counts,
    limit: i128,
    period: &'static str,
    from: Date,
    to: Option<Date>,
    percents: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
enum Counts {
    Points,
    Tokens,
    Retail(&'static str),
    Wholesale(&'static str),
}

/// An alert as it must come: budget, period, percent, whether it goes out, used and there, in
/// millionths.
pub(super) type MeantAlert = (String, String, u32, bool, i128, i128);

#[derive(Debug)]
pub(super) struct Scenario {
    pub(super) budgets_toml: String,
    budgets: Vec<MeantBudget>,
    /// By partition, then by epoch.
    pub(super) ledgers: Vec<Vec<MeantEpoch>>,
    /// First epoch of each partition that exists.
    pub(super) floors: Vec<u64>,
    /// Partition and epoch in the order of the log: with repeats, and some missing.
    pub(super) log: Vec<(u32, u64)>,
}

const MODELS: [(&str, &str, &str); 5] = [
    ("deepseek-v4-pro", "deepseek", "CNY"),
    ("deepseek-flash", "deepseek", "CNY"),
    ("deepseek-flash", "deepseek", "USD"),
    ("glm-5", "zhipu", "CNY"),
    ("qwen3-max", "qwen", "CNY"),
];

fn instant(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// The date in Shanghai, by a calendar library.
fn date_of(at_ms: i64) -> Date {
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
    jiff::Timestamp::from_millisecond(at_ms).unwrap().to_zoned(zone).date()
}

fn midnight_ms(date: Date) -> i64 {
    let zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(8));
    date.to_zoned(zone).unwrap().timestamp().as_millisecond()
}

impl MeantBudget {
    fn drawn(random: &mut ChaCha8Rng, number: usize) -> Self {
        let counts = [
            Counts::Points,
            Counts::Tokens,
            Counts::Retail("CNY"),
            Counts::Wholesale("CNY"),
            Counts::Wholesale("USD"),
        ];
        let counts = *counts.choose(random).unwrap();
        let limit = match counts {
            Counts::Points => random.random_range(1..40) * 1_000_000,
            Counts::Tokens => random.random_range(1..40) * 1_000,
            Counts::Retail(_) | Counts::Wholesale(_) => {
                random.random_range(1..4_000) * 1_000 * PICO_OF_MICRO
            }
        };
        let period = *["day", "month", "once"].choose(random).unwrap();
        let from: Date = "2026-11-27".parse().unwrap();
        let to: Date = "2026-12-03".parse().unwrap();
        let mut percents = vec![100];
        percents.extend((0..random.random_range(0..4)).map(|_| random.random_range(1..130)));
        percents.sort_unstable();
        percents.dedup();
        Self {
            id: format!("budget-{number}"),
            model: random.random_ratio(1, 3).then_some("deepseek-*"),
            vendor: random.random_ratio(1, 3).then_some("deepseek"),
            counts,
            limit,
            period,
            from,
            to: (period == "once" || random.random_ratio(1, 2)).then_some(to),
            percents,
        }
    }

    fn toml(&self) -> String {
        let mut text = format!(
            "[[budget]]\nid = \"{}\"\nkind = \"budget\"\ntitle = \"t\"\ntitle_en = \"t\"\n\
             period = \"{}\"\nvalid_from = \"{}\"\nthresholds = {:?}\nsource = \"test\"\n\
             known_from = \"2026-01-01\"\napproved_by = \"a\"\napproved_at = \"2026-01-01\"\n",
            self.id, self.period, self.from, self.percents
        );
        let mut line = |line: String| text.push_str(&format!("{line}\n"));
        if let Some(to) = self.to {
            line(format!("valid_to = \"{to}\""));
        }
        if let Some(model) = self.model {
            line(format!("model = \"{model}\""));
        }
        if let Some(vendor) = self.vendor {
            line(format!("vendor = \"{vendor}\""));
        }
        match self.counts {
            Counts::Points => line(format!("points_micro = {}", self.limit)),
            Counts::Tokens => line(format!("tokens = {}", self.limit)),
            Counts::Retail(code) | Counts::Wholesale(code) => {
                let side =
                    if matches!(self.counts, Counts::Retail(_)) { "retail" } else { "wholesale" };
                line(format!("side = \"{side}\"\ncurrency = \"{code}\""));
                line(format!("amount_micro = {}", self.limit / PICO_OF_MICRO));
            }
        }
        text
    }

    /// First day and the day after the last of the period that a call counts in.
    fn period(&self, call: &Call) -> Option<(Date, Date)> {
        let date = date_of(call.completed_at_ms);
        if date < self.from || self.to.is_some_and(|to| date >= to) {
            return None;
        }
        Some(match self.period {
            "day" => (date, date.tomorrow().unwrap()),
            "month" => (date.first_of_month(), date.last_of_month().tomorrow().unwrap()),
            _ => (self.from, self.to.unwrap()),
        })
    }

    fn count(&self, call: &Call) -> i128 {
        if self.model.is_some() && !call.model.starts_with("deepseek-")
            || self.vendor.is_some_and(|vendor| vendor != call.vendor)
        {
            return 0;
        }
        match self.counts {
            Counts::Points => call.points_micro,
            Counts::Tokens => i128::from(call.tokens),
            Counts::Retail("CNY") => call.retail_pico,
            Counts::Wholesale(code) if code == call.currency => call.wholesale_pico,
            Counts::Retail(_) | Counts::Wholesale(_) => 0,
        }
    }

    fn micro(&self, count: i128) -> i128 {
        match self.counts {
            Counts::Points => count,
            Counts::Tokens => count * 1_000_000,
            Counts::Retail(_) | Counts::Wholesale(_) => count / PICO_OF_MICRO,
        }
    }
}

impl Scenario {
    pub(super) fn of(seed: u64) -> Self {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let count = random.random_range(1..6);
        let budgets: Vec<MeantBudget> =
            (0..count).map(|number| MeantBudget::drawn(&mut random, number)).collect();
        let partitions = random.random_range(1..4_usize);
        let begin = instant("2026-11-29T20:00:00+08:00");
        let end = instant("2026-12-02T05:00:00+08:00");
        let mut ledgers = Vec::new();
        for _ in 0..partitions {
            let mut ledger = Vec::new();
            let epochs = random.random_range(1..25);
            let mut newest: Option<i64> = None;
            for epoch in 0..epochs {
                let now = begin + (end - begin) / epochs * epoch;
                let mut calls = Vec::new();
                // A claim, or an epoch of duplicates, adds nothing.
                for _ in 0..random.random_range(0..6) {
                    let late_ms = if random.random_ratio(1, 5) { 90_000_000 } else { 60_000 };
                    let completed_at_ms = now - random.random_range(0..late_ms);
                    let (model, vendor, currency) = *MODELS.choose(&mut random).unwrap();
                    newest = newest.max(Some(completed_at_ms));
                    calls.push(Call {
                        completed_at_ms,
                        model,
                        vendor,
                        currency,
                        // Round counts, so that some thresholds are reached to the token.
                        tokens: random.random_range(0..6) * 500,
                        points_micro: random.random_range(0..3_000_000),
                        retail_pico: random.random_range(0..300_000) * PICO_OF_MICRO,
                        wholesale_pico: random.random_range(0..300_000) * PICO_OF_MICRO + 1,
                    });
                }
                let watermark_ms = newest.map(|newest| newest - 60_000);
                ledger.push(MeantEpoch { calls, committed_at_ms: now + 10_000, watermark_ms });
            }
            ledgers.push(ledger);
        }
        let floors: Vec<u64> = ledgers
            .iter()
            .map(|ledger| {
                let most = ledger.len() as u64;
                if random.random_ratio(1, 4) { random.random_range(0..most) } else { 0 }
            })
            .collect();
        let mut next = floors.clone();
        let mut log = Vec::new();
        while (0..partitions).any(|p| next[p] < ledgers[p].len() as u64) {
            let p = random.random_range(0..partitions);
            if next[p] >= ledgers[p].len() as u64 {
                continue;
            }
            let last = next[p] + 1 == ledgers[p].len() as u64;
            // Some never reach the log; those after them do.
            if last || !random.random_ratio(1, 8) {
                log.push((u32::try_from(p).unwrap(), next[p]));
            }
            next[p] += 1;
            if random.random_ratio(1, 6) && next[p] > floors[p] {
                let again = random.random_range(floors[p]..next[p]);
                log.push((u32::try_from(p).unwrap(), again));
            }
        }
        let budgets_toml = budgets.iter().map(MeantBudget::toml).collect();
        Self { budgets_toml, budgets, ledgers, floors, log }
    }

    /// The message of an epoch.
    pub(super) fn message(&self, partition: u32, epoch: u64) -> EpochIncrements {
        let meant = &self.ledgers[partition as usize][usize::try_from(epoch).unwrap()];
        let mut cells: BTreeMap<ModelDay, ModelSums> = BTreeMap::new();
        for call in &meant.calls {
            let of = ModelDay {
                day: date_of(call.completed_at_ms).to_string().parse().unwrap(),
                model: call.model.into(),
                vendor: call.vendor.into(),
                supplier: call.vendor.into(),
                retail_currency: Currency::parse("CNY"),
                wholesale_currency: Currency::parse(call.currency),
            };
            let mut usage = [0; CLASS_COUNT];
            usage[TokenClass::Output.index()] = i128::from(call.tokens);
            let sums = ModelSums {
                events: 1,
                usage,
                points_micro: call.points_micro,
                retail_pico: call.retail_pico,
                wholesale_pico: call.wholesale_pico,
            };
            let cell = cells.entry(of).or_default();
            *cell = cell.plus(&sums).unwrap();
        }
        let hash = |epoch: u64| format!("entry {epoch} of {partition}");
        EpochIncrements {
            topic: "usage.events".into(),
            partition,
            partition_count: u32::try_from(self.ledgers.len()).unwrap(),
            epoch,
            entry: hash(epoch),
            previous: epoch.checked_sub(1).map(hash).unwrap_or_default(),
            committed_at_ms: meant.committed_at_ms,
            watermark_ms: meant.watermark_ms,
            increments: Some(
                cells.into_iter().map(|(of, sums)| ModelIncrement { of, sums }).collect(),
            ),
        }
    }

    /// The alerts in the order in which they must come, and what must be used in the end of each
    /// budget and period.
    pub(super) fn expected(&self) -> (Vec<MeantAlert>, BTreeMap<(String, String), i128>) {
        let mut next = self.floors.clone();
        let mut watermarks: Vec<Option<i64>> = vec![None; self.ledgers.len()];
        let mut used: BTreeMap<(usize, Date), i128> = BTreeMap::new();
        let mut passed: BTreeSet<(usize, Date, u32)> = BTreeSet::new();
        let mut alerts = Vec::new();
        for (partition, epoch) in &self.log {
            let p = *partition as usize;
            while next[p] <= *epoch {
                let meant = &self.ledgers[p][usize::try_from(next[p]).unwrap()];
                let all_known = watermarks.iter().all(Option::is_some);
                let over = watermarks.iter().min().copied().flatten().filter(|_| all_known);
                for (number, budget) in self.budgets.iter().enumerate() {
                    let mut periods = BTreeSet::new();
                    for call in &meant.calls {
                        let Some(period) = budget.period(call) else { continue };
                        *used.entry((number, period.0)).or_default() += budget.count(call);
                        periods.insert(period);
                    }
                    for (start, end) in periods {
                        if over.is_some_and(|over| over >= midnight_ms(end)) {
                            continue;
                        }
                        let used = used[&(number, start)];
                        let mut goes_out = true;
                        for percent in budget.percents.iter().rev() {
                            let reached = used * 100 >= budget.limit * i128::from(*percent);
                            if reached && passed.insert((number, start, *percent)) {
                                alerts.push((
                                    budget.id.clone(),
                                    start.to_string(),
                                    *percent,
                                    goes_out,
                                    budget.micro(used),
                                    budget.micro(budget.limit),
                                ));
                                goes_out = false;
                            }
                        }
                    }
                }
                watermarks[p] = meant.watermark_ms;
                next[p] += 1;
            }
        }
        let named = |((number, start), used): ((usize, Date), i128)| {
            ((self.budgets[number].id.clone(), start.to_string()), used)
        };
        (alerts, used.into_iter().filter(|(_, used)| *used != 0).map(named).collect())
    }
}

//! Each rule of `docs/budgets.md` with numbers small enough to follow.

use std::sync::Arc;

use tally_schemas::{
    CLASS_COUNT, Currency, EpochIncrements, ModelDay, ModelIncrement, ModelSums, TokenClass,
};

use crate::{BudgetAlert, BudgetBook, BudgetStage, Taken, Told, Untaken};

const HEAD: &str = "title = \"t\"\ntitle_en = \"t\"\nsource = \"test\"\napproved_by = \"a\"\n\
                    approved_at = \"2026-01-01\"\nvalid_from = \"2026-01-01\"\n";

fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

fn stage(budgets: &[&str]) -> BudgetStage {
    let text: Vec<String> =
        budgets.iter().map(|budget| format!("[[budget]]\n{HEAD}{budget}\n")).collect();
    let book = BudgetBook::from_toml(&text.concat()).unwrap_or_else(|error| panic!("{error}"));
    let mut stage = BudgetStage::new(Arc::new(book));
    stage.begin(0, 0);
    stage
}

/// 100 yuan of what DeepSeek is owed.
const HUNDRED: &str = "id = \"b\"\nkind = \"budget\"\nvendor = \"deepseek\"\nside = \"wholesale\"\n\
    currency = \"CNY\"\namount_micro = 100000000\nperiod = \"month\"\nthresholds = [50, 80, 100]\n\
    known_from = \"2026-01-01\"";

fn usage(day: &str, model: &str, vendor: &str, currency: &str, pico: i128) -> ModelIncrement {
    let mut usage = [0; CLASS_COUNT];
    usage[TokenClass::Input.index()] = 10;
    usage[TokenClass::Reasoning.index()] = 4;
    ModelIncrement {
        of: ModelDay {
            day: day.parse().unwrap(),
            model: model.into(),
            vendor: vendor.into(),
            supplier: vendor.into(),
            retail_currency: Currency::parse("CNY"),
            wholesale_currency: Currency::parse(currency),
        },
        sums: ModelSums {
            events: 1,
            usage,
            points_micro: 7_000_000,
            retail_pico: 2 * pico,
            wholesale_pico: pico,
        },
    }
}

const YUAN: i128 = 1_000_000_000_000;

fn yuan(day: &str, yuan: i128) -> ModelIncrement {
    usage(day, "deepseek-v4-pro", "deepseek", "CNY", yuan * YUAN)
}

fn message(epoch: u64, increments: Vec<ModelIncrement>) -> EpochIncrements {
    EpochIncrements {
        topic: "usage.events".into(),
        partition: 0,
        partition_count: 1,
        epoch,
        entry: format!("hash-{epoch}"),
        previous: epoch.checked_sub(1).map(|n| format!("hash-{n}")).unwrap_or_default(),
        committed_at_ms: at("2026-11-22T12:00:00+08:00"),
        watermark_ms: None,
        increments: Some(increments),
    }
}

fn added(stage: &mut BudgetStage, message: &EpochIncrements) -> Vec<BudgetAlert> {
    match stage.take(message, Told::ByLedger).unwrap() {
        Taken::Added(alerts) => alerts,
        Taken::Repeated => panic!("epoch {} is there already", message.epoch),
    }
}

/// Threshold, and whether it went out.
fn told(alerts: &[BudgetAlert]) -> Vec<(u32, bool)> {
    alerts.iter().map(|alert| (alert.threshold, alert.superseded_by.is_none())).collect()
}

#[test]
fn a_threshold_is_reached_by_the_last_pico_of_it() {
    let mut stage = stage(&[HUNDRED]);
    let almost = usage("2026-11-22", "m", "deepseek", "CNY", 50 * YUAN - 1);
    assert!(added(&mut stage, &message(0, vec![almost])).is_empty());
    let last = usage("2026-11-23", "m", "deepseek", "CNY", 1);
    let alerts = added(&mut stage, &message(1, vec![last]));
    assert_eq!(told(&alerts), [(50, true)]);
    let alert = &alerts[0];
    assert_eq!((alert.used_micro, alert.allowance_micro), (50_000_000, 100_000_000));
    assert_eq!((alert.subject.as_str(), alert.budget.as_str()), ("deepseek", "b"));
    assert_eq!(alert.period_start_ms, at("2026-11-01T00:00:00+08:00"));
    assert_eq!(alert.id.len(), 32);
}

#[test]
fn of_several_at_once_the_highest_goes_out() {
    let mut stage = stage(&[HUNDRED]);
    let alerts = added(&mut stage, &message(0, vec![yuan("2026-11-22", 85)]));
    assert_eq!(told(&alerts), [(80, true), (50, false)]);
    assert_eq!(alerts[1].superseded_by.as_ref(), Some(&alerts[0].id));
    // What was superseded is passed, and 80 is not said again.
    let alerts = added(&mut stage, &message(1, vec![yuan("2026-11-22", 400)]));
    assert_eq!(told(&alerts), [(100, true)]);
    assert!(added(&mut stage, &message(2, vec![yuan("2026-11-22", 400)])).is_empty());
}

#[test]
fn a_month_ends_at_midnight_in_shanghai() {
    let mut stage = stage(&[HUNDRED]);
    assert!(added(&mut stage, &message(0, vec![yuan("2026-11-30", 49)])).is_empty());
    assert!(added(&mut stage, &message(1, vec![yuan("2026-12-01", 49)])).is_empty());
    let alerts = added(&mut stage, &message(2, vec![yuan("2026-11-01", 1)]));
    assert_eq!(alerts[0].period_start_ms, at("2026-10-31T16:00:00Z"));
}

#[test]
fn late_usage_counts_in_its_own_period_and_alerts_only_while_that_is_open() {
    let mut stage = stage(&[HUNDRED]);
    let mut first = message(0, vec![yuan("2026-11-30", 49)]);
    first.watermark_ms = Some(at("2026-11-30T23:59:59.999+08:00"));
    assert!(added(&mut stage, &first).is_empty());
    // The epoch that ends the month may reach its threshold.
    let mut second = message(1, vec![yuan("2026-11-30", 1), yuan("2026-12-01", 10)]);
    second.watermark_ms = Some(at("2026-12-01T00:00:00+08:00"));
    assert_eq!(told(&added(&mut stage, &second)), [(50, true)]);
    assert!(added(&mut stage, &message(2, vec![yuan("2026-11-30", 500)])).is_empty());
    let standings = stage.standings(at("2026-12-02T00:00:00+08:00"));
    let used: Vec<i128> = standings.iter().map(|standing| standing.used / YUAN).collect();
    assert_eq!(used, [550, 10]);
    assert_eq!((standings[0].percent(), standings[0].passed.as_slice()), (550, &[50][..]));
}

#[test]
fn a_period_is_open_until_every_partition_has_passed_its_end() {
    let mut stage = stage(&[HUNDRED]);
    stage.begin(1, 0);
    let december = Some(at("2026-12-05T00:00:00+08:00"));
    let of = |partition, epoch, watermark_ms, increments| EpochIncrements {
        partition,
        partition_count: 2,
        watermark_ms,
        ..message(epoch, increments)
    };
    added(&mut stage, &of(0, 0, december, vec![yuan("2026-11-30", 49)]));
    assert_eq!(stage.watermark_ms(), None);
    let alerts = added(&mut stage, &of(1, 0, december, vec![yuan("2026-11-30", 1)]));
    assert_eq!(told(&alerts), [(50, true)]);
    assert_eq!(stage.watermark_ms(), december);
    assert!(added(&mut stage, &of(1, 1, december, vec![yuan("2026-11-30", 50)])).is_empty());
}

#[test]
fn other_vendors_currencies_and_days_do_not_count() {
    let mut stage = stage(&[HUNDRED]);
    let others = vec![
        usage("2026-11-22", "m", "qwen", "CNY", 100 * YUAN),
        usage("2026-11-22", "m", "deepseek", "USD", 100 * YUAN),
        yuan("2025-11-22", 100),
    ];
    assert!(added(&mut stage, &message(0, others)).is_empty());
    assert_eq!(stage.cells().len(), 3);
}

#[test]
fn points_tokens_models_and_retail_count_for_what_they_are() {
    let of = |id: &str, fields: &str| {
        format!(
            "id = \"{id}\"\nkind = \"budget\"\nperiod = \"day\"\nthresholds = [100]\n\
                 known_from = \"2026-01-01\"\n{fields}"
        )
    };
    let budgets = [
        of("points", "points_micro = 14000000"),
        of("tokens", "tokens = 20\nmodel = \"deepseek-*\""),
        of("exact", "tokens = 20\nmodel = \"deepseek-v4\""),
        of(
            "retail",
            "side = \"retail\"\ncurrency = \"CNY\"\namount_micro = 4000000\nsupplier = \"deepseek\"",
        ),
        of("dollars", "side = \"retail\"\ncurrency = \"USD\"\namount_micro = 1"),
    ];
    let mut stage = stage(&budgets.each_ref().map(String::as_str));
    assert!(added(&mut stage, &message(0, vec![yuan("2026-11-22", 1)])).is_empty());
    let alerts = added(&mut stage, &message(1, vec![yuan("2026-11-22", 1)]));
    let budgets: Vec<(&str, &str, i128)> =
        alerts.iter().map(|a| (a.budget.as_str(), a.subject.as_str(), a.used_micro)).collect();
    assert_eq!(
        budgets,
        [
            ("points", "*", 14_000_000),
            ("retail", "deepseek", 4_000_000),
            ("tokens", "deepseek-*", 20_000_000),
        ]
    );
}

#[test]
fn a_commitment_is_drawn_once() {
    let mut stage = stage(&["id = \"c\"\nkind = \"commitment\"\nvendor = \"deepseek\"\n\
        side = \"wholesale\"\ncurrency = \"CNY\"\namount_micro = 100000000\nperiod = \"once\"\n\
        valid_to = \"2026-12-31\"\nthresholds = [100]\nknown_from = \"2026-01-01\""]);
    assert!(added(&mut stage, &message(0, vec![yuan("2026-03-01", 50)])).is_empty());
    assert!(added(&mut stage, &message(1, vec![yuan("2026-12-31", 50)])).is_empty());
    let alerts = added(&mut stage, &message(2, vec![yuan("2026-12-30", 50)]));
    assert_eq!(told(&alerts), [(100, true)]);
    assert_eq!(alerts[0].counter, "commitment:0");
    assert_eq!(alerts[0].period_start_ms, at("2026-01-01T00:00:00+08:00"));
}

#[test]
fn a_version_with_more_is_armed_anew_and_one_with_less_is_not() {
    let version = |known: &str, yuan: i64| {
        HUNDRED
            .replace("known_from = \"2026-01-01\"", &format!("known_from = \"{known}\""))
            .replace("amount_micro = 100000000", &format!("amount_micro = {yuan}000000"))
    };
    let budgets = [HUNDRED.to_owned(), version("2026-11-10", 50), version("2026-11-20", 200)];
    let mut stage = stage(&budgets.each_ref().map(String::as_str));
    let mut offer = |epoch, when: &str, spent| {
        let mut message = message(epoch, vec![yuan("2026-11-05", spent)]);
        message.committed_at_ms = at(when);
        let alerts = added(&mut stage, &message);
        alerts.iter().map(|a| (a.threshold, a.counter.clone())).collect::<Vec<_>>()
    };
    assert_eq!(offer(0, "2026-11-05T00:00:00+08:00", 50), [(50, "budget:0".to_owned())]);
    // Half of what there was: 80 and 100 are reached at once, 50 was said.
    let halved = offer(1, "2026-11-10T00:00:00+08:00", 0);
    assert_eq!(halved, [(100, "budget:0".to_owned()), (80, "budget:0".to_owned())]);
    assert_eq!(offer(2, "2026-11-19T00:00:00+08:00", 40), []);
    let raised = offer(3, "2026-11-20T00:00:00+08:00", 10);
    assert_eq!(raised, [(50, "budget:1".to_owned())]);
}

#[test]
fn what_is_taken_back_does_not_un_send() {
    let mut stage = stage(&[HUNDRED]);
    assert_eq!(told(&added(&mut stage, &message(0, vec![yuan("2026-11-22", 60)]))), [(50, true)]);
    assert!(added(&mut stage, &message(1, vec![yuan("2026-11-22", -30)])).is_empty());
    assert!(added(&mut stage, &message(2, vec![yuan("2026-11-22", 30)])).is_empty());
    assert_eq!(stage.standings(at("2026-11-23T00:00:00Z"))[0].used, 60 * YUAN);
}

#[test]
fn a_budget_that_comes_later_knows_what_was_used() {
    let mut stage = stage(&[]);
    assert!(added(&mut stage, &message(0, vec![yuan("2026-11-01", 79)])).is_empty());
    let text = format!("[[budget]]\n{HEAD}{HUNDRED}");
    stage.set_book(Arc::new(BudgetBook::from_toml(&text).unwrap())).unwrap();
    let alerts = added(&mut stage, &message(1, vec![yuan("2026-11-22", 1)]));
    assert_eq!(told(&alerts), [(80, true), (50, false)]);
}

#[test]
fn epochs_are_added_once_in_order_and_of_one_ledger() {
    let mut stage = stage(&[HUNDRED]);
    let first = message(0, vec![yuan("2026-11-22", 1)]);
    added(&mut stage, &first);
    assert_eq!(stage.take(&first, Told::ByTopic), Ok(Taken::Repeated));
    let gap = Untaken::Gap { partition: 0, next: Some(1), epoch: 2 };
    assert_eq!(stage.take(&message(2, vec![]), Told::ByTopic), Err(gap));
    let foreign = EpochIncrements { previous: "other".into(), ..message(1, vec![]) };
    let unchained = Untaken::Unchained { partition: 0, epoch: 1 };
    assert_eq!(stage.take(&foreign, Told::ByTopic), Err(unchained));
    let unknown = EpochIncrements { partition: 3, ..message(7, vec![]) };
    let gap = Untaken::Gap { partition: 3, next: None, epoch: 7 };
    assert_eq!(stage.take(&unknown, Told::ByTopic), Err(gap));
    assert!(stage.begin(3, 0) && stage.begin(3, 7));
    let untold = EpochIncrements { increments: None, ..unknown.clone() };
    // Nothing says yet of which ledger it is.
    let unchained = Untaken::Unchained { partition: 3, epoch: 7 };
    assert_eq!(stage.take(&unknown, Told::ByTopic), Err(unchained));
    let untold_error = Untaken::Untold { partition: 3, epoch: 7 };
    assert_eq!(stage.take(&untold, Told::ByLedger), Err(untold_error));
    assert_eq!(added(&mut stage, &unknown), []);
    assert!(!stage.begin(3, 9));
    assert_eq!(stage.next_epoch(3), Some(8));
    assert_eq!(stage.cells().values().map(|sums| sums.events).sum::<i128>(), 1);
}

#[test]
fn a_sum_that_cannot_be_counted_changes_nothing() {
    let mut stage = stage(&[HUNDRED]);
    let most = usage("2026-11-22", "m", "deepseek", "CNY", i128::MAX / 2);
    added(&mut stage, &message(0, vec![most.clone()]));
    let before = stage.cells().clone();
    let overflow = Untaken::Overflow { partition: 0, epoch: 1 };
    assert_eq!(
        stage.take(&message(1, vec![yuan("2026-11-21", 1), most.clone(), most]), Told::ByTopic),
        Err(overflow)
    );
    assert_eq!((stage.cells(), stage.next_epoch(0)), (&before, Some(1)));
}

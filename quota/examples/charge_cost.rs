//! Measures what charging an event costs, in memory and alone: `cargo run --release -p tally-quota
//! --example charge_cost`.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;
use tally_quota::{
    Action, Alert, ChargeEvent, Command, LedgerRow, Quota, QuotaReference, QuotaSink, Weigh,
    WeighError,
};
use tally_schemas::Currency;

const ACCOUNTS: usize = 1_000_000;
/// Events between two settlings, as of an epoch.
const EPOCH: usize = 200_000;

struct Points;

impl Weigh for Points {
    fn points_micro(&self, _: &str) -> Result<i128, WeighError> {
        Ok(1_234_000_000)
    }
}

#[derive(Default)]
struct Count {
    rows: usize,
    alerts: usize,
}

impl QuotaSink for Count {
    fn entry(&mut self, _: LedgerRow<'_>) {
        self.rows += 1;
    }

    fn alert(&mut self, _: Alert<'_>) {
        self.alerts += 1;
    }
}

fn reference(caps: bool) -> QuotaReference {
    let caps = if caps {
        json!([{"window": "rolling_5h", "limit_micro": "5000000000000"},
               {"window": "month", "limit_micro": "9000000000000"}])
    } else {
        json!([])
    };
    let value = json!({"packages": [{
        "id": "telecom-10m", "title": "p", "title_en": "p", "price_micro": 9_900_000,
        "currency": "CNY", "period": {"months": 1}, "anchor": "purchase",
        "allowance_micro": "10000000000000", "weights": "default", "kind": "paid",
        "priority": 100, "models": ["*"], "rollover": "none", "overflow": "block",
        "stacking": "queue", "funded_by": "operator", "source": "measurement", "valid_from": 0,
        "known_from": 0, "approved_by": "x", "approved_at": 0, "caps": caps,
        "thresholds": [{"kind": "percent_used", "at": 50}, {"kind": "percent_used", "at": 80},
                       {"kind": "percent_used", "at": 100}],
    }]});
    match QuotaReference::from_json(&value) {
        Ok(reference) => reference,
        Err(error) => panic!("{error}"),
    }
}

fn event<'a>(account: &'a str, at_ms: i64) -> ChargeEvent<'a> {
    ChargeEvent {
        source: "gw-sh-01",
        id: "req-7f3a",
        account,
        subscriber: account,
        model: "deepseek-flash",
        billed_model: "deepseek-flash",
        product: None,
        started_at_ms: at_ms,
        completed_at_ms: at_ms,
        log_time_ms: at_ms,
        wholesale_pico: 1_000_000,
        wholesale_currency: Some(Currency::CNY),
    }
}

fn measure(caps: bool) {
    let start_ms = 1_774_972_800_000;
    let mut quota = Quota::new(Arc::new(reference(caps)));
    let mut count = Count::default();
    let names: Vec<String> = (0..ACCOUNTS).map(|number| format!("A{number:09}")).collect();
    let begun = Instant::now();
    for (number, name) in names.iter().enumerate() {
        let action = Action::Purchase { package: "telecom-10m".to_owned(), quantity: 1 };
        let id = format!("purchase-{number:011}");
        let command = Command { id, account: name.clone(), at_ms: start_ms, action };
        if let Err(error) = quota.command(&command, Some(start_ms), &mut count) {
            panic!("{error}");
        }
        if number % 100_000 == 0 {
            quota.settle();
        }
    }
    quota.settle();
    let bytes = quota.memory_bytes() / ACCOUNTS;
    println!("purchase: {} ns", begun.elapsed().as_nanos() / ACCOUNTS as u128);
    println!("memory of an idle account: {bytes} bytes");
    for (title, stride, accounts) in [
        ("same 100 accounts", 1, 100),
        ("same 10,000 accounts", 1, 10_000),
        ("any of 1,000,000 accounts", 618_033, ACCOUNTS),
    ] {
        let (mut charging, mut settling, mut changed) = (0, 0, 0_usize);
        let mut number = 0;
        for epoch in 0..5_i64 {
            let begun = Instant::now();
            for step in 0..EPOCH {
                number = (number + stride) % accounts;
                let at_ms = start_ms + epoch * 30_000 + step as i64 / 10;
                quota.advance(at_ms, &mut count);
                let event = event(&names[number], at_ms);
                if let Err(error) = quota.charge(&event, &Points, Some(at_ms), &mut count) {
                    panic!("{error}");
                }
            }
            charging += begun.elapsed().as_nanos();
            let begun = Instant::now();
            changed += quota.changed().map(|(_, bytes)| bytes.len()).sum::<usize>();
            quota.settle();
            settling += begun.elapsed().as_nanos();
        }
        let events = 5 * EPOCH as u128;
        println!(
            "{title}: {} ns a charge, {} ns an event for settling, {} bytes of deltas an event",
            charging / events,
            settling / events,
            changed / (5 * EPOCH),
        );
    }
    println!(
        "memory afterwards: {} bytes an account; {} rows, {} alerts",
        quota.memory_bytes() / ACCOUNTS,
        count.rows,
        count.alerts
    );
}

fn main() {
    println!("one bucket, percent thresholds:");
    measure(false);
    println!("the same with a rolling and a monthly cap:");
    measure(true);
}

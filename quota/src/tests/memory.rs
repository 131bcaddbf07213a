//! What an account costs that nothing happens to.

use std::sync::Arc;

use serde_json::json;

use super::world::*;
use crate::{Command, Quota};

/// Just too many for a smaller index, which is when it costs most.
const ACCOUNTS: usize = 230_000;

fn bought() -> Quota {
    let packages = json!([package(
        "telecom-10m",
        json!({"thresholds": thresholds("percent_used", &[50, 80, 100])})
    )]);
    let mut quota = Quota::new(Arc::clone(&reference_of(packages, json!([]))));
    let mut told = Recorder::default();
    for number in 0..ACCOUNTS {
        let command = Command {
            id: format!("purchase-{number:011}"),
            account: format!("A{number:09}"),
            at_ms: APRIL + i64::try_from(number).unwrap() * 7_919,
            action: crate::Action::Purchase { package: "telecom-10m".to_owned(), quantity: 1 },
        };
        assert_eq!((command.id.len(), command.account.len()), (20, 10));
        quota.command(&command, None, &mut told).unwrap();
        told.rows.clear();
        if number % 10_000 == 0 {
            quota.settle();
            // As the stream does with each read: who is told is not kept.
            quota.take_statuses(usize::MAX, None);
        }
    }
    quota.settle();
    assert!(!quota.take_statuses(usize::MAX, None).is_empty());
    quota
}

#[test]
fn an_idle_account_costs_at_most_100_bytes() {
    let quota = bought();
    assert_eq!(quota.len(), ACCOUNTS);
    let bytes = quota.memory_bytes();
    assert!(bytes <= 100 * ACCOUNTS, "{} bytes an account", bytes / ACCOUNTS);
    println!("{} bytes an account", bytes / ACCOUNTS);
}

#[test]
fn memory_stays_bounded_when_accounts_are_rewritten() {
    let mut quota = bought();
    let idle = quota.memory_bytes();
    let mut told = Recorder::default();
    for round in 0..6 {
        for number in (0..ACCOUNTS).step_by(3) {
            let (account, at_ms) = (format!("A{number:09}"), APRIL + 30 * HOUR * 24 + round);
            let event = crate::ChargeEvent {
                source: "gw",
                id: "1",
                account: &account,
                subscriber: &account,
                model: "glm-5",
                billed_model: "glm-5",
                product: None,
                started_at_ms: at_ms,
                completed_at_ms: at_ms,
                log_time_ms: at_ms,
                wholesale_pico: 0,
                wholesale_currency: None,
            };
            quota.charge(&event, &Points(1_234_567_890), None, &mut told).unwrap();
            told.rows.clear();
            if number % 30_000 == 0 {
                quota.settle();
            }
        }
        quota.settle();
    }
    assert!(quota.memory_bytes() < idle * 2, "{} of {idle}", quota.memory_bytes());
    assert_eq!(quota.all().count(), ACCOUNTS);
}

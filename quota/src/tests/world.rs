//! A quota with reference data made for tests, and what it told.

use std::sync::Arc;

use serde_json::{Value, json};
use tally_schemas::{Charge, ChargeKind, Currency};

use crate::{
    Alert, ChargeError, ChargeEvent, Charged, Command, CommandError, EntryKind, LedgerRow,
    OverrunCause, Quota, QuotaReference, QuotaSink, Reversal, Weigh, WeighError,
};

/// Micro-points of a point, micro-currency of a yuan.
pub(super) const MICRO: i64 = 1_000_000;
pub(super) const HOUR: i64 = 3_600_000;
pub(super) const DAY: i64 = 24 * HOUR;
/// 2026-04-01T00:00:00+08:00.
pub(super) const APRIL: i64 = 1_774_972_800_000;

pub(super) fn at(text: &str) -> i64 {
    text.parse::<jiff::Timestamp>().unwrap().as_millisecond()
}

/// A package of 10,000,000 points for 9.90 yuan a month, but for the given fields.
pub(super) fn package(id: &str, fields: Value) -> Value {
    let mut package = json!({
        "id": id, "title": id, "title_en": id, "price_micro": 9_900_000, "currency": "CNY",
        "period": {"months": 1}, "anchor": "purchase", "allowance_micro": "10000000000000",
        "weights": "default", "kind": "paid", "priority": 100, "rollover": "none",
        "thresholds": [], "overflow": "block", "stacking": "queue", "funded_by": "operator",
        "source": "test",
        "valid_from": 0, "known_from": 0, "approved_by": "test", "approved_at": 0,
    });
    for (field, value) in fields.as_object().unwrap() {
        package[field] = value.clone();
    }
    package
}

pub(super) fn tariff(id: &str, fields: Value) -> Value {
    let mut tariff = json!({
        "id": id, "title": id, "title_en": id, "currency": "CNY",
        "price_micro_per_million_points": 4_000_000, "source": "test", "known_from": 0,
        "approved_by": "test", "approved_at": 0,
    });
    for (field, value) in fields.as_object().unwrap() {
        tariff[field] = value.clone();
    }
    tariff
}

/// Thresholds of one kind.
pub(super) fn thresholds(kind: &str, values: &[i64]) -> Value {
    values.iter().map(|at| json!({"kind": kind, "at": at})).collect()
}

pub(super) fn reference_of(packages: Value, tariffs: Value) -> Arc<QuotaReference> {
    let value = json!({
        "packages": packages, "tariffs": tariffs, "account_thresholds": [
            {"kind": "overrun", "at": 1_000 * MICRO}, {"kind": "overrun", "at": 5_000 * MICRO},
        ],
    });
    Arc::new(QuotaReference::from_json(&value).unwrap())
}

/// A row that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) account: String,
    pub(super) bucket: Option<String>,
    pub(super) package: Option<String>,
    pub(super) kind: EntryKind,
    pub(super) cause: Option<OverrunCause>,
    pub(super) points: i128,
    pub(super) amount: i128,
    pub(super) currency: Option<Currency>,
    pub(super) balance: Option<i128>,
    pub(super) event: Option<String>,
    pub(super) at_ms: i64,
}

/// An alert that was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) account: String,
    pub(super) package: Option<String>,
    pub(super) bucket: Option<String>,
    pub(super) period_ms: i64,
    pub(super) counter: String,
    pub(super) threshold: i64,
    pub(super) used: i128,
    pub(super) allowance: Option<i128>,
    pub(super) at_ms: i64,
    pub(super) event: Option<String>,
    pub(super) superseded_by: Option<String>,
    pub(super) corrects: Option<String>,
}

/// Everything that was told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Recorder {
    pub(super) rows: Vec<Row>,
    pub(super) alerts: Vec<Told>,
}

impl QuotaSink for Recorder {
    fn entry(&mut self, row: LedgerRow<'_>) {
        self.rows.push(Row {
            account: row.account.to_owned(),
            bucket: row.bucket.map(str::to_owned),
            package: row.package.map(str::to_owned),
            kind: row.kind,
            cause: row.cause,
            points: row.points_micro,
            amount: row.amount_pico,
            currency: row.currency,
            balance: row.balance_after_micro,
            event: row.event.map(|event| event.1.to_owned()),
            at_ms: row.at_ms,
        });
    }

    fn alert(&mut self, alert: Alert<'_>) {
        self.alerts.push(Told {
            id: alert.id.to_owned(),
            kind: alert.kind.to_owned(),
            account: alert.account.to_owned(),
            package: alert.package.map(str::to_owned),
            bucket: alert.bucket.map(str::to_owned),
            period_ms: alert.period_start_ms,
            counter: alert.counter.to_owned(),
            threshold: alert.threshold,
            used: alert.used,
            allowance: alert.allowance,
            at_ms: alert.at_ms,
            event: alert.event.map(|event| event.1.to_owned()),
            superseded_by: alert.superseded_by.map(str::to_owned),
            corrects: alert.corrects.map(str::to_owned),
        });
    }
}

impl Recorder {
    /// Kind and threshold of the alerts that were sent.
    pub(super) fn sent(&self) -> Vec<(&str, i64)> {
        self.alerts
            .iter()
            .filter(|alert| alert.superseded_by.is_none())
            .map(|alert| (alert.kind.as_str(), alert.threshold))
            .collect()
    }

    pub(super) fn of_kind(&self, kind: EntryKind) -> impl Iterator<Item = &Row> {
        self.rows.iter().filter(move |row| row.kind == kind)
    }

    /// Bucket and whole points of each debit.
    pub(super) fn debits(&self) -> Vec<(&str, i128)> {
        self.of_kind(EntryKind::Debit)
            .map(|row| (row.bucket.as_deref().unwrap(), -row.points / i128::from(MICRO)))
            .collect()
    }
}

/// The same points by every table but `double` and `none`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Points(pub(super) i128);

impl Weigh for Points {
    fn points_micro(&self, weights: &str) -> Result<i128, WeighError> {
        match weights {
            "double" => Ok(self.0 * 2),
            "none" => Err(WeighError::UnknownTable),
            _ => Ok(self.0),
        }
    }
}

/// A usage of `points`; the rest as for most tests.
#[derive(Debug, Clone)]
pub(super) struct Use {
    pub(super) account: &'static str,
    pub(super) points_micro: i128,
    pub(super) at_ms: i64,
    pub(super) started_ms: i64,
    pub(super) subscriber: &'static str,
    pub(super) model: &'static str,
    pub(super) billed_model: &'static str,
    pub(super) product: Option<&'static str>,
    pub(super) wholesale_pico: i128,
}

/// A usage of whole points at a time.
pub(super) fn usage(points: i64, at_ms: i64) -> Use {
    Use {
        account: "A1",
        points_micro: i128::from(points) * i128::from(MICRO),
        at_ms,
        started_ms: at_ms,
        subscriber: "S1",
        model: "glm-5",
        billed_model: "glm-5",
        product: None,
        wholesale_pico: 7,
    }
}

/// A quota with its watermark.
#[derive(Debug)]
pub(super) struct World {
    pub(super) quota: Quota,
    pub(super) watermark: Option<i64>,
    events: u32,
}

impl World {
    pub(super) fn new(packages: Value) -> Self {
        Self::with_tariffs(packages, json!([tariff("payg", json!({}))]))
    }

    pub(super) fn with_tariffs(packages: Value, tariffs: Value) -> Self {
        let quota = Quota::new(reference_of(packages, tariffs));
        Self { quota, watermark: None, events: 0 }
    }

    /// Raises the watermark.
    pub(super) fn advance(&mut self, watermark_ms: i64) -> Recorder {
        let mut told = Recorder::default();
        self.watermark = Some(watermark_ms);
        self.quota.advance(watermark_ms, &mut told);
        told
    }

    pub(super) fn try_charge(&mut self, usage: &Use) -> Result<(Charged, Recorder), ChargeError> {
        let mut told = Recorder::default();
        self.events += 1;
        let event = ChargeEvent {
            source: "gw",
            id: &self.events.to_string(),
            account: usage.account,
            subscriber: usage.subscriber,
            model: usage.model,
            billed_model: usage.billed_model,
            product: usage.product,
            started_at_ms: usage.started_ms,
            completed_at_ms: usage.at_ms,
            log_time_ms: usage.at_ms + 300,
            wholesale_pico: usage.wholesale_pico,
            wholesale_currency: Some(Currency::CNY),
        };
        let weigh = Points(usage.points_micro);
        let charged = self.quota.charge(&event, &weigh, self.watermark, &mut told)?;
        Ok((charged, told))
    }

    /// Takes back an event that was charged with these rows.
    pub(super) fn reverse(&mut self, usage: &Use, id: &str, rows: &[Row]) -> Recorder {
        let charge = |row: &Row| Charge {
            kind: match row.kind {
                EntryKind::Debit => ChargeKind::Debit,
                EntryKind::Payg => ChargeKind::Payg,
                EntryKind::Overrun => ChargeKind::Overrun,
                other => panic!("{other:?} charges no event"),
            },
            bucket: row.bucket.clone(),
            package: row.package.clone(),
            cause: row.cause.map(|cause| cause.name().to_owned()),
            points_micro: -row.points,
            amount_pico: row.amount,
            currency: row.currency,
        };
        let charges: Vec<Charge> = rows.iter().map(charge).collect();
        let reversal = Reversal {
            row: ("gw", id),
            account: usage.account,
            subscriber: usage.subscriber,
            completed_at_ms: usage.at_ms,
            charges: &charges,
        };
        let mut told = Recorder::default();
        self.quota.reverse(&reversal, self.watermark, &mut told).unwrap();
        told
    }

    pub(super) fn charge(&mut self, usage: &Use) -> Recorder {
        self.try_charge(usage).unwrap().1
    }

    /// Charges whole points at a time.
    pub(super) fn use_at(&mut self, points: i64, at_ms: i64) -> Recorder {
        self.charge(&usage(points, at_ms))
    }

    pub(super) fn try_command(&mut self, command: Value) -> Result<Recorder, CommandError> {
        let mut told = Recorder::default();
        let mut command = command;
        if command.get("account").is_none() {
            command["account"] = "A1".into();
        }
        let command = Command::from_value(&command)?;
        self.quota.command(&command, self.watermark, &mut told)?;
        Ok(told)
    }

    pub(super) fn command(&mut self, command: Value) -> Recorder {
        self.try_command(command).unwrap()
    }

    /// The code with which a command is held back.
    pub(super) fn refused(&mut self, command: Value) -> &'static str {
        self.try_command(command).unwrap_err().code()
    }

    pub(super) fn buy(&mut self, id: &str, package: &str, at_ms: i64) -> Recorder {
        self.command(json!({"command": "purchase", "id": id, "package": package, "at": at_ms}))
    }

    pub(super) fn consent(&mut self, tariff: &str) {
        self.command(json!({
            "command": "set_flags", "id": "consent", "at": 0, "flags": {"overflow": tariff},
        }));
    }

    /// Start and end of a bucket.
    pub(super) fn period(&self, bucket: &str) -> (i64, i64) {
        let status = self.quota.status("A1", 0, self.watermark).unwrap().unwrap();
        let found = status.buckets.iter().find(|found| found.bucket == bucket).unwrap();
        (found.valid_from_ms, found.valid_to_ms)
    }
}

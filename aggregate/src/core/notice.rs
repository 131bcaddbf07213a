//! What a partition says at once, before the epoch that it belongs to is durable.

use tally_budget::BudgetAlert;
use tally_quota::Alert;
use tally_schemas::{AlertEvent, AlertMessage, LogPosition, Whole};

/// Something that leaves the process at once. A replay gives the same alerts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "few at a time, and gone at once")]
pub enum Notice {
    /// An alert that fired, for the topic `usage.alerts`.
    Alert(AlertNotice),
    /// What an account has, for the topic `quota.status`. A replay tells the same turns, but may
    /// tell them earlier or later.
    Status(StatusNotice),
}

/// What an account has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusNotice {
    /// The account, which is the key.
    pub account: String,
    /// The message.
    pub message: String,
}

/// An alert that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertNotice {
    /// The message.
    pub message: AlertMessage,
    /// When the log received the record that caused it, milliseconds UTC.
    pub logged_at_ms: i64,
}

impl AlertNotice {
    /// An alert as a message of its own.
    pub(crate) fn of(alert: &Alert<'_>, position: LogPosition, logged_at_ms: i64) -> Self {
        let own = |text: Option<&str>| text.map(str::to_owned);
        let message = AlertMessage {
            id: alert.id.to_owned(),
            kind: alert.kind.to_owned(),
            account: Some(alert.account.to_owned()),
            subscriber: own(alert.subscriber),
            // Budgets of models are another stage's.
            model: None,
            package: own(alert.package),
            bucket: own(alert.bucket),
            period_start: alert.period_start_ms,
            counter: alert.counter.to_owned(),
            threshold: Whole(alert.threshold.into()),
            used: Whole(alert.used),
            allowance: alert.allowance.map(Whole),
            at: alert.at_ms,
            event: alert
                .event
                .map(|(source, id)| AlertEvent { source: source.to_owned(), id: id.to_owned() }),
            command: own(alert.command),
            corrects: own(alert.corrects),
            position: Some(position),
        };
        Self { message, logged_at_ms }
    }

    /// An alert of a budget or commitment; `position` is in the topic of increments.
    pub(crate) fn of_budget(alert: &BudgetAlert, position: LogPosition, logged_at_ms: i64) -> Self {
        let message = AlertMessage {
            id: alert.id.clone(),
            kind: alert.kind.name().to_owned(),
            model: Some(alert.subject.clone()),
            package: Some(alert.budget.clone()),
            period_start: alert.period_start_ms,
            counter: alert.counter.clone(),
            threshold: Whole(alert.threshold.into()),
            used: Whole(alert.used_micro),
            allowance: Some(Whole(alert.allowance_micro)),
            at: alert.at_ms,
            position: Some(position),
            ..AlertMessage::default()
        };
        Self { message, logged_at_ms }
    }
}

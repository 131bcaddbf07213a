//! Charges the lines of the protocol in `docs/quota.md`: for the replay example and for the
//! comparison with the oracle.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tally_quota::{
    Alert, BadAccount, ChargeError, ChargeEvent, Charged, Command, LedgerRow, Quota,
    QuotaReference, QuotaSink, Weigh, WeighError,
};
use tally_schemas::Currency;

/// The largest integer that every reader of JSON holds.
const EXACT_MAX: i128 = 1 << 53;

fn number(value: i128) -> Value {
    if value.abs() <= EXACT_MAX {
        i64::try_from(value).map_or(Value::Null, Value::from)
    } else {
        value.to_string().into()
    }
}

#[derive(Debug, Default)]
struct Lines {
    entries: Vec<Value>,
    alerts: Vec<Value>,
}

impl QuotaSink for Lines {
    fn entry(&mut self, row: LedgerRow<'_>) {
        self.entries.push(json!({
            "account": row.account,
            "subscriber": row.subscriber,
            "bucket": row.bucket,
            "package": row.package,
            "kind": row.kind.name(),
            "cause": row.cause.map(|cause| cause.name()),
            "points_micro": number(row.points_micro),
            "amount_pico": row.amount_pico.to_string(),
            "currency": row.currency.map(|currency| currency.code().to_owned()),
            "balance_after_micro": row.balance_after_micro.map(number),
            "event_source": row.event.map(|event| event.0),
            "event_id": row.event.map(|event| event.1),
            "command_id": row.command,
            "at": row.at_ms,
        }));
    }

    fn alert(&mut self, alert: Alert<'_>) {
        self.alerts.push(json!({
            "id": alert.id,
            "kind": alert.kind,
            "account": alert.account,
            "subscriber": alert.subscriber,
            "package": alert.package,
            "bucket": alert.bucket,
            "period_start": alert.period_start_ms,
            "counter": alert.counter,
            "threshold": number(alert.threshold.into()),
            "used": number(alert.used),
            "allowance": alert.allowance.map(number),
            "at": alert.at_ms,
            "event_source": alert.event.map(|event| event.0),
            "event_id": alert.event.map(|event| event.1),
            "command_id": alert.command,
            "superseded_by": alert.superseded_by,
            "corrects": alert.corrects,
        }));
    }
}

#[derive(Debug, Deserialize)]
struct EventLine {
    source: String,
    id: String,
    account: String,
    subscriber: String,
    model: String,
    billed_model: Option<String>,
    product: Option<String>,
    started_at: i64,
    completed_at: i64,
    log_time: i64,
    points_micro: BTreeMap<String, String>,
    wholesale_pico: String,
    wholesale_currency: Option<String>,
}

impl Weigh for EventLine {
    fn points_micro(&self, weights: &str) -> Result<i128, WeighError> {
        let points = self.points_micro.get(weights).ok_or(WeighError::UnknownTable)?;
        points.parse().map_err(|_| WeighError::Overflow)
    }
}

/// What has been charged so far.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    quota: Option<Quota>,
    watermark_ms: Option<i64>,
    lines: u64,
    /// Contents of commands that were carried out, by account and id.
    carried_out: BTreeMap<(String, String), u64>,
}

impl Replay {
    /// The answer to the next line.
    ///
    /// # Errors
    /// Where the line is no JSON.
    pub(crate) fn answer(&mut self, line: &str) -> serde_json::Result<Value> {
        self.lines += 1;
        let mut sink = Lines::default();
        let (error, charged) = match self.line(line, &serde_json::from_str(line)?, &mut sink) {
            Ok(charged) => (None, charged),
            Err(code) => (Some(code), None),
        };
        let charged = charged.map(|charged| {
            json!({
                "points_micro": number(charged.points_micro),
                "retail_pico": charged.retail_pico.to_string(),
                "retail_currency": charged.retail_currency.map(|c| c.code().to_owned()),
            })
        });
        Ok(json!({
            "line": self.lines,
            "error": error,
            "charged": charged,
            "entries": sink.entries,
            "alerts": sink.alerts,
        }))
    }

    /// Goes on with the accounts as they are stored, as a later owner of the partition does.
    ///
    /// # Errors
    /// Where an account's bytes do not parse.
    pub(crate) fn restart(&mut self) -> Result<(), BadAccount> {
        let Some(quota) = &self.quota else { return Ok(()) };
        let mut later = Quota::new(Arc::clone(quota.reference()));
        for (account, bytes) in quota.all() {
            later.restore(account, &bytes)?;
        }
        self.quota = Some(later);
        Ok(())
    }

    /// Works on one line. The error is a code.
    fn line(
        &mut self,
        line: &str,
        value: &Value,
        sink: &mut Lines,
    ) -> Result<Option<Charged>, String> {
        if let Some(reference) = value.get("reference") {
            let reference =
                QuotaReference::from_json(reference).map_err(|error| error.to_string())?;
            self.quota = Some(Quota::new(Arc::new(reference)));
            return Ok(None);
        }
        let quota = self.quota.as_mut().ok_or("no_reference")?;
        if let Some(watermark) = value.get("watermark").and_then(Value::as_i64) {
            if self.watermark_ms.is_none_or(|before| watermark > before) {
                self.watermark_ms = Some(watermark);
                quota.advance(watermark, sink);
            }
            return Ok(None);
        }
        if let Some(command) = value.get("command") {
            // As bytes, so that it is read as it would be from the log; as it stands, where it can
            // be cut out.
            let cut = line.trim().strip_prefix("{\"command\":").and_then(|l| l.strip_suffix('}'));
            let text = cut.map_or_else(|| command.to_string(), str::to_owned);
            return self.command(text.as_bytes(), sink).map(|()| None);
        }
        let event = value.get("event").ok_or("unknown_line")?;
        let event = EventLine::deserialize(event).map_err(|error| error.to_string())?;
        self.event(&event, sink).map(Some).map_err(|error| error.code().to_owned())
    }

    fn command(&mut self, bytes: &[u8], sink: &mut Lines) -> Result<(), String> {
        let Some(quota) = self.quota.as_mut() else { return Ok(()) };
        let command = Command::parse(bytes).map_err(|error| error.code().to_owned())?;
        let identity = (command.account.clone(), command.id.clone());
        match self.carried_out.get(&identity) {
            Some(content) if *content == command.content_hash() => return Ok(()),
            Some(_) => return Err("conflicting_duplicate".to_owned()),
            None => {}
        }
        quota
            .command(&command, self.watermark_ms, sink)
            .map_err(|error| error.code().to_owned())?;
        self.carried_out.insert(identity, command.content_hash());
        Ok(())
    }

    fn event(&mut self, line: &EventLine, sink: &mut Lines) -> Result<Charged, ChargeError> {
        let Some(quota) = self.quota.as_mut() else { return Ok(Charged::default()) };
        let event = ChargeEvent {
            source: &line.source,
            id: &line.id,
            account: &line.account,
            subscriber: &line.subscriber,
            model: &line.model,
            billed_model: line.billed_model.as_deref().unwrap_or(&line.model),
            product: line.product.as_deref(),
            started_at_ms: line.started_at,
            completed_at_ms: line.completed_at,
            log_time_ms: line.log_time,
            wholesale_pico: line.wholesale_pico.parse().map_err(|_| ChargeError::AmountOverflow)?,
            wholesale_currency: line.wholesale_currency.as_deref().and_then(Currency::parse),
        };
        quota.charge(&event, line, self.watermark_ms, sink)
    }
}

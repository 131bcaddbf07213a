//! Charges rated events and carries out account commands: the accounts of one partition, and what
//! they did since the epoch began.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use tally_quota::{
    Alert, ChargeError, ChargeEvent, Charged, Command, CommandError, EntryKind, LedgerRow, Quota,
    QuotaReference, QuotaSink, Reversal, Weigh, WeighError,
};
use tally_rating::{Call, HoldReason, LaneNumber, Rater};
use tally_schemas::LogPosition;

use crate::core::event_rating::Unrated;
use crate::core::notice::{AlertNotice, Notice};
use crate::core::quota_rows::{AlertRows, Cause, QuotaLedgerRows};

/// The points of one event, by any table of weights.
pub(crate) struct EventWeigher<'a> {
    pub(crate) rater: RefCell<&'a mut Rater>,
    pub(crate) lane: LaneNumber,
    pub(crate) product: Option<&'a str>,
    pub(crate) call: Call<'a>,
    /// Why it has no points, where it was asked for them and has none.
    pub(crate) lacks: Cell<Option<String>>,
}

impl EventWeigher<'_> {
    /// Why the event could not be charged, with what the weights lack.
    pub(crate) fn unrated(&self, error: ChargeError) -> Unrated {
        let unrated = Unrated::from(error);
        match self.lacks.take() {
            Some(what) => Unrated { what, ..unrated },
            None => unrated,
        }
    }
}

impl Weigh for EventWeigher<'_> {
    fn points_micro(&self, weights: &str) -> Result<i128, WeighError> {
        let mut rater = self.rater.borrow_mut();
        let points = rater.points_micro(self.lane, weights, self.product, &self.call);
        points.map_err(|held| {
            self.lacks.set(Some(held.what));
            match held.reason {
                HoldReason::UnknownWeights => WeighError::UnknownTable,
                _ => WeighError::Other("unknown_calendar_year"),
            }
        })
    }
}

/// The record that makes the accounts move.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mover {
    pub(crate) cause: Cause,
    pub(crate) partition: u32,
    /// When the log received it, milliseconds UTC.
    pub(crate) logged_at_ms: i64,
}

/// Takes what charging tells into the columns of the epoch, and what is to be said at once.
struct Told<'e> {
    ledger: &'e mut QuotaLedgerRows,
    alerts: &'e mut AlertRows,
    notices: &'e mut Vec<Notice>,
    mover: Mover,
    /// Packages and tariffs that charged the event, in their order, each once.
    payers: &'e mut String,
}

impl QuotaSink for Told<'_> {
    fn entry(&mut self, row: LedgerRow<'_>) {
        self.ledger.push(&row, self.mover.cause);
        if let (EntryKind::Debit | EntryKind::Payg, Some(package)) = (row.kind, row.package) {
            if self.payers.is_empty() {
                self.payers.push_str(package);
            } else if !self.payers.split(',').any(|payer| payer == package) {
                self.payers.push(',');
                self.payers.push_str(package);
            }
        }
    }

    fn alert(&mut self, alert: Alert<'_>) {
        self.alerts.push(&alert, self.mover.cause);
        // A higher one of the same event is sent in its stead.
        if alert.superseded_by.is_none() {
            let Mover { cause, partition, logged_at_ms } = self.mover;
            let position = LogPosition { partition, offset: cause.offset };
            self.notices.push(Notice::Alert(AlertNotice::of(&alert, position, logged_at_ms)));
        }
    }
}

/// The accounts of one partition.
#[derive(Debug, Clone)]
pub(crate) struct QuotaStage {
    pub(crate) quota: Quota,
    /// What was not taken yet.
    pub(crate) notices: Vec<Notice>,
    payers: String,
}

impl QuotaStage {
    /// Accounts without state. `follows_numbers`: gateways are told of numbers too.
    pub(crate) fn new(reference: Arc<QuotaReference>, follows_numbers: bool) -> Self {
        let mut quota = Quota::new(reference);
        quota.follow_numbers(follows_numbers);
        Self { quota, notices: Vec::new(), payers: String::new() }
    }

    /// Whether it knows no package at all, as one that only reads other state.
    pub(crate) fn is_blind(&self) -> bool {
        let reference = self.quota.reference();
        reference.packages().is_empty() && reference.tariffs().is_empty()
    }

    /// Fires what is due by the watermark.
    pub(crate) fn advance(
        &mut self,
        watermark_ms: i64,
        (ledger, alerts): (&mut QuotaLedgerRows, &mut AlertRows),
        mover: Mover,
    ) {
        let Self { quota, notices, payers } = self;
        quota.advance(watermark_ms, &mut Told { ledger, alerts, notices, mover, payers });
    }

    /// Charges an event; tells who paid, with commas, in a text that [`QuotaStage::reuse`] takes
    /// back.
    ///
    /// # Errors
    /// Where it cannot be charged; then nothing has changed.
    pub(crate) fn charge(
        &mut self,
        event: &ChargeEvent<'_>,
        weigher: &EventWeigher<'_>,
        watermark_ms: Option<i64>,
        (ledger, alerts): (&mut QuotaLedgerRows, &mut AlertRows),
        mover: Mover,
    ) -> Result<(Charged, String), ChargeError> {
        let Self { quota, notices, payers } = self;
        payers.clear();
        let mut told = Told { ledger, alerts, notices, mover, payers };
        let charged = quota.charge(event, weigher, watermark_ms, &mut told)?;
        Ok((charged, std::mem::take(payers)))
    }

    /// Takes back the memory of a text that [`QuotaStage::charge`] gave, for the next event.
    pub(crate) fn reuse(&mut self, payers: String) {
        self.payers = payers;
    }

    /// Takes back what an event was charged.
    ///
    /// # Errors
    /// Where the account's state does not parse; then nothing has changed.
    pub(crate) fn reverse(
        &mut self,
        reversal: &Reversal<'_>,
        watermark_ms: Option<i64>,
        (ledger, alerts): (&mut QuotaLedgerRows, &mut AlertRows),
        mover: Mover,
    ) -> Result<(), ChargeError> {
        let Self { quota, notices, payers } = self;
        quota.reverse(reversal, watermark_ms, &mut Told { ledger, alerts, notices, mover, payers })
    }

    /// Carries a command out.
    ///
    /// # Errors
    /// Why it is held back; then nothing has changed.
    pub(crate) fn carry_out(
        &mut self,
        command: &Command,
        watermark_ms: Option<i64>,
        (ledger, alerts): (&mut QuotaLedgerRows, &mut AlertRows),
        mover: Mover,
    ) -> Result<(), CommandError> {
        let Self { quota, notices, payers } = self;
        quota.command(command, watermark_ms, &mut Told { ledger, alerts, notices, mover, payers })
    }
}

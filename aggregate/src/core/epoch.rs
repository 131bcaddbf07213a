//! What an epoch gathers while it is open, and what becomes of it when it closes.

use tally_schemas::{ControlTotals, LogClock, ReferenceVersion};
use xxhash_rust::xxh3::Xxh3Default;

use crate::core::control_total_rows::ControlTotalRows;
use crate::core::event_columns::EventColumns;
use crate::core::model_windows::ModelRows;
use crate::core::quota_rows::{AlertRows, QuotaLedgerRows};
use crate::core::resolution_rows::ResolutionRows;
use crate::core::subscriber_windows::SubscriberRows;
use crate::core::suspense_rows::SuspenseRows;

/// What an epoch gathers.
#[derive(Clone)]
pub(crate) struct Epoch {
    pub(crate) from: u64,
    pub(crate) hash: Xxh3Default,
    pub(crate) events: EventColumns,
    pub(crate) subscriber_rows: SubscriberRows,
    pub(crate) model_rows: ModelRows,
    pub(crate) suspense: SuspenseRows,
    pub(crate) control_totals: ControlTotalRows,
    pub(crate) resolutions: ResolutionRows,
    pub(crate) quota_ledger: QuotaLedgerRows,
    pub(crate) alerts: AlertRows,
    pub(crate) totals: ControlTotals,
}

/// Emptied columns of an epoch that is stored. Their memory serves a later one.
#[derive(Debug, Clone, Default)]
pub struct SpareColumns {
    pub(crate) events: EventColumns,
    pub(crate) subscriber_rows: SubscriberRows,
    pub(crate) model_rows: ModelRows,
    pub(crate) quota_ledger: QuotaLedgerRows,
    pub(crate) alerts: AlertRows,
}

/// Rows of a column that is worth keeping: the end of an hour may write a window of every
/// subscriber, and the memory for that is not needed again before the next.
const SPARE_ROWS_MAX: usize = if cfg!(test) { 64 } else { 1 << 18 };

impl SpareColumns {
    /// Empties the columns, and gives back the memory of those that were out of the ordinary.
    pub(crate) fn clear(&mut self) {
        let Self { events, subscriber_rows, model_rows, quota_ledger, alerts } = self;
        if events.len() > SPARE_ROWS_MAX {
            *events = EventColumns::default();
        }
        if subscriber_rows.len() > SPARE_ROWS_MAX {
            *subscriber_rows = SubscriberRows::default();
        }
        if model_rows.len() > SPARE_ROWS_MAX {
            *model_rows = ModelRows::default();
        }
        if quota_ledger.len() > SPARE_ROWS_MAX {
            *quota_ledger = QuotaLedgerRows::default();
        }
        events.clear();
        quota_ledger.clear();
        alerts.clear();
        subscriber_rows.clear();
        model_rows.clear();
    }
}

impl Epoch {
    pub(crate) fn new(from: u64, spare: SpareColumns) -> Self {
        Self {
            from,
            hash: Xxh3Default::new(),
            events: spare.events,
            subscriber_rows: spare.subscriber_rows,
            model_rows: spare.model_rows,
            suspense: SuspenseRows::default(),
            control_totals: ControlTotalRows::default(),
            resolutions: ResolutionRows::default(),
            quota_ledger: spare.quota_ledger,
            alerts: spare.alerts,
            totals: ControlTotals::default(),
        }
    }
}

/// What an epoch gathered, on its way to the store.
#[derive(Debug, Clone)]
pub struct ClosedEpoch {
    /// First offset.
    pub from: u64,
    /// Next offset.
    pub to: u64,
    /// XXH3-128 of the input, in hex.
    pub input_hash: String,
    /// Control totals of the epoch.
    pub totals: ControlTotals,
    /// Control totals since the first offset.
    pub cumulative: ControlTotals,
    /// Watermark after the epoch.
    pub watermark_ms: Option<i64>,
    /// How far the time of the log is.
    pub clock: Option<LogClock>,
    /// Version of the reference data that rated it.
    pub reference: ReferenceVersion,
    /// Version that rates what comes after it. The same, unless whoever commits the epoch says
    /// otherwise.
    pub next_reference: ReferenceVersion,
    /// Version of the price book.
    pub price_book_version: String,
    pub(crate) partition: u32,
    pub(crate) events: EventColumns,
    pub(crate) subscriber_rows: SubscriberRows,
    pub(crate) subscriber_window_ms: i64,
    pub(crate) model_rows: ModelRows,
    pub(crate) model_window_ms: i64,
    pub(crate) suspense: SuspenseRows,
    pub(crate) control_totals: ControlTotalRows,
    pub(crate) resolutions: ResolutionRows,
    pub(crate) quota_ledger: QuotaLedgerRows,
    pub(crate) alerts: AlertRows,
    pub(crate) state: EpochState,
    pub(crate) segments: Vec<(String, Vec<u8>)>,
}

/// The state object of an epoch.
#[derive(Debug, Clone)]
pub(crate) enum EpochState {
    /// Everything.
    Base(Vec<u8>),
    /// What the epoch changed.
    Delta(Vec<u8>),
}

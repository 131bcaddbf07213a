//! What became of a single event, for those who ask one by one.

/// What became of the event that was pushed last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LastOutcome {
    Accepted(AcceptedRow),
    HeldBack { reason: String, why: Option<String> },
    Duplicate,
}

/// What the row of an accepted event says of its price.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AcceptedRow {
    pub(crate) billed_model: String,
    pub(crate) points_micro: Option<i128>,
    pub(crate) retail_pico: Option<i128>,
    pub(crate) wholesale_pico: Option<i128>,
    pub(crate) wholesale_currency: Option<String>,
    pub(crate) wholesale_price_ids: Option<String>,
}

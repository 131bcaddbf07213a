//! What became of deliveries, for metrics and people.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// One receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiverStatus {
    /// Alerts delivered since the process began.
    pub delivered: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Alerts given up.
    pub dead_letters: u64,
    /// Alerts read that are not delivered yet.
    pub waiting: u64,
    /// What the last attempt failed with, where none has succeeded since.
    pub failing: Option<String>,
    /// Why nothing more is sent to it.
    pub stopped: Option<String>,
}

/// Every receiver by its name. Clones are the same one.
#[derive(Debug, Clone, Default)]
pub struct WebhookStatus(Arc<Mutex<BTreeMap<String, ReceiverStatus>>>);

impl FromIterator<(String, ReceiverStatus)> for WebhookStatus {
    fn from_iter<Receivers: IntoIterator<Item = (String, ReceiverStatus)>>(of: Receivers) -> Self {
        Self(Arc::new(Mutex::new(of.into_iter().collect())))
    }
}

impl WebhookStatus {
    /// Every receiver by its name.
    pub fn receivers(&self) -> BTreeMap<String, ReceiverStatus> {
        self.0.lock().clone()
    }

    pub(crate) fn update(&self, receiver: &str, change: impl FnOnce(&mut ReceiverStatus)) {
        change(self.0.lock().entry(receiver.to_owned()).or_default());
    }
}

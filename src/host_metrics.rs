//! What a process sees of the machine it is on and of what it depends on: its certificate, its disks,
//! its clock, and what is wrong, by cause.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tally_schemas::Config;
use tokio_util::sync::CancellationToken;

use crate::disks::{DiskRoom, Folder, folders, room_of};
use crate::exit::Failure;
use crate::looks::{Depends, look, table_trouble};
use crate::security::Security;
use crate::trouble::{Cause, Trouble};

/// Pause between two looks. With what a look may take, trouble is named within half a minute.
const INTERVAL: Duration = Duration::from_secs(5);
/// The tables are looked at each so many looks: it takes two requests a table.
const TABLES_EVERY: u32 = 3;

/// That nothing is known of the store's clock.
const UNKNOWN: i64 = i64::MIN;

/// What is known of the machine.
#[derive(Debug, Clone)]
pub(crate) struct HostWatch {
    folders: Vec<Folder>,
    /// End of the certificate, milliseconds UTC.
    certificate_end_ms: Option<i64>,
    clock_ahead_ms: Arc<AtomicI64>,
    troubles: Arc<Mutex<Vec<Trouble>>>,
}

impl HostWatch {
    /// What a process with this configuration has.
    pub(crate) fn new(config: &Config, security: &Security) -> Result<Self, Failure> {
        let valid = security.certificate.as_ref().map(|certificate| certificate.valid_ms());
        Ok(Self {
            folders: folders(config),
            certificate_end_ms: valid.transpose()?.map(|valid| *valid.end()),
            clock_ahead_ms: Arc::new(AtomicI64::new(UNKNOWN)),
            troubles: Arc::default(),
        })
    }

    /// One that knows everything, so that every metric is shown.
    #[cfg(test)]
    pub(crate) fn for_reference() -> Self {
        Self {
            folders: folders(&Config::default()),
            certificate_end_ms: Some(0),
            clock_ahead_ms: Arc::default(),
            troubles: Arc::default(),
        }
    }

    /// Looks at what the process depends on from now on, and says in the log what is wrong, and
    /// when it is over.
    pub(crate) fn watch(&self, depends: Depends, stop: CancellationToken) {
        let (ahead, troubles) = (Arc::clone(&self.clock_ahead_ms), Arc::clone(&self.troubles));
        tokio::spawn(async move {
            let (mut looks, mut gone) = (0_u32, None);
            loop {
                if looks.is_multiple_of(TABLES_EVERY) {
                    gone = table_trouble(&depends).await;
                }
                looks = looks.wrapping_add(1);
                let mut seen = look(&depends).await;
                seen.troubles.extend(gone.clone());
                // Nothing is known of the clock of a store that is away.
                ahead.store(seen.clock_ahead_ms.unwrap_or(UNKNOWN), Ordering::Relaxed);
                let before = std::mem::replace(&mut *troubles.lock(), seen.troubles.clone());
                say_changes(&before, &seen.troubles);
                tokio::select! {
                    () = tokio::time::sleep(INTERVAL) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }

    /// What was wrong at the last look.
    pub(crate) fn troubles(&self) -> Vec<Trouble> {
        self.troubles.lock().clone()
    }

    /// Adds the metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
    }
}

/// Says what has begun and what is over since the last look.
fn say_changes(before: &[Trouble], now: &[Trouble]) {
    let has = |troubles: &[Trouble], cause: Cause| troubles.iter().any(|of| of.cause == cause);
    for trouble in now.iter().filter(|trouble| !has(before, trouble.cause)) {
        let (cause, advice) = (trouble.cause.name(), trouble.cause.advice());
        tracing::error!(cause, advice, "{trouble}");
    }
    for over in before.iter().filter(|trouble| !has(now, trouble.cause)) {
        tracing::info!(cause = over.cause.name(), "over: {}", over.cause.words());
    }
}

impl Collector for HostWatch {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        type Room = fn(&DiskRoom) -> u64;
        let gauges: [(&str, &str, Room); 2] = [
            (
                "tally_disk_free_bytes",
                "Bytes that can still be written to the disk of a folder: log, store, or temporary",
                |room| room.free,
            ),
            ("tally_disk_size_bytes", "Size of the disk of a folder", |room| room.size),
        ];
        for (name, help, room) in gauges {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for folder in &self.folders {
                // A folder that cannot be looked at has no number; nought would be a full disk.
                if let Ok(found) = room_of(&folder.path) {
                    let bytes = i64::try_from(room(&found)).unwrap_or(i64::MAX);
                    let labels = [("folder", folder.holds)];
                    ConstGauge::new(bytes).encode(family.encode_family(&labels)?)?;
                }
            }
        }
        if let Some(end_ms) = self.certificate_end_ms {
            let name = "tally_tls_certificate_expiry_timestamp_seconds";
            let help = "When the certificate of the listeners expires, Unix time";
            let gauge = ConstGauge::new(end_ms.div_euclid(1_000));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let ahead_ms = self.clock_ahead_ms.load(Ordering::Relaxed);
        if ahead_ms != UNKNOWN {
            let name = "tally_clock_offset_seconds";
            let help = "This machine's clock less the store's, to a second: positive is ahead";
            let gauge = ConstGauge::new(ahead_ms / 1_000);
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        let (name, help) =
            ("tally_trouble", "1 where this process is kept from running well by a cause");
        let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
        let troubles = self.troubles();
        // Each is there from the start: what has not been seen is told from what is not wrong.
        for cause in Cause::ALL {
            let wrong = troubles.iter().any(|trouble| trouble.cause == cause);
            let labels = [("cause", cause.name())];
            ConstGauge::new(i64::from(wrong)).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tally_access::SignIns;

    fn text(watch: &HostWatch) -> String {
        let mut registry = Registry::default();
        watch.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_is_not_known_has_no_number() {
        let security = Security { users: None, certificate: None, sign_ins: SignIns::default() };
        let mut watch = HostWatch::new(&Config::default(), &security).unwrap();
        let before = text(&watch);
        assert!(before.contains("tally_disk_free_bytes{folder=\"temporary\"} "), "{before}");
        assert!(!before.contains("tally_clock") && !before.contains("tally_tls"), "{before}");
        watch.certificate_end_ms = Some(1_795_996_800_999);
        watch.clock_ahead_ms.store(-61_500, Ordering::Relaxed);
        let after = text(&watch);
        assert!(
            after.contains("tally_tls_certificate_expiry_timestamp_seconds 1795996800\n"),
            "{after}"
        );
        assert!(after.contains("tally_clock_offset_seconds -61\n"), "{after}");
        assert!(after.contains("tally_trouble{cause=\"store_full\"} 0\n"), "{after}");
        *watch.troubles.lock() = vec![Trouble::new(Cause::StoreFull, "s3://b: no room")];
        let after = text(&watch);
        assert!(after.contains("tally_trouble{cause=\"store_full\"} 1\n"), "{after}");
        assert!(after.contains("tally_trouble{cause=\"store_away\"} 0\n"), "{after}");
    }
}

//! What a process sees of the machine it is on: its certificate, its disks, its clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use object_store::ObjectStore;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use tally_schemas::Config;
use tokio_util::sync::CancellationToken;

use crate::disks::{DiskRoom, Folder, folders, room_of};
use crate::exit::Failure;
use crate::security::Security;
use crate::store_clock;

/// How often the clock is compared with the store's.
const CLOCK_INTERVAL: Duration = Duration::from_secs(60);

/// That nothing is known of the store's clock.
const UNKNOWN: i64 = i64::MIN;

/// What is known of the machine.
#[derive(Debug, Clone)]
pub(crate) struct HostWatch {
    folders: Vec<Folder>,
    /// End of the certificate, milliseconds UTC.
    certificate_end_ms: Option<i64>,
    clock_ahead_ms: Arc<AtomicI64>,
}

impl HostWatch {
    /// What a process with this configuration has.
    pub(crate) fn new(config: &Config, security: &Security) -> Result<Self, Failure> {
        let valid = security.certificate.as_ref().map(|certificate| certificate.valid_ms());
        Ok(Self {
            folders: folders(config),
            certificate_end_ms: valid.transpose()?.map(|valid| *valid.end()),
            clock_ahead_ms: Arc::new(AtomicI64::new(UNKNOWN)),
        })
    }

    /// One that knows everything, so that every metric is shown.
    #[cfg(test)]
    pub(crate) fn for_reference() -> Self {
        Self {
            folders: folders(&Config::default()),
            certificate_end_ms: Some(0),
            clock_ahead_ms: Arc::default(),
        }
    }

    /// Compares the clock with the store's from now on, where that has one of its own.
    pub(crate) fn watch_clock(
        &self,
        config: &Config,
        store: Arc<dyn ObjectStore>,
        stop: CancellationToken,
    ) {
        if !config.store_url().starts_with("s3://") {
            return;
        }
        let ahead = Arc::clone(&self.clock_ahead_ms);
        tokio::spawn(async move {
            loop {
                match store_clock::ahead_ms(store.as_ref()).await {
                    Ok(ms) => ahead.store(ms, Ordering::Relaxed),
                    // A store that is away is said elsewhere, and nothing is known of its clock.
                    Err(why) => {
                        tracing::debug!(why, "the store's clock is not known");
                        ahead.store(UNKNOWN, Ordering::Relaxed);
                    }
                }
                tokio::select! {
                    () = tokio::time::sleep(CLOCK_INTERVAL) => {}
                    () = stop.cancelled() => return,
                }
            }
        });
    }

    /// Adds the metrics.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register_collector(Box::new(self.clone()));
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
        assert!(!before.contains("clock") && !before.contains("certificate"), "{before}");
        watch.certificate_end_ms = Some(1_795_996_800_999);
        watch.clock_ahead_ms.store(-61_500, Ordering::Relaxed);
        let after = text(&watch);
        assert!(
            after.contains("tally_tls_certificate_expiry_timestamp_seconds 1795996800\n"),
            "{after}"
        );
        assert!(after.contains("tally_clock_offset_seconds -61\n"), "{after}");
    }
}

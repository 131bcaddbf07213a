//! The identity of alerts: a hash of what they are about, so that a replay gives the same alerts
//! and a receiver knows one that it has.

use crate::planted::{Bug, alerts_so_far, planted};

/// BLAKE3 of the parts, each with its length of eight bytes, little-endian, before it; the first
/// 16 bytes in hex.
pub(crate) fn identity(parts: &[&str]) -> String {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    if planted(Bug::AlertIdCounts) {
        hasher.update(&alerts_so_far().to_le_bytes());
    }
    let mut hex = hasher.finalize().to_hex().to_string();
    hex.truncate(32);
    hex
}

/// The identity of an alert of a threshold: 32 hex digits of BLAKE3 over the parts. Numbers are
/// decimal texts. What spans accounts names a model or vendor for the account, and a budget for
/// the subject.
pub fn alert_identity(
    account: &str,
    subject: &str,
    period_start_ms: i64,
    counter: &str,
    threshold: i64,
) -> String {
    identity(&[account, subject, &period_start_ms.to_string(), counter, &threshold.to_string()])
}

/// The identity of the alert that takes another one back because of a command.
pub(crate) fn corrected_identity(corrected: &str, command: &str) -> String {
    identity(&[corrected, command])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        assert_ne!(identity(&["ab", "c"]), identity(&["a", "bc"]));
        assert_eq!(identity(&["ab", "c"]).len(), 32);
        let of = |threshold| alert_identity("A1", "b1", 5, "percent_used:0", threshold);
        assert_eq!(of(80), of(80));
        assert_ne!(of(80), of(100));
    }
}

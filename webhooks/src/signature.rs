//! Signatures as Standard Webhooks 1.0 has them: HMAC-SHA256 over `id.timestamp.body`.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::error::WebhookError;

/// What secrets begin with.
const PREFIX: &str = "whsec_";
/// Bytes of a key, as the specification bounds them.
const KEY_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// The key that a receiver shares.
#[derive(Clone)]
pub struct SigningKey(Hmac<Sha256>);

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(hidden)")
    }
}

impl SigningKey {
    /// Reads `whsec_` and a key of 24 to 64 bytes in base64; the prefix may be absent.
    ///
    /// # Errors
    /// `Invalid`, without the secret in it.
    pub fn parse(secret: &str) -> Result<Self, WebhookError> {
        let invalid = |why: &str| WebhookError::Invalid(format!("secret: {why}"));
        let key = STANDARD
            .decode(secret.strip_prefix(PREFIX).unwrap_or(secret))
            .map_err(|_| invalid("expected whsec_ and a key in base64"))?;
        if !KEY_BYTES.contains(&key.len()) {
            return Err(invalid("a key has 24 to 64 bytes"));
        }
        Hmac::new_from_slice(&key).map(Self).map_err(|error| invalid(&error.to_string()))
    }

    /// The header `webhook-signature` of a message that is sent at `timestamp_s`, seconds UTC.
    pub fn sign(&self, id: &str, timestamp_s: u64, body: &[u8]) -> String {
        let mut mac = self.0.clone();
        mac.update(id.as_bytes());
        mac.update(b".");
        mac.update(timestamp_s.to_string().as_bytes());
        mac.update(b".");
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn the_published_example_is_signed_as_published() {
        let key = SigningKey::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signature =
            key.sign("msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, br#"{"test": 2432232314}"#);
        assert_eq!(signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    /// What `docs/alerts.md` shows, and `tests/python/test_alert_signature.py` verifies.
    #[test]
    fn the_documented_example_is_signed_as_documented() {
        let page = include_str!("../../docs/alerts.md");
        let value = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
            line.unwrap_or_else(|| panic!("{name} is not in docs/alerts.md"))
        };
        let key = SigningKey::parse(value("secret")).unwrap();
        let timestamp_s = value("webhook-timestamp").parse().unwrap();
        let signature = key.sign(value("webhook-id"), timestamp_s, value("body").as_bytes());
        assert_eq!(signature, value("webhook-signature"));
    }

    #[test]
    fn secrets_that_are_no_keys_are_refused_and_not_shown() {
        for secret in ["", "whsec_", "whsec_MfKQ", "whsec_!!!!", "hunter2hunter2hunter2"] {
            let error = SigningKey::parse(secret).unwrap_err().to_string();
            assert!(secret.is_empty() || !error.contains(secret) || secret == PREFIX, "{error}");
        }
        let key = SigningKey::parse("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        assert_eq!(format!("{key:?}"), "SigningKey(hidden)");
    }
}

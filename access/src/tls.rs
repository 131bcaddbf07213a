//! Certificate and key of the listeners.

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::error::AccessError;
use crate::presented::valid_ms;

/// A certificate with its chain, and its key.
#[derive(Debug)]
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Clone for Certificate {
    fn clone(&self) -> Self {
        Self { chain: self.chain.clone(), key: self.key.clone_key() }
    }
}

impl Certificate {
    /// Reads both files, PEM. The chain begins with the server's own certificate.
    ///
    /// # Errors
    /// `File` with the file that is missing, is not PEM, or does not go with the other.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, AccessError> {
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(|all| all.collect::<Result<Vec<_>, _>>())
            .map_err(|error| AccessError::file(certificate, error))?;
        if chain.is_empty() {
            return Err(AccessError::file(certificate, "no certificate in it"));
        }
        let secret =
            PrivateKeyDer::from_pem_file(key).map_err(|error| AccessError::file(key, error))?;
        let loaded = Self { chain, key: secret };
        loaded.server(&[]).map_err(|error| AccessError::file(key, error))?;
        Ok(loaded)
    }

    /// When it is valid, both ends included, milliseconds UTC: the server's own certificate, not
    /// the chain behind it.
    ///
    /// # Errors
    /// `Invalid` where it cannot be read.
    pub fn valid_ms(&self) -> Result<RangeInclusive<i64>, AccessError> {
        let invalid = |words: String| AccessError::Invalid(format!("certificate: {words}"));
        let own = self.chain.first().ok_or_else(|| invalid("there is none".to_owned()))?;
        valid_ms(own)
    }

    /// The settings of a server that speaks one of these protocols (ALPN), by preference: TLS 1.2
    /// and 1.3, no certificates of clients.
    ///
    /// # Errors
    /// `Invalid` where certificate and key do not go together.
    pub fn server(&self, protocols: &[&[u8]]) -> Result<Arc<ServerConfig>, AccessError> {
        let invalid = |error: rustls::Error| AccessError::Invalid(error.to_string());
        // Named, because the build has two of them and neither is a default.
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(invalid)?
            .with_no_client_auth()
            .with_single_cert(self.chain.clone(), self.key.clone_key())
            .map_err(invalid)?;
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        Ok(Arc::new(config))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_time_is_read() {
        let mut parameters = rcgen::CertificateParams::new(["a.example".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 1, 2);
        parameters.not_after = rcgen::date_time_ymd(2026, 11, 30);
        let key = rcgen::KeyPair::generate().unwrap();
        let made = parameters.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, secret) = (folder.path().join("crt"), folder.path().join("key"));
        std::fs::write(&certificate, made.pem()).unwrap();
        std::fs::write(&secret, key.serialize_pem()).unwrap();
        let loaded = Certificate::load(&certificate, &secret).unwrap();
        // 2026-01-02 and 2026-11-30, midnight UTC.
        assert_eq!(loaded.valid_ms().unwrap(), 1_767_312_000_000..=1_795_996_800_000);
    }

    #[test]
    fn files_that_do_not_go_together_are_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let made = |host: &str| rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let (one, other) = (made("a.example"), made("b.example"));
        let certificate = write("a.crt", &one.cert.pem());
        let key = write("a.key", &one.signing_key.serialize_pem());
        let wrong = write("b.key", &other.signing_key.serialize_pem());
        let nothing = write("empty", "");
        let loaded = Certificate::load(&certificate, &key).unwrap();
        let config = loaded.server(&[b"h2", b"http/1.1"]).unwrap();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
        for (certificate, key, named) in [
            (&certificate, &wrong, "b.key"),
            (&nothing, &key, "empty"),
            (&certificate, &nothing, "empty"),
            (&certificate, &folder.path().join("gone"), "gone"),
            (&folder.path().join("gone"), &key, "gone"),
        ] {
            let error = Certificate::load(certificate, key).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }
}

//! The certificate that a server presents, to be looked at and not to be trusted.

use std::ops::RangeInclusive;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, SignatureScheme};
use x509_certificate::X509Certificate;

use crate::error::AccessError;

/// When a certificate is valid, both ends included, milliseconds UTC.
///
/// # Errors
/// `Invalid` where it cannot be read.
pub fn valid_ms(certificate: &CertificateDer<'_>) -> Result<RangeInclusive<i64>, AccessError> {
    let read = X509Certificate::from_der(certificate.as_ref())
        .map_err(|error| AccessError::Invalid(format!("certificate: {error}")))?;
    let (from, to) = (read.validity_not_before(), read.validity_not_after());
    Ok(from.timestamp_millis()..=to.timestamp_millis())
}

/// The settings of a client that takes whatever certificate is presented: an expired one is what it
/// looks for. Nothing may be sent by it, and nothing that it hears be believed.
///
/// # Errors
/// Never in a build whose tests pass.
pub fn looking_client() -> Result<Arc<ClientConfig>, AccessError> {
    // Named, because the build has two of them and neither is a default.
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| AccessError::Invalid(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TakesAny(provider)))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[derive(Debug)]
struct TakesAny(Arc<CryptoProvider>);

impl ServerCertVerifier for TakesAny {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

//! An authority of a test's own, and what a server of the test presents by it.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, Issuer, KeyPair};

/// An authority that clients are told to trust. It stays valid whatever the server's certificate is:
/// who refuses an expired one does so because it has expired.
pub(crate) struct Authority {
    folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// One whose files are in a folder.
    pub(crate) fn new(folder: &Path) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(DnType::CommonName, "an authority of a test");
        parameters.not_before = rcgen::date_time_ymd(2025, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(2126, 2, 1);
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::self_signed(parameters, key).unwrap();
        let authority = Self { folder: folder.to_owned(), issuer };
        std::fs::write(authority.certificate(), authority.issuer.pem()).unwrap();
        authority
    }

    /// The file of its own certificate, PEM: what clients trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// The file of what a server of this machine presents, PEM: its key and its certificate. Servers
    /// read it when they start.
    pub(crate) fn presented(&self) -> PathBuf {
        self.folder.join("presented.pem")
    }

    /// Puts another certificate there, valid from 2025 until the February of a year.
    pub(crate) fn certify(&self, until: i32) {
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2025, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(until, 2, 1);
        let key = KeyPair::generate().unwrap();
        let issuer: &Issuer<'static, KeyPair> = &self.issuer;
        let made = parameters.signed_by(&key, issuer).unwrap();
        std::fs::write(self.presented(), key.serialize_pem() + &made.pem()).unwrap();
    }
}

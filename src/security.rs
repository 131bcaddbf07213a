//! Who is let in by the listeners of a process, and how their connections are encrypted: from
//! `auth.users_file`, `tls.certificate` and `tls.key`.

use std::path::Path;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tally_access::{Certificate, Directory, SignIns};
use tally_query::PgDoor;
use tally_schemas::Config;

use crate::exit::Failure;

/// Users, certificate, and the count of those who came.
#[derive(Debug, Clone)]
pub(crate) struct Security {
    pub(crate) users: Option<Arc<Directory>>,
    pub(crate) certificate: Option<Certificate>,
    pub(crate) sign_ins: SignIns,
}

impl Security {
    /// Reads the files that the configuration names.
    pub(crate) fn of(config: &Config) -> Result<Self, Failure> {
        let users = match config.auth.users_file.as_str() {
            "" => None,
            file => Some(Arc::new(Directory::open(Path::new(file))?)),
        };
        let certificate = match (config.tls.certificate.as_str(), config.tls.key.as_str()) {
            ("", "") => None,
            ("", _) => return Err(Failure::usage("tls.key is set without tls.certificate")),
            (_, "") => return Err(Failure::usage("tls.certificate is set without tls.key")),
            (certificate, key) => Some(Certificate::load(Path::new(certificate), Path::new(key))?),
        };
        Ok(Self { users, certificate, sign_ins: SignIns::default() })
    }

    /// Whether listeners may be reached from other machines.
    pub(crate) fn is_for_others(&self) -> bool {
        self.users.is_some() && self.certificate.is_some()
    }

    /// The same for the PostgreSQL wire.
    pub(crate) fn pg_door(&self) -> PgDoor {
        PgDoor {
            users: self.users.clone(),
            certificate: self.certificate.clone(),
            sign_ins: self.sign_ins.clone(),
        }
    }

    /// Adds the count of sign-ins.
    pub(crate) fn register_metrics(&self, registry: &mut Registry) {
        self.sign_ins.register(registry);
    }

    /// What clients of Arrow Flight SQL write before the address.
    pub(crate) fn flight_scheme(&self) -> &'static str {
        if self.certificate.is_some() { "grpc+tls" } else { "grpc" }
    }

    /// `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.certificate.is_some() { "https" } else { "http" }
    }
}

//! A counter of those who came to a door.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::caller::Channel;

type Labels = [(&'static str, &'static str); 2];

/// What became of somebody at a door.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignIn {
    /// Let in.
    Accepted,
    /// The name, password or token is wrong, or missing.
    Denied,
    /// Known, and not allowed to ask for this.
    Forbidden,
    /// Not encrypted, where it has to be.
    Unencrypted,
}

impl SignIn {
    const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Denied => "denied",
            Self::Forbidden => "forbidden",
            Self::Unencrypted => "unencrypted",
        }
    }
}

/// Sign-ins by door and outcome: of connections on the PostgreSQL wire, of requests over HTTP.
/// Clones share one count.
#[derive(Debug, Clone, Default)]
pub struct SignIns(Family<Labels, Counter>);

impl SignIns {
    /// Adds the metric.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tally_sign_ins",
            "Connections to the PostgreSQL wire and requests over HTTP that had to prove who they are, by door and outcome",
            self.0.clone(),
        );
    }

    /// Counts one.
    pub fn count(&self, channel: Channel, outcome: SignIn) {
        let labels = [("door", channel.name()), ("outcome", outcome.name())];
        self.0.get_or_create(&labels).inc();
    }

    /// How many there were.
    pub fn of(&self, channel: Channel, outcome: SignIn) -> u64 {
        self.0.get_or_create(&[("door", channel.name()), ("outcome", outcome.name())]).get()
    }
}

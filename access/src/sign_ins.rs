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
    const ALL: [Self; 4] = [Self::Accepted, Self::Denied, Self::Forbidden, Self::Unencrypted];

    const fn name(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Denied => "denied",
            Self::Forbidden => "forbidden",
            Self::Unencrypted => "unencrypted",
        }
    }
}

/// Sign-ins by door and outcome: of connections on the PostgreSQL wire, of requests over HTTP and
/// Arrow Flight SQL. Clones share one count.
#[derive(Debug, Clone)]
pub struct SignIns(Family<Labels, Counter>);

impl Default for SignIns {
    /// Every count is there from the start: a rate of one that comes with its first event misses it.
    fn default() -> Self {
        let counts = Self(Family::default());
        for channel in [Channel::Postgres, Channel::Http, Channel::Flight] {
            for outcome in SignIn::ALL {
                drop(counts.0.get_or_create(&labels(channel, outcome)));
            }
        }
        counts
    }
}

const fn labels(channel: Channel, outcome: SignIn) -> Labels {
    [("door", channel.name()), ("outcome", outcome.name())]
}

impl SignIns {
    /// Adds the metric.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "tally_sign_ins",
            "Connections to the PostgreSQL wire and requests over HTTP and Arrow Flight SQL that had to prove who they are, by door and outcome",
            self.0.clone(),
        );
    }

    /// Counts one.
    pub fn count(&self, channel: Channel, outcome: SignIn) {
        self.0.get_or_create(&labels(channel, outcome)).inc();
    }

    /// How many there were.
    pub fn of(&self, channel: Channel, outcome: SignIn) -> u64 {
        self.0.get_or_create(&labels(channel, outcome)).get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_count_is_there_from_the_start() {
        let sign_ins = SignIns::default();
        sign_ins.count(Channel::Http, SignIn::Denied);
        let mut registry = Registry::default();
        sign_ins.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let found = |line: &str| text.lines().any(|found| found == line);
        assert!(found(r#"tally_sign_ins_total{door="http",outcome="denied"} 1"#), "{text}");
        assert!(
            found(r#"tally_sign_ins_total{door="postgres",outcome="unencrypted"} 0"#),
            "{text}"
        );
        assert_eq!(text.matches("tally_sign_ins_total{").count(), 12, "{text}");
    }
}

//! What `tally generate` is asked for.

/// A run of synthetic traffic.
#[derive(Debug, Clone)]
pub(crate) struct Traffic {
    /// Seed.
    pub(crate) seed: u64,
    /// Distinct events.
    pub(crate) events: u64,
    /// Number of accounts.
    pub(crate) accounts: u32,
    /// Shares of resent, late and bad events, as the command line has them.
    pub(crate) resent: &'static str,
    /// Share of late events.
    pub(crate) late: &'static str,
    /// Share of events that must be held back.
    pub(crate) bad: &'static str,
    /// Events a second; as fast as possible where absent.
    pub(crate) rate: Option<u64>,
    /// Start of the hour in which the events happen, milliseconds UTC; the past hour where absent.
    pub(crate) start_ms: Option<i64>,
    /// Events of a protobuf batch; single JSON events where absent.
    pub(crate) batch: Option<u32>,
    /// `kafka`, or `http` for the door.
    pub(crate) out: &'static str,
}

impl Traffic {
    /// A mixture with a little of everything: resent, late and bad events.
    pub(crate) fn mixed(seed: u64, events: u64) -> Self {
        Self {
            seed,
            events,
            accounts: 5_000,
            resent: "0.03",
            late: "0.02",
            bad: "0.01",
            rate: None,
            start_ms: None,
            batch: None,
            out: "kafka",
        }
    }

    /// Only good events, each once.
    pub(crate) fn clean(seed: u64, events: u64) -> Self {
        Self { resent: "0", late: "0", bad: "0", ..Self::mixed(seed, events) }
    }

    /// The same at a steady rate.
    pub(crate) fn at_rate(self, events_per_second: u64) -> Self {
        Self { rate: Some(events_per_second), ..self }
    }

    /// The arguments after `tally generate`.
    pub(super) fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> = [
            ("--seed", self.seed.to_string()),
            ("--events", self.events.to_string()),
            ("--accounts", self.accounts.to_string()),
            ("--dup-rate", self.resent.to_owned()),
            ("--late-rate", self.late.to_owned()),
            ("--bad-rate", self.bad.to_owned()),
            ("--out", self.out.to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect();
        let mut option = |flag: &str, value: Option<String>| {
            arguments.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        };
        option("--rate", self.rate.map(|rate| rate.to_string()));
        option("--start", self.start_ms.map(|start| start.to_string()));
        option("--batch", self.batch.map(|events| events.to_string()));
        arguments
    }
}

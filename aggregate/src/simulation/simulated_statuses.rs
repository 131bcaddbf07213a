//! The topic of statuses of a simulated run, with replies that are lost and appends that never
//! arrive; and what a gateway makes of it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use parking_lot::Mutex;
use rand::Rng;
use serde_json::Value;
use tally_log::{Appended, LogError, Outgoing};
use tally_schemas::{Offsets, partition_of};

use super::world::World;
use crate::error::AggregateError;
use crate::notice_topic::{NoticeTopic, ReadBack};

/// What is to be made of an account, and its buckets.
pub(super) type View = (String, Vec<String>);

/// A record of the topic.
#[derive(Debug, Clone)]
pub(super) struct StatusRecord {
    account: String,
    value: Value,
    owner: String,
    /// Writes of the store before it.
    pub(super) writes_before: usize,
}

/// The topic as one member sees it.
pub(super) struct SimulatedStatuses {
    world: World,
    /// The member, once it has claimed.
    owner: Mutex<String>,
}

impl fmt::Debug for SimulatedStatuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimulatedStatuses")
    }
}

impl SimulatedStatuses {
    pub(super) fn new(world: &World) -> Arc<Self> {
        Arc::new(Self { world: world.clone(), owner: Mutex::default() })
    }

    /// The member is this owner.
    pub(super) fn owned_by(&self, owner: &str) {
        owner.clone_into(&mut self.owner.lock());
    }
}

impl NoticeTopic for SimulatedStatuses {
    fn partition_count(&self) -> u32 {
        2
    }

    fn append(&self, record: Outgoing) -> Appended {
        let mut inside = self.world.inside();
        let (latency_max, per_mille) = (inside.faults.latency_max, inside.faults.per_mille);
        let ticks = inside.random.random_range(0..=latency_max);
        let fails = inside.random.random_ratio(per_mille, 1_000);
        // Some that fail were appended all the same.
        if !fails || inside.random.random_ratio(1, 2) {
            let account = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
            let value = serde_json::from_slice(&record.value).unwrap();
            let (owner, writes_before) = (self.owner.lock().clone(), inside.writes.len());
            inside.note(|| format!("{owner} tells the status of {account}: {value}"));
            inside.statuses.push(StatusRecord { account, value, owner, writes_before });
        }
        drop(inside);
        let wait = self.world.sleep(ticks);
        Box::pin(async move {
            wait.await;
            if fails { Err(LogError::Retry("the topic is away".to_owned())) } else { Ok(0) }
        })
    }

    fn ends(&self, _: Vec<u32>) -> BoxFuture<'static, Result<Offsets, AggregateError>> {
        unreachable!("statuses are not read back")
    }

    fn read_back(&self, _: Offsets) -> BoxFuture<'static, Result<ReadBack, AggregateError>> {
        unreachable!("statuses are not read back")
    }
}

fn view_of(status: &Value) -> View {
    let buckets = status["buckets"].as_array().unwrap().iter();
    let buckets = buckets.map(|bucket| bucket["bucket"].as_str().unwrap().to_owned());
    (status["status"].as_str().unwrap().to_owned(), buckets.collect())
}

/// Checks that the statuses of an account rise from one owner, and that a gateway that keeps the
/// newest of each account of a partition knows what the accounts are in the end. Returns how many
/// were told.
pub(super) fn check_statuses(
    views: &BTreeMap<String, View>,
    records: &[StatusRecord],
    (partition, partition_count): (u32, u32),
) -> Result<u64, String> {
    let mut by_owner: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    let mut newest: BTreeMap<&str, (u64, View)> = BTreeMap::new();
    let mut told = 0;
    for record in records {
        let account = record.account.as_str();
        if partition_of(account, partition_count) != partition {
            continue;
        }
        told += 1;
        let offset = record.value["as_of_offset"].as_u64().unwrap();
        let before = by_owner.insert((&record.owner, account), offset).unwrap_or(0);
        if before > offset {
            let owner = &record.owner;
            return Err(format!("{owner} told {account} as of {offset}, after {before}"));
        }
        if newest.get(account).is_none_or(|(before, _)| *before <= offset) {
            newest.insert(account, (offset, view_of(&record.value)));
        }
    }
    let nothing = ("blocked".to_owned(), Vec::new());
    let accounts = views.keys().map(String::as_str).chain(newest.keys().copied());
    for account in accounts {
        let is = newest.get(account).map_or(&nothing, |(_, view)| view);
        let must = views.get(account).unwrap_or(&nothing);
        if is != must {
            return Err(format!("gateways hold {is:?} of {account}, must be {must:?}"));
        }
    }
    Ok(told)
}

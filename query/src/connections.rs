//! The places of the PostgreSQL wire's connections, and who may take them.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tally_access::{Caller, Role};

use crate::error::QueryError;

/// The setting that says how many there are.
const SETTING: &str = "query.connections_max";

/// Hands out `query.connections_max` places to those who have signed in. One role gets half of them
/// at most, and all vendors together three quarters, so that however many connections vendors open,
/// the operator's own people get in. Clones share the places.
#[derive(Debug, Clone)]
pub(crate) struct Connections(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most: usize,
    /// By role; `None` is whoever reaches a process without users.
    taken: Mutex<BTreeMap<Option<Role>, usize>>,
    open: Gauge,
    refused: Counter,
}

/// A place. Dropped with its connection, it is somebody else's.
#[derive(Debug)]
pub(crate) struct ConnectionPlace {
    of: Connections,
    role: Option<Role>,
}

impl Connections {
    pub(crate) fn new(connections_max: u32) -> Self {
        let most = usize::try_from(connections_max).unwrap_or(usize::MAX).max(1);
        Self(Arc::new(Shared {
            most,
            taken: Mutex::default(),
            open: Gauge::default(),
            refused: Counter::default(),
        }))
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "tally_query_connections",
            "Connections to the PostgreSQL wire that have signed in",
            self.0.open.clone(),
        );
        registry.register(
            "tally_query_connections_refused",
            "Connections to the PostgreSQL wire that signed in and found no place",
            self.0.refused.clone(),
        );
    }

    /// Takes a place.
    ///
    /// # Errors
    /// `Limit` where there is none for this caller.
    pub(crate) fn take(&self, caller: &Caller) -> Result<ConnectionPlace, QueryError> {
        let Shared { most, taken, open, refused } = self.0.as_ref();
        let role = caller.role().cloned();
        let vendor = matches!(role, Some(Role::Vendor(_)));
        let half = most.div_ceil(2);
        let mut taken = taken.lock();
        let all: usize = taken.values().sum();
        let own = taken.get(&role).copied().unwrap_or(0);
        let vendors = taken.iter().filter(|(role, _)| matches!(role, Some(Role::Vendor(_))));
        let of_vendors: usize = vendors.map(|(_, places)| places).sum();
        let message = if all >= *most {
            "too many connections are open: try again later"
        } else if role.is_some() && own >= half {
            "this role has half of all connections open already, and may not have more: close some"
        } else if vendor && of_vendors >= half.midpoint(*most) {
            "too many connections are open: try again later"
        } else {
            *taken.entry(role.clone()).or_default() += 1;
            open.inc();
            return Ok(ConnectionPlace { of: self.clone(), role });
        };
        refused.inc();
        Err(QueryError::Limit {
            setting: SETTING,
            limit: most.to_string(),
            message: message.to_owned(),
        })
    }
}

impl Drop for ConnectionPlace {
    fn drop(&mut self) {
        self.of.0.open.dec();
        let mut taken = self.of.0.taken.lock();
        if let Some(places) = taken.get_mut(&self.role) {
            *places = places.saturating_sub(1);
            if *places == 0 {
                taken.remove(&self.role);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tally_access::{Channel, User};

    use super::*;

    fn caller(role: &str) -> Caller {
        let role = role.parse().unwrap();
        let user = User { name: "x".to_owned(), role, password: None, token: None };
        Caller::of(&user, Channel::Postgres, None)
    }

    /// Takes as many as there are for somebody.
    fn fill(connections: &Connections, caller: &Caller) -> Vec<ConnectionPlace> {
        std::iter::from_fn(|| connections.take(caller).ok()).collect()
    }

    #[test]
    fn vendors_leave_places_to_others() {
        for (most, one, both) in [(1, 1, 1), (2, 1, 1), (4, 2, 3), (5, 3, 4), (100, 50, 75)] {
            let connections = Connections::new(most);
            let (a, b) = (caller("vendor:a"), caller("vendor:b"));
            let held = fill(&connections, &a);
            assert_eq!(held.len(), one, "{most}");
            let others = fill(&connections, &b);
            assert_eq!(held.len() + others.len(), both, "{most}");
            let finance = fill(&connections, &caller("finance"));
            let left = usize::try_from(most).unwrap() - both;
            assert_eq!(finance.len(), left.min(one), "{most}");
            assert_eq!(connections.0.open.get(), i64::try_from(both + finance.len()).unwrap());
            assert!(connections.0.refused.get() >= 3);
            drop((held, others, finance));
            assert_eq!(connections.0.open.get(), 0);
            assert!(connections.0.taken.lock().is_empty());
            assert_eq!(fill(&connections, &b).len(), one, "{most}");
        }
    }

    #[test]
    fn without_users_every_place_is_for_whoever_comes() {
        let connections = Connections::new(3);
        let local = Caller::local(Channel::Postgres, None);
        let held = fill(&connections, &local);
        assert_eq!(held.len(), 3);
        let error = connections.take(&local).unwrap_err();
        assert!(error.to_string().contains("query.connections_max = 3"), "{error}");
    }
}

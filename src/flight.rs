//! The listener of Arrow Flight SQL, in the processes that answer queries.

use std::net::SocketAddr;
use std::sync::Arc;

use tally_access::Channel;
use tally_query::{QueryEngine, flight_router};
use tally_schemas::Config;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::exit::Failure;
use crate::security::Security;
use crate::server;

/// A listener that is served.
#[derive(Debug)]
pub(crate) struct FlightServer {
    address: SocketAddr,
    serving: JoinHandle<Result<(), Failure>>,
}

impl FlightServer {
    /// Listens on `query.flight_listen`, with the users and the certificate of the other listeners.
    pub(crate) async fn start(
        config: &Config,
        engine: &Arc<QueryEngine>,
        security: &Security,
        stop: CancellationToken,
    ) -> Result<Self, Failure> {
        let listen = &config.query.flight_listen;
        let listener = server::bind(listen, security)
            .await
            .map_err(|failure| failure.while_doing("query.flight_listen"))?;
        let address = listener.local_addr()?;
        let routes = flight_router(Arc::clone(engine))?;
        let serving = tokio::spawn(server::serve_on(listener, routes, Channel::Flight, stop));
        Ok(Self { address, serving })
    }

    /// The address it listens on.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it. A client that has not read its answer by then is cut off, as on the PostgreSQL wire.
    pub(crate) fn finish(self) {
        self.serving.abort();
    }
}

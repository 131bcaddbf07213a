//! `tally query`: SQL over HTTP, the PostgreSQL wire and Arrow Flight SQL.

use std::sync::{Arc, Mutex};

use clap::Args;
use prometheus_client::registry::Registry;
use tally_query::PgServer;

use crate::cli::{GlobalArgs, ListenArgs, PlaceArgs};
use crate::exit::Failure;
use crate::flight::FlightServer;
use crate::host_metrics::HostWatch;
use crate::looks::Depends;
use crate::security::Security;
use crate::stdout::announcement;
use crate::{config, server, sql_session, stdout, stop};

/// Options of `tally query`.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    listen: ListenArgs,
}

pub(crate) async fn run(global: &GlobalArgs, args: QueryArgs) -> Result<(), Failure> {
    let mut flags = args.place.settings();
    flags.extend(args.listen.settings());
    let (config, settings) = config::load_settings(global, &flags)?;
    let security = Security::of(&config)?;
    let engine = sql_session::serving(&config, settings, &security).await?;
    let stop = stop::on_signal()?;
    let pg_listen = &config.query.pg_listen;
    let wire = PgServer::bind_for(Arc::clone(&engine), pg_listen, security.pg_door()).await?;
    let flight = FlightServer::start(&config, &engine, &security, stop.clone()).await?;
    let listener = server::bind(&config.http.listen, &security).await?;
    let (scheme, http) = (security.scheme(), listener.local_addr()?);
    let words = format!(
        "listening on {scheme}://{http}, postgresql://{} and {}://{}",
        wire.address(),
        security.flight_scheme(),
        flight.address()
    );
    stdout::print(announcement(global.log_format, &words))?;
    let mut registry = Registry::default();
    engine.register_metrics(&mut registry);
    security.register_metrics(&mut registry);
    let host = HostWatch::new(&config, &security)?;
    host.register(&mut registry);
    // Of the log it knows nothing; it writes where it keeps an audit log, which says itself when it
    // cannot.
    let depends = Depends {
        config: config.clone(),
        logs: Vec::new(),
        store: Some(Arc::clone(engine.store())),
        writes: false,
        certificate: security.certificate.clone(),
    };
    host.watch(depends, stop.clone());
    let registry = Arc::new(Mutex::new(registry));
    let sql = tally_query::router(Arc::clone(&engine));
    let routes = server::reader_routes(registry, Arc::clone(engine.store())).merge(sql);
    let served = server::serve(listener, routes, stop).await;
    flight.finish();
    sql_session::finish(&engine).await;
    served
}

//! `tally query`: SQL over HTTP and the PostgreSQL wire.

use std::sync::{Arc, Mutex};

use clap::Args;
use prometheus_client::registry::Registry;
use tally_query::PgServer;

use crate::cli::{GlobalArgs, ListenArgs, PlaceArgs};
use crate::exit::Failure;
use crate::host_metrics::HostWatch;
use crate::security::Security;
use crate::{config, server, sql_session, stop};

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
    let listener = server::bind(&config.http.listen, &security).await?;
    let (scheme, http) = (security.scheme(), listener.local_addr()?);
    println!("listening on {scheme}://{http} and postgresql://{}", wire.address());
    let mut registry = Registry::default();
    engine.register_metrics(&mut registry);
    security.register_metrics(&mut registry);
    HostWatch::new(&config, &security)?.register(&mut registry);
    let registry = Arc::new(Mutex::new(registry));
    let sql = tally_query::router(Arc::clone(&engine));
    let routes = server::watch_routes(registry, None).merge(sql);
    let served = server::serve(listener, routes, stop).await;
    sql_session::finish(&engine).await;
    served
}

//! `tally query`: SQL over HTTP and the PostgreSQL wire.

use std::sync::{Arc, Mutex};

use clap::Args;
use prometheus_client::registry::Registry;
use tally_query::{PgServer, QueryEngine};

use crate::cli::{GlobalArgs, ListenArgs, PlaceArgs};
use crate::exit::Failure;
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
    let engine: Arc<QueryEngine> = Arc::new(sql_session::open(&config, settings).await?);
    let stop = stop::on_signal()?;
    let wire = PgServer::bind(Arc::clone(&engine), &config.query.pg_listen).await?;
    let listener = server::bind(&config.http.listen).await?;
    println!("listening on http://{} and postgresql://{}", listener.local_addr()?, wire.address());
    let mut registry = Registry::default();
    engine.register_metrics(&mut registry);
    let registry = Arc::new(Mutex::new(registry));
    let routes = server::watch_routes(registry, None).merge(tally_query::router(engine));
    server::serve(listener, routes, stop).await
}

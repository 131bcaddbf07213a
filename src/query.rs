//! `tally query`: SQL over HTTP and the PostgreSQL wire.

use std::sync::{Arc, Mutex};

use clap::Args;
use tally_query::{PgServer, QueryEngine};

use crate::cli::{GlobalArgs, PlaceArgs};
use crate::exit::Failure;
use crate::{config, server, sql_session, stop};

/// Options of `tally query`.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Address of the HTTP listener [http.listen]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of the PostgreSQL wire [query.pg_listen]
    #[arg(long, value_name = "ADDR")]
    pg_listen: Option<String>,
}

pub(crate) async fn run(global: &GlobalArgs, args: QueryArgs) -> Result<(), Failure> {
    let mut flags = args.place.settings();
    flags.extend(args.listen.map(|listen| ("http.listen", listen)));
    flags.extend(args.pg_listen.map(|listen| ("query.pg_listen", listen)));
    let (config, settings) = config::load_settings(global, &flags)?;
    let engine: Arc<QueryEngine> = Arc::new(sql_session::open(&config, settings).await?);
    let stop = stop::on_signal()?;
    let wire = PgServer::bind(Arc::clone(&engine), &config.query.pg_listen).await?;
    let listener = server::bind(&config.http.listen).await?;
    println!("listening on http://{} and postgresql://{}", listener.local_addr()?, wire.address());
    let registry = Arc::new(Mutex::default());
    let routes = server::watch_routes(registry, None).merge(tally_query::router(engine));
    server::serve(listener, routes, stop).await
}

//! `tally ingest`: the HTTP door alone.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use prometheus_client::registry::Registry;
use tally_ingest::Door;
use tokio_util::sync::CancellationToken;

use crate::cli::{GlobalArgs, PlaceArgs};
use crate::exit::Failure;
use crate::host_metrics::HostWatch;
use crate::looks::Depends;
use crate::security::Security;
use crate::stdout::announcement;
use crate::traces::Traces;
use crate::{config, event_log, server, stdout, stop};

/// Options of `tally ingest`.
#[derive(Debug, Args)]
pub(crate) struct IngestArgs {
    #[command(flatten)]
    place: PlaceArgs,
    /// Address of the HTTP listener [http.listen]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
}

pub(crate) async fn run(global: &GlobalArgs, args: IngestArgs) -> Result<(), Failure> {
    let mut settings = args.place.settings();
    settings.extend(args.listen.map(|listen| ("http.listen", listen)));
    let config = config::load(global, &settings)?;
    let log = event_log::open_when_there(&config).await?;
    let stop = stop::on_signal()?;
    let traces = Traces::of(&config, "ingest")?;
    let future_max_ms = config.aggregate.future_max_ms;
    let security = Security::of(&config)?;
    let registry = Arc::new(Mutex::new(Registry::default()));
    if let Ok(mut registry) = registry.lock() {
        security.register_metrics(&mut registry);
        let host = HostWatch::new(&config, &security)?;
        host.register(&mut registry);
        let depends = Depends {
            config: config.clone(),
            logs: vec![Arc::clone(&log)],
            store: None,
            writes: false,
            certificate: security.certificate.clone(),
        };
        host.watch(depends, stop.clone());
    }
    let door = Door::new(config.ingest.clone(), future_max_ms, &log, registry)?;
    let listener = server::bind(&config.http.listen, &security).await?;
    let words = format!("listening on {}://{}", security.scheme(), listener.local_addr()?);
    stdout::print(announcement(global.log_format, &words))?;
    let drain = Duration::from_millis(config.ingest.drain_timeout_ms);
    let routes = tally_ingest::router(door.clone());
    let routes = match &traces {
        Some(traces) => traces.follow(routes),
        None => routes,
    };
    let served = serve_door(listener, routes, door, drain, stop).await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    served
}

/// Serves until stopped: then new requests are refused, those in flight are finished with and
/// everything accepted is acknowledged by the log.
pub(crate) async fn serve_door(
    listener: server::Listener,
    routes: axum::Router,
    door: Door,
    drain: Duration,
    stop: CancellationToken,
) -> Result<(), Failure> {
    let serving = tokio::spawn(server::serve(listener, routes, stop.clone()));
    stop.cancelled().await;
    door.drain(drain).await?;
    // Idle keep-alive connections must not hold the process.
    match tokio::time::timeout(drain, serving).await {
        Ok(Ok(served)) => served,
        Ok(Err(error)) => Err(Failure::internal(error.to_string())),
        Err(_) => Ok(()),
    }
}

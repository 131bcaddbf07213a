//! `tally up`: every role in one process.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use clap::Args;
use prometheus_client::registry::Registry;
use tally_aggregate::Extent;
use tally_ingest::Door;
use tally_query::PgServer;

use crate::aggregate::{Stream, open_checked_store};
use crate::cli::{GlobalArgs, ListenArgs, LogFormat, PlaceArgs};
use crate::exit::Failure;
use crate::flight::FlightServer;
use crate::host_metrics::HostWatch;
use crate::looks::Depends;
use crate::patience::place_of;
use crate::running::LogToken;
use crate::security::Security;
use crate::status::{Parts, WebhookLook};
use crate::stdout::announcement;
use crate::table_metrics::TableWatch;
use crate::topics::Topics;
use crate::traces::Traces;
use crate::webhooks::{Webhooks, register_metrics};
use crate::{
    budgets, config, event_log, ingest, quota, running, server, sql_session, status, stdout, stop,
    stream_metrics, suspense_log,
};

/// Options of `tally up`.
#[derive(Debug, Args)]
pub(crate) struct UpArgs {
    #[command(flatten)]
    place: PlaceArgs,
    #[command(flatten)]
    listen: ListenArgs,
}

pub(crate) async fn run(global: &GlobalArgs, args: UpArgs) -> Result<(), Failure> {
    let mut flags = args.place.settings();
    flags.extend(args.listen.settings());
    let (config, settings) = config::load_settings(global, &flags)?;
    let store = open_checked_store(&config).await?;
    let place = place_of(store.as_ref(), &config.log.topic).await?;
    let log = event_log::open_stream(&config, &place).await?;
    let topics = Topics::open(&config, log.as_ref()).await?;
    let stop = stop::on_signal()?;
    let traces = Traces::of(&config, "up")?;

    let security = Security::of(&config)?;
    let engine = sql_session::serving(&config, settings, &security).await?;
    let pg_listen = &config.query.pg_listen;
    let wire = PgServer::bind_for(Arc::clone(&engine), pg_listen, security.pg_door()).await?;
    let flight = FlightServer::start(&config, &engine, &security, stop.clone()).await?;
    let listener = server::bind(&config.http.listen, &security).await?;
    let http = listener.local_addr()?;
    // The stream ends after the door, so that what the door has accepted is also committed.
    let stream_stop = tokio_util::sync::CancellationToken::new();
    let webhooks = Webhooks::start(&config, &topics, &store).await?;
    let stream = Stream::start(
        &config,
        Arc::clone(&log),
        &topics,
        Arc::clone(&store),
        traces.as_ref(),
        Extent::Endless,
        stream_stop.clone(),
    )
    .await?;
    let look = WebhookLook::of(&config, Some(webhooks.status().clone()))?;
    let host = HostWatch::new(&config, &security)?;
    let depends = Depends {
        config: config.clone(),
        logs: topics.with(&log),
        store: Some(Arc::clone(&store)),
        writes: true,
        certificate: security.certificate.clone(),
    };
    host.watch(depends, stop.clone());
    let tables = TableWatch::start(Arc::clone(&store), &place.ledger, stop.clone());
    let parts = Parts {
        stream: stream.aggregator().status().clone(),
        budgets: stream.budgets().status().clone(),
        host: host.clone(),
    };
    let status = status::routes(&config, &place, Arc::clone(&log), store, parts, look);
    let registry = Arc::new(Mutex::new(Registry::default()));
    if let Ok(mut registry) = registry.lock() {
        stream_metrics::register(&mut registry, stream.aggregator());
        register_metrics(&mut registry, webhooks.status());
        engine.register_metrics(&mut registry);
        security.register_metrics(&mut registry);
        stream.janitor().register(&mut registry);
        host.register(&mut registry);
        tables.register(&mut registry);
    }
    budgets::register(&registry, stream.budgets().status());
    let quota = quota::routes(stream.aggregator(), &registry);
    let future_max_ms = config.aggregate.future_max_ms;
    let door = Door::new(config.ingest.clone(), future_max_ms, &log, registry)?;
    let routes = tally_ingest::router(door.clone()).merge(tally_query::router(Arc::clone(&engine)));
    let routes = match &traces {
        Some(traces) => traces.follow(routes),
        None => routes,
    };
    let mut routes = routes.merge(status).merge(quota);
    let token = LogToken::new();
    if config.log.kafka.is_empty() {
        routes = routes.merge(suspense_log::routes(&log, token.clone())?);
    }
    let announced = running::announce(&config, http, &token)?;
    for line in greeting(&config, &security, http, wire.address(), flight.address()) {
        // An empty line is for people alone.
        if global.log_format == LogFormat::Text || !line.is_empty() {
            stdout::print(announcement(global.log_format, &line))?;
        }
    }

    // A stream that cannot go on takes the process down with it (I12).
    let failed = stop.clone();
    let watch = stream_stop.clone();
    let watching = tokio::spawn(async move {
        watch.cancelled().await;
        failed.cancel();
    });
    let drain = Duration::from_millis(config.ingest.drain_timeout_ms);
    let served = ingest::serve_door(listener, routes, door, drain, stop).await;
    stream_stop.cancel();
    let finished = stream.finish().await;
    webhooks.finish().await;
    flight.finish();
    sql_session::finish(&engine).await;
    if let Some(traces) = traces {
        traces.finish().await;
    }
    drop((watching, announced));
    finished.and(served)
}

/// Where everything is, and what to try first, line by line.
fn greeting(
    config: &tally_schemas::Config,
    security: &Security,
    http: std::net::SocketAddr,
    pg: std::net::SocketAddr,
    flight: std::net::SocketAddr,
) -> Vec<String> {
    let log = if config.log.kafka.is_empty() {
        format!("embedded, below {}", config.log.data)
    } else {
        format!("Kafka at {}", config.log.kafka)
    };
    let scheme = security.scheme();
    let mut lines = vec![
        format!("log     {log}, topic {}", config.log.topic),
        format!("store   {}", config.store_url()),
        format!("HTTP    {scheme}://{http}"),
        format!("SQL     postgresql://tally@{pg}/tally"),
        format!("Flight  {}://{flight}", security.flight_scheme()),
        String::new(),
    ];
    if security.users.is_some() {
        // Whoever signs in needs a name and more: what to paste depends on them.
        lines.push(format!("Users   {}", config.auth.users_file));
        return lines;
    }
    lines.push("A first event:".to_owned());
    lines.push(format!(
        "  curl {scheme}://{http}/v1/events -H 'content-type: application/json' -d '{{\"source\":\"gw-1\",\"id\":\"req-1\",\"account\":\"A1\",\"model\":\"glm-5\",\"completed_at\":\"'$(date -u +%FT%TZ)'\",\"usage\":{{\"input\":434,\"output\":345}}}}'"
    ));
    lines.push("A first query:".to_owned());
    lines.push(format!(
        "  psql -h {} -p {} -U tally -c 'SELECT vendor, model, sum(input), sum(output) FROM usage_events GROUP BY 1, 2'",
        pg.ip(),
        pg.port()
    ));
    lines
}

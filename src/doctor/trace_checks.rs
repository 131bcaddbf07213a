//! Traces: whether their collector can be reached and takes them.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::CONTENT_TYPE;
use tally_schemas::Config;

use super::finding::Finding;
use crate::traces::spans_url;

const CHECK: &str = "traces";

/// Who has not answered by then is away.
const PATIENCE: Duration = Duration::from_secs(5);

const ADVICE: &str = "look at traces.otlp_endpoint, which is where a collector takes OTLP over HTTP (most often port 4318), and at what lies between; spans are lost meanwhile, usage is not";

/// Nothing where there is no collector.
pub(super) async fn check(config: &Config) -> Option<Finding> {
    let endpoint = config.traces.otlp_endpoint.as_str();
    if endpoint.is_empty() {
        return None;
    }
    if let Err(why) = address(endpoint) {
        let found = format!("traces.otlp_endpoint {endpoint}: {why}");
        return Some(
            Finding::wrong(CHECK, found).advise("set it to http://HOST:4318, or to https"),
        );
    }
    Some(asked(endpoint, config.traces.one_in).await)
}

/// Whether spans can be sent there at all.
fn address(endpoint: &str) -> Result<(), String> {
    let url = Url::parse(endpoint).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(()),
        scheme => Err(format!("{scheme} is neither http nor https")),
    }
}

/// Hands in no spans at all, which a collector takes like any others.
async fn asked(endpoint: &str, one_in: u64) -> Finding {
    let url = spans_url(endpoint);
    let client = match reqwest::Client::builder().timeout(PATIENCE).build() {
        Ok(client) => client,
        Err(error) => return Finding::warning(CHECK, error.to_string()),
    };
    let request = client.post(&url).header(CONTENT_TYPE, "application/x-protobuf").body("");
    match request.send().await {
        Ok(answer) if answer.status().is_success() => {
            let chosen = match one_in {
                0 => "requests are followed whose client asks for it".to_owned(),
                1 => "every request is followed".to_owned(),
                many => format!("one request in {many} is followed"),
            };
            Finding::ok(CHECK, format!("{url} takes them; {chosen}"))
        }
        Ok(answer) => {
            Finding::warning(CHECK, format!("{url} answers {}", answer.status())).advise(ADVICE)
        }
        Err(error) => Finding::warning(CHECK, format!("nobody takes them: {error}")).advise(ADVICE),
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::http::StatusCode;
    use axum::routing::post;
    use tokio::net::TcpListener;

    use super::super::finding::State;
    use super::*;

    async fn found(endpoint: &str) -> Option<Finding> {
        let mut config = Config::default();
        config.traces.otlp_endpoint = endpoint.to_owned();
        check(&config).await
    }

    /// The address of a collector that answers so.
    async fn collector(status: StatusCode) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().route("/v1/traces", post(move || async move { status }));
        tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        format!("http://{address}")
    }

    #[tokio::test]
    async fn a_collector_is_asked() {
        assert_eq!(found("").await, None);
        let here = collector(StatusCode::OK).await;
        let refusing = collector(StatusCode::UNAUTHORIZED).await;
        for (endpoint, state, words) in [
            (here.as_str(), State::Ok, "one request in 1000"),
            (&format!("{here}/"), State::Ok, "one request in 1000"),
            (&format!("{here}/elsewhere"), State::Warning, "404"),
            (&refusing, State::Warning, "401"),
            // Nobody listens there.
            ("http://127.0.0.1:9", State::Warning, "nobody takes them"),
            ("127.0.0.1:4318", State::Wrong, "traces.otlp_endpoint"),
            ("collector:4318", State::Wrong, "neither http nor https"),
            ("grpc://collector:4317", State::Wrong, "neither http nor https"),
        ] {
            let finding = found(endpoint).await.unwrap();
            assert_eq!(finding.state, state, "{endpoint}: {}", finding.found);
            assert!(finding.found.contains(words), "{endpoint}: {}", finding.found);
        }
    }
}

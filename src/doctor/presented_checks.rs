//! The certificates that Kafka and the store present: who runs them may not notice that one is about
//! to expire, and from then on nothing is counted.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use reqwest::Url;
use tally_access::{looking_client, valid_ms};
use tally_schemas::Config;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;

use super::finding::Finding;
use super::security_checks::validity;

/// Who has not presented one by then is away, which other checks say.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where the store of `s3://` is, if it is not Amazon's, the name that counts first; `endpoint_url`
/// of `store.s3_options` counts where none of them is set.
const ENDPOINT_VARIABLES: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

const ADVICE: &str =
    "tell who runs it to put a new one in its place: from its end on nothing connects";

/// A server that presents a certificate.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Server {
    of: &'static str,
    host: String,
    port: u16,
}

/// Nothing of a server that is not there, or does not speak TLS.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let variable = ENDPOINT_VARIABLES.iter().find_map(|name| std::env::var(name).ok());
    let servers = servers(config, variable.as_deref());
    join_all(servers.iter().map(look)).await.into_iter().flatten().collect()
}

fn servers(config: &Config, variable: Option<&str>) -> BTreeSet<Server> {
    let mut servers = BTreeSet::new();
    let protocol = config.log.kafka_options.get("security.protocol");
    if protocol.is_some_and(|protocol| protocol.to_ascii_lowercase().contains("ssl")) {
        servers.extend(config.log.kafka.split(',').filter_map(|broker| {
            let broker = broker.rsplit_once("://").map_or(broker, |(_, address)| address).trim();
            let (host, port) = broker.rsplit_once(':')?;
            let host = host.trim_matches(['[', ']']).to_owned();
            Some(Server { of: "Kafka", host, port: port.parse().ok()? })
        }));
    }
    let option = config.store.s3_options.get("endpoint_url").map(String::as_str);
    let url = variable.or(option).filter(|_| config.store_url().starts_with("s3://"));
    let url = url.and_then(|url| Url::parse(url).ok()).filter(|url| url.scheme() == "https");
    servers.extend(url.and_then(|url| {
        let host = url.host_str()?.trim_matches(['[', ']']).to_owned();
        Some(Server { of: "the store", host, port: url.port_or_known_default()? })
    }));
    servers
}

async fn look(server: &Server) -> Option<Finding> {
    let Server { of, host, port } = server;
    let check = format!("certificate of {of} at {host}:{port}");
    match timeout(PATIENCE, presented(server)).await.ok()? {
        Ok(valid) => Some(validity(&check, &valid?, Timestamp::now().as_millisecond(), ADVICE)),
        Err(why) => Some(Finding::warning(check, why)),
    }
}

/// When the certificate of a server is valid; `None` where none is presented.
async fn presented(server: &Server) -> Result<Option<RangeInclusive<i64>>, String> {
    let Ok(stream) = TcpStream::connect((server.host.as_str(), server.port)).await else {
        return Ok(None);
    };
    let name = ServerName::try_from(server.host.clone()).map_err(|error| error.to_string())?;
    let client = looking_client().map_err(|error| error.to_string())?;
    let Ok(shaken) = TlsConnector::from(client).connect(name, stream).await else {
        return Ok(None);
    };
    let own = shaken.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    own.map(valid_ms).transpose().map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use tally_access::Certificate;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;

    use super::super::finding::State;
    use super::*;

    #[test]
    fn brokers_and_an_endpoint_by_tls_are_looked_at() {
        let named = |config: &Config, endpoint: Option<&str>| -> Vec<String> {
            let of = |server: &Server| format!("{} {}:{}", server.of, server.host, server.port);
            servers(config, endpoint).iter().map(of).collect()
        };
        let mut config = Config::default();
        config.log.kafka = "kafka-0:9093, SASL_SSL://kafka-1:9094,[::1]:9095".to_owned();
        config.store.url = "s3://bucket/prefix".to_owned();
        assert!(named(&config, Some("http://s3:9000")).is_empty());
        assert!(named(&config, None).is_empty());
        let mut options = config.log.kafka_options.clone();
        options.insert("security.protocol".to_owned(), "SASL_SSL".to_owned());
        config.log.kafka_options = options;
        assert_eq!(
            named(&config, Some("https://s3.example")),
            [
                "Kafka ::1:9095",
                "Kafka kafka-0:9093",
                "Kafka kafka-1:9094",
                "the store s3.example:443"
            ]
        );
        let own = ("endpoint_url".to_owned(), "https://s3.internal:9000".to_owned());
        config.store.s3_options.extend([own]);
        assert_eq!(named(&config, None).last().unwrap(), "the store s3.internal:9000");
        // A variable counts more.
        let both = named(&config, Some("https://s3.example"));
        assert_eq!((both.len(), both.last().unwrap().as_str()), (4, "the store s3.example:443"));
        config.store.url = "folder".to_owned();
        assert_eq!(named(&config, Some("https://s3.example")).len(), 3);
    }

    /// A server whose certificate is valid for so many days more.
    async fn server(days: i64) -> Server {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::new(["localhost".to_owned()]).unwrap();
        let end_s = Timestamp::now().as_second() + days * 86_400 + 3_600;
        parameters.not_before = rcgen::date_time_ymd(2025, 1, 1);
        parameters.not_after = parameters.not_before
            + Duration::from_secs(u64::try_from(end_s - 1_735_689_600).unwrap());
        let made = parameters.self_signed(&key).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (certificate, secret) = (folder.path().join("crt"), folder.path().join("key"));
        std::fs::write(&certificate, made.pem()).unwrap();
        std::fs::write(&secret, key.serialize_pem()).unwrap();
        let settings = Certificate::load(&certificate, &secret).unwrap().server(&[]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(TlsAcceptor::from(settings.clone()).accept(stream).await);
            }
        });
        Server { of: "the store", host: "127.0.0.1".to_owned(), port }
    }

    #[tokio::test]
    async fn what_is_presented_is_looked_at_by_the_clock() {
        for (days, state, words) in [
            (90, State::Ok, "valid for 90 days"),
            (20, State::Warning, "valid for 20 days"),
            (-3, State::Wrong, "it expired 2 days ago"),
        ] {
            let server = server(days).await;
            let found = look(&server).await.unwrap();
            assert_eq!((found.state, found.found.as_str()), (state, words), "{found:?}");
            let named = format!("certificate of the store at 127.0.0.1:{}", server.port);
            assert_eq!(found.check, named);
            assert_eq!(found.advice.is_some(), state != State::Ok, "{found:?}");
        }
    }

    #[tokio::test]
    async fn of_who_is_away_or_does_not_speak_tls_nothing_is_said() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = Server { of: "Kafka", host: "127.0.0.1".to_owned(), port };
        let hangs_up = tokio::spawn(async move { drop(listener.accept().await.unwrap()) });
        assert_eq!(look(&server).await, None);
        hangs_up.await.unwrap();
        assert_eq!(look(&server).await, None);
    }
}

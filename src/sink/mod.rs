//! Where made and recorded traffic goes: the log, the HTTP door, a file, standard output.

mod file;
mod http;
mod kafka;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;

use tally_generate::{EventBody, GeneratedEvent, encode_json};
use tally_schemas::Config;

use self::file::FileSink;
use self::http::HttpSink;
use self::kafka::KafkaSink;
use crate::event_log;
use crate::exit::Failure;

/// Variable of the environment with the bearer token for a door that asks for one.
pub(crate) const TOKEN_VARIABLE: &str = "TALLY_TOKEN";

/// A target on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// The log: Kafka, or the embedded one.
    Kafka,
    /// The HTTP door.
    Http,
    /// Standard output.
    Stdout,
    /// A file, one event a line.
    File(PathBuf),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "" => return Err("expected kafka, http, a file or -".to_owned()),
            "kafka" => Self::Kafka,
            "http" => Self::Http,
            "-" => Self::Stdout,
            file => Self::File(PathBuf::from(file)),
        })
    }
}

/// How to reach a target.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) target: Target,
    /// Events of a protobuf batch; single JSON events where absent. Only for the log.
    pub(crate) batch: Option<NonZeroUsize>,
    /// Address of the door, where it is another than the configured one.
    pub(crate) url: Option<String>,
}

/// What the receiver said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Delivered {
    /// Records, requests or lines.
    pub(crate) messages: u64,
    /// Events that the door refused.
    pub(crate) refused: u64,
}

/// An open target.
pub(crate) enum Sink {
    Kafka(KafkaSink),
    Http(HttpSink),
    File(FileSink),
}

impl Sink {
    pub(crate) async fn open(delivery: &Delivery, config: &Config) -> Result<Self, Failure> {
        if delivery.batch.is_some() && delivery.target != Target::Kafka {
            return Err(Failure::usage("--batch is for --out kafka"));
        }
        Ok(match &delivery.target {
            Target::Kafka => {
                let log = event_log::open(config).await?;
                Self::Kafka(KafkaSink::open(log, delivery.batch)?)
            }
            Target::Http => {
                let url = match &delivery.url {
                    Some(url) => url.clone(),
                    None => format!("http://{}", config.http.listen),
                };
                let token = std::env::var(TOKEN_VARIABLE).ok();
                Self::Http(HttpSink::open(door_of(&url)?, token.as_deref())?)
            }
            Target::Stdout => Self::File(FileSink::stdout()),
            Target::File(path) => Self::File(FileSink::create(path)?),
        })
    }

    /// Hands one event over, waiting while the receiver is behind. Events of one account stay in
    /// order.
    pub(crate) async fn send(&mut self, event: GeneratedEvent) -> Result<(), Failure> {
        match self {
            Self::Kafka(sink) => sink.send(event).await,
            Self::Http(sink) => sink.send(event).await,
            Self::File(sink) => sink.send(&event),
        }
    }

    /// Hands over what is gathered: the next event may take a while.
    pub(crate) async fn idle(&mut self) -> Result<(), Failure> {
        match self {
            Self::Kafka(sink) => sink.idle().await,
            Self::Http(sink) => sink.idle().await,
            Self::File(sink) => sink.flush(),
        }
    }

    /// Waits until the receiver has everything.
    pub(crate) async fn finish(self) -> Result<Delivered, Failure> {
        match self {
            Self::Kafka(sink) => sink.finish().await,
            Self::Http(sink) => sink.finish().await,
            Self::File(sink) => sink.finish(),
        }
    }
}

/// Appends the bytes of one event: as they are, or as JSON.
fn put_json(body: &EventBody, out: &mut Vec<u8>) -> Result<(), Failure> {
    match body {
        EventBody::Event(event) => encode_json(event, out)?,
        EventBody::Raw(bytes) => out.extend_from_slice(bytes),
    }
    Ok(())
}

/// Where events are posted to: a URL without a path is that of a listener, whose door is at the
/// usual place.
fn door_of(text: &str) -> Result<String, Failure> {
    let mut url: reqwest::Url =
        text.parse().map_err(|error| Failure::usage(format!("--url {text}: {error}")))?;
    if matches!(url.path(), "" | "/") {
        url.set_path("/v1/events");
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_s_door_is_found() {
        let door = |url| door_of(url).ok();
        let usual = Some("http://127.0.0.1:8080/v1/events".to_owned());
        assert_eq!(door("http://127.0.0.1:8080"), usual);
        assert_eq!(door("http://127.0.0.1:8080/"), usual);
        assert_eq!(door("http://gw/tally/v1/events").as_deref(), Some("http://gw/tally/v1/events"));
        assert_eq!(door("127.0.0.1"), None);
    }
}

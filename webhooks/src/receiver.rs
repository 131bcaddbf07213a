//! A configured webhook.

use std::collections::BTreeSet;
use std::net::IpAddr;

use serde::Deserialize;
use tally_schemas::{AlertsConfig, WebhookConfig};
use url::{Host, Url};

use crate::address::{is_public, refusal};
use crate::error::WebhookError;
use crate::signature::SigningKey;

/// One receiver of alerts.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Hash of the URL: what its positions are kept under.
    pub(crate) id: String,
    /// The URL without user, password and query, for people.
    pub(crate) name: String,
    pub(crate) url: Url,
    pub(crate) key: SigningKey,
    kinds: BTreeSet<String>,
    accounts: BTreeSet<String>,
}

/// Of an alert, what a receiver chooses by.
#[derive(Debug, Deserialize)]
pub(crate) struct Chosen {
    /// Identity.
    pub(crate) id: String,
    kind: String,
    account: Option<String>,
}

impl Receiver {
    /// Reads a configured webhook. An address that is written out is checked here; one of a name
    /// is when it is connected to.
    ///
    /// # Errors
    /// `Invalid` where it cannot work, or may not be reached.
    pub fn new(config: &WebhookConfig, allow_private: bool) -> Result<Self, WebhookError> {
        let invalid = |why: String| WebhookError::Invalid(why);
        let url = Url::parse(&config.url).map_err(|error| invalid(format!("url: {error}")))?;
        if !matches!(url.scheme(), "http" | "https") {
            return Err(invalid(format!("url: {} is neither http nor https", url.scheme())));
        }
        let literal = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) => None,
            None => return Err(invalid("url: has no host".to_owned())),
        };
        if let Some(address) = literal.filter(|address| !allow_private && !is_public(*address)) {
            return Err(invalid(refusal(&address.to_string())));
        }
        let mut shown = url.clone();
        shown.set_query(None);
        shown.set_fragment(None);
        if shown.set_username("").and(shown.set_password(None)).is_err() {
            return Err(invalid("url: has no host".to_owned()));
        }
        Ok(Self {
            id: blake3::hash(config.url.as_bytes()).to_hex().as_str()[..16].to_owned(),
            name: shown.to_string(),
            url,
            key: SigningKey::parse(config.secret.expose())?,
            kinds: config.kinds.iter().cloned().collect(),
            accounts: config.accounts.iter().cloned().collect(),
        })
    }

    /// For people: the URL without user, password and query.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its positions and dead letters are kept under.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it wants an alert.
    pub(crate) fn wants(&self, alert: &Chosen) -> bool {
        let account = alert.account.as_deref().unwrap_or_default();
        (self.kinds.is_empty() || self.kinds.contains(&alert.kind))
            && (self.accounts.is_empty() || self.accounts.contains(account))
    }
}

/// Every receiver of a configuration.
///
/// # Errors
/// `Invalid` where one of them cannot work, or a URL is there twice.
pub fn receivers_of(config: &AlertsConfig) -> Result<Vec<Receiver>, WebhookError> {
    let mut receivers: Vec<Receiver> = Vec::with_capacity(config.webhooks.len());
    for webhook in &config.webhooks {
        let receiver = Receiver::new(webhook, config.allow_private)?;
        if receivers.iter().any(|other| other.id == receiver.id) {
            return Err(WebhookError::Invalid(format!("url: {} is there twice", receiver.name)));
        }
        receivers.push(receiver);
    }
    Ok(receivers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn webhook(url: &str) -> WebhookConfig {
        WebhookConfig { url: url.to_owned(), secret: SECRET.into(), ..WebhookConfig::default() }
    }

    #[test]
    fn private_addresses_are_refused_however_they_are_written() {
        for url in [
            "http://127.0.0.1/hook",
            "http://2130706433/",
            "http://0x7f.1/",
            "http://[::1]:8080/",
            "http://[::ffff:10.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "ftp://example.com/",
            "nonsense",
        ] {
            assert!(Receiver::new(&webhook(url), false).is_err(), "{url}");
        }
        assert!(Receiver::new(&webhook("http://127.0.0.1/hook"), true).is_ok());
        assert!(Receiver::new(&webhook("https://alerts.example.com/hook"), false).is_ok());
    }

    #[test]
    fn what_is_shown_has_no_secret_in_it() {
        let receiver =
            Receiver::new(&webhook("https://me:hunter2@example.com/hook?token=abc"), false);
        let receiver = receiver.unwrap();
        assert_eq!(receiver.name(), "https://example.com/hook");
        let twice = AlertsConfig {
            webhooks: vec![webhook("https://example.com/"), webhook("https://example.com/")],
            ..AlertsConfig::default()
        };
        assert!(receivers_of(&twice).is_err());
    }

    #[test]
    fn a_receiver_gets_what_it_wants() {
        let alert = |kind: &str, account: Option<&str>| Chosen {
            id: "a".to_owned(),
            kind: kind.to_owned(),
            account: account.map(str::to_owned),
        };
        let mut config = webhook("https://example.com/");
        let of = |config: &WebhookConfig| Receiver::new(config, false).unwrap();
        assert!(of(&config).wants(&alert("budget", None)));
        config.kinds = vec!["percent_used".to_owned()];
        assert!(of(&config).wants(&alert("percent_used", Some("A1"))));
        assert!(!of(&config).wants(&alert("overrun", Some("A1"))));
        config.accounts = vec!["A1".to_owned()];
        assert!(of(&config).wants(&alert("percent_used", Some("A1"))));
        assert!(!of(&config).wants(&alert("percent_used", Some("A2"))));
        assert!(!of(&config).wants(&alert("percent_used", None)));
    }
}

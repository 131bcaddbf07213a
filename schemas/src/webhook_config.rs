//! The settings of one webhook.

use std::fmt;

use serde::{Deserialize, Serialize, Serializer};

/// One receiver of alerts.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebhookConfig {
    /// Where alerts are posted to.
    pub url: String,
    /// What they are signed with: `whsec_` and 24 to 64 bytes in base64.
    pub secret: Secret,
    /// Kinds that it gets; empty for all.
    #[serde(default)]
    pub kinds: Vec<String>,
    /// Accounts whose alerts it gets; empty for all.
    #[serde(default)]
    pub accounts: Vec<String>,
}

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

/// What is shown instead.
pub(crate) const HIDDEN: &str = "(hidden)";

impl Secret {
    /// The text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Secret {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(HIDDEN)
    }
}

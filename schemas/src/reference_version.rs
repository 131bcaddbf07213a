//! The name of reference data as one reader knows it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Names an edition of the reference data (prices, packages, contracts) and the time at which it
/// is read. As text `EDITION-HASH@KNOWN_AT_MS`, such as `3-8f14e45fceea167a@1795326157827`; in the
/// order of what replaces what.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReferenceVersion {
    /// Number of the edition: how many approvals there were before it.
    pub edition: u64,
    /// Versions that become known later than this do not count yet; milliseconds UTC.
    pub known_at_ms: i64,
    /// Beginning of the hash of the edition's object, in hex.
    pub hash: String,
}

impl ReferenceVersion {
    /// Whether it is a later edition or a later reading than `other`, and forgets nothing that was
    /// known to that.
    pub fn exceeds(&self, other: &Self) -> bool {
        self.known_at_ms >= other.known_at_ms
            && (self.edition, self.known_at_ms) > (other.edition, other.known_at_ms)
    }
}

/// A text that names no reference data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no version of reference data, such as 3-8f14e45fceea167a@1795326157827")]
pub struct BadReferenceVersion(String);

impl fmt::Display for ReferenceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}@{}", self.edition, self.hash, self.known_at_ms)
    }
}

impl FromStr for ReferenceVersion {
    type Err = BadReferenceVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts = || {
            let (edition, rest) = text.split_once('-')?;
            let (hash, known_at_ms) = rest.split_once('@')?;
            let (edition, known_at_ms) = (edition.parse().ok()?, known_at_ms.parse().ok()?);
            Some(Self { edition, known_at_ms, hash: hash.to_owned() })
        };
        parts().ok_or_else(|| BadReferenceVersion(text.to_owned()))
    }
}

impl Serialize for ReferenceVersion {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ReferenceVersion {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_read_as_it_is_written() {
        for (edition, known_at_ms) in [(0, -1), (3, 1_795_326_157_827), (u64::MAX, i64::MIN)] {
            let version = ReferenceVersion { edition, known_at_ms, hash: "8f14".to_owned() };
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        // A hash of a book, as entries had it before there were editions.
        for other in ["8f14e45fceea167a", "", "3-8f14", "x-8f14@5", "3-8f14@soon"] {
            assert!(other.parse::<ReferenceVersion>().is_err(), "{other}");
        }
    }

    #[test]
    fn a_later_reading_of_the_same_edition_is_newer_and_a_later_edition_newer_still() {
        let version = |text: &str| text.parse::<ReferenceVersion>().unwrap();
        assert!(version("3-b@5") < version("3-b@6"));
        assert!(version("3-b@6") < version("4-a@6"));
    }

    #[test]
    fn what_exceeds_another_version_forgets_nothing_of_it() {
        let exceeds = |text: &str, other: &str| {
            let version = |text: &str| text.parse::<ReferenceVersion>().unwrap();
            version(text).exceeds(&version(other))
        };
        assert!(exceeds("3-b@6", "3-b@5") && exceeds("4-a@6", "3-b@6"));
        for other in ["4-b@6", "4-a@6", "5-b@6", "4-b@7"] {
            assert!(!exceeds("4-b@6", other), "{other}");
        }
        // A later edition, as it was read before the older one was.
        assert!(!exceeds("4-b@6", "3-b@7"));
    }
}

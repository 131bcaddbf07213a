//! The store's clock beside this machine's. There is no other clock that every process can ask.

use std::time::Duration;

use jiff::Timestamp;
use object_store::{ObjectStore, ObjectStoreExt, path::Path};
use tally_schemas::in_full;

/// How long the store may take: it has its own retries below.
const PATIENCE: Duration = Duration::from_secs(25);

/// A clock that differs by as much is wrong. Stores refuse requests whose signature is too old, most
/// after 15 minutes.
pub(crate) const SKEW_WRONG_MS: i64 = 60_000;

/// How far this machine's clock is ahead of the store's, milliseconds; negative where it is behind.
/// What cannot be told apart is 0: a store tells the time to a second, and the object that it is
/// read from was made at some moment of a round trip. Writes an object and takes it away.
///
/// # Errors
/// The store's words.
pub(crate) async fn ahead_ms(store: &dyn ObjectStore) -> Result<i64, String> {
    let path = Path::from(format!("probe/{}", uuid::Uuid::new_v4().simple()));
    let asked = async {
        let before = Timestamp::now().as_millisecond();
        store.put(&path, "clock".into()).await.map_err(|error| in_full(&error))?;
        let after = Timestamp::now().as_millisecond();
        let there = store.head(&path).await.map_err(|error| in_full(&error));
        store.delete(&path).await.map_err(|error| in_full(&error))?;
        Ok(ahead(before, after, there?.last_modified.timestamp_millis()))
    };
    within(asked).await
}

/// Waits for an answer of the store, and not for ever.
pub(crate) async fn within<Answer>(
    asked: impl Future<Output = Result<Answer, String>>,
) -> Result<Answer, String> {
    match tokio::time::timeout(PATIENCE, asked).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
}

/// `there` is the store's time, cut to its second, of a moment between `before` and `after`.
fn ahead(before: i64, after: i64, there: i64) -> i64 {
    if there > after {
        return after.saturating_sub(there);
    }
    before.saturating_sub(there.saturating_add(999)).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ahead_is_positive_and_what_cannot_be_told_apart_is_nothing() {
        let at = 1_795_326_155_000;
        for (there, wanted) in [
            (at, 0),
            (at - 999, 0),
            (at - 1_000, 1),
            (at + 40, 0),
            (at + 41, -1),
            (at - 3_600_000, 3_599_001),
            (at + 3_600_040, -3_600_000),
        ] {
            assert_eq!(ahead(at, at + 40, there), wanted, "{there}");
        }
    }
}

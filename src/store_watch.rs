//! Whether the store answers, for `/readyz` of those who only read it.

use std::sync::Arc;
use std::time::Duration;

use futures::TryFutureExt;
use object_store::ObjectStore;
use object_store::path::Path;
use tally_schemas::in_full;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

/// How long an answer holds, however many ask.
const FRESH: Duration = Duration::from_secs(1);
/// How long the store may take: less than a probe waits (three seconds in the chart), so that the
/// probe hears why.
const PATIENCE: Duration = Duration::from_secs(2);

/// Asks the store, once for all who ask at the same time.
#[derive(Debug)]
pub(crate) struct StoreWatch {
    store: Arc<dyn ObjectStore>,
    last: Mutex<Option<(Instant, Result<(), String>)>>,
}

impl StoreWatch {
    pub(crate) fn new(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, last: Mutex::default() }
    }

    /// Whether the store answers, and why not.
    pub(crate) async fn answers(&self) -> Result<(), String> {
        // Held while the store is asked: others wait for this answer, and do not ask too.
        let mut last = self.last.lock().await;
        if let Some((at, answer)) = last.as_ref()
            && at.elapsed() < FRESH
        {
            return answer.clone();
        }
        // One request. Of one object nobody could tell whether it is missing or its bucket.
        let folder = Path::from("tables");
        let asked = self.store.list_with_delimiter(Some(&folder)).map_err(|error| in_full(&error));
        let answer = match timeout(PATIENCE, asked).await {
            Ok(listed) => listed.map(drop),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        // Said where it changes: probes come every few seconds, as long as it lasts.
        match (&answer, last.as_ref().map(|(_, before)| before)) {
            (Err(why), None | Some(Ok(()))) => tracing::warn!(why, "the store does not answer"),
            (Ok(()), Some(Err(_))) => tracing::info!("the store answers again"),
            _ => {}
        }
        *last = Some((Instant::now(), answer.clone()));
        answer
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use object_store::aws::{AmazonS3, AmazonS3Builder};
    use object_store::memory::InMemory;
    use object_store::{ObjectStoreExt, RetryConfig};

    use super::*;

    /// An S3 server that is asked once.
    pub(crate) fn asked_once(endpoint: String) -> AmazonS3 {
        AmazonS3Builder::new()
            .with_endpoint(endpoint)
            .with_allow_http(true)
            .with_bucket_name("b")
            .with_region("r")
            .with_access_key_id("a")
            .with_secret_access_key("s")
            .with_retry(RetryConfig { max_retries: 0, ..RetryConfig::default() })
            .build()
            .unwrap()
    }

    #[tokio::test]
    async fn a_store_that_answers_is_there_with_and_without_tables() {
        let store = Arc::new(InMemory::new());
        let watch = StoreWatch::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
        assert_eq!(watch.answers().await, Ok(()));
        store.put(&Path::from("tables/usage_events/x"), "".into()).await.unwrap();
        let watch = StoreWatch::new(store);
        assert_eq!(watch.answers().await, Ok(()));
    }

    #[tokio::test]
    async fn a_store_that_is_away_is_asked_once_by_many() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        // Takes connections and breaks them, until the process of the test ends.
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                counted.fetch_add(1, Ordering::SeqCst);
                drop(connection);
            }
        });
        let store = asked_once(format!("http://{address}"));
        let watch = Arc::new(StoreWatch::new(Arc::new(store)));
        let asking: Vec<_> = (0..20)
            .map(|_| {
                let watch = Arc::clone(&watch);
                tokio::spawn(async move { watch.answers().await })
            })
            .collect();
        let mut told = Vec::new();
        for asked in asking {
            told.push(asked.await.unwrap().unwrap_err());
        }
        told.dedup();
        assert_eq!(told.len(), 1, "{told:?}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{told:?}");
    }
}

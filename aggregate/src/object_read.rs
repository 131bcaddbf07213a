//! Reads of whole objects from a store where a request fails now and then.
//!
//! Who takes a partition over reads some hundred objects. Where one request in twenty fails in a way
//! that the client does not repeat, hardly one such takeover in two hundred meets none: so what was
//! read is kept, and only the rest is read again.

use std::error::Error as StdError;

use bytes::Bytes;
use futures::{StreamExt, stream};
use object_store::client::{HttpError, HttpErrorKind};
use object_store::{Error, ObjectStore, ObjectStoreExt, path::Path};

/// Reads of one object right after one another, before its failure is the caller's.
const READS: u32 = 3;

/// An object's bytes.
///
/// # Errors
/// As the store gives them; one that came at once, and may be gone the next time, only when it came
/// three times.
pub async fn read_object(store: &dyn ObjectStore, path: &Path) -> Result<Bytes, Error> {
    let mut reads = 1;
    loop {
        let outcome = match store.get(path).await {
            Ok(found) => found.bytes().await,
            Err(error) => Err(error),
        };
        match outcome {
            Err(error) if reads < READS && is_passing(&error) => reads += 1,
            outcome => return outcome,
        }
    }
}

/// The bytes of several objects, in the order of their paths, up to `at_once` of them read at a
/// time. As long as some can be read, the others are read again.
///
/// # Errors
/// That an object is not there, or the store does not let it be read, at once; otherwise the error
/// of one where none of those that were missing could be read.
pub async fn read_objects(
    store: &dyn ObjectStore,
    paths: &[Path],
    at_once: usize,
) -> Result<Vec<Bytes>, Error> {
    let mut objects: Vec<Option<Bytes>> = vec![None; paths.len()];
    loop {
        let missing: Vec<usize> =
            (0..paths.len()).filter(|number| objects[*number].is_none()).collect();
        let mut reads = stream::iter(missing)
            .map(|number| async move { (number, read_object(store, &paths[number]).await) })
            .buffer_unordered(at_once.max(1));
        let (mut read, mut failed) = (0, None);
        while let Some((number, outcome)) = reads.next().await {
            match outcome {
                Ok(bytes) => {
                    objects[number] = Some(bytes);
                    read += 1;
                }
                Err(error) if is_final(&error) => return Err(error),
                Err(error) => failed = Some(error),
            }
        }
        drop(reads);
        match failed {
            None => return Ok(objects.into_iter().flatten().collect()),
            Some(error) if read == 0 => return Err(error),
            Some(_) => {}
        }
    }
}

/// What another read does not change.
const fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::NotFound { .. } | Error::PermissionDenied { .. } | Error::Unauthenticated { .. }
    )
}

/// Whether a read that failed is worth another at once: the client has not repeated it, and it took
/// no time. A read has nothing that it could be in conflict with: a store that says so is busy.
fn is_passing(error: &Error) -> bool {
    if matches!(error, Error::AlreadyExists { .. }) {
        return true;
    }
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(http) = error.downcast_ref::<HttpError>() {
            return !matches!(http.kind(), HttpErrorKind::Timeout | HttpErrorKind::Connect);
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    use async_trait::async_trait;
    use futures::FutureExt;
    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
    };

    use super::*;

    /// A store whose reads fail: by the object and how often it was read before.
    #[derive(Debug)]
    struct Failing {
        inner: InMemory,
        fails: fn(&Path, u32) -> Option<Error>,
        reads: Mutex<BTreeMap<Path, u32>>,
    }

    impl std::fmt::Display for Failing {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Failing")
        }
    }

    #[async_trait]
    impl ObjectStore for Failing {
        async fn put_opts(&self, at: &Path, what: PutPayload, o: PutOptions) -> Result<PutResult> {
            self.inner.put_opts(at, what, o).await
        }

        async fn put_multipart_opts(
            &self,
            at: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.inner.put_multipart_opts(at, options).await
        }

        async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
            let before = {
                let mut reads = self.reads.lock().unwrap();
                let reads = reads.entry(at.clone()).or_default();
                *reads += 1;
                *reads - 1
            };
            match (self.fails)(at, before) {
                Some(error) => Err(error),
                None => self.inner.get_opts(at, options).await,
            }
        }

        fn delete_stream(
            &self,
            paths: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.inner.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.inner.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.inner.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.inner.copy_opts(from, to, options).await
        }
    }

    const OBJECTS: u32 = 9;

    fn path(number: u32) -> Path {
        Path::from(number.to_string())
    }

    fn number_of(path: &Path) -> u32 {
        path.as_ref().parse().unwrap()
    }

    /// A store with objects that hold their numbers.
    fn store(fails: fn(&Path, u32) -> Option<Error>) -> Failing {
        let inner = InMemory::new();
        for number in 0..OBJECTS {
            let bytes = number.to_string().into_bytes();
            inner.put(&path(number), bytes.into()).now_or_never().unwrap().unwrap();
        }
        Failing { inner, fails, reads: Mutex::default() }
    }

    fn read_one(store: &Failing) -> (bool, u32) {
        let outcome = read_object(store, &path(0)).now_or_never().unwrap();
        (outcome.is_ok(), store.reads.lock().unwrap()[&path(0)])
    }

    fn read_all(store: &Failing, count: u32) -> (Result<Vec<Bytes>>, Vec<u32>) {
        let paths: Vec<Path> = (0..count).map(path).collect();
        let outcome = read_objects(store, &paths, 4).now_or_never().unwrap();
        (outcome, store.reads.lock().unwrap().values().copied().collect())
    }

    fn http(kind: HttpErrorKind) -> Error {
        let error = HttpError::new(kind, std::io::Error::other("planted"));
        Error::Generic { store: "S3", source: Box::new(error) }
    }

    fn conflict() -> Error {
        Error::AlreadyExists { path: String::new(), source: "409".into() }
    }

    #[test]
    fn what_fails_at_once_is_read_again_and_no_more_than_three_times() {
        assert_eq!(read_one(&store(|_, _| None)), (true, 1));
        assert_eq!(read_one(&store(|_, before| (before < 2).then(conflict))), (true, 3));
        let broken_off =
            |_: &Path, before: u32| (before < 1).then(|| http(HttpErrorKind::Interrupted));
        assert_eq!(read_one(&store(broken_off)), (true, 2));
        assert_eq!(read_one(&store(|_, _| Some(conflict()))), (false, 3));
    }

    /// Whoever waits for a store is told after one time-out, and not after three.
    #[test]
    fn what_took_its_time_or_what_the_client_has_repeated_is_the_callers() {
        assert_eq!(read_one(&store(|_, _| Some(http(HttpErrorKind::Timeout)))), (false, 1));
        assert_eq!(read_one(&store(|_, _| Some(http(HttpErrorKind::Connect)))), (false, 1));
        let status = |_: &Path, _: u32| {
            Some(Error::Generic { store: "S3", source: "503 after 3 retries".into() })
        };
        assert_eq!(read_one(&store(status)), (false, 1));
    }

    #[test]
    fn what_was_read_is_kept_while_the_rest_is_read_again() {
        // In each round one more can be read.
        let store =
            store(|path, before| (before < number_of(path)).then(|| http(HttpErrorKind::Timeout)));
        let (objects, reads) = read_all(&store, OBJECTS);
        let expected: Vec<Bytes> = (0..OBJECTS).map(|n| n.to_string().into()).collect();
        assert_eq!(objects.unwrap(), expected);
        assert_eq!(reads, (1..=OBJECTS).collect::<Vec<u32>>());
    }

    #[test]
    fn where_nothing_can_be_read_or_an_object_is_missing_it_ends() {
        let away = store(|_, _| Some(http(HttpErrorKind::Timeout)));
        let (objects, reads) = read_all(&away, OBJECTS);
        assert!(objects.is_err());
        assert_eq!(reads, vec![1; OBJECTS as usize]);
        // The last one is not in the store.
        let (objects, reads) = read_all(&store(|_, _| None), OBJECTS + 1);
        assert!(matches!(objects, Err(Error::NotFound { .. })), "{objects:?}");
        assert!(reads.iter().all(|reads| *reads == 1), "{reads:?}");
        assert_eq!(read_all(&store(|_, _| None), 0).0.unwrap(), Vec::<Bytes>::new());
    }
}

//! A store in which somebody is at work: an object is there only once another was read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// Another store, in which `late` comes when `after` is read.
#[derive(Debug)]
pub(crate) struct LateStore {
    inner: Arc<dyn ObjectStore>,
    late: Path,
    after: Path,
    has_come: AtomicBool,
}

impl LateStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, late: &str, after: &str) -> Self {
        let (late, after) = (Path::from(late), Path::from(after));
        Self { inner, late, after, has_come: AtomicBool::new(false) }
    }
}

impl fmt::Display for LateStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LateStore({})", self.inner)
    }
}

#[async_trait]
impl ObjectStore for LateStore {
    async fn put_opts(&self, at: &Path, body: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.inner.put_opts(at, body, opts).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, opts).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        if *at == self.after {
            self.has_come.store(true, Ordering::SeqCst);
        }
        if *at == self.late && !self.has_come.load(Ordering::SeqCst) {
            return Err(Error::NotFound { path: at.to_string(), source: "not yet".into() });
        }
        self.inner.get_opts(at, options).await
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

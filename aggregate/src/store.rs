//! Object storage by URL, and the probe that refuses a store without conditional writes.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::prefix::PrefixStore;
use object_store::{
    BackoffConfig, ClientOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, RetryConfig,
    path::Path,
};

use crate::error::AggregateError;

/// Opens the store of a URL: `s3://BUCKET/PREFIX` (configured by the standard `AWS_…`
/// environment, and by `s3_options` where that is silent), `file:///DIR`, or a folder, which is
/// created.
///
/// # Errors
/// `Invalid` for another scheme, an option that the client of S3 does not have, or a folder that
/// cannot be made.
pub fn open_store(
    url: &str,
    s3_options: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>, AggregateError> {
    if let Some(rest) = url.strip_prefix("s3://") {
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let s3 = s3_builder(s3_options, std::env::vars_os())?
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_allow_http(true)
            .with_client_options(
                ClientOptions::new()
                    .with_allow_http(true)
                    .with_timeout(Duration::from_secs(20))
                    .with_connect_timeout(Duration::from_secs(5)),
            )
            // Short retries here; the owner of a partition retries without end, and says so.
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: 3,
                retry_timeout: Duration::from_secs(20),
            })
            .build()?;
        let prefix = prefix.trim_end_matches('/');
        return Ok(if prefix.is_empty() {
            Arc::new(s3)
        } else {
            Arc::new(PrefixStore::new(s3, prefix))
        });
    }
    let folder = match url.strip_prefix("file://") {
        Some(path) => path,
        None if url.contains("://") => {
            return Err(AggregateError::Invalid(format!(
                "store {url}: known are s3://BUCKET/PREFIX, file:///DIR and a folder"
            )));
        }
        None => url,
    };
    std::fs::create_dir_all(folder)
        .map_err(|e| AggregateError::Invalid(format!("store folder {folder}: {e}")))?;
    Ok(Arc::new(LocalFileSystem::new_with_prefix(folder)?))
}

/// What is signed with: one of them without the others is somebody else's.
const CREDENTIALS: [AmazonS3ConfigKey; 6] = [
    AmazonS3ConfigKey::AccessKeyId,
    AmazonS3ConfigKey::SecretAccessKey,
    AmazonS3ConfigKey::Token,
    AmazonS3ConfigKey::WebIdentityTokenFile,
    AmazonS3ConfigKey::RoleArn,
    AmazonS3ConfigKey::RoleSessionName,
];

/// What of the environment says by whom is signed, all of one of these. The client prefers keys to a
/// web identity, wherever each is from.
const SIGNERS: [&[AmazonS3ConfigKey]; 2] = [
    &[AmazonS3ConfigKey::AccessKeyId],
    &[AmazonS3ConfigKey::WebIdentityTokenFile, AmazonS3ConfigKey::RoleArn],
];

/// Names of the region. The client takes the second only where there is no first, wherever each is
/// from.
const REGIONS: [AmazonS3ConfigKey; 2] =
    [AmazonS3ConfigKey::Region, AmazonS3ConfigKey::DefaultRegion];

/// The client of S3 by the options, and by the environment, which counts more.
fn s3_builder(
    options: &BTreeMap<String, String>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
) -> Result<AmazonS3Builder, AggregateError> {
    let mut given: Vec<(AmazonS3ConfigKey, String)> = Vec::new();
    for (name, value) in environment {
        if let (Some(name), Some(value)) = (name.to_str(), value.to_str())
            && name.starts_with("AWS_")
            // As compose makes them of what is not set.
            && !value.is_empty()
            && let Ok(key) = name.to_ascii_lowercase().parse()
        {
            given.push((key, value.to_owned()));
        }
    }
    let has = |wanted: &AmazonS3ConfigKey| given.iter().any(|(key, _)| key == wanted);
    let signs_itself = SIGNERS.iter().any(|signer| signer.iter().all(has));
    let has_region = REGIONS.iter().any(has);
    let mut builder = AmazonS3Builder::new();
    for (name, value) in options {
        let key: AmazonS3ConfigKey = name.parse().map_err(|_| {
            AggregateError::Invalid(format!("store.s3_options.{name}: S3 has no such option"))
        })?;
        let is_given =
            (signs_itself && CREDENTIALS.contains(&key)) || (has_region && REGIONS.contains(&key));
        if !is_given {
            builder = builder.with_config(key, value);
        }
    }
    for (key, value) in given {
        builder = builder.with_config(key, value);
    }
    Ok(builder)
}

/// Creations of the probe object that race.
const RACERS: usize = 8;

/// Refuses a store on which two can create the same object: several create a probe object with
/// If-None-Match at once and one after them; one must win, and its bytes must stand. A store that
/// looks first and writes then is caught by the race.
///
/// # Errors
/// `Invalid` where conditional writes do not work, `Retry` while the store is away.
pub async fn probe(store: &dyn ObjectStore, probe_id: &str) -> Result<(), AggregateError> {
    let path = Path::from(format!("probe/{probe_id}"));
    let create = |racer: usize| {
        let path = &path;
        async move {
            let text = format!("racer {racer}");
            store.put_opts(path, text.into(), PutOptions::from(PutMode::Create)).await
        }
    };
    let mut outcomes = join_all((0..RACERS).map(create)).await;
    outcomes.push(create(RACERS).await);
    let mut winners = Vec::new();
    let mut trouble = None;
    for (racer, outcome) in outcomes.into_iter().enumerate() {
        match outcome {
            Ok(_) => winners.push(format!("racer {racer}")),
            Err(object_store::Error::AlreadyExists { .. }) => {}
            Err(error) => trouble = Some(error),
        }
    }
    let kept = match (winners.as_slice(), trouble) {
        // An error says nothing about conditional writes: that one may have won.
        ([] | [_], Some(error)) => return Err(error.into()),
        // The winner's reply was lost, and its client, which tried again, met its own object.
        ([], None) => {
            return Err(AggregateError::ReplyLost(
                "nobody was told to have created the probe object, so a reply was lost".to_owned(),
            ));
        }
        _ => store.get(&path).await?.bytes().await?,
    };
    store.delete(&path).await?;
    if matches!(winners.as_slice(), [winner] if kept.as_ref() == winner.as_bytes()) {
        return Ok(());
    }
    Err(AggregateError::Invalid(
        "the store lets two writers create the same object (If-None-Match is not honoured), so no commit on it would be safe; use a store with conditional writes".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use futures::stream::BoxStream;
    use object_store::memory::InMemory;
    use object_store::{
        CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
        PutMultipartOptions, PutPayload, PutResult, Result,
    };

    use super::*;
    use crate::error::ErrorKind;

    /// What is wrong with a store.
    #[derive(Debug, Clone, Copy)]
    enum Fault {
        /// It ignores the condition.
        Overwrites,
        /// It looks whether the object is there, and writes a moment later.
        LooksFirst,
        /// It honours the condition, but the reply to who creates an object is lost: the client
        /// asks again, and is told that the object is there.
        LosesReply,
    }

    #[derive(Debug)]
    struct Unsafe(InMemory, Fault);

    impl std::fmt::Display for Unsafe {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{self:?}")
        }
    }

    #[async_trait]
    impl ObjectStore for Unsafe {
        async fn put_opts(&self, at: &Path, what: PutPayload, _: PutOptions) -> Result<PutResult> {
            let there =
                || object_store::Error::AlreadyExists { path: at.to_string(), source: "".into() };
            match self.1 {
                Fault::Overwrites => self.0.put(at, what).await,
                Fault::LooksFirst => {
                    if self.0.head(at).await.is_ok() {
                        return Err(there());
                    }
                    tokio::task::yield_now().await;
                    self.0.put(at, what).await
                }
                Fault::LosesReply => {
                    self.0.put_opts(at, what, PutMode::Create.into()).await.and(Err(there()))
                }
            }
        }

        async fn put_multipart_opts(
            &self,
            at: &Path,
            options: PutMultipartOptions,
        ) -> Result<Box<dyn MultipartUpload>> {
            self.0.put_multipart_opts(at, options).await
        }

        async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
            self.0.get_opts(at, options).await
        }

        fn delete_stream(
            &self,
            paths: BoxStream<'static, Result<Path>>,
        ) -> BoxStream<'static, Result<Path>> {
            self.0.delete_stream(paths)
        }

        fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
            self.0.list(prefix)
        }

        async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
            self.0.list_with_delimiter(prefix).await
        }

        async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
            self.0.copy_opts(from, to, options).await
        }
    }

    /// A builder by options and an environment, and what it has.
    fn built(options: &[(&str, &str)], environment: &[(&str, &str)]) -> AmazonS3Builder {
        let options = options.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let environment = environment.iter().map(|(name, value)| (name.into(), value.into()));
        s3_builder(&options.collect(), environment).unwrap()
    }

    #[test]
    fn every_option_of_the_configuration_is_one_of_s3() {
        for name in tally_schemas::S3_OPTIONS {
            let key = name.parse::<AmazonS3ConfigKey>();
            let key = key.unwrap_or_else(|error| panic!("{name}: {error}"));
            // As the variable is called.
            assert_eq!(format!("aws_{name}").parse::<AmazonS3ConfigKey>().unwrap(), key, "{name}");
        }
        let unknown = BTreeMap::from([("colour".to_owned(), "blue".to_owned())]);
        let error = s3_builder(&unknown, []).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Invalid);
        assert!(error.to_string().contains("store.s3_options.colour"), "{error}");
    }

    #[test]
    fn the_environment_counts_more_than_options_and_its_credentials_alone() {
        use AmazonS3ConfigKey as Key;
        let options = [
            ("region", "cn-north-1"),
            ("endpoint_url", "https://s3.internal:9000"),
            ("access_key_id", "ours"),
            ("secret_access_key", "hunter2"),
            ("session_token", "hunter3"),
        ];
        let of = |builder: &AmazonS3Builder, key| builder.get_config_value(&key);
        let by_options = built(&options, &[("PATH", "/bin"), ("AWS_PROFILE", "nobody")]);
        assert_eq!(of(&by_options, Key::Region).as_deref(), Some("cn-north-1"));
        assert_eq!(of(&by_options, Key::AccessKeyId).as_deref(), Some("ours"));
        assert_eq!(of(&by_options, Key::Token).as_deref(), Some("hunter3"));
        let environment = [
            ("AWS_REGION", "us-east-1"),
            ("AWS_ACCESS_KEY_ID", "theirs"),
            ("AWS_SECRET_ACCESS_KEY", "hunter4"),
        ];
        let by_both = built(&options, &environment);
        assert_eq!(of(&by_both, Key::Region).as_deref(), Some("us-east-1"));
        assert_eq!(of(&by_both, Key::Endpoint).as_deref(), Some("https://s3.internal:9000"));
        assert_eq!(of(&by_both, Key::AccessKeyId).as_deref(), Some("theirs"));
        assert_eq!(of(&by_both, Key::SecretAccessKey).as_deref(), Some("hunter4"));
        // Ours would go with their key.
        assert_eq!(of(&by_both, Key::Token), None);
        // Whom a pod is, by its role, counts more than our keys; half of that says nothing.
        let pod = [("AWS_ROLE_ARN", "role"), ("AWS_WEB_IDENTITY_TOKEN_FILE", "/token")];
        let by_pod = built(&options, &pod);
        assert_eq!(of(&by_pod, Key::RoleArn).as_deref(), Some("role"));
        for key in [Key::AccessKeyId, Key::SecretAccessKey, Key::Token] {
            assert_eq!(of(&by_pod, key), None, "{key:?}");
        }
        // Variables without anything are none.
        let empty = [("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")];
        let by_empty = built(&options, &empty);
        assert_eq!(of(&by_empty, Key::AccessKeyId).as_deref(), Some("ours"));
        assert_eq!(of(&by_empty, Key::SecretAccessKey).as_deref(), Some("hunter2"));
        let by_half = built(&options, &pod[..1]);
        assert_eq!(of(&by_half, Key::AccessKeyId).as_deref(), Some("ours"));
    }

    /// The client takes a default region only where it has none.
    #[test]
    fn the_region_of_the_environment_counts_by_either_name() {
        let names = ["region", "default_region"];
        let variables = ["AWS_REGION", "AWS_DEFAULT_REGION"];
        let of = |builder: &AmazonS3Builder| {
            builder.get_config_value(&AmazonS3ConfigKey::Region).unwrap()
        };
        for name in names {
            assert_eq!(of(&built(&[(name, "cn-north-1")], &[])), "cn-north-1");
            for variable in variables {
                let both = built(&[(name, "cn-north-1")], &[(variable, "us-east-1")]);
                assert_eq!(of(&both), "us-east-1", "{name} and {variable}");
                let empty = built(&[(name, "cn-north-1")], &[(variable, "")]);
                assert_eq!(of(&empty), "cn-north-1", "{name} and an empty {variable}");
            }
        }
    }

    #[tokio::test]
    async fn a_store_without_conditional_writes_is_refused() {
        probe(&InMemory::new(), "a").await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let url = folder.path().display().to_string();
        probe(open_store(&url, &BTreeMap::new()).unwrap().as_ref(), "a").await.unwrap();
        for fault in [Fault::Overwrites, Fault::LooksFirst] {
            let error = probe(&Unsafe(InMemory::new(), fault), "a").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Invalid, "{fault:?}: {error}");
            assert!(error.to_string().contains("conditional writes"), "{fault:?}: {error}");
        }
    }

    /// R6: trouble on the way says nothing about the store.
    #[tokio::test]
    async fn a_lost_reply_is_no_reason_to_refuse_a_store() {
        let error = probe(&Unsafe(InMemory::new(), Fault::LosesReply), "a").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Retry, "{error}");
    }
}

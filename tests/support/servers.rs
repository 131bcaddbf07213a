//! The real servers that `make test` brings up, and some of a test's own, to be taken away.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where they are.
#[derive(Debug, Clone)]
pub(crate) struct Servers {
    /// `HOST:PORT` of the broker.
    pub(crate) kafka: String,
    /// URL of the S3 server; credentials and region are in the standard `AWS_…` variables.
    pub(crate) s3: String,
    /// A Python with the packages of `tests/python`.
    pub(crate) python: String,
}

impl Servers {
    /// The servers of the environment.
    ///
    /// Panics where it names none: a fault test without real servers shows nothing.
    pub(crate) fn of_environment() -> Self {
        let variable = |name: &str| {
            std::env::var(name).unwrap_or_else(|_| {
                panic!(
                    "{name} is not set: these tests need real Kafka and real S3, run `make test`"
                )
            })
        };
        Self {
            kafka: variable("TALLY_TEST_KAFKA"),
            s3: variable("TALLY_TEST_S3"),
            python: variable("TALLY_TEST_PYTHON"),
        }
    }

    /// `HOST:PORT` of the S3 server.
    pub(crate) fn s3_address(&self) -> String {
        self.s3.trim_start_matches("http://").trim_end_matches('/').to_owned()
    }
}

/// An S3 server of a test's own.
#[derive(Debug)]
pub(crate) struct S3Server {
    folder: PathBuf,
    /// `HOST:PORT`.
    pub(crate) address: String,
}

impl S3Server {
    /// A server of its own objects.
    pub(crate) fn start(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        Self::run(folder, &[])
    }

    /// Another server of the same objects, which lets nothing be written.
    pub(crate) fn read_only(&self, folder: &Path) -> Self {
        self.beside(folder, ("TALLY_S3_READ_ONLY", "1"))
    }

    /// Another server of the same objects, which wants another secret.
    pub(crate) fn with_secret(&self, folder: &Path, secret: &str) -> Self {
        self.beside(folder, ("TALLY_S3_SECRET", secret))
    }

    /// Another server of the same objects, which speaks TLS and presents what a file has.
    pub(crate) fn by_tls(&self, folder: &Path, presented: &Path) -> Self {
        self.beside(folder, ("TALLY_S3_CERTIFICATE", presented.to_str().unwrap()))
    }

    /// Stops such a server, and starts it at the same address: it presents what the file has now.
    pub(crate) fn presents(&self, presented: &Path) {
        script("s3.sh", "stop", &self.folder, &[], &[]);
        let setting = ("TALLY_S3_CERTIFICATE", presented.to_str().unwrap());
        script("s3.sh", "start", &self.folder, &[], &[setting]);
    }

    /// A second user, who reads everything and creates objects below `audit/`, as variables.
    pub(crate) fn reader(&self) -> Vec<(String, String)> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/s3.sh");
        let mut command = Command::new(script);
        command.arg("reader").env("AWS_ENDPOINT_URL", format!("http://{}", self.address));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let words = String::from_utf8(output.stdout).unwrap();
        let lines = words.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    fn beside(&self, folder: &Path, setting: (&str, &str)) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        std::os::unix::fs::symlink(self.folder.join("buckets"), folder.join("buckets")).unwrap();
        Self::run(folder, &[setting])
    }

    fn run(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let words = script("s3.sh", "start", folder, &["--port", "0"], settings);
        let url = words.lines().find_map(|line| line.strip_prefix("export AWS_ENDPOINT_URL="));
        let (_, address) = url.unwrap().split_once("://").unwrap();
        Self { folder: folder.to_owned(), address: address.to_owned() }
    }

    /// Where an object of the test bucket, or a folder of them, is on the disk.
    pub(crate) fn path(&self, object: &str) -> PathBuf {
        self.folder.join("buckets/tally").join(object)
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        script("s3.sh", "wipe", &self.folder, &[], &[]);
    }
}

fn script(
    name: &str,
    verb: &str,
    folder: &Path,
    options: &[&str],
    settings: &[(&str, &str)],
) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name);
    let mut command = Command::new(script);
    command.arg(verb).args(options).arg("--dir").arg(folder).envs(settings.iter().copied());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

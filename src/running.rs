//! The process that has the embedded log. The log belongs to one process at a time: commands that
//! need it while it runs ask that process, which they find by a file in the log's folder.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tally_schemas::Config;

use crate::exit::Failure;

/// Header that carries the token.
pub(crate) const TOKEN_HEADER: &str = "tally-log-token";

/// How long the process may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);

fn address_file(config: &Config) -> PathBuf {
    Path::new(&config.log.data).join("http-address")
}

/// What shows that whoever asks may read the log's folder, and so write to the log: new at every
/// start, and in a file that only the owner of the folder can read.
#[derive(Clone)]
pub(crate) struct LogToken(blake3::Hash);

impl LogToken {
    /// A token that nobody knows yet.
    pub(crate) fn new() -> Self {
        Self(blake3::hash(uuid::Uuid::new_v4().as_bytes()))
    }

    /// Whether a text is the token; takes the same time for every text.
    pub(crate) fn is(&self, text: &str) -> bool {
        blake3::Hash::from_hex(text).is_ok_and(|hash| hash == self.0)
    }
}

/// The file that says where this process is; it goes with it.
pub(crate) struct Announced(PathBuf);

impl Drop for Announced {
    fn drop(&mut self) {
        // One that stays names a process that is gone, which is noticed.
        drop(std::fs::remove_file(&self.0));
    }
}

/// Lets commands find this process while it runs. None where the log is Kafka, which everybody can
/// reach.
pub(crate) fn announce(
    config: &Config,
    address: std::net::SocketAddr,
    token: &LogToken,
) -> Result<Option<Announced>, Failure> {
    if !config.log.kafka.is_empty() {
        return Ok(None);
    }
    let path = address_file(config);
    // One of a process that was killed; a new file has the mode that is asked for.
    drop(std::fs::remove_file(&path));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    writeln!(file, "{address} {} {}", std::process::id(), token.0.to_hex())?;
    Ok(Some(Announced(path)))
}

/// A process that announced itself. It may be gone since.
pub(crate) struct Running {
    address: String,
    process: u32,
    token: String,
}

impl Running {
    /// Who announced that it has the embedded log.
    pub(crate) fn find(config: &Config) -> Option<Self> {
        if !config.log.kafka.is_empty() {
            return None;
        }
        let text = std::fs::read_to_string(address_file(config)).ok()?;
        let mut words = text.split_whitespace().map(str::to_owned);
        let (address, process) = (words.next()?, words.next()?.parse().ok()?);
        Some(Self { address, process, token: words.next()? })
    }

    /// Id of the process.
    pub(crate) fn process(&self) -> u32 {
        self.process
    }

    /// What it wants to see from those who write.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// A path of it.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// A client that reaches it, and no proxy.
    pub(crate) fn client(&self) -> Option<reqwest::Client> {
        reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_found_by_its_file_and_known_by_its_token() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::default();
        config.log.data = folder.path().display().to_string();
        assert!(Running::find(&config).is_none());
        let token = LogToken::new();
        let announced = announce(&config, ([127, 0, 0, 1], 8080).into(), &token).unwrap();
        let mode = std::fs::metadata(address_file(&config)).unwrap();
        assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777, 0o600);
        let running = Running::find(&config).unwrap();
        assert_eq!(running.url("/x"), "http://127.0.0.1:8080/x");
        assert_eq!(running.process(), std::process::id());
        assert!(token.is(running.token()) && !LogToken::new().is(running.token()));
        assert!(!token.is("") && !token.is("zz"));
        drop(announced);
        assert!(Running::find(&config).is_none());
    }
}

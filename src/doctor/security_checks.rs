//! Who is let in, the certificate, and the addresses that are listened on.

use std::net::{SocketAddr, ToSocketAddrs};
use std::ops::RangeInclusive;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use jiff::Timestamp;
use tally_access::{Certificate, UsersFile};
use tally_schemas::Config;
use tokio::net::TcpListener;

use super::finding::{Finding, span};

/// A certificate should be replaced by then.
const EXPIRY_WARNING_MS: i64 = 30 * 86_400_000;

const REPLACE: &str =
    "put a new one in its place and restart: clients refuse to connect once it has expired";

pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let mut findings = vec![users(config)];
    findings.push(certificate(config));
    let for_others = !config.auth.users_file.is_empty() && !config.tls.certificate.is_empty();
    for (name, address) in [
        ("http.listen", &config.http.listen),
        ("query.pg_listen", &config.query.pg_listen),
        ("query.flight_listen", &config.query.flight_listen),
    ] {
        findings.push(listener(name, address, for_others).await);
    }
    findings
}

fn users(config: &Config) -> Finding {
    let check = "users";
    let file = Path::new(&config.auth.users_file);
    if file.as_os_str().is_empty() {
        return Finding::ok(
            check,
            "none: whoever reaches a listener may do everything, and listeners are on loopback only",
        );
    }
    let read = match UsersFile::read(file) {
        Ok(read) => read,
        Err(error) => {
            return Finding::wrong(check, error.to_string()).advise("write it with tally user add");
        }
    };
    let count = read.iter().count();
    let found = format!("{count} in {}", file.display());
    if count == 0 {
        return Finding::warning(check, found)
            .advise("nobody is let in: add users with tally user add");
    }
    match std::fs::metadata(file) {
        // Its group may: where a Secret is mounted, that is how the process itself reads it.
        Ok(known) if known.permissions().mode() & 0o027 != 0 => Finding::warning(
            check,
            format!(
                "{found}, which others than its owner and group may read, or its group may write"
            ),
        )
        .advise(format!("chmod 600 {}", file.display())),
        Ok(_) => Finding::ok(check, found),
        Err(error) => Finding::wrong(check, format!("{}: {error}", file.display())),
    }
}

fn certificate(config: &Config) -> Finding {
    let check = "certificate";
    let (certificate, key) = (&config.tls.certificate, &config.tls.key);
    let (certificate, key) = match (certificate.as_str(), key.as_str()) {
        ("", "") => {
            return Finding::ok(
                check,
                "none: connections are not encrypted, and listeners are on loopback only",
            );
        }
        ("", _) => return Finding::wrong(check, "tls.key is set without tls.certificate"),
        (_, "") => return Finding::wrong(check, "tls.certificate is set without tls.key"),
        (certificate, key) => (Path::new(certificate), Path::new(key)),
    };
    match Certificate::load(certificate, key).and_then(|loaded| loaded.valid_ms()) {
        Ok(valid) => {
            validity(check, &valid, Timestamp::now().as_millisecond(), REPLACE)
        }
        Err(error) => Finding::wrong(check, error.to_string())
            .advise("tls.certificate is a PEM file with the certificate and its chain, tls.key one with its key"),
    }
}

/// How a certificate is that is valid for so long; `replace` is what to do about one that ends.
pub(super) fn validity(
    check: &str,
    valid_ms: &RangeInclusive<i64>,
    now_ms: i64,
    replace: &str,
) -> Finding {
    let left = valid_ms.end().saturating_sub(now_ms);
    if left < 0 {
        let found = format!("it expired {} ago", span(left.saturating_neg()));
        return Finding::wrong(check, found).advise(replace);
    }
    if now_ms < *valid_ms.start() {
        let until = valid_ms.start().saturating_sub(now_ms);
        let found = format!("it is not valid for {} yet", span(until));
        return Finding::wrong(check, found).advise("look at the clock, or at who issued it");
    }
    let found = format!("valid for {}", span(left));
    if left < EXPIRY_WARNING_MS {
        return Finding::warning(check, found).advise(replace);
    }
    Finding::ok(check, found)
}

async fn listener(name: &str, address: &str, for_others: bool) -> Finding {
    let resolved: Vec<SocketAddr> = match address.to_socket_addrs() {
        Ok(resolved) => resolved.collect(),
        Err(error) => {
            return Finding::wrong(name, format!("{address}: {error}"))
                .advise(format!("set {name} to IP:PORT"));
        }
    };
    if !for_others && !resolved.iter().all(|address| address.ip().is_loopback()) {
        return Finding::wrong(name, format!("{address} is not on loopback"))
            .advise("set auth.users_file, tls.certificate and tls.key, or listen on 127.0.0.1");
    }
    match TcpListener::bind(resolved.as_slice()).await {
        Ok(_) => Finding::ok(name, format!("{address} is free")),
        // Most often this is the process that one is asked about.
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            Finding::ok(name, format!("{address} is taken: a process listens there"))
        }
        Err(error) => Finding::wrong(name, format!("{address}: {error}"))
            .advise("choose an address of this machine, and a port that this user may open"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::State;
    use super::*;

    #[test]
    fn a_certificate_is_looked_at_by_the_clock() {
        let day = 86_400_000;
        for (now, state, words) in [
            (10 * day, State::Ok, "valid for 90 days"),
            (70 * day, State::Ok, "valid for 30 days"),
            (70 * day + 1, State::Warning, "valid for 29 days"),
            (100 * day, State::Warning, "valid for 0 s"),
            (103 * day, State::Wrong, "expired 3 days ago"),
            (-3 * day, State::Wrong, "not valid for 3 days yet"),
        ] {
            let finding = validity("certificate", &(0..=100 * day), now, REPLACE);
            assert_eq!(finding.state, state, "{}", finding.found);
            assert!(finding.found.contains(words), "{}", finding.found);
        }
    }

    #[tokio::test]
    async fn every_listener_is_looked_at() {
        for open in ["http.listen", "query.pg_listen", "query.flight_listen"] {
            let at = |name| String::from(if name == open { "0.0.0.0:0" } else { "127.0.0.1:0" });
            let mut config = Config::default();
            config.http.listen = at("http.listen");
            config.query.pg_listen = at("query.pg_listen");
            config.query.flight_listen = at("query.flight_listen");
            let findings = check(&config).await;
            let wrong: Vec<&str> = findings
                .iter()
                .filter(|finding| finding.state == State::Wrong)
                .map(|finding| finding.check.as_str())
                .collect();
            assert_eq!(wrong, [open]);
        }
    }

    #[tokio::test]
    async fn an_address_is_tried() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        for (address, for_others, state, words) in [
            (address.as_str(), false, State::Ok, "is taken"),
            ("127.0.0.1:0", false, State::Ok, "is free"),
            ("0.0.0.0:0", false, State::Wrong, "not on loopback"),
            ("0.0.0.0:0", true, State::Ok, "is free"),
            ("nonsense", true, State::Wrong, "nonsense"),
            ("127.0.0.1:65536", true, State::Wrong, "127.0.0.1:65536"),
            // TEST-NET-1 is no address of any machine.
            ("192.0.2.1:0", true, State::Wrong, "192.0.2.1"),
        ] {
            let finding = listener("http.listen", address, for_others).await;
            assert_eq!(finding.state, state, "{address}: {}", finding.found);
            assert!(finding.found.contains(words), "{}", finding.found);
        }
    }
}

//! The PostgreSQL wire with passwords and TLS, with the real psql and certificates of a small
//! authority of our own.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};
use tally_access::{
    Certificate, Channel, Directory, Role, SignIn, SignIns, User, UsersFile, Verifier,
};
use tally_query::{PgDoor, PgServer, QueryEngine};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::canaries::{OWN, config, world};

const PASSWORD: &str = "correct horse battery staple";
const HOST: &str = "localhost";

/// A folder with an authority, a certificate of it, one that has expired, and users.
struct House {
    folder: TempDir,
    engine: Arc<QueryEngine>,
    sign_ins: SignIns,
    users: Arc<Directory>,
}

fn server_certificate(authority: &Issuer<'_, KeyPair>, folder: &Path, name: &str, until: i32) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new([HOST.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, HOST);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(until, 1, 1);
    let certificate = params.signed_by(&key, authority).unwrap();
    std::fs::write(folder.join(format!("{name}.crt")), certificate.pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, authority) in [("ca", "an authority"), ("other-ca", "another authority")] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.distinguished_name.push(DnType::CommonName, authority);
            let certificate = params.self_signed(&key).unwrap();
            std::fs::write(folder.path().join(format!("{name}.crt")), certificate.pem()).unwrap();
            if name == "ca" {
                let issuer = Issuer::new(params, key);
                server_certificate(&issuer, folder.path(), "server", 2100);
                server_certificate(&issuer, folder.path(), "expired", 2021);
            }
        }
        let mut file = UsersFile::default();
        for (name, role) in [
            ("amy", "finance"),
            ("deep", "vendor:deepseek"),
            ("gw-1", "gateway"),
            ("aud", "auditor"),
        ] {
            let password = Verifier::derive(PASSWORD, name.as_bytes(), 4_096).unwrap();
            let role: Role = role.parse().unwrap();
            let name = name.to_owned();
            file.insert(User { name, role, password: Some(password), token: None }).unwrap();
        }
        // Somebody who only has a token.
        let role = Role::Finance;
        file.insert(User { name: "bot".to_owned(), role, password: None, token: None }).unwrap();
        file.write(&folder.path().join("users.toml")).unwrap();
        let users = Arc::new(Directory::open(&folder.path().join("users.toml")).unwrap());
        let engine = world(true).await.engine_with(config()).await;
        let engine = Arc::new(Arc::into_inner(engine).unwrap().with_audit_log());
        Self { folder, engine, sign_ins: SignIns::default(), users }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn door(&self, certificate: Option<&str>) -> PgDoor {
        let certificate = certificate.map(|name| {
            let (chain, key) = (format!("{name}.crt"), format!("{name}.key"));
            Certificate::load(&self.file(&chain), &self.file(&key)).unwrap()
        });
        PgDoor {
            users: Some(Arc::clone(&self.users)),
            certificate,
            sign_ins: self.sign_ins.clone(),
        }
    }

    async fn serve(&self, certificate: Option<&str>) -> PgServer {
        let engine = Arc::clone(&self.engine);
        PgServer::bind_for(engine, "127.0.0.1:0", self.door(certificate)).await.unwrap()
    }

    async fn psql(&self, server: &PgServer, visitor: Visitor<'_>, sql: &str) -> (bool, String) {
        let port = server.address().port();
        let connection = format!(
            "host={HOST} hostaddr=127.0.0.1 port={port} user={} dbname=tally sslmode={} sslrootcert={} connect_timeout=10",
            visitor.user,
            visitor.mode,
            self.file(visitor.authority).display(),
        );
        let output = Command::new("psql")
            .args(["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", &connection, "-c", sql])
            .env("PGPASSWORD", visitor.password)
            .stdin(Stdio::null())
            .output()
            .await
            .expect("psql is missing: install it with `apt-get install -y postgresql-client`");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text.trim().to_owned())
    }
}

#[derive(Clone, Copy)]
struct Visitor<'a> {
    user: &'a str,
    password: &'a str,
    mode: &'a str,
    authority: &'a str,
}

const AMY: Visitor<'_> =
    Visitor { user: "amy", password: PASSWORD, mode: "verify-full", authority: "ca.crt" };

#[tokio::test]
async fn psql_signs_in_over_tls_and_sees_what_is_theirs() {
    let house = House::new().await;
    let server = house.serve(Some("server")).await;
    let sql = "SELECT count(DISTINCT vendor) FROM usage_events";
    let (ok, text) = house.psql(&server, AMY, sql).await;
    assert!(ok, "{text}");
    assert_eq!(text, "5");
    let vendor = Visitor { user: "deep", ..AMY };
    let (ok, text) = house.psql(&server, vendor, sql).await;
    assert_eq!((ok, text.as_str()), (true, "1"));
    let (_, text) = house.psql(&server, vendor, "SELECT max(vendor) FROM usage_events").await;
    assert_eq!(text, OWN);
    let (ok, text) = house.psql(&server, vendor, "SELECT * FROM quota_ledger").await;
    assert!(!ok && text.contains("not found"), "{text}");
    let (ok, text) = house.psql(&server, vendor, "\\d usage_events").await;
    assert!(ok && text.contains("wholesale_amount") && !text.contains("account"), "{text}");
    let (ok, text) = house.psql(&server, vendor, "\\dt *.*").await;
    assert!(ok && text.contains("usage_by_model") && !text.contains("suspense"), "{text}");
    assert_eq!(house.sign_ins.of(Channel::Postgres, SignIn::Accepted), 6);
    // And the auditor reads who did it.
    assert!(house.engine.finish_audit_log().await);
    let auditor = Visitor { user: "aud", ..AMY };
    let sql = "SELECT DISTINCT user_name, role, channel, action FROM system.audit_log WHERE statement = 'SELECT * FROM quota_ledger' OR outcome = 'accepted' ORDER BY 1, 4";
    let (ok, text) = house.psql(&server, auditor, sql).await;
    assert!(ok, "{text}");
    assert_eq!(
        text,
        "amy|finance|postgres|sign_in\ndeep|vendor:deepseek|postgres|sign_in\ndeep|vendor:deepseek|postgres|statement"
    );
}

#[tokio::test]
async fn who_is_not_let_in_is_told_no_more_than_that() {
    let house = House::new().await;
    let server = house.serve(Some("server")).await;
    let denied = "the user or the password is wrong";
    let mut told = Vec::new();
    for visitor in [
        Visitor { password: "correct horse battery stapl", ..AMY },
        Visitor { password: "", ..AMY },
        Visitor { user: "eve", ..AMY },
        Visitor { user: "bot", ..AMY },
        Visitor { user: "local", ..AMY },
    ] {
        let (ok, text) = house.psql(&server, visitor, "SELECT 1").await;
        assert!(!ok, "{}: {text}", visitor.user);
        if !visitor.password.is_empty() {
            assert!(text.contains(denied), "{text}");
            told.push(text.replace(visitor.user, "X"));
        }
    }
    told.dedup();
    assert_eq!(told.len(), 1, "{told:?}");
    let (ok, text) = house.psql(&server, Visitor { user: "gw-1", ..AMY }, "SELECT 1").await;
    assert!(!ok && text.contains("runs no statements"), "{text}");
    // Not encrypted: not even asked for a password.
    let (ok, text) = house.psql(&server, Visitor { mode: "disable", ..AMY }, "SELECT 1").await;
    assert!(!ok && text.contains("has to be encrypted"), "{text}");
    // Another authority, another name.
    let stranger = Visitor { authority: "other-ca.crt", ..AMY };
    let (ok, text) = house.psql(&server, stranger, "SELECT 1").await;
    assert!(!ok && text.contains("certificate verify failed"), "{text}");
    let expired = house.serve(Some("expired")).await;
    let (ok, text) = house.psql(&expired, AMY, "SELECT 1").await;
    // How an expired one is called depends on the client's library.
    let refused =
        text.contains("certificate has expired") || text.contains("certificate verify failed");
    assert!(!ok && refused, "{text}");
    let counted = |outcome| house.sign_ins.of(Channel::Postgres, outcome);
    assert_eq!(counted(SignIn::Accepted), 0);
    assert!(counted(SignIn::Denied) >= 4);
    assert_eq!((counted(SignIn::Forbidden), counted(SignIn::Unencrypted)), (1, 1));
}

#[tokio::test]
async fn without_tls_a_password_is_only_asked_for_on_loopback() {
    let house = House::new().await;
    let server = house.serve(None).await;
    let plain = Visitor { mode: "disable", ..AMY };
    let (ok, text) = house.psql(&server, plain, "SELECT 1").await;
    assert_eq!((ok, text.as_str()), (true, "1"));
    let (ok, text) = house.psql(&server, Visitor { password: "x", ..plain }, "SELECT 1").await;
    assert!(!ok && text.contains("wrong"), "{text}");
    for (door, allowed) in [
        (house.door(None), false),
        (PgDoor { users: None, ..house.door(Some("server")) }, false),
        (PgDoor::default(), false),
        (house.door(Some("server")), true),
    ] {
        let bound = PgServer::bind_for(Arc::clone(&house.engine), "0.0.0.0:0", door).await;
        match bound {
            Ok(_) => assert!(allowed),
            Err(error) => {
                assert!(!allowed && error.to_string().contains("auth.users_file"), "{error}")
            }
        }
    }
}

/// However many connections a vendor opens, the operator's people get in.
#[tokio::test]
async fn a_vendor_shuts_nobody_out() {
    let house = House::new().await;
    let config = tally_schemas::QueryConfig { connections_max: 2, ..config() };
    let engine = world(true).await.engine_with(config).await;
    let door = house.door(None);
    let server = PgServer::bind_for(Arc::clone(&engine), "127.0.0.1:0", door).await.unwrap();
    let connection = format!(
        "host={HOST} hostaddr=127.0.0.1 port={} user=deep dbname=tally sslmode=disable",
        server.address().port()
    );
    let mut held = Command::new("psql")
        .args(["-X", "-A", "-t", "-d", &connection])
        .env("PGPASSWORD", PASSWORD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = held.stdin.take().unwrap();
    input.write_all(b"SELECT 'held';\n").await.unwrap();
    let mut answer = [0_u8; 5];
    held.stdout.as_mut().unwrap().read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"held\n");
    let plain = Visitor { mode: "disable", ..AMY };
    let (ok, text) = house.psql(&server, Visitor { user: "deep", ..plain }, "SELECT 1").await;
    assert!(!ok && text.contains("half of all connections"), "{text}");
    let (ok, text) = house.psql(&server, plain, "SELECT 1").await;
    assert_eq!((ok, text.as_str()), (true, "1"));
    drop(input);
    assert!(held.wait().await.unwrap().success());
}

/// Who is taken out of the file of users has no more statements, on a connection that is open.
#[tokio::test]
async fn a_user_who_is_taken_out_is_out() {
    let house = House::new().await;
    let server = house.serve(Some("server")).await;
    let path = house.file("users.toml");
    let taken_out = async {
        tokio::time::sleep(std::time::Duration::from_millis(2_500)).await;
        let mut file = UsersFile::read(&path).unwrap();
        file.remove("amy").unwrap();
        file.write(&path).unwrap();
    };
    let connection = format!(
        "host={HOST} hostaddr=127.0.0.1 port={} user=amy dbname=tally sslmode=require",
        server.address().port()
    );
    let mut child = Command::new("psql")
        .args(["-X", "-A", "-t", "-d", &connection])
        .env("PGPASSWORD", PASSWORD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"SELECT 'first';\n").await.unwrap();
    taken_out.await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    input.write_all(b"SELECT 'second';\n").await.unwrap();
    drop(input);
    let output = child.wait_with_output().await.unwrap();
    let (out, errors) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(out.contains("first") && !out.contains("second"), "{out}{errors}");
    assert!(errors.contains("not known any more"), "{errors}");
}

/// A client that speaks the protocol by itself, and not as it should.
struct Raw(TcpStream);

impl Raw {
    async fn connect(server: &PgServer) -> Self {
        Self(TcpStream::connect(server.address()).await.unwrap())
    }

    async fn startup(&mut self, user: &str) {
        let mut body = 196_608_u32.to_be_bytes().to_vec();
        body.extend_from_slice(format!("user\0{user}\0database\0tally\0\0").as_bytes());
        let length = u32::try_from(body.len() + 4).unwrap();
        self.0.write_all(&length.to_be_bytes()).await.unwrap();
        self.0.write_all(&body).await.unwrap();
    }

    async fn send(&mut self, kind: u8, body: &[u8]) {
        let length = u32::try_from(body.len() + 4).unwrap();
        // The server may have closed it already.
        drop(self.0.write_all(&[kind]).await);
        drop(self.0.write_all(&length.to_be_bytes()).await);
        drop(self.0.write_all(body).await);
    }

    async fn everything(mut self) -> String {
        let mut bytes = Vec::new();
        // Nothing more comes: the server need not wait.
        drop(self.0.shutdown().await);
        drop(self.0.read_to_end(&mut bytes).await);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Statements of a connection that has not signed in are not run, in whatever order they come: not
/// before, not instead, and not after an attempt that failed.
#[tokio::test]
async fn nothing_is_run_for_a_connection_that_has_not_signed_in() {
    let house = House::new().await;
    let server = house.serve(None).await;
    let secret = b"SELECT concat('se', 'cret', count(*)) FROM usage_events\0";
    let initial = |mechanism: &str, data: &str| {
        let mut body = format!("{mechanism}\0").into_bytes();
        body.extend_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        body.extend_from_slice(data.as_bytes());
        body
    };
    for attempt in 0..7 {
        let mut raw = Raw::connect(&server).await;
        raw.startup("amy").await;
        match attempt {
            0 => {}
            1 => raw.send(b'p', &initial("PLAIN", "x")).await,
            2 => raw.send(b'p', &initial("SCRAM-SHA-256", "n,,n=,r=abc")).await,
            3 => {
                raw.send(b'p', &initial("SCRAM-SHA-256", "n,,n=,r=abc")).await;
                raw.send(b'p', b"c=biws,r=abc,p=AAAA").await;
            }
            4 => raw.send(b'p', b"password\0").await,
            5 => raw.send(b'p', &[]).await,
            _ => raw.startup("amy").await,
        }
        raw.send(b'Q', secret).await;
        let mut parse = vec![0];
        parse.extend_from_slice(secret);
        parse.extend_from_slice(&[0, 0]);
        raw.send(b'P', &parse).await;
        raw.send(b'B', &[0, 0, 0, 0, 0, 0, 0, 0]).await;
        raw.send(b'E', &[0, 0, 0, 0, 0]).await;
        raw.send(b'S', &[]).await;
        raw.send(b'Q', secret).await;
        raw.send(b'X', &[]).await;
        let said = raw.everything().await;
        assert!(!said.contains("secret"), "{attempt}: {said}");
    }
    assert_eq!(house.sign_ins.of(Channel::Postgres, SignIn::Accepted), 0);
    // Not run at all, and not only unanswered: the audit log would have it.
    assert!(house.engine.finish_audit_log().await);
    let sql = "SELECT statement FROM system.audit_log WHERE action = 'statement'";
    let answer = house.engine.run(sql, None, house.engine.limits()).await.unwrap();
    let (_, batches) = answer.collect().await.unwrap();
    assert_eq!(batches.iter().map(arrow::array::RecordBatch::num_rows).sum::<usize>(), 0);
}

//! How a connection of the PostgreSQL wire begins: encryption where it is required, SCRAM-SHA-256
//! where there are users, and from then on a [`Caller`].
//!
//! Every error before that is fatal. The protocol library would otherwise take the connection as
//! signed in, and it goes on reading from one that it closed; so a statement is only run for a
//! connection that has a caller.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::{Sink, SinkExt};
use pgwire::api::auth::{
    DefaultServerParameterProvider, StartupHandler, finish_authentication, protocol_negotiation,
    save_startup_parameters_to_metadata,
};
use pgwire::api::{
    ClientInfo, ConnectionGuard, ConnectionHandle, ConnectionManager, METADATA_USER,
    PgWireConnectionState, PidSecretKeyGenerator, RandomPidSecretKeyGenerator,
};
use pgwire::error::{ErrorInfo, PgWireError, PgWireResult};
use pgwire::messages::startup::{Authentication, PasswordMessageFamily};
use pgwire::messages::{PgWireBackendMessage, PgWireFrontendMessage};
use pgwire::tokio::TlsAcceptor;
use tally_access::{
    AccessError, Caller, Certificate, Channel, Directory, Exchange, Permission, SignIn, SignIns,
};
use tokio::sync::{Mutex, Notify};

use crate::connections::ConnectionPlace;
use crate::engine::QueryEngine;
use crate::error::QueryError;

/// The only way to sign in.
const MECHANISM: &str = "SCRAM-SHA-256";

/// Name of the protocol within TLS (ALPN).
const PROTOCOL: &[u8] = b"postgresql";

/// How long a wrong password is not answered, so that guessing takes its time.
const PAUSE_AFTER_DENIAL: Duration = Duration::from_millis(250);

/// SQLSTATE: signing in failed.
const INVALID_PASSWORD: &str = "28P01";
/// SQLSTATE: not allowed in, or not in this way.
const INVALID_AUTHORIZATION: &str = "28000";
/// SQLSTATE: there is no place.
const TOO_MANY_CONNECTIONS: &str = "53300";
/// SQLSTATE: what was sent is not the protocol.
const PROTOCOL_VIOLATION: &str = "08P01";

/// Who is let in by the PostgreSQL wire.
#[derive(Debug, Clone, Default)]
pub struct PgDoor {
    /// The users; none: whoever reaches the listener, which is on loopback then.
    pub users: Option<Arc<Directory>>,
    /// Certificate and key; with them, nothing is taken that is not encrypted.
    pub certificate: Option<Certificate>,
    /// Where sign-ins are counted.
    pub sign_ins: SignIns,
}

impl PgDoor {
    /// Whether it may be reached from other machines.
    pub(crate) fn is_for_others(&self) -> bool {
        self.users.is_some() && self.certificate.is_some()
    }

    /// What encrypts its connections.
    pub(crate) fn encryption(&self) -> Result<Option<TlsAcceptor>, QueryError> {
        let Some(certificate) = &self.certificate else { return Ok(None) };
        let config = certificate
            .server(&[PROTOCOL])
            .map_err(|error| QueryError::Invalid(format!("tls.certificate: {error}")))?;
        Ok(Some(TlsAcceptor::from(config)))
    }

    /// The caller of a connection, where they are still who they were when it began.
    pub(crate) fn caller_of<C: ClientInfo + ?Sized>(
        &self,
        client: &C,
    ) -> PgWireResult<Arc<Caller>> {
        let gone = || fatal(INVALID_AUTHORIZATION, "the connection is not signed in");
        let caller = client.session_extensions().get::<Caller>().ok_or_else(gone)?;
        match &self.users {
            Some(users) if !users.still_knows(&caller) => {
                Err(fatal(INVALID_AUTHORIZATION, "the user is not known any more"))
            }
            _ => Ok(caller),
        }
    }
}

pub(crate) fn fatal(code: &str, message: &str) -> PgWireError {
    let info = ErrorInfo::new("FATAL".to_owned(), code.to_owned(), message.to_owned());
    PgWireError::UserError(Box::new(info))
}

/// How far a connection is.
enum Progress {
    /// Nothing was said yet.
    New,
    /// It was told how to sign in.
    Asked { user: String },
    /// It waits for the proof.
    Proving { user: String, exchange: Box<Exchange> },
    /// It is signed in, or never will be.
    Over,
}

/// The beginning of one connection.
pub(crate) struct SignInHandler {
    door: Arc<PgDoor>,
    engine: std::sync::Weak<QueryEngine>,
    connections: Arc<ConnectionManager>,
    keys: Arc<RandomPidSecretKeyGenerator>,
    /// Told once somebody is let in.
    signed_in: Arc<Notify>,
    progress: Mutex<Progress>,
}

impl SignInHandler {
    pub(crate) fn new(
        door: Arc<PgDoor>,
        engine: std::sync::Weak<QueryEngine>,
        connections: Arc<ConnectionManager>,
        keys: Arc<RandomPidSecretKeyGenerator>,
        signed_in: Arc<Notify>,
    ) -> Self {
        let progress = Mutex::new(Progress::New);
        Self { door, engine, connections, keys, signed_in, progress }
    }

    fn engine(&self) -> PgWireResult<Arc<QueryEngine>> {
        self.engine.upgrade().ok_or_else(|| fatal("57P03", "the server is stopping"))
    }

    /// A place for a caller, where there is one.
    fn place(&self, caller: &Caller) -> PgWireResult<ConnectionPlace> {
        self.engine()?.connections().take(caller).map_err(|error| {
            let (user, role) = (caller.name(), caller.role_name());
            tracing::warn!(user, role, %error, "a connection found no place");
            fatal(TOO_MANY_CONNECTIONS, &error.to_string())
        })
    }

    /// Lets a caller in, who has a place.
    async fn let_in<C>(
        &self,
        client: &mut C,
        caller: Caller,
        place: ConnectionPlace,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let (pid, key) = self.keys.generate(client);
        client.set_pid_and_secret_key(pid, key.clone());
        let (handle, guard) = self.connections.register(pid, key);
        let extensions = client.session_extensions();
        extensions.insert::<Arc<ConnectionHandle>>(handle);
        extensions.insert::<ConnectionGuard>(guard);
        extensions.insert::<Caller>(caller);
        // Kept as long as the connection is.
        extensions.insert::<ConnectionPlace>(place);
        self.signed_in.notify_one();
        let mut parameters = DefaultServerParameterProvider::default();
        parameters.is_superuser = false;
        parameters.default_transaction_read_only = true;
        finish_authentication(client, &parameters).await
    }

    async fn refuse<C: ClientInfo>(
        &self,
        client: &C,
        user: &str,
        outcome: SignIn,
        error: PgWireError,
    ) -> PgWireError {
        self.door.sign_ins.count(Channel::Postgres, outcome);
        let peer = client.socket_addr();
        tracing::warn!(user, %peer, ?outcome, "a connection was not let in");
        if let Some(engine) = self.engine.upgrade()
            && let Some(audit) = engine.audit()
        {
            audit.sign_in(user, String::new(), peer, "denied").await;
        }
        tokio::time::sleep(PAUSE_AFTER_DENIAL).await;
        error
    }

    async fn begin<C>(&self, client: &mut C) -> PgWireResult<Progress>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let user = client.metadata().get(METADATA_USER).cloned().unwrap_or_default();
        if self.door.certificate.is_some() && !client.is_secure() {
            let error = fatal(INVALID_AUTHORIZATION, "the connection has to be encrypted (TLS)");
            return Err(self.refuse(client, &user, SignIn::Unencrypted, error).await);
        }
        if self.door.users.is_none() {
            let caller = Caller::local(Channel::Postgres, Some(client.socket_addr()));
            let place = self.place(&caller)?;
            self.let_in(client, caller, place).await?;
            return Ok(Progress::Over);
        }
        client.set_state(PgWireConnectionState::AuthenticationInProgress);
        let ways = Authentication::SASL(vec![MECHANISM.to_owned()]);
        client.send(PgWireBackendMessage::Authentication(ways)).await?;
        Ok(Progress::Asked { user })
    }

    async fn first<C>(
        &self,
        client: &mut C,
        user: String,
        message: PasswordMessageFamily,
    ) -> PgWireResult<Progress>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let first = initial_response(message);
        let broken = || fatal(PROTOCOL_VIOLATION, "this is not a first message of SASL");
        let (mechanism, first) = first.ok_or_else(broken)?;
        if mechanism != MECHANISM.as_bytes() {
            return Err(fatal(INVALID_AUTHORIZATION, "sign in by SCRAM-SHA-256"));
        }
        let users = self.users()?;
        let verifier = users.verifier(&user).map_err(|error| of_access(&error))?;
        let (exchange, answer) =
            Exchange::begin(verifier, &first).map_err(|error| of_access(&error))?;
        let answer = Authentication::SASLContinue(answer.into());
        client.send(PgWireBackendMessage::Authentication(answer)).await?;
        Ok(Progress::Proving { user, exchange: Box::new(exchange) })
    }

    async fn last<C>(
        &self,
        client: &mut C,
        user: String,
        exchange: Exchange,
        message: PasswordMessageFamily,
    ) -> PgWireResult<Progress>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let last = message.into_sasl_response()?;
        let done = match exchange.finish(&last.data) {
            Ok(done) => done,
            Err(error) => {
                let error = of_access(&error);
                return Err(self.refuse(client, &user, SignIn::Denied, error).await);
            }
        };
        let peer = client.socket_addr();
        let known = self.users()?.user(&user).filter(|user| user.password.is_some());
        let caller = known.map(|user| Caller::of(&user, Channel::Postgres, Some(peer)));
        let Some(caller) = caller else {
            let error = of_access(&AccessError::Denied);
            return Err(self.refuse(client, &user, SignIn::Denied, error).await);
        };
        if !caller.may(Permission::Sql) {
            let error = fatal(INVALID_AUTHORIZATION, "this role runs no statements");
            return Err(self.refuse(client, &user, SignIn::Forbidden, error).await);
        }
        let place = self.place(&caller)?;
        if let Some(audit) = self.engine()?.audit() {
            audit.sign_in(caller.name(), caller.role_name(), peer, "accepted").await;
        }
        self.door.sign_ins.count(Channel::Postgres, SignIn::Accepted);
        let proof = Authentication::SASLFinal(done.message().to_owned().into());
        client.feed(PgWireBackendMessage::Authentication(proof)).await?;
        self.let_in(client, caller, place).await?;
        Ok(Progress::Over)
    }

    fn users(&self) -> PgWireResult<&Directory> {
        self.door.users.as_deref().ok_or_else(|| fatal("XX000", "there are no users"))
    }
}

/// Mechanism and data of a first message of SASL. The library's own reader takes for granted that a
/// message is whole, and panics where it is not.
fn initial_response(message: PasswordMessageFamily) -> Option<(Vec<u8>, Vec<u8>)> {
    let PasswordMessageFamily::Raw(body) = message else { return None };
    let end = body.iter().position(|byte| *byte == 0)?;
    let (mechanism, rest) = body.split_at_checked(end)?;
    let (length, data) = rest.get(1..)?.split_first_chunk()?;
    let whole = match i32::from_be_bytes(*length) {
        -1 => data.is_empty(),
        length => usize::try_from(length) == Ok(data.len()),
    };
    whole.then(|| (mechanism.to_vec(), data.to_vec()))
}

/// What is wrong with signing in. Whether the name or the password is wrong is not said.
fn of_access(error: &AccessError) -> PgWireError {
    match error {
        AccessError::Denied => fatal(INVALID_PASSWORD, &error.to_string()),
        other => fatal(PROTOCOL_VIOLATION, &other.to_string()),
    }
}

/// An error before somebody is signed in, which ends the connection whatever it is.
fn ended(error: PgWireError) -> PgWireError {
    let info: ErrorInfo = error.into();
    if info.is_fatal() {
        PgWireError::UserError(Box::new(info))
    } else {
        fatal(&info.code, &info.message)
    }
}

#[async_trait]
impl StartupHandler for SignInHandler {
    async fn on_startup<C>(
        &self,
        client: &mut C,
        message: PgWireFrontendMessage,
    ) -> PgWireResult<()>
    where
        C: ClientInfo + Sink<PgWireBackendMessage> + Unpin + Send + Sync,
        C::Error: Debug,
        PgWireError: From<<C as Sink<PgWireBackendMessage>>::Error>,
    {
        let mut progress = self.progress.lock().await;
        // Until the step is done there is no way on: an error leaves it so.
        let step = match (std::mem::replace(&mut *progress, Progress::Over), message) {
            (Progress::New, PgWireFrontendMessage::Startup(startup)) => {
                match protocol_negotiation(client, &startup).await {
                    Ok(()) => {
                        save_startup_parameters_to_metadata(client, &startup);
                        self.begin(client).await
                    }
                    Err(error) => Err(error),
                }
            }
            (Progress::Asked { user }, PgWireFrontendMessage::PasswordMessageFamily(message)) => {
                self.first(client, user, message).await
            }
            (
                Progress::Proving { user, exchange },
                PgWireFrontendMessage::PasswordMessageFamily(message),
            ) => self.last(client, user, *exchange, message).await,
            _ => Err(fatal(PROTOCOL_VIOLATION, "this is not how a connection begins")),
        };
        *progress = step.map_err(ended)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_message_that_is_not_whole_is_none() {
        let read = |body: &[u8]| initial_response(PasswordMessageFamily::Raw(body.into()));
        let whole = (MECHANISM.as_bytes().to_vec(), b"n,,".to_vec());
        assert_eq!(read(b"SCRAM-SHA-256\0\0\0\0\x03n,,"), Some(whole));
        assert_eq!(read(b"X\0\xff\xff\xff\xff"), Some((b"X".to_vec(), Vec::new())));
        for body in [
            b"".as_slice(),
            b"SCRAM-SHA-256",
            b"SCRAM-SHA-256\0",
            b"SCRAM-SHA-256\0\0\0\0",
            b"SCRAM-SHA-256\0\0\0\0\x04n,,",
            b"SCRAM-SHA-256\0\0\0\0\x02n,,",
            b"SCRAM-SHA-256\0\x80\0\0\0n,,",
            b"SCRAM-SHA-256\0\xff\xff\xff\xffn,,",
        ] {
            assert_eq!(read(body), None, "{body:?}");
        }
    }
}

//! Who may ask what over HTTP and Arrow Flight SQL: every request passes here before its route sees
//! it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use base64::Engine;
use serde_json::json;
use tally_access::{Caller, Channel, Permission, SignIn};

use crate::security::Security;

/// Address of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Peer(pub(crate) SocketAddr);

/// What a route asks of whoever comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Nothing: whether the process lives, and published schemas.
    Nothing,
    /// A role that may watch, or this machine.
    Watching,
    /// A role with this permission.
    Role(Permission),
    /// A user, whatever they are: there is nothing to be had.
    AnyUser,
    /// More than any user has: the route is not named here.
    Never,
}

/// Every call of Arrow Flight SQL.
const FLIGHT_ROUTE: &str = "/arrow.flight.protocol.FlightService/{*rest}";

/// Every route of every process. One that is not here is for nobody but a process without users.
const ROUTES: [(&str, Need); 14] = [
    ("/healthz", Need::Nothing),
    ("/readyz", Need::Nothing),
    ("/v1/schema/usage-event.json", Need::Nothing),
    ("/v1/schema/quota-status.json", Need::Nothing),
    ("/metrics", Need::Watching),
    ("/v1/status", Need::Watching),
    ("/v1/status/process", Need::Watching),
    ("/v1/events", Need::Role(Permission::PostEvents)),
    ("/v1/control-totals", Need::Role(Permission::PostEvents)),
    ("/v1/accounts/{account}/commands", Need::Role(Permission::PostCommands)),
    ("/v1/accounts/{account}/quota", Need::Role(Permission::ReadQuota)),
    ("/v1/sql", Need::Role(Permission::Sql)),
    (FLIGHT_ROUTE, Need::Role(Permission::Sql)),
    // Asks for a token of its own, from a file that only the owner of the log's folder can read.
    ("/v1/suspense/resolutions", Need::Nothing),
];

/// Why a request is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Refusal {
    /// No token, or none that is known.
    Unknown,
    /// The role may not ask for this.
    Forbidden,
}

/// Lets requests in.
#[derive(Debug)]
pub(crate) struct Gate {
    security: Security,
    channel: Channel,
}

impl Gate {
    /// A gate of a listener for this kind of requests.
    pub(crate) fn new(security: Security, channel: Channel) -> Self {
        Self { security, channel }
    }

    /// Puts the gate before every route.
    pub(crate) fn guard(self, routes: Router) -> Router {
        routes.layer(from_fn_with_state(Arc::new(self), pass))
    }

    /// The caller of a request; `None` where nobody has to be known.
    fn admit(
        &self,
        route: Option<&str>,
        peer: Option<SocketAddr>,
        headers: &HeaderMap,
    ) -> Result<Option<Caller>, Refusal> {
        let Some(users) = &self.security.users else {
            return Ok(Some(Caller::local(self.channel, peer)));
        };
        let need = route.map_or(Need::AnyUser, |route| {
            ROUTES.iter().find(|(known, _)| *known == route).map_or(Need::Never, |(_, need)| *need)
        });
        let here = peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback());
        let user = token_of(headers).and_then(|token| users.user_of_token(&token));
        let permission = match need {
            Need::Nothing => return Ok(None),
            Need::Watching if here && user.is_none() => return Ok(None),
            Need::Watching => Some(Permission::Watch),
            Need::Role(permission) => Some(permission),
            Need::AnyUser | Need::Never => None,
        };
        let caller = user.map(|user| Caller::of(&user, self.channel, peer));
        let caller = caller.ok_or(Refusal::Unknown)?;
        let allowed = permission.map_or(need == Need::AnyUser, |wanted| caller.may(wanted));
        if allowed { Ok(Some(caller)) } else { Err(Refusal::Forbidden) }
    }
}

/// The token of a request: as it is, or as the password of any name, for drivers that know nothing
/// else.
fn token_of(headers: &HeaderMap) -> Option<String> {
    let (scheme, given) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(given.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    // Arrow's drivers for Go, and those that are built on them, leave the padding out.
    let unpadded = given.trim().trim_end_matches('=');
    let decoded = base64::engine::general_purpose::STANDARD_NO_PAD.decode(unpadded).ok()?;
    let (_, token) = std::str::from_utf8(&decoded).ok()?.split_once(':')?;
    Some(token.to_owned())
}

async fn pass(State(gate): State<Arc<Gate>>, mut request: Request, next: Next) -> Response {
    let extensions = request.extensions();
    let peer = extensions.get::<ConnectInfo<Peer>>().map(|ConnectInfo(Peer(peer))| *peer);
    let route = extensions.get::<MatchedPath>().map(|route| route.as_str().to_owned());
    match gate.admit(route.as_deref(), peer, request.headers()) {
        Ok(caller) => {
            if let Some(caller) = caller {
                if caller.role().is_some() {
                    gate.security.sign_ins.count(gate.channel, SignIn::Accepted);
                }
                request.extensions_mut().insert(caller);
            }
            next.run(request).await
        }
        Err(refusal) => {
            let outcome = match refusal {
                Refusal::Unknown => SignIn::Denied,
                Refusal::Forbidden => SignIn::Forbidden,
            };
            gate.security.sign_ins.count(gate.channel, outcome);
            let peer = peer.map(tracing::field::display);
            tracing::warn!(peer, route, ?refusal, "a request was not let in");
            refusal.into_response()
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, detail) = match self {
            Self::Unknown => (
                StatusCode::UNAUTHORIZED,
                "unauthenticated",
                "send Authorization: Bearer with a token that is known here",
            ),
            Self::Forbidden => {
                (StatusCode::FORBIDDEN, "forbidden", "the role of this token may not ask for this")
            }
        };
        let mut response = (
            status,
            Json(json!({
                "type": format!("urn:tally:problem:{code}"),
                "title": status.canonical_reason().unwrap_or("error"),
                "status": status.as_u16(),
                "code": code,
                "detail": detail,
            })),
        )
            .into_response();
        let headers = response.headers_mut();
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(header::CONTENT_TYPE, problem);
        if self == Self::Unknown {
            let ask = HeaderValue::from_static("Bearer realm=\"tally\"");
            headers.insert(header::WWW_AUTHENTICATE, ask);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::http::Request as HttpRequest;
    use axum::routing::any;
    use tally_access::{Directory, SignIns, Token, User, UsersFile};
    use tower::ServiceExt;

    use super::*;

    struct House {
        /// Keeps the file of users.
        _folder: tempfile::TempDir,
        routes: Router,
        tokens: Vec<(&'static str, String)>,
        sign_ins: SignIns,
    }

    /// Routes of every process and one that nobody named, behind a gate with a user of each role.
    fn house() -> House {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("users.toml");
        let mut file = UsersFile::default();
        let mut tokens = Vec::new();
        for role in ["finance", "auditor", "operator", "gateway", "vendor:deepseek"] {
            let token = Token::generate().unwrap();
            let name = role.replace(':', "-");
            let token_hash = Some(token.hash());
            let role_of = role.parse().unwrap();
            file.insert(User { name, role: role_of, password: None, token: token_hash }).unwrap();
            tokens.push((role, token.expose().to_owned()));
        }
        file.write(&path).unwrap();
        let security = Security {
            users: Some(Arc::new(Directory::open(&path).unwrap())),
            certificate: None,
            sign_ins: SignIns::default(),
        };
        let sign_ins = security.sign_ins.clone();
        let mut routes = Router::new().route("/v1/new", any(|| async { "new" }));
        for (route, _) in ROUTES {
            routes = routes.route(route, any(|| async { "served" }));
        }
        House {
            _folder: folder,
            routes: Gate::new(security, Channel::Http).guard(routes),
            tokens,
            sign_ins,
        }
    }

    impl House {
        async fn ask(&self, path: &str, authorization: Option<&str>, peer: &str) -> StatusCode {
            let mut request = HttpRequest::post(path).body(Body::empty()).unwrap();
            if let Some(text) = authorization {
                let value = HeaderValue::from_str(text).unwrap();
                request.headers_mut().insert(header::AUTHORIZATION, value);
            }
            let peer = Peer(peer.parse().unwrap());
            request.extensions_mut().insert(ConnectInfo(peer));
            self.routes.clone().oneshot(request).await.unwrap().status()
        }
    }

    const HERE: &str = "127.0.0.1:40000";
    const THERE: &str = "192.0.2.7:40000";
    const FLIGHT_CALL: &str = "/arrow.flight.protocol.FlightService/GetFlightInfo";

    fn in_base64(text: &str) -> String {
        base64::engine::general_purpose::STANDARD.encode(text)
    }

    /// The whole matrix of roles and routes.
    #[tokio::test]
    async fn every_role_gets_what_is_its_own_and_nothing_else() {
        let house = house();
        let everywhere = ["/healthz", "/readyz", "/v1/schema/usage-event.json"];
        for (role, token) in &house.tokens {
            let token = format!("Bearer {token}");
            for (path, roles) in [
                ("/v1/events", ["gateway"].as_slice()),
                ("/v1/control-totals", &["gateway"]),
                ("/v1/accounts/a%2Fb/commands", &["operator"]),
                ("/v1/accounts/a/quota", &["finance", "auditor", "operator", "gateway"]),
                ("/v1/sql", &["finance", "auditor", "operator", "vendor:deepseek"]),
                (FLIGHT_CALL, &["finance", "auditor", "operator", "vendor:deepseek"]),
                ("/metrics", &["finance", "auditor", "operator"]),
                ("/v1/status", &["finance", "auditor", "operator"]),
                ("/v1/status/process", &["finance", "auditor", "operator"]),
                ("/v1/new", &[]),
            ] {
                let wanted =
                    if roles.contains(role) { StatusCode::OK } else { StatusCode::FORBIDDEN };
                assert_eq!(house.ask(path, Some(&token), THERE).await, wanted, "{role} {path}");
            }
            for path in everywhere {
                assert_eq!(house.ask(path, Some(&token), THERE).await, StatusCode::OK);
            }
            assert_eq!(house.ask("/nothing", Some(&token), THERE).await, StatusCode::NOT_FOUND);
        }
        for path in everywhere {
            assert_eq!(house.ask(path, None, THERE).await, StatusCode::OK, "{path}");
        }
        assert!(house.sign_ins.of(Channel::Http, SignIn::Forbidden) > 10);
    }

    #[tokio::test]
    async fn without_a_token_that_is_known_nothing_is_answered() {
        let house = house();
        let token = &house.tokens[0].1;
        for authorization in [
            None,
            Some(String::new()),
            Some("Bearer".to_owned()),
            Some("Bearer ".to_owned()),
            Some(format!("Basic {token}")),
            Some(format!("Basic {}", in_base64(token))),
            Some(format!("Basic {}", in_base64(&format!("amy:{token}x")))),
            Some(token.clone()),
            Some(format!("Bearer {}", &token[1..])),
            Some(format!("Bearer {token}x")),
            Some(format!("Bearer {}", token.to_uppercase())),
        ] {
            for path in ["/v1/sql", "/v1/events", "/v1/accounts/a/quota", "/v1/new", "/nothing"] {
                let status = house.ask(path, authorization.as_deref(), HERE).await;
                assert_eq!(status, StatusCode::UNAUTHORIZED, "{path} {authorization:?}");
            }
            let status = house.ask("/metrics", authorization.as_deref(), THERE).await;
            assert_eq!(status, StatusCode::UNAUTHORIZED);
            // This machine's own Prometheus and `tally status` need none.
            let status = house.ask("/metrics", authorization.as_deref(), HERE).await;
            assert_eq!(status, StatusCode::OK);
        }
        assert_eq!(house.ask("/v1/sql", Some(&format!("bearer {token}")), HERE).await, 200);
        // A driver that knows names and passwords only, with padding and without.
        for name in ["", "w", "wh", "whoever"] {
            let basic = format!("Basic {}", in_base64(&format!("{name}:{token}")));
            assert_eq!(house.ask("/v1/sql", Some(&basic), HERE).await, 200, "{name}");
            let unpadded = basic.trim_end_matches('=');
            assert_eq!(house.ask("/v1/sql", Some(unpadded), HERE).await, 200, "{name}");
        }
    }
}

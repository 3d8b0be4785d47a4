//! Streamable HTTP: the requests of many principals, to be mounted where HTTP is served.

use std::{
    collections::{HashMap, VecDeque},
    convert::Infallible,
    fmt,
    sync::Arc,
};

use http::{HeaderValue, Request, Response, StatusCode, header::HeaderName, request::Parts};
use http_body::Body;
use rmcp::{
    ErrorData,
    model::Extensions,
    transport::streamable_http_server::{
        StreamableHttpServerConfig, StreamableHttpService,
        session::{SessionManager as _, local::LocalSessionManager},
    },
};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use towline_runtime::Caller;

use crate::{
    desk::Desk,
    server::{Options, Server, Source},
};

/// Answers MCP over HTTP. Who asks is the [`Caller`] among the request's extensions, request by request: a session of an
/// earlier revision belongs to the principal that opened it, and carries no authority of its own.
#[derive(Clone)]
pub struct HttpService {
    service: StreamableHttpService<Server, LocalSessionManager>,
    manager: Arc<LocalSessionManager>,
    owners: Arc<Mutex<Owners>>,
    body_bytes: usize,
}

/// Whose sessions there are, those opened first before the others. A principal has so many, and loses the oldest: its client
/// opens another.
#[derive(Default)]
struct Owners {
    of: HashMap<Arc<str>, Arc<str>>,
    by: HashMap<Arc<str>, VecDeque<Arc<str>>>,
}

impl HttpService {
    /// A service that takes bodies of so many bytes, until it is told to end.
    pub fn new(options: Options, body_bytes: usize, ending: CancellationToken) -> Self {
        let manager = Arc::new(LocalSessionManager::default());
        // Hosts and origins are checked before a request comes here.
        let mut config = StreamableHttpServerConfig::default().disable_allowed_hosts();
        config.cancellation_token = ending;
        config.max_request_body_bytes = body_bytes;
        let server = Server::of(Source::OfRequest).options(options);
        let make = move || Ok(server.clone());
        Self {
            service: StreamableHttpService::new(make, Arc::clone(&manager), config),
            manager,
            owners: Arc::default(),
            body_bytes,
        }
    }

    /// The longest body.
    pub fn body_bytes(&self) -> usize {
        self.body_bytes
    }

    /// Answers a request, which has its [`Caller`] among its extensions.
    pub async fn answer<B>(
        &self,
        request: Request<B>,
    ) -> Response<impl Body<Data = bytes::Bytes, Error = Infallible> + Send + use<B>>
    where
        B: Body + Send + 'static,
        B::Error: fmt::Display,
    {
        let principal = principal(&request);
        let session = session(request.headers());
        let mut request = request;
        if let Some(session) = session
            && !self
                .owners
                .lock()
                .await
                .is_of(&session, principal.as_deref())
        {
            // As one that is not there, by a name that is none.
            request
                .headers_mut()
                .insert(SESSION, HeaderValue::from_static("-"));
        }
        let response = self.service.handle(request).await;
        if response.status() == StatusCode::OK
            && let (Some(session), Some(principal)) = (session_of(&response), principal)
        {
            self.opened(session, principal).await;
        }
        response
    }

    async fn opened(&self, session: Arc<str>, principal: Arc<str>) {
        let surplus = {
            let there = self.manager.sessions.read().await;
            let mut owners = self.owners.lock().await;
            owners.keep(|session| there.contains_key(session));
            owners.open(session, principal)
        };
        for old in surplus {
            if let Err(error) = self.manager.close_session(&old).await {
                tracing::debug!(%error, "a session did not close");
            }
        }
    }
}

impl Owners {
    fn is_of(&self, session: &str, principal: Option<&str>) -> bool {
        let owner = self.of.get(session);
        owner.is_some_and(|owner| Some(&**owner) == principal)
    }

    /// Gives the sessions that are too many now.
    fn open(&mut self, session: Arc<str>, principal: Arc<str>) -> Vec<Arc<str>> {
        if self
            .of
            .insert(Arc::clone(&session), Arc::clone(&principal))
            .is_some()
        {
            return Vec::new();
        }
        let all = self.by.entry(principal).or_default();
        all.push_back(session);
        let surplus = all.len().saturating_sub(SESSIONS);
        let surplus: Vec<_> = all.drain(..surplus).collect();
        for old in &surplus {
            self.of.remove(old);
        }
        surplus
    }

    fn keep(&mut self, is_there: impl Fn(&str) -> bool) {
        self.of.retain(|session, _| is_there(session));
        self.by.retain(|_, sessions| {
            sessions.retain(|session| is_there(session));
            !sessions.is_empty()
        });
    }
}

/// The principal of the request that a message came with.
pub(crate) fn desk_of(extensions: &Extensions) -> Result<Arc<dyn Desk>, ErrorData> {
    let parts = extensions.get::<Parts>();
    let caller = parts.and_then(|parts| parts.extensions.get::<Caller>());
    match caller {
        Some(caller) => Ok(Arc::new(caller.clone())),
        None => Err(ErrorData::internal_error("nobody is known to ask", None)),
    }
}

fn principal<B>(request: &Request<B>) -> Option<Arc<str>> {
    let caller = request.extensions().get::<Caller>()?;
    Some(caller.principal().as_str().into())
}

fn session(headers: &http::HeaderMap) -> Option<Arc<str>> {
    headers.get(SESSION)?.to_str().ok().map(Arc::from)
}

fn session_of<B>(response: &Response<B>) -> Option<Arc<str>> {
    session(response.headers())
}

impl fmt::Debug for HttpService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpService").finish_non_exhaustive()
    }
}

const SESSION: HeaderName = HeaderName::from_static("mcp-session-id");

/// How many sessions of earlier revisions a principal has at most, as of the protocol's own.
const SESSIONS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// A session is its principal's, and a principal has no more than its share.
    #[test]
    fn sessions_have_owners() {
        let mut owners = Owners::default();
        for number in 0..SESSIONS {
            assert!(
                owners
                    .open(number.to_string().into(), "a".into())
                    .is_empty()
            );
        }
        assert!(owners.open("b1".into(), "b".into()).is_empty());
        assert!(owners.is_of("0", Some("a")) && !owners.is_of("0", Some("b")));
        assert!(!owners.is_of("0", None) && !owners.is_of("none", Some("a")));
        let surplus = owners.open("one more".into(), "a".into());
        assert_eq!(surplus, ["0".into()]);
        assert!(!owners.is_of("0", Some("a")) && owners.is_of("b1", Some("b")));
        owners.keep(|session| session == "b1");
        assert_eq!((owners.of.len(), owners.by.len()), (1, 1));
    }
}

//! The server of a job on its own proxy: who may ask, and over HTTP.

use std::{fmt, sync::Arc};

use http_body_util::BodyExt as _;
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{AUTHORIZATION, HeaderValue, WWW_AUTHENTICATE},
};
use rmcp::transport::streamable_http_server::{
    StreamableHttpServerConfig, StreamableHttpService, session::never::NeverSessionManager,
};
use tokio_util::sync::{CancellationToken, DropGuard};
use towline_runtime::{JobContext, JobKey};
use towline_wire::{ErrorCode, Secret};

use super::job::Job;
use crate::{
    keeping::Keeping,
    proxy::{Body, Refused},
};

/// How a program hears of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Its session says so, so that what the program starts hears nothing of it.
    InSession,
    /// In its environment, as `TOWLINE_MCP_URL` and `TOWLINE_MCP_KEY`.
    InEnvironment,
}

/// The server of one job. It answers whoever shows the job's key for it, for as long as the job runs [ARCP 17-7].
pub(crate) struct JobServer {
    key: JobKey,
    told: Told,
    service: StreamableHttpService<Job, NeverSessionManager>,
    /// Ends what is being answered.
    _ending: DropGuard,
}

impl JobServer {
    pub(crate) fn new(ctx: &JobContext, keeping: Arc<Keeping>, told: Told) -> Option<Arc<Self>> {
        let ending = CancellationToken::new();
        // Pages of a browser have no business here, whatever they know.
        let mut config = StreamableHttpServerConfig::default()
            .with_legacy_session_mode(false)
            .enforce_origin_validation();
        config.max_request_body_bytes = LARGEST_REQUEST;
        config.cancellation_token = ending.clone();
        let job = Job::new(ctx, keeping);
        let make = move || Ok(job.clone());
        let manager = Arc::new(NeverSessionManager::default());
        Some(Arc::new(Self {
            key: ctx.own_key(),
            told,
            service: StreamableHttpService::new(make, manager, config),
            _ending: ending.drop_guard(),
        }))
    }

    /// Whether a path is its own.
    pub(crate) fn is_at(&self, path: &str) -> bool {
        path == PATH
    }

    /// What the program finds in its environment.
    pub(crate) fn variables(&self, port: u16) -> Vec<(String, String)> {
        match self.told {
            Told::InSession => Vec::new(),
            Told::InEnvironment => vec![
                ("TOWLINE_MCP_URL".to_owned(), self.url(port)),
                ("TOWLINE_MCP_KEY".to_owned(), self.key().expose().to_owned()),
            ],
        }
    }

    /// Where it is, on the program's loopback.
    pub(crate) fn url(&self, port: u16) -> String {
        format!("http://127.0.0.1:{port}{PATH}")
    }

    /// What opens it.
    pub(crate) const fn key(&self) -> &Secret {
        self.key.value()
    }

    pub(crate) async fn answer(&self, mut request: Request<Incoming>) -> Response<Body> {
        // Nobody behind this needs it, and what is not there is not shown.
        let said = request.headers_mut().remove(AUTHORIZATION);
        let said = said.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
        let said = said
            .split_at_checked(BEARER.len())
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case(BEARER))
            .map_or(&b""[..], |(_, key)| key);
        if !self.key.opens(said) {
            let message = "the key is not the one of this job, or its job is over";
            let status = StatusCode::UNAUTHORIZED;
            let refused = Refused::new(status, ErrorCode::UNAUTHENTICATED, message);
            let mut answer = refused.plain();
            let bearer = HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            return answer;
        }
        let answer = self.service.handle(request).await;
        answer.map(|body| body.map_err(|never| match never {}).boxed_unsync())
    }
}

impl fmt::Debug for JobServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JobServer")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

/// Where it is.
const PATH: &str = "/mcp";

/// How a key is shown.
const BEARER: &[u8] = b"Bearer ";

/// The largest request.
const LARGEST_REQUEST: usize = 4 << 20;

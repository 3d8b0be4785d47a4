//! How a client behaves.

use std::{fmt, sync::Arc, time::Duration};

use towline_env::{Clock, Ids, SystemClock};
use towline_proto::{
    Dialect,
    client::{AckPolicy, SessionConfig},
};
use towline_wire::{
    FeatureSet, Secret, SpanId, TraceId,
    payload::{Auth, PeerInfo},
};

use crate::{Backoff, Connector, ResumeState};

/// How a client presents itself, how long it waits, what it keeps.
///
/// ```
/// use std::time::Duration;
/// use towline_client::ClientOptions;
///
/// let options = ClientOptions::bearer("secret").name("nightly", "1.2.0").reply_timeout(Duration::from_secs(5));
/// ```
#[derive(Clone)]
pub struct ClientOptions {
    pub(crate) session: SessionConfig,
    pub(crate) connector: Option<Arc<dyn Connector>>,
    pub(crate) backoff: Backoff,
    pub(crate) give_up_after: Option<Duration>,
    pub(crate) resume: Option<ResumeState>,
    pub(crate) buffer: usize,
    pub(crate) result_cap: u64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Ids,
    pub(crate) traces: Traces,
}

/// Tells the trace the caller is in.
#[derive(Clone, Default)]
pub(crate) struct Traces(Option<Arc<TraceSource>>);

type TraceSource = dyn Fn() -> Option<(TraceId, SpanId)> + Send + Sync;

impl Traces {
    pub(crate) fn current(&self) -> Option<(TraceId, SpanId)> {
        self.0.as_ref().and_then(|source| source())
    }
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Traces({})", self.0.is_some())
    }
}

impl ClientOptions {
    /// Defaults, without authentication.
    pub fn new() -> Self {
        Self::default()
    }

    /// Defaults, with a bearer token [ARCP 6.1-1].
    pub fn bearer(token: impl Into<Secret>) -> Self {
        let mut options = Self::default();
        options.session.auth = Some(Auth {
            scheme: Some("bearer".to_owned()),
            token: Some(token.into()),
        });
        options
    }

    /// How the client names itself. Default: `towline` and this crate's version.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>, version: impl Into<String>) -> Self {
        self.session.client = PeerInfo {
            name: name.into(),
            version: version.into(),
        };
        self
    }

    /// The features to ask for. Default: all. What is left out fails from here on, without a word to the runtime.
    #[must_use]
    pub const fn features(mut self, features: FeatureSet) -> Self {
        self.session.features = features;
        self
    }

    /// Forces a reading of the draft. Default: read off the runtime's welcome.
    #[must_use]
    pub const fn dialect(mut self, dialect: Dialect) -> Self {
        self.session.dialect = Some(dialect);
        self
    }

    /// Connects again and resumes by itself after a loss. Default: none; the loss is surfaced.
    #[must_use]
    pub fn connector(mut self, connector: impl Connector) -> Self {
        self.connector = Some(Arc::new(connector));
        self
    }

    /// How long to wait between tries to connect. Default: 250 ms, doubled up to 30 s, less a random half.
    #[must_use]
    pub const fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// When to give up after a loss. Default: when the runtime's resume window has passed.
    #[must_use]
    pub const fn give_up_after(mut self, after: Duration) -> Self {
        self.give_up_after = Some(after);
        self
    }

    /// Takes up a session that was put away, instead of opening one.
    #[must_use]
    pub fn resume(mut self, state: ResumeState) -> Self {
        self.resume = Some(state);
        self
    }

    /// How long the runtime has to answer the hello. Default: 10 s.
    #[must_use]
    pub const fn handshake_timeout(mut self, timeout: Duration) -> Self {
        self.session.handshake_timeout = timeout;
        self
    }

    /// How long the runtime has to answer a request. Default: 30 s. A job's outcome is no answer: it takes as long as the
    /// job does.
    #[must_use]
    pub const fn reply_timeout(mut self, timeout: Duration) -> Self {
        self.session.reply_timeout = timeout;
        self
    }

    /// How often to acknowledge processed events. Default: every 250 ms or 256 events, whichever is later; `None` never
    /// does, and the runtime then keeps more for longer [ARCP 6.5-5].
    #[must_use]
    pub const fn acknowledge(mut self, policy: Option<AckPolicy>) -> Self {
        self.session.ack = policy;
        self
    }

    /// How many events a handle holds before the session stops reading. Default: 1024, and never more than 8 MiB.
    /// See [`crate::JobHandle`] for what that means.
    #[must_use]
    pub const fn buffer(mut self, events: usize) -> Self {
        self.buffer = events;
        self
    }

    /// The most bytes of a streamed result that are taken. Default: 256 MiB [ARCP 8.4-4].
    #[must_use]
    pub const fn result_cap(mut self, bytes: u64) -> Self {
        self.result_cap = bytes;
        self
    }

    /// Where a submit that names no trace finds the one it is made in: a function that gives the ids of the current span.
    /// `towline-otel` has one for OpenTelemetry. Default: none; each such job gets a trace of its own [ARCP 11-1].
    #[must_use]
    pub fn trace_source(
        mut self,
        source: impl Fn() -> Option<(TraceId, SpanId)> + Send + Sync + 'static,
    ) -> Self {
        self.traces = Traces(Some(Arc::new(source)));
        self
    }

    /// The time of day that is written into messages. Default: the machine's.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }

    /// Where ids and jitter come from. Default: the operating system's randomness.
    #[must_use]
    pub fn ids(mut self, ids: Ids) -> Self {
        self.ids = ids;
        self
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            session: SessionConfig::default(),
            connector: None,
            backoff: Backoff::default(),
            give_up_after: None,
            resume: None,
            buffer: 1024,
            result_cap: 256 << 20,
            clock: Arc::new(SystemClock),
            ids: Ids::system(),
            traces: Traces::default(),
        }
    }
}

impl fmt::Debug for ClientOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("session", &self.session)
            .field("resume", &self.resume)
            .finish_non_exhaustive()
    }
}

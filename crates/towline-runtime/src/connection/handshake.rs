//! From the first frame to the welcome (§6.1, §6.2).
//!
//! What the session's machine waits for is asked here: whether the authenticator knows the peer (`yes`, `no`) and whether the
//! store has the session (`stored`, `failed`). Meanwhile nothing is read [ARCP 6.1-5], so a peer that goes, or says more, is
//! heard afterwards. `late` is the end of the time that the phase has; `Over` has its goodbye behind it. `·` is "the same":
//!
//! ```text
//!           │ hello   other yes       no   stored failed gone late drain
//! ──────────┼───────────────────────────────────────────────────────────
//! Hello     │ Proving Over  ·         ·    ·      ·      Over Over Over
//! Proving   │ ·       ·     Attaching Over ·      ·      ·    Over Over
//! Attaching │ ·       ·     ·         ·    Live   Over   ·    ·    Over
//! Live      │ ·       ·     ·         ·    ·      ·      Over ·    Over
//! Over      │ ·       ·     ·         ·    ·      ·      ·    ·    ·
//! ```

use std::sync::Arc;

use tokio::time::{Instant, timeout, timeout_at};
use towline_proto::{
    Dialect,
    refusal::Refusal,
    server::{AttachRequest, Effect, Goodbye, ServerSession},
};
use towline_transport::{FrameSink, FrameSource, Inbound, TransportInfo};
use towline_wire::{
    Envelope, ErrorCode, Feature, FeatureSet, MessageId, MessageType, RawJson, SessionId, Shown,
    payload,
};

use super::{
    fit::fit,
    goodbye::{close_frame, linger},
    proving::{Unproven, hold_back, prove},
};
use crate::{
    audit::{Actor, Audit},
    auth::Proven,
    command::{OpenRequest, Opened, ResumeRequest, envelope, open, resume},
    hub::Hub,
};

/// A connection whose session stands.
pub(super) struct Live {
    pub(super) machine: ServerSession,
    pub(super) opened: Opened,
}

/// From this address too many refusals wait to be told already.
struct TooMany;

/// Runs the handshake; `None` when the connection is over.
pub(super) async fn run(
    hub: &Arc<Hub>,
    info: &TransportInfo,
    sink: &mut dyn FrameSink,
    source: &mut dyn FrameSource,
) -> Option<Live> {
    let mut shake = Handshake {
        hub,
        info,
        sink,
        proven: None,
        dialect: Dialect::Draft,
        asked: None,
    };
    let ran = tokio::select! {
        live = shake.run(source) => Some(live),
        () = hub.scope.draining.cancelled() => None,
    };
    match ran {
        Some(live) => live,
        None => {
            shake.go_away().await;
            None
        }
    }
}

struct Handshake<'a> {
    hub: &'a Arc<Hub>,
    info: &'a TransportInfo,
    sink: &'a mut dyn FrameSink,
    proven: Option<Proven>,
    /// How the peer reads the draft, once it has said something.
    dialect: Dialect,
    /// The frame that asks for a session.
    asked: Option<MessageId>,
}

impl Handshake<'_> {
    async fn run(&mut self, source: &mut dyn FrameSource) -> Option<Live> {
        let options = &self.hub.services.options;
        let mut machine = ServerSession::new(self.hub.services.features);
        // Whoever may be anybody costs little, and not for long [ARCP 14-5].
        source.restrict(Some(options.hello_bytes));
        let deadline = self.info.since.unwrap_or_else(Instant::now) + options.hello_timeout;
        let mut effect = Effect::None;
        while matches!(effect, Effect::None) {
            effect = match timeout_at(deadline, source.receive()).await {
                Err(_) => machine.on_hello_timeout(),
                Ok(Some(Inbound::Envelope(envelope))) => {
                    self.asked.clone_from(&envelope.id);
                    let guess = || Dialect::of_first_frame(&envelope);
                    self.dialect = self.hub.services.options.dialect.unwrap_or_else(guess);
                    machine.on_frame(envelope)
                }
                Ok(Some(Inbound::Malformed(error))) => machine.on_malformed(&error),
                Ok(Some(Inbound::TooBig { limit, fatal })) => machine.on_too_big(limit, fatal),
                Ok(Some(Inbound::Closed(_)) | None) => return None,
                // Alive, or what else a transport may come to report.
                Ok(Some(_)) => Effect::None,
            };
        }
        if let Effect::Authenticate(auth) = effect {
            effect = match self.prove(&mut machine, auth).await {
                Ok(effect) => effect,
                Err(TooMany) => {
                    self.go(Goodbye::TryLater, TOO_MANY_FAILURES).await;
                    return None;
                }
            };
        }
        match effect {
            Effect::Attach(request) => self.attach(machine, *request, source).await,
            Effect::Reject {
                request,
                refusal,
                goodbye,
            } => {
                self.reject(request, &refusal, goodbye, source).await;
                None
            }
            // A machine that has just been told who the peer is asks for nothing else.
            Effect::None | Effect::Authenticate(_) => None,
            // These are about a session, and there is none.
            Effect::Pong { .. }
            | Effect::Acknowledged(_)
            | Effect::Request(_)
            | Effect::Refuse { .. }
            | Effect::Close { .. } => None,
        }
    }

    /// Finds out who the peer is. A good token goes on at once.
    async fn prove(
        &mut self,
        machine: &mut ServerSession,
        auth: payload::Auth,
    ) -> Result<Effect, TooMany> {
        match prove(self.hub, &auth, self.info.peer).await {
            Ok(proven) => {
                self.proven = Some(proven);
                Ok(machine.on_principal())
            }
            Err(Unproven::Refused(refusal)) => {
                Ok(machine.reject(self.asked.clone(), refusal, Goodbye::Policy))
            }
            Err(Unproven::TooMany) => Err(TooMany),
        }
    }

    async fn attach(
        &mut self,
        machine: ServerSession,
        request: AttachRequest,
        source: &mut dyn FrameSource,
    ) -> Option<Live> {
        let hub = self.hub;
        let dialect = hub.services.options.dialect.or(request.dialect);
        let asked = request.request.clone();
        let resumes = request.resume.is_some();
        let (kind, confidential) = (self.info.kind, self.info.confidential);
        let opened = match (request.resume, self.proven.take()) {
            (Some(target), proven) => {
                let request = ResumeRequest {
                    target,
                    proven,
                    features: request.wanted,
                    dialect,
                    kind,
                    confidential,
                };
                resume(hub, request).await
            }
            (None, Some(Proven { principal, proof })) => {
                let request = OpenRequest {
                    principal,
                    proof,
                    features: request.wanted.unwrap_or(FeatureSet::NONE),
                    dialect: dialect.unwrap_or(Dialect::Draft),
                    kind,
                    confidential,
                };
                open(hub, request).await
            }
            (None, None) => Err(Refusal::unauthenticated(
                "a new session needs a session.hello with a token",
            )),
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(refusal) => {
                // A token that is good no more tells as little as one that never was.
                if resumes && self.hold_back_resume(&refusal).await.is_err() {
                    self.go(Goodbye::TryLater, TOO_MANY_FAILURES).await;
                    return None;
                }
                self.reject(asked, &refusal, Goodbye::Policy, source).await;
                return None;
            }
        };
        source.restrict(None);
        self.welcome(machine, opened, &request.client, resumes)
            .await
    }

    /// A resume token that is not good is a guess like any other; a refusal for another reason is not.
    async fn hold_back_resume(&mut self, refusal: &Refusal) -> Result<(), TooMany> {
        let is_guess = [
            ErrorCode::RESUME_WINDOW_EXPIRED,
            ErrorCode::PERMISSION_DENIED,
            ErrorCode::UNAUTHENTICATED,
        ]
        .contains(&refusal.code);
        if !is_guess {
            return Ok(());
        }
        metrics::counter!("towline_resume_refused_total").increment(1);
        let (peer, now) = (self.info.peer, self.hub.now());
        let principal = self.proven.as_ref().map(|proven| proven.principal.clone());
        let audit = |untold| {
            let principal = principal.as_ref();
            Audit::at(now).resume_refused(peer, principal, &refusal.code, untold)
        };
        let told = hold_back(self.hub, peer, audit).await;
        told.map_err(|_| TooMany)
    }

    async fn welcome(
        &mut self,
        mut machine: ServerSession,
        opened: Opened,
        client: &payload::PeerInfo,
        resumed: bool,
    ) -> Option<Live> {
        let hub = self.hub;
        let session = &opened.session;
        let features = session.lock().features;
        let seconds = |duration: std::time::Duration| Some(duration.as_secs_f64());
        let payload = payload::Welcome {
            runtime: hub.services.info.clone(),
            session_id: Some(session.id.clone()),
            resume_token: Some(opened.token.clone()),
            resume_window_sec: seconds(hub.services.options.resume_window),
            heartbeat_interval_sec: seconds(hub.services.options.heartbeat)
                .filter(|_| features.has(Feature::Heartbeat)),
            capabilities: payload::RuntimeCapabilities {
                encodings: vec!["json".to_owned()],
                features,
                agents: hub.services.agents.written_listing(),
            },
            accepted_at: Some(session.created_at),
        };
        let payload = RawJson::of(&payload);
        debug_assert!(payload.is_ok(), "a welcome has a JSON form");
        let welcome = Envelope {
            payload: payload.unwrap_or(RawJson::EMPTY_OBJECT),
            ..Envelope::new(MessageType::SESSION_WELCOME)
        };
        let welcome = welcome
            .with_id(hub.services.ids.message())
            .with_session(session.id.clone());
        let welcome = fit(welcome, session.lock().dialect);
        let role = hub.services.role_of(&session.principal);
        let actor = Actor {
            principal: &session.principal,
            session: &session.id,
            role: role.as_deref(),
        };
        hub.audit(Audit::at(hub.now()).auth_accepted(actor, self.info.peer));
        tracing::info!(
            target: "towline::session", session = %session.id, principal = %Shown::new(&session.principal), resumed,
            client = %Shown::new(&client.name).at_most(MAX_SHOWN_BYTES),
            client_version = %Shown::new(&client.version).at_most(MAX_SHOWN_BYTES),
            peer = ?self.info.peer, "session attached"
        );
        let sent = timeout(hub.services.options.hello_timeout, self.sink.send(welcome)).await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::debug!(target: "towline::session", session = %session.id, "the welcome was not delivered");
            hub.detach(session, &opened.attachment);
            return None;
        }
        machine.on_attached(session.id.clone(), features);
        Some(Live { machine, opened })
    }

    /// The runtime shuts down before there is a session [ARCP 4-7].
    async fn go_away(&mut self) {
        self.go(Goodbye::GoingAway, "shutdown").await;
    }

    /// Closes without a word but the close.
    async fn go(&mut self, goodbye: Goodbye, reason: &str) {
        let close = close_frame(goodbye, reason);
        let _ = timeout(
            self.hub.services.options.close_timeout,
            self.sink.close(&close),
        )
        .await;
    }

    async fn reject(
        &mut self,
        request: Option<MessageId>,
        refusal: &Refusal,
        goodbye: Goodbye,
        source: &mut dyn FrameSource,
    ) {
        self.send_rejection(request, refusal, goodbye).await;
        linger(self.hub.services.options.close_timeout, source).await;
    }

    /// Says no on a session id of its own, then closes [ARCP 6.1-1].
    async fn send_rejection(
        &mut self,
        request: Option<MessageId>,
        refusal: &Refusal,
        goodbye: Goodbye,
    ) {
        let hub = self.hub;
        let session: SessionId = hub.services.ids.session();
        let error = envelope(&refusal.payload(request))
            .with_id(hub.services.ids.message())
            .with_session(session);
        let close = close_frame(goodbye, refusal.code.as_str());
        let dialect = self.dialect;
        let goodbye = async {
            // The peer may be gone; then there is nobody to tell.
            if self.sink.send(fit(error, dialect)).await.is_ok() {
                let _ = self.sink.close(&close).await;
            }
        };
        // A peer that does not read is not waited for.
        let _ = timeout(hub.services.options.close_timeout, goodbye).await;
    }
}

/// As much of what a client calls itself is logged.
const MAX_SHOWN_BYTES: usize = 256;
const TOO_MANY_FAILURES: &str = "too many failed attempts from this address, try again later";

//! From the first frame to the welcome (§6.1, §6.2).

use std::{net::SocketAddr, sync::Arc};

use tokio::time::{Instant, timeout, timeout_at};
use towline_proto::{
    Dialect,
    refusal::Refusal,
    server::{AttachRequest, Effect, Goodbye, ServerSession},
};
use towline_transport::{FrameSink, FrameSource, Inbound, TransportInfo};
use towline_wire::{ErrorCode, Feature, FeatureSet, MessageId, SessionId, Shown, payload};

use super::{
    fit::fit,
    goodbye::{close_frame, linger},
};
use crate::{
    audit::{Actor, Audit},
    auth::{AuthRefusal, Credentials, Proven},
    command::{OpenRequest, Opened, ResumeRequest, envelope, open, resume},
    hub::{Hub, Services},
};

/// A connection whose session stands.
pub(super) struct Live {
    pub(super) machine: ServerSession,
    pub(super) opened: Opened,
}

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
        let mut machine = ServerSession::new(self.hub.services.features);
        let deadline = Instant::now() + self.hub.services.options.hello_timeout;
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
            effect = self.prove(&mut machine, auth).await;
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

    /// Asks the authenticator who the peer is. Whoever guesses is slowed down: an address from which wrong tokens came is
    /// made to wait before the next one is looked at, right or wrong, and no longer than the limiter's bound
    /// [ARCP 14-2].
    async fn prove(&mut self, machine: &mut ServerSession, auth: payload::Auth) -> Effect {
        let services = &self.hub.services;
        let delay = services
            .limiter
            .delay_before(self.info.peer, Instant::now());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let refusal = match authenticate(services, &auth, self.info.peer).await {
            Ok(proven) => {
                services.limiter.succeeded(self.info.peer);
                self.proven = Some(proven);
                return machine.on_principal();
            }
            Err(refusal) => refusal,
        };
        services.limiter.failed(self.info.peer, Instant::now());
        metrics::counter!("towline_auth_refused_total").increment(1);
        if let Some(cause) = refusal.cause() {
            tracing::warn!(target: "towline::auth", peer = ?self.info.peer, cause = %Shown::new(&cause), "authentication refused");
        }
        let audit = Audit::at(self.hub.now());
        self.hub
            .audit(audit.auth_refused(self.info.peer, refusal.message()));
        machine.reject(
            self.asked.clone(),
            Refusal::unauthenticated(refusal.message()),
            Goodbye::Policy,
        )
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
                if refusal.code == ErrorCode::UNAUTHENTICATED {
                    let audit = Audit::at(hub.now());
                    hub.audit(audit.auth_refused(self.info.peer, &refusal.message));
                }
                self.reject(asked, &refusal, Goodbye::Policy, source).await;
                return None;
            }
        };
        self.welcome(machine, opened, &request.client, resumes)
            .await
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
                agents: hub.services.agents.listing(),
            },
            accepted_at: Some(session.created_at),
        };
        let welcome = envelope(&payload)
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
        let close = close_frame(Goodbye::GoingAway, "shutdown");
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

async fn authenticate(
    services: &Services,
    auth: &payload::Auth,
    peer: Option<SocketAddr>,
) -> Result<Proven, AuthRefusal> {
    let credentials = Credentials::from_hello(Some(auth), peer)?;
    let authenticating = services.authenticator.prove(&credentials);
    timeout(services.options.auth_timeout, authenticating)
        .await
        .unwrap_or_else(|_| Err(AuthRefusal::new("the token could not be verified in time")))
}

/// As much of what a client calls itself is logged.
const MAX_SHOWN_BYTES: usize = 256;

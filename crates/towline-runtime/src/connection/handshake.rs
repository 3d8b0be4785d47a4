//! From the first frame to the welcome (§6.1, §6.2).

use std::sync::Arc;

use tokio::time::{Instant, timeout, timeout_at};
use towline_proto::{
    Dialect,
    refusal::Refusal,
    server::{AttachRequest, Effect, Goodbye, ServerSession},
};
use towline_store::Principal;
use towline_transport::{FrameSink, FrameSource, Inbound, TransportInfo};
use towline_wire::{Feature, FeatureSet, MessageId, SessionId, payload};

use super::{close_frame, fit::fit};
use crate::{
    audit::{Actor, Audit},
    auth::Credentials,
    command::{Opened, ResumeRequest, envelope, open, resume},
    hub::Hub,
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
        machine: ServerSession::new(hub.features),
        principal: None,
        dialect: Dialect::Draft,
        asked: None,
    };
    let ran = tokio::select! {
        live = shake.run(source) => Some(live),
        () = hub.draining.cancelled() => None,
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
    machine: ServerSession,
    principal: Option<Principal>,
    /// How the peer reads the draft, once it has said something.
    dialect: Dialect,
    /// The frame that asks for a session.
    asked: Option<MessageId>,
}

impl Handshake<'_> {
    async fn run(&mut self, source: &mut dyn FrameSource) -> Option<Live> {
        let deadline = Instant::now() + self.hub.options.hello_timeout;
        let mut effect = Effect::None;
        while matches!(effect, Effect::None) {
            effect = match timeout_at(deadline, source.receive()).await {
                Err(_) => self.machine.on_hello_timeout(),
                Ok(Some(Inbound::Envelope(envelope))) => {
                    self.asked.clone_from(&envelope.id);
                    let guess = || Dialect::of_first_frame(&envelope);
                    self.dialect = self.hub.options.dialect.unwrap_or_else(guess);
                    self.machine.on_frame(envelope)
                }
                Ok(Some(Inbound::Malformed(error))) => self.machine.on_malformed(&error),
                Ok(Some(Inbound::TooBig { limit, fatal })) => self.machine.on_too_big(limit, fatal),
                Ok(Some(Inbound::Alive)) => Effect::None,
                Ok(Some(Inbound::Closed(_)) | None) => return None,
            };
        }
        if let Effect::Authenticate(auth) = effect {
            effect = self.prove(auth).await;
        }
        match effect {
            Effect::Attach(request) => self.attach(*request, source).await,
            Effect::Reject {
                request,
                refusal,
                goodbye,
            } => {
                self.reject(request, &refusal, goodbye, source).await;
                None
            }
            _ => None,
        }
    }

    /// Who is it? A wrong guess from an address that guesses a lot is answered late [ARCP 14-2].
    async fn prove(&mut self, auth: payload::Auth) -> Effect {
        let hub = self.hub;
        let delay = hub.limiter.delay_before(self.info.peer, Instant::now());
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let refusal = match Credentials::from_hello(Some(&auth), self.info.peer) {
            Err(refusal) => refusal,
            Ok(credentials) => {
                match timeout(
                    hub.options.auth_timeout,
                    hub.authenticator.authenticate(&credentials),
                )
                .await
                {
                    Ok(Ok(principal)) => {
                        hub.limiter.succeeded(self.info.peer);
                        self.principal = Some(principal);
                        return self.machine.on_principal();
                    }
                    Ok(Err(refusal)) => refusal,
                    Err(_) => {
                        crate::auth::AuthRefusal::new("the token could not be verified in time")
                    }
                }
            }
        };
        hub.limiter.failed(self.info.peer, Instant::now());
        metrics::counter!("towline_auth_refused_total").increment(1);
        if let Some(cause) = refusal.cause() {
            tracing::warn!(target: "towline::auth", peer = ?self.info.peer, %cause, "authentication refused");
        }
        hub.audit(Audit::at(hub.now()).auth_refused(self.info.peer, refusal.message()));
        self.machine.reject(
            self.asked.clone(),
            Refusal::unauthenticated(refusal.message()),
            Goodbye::Policy,
        )
    }

    async fn attach(
        &mut self,
        request: AttachRequest,
        source: &mut dyn FrameSource,
    ) -> Option<Live> {
        let hub = self.hub;
        let dialect = hub.options.dialect.or(request.dialect);
        let asked = request.request.clone();
        let resumes = request.resume.is_some();
        let opened = match request.resume {
            Some(target) => {
                let principal = self.principal.clone();
                let (kind, confidential) = (self.info.kind, self.info.confidential);
                let features = request.wanted;
                resume(
                    hub,
                    ResumeRequest {
                        target,
                        principal,
                        features,
                        dialect,
                        kind,
                        confidential,
                    },
                )
                .await
            }
            None => match &self.principal {
                Some(principal) => {
                    let features = request.wanted.unwrap_or(FeatureSet::NONE);
                    open(
                        hub,
                        principal,
                        features,
                        dialect.unwrap_or(Dialect::Draft),
                        self.info.kind,
                        self.info.confidential,
                    )
                    .await
                }
                None => Err(Refusal::unauthenticated(
                    "a new session needs a session.hello with a token",
                )),
            },
        };
        let opened = match opened {
            Ok(opened) => opened,
            Err(refusal) => {
                self.reject(asked, &refusal, Goodbye::Policy, source).await;
                return None;
            }
        };
        self.welcome(&opened, &request.client, resumes).await
    }

    async fn welcome(
        &mut self,
        opened: &Opened,
        client: &payload::PeerInfo,
        resumed: bool,
    ) -> Option<Live> {
        let hub = self.hub;
        let session = &opened.session;
        let features = session.lock().features;
        let seconds = |duration: std::time::Duration| Some(duration.as_secs_f64());
        let payload = payload::Welcome {
            runtime: hub.info.clone(),
            session_id: Some(session.id.clone()),
            resume_token: Some(opened.token.clone()),
            resume_window_sec: seconds(hub.options.resume_window),
            heartbeat_interval_sec: seconds(hub.options.heartbeat)
                .filter(|_| features.has(Feature::Heartbeat)),
            capabilities: payload::RuntimeCapabilities {
                encodings: vec!["json".to_owned()],
                features,
                agents: hub.agents.listing(),
            },
            accepted_at: Some(session.created_at),
        };
        let welcome = envelope(&payload)
            .with_id(hub.ids.message())
            .with_session(session.id.clone());
        let dialect = session.lock().dialect;
        let actor = Actor {
            principal: &session.principal,
            session: &session.id,
        };
        hub.audit(Audit::at(hub.now()).auth_accepted(actor, self.info.peer));
        tracing::info!(
            target: "towline::session", session = %session.id, principal = %session.principal, resumed,
            client = %client.name, client_version = %client.version, peer = ?self.info.peer, "session attached"
        );
        let sent = timeout(
            hub.options.hello_timeout,
            self.sink.send(fit(welcome, dialect)),
        )
        .await;
        if !matches!(sent, Ok(Ok(()))) {
            tracing::debug!(target: "towline::session", session = %session.id, "the welcome was not delivered");
            hub.detach(session, &opened.attachment);
            return None;
        }
        let mut machine = std::mem::replace(&mut self.machine, ServerSession::new(hub.features));
        machine.on_attached(session.id.clone(), features);
        let opened = Opened {
            session: Arc::clone(session),
            attachment: Arc::clone(&opened.attachment),
            token: opened.token.clone(),
            position: opened.position,
        };
        Some(Live { machine, opened })
    }

    /// The runtime shuts down before there is a session [ARCP 4-7].
    async fn go_away(&mut self) {
        let close = close_frame(Goodbye::GoingAway, "shutdown");
        let _ = timeout(self.hub.options.close_timeout, self.sink.close(&close)).await;
    }

    async fn reject(
        &mut self,
        request: Option<MessageId>,
        refusal: &Refusal,
        goodbye: Goodbye,
        source: &mut dyn FrameSource,
    ) {
        self.send_rejection(request, refusal, goodbye).await;
        super::reader::linger(self.hub, source).await;
    }

    /// Says no on a session id of its own, then closes [ARCP 6.1-1].
    async fn send_rejection(
        &mut self,
        request: Option<MessageId>,
        refusal: &Refusal,
        goodbye: Goodbye,
    ) {
        let hub = self.hub;
        let session: SessionId = hub.ids.session();
        let error = envelope(&refusal.payload(request))
            .with_id(hub.ids.message())
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
        let _ = timeout(hub.options.close_timeout, goodbye).await;
    }
}

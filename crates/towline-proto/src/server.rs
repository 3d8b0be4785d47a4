//! The runtime's side of a session (§6): from the first frame to the goodbye.
//!
//! ```text
//!                hello / resume          principal             attached
//!  AwaitHello ──────────────────▶ Proving ─────────▶ Attaching ────────▶ Live ──close──▶ Ended
//!      │   bare resume: straight to Attaching ────────▲                    │
//!      └── anything else, refused, too late ──────────────────────────────▶┘
//! ```
//!
//! All of it, `·` for "the same" (a frame too big for its transport is `flood`, one that a line transport can skip is
//! `too_big`; `late` is the end of the hello's time):
//!
//! ```text
//!            │ hello   resume    request close malformed too_big flood late  principal attached reject
//! ───────────┼────────────────────────────────────────────────────────────────────────────────────────
//! AwaitHello │ Proving Attaching Ended   Ended Ended     Ended   Ended Ended ·         ·        Ended
//! Proving    │ ·       ·         ·       ·     ·         Ended   Ended ·     Attaching ·        Ended
//! Attaching  │ ·       ·         ·       ·     ·         Ended   Ended ·     ·         Live     Ended
//! Live       │ ·       ·         ·       Ended ·         ·       Ended ·     ·         ·        Ended
//! Ended      │ ·       ·         ·       ·     ·         ·       ·     ·     ·         ·        ·
//! ```

mod goodbye;
mod idle;
mod replies;
mod request;
mod stream;
mod tokens;

use towline_wire::{
    DecodeError, Envelope, EventSeq, FeatureSet, MessageId, MessageType, Secret, SessionId, payload,
};

use crate::{
    Dialect,
    dialect::{is_old_vocabulary, old_vocabulary},
    refusal::Refusal,
};

pub use self::{
    goodbye::Goodbye,
    idle::Idle,
    replies::{Farewell, Replies, Reply, Slot},
    request::{
        IDENTITY, REVOKE_SESSIONS, Request, RequestKind, SCHEDULE, SCHEDULES, SESSIONS_REVOKED,
        ScheduleRequest, Submission, WEBHOOK, WEBHOOKS, WHOAMI, WebhookRequest, read_alone,
    },
    stream::{Cursor, FLUSH_FRAMES, Step, Stream},
    tokens::{TokenHash, Tokens},
};

/// One connection's session.
///
/// Feed it what the peer sends with [`ServerSession::on_frame`] and [`ServerSession::on_malformed`]; each call gives one
/// [`Effect`] to carry out. The effects [`Effect::Authenticate`] and [`Effect::Attach`] are pauses: read nothing more
/// from the peer until [`ServerSession::on_principal`] or [`ServerSession::on_attached`] has been told how they ended
/// [ARCP 6.1-5]. After [`Effect::Reject`] and [`Effect::Close`] the session is over and ignores what comes.
#[derive(Debug)]
pub struct ServerSession {
    phase: Phase,
    offered: FeatureSet,
}

#[derive(Debug)]
enum Phase {
    AwaitHello,
    Proving(Box<AttachRequest>),
    Attaching,
    Live {
        session: SessionId,
        features: FeatureSet,
    },
    Ended,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Effect {
    /// Nothing.
    None,
    /// Find out who this is, then call [`ServerSession::on_principal`] or reject.
    Authenticate(payload::Auth),
    /// Open the session or take it up, then call [`ServerSession::on_attached`] or reject.
    Attach(Box<AttachRequest>),
    /// Answer at once, before anything that waits [ARCP 6.4-1].
    Pong {
        /// The ping's nonce.
        nonce: String,
    },
    /// The peer has processed its stream up to here.
    Acknowledged(EventSeq),
    /// Carry out a request and reply to it.
    Request(Box<Request>),
    /// Reply with a `session.error`; the session goes on [ARCP 12-2].
    Refuse {
        /// The request.
        request: Option<MessageId>,
        /// Why.
        refusal: Refusal,
    },
    /// Send a `session.error` and close.
    Reject {
        /// The request.
        request: Option<MessageId>,
        /// Why.
        refusal: Refusal,
        /// How to close.
        goodbye: Goodbye,
    },
    /// Send `session.closed` after everything that waits, then close [ARCP 6.7-1].
    Close {
        /// The peer's reason, to be echoed.
        reason: Option<String>,
    },
}

/// What a peer wants to attach to.
#[derive(Debug, Clone)]
pub struct AttachRequest {
    /// The frame that asked.
    pub request: Option<MessageId>,
    /// The session to take up; `None` opens a new one.
    pub resume: Option<ResumeTarget>,
    /// The features the peer wants; `None` keeps those of the session taken up.
    pub wanted: Option<FeatureSet>,
    /// How the peer reads the draft; `None` keeps that of the session taken up.
    pub dialect: Option<Dialect>,
    /// The peer's software.
    pub client: payload::PeerInfo,
}

/// Which session to take up, and from where.
#[derive(Debug, Clone)]
pub struct ResumeTarget {
    /// The session, when the peer names it.
    pub session: Option<SessionId>,
    /// Proves the right to.
    pub token: Secret,
    /// The last event the peer has; 0 when none.
    pub last_event_seq: EventSeq,
}

impl ServerSession {
    /// A connection on which nothing was said. `offered` is what the runtime can do.
    pub const fn new(offered: FeatureSet) -> Self {
        Self {
            phase: Phase::AwaitHello,
            offered,
        }
    }

    /// Whether the peer still has to introduce itself.
    pub const fn awaits_hello(&self) -> bool {
        matches!(self.phase, Phase::AwaitHello)
    }

    /// Whether requests are taken.
    pub const fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    /// The features in effect; none before the welcome.
    pub const fn features(&self) -> FeatureSet {
        match &self.phase {
            Phase::Live { features, .. } => *features,
            _ => FeatureSet::NONE,
        }
    }

    /// An envelope came.
    pub fn on_frame(&mut self, envelope: Envelope) -> Effect {
        match &self.phase {
            Phase::AwaitHello => self.on_first_frame(&envelope),
            Phase::Live { session, features } => {
                let (session, features) = (session.clone(), *features);
                self.on_live_frame(&session, features, envelope)
            }
            // A driver that honours the pauses does not get here.
            Phase::Proving(_) | Phase::Attaching | Phase::Ended => Effect::None,
        }
    }

    /// A frame came that is no envelope [ARCP 4-5].
    pub fn on_malformed(&mut self, error: &DecodeError) -> Effect {
        match self.phase {
            Phase::AwaitHello => self.reject(error.id.clone(), error.into(), Goodbye::Protocol),
            Phase::Live { .. } => Effect::Refuse {
                request: error.id.clone(),
                refusal: error.into(),
            },
            Phase::Proving(_) | Phase::Attaching | Phase::Ended => Effect::None,
        }
    }

    /// A frame came that was above the receive limit [ARCP 4-6].
    pub fn on_too_big(&mut self, limit: usize, fatal: bool) -> Effect {
        let refusal = Refusal::invalid(format!(
            "the frame has more than {limit} bytes, the limit of this runtime"
        ));
        match self.phase {
            Phase::Ended => Effect::None,
            Phase::Live { .. } if !fatal => Effect::Refuse {
                request: None,
                refusal,
            },
            _ => self.reject(None, refusal, Goodbye::TooBig),
        }
    }

    /// The hello did not come in time [ARCP 6.1-3].
    pub fn on_hello_timeout(&mut self) -> Effect {
        match self.phase {
            Phase::AwaitHello => {
                let refusal = Refusal::unauthenticated("no session.hello came in time");
                self.reject(None, refusal, Goodbye::Policy)
            }
            _ => Effect::None,
        }
    }

    /// The peer proved who it is.
    pub fn on_principal(&mut self) -> Effect {
        match std::mem::replace(&mut self.phase, Phase::Attaching) {
            Phase::Proving(attach) => Effect::Attach(attach),
            other => {
                self.phase = other;
                Effect::None
            }
        }
    }

    /// The session stands.
    pub fn on_attached(&mut self, session: SessionId, features: FeatureSet) {
        if matches!(self.phase, Phase::Attaching) {
            self.phase = Phase::Live { session, features };
        }
    }

    /// Ends the session with an error, whatever its phase.
    pub fn reject(
        &mut self,
        request: Option<MessageId>,
        refusal: Refusal,
        goodbye: Goodbye,
    ) -> Effect {
        self.phase = Phase::Ended;
        Effect::Reject {
            request,
            refusal,
            goodbye,
        }
    }

    fn on_first_frame(&mut self, envelope: &Envelope) -> Effect {
        let asked = if envelope.kind == MessageType::SESSION_HELLO {
            read_hello(envelope, self.offered)
        } else if envelope.kind == MessageType::SESSION_RESUME {
            read_resume(envelope)
        } else {
            let kind = envelope.kind.as_str();
            let message = if is_old_vocabulary(kind) {
                old_vocabulary(kind)
            } else {
                format!("`{kind}` before session.hello or session.resume")
            };
            return self.reject(
                envelope.id.clone(),
                Refusal::unauthenticated(message),
                Goodbye::Policy,
            );
        };
        match asked {
            Err(refusal) => self.reject(envelope.id.clone(), refusal, Goodbye::Protocol),
            Ok((attach, Some(auth))) => {
                self.phase = Phase::Proving(Box::new(attach));
                Effect::Authenticate(auth)
            }
            Ok((attach, None)) => {
                self.phase = Phase::Attaching;
                Effect::Attach(Box::new(attach))
            }
        }
    }

    fn on_live_frame(
        &mut self,
        session: &SessionId,
        features: FeatureSet,
        envelope: Envelope,
    ) -> Effect {
        let request = envelope.id.clone();
        let foreign = envelope
            .session_id
            .as_ref()
            .filter(|named| *named != session);
        if let Some(named) = foreign {
            let refusal = Refusal::invalid(format!(
                "`session_id` is `{named}`, this is session `{session}`"
            ));
            return Effect::Refuse { request, refusal };
        }
        let is_close = envelope.kind == MessageType::SESSION_CLOSE
            || envelope.kind == MessageType::SESSION_BYE;
        match request::read(envelope, features) {
            Ok(Effect::Close { reason }) if is_close => {
                self.phase = Phase::Ended;
                Effect::Close { reason }
            }
            Ok(effect) => effect,
            Err(refusal) => Effect::Refuse { request, refusal },
        }
    }
}

/// A hello is proved by its token, whether it opens or resumes [ARCP 6.3-2].
fn read_hello(
    envelope: &Envelope,
    offered: FeatureSet,
) -> Result<(AttachRequest, Option<payload::Auth>), Refusal> {
    let hello: payload::Hello = envelope.decode()?;
    let dialect = Dialect::of_hello(envelope, &hello);
    let resume = hello.resume_request().map(|resume| ResumeTarget {
        session: resume.session_id,
        token: resume.resume_token,
        last_event_seq: resume.last_event_seq.unwrap_or_default(),
    });
    let capabilities = hello.capabilities.unwrap_or_default();
    if let Some(encodings) = capabilities
        .encodings
        .filter(|encodings| !encodings.iter().any(|e| e == "json"))
    {
        let message =
            format!("no encoding in common: this runtime speaks `json`, the client {encodings:?}");
        return Err(Refusal::invalid(message));
    }
    let attach = AttachRequest {
        request: envelope.id.clone(),
        resume,
        wanted: Some(capabilities.features.intersection(offered)),
        dialect: Some(dialect),
        client: hello.client.unwrap_or_default(),
    };
    Ok((
        attach,
        Some(hello.auth.unwrap_or(payload::Auth {
            scheme: None,
            token: None,
        })),
    ))
}

/// A bare resume is proved by its resume token; an `auth` beside it has to prove the same principal.
fn read_resume(envelope: &Envelope) -> Result<(AttachRequest, Option<payload::Auth>), Refusal> {
    let resume: payload::Resume = envelope.decode()?;
    let target = ResumeTarget {
        session: resume.session_id.or_else(|| envelope.session_id.clone()),
        token: resume.resume_token,
        last_event_seq: resume.last_event_seq.unwrap_or_default(),
    };
    let attach = AttachRequest {
        request: envelope.id.clone(),
        resume: Some(target),
        wanted: None,
        dialect: None,
        client: payload::PeerInfo::default(),
    };
    Ok((attach, resume.auth.filter(says_something)))
}

/// An `auth` of empty texts is one SDK's way to leave it out.
fn says_something(auth: &payload::Auth) -> bool {
    let scheme = auth.scheme.as_ref().is_some_and(|text| !text.is_empty());
    let token = auth.token.as_ref().is_some_and(|t| !t.expose().is_empty());
    scheme || token
}

#[cfg(test)]
mod tests;

//! Hello and what answers it (§6.2, §6.3).

use std::time::Duration;

use towline_wire::{
    Envelope, EventSeq, Feature, FeatureSet, MessageId, MessageType, Secret, SessionId,
    payload::{self, ClientCapabilities, Hello, ResumeRequest, Welcome},
};

use super::{Refusal, SessionConfig};
use crate::{
    Dialect,
    dialect::{is_old_vocabulary, old_vocabulary},
    limits,
};

/// From where a session is taken up again.
#[derive(Debug, Clone)]
pub struct ResumePoint {
    /// The session.
    pub session_id: SessionId,
    /// The token of its latest welcome; good once.
    pub token: Secret,
    /// The last event that was received.
    pub last_event_seq: EventSeq,
}

/// A session that stands.
#[derive(Debug, Clone)]
pub struct Established {
    /// The session.
    pub session_id: SessionId,
    /// Whether it was taken up again rather than opened.
    pub resumed: bool,
    /// The features in effect: what both sides named, even where the runtime lists all of its own.
    pub features: FeatureSet,
    /// Whose reading of the draft the runtime follows.
    pub dialect: Dialect,
    /// How often a silent peer speaks; `None` without `heartbeat`.
    pub heartbeat: Option<Duration>,
    /// The welcome as it came.
    pub welcome: Welcome,
}

/// Why there is no session.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum HandshakeError {
    /// The runtime said no.
    #[error("the runtime refused the session: {0}")]
    Refused(Refusal),
    /// Nothing in time.
    #[error("the runtime did not answer the hello within {after:?}")]
    Timeout {
        /// How long it had.
        after: Duration,
    },
    /// The connection ended first.
    #[error("the runtime closed the connection instead of answering the hello")]
    Ended,
    /// The peer speaks an older protocol of the same name.
    #[error("the peer does not speak ARCP v1.1: {}", old_vocabulary(.seen))]
    OldProtocol {
        /// The type that shows it.
        seen: String,
    },
    /// The peer answered with something else.
    #[error("the runtime answered the hello with `{0}` instead of `session.welcome`")]
    Unexpected(String),
    /// The welcome cannot be read, or lacks what a session needs.
    #[error("the runtime's welcome cannot be used: {0}")]
    Welcome(String),
    /// A resume was answered with a new session; what the old one had is not here.
    #[error("the runtime opened session `{got}` instead of resuming `{wanted}`")]
    OtherSession {
        /// The session that was to be resumed.
        wanted: SessionId,
        /// The one that was opened.
        got: SessionId,
    },
}

impl HandshakeError {
    /// Whether another try may fare better.
    pub const fn may_pass(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.retryable,
            Self::Timeout { .. } | Self::Ended => true,
            _ => false,
        }
    }
}

/// What takes a session up again for a client that has its resume token and no other proof of who it is: a hello without
/// `auth` would be refused, the bare resume is not [ARCP 6.3-2].
pub(super) fn bare_resume(
    config: &SessionConfig,
    resume: Option<&ResumePoint>,
    dialect: Option<Dialect>,
) -> Option<payload::Resume> {
    // Other runtimes take a resume in the hello alone.
    let ours = dialect.is_none_or(|dialect| dialect == Dialect::Draft);
    let point = resume.filter(|_| ours && config.auth.is_none())?;
    Some(payload::Resume {
        resume_token: point.token.clone(),
        last_event_seq: Some(point.last_event_seq),
        auth: None,
        session_id: Some(point.session_id.clone()),
    })
}

/// The hello of a new session, or of one that is taken up again [ARCP 6.3-2].
pub(super) fn hello(
    config: &SessionConfig,
    resume: Option<&ResumePoint>,
    dialect: Option<Dialect>,
) -> Hello {
    let refuses_caught_up = dialect.is_some_and(Dialect::refuses_caught_up_resume);
    let from = |last: EventSeq| {
        if refuses_caught_up {
            EventSeq::new(last.value().saturating_sub(1))
        } else {
            last
        }
    };
    Hello {
        client: Some(config.client.clone()),
        auth: config.auth.clone(),
        capabilities: Some(ClientCapabilities {
            encodings: Some(vec!["json".to_owned()]),
            features: config.features,
            agents: None,
        }),
        resume: resume.map(|point| ResumeRequest {
            session_id: Some(point.session_id.clone()),
            resume_token: point.token.clone(),
            last_event_seq: Some(from(point.last_event_seq)),
        }),
        // The draft's other spelling too: each SDK reads one of them.
        resume_token: resume.map(|point| point.token.clone()),
        last_event_seq: resume.map(|point| from(point.last_event_seq)),
    }
}

/// The session a first hello asks for, named after the hello itself: one SDK's runtime takes the client's name for it, all
/// others give their own.
pub(super) fn wished_session(hello: &MessageId) -> Option<SessionId> {
    let own = hello.as_str();
    SessionId::parse(&format!("sess_{}", own.strip_prefix("msg_").unwrap_or(own))).ok()
}

/// Reads the answer to a hello. `None` for what may come before it and means nothing.
pub(super) fn answer(
    envelope: &Envelope,
    config: &SessionConfig,
    resume: Option<&ResumePoint>,
) -> Option<Result<Established, HandshakeError>> {
    let kind = &envelope.kind;
    if *kind == MessageType::SESSION_WELCOME {
        return Some(welcome(envelope, config, resume));
    }
    if *kind == MessageType::SESSION_ERROR {
        return Some(Err(refused(envelope)));
    }
    if *kind == MessageType::SESSION_PING || kind.is_vendor() {
        return None;
    }
    // One SDK has no `session.error`.
    if *kind == MessageType::JOB_ERROR {
        return Some(Err(refused_as_job(envelope)));
    }
    let seen = kind.as_str().to_owned();
    Some(Err(if is_old_vocabulary(&seen) {
        HandshakeError::OldProtocol { seen }
    } else {
        HandshakeError::Unexpected(seen)
    }))
}

fn refused_as_job(envelope: &Envelope) -> HandshakeError {
    match envelope.decode::<payload::JobError>() {
        Ok(error) => HandshakeError::Refused(error.into()),
        Err(_) => HandshakeError::Unexpected(envelope.kind.to_string()),
    }
}

fn refused(envelope: &Envelope) -> HandshakeError {
    match envelope.decode::<payload::SessionError>() {
        Ok(error) => HandshakeError::Refused(error.into()),
        // The older protocol has a `session.error` of another shape.
        Err(_) => HandshakeError::Unexpected(envelope.kind.to_string()),
    }
}

fn welcome(
    envelope: &Envelope,
    config: &SessionConfig,
    resume: Option<&ResumePoint>,
) -> Result<Established, HandshakeError> {
    let welcome: Welcome = envelope
        .decode()
        .map_err(|cause| HandshakeError::Welcome(cause.to_string()))?;
    let session_id = envelope
        .session_id
        .clone()
        .or_else(|| welcome.session_id.clone());
    let session_id =
        session_id.ok_or_else(|| HandshakeError::Welcome("`session_id` is missing".to_owned()))?;
    if let Some(point) = resume.filter(|point| point.session_id != session_id) {
        return Err(HandshakeError::OtherSession {
            wanted: point.session_id.clone(),
            got: session_id,
        });
    }
    let features = welcome.capabilities.features.intersection(config.features);
    Ok(Established {
        session_id,
        resumed: resume.is_some(),
        features,
        dialect: config
            .dialect
            .unwrap_or_else(|| Dialect::of_welcome(envelope, &welcome)),
        heartbeat: features
            .has(Feature::Heartbeat)
            .then(|| limits::heartbeat_interval(welcome.heartbeat_interval_sec)),
        welcome,
    })
}

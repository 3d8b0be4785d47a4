//! The envelope (§5): decoded in two steps, the header now, the payload when somebody asks.

use std::fmt;

use crate::{
    EventSeq, JobId, JobSeq, MessageId, MessageType, Payload, RawJson, SessionId, SpanId, TraceId,
    job_event::may_hold_credential, payload::PayloadFault,
};

pub(crate) mod encode;
pub(crate) mod header;
mod spliced;

pub use self::{
    encode::Encode,
    spliced::{EventFrame, EventHeader},
};

/// The version we speak.
pub const PROTOCOL_VERSION: &str = "1.1";

/// One message as every transport carries it.
///
/// Reading: [`Envelope::decode_text`] takes the header apart and leaves the payload as text shared with the frame;
/// [`Envelope::decode`] reads the payload as one type. Writing: [`Envelope::of`] and the `with_*` setters, then
/// [`Envelope::encode`]. Absent optionals are omitted, never `null` [ARCP 5-1]; fields we do not know are kept and
/// written again [ARCP 5-2].
#[derive(Clone, PartialEq)]
pub struct Envelope {
    /// Names this envelope. `None` only on received ones whose sender left it out.
    pub id: Option<MessageId>,
    /// What the envelope is.
    pub kind: MessageType,
    /// The session it belongs to.
    pub session_id: Option<SessionId>,
    /// The job it is about.
    pub job_id: Option<JobId>,
    /// Its place in the session's stream.
    pub event_seq: Option<EventSeq>,
    /// Its place in the job's own log.
    pub job_seq: Option<JobSeq>,
    /// The trace it is part of.
    pub trace_id: Option<TraceId>,
    /// The sender's span, when `trace_id` came as a whole `traceparent`. Never written.
    pub parent_span: Option<SpanId>,
    /// Vendor extensions: an object, untouched.
    pub extensions: Option<RawJson>,
    /// Top-level fields this version does not know, in their order.
    pub unknown: Vec<UnknownField>,
    /// The message's own fields: an object, untouched.
    pub payload: RawJson,
}

/// A top-level field this version does not know.
#[derive(Debug, Clone, PartialEq)]
pub struct UnknownField {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: RawJson,
}

/// What a peer's `trace_id` held: the trace and, from a whole `traceparent`, the sender's span.
type TraceParts = (TraceId, Option<SpanId>);

/// Why a frame is not an envelope [ARCP 4-5].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct DecodeError {
    /// For a person, naming the field at fault.
    pub message: String,
    /// The frame's own id, where it could be read, so that a refusal can name it.
    pub id: Option<MessageId>,
}

/// Why a payload is not what the envelope's type says.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{fault}")]
pub struct PayloadError {
    /// The envelope's id, so that a refusal can name it.
    pub id: Option<MessageId>,
    /// What does not fit.
    pub fault: PayloadFault,
}

impl Envelope {
    /// An envelope of a type, with an empty payload and nothing else.
    pub fn new(kind: MessageType) -> Self {
        Self {
            id: None,
            kind,
            session_id: None,
            job_id: None,
            event_seq: None,
            job_seq: None,
            trace_id: None,
            parent_span: None,
            extensions: None,
            unknown: Vec::new(),
            payload: RawJson::EMPTY_OBJECT,
        }
    }

    /// An envelope around a payload.
    ///
    /// # Errors
    /// When the payload has no JSON form; ours always have one.
    pub fn of<P: Payload>(payload: &P) -> Result<Self, serde_json::Error> {
        let written = RawJson::of(payload)?;
        Ok(Self {
            payload: match payload.answers() {
                Some(request) => written.with_member("reply_to", request),
                None => written,
            },
            ..Self::new(P::TYPE)
        })
    }

    /// Names the envelope.
    #[must_use]
    pub fn with_id(mut self, id: MessageId) -> Self {
        self.id = Some(id);
        self
    }

    /// Names the session.
    #[must_use]
    pub fn with_session(mut self, session: SessionId) -> Self {
        self.session_id = Some(session);
        self
    }

    /// Names the job.
    #[must_use]
    pub fn with_job(mut self, job: JobId) -> Self {
        self.job_id = Some(job);
        self
    }

    /// Names the trace.
    #[must_use]
    pub fn with_trace(mut self, trace: Option<TraceId>) -> Self {
        self.trace_id = trace;
        self
    }

    /// A top-level field this version does not know, by name.
    pub fn unknown_field(&self, name: &str) -> Option<&RawJson> {
        self.unknown
            .iter()
            .find(|field| field.name == name)
            .map(|field| &field.value)
    }

    /// Reads the payload as a type, whatever `kind` says.
    ///
    /// # Errors
    /// [`PayloadError`] naming what does not fit.
    pub fn decode<P: Payload>(&self) -> Result<P, PayloadError> {
        P::read(&self.payload).map_err(|cause| PayloadError {
            id: self.id.clone(),
            fault: PayloadFault::new(self.kind.as_str(), &cause),
        })
    }
}

impl fmt::Debug for Envelope {
    /// Leaves the payload out where tokens or credentials may stand in it [ARCP 9.8-5].
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Envelope");
        out.field("id", &self.id)
            .field("kind", &self.kind)
            .field("session_id", &self.session_id)
            .field("job_id", &self.job_id)
            .field("event_seq", &self.event_seq)
            .field("job_seq", &self.job_seq)
            .field("trace_id", &self.trace_id)
            .field("parent_span", &self.parent_span);
        if self.may_hold_secrets() {
            let unknown: Vec<_> = self.unknown.iter().map(|field| &field.name).collect();
            let payload = format!("[{} bytes]", self.payload.as_str().len());
            return out
                .field("unknown", &unknown)
                .field("payload", &payload)
                .finish_non_exhaustive();
        }
        out.field("extensions", &self.extensions)
            .field("unknown", &self.unknown)
            .field("payload", &self.payload)
            .finish()
    }
}

impl Envelope {
    /// Fails closed: only the types that have no place for a secret are shown whole.
    fn may_hold_secrets(&self) -> bool {
        let harmless = [
            MessageType::SESSION_PING,
            MessageType::SESSION_PONG,
            MessageType::SESSION_ACK,
            MessageType::SESSION_LIST_JOBS,
            MessageType::SESSION_CLOSE,
            MessageType::SESSION_BYE,
            MessageType::SESSION_CLOSED,
            MessageType::SESSION_ERROR,
            MessageType::JOB_SUBMIT,
            MessageType::JOB_RESULT,
            MessageType::JOB_ERROR,
            MessageType::JOB_CANCEL,
            MessageType::JOB_CANCELLED,
            MessageType::JOB_SUBSCRIBE,
            MessageType::JOB_UNSUBSCRIBE,
        ];
        if self.kind == MessageType::JOB_EVENT {
            may_hold_credential(&self.payload)
        } else {
            !harmless.contains(&self.kind)
        }
    }
}

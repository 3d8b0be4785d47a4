//! The client's side of a session, as a machine without I/O (§4–§8 from the client's point of view).
//!
//! [`ClientSession`] is the whole of it; the other types are what goes in and comes out. The parts it is made of each hold
//! one rule and are tested alone: the handshake, the numbers of the stream, acknowledging, matching replies, jobs.

mod acker;
mod asking;
mod credential;
mod doubt;
mod early;
mod handshake;
mod jobs;
mod live;
mod needs;
mod numbering;
mod questions;
mod requests;
mod session;
#[cfg(test)]
mod tests;

use std::{fmt, time::Duration};

use towline_wire::{
    ErrorCode, EventSeq, Feature, FeatureSet, JobId, JobSeq, MessageId, PayloadError, RawJson,
    SpanId, Timestamp, TraceId, payload,
};

pub use self::{
    acker::AckPolicy,
    credential::authorization,
    handshake::{Established, HandshakeError, ResumePoint},
    jobs::JobKey,
    numbering::Lane,
    requests::RequestKey,
    session::ClientSession,
};
use crate::Dialect;

/// What a session needs to know before it begins.
#[derive(Debug, Clone)]
pub struct SessionConfig {
    /// How the client names itself.
    pub client: payload::PeerInfo,
    /// The proof of who it is.
    pub auth: Option<payload::Auth>,
    /// The features it wants.
    pub features: FeatureSet,
    /// Whose reading of the draft the runtime follows; `None` reads it off the welcome.
    pub dialect: Option<Dialect>,
    /// How long the runtime has to answer a hello; default 10 s.
    pub handshake_timeout: Duration,
    /// How long it has to answer a request; default 30 s.
    pub reply_timeout: Duration,
    /// How long it has to answer a close; default 5 s.
    pub close_timeout: Duration,
    /// When to acknowledge; `None` never does.
    pub ack: Option<AckPolicy>,
    /// Whether requests wait for a reconnect; else they fail when the connection is lost.
    pub reconnects: bool,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            client: payload::PeerInfo {
                name: crate::dialect::OUR_CLIENT.to_owned(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            },
            auth: None,
            features: FeatureSet::ALL,
            dialect: None,
            handshake_timeout: Duration::from_secs(10),
            reply_timeout: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
            ack: Some(AckPolicy::default()),
            reconnects: false,
        }
    }
}

/// Names for what the machine sends; it makes none itself.
pub trait Names {
    /// For an envelope.
    fn message(&self) -> MessageId;
    /// For a ping.
    fn nonce(&self) -> String;
    /// For a submit without a trace.
    fn trace(&self) -> TraceId;
}

/// The moment something happens in.
#[derive(Clone, Copy)]
pub struct Moment<'a> {
    /// What a monotonic clock shows, counted from any fixed moment.
    pub now: Duration,
    /// The time of day.
    pub wall: Timestamp,
    /// Makes names.
    pub names: &'a dyn Names,
}

impl fmt::Debug for Moment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Moment")
            .field("now", &self.now)
            .field("wall", &self.wall)
            .finish_non_exhaustive()
    }
}

/// What a client can ask of a runtime.
#[derive(Debug, Clone)]
pub enum Request {
    /// Run a job.
    Submit {
        /// The job.
        submit: Box<payload::Submit>,
        /// Its trace; one is made when it has none.
        trace: Option<TraceId>,
        /// The span of that trace it is asked in, for whatever traces the connection.
        span: Option<SpanId>,
    },
    /// End a job.
    Cancel {
        /// The job.
        job: JobId,
        /// Why.
        reason: String,
    },
    /// Watch a job.
    Subscribe {
        /// The job.
        job: JobId,
        /// History from the event after this one, counted in the job's own events.
        from: Option<JobSeq>,
        /// Whether what has happened is wanted too.
        history: bool,
        /// Whether what it was given is wanted too.
        input: bool,
    },
    /// Stop watching a job. The reply comes at once unless others of this client watch it still.
    Unsubscribe {
        /// The job.
        job: JobId,
    },
    /// A page of jobs.
    List(payload::ListJobs),
    /// Answer a question.
    Answer(Box<payload::Answer>),
    /// Tell a running job something.
    Speak {
        /// The job.
        job: JobId,
        /// What to tell it.
        body: RawJson,
    },
    /// The open questions that this session may answer.
    Inbox {
        /// Only those of this job.
        job: Option<JobId>,
    },
    /// Are you there?
    Ping,
}

/// What became of a request.
#[derive(Debug)]
pub enum Reply {
    /// The job exists.
    Accepted {
        /// Its key, already opened.
        job: JobKey,
        /// Its id.
        id: JobId,
        /// What was granted.
        accepted: Box<payload::Accepted>,
        /// Whether what came of the job before has gone to another handle, or to nobody here: its past has to be asked
        /// for with a subscribe.
        lacks_past: bool,
    },
    /// The job will end; without the runtime's words where it has none for this.
    Cancelled(Option<payload::Cancelled>),
    /// The job is watched.
    Subscribed(Box<payload::Subscribed>),
    /// A page.
    Jobs(payload::Jobs),
    /// What was said is durable.
    Spoken(payload::MessageAccepted),
    /// The open questions.
    Questions(payload::Questions),
    /// The runtime has read everything up to here.
    Pong,
    /// Done, as far as can be known: this request has no answer of its own.
    Done,
    /// It failed.
    Failed(RequestError),
}

/// A runtime's no.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// What kind of failure.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// For a program.
    pub details: Option<RawJson>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            self.code.fmt(f)
        } else {
            write!(f, "{}: {}", self.code, self.message)
        }
    }
}

impl From<payload::SessionError> for Refusal {
    fn from(error: payload::SessionError) -> Self {
        Self {
            code: error.code,
            message: error.message,
            retryable: error.retryable,
            details: error.details,
        }
    }
}

impl From<payload::JobError> for Refusal {
    fn from(error: payload::JobError) -> Self {
        Self {
            code: error.code,
            message: error.message,
            retryable: error.retryable,
            details: error.details,
        }
    }
}

/// Why a request failed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RequestError {
    /// The runtime said no.
    #[error("{0}")]
    Refused(Refusal),
    /// The runtime did not answer in time.
    #[error("the runtime did not answer within {after:?}")]
    Timeout {
        /// How long it had.
        after: Duration,
    },
    /// The connection is gone.
    #[error("the connection was lost before the runtime answered{}", if *.maybe_accepted { "; the job may have been accepted, submit with an idempotency key to be sure" } else { "" })]
    Disconnected {
        /// Whether the runtime may have done what was asked: a submit was sent, and its answer never came.
        maybe_accepted: bool,
    },
    /// The request needs a feature the session does not have; nothing was sent [ARCP 6.2-3].
    #[error(
        "the session does not have the feature `{0}`: the runtime, or this client's options, left it out"
    )]
    FeatureMissing(Feature),
    /// The request breaks a rule that can be seen from here; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The session is over.
    #[error("the session is over")]
    SessionOver,
    /// The runtime's answer cannot be read.
    #[error("the runtime's answer cannot be read: {0}")]
    Unreadable(PayloadError),
}

/// How a job ended.
#[derive(Debug, Clone, PartialEq)]
pub enum JobEnd {
    /// `job.result`. Some runtimes report cancels and timeouts here; look at `final_status`.
    Result(payload::JobResult),
    /// `job.error`.
    Error(payload::JobError),
    /// A terminal message that cannot be read. The job is over, how is not known.
    Unreadable(PayloadError),
}

/// Why the transport is to be closed, or was lost.
#[derive(Debug, Clone, PartialEq)]
pub enum Loss {
    /// The transport ended.
    Transport,
    /// The runtime was silent for two heartbeat intervals [ARCP 6.4-4].
    HeartbeatLost,
    /// Events are missing; a resume asks for them [ARCP 8-4].
    Gap {
        /// The number that should have come.
        expected: EventSeq,
        /// The one that came.
        got: EventSeq,
    },
    /// The runtime is going away.
    Shutdown,
    /// The runtime disconnected a session that did nothing; it can be resumed [ARCP 14-1].
    Idle,
}

/// Why a session is over for good.
#[derive(Debug, Clone, PartialEq)]
pub enum Over {
    /// It was closed from here.
    Closed,
    /// The runtime closed it.
    ByRuntime {
        /// Its reason: `superseded` when another connection took the session over.
        reason: Option<String>,
    },
    /// It never stood, or could not be taken up again.
    Handshake(HandshakeError),
    /// The connection was lost, and the runtime gave no token to take the session up with.
    NotResumable,
    /// The runtime sent a frame above the receive limit, and would send it again with every resume [ARCP 4-6].
    TooBig {
        /// The limit, in bytes.
        limit: usize,
    },
}

/// What the driver has to do. Effects are in order: an event's job was opened by an effect before it.
#[derive(Debug)]
pub enum Effect {
    /// Send this.
    Send(towline_wire::Envelope),
    /// The session stands.
    Up(Box<Established>),
    /// A job is there that no request of this client waits for: delegated, or known from before a resume.
    Opened {
        /// Its key.
        job: JobKey,
        /// Its id.
        id: JobId,
        /// What was granted, if the runtime said so.
        accepted: Option<Box<payload::Accepted>>,
    },
    /// Something happened in a job.
    Event {
        /// The job.
        job: JobKey,
        /// Whose numbers it carries.
        lane: Lane,
        /// A `job.event`.
        envelope: towline_wire::Envelope,
    },
    /// A job ended; its key is free from here on.
    Ended {
        /// The job.
        job: JobKey,
        /// Its last number.
        event_seq: Option<EventSeq>,
        /// How.
        end: Box<JobEnd>,
    },
    /// A job has ended, and the runtime told nobody here how. It keeps its key: what is known of its past can be asked for.
    Ceased {
        /// The job.
        job: JobKey,
    },
    /// A job is no longer watched; its key is free from here on.
    Released {
        /// The job.
        job: JobKey,
    },
    /// A request is answered, or has failed.
    Reply {
        /// The request.
        request: RequestKey,
        /// The answer.
        reply: Box<Reply>,
    },
    /// The runtime reported something that answers no request.
    Reported(Refusal),
    /// Close the transport and, where there is a way, connect again and call [`ClientSession::connected`].
    Drop(Loss),
    /// The session is over. Close the transport; nothing follows but the failure of what was waiting for a reply.
    Over(Over),
}

/// What was counted since the session began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events that had been seen before, and were dropped.
    pub duplicates: u64,
    /// Times events were missing.
    pub gaps: u64,
    /// Events that are missing for good.
    pub skipped: u64,
    /// Frames that belong to nothing, or could not be read.
    pub ignored: u64,
}

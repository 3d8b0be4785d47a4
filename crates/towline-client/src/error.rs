//! What can go wrong, and whose doing it is.

use std::{fmt, io, sync::Arc, time::Duration};

use towline_proto::{
    assembly::AssemblyError,
    client::{HandshakeError, Refusal, RequestError},
};
use towline_transport::TransportError;
use towline_wire::{ErrorCode, Feature, JobId, JobStatus, PayloadError};

use crate::JobFailure;

/// Why the client could not do what was asked.
///
/// Cheap to clone: several handles report the same cause.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// No connection came about.
    #[error("cannot connect")]
    Connect(#[source] Arc<TransportError>),
    /// The connection stands, the session does not.
    #[error("cannot open the session")]
    Handshake(#[source] HandshakeError),
    /// The runtime refused the request.
    #[error("{0}")]
    Refused(Refusal),
    /// The job did not succeed. Only methods that promise a result say so; [`crate::JobHandle::outcome`] gives it as a
    /// value.
    #[error("{0}")]
    JobFailed(JobFailure),
    /// The runtime did not answer in time.
    #[error("the runtime did not answer within {after:?}{}", blocked(.blocked_by.as_ref()))]
    Timeout {
        /// How long it had.
        after: Duration,
        /// The job whose handle is full and not read, so that nothing behind its events can be read either.
        blocked_by: Option<JobId>,
    },
    /// The connection is lost. With a connector the client is at it; without one, see [`crate::Client::resume_with`].
    #[error("the connection is lost{}", if *.maybe_accepted { "; the job may have been accepted, submit with an idempotency key to be sure" } else { "" })]
    Disconnected {
        /// Whether a submit was sent whose answer never came.
        maybe_accepted: bool,
    },
    /// The session does not have the feature; nothing was sent [ARCP 6.2-3].
    #[error(
        "the session does not have the feature `{0}`: the runtime, or this client's options, left it out"
    )]
    FeatureMissing(Feature),
    /// The request is wrong whoever reads it; nothing was sent.
    #[error("{0}")]
    Invalid(String),
    /// The session is over, and with it everything that was waiting.
    #[error("the session is over: {0}")]
    SessionOver(SessionOver),
    /// The streamed result is not whole, or above the cap.
    #[error("the result cannot be put together")]
    Result(#[source] AssemblyError),
    /// The result is not what was asked for: text that is not UTF-8, or JSON that is none or of another shape.
    #[error("the result is not {wanted}: {reason}")]
    ResultFormat {
        /// What was asked for.
        wanted: &'static str,
        /// What does not fit.
        reason: String,
    },
    /// Something the runtime sent cannot be read.
    #[error("what the runtime sent cannot be read")]
    Unreadable(#[source] PayloadError),
    /// The job was not claimed in time, and events of it were dropped. What comes from here on is whole.
    #[error(
        "events of job `{job}` were dropped before it was attached; subscribe with history to see all of them"
    )]
    EventsDropped {
        /// The job.
        job: JobId,
    },
    /// The job was over before it was watched, and its history was not asked for.
    #[error("job `{job}` had ended as {status} before; subscribe with history to see how")]
    AlreadyEnded {
        /// The job.
        job: JobId,
        /// How it ended.
        status: JobStatus,
    },
    /// The job has ended, and the runtime keeps nothing that says how.
    #[error("job `{job}` has ended, and the runtime does not tell how")]
    OutcomeUnknown {
        /// The job.
        job: JobId,
    },
    /// No such job waits to be attached.
    #[error("no job `{job}` was delivered to this session; subscribe to watch it")]
    NotHere {
        /// The job.
        job: JobId,
    },
    /// The result could not be written.
    #[error("cannot write the result: {0}")]
    Write(#[source] Arc<io::Error>),
}

fn blocked(job: Option<&JobId>) -> String {
    job.map_or_else(String::new, |job| {
        format!("; nothing is read because the handle of job `{job}` is full: read it, drop it or discard its events")
    })
}

/// Why the runtime closed a session, as a person is told.
fn in_words(reason: Option<&str>) -> String {
    match reason {
        None => String::new(),
        Some("superseded") => " (another connection took it over)".to_owned(),
        Some(reason) => format!(" ({reason})"),
    }
}

/// What there is to do stands here where the runtime does not say it itself. One that was restored from a backup does not know
/// the last events of a client [ARCP 6.3-5].
fn not_resumed(error: &HandshakeError) -> String {
    let instead = match error {
        HandshakeError::Refused(refusal)
            if [ErrorCode::RESUME_WINDOW_EXPIRED, ErrorCode::INVALID_REQUEST]
                .contains(&refusal.code)
                && !refusal.message.contains("new session") =>
        {
            "; open a new session, and subscribe with history to the jobs that are still there"
        }
        _ => "",
    };
    format!("it cannot be resumed: {error}{instead}")
}

/// Why a session is over.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SessionOver {
    /// Closed from here.
    #[error("closed by this client")]
    Closed,
    /// Closed by the runtime; `superseded` means another connection took it over.
    #[error("closed by the runtime{}", in_words(.reason.as_deref()))]
    ByRuntime {
        /// The runtime's reason.
        reason: Option<String>,
    },
    /// It could not be taken up again.
    #[error("{}", not_resumed(.0))]
    NotResumed(HandshakeError),
    /// The runtime gave no resume token.
    #[error("the connection was lost, and the runtime gave no token to resume with")]
    NotResumable,
    /// The runtime sent a frame above the receive limit.
    #[error(
        "the runtime sent a frame of more than {limit} bytes; raise the transport's message limit"
    )]
    TooBig {
        /// The limit, in bytes.
        limit: usize,
    },
    /// No connection came about again in time.
    #[error("no connection for {after:?}, {attempts} tries")]
    GaveUp {
        /// How many tries.
        attempts: u32,
        /// For how long.
        after: Duration,
    },
    /// The task that drove the session is gone: its tokio runtime was shut down.
    #[error("the task behind it was stopped")]
    Stopped,
}

/// Who caused an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// This side: the request, an option, the disk.
    Local,
    /// The runtime, or its agent.
    Peer,
    /// What is between.
    Transport,
}

impl ClientError {
    /// The runtime's error code (§12), where it gave one.
    pub const fn code(&self) -> Option<&ErrorCode> {
        match self {
            Self::Refused(refusal) | Self::Handshake(HandshakeError::Refused(refusal)) => {
                Some(&refusal.code)
            }
            Self::SessionOver(SessionOver::NotResumed(HandshakeError::Refused(refusal))) => {
                Some(&refusal.code)
            }
            Self::JobFailed(failure) => Some(&failure.code),
            _ => None,
        }
    }

    /// Whether the same call may succeed later. A lost submit without an idempotency key counts as retryable too; it may
    /// then run twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Refused(refusal) => refusal.retryable,
            Self::Handshake(error) => error.may_pass(),
            Self::JobFailed(failure) => failure.retryable,
            Self::Connect(error) => error.is_transient(),
            Self::Timeout { .. } | Self::Disconnected { .. } => true,
            _ => false,
        }
    }

    /// Who caused it.
    pub const fn origin(&self) -> Origin {
        match self {
            Self::Connect(_) | Self::Disconnected { .. } => Origin::Transport,
            Self::SessionOver(SessionOver::GaveUp { .. } | SessionOver::NotResumable) => {
                Origin::Transport
            }
            Self::Timeout {
                blocked_by: Some(_),
                ..
            } => Origin::Local,
            Self::FeatureMissing(_) | Self::Invalid(_) | Self::NotHere { .. } | Self::Write(_) => {
                Origin::Local
            }
            Self::AlreadyEnded { .. } | Self::EventsDropped { .. } | Self::ResultFormat { .. } => {
                Origin::Local
            }
            Self::SessionOver(
                SessionOver::Closed | SessionOver::Stopped | SessionOver::TooBig { .. },
            ) => Origin::Local,
            Self::Result(AssemblyError::TooBig { .. }) => Origin::Local,
            _ => Origin::Peer,
        }
    }

    pub(crate) const fn stopped() -> Self {
        Self::SessionOver(SessionOver::Stopped)
    }
}

impl From<RequestError> for ClientError {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Refused(refusal) => Self::Refused(refusal),
            RequestError::Timeout { after } => Self::Timeout {
                after,
                blocked_by: None,
            },
            RequestError::Disconnected { maybe_accepted } => Self::Disconnected { maybe_accepted },
            RequestError::FeatureMissing(feature) => Self::FeatureMissing(feature),
            RequestError::Invalid(message) => Self::Invalid(message),
            RequestError::SessionOver => Self::SessionOver(SessionOver::Closed),
            RequestError::Unreadable(cause) => Self::Unreadable(cause),
        }
    }
}

impl From<HandshakeError> for ClientError {
    fn from(error: HandshakeError) -> Self {
        Self::Handshake(error)
    }
}

impl From<AssemblyError> for ClientError {
    fn from(error: AssemblyError) -> Self {
        Self::Result(error)
    }
}

impl From<TransportError> for ClientError {
    fn from(error: TransportError) -> Self {
        Self::Connect(Arc::new(error))
    }
}

impl From<PayloadError> for ClientError {
    fn from(error: PayloadError) -> Self {
        Self::Unreadable(error)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Local => "this side",
            Self::Peer => "the runtime",
            Self::Transport => "the connection",
        })
    }
}

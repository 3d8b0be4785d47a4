//! The payload of every message (§6, §7, §12).
//!
//! Reading is lenient where other SDKs differ (see each field), writing is strict: absent optionals are omitted.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    Amount, CredentialId, Envelope, ErrorCode, EventPayload, EventSeq, FeatureSet, JobId, JobSeq, JobStatus, Lease,
    LeaseConstraints, MessageId, MessageType, PayloadError, RawJson, ResultId, Secret, SessionId, Timestamp, TraceId,
    envelope::strip_position,
};

mod job;
mod session;

pub use job::*;
pub use session::*;

/// A payload and the type of the envelope it travels in.
pub trait Payload: Serialize + DeserializeOwned {
    /// The envelope's `type`.
    const TYPE: MessageType;
}

/// Why a payload, or an event's body, is not what its type says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{of}`: {message}")]
pub struct PayloadFault {
    of: String,
    message: String,
}

impl PayloadFault {
    pub(crate) fn new(of: &str, cause: &serde_json::Error) -> Self {
        Self { of: of.to_owned(), message: strip_position(&cause.to_string()) }
    }
}

macro_rules! messages {
    ($( $(#[$doc:meta])* $variant:ident = $kind:ident ),+ $(,)?) => {
        $( impl Payload for $variant {
            const TYPE: MessageType = MessageType::$kind;
        } )+

        /// Any message, read.
        #[derive(Debug, Clone)]
        pub enum Message {
            $( $(#[$doc])* $variant($variant), )+
            /// A type this version does not know.
            Other(MessageType),
        }

        impl Message {
            /// Reads the payload of an envelope as its type says. `session.bye` reads as [`Close`].
            ///
            /// # Errors
            /// [`PayloadError`] naming the field that is missing or has the wrong type.
            pub fn of(envelope: &Envelope) -> Result<Self, PayloadError> {
                $( if envelope.kind == MessageType::$kind {
                    return envelope.decode().map(Self::$variant);
                } )+
                if envelope.kind == MessageType::SESSION_BYE {
                    return envelope.decode().map(Self::Close);
                }
                Ok(Self::Other(envelope.kind.clone()))
            }
        }
    };
}

messages! {
    /// `session.hello`
    Hello = SESSION_HELLO,
    /// `session.welcome`
    Welcome = SESSION_WELCOME,
    /// `session.resume`
    Resume = SESSION_RESUME,
    /// `session.ping`
    Ping = SESSION_PING,
    /// `session.pong`
    Pong = SESSION_PONG,
    /// `session.ack`
    Ack = SESSION_ACK,
    /// `session.list_jobs`
    ListJobs = SESSION_LIST_JOBS,
    /// `session.jobs`
    Jobs = SESSION_JOBS,
    /// `session.close`
    Close = SESSION_CLOSE,
    /// `session.closed`
    Closed = SESSION_CLOSED,
    /// `session.error`
    SessionError = SESSION_ERROR,
    /// `job.submit`
    Submit = JOB_SUBMIT,
    /// `job.accepted`
    Accepted = JOB_ACCEPTED,
    /// `job.event`
    EventPayload = JOB_EVENT,
    /// `job.result`
    JobResult = JOB_RESULT,
    /// `job.error`
    JobError = JOB_ERROR,
    /// `job.cancel`
    Cancel = JOB_CANCEL,
    /// `job.cancelled`
    Cancelled = JOB_CANCELLED,
    /// `job.subscribe`
    Subscribe = JOB_SUBSCRIBE,
    /// `job.subscribed`
    Subscribed = JOB_SUBSCRIBED,
    /// `job.unsubscribe`
    Unsubscribe = JOB_UNSUBSCRIBE,
}

//! The payload of every message (§6, §7, §12).
//!
//! Reading is lenient where other SDKs differ (see each field), writing is strict: absent optionals are omitted.

use std::collections::BTreeMap;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{DeserializeOwned, Error as _},
};

use crate::{
    Amount, CallId, CredentialId, Envelope, ErrorCode, EventPayload, EventSeq, FeatureSet, JobId,
    JobSeq, JobStatus, Lease, LeaseConstraints, MessageId, MessageType, PayloadError, RawJson,
    ResultId, Secret, SessionId, Timestamp, TraceId,
    amount::Budget,
    lease::Told,
    read::{Informative, explain, readable},
};

mod input;
mod job;
mod session;

pub use input::*;
pub use job::*;
pub use session::*;

/// A payload and the type of the envelope it travels in.
pub trait Payload: Serialize + DeserializeOwned {
    /// The envelope's `type`.
    const TYPE: MessageType;

    /// The request this answers. [`Envelope::of`] then also writes it as `reply_to`, for one SDK matches its replies by
    /// that name and no other.
    fn answers(&self) -> Option<&MessageId> {
        None
    }

    /// Reads the payload from its text. [`Envelope::decode`] does this and names the envelope in the error.
    ///
    /// # Errors
    /// What does not fit.
    fn read(text: &RawJson) -> Result<Self, serde_json::Error> {
        text.read()
    }
}

/// Why a payload, or an event's body, is not what its type says: names the type and the field, and quotes nothing that
/// could be a secret.
///
/// ```
/// use towline_wire::{Envelope, Message};
///
/// let frame = r#"{"type":"session.list_jobs","payload":{"filter":{"status":"running"}}}"#;
/// let error = Message::of(&Envelope::decode_text(frame).unwrap()).unwrap_err();
/// assert_eq!(error.to_string(), "`session.list_jobs`: `filter.status`: expected an array, found a string");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{of}`: {message}")]
pub struct PayloadFault {
    of: String,
    message: String,
}

impl PayloadFault {
    pub(crate) fn new(of: &str, cause: &serde_json::Error) -> Self {
        Self {
            of: of.to_owned(),
            message: explain(&cause.to_string()),
        }
    }
}

/// The payload of a `job.event` is read in its own, faster way.
macro_rules! message_payload {
    (EventPayload, $kind:ident) => {
        impl Payload for EventPayload {
            const TYPE: MessageType = MessageType::$kind;

            fn read(text: &RawJson) -> Result<Self, serde_json::Error> {
                Self::read_sharing(text)
            }
        }
    };
    ($type:ident, $kind:ident answers $request:ident) => {
        impl Payload for $type {
            const TYPE: MessageType = MessageType::$kind;

            fn answers(&self) -> Option<&MessageId> {
                self.$request.as_ref()
            }
        }
    };
    ($type:ident, $kind:ident) => {
        impl Payload for $type {
            const TYPE: MessageType = MessageType::$kind;
        }
    };
}

macro_rules! messages {
    ($( $(#[$doc:meta])* $variant:ident = $kind:ident $(answers $request:ident)? ),+ $(,)?) => {
        $( message_payload!($variant, $kind $(answers $request)?); )+

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
    Jobs = SESSION_JOBS answers request_id,
    /// `session.close`
    Close = SESSION_CLOSE,
    /// `session.closed`
    Closed = SESSION_CLOSED,
    /// `session.error`
    SessionError = SESSION_ERROR answers request_id,
    /// `job.submit`
    Submit = JOB_SUBMIT,
    /// `job.accepted`
    Accepted = JOB_ACCEPTED answers request_id,
    /// `job.event`
    EventPayload = JOB_EVENT,
    /// `job.result`
    JobResult = JOB_RESULT,
    /// `job.error`
    JobError = JOB_ERROR answers request_id,
    /// `job.cancel`
    Cancel = JOB_CANCEL,
    /// `job.cancelled`
    Cancelled = JOB_CANCELLED answers request_id,
    /// `job.subscribe`
    Subscribe = JOB_SUBSCRIBE,
    /// `job.subscribed`
    Subscribed = JOB_SUBSCRIBED answers request_id,
    /// `job.unsubscribe`
    Unsubscribe = JOB_UNSUBSCRIBE,
    /// `x-vendor.towline.answer`
    Answer = ANSWER,
    /// `x-vendor.towline.answered`
    Answered = ANSWERED answers request_id,
    /// `x-vendor.towline.message`
    Speak = MESSAGE,
    /// `x-vendor.towline.message_accepted`
    MessageAccepted = MESSAGE_ACCEPTED answers request_id,
    /// `x-vendor.towline.inbox`
    Inbox = INBOX,
    /// `x-vendor.towline.questions`
    Questions = QUESTIONS answers request_id,
}

/// Writes seconds as a whole number when they are one: several SDKs read `600.0` as no integer and refuse it.
fn write_seconds<S: Serializer>(seconds: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    const EXACT: f64 = 9_007_199_254_740_991.0;
    match *seconds {
        None => serializer.serialize_none(),
        #[expect(
            clippy::cast_possible_truncation,
            reason = "whole and within 2^53, as the guard says"
        )]
        Some(seconds) if seconds.fract() == 0.0 && seconds.abs() <= EXACT => {
            serializer.serialize_i64(seconds as i64)
        }
        Some(seconds) => serializer.serialize_f64(seconds),
    }
}

//! What is on the wire of ARCP v1.1.
//!
//! This crate knows the shapes and nothing else: no socket, no clock, no randomness. An [`Envelope`] is the unit every
//! transport carries (§5); its `payload` stays raw JSON until somebody asks for a type with [`Envelope::decode`], so
//! routing a frame costs one pass over its header. Unknown fields survive a decode and an encode, unknown message
//! types, event kinds, features and error codes are ordinary values, and money keeps its exact decimal text.
//!
//! ```
//! use towline_wire::{Envelope, payload::Ping};
//!
//! let frame = r#"{"arcp":"1.1","id":"msg_1","type":"session.ping","payload":{"nonce":"p_1"}}"#;
//! let envelope = Envelope::decode_text(frame).unwrap();
//! let ping: Ping = envelope.decode().unwrap();
//! assert_eq!(ping.nonce, "p_1");
//! ```

mod agent_ref;
mod amount;
mod digits;
mod envelope;
mod error_code;
mod feature;
mod ids;
mod job_event;
mod lease;
mod lossy;
mod message_type;
mod open_enum;
pub mod payload;
mod quote;
mod raw;
mod read;
mod scan;
mod secret;
mod seq;
mod shown;
mod status;
mod time;
mod trace;

pub use agent_ref::{AgentName, AgentRef, AgentRefError};
pub use amount::{Amount, AmountError};
pub use envelope::{
    DecodeError, Encode, Envelope, EventFrame, EventHeader, PROTOCOL_VERSION, PayloadError,
    UnknownField,
};
pub use error_code::ErrorCode;
pub use feature::{Feature, FeatureSet};
pub use ids::{
    CallId, CredentialId, IdError, JobId, MAX_ID_BYTES, MessageId, QuestionId, ResultId, SessionId,
};
pub use job_event::{Event, EventKind, EventPayload, event};
pub use lease::{Lease, LeaseConstraints, namespace};
pub use lossy::{is_deeper, value_of};
pub use message_type::MessageType;
pub use payload::{Message, Payload};
pub use quote::write_string;
pub use raw::RawJson;
pub use read::explain_json;
pub use secret::Secret;
pub use seq::{EventSeq, JobSeq, MAX_SEQ};
pub use shown::{Shown, shown_json, stands_as_it_is};
pub use status::JobStatus;
pub use time::{Timestamp, TimestampError};
pub use trace::{SpanId, TraceId};

//! Job events (§8): `{kind, ts, body}`, the body raw until asked for.

use serde::{Deserialize, Serialize};

use crate::{
    AgentRef, Amount, CallId, ErrorCode, JobId, Lease, RawJson, ResultId, Timestamp, open_enum::open_enum,
    payload::PayloadFault,
};

open_enum! {
    /// What an event tells. Vendor kinds and kinds of later versions pass through [ARCP 8-1].
    EventKind {
        /// A line of log.
        LOG = "log",
        /// A step of reasoning.
        THOUGHT = "thought",
        /// A tool is called.
        TOOL_CALL = "tool_call",
        /// A tool answered, or the call was refused.
        TOOL_RESULT = "tool_result",
        /// The job entered a phase.
        STATUS = "status",
        /// A measurement; `cost.*` ones are spent from the budget.
        METRIC = "metric",
        /// Something was made and can be fetched.
        ARTIFACT_REF = "artifact_ref",
        /// A child job was started.
        DELEGATE = "delegate",
        /// How far the job is.
        PROGRESS = "progress",
        /// A piece of a streamed result.
        RESULT_CHUNK = "result_chunk",
    }
}

impl EventKind {
    /// Whether the kind is a vendor's own: `x-vendor.<vendor>.<name>`.
    pub fn is_vendor(&self) -> bool {
        self.as_str().strip_prefix("x-vendor.").is_some_and(|rest| {
            rest.split_once('.').is_some_and(|(vendor, name)| !vendor.is_empty() && !name.is_empty())
        })
    }
}

/// The payload of a `job.event`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EventPayload {
    /// What the event tells.
    pub kind: EventKind,
    /// When it happened; some runtimes leave it out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ts: Option<Timestamp>,
    /// The kind's own fields.
    #[serde(default = "empty_object")]
    pub body: RawJson,
}

fn empty_object() -> RawJson {
    RawJson::EMPTY_OBJECT
}

impl EventPayload {
    /// Reads the body as its kind says.
    ///
    /// # Errors
    /// [`PayloadFault`] when the body lacks a field of its kind or has one of another type.
    pub fn event(&self) -> Result<Event, PayloadFault> {
        Event::read(&self.kind, &self.body)
    }
}

macro_rules! events {
    ($( $(#[$doc:meta])* $variant:ident($body:ident) = $kind:ident ),+ $(,)?) => {
        /// An event with its body read.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Event {
            $( $(#[$doc])* $variant(event::$body), )+
            /// A kind this version does not know, untouched.
            Other {
                /// The kind.
                kind: EventKind,
                /// The body as it came.
                body: RawJson,
            },
        }

        impl Event {
            /// The kind of the event.
            pub fn kind(&self) -> EventKind {
                match self {
                    $( Self::$variant(_) => EventKind::$kind, )+
                    Self::Other { kind, .. } => kind.clone(),
                }
            }

            /// The body as JSON.
            ///
            /// # Errors
            /// When the body has no JSON form; bodies read from JSON always have one.
            pub fn body(&self) -> Result<RawJson, serde_json::Error> {
                match self {
                    $( Self::$variant(body) => RawJson::of(body), )+
                    Self::Other { body, .. } => Ok(body.clone()),
                }
            }

            /// Reads a body as its kind says.
            ///
            /// # Errors
            /// [`PayloadFault`] when the body lacks a field of its kind or has one of another type.
            pub fn read(kind: &EventKind, body: &RawJson) -> Result<Self, PayloadFault> {
                $( if *kind == EventKind::$kind {
                    return body.read().map(Self::$variant).map_err(|cause| PayloadFault::new(kind.as_str(), &cause));
                } )+
                Ok(Self::Other { kind: kind.clone(), body: body.clone() })
            }
        }

        $( impl From<event::$body> for Event {
            fn from(body: event::$body) -> Self {
                Self::$variant(body)
            }
        } )+
    };
}

events! {
    /// A line of log.
    Log(Log) = LOG,
    /// A step of reasoning.
    Thought(Thought) = THOUGHT,
    /// A tool is called.
    ToolCall(ToolCall) = TOOL_CALL,
    /// A tool answered, or the call was refused.
    ToolResult(ToolResult) = TOOL_RESULT,
    /// The job entered a phase.
    Status(Status) = STATUS,
    /// A measurement.
    Metric(Metric) = METRIC,
    /// Something was made.
    ArtifactRef(ArtifactRef) = ARTIFACT_REF,
    /// A child job was started.
    Delegate(Delegate) = DELEGATE,
    /// How far the job is.
    Progress(Progress) = PROGRESS,
    /// A piece of a streamed result.
    ResultChunk(ResultChunk) = RESULT_CHUNK,
}

/// The bodies of the reserved kinds.
pub mod event {
    use super::*;

    /// `log`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Log {
        /// `debug`, `info`, `warn`, `error`; other words, and upper case, pass through.
        pub level: String,
        /// The line.
        pub message: String,
        /// Structured fields of the line.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub attributes: Option<RawJson>,
    }

    /// `thought`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Thought {
        /// The reasoning, as text.
        pub text: String,
    }

    /// `tool_call`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct ToolCall {
        /// Which tool.
        pub tool: String,
        /// What it is called with.
        #[serde(default = "null", alias = "arguments")]
        pub args: RawJson,
        /// Ties the result to the call.
        pub call_id: CallId,
    }

    fn null() -> RawJson {
        RawJson::NULL
    }

    /// `tool_result`: a result or an error.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct ToolResult {
        /// The call this answers.
        pub call_id: CallId,
        /// What the tool gave.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub result: Option<RawJson>,
        /// Why it gave nothing.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub error: Option<ToolError>,
    }

    /// Why a tool call failed.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct ToolError {
        /// The code, of §12 where the runtime refused.
        pub code: ErrorCode,
        /// For a person.
        #[serde(default)]
        pub message: String,
        /// Whether the same call may succeed later.
        #[serde(default)]
        pub retryable: bool,
    }

    /// `status`. Further fields (a rotation's `id` and `value`, say) are kept in `other`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Status {
        /// The phase: `running`, `back_pressure`, `credential_rotated`, or the agent's own word.
        pub phase: String,
        /// For a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub message: Option<String>,
    }

    /// `metric`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Metric {
        /// What is measured; names that begin with `cost.` are spent from the budget (§9.6).
        pub name: String,
        /// How much, exactly.
        pub value: Amount,
        /// The unit; for costs the currency.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unit: Option<String>,
        /// What it is measured of.
        #[serde(default, skip_serializing_if = "Option::is_none", alias = "dims")]
        pub dimensions: Option<RawJson>,
    }

    /// `artifact_ref`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct ArtifactRef {
        /// Where it can be fetched.
        pub uri: String,
        /// Its media type.
        pub content_type: String,
        /// Its size in bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub byte_size: Option<u64>,
        /// Its SHA-256, in hex.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub sha256: Option<String>,
    }

    /// `delegate`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Delegate {
        /// The child.
        pub child_job_id: JobId,
        /// The child's agent, with its version.
        pub agent: AgentRef,
        /// What the child was given.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub input: Option<RawJson>,
        /// What the child may do.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub lease: Option<Lease>,
    }

    /// `progress`.
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Progress {
        /// How far, not negative; may pass `total` [ARCP 8-2].
        pub current: Amount,
        /// How far in all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub total: Option<Amount>,
        /// Of what.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub units: Option<String>,
        /// For a person.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub message: Option<String>,
    }

    /// `result_chunk` [ARCP 8.4-1].
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct ResultChunk {
        /// The result the piece belongs to; one a job.
        pub result_id: ResultId,
        /// From 0, +1.
        pub chunk_seq: u64,
        /// The piece, as the encoding says.
        pub data: String,
        /// How `data` stands for bytes.
        pub encoding: ChunkEncoding,
        /// Whether another piece follows.
        pub more: bool,
    }

    /// How a chunk's `data` stands for bytes.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum ChunkEncoding {
        /// The bytes of the text itself.
        Utf8,
        /// Base64, standard alphabet, padded.
        Base64,
    }
}

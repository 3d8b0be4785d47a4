//! The bodies of the reserved kinds.

use serde::{Deserialize, Serialize, Serializer, ser::SerializeMap};

use crate::{
    AgentRef, Amount, CallId, CredentialId, ErrorCode, JobId, Lease, RawJson, ResultId, Secret,
    amount::NonNegative, lease::Told, read::readable,
};

pub use super::input::{
    ChoiceOption, Grant, InputOperation, InputRequest, InputResolved, Message, QuestionKind,
    QuestionOutcome,
};

/// `log`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Log {
    /// `debug`, `info`, `warn`, `error`; other words, and upper case, pass through.
    pub level: String,
    /// The line.
    pub message: String,
    /// Structured fields of the line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attributes: Option<RawJson>,
}

readable!(Log {
    level: req,
    message: req,
    attributes: opt
});

/// `thought`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Thought {
    /// The reasoning, as text.
    pub text: String,
}

readable!(Thought { text: req });

/// `tool_call`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolCall {
    /// Which tool.
    pub tool: String,
    /// What it is called with.
    pub args: RawJson,
    /// Ties the result to the call.
    pub call_id: CallId,
}

readable!(ToolCall {
    tool: req,
    args: or(RawJson::empty_object) | "arguments",
    call_id: req,
});

/// `tool_result`: a result or an error.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolResult {
    /// The call this answers.
    pub call_id: CallId,
    /// What the tool gave. `Some(RawJson::NULL)` is the result `null` and is written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<RawJson>,
    /// Why it gave nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ToolError>,
}

readable!(ToolResult {
    call_id: req,
    result: raw,
    error: opt,
} then ToolResult::settled);

impl ToolResult {
    /// A `null` beside an error is no result.
    fn settled(mut self) -> Self {
        if self.error.is_some() && self.result.as_ref().is_some_and(RawJson::is_null) {
            self.result = None;
        }
        self
    }
}

/// Why a tool call failed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ToolError {
    /// The code, of §12 where the runtime refused.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// Whether the same call may succeed later.
    pub retryable: bool,
}

readable!(ToolError {
    code: req,
    message: def,
    retryable: def
});

/// `status`. The fields of a `credential_rotated` are read by [`EventPayload::rotation`](super::EventPayload::rotation).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Status {
    /// The phase: `running`, `back_pressure`, `credential_rotated`, or the agent's own word.
    pub phase: String,
    /// For a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

readable!(Status {
    phase: req,
    message: opt
});

/// `metric`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Metric {
    /// What is measured; names that begin with `cost.` are spent from the budget (§9.6).
    pub name: String,
    /// How much, exactly.
    pub value: Amount,
    /// The unit; for costs the currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// What it is measured of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dimensions: Option<RawJson>,
}

readable!(Metric {
    name: req,
    value: req,
    unit: opt,
    dimensions: opt | "dims"
});

/// `artifact_ref`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ArtifactRef {
    /// Where it can be fetched.
    pub uri: String,
    /// Its media type.
    pub content_type: String,
    /// Its size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub byte_size: Option<u64>,
    /// Its SHA-256, in hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

readable!(ArtifactRef {
    uri: req,
    content_type: req,
    byte_size: opt,
    sha256: opt
});

/// `delegate`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Delegate {
    /// The child.
    pub child_job_id: JobId,
    /// The child's agent, with its version.
    pub agent: AgentRef,
    /// What the child was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<RawJson>,
    /// What the child may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease: Option<Lease>,
    /// Names the delegation: one SDK knows it by that rather than by the child.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegate_id: Option<CallId>,
    /// What the child may do, under the name one SDK reads it by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_request: Option<Lease>,
}

readable!(Delegate {
    child_job_id: req,
    agent: req,
    input: opt,
    lease: opt as Told,
    delegate_id: opt,
    lease_request: opt as Told,
});

/// `progress`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Progress {
    /// How far, not negative; may pass `total` [ARCP 8-2].
    pub current: Amount,
    /// How far in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Amount>,
    /// Of what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub units: Option<String>,
    /// For a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

readable!(Progress {
    current: req as NonNegative,
    total: opt,
    units: opt,
    message: opt,
});

/// `result_chunk` [ARCP 8.4-1].
#[derive(Debug, Clone, PartialEq, Serialize)]
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

readable!(ResultChunk {
    result_id: req,
    chunk_seq: req,
    data: req,
    encoding: req,
    more: req,
});

/// How a chunk's `data` stands for bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChunkEncoding {
    /// The bytes of the text itself.
    Utf8,
    /// Base64, standard alphabet, padded.
    Base64,
}

/// What a `status` with the phase `credential_rotated` carries [ARCP 9.8-3].
///
/// It is written with both names other SDKs read, and `value` only where it is given: to the submitter alone.
///
/// ```
/// use towline_wire::{CredentialId, RawJson, Secret, event::Rotation};
///
/// let id = CredentialId::parse("cred_1").unwrap();
/// let for_others = Rotation { id, value: None };
/// let body = RawJson::of(&for_others)?;
/// assert_eq!(body.as_str(), r#"{"phase":"credential_rotated","id":"cred_1","credential_id":"cred_1"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Rotation {
    /// Which credential; it keeps its id.
    pub id: CredentialId,
    /// The new secret.
    pub value: Option<Secret>,
}

impl Rotation {
    /// The phase of the status.
    pub const PHASE: &str = "credential_rotated";
}

readable!(Rotation {
    id: req | "credential_id",
    value: opt | "credential_value"
});

impl Serialize for Rotation {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let value = self.value.as_ref().map(Secret::expose);
        let mut body = serializer.serialize_map(None)?;
        body.serialize_entry("phase", Self::PHASE)?;
        for (id, secret) in [("id", "value"), ("credential_id", "credential_value")] {
            body.serialize_entry(id, &self.id)?;
            if let Some(value) = value {
                body.serialize_entry(secret, value)?;
            }
        }
        body.end()
    }
}

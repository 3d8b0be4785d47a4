//! Messages of a job (§7).

use super::*;

/// `job.submit` (§7.1).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Submit {
    /// `name` or `name@version`; checked by whoever runs it, so that a bad one is refused by name.
    pub agent: String,
    /// What the agent is given; absent means null.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<RawJson>,
    /// What the job asks to be allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_request: Option<Lease>,
    /// Bounds beside the patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// Makes a repeated submit find the first one's job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Ends the job after so many seconds of running; positive, may be fractional.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_runtime_sec: Option<f64>,
    /// The running job this one is a child of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_job_id: Option<JobId>,
}

/// A credential issued for one job [ARCP 9.8-1].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Credential {
    /// Stays the same across rotations.
    pub id: CredentialId,
    /// How it is presented, `bearer` mostly.
    pub scheme: String,
    /// The secret; left out once it is revoked, and for everybody but the submitter.
    #[serde(default, serialize_with = "Secret::write_optional", skip_serializing_if = "Option::is_none")]
    pub value: Option<Secret>,
    /// Where it is good.
    pub endpoint: String,
    /// A name for the kind of credential.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What is baked into it: `cost.budget`, `model.use`, `expires_at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub constraints: Option<RawJson>,
}

/// `job.accepted` (§7.1).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Accepted {
    /// The request this answers.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "reply_to")]
    pub request_id: Option<MessageId>,
    /// The job; absent in some runtimes, which name it on the envelope.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The agent that will run, with its version.
    #[serde(default)]
    pub agent: String,
    /// What is granted.
    #[serde(default)]
    pub lease: Lease,
    /// Bounds beside the patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// The counters it starts with, per currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BTreeMap<String, Amount>>,
    /// Credentials issued for it; to its submitter alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<Credential>>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// Its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The job that delegated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_job_id: Option<JobId>,
}

/// `job.result` (§7.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobResult {
    /// `success`; one other SDK reports cancels and timeouts here.
    #[serde(default = "success")]
    pub final_status: JobStatus,
    /// The inline result; may be null.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "output")]
    pub result: Option<RawJson>,
    /// How an inline result stands for bytes: `base64` when it was streamed as binary and put together for a session
    /// without `result_chunk`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_encoding: Option<String>,
    /// The streamed result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_id: Option<ResultId>,
    /// The streamed result's size in decoded bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_size: Option<u64>,
    /// For a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

const fn success() -> JobStatus {
    JobStatus::Success
}

/// `job.error` (§7.3).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobError {
    /// `error`, `cancelled` or `timed_out`.
    #[serde(default = "error")]
    pub final_status: JobStatus,
    /// Why.
    pub code: ErrorCode,
    /// For a person.
    #[serde(default)]
    pub message: String,
    /// Whether the same submit may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// For a program.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "detail")]
    pub details: Option<RawJson>,
    /// The request this answers, in runtimes that refuse a submit this way.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "reply_to")]
    pub request_id: Option<MessageId>,
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

const fn error() -> JobStatus {
    JobStatus::Error
}

/// `job.cancel` (§7.4). The job may also stand on the envelope.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cancel {
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `job.cancelled` (§7.4).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Cancelled {
    /// The request this answers.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "reply_to")]
    pub request_id: Option<MessageId>,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `job.subscribe` (§7.6). The job may also stand on the envelope.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Subscribe {
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// History from the event after this one, counted in the job's own events [ARCP 7.6-3].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_event_seq: Option<JobSeq>,
    /// Whether what has happened is wanted too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<bool>,
}

/// `job.subscribed` (§7.6).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subscribed {
    /// The request this answers.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "reply_to")]
    pub request_id: Option<MessageId>,
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// Where it stands.
    pub current_status: JobStatus,
    /// Its agent, with the version.
    #[serde(default)]
    pub agent: String,
    /// What it may do.
    #[serde(default)]
    pub lease: Lease,
    /// Bounds beside the patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// What is left now, per currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BTreeMap<String, Amount>>,
    /// The job that delegated it, or null.
    #[serde(default)]
    pub parent_job_id: Option<JobId>,
    /// Its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The job's own events before the first one delivered live.
    #[serde(default)]
    pub subscribed_from: JobSeq,
    /// Whether history follows; some runtimes send a count.
    #[serde(default, deserialize_with = "bool_or_count")]
    pub replayed: bool,
    /// Its credentials; only to the submitting principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<Credential>>,
}

/// Reads `true`, `false`, or a count that is true when it is not zero.
fn bool_or_count<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    let raw = RawJson::deserialize(deserializer)?;
    Ok(!matches!(raw.as_str(), "false" | "0" | "null"))
}

/// `job.unsubscribe` (§7.6). The job may also stand on the envelope.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Unsubscribe {
    /// The job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
}

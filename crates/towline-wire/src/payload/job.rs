//! Messages of a job (§7).

use super::*;

/// `job.submit` (§7.1).
#[derive(Debug, Clone, Serialize)]
pub struct Submit {
    /// `name` or `name@version`; checked by whoever runs it, so that a bad one is refused by name.
    pub agent: String,
    /// What the agent is given; absent means null.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<RawJson>,
    /// What the job asks to be allowed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_request: Option<Lease>,
    /// Bounds beside the patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// Makes a repeated submit find the first one's job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Ends the job after so many seconds of running; positive, may be fractional.
    #[serde(
        serialize_with = "write_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_runtime_sec: Option<f64>,
    /// The running job this one is a child of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_job_id: Option<JobId>,
    /// An earlier job that this one is another run of. What is absent here is taken from there: `input`, `lease_request`
    /// and `max_runtime_sec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<JobId>,
    /// The job waits until then; a time that is past is now. Towline's own, as the next two are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
    /// The queue of the deployment's that it stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Who goes first there, from -100 to 100; absent means 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub priority: Option<i64>,
    /// Who is told over HTTP of what becomes of it; Towline's own too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<Notify>,
    /// What an earlier run of the same job kept, for a runtime that is the child of another one.
    #[serde(
        rename = "x-vendor.towline.checkpoint",
        skip_serializing_if = "Option::is_none"
    )]
    pub checkpoint: Option<RawJson>,
}

readable!(Submit {
    agent: req,
    input: opt,
    lease_request: opt,
    lease_constraints: opt,
    idempotency_key: opt,
    max_runtime_sec: opt,
    parent_job_id: opt,
    rerun_of: opt,
    not_before: opt,
    queue: opt,
    priority: opt,
    notify: opt,
    checkpoint: opt | "x-vendor.towline.checkpoint",
});

/// Who is told over HTTP of what becomes of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Notify {
    /// Where it is posted to.
    pub url: String,
    /// Of what: `started`, `input_request`, `ended`. None means `ended`; checked by whoever posts, so that a bad one is
    /// refused by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<String>,
}

readable!(Notify {
    url: req,
    events: def
});

/// Which firing of a schedule a job is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Firing {
    /// The schedule.
    pub name: String,
    /// For which time; a whole second.
    #[serde(serialize_with = "write_whole_seconds")]
    pub at: Timestamp,
    /// The job of the firing before, which was not over: this one waits for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<JobId>,
}

readable!(Firing {
    name: req,
    at: req,
    after: opt
});

/// Where a job waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitingFor {
    /// The queue.
    pub queue: String,
    /// Its place in it, from 1.
    pub position: u64,
}

readable!(WaitingFor {
    queue: req,
    position: req
});

/// As `2026-01-31T12:00:00Z`.
fn write_whole_seconds<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    let text = at.to_string();
    let whole = text.get(..19).unwrap_or(&text);
    serializer.collect_str(&format_args!("{whole}Z"))
}

/// A credential issued for one job [ARCP 9.8-1].
#[derive(Debug, Clone, Serialize)]
pub struct Credential {
    /// Stays the same across rotations.
    pub id: CredentialId,
    /// How it is presented, `bearer` mostly.
    pub scheme: String,
    /// The secret. An entry without it is of no use: we leave out the whole field instead [ARCP 6.6-4].
    #[serde(
        serialize_with = "Secret::write_optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub value: Option<Secret>,
    /// Where it is good.
    pub endpoint: String,
    /// A name for the kind of credential.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// What is baked into it: `cost.budget`, `model.use`, `expires_at`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub constraints: Option<RawJson>,
}

readable!(Credential {
    id: req,
    scheme: req,
    value: opt,
    endpoint: req,
    profile: opt,
    constraints: opt,
});

/// `job.accepted` (§7.1).
#[derive(Debug, Clone, Serialize)]
pub struct Accepted {
    /// The request this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<MessageId>,
    /// The job; absent in some runtimes, which name it on the envelope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// The agent that will run, with its version.
    pub agent: String,
    /// What is granted.
    pub lease: Lease,
    /// Bounds beside the patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// The counters it starts with, per currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BTreeMap<String, Amount>>,
    /// Credentials issued for it; to its submitter alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<Credential>>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// Its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The job that delegated it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_job_id: Option<JobId>,
    /// The delegation it is the child of, as the parent's `delegate` event names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delegate_id: Option<CallId>,
}

readable!(Accepted {
    request_id: opt | "reply_to",
    job_id: opt,
    agent: def,
    lease: def as Told,
    lease_constraints: opt,
    budget: opt as Budget,
    credentials: opt,
    accepted_at: opt as Informative<Timestamp>,
    trace_id: opt as Informative<TraceId>,
    parent_job_id: opt,
    delegate_id: opt,
});

/// `job.result` (§7.3).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobResult {
    /// `success`; one other SDK reports cancels and timeouts here.
    pub final_status: JobStatus,
    /// The inline result. `Some(RawJson::NULL)` is the result `null` and is written; `None` is no inline result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<RawJson>,
    /// How an inline result stands for bytes: `base64` when it was streamed as binary and put together for a session
    /// without `result_chunk`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_encoding: Option<String>,
    /// The streamed result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_id: Option<ResultId>,
    /// The streamed result's size in decoded bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_size: Option<u64>,
    /// For a person.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

readable!(JobResult {
    final_status: or(success),
    result: raw | "output",
    result_encoding: opt,
    result_id: opt,
    result_size: opt,
    summary: opt,
    completed_at: opt as Informative<Timestamp>,
} then JobResult::settled);

impl JobResult {
    /// A `null` beside a streamed result is no result [ARCP 8.4-2].
    fn settled(mut self) -> Self {
        if self.result_id.is_some() && self.result.as_ref().is_some_and(RawJson::is_null) {
            self.result = None;
        }
        self
    }
}

const fn success() -> JobStatus {
    JobStatus::Success
}

/// `job.error` (§7.3).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JobError {
    /// `error`, `cancelled` or `timed_out`.
    pub final_status: JobStatus,
    /// Why.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// Whether the same submit may succeed later.
    pub retryable: bool,
    /// For a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<RawJson>,
    /// The request this answers, in runtimes that refuse a submit this way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<MessageId>,
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
}

readable!(JobError {
    final_status: or(error),
    code: req,
    message: def,
    retryable: def,
    details: opt | "detail",
    request_id: opt | "reply_to",
    completed_at: opt as Informative<Timestamp>,
});

const fn error() -> JobStatus {
    JobStatus::Error
}

/// `job.cancel` (§7.4). The job may also stand on the envelope.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cancel {
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

readable!(Cancel {
    job_id: opt,
    reason: opt
});

/// `job.cancelled` (§7.4).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cancelled {
    /// The request this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<MessageId>,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

readable!(Cancelled {
    request_id: opt | "reply_to",
    job_id: opt,
    reason: opt
});

/// `job.subscribe` (§7.6). The job may also stand on the envelope.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Subscribe {
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// History from the event after this one, counted in the job's own events [ARCP 7.6-3].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_event_seq: Option<JobSeq>,
    /// Whether what has happened is wanted too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history: Option<bool>,
    /// Whether what the job was given is wanted too; ours, and passed over by others.
    #[serde(
        rename = "x-vendor.towline.input",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub input: bool,
}

readable!(Subscribe {
    job_id: opt,
    from_event_seq: opt,
    history: opt,
    input: def | "x-vendor.towline.input"
});

/// `job.subscribed` (§7.6).
#[derive(Debug, Clone, Serialize)]
pub struct Subscribed {
    /// The request this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<MessageId>,
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// Where it stands.
    pub current_status: JobStatus,
    /// Its agent, with the version.
    pub agent: String,
    /// What it may do.
    pub lease: Lease,
    /// Bounds beside the patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// What is left now, per currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BTreeMap<String, Amount>>,
    /// The job that delegated it, or null.
    pub parent_job_id: Option<JobId>,
    /// The earlier job that it is another run of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<JobId>,
    /// Its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// The job's own events before the first one delivered live.
    pub subscribed_from: JobSeq,
    /// Whether history follows; some runtimes send a count.
    pub replayed: bool,
    /// Its credentials; only to the submitting principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<Credential>>,
    /// What it was given, where [`Subscribe::input`] asked for it.
    #[serde(
        rename = "x-vendor.towline.input",
        skip_serializing_if = "Option::is_none"
    )]
    pub input: Option<RawJson>,
}

readable!(Subscribed {
    request_id: opt | "reply_to",
    job_id: opt,
    current_status: req,
    agent: def,
    lease: def as Told,
    lease_constraints: opt,
    budget: opt as Budget,
    parent_job_id: opt,
    rerun_of: opt,
    trace_id: opt as Informative<TraceId>,
    subscribed_from: def,
    replayed: def as BoolOrCount,
    credentials: opt,
    input: opt | "x-vendor.towline.input",
});

/// `true`, `false`, or a count that is true when it is not zero.
struct BoolOrCount(bool);

impl From<BoolOrCount> for Option<bool> {
    fn from(value: BoolOrCount) -> Self {
        Some(value.0)
    }
}

impl<'de> Deserialize<'de> for BoolOrCount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = RawJson::deserialize(deserializer)?;
        match raw.as_str() {
            "true" => Ok(Self(true)),
            "false" => Ok(Self(false)),
            _ => raw
                .read::<u64>()
                .map(|count| Self(count > 0))
                .map_err(D::Error::custom),
        }
    }
}

/// `job.unsubscribe` (§7.6). The job may also stand on the envelope.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Unsubscribe {
    /// The job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
}

readable!(Unsubscribe { job_id: opt });

//! Messages of a session (§6).

use super::*;

/// Name and version of a peer's software.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PeerInfo {
    /// What it is called.
    #[serde(default)]
    pub name: String,
    /// Which version.
    #[serde(default)]
    pub version: String,
}

/// How the client proves who it is [ARCP 6.1-1].
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Auth {
    /// `bearer`, whatever the case; absent means bearer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The bearer token.
    #[serde(default, serialize_with = "Secret::write_optional", skip_serializing_if = "Option::is_none")]
    pub token: Option<Secret>,
}

/// What a client can do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientCapabilities {
    /// Encodings it speaks; absent means `json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encodings: Option<Vec<String>>,
    /// Features it wants.
    #[serde(default)]
    pub features: FeatureSet,
    /// Sent (empty) by one SDK; tells its dialect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<RawJson>,
}

/// `session.hello` (§6.2), plain or asking for a resume [ARCP 6.3-2].
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Hello {
    /// Who is calling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<PeerInfo>,
    /// The proof of the principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What the client can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<ClientCapabilities>,
    /// Asks for a resume; beats the two fields below.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<ResumeRequest>,
    /// Asks for a resume, in the draft's other spelling.
    #[serde(default, serialize_with = "Secret::write_optional", skip_serializing_if = "Option::is_none")]
    pub resume_token: Option<Secret>,
    /// Goes with `resume_token`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_seq: Option<EventSeq>,
}

impl Hello {
    /// What the hello asks to resume, in whichever form [ARCP 6.3-2].
    pub fn resume_request(&self) -> Option<ResumeRequest> {
        let flat = || {
            let resume_token = self.resume_token.clone()?;
            Some(ResumeRequest { session_id: None, resume_token, last_event_seq: self.last_event_seq })
        };
        self.resume.clone().or_else(flat)
    }
}

/// The resume part of a hello.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResumeRequest {
    /// The session to take up; when given it has to be the token's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The token of the latest welcome.
    #[serde(alias = "token", serialize_with = "Secret::write")]
    pub resume_token: Secret,
    /// The last event the client has; absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_seq: Option<EventSeq>,
}

/// `session.resume` (§6.3).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Resume {
    /// The token of the latest welcome.
    #[serde(alias = "token", serialize_with = "Secret::write")]
    pub resume_token: Secret,
    /// The last event the client has; absent means none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event_seq: Option<EventSeq>,
    /// May be given, and then has to prove the session's principal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// May be given, and then has to be the token's session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
}

/// An agent as the welcome lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AgentListing {
    /// Its name.
    pub name: String,
    /// Its versions; always an array.
    pub versions: Vec<String>,
    /// The version a bare name means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
}

impl<'de> Deserialize<'de> for AgentListing {
    /// Some runtimes list an agent as a bare string.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Full {
            name: String,
            #[serde(default)]
            versions: Option<Vec<String>>,
            #[serde(default)]
            default: Option<String>,
        }
        let raw = RawJson::deserialize(deserializer)?;
        let custom = serde::de::Error::custom;
        if raw.as_str().starts_with('"') {
            let name = raw.read().map_err(custom)?;
            return Ok(Self { name, versions: Vec::new(), default: None });
        }
        let full: Full = raw.read().map_err(custom)?;
        Ok(Self { name: full.name, versions: full.versions.unwrap_or_default(), default: full.default })
    }
}

/// What a runtime can do.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeCapabilities {
    /// Encodings it speaks.
    #[serde(default)]
    pub encodings: Vec<String>,
    /// The features in effect: the intersection (some runtimes send all of theirs).
    #[serde(default)]
    pub features: FeatureSet,
    /// The agents it hosts.
    #[serde(default)]
    pub agents: Vec<AgentListing>,
}

/// `session.welcome` (§6.2).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Welcome {
    /// Who answered.
    #[serde(default)]
    pub runtime: PeerInfo,
    /// The session, beside the envelope's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Takes the session up again, once.
    #[serde(default, serialize_with = "Secret::write_optional", skip_serializing_if = "Option::is_none")]
    pub resume_token: Option<Secret>,
    /// For how many seconds after a loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume_window_sec: Option<f64>,
    /// How often, in seconds, a silent peer should speak; absent without `heartbeat`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heartbeat_interval_sec: Option<f64>,
    /// What is in effect.
    #[serde(default)]
    pub capabilities: RuntimeCapabilities,
    /// When the session was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
}

/// `session.ping` (§6.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ping {
    /// Comes back in the pong.
    #[serde(default)]
    pub nonce: String,
    /// When it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

/// `session.pong` (§6.4).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pong {
    /// The ping's nonce.
    #[serde(default)]
    pub ping_nonce: String,
    /// When the ping arrived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
}

/// `session.ack` (§6.5).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ack {
    /// Every event up to this one has been processed.
    pub last_processed_seq: EventSeq,
}

/// Which jobs to list (§6.6).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct JobFilter {
    /// Only jobs in one of these states.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<JobStatus>>,
    /// Only jobs of this agent: `name` matches every version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Only jobs created after this moment, which is excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Timestamp>,
    /// Only jobs created before this moment, which is excluded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Timestamp>,
}

/// `session.list_jobs` (§6.6).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ListJobs {
    /// Which jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<JobFilter>,
    /// At most this many, 1–1000; absent means 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Where the last page ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// One job in a listing.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobListing {
    /// The job.
    pub job_id: JobId,
    /// Its agent, with the version.
    pub agent: String,
    /// Where it stands.
    pub status: JobStatus,
    /// What it may do.
    #[serde(default)]
    pub lease: Lease,
    /// Bounds beside the patterns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// What is left, per currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BTreeMap<String, Amount>>,
    /// The job that delegated it, or null.
    #[serde(default)]
    pub parent_job_id: Option<JobId>,
    /// When it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// The same, as other SDKs name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<Timestamp>,
    /// Its trace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// How many events its own log has [ARCP 7.6-3].
    #[serde(default)]
    pub last_event_seq: JobSeq,
    /// Its credentials; only to the submitter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<Credential>>,
}

/// `session.jobs` (§6.6).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Jobs {
    /// The request this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<MessageId>,
    /// A page of jobs.
    pub jobs: Vec<JobListing>,
    /// Where the next page begins, or null.
    #[serde(default)]
    pub next_cursor: Option<String>,
}

/// `session.close` and `session.bye` (§6.7).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Close {
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `session.closed` (§6.7).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// Why: the request's reason, `shutdown`, `superseded`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// `session.error` (§12).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionError {
    /// What kind of failure.
    pub code: ErrorCode,
    /// For a person.
    #[serde(default)]
    pub message: String,
    /// Whether the same request may succeed later.
    #[serde(default)]
    pub retryable: bool,
    /// The request this answers.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "reply_to")]
    pub request_id: Option<MessageId>,
    /// The job it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// For a program.
    #[serde(default, skip_serializing_if = "Option::is_none", alias = "detail")]
    pub details: Option<RawJson>,
}

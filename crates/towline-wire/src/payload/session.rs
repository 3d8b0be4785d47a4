//! Messages of a session (§6).

use std::fmt;

use serde::{
    de::{IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap as _,
};

use super::*;
use crate::read::{Slot, Spelling, Text};

/// Name and version of a peer's software.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct PeerInfo {
    /// What it is called.
    pub name: String,
    /// Which version.
    pub version: String,
}

readable!(PeerInfo {
    name: def,
    version: def
});

/// How the client proves who it is [ARCP 6.1-1].
#[derive(Debug, Clone, Serialize)]
pub struct Auth {
    /// `bearer`, whatever the case; absent means bearer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
    /// The bearer token.
    #[serde(
        serialize_with = "Secret::write_optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub token: Option<Secret>,
}

readable!(Auth {
    scheme: opt,
    token: opt
});

/// What a client can do.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ClientCapabilities {
    /// Encodings it speaks; absent means `json`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encodings: Option<Vec<String>>,
    /// Features it wants.
    pub features: FeatureSet,
    /// Sent (empty) by one SDK; tells its dialect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agents: Option<RawJson>,
}

readable!(ClientCapabilities {
    encodings: opt,
    features: def,
    agents: opt
});

/// `session.hello` (§6.2), plain or asking for a resume [ARCP 6.3-2].
#[derive(Debug, Clone, Default, Serialize)]
pub struct Hello {
    /// Who is calling.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<PeerInfo>,
    /// The proof of the principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What the client can do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<ClientCapabilities>,
    /// Asks for a resume; beats the two fields below.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resume: Option<ResumeRequest>,
    /// Asks for a resume, in the draft's other spelling.
    #[serde(
        serialize_with = "Secret::write_optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub resume_token: Option<Secret>,
    /// Goes with `resume_token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event_seq: Option<EventSeq>,
}

readable!(Hello {
    client: opt,
    auth: opt,
    capabilities: opt,
    resume: opt,
    resume_token: opt,
    last_event_seq: opt,
});

impl Hello {
    /// What the hello asks to resume, in whichever form [ARCP 6.3-2].
    pub fn resume_request(&self) -> Option<ResumeRequest> {
        let flat = || {
            let resume_token = self.resume_token.clone()?;
            Some(ResumeRequest {
                session_id: None,
                resume_token,
                last_event_seq: self.last_event_seq,
            })
        };
        self.resume.clone().or_else(flat)
    }
}

/// The resume part of a hello. The token is written under both names it has among the SDKs, `resume_token` and `token`.
#[derive(Debug, Clone)]
pub struct ResumeRequest {
    /// The session to take up; when given it has to be the token's.
    pub session_id: Option<SessionId>,
    /// The token of the latest welcome.
    pub resume_token: Secret,
    /// The last event the client has; absent means none.
    pub last_event_seq: Option<EventSeq>,
}

impl Serialize for ResumeRequest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let token = self.resume_token.expose();
        let mut out = serializer.serialize_map(None)?;
        if let Some(session_id) = &self.session_id {
            out.serialize_entry("session_id", session_id)?;
        }
        out.serialize_entry("resume_token", token)?;
        out.serialize_entry("token", token)?;
        if let Some(seq) = &self.last_event_seq {
            out.serialize_entry("last_event_seq", seq)?;
        }
        out.end()
    }
}

readable!(ResumeRequest {
    session_id: opt,
    resume_token: req | "token",
    last_event_seq: opt,
});

/// `session.resume` (§6.3).
#[derive(Debug, Clone, Serialize)]
pub struct Resume {
    /// The token of the latest welcome.
    #[serde(serialize_with = "Secret::write")]
    pub resume_token: Secret,
    /// The last event the client has; absent means none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_event_seq: Option<EventSeq>,
    /// May be given, and then has to prove the session's principal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// May be given, and then has to be the token's session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
}

readable!(Resume {
    resume_token: req | "token",
    last_event_seq: opt,
    auth: opt,
    session_id: opt,
});

/// An agent as the welcome lists it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AgentListing {
    /// Its name.
    pub name: String,
    /// Its versions; always an array.
    pub versions: Vec<String>,
    /// The version a bare name means.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub default: Option<String>,
    /// What it is for, in a sentence or two: a field of ours, which other peers leave alone.
    #[serde(
        rename = "x-vendor.towline.description",
        skip_serializing_if = "Option::is_none"
    )]
    pub description: Option<String>,
    /// What its input has to look like, as a JSON Schema: a field of ours.
    #[serde(
        rename = "x-vendor.towline.input_schema",
        skip_serializing_if = "Option::is_none"
    )]
    pub input_schema: Option<RawJson>,
}

impl<'de> Deserialize<'de> for AgentListing {
    /// Some runtimes list an agent as a bare string. A welcome lists all agents, so each is read in one go.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ListingVisitor)
    }
}

struct ListingVisitor;

impl<'de> Visitor<'de> for ListingVisitor {
    type Value = AgentListing;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_str<E>(self, name: &str) -> Result<AgentListing, E> {
        Ok(AgentListing {
            name: name.to_owned(),
            ..AgentListing::default()
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<AgentListing, A::Error> {
        let (mut name, mut versions, mut default) = (Slot::EMPTY, Slot::EMPTY, Slot::EMPTY);
        let (mut description, mut input_schema) = (None, None);
        while let Some(Text(field)) = map.next_key()? {
            match &*field {
                "name" => name.take(&mut map, "name", Spelling::Ours)?,
                "versions" => versions.take(&mut map, "versions", Spelling::Ours)?,
                "default" => default.take(&mut map, "default", Spelling::Ours)?,
                // What an agent says of itself only informs: what cannot be read is read as absent.
                DESCRIPTION => {
                    description = map.next_value::<Option<RawJson>>()?;
                }
                INPUT_SCHEMA => {
                    input_schema = map.next_value::<Option<RawJson>>()?;
                }
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(AgentListing {
            name: name.req("name")?,
            versions: versions.or(Vec::new),
            default: default.opt(),
            description: description.and_then(|text| text.read().ok()),
            input_schema,
        })
    }
}

const DESCRIPTION: &str = "x-vendor.towline.description";
const INPUT_SCHEMA: &str = "x-vendor.towline.input_schema";

/// What a runtime can do. Its agents are a list of [`AgentListing`]; a runtime that writes the same list for every session
/// keeps it as text (`Arc<RawValue>`, say).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct RuntimeCapabilities<Agents = Vec<AgentListing>> {
    /// Encodings it speaks.
    pub encodings: Vec<String>,
    /// The features in effect: the intersection (some runtimes send all of theirs).
    pub features: FeatureSet,
    /// The agents it hosts.
    pub agents: Agents,
}

readable!(RuntimeCapabilities {
    encodings: def,
    features: def,
    agents: def
});

/// `session.welcome` (§6.2). As it is read, its agents are a list; see [`RuntimeCapabilities`].
#[derive(Debug, Clone, Serialize)]
pub struct Welcome<Agents = Vec<AgentListing>> {
    /// Who answered.
    pub runtime: PeerInfo,
    /// The session, beside the envelope's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Takes the session up again, once.
    #[serde(
        serialize_with = "Secret::write_optional",
        skip_serializing_if = "Option::is_none"
    )]
    pub resume_token: Option<Secret>,
    /// For how many seconds after a loss.
    #[serde(
        serialize_with = "write_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub resume_window_sec: Option<f64>,
    /// How often, in seconds, a silent peer should speak; absent without `heartbeat`.
    #[serde(
        serialize_with = "write_seconds",
        skip_serializing_if = "Option::is_none"
    )]
    pub heartbeat_interval_sec: Option<f64>,
    /// What is in effect.
    pub capabilities: RuntimeCapabilities<Agents>,
    /// When the session was accepted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
}

readable!(Welcome {
    runtime: def,
    session_id: opt,
    resume_token: opt,
    resume_window_sec: opt,
    heartbeat_interval_sec: opt,
    capabilities: def,
    accepted_at: opt as Informative<Timestamp>,
});

/// `session.ping` (§6.4).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ping {
    /// Comes back in the pong.
    pub nonce: String,
    /// When it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent_at: Option<Timestamp>,
}

readable!(Ping {
    nonce: def,
    sent_at: opt as Informative<Timestamp>
});

/// `session.pong` (§6.4).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Pong {
    /// The ping's nonce.
    pub ping_nonce: String,
    /// When the ping arrived.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received_at: Option<Timestamp>,
}

readable!(Pong {
    ping_nonce: def,
    received_at: opt as Informative<Timestamp>
});

/// `session.ack` (§6.5).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Ack {
    /// Every event up to this one has been processed.
    pub last_processed_seq: EventSeq,
}

readable!(Ack {
    last_processed_seq: req
});

/// Which jobs to list (§6.6).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct JobFilter {
    /// Only jobs in one of these states.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Vec<JobStatus>>,
    /// Only jobs of this agent: `name` matches every version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Only jobs created after this moment, which is excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_after: Option<Timestamp>,
    /// Only jobs created before this moment, which is excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_before: Option<Timestamp>,
}

readable!(JobFilter {
    status: opt,
    agent: opt,
    created_after: opt,
    created_before: opt,
});

/// `session.list_jobs` (§6.6).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ListJobs {
    /// Which jobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter: Option<JobFilter>,
    /// At most this many, 1–1000; absent means 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Where the last page ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// The oldest first, or the newest; absent means the oldest. Needs [`Feature::List`](crate::Feature::List).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<ListOrder>,
    /// Whether what changes is to be pushed, from this page on. Needs [`Feature::List`](crate::Feature::List).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub follow: Option<bool>,
    /// Whether the members of [`JobListing`] that only towline's runtimes know are wanted; ours, and passed over by others.
    #[serde(
        rename = "x-vendor.towline.details",
        skip_serializing_if = "std::ops::Not::not"
    )]
    pub details: bool,
}

readable!(ListJobs {
    filter: opt,
    limit: opt,
    cursor: opt,
    order: opt,
    follow: opt,
    details: def | "x-vendor.towline.details"
});

/// Which jobs of a listing come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ListOrder {
    /// Those that were accepted first.
    #[default]
    Asc,
    /// Those that were accepted last.
    Desc,
}

/// One job in a listing.
#[derive(Debug, Clone, Serialize)]
pub struct JobListing {
    /// The job.
    pub job_id: JobId,
    /// Its agent, with the version.
    pub agent: String,
    /// Where it stands.
    pub status: JobStatus,
    /// What it may do.
    pub lease: Lease,
    /// Bounds beside the patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lease_constraints: Option<LeaseConstraints>,
    /// What is left, per currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<BTreeMap<String, Amount>>,
    /// The job that delegated it, or null.
    pub parent_job_id: Option<JobId>,
    /// The earlier job that it is another run of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rerun_of: Option<JobId>,
    /// When it was accepted. Some runtimes only send the next field; see [`JobListing::created`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// The same, as other SDKs name it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub submitted_at: Option<Timestamp>,
    /// Its trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<TraceId>,
    /// How many events its own log has [ARCP 7.6-3].
    pub last_event_seq: JobSeq,
    /// Its credentials; only to the submitter.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials: Option<Vec<Credential>>,
    /// Who submitted it; this and what follows come when [`ListJobs::details`] asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// When its agent was started for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub completed_at: Option<Timestamp>,
    /// What it spent, per budgeted currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spent: Option<BTreeMap<String, Amount>>,
    /// How many questions to people wait for an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_questions: Option<u64>,
    /// Which firing of a schedule it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Firing>,
    /// Where it waits for its turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting_for: Option<WaitingFor>,
}

readable!(JobListing {
    job_id: req,
    agent: def,
    status: req,
    lease: def as Told,
    lease_constraints: opt,
    budget: opt as Budget,
    parent_job_id: opt,
    rerun_of: opt,
    created_at: opt as Informative<Timestamp>,
    submitted_at: opt as Informative<Timestamp>,
    trace_id: opt as Informative<TraceId>,
    last_event_seq: def,
    credentials: opt,
    principal: opt,
    started_at: opt as Informative<Timestamp>,
    completed_at: opt as Informative<Timestamp>,
    spent: opt as Budget,
    open_questions: opt,
    schedule: opt,
    waiting_for: opt,
});

impl JobListing {
    /// When the job was accepted, by whichever name the runtime gives it.
    pub fn created(&self) -> Option<Timestamp> {
        self.created_at.or(self.submitted_at)
    }
}

/// `session.jobs` (§6.6).
#[derive(Debug, Clone, Serialize)]
pub struct Jobs {
    /// The request this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<MessageId>,
    /// A page of jobs.
    pub jobs: Vec<JobListing>,
    /// Where the next page begins, or null.
    pub next_cursor: Option<String>,
}

readable!(Jobs {
    request_id: opt | "reply_to",
    jobs: def,
    next_cursor: opt
});

/// `session.close` and `session.bye` (§6.7).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Close {
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

readable!(Close { reason: opt });

/// `session.closed` (§6.7).
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Closed {
    /// Why: the request's reason, `shutdown`, `superseded`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

readable!(Closed { reason: opt });

/// `session.error` (§12).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SessionError {
    /// What kind of failure.
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// Whether the same request may succeed later.
    pub retryable: bool,
    /// The request this answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<MessageId>,
    /// The job it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_id: Option<JobId>,
    /// For a program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<RawJson>,
}

readable!(SessionError {
    code: req,
    message: def,
    retryable: def,
    request_id: opt | "reply_to",
    job_id: opt,
    details: opt | "detail",
});

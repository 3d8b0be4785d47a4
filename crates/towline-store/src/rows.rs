//! What a store keeps, row by row, and the batch that changes it.

use std::{fmt, sync::Arc, time::Duration};

use towline_proto::span::Span;
use towline_wire::{
    AgentRef, CredentialId, EventSeq, FeatureSet, JobId, JobSeq, JobStatus, Lease,
    LeaseConstraints, MessageId, RawJson, Secret, SessionId, Timestamp, TraceId,
};

use crate::{Block, DeliveryRow, DeliveryState, Planned, ScheduleChange, ScheduleRow};

/// Who a bearer token proved to be.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Principal(Arc<str>);

impl Principal {
    /// A principal of a name.
    pub fn new(name: impl Into<Arc<str>>) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What becomes durable together. Changes apply in their order.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    /// The changes.
    pub changes: Vec<Change>,
}

/// What a commit did beside what it was asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Sessions that another process has: what the batch said of them was passed over. Always empty in a store that one
    /// process has for itself.
    pub lost: Vec<SessionId>,
}

/// One change.
#[derive(Debug, Clone)]
pub enum Change {
    /// A new job.
    Job(Box<JobRow>),
    /// A job's state moved on. A block that moves nothing but `last_seq` needs none.
    JobState {
        /// The job.
        job: JobId,
        /// Its state now.
        state: JobState,
    },
    /// Records at the end of a job's log; the block begins right after the last record kept.
    Block(Arc<Block>),
    /// A new session, or all of a session's row anew.
    Session(Box<SessionRow>),
    /// A session that cannot be resumed any more; its spans and subscriptions go with it.
    SessionGone(SessionId),
    /// More of a session's stream. It begins right after the last number given out; a store may join it to the span
    /// before when they are of one piece ([`Span::joined`]).
    Span {
        /// Whose stream.
        session: SessionId,
        /// What was added.
        span: Span,
    },
    /// A session needs its stream up to here no more: acknowledged, or evicted.
    Trim {
        /// Whose stream.
        session: SessionId,
        /// Spans that end at or before this may go.
        up_to: EventSeq,
    },
    /// A session watches a job.
    Subscribed {
        /// The session.
        session: SessionId,
        /// The job.
        job: JobId,
    },
    /// A session watches a job no more.
    Unsubscribed {
        /// The session.
        session: SessionId,
        /// The job.
        job: JobId,
    },
    /// An idempotency key was used.
    Idempotency(IdempotencyRow),
    /// A credential's ledger entry, new or anew.
    Credential(CredentialRow),
    /// An entry of the audit log.
    Audit(AuditRow),
    /// A job's checkpoint; replaces the one before.
    Checkpoint {
        /// The job.
        job: JobId,
        /// What its agent wants back after a restart.
        value: RawJson,
    },
    /// A schedule fired, or passed something over, or was paused.
    Schedule(ScheduleChange),
    /// A message that is to be delivered. One of the same name stays as it is.
    Delivery(Box<DeliveryRow>),
    /// How far a message came.
    DeliveryState(DeliveryState),
    /// What a job and people have to say to each other; replaces what was kept before.
    Talk {
        /// The job.
        job: JobId,
        /// Questions, answers, grants and messages, as the runtime writes them.
        value: RawJson,
    },
}

/// A job: what is fixed when it is accepted, and its state.
#[derive(Debug, Clone, PartialEq)]
pub struct JobRow {
    /// Its name.
    pub id: JobId,
    /// Who submitted it.
    pub principal: Principal,
    /// The session that submitted it (for a child, the one its root was submitted by).
    pub session: SessionId,
    /// The submit's envelope id, for the `request_id` of `job.accepted`.
    pub request_id: Option<MessageId>,
    /// The agent, with the version it was resolved to (where the agent has versions).
    pub agent: AgentRef,
    /// What the agent was given; `null` when nothing was.
    pub input: RawJson,
    /// What was granted.
    pub lease: Lease,
    /// Bounds beside the patterns, as granted.
    pub constraints: LeaseConstraints,
    /// How long it may run.
    pub max_runtime: Option<Duration>,
    /// The job that delegated it.
    pub parent: Option<JobId>,
    /// How many ancestors it has.
    pub depth: u32,
    /// The job that it is another run of.
    pub rerun_of: Option<JobId>,
    /// When and in which order it is to run, where that was said.
    pub planned: Option<Box<Planned>>,
    /// Its trace.
    pub trace: TraceId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// How it stands.
    pub state: JobState,
}

impl JobRow {
    /// What lists show of it.
    pub fn summary(&self) -> JobSummary {
        JobSummary {
            id: self.id.clone(),
            principal: self.principal.clone(),
            session: self.session.clone(),
            agent: self.agent.clone(),
            lease: self.lease.clone(),
            constraints: self.constraints.clone(),
            max_runtime: self.max_runtime,
            parent: self.parent.clone(),
            depth: self.depth,
            rerun_of: self.rerun_of.clone(),
            planned: self.planned.clone(),
            trace: self.trace,
            created_at: self.created_at,
            state: self.state.clone(),
        }
    }
}

/// A job as lists have it: without what it was given, which may be megabytes.
#[derive(Debug, Clone, PartialEq)]
pub struct JobSummary {
    /// Its name.
    pub id: JobId,
    /// Who submitted it.
    pub principal: Principal,
    /// The session that submitted it.
    pub session: SessionId,
    /// The agent.
    pub agent: AgentRef,
    /// What was granted.
    pub lease: Lease,
    /// Bounds beside the patterns.
    pub constraints: LeaseConstraints,
    /// How long it may run.
    pub max_runtime: Option<Duration>,
    /// The job that delegated it.
    pub parent: Option<JobId>,
    /// How many ancestors it has.
    pub depth: u32,
    /// The job that it is another run of.
    pub rerun_of: Option<JobId>,
    /// When and in which order it is to run, where that was said.
    pub planned: Option<Box<Planned>>,
    /// Its trace.
    pub trace: TraceId,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// How it stands.
    pub state: JobState,
}

impl JobSummary {
    /// About how many bytes it takes, the same in every store.
    pub fn bytes(&self) -> usize {
        let patterns: usize = self
            .lease
            .iter()
            .map(|(namespace, patterns)| {
                namespace.len()
                    + patterns
                        .iter()
                        .map(|pattern| pattern.len() + 24)
                        .sum::<usize>()
            })
            .sum();
        let json = |json: &Option<RawJson>| json.as_ref().map_or(0, |json| json.as_str().len());
        patterns
            + self.principal.as_str().len()
            + self.agent.name().len()
            + self.agent.version().map_or(0, str::len)
            + json(&self.state.budget)
            + json(&self.state.ending)
            + FIXED_BYTES
    }
}

/// About what of a summary is of the same size in every job.
const FIXED_BYTES: usize = 320;

/// How a job stands.
#[derive(Debug, Clone, PartialEq)]
pub struct JobState {
    /// The status listings show.
    pub status: JobStatus,
    /// The last record of its log.
    pub last_seq: JobSeq,
    /// Its budget counters, as the runtime writes them.
    pub budget: Option<RawJson>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// An end that is decided but not reached (a cancel under way, say), as the runtime writes it.
    pub ending: Option<RawJson>,
    /// How often its agent was started, the latest run included; 0 before the first.
    pub attempt: u32,
    /// The `attempt` at which its agent last got anywhere: the first one, or that of its latest checkpoint. How many runs
    /// in a row led nowhere is counted from here.
    pub progressed: u32,
    /// How many of its runs failed and were followed by another one.
    pub retried: u32,
    /// When its agent was started for the first time.
    pub started_at: Option<Timestamp>,
    /// Whether a part of its result is out, in a [`RecordKind::ResultChunk`](crate::RecordKind::ResultChunk).
    pub chunked: bool,
}

impl JobState {
    /// The state of a job that was accepted this moment.
    pub fn accepted() -> Self {
        Self {
            status: JobStatus::Pending,
            last_seq: JobSeq::ZERO,
            budget: None,
            finished_at: None,
            ending: None,
            attempt: 0,
            progressed: 0,
            retried: 0,
            started_at: None,
            chunked: false,
        }
    }
}

/// A session, as much of it as a resume needs.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionRow {
    /// Its name.
    pub id: SessionId,
    /// Whose it is.
    pub principal: Principal,
    /// SHA-256 of the resume token that is good now.
    pub token_hash: [u8; 32],
    /// That of the token before, while the client may not have the latest one [ARCP 6.3-1].
    pub previous_token_hash: Option<[u8; 32]>,
    /// That of the welcome between the two, when the token before was shown twice: the client may have that one.
    pub skipped_token_hash: Option<[u8; 32]>,
    /// The features in effect.
    pub features: FeatureSet,
    /// The dialect chosen for it, as the runtime writes it.
    pub dialect: String,
    /// When it was opened.
    pub created_at: Timestamp,
    /// Since when no transport is attached; `None` while one is.
    pub detached_at: Option<Timestamp>,
    /// The highest number acknowledged.
    pub acked: EventSeq,
    /// The highest number that can no longer be replayed.
    pub evicted: EventSeq,
    /// What proved the principal, as the runtime writes it [ARCP 14-7].
    pub proof: Option<String>,
}

/// What an idempotency key stands for [ARCP 7.2-1].
#[derive(Debug, Clone, PartialEq)]
pub struct IdempotencyRow {
    /// Whose key.
    pub principal: Principal,
    /// The key.
    pub key: String,
    /// The job it made.
    pub job: JobId,
    /// SHA-256 of the parameters in canonical form.
    pub fingerprint: [u8; 32],
    /// When it was first used.
    pub created_at: Timestamp,
}

/// A credential's ledger entry [ARCP 9.8-2].
#[derive(Debug, Clone)]
pub struct CredentialRow {
    /// The credential.
    pub id: CredentialId,
    /// The job it is for.
    pub job: JobId,
    /// Whether something at the upstream may still have to be revoked.
    pub outstanding: bool,
    /// Everything else, as the runtime writes it. It holds the credential's value.
    pub data: Secret,
}

/// An entry of the audit log [ARCP 14-3].
#[derive(Debug, Clone, PartialEq)]
pub struct AuditRow {
    /// When.
    pub at: Timestamp,
    /// What: `auth`, `submit`, `cancel`, `subscribe`, `lease.expired`, `credential.issue` and the like.
    pub action: String,
    /// Who, whom, verdict: an object.
    pub data: RawJson,
}

impl AuditRow {
    /// Whether it tells of something that was refused.
    pub fn is_refusal(&self) -> bool {
        self.data.as_str().contains(refused!())
    }
}

/// How a row says that something was refused. A text of a peer does not read so: its quotes are escaped.
macro_rules! refused {
    () => {
        "\"verdict\":\"refused\""
    };
}
pub(crate) use refused;

/// Which jobs to list.
#[derive(Debug, Clone, Default)]
pub struct JobQuery {
    /// Only jobs of these principals; `None` means all.
    pub principals: Option<Vec<Principal>>,
    /// Only jobs in one of these states; `None` means all.
    pub status: Option<Vec<JobStatus>>,
    /// Only jobs of this agent; without a version, of every version.
    pub agent: Option<AgentRef>,
    /// Only jobs created after this moment, which is excluded.
    pub created_after: Option<Timestamp>,
    /// Only jobs created before this moment, which is excluded.
    pub created_before: Option<Timestamp>,
    /// Only jobs after this one in listing order.
    pub after: Option<ListCursor>,
    /// The other way round: the jobs created last before the others. `after` then means before this one.
    pub newest_first: bool,
    /// At most this many.
    pub limit: usize,
}

impl JobQuery {
    /// Whether a job in this state is one of those asked for, the place in listing order left aside.
    pub fn admits(&self, job: &JobRow, status: JobStatus) -> bool {
        let one_of = |wanted: &Vec<Principal>| wanted.contains(&job.principal);
        self.principals.as_ref().is_none_or(one_of)
            && self
                .status
                .as_ref()
                .is_none_or(|wanted| wanted.contains(&status))
            && self.agent.as_ref().is_none_or(|wanted| {
                wanted.name() == job.agent.name()
                    && wanted
                        .version()
                        .is_none_or(|version| job.agent.version() == Some(version))
            })
            && self
                .created_after
                .is_none_or(|bound| job.created_at > bound)
            && self
                .created_before
                .is_none_or(|bound| job.created_at < bound)
    }

    /// Whether only jobs that are not finished are asked for.
    pub fn is_live_only(&self) -> bool {
        self.status
            .as_ref()
            .is_some_and(|wanted| !wanted.iter().any(|status| status.is_terminal()))
    }
}

/// A place in listing order.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListCursor {
    /// When the job was created.
    pub created_at: Timestamp,
    /// The job.
    pub job: JobId,
}

/// A page of jobs.
#[derive(Debug, Clone, Default)]
pub struct JobPage {
    /// The jobs.
    pub jobs: Vec<JobSummary>,
    /// Where the next page begins; `None` when this was the last.
    pub next: Option<ListCursor>,
}

impl JobPage {
    /// A page ends with the job that brings it to so many bytes, by [`JobSummary::bytes`].
    pub const MAX_BYTES: usize = 4 << 20;
}

/// What a runtime has to know when it starts.
#[derive(Debug, Clone, Default)]
pub struct Recovered {
    /// Jobs that are not finished, oldest first.
    pub jobs: Vec<JobRow>,
    /// Sessions.
    pub sessions: Vec<RecoveredSession>,
    /// Credentials that are still out.
    pub credentials: Vec<CredentialRow>,
    /// What jobs that are not finished and people have to say to each other, by job.
    pub talks: Vec<(JobId, RawJson)>,
    /// Schedules, by name.
    pub schedules: Vec<ScheduleRow>,
    /// Messages that are still to be delivered, oldest first, without their bodies.
    pub deliveries: Vec<DeliveryRow>,
}

/// A session and its stream.
#[derive(Debug, Clone)]
pub struct RecoveredSession {
    /// The session.
    pub row: SessionRow,
    /// The last number given out.
    pub last: EventSeq,
    /// What is kept of its stream, in order.
    pub spans: Vec<Span>,
    /// The jobs it watches.
    pub subscriptions: Vec<JobId>,
}

/// What to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetentionPolicy {
    /// Finished jobs this long, and longer those that some session has not acknowledged.
    pub max_age: Duration,
    /// At most so many finished jobs.
    pub max_jobs: u64,
    /// At most so many bytes of events.
    pub max_bytes: u64,
    /// Audit rows at most this long.
    pub audit_age: Duration,
    /// At most so many audit rows in all.
    pub audit_rows: u64,
    /// At most so many audit rows of refusals, so that whoever is refused without end does not push out what was done
    /// [ARCP 14-6].
    pub audit_refused: u64,
}

impl Default for RetentionPolicy {
    /// Seven days, a million jobs, 16 GiB; 90 days and 4 000 000 rows of audit log (about 1 GiB, for a row is short), of which
    /// 100 000 are refusals.
    fn default() -> Self {
        Self {
            max_age: 7 * DAY,
            max_jobs: 1_000_000,
            max_bytes: 16 << 30,
            audit_age: 90 * DAY,
            audit_rows: 4_000_000,
            audit_refused: 100_000,
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How long an idempotency key stands for its job [ARCP 7.2-3].
pub const IDEMPOTENCY_AGE: Duration = towline_proto::limits::KEY_LIFE;

/// What was removed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RetentionReport {
    /// Jobs removed whole.
    pub jobs: Vec<JobId>,
    /// Running jobs that lost the beginning of their log, and the oldest record each still has.
    pub truncated: Vec<(JobId, JobSeq)>,
    /// Bytes of events freed.
    pub bytes: u64,
}

/// How much there is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Jobs kept.
    pub jobs: u64,
    /// Jobs that are not finished.
    pub live_jobs: u64,
    /// Events kept.
    pub events: u64,
    /// Bytes of events kept.
    pub event_bytes: u64,
    /// Sessions kept.
    pub sessions: u64,
    /// Bytes on disk; 0 for a store without one.
    pub disk_bytes: u64,
}

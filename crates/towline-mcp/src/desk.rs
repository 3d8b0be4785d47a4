//! Where jobs are asked for: a runtime in this process, or one that a client is connected to.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value};
use towline_runtime::{CallTrace, policy::Refusal};
use towline_wire::{
    JobId, JobSeq, JobStatus, RawJson, Timestamp,
    event::InputRequest,
    payload::{AgentListing, Answer, OpenQuestion},
};

/// What is asked of a runtime, in the name of one principal. It decides: what is refused here, the model is told so.
///
/// A [`Caller`](towline_runtime::Caller) is one. All futures may be dropped: what was asked for is done though nobody waits.
pub trait Desk: Send + Sync + 'static {
    /// The agents there are.
    fn agents(&self) -> Asked<'_, Vec<AgentListing>>;

    /// Submits a job: `submit` is the payload of a `job.submit` (§7.1). It is durable when this returns.
    fn submit(&self, submit: RawJson, trace: CallTrace) -> Asked<'_, JobId>;

    /// A job as it stands.
    fn job<'a>(&'a self, job: &'a JobId) -> Asked<'a, JobView>;

    /// A page of jobs as `{jobs, next_cursor}`: `list` is the payload of a `session.list_jobs` (§6.6).
    fn jobs(&self, list: RawJson) -> Asked<'_, Map<String, Value>>;

    /// Reads a job's log after a record of it.
    fn log<'a>(&'a self, job: &'a JobId, after: JobSeq) -> Asked<'a, Box<dyn JobLog>>;

    /// What a job streamed as its result, up to so many bytes.
    fn output<'a>(&'a self, job: &'a JobId, most: usize) -> Asked<'a, Output>;

    /// Has a job cancelled.
    fn cancel<'a>(&'a self, job: &'a JobId, reason: Option<String>) -> Asked<'a, ()>;

    /// The open questions that may be answered, also those of jobs that may not be looked at.
    fn inbox(&self) -> Asked<'_, Vec<OpenQuestion>>;

    /// Answers a question of a job.
    fn answer<'a>(&'a self, job: &'a JobId, answer: Answer) -> Asked<'a, ()>;
}

/// What will be answered, or refused.
pub type Asked<'a, T> = BoxFuture<'a, Result<T, Refusal>>;

/// A log that is read as it grows.
pub trait JobLog: Send {
    /// The next records; waits until there are some. Empty when nothing follows any more. Cancel safe.
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Entry>, Refusal>>;
}

/// A record of a job's log.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Its place in the log.
    pub seq: JobSeq,
    /// `job.event`, `job.result` or `job.error`.
    pub message: &'static str,
    /// The payload: an object.
    pub payload: RawJson,
}

/// A job as it stands.
#[derive(Debug, Clone)]
pub struct JobView {
    /// The job.
    pub id: JobId,
    /// Its agent, with the version where there is one.
    pub agent: String,
    /// Where it stands.
    pub status: JobStatus,
    /// How many records its log has.
    pub last_seq: JobSeq,
    /// When it was accepted, if that is known.
    pub created_at: Option<Timestamp>,
    /// When it ended, if it has.
    pub completed_at: Option<Timestamp>,
    /// What waits for an answer.
    pub questions: Vec<InputRequest>,
    /// The whole document, as HTTP shows it (§16).
    pub document: Map<String, Value>,
}

/// What a job streamed.
#[derive(Debug, Clone)]
pub enum Output {
    /// Text, from its beginning.
    Text {
        /// As much as was asked for.
        text: String,
        /// Its size in bytes, all of it.
        size: u64,
    },
    /// Bytes that are no text.
    Bytes {
        /// How many.
        size: u64,
    },
}

//! A job as a document: everything a client may know of it at once.

use std::collections::BTreeMap;

use serde::Serialize;
use towline_store::{JobPage, JobRow, JobState, JobSummary, RecordKind, StoreError};
use towline_wire::{
    Amount, ErrorCode, JobId, JobSeq, JobStatus, Lease, LeaseConstraints, RawJson, ResultId,
    Timestamp, TraceId, event, payload,
};

use crate::{
    command::{answers, budget_now, cursor_after, questions_of, waiting_for, write_cursor},
    hub::Hub,
    session::SessionEntry,
};

/// A job, as far as whoever asks may know it [ARCP 16-1].
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Job))]
#[non_exhaustive]
pub struct JobDocument {
    /// The job.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub job_id: JobId,
    /// Its agent, with the version.
    pub agent: String,
    /// Where it stands: `pending`, `running`, `success`, `error`, `cancelled` or `timed_out`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub status: JobStatus,
    /// Who submitted it.
    pub principal: String,
    /// What the agent was given; absent in lists, and when it was given nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub input: Option<RawJson>,
    /// What it may do: patterns by namespace.
    #[cfg_attr(feature = "openapi", schema(value_type = BTreeMap<String, Vec<String>>))]
    pub lease: Lease,
    /// Bounds beside the patterns.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub lease_constraints: Option<LeaseConstraints>,
    /// What is left now, by currency.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<BTreeMap<String, f64>>))]
    pub budget: Option<BTreeMap<String, Amount>>,
    /// The job that delegated it, or null.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, required = true))]
    pub parent_job_id: Option<JobId>,
    /// The job it is another run of.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub rerun_of: Option<JobId>,
    /// It waits until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub not_before: Option<Timestamp>,
    /// Which firing of a schedule it is: `name`, `at` and, where that was not over, the job of the one before as `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub schedule: Option<payload::Firing>,
    /// Where it waits for its turn: `queue`, and `position` from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub waiting_for: Option<payload::WaitingFor>,
    /// Its trace.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub trace_id: TraceId,
    /// When it was accepted.
    #[cfg_attr(feature = "openapi", schema(value_type = String, format = DateTime))]
    pub created_at: Timestamp,
    /// When its agent was started for the first time.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>, format = DateTime))]
    pub completed_at: Option<Timestamp>,
    /// How many records its log has.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub last_event_seq: JobSeq,
    /// What it gave, of a job that succeeded and did not stream its result; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub result: Option<RawJson>,
    /// The result it streamed, to be fetched under `/result`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub result_id: Option<ResultId>,
    /// That result's size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_size: Option<u64>,
    /// Why it did not succeed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<JobFailure>,
    /// The questions that wait for an answer.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<serde_json::Value>))]
    pub questions: Vec<event::InputRequest>,
    /// Credentials issued for it: only in the answer to its submit, and only where nobody else can read that.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Vec<serde_json::Value>>))]
    pub credentials: Option<Vec<payload::Credential>>,
}

/// Why a job did not succeed.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct JobFailure {
    /// The code.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub code: ErrorCode,
    /// For a person.
    pub message: String,
    /// Whether the same submit may succeed later.
    pub retryable: bool,
    /// For a program; absent in lists.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub details: Option<RawJson>,
}

/// A page of jobs, those created first before the others.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = Jobs))]
#[non_exhaustive]
pub struct JobsPage {
    /// The jobs.
    pub jobs: Vec<JobDocument>,
    /// Where the next page begins, or null.
    #[cfg_attr(feature = "openapi", schema(required = true))]
    pub next_cursor: Option<String>,
}

/// How a job ended, as its last record says.
pub(super) enum End {
    Result(payload::JobResult),
    Error(payload::JobError),
}

/// The document of a job.
pub(super) async fn of_row(
    hub: &Hub,
    session: &SessionEntry,
    row: JobRow,
) -> Result<JobDocument, StoreError> {
    let questions = questions(hub, session, &row.id);
    let end = end(hub, &row.id, &row.state).await?;
    let input = Some(row.input.clone()).filter(|input| !input.is_null());
    let waiting_for = waiting_for(hub, &row.summary());
    Ok(JobDocument {
        input,
        questions,
        waiting_for,
        ..document(&row.summary(), end)
    })
}

/// A page of documents. It ends before it has too many bytes.
pub(super) async fn page(
    hub: &Hub,
    session: &SessionEntry,
    page: JobPage,
) -> Result<JobsPage, StoreError> {
    let mut next_cursor = page.next.as_ref().map(write_cursor);
    let (mut jobs, mut bytes) = (Vec::new(), 0);
    for (place, summary) in page.jobs.iter().enumerate() {
        let mut document = entry(hub, summary).await?;
        document.questions = questions(hub, session, &summary.id);
        document.waiting_for = waiting_for(hub, summary);
        let message = document
            .error
            .as_ref()
            .map_or(0, |error| error.message.len());
        bytes += summary.bytes() + message;
        jobs.push(document);
        if bytes >= JobPage::MAX_BYTES && place + 1 < page.jobs.len() {
            next_cursor = Some(cursor_after(summary));
            break;
        }
    }
    Ok(JobsPage { jobs, next_cursor })
}

/// A job in a list: without what it was given, what it gave, and the details of its failure.
async fn entry(hub: &Hub, summary: &JobSummary) -> Result<JobDocument, StoreError> {
    let state = &summary.state;
    // The last record of a job with an inline result says nothing that a list shows.
    let end = if state.status == JobStatus::Success && !state.chunked {
        None
    } else {
        end(hub, &summary.id, state).await?
    };
    let mut document = document(summary, end);
    document.result = None;
    if let Some(error) = &mut document.error {
        error.details = None;
    }
    Ok(document)
}

/// How a job ended; `None` for one that has not.
pub(super) async fn end(
    hub: &Hub,
    job: &JobId,
    state: &JobState,
) -> Result<Option<End>, StoreError> {
    if !state.status.is_terminal() {
        return Ok(None);
    }
    let block = hub.block(job, state.last_seq).await?;
    let record = block.and_then(|block| block.payload(state.last_seq));
    Ok(record.and_then(|(kind, payload)| match kind {
        RecordKind::Result => payload.read().ok().map(End::Result),
        RecordKind::Error => payload.read().ok().map(End::Error),
        _ => None,
    }))
}

/// The open questions of a job, marked for those who may not answer them.
fn questions(hub: &Hub, session: &SessionEntry, job: &JobId) -> Vec<event::InputRequest> {
    let Some(entry) = hub.books.jobs.get(job) else {
        return Vec::new();
    };
    let answers = answers(hub, session, &entry.row);
    let questions = questions_of(&entry).into_iter();
    questions
        .map(|question| event::InputRequest {
            may_answer: (!answers).then_some(false),
            ..question.request
        })
        .collect()
}

pub(super) fn document(job: &JobSummary, end: Option<End>) -> JobDocument {
    let (result, error) = match end {
        Some(End::Result(result)) => (Some(result), None),
        Some(End::Error(error)) => (None, Some(JobFailure::from(error))),
        None => (None, None),
    };
    let (result, result_id, result_size) = result.map_or((None, None, None), |result| {
        (result.result, result.result_id, result.result_size)
    });
    JobDocument {
        job_id: job.id.clone(),
        agent: job.agent.to_string(),
        status: job.state.status,
        principal: job.principal.to_string(),
        input: None,
        lease: job.lease.clone(),
        lease_constraints: Some(job.constraints.clone())
            .filter(|constraints| !constraints.is_empty()),
        budget: budget_now(&job.state),
        parent_job_id: job.parent.clone(),
        rerun_of: job.rerun_of.clone(),
        not_before: job.planned.as_ref().and_then(|planned| planned.not_before),
        schedule: job
            .planned
            .as_ref()
            .and_then(|planned| planned.schedule.clone()),
        waiting_for: None,
        trace_id: job.trace,
        created_at: job.created_at,
        started_at: job.state.started_at,
        completed_at: job.state.finished_at,
        last_event_seq: job.state.last_seq,
        result,
        result_id,
        result_size,
        error,
        questions: Vec::new(),
        credentials: None,
    }
}

impl From<payload::JobError> for JobFailure {
    fn from(error: payload::JobError) -> Self {
        Self {
            code: error.code,
            message: error.message,
            retryable: error.retryable,
            details: error.details,
        }
    }
}

//! A runtime that a client is connected to.

use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};
use towline::{
    JobId, JobStatus,
    client::{
        Client, ClientError, Connection, JobOutput, Outcome as JobOutcome, SessionInfo,
        Subscription,
    },
    mcp::{Asked, Desk, Entry, JobLog, JobView, Output},
    runtime::{CallTrace, policy::Refusal},
    wire::{
        ErrorCode, JobSeq, RawJson,
        payload::{AgentListing, Answer, JobListing, ListJobs, OpenQuestion, Submit, Subscribed},
        value_of,
    },
};

use crate::{failure::chain, job_name};

/// Two sessions of one principal: one asks, the other reads logs. A log that nobody reads for a moment holds up the session it
/// comes over, and must not hold up the answer that its reader waits for.
pub(super) struct Remote {
    asking: Client,
    watching: Client,
}

impl Remote {
    pub(super) fn new(asking: Client, watching: Client) -> Self {
        Self { asking, watching }
    }

    /// Whether nobody answers any more, and nobody is looking for another way.
    pub(super) fn is_gone(&self) -> bool {
        [&self.asking, &self.watching].into_iter().any(|client| {
            matches!(
                client.connection(),
                Connection::Lost { .. } | Connection::Over(_)
            )
        })
    }

    pub(super) async fn close(&self) {
        // What goes wrong here changes nothing: this program ends.
        drop(self.watching.close("done").await);
        drop(self.asking.close("done").await);
    }

    async fn view(&self, job: &JobId) -> Result<JobView, Refusal> {
        let looked = self.watching.subscribe(job.clone()).send().await;
        let subscribed = looked.map_err(refused)?.subscribed().clone();
        let listed = job_name::listed(&self.asking, job).await;
        let listed = listed.map_err(|failure| Refusal::internal(failure.to_string()))?;
        let questions = match self.asking.questions_of(job).await {
            Ok(questions) => questions.into_iter().map(|open| open.request).collect(),
            // A runtime of another make asks nothing.
            Err(ClientError::FeatureMissing(_)) => Vec::new(),
            Err(error) => return Err(refused(error)),
        };
        let mut document = document(job, &subscribed, listed.as_ref());
        document.insert("questions".to_owned(), value_of(&questions));
        let mut completed_at = listed.as_ref().and_then(|listed| listed.completed_at);
        if subscribed.current_status.is_terminal() {
            let end = self.end(job, subscribed.subscribed_from).await?;
            completed_at = completed_at.or(end.completed_at);
            document.extend(end.members);
        }
        if let Some(completed_at) = completed_at {
            document.insert("completed_at".to_owned(), json!(completed_at));
        }
        Ok(JobView {
            id: job.clone(),
            agent: subscribed.agent,
            status: subscribed.current_status,
            last_seq: subscribed.subscribed_from,
            created_at: listed.as_ref().and_then(JobListing::created),
            completed_at,
            questions,
            document,
        })
    }

    /// How a job ended: by the last record of its log, or, where that tells of a streamed result, by all of it.
    async fn end(&self, job: &JobId, last: JobSeq) -> Result<End, Refusal> {
        let before = JobSeq::new(last.value().saturating_sub(1));
        let mut ended = self.past(job, before).await?;
        match ended.outcome().await {
            Ok(outcome) => Ok(End::of(outcome)),
            Err(ClientError::Result(_)) => {
                let mut whole = self.past(job, JobSeq::ZERO).await?;
                whole.outcome().await.map(End::of).map_err(refused)
            }
            Err(ClientError::OutcomeUnknown { .. } | ClientError::AlreadyEnded { .. }) => {
                Ok(End::default())
            }
            Err(error) => Err(refused(error)),
        }
    }

    async fn past(&self, job: &JobId, after: JobSeq) -> Result<Subscription, Refusal> {
        let mut past = self
            .watching
            .subscribe(job.clone())
            .from(after)
            .send()
            .await;
        if let Ok(past) = &mut past {
            past.discard_events();
        }
        past.map_err(refused)
    }
}

/// How a job ended, as members of its document.
#[derive(Default)]
struct End {
    members: Map<String, Value>,
    completed_at: Option<towline::Timestamp>,
}

impl End {
    fn of(outcome: JobOutcome) -> Self {
        let (members, completed_at) = match outcome {
            JobOutcome::Success(success) => {
                let members = match success.result {
                    JobOutput::Inline { value, .. } => json!({"result": value_of(&value)}),
                    JobOutput::Streamed { id, bytes } => {
                        json!({"result_id": id, "result_size": bytes.len()})
                    }
                };
                (members, success.completed_at)
            }
            JobOutcome::Failure(failure) => {
                let mut error = json!({
                    "code": failure.code,
                    "message": failure.message,
                    "retryable": failure.retryable,
                });
                if let Some(details) = failure.details {
                    error["details"] = value_of(&details);
                }
                (json!({"error": error}), failure.completed_at)
            }
        };
        Self {
            members: object(members),
            completed_at,
        }
    }
}

/// What is known of a job whether it has ended or not.
fn document(
    job: &JobId,
    subscribed: &Subscribed,
    listed: Option<&JobListing>,
) -> Map<String, Value> {
    let mut document = object(json!({
        "job_id": job,
        "agent": subscribed.agent,
        "status": subscribed.current_status,
        "lease": subscribed.lease,
        "parent_job_id": subscribed.parent_job_id,
        "last_event_seq": subscribed.subscribed_from,
    }));
    let mut add = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            document.insert(name.to_owned(), value);
        }
    };
    add(
        "principal",
        listed.and_then(|listed| Some(json!(listed.principal.as_ref()?))),
    );
    add(
        "lease_constraints",
        subscribed
            .lease_constraints
            .as_ref()
            .map(|bounds| json!(bounds)),
    );
    add(
        "budget",
        subscribed.budget.as_ref().map(|budget| json!(budget)),
    );
    add(
        "rerun_of",
        subscribed.rerun_of.as_ref().map(|job| json!(job)),
    );
    add("trace_id", subscribed.trace_id.map(|trace| json!(trace)));
    add(
        "created_at",
        listed.and_then(JobListing::created).map(|at| json!(at)),
    );
    add(
        "started_at",
        listed
            .and_then(|listed| listed.started_at)
            .map(|at| json!(at)),
    );
    document
}

impl Desk for Remote {
    fn agents(&self) -> Asked<'_, Vec<AgentListing>> {
        Box::pin(async {
            let session = self.asking.session();
            Ok(session
                .as_deref()
                .map(SessionInfo::agents)
                .unwrap_or_default()
                .to_vec())
        })
    }

    fn submit(&self, submit: RawJson, trace: CallTrace) -> Asked<'_, JobId> {
        Box::pin(async move {
            let submit: Submit = submit
                .read()
                .map_err(|error| Refusal::invalid(towline::wire::explain_json(&error)))?;
            let mut submit = self.asking.submit_payload(submit);
            submit = match (trace.trace, trace.span) {
                (Some(trace), Some(span)) => submit.within(trace, span),
                (Some(trace), None) => submit.trace(trace),
                (None, _) => submit,
            };
            // Its events are read over the other session.
            Ok(submit.send().await.map_err(refused)?.id().clone())
        })
    }

    fn job<'a>(&'a self, job: &'a JobId) -> Asked<'a, JobView> {
        Box::pin(self.view(job))
    }

    fn jobs(&self, list: RawJson) -> Asked<'_, Map<String, Value>> {
        Box::pin(async move {
            let asked: ListJobs = list
                .read()
                .map_err(|error| Refusal::invalid(towline::wire::explain_json(&error)))?;
            let filter = asked.filter.unwrap_or_default();
            let mut list = self.asking.list_jobs().details();
            for status in filter.status.into_iter().flatten() {
                list = list.status(status);
            }
            if let Some(agent) = filter.agent {
                list = list.agent(agent);
            }
            if let Some(limit) = asked.limit {
                list = list.limit(limit);
            }
            if let Some(cursor) = asked.cursor {
                list = list.cursor(cursor);
            }
            let mut page = list.page().await.map_err(refused)?;
            // Keys are the job's own, and no model's to see.
            page.jobs.iter_mut().for_each(|job| job.credentials = None);
            Ok(object(
                json!({"jobs": page.jobs, "next_cursor": page.next_cursor}),
            ))
        })
    }

    fn log<'a>(&'a self, job: &'a JobId, after: JobSeq) -> Asked<'a, Box<dyn JobLog>> {
        Box::pin(async move {
            let subscribe = self.watching.subscribe(job.clone()).from(after);
            let subscription = subscribe.send().await.map_err(refused)?;
            Ok(Box::new(Reading {
                subscription,
                last: after,
                is_over: false,
            }) as Box<dyn JobLog>)
        })
    }

    fn output<'a>(&'a self, job: &'a JobId, most: usize) -> Asked<'a, Output> {
        Box::pin(async move {
            let mut past = self.past(job, JobSeq::ZERO).await?;
            let mut pieces = past.result_stream();
            let (mut bytes, mut size) = (Vec::new(), 0);
            while let Some(piece) = pieces.next().await.map_err(refused)? {
                size += piece.len() as u64;
                let room = most.saturating_sub(bytes.len()).min(piece.len());
                bytes.extend_from_slice(&piece[..room]);
            }
            let is_text = match std::str::from_utf8(&bytes) {
                Ok(_) => true,
                // The end may be in the middle of a character.
                Err(error) => error.error_len().is_none(),
            };
            if !is_text {
                return Ok(Output::Bytes { size });
            }
            let text = String::from_utf8_lossy(&bytes);
            let text = text.trim_end_matches('\u{fffd}').to_owned();
            Ok(Output::Text { text, size })
        })
    }

    fn cancel<'a>(&'a self, job: &'a JobId, reason: Option<String>) -> Asked<'a, ()> {
        Box::pin(async move {
            let reason = reason.unwrap_or_default();
            self.asking
                .cancel(job.clone(), reason)
                .await
                .map_err(refused)
        })
    }

    fn inbox(&self) -> Asked<'_, Vec<OpenQuestion>> {
        Box::pin(async move { self.asking.inbox().await.map_err(refused) })
    }

    fn answer<'a>(&'a self, job: &'a JobId, answer: Answer) -> Asked<'a, ()> {
        Box::pin(async move {
            let told = self
                .asking
                .answer(job.clone(), answer.question_id, answer.answer);
            let told = told.remember(answer.remember.unwrap_or(false));
            told.send().await.map_err(refused)
        })
    }
}

/// A job's log, event after event.
struct Reading {
    subscription: Subscription,
    /// The record that was given last.
    last: JobSeq,
    is_over: bool,
}

impl Reading {
    async fn entries(&mut self) -> Result<Vec<Entry>, Refusal> {
        if self.is_over {
            return Ok(Vec::new());
        }
        if let Some(event) = self.subscription.next_event().await.map_err(refused)? {
            self.last = event.job_seq().unwrap_or_else(|| self.last.next());
            return Ok(vec![Entry {
                seq: self.last,
                message: "job.event",
                payload: event.raw().clone(),
            }]);
        }
        self.is_over = true;
        match self.subscription.outcome().await {
            Ok(outcome) => Ok(vec![terminal(self.last.next(), outcome)]),
            // It is over, and was before it was looked at.
            Err(ClientError::AlreadyEnded { .. } | ClientError::OutcomeUnknown { .. }) => {
                Ok(Vec::new())
            }
            Err(ClientError::Result(_)) => Ok(Vec::new()),
            Err(error) => Err(refused(error)),
        }
    }
}

impl JobLog for Reading {
    fn next(&mut self) -> BoxFuture<'_, Result<Vec<Entry>, Refusal>> {
        Box::pin(self.entries())
    }
}

fn terminal(seq: JobSeq, outcome: JobOutcome) -> Entry {
    let is_success = matches!(outcome, JobOutcome::Success(_));
    let (message, status) = match &outcome {
        JobOutcome::Success(_) => ("job.result", JobStatus::Success),
        JobOutcome::Failure(failure) => ("job.error", failure.final_status),
    };
    let end = End::of(outcome);
    let mut payload = if is_success {
        end.members
    } else {
        let error = end.members.into_iter().next();
        error.map(|(_, error)| object(error)).unwrap_or_default()
    };
    payload.insert("final_status".to_owned(), json!(status));
    if let Some(at) = end.completed_at {
        payload.insert("completed_at".to_owned(), json!(at));
    }
    Entry {
        seq,
        message,
        payload: RawJson::from(Value::Object(payload)),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        _ => Map::new(),
    }
}

/// What a runtime refused, or why it was not reached.
fn refused(error: ClientError) -> Refusal {
    match error {
        ClientError::Refused(refusal) => {
            let mut told = Refusal::new(refusal.code, refusal.message);
            told.details = refusal.details;
            told
        }
        ClientError::Invalid(message) => Refusal::invalid(message),
        ClientError::FeatureMissing(_) => Refusal::invalid(chain(&error)),
        error => {
            let code = error.code().cloned().unwrap_or(ErrorCode::INTERNAL_ERROR);
            Refusal::new(code, chain(&error))
        }
    }
}

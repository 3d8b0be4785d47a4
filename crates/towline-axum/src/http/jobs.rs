//! `/v1/jobs`: submitting and listing [ARCP 16-1].

use axum::{
    Extension,
    extract::{Request, State},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};
use towline_runtime::{CallTrace, Caller, JobDocument, JobsPage, check_bounds};
use towline_wire::{JobStatus, RawJson, TraceId};

use super::{
    accept,
    body::{self, Object},
    document::document,
    face::{Shared, takes_long},
    prefer,
    problem::{Problem, ProblemDocument},
    query,
};
use crate::refusal::shown;

/// What a submit says. Written down for the description; the runtime reads it.
#[derive(utoipa::ToSchema)]
#[schema(as = Submit)]
#[expect(dead_code, reason = "the schema is made of it, and nothing else")]
pub(super) struct SubmitBody {
    /// `name` or `name@version`.
    agent: String,
    /// What the agent is given.
    input: Option<Value>,
    /// What the job asks to be allowed: patterns by namespace.
    lease_request: Option<std::collections::BTreeMap<String, Vec<String>>>,
    /// Bounds beside the patterns.
    lease_constraints: Option<Value>,
    /// Makes a repeated submit find the first one's job. The header says the same.
    idempotency_key: Option<String>,
    /// Ends the job after so many seconds of running.
    max_runtime_sec: Option<f64>,
    /// The running job this one is a child of.
    parent_job_id: Option<String>,
    /// The earlier job this one is another run of.
    rerun_of: Option<String>,
    /// The job waits until this moment.
    not_before: Option<String>,
    /// The queue it stands in.
    queue: Option<String>,
    /// Who goes first there, from -100 to 100.
    priority: Option<i64>,
    /// Who is told over HTTP of what becomes of it.
    notify: Option<NotifyBody>,
    /// What an earlier run of the same job kept, for a runtime that is the child of another one.
    #[schema(rename = "x-vendor.towline.checkpoint")]
    checkpoint: Option<Value>,
    /// The trace the job belongs to. Without it the one of `traceparent`.
    trace_id: Option<String>,
}

/// A receiver of webhooks. Written down for the description.
#[derive(utoipa::ToSchema)]
#[schema(as = Notify)]
#[expect(dead_code, reason = "the schema is made of it, and nothing else")]
pub(super) struct NotifyBody {
    /// Where it is posted to. The deployment says which receivers it lets.
    url: String,
    /// Of what, each once: `started`, `input_request`, `ended`. Without it of the end.
    events: Option<Vec<String>>,
}

/// Submits a job.
#[utoipa::path(
    post, path = "/v1/jobs", operation_id = "submitJob", tag = "jobs",
    request_body = SubmitBody,
    params(
        ("Idempotency-Key" = Option<String>, Header, description = "makes a repeat find the first one's job"),
        ("Prefer" = Option<String>, Header, description = "`wait=30` waits so many seconds for the end, 60 at most"),
        ("traceparent" = Option<String>, Header, description = "the trace the job belongs to"),
    ),
    responses(
        (status = 202, description = "accepted, and durable", body = JobDocument, headers(("Location" = String, description = "the job"))),
        (status = 200, description = "ended in the time that was waited, however it ended", body = JobDocument),
        (status = 400, description = "the request is not right", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "there is no such agent", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "the key stands for another submit", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 413, description = "the body is too long", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 415, description = "the body is not JSON", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "the lease or budget asked for cannot be granted", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "the principal has as much going as it may", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 503, description = "not now, try again", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn submit(
    State(face): State<Shared>,
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    accept::json(&parts.headers)?;
    query::members(&parts.uri, &[])?;
    let body = body::object(&parts.headers, body, face.body_bytes()).await?;
    let body = body.ok_or_else(|| {
        Problem::bad_request("the body is empty, send a JSON object with an `agent`")
    })?;
    check_bounds(|name| body.contains_key(name))?;
    let (submit, trace) = read(&parts.headers, body)?;
    let wait = prefer::wait(&parts.headers);
    // Before the submit, for what is refused has done nothing.
    let place = wait.map(|_| takes_long(&parts, &caller)).transpose()?;
    let mut job = caller.submit(submit, trace).await?;
    if let Some(wait) = wait {
        caller.ended(&job.job_id, wait).await;
        let credentials = job.credentials.take();
        job = caller.job(&job.job_id).await?;
        job.credentials = credentials;
    }
    drop(place);
    let location = [(header::LOCATION, format!("/v1/jobs/{}", job.job_id))];
    let applied = wait.map(|wait| {
        let applied = format!("wait={}", wait.as_secs());
        [("preference-applied", applied)]
    });
    let status = if wait.is_some() && job.status.is_terminal() {
        StatusCode::OK
    } else {
        StatusCode::ACCEPTED
    };
    Ok((status, location, applied, document(&job)?).into_response())
}

/// The payload of a `job.submit`, and the trace that a WebSocket's envelope would carry.
fn read(headers: &HeaderMap, mut body: Object) -> Result<(RawJson, CallTrace), Problem> {
    let text = |value: RawJson| value.read::<String>().ok();
    let stated = body.remove("trace_id").and_then(text);
    let header = headers.get("traceparent");
    let header = header.and_then(|header| header.to_str().ok());
    let trace = stated.as_deref().and_then(TraceId::parse_lenient);
    let trace = trace.or_else(|| header.and_then(TraceId::parse_lenient));
    if let Some(key) = key(headers)? {
        let in_body = body.get("idempotency_key").filter(|key| !key.is_null());
        if in_body.is_some_and(|other| other.read::<String>().ok().as_ref() != Some(&key)) {
            return Err(Problem::bad_request(
                "`idempotency_key` in the body and the Idempotency-Key header differ, send one of them",
            ));
        }
        let key = RawJson::from(Value::from(key));
        body.insert("idempotency_key".to_owned(), key);
    }
    let submit = RawJson::of(&body)
        .map_err(|error| Problem::bad_request(format!("the body is not a JSON object: {error}")))?;
    let trace = CallTrace {
        trace: trace.map(|(trace, _)| trace),
        span: trace.and_then(|(_, span)| span),
    };
    Ok((submit, trace))
}

fn key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let mut keys = headers.get_all("idempotency-key").iter();
    let key = keys.next().map(|key| key.to_str());
    if keys.next().is_some() {
        return Err(Problem::bad_request(
            "the request has several Idempotency-Key headers, send one",
        ));
    }
    let key = key.transpose();
    let key =
        key.map_err(|_| Problem::bad_request("the Idempotency-Key header is not plain text"))?;
    Ok(key.map(str::to_owned))
}

/// Lists jobs.
#[utoipa::path(
    get, path = "/v1/jobs", operation_id = "listJobs", tag = "jobs",
    params(
        ("status" = Option<Vec<String>>, Query, description = "only jobs that stand so; may be repeated"),
        ("agent" = Option<String>, Query, description = "only jobs of this agent: `name` matches every version"),
        ("created_after" = Option<String>, Query, description = "only jobs accepted after this moment"),
        ("created_before" = Option<String>, Query, description = "only jobs accepted before this moment"),
        ("limit" = Option<u32>, Query, description = "at most so many, 1 to 1000, 100 when it is not said", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "the `next_cursor` of the page before"),
    ),
    responses(
        (status = 200, description = "a page of jobs, those accepted first before the others", body = JobsPage),
        (status = 400, description = "the query is not right", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    accept::json(request.headers())?;
    let members = query::members(
        request.uri(),
        &[
            "status",
            "agent",
            "created_after",
            "created_before",
            "limit",
            "cursor",
        ],
    )?;
    let statuses: Vec<&str> = members
        .iter()
        .filter(|(name, _)| name == "status")
        .map(|(_, value)| value.as_str())
        .collect();
    if let Some(unknown) = statuses
        .iter()
        .find(|text| JobStatus::parse(text).is_none())
    {
        return Err(Problem::bad_request(format!(
            "`status` is {}, which is none",
            shown(unknown)
        )));
    }
    let mut filter = json!({});
    if !statuses.is_empty() {
        filter["status"] = json!(statuses);
    }
    for name in ["agent", "created_after", "created_before"] {
        if let Some(value) = query::single(&members, name)? {
            filter[name] = json!(value);
        }
    }
    let mut list = json!({ "filter": filter });
    if let Some(cursor) = query::single(&members, "cursor")? {
        list["cursor"] = json!(cursor);
    }
    if let Some(limit) = query::single(&members, "limit")? {
        let number: u64 = limit.parse().map_err(|_| {
            Problem::bad_request(format!(
                "`limit` is {}, which is no number of jobs",
                shown(&limit)
            ))
        })?;
        list["limit"] = json!(number);
    }
    let page = caller.jobs(list.into()).await?;
    Ok(document(&page)?.into_response())
}

//! Questions to people, and what people have to say (§15): `/v1/inbox`, `/v1/jobs/{job}/answer` and `/messages` [ARCP 16-1].

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use serde_json::Value;
use towline_runtime::{Caller, JobDocument};
use towline_wire::{RawJson, payload::OpenQuestion};

use super::{
    accept, body,
    document::{document, done},
    face::{Shared, job_of},
    problem::{Problem, ProblemDocument},
    query,
    segment::Segment,
};

/// What an answer says. Written down for the description.
#[derive(utoipa::ToSchema)]
#[schema(as = Answer)]
#[expect(dead_code, reason = "the schema is made of it, and nothing else")]
pub(super) struct AnswerBody {
    /// The question.
    question_id: String,
    /// `true` or `false` to an approval, an option's id, a text, or what the question's schema wants.
    answer: Value,
    /// A word beside it.
    note: Option<String>,
    /// Whether a yes holds for everything the ask pattern covers, for the rest of the job.
    remember: Option<bool>,
}

/// What a message says. Written down for the description.
#[derive(utoipa::ToSchema)]
#[schema(as = Message)]
#[expect(dead_code, reason = "the schema is made of it, and nothing else")]
pub(super) struct MessageBody {
    /// Any JSON value.
    body: Value,
}

/// Questions that wait for an answer.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Inbox)]
pub(super) struct InboxPage {
    /// The questions, the oldest first: each with its job, that job's agent, and what is asked.
    #[schema(value_type = Vec<Value>)]
    questions: Vec<OpenQuestion>,
}

/// Answers a question of a job. The same answer once more is as good as the first.
#[utoipa::path(
    post, path = "/v1/jobs/{job}/answer", operation_id = "answerQuestion", tag = "questions",
    params(("job" = String, Path, description = "the job")),
    request_body = AnswerBody,
    responses(
        (status = 200, description = "the answer holds, and is durable", body = JobDocument),
        (status = 400, description = "the answer does not fit, or somebody else was first: `details` says who and when", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "the caller may watch the job and not answer", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "there is no such job, or none the caller may know of", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn answer(
    State(face): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segment(job): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    accept::json(&parts.headers)?;
    query::members(&parts.uri, &[])?;
    let job = job_of(&job)?;
    let body = body::object(&parts.headers, body, face.body_bytes()).await?;
    let mut body = body.ok_or_else(|| {
        Problem::bad_request(
            "the body is empty, send a JSON object with a `question_id` and an `answer`",
        )
    })?;
    // The path says it.
    body.remove("job_id");
    let answer = RawJson::of(&body)
        .map_err(|error| Problem::bad_request(format!("the body is not a JSON object: {error}")))?;
    caller.answer(&job, answer).await?;
    done(&caller, &job).await
}

/// Tells a running job something.
#[utoipa::path(
    post, path = "/v1/jobs/{job}/messages", operation_id = "sendMessage", tag = "questions",
    params(("job" = String, Path, description = "the job")),
    request_body = MessageBody,
    responses(
        (status = 202, description = "the job will hear it, and it is durable", body = JobDocument),
        (status = 400, description = "the job has ended, or its agent does not listen", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "the caller may watch the job and not speak to it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "there is no such job, or none the caller may know of", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn speak(
    State(face): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segment(job): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    accept::json(&parts.headers)?;
    query::members(&parts.uri, &[])?;
    let job = job_of(&job)?;
    let body = body::object(&parts.headers, body, face.body_bytes()).await?;
    let said = body.and_then(|mut body| body.remove("body"));
    let said = said.ok_or_else(|| {
        Problem::bad_request("the body has no `body`, send a JSON object with one")
    })?;
    caller.speak(&job, said).await?;
    Ok((StatusCode::ACCEPTED, done(&caller, &job).await?).into_response())
}

/// Lists the open questions of all jobs whose questions the caller may answer.
#[utoipa::path(
    get, path = "/v1/inbox", operation_id = "listQuestions", tag = "questions",
    responses((status = 200, description = "the questions, the oldest first", body = InboxPage))
)]
pub(super) async fn inbox(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    accept::json(request.headers())?;
    query::members(request.uri(), &[])?;
    let page = InboxPage {
        questions: caller.inbox(),
    };
    Ok(document(&page)?.into_response())
}

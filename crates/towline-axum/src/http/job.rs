//! `/v1/jobs/{job}`: a job as a document, and its cancelling [ARCP 16-1].

use axum::{
    Extension,
    extract::{Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use towline_runtime::{Caller, JobDocument};

use super::{
    accept, body,
    document::{document, done},
    face::{Shared, job_of},
    problem::{Problem, ProblemDocument},
    query,
    segment::Segment,
};

/// What a cancel says. Written down for the description.
#[derive(utoipa::ToSchema)]
#[schema(as = Cancel)]
#[expect(dead_code, reason = "the schema is made of it, and nothing else")]
pub(super) struct CancelBody {
    /// Why.
    reason: Option<String>,
}

/// Shows a job.
#[utoipa::path(
    get, path = "/v1/jobs/{job}", operation_id = "getJob", tag = "jobs",
    params(("job" = String, Path, description = "the job")),
    responses(
        (status = 200, description = "the job as it stands", body = JobDocument),
        (status = 404, description = "there is no such job, or none the caller may know of", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn show(
    Extension(caller): Extension<Caller>,
    Segment(job): Segment,
    request: Request,
) -> Result<Response, Problem> {
    accept::json(request.headers())?;
    query::members(request.uri(), &[])?;
    let job = caller.job(&job_of(&job)?).await?;
    Ok(document(&job)?.into_response())
}

/// Cancels a job. Its end may still be to come.
#[utoipa::path(
    post, path = "/v1/jobs/{job}/cancel", operation_id = "cancelJob", tag = "jobs",
    params(("job" = String, Path, description = "the job")),
    request_body = Option<CancelBody>,
    responses(
        (status = 202, description = "the job will end as `cancelled`", body = JobDocument),
        (status = 400, description = "the job has ended", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 403, description = "the caller may watch the job and not cancel it", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "there is no such job, or none the caller may know of", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn cancel(
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
    let reason = body.and_then(|mut body| body.remove("reason"));
    let reason = reason.filter(|reason| !reason.is_null()).map(|reason| {
        reason
            .read::<String>()
            .map_err(|_| Problem::bad_request("`reason` is not a text"))
    });
    caller.cancel(&job, reason.transpose()?).await?;
    Ok((StatusCode::ACCEPTED, done(&caller, &job).await?).into_response())
}

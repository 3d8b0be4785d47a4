//! `/v1/schedules`: what is submitted by the clock, and what becomes of it [ARCP 22-3].

use axum::{
    Extension,
    extract::{Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::Serialize;
use towline_runtime::{Caller, ScheduleDocument};
use towline_wire::{JobId, Timestamp};

use super::{
    accept, body,
    document::document,
    face::Shared,
    problem::{Problem, ProblemDocument},
    query,
    segment::Segment,
};
use crate::refusal::shown;

/// The schedules there are for the caller.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = Schedules)]
pub(super) struct SchedulesPage {
    /// The schedules.
    schedules: Vec<ScheduleDocument>,
}

/// What a schedule has submitted.
#[derive(Serialize, utoipa::ToSchema)]
#[schema(as = ScheduleRun)]
pub(super) struct Submitted {
    /// The schedule.
    name: String,
    /// The job, which is the schedule's principal's.
    #[schema(value_type = String)]
    job_id: JobId,
}

/// Lists schedules: the caller's own, for an administrator all.
#[utoipa::path(
    get, path = "/v1/schedules", operation_id = "listSchedules", tag = "schedules",
    params(
        ("next" = Option<u32>, Query, description = "so many of the next times of each, at most 1000; 1 when nobody says"),
        ("from" = Option<String>, Query, description = "the times after this one; after now when nobody says"),
    ),
    responses(
        (status = 200, description = "the schedules", body = SchedulesPage),
        (status = 400, description = "the query cannot be read", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn list(
    Extension(caller): Extension<Caller>,
    request: Request,
) -> Result<Response, Problem> {
    accept::json(request.headers())?;
    let members = query::members(request.uri(), &["next", "from"])?;
    let next = query::single(&members, "next")?.map(|next| {
        let wrong =
            |_| Problem::bad_request(format!("`next` is {}, send a whole number", shown(&next)));
        next.parse::<u32>().map_err(wrong)
    });
    let from = query::single(&members, "from")?.map(|from| {
        let wrong = |_| {
            Problem::bad_request(format!(
                "`from` is {}, send a time as 2026-03-28T00:00:00Z",
                shown(&from)
            ))
        };
        from.parse::<Timestamp>().map_err(wrong)
    });
    let next = next.transpose()?.unwrap_or(1) as usize;
    let schedules = caller.schedules(next, from.transpose()?).await?;
    Ok(document(&SchedulesPage { schedules })?.into_response())
}

/// Submits the job of a schedule now, beside its times.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/run", operation_id = "runSchedule", tag = "schedules",
    params(("name" = String, Path, description = "the schedule")),
    responses(
        (status = 202, description = "accepted, and durable", body = Submitted, headers(("Location" = String, description = "the job"))),
        (status = 403, description = "there is no such schedule, or none of the caller's", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 404, description = "there is no such agent (any more)", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "the schedule's firing of this moment is another submit", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "the schedule's principal has as much going as it may", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 422, description = "the lease or the budget is more than the schedule's principal may have", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn run(
    State(face): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    bare(&face, request).await?;
    let job = caller.run_schedule(&name).await?;
    let location = [(header::LOCATION, format!("/v1/jobs/{job}"))];
    // Not its document: an administrator need not be one who may watch the principal's jobs.
    let submitted = Submitted { name, job_id: job };
    Ok((StatusCode::ACCEPTED, location, document(&submitted)?).into_response())
}

/// Lets a schedule fire no more until it is resumed.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/pause", operation_id = "pauseSchedule", tag = "schedules",
    params(("name" = String, Path, description = "the schedule")),
    responses(
        (status = 200, description = "it is paused, and that is durable", body = ScheduleDocument),
        (status = 403, description = "there is no such schedule, or none of the caller's", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn pause(
    State(face): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    bare(&face, request).await?;
    let schedule = caller.pause_schedule(&name).await?;
    Ok(document(&schedule)?.into_response())
}

/// Lets a schedule fire again. What came while it was paused was not missed.
#[utoipa::path(
    post, path = "/v1/schedules/{name}/resume", operation_id = "resumeSchedule", tag = "schedules",
    params(("name" = String, Path, description = "the schedule")),
    responses(
        (status = 200, description = "it fires from now on, and that is durable", body = ScheduleDocument),
        (status = 403, description = "there is no such schedule, or none of the caller's", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn resume(
    State(face): State<Shared>,
    Extension(caller): Extension<Caller>,
    Segment(name): Segment,
    request: Request,
) -> Result<Response, Problem> {
    bare(&face, request).await?;
    let schedule = caller.resume_schedule(&name).await?;
    Ok(document(&schedule)?.into_response())
}

/// The path says it all: a body may be left out or be an empty object.
async fn bare(face: &Shared, request: Request) -> Result<(), Problem> {
    let (parts, body) = request.into_parts();
    accept::json(&parts.headers)?;
    query::members(&parts.uri, &[])?;
    let body = body::object(&parts.headers, body, face.body_bytes()).await?;
    match body.and_then(|body| body.into_keys().next()) {
        Some(name) => Err(Problem::bad_request(format!(
            "the body has {}, send none",
            shown(&name)
        ))),
        None => Ok(()),
    }
}

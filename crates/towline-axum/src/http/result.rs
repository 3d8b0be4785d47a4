//! `/v1/jobs/{job}/result`: what a job gave, or a part of it [ARCP 16-1].

use std::io;

use axum::{
    Extension,
    body::Body,
    extract::Request,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use towline_runtime::{Caller, JobFailure, JobOutput, StreamedResult, policy::Refusal};
use towline_wire::{JobId, JobStatus, event::ChunkEncoding, value_of};

use super::{
    face::{job_of, long_body, takes_long},
    problem::{Problem, ProblemDocument},
    query,
    range::{self, Part},
    segment::Segment,
};

/// Fetches what a job gave.
#[utoipa::path(
    get, path = "/v1/jobs/{job}/result", operation_id = "getResult", tag = "jobs",
    params(
        ("job" = String, Path, description = "the job"),
        ("Range" = Option<String>, Header, description = "one range of bytes"),
    ),
    responses(
        (
            status = 200,
            description = "the result: JSON, or what the job streamed, which is text or bytes",
            content(
                (serde_json::Value = "application/json"),
                (String = "text/plain; charset=utf-8"),
                (String = "application/octet-stream"),
            ),
        ),
        (status = 206, description = "a part of it"),
        (status = 404, description = "there is no such job, or none the caller may know of", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 409, description = "there is no result (yet): `details.status` says where the job stands, `details.error` why", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 410, description = "the result is no longer kept", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 429, description = "the principal has as many requests that stay as it may", body = ProblemDocument, content_type = "application/problem+json"),
        (status = 416, description = "the range is beyond the end", body = ProblemDocument, content_type = "application/problem+json"),
    )
)]
pub(super) async fn fetch(
    Extension(caller): Extension<Caller>,
    Segment(job): Segment,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, _) = request.into_parts();
    query::members(&parts.uri, &[])?;
    let job = job_of(&job)?;
    match caller.result(&job).await? {
        JobOutput::Nothing { status, error } => Err(nothing(&job, status, error.as_deref())),
        JobOutput::Inline(json) => {
            let text = Bytes::from(json.as_str().to_owned());
            let size = text.len() as u64;
            answer(
                &parts.headers,
                &job,
                "application/json",
                size,
                |from, count| {
                    // Both lie within a text that is in memory.
                    let from = usize::try_from(from).unwrap_or(0);
                    let count = usize::try_from(count).unwrap_or(0);
                    Body::from(text.slice(from..from + count))
                },
            )
        }
        JobOutput::Streamed(streamed) => {
            let place = takes_long(&parts, &caller)?;
            let content_type = match streamed.encoding() {
                ChunkEncoding::Utf8 => "text/plain; charset=utf-8",
                ChunkEncoding::Base64 => "application/octet-stream",
            };
            let size = streamed.size();
            answer(&parts.headers, &job, content_type, size, |from, count| {
                let streamed = streamed.range(from, count);
                long_body(stream::unfold(Some(streamed), piece), place)
            })
        }
    }
}

/// The next piece of a streamed result.
async fn piece(
    reading: Option<StreamedResult>,
) -> Option<(io::Result<Bytes>, Option<StreamedResult>)> {
    let mut streamed = reading?;
    match streamed.next().await {
        Ok(piece) => Some((Ok(piece?), Some(streamed))),
        // Whoever reads sees that less came than was said.
        Err(refusal) => Some((Err(io::Error::other(refusal)), None)),
    }
}

/// All of a body or the part asked for; `body` makes it.
fn answer(
    headers: &HeaderMap,
    job: &JobId,
    content_type: &'static str,
    size: u64,
    body: impl FnOnce(u64, u64) -> Body,
) -> Result<Response, Problem> {
    // A result never changes, so its job's name is as good as a hash of it.
    let tag = format!("\"{job}\"");
    let (status, from, count) = match range::part(headers, size, &tag) {
        Part::Whole => (StatusCode::OK, 0, size),
        Part::Of { from, count } => (StatusCode::PARTIAL_CONTENT, from, count),
        Part::Nowhere => {
            let detail = format!("the result has {size} bytes, ask for some of them");
            let problem = Problem::invalid(StatusCode::RANGE_NOT_SATISFIABLE, detail);
            return Err(problem.with_header(header::CONTENT_RANGE, &format!("bytes */{size}")));
        }
    };
    let mut response = (status, body(from, count)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(count));
    if let Ok(tag) = HeaderValue::try_from(tag) {
        headers.insert(header::ETAG, tag);
    }
    if status == StatusCode::PARTIAL_CONTENT {
        let range = format!("bytes {from}-{}/{size}", from + count - 1);
        if let Ok(range) = HeaderValue::try_from(range) {
            headers.insert(header::CONTENT_RANGE, range);
        }
    }
    Ok(response)
}

/// 409: nothing yet, or nothing at all.
fn nothing(job: &JobId, status: JobStatus, error: Option<&JobFailure>) -> Problem {
    let (mut details, message) = (
        json!({ "status": status }),
        match error {
            Some(error) => format!(
                "job `{job}` gave no result, it ended as `{status}`: {}",
                error.message
            ),
            None => format!("job `{job}` has no result yet, it is `{status}`"),
        },
    );
    if let Some(error) = error {
        details["error"] = value_of(error);
    }
    let refusal = Refusal::invalid(message).about(job).with_details(details);
    Problem::with_status(StatusCode::CONFLICT, refusal)
}

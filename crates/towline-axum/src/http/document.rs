//! Answers in JSON.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use towline_runtime::{Caller, policy::Refusal};
use towline_wire::{ErrorCode, JobId};

use super::problem::Problem;

/// A job after what was done with it. Who may do that need not be one who may look at it: then it is named and no more.
pub(super) async fn done(caller: &Caller, job: &JobId) -> Result<Response, Problem> {
    match caller.job(job).await {
        Ok(job) => Ok(document(&job)?.into_response()),
        Err(refusal) if is_hidden(&refusal) => {
            Ok(document(&serde_json::json!({"job_id": job}))?.into_response())
        }
        Err(refusal) => Err(refusal.into()),
    }
}

/// Whether a job is not there for whoever asks.
fn is_hidden(refusal: &Refusal) -> bool {
    [ErrorCode::JOB_NOT_FOUND, ErrorCode::PERMISSION_DENIED].contains(&refusal.code)
}

/// An answer in JSON.
pub(super) fn document<T: serde::Serialize>(
    value: &T,
) -> Result<impl IntoResponse + use<T>, Problem> {
    let text = serde_json::to_string(value);
    let text = text.map_err(|_| Problem::from(Refusal::internal("the answer has no JSON form")))?;
    let headers = [
        (header::CONTENT_TYPE, "application/json"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    Ok((headers, text))
}

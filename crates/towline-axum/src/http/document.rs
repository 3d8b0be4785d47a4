//! Answers in JSON.

use axum::{http::header, response::IntoResponse};
use towline_runtime::policy::Refusal;

use super::problem::Problem;

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
